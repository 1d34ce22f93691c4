"""Tables of accuracies by hand: readers, vote, parts of the quiz, missing answers, and panels as they come."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

import readerstudy
from readerstudy import NO_ANSWER, answers


def test_accuracies_by_hand(make):
    sheets, truth = make()
    table = readerstudy.readers_table(sheets.assign(confidence=0.9), truth).set_index("decision_maker")
    assert table.loc["r2", "balanced_accuracy"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert table.loc[readerstudy.MEAN, "accuracy"] == pytest.approx((5 + 3 + 5) / 18)
    # Majority: a a b b c and, on the last image, a twice against c.
    assert table.loc[readerstudy.VOTE, "accuracy"] == pytest.approx(5 / 6)
    assert table.loc["r1", ["mean_confidence", "brier"]].tolist() == pytest.approx([0.9, (5 * 0.01 + 0.81) / 6])


def test_training_and_comparison_give_one_interval_for_the_machines_accuracy(make):
    sheets, truth = make({"m": "aabbcbabcc", "r1": "aabbccabca"}, "aabbccabca")
    groups = pd.Series(list("ppqqrrsstt"), index=truth.index)
    table = readerstudy.readers_table(sheets, truth, groups).set_index("decision_maker")
    score = readerstudy.score_with_intervals(truth, list("aabbcbabcc"), groups)["accuracy"]
    assert score == readerstudy.headline(sheets, truth, groups)["machine"]
    assert table.loc["m", ["accuracy", "accuracy_low", "accuracy_high"]].tolist() == list(score.values())


def test_a_tied_vote_counts_as_a_coin_would_and_names_do_not_matter(make):
    assert readerstudy.majority_vote(*make({"r1": "aa?", "r2": "bb?"}, "aba"))["right"].tolist() == [0.5, 0.5, 0]
    rows = readerstudy.mcnemar_table(*make({"m": "zzzz", "r1": "zzzz", "r2": "bbzz"}, "zzzz"))
    assert rows["machine_only_correct"].tolist() == [0, 2, 1]


def test_the_exact_tests_and_holm_by_hand(make):
    rows = readerstudy.mcnemar_table(*make()).set_index("decision_maker")
    assert rows.loc["r2", ["machine_only_correct", "reader_only_correct"]].tolist() == [3, 0]
    assert rows.loc["r2", "p_value"] == pytest.approx(binomtest(0, 3).pvalue)
    # Four tests: the smallest p is multiplied by 4, and none may fall below an earlier one.
    assert rows.loc["r2", "p_holm"] == 1.0 and (rows["p_holm"] >= rows["p_value"]).all()
    assert rows.loc["r2", "difference"] == 0.5 and rows.loc["r2", "low"] < 0.5 < rows.loc["r2", "high"]


def test_parts_of_the_quiz_are_counted_with_none_of_these_apart(make):
    sheets, truth = make({"m": "aabn", "r1": "aban", "r2": "a-aa"}, "aabn")
    rows = readerstudy.counts_table(sheets, truth, truth.replace("n", readerstudy.NONE_OF_THESE)).set_index("part")
    assert rows.loc["a"].tolist() == [2, 2, 2, 3, 2]
    assert rows.loc[readerstudy.NONE_OF_THESE, ["machine_correct", "panel_answers", "panel_correct"]].tolist() == [1, 2, 1]


def test_an_incomplete_panel_is_compared_where_both_were_shown(make):
    sheets, truth = make({"r1": "aab---", "r2": "--bbca", "m": "aabbcc"})
    readers = readerstudy.readers_table(sheets, truth).set_index("decision_maker")
    assert readers.loc["r1", ["n_images", "accuracy"]].tolist() == [3, 1]
    assert readerstudy.headline(sheets, truth)["difference"]["value"] == pytest.approx(1 / 7)
    assert readerstudy.mcnemar_table(sheets, truth)["n_images"].tolist() == [3, 4, 6]
    assert readerstudy.items_table(sheets, truth)["n_readers"].tolist() == [1, 1, 2, 1, 1, 1]
    # Of 12 cells 7 were shown and 6 right.
    assert readerstudy.missing_table(sheets, truth)["difference"].tolist() == pytest.approx([1 / 7, 1 - 6 / 12, 1 / 12])


def test_missing_answers_are_counted_every_way(make):
    assert readerstudy.missing_table(*make()).empty
    ways = readerstudy.missing_table(*make({"r1": "aab?", "m": "aabb"}, "aabb"))
    assert ways["difference"].tolist() == pytest.approx([0.25, 0, 0]) and ways["n_answers"].tolist() == [4, 3, 4]


def test_a_reader_who_answered_nothing_is_named_and_left_out(make):
    sheets, truth = make({"m": "aabb", "r1": "aaba", "r2": "????", "r3": "abbb"}, "aabb")
    found, expected = (readerstudy.headline(s, truth) for s in (sheets, sheets[sheets["decision_maker"] != "r2"]))
    assert found == expected | {"left_out": ["r2"]}
    table = readerstudy.readers_table(sheets, truth).set_index("decision_maker")
    assert np.isnan(table.loc["r2", "accuracy"]) and table.loc["r2", "kind"] == "answered nothing"
    assert "r2" not in set(readerstudy.mcnemar_table(sheets, truth)["decision_maker"])


def test_several_machines_and_a_reader_called_machine(make):
    panel, truth = make({"machine": "aabbca", "m": "aabbcc"})
    ours = make({"machine": "abbbcc"})[0].assign(kind="machine")
    sheets = readerstudy.combine(panel, ours)
    assert answers.roles(sheets).to_dict() == {"machine (panel)": "reader", "m": "other machine", "machine": "machine"}
    head = readerstudy.headline(sheets, truth)
    assert head["n_readers"] == 1 and head["machine"]["value"] == pytest.approx(5 / 6)
    assert readerstudy.confusion_table(sheets, truth).groupby("who")["count"].sum().to_dict() == {"machine": 6, "panel": 6}


REFUSED = [
    # whose, column, what stands there, what is said of it
    ("r2", "kind", "simulated human", r"people and simulated readers \(r2\) are in one panel"),
    ("m", "kind", "human", "no decision maker of the kind 'machine'"),
    ("m", "decision_maker", "r1", "'r1' is both human and machine"),
    ("r", "answer", NO_ANSWER, "no reader answered anything"),
]


@pytest.mark.parametrize(("who", "column", "value", "says"), REFUSED)
def test_answers_that_cannot_be_compared_are_refused(make, who, column, value, says):
    sheets, truth = make()
    sheets.loc[sheets["decision_maker"].str.startswith(who), column] = value
    with pytest.raises(ValueError, match=says):
        readerstudy.headline(sheets, truth)


def test_specimens_must_be_known(make):
    with pytest.raises(ValueError, match="05.png"):
        readerstudy.readers_table(*make(), pd.Series("s", index=[f"{i:02d}.png" for i in range(5)]))


def test_the_example_of_the_readme_runs_and_is_short(capsys):
    text = (Path(readerstudy.__file__).parent / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "8 quiz images of 4 specimens were answered by 3 readers" in printed
    assert "machine and the mean of these 3 readers cannot be told apart" in printed and "majority vote" in printed
