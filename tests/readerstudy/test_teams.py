"""Machine and panel together, against teams counted by hand."""

import numpy as np
import pandas as pd
import pytest

from micrographs.manifest import NO_ANSWER
from readerstudy import teams

TRUTH = pd.Series(["a", "a", "b", "b"], index=["1", "2", "3", "4"])
MACHINE = pd.Series(["a", "b", "b", "b"], index=TRUTH.index)
ASKED = pd.Series([False, True, True, False], index=TRUTH.index)


def sheet(**answers):
    rows = [(who, image, a) for who, given in answers.items() for image, a in zip(TRUTH.index, given, strict=True) if a]
    return pd.DataFrame(rows, columns=["decision_maker", "image", "answer"])


PANEL = sheet(x=["a", "a", "a", "a"], y=["b", "a", "b", NO_ANSWER], z=["b", "b", "b", "b"])


def test_teams_by_hand():
    rows = teams.teams_table(MACHINE, ASKED, PANEL, TRUTH, n_bootstrap=200).set_index("who")
    assert rows.loc[teams.MACHINE, "accuracy"] == 0.75
    assert rows.loc[teams.READER, "accuracy"] == pytest.approx((1 / 3 + 2 / 3 + 2 / 3 + 1 / 3) / 4)
    # Votes: image 1 b (wrong), 2 a, 3 b, 4 a tie of a and b, which counts half.
    assert rows.loc[teams.VOTE, "accuracy"] == pytest.approx((0 + 1 + 1 + 0.5) / 4)
    assert rows.loc[teams.ELSE_READER, "accuracy"] == pytest.approx((1 + 2 / 3 + 2 / 3 + 1) / 4)
    assert rows.loc[teams.ELSE_VOTE, "accuracy"] == 1
    # With the machine's vote: image 1 a tie, 2 a tie, 3 b, 4 b.
    assert rows.loc[teams.VOTER, "accuracy"] == pytest.approx((0.5 + 0.5 + 1 + 1) / 4)
    assert rows.loc[teams.ELSE_VOTE, ["n_asked", "n_human_answers"]].tolist() == [2, 6]
    assert rows.loc[teams.ELSE_READER, "n_human_answers"] == 2 and rows.loc[teams.VOTER, "n_human_answers"] == 12
    assert rows.loc[teams.ELSE_VOTE, "against"] == teams.MACHINE
    assert rows.loc[teams.ELSE_VOTE, "difference"] == pytest.approx(0.25)


def test_an_image_that_a_reader_was_not_shown_is_not_wrong():
    panel = sheet(x=["a", None, "b", "b"], y=["b", None, "b", "b"])
    rows = teams.teams_table(MACHINE, ASKED, panel, TRUTH, n_bootstrap=50).set_index("who")
    assert rows.loc[teams.READER, "accuracy"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert np.isfinite(rows["accuracy_low"]).all()
    with pytest.raises(ValueError, match="no reader"):
        teams.teams_table(MACHINE, ASKED, panel.iloc[:0], TRUTH)


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
    table = teams.teams_table(*long_quiz(300, 0.98, 0.8), n_bootstrap=300)
    told = teams.team_sentences(table, "simulated readers")
    assert all("simulated readers" in sentence for sentence in told)
    assert "better than the mean reader alone" in told[0]
    short = teams.team_sentences(teams.teams_table(*long_quiz(10, 0.9, 0.8), n_bootstrap=300), "readers")
    assert "10 images cannot tell" in short[0]
    bad = teams.teams_table(*long_quiz(300, 0.2, 0.9), n_bootstrap=300)
    assert "worse than the vote alone" in teams.team_sentences(bad, "readers")[1]


def test_a_team_without_an_error_still_has_an_interval():
    truth = pd.Series(["a"] * 6, index=list("123456"))
    panel = pd.DataFrame([("x", i, "a") for i in truth.index], columns=["decision_maker", "image", "answer"])
    row = teams.teams_table(truth, truth == "b", panel, truth, n_bootstrap=300).set_index("who").loc[teams.VOTER]
    assert row["difference"] == 0 and row["difference_low"] < 0 < row["difference_high"]
