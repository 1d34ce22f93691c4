"""Machine and panel together on the same quiz: the machine where it is sure and people elsewhere, or one more voter."""

from __future__ import annotations

import numpy as np
import pandas as pd

from readerstudy.answers import NO_ANSWER, correct_table, majority_vote
from readerstudy.intervals import difference_interval, mean_interval, share_interval

MACHINE, READER, VOTE = "machine alone", "mean reader alone", "vote alone"
ELSE_READER, ELSE_VOTE, VOTER = "machine, a reader where unsure", "machine, the vote where unsure", "vote with the machine"
# Each team with those alone against whom it has to prove itself.
TEAMS = {ELSE_READER: (MACHINE, READER), ELSE_VOTE: (MACHINE, VOTE), VOTER: (MACHINE, VOTE)}


def teams_table(machine: pd.Series, asked: pd.Series, panel: pd.DataFrame, truth: pd.Series,
                groups: pd.Series | None = None) -> pd.DataFrame:  # fmt: skip
    """Accuracy of the machine and of these readers, alone and together, with 95 % intervals.

    The readers are those of the panel, and only images are drawn: readers drawn with replacement would vote twice, which
    makes a worse vote of them.

    Parameters
    ----------
    machine : Series
        The machine's answers, by image.
    asked : Series of bool
        Images passed on to people, by image; decided without looking at the quiz's right answers.
    panel : DataFrame
        Readers' answers: decision_maker, image, answer. An image without a row was not shown to that reader.
    truth : Series
        Right answers, by image.
    groups : Series, optional
        Specimens, by image; each image its own unless given.

    Returns
    -------
    DataFrame
        who, n_images, n_asked (images that people look at), accuracy, accuracy_low, accuracy_high
        (`intervals.share_interval`, of the mean reader `intervals.mean_interval`); for a team also against (the better of
        its parts alone), difference, difference_low, difference_high (`intervals.difference_interval`).

    Raises
    ------
    ValueError
        Without a reader who answered.
    """
    answered = (panel["answer"] != NO_ANSWER).groupby(panel["decision_maker"]).transform("any")
    panel = panel[answered.astype(bool)]
    if panel.empty:
        raise ValueError("there is no reader to make a team with")
    specimen = None if groups is None else groups.reindex(truth.index).to_numpy()
    asked, ours = asked.reindex(truth.index).to_numpy(dtype=bool), machine.reindex(truth.index)
    own, right = (ours == truth).to_numpy(dtype=float), correct_table(panel, truth).to_numpy()
    voters = pd.concat([panel[["image", "answer"]], ours.dropna().rename("answer").rename_axis("image").reset_index()])
    vote, voter = (majority_vote(votes, truth)["right"].to_numpy() for votes in (panel, voters))
    found = {MACHINE: own, READER: right, VOTE: vote, ELSE_READER: np.where(asked, right, own),
             ELSE_VOTE: np.where(asked, vote, own), VOTER: voter}  # fmt: skip
    one = {who: pd.DataFrame(np.atleast_2d(values)).mean().to_numpy() for who, values in found.items()}
    rows = []
    for who, values in found.items():
        n_asked = {MACHINE: 0, ELSE_READER: asked.sum(), ELSE_VOTE: asked.sum()}.get(who, len(truth))
        interval = share_interval(values, specimen) if values.ndim == 1 else mean_interval(values, specimen)
        other, lead = "", (np.nan,) * 3
        if who in TEAMS:
            # Chosen once, on the quiz itself.
            other = max(TEAMS[who], key=lambda alone: np.nanmean(one[alone]))
            lead = difference_interval(one[other][None], one[who], specimen, random_readers=False)
        rows.append((who, len(truth), int(n_asked), *map(float, interval), other, *map(float, lead)))
    columns = "who n_images n_asked accuracy accuracy_low accuracy_high against difference difference_low difference_high"
    return pd.DataFrame(rows, columns=columns.split())


def team_sentences(table: pd.DataFrame, panel: str) -> list[str]:
    """A sentence on each team, chosen by the interval of its difference to the better of its parts alone.

    Parameters
    ----------
    table : DataFrame
        Of `teams_table`.
    panel : str
        What the readers are, such as "simulated readers".
    """
    sentences = []
    for row in table[table["against"] != ""].itertuples():
        verdict = f"{row.n_images} images cannot tell whether that is better or worse than the {row.against}"
        if row.difference_low > 0 or row.difference_high < 0:
            verdict = f"That is {'better' if row.difference > 0 else 'worse'} than the {row.against}"
        sentences.append(
            f"{row.who[0].upper() + row.who[1:]} ({panel}; people look at {row.n_asked} of {row.n_images} images): "
            f"{row.accuracy:.0%} right. {verdict} (difference {row.difference:+.2f}, 95 % interval "
            f"{row.difference_low:+.2f} to {row.difference_high:+.2f})."
        )
    return sentences
