"""Train the embedding by cross-validation inside the training set, keep it, and answer the quiz with it."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import math
import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_metric_learning import losses, miners
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from microrace.images import manifests, reading, splits
from microrace.images.manifests import NONE_OF_THESE
from microrace.machine import augment, scattering
from microrace.machine.models import (
    HEADS,
    NONE_RULES,
    POOLING,
    EmbeddingNet,
    ImageClassifier,
    ScatteringForest,
    answers_from_scores,
)

# Physical fields of view that crops are drawn at, an octave apart. Every image supplies those that its size and
# scale allow; from 1.1 to 212 pixels per um a micrograph of ordinary size reaches three or four of them.
FIELDS_OF_VIEW_UM = tuple(2.5 * 2.0**i for i in range(-3, 11))

SCALE_HANDLING = ("none", "normalised", "told", "both")
LOSSES = ("triplet", "triplet-hard", "multi-similarity", "supervised-contrastive", "cross-entropy")


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides what a training run gives, besides the manifest.

    Attributes
    ----------
    backbone, weights : str
        As in `models.build_backbone`.
    embedding_dim : int
        Dimensions of the embedding.
    scale_handling : str
        ``none``: crops of a share of the image, scale unknown; ``normalised``: crops at fixed physical fields of
        view; ``told``: the network is given log2 of the crop's scale; ``both``.
    max_fields : int
        Use only so many fields of view of an image, the largest; 0 takes all that its size and scale allow.
    pipeline : str
        Augmentation, one of `augment.PIPELINES`.
    without : str
        A transformation to leave out of the pipeline (see `augment.build_pipeline`), or empty.
    loss : str
        One of `LOSSES`; ``triplet`` mines semi-hard triplets.
    epochs, crops_per_epoch, batch_size : int
    learning_rate, weight_decay : float
        Of AdamW with one cosine cycle.
    backbone_rate : float
        Learning rate of a backbone with starting weights, as a share of the head's; 0 keeps its weights, though not
        its batch normalisation's statistics, as they start. A backbone with a random start has the head's rate.
    crop_px : int
        Side of the square crops.
    crops_per_field : int
        Crops at each field of view when an image is judged.
    validate_every : int
        Epochs between looks at the held-out images, which cost about a quarter of an epoch each.
    n_folds : int
        Grouped folds of cross-validation.
    n_members : int
        Networks of the machine, each trained on all training images with a seed of its own.
    max_train_images : int
        Train each network on at most so many images, drawn class by class; 0 takes all. For learning curves.
    forest_share : float
        Share of the `models.ScatteringForest` in the probabilities, from 0 (networks alone) to 1 (forest alone).
    forest_crops : int
        Augmented crops of each training image that the forest learns from, besides those by which images are judged.
    head, pooling, none_rule, neighbours
        As in `models.ImageClassifier` (``neighbours`` is its k); the rule ``texture`` is the forest's unlikeness.
    accept_share : float
        Share of held-out training images that "none of these" must leave alone.
    seed : int
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    workers : int
        Processes that make crops; the result does not depend on it.
    """

    backbone: str = "residual"
    weights: str = "procedural"
    embedding_dim: int = 16
    scale_handling: str = "both"
    max_fields: int = 0
    pipeline: str = "full"
    without: str = ""
    loss: str = "triplet"
    epochs: int = 8
    crops_per_epoch: int = 1024
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    backbone_rate: float = 0.1
    crop_px: int = 128
    crops_per_field: int = 4
    validate_every: int = 2
    n_folds: int = 3
    n_members: int = 3
    max_train_images: int = 0
    forest_share: float = 0.5
    forest_crops: int = 16
    head: str = "prototype"
    pooling: str = "mean score"
    none_rule: str = "texture"
    neighbours: int = 5
    accept_share: float = 0.97
    seed: int = 0
    device: str = "auto"
    workers: int = 2

    def __post_init__(self):
        for name, value, known in (
            ("scale_handling", self.scale_handling, SCALE_HANDLING),
            ("pipeline", self.pipeline, tuple(augment.PIPELINES)),
            ("loss", self.loss, LOSSES),
            ("head", self.head, HEADS),
            ("pooling", self.pooling, POOLING),
            ("none_rule", self.none_rule, NONE_RULES),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r} is not known; take one of {', '.join(known)}")
        for name in (
            "epochs",
            "crops_per_epoch",
            "batch_size",
            "crop_px",
            "crops_per_field",
            "neighbours",
            "forest_crops",
            "validate_every",
            "n_members",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.n_folds < 2:
            raise ValueError(f"n_folds must be at least 2, not {self.n_folds}")
        # Refuses an unknown transformation now and not in the middle of the first epoch.
        self.make_pipeline()
        if not 0 <= self.forest_share <= 1:
            raise ValueError(f"forest_share must lie from 0 to 1, not {self.forest_share}")
        if not 0 < self.accept_share < 1:
            raise ValueError(f"accept_share must lie between 0 and 1, not {self.accept_share}")

    @property
    def fields_of_view_um(self):
        """Physical fields of view of the crops, or None where scale is not normalised."""
        return FIELDS_OF_VIEW_UM if self.scale_handling in ("normalised", "both") else None

    @property
    def told_scale(self) -> bool:
        """Whether the network is given the scale."""
        return self.scale_handling in ("told", "both")

    @property
    def uses_textures(self) -> bool:
        """Whether a forest takes part, in the answer or in telling "none of these"."""
        return self.forest_share > 0 or self.none_rule == "texture"

    def make_pipeline(self):
        """The augmentation of training crops."""
        return augment.build_pipeline(
            self.pipeline,
            crop_px=self.crop_px,
            fields_of_view_um=self.fields_of_view_um,
            max_fields=self.max_fields,
            without=(self.without,) if self.without else (),
        )

    def places(self, shape, pixels_per_um: float) -> np.ndarray:
        """Where the crops lie by which an image of this shape and scale is judged; see `augment.evaluation_places`."""
        return augment.evaluation_places(
            shape,
            pixels_per_um,
            crop_px=self.crop_px,
            fields_of_view_um=self.fields_of_view_um,
            crops_per_field=self.crops_per_field,
            max_fields=self.max_fields,
        )

    def training_identity(self) -> dict:
        """The settings that decide what the network becomes, without those that only decide how it judges."""
        judging = (
            "head pooling none_rule neighbours accept_share crops_per_field n_members forest_share forest_crops "
            "device workers"
        ).split()
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in judging}


def resolve_device(device: str) -> torch.device:
    """``auto`` to CUDA, then MPS, then the processor; any other name as it is."""
    if device != "auto":
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _autocast(device: torch.device):
    # bf16 pays on processors and GPUs that have it; MPS does not take part.
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type in ("cpu", "cuda"))


def _loader(dataset: Dataset, batch_size: int, workers: int) -> DataLoader:
    # Python may put off freeing an earlier loader until it is inside a process of this one, whose own it is not, which
    # then complains at length; so what is left over is freed first.
    gc.collect()
    return DataLoader(dataset, batch_size, num_workers=workers)


class TrainingCrops(Dataset):
    """Augmented crops of one epoch; item i depends on (seed, epoch, i) alone, whatever process makes it."""

    def __init__(self, images, pixels_per_um, image_index, config: TrainingConfig, epoch: int):
        self.images, self.pixels_per_um, self.image_index = images, pixels_per_um, image_index
        self.seed, self.epoch = config.seed, epoch
        self.pipeline = config.make_pipeline()

    def __len__(self):
        return len(self.image_index)

    def __getitem__(self, i):
        augment.seeded(self.pipeline, self.seed, self.epoch, i)
        image = self.image_index[i]
        out = self.pipeline(image=self.images[image], pixels_per_um=self.pixels_per_um[image])
        crop = np.ascontiguousarray(out["image"], dtype=np.float32)
        return crop[None], np.float32(math.log2(out["pixels_per_um"])), image


def draw_images(labels, groups, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n image positions: a class, then one of its specimens, then one of that specimen's images.

    Every class comes up equally often (in turn, so that each batch holds all of them), and inside a class every
    specimen, so that a much-photographed specimen does not stand for its class.

    Parameters
    ----------
    labels, groups : array (n_images,)
    n : int
    rng : numpy Generator

    Returns
    -------
    array (n,) of int
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    by_class = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        by_class.append([members[groups[members] == g] for g in np.unique(groups[members])])
    order = np.concatenate([rng.permutation(len(by_class)) for _ in range(-(-n // len(by_class)))])[:n]
    drawn = np.empty(n, dtype=int)
    for i, c in enumerate(order):
        specimen = by_class[c][rng.integers(len(by_class[c]))]
        drawn[i] = specimen[rng.integers(len(specimen))]
    return drawn


class ImageCrops:
    """The crops by which images are judged: made once, in memory, float16.

    Attributes
    ----------
    crops : array (n_crops, crop_px, crop_px)
    log2_pixels_per_um : array (n_crops,)
    image_index : array (n_crops,)
        Which image a crop belongs to.
    places : array (n_crops, 3)
        Centre x, centre y and side in pixels of the image.
    """

    def __init__(self, images, pixels_per_um, config: TrainingConfig):
        crops, scales, index, places = [], [], [], []
        for i, (image, scale) in enumerate(zip(images, pixels_per_um, strict=True)):
            p = config.places(image.shape, scale)
            c, s = augment.cut_places(image, scale, p, config.crop_px)
            crops.append(np.asarray(c, dtype=np.float16))
            scales.append(s)
            index.append(np.full(len(c), i))
            places.append(p)
        self.config = config
        self.places = np.concatenate(places)
        self.crops = np.concatenate(crops)
        self.log2_pixels_per_um = np.log2(np.concatenate(scales)).astype(np.float32)
        self.image_index = np.concatenate(index)
        self.n_images = len(images)

    def of(self, images) -> np.ndarray:
        """Positions of the crops of these images (an array of image positions)."""
        return np.flatnonzero(np.isin(self.image_index, images))

    @cached_property
    def textures(self) -> np.ndarray:
        """What the forest sees of each crop, see `textures_of`: array (n_crops, d)."""
        return textures_of(self.crops, self.log2_pixels_per_um, self.config)


# A sweep's runs mostly judge by the very same crops; those of the last few, by a hash of their grey values.
_coefficients: dict[bytes, np.ndarray] = {}


def textures_of(crops, log2_pixels_per_um, config: TrainingConfig) -> np.ndarray:
    """What the forest sees of crops (n, h, w): scattering coefficients and, when told, log2 scale; (n, d) of float32."""
    key = hashlib.sha256(np.ascontiguousarray(crops).tobytes()).digest()
    if key not in _coefficients:
        while len(_coefficients) >= 64:
            _coefficients.pop(next(iter(_coefficients)))
        _coefficients[key] = scattering.coefficients(crops)
    told = [np.asarray(log2_pixels_per_um, dtype=np.float32)] if config.told_scale else []
    return np.column_stack([_coefficients[key], *told])


def augmented_textures(images, pixels_per_um, config: TrainingConfig) -> tuple[np.ndarray, np.ndarray]:
    """`textures_of` each image's ``forest_crops`` augmented crops, and which image each is of."""
    index = np.repeat(np.arange(len(images)), config.forest_crops)
    # An epoch number that no network's training reaches: crops of their own.
    dataset = TrainingCrops(images, pixels_per_um, index, config, epoch=1_000_000)
    loader = _loader(dataset, 128, config.workers)
    parts = [
        textures_of(crops[:, 0].numpy(), log2_scale.numpy(), config)
        for crops, log2_scale, _ in tqdm(loader, desc="textures", unit="batch", mininterval=1.0)
    ]
    return np.concatenate(parts), index


@torch.inference_mode()
def embed(net: EmbeddingNet, crops, log2_pixels_per_um, device, batch_size: int = 256) -> np.ndarray:
    """Embed crops (n, h, w) of given log2 scale (n,): array (n, embedding_dim) of float32."""
    net.eval()
    device = torch.device(device)
    out = []
    for start in range(0, len(crops), batch_size):
        x = torch.from_numpy(np.asarray(crops[start : start + batch_size], dtype=np.float32))[:, None]
        x = x.to(device).contiguous(memory_format=torch.channels_last)
        s = torch.from_numpy(np.asarray(log2_pixels_per_um[start : start + batch_size])).to(device)
        with _autocast(device):
            out.append(net(x, s).float().cpu().numpy())
    return np.concatenate(out)


class MetricLoss(torch.nn.Module):
    """The loss by name, and the share of triplets that still teach something.

    ``triplet`` is the paper's: triplets mined semi-hard (Schroff et al., 2015), margin 0.2 on the unit sphere.
    The others are pytorch-metric-learning's, for comparison.
    """

    def __init__(self, name: str, n_classes: int, embedding_dim: int, margin: float = 0.2):
        super().__init__()
        self.name, self.margin, self.miner = name, margin, None
        if name == "triplet":
            self.loss = losses.TripletMarginLoss(margin=margin)
            self.miner = miners.TripletMarginMiner(margin=margin, type_of_triplets="semihard")
        elif name == "triplet-hard":
            self.loss = losses.TripletMarginLoss(margin=margin)
            self.miner = miners.BatchHardMiner()
        elif name == "multi-similarity":
            self.loss = losses.MultiSimilarityLoss(alpha=2, beta=50, base=0.5)
            self.miner = miners.MultiSimilarityMiner()
        elif name == "supervised-contrastive":
            self.loss = losses.SupConLoss(temperature=0.1)
        else:
            self.loss = losses.NormalizedSoftmaxLoss(n_classes, embedding_dim, temperature=0.1)

    def forward(self, embeddings, labels):
        """Loss of a batch and its share of active triplets (those inside the margin)."""
        mined = self.miner(embeddings, labels) if self.miner is not None else None
        return self.loss(embeddings, labels, mined), self.active_share(embeddings.detach(), labels)

    def active_share(self, embeddings, labels) -> float:
        """Share of all triplets of the batch whose negative is not yet ``margin`` farther than the positive."""
        distance = torch.cdist(embeddings, embeddings)
        same = labels[:, None] == labels[None, :]
        positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        gap = distance[:, None, :] - distance[:, :, None]
        valid = positive[:, :, None] & ~same[:, None, :]
        n = int(valid.sum())
        return float(((gap < self.margin) & valid).sum()) / n if n else math.nan


def _save(obj, path: Path):
    """Write whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    torch.save(obj, temporary)
    os.replace(temporary, path)


def fit_network(
    images,
    manifest: pd.DataFrame,
    train_index,
    config: TrainingConfig,
    *,
    validate=None,
    checkpoint: Path | None = None,
    description: str = "training",
) -> tuple[EmbeddingNet, pd.DataFrame]:
    """Train one network on some images.

    Parameters
    ----------
    images : list of array (H, W)
        Of every row of ``manifest``.
    manifest : DataFrame
        Rows with ``label``, ``split_group``, ``pixels_per_um``.
    train_index : array of int
        Rows to train on.
    config : TrainingConfig
    validate : callable, optional
        Takes the network, gives the accuracy on the held-out images; called after every epoch.
    checkpoint : Path, optional
        Written after every epoch; a run with the same configuration and images goes on from it.
    description : str
        Shown on the progress bar.

    Returns
    -------
    EmbeddingNet
    DataFrame
        One row an epoch: epoch, loss, active_triplets, spread, validation_accuracy, seconds.

    Raises
    ------
    FloatingPointError
        When the loss is no longer a number.
    """
    device = resolve_device(config.device)
    label_names = sorted(manifest["label"].iloc[train_index].unique())
    class_of = manifest["label"].map({name: i for i, name in enumerate(label_names)}).to_numpy()
    scales = manifest["pixels_per_um"].to_numpy()
    torch.manual_seed(config.seed)
    net = EmbeddingNet(config.backbone, config.weights, config.embedding_dim, config.told_scale)
    criterion = MetricLoss(config.loss, len(label_names), config.embedding_dim)
    net.to(device, memory_format=torch.channels_last)
    criterion.to(device)
    rates = [config.learning_rate * (config.backbone_rate if config.weights else 1.0), config.learning_rate]
    net.backbone.requires_grad_(rates[0] > 0)
    rest = [p for name, p in net.named_parameters() if not name.startswith("backbone.")]
    optimiser = torch.optim.AdamW(
        [
            {"params": list(net.backbone.parameters()), "lr": rates[0]},
            {"params": [*rest, *criterion.parameters()], "lr": rates[1]},
        ],
        weight_decay=config.weight_decay,
    )
    steps_per_epoch = max(1, config.crops_per_epoch // config.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rates, total_steps=config.epochs * steps_per_epoch, pct_start=0.2
    )
    rows, first_epoch = [], 0
    identity = json.dumps(
        [config.training_identity(), manifest["sha256"].iloc[train_index].tolist(), list(label_names)], default=str
    )
    if checkpoint is not None and checkpoint.is_file():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        if saved["identity"] == identity:
            net.load_state_dict(saved["net"])
            criterion.load_state_dict(saved["criterion"])
            optimiser.load_state_dict(saved["optimiser"])
            schedule.load_state_dict(saved["schedule"])
            rows, first_epoch = saved["rows"], saved["epoch"]

    progress = tqdm(range(first_epoch, config.epochs), desc=description, unit="epoch", initial=first_epoch,
                    total=config.epochs, leave=True, mininterval=1.0)  # fmt: skip
    for epoch in progress:
        started = time.perf_counter()
        # All randomness of an epoch comes from (seed, epoch), so a resumed run draws what an unbroken one would.
        torch.manual_seed(config.seed * 100_003 + epoch)
        rng = np.random.default_rng([config.seed, epoch])
        labels, groups = manifest["label"].iloc[train_index], manifest["split_group"].iloc[train_index]
        drawn = np.asarray(train_index)[draw_images(labels, groups, steps_per_epoch * config.batch_size, rng)]
        loader = _loader(TrainingCrops(images, scales, drawn, config, epoch), config.batch_size, config.workers)
        net.train()
        losses_, active, spread = [], [], []
        for crops, log2_scale, image in loader:
            crops = crops.to(device).contiguous(memory_format=torch.channels_last)
            target = torch.from_numpy(class_of[image.numpy()].astype(np.int64)).to(device)
            with _autocast(device):
                embedded = net(crops, log2_scale.to(device))
            loss, share = criterion(embedded.float(), target)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss became {loss.item()} in epoch {epoch + 1}; lower learning_rate")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses_.append(loss.item())
            active.append(share)
            spread.append(embedded.detach().float().std(dim=0).mean().item())
        look = validate is not None and (epoch + 1) % config.validate_every == 0
        rows.append(
            {
                "epoch": epoch + 1,
                "loss": float(np.mean(losses_)),
                "active_triplets": float(np.nanmean(active)),
                "spread": float(np.mean(spread)),
                "validation_accuracy": float(validate(net)) if look else math.nan,
                "seconds": time.perf_counter() - started,
            }
        )
        last = rows[-1]
        progress.set_postfix(
            loss=f"{last['loss']:.3f}",
            active=f"{last['active_triplets']:.2f}",
            validation=f"{last['validation_accuracy']:.2f}",
        )
        if checkpoint is not None:
            _save(
                {
                    "identity": identity,
                    "epoch": epoch + 1,
                    "net": net.state_dict(),
                    "criterion": criterion.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "schedule": schedule.state_dict(),
                    "rows": rows,
                },
                checkpoint,
            )
    net.eval()
    return net, pd.DataFrame(rows)


def make_classifier(embeddings, class_index, image_index, n_classes: int, config: TrainingConfig) -> ImageClassifier:
    """The classifier of a configuration on the embedded crops of some training images."""
    return ImageClassifier(
        embeddings,
        class_index,
        image_index,
        n_classes,
        head=config.head,
        pooling=config.pooling,
        none_rule="nearest" if config.none_rule == "texture" else config.none_rule,
        k=config.neighbours,
    )


class ForestMaker:
    """The textures of the training images, made once, and forests of any part of them.

    Parameters
    ----------
    images : list of array (H, W)
    rows : DataFrame
        Their rows of the manifest.
    crops : ImageCrops
        The crops by which they are judged.
    """

    def __init__(self, images, rows: pd.DataFrame, crops: ImageCrops):
        self.config = crops.config
        augmented, index = augmented_textures(images, rows["pixels_per_um"].to_numpy(), self.config)
        self.textures = np.concatenate([crops.textures, augmented])
        self.image_index = np.concatenate([crops.image_index, index])

    def __call__(self, train_index, class_index, n_classes: int) -> ScatteringForest:
        """The forest on the images ``train_index``; ``class_index`` is of all images."""
        ours = np.flatnonzero(np.isin(self.image_index, train_index))
        index = self.image_index[ours]
        return ScatteringForest(self.textures[ours], class_index[index], index, n_classes, self.config.seed)


def mixed(by_networks: tuple, by_forest: tuple, config: TrainingConfig) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of networks and forest, mixed by ``forest_share``, and the unlikeness of the one that tells it."""
    share = config.forest_share
    probability = (1 - share) * by_networks[0] + share * by_forest[0]
    return probability, (by_forest if config.none_rule == "texture" else by_networks)[1]


class Machine:
    """The trained decision maker: networks trained on all training images, whose crops they know, and the threshold.

    The networks differ in their seed; their scores are averaged, and mixed with those of the scattering forest, if there
    is one. The threshold for "none of these" and the validation accuracy come from other networks and forests, each of
    which had not seen the images that it judged.
    """

    def __init__(
        self, config: TrainingConfig, classes: list[str], members: list, forest: ScatteringForest | None, threshold: float
    ):
        self.config, self.classes, self.members, self.forest = config, classes, members, forest
        self.threshold = threshold

    def judge(self, images: ImageCrops) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (n_images, n_classes) and distances (n_images,), over the networks and the forest as `mixed`."""
        device = resolve_device(self.config.device)
        results = []
        for net, classifier in self.members:
            points = embed(net.to(device), images.crops, images.log2_pixels_per_um, device)
            results.append(classifier.image_scores(points, images.image_index, images.n_images))
        by_networks = tuple(np.mean(part, axis=0) for part in zip(*results, strict=True))
        if self.forest is None:
            return by_networks
        by_forest = self.forest.image_scores(images.textures, images.image_index, images.n_images)
        return mixed(by_networks, by_forest, self.config)

    def scores(self, files, images: ImageCrops) -> pd.DataFrame:
        """One row an image: image, answer, score (of the answer), distance, then one column a class."""
        probability, distance = self.judge(images)
        answer = answers_from_scores(probability, distance, self.classes, self.threshold)
        best = probability.max(axis=1)
        # A rejected image's score is how far past the threshold it lies, in units of the threshold, squeezed into (0.5, 1).
        rejected = np.array([a == NONE_OF_THESE for a in answer])
        beyond = np.clip((distance - self.threshold) / (abs(self.threshold) + 1e-12), 0, 50)
        score = np.where(rejected, 1 / (1 + np.exp(-beyond)), best)
        frame = pd.DataFrame({"image": list(files), "answer": answer, "score": score, "distance": distance})
        return pd.concat([frame, pd.DataFrame(probability, columns=self.classes)], axis=1)

    def save(self, path: Path) -> None:
        """Write networks, training crops' embeddings and textures, classes, threshold and configuration to one file."""
        _save(
            {
                "config": dataclasses.asdict(self.config),
                "classes": self.classes,
                "threshold": self.threshold,
                "members": [
                    {
                        "net": {k: v.cpu() for k, v in net.state_dict().items()},
                        "embeddings": torch.from_numpy(classifier.embeddings),
                        "class_index": torch.from_numpy(classifier.class_index),
                        "image_index": torch.from_numpy(classifier.image_index),
                    }
                    for net, classifier in self.members
                ],
                "forest": self.forest
                and {
                    name: torch.from_numpy(getattr(self.forest, name))
                    for name in ("textures", "class_index", "image_index")
                },
            },
            Path(path),
        )

    @classmethod
    def load(cls, path: Path, device: str = "auto") -> Machine:
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError
            When the run has no trained machine yet.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no trained machine at {path}; run the study first (make STUDY=...)")
        saved = torch.load(path, map_location="cpu", weights_only=True)
        config = TrainingConfig(**{**saved["config"], "device": device})
        members = []
        for member in saved["members"]:
            # The saved state holds everything; starting weights are not read again.
            net = EmbeddingNet(config.backbone, "", config.embedding_dim, config.told_scale)
            net.load_state_dict(member["net"])
            net.to(memory_format=torch.channels_last)
            # The head is fitted anew: from the same points it becomes the same.
            points = (member[k].numpy() for k in ("embeddings", "class_index", "image_index"))
            classifier = make_classifier(*points, len(saved["classes"]), config)
            members.append((net, classifier))
        forest = None
        if saved["forest"] is not None:
            points = (saved["forest"][k].numpy() for k in ("textures", "class_index", "image_index"))
            forest = ScatteringForest(*points, len(saved["classes"]), config.seed)
        return cls(config, saved["classes"], members, forest, saved["threshold"])


def thinned(index: np.ndarray, labels: np.ndarray, config: TrainingConfig, draw: int) -> np.ndarray:
    """At most ``max_train_images`` of the images ``index``, drawn class by class; all of them when that is 0.

    Raises
    ------
    ValueError
        When fewer images than classes are asked for.
    """
    limit = config.max_train_images
    if not 0 < limit < len(index):
        return index
    labels = labels[index]
    if limit < (n_classes := len(np.unique(labels))):
        raise ValueError(f"max_train_images={limit} is fewer than the {n_classes} classes")
    # Shuffled, then the first of every class, the second of every class, ...: each class gets its share.
    shuffled = np.random.default_rng([config.seed, draw]).permutation(len(index))
    turn = pd.Series(labels[shuffled]).groupby(labels[shuffled]).cumcount().to_numpy()
    return np.sort(index[shuffled[np.argsort(turn, kind="stable")[:limit]]])


def folds_of(training: pd.DataFrame, config: TrainingConfig) -> list[tuple[np.ndarray, np.ndarray]]:
    """Grouped folds of the training rows: (train, validation) positions, the former thinned where asked for.

    Raises
    ------
    ValueError
        When fewer images than classes are asked for.
    """
    folds = []
    for f, (train_index, valid_index) in enumerate(splits.group_folds(training, config.n_folds, config.seed)):
        train_index, valid_index = np.sort(train_index), np.sort(valid_index)
        folds.append((thinned(train_index, training["label"].to_numpy(), config, f), valid_index))
    return folds


@dataclass
class TrainingResult:
    """What `train` gives: the machine, and what cross-validation said of it.

    ``machine`` is None when only cross-validation was asked for. ``history`` has one row an epoch of every network.
    ``held_out`` has one row a training image: file, label, split_group, answer (never "none of these"), distance,
    correct.
    """

    machine: Machine | None
    history: pd.DataFrame
    held_out: pd.DataFrame


def train(
    manifest: pd.DataFrame, config: TrainingConfig, run_dir: Path | None = None, *, only_validate: bool = False
) -> TrainingResult:
    """Cross-validate on the manifest's training rows, then train the machine on all of them.

    Parameters
    ----------
    manifest : DataFrame
        As `manifests.read_manifest` gives it; quiz rows are not looked at.
    config : TrainingConfig
    run_dir : Path, optional
        Where checkpoints go (``checkpoint-*.pt``).
    only_validate : bool
        Leave the machine out.

    Returns
    -------
    TrainingResult
    """
    device = resolve_device(config.device)
    training = manifest[manifest["split"] == "train"].reset_index(drop=True)
    classes = manifests.classes(manifest)
    class_index = training["label"].map({c: i for i, c in enumerate(classes)}).to_numpy()
    images = [reading.read_image(p) for p in training["path"]]
    crops = ImageCrops(images, training["pixels_per_um"], config)
    histories, held_out, members = [], [], []
    make_forest = ForestMaker(images, training, crops) if config.uses_textures else None

    def forest_of(train_index):
        return make_forest and make_forest(train_index, class_index, len(classes))

    def classifier_of(net, train_index):
        """The classifier on these images' crops, and all crops' points."""
        points = embed(net, crops.crops, crops.log2_pixels_per_um, device)
        ours = crops.of(train_index)
        index = crops.image_index[ours]
        return make_classifier(points[ours], class_index[index], index, len(classes), config), points

    def fit(name, train_index, seed, validate=None):
        net, history = fit_network(
            images,
            training,
            train_index,
            dataclasses.replace(config, seed=seed),
            validate=validate,
            checkpoint=run_dir / f"checkpoint-{name.replace(' ', '-')}.pt" if run_dir is not None else None,
            description=name,
        )
        histories.append(history.assign(network=name))
        return net

    for f, (train_index, valid_index) in enumerate(folds_of(training, config)):
        theirs = crops.of(valid_index)
        position = np.searchsorted(valid_index, crops.image_index[theirs])

        def judge(net, train_index=train_index, theirs=theirs, position=position):
            classifier, points = classifier_of(net, train_index)
            return classifier.image_scores(points[theirs], position, position.max() + 1)

        def share_right(net, judge=judge, right=class_index[valid_index]):
            return (judge(net)[0].argmax(axis=1) == right).mean()

        net = fit(f"fold {f + 1} of {config.n_folds}", train_index, config.seed * 1000 + f, share_right)
        probability, distance = judge(net)
        if forest := forest_of(train_index):
            by_forest = forest.image_scores(crops.textures[theirs], position, len(valid_index))
            probability, distance = mixed((probability, distance), by_forest, config)
        rows = training.iloc[valid_index][["file", "label", "split_group"]].copy()
        rows["answer"] = [classes[i] for i in probability.argmax(axis=1)]
        rows["distance"] = distance
        held_out.append(rows)
    held_out = pd.concat(held_out, ignore_index=True)
    held_out["correct"] = held_out["answer"] == held_out["label"]
    machine = None
    if not only_validate:
        for k in range(config.n_members):
            index = thinned(np.arange(len(training)), training["label"].to_numpy(), config, 100 + k)
            net = fit(f"machine {k + 1} of {config.n_members}", index, config.seed * 1000 + 100 + k)
            members.append((net, classifier_of(net, index)[0]))
        # On what the first network learned from, where only a part of the images is used.
        index = thinned(np.arange(len(training)), training["label"].to_numpy(), config, 100)
        threshold = float(np.quantile(held_out["distance"], config.accept_share))
        machine = Machine(config, classes, members, forest_of(index), threshold)
    return TrainingResult(machine, pd.concat(histories, ignore_index=True), held_out)


def score_with_intervals(truth, answers, groups, n_bootstrap: int = 2000, seed: int = 0) -> dict:
    """Accuracy and balanced accuracy with 95 % intervals from a bootstrap over specimens.

    Images of one specimen resemble each other, so whole specimens are drawn, with replacement; an interval over
    single images would be too narrow. Balanced accuracy is the mean over classes of each class's share correct,
    of the classes present in the draw.

    Parameters
    ----------
    truth, answers, groups : sequences (n,)
        Right label, given answer, and specimen of each image.
    n_bootstrap, seed : int

    Returns
    -------
    dict
        ``accuracy`` and ``balanced_accuracy``, each a dict of value, low, high; and ``n``.
    """
    truth, answers = np.asarray(truth, dtype=object), np.asarray(answers, dtype=object)
    correct = (truth == answers).astype(float)
    class_names, class_index = np.unique(truth.astype(str), return_inverse=True)
    _, group_index = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    n_groups = group_index.max() + 1
    hits = np.zeros((n_groups, len(class_names)))
    totals = np.zeros_like(hits)
    np.add.at(hits, (group_index, class_index), correct)
    np.add.at(totals, (group_index, class_index), 1.0)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_bootstrap)

    def both(w):
        h, t = w @ hits, w @ totals
        with np.errstate(invalid="ignore"):
            return h.sum(-1) / t.sum(-1), np.nanmean(np.where(t > 0, h / t, np.nan), axis=-1)

    values = both(np.ones(n_groups))
    draws = both(weights)
    return {"n": int(len(truth))} | {
        name: {
            "value": float(value),
            "low": float(np.quantile(draw, 0.025)),
            "high": float(np.quantile(draw, 0.975)),
        }
        for name, value, draw in zip(("accuracy", "balanced_accuracy"), values, draws, strict=True)
    }


def scale_alone(train: pd.DataFrame, test: pd.DataFrame, neighbours: int = 5) -> np.ndarray:
    """Answers of a classifier that sees log(pixels per um) and nothing else: the control for confounding."""
    control = KNeighborsClassifier(min(neighbours, len(train)))
    control.fit(np.log(train[["pixels_per_um"]].to_numpy()), train["label"])
    return control.predict(np.log(test[["pixels_per_um"]].to_numpy()))


def scale_probe(machine: Machine, train: ImageCrops, test: ImageCrops) -> float:
    """How well the crops' log2 scale can be read off the backbone's features: R2 of a ridge regression.

    Fitted on the training images' crops, measured on the test images'. What the head is told does not enter.
    A value near 0 means that interpolation and sampling leave no trace; near 1 that they give the scale away.
    """
    device = resolve_device(machine.config.device)
    net = machine.members[0][0].to(device)

    @torch.inference_mode()
    def features(crops):
        parts = []
        for start in range(0, len(crops), 256):
            x = torch.from_numpy(crops[start : start + 256].astype(np.float32))[:, None].to(device)
            with _autocast(device):
                parts.append(net.features(x).float().cpu().numpy())
        return np.concatenate(parts)

    x_train, x_test = features(train.crops), features(test.crops)
    mean, std = x_train.mean(axis=0), x_train.std(axis=0) + 1e-6
    probe = Ridge(alpha=10.0).fit((x_train - mean) / std, train.log2_pixels_per_um)
    return float(probe.score((x_test - mean) / std, test.log2_pixels_per_um))


def image_crops(rows: pd.DataFrame, config: TrainingConfig) -> ImageCrops:
    """Read the images of these manifest rows and cut the crops by which they are judged."""
    return ImageCrops([reading.read_image(p) for p in rows["path"]], rows["pixels_per_um"], config)


def evaluate(manifest: pd.DataFrame, result: TrainingResult) -> tuple[dict, pd.DataFrame | None]:
    """Open the quiz once: the metrics of a trained machine and its scores on the quiz images.

    Parameters
    ----------
    manifest : DataFrame
    result : TrainingResult

    Returns
    -------
    dict
        Quiz accuracy and balanced accuracy with intervals, the scale-alone control, the scale probe, the
        cross-validated figures, the threshold, and the AUROC of the distance for "none of these"; what a
        manifest without quiz rows cannot give is None, with the reason under ``skipped``.
    DataFrame or None
        As `Machine.scores`.
    """
    machine, held_out = result.machine, result.held_out
    train_rows = manifest[manifest["split"] == "train"]
    quiz = manifest[manifest["split"] == "quiz"].reset_index(drop=True)
    validation = score_with_intervals(held_out["label"], held_out["answer"], held_out["split_group"])
    metrics = {
        "accuracy": None,
        "balanced_accuracy": None,
        "scale_alone": None,
        "scale_probe_r2": None,
        "auroc_none": None,
        "threshold": machine.threshold,
        "validation": validation,
        "seconds": float(result.history["seconds"].sum()),
        "n_train": len(train_rows),
        "n_quiz": len(quiz),
        "skipped": [],
    }
    if quiz.empty:
        metrics["skipped"].append("the manifest has no quiz rows: no quiz accuracy, controls or answer sheet")
        return metrics, None
    crops = image_crops(quiz, machine.config)
    scores = machine.scores(quiz["file"], crops)
    truth = manifests.truth(manifest).reindex(quiz["file"]).to_numpy()
    metrics |= score_with_intervals(truth, scores["answer"], quiz["split_group"])
    control = scale_alone(train_rows, quiz)
    metrics["scale_alone"] = score_with_intervals(truth, control, quiz["split_group"])
    metrics["scale_probe_r2"] = scale_probe(machine, image_crops(train_rows, machine.config), crops)
    is_none = truth == NONE_OF_THESE
    if is_none.any() and not is_none.all():
        metrics["auroc_none"] = float(roc_auc_score(is_none, scores["distance"]))
        known = ~is_none
        best = scores[machine.classes].to_numpy().argmax(axis=1)
        closed = np.array(machine.classes, dtype=object)[best]
        metrics["five_classes_without_none"] = score_with_intervals(truth[known], closed[known], quiz["split_group"][known])
    else:
        metrics["skipped"].append("the quiz has no image of 'none of these': no AUROC")
    return metrics, scores


def left_out_classes(manifest: pd.DataFrame, config: TrainingConfig) -> pd.DataFrame:
    """How well each rule tells a class that was never shown from the known ones, without opening the quiz.

    Each class in turn is left out; a network is trained on the first fold of the others, and the images of the class
    left out are told from the held-out images of the others by their unlikeness.

    Parameters
    ----------
    manifest : DataFrame
    config : TrainingConfig

    Returns
    -------
    DataFrame
        left_out, rule (one of `models.NONE_RULES`), n_known, n_unknown, auroc. Empty with fewer than three classes.
    """
    device = resolve_device(config.device)
    training = manifest[manifest["split"] == "train"].reset_index(drop=True)
    classes = manifests.classes(manifest)
    crops = image_crops(training, config)
    images = [reading.read_image(p) for p in training["path"]]
    make_forest = ForestMaker(images, training, crops)
    rows = []
    for left_out in classes if len(classes) > 2 else ():
        unknown = np.flatnonzero(training["label"] == left_out)
        known = np.flatnonzero(training["label"] != left_out)
        train_part, valid_part = folds_of(training.iloc[known].reset_index(drop=True), config)[0]
        train_index, valid_index = known[train_part], known[valid_part]
        net, _ = fit_network(images, training, train_index, config, description=f"without {left_out}")
        points = embed(net, crops.crops, crops.log2_pixels_per_um, device)
        names = [c for c in classes if c != left_out]
        ours = crops.of(train_index)
        index = crops.image_index[ours]
        # The class left out has the number -1 and no crop among those learned from.
        class_index = training["label"].map({c: i for i, c in enumerate(names)}).fillna(-1).to_numpy().astype(int)
        judged = np.concatenate([valid_index, unknown])
        theirs = np.isin(crops.image_index, judged)
        _, position = np.unique(crops.image_index[theirs], return_inverse=True)
        is_unknown = np.isin(np.sort(judged), unknown)
        for rule in NONE_RULES:
            if rule == "texture":
                judge, seen = make_forest(train_index, class_index, len(names)), crops.textures
            else:
                by_rule = dataclasses.replace(config, none_rule=rule)
                judge, seen = make_classifier(points[ours], class_index[index], index, len(names), by_rule), points
            unlike = judge.image_scores(seen[theirs], position, len(judged))[1]
            rows.append((left_out, rule, len(valid_index), len(unknown), float(roc_auc_score(is_unknown, unlike))))
    return pd.DataFrame(rows, columns=["left_out", "rule", "n_known", "n_unknown", "auroc"])


@dataclass
class Explanation:
    """Why the machine answered as it did for one image.

    Attributes
    ----------
    answer, runner_up : str
        The two classes that the machine finds most probable for the whole image.
    evidence : array (H, W)
        Of each place, the probability of the answer minus that of the runner-up, averaged over the crops that cover
        it, at all fields of view, and mixed over networks and forest as the answer is: from -1 to 1.
    pairs : list of dict
        The image's crops that lie nearest to a training crop, one pair a training image: ``place`` and
        ``training_place`` (centre x, centre y, side in pixels), ``training_image`` (row of the training images),
        ``cosine``.
    """

    answer: str
    runner_up: str
    evidence: np.ndarray
    pairs: list[dict]


def explain(
    machine: Machine, image: np.ndarray, pixels_per_um: float, training_places: ImageCrops, n_pairs: int = 3
) -> Explanation:
    """Explain an answer by where in the image it came from and by the training crops it rests on.

    The machine's answer is a mean over crops. The map shows, crop by crop, what is averaged, on a denser grid than the
    answer's: four places to a crop's length along each side, at most 12.

    Parameters
    ----------
    machine : Machine
    image : array (H, W) of float32
    pixels_per_um : float
    training_places : ImageCrops
        The crops of all training images, in the order of the manifest's training rows.
    n_pairs : int

    Returns
    -------
    Explanation
    """
    config, device = machine.config, resolve_device(machine.config.device)
    height, width = image.shape
    places = []
    for side in np.unique(config.places(image.shape, pixels_per_um)[:, 2]):
        steps = [min(12, max(1, round(4 * (length - side) / side) + 1)) for length in (width, height)]
        x, y = (np.linspace(side / 2, length - side / 2, n) for length, n in zip((width, height), steps, strict=True))
        places += [(cx - 0.5, cy - 0.5, side) for cy in y for cx in x]
    places = np.array(places)
    crops, scales = augment.cut_places(image, pixels_per_um, places, config.crop_px)
    log2_scale = np.log2(scales).astype(np.float32)
    probability, pairs = 0, []
    for number, (net, classifier) in enumerate(machine.members):
        points = embed(net.to(device), crops, log2_scale, device)
        probability = probability + classifier.crop_scores(points)[0] / len(machine.members)
        if number == 0:
            cosine = points @ classifier.embeddings.T
            order = np.argsort(cosine.max(axis=1))[::-1]
            own = training_places.of(np.unique(classifier.image_index))
            for i in order:
                j = int(cosine[i].argmax())
                source = int(classifier.image_index[j])
                if source not in {p["training_image"] for p in pairs}:
                    pairs.append({"place": places[i], "training_place": training_places.places[own[j]],
                                  "training_image": source, "cosine": float(cosine[i, j])})  # fmt: skip
                if len(pairs) == n_pairs:
                    break
    if machine.forest is not None:
        by_forest = machine.forest.crop_scores(textures_of(crops, log2_scale, config))
        probability, _ = mixed((probability, None), by_forest, config)
    # As the machine answers, from fewer crops: where two classes are close, the many of the map may lean the other way.
    answer, runner_up = np.argsort(machine.judge(ImageCrops([image], [pixels_per_um], config))[0][0])[::-1][:2]
    total, weight = np.zeros(image.shape), np.zeros(image.shape)
    for (x, y, side), p in zip(places, probability, strict=True):
        left, top = max(0, round(x + 0.5 - side / 2)), max(0, round(y + 0.5 - side / 2))
        window = (slice(top, top + round(side)), slice(left, left + round(side)))
        # Each field of view counts for as much, however many crops it takes to cover the image.
        share = 1 / (places[:, 2] == side).sum()
        total[window] += share * (p[answer] - p[runner_up])
        weight[window] += share
    evidence = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    return Explanation(machine.classes[answer], machine.classes[runner_up], evidence, pairs)


def interesting_images(scores: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """The quiz images worth explaining: the surest right, the least sure right and the surest wrong answer.

    Returns
    -------
    DataFrame
        Rows of ``scores`` with a column ``why``; those that there are.
    """
    right = scores["answer"].to_numpy() == truth.reindex(scores["image"]).to_numpy()
    ordered = scores.sort_values("score", ascending=False)
    rights, wrongs = ordered[right[ordered.index]], ordered[~right[ordered.index]]
    picks = [
        rights.head(1).assign(why="surest right"),
        rights.iloc[1:].tail(1).assign(why="least sure right"),
        wrongs.head(1).assign(why="surest wrong"),
    ]
    return pd.concat([p for p in picks if len(p)], ignore_index=True)


def answer_sheet(scores: pd.DataFrame, quiz_id: str) -> pd.DataFrame:
    """The machine's scores as an answer sheet, in the same form as a reader's."""
    return pd.DataFrame(
        {
            "quiz": quiz_id,
            "image": scores["image"],
            "decision_maker": "machine",
            "kind": "machine",
            "answer": scores["answer"],
            "confidence": scores["score"],
        }
    )


def embedding_table(machine: Machine, manifest: pd.DataFrame) -> pd.DataFrame:
    """Mean embedding of each image by the first network: image, split, label, e0, e1, ..."""
    crops = image_crops(manifest, machine.config)
    device = resolve_device(machine.config.device)
    points = embed(machine.members[0][0].to(device), crops.crops, crops.log2_pixels_per_um, device)
    mean = np.stack([points[crops.image_index == i].mean(axis=0) for i in range(crops.n_images)])
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    truth = manifests.truth(manifest)
    label = [truth.get(f, own) for f, own in zip(manifest["file"], manifest["label"], strict=True)]
    frame = pd.DataFrame({"image": manifest["file"].to_numpy(), "split": manifest["split"].to_numpy(), "label": label})
    return pd.concat([frame, pd.DataFrame(mean, columns=[f"e{i}" for i in range(mean.shape[1])])], axis=1)


def predict(run_dir, manifest_path, out, device: str = "auto") -> pd.DataFrame:
    """Answer new images with a trained run.

    Parameters
    ----------
    run_dir : path
        Of a study in which notebook 02 has finished.
    manifest_path : path
        CSV with ``file`` and ``pixels_per_um`` (or files that carry their scale); labels are not needed.
    out : path
        CSV to write: image, answer, score, then one column a class.
    device : str

    Returns
    -------
    DataFrame
        What was written.
    """
    machine = Machine.load(Path(run_dir) / "weights.pt", device)
    manifest = manifests.read_manifest(manifest_path, labels_required=False)
    scores = machine.scores(manifest["file"], image_crops(manifest, machine.config)).drop(columns="distance")
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    scores.to_csv(temporary, index=False)
    os.replace(temporary, out)
    return scores


def benchmark(config: TrainingConfig | None = None) -> pd.DataFrame:
    """Time the parts of training on this machine.

    Returns
    -------
    DataFrame
        part, milliseconds (median of 30), what of.
    """
    config = config or TrainingConfig()
    device = resolve_device(config.device)
    image = np.random.default_rng(0).random((480, 640), dtype=np.float32)
    net = EmbeddingNet(config.backbone, "", config.embedding_dim).to(device, memory_format=torch.channels_last)
    crops = torch.rand(config.batch_size, 1, config.crop_px, config.crop_px).to(device)
    crops = crops.contiguous(memory_format=torch.channels_last)
    scale = torch.rand(config.batch_size, device=device)
    labels = torch.arange(config.batch_size, device=device) % 5
    criterion = MetricLoss(config.loss, 5, config.embedding_dim).to(device)
    optimiser = torch.optim.AdamW(net.parameters())

    def step():
        net.train()
        with _autocast(device):
            embedded = net(crops, scale)
        optimiser.zero_grad()
        criterion(embedded.float(), labels)[0].backward()
        optimiser.step()

    def judged():
        images = ImageCrops([image], [10.0], config)
        embed(net, images.crops, images.log2_pixels_per_um, device)

    parts = {"a training step": (step, f"{config.batch_size} crops of {config.crop_px} px on {device}")}
    parts["scattering coefficients"] = (lambda: scattering.coefficients(crops[:8, 0].cpu().numpy()), "of 8 crops")
    parts["an image judged"] = (judged, "640 x 480 px at 10 px/um, by one network")
    for name in augment.PIPELINES:
        pipeline = dataclasses.replace(config, pipeline=name).make_pipeline()
        call = lambda pipeline=pipeline: pipeline(image=image, pixels_per_um=10.0)  # noqa: E731
        parts[f"a crop by pipeline {name}"] = (call, f"640 x 480 px to {config.crop_px} px")
    rows = []
    for part, (call, what) in parts.items():
        call()
        seconds = []
        for _ in range(30):
            started = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - started)
        rows.append((part, 1e3 * float(np.median(seconds)), what))
    return pd.DataFrame(rows, columns=["part", "milliseconds", "of"])


if __name__ == "__main__":
    print(benchmark().round(2).to_string(index=False))
