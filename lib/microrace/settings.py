"""The settings of a training run, and the physical fields of view of crops."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from microrace import augment
from microrace.places import evaluation_places

# Physical fields of view that crops are drawn at, an octave apart. Every image supplies those that its size and
# scale allow; from 1.1 to 212 pixels per um a micrograph of ordinary size reaches three or four of them.
FIELDS_OF_VIEW_UM = tuple(2.5 * 2.0**i for i in range(-3, 11))

SCALE_HANDLING = ("none", "normalised", "told", "both")
LOSSES = ("triplet", "multi-similarity", "supervised-contrastive", "cross-entropy")
# How unlike the training images an image is; see `classifiers.Unlikeness`.
NONE_RULES = ("both", "embedding", "nearest image")


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides what a training run gives, besides the manifest.

    Attributes
    ----------
    backbone, weights : str
        As in `backbones.build_backbone`.
    backbone_rate : float
        Learning rate of the backbone as a share of the head's. At 0 it stays as it is and its features are computed
        once; above, every network fine-tunes a backbone of its own.
    embedding_dim : int
        Dimensions of the embedding.
    scale_handling : str
        ``none``: crops of a share of the image, scale unknown; ``normalised``: crops at fixed physical fields of
        view; ``told``: heads are given log2 of the crop's scale; ``both``.
    max_fields : int
        Use only so many fields of view of an image, the largest; 0 takes all that its size and scale allow.
    pipeline : str
        Augmentation, one of `augment.PIPELINES`.
    without : str
        A transformation to leave out of the pipeline (see `augment.build_pipeline`), or empty.
    augmented_crops : int
        Augmented crops of each training image that a head learns from, besides those by which images are judged.
    crop_px : int
        Side of the square crops.
    crops_per_field : int
        Crops at each field of view when an image is judged.
    loss : str
        One of `LOSSES`; ``triplet`` mines semi-hard triplets.
    epochs, crops_per_epoch, batch_size : int
    learning_rate, weight_decay : float
        Of AdamW with one cosine cycle.
    n_folds : int
        Grouped folds of cross-validation.
    n_members : int
        Heads whose probabilities are averaged; they differ in their seed.
    max_train_images : int
        Train on at most so many images, drawn class by class; 0 takes all. For learning curves.
    none_rule : str
        One of `NONE_RULES`.
    accept_share : float
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
    weights: str = "imagenet"
    backbone_rate: float = 0.0
    embedding_dim: int = 16
    scale_handling: str = "both"
    max_fields: int = 0
    pipeline: str = "full"
    without: str = ""
    augmented_crops: int = 12
    crop_px: int = 128
    crops_per_field: int = 4
    loss: str = "triplet"
    epochs: int = 16
    crops_per_epoch: int = 1024
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    n_folds: int = 5
    n_members: int = 3
    max_train_images: int = 0
    none_rule: str = "both"
    accept_share: float = 0.97
    seed: int = 0
    device: str = "auto"
    workers: int = 2

    def __post_init__(self):
        for name, value, known in (
            ("scale_handling", self.scale_handling, SCALE_HANDLING),
            ("pipeline", self.pipeline, tuple(augment.PIPELINES)),
            ("loss", self.loss, LOSSES),
            ("none_rule", self.none_rule, NONE_RULES),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r} is not known; take one of {', '.join(known)}")
        lowest = {"n_folds": 2, "embedding_dim": 2, "augmented_crops": 0, "max_train_images": 0, "max_fields": 0}
        lowest |= dict.fromkeys("epochs crops_per_epoch batch_size crop_px crops_per_field n_members".split(), 1)
        lowest |= {"backbone_rate": 0, "workers": 0}
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        # Refuses an unknown transformation now and not in the middle of the first epoch.
        self.make_pipeline()
        if not 0 < self.accept_share < 1:
            raise ValueError(f"accept_share must lie between 0 and 1, not {self.accept_share}")

    @property
    def fields_of_view_um(self):
        """Physical fields of view of the crops, or None where scale is not normalised."""
        return FIELDS_OF_VIEW_UM if self.scale_handling in ("normalised", "both") else None

    @property
    def told_scale(self) -> bool:
        """Whether heads are given the scale."""
        return self.scale_handling in ("told", "both")

    @property
    def fine_tuned(self) -> bool:
        """Whether the backbone learns too."""
        return self.backbone_rate > 0

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
        """Where the crops lie by which an image of this shape and scale is judged; see `places.evaluation_places`."""
        return evaluation_places(
            shape,
            pixels_per_um,
            crop_px=self.crop_px,
            fields_of_view_um=self.fields_of_view_um,
            crops_per_field=self.crops_per_field,
            max_fields=self.max_fields,
        )

    def identity(self) -> dict:
        """The settings that decide what a head becomes, without those that only decide how it judges."""
        judging = "none_rule accept_share n_members n_folds device workers".split()
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in judging}
