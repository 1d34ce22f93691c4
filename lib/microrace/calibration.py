"""How far a probability may be believed, from held-out training images: temperature, error, and when to ask a person.

Everything here looks at ``held-out.csv``, the probabilities that cross-validation gave to training images by judges that
had not seen their specimen. The quiz is not opened. Intervals draw specimens anew, since images of one specimen look alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.model_selection import LeaveOneGroupOut
from statsmodels.stats.proportion import proportion_confint

# A temperature outside says that the probabilities carry nothing, or that the images are too easy to tell.
TEMPERATURES = (0.05, 20.0)
# So that a probability of 0 keeps a finite logarithm.
SMALLEST = 1e-12


def _logits(probabilities) -> np.ndarray:
    return np.log(np.maximum(np.asarray(probabilities, dtype=float), SMALLEST))


def calibrated(probabilities, temperature: float) -> np.ndarray:
    """Probabilities (n, n_classes) at a temperature: softmax(log p / T) (Guo et al., 2017).

    Above 1 it makes them less sure, below 1 surer; which class is the most probable does not change.
    """
    return softmax(_logits(probabilities) / temperature, axis=1)


def fit_temperature(probabilities, labels) -> float:
    """The temperature at which held-out probabilities have the least log loss, every image counting for as much.

    Parameters
    ----------
    probabilities : array (n, n_classes)
        Of images that their judges had not seen.
    labels : array (n,) of int
        The right class of each.

    Returns
    -------
    float
        Within `TEMPERATURES`.
    """
    logits, labels = _logits(probabilities), np.asarray(labels)
    rows = np.arange(len(labels))

    def loss(log_temperature):
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean()

    return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))


def cross_calibrated(probabilities, labels, groups) -> np.ndarray:
    """Probabilities (n, n_classes), each specimen's at the temperature that all other specimens give.

    With a single specimen there is nothing to fit on, and they stay as they are.
    """
    probabilities = np.asarray(probabilities, dtype=float)
    out, labels, groups = probabilities.copy(), np.asarray(labels), np.asarray(groups, dtype=str)
    if len(np.unique(groups)) < 2:
        return out
    for others, ours in LeaveOneGroupOut().split(probabilities, groups=groups):
        out[ours] = calibrated(probabilities[ours], fit_temperature(probabilities[others], labels[others]))
    return out


def _bins(confidence, n_bins: int) -> list[np.ndarray]:
    """Positions of images, least sure first, in bins of about equal number."""
    return [part for part in np.array_split(np.argsort(confidence, kind="stable"), n_bins) if len(part)]


def expected_calibration_error(confidence, correct, n_bins: int = 5) -> float:
    """Mean distance between confidence and share right, over bins of about equally many images.

    Bins of equal number (Nixon et al., 2019) rather than of equal width, of which most would be empty with about a hundred
    images. Even the probabilities of a perfect forecaster give more than 0, the more the fewer the images.
    """
    confidence, correct = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    gaps = [len(b) * abs(confidence[b].mean() - correct[b].mean()) for b in _bins(confidence, n_bins)]
    return float(sum(gaps) / len(confidence))


def _draws(groups, n_bootstrap: int, seed: int):
    """Yield positions of images, whole specimens drawn with replacement."""
    _, specimen = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    of_specimen = np.split(np.argsort(specimen, kind="stable"), np.cumsum(np.bincount(specimen))[:-1])
    rng = np.random.default_rng(seed)
    for _ in range(n_bootstrap):
        yield np.concatenate([of_specimen[i] for i in rng.integers(len(of_specimen), size=len(of_specimen))])


def _interval(draws) -> tuple[float, float]:
    draws = np.asarray(draws, dtype=float)
    if not np.isfinite(draws).any():
        return float("nan"), float("nan")
    return tuple(float(q) for q in np.nanquantile(draws, (0.025, 0.975)))


def calibration_report(probabilities, labels, groups, *, n_bins: int = 5, n_bootstrap: int = 2000, seed: int = 0):
    """Error of the probabilities before and after calibration, itself cross-validated by specimen.

    Returns
    -------
    DataFrame
        measure (expected calibration error, log loss, Brier score), before, after and difference (after less before),
        each with its ``_low`` and ``_high`` of 95 %; differences are paired. A resample's calibration error lies above
        that of the images themselves, before as after: the difference is what to look at.
    """
    labels = np.asarray(labels)
    parts = {"before": np.asarray(probabilities, dtype=float), "after": cross_calibrated(probabilities, labels, groups)}
    right, one_hot = np.arange(len(labels)), np.eye(np.shape(probabilities)[1])[labels]
    confidence = {k: p.max(axis=1) for k, p in parts.items()}
    correct = {k: p.argmax(axis=1) == labels for k, p in parts.items()}
    log_loss = {k: -_logits(p)[right, labels] for k, p in parts.items()}
    brier = {k: ((p - one_hot) ** 2).sum(axis=1) for k, p in parts.items()}
    measures = {
        "expected calibration error": lambda k, at: expected_calibration_error(confidence[k][at], correct[k][at], n_bins),
        "log loss": lambda k, at: log_loss[k][at].mean(),
        "Brier score": lambda k, at: brier[k][at].mean(),
    }
    drawn, rows = list(_draws(groups, n_bootstrap, seed)), []
    for name, measure in measures.items():
        row = {"measure": name}
        value = {k: float(measure(k, right)) for k in parts}
        draws = {k: np.array([measure(k, at) for at in drawn]) for k in parts}
        value["difference"], draws["difference"] = value["after"] - value["before"], draws["after"] - draws["before"]
        for k in ("before", "after", "difference"):
            row |= dict(zip((k, f"{k}_low", f"{k}_high"), (value[k], *_interval(draws[k])), strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def share_right(correct, groups, *, n_bootstrap: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Share of images that are right, with its 95 % interval: whole specimens drawn anew.

    Where all are right, all wrong or all of one specimen, no resample differs; then it is Wilson's, of the specimens.
    """
    correct, groups = np.asarray(correct, dtype=float), np.asarray(groups, dtype=str)
    share, n_specimens = float(correct.mean()), len(np.unique(groups))
    if share in (0.0, 1.0) or n_specimens == 1:
        low, high = proportion_confint(share * n_specimens, n_specimens, 0.05, "wilson")
        return share, float(low), float(high)
    return share, *_interval([correct[at].mean() for at in _draws(groups, n_bootstrap, seed)])


def reliability_table(confidence, correct, groups, *, n_bins: int = 5, n_bootstrap: int = 2000, seed: int = 0):
    """Share right against confidence, in bins of about equally many images.

    Returns
    -------
    DataFrame
        bin, n_images, n_specimens, confidence (mean), share_right, share_right_low, share_right_high (as `share_right`).
    """
    confidence, correct = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    groups, rows = np.asarray(groups, dtype=str), []
    for number, b in enumerate(_bins(confidence, n_bins), start=1):
        share = share_right(correct[b], groups[b], n_bootstrap=n_bootstrap, seed=seed)
        rows.append((number, len(b), len(np.unique(groups[b])), float(confidence[b].mean()), *share))
    columns = "bin n_images n_specimens confidence share_right share_right_low share_right_high".split()
    return pd.DataFrame(rows, columns=columns)


def false_alarm_table(distance, groups, rates=(0.01, 0.03, 0.05, 0.1, 0.2), *, n_bootstrap: int = 2000, seed: int = 0):
    """Known structures called "none of these": the rate chosen, and the rate on specimens that did not set the threshold.

    Parameters
    ----------
    distance : array (n,)
        Unlikeness of held-out training images.
    groups : array (n,)
        Specimens. The threshold for each is a quantile of the unlikeness of all others.
    rates : sequence of float
        Chosen rates; 1 - ``accept_share`` is the machine's.

    Returns
    -------
    DataFrame
        chosen, realised, realised_low, realised_high, n_flagged, n_images.
    """
    distance, groups = np.asarray(distance, dtype=float), np.asarray(groups, dtype=str)
    drawn, rows = list(_draws(groups, n_bootstrap, seed)), []
    splits = list(LeaveOneGroupOut().split(distance, groups=groups)) if len(np.unique(groups)) > 1 else []
    for rate in rates:
        flagged = np.zeros(len(distance), dtype=bool)
        for others, ours in splits:
            flagged[ours] = distance[ours] > np.quantile(distance[others], 1 - rate)
        interval = _interval([flagged[at].mean() for at in drawn])
        rows.append((rate, float(flagged.mean()), *interval, int(flagged.sum()), len(flagged)))
    return pd.DataFrame(rows, columns="chosen realised realised_low realised_high n_flagged n_images".split())


def risk_coverage(confidence, correct, groups, shares=None, *, n_bootstrap: int = 2000, seed: int = 0):
    """The machine's accuracy on what it keeps when the least sure share is passed on to a person.

    Parameters
    ----------
    confidence, correct, groups : array (n,)
        Of held-out images.
    shares : sequence of float, optional
        Shares passed on; 0 to 0.9 in steps of 0.05 unless given.

    Returns
    -------
    DataFrame
        passed_on, ask_below (the confidence below which a person is asked), n_answered, accuracy, accuracy_low,
        accuracy_high (95 %, specimens drawn anew and the threshold with them).
    """
    confidence, correct = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    shares = np.arange(19) / 20 if shares is None else np.asarray(shares, dtype=float)

    def accuracies(at):
        surest = correct[at][np.argsort(-confidence[at], kind="stable")]
        kept = np.cumsum(surest) / np.arange(1, len(surest) + 1)
        return kept[n_kept(len(at)) - 1]

    def n_kept(n):
        return np.maximum(1, np.round(n * (1 - shares)).astype(int))

    draws = np.array([accuracies(at) for at in _draws(groups, n_bootstrap, seed)])
    sorted_down = np.sort(confidence)[::-1]
    low, high = np.quantile(draws, (0.025, 0.975), axis=0)
    kept = n_kept(len(confidence))
    return pd.DataFrame(
        {
            "passed_on": shares,
            "ask_below": np.where(shares > 0, sorted_down[kept - 1], 0.0),
            "n_answered": kept,
            "accuracy": accuracies(np.arange(len(confidence))),
            "accuracy_low": low,
            "accuracy_high": high,
        }
    )


@dataclass(frozen=True)
class Calibration:
    """What the held-out training images say of a machine's probabilities.

    Attributes
    ----------
    temperature : float
    ask_below : float
        Calibrated probability of the answer below which a person should look.
    ask_share : float
        Share of the held-out images for which that is so.
    accuracy : float
        Share of the held-out images whose most probable class is right.
    distances : array (n,)
        Unlikeness of the held-out images, sorted.
    """

    temperature: float
    ask_below: float
    ask_share: float
    accuracy: float
    distances: np.ndarray

    @classmethod
    def of(cls, held_out: pd.DataFrame, classes: list[str], ask_share: float = 0.2) -> Calibration:
        """Of the table ``held-out.csv``, as `training.train` gives it.

        Raises
        ------
        ValueError
            If ``ask_share`` is no share, or the table is not of these classes.
        """
        if not 0 <= ask_share < 1:
            raise ValueError(f"the share to ask a person about must lie from 0 to below 1, not {ask_share:g}")
        if missing := [c for c in ("label", "outlier_score", *classes) if c not in held_out]:
            raise ValueError(f"held-out.csv has no column {missing[0]!r}; let notebook 02 write it again")
        labels = held_out["label"].map({c: i for i, c in enumerate(classes)}).to_numpy()
        raw = held_out[list(classes)].to_numpy(float)
        temperature = fit_temperature(raw, labels)
        # The threshold is in the scale of the probabilities that new images get.
        ask_below = float(np.quantile(calibrated(raw, temperature).max(axis=1), ask_share)) if ask_share else 0.0
        accuracy = float((raw.argmax(axis=1) == labels).mean())
        return cls(temperature, ask_below, ask_share, accuracy, np.sort(held_out["outlier_score"].to_numpy(float)))

    def unlikeness(self, distance: float) -> float:
        """Share of the held-out training images that are less far from the others than ``distance``."""
        return float(np.searchsorted(self.distances, distance) / len(self.distances))
