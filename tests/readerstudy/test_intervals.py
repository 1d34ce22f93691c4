"""Intervals and exact tests: against published numbers, explicit sums, and their behaviour at the edges."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from readerstudy import intervals

# Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
WILSON = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)]


@pytest.mark.parametrize(("right", "n", "low", "high"), WILSON)
def test_a_share_of_independent_images_is_wilsons(right, n, low, high):
    found = intervals.share_interval([*[1] * right, *[0] * (n - right), np.nan])
    assert found == pytest.approx((right / n, low, high), abs=5e-5)
    assert np.isnan(intervals.share_interval([np.nan])).all()


def test_images_of_one_specimen_widen_a_share_and_a_single_specimen_tells_nothing():
    right = np.array([1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0])
    alone, together = (intervals.share_interval(right, g) for g in (None, np.arange(12) // 3))
    assert alone[0] == together[0] and together[2] - together[1] > 1.3 * (alone[2] - alone[1])
    assert intervals.share_interval(np.ones(36), [0] * 35 + [1])[1:] == (0, 1), "hardly more than one specimen"
    assert intervals.difference_interval(np.zeros((12, 36)), np.ones(36), np.zeros(36))[1:] == (-1, 1)
    assert 0.9 < intervals.share_interval(np.ones(107), np.arange(107) // 3)[1] < 0.97, "certainty without a width"


def student(mean, variance, freedom):
    """A 95 % interval."""
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    return pytest.approx((mean - half, mean + half))


def test_the_crossed_interval_is_the_two_way_analysis_of_variance():
    rng = np.random.default_rng(5)
    values = (rng.random((6, 9)) < 0.6) - (rng.random(9) < 0.5).astype(float)
    x = np.hstack([values, np.ones((6, 1)), -np.ones((6, 1))])
    (r, s), of_reader, of_image = x.shape, x.mean(1), x.mean(0)
    ms_r, ms_s = s * of_reader.var(ddof=1), r * of_image.var(ddof=1)
    ms_rs = ((x - of_reader[:, None] - of_image + x.mean()) ** 2).sum() / ((r - 1) * (s - 1))
    variance = (ms_r + max(ms_s - ms_rs, 0)) / (r * s)
    # The images that were added bring no degrees of freedom.
    freedom = variance**2 / ((ms_r / r / s) ** 2 / (r - 1) + (ms_s / r / s) ** 2 / (9 - 1))
    assert intervals.crossed_interval(values) == student(x.mean(), variance, freedom)


def test_unequal_specimens_by_hand():
    n, mean = 8, 2 / 8  # with the two images that are added
    sums = np.array([3 - 4 * mean, 0 - mean, -1 - mean, 1 - mean, -1 - mean])
    share, effective = np.array([4, 1, 1, 1, 1]) / n, 36 / (16 + 1 + 1)
    expected = student(mean, sum(sums**2 / (1 - share)) / n**2, effective - 1)
    assert intervals.crossed_interval([[1, 1, 0, 1, 0, -1]], [0, 0, 0, 0, 1, 2]) == expected


def test_few_readers_or_laboratories_are_these_and_many_are_a_sample():
    rng = np.random.default_rng(1)
    panel = (rng.random((12, 20)) < np.repeat([0.3, 0.5, 0.6, 0.7, 0.9, 0.95], 2)[:, None]).astype(float)

    def width(readers=12, **options):
        return np.ptp(intervals.mean_interval(panel[:readers], **options)[1:])

    assert width(4) == width(4, random_readers=False) and width(5) > width(5, random_readers=False)
    assert width(laboratories=np.arange(12) // 2) > 1.1 * width(), "readers of one laboratory are alike"
    assert width(laboratories=np.arange(12) // 6) == width(random_readers=False)


def test_split_panels_weigh_every_answer_alike_and_images_that_nobody_saw_do_not_count():
    panel = np.array([[1, 1, 0, np.nan, np.nan], [np.nan, np.nan, 1, 0, 0], [1, 0, 1, np.nan, np.nan]])
    machine = np.array([1, 1, 1, 1, 0])
    value, low, high = intervals.difference_interval(panel, machine)
    assert value == pytest.approx(np.nansum(machine - panel) / 9) and low < value < high
    more = np.hstack([panel, np.full((3, 30), np.nan)]), np.hstack([machine, np.ones(30)])
    assert np.allclose(intervals.difference_interval(*more), (value, low, high))


@pytest.mark.parametrize(("n", "limit"), [(12, 0.265), (36, 0.097)])
def test_no_discordant_answer_gives_the_exact_limit_and_one_a_wider_interval(n, limit):
    of_three, widths = [], []
    for wrong in range(4):
        panel = np.ones((12, n))
        panel[0, :wrong] = 0
        value, low, high = intervals.difference_interval(panel, np.ones(n))
        widths.append(high - low)
        of_three.append(np.ptp(intervals.difference_interval(panel, np.ones(n), np.arange(n) // 3)[1:]))
        assert wrong or value == 0 and high == -low == pytest.approx(limit, abs=5e-3) and of_three[0] > widths[0]
    assert (np.diff([widths, of_three]) >= -1e-12).all(), "fewer discordant answers gave a wider interval"


@pytest.mark.parametrize("readers", [1, 3, 5, 12])
def test_an_interval_holds_its_estimate_and_many_quizzes_at_once_are_as_one_by_one(readers):
    rng, specimen = np.random.default_rng(readers), np.arange(21) // 3
    panel, machine = (rng.random((50, readers, 21)) < 0.95).astype(float), rng.random((50, 21)) < 0.95
    panel[1, 0, :4] = np.nan
    value, low, high = together = intervals.difference_interval(panel, machine, specimen)
    assert (low <= value).all() and (value <= high).all() and (high - low > 0.05).all()
    assert np.allclose([v[1] for v in together], intervals.difference_interval(panel[1], machine[1], specimen))


def test_the_sign_flip_test_is_mcnemars_and_takes_ties_and_specimens():
    for b, c in ((7, 2), (5, 5)):
        expected = mcnemar([[0, b], [c, 0]], exact=True).pvalue
        assert intervals.sign_flip_test([1] * b + [-1] * c + [0] * 4) == pytest.approx(expected)
    assert intervals.sign_flip_test([0, 0]) == 1
    # Bentur et al. as worked by Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13 (2013): 0.070.
    assert intervals.sign_flip_test([1] * 1 + [-1] * 7) == pytest.approx(0.070, abs=5e-4)
    # All eight ways to set three signs: 1, 1/2 and 1/2 reach the total of 2 in two of them.
    assert intervals.sign_flip_test([1, 0.5, 0.5, np.nan]) == pytest.approx(2 / 8)
    assert intervals.sign_flip_test([1, 1, 1, 1], ["s", "s", "t", "t"]) == pytest.approx(2 / 4)
