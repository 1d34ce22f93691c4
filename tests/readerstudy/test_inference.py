"""Intervals and exact tests: against published formulas, explicit sums, and their behaviour at the edges."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from readerstudy import inference


def test_a_share_of_independent_images_is_wilsons():
    # Wilson's lower limit of n right of n is n / (n + z^2).
    value, low, high = inference.share_interval(np.ones(6))
    assert (value, high) == (1, pytest.approx(1)) and low == pytest.approx(6 / (6 + stats.norm.ppf(0.975) ** 2))
    assert inference.share_interval([1, 0, np.nan])[0] == 0.5
    assert np.isnan(inference.share_interval([np.nan])).all()


def test_images_of_one_specimen_widen_a_share_and_a_single_specimen_tells_nothing():
    right = np.array([1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0])
    alone, together = (inference.share_interval(right, g) for g in (np.arange(12), np.arange(12) // 3))
    assert alone[0] == together[0]
    assert together[2] - together[1] > 1.3 * (alone[2] - alone[1])
    assert inference.share_interval([1, 0, 1], ["s", "s", "s"])[1:] == (0, 1)


def test_the_crossed_interval_is_the_two_way_analysis_of_variance():
    rng = np.random.default_rng(5)
    values = (rng.random((6, 9)) < 0.6) - (rng.random(9) < 0.5).astype(float)
    low, high = inference.crossed_interval(values)
    x = np.hstack([values, np.ones((6, 1)), -np.ones((6, 1))])
    r, s = x.shape
    mean = x.mean()
    ms_r = sum(s * (x[i].mean() - mean) ** 2 for i in range(r)) / (r - 1)
    ms_s = sum(r * (x[:, j].mean() - mean) ** 2 for j in range(s)) / (s - 1)
    ms_rs = sum((x[i, j] - x[i].mean() - x[:, j].mean() + mean) ** 2 for i in range(r) for j in range(s))
    ms_rs /= (r - 1) * (s - 1)
    variance = (ms_r + max(ms_s - ms_rs, 0)) / (r * s)
    freedom = variance**2 / ((ms_r / r / s) ** 2 / (r - 1) + (ms_s / r / s) ** 2 / (s - 1))
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    assert (low, high) == (pytest.approx(mean - half), pytest.approx(mean + half))
    # These readers: the one-sample t interval of the images' means.
    fixed = inference.crossed_interval(values, random_readers=False)
    assert fixed == pytest.approx(stats.t.interval(0.95, s - 1, mean, stats.sem(x.mean(0))))


def test_few_readers_are_these_readers_and_many_are_a_sample():
    rng = np.random.default_rng(1)
    panel = (rng.random((5, 20)) < np.linspace(0.3, 0.95, 5)[:, None]).astype(float)
    few, many = (inference.mean_interval(panel[:n]) for n in (4, 5))
    assert few[2] - few[1] == pytest.approx(np.diff(inference.mean_interval(panel[:4], random_readers=False)[1:])[0])
    assert many[2] - many[1] > np.diff(inference.mean_interval(panel, random_readers=False)[1:])[0]


def test_split_panels_weigh_every_answer_alike():
    panel = np.array([[1, 1, 0, np.nan, np.nan], [np.nan, np.nan, 1, 0, 0], [1, 0, 1, np.nan, np.nan]], float)
    machine = np.array([1, 1, 1, 1, 0.0])
    value, low, high = inference.difference_interval(panel, machine)
    lead = machine - panel
    assert value == pytest.approx(np.nansum(lead) / 9) and low < value < high


def test_images_that_nobody_was_shown_do_not_narrow_an_interval():
    rng = np.random.default_rng(3)
    panel, machine = (rng.random((6, 8)) < 0.6).astype(float), np.array([1, 1, 0, 1, 1, 0, 1, 1.0])
    more = np.hstack([panel, np.full((6, 30), np.nan)]), np.hstack([machine, np.ones(30)])
    assert np.allclose(inference.difference_interval(*more), inference.difference_interval(panel, machine))
    unseen = np.where(np.arange(36) < 3, 1, np.nan)[None]
    assert inference.difference_interval(unseen, np.ones(36))[2] == pytest.approx(inference.no_discordance(3))
    # One image alone shows nothing.
    value, low, high = inference.difference_interval(np.where(np.arange(36) < 1, 1, np.nan) * np.ones((12, 1)), np.zeros(36))
    assert value == -1 and high > 0


@pytest.mark.parametrize(("n", "limit"), [(3, 0.71), (21, 0.16), (36, 0.097)])
def test_no_discordant_image_gives_the_exact_limit(n, limit):
    value, low, high = inference.difference_interval(np.ones((1, n)), np.ones(n))
    assert value == 0 and high == -low == pytest.approx(limit, abs=5e-3)
    # Of specimens, not images.
    assert inference.difference_interval(np.ones((1, n)), np.ones(n), np.arange(n) // 3)[2] > high


def test_an_interval_holds_its_estimate_and_has_a_width():
    rng = np.random.default_rng(0)
    for readers in (1, 2, 3, 5, 12):
        for accuracy in (0.7, 0.95, 1.0):
            panel, machine = rng.random((200, readers, 21)) < accuracy, rng.random((200, 21)) < 0.95
            value, low, high = inference.difference_interval(panel, machine)
            assert (low <= value).all() and (value <= high).all() and (high - low > 0.05).all()
            assert not ((low != 0) & (np.abs(low) < 1e-12)).any(), "0 but for rounding"


def test_many_quizzes_at_once_are_as_one_by_one():
    rng = np.random.default_rng(2)
    panel, machine = (rng.random((3, 6, 12)) < 0.7).astype(float), (rng.random((3, 12)) < 0.8).astype(float)
    panel[1, 0, :4] = np.nan
    together = inference.difference_interval(panel, machine, np.arange(12) // 2)
    for k in range(3):
        one = inference.difference_interval(panel[k], machine[k], np.arange(12) // 2)
        assert [v[k] for v in together] == pytest.approx([float(v) for v in one])


def test_the_sign_flip_test_is_mcnemars_and_takes_ties_and_specimens():
    for b, c in ((3, 0), (7, 2), (5, 5), (0, 0)):
        lead = [1] * b + [-1] * c + [0] * 4
        expected = mcnemar([[0, b], [c, 0]], exact=True).pvalue if b + c else 1
        assert inference.sign_flip_test(lead) == pytest.approx(expected)
    # All eight ways to set three signs: 1, 1/2 and 1/2 reach the total of 2 in two of them.
    assert inference.sign_flip_test([1, 0.5, 0.5, np.nan]) == pytest.approx(2 / 8)
    assert inference.sign_flip_test([1, 1, 1, 1], ["s", "s", "t", "t"]) == pytest.approx(2 / 4)
