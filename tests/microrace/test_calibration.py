"""Calibration against loops, known temperatures and forecasters whose error is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from microrace import calibration


def forecasts(n_specimens=400, temperature=1.0, seed=0):
    """Labels drawn from the probabilities themselves, which are then told at another temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n_specimens * 3, 4))
    true = softmax(logits, axis=1)
    labels = np.array([rng.choice(4, p=p) for p in true])
    return softmax(logits * temperature, axis=1), labels, np.repeat([f"s{i}" for i in range(n_specimens)], 3)


def test_temperature_is_found_again_and_changes_no_answer():
    for overconfidence in (0.5, 1.0, 3.0):
        told, labels, _ = forecasts(temperature=overconfidence)
        found = calibration.fit_temperature(told, labels)
        assert found == pytest.approx(overconfidence, rel=0.1)
        after = calibration.calibrated(told, found)
        assert (after.argmax(axis=1) == told.argmax(axis=1)).all()
        np.testing.assert_allclose(after.sum(axis=1), 1)
    # Probabilities of 0 and 1 do not break it.
    assert np.isfinite(calibration.fit_temperature(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), [0, 1, 1]))


def test_each_specimen_has_the_temperature_of_all_others():
    told, labels, groups = forecasts(n_specimens=5, temperature=3)
    after = calibration.cross_calibrated(told, labels, groups)
    for name in np.unique(groups):
        ours = groups == name
        other = calibration.fit_temperature(told[~ours], labels[~ours])
        np.testing.assert_allclose(after[ours], calibration.calibrated(told[ours], other))
    # Its own labels do not touch it.
    changed = labels.copy()
    changed[groups == "s0"] = (changed[groups == "s0"] + 1) % 4
    np.testing.assert_allclose(calibration.cross_calibrated(told, changed, groups)[groups == "s0"], after[groups == "s0"])
    np.testing.assert_array_equal(calibration.cross_calibrated(told, labels, ["one"] * len(told)), told)


def test_calibration_error_by_an_explicit_loop_and_of_a_perfect_forecaster():
    confidence = np.array([0.5, 0.55, 0.6, 0.9, 0.95, 1.0])
    correct = np.array([0, 1, 1, 1, 1, 0])
    by_hand = 0.5 * abs(2 / 3 - 0.55) + 0.5 * abs(2 / 3 - 0.95)
    assert calibration.expected_calibration_error(confidence, correct, 2) == pytest.approx(by_hand)
    shuffled = np.random.default_rng(1).permutation(6)
    assert calibration.expected_calibration_error(confidence[shuffled], correct[shuffled], 2) == pytest.approx(by_hand)
    told, labels, _ = forecasts(3000)
    assert calibration.expected_calibration_error(told.max(axis=1), told.argmax(axis=1) == labels) < 0.02


def test_report_says_that_overconfidence_is_mended():
    told, labels, groups = forecasts(temperature=3.0)
    rows = calibration.calibration_report(told, labels, groups, n_bootstrap=200).set_index("measure")
    assert (rows["difference_high"] < 0).all() and (rows["after"] < rows["before"]).all()
    assert rows.loc["log loss", "before"] == pytest.approx(-np.log(told[np.arange(len(labels)), labels]).mean())
    for k in ("before", "after", "difference"):
        assert (rows[f"{k}_low"] <= rows[f"{k}_high"]).all()


def test_reliability_bins_hold_every_image_once():
    told, labels, groups = forecasts(40)
    correct = told.argmax(axis=1) == labels
    table = calibration.reliability_table(told.max(axis=1), correct, groups, n_bootstrap=100)
    assert table["n_images"].sum() == len(labels) and table["confidence"].is_monotonic_increasing
    assert (table["n_images"] @ table["share_right"]) == pytest.approx(correct.sum())
    assert ((table["share_right_low"] <= table["share_right"]) & (table["share_right"] <= table["share_right_high"])).all()
    # Where all are right the interval still has a width: that of its specimens, not of its images.
    _, low, high = calibration.share_right(np.ones(30), ["a"] * 10 + ["b"] * 10 + ["c"] * 10)
    assert high == 1 and low == pytest.approx(0.4385, abs=1e-3)


def test_intervals_draw_whole_specimens():
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random(12) < 0.6, 10).astype(float)
    alike = calibration.share_right(right, np.repeat(np.arange(12), 10))
    apart = calibration.share_right(right, np.arange(120))
    assert alike[0] == apart[0] and alike[2] - alike[1] > 2 * (apart[2] - apart[1])


def test_chosen_false_alarms_are_realised_on_other_specimens():
    distance = np.random.default_rng(0).normal(size=900)
    table = calibration.false_alarm_table(distance, np.repeat(np.arange(300), 3), (0.05, 0.2), n_bootstrap=200)
    np.testing.assert_allclose(table["realised"], table["chosen"], atol=0.02)
    assert ((table["realised_low"] < table["chosen"]) & (table["chosen"] < table["realised_high"])).all()
    # A specimen far from all others is flagged whole, however often it was photographed.
    far = np.concatenate([distance[:90], np.full(10, 99.0)])
    groups = np.concatenate([np.repeat(np.arange(30), 3), np.full(10, 99)])
    assert calibration.false_alarm_table(far, groups, (0.01,), n_bootstrap=10)["n_flagged"][0] >= 10


def test_risk_falls_as_the_least_sure_are_passed_on():
    told, labels, groups = forecasts()
    confidence, correct = told.max(axis=1), told.argmax(axis=1) == labels
    table = calibration.risk_coverage(confidence, correct, groups, [0, 0.25, 0.5], n_bootstrap=100)
    for row in table.itertuples():
        kept = np.argsort(-confidence)[: row.n_answered]
        assert row.accuracy == pytest.approx(correct[kept].mean())
        assert (confidence >= row.ask_below).sum() == row.n_answered
    assert table["accuracy"].is_monotonic_increasing and table["n_answered"].tolist() == [1200, 900, 600]


def test_calibration_of_a_table_of_held_out_images():
    told, labels, groups = forecasts(100, temperature=2.0)
    classes = list("abcd")
    held_out = pd.DataFrame(told, columns=classes).assign(
        label=[classes[i] for i in labels], split_group=groups, distance=np.arange(300.0)
    )
    found = calibration.Calibration.of(held_out, classes, 0.2)
    assert found.temperature == pytest.approx(calibration.fit_temperature(told, labels))
    sure = calibration.calibrated(told, found.temperature).max(axis=1) >= found.ask_below
    assert sure.mean() == pytest.approx(0.8, abs=0.01)
    assert found.unlikeness(-1) == 0 and found.unlikeness(150) == 0.5 and found.unlikeness(1e9) == 1
    assert calibration.Calibration.of(held_out, classes, 0).ask_below == 0
    with pytest.raises(ValueError, match="ask a person"):
        calibration.Calibration.of(held_out, classes, 1)
    with pytest.raises(ValueError, match="'e'"):
        calibration.Calibration.of(held_out, [*classes, "e"])
