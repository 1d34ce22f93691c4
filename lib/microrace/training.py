"""How the machine is taught and kept: settings, kept features, folds, heads, and the file of the trained machine."""

from __future__ import annotations

import ast
import dataclasses
import gc
import hashlib
import inspect
import json
import textwrap
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import albumentations as A
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

import micrographs as mg
from micrographs import NONE_OF_THESE, group_folds, read_image
from microrace import augment, network, paths, scale
from microrace.network import EmbeddingHead, MetricLoss, OutlierScore, Prototypes, Whitening, reason_of
from microrace.whole import written_whole

SCALE_HANDLING = ("none", "normalised", "input", "both")
# Learning rate of a head that learns together with its backbone.
NETWORK_RATE = 1e-3
# Decoded images that a process keeps while a network learns.
_read = lru_cache(400)(read_image)


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides what a training run gives, besides the manifest.

    Attributes
    ----------
    backbone, weights : str
        As in `network.build_backbone`.
    backbone_rate : float
        Learning rate of the backbone as a share of `NETWORK_RATE`. At 0 it stays as it is and its features are computed
        once; above, every network fine-tunes a backbone of its own.
    embedding_dim : int
        Dimensions of the embedding.
    scale_handling : str
        ``none``: crops of a share of the image, scale unknown; ``normalised``: crops at fixed physical fields of
        view; ``input``: heads are given log2 of the crop's scale; ``both``.
    pipeline : str
        Augmentation, one of `augment.PIPELINES`.
    without : str
        A transformation to leave out of the pipeline, or empty.
    augmented_crops : int
        Augmented crops of each training image that a head learns from, besides those by which images are judged.
    crop_px : int
        Side of the square crops.
    crops_per_field : int
        Crops at each field of view when an image is judged.
    loss : str
        One of `network.LOSSES`; ``triplet`` mines semi-hard triplets.
    epochs, crops_per_epoch, batch_size : int
    learning_rate, weight_decay : float
        Of AdamW with one cosine cycle.
    n_folds : int
        Grouped folds of cross-validation.
    n_members : int
        Heads whose probabilities are averaged; they differ in their seed.
    max_train_images : int
        Train on at most so many images (see `subset`); 0 takes all. For learning curves.
    acceptance_rate : float
        Share of held-out training images that "none of these" must leave alone.
    seed : int
        Of folds, heads and draws of crops. The augmented crops themselves are those of seed 0 in every run, so that
        runs of other seeds need no features of their own.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    workers : int
        Processes that cut crops; the result does not depend on it.
    """

    backbone: str = "lite0"
    weights: str = network.PUBLISHED
    backbone_rate: float = 0.0
    embedding_dim: int = 16
    scale_handling: str = "both"
    pipeline: str = "full"
    without: str = ""
    augmented_crops: int = 12
    crop_px: int = 128
    crops_per_field: int = 4
    loss: str = "triplet"
    epochs: int = 16
    crops_per_epoch: int = 1024
    batch_size: int = 64
    learning_rate: float = 6e-3
    weight_decay: float = 1e-2
    n_folds: int = 5
    n_members: int = 3
    max_train_images: int = 0
    acceptance_rate: float = 0.97
    seed: int = 0
    device: str = "auto"
    workers: int = 2

    def __post_init__(self):
        for name, known in (("scale_handling", SCALE_HANDLING), ("loss", network.LOSSES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is not known; take one of {', '.join(known)}")
        lowest = dict.fromkeys("epochs crops_per_epoch batch_size crop_px crops_per_field n_members".split(), 1)
        lowest |= dict.fromkeys("augmented_crops max_train_images backbone_rate workers seed".split(), 0)
        for name, least in {**lowest, "n_folds": 2, "embedding_dim": 2}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if not 0 < self.acceptance_rate < 1:
            raise ValueError(f"acceptance_rate must lie between 0 and 1, not {self.acceptance_rate}")
        # Refuses an unknown pipeline or transformation now and not in the middle of the first epoch.
        self.make_pipeline()

    @property
    def fields_of_view_um(self):
        """Physical fields of view of the crops, or None where scale is not normalised."""
        return scale.FIELDS_OF_VIEW_UM if self.scale_handling in ("normalised", "both") else None

    @property
    def scale_input(self) -> bool:
        """Whether heads are given the scale."""
        return self.scale_handling in ("input", "both")

    @property
    def cutting(self) -> dict:
        """What decides how crops are cut, for training and for judging alike."""
        return {"crop_px": self.crop_px, "fields_of_view_um": self.fields_of_view_um}

    def make_pipeline(self) -> A.Compose:
        """The augmentation of training crops."""
        return augment.build_pipeline(self.pipeline, without=(self.without,) if self.without else (), **self.cutting)

    def crop_positions(self, shape, pixels_per_um: float) -> np.ndarray:
        """Where the crops lie by which an image of this shape and scale is judged; see `scale.crop_positions`."""
        return scale.crop_positions(shape, pixels_per_um, crops_per_field=self.crops_per_field, **self.cutting)


@dataclass
class CropFeatures:
    """Features of the crops of some images.

    Attributes
    ----------
    values : array (n_crops, n_features) of float32
    log2_pixels_per_um : array (n_crops,)
    image_index : array (n_crops,) of int
        Which image a crop is of.
    """

    values: np.ndarray
    log2_pixels_per_um: np.ndarray
    image_index: np.ndarray

    def select(self, images) -> CropFeatures:
        """The crops of these images (positions, in any order), which keep their numbers."""
        ours = np.flatnonzero(np.isin(self.image_index, images))
        return CropFeatures(self.values[ours], self.log2_pixels_per_um[ours], self.image_index[ours])

    def image_means(self, of_crops) -> np.ndarray:
        """Means (n_images, ...) of a number of each crop (n_crops, ...), in the order of the images' numbers.

        Each field of view of an image counts alike, however many crops it supplies: where an image is enlarged, its many
        small fields show nothing but blur.
        """
        _, image = np.unique(self.image_index, return_inverse=True)
        fields, field = np.unique(np.stack([image, self.log2_pixels_per_um]), axis=1, return_inverse=True)
        return network.image_means(network.image_means(of_crops, field.ravel()), fields[0].astype(int))


class CropsOfImages(Dataset):
    """All crops of one image an item: position, crops (n, crop_px, crop_px) or their features, log2 scales (n,).

    Parameters
    ----------
    rows : DataFrame
        With ``path`` and ``pixels_per_um``.
    config : TrainingConfig
    augmented : bool
        ``augmented_crops`` augmented ones, always of seed 0, instead of those by which the image is judged.
    backbone : Module, optional
        Gives features in place of crops: on the processor, two processes of one thread get through an image faster than
        one of two, and the number of threads, on which the last bit depends, is always the same.
    change : callable, optional
        As for `FeatureStore`.
    """

    def __init__(self, rows: pd.DataFrame, config: TrainingConfig, augmented: bool, backbone=None, change=None):
        self.paths, self.pixels_per_um = list(rows["path"]), list(rows["pixels_per_um"])
        self.config, self.augmented, self.backbone, self.change = config, augmented, backbone, change
        self.pipeline = config.make_pipeline()

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        image, pixels_per_um = read_image(self.paths[i]), self.pixels_per_um[i]
        if self.augmented:
            numbers = range(self.config.augmented_crops)
            drawn = [augment.augmented(self.pipeline, image, pixels_per_um, 0, 0, k) for k in numbers]
            crops, log2_scales = (np.stack(part) for part in zip(*drawn, strict=True))
        elif self.change:
            crops, scales = self.change(image, pixels_per_um, self.config)
            log2_scales = np.log2(scales).astype(np.float32)
        else:
            positions = self.config.crop_positions(image.shape, pixels_per_um)
            crops, scales = scale.cut_crops(image, pixels_per_um, positions, self.config.crop_px)
            log2_scales = np.log2(scales).astype(np.float32)
        if self.backbone is not None:
            with network.one_thread():
                crops = network.features_of(self.backbone, crops, "cpu")
        return i, crops, log2_scales


def _loader(dataset: Dataset, workers: int, **options) -> DataLoader:
    """A DataLoader of ``workers`` processes, none where a batch is all there is."""
    # Python may put off freeing an earlier loader until it is inside a process of this one, whose own it is not, which
    # then complains at length; so what is left over is freed first.
    gc.collect()
    return DataLoader(dataset, num_workers=workers if len(dataset) > 1 else 0, **options)


@cache
def _source_hash(*objects) -> str:
    """A hash of the code of modules, classes and functions, without its comments and layout."""
    trees = [ast.dump(ast.parse(textwrap.dedent(inspect.getsource(o)))) for o in objects]
    return hashlib.sha256("\n".join(trees).encode()).hexdigest()


class FeatureStore:
    """Features of crops, computed once and kept on disk: one small file an image and a way of cutting it.

    A file's name is a hash of everything that decides its content: the image's bytes, its scale, how it is cut, every
    transformation's parameters, the backbone, its weights, and the code that does all this. Whatever is asked for again is
    read; a file is written whole or not at all, so that several processes may fill one folder. Images are streamed: memory
    does not grow with their number.

    Parameters
    ----------
    config : TrainingConfig
        Of it count the backbone and its weights, and how crops are cut and augmented.
    backbone : Module, optional
        One that was trained further, whose features are not kept; without it the configuration's.
    folder : path, optional
        Where the files lie; `paths.FEATURES` unless told otherwise.
    change : callable, optional
        ``change(image, pixels_per_um, config)`` gives the crops by which a changed image is judged, and their scales. Its
        ``repr`` and the code of its class are part of a file's name.
    """

    def __init__(self, config: TrainingConfig, backbone=None, folder=None, change=None):
        self.change, self.config, self.device = change, config, network.resolve_device(config.device)
        self._backbone, self.kept = backbone, backbone is None
        self.folder = Path(folder or paths.FEATURES)

    @property
    def backbone(self):
        """The backbone, made when it is first needed."""
        if self._backbone is None:
            torch.manual_seed(self.config.seed)
            self._backbone = network.build_backbone(self.config.backbone, self.config.weights)
        return self._backbone.to(self.device, memory_format=torch.channels_last)

    def _way(self, augmented: bool) -> str:
        """Everything but the image that decides what its features are."""
        config = self.config
        makers = (scale, network.Backbone, network.build_backbone, network.standardise, network.features_of, CropsOfImages)
        way = [
            _source_hash(inspect.getmodule(read_image), *makers), network.DEPTHS, config.cutting, config.backbone,
            network.weights_id(config.backbone, config.weights), config.weights or config.seed,
        ]  # fmt: skip
        if augmented:
            way += [_source_hash(augment), A.to_dict(config.make_pipeline())]
        else:
            way.append(config.crops_per_field)
        if self.change:
            way += [repr(self.change), _source_hash(augment, type(self.change))]
        return json.dumps(way, sort_keys=True)

    def files(self, rows: pd.DataFrame, augmented: bool = False) -> list[Path]:
        """The file of each image's features; see `stream`."""
        way, images = self._way(augmented), zip(rows["sha256"], rows["pixels_per_um"], strict=True)
        keys = [hashlib.sha256(f"{way} {sha256} {float(scale)!r}".encode()).hexdigest() for sha256, scale in images]
        return [self.folder / key[:2] / f"{key[2:34]}.npz" for key in keys]

    def _read(self, path: Path, augmented: bool):
        """Features and log2 scales from a file, or None when it is not there, not whole, or of too few crops."""
        n = self.config.augmented_crops if augmented else None
        try:
            with np.load(path) as found:
                values, scales = found["values"].astype(np.float32), found["log2_pixels_per_um"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        # The first crops of a longer row are those of a shorter one.
        return (values[:n], scales[:n]) if n is None or len(values) >= n else None

    def stream(self, rows: pd.DataFrame, augmented: bool = False) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Features image by image, those on disk first.

        Each image's crops are a batch of their own: in other company the last bit may differ, and then a run that was
        interrupted would not end with the bytes of one that was not.

        Parameters
        ----------
        rows : DataFrame
            Of a manifest: ``path``, ``pixels_per_um``, ``sha256``.
        augmented : bool
            Of augmented crops, instead of those by which images are judged.

        Yields
        ------
        position in ``rows``, array (n_crops, n_features) of float32, log2 scales (n_crops,)
        """
        files, missing = self.files(rows, augmented), []
        for i, file in enumerate(files):
            found = self._read(file, augmented) if self.kept else None
            if found:
                yield i, *found
            else:
                missing.append(i)
        if not missing:
            return
        on_processor = self.device.type == "cpu"
        backbone = self.backbone if on_processor else None
        dataset = CropsOfImages(rows.iloc[missing], self.config, augmented, backbone, self.change)
        images = _loader(dataset, self.config.workers, batch_size=None)
        name = "features of augmented crops" if augmented else "features of crops"
        for k, found, scales in tqdm(images, total=len(dataset), desc=name, unit="image"):
            values = np.asarray(found if on_processor else network.features_of(self.backbone, found, self.device))
            # Half precision halves the disk and is finer than two crops of one position differ.
            half, scales = values.astype(np.float16), np.asarray(scales)
            if self.kept:
                with written_whole(files[missing[k]]) as file:
                    np.savez(file, values=half, log2_pixels_per_um=scales)
            yield missing[k], half.astype(np.float32), scales

    def features(self, rows: pd.DataFrame, augmented: bool = False) -> CropFeatures:
        """Features of all crops of these images, in their order; see `stream`."""
        images, values, scales = zip(*sorted(self.stream(rows, augmented), key=lambda item: item[0]), strict=True)
        return CropFeatures(np.concatenate(values), np.concatenate(scales), np.repeat(images, [len(v) for v in values]))

    def for_training(self, rows: pd.DataFrame) -> tuple[CropFeatures, CropFeatures]:
        """What heads learn from and what judges: all crops, augmented ones among them, and those of judging alone."""
        judged = self.features(rows)
        if not self.config.augmented_crops:
            return judged, judged
        both = zip(dataclasses.astuple(judged), dataclasses.astuple(self.features(rows, augmented=True)), strict=True)
        return CropFeatures(*map(np.concatenate, both)), judged


def draw_images(labels, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n image positions: every class equally often and in turn, and inside a class every image.

    Parameters
    ----------
    labels : array (n_images,)
    n : int
    rng : numpy Generator

    Returns
    -------
    array (n,) of int
    """
    names, class_index = np.unique(labels, return_inverse=True)
    turns = np.concatenate([rng.permutation(len(names)) for _ in range(-(-n // len(names)))])[:n]
    drawn = np.empty(n, dtype=int)
    for c in range(len(names)):
        drawn[turns == c] = rng.choice(np.flatnonzero(class_index == c), int((turns == c).sum()))
    return drawn


def _fit(batches, embed, criterion, parameters, labels, train_index, config: TrainingConfig) -> pd.DataFrame:
    """The loop that heads and fine-tuned networks share; the history, one row an epoch.

    ``batches(drawn, epoch, rng)`` yields (inputs, images) of the images drawn, ``embed(*inputs)`` gives points. All
    randomness of an epoch comes from (seed, epoch).
    """
    steps, rows = max(1, config.crops_per_epoch // config.batch_size), []
    optimiser = torch.optim.AdamW(parameters, weight_decay=config.weight_decay)
    rates = [group["lr"] for group in parameters]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=config.epochs * steps, pct_start=0.2)
    for epoch in range(config.epochs):
        seen, rng = [], np.random.default_rng([config.seed, epoch])
        torch.manual_seed(config.seed * 100_003 + epoch)
        drawn = train_index[draw_images(labels[train_index], steps * config.batch_size, rng)]
        for inputs, images in batches(drawn, epoch, rng):
            points = embed(*inputs).float()
            loss, active = criterion(points, torch.from_numpy(labels[images]).to(points.device))
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss became {loss.item()} in epoch {epoch + 1}; lower learning_rate")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            seen.append((loss.item(), active, points.detach().std(dim=0).mean().item()))
        means = dict(zip(("loss", "active_triplets", "spread"), np.mean(seen, axis=0), strict=True))
        rows.append({"epoch": epoch + 1, **means})
    return pd.DataFrame(rows)


def _fit_head(features: CropFeatures, whitening: Whitening, labels, train_index, config: TrainingConfig):
    """A head on kept features of training images, and its history; see `Ensemble.fit`."""
    device = network.resolve_device(config.device)
    torch.manual_seed(config.seed)
    n_inputs = whitening.matrix.shape[1]
    head = EmbeddingHead(whitening, n_inputs, config.embedding_dim, config.scale_input).to(device)
    criterion = MetricLoss(config.loss, labels.max() + 1, config.embedding_dim).to(device)
    with torch.no_grad():
        values, scales = torch.from_numpy(features.values), torch.from_numpy(features.log2_pixels_per_um)
        inputs = head.inputs(values.to(device), scales.to(device))
    crops_of = {i: np.flatnonzero(features.image_index == i) for i in train_index}

    def batches(drawn, epoch, rng):
        crops = np.array([crops_of[i][rng.integers(len(crops_of[i]))] for i in drawn])
        for start in range(0, len(crops), config.batch_size):
            batch = slice(start, start + config.batch_size)
            yield (inputs[crops[batch]],), drawn[batch]

    parameters = [{"params": [*head.linear.parameters(), *criterion.parameters()], "lr": config.learning_rate}]
    return head, _fit(batches, head.embed, criterion, parameters, labels, train_index, config)


class TrainingCrops(Dataset):
    """Augmented crops; item i depends on (seed, draw, i) alone, whatever process makes it.

    Parameters
    ----------
    rows : DataFrame
        With ``path`` and ``pixels_per_um``.
    image_index : array (n,) of int
        Which row each crop is of.
    config : TrainingConfig
    draw : int
        Another draw of crops for another number, such as an epoch's.
    """

    def __init__(self, rows: pd.DataFrame, image_index, config: TrainingConfig, draw: int):
        self.paths, self.pixels_per_um, self.image_index = list(rows["path"]), list(rows["pixels_per_um"]), image_index
        self.seed, self.draw, self.pipeline = config.seed, draw, config.make_pipeline()

    def __len__(self):
        return len(self.image_index)

    def __getitem__(self, i):
        image = self.image_index[i]
        key = self.seed, self.draw, i
        crop, log2_scale = augment.augmented(self.pipeline, _read(self.paths[image]), self.pixels_per_um[image], *key)
        return crop[None], log2_scale, image


def fit_network(rows: pd.DataFrame, labels, train_index, config: TrainingConfig):
    """Train backbone and head together on crops drawn anew in every epoch (``backbone_rate`` above 0).

    Parameters
    ----------
    rows : DataFrame
        Training rows of a manifest.
    labels : array (n_images,) of int
    train_index : array of int
    config : TrainingConfig

    Returns
    -------
    backbone : Module
    DataFrame
        One row an epoch: epoch, loss, active_triplets, spread.
    """
    device = network.resolve_device(config.device)
    torch.manual_seed(config.seed)
    backbone = network.build_backbone(config.backbone, config.weights).to(device, memory_format=torch.channels_last)
    # Features of a backbone that learns cannot be whitened beforehand; their own batch normalises them.
    norm = nn.BatchNorm1d(backbone.n_features, affine=False)
    head = EmbeddingHead(norm, backbone.n_features, config.embedding_dim, config.scale_input).to(device)
    criterion = MetricLoss(config.loss, labels.max() + 1, config.embedding_dim).to(device)

    def batches(drawn, epoch, rng):
        backbone.train()
        crops = TrainingCrops(rows, drawn, config, epoch)
        for crop, log2_scale, image in _loader(crops, config.workers, batch_size=config.batch_size):
            yield (crop.to(device), log2_scale.to(device)), image.numpy()

    def embed(crop, log2_scale):
        with network.autocast(device):
            features = backbone(network.standardise(crop).contiguous(memory_format=torch.channels_last))
        return head(features.float(), log2_scale)

    parameters = [
        {"params": list(backbone.parameters()), "lr": NETWORK_RATE * config.backbone_rate},
        {"params": [*head.parameters(), *criterion.parameters()], "lr": NETWORK_RATE},
    ]
    return backbone, _fit(batches, embed, criterion, parameters, labels, train_index, config)


@dataclass
class Ensemble:
    """What answers for a crop: a few heads with class prototypes, and the outlier score.

    Attributes
    ----------
    heads : list of (EmbeddingHead, Prototypes)
        They differ in their seed; their probabilities are averaged.
    outlier_score : OutlierScore
    """

    heads: list[tuple[EmbeddingHead, Prototypes]]
    outlier_score: OutlierScore

    @classmethod
    @network.one_thread()
    def fit(cls, features: CropFeatures, labels, train_index, config: TrainingConfig):
        """Fit on the crops of some images: seconds.

        Parameters
        ----------
        features : CropFeatures
            Of all images, augmented crops among them.
        labels : array (n_images,)
            Class number of each image.
        train_index : array of int
        config : TrainingConfig

        Returns
        -------
        Ensemble
        DataFrame
            One row an epoch of each head: epoch, loss, active_triplets, spread, head.

        Raises
        ------
        FloatingPointError
            When the loss is no longer a number.
        """
        labels, train_index = np.asarray(labels), np.asarray(train_index)
        ours = features.select(train_index)
        of_class, n_classes = labels[ours.image_index], labels.max() + 1
        heads, histories = [], []
        whitening = Whitening.fit(ours.values)
        for k in range(config.n_members):
            seeded = dataclasses.replace(config, seed=config.seed * 1000 + k)
            head, history = _fit_head(ours, whitening, labels, train_index, seeded)
            heads.append((head, Prototypes.fit(head.points(ours), of_class, ours.image_index, n_classes)))
            histories.append(history.assign(head=k + 1))
        return cls(heads, OutlierScore.fit(ours.values, ours.image_index)), pd.concat(histories, ignore_index=True)

    def crop_probabilities(self, features: CropFeatures) -> np.ndarray:
        """Probabilities (n_crops, n_classes) of crops, means over the heads."""
        return np.mean([p.probabilities(head.points(features)) for head, p in self.heads], axis=0)

    @network.one_thread()
    def judge(self, features: CropFeatures) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (n_images, n_classes) and outlier scores (n_images,) of images, in the order of their numbers."""
        probability = features.image_means(self.crop_probabilities(features))
        return probability, self.outlier_score(features.values, features.image_index)

    def state(self) -> dict:
        """Everything as tensors, for `from_state`."""
        return {
            "heads": [{k: v.cpu() for k, v in head.state_dict().items()} for head, _ in self.heads],
            "prototypes": [torch.from_numpy(p.means) for _, p in self.heads],
            "training_images": torch.from_numpy(self.outlier_score.images),
        }

    @classmethod
    def from_state(cls, state: dict, config: TrainingConfig) -> Ensemble:
        """What `state` gave, back."""
        heads = []
        for saved, means in zip(state["heads"], state["prototypes"], strict=True):
            shape = saved["normalise.matrix"].shape
            head = EmbeddingHead(Whitening(*shape), shape[1], config.embedding_dim, config.scale_input)
            head.load_state_dict(saved)
            heads.append((head.eval(), Prototypes(means.numpy())))
        return cls(heads, OutlierScore(state["training_images"].numpy()))


class Machine:
    """The trained decision maker.

    Parameters
    ----------
    config : TrainingConfig
    classes : list of str
    ensemble : Ensemble
        Fitted on all training images.
    threshold : float
        Outlier score beyond which the answer is "none of these"; from ensembles that had not seen the images they judged.
    backbone : Module, optional
        Where it was fine-tuned; else the configuration's.
    """

    def __init__(self, config: TrainingConfig, classes: list[str], ensemble: Ensemble, threshold: float, backbone=None):
        self.config, self.classes, self.ensemble, self.threshold = config, classes, ensemble, threshold
        self.backbone = backbone

    def store(self) -> FeatureStore:
        """The features of images as this machine sees them."""
        return FeatureStore(self.config, self.backbone)

    def judge(self, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (n_images, n_classes) and outlier scores (n_images,) of the images of these manifest rows."""
        probability, outlier_score = np.empty((len(rows), len(self.classes))), np.empty(len(rows))
        # Image by image, so that memory does not grow and an answer does not depend on the others.
        for i, values, scales in self.store().stream(rows):
            crops = CropFeatures(values, scales, np.zeros(len(values), dtype=int))
            probability[i : i + 1], outlier_score[i : i + 1] = self.ensemble.judge(crops)
        return probability, outlier_score

    def answers(self, probability, outlier_score) -> list[str]:
        """Most probable class of each image, or "none of these" where the outlier score exceeds the threshold."""
        best = np.asarray(probability).argmax(axis=1)
        return [NONE_OF_THESE if o > self.threshold else self.classes[b] for b, o in zip(best, outlier_score, strict=True)]

    def scores(self, rows: pd.DataFrame) -> pd.DataFrame:
        """One row an image: image, answer, confidence, outlier_score, then the probability of each class.

        The confidence is the answer's probability; "none of these" has none.
        """
        probability, outlier_score = self.judge(rows)
        answer = self.answers(probability, outlier_score)
        confidence = np.where(np.array(answer) == NONE_OF_THESE, np.nan, probability.max(axis=1))
        frame = {"image": list(rows["file"]), "answer": answer, "confidence": confidence, "outlier_score": outlier_score}
        return pd.concat([pd.DataFrame(frame), pd.DataFrame(probability, columns=self.classes)], axis=1)

    def save(self, path: Path) -> None:
        """Write ensemble, classes, threshold, configuration and a fine-tuned backbone to one file, whole or not at all."""
        parts = {
            "config": dataclasses.asdict(self.config),
            "classes": self.classes,
            "threshold": self.threshold,
            "ensemble": self.ensemble.state(),
            "backbone": self.backbone and {k: v.cpu() for k, v in self.backbone.net.state_dict().items()},
        }
        # Given a name, torch would keep it in the file, which would then differ from process to process.
        with written_whole(path) as temporary, open(temporary, "wb") as file:
            torch.save(parts, file)

    @classmethod
    def load(cls, path: Path, device: str = "auto") -> Machine:
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError
            When the run has no trained machine yet.
        ValueError
            When the file is not one that `save` wrote.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no trained machine at {path}; run the study first (make STUDY=...)")
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            config = TrainingConfig(**{**saved["config"], "device": device})
            ensemble, backbone = Ensemble.from_state(saved["ensemble"], config), None
            if saved["backbone"] is not None:
                backbone = network.build_backbone(config.backbone, "")
                backbone.net.load_state_dict(saved["backbone"])
            return cls(config, saved["classes"], ensemble, saved["threshold"], backbone)
        except Exception as error:  # torch raises whatever the file makes it
            raise ValueError(f"{path}: no machine of this version ({reason_of(error)}); run the study again") from None


def subset(index: np.ndarray, rows: pd.DataFrame, config: TrainingConfig, draw: int) -> np.ndarray:
    """At most ``max_train_images`` of the images ``index``; all of them when that is 0.

    Classes come in turn, and inside a class whole specimens one after the other: a small study has few specimens and not
    single images of many.

    Raises
    ------
    ValueError
        When fewer images than classes are asked for.
    """
    limit = config.max_train_images
    if not 0 < limit < len(index):
        return index
    ours = rows.iloc[index]
    if limit < (n_classes := ours["label"].nunique()):
        raise ValueError(f"max_train_images={limit} is fewer than the {n_classes} classes")
    rng = np.random.default_rng([config.seed, draw])
    rank = {specimen: i for i, specimen in enumerate(rng.permutation(pd.unique(ours["split_group"])))}
    by_specimen = np.argsort(ours["split_group"].map(rank).to_numpy(), kind="stable")
    turn = ours.iloc[by_specimen].groupby("label").cumcount().to_numpy()
    return np.sort(index[by_specimen[np.argsort(turn, kind="stable")[:limit]]])


def folds_of(training: pd.DataFrame, config: TrainingConfig) -> list[tuple[np.ndarray, np.ndarray]]:
    """Grouped folds of the training rows: (train, validation) positions, the former a `subset` where asked for.

    Raises
    ------
    ValueError
        When fewer images than classes are asked for.
    """
    folds = enumerate(group_folds(training, config.n_folds, config.seed))
    return [(subset(np.sort(train), training, config, f), np.sort(valid)) for f, (train, valid) in folds]


@dataclass
class TrainingResult:
    """What `train` gives: the machine, and what cross-validation said of it.

    ``machine`` is None when only cross-validation was asked for. ``history`` has one row an epoch of every head (and, as
    head 0, of every fine-tuned network): epoch, loss, active_triplets, spread, head, network. ``held_out`` has one
    row a training image: file, label, split_group, answer (never "none of these"), outlier_score, correct, then the
    probability of each class.
    """

    machine: Machine | None
    history: pd.DataFrame
    held_out: pd.DataFrame


def train(manifest: pd.DataFrame, config: TrainingConfig, *, only_validate: bool = False) -> TrainingResult:
    """Cross-validate on the manifest's training rows, then train the machine on all of them.

    Parameters
    ----------
    manifest : DataFrame
        As `micrographs.read_manifest` gives it; quiz rows are not looked at.
    config : TrainingConfig
    only_validate : bool
        Leave the machine out.

    Returns
    -------
    TrainingResult
    """
    training = manifest[manifest["split"] == "train"].reset_index(drop=True)
    classes = mg.classes(manifest)
    labels = training["label"].map({c: i for i, c in enumerate(classes)}).to_numpy()
    histories, held_out = [], []
    # A backbone that stays as it is gives every fold the same features.
    frozen = None if config.backbone_rate else FeatureStore(config).for_training(training)

    def fit(name, train_index, seed):
        """An ensemble on some images, its backbone, and the features of the crops by which all images are judged."""
        seeded, backbone = dataclasses.replace(config, seed=seed), None
        if config.backbone_rate:
            backbone, history = fit_network(training, labels, train_index, seeded)
            histories.append(history.assign(head=0, network=name))
        features, judged = frozen or FeatureStore(config, backbone).for_training(training)
        ensemble, history = Ensemble.fit(features, labels, train_index, seeded)
        histories.append(history.assign(network=name))
        return ensemble, backbone, judged

    folds = folds_of(training, config)
    for f, (train_index, valid_index) in enumerate(tqdm(folds, desc="cross-validation", unit="fold")):
        ensemble, _, judged = fit(f"fold {f + 1} of {len(folds)}", train_index, config.seed * 1000 + f)
        probability, outlier_score = ensemble.judge(judged.select(valid_index))
        rows = training.iloc[valid_index][["file", "label", "split_group"]].reset_index(drop=True)
        rows["answer"] = [classes[i] for i in probability.argmax(axis=1)]
        rows["outlier_score"] = outlier_score
        rows["correct"] = rows["answer"] == rows["label"]
        held_out.append(pd.concat([rows, pd.DataFrame(probability, columns=classes)], axis=1))
    held_out, machine = pd.concat(held_out, ignore_index=True), None
    if not only_validate:
        index = subset(np.arange(len(training)), training, config, 100)
        ensemble, backbone, _ = fit("machine", index, config.seed * 1000 + 100)
        threshold = float(np.quantile(held_out["outlier_score"], config.acceptance_rate))
        machine = Machine(config, classes, ensemble, threshold, backbone)
    return TrainingResult(machine, pd.concat(histories, ignore_index=True), held_out)


def answer_sheet(scores: pd.DataFrame, quiz_id: str) -> pd.DataFrame:
    """The machine's scores as an answer sheet, in the same form as a reader's."""
    sheet = scores[["image", "answer", "confidence"]]
    return sheet.assign(quiz=quiz_id, decision_maker="machine", kind="machine")
