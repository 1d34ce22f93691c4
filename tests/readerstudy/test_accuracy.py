"""Tables of accuracies by hand: readers, vote, classes, subgroups, missing answers, and panels as they come."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

import readerstudy as comparison
from micrographs.manifest import NO_ANSWER
from readerstudy import accuracy, answers, inference


def test_accuracies_by_hand(sheets, truth):
    table = comparison.readers_table(sheets, truth).set_index("decision_maker")
    assert table.loc["r1", "accuracy"] == pytest.approx(5 / 6)
    assert table.loc["r2", "balanced_accuracy"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert table.loc["m", ["accuracy_low", "accuracy_high"]].tolist() == pytest.approx(inference.wilson(6, 6))
    assert table.loc[comparison.MEAN, "accuracy"] == pytest.approx((5 + 3 + 5) / 18)
    # Majority: a a b b c and, on the last image, a twice against c.
    assert table.loc[comparison.VOTE, "accuracy"] == pytest.approx(5 / 6)


def test_training_and_comparison_give_one_interval_for_the_machines_accuracy(make):
    sheets, truth = make({"m": "aabbcbabcc", "r1": "aabbccabca"}, "aabbccabca")
    groups = pd.Series(list("ppqqrrsstt"), index=truth.index)
    table = comparison.readers_table(sheets, truth, groups).set_index("decision_maker")
    machine = sheets.loc[sheets["decision_maker"] == "m", "answer"]
    score = comparison.score_with_intervals(truth, machine, groups)["accuracy"]
    head = comparison.headline(sheets, truth, groups)["machine"]
    assert score == head
    assert table.loc["m", ["accuracy", "accuracy_low", "accuracy_high"]].tolist() == list(score.values())


def test_a_tied_vote_counts_as_a_coin_would_and_names_do_not_matter(make):
    sheets, truth = make({"r1": "aabbcc", "r2": "bbaabb"}, "aabbcc")
    assert (comparison.majority_vote(sheets, truth)["right"] == 0.5).all()
    nobody, truth = make({"r1": "x"}, "a")
    assert comparison.majority_vote(nobody.assign(answer=NO_ANSWER), truth)["right"].tolist() == [0]
    rows = []
    for right in "az":
        both, truth = make({"m": right * 20, "r1": right * 20, "r2": "b" * 10 + right * 10}, right * 20)
        rows.append(comparison.mcnemar_table(both, truth).iloc[-1].tolist())
    assert rows[0] == rows[1] and rows[0][2] == 5


def test_the_exact_tests_and_holm_by_hand(sheets, truth):
    rows = comparison.mcnemar_table(sheets, truth).set_index("decision_maker")
    assert rows.loc["r2", ["machine_only_correct", "reader_only_correct"]].tolist() == [3, 0]
    assert rows.loc["r2", "p_value"] == pytest.approx(binomtest(0, 3).pvalue) == 0.25
    # Four tests: the smallest p is multiplied by 4, and none may fall below an earlier one.
    assert rows.loc["r2", "p_holm"] == 1.0 and (rows["p_holm"] >= rows["p_value"]).all()
    assert rows.loc["r2", "difference"] == 0.5 and rows.loc["r2", "low"] < 0.5 < rows.loc["r2", "high"]


def test_sensitivity_and_specificity_by_hand(sheets, truth):
    rows = comparison.class_table(sheets, truth).set_index(["who", "class"])
    # The panel called a: of 6 shown, 4 (r1 twice, r2 and r3 once); and of 12 others, r1 once and r2 twice.
    assert rows.loc[("panel", "a"), "sensitivity"] == pytest.approx(4 / 6)
    assert rows.loc[("panel", "a"), "specificity"] == pytest.approx(9 / 12)
    machine = rows.loc[("machine", "c")]
    assert [machine["sensitivity_low"], machine["sensitivity_high"]] == pytest.approx(inference.wilson(2, 2))
    assert (rows["sensitivity_low"] < rows["sensitivity_high"]).all() and (rows["n_images"] == 2).all()


def test_an_incomplete_panel_is_compared_where_both_were_shown(make):
    sheets, truth = make({"r1": "aab---", "r2": "--bbca", "m": "aabbcc"}, "aabbcc")
    right = comparison.correct_table(sheets, truth)
    assert right.loc["r1"].isna().sum() == 3
    readers = comparison.readers_table(sheets, truth).set_index("decision_maker")
    assert readers.loc["r1", ["n_images", "accuracy"]].tolist() == [3, 1]
    head = comparison.headline(sheets, truth)
    assert head["difference"]["value"] == pytest.approx(1 / 7) and head["beats"] == {"higher": 1, "equal": 1, "lower": 0}
    assert comparison.mcnemar_table(sheets, truth)["n_images"].tolist() == [3, 4, 6]
    items = comparison.items_table(sheets, truth)
    assert items["n_readers"].tolist() == [1, 1, 2, 1, 1, 1]
    ways = comparison.missing_table(sheets, truth).set_index("counted")["difference"]
    # Of 12 cells 7 were shown and 6 right.
    assert ways["not shown is wrong"] == pytest.approx(1 - 6 / 12) and ways["not shown is right"] == pytest.approx(1 / 12)
    assert len(comparison.agreement_table(sheets, truth)) == 3


def test_missing_answers_are_counted_every_way(make):
    sheets, truth = make({"r1": "aab?", "m": "aabb"}, "aabb")
    assert comparison.missing_table(sheets, truth).empty
    sheets["answer"] = sheets["answer"].replace("?", NO_ANSWER)
    ways = comparison.missing_table(sheets, truth).set_index("counted")
    assert ways["difference"].tolist() == pytest.approx([0.25, 0, 0])
    assert ways.loc["no answer is left out", "n_answers"] == 3
    nothing, truth = make({"r1": "??", "m": "aa"}, "aa")
    nothing["answer"] = nothing["answer"].replace("?", NO_ANSWER)
    assert "no answer is left out" not in set(comparison.missing_table(nothing, truth)["counted"])


def test_several_machines_and_a_reader_called_machine(make):
    panel, truth = make({"machine": "aabbca", "other": "aabbcc"}, "aabbcc")
    panel.loc[panel["decision_maker"] == "other", "kind"] = "machine"
    ours = make({"machine": "abbbcc"}, "aabbcc")[0].assign(kind="machine")
    sheets = comparison.combine(panel, ours)
    assert answers.roles(sheets).to_dict() == {
        "machine (panel)": "reader", "other": "other machine", "machine": "machine"
    }  # fmt: skip
    head = comparison.headline(sheets, truth)
    assert head["n_readers"] == 1 and head["machine"]["value"] == pytest.approx(5 / 6)
    assert [m["name"] for m in head["other_machines"]] == ["other"] == accuracy.other_machines(sheets)
    assert set(comparison.confusion_table(sheets, truth).groupby("who")["count"].sum()) == {6}
    with pytest.raises(ValueError, match="both human and machine"):
        answers.roles(pd.concat([panel, ours]))
    with pytest.raises(ValueError, match="no decision maker of the kind 'machine'"):
        answers.roles(panel[panel["kind"] == "human"])


def test_subgroups_part_at_the_median_experience(make):
    sheets, truth = make({"r1": "aab", "r2": "aac", "r3": "bbb", "r4": "aab", "m": "aab"}, "aab")
    sheets["years_experience"] = sheets["decision_maker"].map({"r1": 1, "r2": 2, "r3": 10, "r4": 20})
    rows = comparison.subgroup_table(sheets, truth)
    assert rows["n_readers"].tolist() == [2, 2] and rows["accuracy"].tolist() == pytest.approx([5 / 6, 4 / 6])
    assert rows["difference"].tolist() == pytest.approx([1 / 6, 2 / 6])
    assert comparison.subgroup_table(sheets.assign(years_experience=np.nan), truth).empty


def test_specimens_must_be_known(sheets, truth):
    with pytest.raises(ValueError, match=truth.index[-1]):
        comparison.readers_table(sheets, truth, pd.Series("s", index=truth.index[:-1]))
