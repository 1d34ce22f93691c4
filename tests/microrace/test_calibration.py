"""Calibration against known temperatures, intervals that hold, and a limit from which on sure means sure."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from microrace import evaluation as ev
from microrace.opinion import sure_sentence


def forecasts(n_specimens=300, overconfidence=1.0, seed=0):
    """Labels drawn from the probabilities themselves, which are then told too sure."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n_specimens * 3, 4))
    labels = np.array([rng.choice(4, p=p) for p in softmax(logits, axis=1)])
    return softmax(logits * overconfidence, axis=1), labels, np.repeat([f"s{i}" for i in range(n_specimens)], 3)


def held_out(told, labels, groups):
    table = pd.DataFrame(told, columns=list("abcd")).assign(label=[*map("abcd".__getitem__, labels)], split_group=groups)
    return table.assign(outlier_score=0.0)


def test_the_temperature_is_found_again_and_changes_no_answer():
    for overconfidence in (0.5, 3.0):
        told, labels, groups = forecasts(overconfidence=overconfidence)
        assert ev.fit_temperature(told, labels) == pytest.approx(overconfidence, rel=0.15)
    after = ev.cross_calibrated(told, labels, groups)
    assert (after.argmax(axis=1) == told.argmax(axis=1)).all()
    # A specimen's own labels do not touch its probabilities, and few images that are all right make no certainty.
    changed, ours = np.where(groups == "s0", (labels + 1) % 4, labels), groups == "s0"
    np.testing.assert_allclose(ev.cross_calibrated(told, changed, groups)[ours], after[ours])
    few = np.tile([0.8, 0.2], (20, 1))
    assert ev.calibrated(few, ev.fit_temperature(few, np.zeros(20, int))).max() < 0.99


def test_the_report_tells_overconfidence_and_that_it_is_mended():
    rows = ev.calibration_report(*forecasts(40, 3.0)).set_index("measure")
    assert (rows.loc[["log loss", "Brier score"], "difference_high"] < 0).all()
    slope, error = rows.loc["calibration slope"], rows.loc["expected calibration error"]
    assert slope["before_high"] < 0.9 and slope["after_low"] < 1 < slope["after_high"]
    assert np.isnan(error["after_low"]) and error["after"] < error["before"]


def test_noise_of_the_temperature_is_no_help_and_no_harm():
    # With temperatures taken as known, 8 of the first 30 such forecasters were said to be helped or harmed.
    rows = pd.concat([ev.calibration_report(*forecasts(12, seed=seed)).iloc[[0]] for seed in range(10)])
    assert (rows["difference_low"] <= 0).all() and (rows["difference_high"] >= 0).all()


def test_intervals_of_a_calibrated_forecaster_hold_its_slope_and_intercept():
    held = np.zeros(2)
    for seed in range(40):
        told, labels, groups = forecasts(20, seed=seed)
        _, low, high = ev.jackknife_interval(lambda p, y: np.array(ev.calibration_measures(p, y)), groups, told, labels)
        held += (low[2:4] <= (1, 0)) & ((1, 0) <= high[2:4])
    assert (held >= 0.88 * 40).all()


def test_chosen_false_alarms_are_realised_on_other_specimens():
    score, groups = np.random.default_rng(0).normal(size=600), np.repeat(np.arange(200), 3)
    for rate in (0.05, 0.2):
        assert ev.false_alarms(score, groups, rate).mean() == pytest.approx(rate, abs=0.03)
    assert np.isnan(ev.false_alarms(score, np.zeros(600), 0.05)).all()


def test_sure_means_as_often_right_as_wanted_on_other_specimens():
    found = ev.Calibration(held_out(*forecasts(overconfidence=2.0)), list("abcd"), 0.9)
    right, told = found.correct[found.confidence >= found.limit], sure_sentence(found)
    assert right.mean() > 0.9 and found.limit >= 0.9 and found.realised[1] <= 0.9 <= found.realised[2]
    assert told.startswith("Sure") and f"{found.sure.sum()} held-out" in told


def test_what_cannot_be_reached_is_said():
    told, labels, groups = forecasts(5)
    few = ev.Calibration(held_out(told, labels, groups), list("abcd"), 0.95)
    assert few.limit == np.inf and not few.sure.all() and "cannot be reached with these images" in sure_sentence(few)
    for classes, wanted, words in (("abcd", 1, "between 0 and 1"), ("abcde", 0.95, "'e'")):
        with pytest.raises(ValueError, match=words):
            ev.Calibration(held_out(told, labels, groups), list(classes), wanted)


def test_auroc_near_one_keeps_a_width_that_specimens_set():
    perfect, groups = np.r_[np.ones(6), np.zeros(30)], np.arange(36)
    found = ev.auroc_interval(perfect, perfect, groups)
    assert found["value"] == 1 and found["low"] == pytest.approx(0.79, abs=0.03) and found["high"] == pytest.approx(1)
    assert ev.auroc_interval(perfect, perfect, groups // 3)["low"] < found["low"]
