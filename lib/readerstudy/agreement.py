"""Do they err on the same images, and do readers agree: error consistency with posterior intervals, Fleiss' kappa."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from micrographs.manifest import NO_ANSWER
from readerstudy.answers import MACHINE, OTHER, correct_table, of_readers, roles, specimen_index


def error_consistency(a, b) -> tuple[float, float, float]:
    """Cohen's kappa of being right or wrong on the same images, with its attainable bounds.

    After Geirhos et al., NeurIPS 2020: agreement beyond what two independent deciders of these accuracies show.

    Parameters
    ----------
    a, b : arrays (n,) of bool

    Returns
    -------
    kappa, lowest, highest : float
        NaN where one of the two is always right or always wrong, so that no agreement beyond chance can be seen.
    """
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    if not len(a) or a.mean() in (0, 1) or b.mean() in (0, 1):
        return (np.nan,) * 3
    p, q = a.mean(), b.mean()
    expected = p * q + (1 - p) * (1 - q)
    observed = (a == b).mean()
    # Agreement of two deciders with these accuracies can lie between these.
    lowest, highest = abs(p + q - 1), 1 - abs(p - q)
    return tuple(float((o - expected) / (1 - expected)) for o in (observed, lowest, highest))


def kappa_draws(right, groups=None, n_draws: int = 2000, seed: int = 0) -> np.ndarray:
    """Draws from the posterior of error consistency between all pairs of decision makers, on the same images.

    Images are weighted anew by Gamma(1) (Rubin's Bayesian bootstrap, 1981), those of one specimen alike, and half an
    image is added to each of the four cells of every pair's table (both right, one, the other, none). For one pair, with
    one image a specimen, this is the Dirichlet posterior of counts + 1/2.

    Parameters
    ----------
    right : array (n, n_images)
        1 or 0; NaN where not shown.
    groups : array (n_images,), optional
    n_draws, seed : int

    Returns
    -------
    array (n_draws, n, n)
    """
    rng = np.random.default_rng(seed)
    right = np.asarray(right, float)
    n, n_images = right.shape
    specimen = np.arange(n_images) if groups is None else np.unique(groups, return_inverse=True)[1]
    weights = rng.gamma(1, 1, (n_draws, specimen.max() + 1))[:, specimen]
    yes, no = (right == 1).astype(float), (right == 0).astype(float)
    added = rng.gamma(0.5, 1, (4, n_draws, n, n))
    both, first, second, neither = (
        ((weights[:, None] * x) @ y.T) + extra
        for (x, y), extra in zip(((yes, yes), (yes, no), (no, yes), (no, no)), added, strict=True)
    )
    total = both + first + second + neither
    p, q = (both + first) / total, (both + second) / total
    expected = p * q + (1 - p) * (1 - q)
    return ((both + neither) / total - expected) / (1 - expected)


def posterior_limits(draws, n_specimens: int, widen: bool = True) -> np.ndarray:
    """95 % limits of draws along the first axis: array (2, ...).

    Weights drawn anew spread too little over few specimens, whose own number bounds what can be known of the spread:
    ``widen`` stretches the limits from the mean, by sqrt((n + 1) / (n - 1)) and from the normal to Student's quantile.
    """
    limits = np.quantile(draws, (0.025, 0.975), axis=0)
    if not widen or n_specimens < 2:
        return limits
    factor = np.sqrt((n_specimens + 1) / (n_specimens - 1))
    factor *= stats.t.ppf(0.975, n_specimens - 1) / stats.norm.ppf(0.975)
    middle = np.mean(draws, axis=0)
    return np.clip(middle + factor * (limits - middle), -2, 2)


def agreement_table(
    sheets: pd.DataFrame, truth: pd.Series, groups: pd.Series | None = None, n_draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Error consistency of every pair, on the images that both were shown.

    Returns
    -------
    DataFrame
        a, b, role_a, role_b (see `answers.roles`), n_images, kappa (NaN where undefined), kappa_low, kappa_high (95 % of
        the posterior, `kappa_draws`, widened where images share specimens), kappa_min, kappa_max (attainable at these
        accuracies).
    """
    right, role = correct_table(sheets, truth), roles(sheets)
    values, specimen = right.to_numpy(), specimen_index(truth, groups)
    n_specimens = specimen.max() + 1
    low, high = posterior_limits(
        kappa_draws(values, specimen, n_draws, seed), n_specimens, widen=n_specimens < len(specimen)
    )  # fmt: skip
    rows = []
    for i, a in enumerate(right.index):
        for j in range(i + 1, len(right)):
            b, seen = right.index[j], np.isfinite(values[i]) & np.isfinite(values[j])
            kappa, lowest, highest = error_consistency(values[i, seen], values[j, seen])
            rows.append((a, b, role[a], role[b], int(seen.sum()), kappa, low[i, j], high[i, j], lowest, highest))
    columns = "a b role_a role_b n_images kappa kappa_low kappa_high kappa_min kappa_max".split()
    return pd.DataFrame(rows, columns=columns)


def mean_kappas(
    sheets: pd.DataFrame, truth: pd.Series, groups: pd.Series | None = None, n_draws: int = 2000, seed: int = 0
) -> dict:
    """Does the machine err where these readers err as much as they do among each other?

    Mean error consistency of the machine with the readers, of the readers with each other, and the difference, with 95 %
    of their posterior, widened (`posterior_limits`; Klein et al., NeurIPS 2025, ask for intervals of error consistency).
    Undefined pairs are left out of the means, not of the posterior.

    Returns
    -------
    dict
        ``machine_and_readers``, ``readers``, ``difference``: each value, low, high; None where there is no such pair.
    """
    right, role = correct_table(sheets, truth), roles(sheets)
    right = right.loc[role.index[role != OTHER]]
    values, machine = right.to_numpy(), int(np.flatnonzero(role[right.index] == MACHINE)[0])
    specimen = specimen_index(truth, groups)
    draws = kappa_draws(values, specimen, n_draws, seed)
    n = len(values)
    others = [i for i in range(n) if i != machine]
    pairs = {
        "machine_and_readers": [(machine, i) for i in others],
        "readers": [(i, j) for k, i in enumerate(others) for j in others[k + 1 :]],
    }
    found, of_draw = {}, {}

    def entry(value, draws):
        low, high = posterior_limits(draws, specimen.max() + 1)
        return {"value": float(value), "low": float(low), "high": float(high)}

    for name, chosen in pairs.items():
        found[name] = None
        if not chosen:
            continue
        kappas = []
        for i, j in chosen:
            seen = np.isfinite(values[i]) & np.isfinite(values[j])
            kappas.append(error_consistency(values[i, seen], values[j, seen])[0])
        of_draw[name] = np.mean([draws[:, i, j] for i, j in chosen], axis=0)
        if np.isfinite(kappas).any():
            found[name] = entry(np.nanmean(kappas), of_draw[name])
    found["difference"] = None
    if all(found[name] for name in pairs):
        value = found["machine_and_readers"]["value"] - found["readers"]["value"]
        found["difference"] = entry(value, of_draw["machine_and_readers"] - of_draw["readers"])
    return found


def fleiss_kappa(counts) -> float:
    """Fleiss' kappa (1971) of a table (n_images, n_answers) of how many readers gave each answer.

    Images may have been answered by different numbers of readers; those with fewer than two answers are left out.
    NaN where all gave one and the same answer, or no image has two.
    """
    counts = np.asarray(counts, float)
    counts = counts[counts.sum(axis=1) >= 2]
    if not len(counts):
        return float("nan")
    n = counts.sum(axis=1)
    share = counts.sum(axis=0) / counts.sum()
    observed = ((counts**2).sum(axis=1) - n) / (n * (n - 1))
    expected = (share**2).sum()
    return float((observed.mean() - expected) / (1 - expected)) if expected < 1 else float("nan")


def panel_kappa(sheets: pd.DataFrame) -> float:
    """Fleiss' kappa of the readers' answers; "no answer" is no answer."""
    panel = of_readers(sheets)
    panel = panel[panel["answer"] != NO_ANSWER]
    if panel.empty:
        return float("nan")
    return fleiss_kappa(pd.crosstab(panel["image"], panel["answer"]).to_numpy())
