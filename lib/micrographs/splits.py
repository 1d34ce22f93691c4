"""Split micrographs without leakage: quiz and folds, whole specimens at a time."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

QUIZ_FRACTION = 0.2  # of each label's images, where the manifest has no split


def split_by_group(manifest: pd.DataFrame, seed: int = 0) -> pd.Series:
    """Set about a fifth of each label's images aside as the quiz, whole groups at a time.

    Groups are taken in random order while that brings the labels' shares nearer to `QUIZ_FRACTION` (in the sum of
    squares) and leaves each label two training images; the best of many orders counts. A label of a single
    group therefore stays in training.

    Parameters
    ----------
    manifest : DataFrame
        With ``label`` and ``split_group``.
    seed : int

    Returns
    -------
    Series of "train" or "quiz", indexed as the manifest.
    """
    table = pd.crosstab(manifest["split_group"], manifest["label"])
    counts, total = table.to_numpy(), table.to_numpy().sum(axis=0)

    def distance(n_quiz):
        return float((((n_quiz / total) - QUIZ_FRACTION) ** 2).sum())

    rng = np.random.default_rng(seed)
    best, best_distance = [], np.inf
    for _ in range(100):
        chosen, n_quiz = [], np.zeros_like(total)
        for g in rng.permutation(len(counts)):
            more = n_quiz + counts[g]
            spared = (total - more)[counts[g] > 0] >= 2
            if spared.all() and distance(more) < distance(n_quiz):
                chosen.append(g)
                n_quiz = more
        if distance(n_quiz) < best_distance:
            best, best_distance = chosen, distance(n_quiz)
    in_quiz = manifest["split_group"].isin(table.index[best])
    return pd.Series(np.where(in_quiz, "quiz", "train"), index=manifest.index, name="split")


def group_folds(rows: pd.DataFrame, n_folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds for cross-validation: stratified by label, each group held out whole where that is possible.

    A class that comes from a single group cannot be trained on and held out whole. Left grouped, it would be missing
    from training in one fold and from validation in all others; so its images are dealt out one by one,
    every fold trains on the class, and its held-out figures are optimistic (`read_manifest` notes it).

    Parameters
    ----------
    rows : DataFrame
        Training rows with ``label``, ``split_group`` and ``file``.
    n_folds : int
        At least 2; fewer are made when no class has so many images or there are not so many groups.
    seed : int

    Returns
    -------
    list of (train, validation)
        Positions in ``rows``. Each image is in exactly one validation set, each class in every training set.

    Raises
    ------
    ValueError
        If a class has a single image.
    """
    labels = rows["label"].to_numpy(dtype=object)
    n_images, n_groups = rows["label"].value_counts(), rows.groupby("label")["split_group"].transform("nunique")
    if n_images.min() < 2:
        raise ValueError(f"class {n_images.idxmin()!r} has a single training image; give it at least two")
    groups = rows["split_group"].where(n_groups > 1, "one image: " + rows["file"]).to_numpy(dtype=object)
    n_folds = min(n_folds, len(set(groups)), int(n_images.max()))
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    validation_of = np.empty(len(rows), dtype=int)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # rare classes are seen to below
        for f, (_, valid) in enumerate(splitter.split(labels, labels, groups)):
            validation_of[valid] = f
    # All of a class may have come to lie in one fold; then its groups are dealt out, apart from other classes'.
    for label in sorted(n_images.index):
        of_class = np.flatnonzero(labels == label)
        if len(set(validation_of[of_class])) == 1:
            for i, group in enumerate(pd.unique(groups[of_class])):
                validation_of[of_class[groups[of_class] == group]] = i % n_folds
    return [(np.flatnonzero(validation_of != f), np.flatnonzero(validation_of == f)) for f in sorted(set(validation_of))]
