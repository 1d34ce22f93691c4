"""Recipes: each draws a specimen's surface as (tone, relief).

Tone is how bright a flat piece is, relief how far it stands proud; both are near 0 on average and of order 1. The
microscope turns relief into bright edges (SEM) or dark ones (optical).
"""

from __future__ import annotations

import cv2
import numpy as np

from steelrender.field import Field, choose_cells, of_cell, random_of, smooth_noise
from steelrender.structures import Cells, film, flakes, lamellae, lath_tone, laths, line, particles, voronoi


def ferrite(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Equiaxed ferrite: polygonal grains with thin boundaries, few inclusions.

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
    return tone, relief


def pearlite(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Pearlite: colonies of alternating ferrite and cementite lamellae, some degenerate.

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
    return tone, relief


def spheroidite(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Spheroidized cementite: round particles in ferrite, larger on its boundaries.

    Diameters of 0.15 to 4 um, lognormal, at 8 to 22 % of the area (Hecht et al., Metall. Mater. Trans. A 48, 2017;
    Lifshitz-Slyozov coarsening puts the large ones on boundaries: Chattopadhyay and Sellars, Acta Metall. 30, 1982).
    """
    diameter, share = s["size_um"], s["area_share"]
    grain = voronoi(field, diameter * s["grain_over_particle"], waviness=0.06)
    near = grain.boundary_um < 0.3 * diameter
    coarse = particles(field, 1.5 * diameter, 0.22 * share, spread=0.3, aspect=1.5, where=near)
    balls = particles(field, diameter, 0.78 * share, spread=s["size_spread"], aspect=1.25)
    mask = np.maximum(balls, coarse)
    grooves = line(field, grain.boundary_um, min(0.15 * diameter, s["groove_um"])) * (1 - mask)
    step = 0.5 * s["grain_contrast"] * of_cell(field, grain.index, -1, 1)
    return s["carbide_tone"] * mask + step - 0.5 * s["boundary_contrast"] * grooves, mask - 0.5 * grooves


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
    lean = np.sin((packet_id % 710).astype(np.float32))
    angle = of_cell(field, grain.index, 0, np.pi) + variant.astype(np.float32) * np.float32(np.pi / 4) + 0.12 * lean
    return grain, packet, packet_id, angle


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
    side = line(field, edge, 0.1 * width)
    tone = (
        s["carbide_tone"] * carbide
        + 0.18 * lath_tone(field, plate, width)
        + (0.45 if optical else 0.25) * lath_tone(field, bundle, 5 * width)
    )
    tone = tone - (0.5 if optical else 0.15) * side - 0.15 * line(field, bundle_edge, 0.2 * width)
    relief = carbide - 0.35 * side + 0.4 * lath_tone(field, plate, width)
    grooves = line(field, grain.boundary_um, min(0.5 * width, s["groove_um"]))
    return tone - 0.5 * s["boundary_contrast"] * grooves, relief - 0.5 * grooves


def lath_martensite(field: Field, s: dict, contrast: float = 1.0):
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
    return lath_martensite(field, s)[:2]


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
    tone = (0.5 if s["modality"] == "sem" else 0.3) * s["carbide_tone"] * minor + 0.15 * of_cell(field, colony.index, -1, 1)
    return tone * (1 - flake) - 1.6 * flake, 0.4 * minor * (1 - flake) - 0.6 * flake


def nodular_graphite(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Ductile iron: round dark graphite nodules in ferrite; 10 to 120 um (ISO 945-1:2019, form VI, sizes 5 to 8)."""
    tone, relief = ferrite(field, s)
    nodule = particles(field, s["size_um"], s["area_share"], spread=0.3, aspect=1.15, wobble=0.06)
    return tone * (1 - nodule) - 1.6 * nodule, relief * (1 - nodule) - 0.6 * nodule


def sintered_iron(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Sintered iron: irregular dark pores in ferrite.

    They fill 10 to 26 % of the area, which is a density of 5.8 to 7.1 g/cm3. Their sizes of 5 to 100 um are this study's
    choice.
    """
    tone, relief = ferrite(field, s)
    pore = particles(field, s["size_um"], s["area_share"], spread=0.7, aspect=2.5, wobble=0.5)
    return tone * (1 - pore) - 1.8 * pore, relief * (1 - pore) - 0.8 * pore


# --- quiz 2: martensitic states on one frame of packets, blocks and laths; ``size_um`` is the blocks' width ---


def as_quenched(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """As-quenched lath martensite: clean laths, no carbides (Krauss, Mater. Sci. Eng. A 273, 1999)."""
    return lath_martensite(field, s)[:2]


def auto_tempered(field: Field, s: dict) -> tuple[np.ndarray, np.ndarray]:
    """Auto-tempered: fine carbides in the coarse laths that formed first, none in the others.

    Speich and Leslie, Metall. Trans. 3, 1972; carbides of 0.02 to 0.2 um in one to three directions a lath.
    """
    block = s["size_um"]
    tone, relief, g = lath_martensite(field, s, 0.8)
    first = (random_of(field, g["key"]) < s["hard_share"]) & (g["edge"] > 0.1 * block)
    variant = np.array([55, 90, 125])[(3 * random_of(field, g["key"])).astype(int)]
    needles = particles(field, block * 0.075, 0.7 * s["carbide_area"] * s["hard_share"], spread=0.3, aspect=3.5,
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
    lower_tone, lower_relief = bainite(field, s | {"size_um": 0.75 * s["size_um"], "carbide_area": 0.13})
    return np.where(chosen, lower_tone - 0.2, tone), np.where(chosen, lower_relief, relief)
