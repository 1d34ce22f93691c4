"""Who is right how often, with intervals: single decision makers, panel, vote, classes, subgroups, missing answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from micrographs.manifest import NO_ANSWER
from readerstudy.answers import (
    MEAN,
    OTHER,
    VOTE,
    correct_table,
    machine_and_panel,
    majority_vote,
    of_readers,
    roles,
    specimen_index,
)
from readerstudy.inference import difference_interval, mean_interval, share_interval, sign_flip_test


def balancing(truth) -> np.ndarray:
    """Weights of images (n,) under which every class counts alike."""
    _, index, counts = np.unique(np.asarray(truth, dtype=str), return_inverse=True, return_counts=True)
    return 1 / (len(counts) * counts[index])


def score_with_intervals(truth, answers, groups=None) -> dict:
    """Accuracy and balanced accuracy of one decision maker with 95 % intervals that take whole specimens as drawn.

    The one interval of a machine's accuracy in this study, in training as in the comparison: `inference.share_interval`.
    Balanced accuracy is the mean over classes of each class's share right.

    Parameters
    ----------
    truth, answers : sequences (n,)
        Right label and given answer.
    groups : sequence (n,), optional
        Specimen of each image.

    Returns
    -------
    dict
        ``accuracy`` and ``balanced_accuracy``, each a dict of value, low, high; and ``n``.
    """
    truth = np.asarray(truth, dtype=object)
    right = (truth == np.asarray(answers, dtype=object)).astype(float)
    found = {"accuracy": None, "balanced_accuracy": balancing(truth)}
    return {"n": len(truth)} | {
        name: dict(zip(("value", "low", "high"), share_interval(right, groups, weights), strict=True))
        for name, weights in found.items()
    }


def readers_table(sheets: pd.DataFrame, truth: pd.Series, groups: pd.Series | None = None) -> pd.DataFrame:
    """Accuracy of every decision maker, of the panel's mean and of its majority vote, with 95 % intervals.

    Each over the images that were shown to the decision maker. Single ones and the vote of these readers have
    `inference.share_interval`; the mean has `inference.mean_interval`, which takes readers as drawn where they are many.

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
        decision_maker, kind, n_images, n_correct, accuracy, accuracy_low, accuracy_high, balanced_accuracy.
    """
    right, specimen = correct_table(sheets, truth), specimen_index(truth, groups)
    kinds = sheets.groupby("decision_maker")["kind"].first()

    def row(name, kind, values, interval):
        seen = np.isfinite(values)
        balanced = values[seen] @ balancing(truth.to_numpy()[seen]) if seen.any() else np.nan
        return (name, kind, int(seen.sum()), float(np.nansum(values)), *interval, float(balanced))

    rows = [row(name, kinds[name], v := right.loc[name].to_numpy(), share_interval(v, specimen)) for name in right.index]
    panel = of_readers(sheets)
    if len(panel):
        of_panel = right.loc[panel["decision_maker"].unique()].to_numpy()
        mean = pd.DataFrame(of_panel).mean(axis=0).to_numpy()
        rows.append(row(MEAN, MEAN, mean, tuple(float(v) for v in mean_interval(of_panel, specimen))))
        vote = majority_vote(panel, truth)["right"].to_numpy()
        rows.append(row(VOTE, VOTE, vote, share_interval(vote, specimen)))
    columns = "decision_maker kind n_images n_correct accuracy accuracy_low accuracy_high balanced_accuracy".split()
    return pd.DataFrame(rows, columns=columns)


def mcnemar_table(sheets: pd.DataFrame, truth: pd.Series, groups: pd.Series | None = None) -> pd.DataFrame:
    """The machine against each reader, other machine and the majority vote, on the images that both were shown.

    Exact and two-sided, with Holm's correction over all rows: McNemar's test where each image is of its own specimen
    and no vote is tied, `inference.sign_flip_test` in general. A tied vote counts as `majority_vote` counts it.

    Returns
    -------
    DataFrame
        decision_maker, n_images, machine_only_correct, reader_only_correct, difference (machine minus other), low,
        high (95 % interval), p_value, p_holm.
    """
    specimen = specimen_index(truth, groups)
    right, role = correct_table(sheets, truth), roles(sheets)
    machine, _ = machine_and_panel(sheets, truth)
    others = {name: right.loc[name].to_numpy() for name in role.index[role != "machine"]}
    others[VOTE] = majority_vote(of_readers(sheets), truth)["right"].to_numpy()
    rows = []
    for name, values in others.items():
        lead = machine - values
        seen = np.isfinite(lead)
        found = difference_interval(values[None, seen], machine[seen], specimen[seen])
        only = np.maximum(lead, 0)[seen].sum(), np.maximum(-lead, 0)[seen].sum()
        rows.append((name, int(seen.sum()), *only, *map(float, found), sign_flip_test(lead, specimen)))
    columns = "decision_maker n_images machine_only_correct reader_only_correct difference low high p_value".split()
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = multipletests(table["p_value"], method="holm")[1]
    return table


def class_table(sheets: pd.DataFrame, truth: pd.Series, groups: pd.Series | None = None) -> pd.DataFrame:
    """Sensitivity and specificity of machine and panel for each class, "none of these" among them, with 95 % intervals.

    Sensitivity is the share of the class's images that were called so; specificity the share of the others that were
    not. "No answer" calls nothing.

    Returns
    -------
    DataFrame
        who (machine, panel), class, n_images (of the class), sensitivity and specificity, each with _low and _high.
    """
    specimen = specimen_index(truth, groups)
    called = sheets.pivot(index="decision_maker", columns="image", values="answer").reindex(columns=truth.index)
    role = roles(sheets)
    rows = []
    for who, part in (("machine", role == "machine"), ("panel", role == "reader")):
        given = called.loc[role.index[part]]
        if given.empty:
            continue
        for name in sorted(truth.unique()):
            of_class = (truth == name).to_numpy()
            so = (given == name).astype(float).where(given.notna()).to_numpy()
            found = []
            for values, images in ((so, of_class), (1 - so, ~of_class)):
                values, drawn = values[:, images], specimen[images]
                if not np.isfinite(values).any():
                    found += [np.nan] * 3
                elif who == "machine":
                    found += share_interval(values[0], drawn)
                else:
                    found += map(float, mean_interval(values, drawn))
            rows.append((who, name, int(of_class.sum()), *found))
    measures = [f"{m}{e}" for m in ("sensitivity", "specificity") for e in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["who", "class", "n_images", *measures])


def subgroup_table(sheets: pd.DataFrame, truth: pd.Series, groups: pd.Series | None = None) -> pd.DataFrame:
    """The machine against the less and the more experienced half of the readers.

    Parted at the median of the known years of experience; exploratory, as few panels are large enough to part.

    Returns
    -------
    DataFrame
        readers, n_readers, accuracy, accuracy_low, accuracy_high, difference (machine minus these), low, high. Empty
        when fewer than four readers gave their years, or all gave the same.
    """
    columns = "readers n_readers accuracy accuracy_low accuracy_high difference low high".split()
    years = of_readers(sheets).groupby("decision_maker")["years_experience"].first().dropna()
    middle = years.median()
    if len(years) < 4 or years.max() == years.min():
        return pd.DataFrame(columns=columns)
    # Where many readers are at the median, the parts must not be empty.
    more = years >= middle if (years < middle).any() else years > middle
    specimen, right = specimen_index(truth, groups), correct_table(sheets, truth)
    machine, _ = machine_and_panel(sheets, truth)
    rows = []
    for name, part in ((f"under {middle:g} years", ~more), (f"{middle:g} years and more", more)):
        panel = right.loc[years.index[part]].to_numpy()
        found = *mean_interval(panel, specimen), *difference_interval(panel, machine, specimen)
        rows.append((name, int(part.sum()), *map(float, found)))
    return pd.DataFrame(rows, columns=columns)


def missing_table(sheets: pd.DataFrame, truth: pd.Series, groups: pd.Series | None = None) -> pd.DataFrame:
    """What the difference between machine and panel mean becomes when the readers' missing answers are counted otherwise.

    "No answer" counts as wrong in this study, and an image that was not shown to a reader is left out. The table puts
    the other ways beside it, the extremes among them.

    Returns
    -------
    DataFrame
        counted, n_answers, difference, low, high. Empty when no answer is missing.
    """
    machine, panel = machine_and_panel(sheets, truth)
    role = roles(sheets)
    given = sheets.pivot(index="decision_maker", columns="image", values="answer")
    given = given.reindex(index=role.index[role == "reader"], columns=truth.index).to_numpy()
    unanswered, unseen = given == NO_ANSWER, ~np.isfinite(panel)
    ways = {"as in this study": panel}
    if unanswered.any():
        ways["no answer is left out"] = np.where(unanswered, np.nan, panel)
        ways["no answer is right"] = np.where(unanswered, 1, panel)
    if unseen.any():
        ways["not shown is wrong"] = np.where(unseen, 0, panel)
        ways["not shown is right"] = np.where(unseen, 1, panel)
    columns = "counted n_answers difference low high".split()
    if len(ways) == 1:
        return pd.DataFrame(columns=columns)
    specimen = specimen_index(truth, groups)
    rows = [
        (name, int(np.isfinite(values).sum()), *map(float, difference_interval(values, machine, specimen)))
        for name, values in ways.items()
        if np.isfinite(values).any()
    ]
    return pd.DataFrame(rows, columns=columns)


def other_machines(sheets: pd.DataFrame) -> list[str]:
    """Names of machines other than the study's."""
    role = roles(sheets)
    return list(role.index[role == OTHER])
