"""What a trained machine is measured by."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from micrographs import manifest as manifests
from micrographs.manifest import NONE_OF_THESE
from microrace.controls import scale_alone, scale_probe
from microrace.network import image_means
from microrace.training import Ensemble, FeatureStore, Machine, TrainingConfig, TrainingResult, folds_of
from readerstudy import score_with_intervals


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
        cross-validated figures and those of the scale alone beside them, the threshold, and the AUROC of the distance
        for "none of these"; what a manifest without quiz rows cannot give is None, with the reason under ``skipped``.
    DataFrame or None
        As `Machine.scores`.
    """
    machine, held_out = result.machine, result.held_out
    train_rows = manifest[manifest["split"] == "train"].reset_index(drop=True)
    quiz = manifest[manifest["split"] == "quiz"].reset_index(drop=True)
    control = np.empty(len(train_rows), dtype=object)
    for train_index, valid_index in folds_of(train_rows, machine.config):
        control[valid_index] = scale_alone(train_rows.iloc[train_index], train_rows.iloc[valid_index])
    metrics = {
        "accuracy": None,
        "balanced_accuracy": None,
        "scale_alone": None,
        "scale_probe_r2": None,
        "auroc_none": None,
        "threshold": machine.threshold,
        "validation": score_with_intervals(held_out["label"], held_out["answer"], held_out["split_group"]),
        "validation_scale_alone": score_with_intervals(train_rows["label"], control, train_rows["split_group"]),
        "seconds": float(result.history["seconds"].sum()),
        "n_train": len(train_rows),
        "n_quiz": len(quiz),
        "skipped": [],
    }
    if quiz.empty:
        metrics["skipped"].append("the manifest has no quiz rows: no quiz accuracy, controls or answer sheet")
        return metrics, None
    scores = machine.scores(quiz)
    truth = manifests.truth(manifest).reindex(quiz["file"]).to_numpy()
    metrics |= score_with_intervals(truth, scores["answer"], quiz["split_group"])
    metrics["scale_alone"] = score_with_intervals(truth, scale_alone(train_rows, quiz), quiz["split_group"])
    store = machine.store()
    metrics["scale_probe_r2"] = scale_probe(store.features(train_rows), store.features(quiz))
    is_none = truth == NONE_OF_THESE
    if is_none.any() and not is_none.all():
        metrics["auroc_none"] = float(roc_auc_score(is_none, scores["outlier_score"]))
        known = ~is_none
        best = scores[machine.classes].to_numpy().argmax(axis=1)
        closed = np.array(machine.classes, dtype=object)[best]
        metrics["known_classes"] = score_with_intervals(truth[known], closed[known], quiz["split_group"][known])
    else:
        metrics["skipped"].append("the quiz has no image of 'none of these': no AUROC")
    return metrics, scores


def left_out_classes(manifest: pd.DataFrame, config: TrainingConfig) -> pd.DataFrame:
    """How well the outlier score tells a class that was never shown from the known ones, without opening the quiz.

    Each class in turn is left out; a head is trained on each fold of the others, and the images of the class left out
    are told from the held-out images of the others by their outlier score.

    Parameters
    ----------
    manifest : DataFrame
    config : TrainingConfig

    Returns
    -------
    DataFrame
        left_out, n_known, n_unknown, auroc (mean over folds). Empty with fewer
        than three classes.
    """
    rows = manifest[manifest["split"] == "train"].reset_index(drop=True)
    classes = manifests.classes(manifest)
    features, judged = FeatureStore(config).for_training(rows)
    table = []
    for left_out in classes if len(classes) > 2 else ():
        unknown = np.flatnonzero(rows["label"] == left_out)
        known = np.flatnonzero(rows["label"] != left_out)
        names = [c for c in classes if c != left_out]
        # The class left out takes the number 0 and no part: none of its images is learned from.
        labels = rows["label"].map({c: i for i, c in enumerate(names)}).fillna(0).to_numpy(dtype=int)
        found = []
        for train_part, valid_part in folds_of(rows.iloc[known].reset_index(drop=True), config):
            images = np.concatenate([known[valid_part], unknown])
            ensemble, _ = Ensemble.fit(features, labels, known[train_part], dataclasses.replace(config, n_members=1))
            theirs = judged.select(images)
            is_unknown = np.isin(np.unique(theirs.image_index), unknown)
            found.append(roc_auc_score(is_unknown, ensemble.judge(theirs)[1]))
        table.append((left_out, len(known), len(unknown), float(np.mean(found))))
    return pd.DataFrame(table, columns=["left_out", "n_known", "n_unknown", "auroc"])


def embedding_table(machine: Machine, manifest: pd.DataFrame) -> pd.DataFrame:
    """Mean embedding of each image by the first head: image, split, label, e0, e1, ..."""
    features = machine.store().features(manifest)
    mean = image_means(machine.ensemble.heads[0][0].points(features), features.image_index)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    truth = manifests.truth(manifest)
    label = [truth.get(f, own) for f, own in zip(manifest["file"], manifest["label"], strict=True)]
    frame = pd.DataFrame({"image": manifest["file"].to_numpy(), "split": manifest["split"].to_numpy(), "label": label})
    return pd.concat([frame, pd.DataFrame(mean, columns=[f"e{i}" for i in range(mean.shape[1])])], axis=1)
