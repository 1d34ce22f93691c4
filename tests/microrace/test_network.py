"""Backbones, their weights and what is refused; the head, the losses and the outlier score by hand and by explicit loops."""

import hashlib
import itertools

import numpy as np
import pytest
import torch

from microrace import network
from microrace.network import EmbeddingHead, MetricLoss, OutlierScore, Whitening, build_backbone

BACKBONES = [("lite0", "imagenet", 96), ("test_efficientnet", "", 64), ("test_vit", "", 160), ("test_resnet", "", 64)]


@pytest.mark.parametrize(("name", "weights", "side"), BACKBONES)
def test_backbones_by_name_give_the_features_they_promise(name, weights, side):
    backbone = build_backbone(name, weights).eval()
    with torch.inference_mode():
        assert backbone(torch.rand(2, 1, side, side)).shape == (2, backbone.n_features)
    # The weights that were measured.
    assert name != "lite0" or network.weights_id(name, weights) == "579344248a93e230"


def test_weights_come_from_a_plain_state_dict(tmp_path):
    torch.manual_seed(1)
    plain, file = network.timm.create_model("test_resnet"), tmp_path / "weights.pth"
    torch.save(plain.state_dict(), file)
    backbone = build_backbone("test_resnet", str(file))
    assert all(torch.equal(v, plain.state_dict()[k]) for k, v in backbone.net.state_dict().items())
    assert network.weights_id("test_resnet", str(file)) == hashlib.sha256(file.read_bytes()).hexdigest()[:16]


class Evil:
    def __reduce__(self):
        return (print, ("code in a file of weights ran",))


def test_weights_that_do_not_fit_are_no_tensors_or_are_not_there_are_refused(tmp_path, capsys):
    torch.save(network.timm.create_model("test_resnet").state_dict(), tmp_path / "small.pt")
    for name, what in (("evil", {"a": Evil()}), ("list", [1, 2])):
        torch.save(what, tmp_path / f"{name}.pt")
    for backbone, file, words in (
        ("test_efficientnet", "small.pt", "does not fit"),
        ("test_resnet", "missing.pt", "missing.pt"),
        ("test_resnet", "evil.pt", "not a state dict"),
        ("test_resnet", "list.pt", "not a state dict"),
        ("resnet81", "small.pt", "unknown backbone 'resnet81'"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            build_backbone(backbone, str(tmp_path / file))
    assert "ran" not in capsys.readouterr().out


def test_whitened_components_are_uncorrelated_and_of_variance_one_and_crops_do_not_tell_the_microscopes_knobs():
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((200, 5)) @ rng.standard_normal((5, 30)) * 100).astype(np.float32)
    whitened = Whitening.fit(values + 7)(torch.from_numpy(values + 7))[:, :5].numpy()
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(5), atol=2e-2)
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-3)
    crops = torch.rand(3, 1, 64, 64)
    assert torch.allclose(network.standardise(crops), network.standardise(0.5 * crops + 0.2), atol=2e-2)


@pytest.mark.parametrize("scale_input", [True, False])
def test_points_lie_on_the_unit_sphere_and_scale_moves_them_only_as_input(scale_input):
    head, values = EmbeddingHead(torch.nn.Identity(), 12, 6, scale_input).eval(), torch.rand(5, 12)
    with torch.inference_mode():
        points, moved = head(values, torch.zeros(5)), head(values, torch.full((5,), 5.0))
    assert torch.allclose(points.norm(dim=1), torch.ones(5), atol=1e-5)
    assert ((points - moved).abs().max() > 1e-3) == scale_input


def test_active_share_and_semi_hard_loss_equal_explicit_loops():
    torch.manual_seed(0)
    points, labels = torch.nn.functional.normalize(torch.randn(12, 4), dim=1), torch.arange(12) % 3
    distance, n, violations = torch.cdist(points, points).tolist(), 0, []
    for a, p, q in itertools.product(range(12), repeat=3):
        if a != p and labels[a] == labels[p] != labels[q]:
            n += 1
            if distance[a][p] < distance[a][q] < distance[a][p] + 0.2:
                violations.append(distance[a][p] - distance[a][q] + 0.2)
    loss, share = MetricLoss("triplet", 3, 4)(points, labels)
    assert share == pytest.approx(len(violations) / n)
    assert float(loss) == pytest.approx(np.mean(violations), rel=1e-4)


def test_every_class_counts_alike_and_inside_it_every_image():
    of_class, image = np.array([0, 0, 0, 0, 1, 1]), np.array([7, 7, 7, 8, 9, 9])
    weight = network.balanced_weights(of_class, image)
    assert weight[of_class == 0].sum() == pytest.approx(weight[of_class == 1].sum())
    means = network.class_means(np.array([[0.0], [0.0], [0.0], [4.0], [1.0], [3.0]]), of_class, weight, 2)
    assert means.ravel() == pytest.approx([2.0, 2.0])


def test_the_outlier_score_is_the_cosine_distance_to_the_nearest_training_image():
    values, image = np.random.default_rng(0).random((12, 6)), np.repeat([3, 5, 9], 4)
    means = [values[image == i].mean(axis=0) for i in (3, 5, 9)]
    stranger, score = np.vstack([np.eye(6)[5], 7 * np.eye(6)[5]]), OutlierScore.fit(values, image)
    nearest = max(m[5] / np.linalg.norm(m) for m in means)
    assert score(stranger, np.zeros(2, int))[0] == pytest.approx(1 - nearest, rel=1e-5)
    np.testing.assert_allclose(score(values, image), 0, atol=1e-6)
