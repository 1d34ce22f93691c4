"""Rasch, calibration and experience by hand, and against known abilities."""

import numpy as np
import pandas as pd
import pytest

import readerstudy as comparison
from readerstudy import psychometrics


def test_rasch_orders_by_score_and_stays_finite_for_all_right(sheets, truth):
    fitted = comparison.rasch(sheets, truth).set_index("name")
    assert fitted.loc["m", "logit"] > fitted.loc["r1", "logit"] > fitted.loc["r2", "logit"]
    assert np.isfinite(fitted[["logit", "logit_low", "logit_high"]]).all(axis=None)
    assert fitted.loc[fitted["kind"] == "image", "logit"].mean() == pytest.approx(0, abs=1e-8)
    nothing_wrong, half = psychometrics.rasch_fit(np.ones((3, 5)))
    assert np.isfinite(nothing_wrong).all() and np.isfinite(half).all()


def test_the_rasch_priors_mean_is_free():
    # At 0.95 a prior about 0 draws abilities half a logit down.
    rng = np.random.default_rng(1)
    bias = []
    for _ in range(60):
        ability, difficulty = 3.5 + rng.normal(0, 0.7, 12), rng.normal(0, 1.2, 36)
        y = (rng.random((12, 36)) < 1 / (1 + np.exp(difficulty - ability[:, None]))).astype(float)
        bias.append(psychometrics.rasch_fit(y)[0][:12].mean() - (ability.mean() - difficulty.mean()))
    assert abs(np.mean(bias)) < 0.3


def test_rasch_intervals_shrink_with_more_answers_and_images_not_shown_count_for_nothing():
    rng = np.random.default_rng(3)
    widths = [psychometrics.rasch_fit((rng.random((8, m)) < 0.6).astype(float))[1][:8].mean() for m in (20, 80)]
    assert widths[1] < 0.6 * widths[0]
    y = (rng.random((4, 30)) < 0.6).astype(float)
    y[0, 5:] = np.nan
    half = psychometrics.rasch_fit(y)[1]
    assert half[0] > 1.5 * half[1]


def test_calibration_by_hand(sheets, truth):
    sure = sheets.assign(confidence=0.9)
    summary = comparison.calibration_summary(sure, truth).set_index("who")
    assert summary.loc["machine", ["overconfidence", "brier"]].tolist() == pytest.approx([-0.1, 0.01])
    assert summary.loc["panel", "overconfidence"] == pytest.approx(0.9 - 13 / 18)
    assert summary.loc["panel", "brier"] == pytest.approx((13 * 0.01 + 5 * 0.81) / 18)
    for who in ("machine", "panel"):
        for measure in ("overconfidence", "brier"):
            low, value, high = summary.loc[who, [f"{measure}_low", measure, f"{measure}_high"]]
            assert low <= value <= high and high - low > 0.05, "no error, yet not certain"
    assert comparison.calibration_summary(sheets, truth).empty and comparison.calibration_table(sheets, truth).empty


def test_a_confidence_on_an_edge_is_in_the_upper_bin(make):
    sheets, truth = make({"m": "aaaaaa"}, "aaaaaa")
    sheets["confidence"] = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    table = comparison.calibration_table(sheets, truth)
    assert table["bin_low"].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8]) and table["n"].tolist() == [1, 1, 1, 1, 2]


def test_correlations_have_exact_p_values(sheets, truth):
    readers = pd.DataFrame({"years_experience": [1, 2, 3, 4], "median_seconds": [1, 2, 4, 3], "mean_confidence": [0.5] * 4,
                            "accuracy": [0.1, 0.2, 0.3, 0.5]})  # fmt: skip
    found = comparison.experience_correlations(readers).set_index("quantity")
    # Perfect order is one of 24, in either direction; a constant confidence has no correlation.
    assert found["p_value"].to_dict() == pytest.approx({"years_experience": 2 / 24, "median_seconds": 8 / 24})
    assert found.loc["median_seconds", "rho"] == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert comparison.experience_table(sheets, truth)["accuracy"].tolist() == pytest.approx([5 / 6, 3 / 6, 5 / 6])
