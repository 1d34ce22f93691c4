"""Kappas against hand-worked and published cases."""

import numpy as np
import pytest

import readerstudy
from readerstudy import agreement


def test_error_consistency_by_hand_and_as_published():
    # Both right on 5 of 8: expected 0.625^2 + 0.375^2 = 0.53125; observed 6/8, at least 2/8 and at most all.
    found = readerstudy.error_consistency([1, 1, 1, 0, 0, 0, 1, 1], [1, 1, 0, 0, 0, 1, 1, 1])
    assert found == pytest.approx([(observed - 0.53125) / (1 - 0.53125) for observed in (0.75, 0.25, 1)])
    # wichmann-lab/error_consistency's own tests: kappa 2/3; -1; at most 0.5454 for accuracies 0.8 and 0.6.
    assert readerstudy.error_consistency([1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0])[0] == pytest.approx(2 / 3)
    assert readerstudy.error_consistency([0, 0, 1, 1], [1, 1, 0, 0])[0] == pytest.approx(-1)
    assert readerstudy.error_consistency([1, 1, 1, 1, 0], [1, 1, 1, 0, 0])[2] == pytest.approx(0.5454, abs=1e-4)


def test_error_consistency_of_one_who_is_always_right_is_zero_and_of_two_undefined():
    assert readerstudy.error_consistency(np.ones(4), [1, 1, 0, 1]) == pytest.approx((0, 0, 0))
    assert np.isnan(readerstudy.error_consistency(np.ones(4), np.ones(4))).all()
    assert np.isnan(readerstudy.error_consistency([], [])).all()


def test_fleiss_kappa_of_the_published_example():
    # Fleiss, Psychological Bulletin 76 (1971), as worked in textbooks: 10 subjects, 14 raters, 5 categories.
    table = (
        "0 0 0 0 14  0 2 6 4 2  0 0 3 5 6  0 3 9 2 0  2 2 8 1 1  "
        "7 7 0 0 0   3 2 6 3 0  2 5 3 2 2  6 5 2 1 0  0 2 2 3 7"
    )  # fmt: skip
    counts = np.array(table.split(), int).reshape(10, 5)
    # Images that fewer than two answered do not count.
    for rows in (counts, np.vstack([counts, [1, 0, 0, 0, 0], [0] * 5])):
        assert readerstudy.fleiss_kappa(rows) == pytest.approx(0.210, abs=5e-4)
    assert np.isnan(readerstudy.fleiss_kappa([[3], [3]]))


def test_no_answer_is_no_category_of_fleiss(make):
    sheets, _ = make({"m": "abc" * 4, "r1": "??????abcabc", "r2": "??????bcabca"}, "abc" * 4)
    # What was answered never agrees, with three answers as likely: (0 - 1/3) / (1 - 1/3).
    assert agreement.panel_kappa(sheets) == pytest.approx(-0.5)
