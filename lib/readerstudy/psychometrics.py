"""Ability and difficulty on one scale, calibration of confidence, and experience."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.stats import permutation_test, rankdata, spearmanr

from readerstudy.answers import MACHINE, OTHER, READER, correct_table, of_readers, roles, specimen_index
from readerstudy.inference import crossed_interval


def rasch_fit(y: np.ndarray, prior_sd: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Fit the Rasch model to right and wrong answers.

    Abilities and difficulties have normal priors. That of the abilities has a free mean, which keeps easy quizzes from
    being drawn to even odds; only the mean has a flat prior's wide stand-in (standard deviation 5), so that a quiz without
    an error stays finite.

    Parameters
    ----------
    y : array (n, m) of 0 and 1
        Decision makers by images; NaN where not shown.
    prior_sd : float
        Of abilities about their mean, and of difficulties, in logits.

    Returns
    -------
    logit : array (n + m,)
        Abilities, then difficulties, whose mean is 0.
    half : array (n + m,)
        Half of the 95 % interval.
    """
    n, m = y.shape
    seen = np.isfinite(y)
    y = np.nan_to_num(y)
    # The prior's precision of abilities: about a common mean that itself has a standard deviation of 5 logits.
    prior = np.eye(n + m) / prior_sd**2
    prior[:n, :n] = np.linalg.inv(prior_sd**2 * np.eye(n) + 25.0)

    def probability(theta):
        return 1 / (1 + np.exp(-(theta[:n, None] - theta[None, n:])))

    def loss(theta):
        z = theta[:n, None] - theta[None, n:]
        residual = np.where(seen, probability(theta) - y, 0)
        pull = prior @ theta
        gradient = np.concatenate([residual.sum(1), -residual.sum(0)]) + pull
        return float(np.where(seen, np.logaddexp(0, z) - y * z, 0).sum() + 0.5 * theta @ pull), gradient

    theta = minimize(loss, np.zeros(n + m), jac=True, method="L-BFGS-B").x
    w = probability(theta)
    w = np.where(seen, w * (1 - w), 0)
    covariance = np.linalg.inv(np.block([[np.diag(w.sum(1)), -w], [-w.T, np.diag(w.sum(0))]]) + prior)
    # Placed so that difficulties have mean 0; the intervals are of the distances from that mean.
    shift = np.eye(n + m)
    shift[:, n:] -= 1 / m
    theta, covariance = shift @ theta, shift @ covariance @ shift.T
    return theta, 1.96 * np.sqrt(np.maximum(np.diag(covariance), 0))


def rasch(sheets: pd.DataFrame, truth: pd.Series, prior_sd: float = 2.0) -> pd.DataFrame:
    """Rasch model: readers, machines and images on one logit scale (Rasch, 1960).

    A decision maker of ability a gets an image of difficulty d right with probability logistic(a - d). Penalised
    maximum likelihood (`rasch_fit`); intervals from the curvature at the maximum.

    Returns
    -------
    DataFrame
        name, kind ("image" for images), logit, logit_low, logit_high. Difficulties have mean 0.
    """
    right = correct_table(sheets, truth)
    theta, half = rasch_fit(right.to_numpy(), prior_sd)
    kinds = sheets.groupby("decision_maker")["kind"].first()
    return pd.DataFrame(
        {
            "name": [*right.index, *right.columns],
            "kind": [*kinds[right.index], *["image"] * len(right.columns)],
            "logit": theta,
            "logit_low": theta - half,
            "logit_high": theta + half,
        }
    )


def _with_confidence(sheets: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """Answers that came with a confidence: with columns right, and who (machine, panel)."""
    role = sheets["decision_maker"].map(roles(sheets))
    right = (sheets["answer"].to_numpy() == truth.reindex(sheets["image"]).to_numpy()).astype(float)
    table = sheets.assign(right=right, who=role.replace({READER: "panel"}))
    return table[table["confidence"].notna() & (role != OTHER)]


def calibration_table(sheets: pd.DataFrame, truth: pd.Series, n_bins: int = 5) -> pd.DataFrame:
    """Share right against stated confidence: who, bin_low, bin_high, confidence, accuracy, n; empty without confidence.

    A confidence on the edge of two bins is in the upper one.
    """
    table = _with_confidence(sheets, truth)
    # 0.6 * 5 is 3 and 0.6 / 0.2 is not; what lies within rounding of an edge is on it.
    table = table.assign(bin=np.clip(np.floor(table["confidence"] * n_bins + 1e-9), 0, n_bins - 1).astype(int))
    rows = [
        (who, b / n_bins, (b + 1) / n_bins, rows["confidence"].mean(), rows["right"].mean(), len(rows))
        for (who, b), rows in table.groupby(["who", "bin"])
    ]
    return pd.DataFrame(rows, columns=["who", "bin_low", "bin_high", "confidence", "accuracy", "n"])


def calibration_intervals(confidence, right, groups=None) -> dict:
    """Overconfidence (mean confidence minus share right) and Brier score with 95 % intervals.

    `inference.crossed_interval`, with one right and one wrong image of mean confidence added.

    Parameters
    ----------
    confidence, right : arrays (..., n_deciders, n_images)
        NaN where there is no confidence.
    groups : array (n_images,), optional

    Returns
    -------
    dict
        ``overconfidence`` and ``brier``: each value, low, high, arrays (...).
    """
    confidence, right = np.asarray(confidence, float), np.asarray(right, float)
    gap = confidence - right
    mean = np.nanmean(np.where(np.isfinite(gap), confidence, np.nan), axis=(-2, -1))
    found = {}
    for name, values, added, (least, most) in (
        ("overconfidence", gap, (mean - 1, mean), (-1, 1)),
        ("brier", gap**2, ((mean - 1) ** 2, mean**2), (0, 1)),
    ):
        low, high = crossed_interval(values, groups, added)
        found[name] = np.nanmean(values, axis=(-2, -1)), np.maximum(low, least), np.minimum(high, most)
    return found


def calibration_summary(sheets: pd.DataFrame, truth: pd.Series, groups: pd.Series | None = None) -> pd.DataFrame:
    """Overconfidence and Brier score of machine and panel, with 95 % intervals (`calibration_intervals`).

    Answers without a confidence are left out.

    Returns
    -------
    DataFrame
        who, n, and overconfidence and brier, each with _low and _high; empty without confidence.
    """
    table, specimen = _with_confidence(sheets, truth), specimen_index(truth, groups)
    rows = []
    for who in (MACHINE, "panel"):
        part = table[table["who"] == who]
        if part.empty:
            continue
        confidence, right = (
            part.pivot(index="decision_maker", columns="image", values=v).reindex(columns=truth.index).to_numpy()
            for v in ("confidence", "right")
        )
        found = calibration_intervals(confidence, right, specimen)
        rows.append((who, len(part), *(float(v) for measure in found.values() for v in measure)))
    columns = ["who", "n", *(f"{m}{e}" for m in ("overconfidence", "brier") for e in ("", "_low", "_high"))]
    return pd.DataFrame(rows, columns=columns)


def experience_table(sheets: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """One row a reader: years_experience, median_seconds, mean_confidence, accuracy."""
    panel = of_readers(sheets)
    grouped = panel.groupby("decision_maker")
    return pd.DataFrame(
        {
            "years_experience": grouped["years_experience"].first(),
            "median_seconds": grouped["seconds"].median(),
            "mean_confidence": grouped["confidence"].mean(),
            "accuracy": correct_table(panel, truth).mean(axis=1),
        }
    ).reset_index(names="decision_maker")


def experience_correlations(experience: pd.DataFrame, n_permutations: int = 9999, seed: int = 0) -> pd.DataFrame:
    """Spearman's correlation of the readers' accuracy with their experience, time and confidence.

    The p-value is of the permutation test: exact where there are no more than ``n_permutations`` ways to pair, else
    from so many drawn. (The usual t approximation gives p = 0 for four readers in perfect order; it is 2 / 24.)

    Parameters
    ----------
    experience : DataFrame
        As `experience_table` gives it.
    n_permutations, seed : int

    Returns
    -------
    DataFrame
        quantity, n_readers, rho, p_value; only quantities that at least four readers gave and that vary.
    """
    rows = []
    for quantity in ("years_experience", "median_seconds", "mean_confidence"):
        known = experience[experience[quantity].notna() & experience["accuracy"].notna()]
        if len(known) < 4 or known[quantity].nunique() < 2 or known["accuracy"].nunique() < 2:
            continue
        x, y = rankdata(known[quantity]), rankdata(known["accuracy"])
        # For given ranks rho rises with the sum of their products, which is quicker to work out.
        test = permutation_test(
            (x,), lambda drawn, axis, y=y: (drawn * y).sum(axis), permutation_type="pairings", vectorized=True,
            n_resamples=n_permutations, rng=np.random.default_rng(seed),
        )  # fmt: skip
        rows.append((quantity, len(known), float(spearmanr(x, y).statistic), float(test.pvalue)))
    return pd.DataFrame(rows, columns=["quantity", "n_readers", "rho", "p_value"])
