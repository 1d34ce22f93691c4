"""Cross-validate inside the training set, then train the machine on all of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from micrographs import manifest as manifests
from micrographs import splits
from microrace.embedding import fit_network
from microrace.features import FeatureStore
from microrace.machine import Judges, Machine
from microrace.progress import track
from microrace.settings import TrainingConfig


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

    ``machine`` is None when only cross-validation was asked for. ``history`` has one row an epoch of every head or
    fine-tuned network. ``held_out`` has one row a training image: file, label, split_group, answer (never "none of
    these"), distance, correct, then the probability of each class.
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
        Where the checkpoints of fine-tuned networks go (``checkpoint-*.pt``).
    only_validate : bool
        Leave the machine out.

    Returns
    -------
    TrainingResult
    """
    training = manifest[manifest["split"] == "train"].reset_index(drop=True)
    classes = manifests.classes(manifest)
    labels = training["label"].map({c: i for i, c in enumerate(classes)}).to_numpy()
    groups, histories, held_out = training["split_group"].to_numpy(), [], []
    # A backbone that stays as it is gives every fold the same features.
    frozen = None if config.fine_tuned else FeatureStore(config).for_training(training)

    def fit(name, train_index, seed, n_heads):
        """Judges on some images, their backbone, and the features of the crops by which all images are judged."""
        seeded, backbone = dataclasses.replace(config, seed=seed), None
        if config.fine_tuned:
            checkpoint = run_dir / f"checkpoint-{name.replace(' ', '-')}.pt" if run_dir is not None else None
            backbone, history = fit_network(training, labels, train_index, seeded, checkpoint, name)
            histories.append(history.assign(network=name, head=0))
        features, judged = frozen or FeatureStore(config, backbone).for_training(training)
        judges, history = Judges.fit(features, labels, groups, train_index, seeded, n_heads)
        histories.append(history.assign(network=name))
        return judges, backbone, judged

    folds = folds_of(training, config)
    for f, (train_index, valid_index) in enumerate(track(folds, description="cross-validation", unit="fold")):
        judges, _, judged = fit(f"fold {f + 1} of {len(folds)}", train_index, config.seed * 1000 + f, config.n_members)
        probability, distance = judges.judge(judged.of(valid_index))
        rows = training.iloc[valid_index][["file", "label", "split_group"]].reset_index(drop=True)
        rows["answer"] = [classes[i] for i in probability.argmax(axis=1)]
        rows["distance"] = distance
        rows["correct"] = rows["answer"] == rows["label"]
        held_out.append(pd.concat([rows, pd.DataFrame(probability, columns=classes)], axis=1))
    held_out = pd.concat(held_out, ignore_index=True)
    machine = None
    if not only_validate:
        index = thinned(np.arange(len(training)), training["label"].to_numpy(), config, 100)
        judges, backbone, _ = fit("machine", index, config.seed * 1000 + 100, config.n_members)
        threshold = float(np.quantile(held_out["distance"], config.accept_share))
        machine = Machine(config, classes, judges, threshold, backbone)
    return TrainingResult(machine, pd.concat(histories, ignore_index=True), held_out)
