"""Tables of answers: who is the machine, who a reader; what each got right, and the vote."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from readerstudy.sheets import NO_ANSWER

VOTE, MEAN = "majority vote", "panel mean"
MACHINE, OTHER, READER, SILENT = "machine", "other machine", "reader", "answered nothing"


def combine(panel: pd.DataFrame, machine: pd.DataFrame) -> pd.DataFrame:
    """Answers of a panel and of the study's machine in one table.

    A decision maker of the panel who goes by the machine's name is called "<name> (panel)" from here on.
    """
    ours = set(machine["decision_maker"])
    names = panel["decision_maker"].map(lambda name: f"{name} (panel)" if name in ours else name)
    return pd.concat([panel.assign(decision_maker=names), machine], ignore_index=True)


def roles(sheets: pd.DataFrame) -> pd.Series:
    """What each decision maker is: the study's "machine", an "other machine", a "reader", or one who "answered nothing".

    Of several machines the study's is the one called "machine", else the first. Who answered nothing is no reader whose
    accuracy is 0, and is left out of every number.

    Returns
    -------
    Series
        Index: decision makers, in the order of the table.

    Raises
    ------
    ValueError
        When there is no machine, a name stands for two kinds of decision maker, or people and simulated readers are in
        one panel.
    """
    kinds = sheets.groupby("decision_maker", sort=False)["kind"].unique()
    if len(twice := kinds.index[kinds.map(len) > 1]):
        raise ValueError(f"{twice[0]!r} is both {' and '.join(kinds[twice[0]])}; join panel and machine with `combine`")
    kinds = kinds.map(lambda found: found[0])
    machines = kinds.index[kinds == "machine"]
    if machines.empty:
        raise ValueError("no decision maker of the kind 'machine'; read the machine's answers.csv and `combine` them")
    if kinds[kinds != "machine"].nunique() > 1:
        drawn = ", ".join(kinds.index[kinds == "simulated human"][:3])
        raise ValueError(f"people and simulated readers ({drawn}) are in one panel; give each a folder of its own")
    silent = (sheets["answer"] == NO_ANSWER).groupby(sheets["decision_maker"], sort=False).all()
    role = pd.Series(READER, kinds.index, name="role").where(~silent, SILENT)
    role[machines] = OTHER
    role["machine" if "machine" in machines else machines[0]] = MACHINE
    return role


def right_answers(sheets: pd.DataFrame, truth: pd.Series) -> np.ndarray:
    """Whether each row of the sheets is right (n_rows,): 1 or 0; "no answer" is wrong."""
    return (sheets["answer"].to_numpy() == truth.reindex(sheets["image"]).to_numpy()).astype(float)


def correct_table(sheets: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """Right (1) or wrong (0): one row a decision maker, one column an image.

    "No answer" is wrong. NaN where a decision maker has no row for an image: it was not shown.
    """
    table = sheets.assign(right=right_answers(sheets, truth))
    table = table.pivot(index="decision_maker", columns="image", values="right")
    return table.reindex(index=sheets["decision_maker"].unique(), columns=truth.index)


class Answers(NamedTuple):
    """What was right, as the statistics need it; see `answers_of`.

    Attributes
    ----------
    role : Series
        By decision maker, as `roles` gives it.
    right : DataFrame (n_decision_makers, n_images)
        As `correct_table`.
    readers : DataFrame
        The readers' rows of the sheets.
    machine : array (n_images,)
    panel : array (n_readers, n_images)
    vote : array (n_images,)
        Share of the readers' majority vote that is right.
    specimen : array (n_images,) of int
    laboratory : array (n_readers,)
        Each reader's laboratory; a reader who names none is one alone.
    """

    role: pd.Series
    right: pd.DataFrame
    readers: pd.DataFrame
    machine: np.ndarray
    panel: np.ndarray
    vote: np.ndarray
    specimen: np.ndarray
    laboratory: np.ndarray


def answers_of(sheets: pd.DataFrame, truth: pd.Series, groups: pd.Series | None = None) -> Answers:
    """Sort the answers by who gave them.

    Parameters
    ----------
    sheets : DataFrame
        Answers of all decision makers (`combine`).
    truth : Series
        Right answers by image.
    groups : Series, optional
        Specimens by image; without, every image is its own specimen.

    Raises
    ------
    ValueError
        When an image has no specimen, when no reader answered anything, or as `roles` says.
    """
    specimen = pd.Series(range(len(truth)), truth.index) if groups is None else groups.reindex(truth.index)
    if specimen.isna().any():
        raise ValueError(f"no specimen is given for the image {specimen.index[specimen.isna()][0]!r}")
    role, right = roles(sheets), correct_table(sheets, truth)
    names = role.index[role == READER]
    if names.empty:
        raise ValueError("no reader answered anything: there is no panel to compare the machine with")
    readers = sheets[sheets["decision_maker"].isin(names)]
    laboratory = pd.Series([f"reader {name}" for name in names], names)
    if "laboratory" in sheets:
        told = readers.groupby("decision_maker")["laboratory"].first().replace("", np.nan)
        laboratory = told.reindex(names).fillna(laboratory)
    vote, ours = majority_vote(readers, truth)["right"].to_numpy(), right.loc[role.index[role == MACHINE][0]].to_numpy()
    panel, specimen = right.loc[names].to_numpy(), pd.factorize(specimen)[0]
    return Answers(role, right, readers, ours, panel, vote, specimen, laboratory.to_numpy())


def majority_vote(panel: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """The panel's most frequent answer to each image, and the share of it that is right.

    A tie between k answers counts as right with 1/k where the right one is among them: what a coin would give
    on average, here and in every test and interval of the vote. Not answering is no vote.

    Returns
    -------
    DataFrame
        image, answer (tied ones joined by " | "), right (0 to 1; NaN where no reader was shown the image).
    """
    rows = []
    by_image = dict(list(panel.groupby("image")["answer"]))
    for image in truth.index:
        votes = by_image[image][by_image[image] != NO_ANSWER].value_counts() if image in by_image else []
        winners = sorted(votes.index[votes == votes.max()]) if len(votes) else [NO_ANSWER] * (image in by_image)
        rows.append((image, " | ".join(winners), (truth[image] in winners) / len(winners) if winners else np.nan))
    return pd.DataFrame(rows, columns=["image", "answer", "right"])


def confusion_table(sheets: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """How often each answer was given to each right answer: who (machine, panel), truth, answer, count."""
    who = sheets["decision_maker"].map(roles(sheets)).replace(READER, "panel")
    table = pd.DataFrame({"who": who, "truth": truth.reindex(sheets["image"]).to_numpy(), "answer": sheets["answer"]})
    table = table[who.isin([MACHINE, "panel"])].value_counts().rename("count").reset_index()
    return table.sort_values(["who", "truth", "answer"], ignore_index=True)


def items_table(sheets: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """One row an image: image, truth, readers right of how many who saw it, the machine's and the vote's answer."""
    found = answers_of(sheets, truth)
    ours = found.role.index[found.role == MACHINE][0]
    panel = pd.DataFrame(found.panel)
    table = pd.DataFrame({"image": truth.index, "truth": truth.to_numpy()}).assign(
        n_readers=panel.notna().sum(),
        n_readers_correct=panel.sum().astype(int),
        reader_accuracy=panel.mean(),
        machine_answer=sheets[sheets["decision_maker"] == ours].set_index("image")["answer"].reindex(truth.index).to_numpy(),
        machine_correct=found.machine == 1,
    )
    vote = majority_vote(found.readers, truth)
    return table.assign(vote_answer=vote["answer"], vote_right=vote["right"])
