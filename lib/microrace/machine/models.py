"""Backbones, the scale-aware embedding network, and the classifiers of images on top of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy.special import logsumexp, softmax
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn

from microrace.images.manifests import NONE_OF_THESE


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
    """A residual network of about a million parameters for grey crops; a hundred images train no more.

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
            ResidualBlock(80, 80, 1),
            ResidualBlock(80, 160, 2),
            ResidualBlock(160, 160, 1),
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


PROCEDURAL_WEIGHTS = Path(__file__).parent / "pretrained" / "residual.pt"


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
        Empty for a random start; ``procedural`` for the weights that come with this package (``residual`` only),
        pretrained on procedural textures by `pretraining`; a torchvision weights name (``IMAGENET1K_V1``), downloaded
        by torchvision; or the path of a state dict, of the backbone as built here or of the plain torchvision model.

    Raises
    ------
    ValueError
        For an unknown name, or a state dict that does not fit.
    FileNotFoundError
        When ``weights`` is a path without a file.
    """
    if name == "residual" and weights == "procedural":
        weights = str(PROCEDURAL_WEIGHTS)
    is_path = bool(weights) and (Path(weights).suffix in {".pt", ".pth"} or Path(weights).exists())
    if name == "residual":
        if weights and not is_path:
            raise ValueError(
                f"backbone 'residual' has no weights called {weights!r}; take 'procedural', or a state dict's path"
            )
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


HEADS = ("neighbours", "prototype", "svm")
POOLING = ("mean score", "mean embedding", "vote", "attention")
# How unlike the training images an image is, by a network's embedding or by its crops' texture.
NONE_RULES = ("nearest", "mahalanobis", "energy", "texture")


def _sums(values, index, n: int) -> np.ndarray:
    """Sums of the rows of ``values`` (m, d) by ``index`` (m,): array (n, d)."""
    return np.stack([np.bincount(index, column, minlength=n) for column in np.asarray(values).T], axis=1)


class ClassDistance:
    """Mahalanobis distance to the nearest class mean, with one shrunk covariance for all classes (Lee et al., 2018).

    Parameters
    ----------
    points : array (n, d)
    class_index : array (n,) of int
    n_classes : int
    """

    def __init__(self, points, class_index, n_classes: int):
        self.means = _sums(points, class_index, n_classes) / np.bincount(class_index, minlength=n_classes)[:, None]
        covariance = LedoitWolf(assume_centered=True).fit(points - self.means[class_index]).covariance_
        self.whiten = np.linalg.cholesky(np.linalg.inv(covariance + 1e-6 * np.eye(len(covariance))))

    def __call__(self, points) -> np.ndarray:
        """Distances (n,) of points (n, d)."""
        whitened, means = np.asarray(points) @ self.whiten, self.means @ self.whiten
        return np.stack([np.linalg.norm(whitened - mean, axis=1) for mean in means], axis=1).min(axis=1)


def _on_sphere(points) -> np.ndarray:
    return points / np.linalg.norm(points, axis=1, keepdims=True)


class ImageClassifier:
    """Class scores of an image from the embedded crops of the training images; pooling rules are this study's choice.

    A *head* gives each crop a logit for each class:

    - ``neighbours``: mean cosine to the ``k`` nearest training crops of the class. Taking ``k`` from each class, rather
      than from all, keeps a class of seven images from being outvoted by one of forty.
    - ``prototype``: cosine to the mean of the class's training crops (Snell et al., 2017).
    - ``svm``: decision function of a support vector machine with a radial kernel and balanced class weights.

    *Pooling* makes an image of its crops: ``mean score`` averages their probabilities, ``vote`` counts their answers,
    ``attention`` averages with each crop weighted by how sure it is (1 minus its normalised entropy), and
    ``mean embedding`` averages the embeddings, of training images too, before the head sees them.

    How unlike the training images an image is ("none of these") is the mean over its crops of: ``nearest``, the
    cosine distance to the nearest training crop; ``mahalanobis``, the `ClassDistance`; ``energy``, minus the log-sum-exp
    of the logits (Liu et al., 2020).

    Parameters
    ----------
    embeddings : array (n_crops, d)
        Training crops on the unit sphere.
    class_index, image_index : array (n_crops,) of int
        Class and image of each.
    n_classes : int
    head, pooling, none_rule : str
    k : int
        Neighbours taken from each class.
    temperature : float
        Cosines are divided by it before the softmax.

    Raises
    ------
    ValueError
        When a class has no training crop.
    """

    def __init__(
        self,
        embeddings,
        class_index,
        image_index,
        n_classes: int,
        *,
        head: str = "neighbours",
        pooling: str = "mean score",
        none_rule: str = "nearest",
        k: int = 5,
        temperature: float = 0.1,
    ):
        self.embeddings = np.asarray(embeddings, dtype=np.float32)
        self.class_index, self.image_index = np.asarray(class_index), np.asarray(image_index)
        self.n_classes, self.k, self.temperature = n_classes, k, temperature
        self.head, self.pooling, self.none_rule = head, pooling, none_rule
        if absent := set(range(n_classes)) - set(self.class_index.tolist()):
            raise ValueError(f"classes without a training crop: {sorted(absent)}")
        self.points, self.point_class = self.embeddings, self.class_index
        if pooling == "mean embedding":
            _, first, position = np.unique(self.image_index, return_index=True, return_inverse=True)
            self.points = _on_sphere(_sums(self.embeddings, position, len(first))).astype(np.float32)
            self.point_class = self.class_index[first]
        means = _sums(self.points, self.point_class, n_classes)
        means /= np.bincount(self.point_class, minlength=n_classes)[:, None]
        self.prototypes = _on_sphere(means)
        if head == "svm":
            self.svm = SVC(class_weight="balanced", decision_function_shape="ovr").fit(self.points, self.point_class)
        if none_rule == "mahalanobis":
            self.distance = ClassDistance(self.points, self.point_class, n_classes)

    def logits(self, points) -> np.ndarray:
        """Logits (n, n_classes) of points (n, d)."""
        points = np.asarray(points, dtype=np.float32)
        if self.head == "svm":
            decision = self.svm.decision_function(points)
            return np.stack([-decision, decision], axis=1) if decision.ndim == 1 else decision
        if self.head == "prototype":
            return points @ self.prototypes.T / self.temperature
        cosine = points @ self.points.T
        nearest = np.empty((len(cosine), self.n_classes))
        for c in range(self.n_classes):
            of_class = cosine[:, self.point_class == c]
            k = min(self.k, of_class.shape[1])
            nearest[:, c] = np.partition(of_class, -k, axis=1)[:, -k:].mean(axis=1)
        return nearest / self.temperature

    def unlikeness(self, points, logits) -> np.ndarray:
        """How unlike all training crops each point (n, d) is, by the rule: array (n,)."""
        if self.none_rule == "energy":
            return -logsumexp(logits, axis=1)
        if self.none_rule == "mahalanobis":
            return self.distance(points)
        return 1.0 - (np.asarray(points, dtype=np.float32) @ self.points.T).max(axis=1)

    def crop_scores(self, points) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (n, n_classes) and unlikeness (n,) of single points (n, d)."""
        logits = self.logits(points)
        return softmax(logits, axis=1), self.unlikeness(points, logits)

    def image_scores(self, embeddings, image_index, n_images: int) -> tuple[np.ndarray, np.ndarray]:
        """Pool crops to images: probabilities (n_images, n_classes) and unlikeness (n_images,)."""
        count = np.bincount(image_index, minlength=n_images)
        if self.pooling == "mean embedding":
            return self.crop_scores(_on_sphere(_sums(embeddings, image_index, n_images)))
        probability, unlike = self.crop_scores(embeddings)
        unlike = np.bincount(image_index, unlike, minlength=n_images) / count
        if self.pooling == "vote":
            # A hundredth of the probability decides between answers with as many votes.
            probability = (np.eye(self.n_classes)[probability.argmax(axis=1)] + 0.01 * probability) / 1.01
        if self.pooling == "attention":
            entropy = -(probability * np.log(probability + 1e-12)).sum(axis=1) / np.log(self.n_classes)
            weight = 1.0 - entropy + 1e-3
            pooled = _sums(probability * weight[:, None], image_index, n_images)
            return pooled / np.bincount(image_index, weight, minlength=n_images)[:, None], unlike
        return _sums(probability, image_index, n_images) / count[:, None], unlike


class ScatteringForest:
    """Class probabilities of crops by a random forest (Breiman, 2001) on their scattering coefficients.

    It errs on other images than the networks, having learned from numbers that no image had a say in; what this is
    worth is measured in notebook 04. Every class counts for as much, and inside a class every image. How unlike the
    training images a crop is, is the `ClassDistance` of its standardised coefficients.

    Parameters
    ----------
    textures : array (n_crops, d)
        `scattering.coefficients` of training crops, with or without their log2 scale.
    class_index, image_index : array (n_crops,) of int
        Class and image of each.
    n_classes : int
        Each has a crop.
    seed : int
    """

    N_TREES, SMALLEST_LEAF = 300, 3

    def __init__(self, textures, class_index, image_index, n_classes: int, seed: int = 0):
        self.textures = np.asarray(textures, dtype=np.float32)
        self.class_index, self.image_index = np.asarray(class_index), np.asarray(image_index)
        weight = 1 / np.bincount(self.image_index)[self.image_index]
        weight /= np.bincount(self.class_index, weight)[self.class_index]
        self.forest = RandomForestClassifier(self.N_TREES, min_samples_leaf=self.SMALLEST_LEAF, random_state=seed)
        self.forest.fit(self.textures, self.class_index, sample_weight=weight * len(weight) / weight.sum())
        self.scaler = StandardScaler().fit(self.textures)
        self.distance = ClassDistance(self.scaler.transform(self.textures), self.class_index, n_classes)

    def crop_scores(self, textures) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (n, n_classes) and unlikeness (n,) of crops by their textures (n, d)."""
        return self.forest.predict_proba(textures), self.distance(self.scaler.transform(textures))

    def image_scores(self, textures, image_index, n_images: int) -> tuple[np.ndarray, np.ndarray]:
        """Means over the crops of an image: probabilities (n_images, n_classes) and unlikeness (n_images,)."""
        count = np.bincount(image_index, minlength=n_images)
        probability, unlike = self.crop_scores(textures)
        return _sums(probability, image_index, n_images) / count[:, None], np.bincount(image_index, unlike) / count


def answers_from_scores(probability, distance, classes: list[str], threshold: float) -> list[str]:
    """Most probable class of each image, or "none of these" where the distance exceeds the threshold."""
    best = np.asarray(probability).argmax(axis=1)
    return [NONE_OF_THESE if d > threshold else classes[b] for b, d in zip(best, distance, strict=True)]
