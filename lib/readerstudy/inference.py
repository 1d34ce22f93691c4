"""Intervals and tests of shares and paired differences that hold near ceiling, for few readers, and for specimens."""

from __future__ import annotations

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

# With fewer, an interval for readers at large is too wide to decide anything: what is said is said of these readers.
FEWEST_READERS = 5
ROUNDING = 1e-12


def wilson(n_correct, n, z: float = stats.norm.ppf(0.975)) -> tuple[float, float]:
    """Wilson's (1927) 95 % interval of a share; ``n`` need not be whole, and ``z`` may be a quantile of Student's t."""
    low, high = proportion_confint(n_correct, n, 2 * stats.norm.sf(z), "wilson")
    return float(low), float(high)


def share_interval(right, groups=None, weights=None) -> tuple[float, float, float]:
    """Share of images that one decision maker got right, with a 95 % interval that takes whole specimens as drawn.

    Wilson's interval at the effective number of images: the number divided by the design effect, which is estimated
    between specimens with one right and one wrong image added, so that it is not lost where nothing is wrong (Dean and
    Pagano, Journal of Survey Statistics and Methodology 3, 2015). With one image a specimen it is Wilson's own.

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
        All NaN without images; 0 to 1 from a single specimen of several images, which tells nothing of others.
    """
    right = np.asarray(right, float)
    seen = np.isfinite(right)
    if not seen.any():
        return (np.nan,) * 3
    x = right[seen]
    w = np.ones(len(x)) if weights is None else np.asarray(weights, float)[seen]
    value, w = float(w @ x / w.sum()), w / w.sum()
    _, specimen = np.unique(np.arange(len(x)) if groups is None else np.asarray(groups)[seen], return_inverse=True)
    n_specimens, n = specimen.max() + 1, 1 / (w @ w)
    if n_specimens == len(x):
        return value, *wilson(value * n, n)
    if n_specimens == 1:
        return value, 0.0, 1.0
    # The two added images have the mean weight, and are specimens of their own.
    extra = 1 / len(x)
    centre = (value + extra) / (1 + 2 * extra)
    between = np.sum(np.bincount(specimen, w * (x - centre)) ** 2) + extra**2 * ((1 - centre) ** 2 + centre**2)
    between *= (n_specimens + 2) / (n_specimens + 1)
    within = (w @ w + 2 * extra**2) * centre * (1 - centre)
    largest = np.sum(np.bincount(specimen, w) ** 2) * n
    effective = n / np.clip(between / within, 1, max(largest, 1))
    return value, *wilson(value * effective, effective, stats.t.ppf(0.975, n_specimens - 1))


def crossed_interval(values, groups=None, added=(1.0, -1.0), random_readers: bool | None = None):
    """95 % interval of a mean over readers and images, both drawn, from a two-way analysis of variance.

    Two images are added, one with each of the values ``added`` from all readers: one where the machine alone is right
    and one where the panel alone is. Without them a machine without an error has no variance, and "superiority" comes
    at will (Agresti and Caffo, American Statistician 54, 2000, do so for two shares). Then the variance of the mean is
    MS(readers) + max(MS(images) - MS(residual), 0), over the number of answers, with Satterthwaite's degrees of freedom
    over both (Obuchowski and Rockette, 1995; Hillis, Statistics in Medicine 26, 2007). Whole specimens stand for images
    where several are of one. Where not every reader saw every image, the mean squares are those of the sums over
    readers, specimens and cells (Cameron, Gelbach and Miller, 2011).

    Parameters
    ----------
    values : array (..., n_readers, n_images)
        NaN where a reader did not see an image. Leading axes are done at once.
    groups : array (n_images,) of int, optional
        Specimen of each image.
    added : pair of float or of arrays (...)
    random_readers : bool, optional
        Whether readers are a sample of others; false: the interval is of these readers' mean, and only images are drawn.
        Without it, from `FEWEST_READERS` on.

    Returns
    -------
    low, high : arrays (...)
    """
    values = np.asarray(values, float)
    n_readers, n_images = values.shape[-2:]
    random_readers = n_readers >= FEWEST_READERS if random_readers is None else random_readers
    specimen = np.arange(n_images) if groups is None else np.unique(groups, return_inverse=True)[1]
    specimen = np.concatenate([specimen, specimen.max() + np.array([1, 2])])
    belongs = np.eye(specimen.max() + 1)[specimen]
    seen = np.isfinite(values).astype(float)
    # An added image counts as much as one that was shown does on average.
    shown = np.maximum((seen.sum(-2) > 0).sum(-1), 1)
    share = np.broadcast_to((seen.sum((-2, -1)) / (n_readers * shown))[..., None, None], (*seen.shape[:-1], 2))
    extra = np.stack([np.broadcast_to(a, seen.shape[:-2]) for a in added], axis=-1)[..., None, :]
    weight = np.concatenate([seen, share], axis=-1)
    x = np.concatenate([np.nan_to_num(values), np.broadcast_to(extra, share.shape)], axis=-1)
    total = weight.sum((-2, -1))
    mean = (weight * x).sum((-2, -1)) / total
    cells = (weight * (x - mean[..., None, None])) @ belongs
    counts = weight @ belongs
    of_specimen = cells.sum(-2)
    n_specimens = (counts.sum(-2) > 0).sum(-1)
    images = (of_specimen**2).sum(-1) * n_specimens / (n_specimens - 1) / total**2
    if random_readers and n_readers > 1:
        of_reader = cells.sum(-1)
        readers = (of_reader**2).sum(-1) * n_readers / (n_readers - 1) / total**2
        expected = of_reader / np.maximum(counts.sum(-1), ROUNDING)
        expected = expected[..., None] + (of_specimen / np.maximum(counts.sum(-2), ROUNDING))[..., None, :]
        n_cells = (counts > 0).sum((-2, -1))
        freedom = n_cells - n_readers - n_specimens + 1
        left = ((cells - counts * expected) ** 2).sum((-2, -1)) * n_cells / np.maximum(freedom, 1) / total**2
        variance = readers + np.maximum(images - np.where(freedom > 0, left, 0), 0)
        freedom = variance**2 / (readers**2 / (n_readers - 1) + images**2 / (n_specimens - 1))
    else:
        variance, freedom = images, n_specimens - 1
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    return mean - half, mean + half


def no_discordance(n: int) -> float:
    """Largest share of discordant images that none among ``n`` leaves possible: exact, one-sided at 0.025."""
    return 1 - 0.025 ** (1 / n)


def difference_interval(panel, machine, groups=None, random_readers: bool | None = None):
    """Machine minus panel on the same images: the difference of accuracies with its 95 % interval.

    `crossed_interval` of the answers' differences. Where machine and panel never differ it has the exact limits of a
    share of which none was seen (`no_discordance`, of specimens).

    Parameters
    ----------
    panel : array (..., n_readers, n_images)
        Right (1) or wrong (0), or a vote's share; NaN where not shown.
    machine : array (..., n_images)
    groups, random_readers
        As for `crossed_interval`.

    Returns
    -------
    value, low, high : arrays (...)
    """
    panel, machine = np.asarray(panel, float), np.asarray(machine, float)
    lead = machine[..., None, :] - panel
    value = np.nanmean(lead, axis=(-2, -1))
    low, high = crossed_interval(lead, groups, random_readers=random_readers)
    specimen = np.arange(lead.shape[-1]) if groups is None else np.unique(groups, return_inverse=True)[1]
    compared = np.isfinite(lead).any(-2) @ np.eye(specimen.max() + 1)[specimen] > 0
    same = np.nanmax(np.abs(lead), axis=(-2, -1)) <= ROUNDING
    limit = no_discordance(compared.sum(-1))
    low, high = np.where(same, -limit, np.maximum(low, -1)), np.where(same, limit, np.minimum(high, 1))
    return tuple(np.where(np.abs(v) <= ROUNDING, 0.0, v) for v in (value, low, high))


def mean_interval(panel, groups=None, random_readers: bool | None = None):
    """The panel's mean accuracy with its 95 % interval: value, low, high, of `crossed_interval`.

    Parameters
    ----------
    panel : array (..., n_readers, n_images)
    groups, random_readers
        As for `crossed_interval`.
    """
    panel = np.asarray(panel, float)
    low, high = crossed_interval(panel, groups, (1.0, 0.0), random_readers)
    return np.nanmean(panel, axis=(-2, -1)), np.maximum(low, 0), np.minimum(high, 1)


def sign_flip_test(lead, groups=None) -> float:
    """Exact two-sided test that neither of two is right more often on the same images.

    If they are alike, every specimen's sum of differences may as well have the other sign; the p-value is the share of
    all ways to set the signs that give as large a total. With one image a specimen and no tied vote it is McNemar's
    exact test.

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
    _, specimen = np.unique(np.arange(len(lead)) if groups is None else np.asarray(groups), return_inverse=True)
    steps = np.rint(np.bincount(specimen[seen], lead[seen]) * 2520).astype(int)
    # Distribution of the total over all signs, one specimen after the other.
    largest = np.abs(steps).sum()
    chance = np.zeros(2 * largest + 1)
    chance[largest] = 1
    for step in steps[steps != 0]:
        chance = 0.5 * (np.roll(chance, step) + np.roll(chance, -step))
    as_large = np.abs(np.arange(-largest, largest + 1)) >= abs(steps.sum())
    return float(min(1.0, chance[as_large].sum()))
