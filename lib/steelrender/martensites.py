"""Recipes of quiz 2: martensitic states on one frame of packets, blocks and laths; ``size_um`` is the blocks' width."""

from __future__ import annotations

import cv2
import numpy as np

from steelrender.field import Field, choose_cells, of_cell, random_of, smooth_noise
from steelrender.recipes import bainite, lath_martensite
from steelrender.structures import film, line, particles, voronoi


def as_quenched(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """As-quenched lath martensite: clean laths, no carbides (Krauss, Mater. Sci. Eng. A 273, 1999)."""
    return lath_martensite(field, s)[:2]


def auto_tempered(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Auto-tempered: fine carbides in the coarse laths that formed first, none in the others.

    Speich and Leslie, Metall. Trans. 3, 1972; carbides of 0.02 to 0.2 um in one to three directions a lath.
    """
    block = s["size_um"]
    tone, relief, g = lath_martensite(field, s, 0.8)
    first = (random_of(field, g["key"]) < s["first_share"]) & (g["edge"] > 0.1 * block)
    variant = np.array([55, 90, 125])[(3 * random_of(field, g["key"])).astype(int)]
    needles = particles(field, block * 0.075, 0.7 * s["carbide_area"] * s["first_share"], spread=0.3, aspect=3.5,
                        angle_deg=np.degrees(g["angle"]) + variant, where=first, wobble=0)  # fmt: skip
    return np.where(first, 0.35 * tone - 0.1, tone) + 0.8 * needles, np.where(first, 0.2 * relief, relief) + needles


def tempered_low(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Tempered at about 200 C: fine transition carbides, cross-hatched in every lath (Speich and Leslie, 1972)."""
    block = s["size_um"]
    tone, relief, g = lath_martensite(field, s, 0.6)
    turn = np.degrees(g["angle"]) + 90
    inside = g["edge"] > 0.04 * block
    hatch = sum(particles(field, block * 0.065, 0.5 * s["carbide_area"], spread=0.25, aspect=4.5, angle_deg=turn + a,
                          where=inside, wobble=0) for a in (-52, 52))  # fmt: skip
    return tone + 0.6 * hatch, 0.7 * relief + 0.8 * hatch


def tempered_high(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Tempered at about 600 C: round cementite along recovered laths and boundaries (Speich and Leslie, 1972)."""
    block = s["size_um"]
    tone, relief, g = lath_martensite(field, s, 0.35)
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
    tone, relief, g = lath_martensite(field, s, 0.7)
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
    tone, relief, _ = lath_martensite(field, s, 0.8)
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
    tone, relief, g = lath_martensite(field, s, 0.8)
    chosen = choose_cells(field, g["packet"].index, s["hard_share"])
    lower_tone, lower_relief = bainite(
        field, s | {"size_um": 0.75 * s["size_um"], "island_share": 0.0, "carbide_area": 0.13}
    )
    return np.where(chosen, lower_tone - 0.2, tone), np.where(chosen, lower_relief, relief)
