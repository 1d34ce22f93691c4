"""Machine and panel together, against teams counted by hand."""

import numpy as np
import pandas as pd
import pytest

from readerstudy import teams


def test_teams_by_hand(make):
    sheets, truth = make({"m": "abbb", "x": "aaaa", "y": "bab?", "z": "bbbb", "silent": "????"}, "aabb")
    machine, panel = (sheets[(sheets["kind"] == kind)] for kind in ("machine", "human"))
    machine, asked = machine.set_index("image")["answer"], pd.Series([False, True, True, False], truth.index)
    rows = teams.teams_table(machine, asked, panel, truth).set_index("who")
    expected = {
        teams.MACHINE: 0.75,
        teams.READER: (1 / 3 + 2 / 3 + 2 / 3 + 1 / 3) / 4,
        # Votes: image 1 b (wrong), 2 a, 3 b, 4 a tie of a and b, which counts half.
        teams.VOTE: (0 + 1 + 1 + 0.5) / 4,
        teams.ELSE_READER: (1 + 2 / 3 + 2 / 3 + 1) / 4,
        teams.ELSE_VOTE: 1,
        # With the machine's vote: image 1 a tie, 2 a tie, 3 b, 4 b.
        teams.VOTER: (0.5 + 0.5 + 1 + 1) / 4,
    }
    assert rows["accuracy"].to_dict() == pytest.approx(expected)
    assert rows["n_asked"].tolist() == [0, 4, 4, 2, 2, 4]
    assert rows.loc[teams.ELSE_VOTE, ["against", "difference"]].tolist() == [teams.MACHINE, 0.25]
    with pytest.raises(ValueError, match="no reader"):
        teams.teams_table(machine, asked, panel[panel["decision_maker"] == "silent"], truth)


def long_quiz(n, machine_right, reader_right, seed=0):
    """A quiz of n images in which machine and eight readers are right so often, each by themselves."""
    rng = np.random.default_rng(seed)
    truth = pd.Series(["a"] * n, index=[str(i) for i in range(n)])
    asked = pd.Series(rng.random(n) < 0.3, index=truth.index)
    # The machine knows what it does not know.
    machine = pd.Series(np.where(rng.random(n) < np.where(asked, 0.1, machine_right), "a", "b"), index=truth.index)
    rows = [(f"r{k}", i, "a" if rng.random() < reader_right else "b") for k in range(8) for i in truth.index]
    return machine, asked, pd.DataFrame(rows, columns=["decision_maker", "image", "answer"]), truth


def test_sentences_follow_the_intervals():
    told = teams.team_sentences(teams.teams_table(*long_quiz(300, 0.98, 0.8)), "simulated readers")
    assert all("simulated readers" in sentence for sentence in told)
    assert "better than the mean reader alone" in told[0]
    assert "10 images cannot tell" in teams.team_sentences(teams.teams_table(*long_quiz(10, 0.9, 0.8)), "readers")[0]
    bad = teams.team_sentences(teams.teams_table(*long_quiz(300, 0.2, 0.9)), "readers")
    assert "worse than the vote alone" in bad[1]
