"""Micrographs rendered from microstructure models: the embedded default, and simulated through and through.

Structures are drawn in micrometres on the image's own pixel grid at twice its resolution, imaged (blur at the
instrument's resolution, etching or secondary-electron contrast, uneven etch and light, scratches, noise) and
averaged down. What the microscope cannot resolve thereby blurs to grey by itself. Sizes follow the metallographic
literature, cited at each recipe; they are this study's choice and not the paper's micrographs.

``python -m microrace.render --quiz 1 --out data/rendered/quiz1`` writes the images and their manifest.
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
OPTICAL_RESOLUTION_UM, SEM_RESOLUTION_UM = 0.28, 0.004
# The light microscope magnifies no further than this; beyond it images are from the SEM.
OPTICAL_HIGHEST_PIXELS_PER_UM = 12.0


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
    def shape(self):
        """Rows and columns of the finer grid."""
        return self.x_um.shape

    @property
    def size_um(self):
        """Width and height in um."""
        step = 1 / (self.pixels_per_um * SUPERSAMPLING)
        return self.shape[1] * step, self.shape[0] * step

    @property
    def fine_pixels_per_um(self) -> float:
        """Scale of the finer grid."""
        return self.pixels_per_um * SUPERSAMPLING


# --- building blocks ---------------------------------------------------------------------------------------------


def smooth_noise(field: Field, correlation_um: float) -> np.ndarray:
    """Gaussian noise of mean 0 and variance 1 that varies over ``correlation_um``, shape of the field."""
    width, height = field.size_um
    nx, ny = (
        int(np.clip(3 * s / correlation_um, 4, n)) for s, n in zip((width, height), field.shape[::-1], strict=True)
    )
    coarse = field.rng.standard_normal((ny, nx)).astype(np.float32)
    noise = cv2.resize(coarse, field.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return (noise - noise.mean()) / (noise.std() + 1e-6)


def voronoi(field: Field, diameter_um: float, *, waviness: float = 0.05, spread: float = 0.3):
    """Grains as multiplicatively weighted Voronoi cells of random points.

    Parameters
    ----------
    field : Field
    diameter_um : float
        Diameter of the circle of the mean cell's area.
    waviness : float
        How far boundaries bend, relative to the diameter.
    spread : float
        Standard deviation of the logarithm of the weights: 0 gives cells of similar size.

    Returns
    -------
    index : array of int
        Cell of each pixel.
    boundary_um : array of float32
        Approximate distance to the nearest boundary.
    """
    width, height = field.size_um
    # Never more cells than there are pixels to show them.
    diameter_um = max(diameter_um, 2.0 / field.pixels_per_um)
    margin = 1.5 * diameter_um
    n = max(4, round((width + 2 * margin) * (height + 2 * margin) / (np.pi / 4 * diameter_um**2)))
    points = field.rng.uniform((-margin, -margin), (width + margin, height + margin), (n, 2))
    # A power diagram: the weight becomes a third coordinate, and cells stay convex.
    third = np.sqrt(np.maximum(0, field.rng.normal(0, spread, n) + 3 * spread)) * diameter_um * 0.5
    coarse = slice(None, None, SUPERSAMPLING)
    x, y = field.x_um[coarse, coarse], field.y_um[coarse, coarse]
    if waviness:
        bend = waviness * diameter_um
        x = x + bend * smooth_noise(field, diameter_um * 0.6)[coarse, coarse]
        y = y + bend * smooth_noise(field, diameter_um * 0.6)[coarse, coarse]
    query = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1)
    distance, nearest = cKDTree(np.column_stack([points, third])).query(query, k=2)
    apart = np.linalg.norm(points[nearest[:, 0]] - points[nearest[:, 1]], axis=1)
    boundary = ((distance[:, 1] ** 2 - distance[:, 0] ** 2) / (2 * apart + 1e-9)).reshape(x.shape)
    size = field.shape[::-1]
    index = cv2.resize(nearest[:, 0].reshape(x.shape).astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    return index.astype(np.int64), cv2.resize(boundary.astype(np.float32), size)


def of_cell(field: Field, index: np.ndarray, low: float, high: float) -> np.ndarray:
    """A uniform random value for each cell."""
    return field.rng.uniform(low, high, index.max() + 1).astype(np.float32)[index]


def line(field: Field, distance_um: np.ndarray, width_um: float) -> np.ndarray:
    """1 on a line, 0 off it, from the distance to its middle; narrower than a pixel it fades as it should."""
    half = np.maximum(width_um, 0) / 2
    edge = 0.5 / field.fine_pixels_per_um
    return np.clip((half - np.abs(distance_um)) / (2 * edge) + 0.5, 0, 1) * np.minimum(1, half / edge * 1.0)


def lamellae(field: Field, spacing_um: float, angle, stretch=1.0, waviness: float = 0.3, share: float = 0.35):
    """Alternating lamellae: 1 in the minor phase, which fills ``share``.

    Parameters
    ----------
    spacing_um : float
        True interlamellar spacing, perpendicular to the lamellae.
    angle : float or array
        Direction of the normal in radians.
    stretch : float or array
        Apparent over true spacing, from the tilt of the colony against the section.
    waviness : float
        Bending of the lamellae, in spacings.
    """
    apparent = spacing_um * stretch
    across = field.x_um * np.cos(angle) + field.y_um * np.sin(angle)
    if waviness:
        across = across + waviness * spacing_um * smooth_noise(field, 9 * spacing_um)
    phase = np.abs((across / apparent) % 1.0 - 0.5) * 2  # 1 in the middle of the minor phase
    # The edge is as wide as a pixel of the finer grid, so that unresolved lamellae average to their share.
    edge = np.clip(1 / (field.fine_pixels_per_um * apparent), 0.02, 1.0)
    return np.clip((phase - (1 - share)) / edge + 0.5, 0, 1) if np.all(edge < 0.9) else np.where(
        edge < 0.9, np.clip((phase - (1 - share)) / edge + 0.5, 0, 1), share)  # fmt: skip


def particles(field: Field, diameter_um: float, area_share: float, *, spread: float = 0.35, aspect: float = 1.3,
              angle_deg=None, where=None):  # fmt: skip
    """Separate particles of lognormal size as ellipses; 1 inside.

    Parameters
    ----------
    diameter_um, spread : float
        Median diameter and the standard deviation of its logarithm.
    area_share : float
        Share of the section that they fill.
    aspect : float
        Mean ratio of the axes.
    angle_deg : array, optional
        Direction at each pixel; random where not given.
    where : array of bool, optional
        Where centres may lie.
    """
    canvas = np.zeros(field.shape, np.float32)
    width, height = field.size_um
    mean_area = np.pi / 4 * (diameter_um**2) * np.exp(2 * spread**2)
    n = int(min(area_share * width * height / mean_area, 60_000))
    scale = field.fine_pixels_per_um
    if diameter_um * scale < 0.7:
        return canvas + area_share  # far below a pixel: only the mean remains
    rng = field.rng
    x, y = rng.uniform(0, width, n), rng.uniform(0, height, n)
    diameter = diameter_um * np.exp(rng.normal(0, spread, n))
    ratio = np.maximum(1, 1 + (aspect - 1) * rng.gamma(2, 0.5, n))
    rows = np.minimum((y * scale).astype(int), field.shape[0] - 1)
    columns = np.minimum((x * scale).astype(int), field.shape[1] - 1)
    turn = rng.uniform(0, 180, n) if angle_deg is None else np.asarray(angle_deg)[rows, columns] + rng.normal(0, 6, n)
    keep = np.ones(n, bool) if where is None else where[rows, columns]
    # Particles keep apart: one that would start inside another is left out.
    order = np.argsort(-diameter)
    for i in order[keep[order]]:
        if canvas[rows[i], columns[i]] > 0.5:
            continue
        axes = (diameter[i] * np.sqrt(ratio[i]) / 2, diameter[i] / np.sqrt(ratio[i]) / 2)
        axes_px = tuple(max(1, int(a * scale * 16)) for a in axes)
        cv2.ellipse(
            canvas, (int(x[i] * scale * 16), int(y[i] * scale * 16)), axes_px, turn[i], 0, 360, 1.0, -1, cv2.LINE_AA, 4
        )
    return canvas


def laths(field: Field, width_um: float, angle, packet: np.ndarray, *, waviness: float = 0.25, length: float = 18.0):
    """Parallel laths with ends: an index for each lath and the distance to its edge in um."""
    across = field.x_um * np.cos(angle) + field.y_um * np.sin(angle)
    along = field.y_um * np.cos(angle) - field.x_um * np.sin(angle)
    across = across + waviness * width_um * smooth_noise(field, 10 * width_um)
    row = np.floor(across / width_um)
    offset = (row * 0.61803 + packet * 0.317) % 1.0
    piece = np.floor(along / (width_um * length) + offset)
    key = (row.astype(np.int64) * 73_856_093) ^ (piece.astype(np.int64) * 19_349_663) ^ (packet * 83_492_791)
    edge = (0.5 - np.abs(across / width_um - row - 0.5)) * width_um
    return key & 0xFFFF, edge.astype(np.float32), along


def random_of(field: Field, key: np.ndarray) -> np.ndarray:
    """A uniform random number in [0, 1) for each key below 65 536."""
    return field.rng.random(65_536).astype(np.float32)[key]


def martensite_frame(field: Field, grain_um: float, packet_um: float):
    """Prior austenite grains divided into packets with one of four lath directions each (habit planes)."""
    grain, grain_boundary = voronoi(field, grain_um, waviness=0.03)
    packet, packet_boundary = voronoi(field, packet_um, waviness=0.08)
    packet = packet + grain * 7_919
    base = of_cell(field, grain, 0, np.pi)
    variant = (packet * 2_654_435_761 % 4).astype(np.float32)
    angle = base + variant * np.float32(np.pi / 4) + 0.12 * np.sin(packet)
    return grain_boundary, packet_boundary, packet, angle.astype(np.float32)


# --- recipes: each returns a surface, bright where the detector is, mean near 0 and range about 1 ---------------


def ferrite(field: Field, s: dict) -> np.ndarray:
    """Equiaxed ferrite: polygonal grains, thin boundaries, little else.

    Grain diameters of 2 to 80 um from ultrafine to annealed low-carbon steel (Krauss, Steels, ASM 2015, ch. 7).
    """
    index, boundary = voronoi(field, s["size_um"], waviness=0.02, spread=0.25)
    surface = s["grain_contrast"] * of_cell(field, index, -1, 1)
    width = max(0.02 * s["size_um"], 0.25 if s["modality"] == "optical" else 0.03)
    width = width * (1 + 0.5 * smooth_noise(field, s["size_um"] / 2))
    surface = surface - s["boundary_contrast"] * line(field, boundary, 2 * width)
    inclusions = particles(field, s["size_um"] * 0.04, 0.002, spread=0.5)
    return surface - 0.8 * inclusions


def pearlite(field: Field, s: dict) -> np.ndarray:
    """Pearlite: colonies of parallel ferrite and cementite lamellae.

    Spacing 0.08 to 0.6 um, colonies of 10 to 40 spacings (Vander Voort, Metallography, ASM 1999; Marder and
    Bramfitt, Metall. Trans. A 7, 1976); a tilted colony shows a wider apparent spacing.
    """
    spacing = s["size_um"]
    index, boundary = voronoi(field, max(spacing * s["colony"], 12 / field.pixels_per_um), waviness=0.12)
    angle = of_cell(field, index, 0, np.pi)
    stretch = 1 / np.clip(of_cell(field, index, 0.35, 1.0), 0.1, 1)
    minor = lamellae(field, spacing, angle, stretch, waviness=s["waviness"], share=0.3)
    # Growth faults end a lamella here and there.
    minor = minor * (smooth_noise(field, spacing * 2.5) > -2.0 + s["faults"])
    surface = 1.1 * minor + 0.35 * of_cell(field, index, -1, 1) * (1 if s["modality"] == "optical" else 0.5)
    return surface - 0.25 * line(field, boundary, 0.4 * spacing)


def spheroidite(field: Field, s: dict) -> np.ndarray:
    """Spheroidized cementite: round particles in ferrite, some on its boundaries.

    Diameters of 0.2 to 3 um at 8 to 18 % of the area, lognormal (Hecht et al., Metall. Mater. Trans. A 48, 2017).
    """
    diameter = s["size_um"]
    index, boundary = voronoi(field, diameter * 9, waviness=0.05)
    balls = particles(field, diameter, s["area_share"], spread=0.45, aspect=1.25)
    small = particles(field, 0.45 * diameter, 0.25 * s["area_share"], spread=0.3, aspect=1.1)
    surface = 0.12 * of_cell(field, index, -1, 1) - 0.3 * line(field, boundary, 0.12 * diameter)
    return surface + 1.0 * np.maximum(balls, small)


def bainite(field: Field, s: dict) -> np.ndarray:
    """Upper bainite: sheaves of ferrite plates with rows of cementite between them.

    Plates 0.3 to 3 um wide with carbides elongated along them (Bhadeshia, Bainite in Steels, 3rd ed., 2015).
    """
    width = s["size_um"]
    sheaf, _ = voronoi(field, width * s["sheaf"], waviness=0.15, spread=0.5)
    angle = of_cell(field, sheaf, 0, np.pi)
    key, edge, along = laths(field, width, angle, sheaf, waviness=0.22, length=9)
    # Cementite lies on the plates' edges, in dashes with gaps.
    dash = np.sin(2 * np.pi * along / (width * 1.9) + 6.28 * random_of(field, key)) + 0.4 * smooth_noise(field, width)
    carbide = line(field, edge, 0.36 * width) * np.clip(4 * (dash - s["gap"]), 0, 1)
    groove = line(field, edge, 0.12 * width)
    surface = 0.1 * (random_of(field, key) - 0.5) + 0.15 * of_cell(field, sheaf, -1, 1)
    islands = particles(field, 0.9 * width, 0.03, aspect=1.8, angle_deg=np.degrees(angle) + 90)
    return surface + 1.0 * carbide - 0.2 * groove + 0.35 * islands


def martensite(field: Field, s: dict) -> np.ndarray:
    """Lath martensite: laths in blocks in packets in prior austenite grains.

    Laths of 0.2 um, blocks of 0.5 to 5 um, packets of 5 to 40 um (Morito et al., Acta Mater. 54, 2006; Krauss,
    Mater. Sci. Eng. A 273, 1999). ``size_um`` is the width of the blocks.
    """
    block = s["size_um"]
    grain_boundary, packet_boundary, packet, angle = martensite_frame(field, block * 26, block * 9)
    key, edge, _ = laths(field, block, angle, packet, waviness=0.2, length=14)
    fine, fine_edge, _ = laths(field, block / 4.5, angle + 0.04, packet, waviness=0.3, length=22)
    surface = 0.75 * (random_of(field, key) - 0.5) + 0.5 * (random_of(field, fine) - 0.5)
    surface = surface + s["relief"] * line(field, fine_edge, block / 12) - 0.3 * line(field, edge, block / 9)
    surface = surface - 0.35 * line(field, packet_boundary, block / 8)
    return surface - s["boundary_contrast"] * line(field, grain_boundary, block / 4)


def graphite_flakes(field: Field, s: dict) -> np.ndarray:
    """Grey iron: dark curved graphite flakes of 20 to 300 um in a bright matrix (ISO 945-1, form I)."""
    length = s["size_um"]
    surface = 0.08 * smooth_noise(field, length / 8)
    canvas = np.zeros(field.shape, np.float32)
    width, height = field.size_um
    scale, rng = field.fine_pixels_per_um, field.rng
    for _ in range(int(np.clip(9 * width * height / length**2, 6, 400))):
        centre = rng.uniform((0, 0), (width, height))
        n_arms = rng.integers(2, 6)
        for _ in range(n_arms):
            t = np.linspace(0, 1, 24)
            heading = rng.uniform(0, 2 * np.pi) + rng.normal(0, 1.2) * t
            step = length * rng.uniform(0.2, 0.6) / 24
            path = centre + np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1) * step, axis=0)
            half = length * 0.022 * rng.uniform(0.6, 1.4) * np.sin(np.pi * (0.1 + 0.88 * t))
            normal = np.stack([-np.sin(heading), np.cos(heading)], 1) * half[:, None]
            outline = np.vstack([path + normal, (path - normal)[::-1]])
            cv2.fillPoly(canvas, [np.round(outline * scale * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    return surface - 1.3 * canvas


def twinned_austenite(field: Field, s: dict) -> np.ndarray:
    """Annealed austenite: grains of 10 to 120 um crossed by straight annealing twins (ASM Handbook 9, 2004)."""
    index, boundary = voronoi(field, s["size_um"], waviness=0.01)
    angle = of_cell(field, index, 0, np.pi)
    across = field.x_um * np.cos(angle) + field.y_um * np.sin(angle)
    offset = of_cell(field, index, 0, 1)
    period = s["size_um"] * of_cell(field, index, 0.35, 0.9)
    position = (across / period + offset) % 1.0
    band = of_cell(field, index, 0.08, 0.35)
    has_twin = of_cell(field, index, 0, 1) < 0.75
    twin = (position < band) & has_twin
    surface = 0.7 * of_cell(field, index, -1, 1) + np.where(twin, of_cell(field, index, -0.8, 0.8), 0)
    edge = np.minimum(np.abs(position), np.abs(position - band)) * period
    width = 0.012 * s["size_um"]
    surface = surface - 0.6 * line(field, edge, width) * has_twin
    return surface - 0.9 * line(field, boundary, 2 * width)


def dendrites(field: Field, s: dict) -> np.ndarray:
    """As-cast dendrites: trunks with rows of arms, arm spacing 10 to 80 um (Kurz and Fisher, 1998)."""
    spacing = s["size_um"]
    index, _ = voronoi(field, spacing * 9, waviness=0.1)
    angle = of_cell(field, index, 0, np.pi)
    u = field.x_um * np.cos(angle) + field.y_um * np.sin(angle) + 0.1 * spacing * smooth_noise(field, 2 * spacing)
    v = field.y_um * np.cos(angle) - field.x_um * np.sin(angle) + 0.1 * spacing * smooth_noise(field, 2 * spacing)
    trunk_distance = np.abs((u / (3.2 * spacing)) % 1 - 0.5) * 3.2 * spacing
    arm = np.cos(2 * np.pi * v / spacing + 0.6 * smooth_noise(field, spacing * 2))
    width = 0.5 - 0.75 * trunk_distance / (1.6 * spacing)
    solid = np.clip(6 * (arm * 0.5 + width + 0.08 * smooth_noise(field, spacing)), -1, 1)
    solid = np.maximum(solid, np.clip(6 * (0.32 - trunk_distance / spacing), -1, 1))
    return 0.8 * solid + 0.1 * smooth_noise(field, spacing / 6)


# The martensitic states of quiz 2, all on the same frame of packets and laths; ``size_um`` is the block's width.


def as_quenched(field: Field, s: dict) -> np.ndarray:
    """As-quenched lath martensite: clean laths (Krauss, Mater. Sci. Eng. A 273, 1999)."""
    return martensite(field, s)


def _lath_direction_deg(field: Field, block_um: float) -> tuple[np.ndarray, ...]:
    return martensite_frame(field, block_um * 26, block_um * 9)


def auto_tempered(field: Field, s: dict) -> np.ndarray:
    """Auto-tempered martensite: carbides inside the coarse, first-formed laths only (Speich and Leslie, 1972)."""
    block = s["size_um"]
    surface = martensite(field, s)
    patches = smooth_noise(field, block * 2.2) > 0.35
    needles = particles(field, block * 0.14, 0.16, aspect=3.0, where=patches)
    return surface * 0.75 + 0.9 * needles


def tempered_low(field: Field, s: dict) -> np.ndarray:
    """Tempered at about 200 C: fine transition carbides, cross-hatched in every lath (Speich and Leslie, 1972)."""
    block = s["size_um"]
    grain_boundary, packet_boundary, packet, angle = _lath_direction_deg(field, block)
    key, edge, _ = laths(field, block, angle, packet, waviness=0.2, length=14)
    turn = np.degrees(angle) + np.where(random_of(field, key) < 0.5, 50, 130)
    hatch = particles(field, block * 0.1, 0.2, spread=0.2, aspect=5.0, angle_deg=turn)
    surface = 0.45 * (random_of(field, key) - 0.5) - 0.35 * line(field, edge, block / 9) + 0.6 * hatch
    return surface - 0.4 * line(field, np.minimum(packet_boundary, grain_boundary), block / 5)


def tempered_high(field: Field, s: dict) -> np.ndarray:
    """Tempered at about 600 C: round cementite along recovered laths and boundaries (Speich and Leslie, 1972)."""
    block = s["size_um"]
    grain_boundary, packet_boundary, packet, angle = _lath_direction_deg(field, block)
    key, edge, _ = laths(field, block, angle, packet, waviness=0.3, length=14)
    on_edge = (edge < 0.18 * block) | (packet_boundary < 0.2 * block) | (grain_boundary < 0.2 * block)
    balls = particles(field, block * 0.24, 0.3, aspect=1.7, angle_deg=np.degrees(angle) + 90, where=on_edge)
    inside = particles(field, block * 0.13, 0.03, aspect=1.2)
    surface = 0.2 * (random_of(field, key) - 0.5) - 0.12 * line(field, edge, block / 10)
    return surface + np.maximum(balls, inside)


def with_retained_austenite(field: Field, s: dict) -> np.ndarray:
    """Martensite with films of retained austenite between the laths (Bhadeshia and Edmonds, 1979)."""
    block = s["size_um"]
    _, _, packet, angle = _lath_direction_deg(field, block)
    key, edge, along = laths(field, block, angle, packet, waviness=0.35, length=11)
    film = line(field, edge, 0.3 * block * (1 + 0.5 * smooth_noise(field, block * 3)))
    surface = 0.35 * (random_of(field, key) - 0.5) + 0.12 * smooth_noise(field, block / 5)
    return surface + 1.0 * film * (smooth_noise(field, block * 2.5) > -1.0)


def with_ferrite(field: Field, s: dict) -> np.ndarray:
    """Dual phase: martensite islands in smooth, etched-down ferrite (Tasan et al., Annu. Rev. Mater. Res. 45, 2015)."""
    block = s["size_um"]
    hard = martensite(field, s)
    index, boundary = voronoi(field, block * 9, waviness=0.15)
    island = of_cell(field, index, 0, 1) < s["hard_share"]
    edge = np.clip(boundary * field.pixels_per_um / 2, 0, 1)
    soft = -0.7 + 0.08 * of_cell(field, index, -1, 1) - 0.25 * line(field, boundary, block / 6)
    return np.where(island, 0.45 + 0.8 * hard * edge, soft)


def with_bainite(field: Field, s: dict) -> np.ndarray:
    """Martensite with sheaves of bainite, whose carbides mark them out (Bhadeshia, 2015)."""
    block = s["size_um"]
    patch = np.clip(6 * (smooth_noise(field, block * 9) + s["bainite_shift"]), 0, 1)
    lower = bainite(field, s | {"size_um": block * 1.3, "sheaf": 7.0})
    return (1 - patch) * 0.8 * martensite(field, s) + patch * (lower - 0.35)


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
    "bainite": Recipe(bainite, (0.3, 3.0), (9, 26)),
    "ferrite": Recipe(ferrite, (1.0, 90.0), (35, 130)),
    "martensite": Recipe(martensite, (0.3, 8.0), (7, 24)),
    "pearlite": Recipe(pearlite, (0.08, 1.2), (6, 26)),
    "spheroidite": Recipe(spheroidite, (0.15, 4.0), (7, 36)),
}
QUIZ_1_NONE = {
    "graphite flakes": Recipe(graphite_flakes, (20.0, 300.0), (70, 200)),
    "twinned austenite": Recipe(twinned_austenite, (8.0, 150.0), (60, 170)),
    "as-cast dendrites": Recipe(dendrites, (8.0, 90.0), (22, 60)),
}
QUIZ_2 = {
    "as-quenched": Recipe(as_quenched, (0.3, 3.0), (12, 34)),
    "auto-tempered": Recipe(auto_tempered, (0.3, 3.0), (16, 40)),
    "tempered at 200 C": Recipe(tempered_low, (0.3, 3.0), (24, 60)),
    "tempered at 600 C": Recipe(tempered_high, (0.3, 3.0), (16, 44)),
    "with bainite": Recipe(with_bainite, (0.3, 3.0), (12, 30)),
    "with ferrite": Recipe(with_ferrite, (0.3, 3.0), (12, 30)),
    "with retained austenite": Recipe(with_retained_austenite, (0.3, 3.0), (14, 40)),
}


def draw_specimen(recipe: Recipe, pixels_per_um: float, modality: str, rng) -> dict:
    """Draw what all images of one specimen share: sizes, etch, shares."""
    low, high = recipe.size_um
    from_um = np.clip(recipe.size_px[0] / pixels_per_um, low, high)
    to_um = np.clip(recipe.size_px[1] / pixels_per_um, low, high)
    return {
        "modality": modality,
        "size_um": float(np.exp(rng.uniform(np.log(from_um), np.log(to_um)))),
        "grain_contrast": rng.uniform(0.05, 0.35),
        "boundary_contrast": rng.uniform(0.5, 1.0),
        "colony": rng.uniform(10, 35),
        "waviness": rng.uniform(0.05, 0.45),
        "faults": rng.uniform(0, 0.8),
        "area_share": rng.uniform(0.1, 0.22),
        "sheaf": rng.uniform(6, 12),
        "gap": rng.uniform(-0.5, 0.2),
        "relief": rng.uniform(0.05, 0.35),
        "hard_share": rng.uniform(0.35, 0.65),
        "bainite_shift": rng.uniform(-0.3, 0.5),
        "inverted": bool(modality == "optical" and rng.random() < 0.5),
    }


def image_surface(field: Field, surface: np.ndarray, modality: str, inverted: bool) -> np.ndarray:
    """What the microscope makes of a surface: (height_px, width_px) uint8.

    Brightness and contrast are those of an operator's knobs, drawn from one distribution for all classes, so
    that mean grey and contrast tell nothing.
    """
    rng, scale = field.rng, field.fine_pixels_per_um
    surface = surface.astype(np.float32)
    if inverted:
        surface = -surface
    if modality == "sem":
        # Secondary electrons leave edges most easily; the range of the effect is tens of nanometres.
        reach = float(np.clip(0.06 * scale, 1.2, 14))
        surface = surface + rng.uniform(0.3, 1.0) * np.abs(surface - cv2.GaussianBlur(surface, (0, 0), reach))
        sigma = 0.42 * SEM_RESOLUTION_UM * scale + rng.uniform(0.6, 1.6)
    else:
        sigma = 0.42 * OPTICAL_RESOLUTION_UM * scale + rng.uniform(0.5, 1.1)
    width, _ = field.size_um
    etch = 1 + rng.uniform(0.05, 0.3) * smooth_noise(field, width / rng.uniform(2, 5))
    surface = surface * np.clip(etch, 0.3, 2)
    surface = surface + rng.uniform(0.02, 0.18) * smooth_noise(field, width / rng.uniform(1, 2.5))
    if rng.random() < 0.35:
        canvas = np.zeros(field.shape, np.float32)
        for _ in range(rng.integers(1, 6)):
            a, start = rng.normal(0.3, 0.15), rng.uniform(0, 1, 2) * field.shape[::-1]
            end = start + 2 * field.shape[1] * np.array([np.cos(a), np.sin(a)])
            begin = tuple(int(v) for v in start - (end - start))
            cv2.line(canvas, begin, tuple(int(v) for v in end), 1.0, int(rng.integers(1, 3)), cv2.LINE_AA)
        surface = surface + rng.choice([-0.4, 0.4]) * canvas
    if modality == "sem" and rng.random() < 0.25:
        # Charging: bright streaks along the scan.
        rows = np.repeat(np.maximum(0, rng.normal(0, 0.12, field.shape[0] // 4 + 1)), 4)[: field.shape[0]]
        surface = surface + rows[:, None].astype(np.float32)
    surface = cv2.GaussianBlur(surface, (0, 0), sigma)
    size = (field.shape[1] // SUPERSAMPLING, field.shape[0] // SUPERSAMPLING)
    image = cv2.resize(surface, size, interpolation=cv2.INTER_AREA)
    image = (image - image.mean()) / (image.std() + 0.02)
    image = image + rng.uniform(0.05, 0.4 if modality == "sem" else 0.15) * rng.standard_normal(image.shape)
    image = (image - image.mean()) / image.std()
    image = rng.uniform(0.38, 0.62) + rng.uniform(0.1, 0.2) * image
    return np.clip(np.round(image * 255), 0, 255).astype(np.uint8)


# --- quizzes -----------------------------------------------------------------------------------------------------


def plan(quiz: int, seed: int = 0, limit_per_class: int | None = None) -> pd.DataFrame:
    """The manifest of a quiz before anything is drawn: one row an image.

    Scales are spread evenly in their logarithm, in the same steps for every class and both splits, so that the
    scale says nothing of the class. Three images make a specimen; no specimen is in both splits.

    Parameters
    ----------
    quiz : int
        1 (134 training and 36 quiz images) or 2 (70 and 21).
    seed : int
    limit_per_class : int, optional
        At most so many images a class and split, for tests.

    Raises
    ------
    ValueError
        For another quiz.
    """
    if quiz not in (1, 2):
        raise ValueError(f"there is no quiz {quiz}; take 1 or 2")
    names = list(QUIZ_1 if quiz == 1 else QUIZ_2)
    counts = {("train", n): (10 if quiz == 2 else 27 - (n == names[-1])) for n in names}
    counts |= {("quiz", n): (3 if quiz == 2 else 6) for n in names}
    if quiz == 1:
        counts |= {("quiz", n): 2 for n in QUIZ_1_NONE}
    rows = []
    for (split, name), count in counts.items():
        count = min(count, limit_per_class or count)
        rng = np.random.default_rng([seed, quiz, len(rows), split == "quiz"])
        low, high = (8.0, 90.0) if quiz == 2 else SCALE_RANGE_PIXELS_PER_UM
        if name in QUIZ_1_NONE:
            high = 9.0
        quantiles = (np.arange(count) + rng.uniform(0.2, 0.8, count)) / count
        for i, pixels_per_um in enumerate(np.exp(np.log(low) + quantiles * np.log(high / low))):
            specimen = f"{name.replace(' ', '-')}-{split}-{i // 3 + 1:02d}"
            optical = quiz == 1 and pixels_per_um < OPTICAL_HIGHEST_PIXELS_PER_UM and (name in QUIZ_1_NONE or i % 3 < 2)
            rows.append(
                {
                    "label": name,
                    "split": split,
                    "pixels_per_um": float(f"{pixels_per_um:.4g}"),
                    "modality": "optical" if optical else "sem",
                    "specimen": specimen,
                }
            )
    table = pd.DataFrame(rows)
    # File names say nothing of the class.
    order = np.random.default_rng([seed, quiz, 1]).permutation(len(table))
    table["file"] = [f"images/q{quiz}_{i:04d}.png" for i in order]
    table["split_group"] = table["specimen"]
    table["source"] = f"simulated: microrace.render quiz {quiz} seed {seed}"
    table["licence"] = "CC0-1.0"
    return table.sort_values("file", ignore_index=True)[
        ["file", "label", "split", "pixels_per_um", "modality", "specimen", "split_group", "source", "licence"]
    ]


def render_image(label: str, specimen: str, pixels_per_um: float, modality: str, seed, *, width_px: int = WIDTH_PX,
                 height_px: int = HEIGHT_PX) -> np.ndarray:  # fmt: skip
    """Render one micrograph.

    Parameters
    ----------
    label : str
        A class of either quiz.
    specimen : str
        Images of one specimen share its sizes and etch.
    pixels_per_um : float
    modality : str
        ``optical`` or ``sem``.
    seed : sequence of int
        Of this image; specimens take the first two numbers.

    Returns
    -------
    array (height_px, width_px) of uint8
    """
    recipe = (QUIZ_1 | QUIZ_1_NONE | QUIZ_2)[label]
    number = int.from_bytes(hashlib.sha256(specimen.encode()).digest()[:4])
    parameters = draw_specimen(recipe, pixels_per_um, modality, np.random.default_rng([*seed[:2], number]))
    field = Field.make(pixels_per_um, np.random.default_rng(seed), width_px, height_px)
    surface = recipe.draw(field, parameters)
    return image_surface(field, surface, modality, parameters["inverted"])


def _render_row(task) -> None:
    path, row, seed = task
    cv2.setNumThreads(1)
    image = render_image(row["label"], row["specimen"], row["pixels_per_um"], row["modality"], seed)
    cv2.imwrite(path, image)


def render_quiz(quiz: int, out, seed: int = 0, jobs: int = 2, limit_per_class: int | None = None) -> Path:
    """Render a quiz's images and write their manifest; done before with this code and seed, nothing happens.

    Returns
    -------
    Path
        Of the manifest.
    """
    out = Path(out)
    manifest = out / "manifest.csv"
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    stamp = {"quiz": quiz, "seed": seed, "limit_per_class": limit_per_class, "code": code}
    done = out / "rendered.json"
    if manifest.is_file() and done.is_file() and json.loads(done.read_text()) == stamp:
        return manifest
    table = plan(quiz, seed, limit_per_class)
    # Drawn beside its place and moved there whole.
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / "images").mkdir(parents=True)
    tasks = [
        (str(unfinished / row["file"]), row, [seed, quiz, int(row["file"][-8:-4])]) for row in table.to_dict("records")
    ]
    with ProcessPoolExecutor(jobs) as pool:
        list(
            tqdm(
                pool.map(_render_row, tasks, chunksize=2), total=len(tasks), desc=f"rendering quiz {quiz}", unit="image"
            )
        )
    table["sha256"] = [hashlib.sha256((unfinished / f).read_bytes()).hexdigest() for f in table["file"]]
    table.to_csv(unfinished / "manifest.csv", index=False)
    (unfinished / "rendered.json").write_text(json.dumps(stamp))
    shutil.rmtree(out, ignore_errors=True)
    os.replace(unfinished, out)
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
    print(render_quiz(args.quiz, args.out, args.seed, args.jobs, args.limit_per_class))


if __name__ == "__main__":
    main()
