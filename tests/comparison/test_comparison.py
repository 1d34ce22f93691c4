"""Statistics against hand-worked and published cases, and against explicit loops."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta, binomtest, norm

from microrace.comparison import accuracy as comparison
from microrace.images.manifests import NO_ANSWER

TRUTH = pd.Series(list("aabbcc"), index=[f"{i}.png" for i in range(6)], name="truth")


def sheet(name, answers, kind="human"):
    return pd.DataFrame(
        {
            "quiz": "quiz-x",
            "image": TRUTH.index,
            "decision_maker": name,
            "kind": kind,
            "answer": list(answers),
            "seconds": np.nan,
            "confidence": np.nan,
            "years_experience": np.nan,
        }
    )


SHEETS = pd.concat(
    [sheet("r1", "aabbca"), sheet("r2", "abbbaa"), sheet("r3", "cabbcc"), sheet("m", "aabbcc", "machine")],
    ignore_index=True,
)


def test_accuracies_by_hand():
    table = comparison.readers_table(SHEETS, TRUTH, 200).set_index("decision_maker")
    assert table.loc["r1", "accuracy"] == pytest.approx(5 / 6)
    assert table.loc["r2", "accuracy"] == pytest.approx(3 / 6)
    assert table.loc["r2", "balanced_accuracy"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    # Wilson's lower limit of n right of n is n / (n + z^2).
    wilson = [1, 6 / (6 + norm.ppf(0.975) ** 2), 1]
    assert table.loc["m", ["accuracy", "accuracy_low", "accuracy_high"]].tolist() == pytest.approx(wilson)
    assert table.loc[comparison.MEAN, "accuracy"] == pytest.approx((5 + 3 + 5) / 18)
    # Majority: a a b b c and a tie of a, a, c on the last image -> a wins it 2 to 1, wrong.
    assert table.loc[comparison.VOTE, "accuracy"] == pytest.approx(5 / 6)
    assert (table["accuracy_low"] <= table["accuracy"] + 1e-9).all()
    assert (table["accuracy"] <= table["accuracy_high"] + 1e-9).all()


def test_a_tied_vote_counts_as_a_coin_would():
    panel = pd.concat([sheet("r1", "aabbcc"), sheet("r2", "bbaabb")])
    vote = comparison.majority_vote(panel, TRUTH)
    assert (vote["right"] == 0.5).all()
    nobody = comparison.majority_vote(sheet("r1", [NO_ANSWER] * 6), TRUTH)
    assert (nobody["right"] == 0).all() and (nobody["answer"] == NO_ANSWER).all()


def test_mcnemar_is_the_exact_binomial_test_and_holm_is_by_hand():
    rows = comparison.mcnemar_table(SHEETS, TRUTH).set_index("decision_maker")
    assert rows.loc["r2", ["machine_only_correct", "reader_only_correct"]].tolist() == [3, 0]
    assert rows.loc["r2", "p_value"] == pytest.approx(binomtest(0, 3).pvalue) == 0.25
    assert rows.loc["r1", "p_value"] == 1.0
    # Four tests: the smallest p is multiplied by 4, and none may fall below an earlier one.
    assert rows.loc["r2", "p_holm"] == 1.0 and (rows["p_holm"] >= rows["p_value"]).all()


def test_crossed_bootstrap_equals_explicit_loops_on_its_weights():
    rng = np.random.default_rng(5)
    panel, machine = (rng.random((4, 9)) < 0.6).astype(float), (rng.random(9) < 0.7).astype(float)
    draws = comparison.crossed_bootstrap(panel, machine, 3, seed=8)
    again = np.random.default_rng(8)
    readers, images = comparison._weights(again, 4, 3), comparison._weights(again, 9, 3)
    for b in range(3):
        panel_mean = sum(readers[b, r] * images[b, i] * panel[r, i] for r in range(4) for i in range(9))
        of_machine = sum(images[b, i] * machine[i] for i in range(9))
        assert draws["panel"][b] == pytest.approx(panel_mean)
        assert draws["difference"][b] == pytest.approx(of_machine - panel_mean)
        beats = 0.0
        for r in range(4):
            lead = of_machine - sum(images[b, i] * panel[r, i] for i in range(9))
            beats += readers[b, r] * (1 if lead > 1e-12 else 0.5 if abs(lead) <= 1e-12 else 0)
        assert draws["beats"][b] == pytest.approx(beats)


def test_crossed_interval_is_wider_than_pooled_trials():
    rng = np.random.default_rng(0)
    ability, difficulty = rng.normal(0.8, 1, 10), rng.normal(0, 1.5, 36)
    panel = (rng.random((10, 36)) < 1 / (1 + np.exp(difficulty - ability[:, None]))).astype(float)
    draws = comparison.crossed_bootstrap(panel, np.zeros(36), 2000)["panel"]
    crossed = np.quantile(draws, 0.975) - np.quantile(draws, 0.025)
    pooled = 2 * 1.96 * np.sqrt(panel.mean() * (1 - panel.mean()) / panel.size)
    assert crossed > 1.5 * pooled


def test_error_consistency_by_hand_and_undefined():
    a = np.array([1, 1, 1, 0, 0, 0, 1, 1], bool)
    b = np.array([1, 1, 0, 0, 0, 1, 1, 1], bool)
    # Both right on 5 of 8: expected 0.625^2 + 0.375^2 = 0.53125; observed 6/8.
    kappa, lowest, highest = comparison.error_consistency(a, b)
    assert kappa == pytest.approx((0.75 - 0.53125) / (1 - 0.53125))
    assert lowest == pytest.approx((0.25 - 0.53125) / (1 - 0.53125)) and highest == 1
    assert np.isnan(comparison.error_consistency(np.ones(5), a[:5])).all()
    assert comparison.error_consistency(a, a)[0] == 1


def test_fleiss_kappa_of_the_published_example():
    # Fleiss, Psychological Bulletin 76 (1971), as worked in textbooks: 10 subjects, 14 raters, 5 categories.
    table = """0 0 0 0 14
               0 2 6 4 2
               0 0 3 5 6
               0 3 9 2 0
               2 2 8 1 1
               7 7 0 0 0
               3 2 6 3 0
               2 5 3 2 2
               6 5 2 1 0
               0 2 2 3 7"""
    counts = np.array([[int(v) for v in row.split()] for row in table.splitlines()])
    assert comparison.fleiss_kappa(counts) == pytest.approx(0.210, abs=5e-4)


def test_rasch_orders_by_score_and_stays_finite_for_all_right():
    fitted = comparison.rasch(SHEETS, TRUTH).set_index("name")
    assert fitted.loc["m", "logit"] > fitted.loc["r1", "logit"] > fitted.loc["r2", "logit"]
    assert np.isfinite(fitted[["logit", "logit_low", "logit_high"]]).all(axis=None)
    assert fitted.loc[fitted["kind"] == "image", "logit"].mean() == pytest.approx(0, abs=1e-8)


def test_claims_follow_the_interval():
    numbers = comparison.headline(SHEETS, TRUTH, 500)
    tests = comparison.mcnemar_table(SHEETS, TRUTH)
    assert numbers["difference"]["value"] == pytest.approx(1 - 13 / 18)

    def first(low, high):
        d = {"value": (low + high) / 2, "low": low, "high": high, "verdict": comparison.verdict(low, high, 0.05)}
        return comparison.claim_sentences(numbers | {"difference": d}, tests)[0]

    assert "more often right" in first(0.1, 0.3) and "shows superiority" in first(0.1, 0.3)
    assert "less often right" in first(-0.3, -0.1) and "shows inferiority" in first(-0.3, -0.1)
    assert "cannot be told apart" in first(-0.1, 0.2) and "decides neither" in first(-0.1, 0.2)
    assert "non-inferiority but not superiority" in first(-0.04, 0.2)
    assert "shows equivalence" in first(-0.04, 0.04)


def test_headline_against_the_vote_by_hand():
    numbers = comparison.headline(SHEETS, TRUTH, 500)
    # The machine is right on all six, the vote on five: one image that only the machine gets right.
    assert numbers["majority_vote"]["value"] == pytest.approx(5 / 6)
    assert numbers["difference_vote"]["value"] == pytest.approx(1 / 6)
    # One of one: Clopper and Pearson's lower limit is 0.025 ** (1 / 1).
    assert numbers["beats_vote"] == pytest.approx({"value": 1.0, "low": 0.025, "high": 1.0})
    low, high = comparison.discordant_share(3, 1)[1:]
    assert beta(3, 2).ppf(0.025) == pytest.approx(low) and beta(4, 1).ppf(0.975) == pytest.approx(high)
    assert np.isnan(comparison.discordant_share(0, 0)).all()
    # The machine is always right, so the draws are those of the vote's errors.
    assert (comparison.vote_bootstrap(SHEETS, TRUTH, 50) >= -1e-12).all()


def test_calibration_summary_and_correlations_by_hand():
    sure = SHEETS.assign(confidence=0.9)
    summary = comparison.calibration_summary(sure, TRUTH).set_index("who")
    assert summary.loc["machine", ["overconfidence", "brier"]].tolist() == pytest.approx([-0.1, 0.01])
    assert summary.loc["panel", "overconfidence"] == pytest.approx(0.9 - 13 / 18)
    assert summary.loc["panel", "brier"] == pytest.approx((13 * 0.01 + 5 * 0.81) / 18)
    assert summary.loc["panel", "brier_low"] < summary.loc["panel", "brier"] < summary.loc["panel", "brier_high"]
    assert comparison.calibration_summary(SHEETS, TRUTH).empty
    readers = pd.DataFrame({"years_experience": [1, 2, 3, 4, 5], "median_seconds": [9, 7, 5, 3, 1],
                            "mean_confidence": [0.5] * 5, "accuracy": [0.1, 0.2, 0.3, 0.5, 0.4]})  # fmt: skip
    rho = comparison.experience_correlations(readers).set_index("quantity")["rho"]
    # One swap of neighbours among five: 1 - 6 * 2 / (5 * 24); a constant confidence has none.
    assert rho.to_dict() == pytest.approx({"years_experience": 0.9, "median_seconds": -0.9})


def test_the_long_form_holds_every_answer_once():
    table = comparison.mrmc_table(SHEETS, TRUTH)
    assert list(table.columns[:4]) == ["readerID", "caseID", "modalityID", "score"]
    assert len(table) == len(SHEETS) and not table.duplicated(["readerID", "caseID", "modalityID"]).any()
    assert table.groupby("modalityID")["score"].sum().to_dict() == {"machine": 6, "panel": 13}


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    table = comparison.coverage_table(n_panels=120, n_bootstrap=300).set_index("interval")
    assert table.loc["machine", "truth"] == 0.85
    # The widest that 120 panels allow at a nominal 95 %; the bootstrap over so few images falls a little short.
    assert (table["coverage_high"] > 0.94).all() and (table["coverage"] > 0.88).all()


def test_rasch_intervals_shrink_with_more_answers():
    rng = np.random.default_rng(3)
    widths = [comparison.rasch_fit((rng.random((8, m)) < 0.6).astype(float))[1][:8].mean() for m in (20, 80)]
    assert widths[1] < 0.6 * widths[0]


def test_confusion_items_and_optional_columns():
    confusion = comparison.confusion_table(SHEETS, TRUTH)
    assert confusion["count"].sum() == len(SHEETS)
    items = comparison.items_table(SHEETS, TRUTH).set_index("image")
    assert items.loc["5.png", "n_readers_correct"] == 1 and items.loc["5.png", "vote_answer"] == "a"
    assert items["machine_correct"].all()
    assert comparison.calibration_table(SHEETS, TRUTH).empty
    assert comparison.experience_table(SHEETS, TRUTH)["accuracy"].tolist() == pytest.approx([5 / 6, 3 / 6, 5 / 6])
    confident = SHEETS.assign(confidence=0.9)
    assert comparison.calibration_table(confident, TRUTH).set_index("who")["n"].to_dict() == {"machine": 6, "panel": 18}


def test_one_reader_is_enough_for_everything():
    both = SHEETS[SHEETS["decision_maker"].isin(["r1", "m"])]
    assert len(comparison.readers_table(both, TRUTH, 50)) == 4
    assert comparison.headline(both, TRUTH, 50)["fleiss_kappa"] is None
    assert len(comparison.agreement_table(both, TRUTH)) == 1


def test_power_rises_with_the_difference():
    table = comparison.power_table(36, 8, differences=(0.0, 0.28), n_quizzes=40)
    none, large = table["power"]
    assert none <= 0.15 and large >= 0.6
