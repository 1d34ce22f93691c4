"""Micrographs rendered from microstructure models: the embedded default, and simulated through and through.

Structures are functions of position in micrometres. They are drawn on a grid twice as fine as the image, imaged
(etching or secondary electrons, edges, uneven etch and light, scratches, blur at the instrument's resolution,
noise) and averaged down. What the microscope cannot resolve thereby blurs to grey by itself. Sizes follow the
metallographic literature, cited at each recipe; they are this study's choice and not the paper's micrographs.

``python -m microrace.images.render --quiz 1 --out data/rendered/quiz1`` writes the images and their manifest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from tqdm.auto import tqdm

WIDTH_PX, HEIGHT_PX = 512, 384
SUPERSAMPLING = 2
SCALE_RANGE_PIXELS_PER_UM = (1.1, 212.0)
SCALE_RANGE_QUIZ_2_PIXELS_PER_UM = (8.0, 90.0)
# Mean and standard deviation of an image's grey, of 1; few pixels are clipped.
BRIGHTNESS_RANGE, CONTRAST_RANGE = (0.38, 0.62), (0.08, 0.18)
OPTICAL_RESOLUTION_UM, SEM_RESOLUTION_UM = 0.25, 0.004
# A light microscope that resolves 0.25 um needs 8 px/um (Nyquist); half as much again is empty magnification.
OPTICAL_HIGHEST_PIXELS_PER_UM = 12.0
# Graphite, twins and dendrites finer than what this shows are not in the literature cited.
NONE_HIGHEST_PIXELS_PER_UM = 60.0


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
    def make(cls, pixels_per_um: float, rng, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> Field:
        """A field of the given size and scale."""
        step = 1 / (pixels_per_um * SUPERSAMPLING)
        x = (np.arange(width_px * SUPERSAMPLING, dtype=np.float32) + 0.5) * step
        y = (np.arange(height_px * SUPERSAMPLING, dtype=np.float32) + 0.5) * step
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


@dataclass
class Cells:
    """What `voronoi` returns, each of the field's shape.

    Attributes
    ----------
    index : array of int64
        Cell of each pixel.
    boundary_um : array of float32
        Distance to the nearest boundary, exact where that is straight.
    pair : array of int64
        Key below 65 536 of the boundary, the same on both of its sides.
    """

    index: np.ndarray
    boundary_um: np.ndarray
    pair: np.ndarray


# --- building blocks ---------------------------------------------------------------------------------------------


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
    tall = sum(wi[:, k, None] * nodes[i + k] for k in range(4))
    return sum(wj[:, k] * tall[:, j + k] for k in range(4))


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


def voronoi(field: Field, diameter_um: float, *, waviness: float = 0.05, spread: float = 0.3) -> Cells:
    """Grains as weighted Voronoi cells (a power diagram) of a jittered hexagonal lattice.

    Parameters
    ----------
    field : Field
    diameter_um : float
        Diameter of the circle of the mean cell's area.
    waviness : float
        How far boundaries bend, relative to the diameter.
    spread : float
        Of the weights: 0 gives cells of similar size; above 0.5, small cells begin to vanish inside large ones.
    """
    rng, (width, height) = field.rng, field.size_um
    # Cells below a pixel of the finer grid cannot be told apart.
    diameter_um = max(diameter_um, 1 / field.fine_pixels_per_um)
    step = diameter_um * np.sqrt(np.pi / (2 * np.sqrt(3)))
    radius = np.hypot(width, height) / 2 + 3 * diameter_um
    i = np.arange(-np.ceil(radius / step), np.ceil(radius / step) + 1)
    j = np.arange(-np.ceil(radius / step / 0.866), np.ceil(radius / step / 0.866) + 1)
    i, j = np.meshgrid(i, j)
    lattice = np.stack([i + 0.5 * (j % 2), j * np.sqrt(3) / 2], -1).reshape(-1, 2) + rng.random(2)
    points = step * (lattice + rng.uniform(-0.5, 0.5, lattice.shape))
    turn = rng.uniform(0, np.pi)
    points = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + np.array([width, height]) / 2
    inside = np.all((points > -2 * diameter_um) & (points < np.array([width, height]) + 2 * diameter_um), axis=1)
    points = points[inside]
    # The weight becomes a third coordinate, so that the nearest point in space is the cell's of the power diagram.
    third = diameter_um * np.sqrt(np.maximum(0, 0.6 * spread * (1.5 + rng.standard_normal(len(points)))))
    tree = cKDTree(np.column_stack([points, third]))
    x, y = field.x_um, field.y_um
    if waviness:
        x, y = (c + waviness * diameter_um * smooth_noise(field, 0.5 * diameter_um) for c in (x, y))

    def ask(x, y):
        query = np.stack([x.ravel(), y.ravel(), np.zeros(x.size, np.float32)], 1)
        distance, nearest = tree.query(query, k=6)
        # The nearest boundary need not be that with the second cell, nor, seldom, with one of the six asked for.
        own = points[nearest[:, 0]]
        apart = [np.linalg.norm(points[nearest[:, k]] - own, axis=1) + 1e-9 for k in range(1, 6)]
        to_side = np.stack(
            [(distance[:, k] ** 2 - distance[:, 0] ** 2) / (2 * a) for k, a in zip(range(1, 6), apart, strict=True)]
        )
        side = to_side.argmin(0)
        neighbour = np.take_along_axis(nearest[:, 1:], side[:, None], 1)[:, 0]
        boundary = np.take_along_axis(to_side, side[None], 0)[0]
        return np.stack([nearest[:, 0], neighbour], 1), boundary.astype(np.float32)

    # Asked once for four pixels of the finer grid, and for each of the four where a boundary is near.
    size, half_size = field.shape[::-1], (field.shape[1] // 2, field.shape[0] // 2)
    nearest, boundary = ask(*(cv2.resize(c, half_size, interpolation=cv2.INTER_AREA) for c in (x, y)))
    nearest = nearest.reshape(half_size[1], half_size[0], 2).repeat(2, 0).repeat(2, 1)
    boundary = cv2.resize(boundary.reshape(half_size[::-1]), size)
    near = boundary < 2.5 / field.fine_pixels_per_um
    if near.any():
        nearest[near], boundary[near] = ask(x[near], y[near])
    low, high = nearest.min(-1), nearest.max(-1)
    return Cells(nearest[..., 0], boundary, (low * 73_856_093 ^ high * 19_349_663) & 0xFFFF)


def line(field: Field, distance_um: np.ndarray, width_um) -> np.ndarray:
    """Share of each pixel of the finer grid that a line covers, from the distance to its middle.

    A line narrower than a pixel fades in proportion, as it should.
    """
    half, edge = np.maximum(width_um, 0) / 2, 0.5 / field.fine_pixels_per_um
    covered = np.minimum(np.abs(distance_um) + edge, half) - np.maximum(np.abs(distance_um) - edge, -half)
    return np.clip(covered / (2 * edge), 0, 1).astype(np.float32)


def lamellae(field: Field, spacing_um: float, angle, stretch=1.0, *, bend_um=0.0, share: float = 0.3) -> np.ndarray:
    """Alternating lamellae: the share of each pixel that is the minor phase.

    The square wave is averaged over the pixel in closed form, so unresolved lamellae give ``share``, flat.

    Parameters
    ----------
    spacing_um : float
        True interlamellar spacing, perpendicular to the lamellae.
    angle : float or array
        Direction of the normal in radians.
    stretch : float or array
        Apparent over true spacing, from the tilt of the colony against the section.
    bend_um : float or array
        Shift of the lamellae along their normal, which curves them where it varies.
    share : float or array
        Volume share of the minor phase.
    """
    period = np.asarray(spacing_um * stretch, np.float32)
    phase = (field.x_um * np.cos(angle) + field.y_um * np.sin(angle) + bend_um) / period

    def filled(t):
        whole = np.floor(t)
        return whole * share + np.clip(t - whole - (1 - share) / 2, 0, share)

    # A little wider than the pixel, for less moire where lamellae are about as fine as the grid.
    half = 0.7 * (np.abs(np.cos(angle)) + np.abs(np.sin(angle))) / (field.fine_pixels_per_um * period)
    return np.clip((filled(phase + half) - filled(phase - half)) / (2 * half), 0, 1).astype(np.float32)


def particles(field: Field, diameter_um: float, area_share: float, *, spread: float = 0.35, aspect: float = 1.3,
              angle_deg=None, where=None, wobble: float = 0.12) -> np.ndarray:  # fmt: skip
    """Separate particles of lognormal size, near ellipses: the share of each pixel that they cover.

    Parameters
    ----------
    diameter_um, spread : float
        Median diameter (of the circle of equal area) and the standard deviation of its logarithm.
    area_share : float
        Share of the section that they fill, while there is room.
    aspect : float
        Mean ratio of the axes, at least 1.
    angle_deg : array, optional
        Direction of the long axis at each pixel; random where not given.
    where : array of bool, optional
        Where centres may lie.
    wobble : float
        How far outlines leave the ellipse, in diameters.
    """
    rng, scale = field.rng, field.fine_pixels_per_um
    rows, columns = field.shape
    mean_area_px = np.pi / 4 * (diameter_um * scale) ** 2 * np.exp(2 * spread**2)
    expected = area_share * rows * columns / mean_area_px
    if diameter_um * scale < 1.5 or expected > 60_000:
        # Not resolved: only how many fall on a pixel matters.
        count = rng.poisson(area_share / mean_area_px, field.shape) * mean_area_px
        return (np.clip(count, 0, 1) * (1 if where is None else where)).astype(np.float32)
    # Small ones are drawn finer still, for their shape and area to come out right.
    up = 3 if diameter_um * scale < 6 else 1
    n = rng.poisson(expected)
    diameter = np.sort(diameter_um * scale * up * np.exp(rng.normal(0, spread, n)))[::-1]
    ratio = 1 + (aspect - 1) * rng.gamma(3, 1 / 3, n)
    turn, tilt = rng.uniform(0, 180, n), rng.normal(0, 6, n)
    long_axis, short_axis = diameter * np.sqrt(ratio) / 2, diameter / np.sqrt(ratio) / 2
    # Large ones are placed first; each takes the first of its candidate places that is free.
    x, y = rng.uniform(0, columns, (n, 24)), rng.uniform(0, rows, (n, 24))
    free = np.ones((n, 24), bool) if where is None else where[y.astype(int), x.astype(int)]
    canvas, taken = (np.zeros((rows * up, columns * up), np.uint8) for _ in range(2))
    gap = 0.35 * np.median(diameter) if n else 0
    for i in range(n):
        for k in np.flatnonzero(free[i]):
            if taken[int(y[i, k] * up), int(x[i, k] * up)]:
                continue
            degrees = turn[i] if angle_deg is None else float(angle_deg[int(y[i, k]), int(x[i, k])] + tilt[i])
            centre = (int((x[i, k] * up - 0.5) * 16), int((y[i, k] * up - 0.5) * 16))
            # OpenCV fills about a quarter of a pixel too far.
            axes = tuple(max(1, int((a - 0.25) * 16)) for a in (long_axis[i], short_axis[i]))
            cv2.ellipse(canvas, centre, axes, degrees, 0, 360, 255, -1, cv2.LINE_AA, 4)
            axes = tuple(int((a + gap) * 16) for a in (long_axis[i], short_axis[i]))
            cv2.ellipse(taken, centre, axes, degrees, 0, 360, 1, -1, cv2.LINE_8, 4)
            break
    canvas = canvas.astype(np.float32) / 255
    if up > 1:
        canvas = cv2.resize(canvas, (columns, rows), interpolation=cv2.INTER_AREA)
    if wobble and diameter_um * scale > 5:
        push = wobble * diameter_um * scale
        shift_x, shift_y = (push * smooth_noise(field, 0.6 * diameter_um) for _ in range(2))
        canvas = cv2.remap(canvas, field.x_um * scale - 0.5 + shift_x, field.y_um * scale - 0.5 + shift_y,
                           cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)  # fmt: skip
    return canvas


def film(field: Field, cells: Cells, thickness_um: float, *, coverage: float = 1.0) -> np.ndarray:
    """A film of uneven thickness on the cells' boundaries, missing on all but ``coverage`` of them."""
    uneven = np.exp(0.35 * smooth_noise(field, 6 * thickness_um))
    return line(field, cells.boundary_um, thickness_um * uneven) * (random_of(field, cells.pair) < coverage)


def laths(field: Field, width_um: float, angle, packet: np.ndarray, *, bend: float = 0.25, length: float = 18.0,
          taper: float = 4.0):  # fmt: skip
    """Parallel laths with slanted ends.

    Parameters
    ----------
    width_um : float
    angle : array
        Direction of the normal to the laths in radians.
    packet : array of int
        Laths of different packets are different.
    bend : float
        How far they bend, in widths, over some ten widths.
    length : float
        Mean length in widths.
    taper : float
        Length of the slanted tip in widths.

    Returns
    -------
    key : array of int64
        Below 65 536, of each lath.
    edge_um : array of float32
        Distance to the lath's side.
    along_um : array of float32
        Position along the lath.
    """
    across = (field.x_um * np.cos(angle) + field.y_um * np.sin(angle)) / width_um
    along = (field.y_um * np.cos(angle) - field.x_um * np.sin(angle)) / width_um
    across = across + bend * smooth_noise(field, 10 * width_um)
    # Neighbours differ in width, between 0.55 and 1.45 of the mean.
    phase = 2.1 * across + packet % 61
    across = across + 0.45 / 2.1 * np.sin(phase)
    row = np.floor(across)
    within = across - row
    start = (row * 0.618034 + packet * 0.317) % 1.0 * 7.0
    lean = np.where((row.astype(np.int64) + packet) % 2 == 0, taper, -taper)
    piece = np.floor((along + lean * within) / length + start)
    key = (row.astype(np.int64) * 73_856_093) ^ (piece.astype(np.int64) * 19_349_663) ^ (packet * 83_492_791)
    key = (key ^ (key >> 17)) & 0xFFFF
    edge = (0.5 - np.abs(within - 0.5)) * width_um / (1 + 0.45 * np.cos(phase))
    return key, edge.astype(np.float32), (along * width_um).astype(np.float32)


def lath_tone(field: Field, key: np.ndarray, width_um: float) -> np.ndarray:
    """A random tone in -0.5..0.5 for each lath, which fades where laths are finer than the grid."""
    return (random_of(field, key) - 0.5) * np.float32(min(1, 0.7 * width_um * field.fine_pixels_per_um))


def plates(field: Field, width_um: float, n: int, directions, *, length: float = 25.0) -> np.ndarray:
    """Long thin plates along a few directions (radians), in stacks; 1 inside."""
    canvas, scale, rng = np.zeros(field.shape, np.float32), field.fine_pixels_per_um, field.rng
    for _ in range(n):
        a = rng.choice(directions) + rng.normal(0, 0.04)
        half = 0.5 * width_um * length * rng.lognormal(0, 0.4)
        centre = rng.uniform((0, 0), field.size_um)
        along, across = np.array([np.cos(a), np.sin(a)]), np.array([-np.sin(a), np.cos(a)])
        for k in range(rng.integers(1, 5)):
            middle = centre + across * width_um * 4 * k * rng.uniform(0.6, 1.4) + along * rng.normal(0, half / 3)
            t = np.linspace(-1, 1, 21)
            thick = 0.5 * width_um * rng.uniform(0.6, 1.3) * np.sqrt(np.maximum(0, 1 - t**4))
            upper = middle + t[:, None] * half * along + thick[:, None] * across
            lower = middle + t[::-1, None] * half * along - thick[::-1, None] * across
            outline = np.round(np.vstack([upper, lower]) * scale * 16).astype(np.int32)
            cv2.fillPoly(canvas, [outline], 1.0, cv2.LINE_AA, 4)
    return canvas


def flakes(field: Field, length_um: float, per_area: float, *, thickness: float = 0.035) -> np.ndarray:
    """Curved flakes that branch from common centres; 1 inside.

    Parameters
    ----------
    length_um : float
        Mean length of a flake.
    per_area : float
        Centres in a square of that length.
    thickness : float
        Over the length.
    """
    canvas, scale, rng = np.zeros(field.shape, np.float32), field.fine_pixels_per_um, field.rng
    (width, height), n_steps = field.size_um, 40
    n = max(2, rng.poisson(per_area * (width + 2 * length_um) * (height + 2 * length_um) / length_um**2))
    for _ in range(n):
        centre = rng.uniform((-length_um, -length_um), (width + length_um, height + length_um))
        n_arms = rng.integers(1, 4)
        for heading in rng.uniform(0, 2 * np.pi) + 2 * np.pi / n_arms * (np.arange(n_arms) + rng.normal(0, 0.2, n_arms)):
            own = length_um * rng.lognormal(-0.1, 0.35) * (1 if n_arms == 1 else 0.7)
            t = np.linspace(0, 1, n_steps)
            wander = np.cumsum(rng.normal(0, 1, n_steps))
            wander = np.convolve(np.pad(wander, 5, "edge"), np.ones(11) / 11, "valid")
            turn = heading + rng.normal(0, 1.0) * t + 0.12 * wander
            path = centre + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], 1) * own / n_steps, axis=0)
            body = np.minimum(1, 6 * np.minimum(t + 0.05, 1 - t)) * (1 + 0.2 * np.sin(9 * t + 6 * rng.random()))
            half = 0.5 * thickness * length_um * rng.uniform(0.6, 1.3) * body
            normal = np.stack([-np.sin(turn), np.cos(turn)], 1) * half[:, None]
            outline = np.vstack([path + normal, (path - normal)[::-1]])
            cv2.fillPoly(canvas, [np.round(outline * scale * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    return canvas


def dendrite_arms(field: Field, spacing_um: float, cells: Cells) -> np.ndarray:
    """Trunks with rows of rounded arms, one orientation a cell: above 0 inside the solid that froze first.

    ``spacing_um`` is the secondary arm spacing; trunks lie some 4 to 6 of them apart.
    """
    angle = of_cell(field, cells.index, 0, np.pi)
    shake = [0.18 * spacing_um * smooth_noise(field, 1.3 * spacing_um) for _ in range(2)]
    u = field.x_um * np.cos(angle) + field.y_um * np.sin(angle) + shake[0]
    v = field.y_um * np.cos(angle) - field.x_um * np.sin(angle) + shake[1]
    apart = spacing_um * of_cell(field, cells.index, 4, 6.5)
    trunk = np.floor(u / apart)
    off = u - (trunk + 0.5) * apart
    side = (off > 0).astype(np.int64)
    # Arms on the two sides of a trunk do not face each other, and grow to different lengths.
    shifted = v / spacing_um + random_of(field, ((trunk.astype(np.int64) * 7919 + side * 131 + cells.index * 613) & 0xFFFF))
    arm = np.floor(shifted)
    key = arm.astype(np.int64) * 73_856_093 ^ trunk.astype(np.int64) * 19_349_663 ^ (side + 2 * cells.index) * 83_492_791
    reach = apart * (0.36 + 0.2 * random_of(field, key & 0xFFFF))
    from_middle = np.abs(shifted - arm - 0.5)
    thick = 0.40 * np.sqrt(np.clip(1 - (np.abs(off) / reach) ** 4, 0, 1))
    solid = np.maximum(thick - from_middle, 0.33 - np.abs(off) / spacing_um)
    return np.where(np.abs(off) < reach, solid, np.maximum(-0.3, 0.33 - np.abs(off) / spacing_um)).astype(np.float32)


def martensite_frame(field: Field, block_um: float) -> tuple[Cells, Cells, np.ndarray, np.ndarray]:
    """Prior austenite grains divided into packets, each with one of four lath directions (the four habit planes).

    Returns
    -------
    grain, packet : Cells
    packet_id : array of int64
    angle : array of float32
        Direction of the normal to the laths in radians.
    """
    grain = voronoi(field, block_um * 26, waviness=0.03)
    packet = voronoi(field, block_um * 9, waviness=0.16, spread=0.6)
    packet_id = packet.index + grain.index * 7_919
    variant = (packet_id * 2_654_435_761 >> 7) % 4
    angle = of_cell(field, grain.index, 0, np.pi) + variant * (np.pi / 4) + 0.12 * np.sin(packet_id)
    return grain, packet, packet_id, angle.astype(np.float32)


# --- recipes -----------------------------------------------------------------------------------------------------
# Each draws a specimen's surface as (tone, relief): how bright a flat piece is, and how far it stands proud. Both
# are near 0 on average and of order 1. `image_surface` turns relief into bright edges (SEM) or dark ones (optical).


def _carbide(s: dict, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tone and relief of cementite: it resists the etch, glows in the SEM and has dark outlines in the light."""
    return s["carbide_tone"] * mask, mask


def ferrite(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Equiaxed ferrite: polygonal grains with thin boundaries, few inclusions, in some specimens a little pearlite.

    Grain diameters of 5 to 100 um in annealed low-carbon steel (Krauss, Steels, 2nd ed., ASM 2015, ch. 7), down to
    0.3 um in ultrafine-grained steel (Song et al., Mater. Sci. Eng. A 441, 2006).
    """
    diameter = s["size_um"]
    cells = voronoi(field, diameter, waviness=0.06, spread=s["grain_spread"])
    width = min(0.04 * diameter, s["groove_um"] + 0.006 * diameter)
    # Boundaries of low misorientation etch faintly.
    groove = line(field, cells.boundary_um, width) * np.minimum(1, 0.25 + 1.2 * random_of(field, cells.pair))
    step = s["grain_contrast"] * of_cell(field, cells.index, -1, 1)
    tone, relief = step - s["boundary_contrast"] * groove, 0.7 * step - groove
    inclusions = particles(field, 0.03 * diameter, 0.0015, spread=0.5, aspect=1.2)
    tone = tone - 0.9 * inclusions
    if s["island_share"]:
        corner = particles(field, 0.22 * diameter, s["island_share"], aspect=1.6, where=cells.boundary_um < 0.05 * diameter,
                           wobble=0.25)  # fmt: skip
        minor = lamellae(field, s["island_spacing_um"], of_cell(field, cells.index, 0, np.pi))
        dark, proud = _carbide(s, minor)
        tone = np.where(corner > 0.5, dark - 0.5 * (s["modality"] == "optical"), tone)
        relief = np.where(corner > 0.5, 0.6 * proud, relief)
    return tone, relief


def pearlite(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Pearlite: colonies of alternating ferrite and cementite lamellae, some degenerate, some with proeutectoid films.

    Spacing 0.08 to 0.6 um, to 1.2 um after furnace cooling, colonies of 10 to 50 spacings (Marder and Bramfitt,
    Metall. Trans. A 7, 1976; Vander Voort and Roosz, Metallography 17, 1984). Sections cut colonies at random
    tilts, which spreads the apparent spacing upwards from the true one (Underwood, Quantitative Stereology, 1970).
    """
    spacing = s["size_um"]
    colony_um = spacing * s["colony"]
    colony = voronoi(field, colony_um, waviness=0.16, spread=0.5)
    angle = of_cell(field, colony.index, 0, np.pi)
    # The normal's inclination is uniform in its cosine.
    stretch = 1 / np.sqrt(1 - of_cell(field, colony.index, 0, 0.95) ** 2)
    curve = s["curvature"] * 0.12 * colony_um * of_cell(field, colony.index, -1.5, 1.5)
    bend = curve * smooth_noise(field, 0.5 * colony_um) + s["waviness"] * spacing * smooth_noise(field, 3.5 * spacing)
    share = s["carbide_share"] * (1 + 0.12 * smooth_noise(field, 2.5 * spacing))
    minor = lamellae(field, spacing, angle, stretch, bend_um=bend, share=np.clip(share, 0.1, 0.6))
    # Growth faults end a lamella here and there; where many do, the pearlite is degenerate.
    fault = smooth_noise(field, 1.6 * spacing) + 0.25 * smooth_noise(field, colony_um)
    minor = minor * np.clip(3 * (fault + 2.6 - s["degeneracy"]), 0, 1)
    optical = s["modality"] == "optical"
    # Too thin to show as white between its two dark outlines, cementite is dark in the light microscope.
    tone, relief = (-0.9 if optical else s["carbide_tone"]) * minor, minor
    shade = of_cell(field, colony.index, -1, 1) + 0.2 * smooth_noise(field, 0.25 * colony_um)
    tone = tone + (0.3 if optical else 0.12) * shade
    relief = relief * (1 + 0.3 * shade)
    if s["proeutectoid"] > 0:
        prior = voronoi(field, colony_um * 4, waviness=0.06)
        mask = film(field, prior, colony_um * s["proeutectoid"], coverage=0.8)
        if s["carbon_rich"]:
            mask = np.maximum(mask, plates(field, 0.3 * colony_um * s["proeutectoid"] + spacing, s["n_plates"],
                                           s["plate_directions"], length=30))  # fmt: skip
            smooth_tone = 0.5 * s["carbide_tone"]
        else:
            smooth_tone = 0.6 if optical else -0.35
        tone, relief = tone * (1 - mask) + smooth_tone * mask, relief * (1 - mask) + (0.7 * s["carbon_rich"]) * mask
    return tone, relief


def spheroidite(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Spheroidized cementite: round particles in ferrite, larger on its boundaries; in some specimens still in rows.

    Diameters of 0.15 to 4 um, lognormal, at 8 to 22 % of the area (Hecht et al., Metall. Mater. Trans. A 48, 2017;
    Lifshitz-Slyozov coarsening puts the large ones on boundaries: Chattopadhyay and Sellars, Acta Metall. 30, 1982).
    """
    diameter, share = s["size_um"], s["area_share"]
    grain = voronoi(field, diameter * s["grain_over_particle"], waviness=0.06)
    near = grain.boundary_um < 0.3 * diameter
    coarse = particles(field, 1.5 * diameter, 0.22 * share, spread=0.3, aspect=1.5, where=near)
    if s["in_rows"]:
        # Remnants of lamellae: the particles lie where the cementite was.
        colony = voronoi(field, 14 * diameter, waviness=0.15)
        angle = of_cell(field, colony.index, 0, np.pi)
        rows = lamellae(field, 2.1 * diameter, angle, bend_um=diameter * smooth_noise(field, 9 * diameter), share=0.4) > 0.5
        balls = particles(
            field, diameter, 0.78 * share, spread=0.3, aspect=2.2, angle_deg=np.degrees(angle) + 90, where=rows
        )
    else:
        balls = particles(field, diameter, 0.78 * share, spread=s["size_spread"], aspect=1.25)
    mask = np.maximum(balls, coarse)
    if s["fine_share"]:
        mask = np.maximum(mask, particles(field, 0.4 * diameter, s["fine_share"], spread=0.3, aspect=1.1))
    tone, relief = _carbide(s, mask)
    grooves = line(field, grain.boundary_um, min(0.15 * diameter, s["groove_um"])) * (1 - mask)
    tone = tone + 0.5 * s["grain_contrast"] * of_cell(field, grain.index, -1, 1) - 0.5 * s["boundary_contrast"] * grooves
    return tone, relief - 0.5 * grooves


def bainite(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Bainite: sheaves of fine ferrite plates; cementite in rows between them (upper) or inside, at 60 degrees (lower).

    Plates 0.2 to 3 um wide (several sub-units side by side at the top), sheaves of 5 to 15 of them (Bhadeshia,
    Bainite in Steels, 3rd ed., 2015, ch. 2 and 3).
    """
    width, optical = s["size_um"], s["modality"] == "optical"
    grain, sheaf, sheaf_id, angle = martensite_frame(field, width * s["sheaf"] / 9)
    # Sheaves are long: bundles of plates that set out from the boundaries of the austenite.
    bundle, bundle_edge, _ = laths(field, 5 * width, angle, sheaf_id, bend=0.25, length=6, taper=2.5)
    angle = angle + 0.35 * (random_of(field, bundle) - 0.5)
    plate, edge, _ = laths(field, width, angle, sheaf_id + bundle, bend=0.5, length=9, taper=3)
    along_deg = np.degrees(angle) + 90
    if s["lower"]:
        inside = edge > 0.16 * width
        carbide = particles(field, 0.26 * width, s["carbide_area"], spread=0.25, aspect=4.0,
                            angle_deg=along_deg + 58, where=inside, wobble=0.05)  # fmt: skip
    else:
        between = (edge < 0.14 * width) & (smooth_noise(field, 3 * width) > -0.9)
        carbide = particles(field, 0.42 * width, s["carbide_area"], spread=0.4, aspect=4.5, angle_deg=along_deg,
                            where=between, wobble=0.1)  # fmt: skip
    tone, relief = _carbide(s, carbide)
    side = line(field, edge, 0.1 * width)
    tone = tone + 0.18 * lath_tone(field, plate, width) + (0.45 if optical else 0.25) * lath_tone(field, bundle, 5 * width)
    tone = tone - (0.5 if optical else 0.15) * side - 0.15 * line(field, bundle_edge, 0.2 * width)
    relief = relief - 0.35 * side + 0.4 * lath_tone(field, plate, width)
    if s["island_share"]:
        # Martensite-austenite left between the sheaves.
        islands = particles(field, 1.6 * width, s["island_share"], aspect=1.7, angle_deg=along_deg, wobble=0.25)
        tone, relief = tone * (1 - islands) + 0.4 * islands, np.maximum(relief, 0.8 * islands)
    grooves = line(field, grain.boundary_um, min(0.5 * width, s["groove_um"]))
    return tone - 0.5 * s["boundary_contrast"] * grooves, relief - 0.5 * grooves


def _lath_martensite(field: Field, s: dict, contrast: float = 1.0):
    """Tone and relief of clean lath martensite, and its geometry for what is drawn upon it."""
    block, optical = s["size_um"], s["modality"] == "optical"
    grain, packet, packet_id, angle = martensite_frame(field, block)
    key, edge, _ = laths(field, block, angle, packet_id, bend=0.3, length=13, taper=5)
    fine, fine_edge, _ = laths(field, block / 4.2, angle + 0.12 * (random_of(field, key) - 0.5), packet_id + key,
                               bend=0.3, length=26, taper=8)  # fmt: skip
    coarse_tone, fine_tone = lath_tone(field, key, block), lath_tone(field, fine, block / 4.2)
    side, fine_side = line(field, edge, block / 14), line(field, fine_edge, block / 22)
    tone = contrast * ((1.0 if optical else 0.45) * coarse_tone + (0.7 if optical else 0.35) * fine_tone)
    tone = tone - contrast * 0.2 * side
    relief = contrast * (0.7 * coarse_tone + s["relief"] * 2 * fine_tone + s["relief"] * fine_side - 0.5 * side)
    grooves = line(field, grain.boundary_um, min(0.12 * block, s["groove_um"]))
    grooves = np.maximum(grooves, 0.35 * line(field, packet.boundary_um, min(0.08 * block, s["groove_um"])))
    tone, relief = tone - s["boundary_contrast"] * contrast * 0.6 * grooves, relief - 0.6 * grooves
    return tone, relief, {"grain": grain, "packet": packet, "angle": angle, "key": key, "edge": edge, "fine": fine,
                          "fine_edge": fine_edge}  # fmt: skip


def martensite(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Lath martensite: laths in blocks in packets in prior austenite grains.

    Laths of 0.2 um, blocks of 0.3 to 8 um, packets of 5 to 60 um, larger in larger austenite grains (Morito et al.,
    Acta Mater. 51, 2003 and ISIJ Int. 45, 2005; Krauss, Mater. Sci. Eng. A 273, 1999). ``size_um`` is the blocks' width.
    """
    tone, relief, geometry = _lath_martensite(field, s)
    if s["film_share"]:
        # Retained austenite between the laths stays bright.
        mask = film(field, geometry["packet"], 0.12 * s["size_um"], coverage=s["film_share"])
        tone, relief = np.maximum(tone, 0.7 * mask), np.maximum(relief, 0.5 * mask)
    return tone, relief


def graphite_flakes(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Grey iron: dark curved graphite flakes in a pearlitic or ferritic matrix.

    Type A flakes of 20 to 300 um, type D of some 10 um (ISO 945-1:2019, forms and sizes 3 to 8).
    """
    length = s["size_um"]
    flake = flakes(field, length, s["flakes_per_area"], thickness=s["flake_thickness"])
    spacing = s["island_spacing_um"]
    colony = voronoi(field, max(25 * spacing, 0.15 * length), waviness=0.15)
    minor = lamellae(field, spacing, of_cell(field, colony.index, 0, np.pi), 1 + of_cell(field, colony.index, 0, 1),
                     bend_um=spacing * smooth_noise(field, 12 * spacing))  # fmt: skip
    tone, relief = _carbide(s, minor)
    tone = (0.5 if s["modality"] == "sem" else 0.3) * tone + 0.15 * of_cell(field, colony.index, -1, 1)
    return tone * (1 - flake) - 1.6 * flake, 0.4 * relief * (1 - flake) - 0.6 * flake


def twinned_austenite(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Annealed austenite: equiaxed grains crossed by straight-sided annealing twins.

    Grains of 10 to 150 um (ASM Handbook 9, 2004, "Stainless steels"), down to 1 um in fine-grained
    twinning-induced-plasticity steel (Bouaziz et al., Curr. Opin. Solid State Mater. Sci. 15, 2011).
    """
    diameter = s["size_um"]
    cells = voronoi(field, diameter, waviness=0.02, spread=0.4)
    angle = of_cell(field, cells.index, 0, np.pi)
    period_um = diameter * of_cell(field, cells.index, 0.4, 1.1)
    across = (field.x_um * np.cos(angle) + field.y_um * np.sin(angle)) / period_um + of_cell(field, cells.index, 0, 1)
    band, has_twin = of_cell(field, cells.index, 0.06, 0.4), of_cell(field, cells.index, 0, 1) < 0.7
    position = across % 1.0
    twin = (position < band) & has_twin
    shade = of_cell(field, cells.index, -1, 1)
    tone = s["grain_contrast"] * 2 * np.where(twin, of_cell(field, cells.index, -1, 1), shade)
    width = min(0.03 * diameter, s["groove_um"])
    side_um = np.minimum(np.minimum(position, 1 - position), np.abs(position - band)) * period_um
    grooves = np.maximum(line(field, side_um, 0.6 * width) * has_twin, line(field, cells.boundary_um, width))
    return tone - s["boundary_contrast"] * grooves, 0.7 * tone - grooves


def dendrites(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """As-cast dendrites: trunks with rows of arms, what froze last between them.

    Secondary arm spacing of 10 to 90 um in castings (Kurz and Fisher, Fundamentals of Solidification, 4th ed., 1998),
    1 um where solidification was rapid (Flemings, Solidification Processing, 1974).
    """
    spacing = s["size_um"]
    cells = voronoi(field, spacing * 11, waviness=0.15)
    arms = dendrite_arms(field, spacing, cells)
    solid = np.clip(0.5 + s["arm_sharpness"] * arms, 0, 1)
    # The solid grows richer towards its rim; the last liquid freezes as a fine mixture.
    core = np.clip(arms / 0.4, 0, 1)
    fine = smooth_noise(field, 0.07 * spacing)
    between = (1 - solid) * (0.2 * fine - 1.1 + 0.4 * (random_of(field, cells.index & 0xFFFF) - 0.5))
    return 0.5 * solid - 0.4 * s["coring"] * core + between, 0.4 * solid + 0.12 * (1 - solid) * fine


# The martensitic states of quiz 2, all on the same frame of packets, blocks and laths; ``size_um`` is the blocks' width.


def as_quenched(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """As-quenched lath martensite: clean laths, no carbides (Krauss, Mater. Sci. Eng. A 273, 1999)."""
    return _lath_martensite(field, s)[:2]


def auto_tempered(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Auto-tempered: fine carbides in the coarse laths that formed first, none in the others.

    Speich and Leslie, Metall. Trans. 3, 1972; carbides of 0.02 to 0.2 um in one to three directions a lath.
    """
    block = s["size_um"]
    tone, relief, g = _lath_martensite(field, s, 0.8)
    first = (random_of(field, g["key"]) < s["first_share"]) & (g["edge"] > 0.1 * block)
    variant = np.array([55, 90, 125])[(3 * random_of(field, g["key"])).astype(int)]
    needles = particles(field, block * 0.075, 0.7 * s["carbide_area"] * s["first_share"], spread=0.3, aspect=3.5,
                        angle_deg=np.degrees(g["angle"]) + variant, where=first, wobble=0)  # fmt: skip
    return np.where(first, 0.35 * tone - 0.1, tone) + 0.8 * needles, np.where(first, 0.2 * relief, relief) + needles


def tempered_low(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Tempered at about 200 C: fine transition carbides, cross-hatched in every lath (Speich and Leslie, 1972)."""
    block = s["size_um"]
    tone, relief, g = _lath_martensite(field, s, 0.6)
    turn = np.degrees(g["angle"]) + 90
    inside = g["edge"] > 0.04 * block
    hatch = sum(particles(field, block * 0.065, 0.5 * s["carbide_area"], spread=0.25, aspect=4.5, angle_deg=turn + a,
                          where=inside, wobble=0) for a in (-52, 52))  # fmt: skip
    return tone + 0.6 * hatch, 0.7 * relief + 0.8 * hatch


def tempered_high(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Tempered at about 600 C: round cementite along recovered laths and boundaries (Speich and Leslie, 1972)."""
    block = s["size_um"]
    tone, relief, g = _lath_martensite(field, s, 0.35)
    lines = (g["edge"] < 0.1 * block) | (g["packet"].boundary_um < 0.12 * block) | (g["grain"].boundary_um < 0.15 * block)
    balls = particles(field, block * 0.17, 0.75 * s["carbide_area"], spread=0.4, aspect=1.7,
                      angle_deg=np.degrees(g["angle"]) + 90, where=lines)  # fmt: skip
    inside = particles(field, block * 0.1, 0.25 * s["carbide_area"], spread=0.3, aspect=1.3)
    mask = np.maximum(balls, inside)
    return 0.8 * tone + 0.8 * mask, 0.5 * relief + mask


def with_retained_austenite(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """With films of retained austenite between laths and blocks, and a few blocks of it.

    Films of 0.02 to 0.2 um (Bhadeshia and Edmonds, Metall. Trans. A 10, 1979).
    """
    block = s["size_um"]
    tone, relief, g = _lath_martensite(field, s, 0.7)
    uneven = np.clip(1 + 0.6 * smooth_noise(field, 1.5 * block), 0, 2.5)
    here = random_of(field, g["key"]) < s["film_share"] + 0.45
    films = np.maximum(
        line(field, g["edge"], 0.16 * block * uneven) * here, line(field, g["fine_edge"], 0.04 * block * uneven)
    )
    patches = film(field, g["packet"], 0.22 * block, coverage=0.5)
    mask = np.maximum(films, patches)
    return tone * (1 - mask) + 0.75 * mask, relief * (1 - mask) + 0.9 * mask


def with_ferrite(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Dual phase: martensite islands between smooth, etched-down ferrite grains (Tasan et al., Annu. Rev. Mater. Res. 45, 2015)."""  # noqa: E501
    block = s["size_um"]
    tone, relief, _ = _lath_martensite(field, s, 0.8)
    cells = voronoi(field, block * s["island_over_block"], waviness=0.12, spread=0.6)
    hard = choose_cells(field, cells.index, s["hard_share"])
    # Hard islands bulge into the ferrite: the boundary is that of a smoothed map.
    hard = cv2.GaussianBlur(hard.astype(np.float32), (0, 0), max(0.8, 0.5 * block * field.fine_pixels_per_um))
    hard = np.clip((hard - 0.5) * max(4.0, 1.2 * block * field.fine_pixels_per_um) + 0.5, 0, 1)
    groove = line(field, cells.boundary_um, 0.1 * block)
    soft = -0.5 + 0.1 * of_cell(field, cells.index, -1, 1) - 0.25 * groove
    return hard * (0.35 + tone) + (1 - hard) * soft, hard * (0.9 + relief) - (1 - hard) * 0.3 * groove


def with_bainite(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """With sheaves of bainite, whose rows of carbide mark them out (Bhadeshia, Bainite in Steels, 3rd ed., 2015, ch. 13)."""
    tone, relief, g = _lath_martensite(field, s, 0.8)
    chosen = choose_cells(field, g["packet"].index, s["hard_share"])
    lower_tone, lower_relief = bainite(
        field, s | {"size_um": 0.75 * s["size_um"], "island_share": 0.0, "carbide_area": 0.13}
    )
    return np.where(chosen, lower_tone - 0.2, tone), np.where(chosen, lower_relief, relief)


@dataclass(frozen=True)
class Recipe:
    """How a class is drawn, and the sizes that its ruling feature takes.

    Attributes
    ----------
    draw : callable
    size_um : (float, float)
        Range in the literature of the feature that rules the picture.
    size_px : (float, float)
        Range that shows it well; a specimen's size is drawn so as to fall into both where it can.
    """

    draw: object
    size_um: tuple[float, float]
    size_px: tuple[float, float]


QUIZ_1 = {
    "bainite": Recipe(bainite, (0.2, 3.0), (6, 30)),
    "ferrite": Recipe(ferrite, (0.3, 100.0), (28, 120)),
    "martensite": Recipe(martensite, (0.3, 8.0), (6, 30)),
    "pearlite": Recipe(pearlite, (0.08, 1.2), (4, 28)),
    "spheroidite": Recipe(spheroidite, (0.15, 4.0), (5, 36)),
}
QUIZ_1_NONE = {
    "graphite flakes": Recipe(graphite_flakes, (8.0, 300.0), (100, 240)),
    "twinned austenite": Recipe(twinned_austenite, (1.0, 150.0), (60, 150)),
    "as-cast dendrites": Recipe(dendrites, (0.8, 90.0), (20, 46)),
}
QUIZ_2 = {
    "as-quenched": Recipe(as_quenched, (0.3, 5.0), (14, 40)),
    "auto-tempered": Recipe(auto_tempered, (0.3, 5.0), (24, 56)),
    "tempered at 200 C": Recipe(tempered_low, (0.3, 5.0), (34, 70)),
    "tempered at 600 C": Recipe(tempered_high, (0.3, 5.0), (14, 44)),
    "with bainite": Recipe(with_bainite, (0.3, 5.0), (11, 24)),
    "with ferrite": Recipe(with_ferrite, (0.3, 5.0), (9, 22)),
    "with retained austenite": Recipe(with_retained_austenite, (0.3, 5.0), (14, 44)),
}


def draw_specimen(recipe: Recipe, pixels_per_um: float, rng) -> dict:
    """Draw what all images of one specimen share: sizes, shares, etch.

    Parameters
    ----------
    recipe : Recipe
    pixels_per_um : float
        Middle of the scales at which the specimen is photographed, for it to show its structure there.
    rng : numpy Generator
    """
    low, high = recipe.size_um
    from_um, to_um = (float(np.clip(px / pixels_per_um, low, high)) for px in recipe.size_px)
    rich = bool(rng.random() < 0.4)
    return {
        "size_um": float(np.exp(rng.uniform(np.log(from_um), np.log(to_um)))),
        "grain_contrast": rng.uniform(0.04, 0.4),
        "grain_spread": rng.uniform(0.2, 0.7),
        "boundary_contrast": rng.uniform(0.5, 1.0),
        "relief": rng.uniform(0.1, 0.5),
        "roughness": rng.uniform(0.02, 0.15),
        "etched_carbide_tone": rng.uniform(-0.8, 0.1),
        "carbon_rich": rich,
        # pearlite
        "colony": rng.uniform(10, 45),
        "waviness": rng.uniform(0.05, 0.5),
        "curvature": rng.uniform(0.1, 1.0),
        "degeneracy": rng.choice([rng.uniform(0, 1), rng.uniform(1.2, 1.9)], p=[0.75, 0.25]),
        "carbide_share": rng.uniform(0.22, 0.42),
        "proeutectoid": rng.choice([0.0, rng.uniform(0.1, 0.4)], p=[0.6, 0.4]),
        "n_plates": int(rng.integers(0, 5)),
        "plate_directions": rng.uniform(0, np.pi, 2),
        # particles
        "area_share": rng.uniform(0.1, 0.26),
        "size_spread": rng.uniform(0.25, 0.55),
        "fine_share": rng.choice([0.0, 0.03]),
        "grain_over_particle": rng.uniform(5, 14),
        "in_rows": bool(rng.random() < 0.25),
        # bainite and martensite
        "sheaf": rng.uniform(9, 16),
        "lower": bool(rng.random() < 0.35),
        "carbide_area": rng.uniform(0.1, 0.2),
        "island_share": rng.choice([0.0, rng.uniform(0.02, 0.07)], p=[0.6, 0.4]),
        "island_spacing_um": rng.uniform(0.15, 0.4),
        "film_share": rng.choice([0.0, rng.uniform(0.1, 0.4)]),
        "first_share": rng.uniform(0.3, 0.6),
        "hard_share": rng.uniform(0.3, 0.6),
        "island_over_block": rng.uniform(3, 6),
        # castings
        "flakes_per_area": rng.uniform(0.5, 1.2),
        "flake_thickness": rng.uniform(0.025, 0.06),
        "arm_sharpness": rng.uniform(4, 12),
        "coring": rng.uniform(0.2, 1.0),
    }


def image_surface(field: Field, tone: np.ndarray, relief: np.ndarray, s: dict) -> np.ndarray:
    """What the microscope makes of a surface: (height_px, width_px) uint8.

    Mean and standard deviation of the grey are what ``s`` says, as an operator's knobs would have it.
    """
    rng, scale, sem = field.rng, field.fine_pixels_per_um, s["modality"] == "sem"
    width_um, (rows, columns) = field.size_um[0], field.shape
    tone, relief = tone.astype(np.float32), relief.astype(np.float32)
    # The etch leaves a fine roughness, which only high magnification shows.
    relief = relief + 0.35 * s["relief"] * smooth_noise(field, s["roughness"])
    # Steps are bright in secondary electrons, which leave them easily, over tens of nanometres (Goldstein et al.,
    # Scanning Electron Microscopy, 4th ed., 2018); in bright field they throw light out of the objective: dark.
    reach_px = float(np.clip((0.05 if sem else 0.3) * scale, 1.2, 9))
    soft = cv2.GaussianBlur(relief, (0, 0), reach_px)
    steps = np.abs(relief - soft)
    if sem:
        tone = tone + rng.uniform(0.4, 1.4) * steps
        # The detector sits at one side: slopes that face it are brighter.
        a, shade = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5)
        move = np.float32([[1, 0, reach_px * np.cos(a)], [0, 1, reach_px * np.sin(a)]])
        tone = tone + shade * (soft - cv2.warpAffine(soft, move, (columns, rows), borderMode=cv2.BORDER_REPLICATE))
        sigma = np.hypot(0.42 * SEM_RESOLUTION_UM * scale, rng.uniform(0.6, 1.7))
    else:
        tone = tone - rng.uniform(0.8, 2.0) * steps
        sigma = np.hypot(0.42 * OPTICAL_RESOLUTION_UM * scale, rng.uniform(0.6, 1.4))
    if rng.random() < 0.1:
        sigma = sigma * 1.8  # out of focus
    tone = tone * np.clip(1 + rng.uniform(0.05, 0.25) * smooth_noise(field, width_um / rng.uniform(2, 5)), 0.3, 2)
    # Uneven light, shading and charging differ as much for every structure.
    tone = tone / max(float(tone.std()), 0.08)
    tone = tone + rng.uniform(0.05, 0.45) * smooth_noise(field, width_um / rng.uniform(1, 2.5))
    if rng.random() < 0.35:
        canvas, direction = np.zeros(field.shape, np.float32), rng.uniform(0, np.pi)
        for _ in range(rng.integers(1, 7)):
            a, at = direction + rng.normal(0, 0.2), rng.uniform(0, 1, 2) * (columns, rows)
            reach = np.array([np.cos(a), np.sin(a)]) * columns * rng.uniform(0.1, 1.5)
            begin, end = (tuple(int(v) for v in p) for p in (at - reach, at + reach))
            cv2.line(canvas, begin, end, rng.uniform(0.3, 1), int(rng.integers(1, 4)), cv2.LINE_AA)
        tone = tone + (rng.choice([-1.2, 1.2]) if sem else -1.2) * canvas
    if rng.random() < 0.3:
        # Stains and dust.
        spots = particles(field, 14 / scale, 0.004 * rng.random(), spread=0.6, wobble=0.3)
        tone = tone - rng.uniform(0.5, 2.5) * cv2.GaussianBlur(spots, (0, 0), 3)
    if sem and rng.random() < 0.25:
        # Charging: brightness drifts from scan line to scan line.
        drift = np.repeat(rng.normal(0, rng.uniform(0.03, 0.2), rows // SUPERSAMPLING), SUPERSAMPLING)
        tone = tone + drift[:, None].astype(np.float32)
    tone = cv2.GaussianBlur(tone, (0, 0), float(sigma))
    image = cv2.resize(tone, (columns // SUPERSAMPLING, rows // SUPERSAMPLING), interpolation=cv2.INTER_AREA)
    image = (image - image.mean()) / (image.std() + 0.05)
    image = image + rng.uniform(0.03, 0.35 if sem else 0.15) * rng.standard_normal(image.shape)
    # The detector saturates softly. Hard clipping would shift the mean by as much as the tails are heavy, and tell.
    image = np.tanh((image - image.mean()) / image.std() / 2.2)
    image = (image - image.mean()) / image.std()
    image = s["brightness"] + s["contrast"] * image
    return np.clip(np.round(image * 255), 0, 255).astype(np.uint8)


# --- quizzes -----------------------------------------------------------------------------------------------------


def _even(count: int, low: float, high: float, rng) -> np.ndarray:
    """Rising values spread evenly, one at random in each of ``count`` equal steps."""
    return low + (high - low) * (np.arange(count) + rng.random(count)) / count


def _scales(count: int, low: float, high: float, rng) -> np.ndarray:
    """Rising scales spread evenly in their logarithm."""
    return np.exp(_even(count, np.log(low), np.log(high), rng))


def plan(quiz: int, seed: int = 0, limit_per_class: int | None = None) -> pd.DataFrame:
    """The manifest of a quiz before anything is drawn: one row an image.

    Scales are spread evenly in their logarithm, in the same steps for every class and both splits, and so are
    the mean and the spread of the grey: neither says anything of the class. Two or three images at different scales
    make a specimen; none is in both splits.

    Parameters
    ----------
    quiz : int
        1 (134 training and 36 quiz images) or 2 (70 and 21).
    seed : int
    limit_per_class : int, optional
        At most so many images a class and split, for tests.

    Returns
    -------
    DataFrame
        file, label, split, pixels_per_um, modality, specimen, split_group, source, licence, size_um (the specimen's
        ruling size, the truth behind the picture), and what `render_image` needs besides: parameters (dict),
        brightness and contrast (mean and standard deviation of the grey, of 1).

    Raises
    ------
    ValueError
        For another quiz.
    """
    if quiz not in (1, 2):
        raise ValueError(f"there is no quiz {quiz}; take 1 or 2")
    recipes = QUIZ_1 if quiz == 1 else QUIZ_2
    # 5 x 27 - 1 = 134 and 5 x 6 + 3 x 2 = 36; 7 x 10 = 70 and 7 x 3 = 21.
    counts = {("train", name): 27 if quiz == 1 else 10 for name in recipes}
    if quiz == 1:
        counts["train", "spheroidite"] -= 1
    counts |= {("quiz", name): 6 if quiz == 1 else 3 for name in recipes}
    if quiz == 1:
        counts |= {("quiz", name): 2 for name in QUIZ_1_NONE}
    rows = []
    for class_number, ((split, name), count) in enumerate(counts.items()):
        recipe = (recipes | QUIZ_1_NONE)[name]
        rng = np.random.default_rng([seed, quiz, class_number, 7])
        low, high = SCALE_RANGE_PIXELS_PER_UM if quiz == 1 else SCALE_RANGE_QUIZ_2_PIXELS_PER_UM
        scales = _scales(min(count, limit_per_class or count), low, high, rng)
        if name in QUIZ_1_NONE:
            # One specimen a kind, each kind in its own third of the range, which the seed chooses.
            third = list(np.random.default_rng([seed, quiz, 2]).permutation(list(QUIZ_1_NONE))).index(name)
            scales = _scales(6, low, NONE_HIGHEST_PIXELS_PER_UM, rng)[2 * third :][: len(scales)]
        brightness, contrast = (rng.permutation(_even(len(scales), *r, rng)) for r in (BRIGHTNESS_RANGE, CONTRAST_RANGE))
        first = len(rows)
        # Three specimens take turns over nine neighbouring training scales; two neighbours of the quiz make one.
        turn, block = (3, 9) if split == "train" else (1, 2 if quiz == 1 else 3)
        number = [i // block * turn + i % block % turn + 1 for i in range(len(scales))]
        for specimen in sorted(set(number)):
            own = [scale for scale, n in zip(scales, number, strict=True) if n == specimen]
            parameters = draw_specimen(recipe, float(np.exp(np.mean(np.log(own)))), np.random.default_rng(
                [seed, quiz, class_number, specimen]))  # fmt: skip
            for k, pixels_per_um in enumerate(own):
                optical = quiz == 1 and pixels_per_um < OPTICAL_HIGHEST_PIXELS_PER_UM and (specimen + k) % 3 > 0
                rows.append(
                    {
                        "label": name,
                        "split": split,
                        "pixels_per_um": float(f"{pixels_per_um:.4g}"),
                        "modality": "optical" if optical else "sem",
                        "specimen": f"{name.replace(' ', '-')}-{split}-{specimen:02d}",
                        "parameters": parameters,
                        "brightness": brightness[len(rows) - first],
                        "contrast": contrast[len(rows) - first],
                        "size_um": float(f"{parameters['size_um']:.4g}"),
                    }
                )
    table = pd.DataFrame(rows)
    # File names say nothing of the class.
    order = np.random.default_rng([seed, quiz, 1]).permutation(len(table))
    table["file"] = [f"images/q{quiz}_{i:04d}.png" for i in order]
    table["split_group"] = table["specimen"]
    table["source"] = f"simulated: microrace.images.render seed {seed}"
    table["licence"] = "CC0-1.0"
    return table.sort_values("file", ignore_index=True)[
        ["file", "label", "split", "pixels_per_um", "modality", "specimen", "split_group", "source", "licence", "size_um",
         "parameters", "brightness", "contrast"]
    ]  # fmt: skip


def render_image(label: str, parameters: dict, pixels_per_um: float, modality: str, seed, *, brightness: float = 0.5,
                 contrast: float = 0.13, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> np.ndarray:  # fmt: skip
    """Render one micrograph.

    Parameters
    ----------
    label : str
        A class of either quiz.
    parameters : dict
        Of the specimen, from `draw_specimen`.
    pixels_per_um : float
    modality : str
        ``optical`` or ``sem``.
    seed : int or sequence of int
        Of this image.
    brightness, contrast : float
        Mean and standard deviation of the grey, of 1.

    Returns
    -------
    array (height_px, width_px) of uint8

    Raises
    ------
    ValueError
        For another modality or label.
    """
    recipes = QUIZ_1 | QUIZ_1_NONE | QUIZ_2
    if label not in recipes or modality not in ("optical", "sem"):
        raise ValueError(
            f"cannot render {label!r} as {modality!r}: labels are {sorted(recipes)}, modalities optical and sem"
        )
    sem = modality == "sem"
    s = parameters | {
        "modality": modality,
        "brightness": brightness,
        "contrast": contrast,
        # An etched boundary is a groove of some 0.1 um, seen as a line as wide as the light microscope resolves.
        "groove_um": 0.08 if sem else 0.5,
        # Cementite is bright in secondary electrons; nital leaves it white with dark outlines, picrate stains it.
        "carbide_tone": 0.8 if sem else parameters["etched_carbide_tone"],
        "grain_contrast": parameters["grain_contrast"] * (1.0 if sem else 0.6),
    }
    field = Field.make(pixels_per_um, np.random.default_rng(seed), width_px, height_px)
    tone, relief = recipes[label].draw(field, s)
    return image_surface(field, tone, relief, s)


def _render_row(task) -> None:
    path, row, seed = task
    cv2.setNumThreads(1)
    given = {k: row[k] for k in ("label", "parameters", "pixels_per_um", "modality", "brightness", "contrast")}
    image = render_image(seed=seed, **given)
    if not cv2.imwrite(path, image):
        raise OSError(f"cannot write {path}")


def _stamp(quiz: int, seed: int, limit_per_class: int | None) -> dict:
    """What the images depend on; the code is its own version."""
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return {"quiz": quiz, "seed": seed, "limit_per_class": limit_per_class, "code": code}


def render_quiz(quiz: int, out, seed: int = 0, jobs: int = 2, limit_per_class: int | None = None) -> Path:
    """Render a quiz's images and write their manifest; where this code did so before with this seed, nothing happens.

    Parameters
    ----------
    quiz, seed, limit_per_class
        As in `plan`.
    out : path
        Folder; replaced as a whole when it holds another seed's or version's images.
    jobs : int
        Processes; the images are the same bytes for any number.

    Returns
    -------
    Path
        Of the manifest.

    Raises
    ------
    FileExistsError
        If ``out`` holds something that this function did not write.
    """
    out = Path(out)
    manifest, done = out / "manifest.csv", out / "rendered.json"
    stamp = _stamp(quiz, seed, limit_per_class)
    table = plan(quiz, seed, limit_per_class)
    if done.is_file():
        whole = manifest.is_file() and all((out / f).is_file() for f in table["file"])
        if whole and json.loads(done.read_text()) == stamp:
            return manifest
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} holds something else than rendered micrographs; name another folder or empty it")
    # Drawn beside its place and moved there whole.
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    (unfinished / "images").mkdir(parents=True)
    try:
        rows = table.to_dict("records")
        tasks = [(str(unfinished / row["file"]), row, [seed, quiz, int(row["file"][-8:-4])]) for row in rows]
        with ProcessPoolExecutor(jobs) as pool:
            drawn = pool.map(_render_row, tasks)
            list(tqdm(drawn, total=len(tasks), desc=f"rendering quiz {quiz}", unit="image"))
        table = table.drop(columns=["parameters", "brightness", "contrast"])
        table["sha256"] = [hashlib.sha256((unfinished / f).read_bytes()).hexdigest() for f in table["file"]]
        table.to_csv(unfinished / "manifest.csv", index=False)
        (unfinished / "rendered.json").write_text(json.dumps(stamp))
        shutil.rmtree(out, ignore_errors=True)
        os.replace(unfinished, out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return manifest


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quiz", type=int, choices=(1, 2), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; replaced when it holds another seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--limit-per-class", type=int, default=None)
    args = parser.parse_args()
    try:
        print(render_quiz(args.quiz, args.out, args.seed, args.jobs, args.limit_per_class))
    except FileExistsError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
