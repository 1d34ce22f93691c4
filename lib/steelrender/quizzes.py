"""The rendered quizzes: which specimens are photographed at which scales, and the images with their manifest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from steelrender.microscope import render_image, visibility
from steelrender.specimens import QUIZ_1, QUIZ_1_NONE, QUIZ_2, STRUCTURES, draw_specimen, structure_of

SCALE_RANGE_PIXELS_PER_UM = (1.1, 212.0)
SCALE_RANGE_QUIZ_2_PIXELS_PER_UM = (8.0, 90.0)
# Mean and standard deviation of an image's grey, of 1; few pixels are clipped.
BRIGHTNESS_RANGE, CONTRAST_RANGE = (0.38, 0.62), (0.08, 0.18)
# A light microscope that resolves 0.25 um needs 8 px/um (Nyquist); half as much again is empty magnification.
OPTICAL_HIGHEST_PIXELS_PER_UM = 12.0
# Of higher magnification, a field would show a piece of one nodule or pore, or ferrite and nothing else.
NONE_HIGHEST_PIXELS_PER_UM = 15.0


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
        file, label, structure (the label, or a name of `SIZE_ONLY`), split, pixels_per_um, modality, specimen, split_group,
        source, licence, size_um (the specimen's ruling size, the truth behind the picture), what `visibility` says of the
        picture, and what `render_image` needs besides: parameters (dict), brightness and contrast (mean and standard
        deviation of the grey, of 1).

    Raises
    ------
    ValueError
        For another quiz.
    """
    if quiz not in (1, 2):
        raise ValueError(f"there is no quiz {quiz}; take 1 or 2")
    classes = QUIZ_1 if quiz == 1 else QUIZ_2
    # 5 x 27 - 1 = 134 and 5 x 6 + 3 x 2 = 36; 7 x 10 = 70 and 7 x 3 = 21.
    counts = {("train", name): 27 if quiz == 1 else 10 for name in classes}
    counts |= {("quiz", name): 6 if quiz == 1 else 3 for name in classes}
    if quiz == 1:
        counts["train", "spheroidite"] -= 1
        counts |= {("quiz", name): 2 for name in QUIZ_1_NONE}
    rows, source = [], f"simulated: steelrender seed {seed}"
    for class_number, ((split, label), count) in enumerate(counts.items()):
        rng = np.random.default_rng([seed, quiz, class_number, 7])
        low, high = SCALE_RANGE_PIXELS_PER_UM if quiz == 1 else SCALE_RANGE_QUIZ_2_PIXELS_PER_UM
        scales = _scales(min(count, limit_per_class or count), low, high, rng)
        if label in QUIZ_1_NONE:
            # One specimen a kind, each kind in its own third of the range, which the seed chooses.
            third = list(np.random.default_rng([seed, quiz, 2]).permutation(list(QUIZ_1_NONE))).index(label)
            scales = _scales(6, low, NONE_HIGHEST_PIXELS_PER_UM, rng)[2 * third :][: len(scales)]
        brightness, contrast = (rng.permutation(_even(len(scales), *r, rng)) for r in (BRIGHTNESS_RANGE, CONTRAST_RANGE))
        # Three specimens take turns over six or nine neighbouring training scales; two neighbours of the quiz make one.
        turn, block = (3, 6 if quiz == 1 else 9) if split == "train" else (1, 2 if quiz == 1 else 3)
        whole = len(scales) // block * block
        number = np.array([i // block * turn + (i % turn if i < whole else 0) + 1 for i in range(len(scales))])
        for specimen in sorted(set(number)):
            own = np.flatnonzero(number == specimen)
            structure = structure_of(label, split, specimen)
            parameters = draw_specimen(
                STRUCTURES[structure],
                float(np.exp(np.log(scales[own]).mean())),
                np.random.default_rng([seed, quiz, class_number, specimen]),
            )
            for k, i in enumerate(own):
                pixels_per_um = float(f"{scales[i]:.4g}")
                optical = quiz == 1 and pixels_per_um < OPTICAL_HIGHEST_PIXELS_PER_UM and (specimen + k) % 3 > 0
                modality = "optical" if optical else "sem"
                name = f"{label.replace(' ', '-')}-{split}-{specimen:02d}"
                seen = visibility(structure, parameters, pixels_per_um, modality)
                rows.append((label, structure, split, pixels_per_um, modality, name, name, source, "CC0-1.0",
                             float(f"{parameters['size_um']:.4g}"), *seen.values(), parameters, brightness[i],
                             contrast[i]))  # fmt: skip
    own = "label structure split pixels_per_um modality specimen split_group source licence size_um".split()
    table = pd.DataFrame(rows, columns=[*own, *seen, "parameters", "brightness", "contrast"])
    # File names say nothing of the class.
    order = np.random.default_rng([seed, quiz, 1]).permutation(len(table))
    table.insert(0, "file", [f"images/q{quiz}_{i:04d}.png" for i in order])
    return table.sort_values("file", ignore_index=True)


def _render_row(task) -> None:
    path, row, seed = task
    cv2.setNumThreads(1)
    given = {k: row[k] for k in ("structure", "parameters", "pixels_per_um", "modality", "brightness", "contrast")}
    image = render_image(seed=seed, **given)
    if not cv2.imwrite(path, image):
        raise OSError(f"cannot write {path}")


def _stamp(quiz: int, seed: int, limit_per_class: int | None) -> dict:
    """What the images depend on; the code is its own version."""
    code = b"".join(module.read_bytes() for module in sorted(Path(__file__).parent.glob("*.py")))
    return {"quiz": quiz, "seed": seed, "limit_per_class": limit_per_class, "code": hashlib.sha256(code).hexdigest()}


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
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed and had this one's number
    (unfinished / "images").mkdir(parents=True)
    try:
        rows = table.to_dict("records")
        tasks = [(str(unfinished / row["file"]), row, [seed, quiz, int(row["file"][-8:-4])]) for row in rows]
        with ProcessPoolExecutor(jobs) as pool:
            drawn = pool.map(_render_row, tasks)
            list(tqdm(drawn, f"rendering quiz {quiz}", len(tasks), unit="image"))
        table = table.drop(columns=["parameters", "brightness", "contrast"])
        table["sha256"] = [hashlib.sha256((unfinished / f).read_bytes()).hexdigest() for f in table["file"]]
        table.to_csv(unfinished / "manifest.csv", index=False)
        (unfinished / "rendered.json").write_text(json.dumps(stamp))
        shutil.rmtree(out, ignore_errors=True)
        os.replace(unfinished, out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return manifest
