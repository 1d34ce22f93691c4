"""Controls that stand beside every accuracy: what the scale alone tells, and whether features tell the scale."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier


def scale_alone(train: pd.DataFrame, test: pd.DataFrame, neighbours: int = 5) -> np.ndarray:
    """Answers of a classifier that sees log(pixels per um) and nothing else: the control for confounding."""
    control = KNeighborsClassifier(min(neighbours, len(train)))
    control.fit(np.log(train[["pixels_per_um"]].to_numpy()), train["label"])
    return control.predict(np.log(test[["pixels_per_um"]].to_numpy()))


def scale_probe(train, test) -> float:
    """How well the crops' log2 scale can be read off the backbone's features: R2 of a ridge regression.

    Fitted on the training images' crops, measured on the test images', both `features.CropFeatures`. What heads are told
    does not enter. A value near 0 means that interpolation and sampling leave no trace; near 1 that they give the scale
    away.
    """
    mean, std = train.values.mean(axis=0), train.values.std(axis=0) + 1e-6
    probe = Ridge(alpha=10.0 * train.values.shape[1] / 100).fit((train.values - mean) / std, train.log2_pixels_per_um)
    return float(probe.score((test.values - mean) / std, test.log2_pixels_per_um))
