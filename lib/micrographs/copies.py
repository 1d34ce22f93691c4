"""Find images that show nearly the same: saved again, turned, mirrored, with the info bar cut off, moved a little.

Two images are compared by their perceptual hashes first, and by correlation where these are close. The hash is an
average hash (one bit a frequency: above the mean or not) of the amplitude spectrum of a high-passed miniature:
amplitudes do not know where a thing lies, so that a shift, or a bar cut off, changes few bits, and turning or
mirroring an image only permutes them.
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

# Of all pairs of the 170 real micrographs beside the project, the four of one field differ in 0.15 to 0.32 of the bits
# and correlate by 0.72 to 0.87; the other 14 361 differ in at least 0.38 and correlate by at most 0.33. The 18 460
# pairs of rendered ones differ in at least 0.38 and correlate by at most 0.47, but for one of 0.69 (0.33 the other way).
MOST_BITS_THAT_DIFFER = 0.39
LEAST_CORRELATION = 0.5
WIDTH_PX = 160  # of a miniature
WINDOW_PX = 104  # of the middle of a miniature, whose spectrum is hashed
HIGHEST_FREQUENCY = 16  # periods in that window


def miniature(image: np.ndarray, width_px: int = WIDTH_PX) -> np.ndarray:
    """A small copy without uneven light: of the width given, high-passed, and of unit standard deviation."""
    height = max(8, round(image.shape[0] * width_px / image.shape[1]))
    small = cv2.resize(image, (width_px, height), interpolation=cv2.INTER_AREA)
    small = small - cv2.GaussianBlur(small, (0, 0), WIDTH_PX / 16)
    return small / (small.std() + 1e-6)


def _spectrum_hash(small: np.ndarray) -> np.ndarray:
    """Which amplitudes up to the highest frequency are above those around them, as an image of bits."""
    height = min(WINDOW_PX, small.shape[0])
    y, x = (small.shape[0] - height) // 2, (WIDTH_PX - WINDOW_PX) // 2
    window = np.sqrt(np.outer(np.hanning(height), np.hanning(WINDOW_PX))).astype(np.float32)
    spectrum = np.fft.fftshift(np.fft.fft2(small[y : y + height, x : x + WINDOW_PX] * window, (WINDOW_PX, WINDOW_PX)))
    logarithm = np.log(np.abs(spectrum) + 1e-3).astype(np.float32)
    logarithm -= cv2.GaussianBlur(logarithm, (0, 0), 3)
    zero, k = WINDOW_PX // 2, HIGHEST_FREQUENCY
    # The other half of the frequencies is the mirror image of this one.
    half = logarithm[zero + 1 : zero + 1 + k, zero - k : zero + k]
    return half > half.mean()


def signature(image: np.ndarray) -> np.ndarray:
    """What is kept of an image, to be compared by `find`: bits of its spectrum as it is, mirrored, turned, and both.

    Parameters
    ----------
    image : array (H, W) of float32

    Returns
    -------
    array (4, n_bytes) of uint8
    """
    # Twice the miniature first: what follows is then cheap for images of any size.
    factor = min(1.0, 2 * WIDTH_PX / min(image.shape))
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else image
    bits = [_spectrum_hash(miniature(np.ascontiguousarray(s))) for s in (small, small.T)]
    # Mirrored, column 0, of a frequency without a counterpart, stays.
    return np.stack([np.packbits(b) for own in bits for b in (own, np.concatenate([own[:, :1], own[:, :0:-1]], axis=1))])


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """The highest correlation of the middle of ``b`` with any place in ``a``, for ``b`` mirrored and turned as well.

    Parameters
    ----------
    a, b : array (H, W) of float32
        Images; of ``b`` all eight orientations are tried, and two scales: as wide as ``a``, and pixel for pixel.

    Returns
    -------
    float
        -1 to 1.
    """
    best, first = -1.0, miniature(a)
    for turned in (b, np.ascontiguousarray(b.T)):
        native = round(WIDTH_PX * turned.shape[1] / a.shape[1])
        widths = {WIDTH_PX, native if 0.75 * WIDTH_PX < native < 1.33 * WIDTH_PX else WIDTH_PX}
        for second in (miniature(turned, width) for width in widths):
            h, w = (int(0.6 * min(p, q)) for p, q in zip(first.shape, second.shape, strict=True))
            y, x = (second.shape[0] - h) // 2, (second.shape[1] - w) // 2
            part = second[y : y + h, x : x + w]
            for way in (part, part[::-1], part[:, ::-1], part[::-1, ::-1]):
                found = cv2.matchTemplate(first, np.ascontiguousarray(way), cv2.TM_CCOEFF_NORMED).max()
                best = max(best, float(found) if math.isfinite(found) else -1.0)
    return best


def find(signatures: list, read) -> list[tuple[int, int, float]]:
    """Pairs of images that show nearly the same.

    All hashes are compared, which is quick for thousands of images; only the pairs that are close are read again and
    correlated.

    Parameters
    ----------
    signatures : list of array or None
        As `signature` makes them; None for what could not be read.
    read : callable
        Gives the image of a position in ``signatures``.

    Returns
    -------
    list of (first, second, correlation)
        Positions, first < second.
    """
    known = [i for i, own in enumerate(signatures) if own is not None]
    variants = np.stack([signatures[i] for i in known]).view(np.uint64) if known else np.empty((0, 4, 0), np.uint64)
    n_bits, pairs, found = 64 * variants.shape[2], set(), []
    for row, own in enumerate(variants[:, 0]):
        apart = np.bitwise_count(variants ^ own).sum(axis=2, dtype=np.int32).min(axis=1)
        close = set(np.flatnonzero(apart < MOST_BITS_THAT_DIFFER * n_bits)) - {row}
        pairs |= {(known[min(row, k)], known[max(row, k)]) for k in close}
    read = lru_cache(2)(read)
    for i, k in sorted(pairs):
        r = correlation(read(i), read(k))
        # Either way: a single large edge may be found again in a picture of something else.
        if r >= LEAST_CORRELATION and (r := min(r, correlation(read(k), read(i)))) >= LEAST_CORRELATION:
            found.append((i, k, r))
    return found
