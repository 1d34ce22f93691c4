"""Machine and panel together on the same quiz: the machine where it is sure and people elsewhere, or one more voter."""

from __future__ import annotations

import numpy as np
import pandas as pd

from micrographs.manifest import NO_ANSWER
from readerstudy.inference import share_interval

MACHINE, READER, VOTE = "machine alone", "mean reader alone", "vote alone"
ELSE_READER, ELSE_VOTE, VOTER = "machine, a reader where unsure", "machine, the vote where unsure", "vote with the machine"
# Each team with those alone against whom it has to prove itself.
TEAMS = {ELSE_READER: (MACHINE, READER), ELSE_VOTE: (MACHINE, VOTE), VOTER: (MACHINE, VOTE)}


class _Answers:
    """Answers of machine and readers as arrays, to be counted again for every resample of readers."""

    def __init__(self, machine: pd.Series, asked: pd.Series, panel: pd.DataFrame, truth: pd.Series):
        options = sorted({*truth, *machine, *panel["answer"]} - {NO_ANSWER})
        readers = sorted(panel["decision_maker"].unique())
        self.truth = np.array([options.index(t) for t in truth])
        number = pd.Series(range(len(options)), index=options)
        wide = panel.pivot(index="decision_maker", columns="image", values="answer")
        wide = wide.reindex(index=readers, columns=truth.index)
        self.seen = wide.notna().to_numpy()
        # One vote a reader and image; no answer is no vote, and wrong.
        index = wide.apply(lambda column: column.map(number)).to_numpy(dtype=float)
        self.votes = (index[..., None] == np.arange(len(options))).astype(float)
        self.right = np.take_along_axis(self.votes, self.truth[None, :, None], axis=2)[..., 0]
        own = machine.reindex(truth.index).map(number).to_numpy(dtype=float)
        self.machine_vote = (own[:, None] == np.arange(len(options))).astype(float)
        self.machine_right = self.machine_vote[np.arange(len(truth)), self.truth]
        self.asked = asked.reindex(truth.index).to_numpy(dtype=bool)

    def _winner_right(self, votes: np.ndarray) -> np.ndarray:
        """1 where the right answer has the most votes, 1/k where k answers are tied with it, else 0."""
        top = (votes == votes.max(axis=1, keepdims=True)) & (votes.max(axis=1, keepdims=True) > 0)
        return top[np.arange(len(votes)), self.truth] / np.maximum(top.sum(axis=1), 1)

    def right_of(self, readers: np.ndarray) -> dict[str, np.ndarray]:
        """How right each is on each image (n_images,), when every reader counts so often; NaN where nobody saw it."""
        n_saw = readers @ self.seen
        with np.errstate(invalid="ignore"):
            reader = np.where(n_saw > 0, (readers @ (self.right * self.seen)) / n_saw, np.nan)
        votes = np.tensordot(readers, self.votes, axes=1)
        vote = np.where(n_saw > 0, self._winner_right(votes), np.nan)
        return {
            MACHINE: self.machine_right,
            READER: reader,
            VOTE: vote,
            ELSE_READER: np.where(self.asked, reader, self.machine_right),
            ELSE_VOTE: np.where(self.asked, vote, self.machine_right),
            VOTER: self._winner_right(votes + self.machine_vote),
        }


def teams_table(
    machine: pd.Series, asked: pd.Series, panel: pd.DataFrame, truth: pd.Series, groups: pd.Series | None = None,
    *, n_bootstrap: int = 2000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Accuracy of machine and people, alone and together, with 95 % intervals.

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
    n_bootstrap, seed : int

    Returns
    -------
    DataFrame
        who, n_images, n_asked (images that people look at), n_human_answers, accuracy, accuracy_low, accuracy_high (the
        machine's as everywhere, by `inference.share_interval`; else readers and specimens drawn anew, the vote counted
        anew); for a team also against (the better of its parts alone),
        difference, difference_low, difference_high. To the images of a difference's resamples two are added, one that only
        the team has right and one that only the other has: without them a team that never erred would seem to have no
        variance (Agresti and Caffo, 2000).

    Raises
    ------
    ValueError
        Without readers.
    """
    if panel.empty:
        raise ValueError("there is no reader to make a team with")
    answers = _Answers(machine, asked, panel, truth)
    n_readers, n = len(answers.seen), len(truth)
    specimen = np.arange(n) if groups is None else pd.factorize(groups.reindex(truth.index))[0]
    rng, draws = np.random.default_rng(seed), {}
    found = answers.right_of(np.ones(n_readers))
    # What each team is held against is chosen once, on the quiz itself, and not again in every resample.
    against = {team: max(alone, key=lambda who: np.nanmean(found[who])) for team, alone in TEAMS.items()}
    differences = {team: [] for team in TEAMS}
    for _ in range(n_bootstrap):
        readers = np.bincount(rng.integers(n_readers, size=n_readers), minlength=n_readers).astype(float)
        n_specimens = specimen.max() + 1
        weight = np.bincount(rng.integers(n_specimens, size=n_specimens), minlength=n_specimens)[specimen].astype(float)
        added = np.bincount(rng.integers(n + 2, size=n + 2), minlength=n + 2)[n:]  # times each added image is drawn
        drawn = answers.right_of(readers)
        for who, right in drawn.items():
            draws.setdefault(who, []).append(_mean(right, weight))
        for team, other in against.items():
            lead = drawn[team] - drawn[other]
            n_seen = weight[np.isfinite(lead)].sum()
            differences[team].append((np.nansum(weight * lead) + added[0] - added[1]) / max(n_seen + added.sum(), 1))
    n_asked = {MACHINE: 0, ELSE_READER: int(answers.asked.sum()), ELSE_VOTE: int(answers.asked.sum())}
    rows = []
    for who, right in found.items():
        people = n_asked.get(who, n)
        each = people if who in (READER, ELSE_READER, MACHINE) else int(answers.seen[:, answers.asked | (people == n)].sum())
        row = {"who": who, "n_images": n, "n_asked": people, "n_human_answers": each, "accuracy": float(np.nanmean(right))}
        interval = share_interval(right, specimen)[1:] if who == MACHINE else _interval(draws[who])
        row |= dict(zip(("accuracy_low", "accuracy_high"), interval, strict=True))
        other = against.get(who)
        row["against"] = other or ""
        row["difference"] = float(np.nanmean(right - found[other])) if other else np.nan
        low, high = _interval(differences[who]) if other else (np.nan, np.nan)
        rows.append(row | {"difference_low": low, "difference_high": high})
    return pd.DataFrame(rows)


def _mean(right: np.ndarray, weight: np.ndarray) -> float:
    seen = np.isfinite(right) & (weight > 0)
    return float(np.average(right[seen], weights=weight[seen])) if seen.any() else np.nan


def _interval(draws) -> tuple[float, float]:
    draws = np.asarray(draws, dtype=float)
    if not np.isfinite(draws).any():
        return np.nan, np.nan
    return tuple(float(q) for q in np.nanquantile(draws, (0.025, 0.975)))


def team_sentences(table: pd.DataFrame, panel: str) -> list[str]:
    """A sentence on each team, chosen by the interval of its difference to the better of its parts alone.

    Parameters
    ----------
    table : DataFrame
        Of `teams_table`.
    panel : str
        What the readers are, such as "simulated readers".
    """
    rows = table.set_index("who")
    sentences = []
    for team in TEAMS:
        row = rows.loc[team]
        if row["difference_low"] > 0:
            verdict = f"That is better than the {row['against']}"
        elif row["difference_high"] < 0:
            verdict = f"That is worse than the {row['against']}"
        else:
            verdict = f"{row['n_images']} images cannot tell whether that is better or worse than the {row['against']}"
        sentences.append(
            f"{team[0].upper() + team[1:]} ({panel}; people look at {row['n_asked']} of {row['n_images']} images): "
            f"{row['accuracy']:.0%} right. {verdict} (difference {row['difference']:+.2f}, 95 % interval "
            f"{row['difference_low']:+.2f} to {row['difference_high']:+.2f})."
        )
    return sentences
