"""Tables of accuracies by hand: readers, vote, parts of the quiz, missing answers, and panels as they come."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

import readerstudy
from readerstudy import NO_ANSWER, answers, intervals


def test_accuracies_by_hand(sheets, truth):
    table = readerstudy.readers_table(sheets.assign(confidence=0.9), truth).set_index("decision_maker")
    assert table.loc["r1", "accuracy"] == pytest.approx(5 / 6)
    assert table.loc["r2", "balanced_accuracy"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert table.loc["m", ["accuracy_low", "accuracy_high"]].tolist() == list(intervals.share_interval(np.ones(6))[1:])
    assert table.loc[readerstudy.MEAN, "accuracy"] == pytest.approx((5 + 3 + 5) / 18)
    # Majority: a a b b c and, on the last image, a twice against c.
    assert table.loc[readerstudy.VOTE, "accuracy"] == pytest.approx(5 / 6)
    assert table.loc["r1", ["mean_confidence", "brier"]].tolist() == pytest.approx([0.9, (5 * 0.01 + 0.81) / 6])


def test_training_and_comparison_give_one_interval_for_the_machines_accuracy(make):
    sheets, truth = make({"m": "aabbcbabcc", "r1": "aabbccabca"}, "aabbccabca")
    groups = pd.Series(list("ppqqrrsstt"), index=truth.index)
    table = readerstudy.readers_table(sheets, truth, groups).set_index("decision_maker")
    machine = sheets.loc[sheets["decision_maker"] == "m", "answer"]
    score = readerstudy.score_with_intervals(truth, machine, groups)["accuracy"]
    assert score == readerstudy.headline(sheets, truth, groups)["machine"]
    assert table.loc["m", ["accuracy", "accuracy_low", "accuracy_high"]].tolist() == list(score.values())


def test_a_tied_vote_counts_as_a_coin_would_and_names_do_not_matter(make):
    sheets, truth = make({"r1": "aabbcc", "r2": "bbaabb"}, "aabbcc")
    assert (readerstudy.majority_vote(sheets, truth)["right"] == 0.5).all()
    nobody, truth = make({"r1": "x"}, "a")
    assert readerstudy.majority_vote(nobody.assign(answer=NO_ANSWER), truth)["right"].tolist() == [0]
    rows = []
    for right in "az":
        both, truth = make({"m": right * 20, "r1": right * 20, "r2": "b" * 10 + right * 10}, right * 20)
        rows.append(readerstudy.mcnemar_table(both, truth).iloc[-1].tolist())
    assert rows[0] == rows[1] and rows[0][3] == 5


def test_the_exact_tests_and_holm_by_hand(sheets, truth):
    rows = readerstudy.mcnemar_table(sheets, truth).set_index("decision_maker")
    assert rows.loc["r2", ["machine_only_correct", "reader_only_correct"]].tolist() == [3, 0]
    assert rows.loc["r2", "p_value"] == pytest.approx(binomtest(0, 3).pvalue) == 0.25
    # Four tests: the smallest p is multiplied by 4, and none may fall below an earlier one.
    assert rows.loc["r2", "p_holm"] == 1.0 and (rows["p_holm"] >= rows["p_value"]).all()
    assert rows.loc["r2", "difference"] == 0.5 and rows.loc["r2", "low"] < 0.5 < rows.loc["r2", "high"]
    assert rows["p_least"].unique() == pytest.approx([4 * 2 / 2**6])


def test_parts_of_the_quiz_are_counted_with_none_of_these_apart(make):
    sheets, truth = make({"m": "aabn", "r1": "aban", "r2": "a-aa"}, "aabn")
    rows = readerstudy.counts_table(sheets, truth, truth.replace("n", readerstudy.NONE_OF_THESE)).set_index("part")
    assert rows.loc["a"].tolist() == [2, 2, 2, 3, 2]
    assert rows.loc[readerstudy.NONE_OF_THESE, ["machine_correct", "panel_answers", "panel_correct"]].tolist() == [1, 2, 1]
    octave = pd.Series([2, 2, 3, 3], index=truth.index)
    assert readerstudy.counts_table(sheets, truth, octave)["n_images"].tolist() == [2, 2]


def test_an_incomplete_panel_is_compared_where_both_were_shown(make):
    sheets, truth = make({"r1": "aab---", "r2": "--bbca", "m": "aabbcc"}, "aabbcc")
    readers = readerstudy.readers_table(sheets, truth).set_index("decision_maker")
    assert readers.loc["r1", ["n_images", "accuracy"]].tolist() == [3, 1]
    assert readerstudy.headline(sheets, truth)["difference"]["value"] == pytest.approx(1 / 7)
    assert readerstudy.mcnemar_table(sheets, truth)["n_images"].tolist() == [3, 4, 6]
    assert readerstudy.items_table(sheets, truth)["n_readers"].tolist() == [1, 1, 2, 1, 1, 1]
    ways = readerstudy.missing_table(sheets, truth).set_index("counted")["difference"]
    # Of 12 cells 7 were shown and 6 right.
    assert ways["not shown is wrong"] == pytest.approx(1 - 6 / 12) and ways["not shown is right"] == pytest.approx(1 / 12)


def test_missing_answers_are_counted_every_way(make):
    sheets, truth = make({"r1": "aab?", "m": "aabb"}, "aabb")
    assert readerstudy.missing_table(sheets, truth).empty
    sheets["answer"] = sheets["answer"].replace("?", NO_ANSWER)
    ways = readerstudy.missing_table(sheets, truth).set_index("counted")
    assert ways["difference"].tolist() == pytest.approx([0.25, 0, 0])
    assert ways.loc["no answer is left out", "n_answers"] == 3


def test_a_reader_who_answered_nothing_is_named_and_left_out(make):
    sheets, truth = make({"m": "aabb", "r1": "aaba", "r2": "????", "r3": "abbb"}, "aabb")
    sheets["answer"] = sheets["answer"].replace("?", NO_ANSWER)
    without = sheets[sheets["decision_maker"] != "r2"]
    found, expected = (readerstudy.headline(s, truth) for s in (sheets, without))
    assert found["left_out"] == ["r2"] and expected["left_out"] == []
    assert found["difference"] == expected["difference"] and found["majority_vote"] == expected["majority_vote"]
    table = readerstudy.readers_table(sheets, truth).set_index("decision_maker")
    assert np.isnan(table.loc["r2", "accuracy"]) and table.loc["r2", "kind"] == "answered nothing"
    assert "r2" not in set(readerstudy.mcnemar_table(sheets, truth)["decision_maker"])
    with pytest.raises(ValueError, match="no reader answered anything"):
        readerstudy.headline(sheets[sheets["decision_maker"].isin(["m", "r2"])], truth)


def test_several_machines_and_a_reader_called_machine(make):
    panel, truth = make({"machine": "aabbca", "other": "aabbcc"}, "aabbcc")
    panel.loc[panel["decision_maker"] == "other", "kind"] = "machine"
    ours = make({"machine": "abbbcc"}, "aabbcc")[0].assign(kind="machine")
    sheets = readerstudy.combine(panel, ours)
    assert answers.roles(sheets).to_dict() == {
        "machine (panel)": "reader", "other": "other machine", "machine": "machine"
    }  # fmt: skip
    head = readerstudy.headline(sheets, truth)
    assert head["n_readers"] == 1 and head["machine"]["value"] == pytest.approx(5 / 6)
    assert set(readerstudy.confusion_table(sheets, truth).groupby("who")["count"].sum()) == {6}
    with pytest.raises(ValueError, match="both human and machine"):
        answers.roles(pd.concat([panel, ours]))
    with pytest.raises(ValueError, match="no decision maker of the kind 'machine'"):
        answers.roles(panel[panel["kind"] == "human"])


def test_people_and_simulated_readers_in_one_panel_are_refused(make):
    sheets, truth = make({"m": "ab", "r1": "ab", "r2": "bb"}, "ab")
    sheets.loc[sheets["decision_maker"] == "r2", "kind"] = "simulated human"
    with pytest.raises(ValueError, match=r"people and simulated readers \(r2\) are in one panel"):
        readerstudy.headline(sheets, truth)


def test_specimens_must_be_known(sheets, truth):
    with pytest.raises(ValueError, match=truth.index[-1]):
        readerstudy.readers_table(sheets, truth, pd.Series("s", index=truth.index[:-1]))
