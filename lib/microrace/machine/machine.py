"""The trained machine: heads and a linear judge that answer for images, saved in one file."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from microrace.images.manifests import NONE_OF_THESE, read_manifest
from microrace.machine.backbones import build_backbone
from microrace.machine.classifiers import (
    ClassDistance,
    LinearJudge,
    Prototypes,
    answers_from_scores,
    energy,
    image_means,
)
from microrace.machine.embedding import EmbeddingHead, fit_head, save_whole
from microrace.machine.features import CropFeatures, FeatureStore
from microrace.machine.settings import TrainingConfig

# Images judged at once, so that memory does not grow with their number.
IMAGES_AT_ONCE = 256


@dataclass
class Judges:
    """What answers for a crop: embedding heads with class prototypes, and a linear judge of the features.

    Attributes
    ----------
    config : TrainingConfig
    heads : list of (EmbeddingHead, Prototypes)
        They differ in their seed; their probabilities are averaged.
    linear : LinearJudge
    distance : ClassDistance
        Of features or of the first head's points, by ``none_rule``.
    """

    config: TrainingConfig
    heads: list[tuple[EmbeddingHead, Prototypes]]
    linear: LinearJudge
    distance: ClassDistance

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
        linear = LinearJudge(told(ours, config), of_class, ours.image_index, n_classes)
        looked_at = heads[0][0].points(ours) if config.none_rule == "embedding" else ours.values
        distance = ClassDistance(looked_at, of_class, ours.image_index, n_classes)
        return cls(config, heads, linear, distance), pd.concat(histories, ignore_index=True)

    def crop_scores(self, features: CropFeatures) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (n_crops, n_classes) and unlikeness (n_crops,) of crops."""
        points = [head.points(features) for head, _ in self.heads]
        embedded = np.mean([p.probabilities(x) for x, (_, p) in zip(points, self.heads, strict=True)], axis=0)
        logits, share = self.linear.logits(told(features, self.config)), self.config.linear_share
        probability = (1 - share) * embedded + share * self.linear.probabilities(told(features, self.config))
        if self.config.none_rule == "energy":
            return probability, energy(logits)
        return probability, self.distance(points[0] if self.config.none_rule == "embedding" else features.values)

    def judge(self, features: CropFeatures) -> tuple[np.ndarray, np.ndarray]:
        """The same of images: means over their crops, in the order of their numbers."""
        _, position = np.unique(features.image_index, return_inverse=True)
        return tuple(image_means(part, position) for part in self.crop_scores(features))

    def state(self) -> dict:
        """Everything as tensors and plain values, for `from_state`."""
        return {
            "heads": [{k: v.cpu() for k, v in head.state_dict().items()} for head, _ in self.heads],
            "prototypes": [torch.from_numpy(p.means) for _, p in self.heads],
            "linear": _arrays(self.linear),
            "distance": _arrays(self.distance),
        }

    @classmethod
    def from_state(cls, state: dict, config: TrainingConfig) -> Judges:
        """What `state` gave, back."""
        heads = []
        for saved, means in zip(state["heads"], state["prototypes"], strict=True):
            head = EmbeddingHead(len(saved["mean"]), config.embedding_dim, config.told_scale)
            head.load_state_dict(saved)
            prototypes = Prototypes.__new__(Prototypes)
            prototypes.means, prototypes.temperature = means.numpy(), 0.1
            heads.append((head.eval(), prototypes))
        return cls(config, heads, _restored(LinearJudge, state["linear"]), _restored(ClassDistance, state["distance"]))


def told(features: CropFeatures, config: TrainingConfig) -> np.ndarray:
    """What the linear judge sees: the features and, when scale is told, log2 of the crop's scale as one more."""
    if not config.told_scale:
        return features.values
    return np.column_stack([features.values, features.log2_pixels_per_um])


def _arrays(fitted) -> dict:
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in vars(fitted).items()}


def _restored(kind, arrays: dict):
    fitted = kind.__new__(kind)
    for name, value in arrays.items():
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
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(f"{path}: not a machine of this version ({reason}); run the study again") from None


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
    scores = machine.scores(read_manifest(manifest_path, labels_required=False)).drop(columns="distance")
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    scores.to_csv(temporary, index=False)
    os.replace(temporary, out)
    return scores
