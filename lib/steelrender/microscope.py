"""The microscope: from a specimen's surface to the grey values of a picture."""

from __future__ import annotations

import cv2
import numpy as np

from steelrender.field import HEIGHT_PX, SUPERSAMPLING, WIDTH_PX, Field, smooth_noise
from steelrender.specimens import STRUCTURES

OPTICAL_RESOLUTION_UM, SEM_RESOLUTION_UM = 0.25, 0.004


def image_surface(field: Field, tone: np.ndarray, relief: np.ndarray, s: dict) -> np.ndarray:
    """What the microscope makes of a surface: (HEIGHT_PX, WIDTH_PX) uint8.

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
    tone = cv2.GaussianBlur(tone, (0, 0), float(sigma))
    image = cv2.resize(tone, (columns // SUPERSAMPLING, rows // SUPERSAMPLING), interpolation=cv2.INTER_AREA)
    image = (image - image.mean()) / (image.std() + 0.05)
    image = image + rng.uniform(0.03, 0.35 if sem else 0.15) * rng.standard_normal(image.shape)
    # The detector saturates softly. Hard clipping would shift the mean by as much as the tails are heavy, and tell.
    image = np.tanh((image - image.mean()) / image.std() / 2.2)
    image = (image - image.mean()) / image.std()
    image = s["brightness"] + s["contrast"] * image
    return np.clip(np.round(image * 255), 0, 255).astype(np.uint8)


def visibility(structure: str, parameters: dict, pixels_per_um: float, modality: str) -> dict:
    """What a picture of `render_image` can show of its class: the truth from which a reader's difficulty is drawn.

    Parameters
    ----------
    structure, parameters, pixels_per_um, modality
        As in `render_image`.

    Returns
    -------
    dict
        feature_size_px (of the feature that tells the class), feature_over_resolution (its size over what is resolved:
        two pixels, or the microscope's resolution where that is worse), features_in_view (how many ruling features
        the field holds), ambiguity (how much the specimen looks like the classes it is mistaken for, of 1),
        mistaken_for (their names, separated by semicolons).
    """
    recipe = STRUCTURES[structure]
    size_um = parameters["size_um"]
    resolved_um = max(2 / pixels_per_um, SEM_RESOLUTION_UM if modality == "sem" else OPTICAL_RESOLUTION_UM)
    # Broken lamellae are no textbook's pearlite.
    atypical = 0.5 * (structure == "pearlite" and parameters["degeneracy"] > 1.2)
    telling_um = recipe.telling * size_um
    in_view = WIDTH_PX * HEIGHT_PX / (size_um * pixels_per_um) ** 2
    numbers = (telling_um * pixels_per_um, telling_um / resolved_um, in_view, recipe.ambiguity + atypical)
    names = ("feature_size_px", "feature_over_resolution", "features_in_view", "ambiguity")
    seen = {name: float(f"{value:.3g}") for name, value in zip(names, numbers, strict=True)}
    return seen | {"mistaken_for": "; ".join(recipe.mistaken_for)}


def render_image(structure: str, parameters: dict, pixels_per_um: float, modality: str, seed,
                 brightness: float = 0.5, contrast: float = 0.13) -> np.ndarray:  # fmt: skip
    """Render one micrograph.

    Parameters
    ----------
    structure : str
        A class of either quiz, or another name in `STRUCTURES`.
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
    array (HEIGHT_PX, WIDTH_PX) of uint8

    Raises
    ------
    ValueError
        For another modality or structure.
    """
    if structure not in STRUCTURES or modality not in ("optical", "sem"):
        raise ValueError(
            f"cannot render {structure!r} as {modality!r}: take optical or sem, and one of {sorted(STRUCTURES)}"
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
    field = Field.make(pixels_per_um, np.random.default_rng(seed))
    tone, relief = STRUCTURES[structure].draw(field, s)
    return image_surface(field, tone, relief, s)
