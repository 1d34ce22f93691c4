"""Who is right how often: decision makers, panel and vote, each against the machine, by class, and with answers missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from readerstudy.answers import MACHINE, MEAN, NO_ANSWER, SILENT, VOTE, answers_of, right_answers
from readerstudy.intervals import balancing, difference_interval, mean_interval, share_interval, sign_flip_test


def readers_table(sheets: pd.DataFrame, truth: pd.Series, groups: pd.Series | None = None) -> pd.DataFrame:
    """Accuracy of every decision maker, of the panel's mean and of its majority vote, with 95 % intervals.

    Each over the images that were shown to the decision maker. Single ones and the vote of these readers have
    `intervals.share_interval`; the mean has `intervals.mean_interval`, which takes readers as drawn where they are many.
    Who answered nothing is listed, without an accuracy.

    Parameters
    ----------
    sheets : DataFrame
        Answers of all decision makers.
    truth : Series
        Right answers by image.
    groups : Series, optional
        Specimens by image.

    Returns
    -------
    DataFrame
        decision_maker, kind, n_images (shown), n_correct, accuracy, accuracy_low, accuracy_high, balanced_accuracy; and of
        single decision makers n_answered, years_experience, median_seconds, mean_confidence and brier (mean squared
        distance of the confidence from being right), NaN where unknown.
    """
    found, by_name = answers_of(sheets, truth, groups), sheets.groupby("decision_maker", sort=False)
    mean = pd.DataFrame(found.panel).mean().to_numpy()
    several = mean_interval(found.panel, found.specimen, laboratories=found.laboratory)
    kinds = by_name["kind"].first()
    who = [(name, kinds[name], right.to_numpy(), None) for name, right in found.right.iterrows()]
    rows = []
    for name, kind, right, interval in [*who, (MEAN, MEAN, mean, several), (VOTE, VOTE, found.vote, None)]:
        if found.role.get(name) == SILENT:
            kind, right = SILENT, np.full(len(right), np.nan)
        seen = np.isfinite(right)
        balanced = right[seen] @ balancing(truth.to_numpy()[seen]) if seen.any() else np.nan
        interval = interval or share_interval(right, found.specimen)
        rows.append((name, kind, int(seen.sum()), float(right[seen].sum()), *map(float, interval), float(balanced)))
    columns = "decision_maker kind n_images n_correct accuracy accuracy_low accuracy_high balanced_accuracy"
    error = (sheets["confidence"] - right_answers(sheets, truth)) ** 2
    single = {
        "n_answered": (sheets["answer"] != NO_ANSWER).groupby(sheets["decision_maker"]).sum(),
        "years_experience": by_name["years_experience"].first(),
        "median_seconds": by_name["seconds"].median(),
        "mean_confidence": by_name["confidence"].mean(),
        "brier": error.groupby(sheets["decision_maker"]).mean(),
    }
    return pd.DataFrame(rows, columns=columns.split()).join(pd.DataFrame(single), on="decision_maker")


def mcnemar_table(sheets: pd.DataFrame, truth: pd.Series, groups: pd.Series | None = None) -> pd.DataFrame:
    """The machine against each reader, other machine and the majority vote, on the images that both were shown.

    Exact and two-sided, with Holm's correction over all rows: McNemar's test where each image is of its own specimen
    and no vote is tied, `intervals.sign_flip_test` in general. A tied vote counts as `majority_vote` counts it. The vote
    of a single reader is the reader, and no comparison of its own.

    Returns
    -------
    DataFrame
        decision_maker, role, n_images, machine_only_correct, reader_only_correct, difference (machine minus other), low,
        high (95 % interval), p_value, p_holm, p_least (the smallest p_holm that so many specimens and comparisons allow;
        where it is above 0.05 the test cannot decide).
    """
    found = answers_of(sheets, truth, groups)
    right = {name: row.to_numpy() for name, row in found.right.iterrows()} | {VOTE: found.vote}
    rows = []
    for name, role in [*found.role.items(), *[(VOTE, VOTE)] * (len(found.panel) > 1)]:
        lead = found.machine - right[name]
        seen = np.isfinite(lead)
        if role in (MACHINE, SILENT) or not seen.any():
            continue
        specimen = found.specimen[seen]
        interval = difference_interval(right[name][None, seen], found.machine[seen], specimen)
        only = np.nansum(np.maximum(lead, 0)), np.nansum(np.maximum(-lead, 0))
        p = sign_flip_test(lead, found.specimen), 2.0 ** (1 - len(set(specimen)))
        rows.append((name, role, int(seen.sum()), *only, *map(float, interval), *p))
    columns = "decision_maker role n_images machine_only_correct reader_only_correct difference low high p_value p_least"
    table = pd.DataFrame(rows, columns=columns.split())
    # Holm's first step multiplies the smallest p-value by the number of comparisons.
    p_holm = multipletests(table["p_value"], method="holm")[1] if len(table) else []
    return table.assign(p_holm=p_holm, p_least=np.minimum(table["p_least"] * len(table), 1.0))


def counts_table(sheets: pd.DataFrame, truth: pd.Series, strata: pd.Series) -> pd.DataFrame:
    """Answers and right answers of machine and panel in each part of the quiz: by class, modality or magnification.

    Counts, as parts of a few dozen images decide nothing.

    Parameters
    ----------
    sheets, truth
        As for `readers_table`.
    strata : Series
        By image; ``truth`` itself gives the counts by class, "none of these" among them.

    Returns
    -------
    DataFrame
        part, n_images, machine_answers, machine_correct, panel_answers, panel_correct.
    """
    found = answers_of(sheets, truth)
    part = strata.reindex(truth.index).to_numpy()
    table = pd.DataFrame({"part": part, "n_images": 1})
    for who, right in (("machine", found.machine[None]), ("panel", found.panel)):
        table[f"{who}_answers"] = np.isfinite(right).sum(axis=0)
        table[f"{who}_correct"] = np.nansum(right, axis=0).astype(int)
    return table.groupby("part", sort=True).sum().reset_index()


def missing_table(sheets: pd.DataFrame, truth: pd.Series, groups: pd.Series | None = None) -> pd.DataFrame:
    """What the difference between machine and panel mean becomes when the readers' missing answers are counted otherwise.

    "No answer" counts as wrong in this study, and an image that was not shown to a reader is left out. The table puts
    the other ways beside it, the extremes among them.

    Returns
    -------
    DataFrame
        counted, n_answers, difference, low, high. Empty when no answer is missing.
    """
    found = answers_of(sheets, truth, groups)
    given = found.readers.pivot(index="decision_maker", columns="image", values="answer")
    given = given.reindex(index=found.readers["decision_maker"].unique(), columns=truth.index).to_numpy()
    panel, unanswered, unseen = found.panel, given == NO_ANSWER, ~np.isfinite(found.panel)
    ways = {"as in this study": (unseen & False, 0), "no answer is left out": (unanswered, np.nan),
            "no answer is right": (unanswered, 1), "not shown is wrong": (unseen, 0),
            "not shown is right": (unseen, 1)}  # fmt: skip
    rows = []
    for name, (where, value) in ways.items():
        values = np.where(where, value, panel)
        interval = difference_interval(values, found.machine, found.specimen, laboratories=found.laboratory)
        if where.any() or name == "as in this study" and (unanswered | unseen).any():
            rows.append((name, int(np.isfinite(values).sum()), *map(float, interval)))
    return pd.DataFrame(rows, columns="counted n_answers difference low high".split())
