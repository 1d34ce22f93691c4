"""The field of view that is being drawn: its coordinates, and random values on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WIDTH_PX, HEIGHT_PX = 512, 384
SUPERSAMPLING = 2


@dataclass
class Field:
    """The field of view that is being drawn: coordinates in um at twice the image's resolution.

    Attributes
    ----------
    x_um, y_um : array (H, W) of float32
    pixels_per_um : float
        Of the image, not of the finer grid.
    rng : numpy Generator
    """

    x_um: np.ndarray
    y_um: np.ndarray
    pixels_per_um: float
    rng: np.random.Generator

    @classmethod
    def make(cls, pixels_per_um: float, rng) -> Field:
        """A field of the given scale."""
        step = 1 / (pixels_per_um * SUPERSAMPLING)
        x = (np.arange(WIDTH_PX * SUPERSAMPLING, dtype=np.float32) + 0.5) * step
        y = (np.arange(HEIGHT_PX * SUPERSAMPLING, dtype=np.float32) + 0.5) * step
        return cls(*np.meshgrid(x, y), pixels_per_um, rng)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the finer grid."""
        return self.x_um.shape

    @property
    def size_um(self) -> tuple[float, float]:
        """Width and height in um."""
        return self.shape[1] / self.fine_pixels_per_um, self.shape[0] / self.fine_pixels_per_um

    @property
    def fine_pixels_per_um(self) -> float:
        """Scale of the finer grid."""
        return self.pixels_per_um * SUPERSAMPLING


def _spline_taps(n: int, cell_px: float) -> tuple[np.ndarray, np.ndarray]:
    """First node (n,) and four weights (n, 4) of a cubic B-spline on nodes ``cell_px`` apart, squares summing to 1."""
    at = (np.arange(n) + 0.5) / cell_px
    node, t = at.astype(int), at % 1.0
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], 1)
    return node, (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def smooth_noise(field: Field, correlation_um: float) -> np.ndarray:
    """Gaussian noise of mean 0 and variance 1, correlated over about ``correlation_um``; shape of the field.

    White noise on the nodes of a cubic B-spline, with weights scaled so that the variance is 1 everywhere. Noise
    finer than the grid loses the variance that a pixel averages away.
    """
    # The spline's autocorrelation falls to 1/e at 1.15 nodes.
    cell_px = correlation_um * field.fine_pixels_per_um / 1.15
    rows, columns = field.shape
    if cell_px < 1:
        return field.rng.standard_normal(field.shape, np.float32) * np.float32(min(1.0, 2.05 * cell_px))
    (i, wi), (j, wj) = _spline_taps(rows, cell_px), _spline_taps(columns, cell_px)
    nodes = field.rng.standard_normal((i[-1] + 4, j[-1] + 4), np.float32)
    # Columns first, where there are few rows: whole rows are then added up, which lie together in memory.
    wide = sum(wj[:, k] * nodes[:, j + k] for k in range(4))
    if len(nodes) <= 96:
        taps = np.zeros((rows, len(nodes)), np.float32)
        for k in range(4):
            taps[np.arange(rows), i + k] = wi[:, k]
        return taps @ wide
    return sum(wi[:, k, None] * wide[i + k] for k in range(4))


def of_cell(field: Field, index: np.ndarray, low: float, high: float) -> np.ndarray:
    """A uniform random value for each cell."""
    return field.rng.uniform(low, high, index.max() + 1).astype(np.float32)[index]


def choose_cells(field: Field, index: np.ndarray, share: float) -> np.ndarray:
    """True in random cells that together fill about ``share`` of the field."""
    order = field.rng.permutation(index.max() + 1)
    area = np.bincount(index.ravel(), minlength=len(order))[order]
    # A cell is taken when the share is nearer with it than without it.
    chosen = np.zeros(len(order), bool)
    chosen[order] = np.cumsum(area) - area / 2 < share * index.size
    return chosen[index]


def random_of(field: Field, key: np.ndarray) -> np.ndarray:
    """A uniform random number in [0, 1) for each key below 65 536."""
    return field.rng.random(65_536, np.float32)[key]
