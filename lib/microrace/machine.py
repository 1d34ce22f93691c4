"""The trained machine: what answers for crops and images, and the file that keeps it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from micrographs.manifest import NONE_OF_THESE
from microrace.backbones import build_backbone, reason_of
from microrace.classifiers import (
    Prototypes,
    Unlikeness,
    answers_from_scores,
    image_means,
)
from microrace.embedding import EmbeddingHead, fit_head, save_whole
from microrace.features import CropFeatures, FeatureStore
from microrace.settings import TrainingConfig

# Images judged at once, so that memory does not grow with their number.
IMAGES_AT_ONCE = 256


@dataclass
class Judges:
    """What answers for a crop: embedding heads with class prototypes, and how unlike all classes it is.

    Attributes
    ----------
    config : TrainingConfig
    heads : list of (EmbeddingHead, Prototypes)
        They differ in their seed; their probabilities are averaged.
    unlikeness : Unlikeness
        By the features and the first head's points.
    """

    config: TrainingConfig
    heads: list[tuple[EmbeddingHead, Prototypes]]
    unlikeness: Unlikeness

    @classmethod
    def fit(cls, features: CropFeatures, labels, groups, train_index, config: TrainingConfig, n_heads: int = 1):
        """Fit on the crops of some images.

        Parameters
        ----------
        features : CropFeatures
            Of all images, augmented crops among them.
        labels, groups : array (n_images,)
            Class number and specimen of each image.
        train_index : array of int
        config : TrainingConfig
        n_heads : int

        Returns
        -------
        Judges
        DataFrame
            The heads' histories: column ``head`` and those of `embedding.fit_head`.
        """
        labels = np.asarray(labels)
        ours = features.of(train_index)
        of_class, n_classes = labels[ours.image_index], labels.max() + 1
        heads, histories = [], []
        for k in range(n_heads):
            seeded = dataclasses.replace(config, seed=config.seed * 1000 + k)
            head, history = fit_head(features, labels, groups, train_index, seeded)
            heads.append((head, Prototypes(head.points(ours), of_class, ours.image_index, n_classes)))
            histories.append(history.assign(head=k + 1))
        points = heads[0][0].points(ours)
        unlikeness = Unlikeness(config.none_rule, ours.values, points, of_class, ours.image_index, n_classes)
        return cls(config, heads, unlikeness), pd.concat(histories, ignore_index=True)

    def crop_probabilities(self, features: CropFeatures) -> np.ndarray:
        """Probabilities (n_crops, n_classes) of crops, means over the heads."""
        return np.mean([p.probabilities(head.points(features)) for head, p in self.heads], axis=0)

    def judge(self, features: CropFeatures) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (n_images, n_classes) and unlikeness (n_images,) of images, in the order of their numbers."""
        _, position = np.unique(features.image_index, return_inverse=True)
        unlike = self.unlikeness(features.values, self.heads[0][0].points(features), position)
        return image_means(self.crop_probabilities(features), position), unlike

    def state(self) -> dict:
        """Everything as tensors and plain values, for `from_state`."""
        return {
            "heads": [{k: v.cpu() for k, v in head.state_dict().items()} for head, _ in self.heads],
            "prototypes": [torch.from_numpy(p.means) for _, p in self.heads],
            "unlikeness": {k: torch.from_numpy(v) for k, v in vars(self.unlikeness).items() if k != "rule"},
        }

    @classmethod
    def from_state(cls, state: dict, config: TrainingConfig) -> Judges:
        """What `state` gave, back."""
        heads = []
        for saved, means in zip(state["heads"], state["prototypes"], strict=True):
            head = EmbeddingHead(len(saved["mean"]), config.embedding_dim, config.told_scale)
            head.load_state_dict(saved)
            heads.append((head.eval(), _restored(Prototypes, {"means": means})))
        unlikeness = _restored(Unlikeness, state["unlikeness"])
        unlikeness.rule = config.none_rule
        return cls(config, heads, unlikeness)


def _restored(kind, tensors: dict):
    """A fitted object from the arrays it was saved as."""
    fitted = kind.__new__(kind)
    for name, value in tensors.items():
        setattr(fitted, name, value.numpy())
    return fitted


class Machine:
    """The trained decision maker.

    Parameters
    ----------
    config : TrainingConfig
    classes : list of str
    judges : Judges
        Fitted on all training images.
    threshold : float
        Unlikeness beyond which the answer is "none of these"; from judges that had not seen the images they judged.
    backbone : Module, optional
        Where it was fine-tuned; else the configuration's.
    """

    def __init__(self, config: TrainingConfig, classes: list[str], judges: Judges, threshold: float, backbone=None):
        self.config, self.classes, self.judges, self.threshold = config, classes, judges, threshold
        self.backbone = backbone

    def store(self) -> FeatureStore:
        """The features of images as this machine sees them."""
        return FeatureStore(self.config, self.backbone)

    def judge(self, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (n_images, n_classes) and unlikeness (n_images,) of the images of these manifest rows."""
        store, parts = self.store(), []
        for start in range(0, len(rows), IMAGES_AT_ONCE):
            parts.append(self.judges.judge(store.of(rows.iloc[start : start + IMAGES_AT_ONCE])))
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    def scores(self, rows: pd.DataFrame) -> pd.DataFrame:
        """One row an image: image, answer, score (of the answer), distance, then one column a class."""
        probability, distance = self.judge(rows)
        answer = answers_from_scores(probability, distance, self.classes, self.threshold)
        best = probability.max(axis=1)
        # A rejected image's score is how far past the threshold it lies, in units of the threshold, squeezed into (0.5, 1).
        rejected = np.array([a == NONE_OF_THESE for a in answer])
        beyond = np.clip((distance - self.threshold) / (abs(self.threshold) + 1e-12), 0, 50)
        score = np.where(rejected, 1 / (1 + np.exp(-beyond)), best)
        frame = pd.DataFrame({"image": list(rows["file"]), "answer": answer, "score": score, "distance": distance})
        return pd.concat([frame, pd.DataFrame(probability, columns=self.classes)], axis=1)

    def save(self, path: Path) -> None:
        """Write judges, classes, threshold, configuration and a fine-tuned backbone to one file."""
        save_whole(
            {
                "config": dataclasses.asdict(self.config),
                "classes": self.classes,
                "threshold": self.threshold,
                "judges": self.judges.state(),
                "backbone": self.backbone and {k: v.cpu() for k, v in self.backbone.state_dict().items()},
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
        ValueError
            When the file is not one that `save` wrote.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no trained machine at {path}; run the study first (make STUDY=...)")
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            config = TrainingConfig(**{**saved["config"], "device": device})
            judges, backbone = Judges.from_state(saved["judges"], config), None
            if saved["backbone"] is not None:
                backbone = build_backbone(config.backbone, "")
                backbone.load_state_dict(saved["backbone"])
            return cls(config, saved["classes"], judges, saved["threshold"], backbone)
        except Exception as error:  # torch raises whatever the file makes it
            raise ValueError(f"{path}: not a machine of this version ({reason_of(error)}); run the study again") from None


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
