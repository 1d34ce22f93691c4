"""Who is right how often: decision makers, panel and vote, each against the machine, by class, and with answers missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from readerstudy.answers import MACHINE, MEAN, NO_ANSWER, SILENT, VOTE, answers_of
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
        decision_maker, kind, n_images (shown), n_answered, n_correct, accuracy, accuracy_low, accuracy_high,
        balanced_accuracy; and of single readers years_experience, median_seconds, mean_confidence and brier (mean squared
        distance of the confidence from being right), NaN where unknown.
    """
    found, by_name = answers_of(sheets, truth, groups), sheets.groupby("decision_maker", sort=False)
    kinds = by_name["kind"].first()

    def row(name, kind, right, interval, n_answered):
        seen = np.isfinite(right)
        if not seen.any():
            return name, kind, 0, 0, 0.0, *interval, np.nan
        balanced = float(right[seen] @ balancing(truth.to_numpy()[seen]))
        return name, kind, int(seen.sum()), n_answered, float(right[seen].sum()), *interval, balanced

    rows = []
    for name, right in found.right.iterrows():
        answered = int((by_name.get_group(name)["answer"] != NO_ANSWER).sum())
        silent = found.role[name] == SILENT
        shown = np.where(silent, np.nan, right)
        rows.append(row(name, SILENT if silent else kinds[name], shown, share_interval(shown, found.specimen), answered))
    if len(found.panel):
        n = int((found.readers["answer"] != NO_ANSWER).sum())
        mean = tuple(map(float, mean_interval(found.panel, found.specimen, laboratories=found.laboratory)))
        rows.append(row(MEAN, MEAN, pd.DataFrame(found.panel).mean().to_numpy(), mean, n))
        rows.append(row(VOTE, VOTE, found.vote, share_interval(found.vote, found.specimen), n))
    columns = "decision_maker kind n_images n_answered n_correct accuracy accuracy_low accuracy_high balanced_accuracy"
    table = pd.DataFrame(rows, columns=columns.split())
    error = (sheets["confidence"] - (sheets["answer"].to_numpy() == truth.reindex(sheets["image"]).to_numpy())) ** 2
    return table.join(
        pd.DataFrame(
            {
                "years_experience": by_name["years_experience"].first(),
                "median_seconds": by_name["seconds"].median(),
                "mean_confidence": by_name["confidence"].mean(),
                "brier": error.groupby(sheets["decision_maker"]).mean(),
            }
        ),
        on="decision_maker",
    )


def mcnemar_table(sheets: pd.DataFrame, truth: pd.Series, groups: pd.Series | None = None) -> pd.DataFrame:
    """The machine against each reader, other machine and the majority vote, on the images that both were shown.

    Exact and two-sided, with Holm's correction over all rows: McNemar's test where each image is of its own specimen
    and no vote is tied, `intervals.sign_flip_test` in general. A tied vote counts as `majority_vote` counts it. The vote
    of a single reader is the reader, and no comparison of its own.

    Returns
    -------
    DataFrame
        decision_maker, n_images, machine_only_correct, reader_only_correct, difference (machine minus other), low,
        high (95 % interval), p_value, p_holm, p_least (the smallest p_holm that so many specimens and comparisons allow;
        where it is above 0.05 the test cannot decide).
    """
    found = answers_of(sheets, truth, groups)
    others = {n: found.right.loc[n].to_numpy() for n in found.role.index[~found.role.isin([MACHINE, SILENT])]}
    if len(found.panel) > 1:
        others[VOTE] = found.vote
    rows = []
    for name, values in others.items():
        lead = found.machine - values
        seen = np.isfinite(lead)
        if not seen.any():
            continue
        specimen = found.specimen[seen]
        interval = difference_interval(values[None, seen], found.machine[seen], specimen)
        only = np.maximum(lead, 0)[seen].sum(), np.maximum(-lead, 0)[seen].sum()
        p = sign_flip_test(lead, found.specimen), 2.0 ** (1 - len(set(specimen)))
        rows.append((name, int(seen.sum()), *only, *map(float, interval), *p))
    columns = "decision_maker n_images machine_only_correct reader_only_correct difference low high p_value p_least".split()
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = multipletests(table["p_value"], method="holm")[1] if len(table) else []
    # Holm's first step multiplies the smallest p-value by the number of comparisons.
    table["p_least"] = np.minimum(table["p_least"] * len(table), 1.0)
    return table[[*columns[:-1], "p_holm", "p_least"]]


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
    ways = {"as in this study": panel}
    if unanswered.any():
        ways["no answer is left out"] = np.where(unanswered, np.nan, panel)
        ways["no answer is right"] = np.where(unanswered, 1, panel)
    if unseen.any():
        ways["not shown is wrong"] = np.where(unseen, 0, panel)
        ways["not shown is right"] = np.where(unseen, 1, panel)
    rows = []
    for name, values in ways.items() if len(ways) > 1 else ():
        interval = difference_interval(values, found.machine, found.specimen, laboratories=found.laboratory)
        rows.append((name, int(np.isfinite(values).sum()), *map(float, interval)))
    return pd.DataFrame(rows, columns="counted n_answers difference low high".split())
