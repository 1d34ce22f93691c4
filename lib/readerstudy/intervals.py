"""Intervals and tests of shares and of paired differences that hold near ceiling, for few readers, and for few specimens."""

from __future__ import annotations

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

# With fewer readers, or laboratories, an interval for readers at large is too wide to decide anything: what is said is
# said of these readers.
FEWEST_READERS = 5
# How much of the variance of an answer is taken to lie between specimens as long as no answer has shown it.
UNSEEN_CORRELATION = 0.15
ROUNDING = 1e-12


def _numbers(groups, n: int) -> np.ndarray:
    """Number of each item's group, from 0; without groups every item is its own."""
    return np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]


def share_interval(right, groups=None, weights=None) -> tuple[float, float, float]:
    """Share of images that one decision maker got right, with a 95 % interval that takes whole specimens as drawn.

    Wilson's interval at the effective number of images: the number divided by the design effect, which is estimated
    between specimens with one right and one wrong image added, so that it is not lost where nothing is wrong (Dean and
    Pagano, Journal of Survey Statistics and Methodology 3, 2015). The square of a specimen's deviation is divided by one
    less the specimen's share of the images (Bell and McCaffrey, Survey Methodology 28, 2002), and the quantile is
    Student's with Kish's effective number of specimens, less one. With one image a specimen it is Wilson's own interval.

    Parameters
    ----------
    right : array (n,)
        0 to 1; NaN is left out.
    groups : array (n,), optional
        Specimen of each image; without, each image is its own.
    weights : array (n,), optional
        Of the images, for the balanced accuracy; without, all alike.

    Returns
    -------
    value, low, high : float
        All NaN without images; 0 to 1 where fewer than two specimens (Kish's effective number) stand behind several
        images, which tell nothing of others.
    """
    right = np.asarray(right, float)
    seen = np.isfinite(right)
    if not seen.any():
        return (np.nan,) * 3
    x = right[seen]
    w = np.ones(len(x)) if weights is None else np.asarray(weights, float)[seen]
    w = w / w.sum()
    value, n = float(w @ x), 1 / (w @ w)
    specimen = _numbers(None if groups is None else np.asarray(groups)[seen], len(x))
    share = np.bincount(specimen, w)
    effective, quantile = n, stats.norm.ppf(0.975)
    if len(share) < len(x):
        # The two added images have the mean weight, and are specimens of their own.
        extra = 1 / len(x)
        whole = 1 + 2 * extra
        centre = (value + extra) / whole
        off = np.bincount(specimen, w * (x - centre)) ** 2 / (1 - share / whole)
        added = extra**2 * ((1 - centre) ** 2 + centre**2)
        within = (w @ w + 2 * extra**2) * centre * (1 - centre)
        freedom = 1 / (share @ share) - 1
        if freedom < 0.95:
            return value, 0.0, 1.0
        effective = n / np.clip((off.sum() + added / (1 - extra / whole)) / within, 1, max((share @ share) * n, 1))
        quantile = stats.t.ppf(0.975, freedom)
    return value, *map(float, proportion_confint(value * effective, effective, 2 * stats.norm.sf(quantile), "wilson"))


def crossed_interval(
    values, groups=None, added=(1.0, -1.0), random_readers: bool | None = None, laboratories=None
):  # fmt: skip
    """95 % interval of a mean over readers and images, both drawn, from a two-way analysis of variance.

    Two images are added, one with each of the values ``added`` from all readers: one where the machine alone is right
    and one where the panel alone is. Without them a machine without an error has no variance, and "superiority" comes
    at will (Agresti and Caffo, American Statistician 54, 2000, do so for two shares). Then the variance of the mean is
    MS(readers) + max(MS(images) - MS(residual), 0), over the number of answers (Obuchowski and Rockette, 1995; Hillis,
    Statistics in Medicine 26, 2007). Whole specimens stand for images where several are of one, and whole laboratories
    for readers. The square of each one's sum is divided by one less its share of the answers (Bell and McCaffrey,
    Survey Methodology 28, 2002), which is the usual factor S / (S - 1) where all S are alike. Degrees of freedom are
    Kish's effective number of specimens, less one, and Satterthwaite's over readers and specimens.

    Parameters
    ----------
    values : array (..., n_readers, n_images)
        NaN where a reader did not see an image. Leading axes are done at once.
    groups : array (n_images,), optional
        Specimen of each image.
    added : pair of float
    random_readers : bool, optional
        Whether readers are a sample of others; false: the interval is of these readers' mean, and only images are drawn.
        Without it, from `FEWEST_READERS` readers, or laboratories, on.
    laboratories : array (n_readers,), optional
        Laboratory of each reader; without, each reader is drawn alone.

    Returns
    -------
    low, high : arrays (...)
        Minus and plus infinity from a single specimen.
    """
    values = np.asarray(values, float)
    specimen, reader = _numbers(groups, values.shape[-1]), _numbers(laboratories, values.shape[-2])
    of_specimen, of_reader = np.eye(specimen.max() + 1)[specimen], np.eye(reader.max() + 1)[reader].T
    n_readers = len(of_reader)
    random_readers = n_readers >= FEWEST_READERS if random_readers is None else random_readers
    seen, x = np.isfinite(values).astype(float), np.nan_to_num(values)
    # An added image counts as much as one that was shown does on average: in size, the number of its answers.
    n_shown = np.maximum((seen.sum(-2) > 0).sum(-1), 1)
    size = seen.sum((-2, -1)) / n_shown
    total = size * (n_shown + 2)
    mean = (x.sum((-2, -1)) + size * sum(added)) / total
    by_laboratory = size[..., None, None] * of_reader.mean(1)[:, None]
    off = [by_laboratory * (value - mean)[..., None, None] for value in added]
    cells = np.concatenate([of_reader @ (seen * (x - mean[..., None, None])) @ of_specimen, *off], -1)
    counts = np.concatenate([of_reader @ seen @ of_specimen, by_laboratory, by_laboratory], -1) / total[..., None, None]
    cells /= total[..., None, None]
    share = counts.sum(-2)
    images = (cells.sum(-2) ** 2 / (1 - share)).sum(-1)
    alone = share[..., :-2] / share[..., :-2].sum(-1, keepdims=True)
    freedom = free_images = np.maximum(1 / (alone**2).sum(-1) - 1, ROUNDING)
    variance = images
    if random_readers and n_readers > 1:
        part = counts.sum(-1)
        readers = (cells.sum(-1) ** 2 / (1 - part)).sum(-1)
        fitted = (cells.sum(-1) / np.maximum(part, ROUNDING))[..., None]
        fitted = fitted + (cells.sum(-2) / np.maximum(share, ROUNDING))[..., None, :]
        left = ((cells - counts * fitted) ** 2 / (1 - share)[..., None, :] / (1 - part)[..., None]).sum((-2, -1))
        # Where not every reader saw every specimen, fewer cells are left to tell the residual from.
        n_cells, n_specimens = (counts > 0).sum((-2, -1)), (share > 0).sum(-1)
        free = n_cells - n_readers - n_specimens + 1
        left *= n_cells / np.maximum(free, 1) * (n_readers - 1) * (n_specimens - 1) / (n_readers * n_specimens)
        variance = readers + np.maximum(images - np.where(free > 0, left, 0), 0)
        alone = (part**2).sum(-1)
        freedom = variance**2 / (readers**2 * alone / (1 - alone) + images**2 / free_images)
    half = np.where(freedom > 1e-6, stats.t.ppf(0.975, np.maximum(freedom, 1e-6)), np.inf) * np.sqrt(variance)
    return mean - half, mean + half


def difference_interval(panel, machine, groups=None, random_readers: bool | None = None, laboratories=None):
    """Machine minus panel on the same images: the difference of accuracies with its 95 % interval.

    `crossed_interval` of the answers' differences, but never narrower than what no discordant answer leaves possible
    among the effective number of images: 1 - 0.025^(1 / number), exact and one-sided. That number is
    n / (1 + (m - 1) r) for n images in specimens of m, with r = `UNSEEN_CORRELATION`, since few discordant answers tell
    nothing of their own correlation.

    Parameters
    ----------
    panel : array (..., n_readers, n_images)
        Right (1) or wrong (0), or a vote's share; NaN where not shown.
    machine : array (..., n_images)
    groups, random_readers, laboratories
        As for `crossed_interval`.

    Returns
    -------
    value, low, high : arrays (...)
        -1 to 1 from a single specimen.
    """
    panel, machine = np.asarray(panel, float), np.asarray(machine, float)
    lead = machine[..., None, :] - panel
    value = np.nanmean(lead, axis=(-2, -1))
    low, high = crossed_interval(lead, groups, random_readers=random_readers, laboratories=laboratories)
    compared = np.isfinite(lead).any(-2).astype(float)
    compared /= compared.sum(-1, keepdims=True)
    specimen = _numbers(groups, lead.shape[-1])
    between = ((compared @ np.eye(specimen.max() + 1)[specimen]) ** 2).sum(-1)
    least = 1 - 0.025 ** (UNSEEN_CORRELATION * between + (1 - UNSEEN_CORRELATION) * (compared**2).sum(-1))
    low, high = np.maximum(np.minimum(low, value - least), -1), np.minimum(np.maximum(high, value + least), 1)
    return tuple(np.where(np.abs(v) <= ROUNDING, 0.0, v) for v in (value, low, high))


def mean_interval(panel, groups=None, random_readers: bool | None = None, laboratories=None):
    """The panel's mean accuracy with its 95 % interval: value, low, high, of `crossed_interval`.

    Parameters
    ----------
    panel : array (..., n_readers, n_images)
    groups, random_readers, laboratories
        As for `crossed_interval`.
    """
    panel = np.asarray(panel, float)
    low, high = crossed_interval(panel, groups, (1.0, 0.0), random_readers, laboratories)
    return np.nanmean(panel, axis=(-2, -1)), np.maximum(low, 0), np.minimum(high, 1)


def sign_flip_test(lead, groups=None) -> float:
    """Exact two-sided test that neither of two is right more often on the same images.

    If they are alike, every specimen's sum of differences may as well have the other sign; the p-value is the share of
    all ways to set the signs that give as large a total. With one image a specimen and no tied vote it is McNemar's
    exact test. S specimens cannot give a p-value below 2 / 2^S.

    Parameters
    ----------
    lead : array (n,)
        Difference on each image, in whole 2520ths (what coins between up to ten answers can give); NaN is left out.
    groups : array (n,), optional

    Returns
    -------
    float
    """
    lead = np.asarray(lead, float)
    seen = np.isfinite(lead)
    steps = np.rint(np.bincount(_numbers(groups, len(lead))[seen], lead[seen]) * 2520).astype(int)
    # Distribution of the total over all signs, one specimen after the other.
    largest = np.abs(steps).sum()
    chance = np.zeros(2 * largest + 1)
    chance[largest] = 1
    for step in steps[steps != 0]:
        chance = 0.5 * (np.roll(chance, step) + np.roll(chance, -step))
    as_large = np.abs(np.arange(-largest, largest + 1)) >= abs(steps.sum())
    return float(min(1.0, chance[as_large].sum()))


def named(interval) -> dict:
    """An interval (value, low, high) as a dict of floats by these names."""
    return dict(zip(("value", "low", "high"), map(float, interval), strict=True))


def balancing(truth) -> np.ndarray:
    """Weights of images (n,) under which every class counts alike."""
    _, index, counts = np.unique(np.asarray(truth, dtype=str), return_inverse=True, return_counts=True)
    return 1 / (len(counts) * counts[index])


def score_with_intervals(truth, answers, groups=None) -> dict:
    """Accuracy and balanced accuracy of one decision maker, each with its `share_interval`.

    Balanced accuracy is the mean over classes of each class's share right.

    Parameters
    ----------
    truth, answers : sequences (n,)
        Right label and given answer.
    groups : sequence (n,), optional
        Specimen of each image.

    Returns
    -------
    dict
        ``accuracy`` and ``balanced_accuracy``, each a dict of value, low, high; and ``n``.
    """
    truth = np.asarray(truth, dtype=object)
    right = (truth == np.asarray(answers, dtype=object)).astype(float)
    accuracy, balanced = (named(share_interval(right, groups, weights)) for weights in (None, balancing(truth)))
    return {"n": len(truth), "accuracy": accuracy, "balanced_accuracy": balanced}
