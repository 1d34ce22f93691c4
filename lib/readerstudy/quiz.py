"""The quiz as one self-contained web page: images inside, no server, no network, answers downloaded as a sheet.

Its texts are in ``quiz.en.json`` and ``quiz.de.json``; a further language is one more such file.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from readerstudy.pages import render_page
from readerstudy.sheets import COLUMNS, LONGEST_NAME, NO_ANSWER, NONE_OF_THESE, OPTIONAL

LONGEST_SIDE_PX = 2048  # larger quiz images are reduced to this; the page says so beside them
REFERENCE_SIDE_PX = 480
HERE = Path(__file__).parent
LANGUAGES = sorted(path.name.split(".")[1] for path in HERE.glob("quiz.*.json"))


class QuizError(ValueError):
    """A quiz page that cannot be made, with what to do about it."""


class Picture(NamedTuple):
    """A micrograph as the page takes it: grey values from 0 to 1 (H, W), its scale, and whether it is simulated."""

    pixels: np.ndarray
    pixels_per_um: float
    simulated: bool = False


def scrambled(answer: str) -> str:
    """A right answer as base64 of UTF-8: nobody reads it by accident, and whoever wants to can."""
    return base64.b64encode(answer.encode()).decode()


def embedded(picture: Picture, longest_side_px: int, quality: int) -> dict:
    """One micrograph as the page holds it: grey JPEG without metadata, with its physical size.

    Parameters
    ----------
    picture : Picture
    longest_side_px : int
        Longer images are reduced to this.
    quality : int
        Of the JPEG, 0 to 100.

    Returns
    -------
    dict
        src (data URI), width, height (px, as embedded), pixels_per_um (of the file), field_um (width, height),
        simulated, reduced_from (px of the file, or None).
    """
    height, width = picture.pixels.shape
    pixels = np.round(picture.pixels * 255).astype(np.uint8)
    factor = min(1.0, longest_side_px / max(height, width))
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return {
        "src": "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode(),
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "pixels_per_um": float(picture.pixels_per_um),
        "field_um": [width / picture.pixels_per_um, height / picture.pixels_per_um],
        "simulated": bool(picture.simulated),
        "reduced_from": [width, height] if factor < 1 else None,
    }


def build(cases: pd.DataFrame, pictures: Iterable[tuple[str, Picture]], references: dict[str, list[Picture]], *,
          comparison: Iterable[dict] = (), title: str = "", contact: str = "", language: str = "") -> str:  # fmt: skip
    """The quiz page.

    Parameters
    ----------
    cases : DataFrame
        As `readerstudy.sheets` describes it.
    pictures : iterable of (image, Picture)
        The image of each case, in any order; taken one by one.
    references : dict of list of Picture
        Pictures of each class, which participants see before and while they answer.
    comparison : iterable of dict, optional
        Whom the result screen sets beside the participant: ``who`` ("machine", "other machine", "panel" or "vote"),
        ``name`` (of another machine), ``accuracy``, ``low``, ``high`` (95 %), and of the panel ``n`` and ``readers``
        (how many, and the accuracy of each). Never their answers.
    title, contact : str, optional
        Heading of the page, and to whom sheets go, as it reads after "send it to".
    language : str, optional
        "en" or "de"; by default the participant's browser chooses.

    Returns
    -------
    str
        One HTML document. The same arguments give the same text.

    Raises
    ------
    QuizError
        If there is nothing to ask, or no such language.
    """
    if cases.empty:
        raise QuizError("there are no quiz images; mark the images to ask with split = quiz")
    if language and language not in LANGUAGES:
        raise QuizError(f"no texts in the language {language!r}; take one of {', '.join(LANGUAGES)}")
    images = []
    for name, picture in pictures:
        right = {"id": cases.at[name, "image_id"], "answer": scrambled(cases.at[name, "truth"])}
        images.append(right | embedded(picture, LONGEST_SIDE_PX, 92))
    # Sorted by their opaque names: tables of images are often sorted by class.
    images.sort(key=lambda image: image["id"])
    # References are small on purpose; only a quiz image need say that it was reduced.
    groups = []
    for label, shown in references.items():
        small = [embedded(picture, REFERENCE_SIDE_PX, 85) | {"reduced_from": None} for picture in shown]
        groups.append({"label": label, "images": small})
    simulated = [image["simulated"] for group in [*groups, {"images": images}] for image in group["images"]]
    data = {
        "quiz": cases.attrs["quiz_id"],
        "options": list(cases.attrs["options"]),
        "none_of_these": NONE_OF_THESE,
        "no_answer": NO_ANSWER,
        "longest_name": LONGEST_NAME,
        "columns": [*COLUMNS, *OPTIONAL],
        "images": images,
        "references": groups,
        "simulated": "all" if all(simulated) else "some" if any(simulated) else "",
        "comparison": list(comparison),
        "title": title,
        "contact": contact,
        "texts": {code: json.loads((HERE / f"quiz.{code}.json").read_text(encoding="utf-8")) for code in LANGUAGES
                  if not language or code == language},
    }  # fmt: skip
    return render_page(HERE / "quiz.html.j2", data, title=title or "Quiz")
