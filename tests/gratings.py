"""Gratings of known period, and the period read back: what a pipeline does to scale shows in them."""

import math

import numpy as np


def grating(period_um: float, pixels_per_um: float, shape=(240, 320), angle_deg: float = 0.0) -> np.ndarray:
    """A cosine grating, 0 to 1, of known period."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    angle = math.radians(angle_deg)
    across = (x * math.cos(angle) + y * math.sin(angle)) / pixels_per_um
    return (0.5 + 0.5 * np.cos(2 * np.pi * across / period_um)).astype(np.float32)


def period_px(crop: np.ndarray) -> tuple[float, float]:
    """Period in pixels and direction in degrees of the strongest wave, from the zero-padded spectrum's peak."""
    n = 1024
    window = np.outer(np.hanning(crop.shape[0]), np.hanning(crop.shape[1]))
    spectrum = np.abs(np.fft.fft2((crop - crop.mean()) * window, (n, n)))
    spectrum[0, 0] = 0
    v, u = np.unravel_index(spectrum[: n // 2].argmax(), (n // 2, n))
    fy, fx = v / n, (u if u < n // 2 else u - n) / n
    return 1 / math.hypot(fx, fy), math.degrees(math.atan2(fy, fx))
