"""The classes of both quizzes, and what all images of one specimen share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from micrographs import NONE_OF_THESE
from steelrender import recipes


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
    telling : float
        Size of the feature by which the class is told from its kin, over the ruling size: carbides in bainite.
    mistaken_for : tuple of str
        Classes for which it is taken where that feature is not seen. This study's choice.
    ambiguity : float
        How much of their look a usual specimen has, of 1. This study's choice.
    label : str
        The class, where it is not the recipe's name.
    in_training, in_quiz : tuple of int
        Numbers of the class's specimens that are drawn so instead, in the order of their scales.
    """

    draw: object
    size_um: tuple[float, float]
    size_px: tuple[float, float]
    telling: float = 1.0
    mistaken_for: tuple[str, ...] = ()
    ambiguity: float = 0.0
    label: str = ""
    in_training: tuple[int, ...] = ()
    in_quiz: tuple[int, ...] = ()


QUIZ_1 = {
    "bainite": Recipe(recipes.bainite, (0.2, 3.0), (6, 30), 0.42, ("martensite", "pearlite"), 0.4),
    "ferrite": Recipe(recipes.ferrite, (0.3, 100.0), (28, 120), 1.0, (NONE_OF_THESE,), 0.0),
    "martensite": Recipe(recipes.martensite, (0.4, 8.0), (6, 30), 1.0, ("bainite",), 0.2),
    "pearlite": Recipe(recipes.pearlite, (0.08, 0.5), (4, 28), 1.0, ("bainite", "martensite"), 0.0),
    "spheroidite": Recipe(recipes.spheroidite, (0.6, 6.0), (5, 60), 1.0, ("bainite", "pearlite"), 0.1),
}
# Some specimens of three classes are drawn by another class's recipe, at sizes which that class never has: of all that
# can be seen, only a length in um parts the two.
SIZE_ONLY = {
    "Widmanstatten ferrite": Recipe(recipes.pearlite, (4.0, 16.0), (4, 28), 1.0, ("pearlite",), 0.1,
                                    "ferrite", (1, 2, 3, 4, 5, 6), (1,)),
    "highly tempered martensite": Recipe(recipes.spheroidite, (0.05, 0.13), (5, 36), 1.0, ("spheroidite",), 0.2,
                                         "martensite", (10, 11, 12, 13), (3,)),
    "nanostructured bainite": Recipe(recipes.martensite, (0.05, 0.13), (6, 30), 1.0, ("martensite",), 0.3,
                                     "bainite", (10, 11, 12, 13, 14), (3,)),
}  # fmt: skip
QUIZ_1_NONE = {
    "graphite flakes": Recipe(recipes.graphite_flakes, (8.0, 300.0), (100, 240), 0.2, ("pearlite",), 0.1),
    "nodular graphite": Recipe(recipes.nodular_graphite, (10.0, 120.0), (20, 60), 1.0, ("spheroidite",), 0.2),
    "sintered iron": Recipe(recipes.sintered_iron, (5.0, 100.0), (16, 50), 1.0, ("ferrite",), 0.1),
}
# The carbides and films that tell these states apart are a small part of a block's width.
QUIZ_2 = {
    "as-quenched": Recipe(recipes.as_quenched, (0.3, 5.0), (14, 40), 0.24, ("with retained austenite",), 0.3),
    "auto-tempered": Recipe(recipes.auto_tempered, (0.3, 5.0), (24, 56), 0.15,
                            ("tempered at 200 C", "with bainite"), 0.4),
    "tempered at 200 C": Recipe(recipes.tempered_low, (0.3, 5.0), (34, 70), 0.13, ("auto-tempered",), 0.4),
    "tempered at 600 C": Recipe(recipes.tempered_high, (0.3, 5.0), (14, 44), 0.17, ("tempered at 200 C",), 0.2),
    "with bainite": Recipe(recipes.with_bainite, (0.3, 5.0), (11, 24), 0.32, ("auto-tempered", "with ferrite"), 0.3),
    "with ferrite": Recipe(recipes.with_ferrite, (0.3, 5.0), (9, 22), 1.0, ("with bainite",), 0.1),
    "with retained austenite": Recipe(recipes.with_retained_austenite, (0.3, 5.0), (14, 44), 0.16,
                                      ("as-quenched",), 0.4),
}  # fmt: skip
STRUCTURES = QUIZ_1 | SIZE_ONLY | QUIZ_1_NONE | QUIZ_2


def structure_of(label: str, split: str, specimen: int) -> str:
    """Name of the recipe by which a class's specimen of this number is drawn: the label itself, or one of `SIZE_ONLY`."""
    for name, recipe in SIZE_ONLY.items():
        if recipe.label == label and specimen in (recipe.in_training if split == "train" else recipe.in_quiz):
            return name
    return label


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
    return {
        "size_um": float(np.exp(rng.uniform(np.log(from_um), np.log(to_um)))),
        "grain_contrast": rng.uniform(0.04, 0.4),
        "grain_spread": rng.uniform(0.2, 0.7),
        "boundary_contrast": rng.uniform(0.5, 1.0),
        "relief": rng.uniform(0.1, 0.5),
        "roughness": rng.uniform(0.02, 0.15),
        "etched_carbide_tone": rng.uniform(-0.8, 0.1),
        # pearlite
        "colony": rng.uniform(10, 45),
        "waviness": rng.uniform(0.05, 0.5),
        "curvature": rng.uniform(0.1, 1.0),
        "degeneracy": rng.choice([rng.uniform(0, 1), rng.uniform(1.2, 1.9)], p=[0.75, 0.25]),
        "carbide_share": rng.uniform(0.22, 0.42),
        # particles
        "area_share": rng.uniform(0.1, 0.26),
        "size_spread": rng.uniform(0.25, 0.55),
        "grain_over_particle": rng.uniform(5, 14),
        # bainite and martensite
        "sheaf": rng.uniform(9, 16),
        "lower": bool(rng.random() < 0.35),
        "carbide_area": rng.uniform(0.1, 0.2),
        "island_spacing_um": rng.uniform(0.15, 0.4),
        "film_share": rng.choice([0.0, rng.uniform(0.1, 0.4)]),
        "hard_share": rng.uniform(0.3, 0.6),
        "island_over_block": rng.uniform(3, 6),
        # castings
        "flakes_per_area": rng.uniform(0.5, 1.2),
        "flake_thickness": rng.uniform(0.025, 0.06),
    }
