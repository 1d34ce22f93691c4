"""Kappas against hand-worked and published cases, and the posterior against its closed form."""

import numpy as np
import pandas as pd
import pytest

import readerstudy as comparison
from micrographs.manifest import NO_ANSWER
from readerstudy import agreement


def test_error_consistency_by_hand_and_undefined():
    a = np.array([1, 1, 1, 0, 0, 0, 1, 1], bool)
    b = np.array([1, 1, 0, 0, 0, 1, 1, 1], bool)
    # Both right on 5 of 8: expected 0.625^2 + 0.375^2 = 0.53125; observed 6/8.
    kappa, lowest, highest = comparison.error_consistency(a, b)
    assert kappa == pytest.approx((0.75 - 0.53125) / (1 - 0.53125))
    assert lowest == pytest.approx((0.25 - 0.53125) / (1 - 0.53125)) and highest == 1
    assert np.isnan(comparison.error_consistency(np.ones(8), a)).all()
    assert comparison.error_consistency(a, a)[0] == 1


def test_the_posterior_of_one_pair_is_dirichlets():
    first, second = np.array([1] * 20 + [0] * 5 + [1] * 3 + [0] * 8), np.array([1] * 25 + [0] * 11)
    cells = [((first == x) & (second == y)).sum() for x, y in ((1, 1), (1, 0), (0, 1), (0, 0))]
    p = np.random.default_rng(0).dirichlet(np.array(cells) + 0.5, 20_000).T
    a, b = p[0] + p[1], p[0] + p[2]
    expected = a * b + (1 - a) * (1 - b)
    reference = (p[0] + p[3] - expected) / (1 - expected)
    draws = agreement.kappa_draws([first, second], n_draws=20_000)[:, 0, 1]
    limits = [0.025, 0.25, 0.5, 0.75, 0.975]
    assert np.quantile(draws, limits) == pytest.approx(np.quantile(reference, limits), abs=0.02)


def test_a_pair_without_kappa_still_has_an_interval(sheets, truth):
    table = comparison.agreement_table(sheets, truth, n_draws=500).set_index(["a", "b"])
    assert np.isnan(table.loc[("r1", "m"), "kappa"])
    assert table.loc[("r1", "m"), "kappa_low"] < table.loc[("r1", "m"), "kappa_high"]
    assert table.loc[("r1", "m"), ["role_a", "role_b"]].tolist() == ["reader", "machine"]


def test_mean_kappas_are_means_of_pairs(make):
    sheets, truth = make({"m": "aabbab", "r1": "aabaab", "r2": "ababab", "r3": "abbbab"}, "aabbba")
    pairs = comparison.agreement_table(sheets, truth, n_draws=50)
    with_machine = pairs["role_a"].eq("machine") | pairs["role_b"].eq("machine")
    found = comparison.mean_kappas(sheets, truth, n_draws=400)
    assert found["machine_and_readers"]["value"] == pytest.approx(pairs.loc[with_machine, "kappa"].mean())
    assert found["readers"]["value"] == pytest.approx(pairs.loc[~with_machine, "kappa"].mean())
    d = found["difference"]
    assert d["value"] == pytest.approx(found["machine_and_readers"]["value"] - found["readers"]["value"])
    assert d["low"] < d["value"] < d["high"]
    one = comparison.mean_kappas(*make({"m": "aab", "r1": "abb"}, "aab"), n_draws=50)
    assert one["readers"] is None and one["difference"] is None


def test_few_specimens_widen_a_posterior():
    draws = np.random.default_rng(0).normal(0, 0.2, 5000)
    few, many = (np.ptp(agreement.posterior_limits(draws, n)) for n in (9, 200))
    assert few > 1.2 * many and np.ptp(agreement.posterior_limits(draws, 9, widen=False)) < many


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
    # Images that fewer than two answered do not count.
    assert comparison.fleiss_kappa(np.vstack([counts, [1, 0, 0, 0, 0], [0] * 5])) == pytest.approx(0.210, abs=5e-4)


def test_no_answer_is_no_category_of_fleiss(make):
    sheets, truth = make({"m": "abc" * 4, "r1": "??????abcabc", "r2": "??????bcabca"}, "abc" * 4)
    sheets["answer"] = sheets["answer"].replace("?", NO_ANSWER)
    # What was answered never agrees, with three answers as likely: (0 - 1/3) / (1 - 1/3).
    assert comparison.headline(sheets, truth, n_draws=20)["fleiss_kappa"] == pytest.approx(-0.5)
    assert np.isnan(agreement.panel_kappa(sheets.assign(answer=NO_ANSWER)))
    assert np.isnan(comparison.fleiss_kappa(pd.DataFrame([[3], [3]])))
