"""Backbones, the scale-aware embedding network, and the nearest-neighbour classifier on top of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from microrace.micrographs import NONE_OF_THESE


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


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut; halves the resolution when ``stride`` is 2 (He et al., 2016)."""

    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.shortcut = (
            nn.Identity()
            if stride == 1 and n_in == n_out
            else nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
        )

    def forward(self, x):
        return torch.relu(self.body(x) + self.shortcut(x))


class SmallResidualNet(nn.Module):
    """A residual network of about 0.7 million parameters for grey crops; a hundred images train no more.

    The last feature map is pooled to its mean and standard deviation over the crop: a microstructure is known
    by how often and how unevenly its features occur, not by where they are.
    """

    n_features = 2 * 160

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 24, 5, 2, 2, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(inplace=True),
            ResidualBlock(24, 40, 2),
            ResidualBlock(40, 80, 2),
            ResidualBlock(80, 160, 2),
        )

    def forward(self, crops):
        maps = self.layers(crops)
        variance = maps.float().var(dim=(2, 3), unbiased=False)
        return torch.cat([maps.float().mean(dim=(2, 3)), (variance + 1e-4).sqrt()], dim=1)


class TorchvisionBackbone(nn.Module):
    """A torchvision classification model without its last layer, fed with grey crops as three equal channels."""

    def __init__(self, name: str, weights: str | None = None):
        super().__init__()
        known = torchvision.models.list_models(module=torchvision.models)
        if name not in known:
            raise ValueError(f"unknown backbone {name!r}; take 'residual' or one of torchvision's: {', '.join(known)}")
        self.net = torchvision.models.get_model(name, weights=weights)
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


def load_state(path: str | Path) -> dict:
    """Read a state dict from a file, refusing anything but tensors and plain values.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; give a torchvision weights name or a state dict's path")
    return torch.load(path, map_location="cpu", weights_only=True)


def build_backbone(name: str = "residual", weights: str = "") -> nn.Module:
    """Make a backbone: crops (n, 1, h, w) to features (n, ``n_features``).

    Parameters
    ----------
    name : str
        ``residual`` or the name of a torchvision classification model (``resnet18``, ``convnext_tiny``, ...).
    weights : str
        Empty for a random start; a torchvision weights name (``IMAGENET1K_V1``), downloaded by torchvision; or
        the path of a state dict, of the backbone as built here or of the plain torchvision model.

    Raises
    ------
    ValueError
        For an unknown name, or a state dict that does not fit.
    FileNotFoundError
        When ``weights`` is a path without a file.
    """
    is_path = bool(weights) and (Path(weights).suffix in {".pt", ".pth"} or Path(weights).exists())
    if name == "residual":
        if weights and not is_path:
            raise ValueError(f"backbone 'residual' has no weights called {weights!r}; give a state dict's path")
        backbone = SmallResidualNet()
    else:
        backbone = TorchvisionBackbone(name, weights=None if is_path or not weights else weights)
    if is_path:
        state = load_state(weights)
        own = backbone.state_dict()
        if name != "residual" and not any(key.startswith("net.") for key in state):
            state = {f"net.{key}": value for key, value in state.items()}
        # The last, removed layer of a published classifier is the only thing that may be left over.
        missing = sorted(own.keys() - state.keys())
        misfit = sorted(key for key in own.keys() & state.keys() if own[key].shape != state[key].shape)
        if missing or misfit:
            raise ValueError(f"{weights} does not fit backbone {name!r}: first misfit {(missing + misfit)[0]!r}")
        backbone.load_state_dict({key: state[key] for key in own})
    return backbone


class EmbeddingNet(nn.Module):
    """Crops and their scale to points on the unit sphere.

    After Larmuseau et al., npj Comput. Mater. 2020 (doi:10.1038/s41524-020-00423-2): a compact embedding in which
    micrographs of one class lie close together. Each crop is first brought to mean 0 and standard deviation 1, so
    that the microscope's brightness and contrast knobs say nothing. Telling the network the logarithm of the
    crop's scale, as a few sines and cosines, is this study's choice of "taking magnification into account".

    Parameters
    ----------
    backbone, weights : str
        As in `build_backbone`.
    embedding_dim : int
        Dimensions of the sphere's space.
    told_scale : bool
        Whether the head sees log2 of the crop's pixels per um.
    """

    # Periods in octaves of scale: the longest orders the whole range of 200x, the shortest tells factors of two.
    SCALE_PERIODS = (32.0, 16.0, 8.0, 4.0)

    def __init__(self, backbone: str = "residual", weights: str = "", embedding_dim: int = 16, told_scale: bool = True):
        super().__init__()
        if embedding_dim < 2:
            raise ValueError(f"embedding_dim must be at least 2, not {embedding_dim}")
        self.backbone = build_backbone(backbone, weights)
        self.told_scale = told_scale
        n_scale = 2 * len(self.SCALE_PERIODS) if told_scale else 0
        n_features = self.backbone.n_features
        self.norm = nn.LayerNorm(n_features)
        self.head = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(n_features + n_scale, 128),
            nn.ReLU(inplace=True),
            nn.Linear(128, embedding_dim),
        )

    def features(self, crops):
        """Crops (n, 1, h, w) to backbone features (n, n_features)."""
        crops = crops - crops.mean(dim=(1, 2, 3), keepdim=True)
        crops = crops / (crops.std(dim=(1, 2, 3), keepdim=True) + 1e-3)
        return self.backbone(crops)

    def forward(self, crops, log2_pixels_per_um):
        """Embed crops.

        Parameters
        ----------
        crops : Tensor (n, 1, h, w)
        log2_pixels_per_um : Tensor (n,)

        Returns
        -------
        Tensor (n, embedding_dim), each row of length 1.
        """
        features = self.norm(self.features(crops))
        if self.told_scale:
            periods = features.new_tensor(self.SCALE_PERIODS)
            angle = 2 * torch.pi * log2_pixels_per_um[:, None].to(features) / periods
            features = torch.cat([features, angle.sin(), angle.cos()], dim=1)
        return nn.functional.normalize(self.head(features), dim=1)


class NeighbourClassifier:
    """Class scores of an image from the training crops nearest to its own crops.

    Every crop is compared, by the cosine on the unit sphere, with the ``k`` nearest training crops of each class;
    taking ``k`` from each class, rather than from all, keeps a class of seven images from being outvoted by one of
    forty. Softmax over classes, then the mean over the image's crops. The distance to the nearest training crop,
    averaged over the image's crops, says how unlike the training set an image is ("none of these").
    These pooling rules are this study's choice.

    Parameters
    ----------
    embeddings : array (n_crops, d)
        Training crops on the unit sphere.
    class_index : array (n_crops,) of int
    n_classes : int
    k : int
        Neighbours taken from each class.
    temperature : float
        Of the softmax over mean cosines.
    """

    def __init__(self, embeddings, class_index, n_classes: int, k: int = 5, temperature: float = 0.1):
        self.embeddings = np.asarray(embeddings, dtype=np.float32)
        self.class_index = np.asarray(class_index)
        self.n_classes = n_classes
        self.k = k
        self.temperature = temperature
        absent = set(range(n_classes)) - set(self.class_index.tolist())
        if absent:
            raise ValueError(f"classes without a training crop: {sorted(absent)}")

    def crop_scores(self, embeddings) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (n, n_classes) and nearest distances (n,) of single crops (n, d)."""
        cosine = np.asarray(embeddings, dtype=np.float32) @ self.embeddings.T
        nearest = np.empty((len(cosine), self.n_classes))
        for c in range(self.n_classes):
            of_class = cosine[:, self.class_index == c]
            k = min(self.k, of_class.shape[1])
            nearest[:, c] = np.partition(of_class, -k, axis=1)[:, -k:].mean(axis=1)
        logits = nearest / self.temperature
        logits -= logits.max(axis=1, keepdims=True)
        probability = np.exp(logits)
        return probability / probability.sum(axis=1, keepdims=True), 1.0 - cosine.max(axis=1)

    def image_scores(self, embeddings, image_index, n_images: int) -> tuple[np.ndarray, np.ndarray]:
        """Pool crops to images: probabilities (n_images, n_classes) and mean nearest distances (n_images,)."""
        probability, distance = self.crop_scores(embeddings)
        count = np.bincount(image_index, minlength=n_images)
        pooled = np.stack([np.bincount(image_index, p, minlength=n_images) / count for p in probability.T], axis=1)
        return pooled, np.bincount(image_index, distance, minlength=n_images) / count


def answers_from_scores(probability, distance, classes: list[str], threshold: float) -> list[str]:
    """Most probable class of each image, or "none of these" where the distance exceeds the threshold."""
    best = np.asarray(probability).argmax(axis=1)
    return [NONE_OF_THESE if d > threshold else classes[b] for b, d in zip(best, distance, strict=True)]
