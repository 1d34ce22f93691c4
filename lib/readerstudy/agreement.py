"""Do they err on the same images, and do readers agree: error consistency and Fleiss' kappa."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from readerstudy.answers import MACHINE, NO_ANSWER, READER, SILENT, correct_table, roles


def error_consistency(a, b) -> tuple[float, float, float]:
    """Cohen's kappa of being right or wrong on the same images, with its attainable bounds.

    After Geirhos et al., NeurIPS 2020: agreement beyond what two independent deciders of these accuracies show. It is 0
    where one of the two is always right, since chance then explains all of their agreement.

    Parameters
    ----------
    a, b : arrays (n,) of bool

    Returns
    -------
    kappa, lowest, highest : float
        NaN without images, and where both are always right or both always wrong: 0 divided by 0.
    """
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    p, q = (a.mean(), b.mean()) if len(a) else (1.0, 1.0)
    expected = p * q + (1 - p) * (1 - q)
    if expected == 1:
        return (np.nan,) * 3
    # Agreement of two deciders with these accuracies can lie between the two others.
    observed = (a == b).mean(), abs(p + q - 1), 1 - abs(p - q)
    return tuple(float((o - expected) / (1 - expected)) for o in observed)


def agreement_table(sheets: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """Error consistency of every pair, on the images that both were shown.

    Returns
    -------
    DataFrame
        a, b, role_a, role_b (see `answers.roles`), n_images, kappa (NaN where undefined), kappa_min, kappa_max
        (attainable at these accuracies).
    """
    role = roles(sheets)
    right, rows = correct_table(sheets, truth).loc[role.index[role != SILENT]], []
    for a, b in itertools.combinations(right.index, 2):
        both = right.loc[[a, b]].dropna(axis=1).to_numpy()
        rows.append((a, b, role[a], role[b], both.shape[1], *error_consistency(*both)))
    return pd.DataFrame(rows, columns="a b role_a role_b n_images kappa kappa_min kappa_max".split())


def mean_kappas(agreement: pd.DataFrame) -> dict:
    """Does the machine err where these readers err as much as they do among each other?

    Mean error consistency of the machine with the readers, and of the readers with each other. They have no interval: none
    that was tried holds. Undefined pairs are left out.

    Parameters
    ----------
    agreement : DataFrame
        As `agreement_table` gives it.

    Returns
    -------
    dict
        ``machine_and_readers`` and ``readers``: mean kappa; None where there is no such pair.
    """
    pair = [{a, b} for a, b in zip(agreement["role_a"], agreement["role_b"], strict=True)]
    asked = {"machine_and_readers": {MACHINE, READER}, "readers": {READER}}
    means = {name: agreement["kappa"][[roles == p for p in pair]].mean() for name, roles in asked.items()}
    return {name: None if np.isnan(mean) else float(mean) for name, mean in means.items()}


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
    role = sheets["decision_maker"].map(roles(sheets))
    given = sheets[(role == READER) & (sheets["answer"] != NO_ANSWER)]
    return fleiss_kappa(pd.crosstab(given["image"], given["answer"]).to_numpy()) if len(given) else float("nan")
