"""The machine's second opinion as one self-contained web page: an entry an image, no server, no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import cv2
import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from micrographs import attribution
from micrographs.manifest import NONE_OF_THESE, SIMULATED
from micrographs.reading import read_image
from microrace.figures.style import length_label, scale_bar_um
from microrace.progress import track
from microrace.whole import written_whole
from readerstudy.pages import as_script, source_hash

HERE = Path(__file__).parent
PICTURE_PX, TRAINING_PX = 360, 200  # longest sides on the page
QUALITY = 60  # of the WebP files: some 20 kB a picture
FONT = font_manager.findfont("DejaVu Sans")  # comes with matplotlib, and has the micro sign
# For and against the answer, as in the figures; between them the picture shows through.
FOR, AGAINST = np.array([213, 94, 0]), np.array([0, 114, 178])


def _webp(pixels: np.ndarray | Image.Image) -> str:
    """A picture as a data URI, without metadata."""
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(file, "WEBP", quality=QUALITY, method=2)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def _reduced(image: np.ndarray, longest_px: int) -> np.ndarray:
    """A grey image in [0, 1] as uint8, no side longer than ``longest_px``."""
    height, width = image.shape
    pixels = np.round(image * 255).astype(np.uint8)
    factor = min(1.0, longest_px / max(height, width))
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return pixels


def with_scale_bar(pixels: np.ndarray, field_of_view_um: float) -> Image.Image:
    """A grey picture of so many um across with a scale bar of round length in its lower right corner."""
    picture = Image.fromarray(pixels)
    draw, (width, height) = ImageDraw.Draw(picture), picture.size
    length_um = scale_bar_um(field_of_view_um)
    bar, label = max(1, round(length_um / field_of_view_um * width)), length_label(length_um)
    font = ImageFont.truetype(FONT, max(9, min(14, round(min(width, height) / 16))))
    left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
    text_width, text_height = right - left, bottom - top
    box = max(bar, text_width) + 8
    draw.rectangle((width - box - 4, height - text_height - 16, width - 4, height - 4), fill=0)
    middle = width - 4 - box / 2
    draw.rectangle((middle - bar / 2, height - 9, middle - bar / 2 + bar - 1, height - 7), fill=255)
    draw.text((middle - text_width / 2 - left, height - text_height - 12 - top), label, fill=255, font=font)
    return picture


def map_picture(image: np.ndarray, evidence: np.ndarray, longest_px: int = 240) -> np.ndarray:
    """A grey image with the map of what decided over it, (h, w, 3) of uint8: orange for the answer, blue against."""
    grey = _reduced(image, longest_px).astype(np.float32)
    strength = cv2.resize(evidence.astype(np.float32), grey.shape[::-1], interpolation=cv2.INTER_LINEAR)[..., None]
    colour = np.where(strength > 0, FOR, AGAINST)
    opacity = 0.65 * np.abs(np.clip(strength, -1, 1))
    # Lighter, so that the colours are told apart over a dark micrograph too.
    ground = 90 + 0.65 * grey[..., None]
    return np.round(ground * (1 - opacity) + colour * opacity).astype(np.uint8)


def _entries(rows: pd.DataFrame, opinions: list, training: pd.DataFrame) -> Iterator[dict]:
    """What the page shows of each image, one picture in memory at a time."""
    progress = track(zip(rows.itertuples(), opinions, strict=True), total=len(rows), description="page", unit="image")
    for number, (row, opinion) in enumerate(progress):
        image = read_image(row.path)
        pixels = _reduced(image, PICTURE_PX)
        neighbours = []
        for position, cosine in opinion.neighbours:
            near = training.iloc[position]
            near = {"position": position, "cosine": cosine, "label": near["label"], "specimen": near["specimen"],
                    "file": near["file"], "pixels_per_um": near["pixels_per_um"]}  # fmt: skip
            neighbours.append(near)
        yield {
            "number": number,
            "file": row.file,
            "opinion": opinion,
            "none": opinion.answer == NONE_OF_THESE,
            "pixels_per_um": row.pixels_per_um,
            "scale_source": row.scale_source,
            "width_um": image.shape[1] / row.pixels_per_um,
            "simulated": row.source.lower().startswith(SIMULATED),
            "picture": _webp(with_scale_bar(pixels, image.shape[1] / row.pixels_per_um)),
            "size": pixels.shape[::-1],
            "map": _webp(map_picture(image, opinion.evidence)),
            "neighbours": neighbours,
        }


def _training_pictures(opinions: list, training: pd.DataFrame) -> dict[int, str]:
    """Pictures of the training images that any entry names, each once."""
    shown = sorted({position for opinion in opinions for position, _ in opinion.neighbours})
    pictures = {}
    for position in shown:
        row = training.iloc[position]
        image = read_image(row["path"])
        pictures[position] = _webp(with_scale_bar(_reduced(image, TRAINING_PX), image.shape[1] / row["pixels_per_um"]))
    return pictures


def write(
    out, rows: pd.DataFrame, opinions: list, training: pd.DataFrame, *, classes: list[str], sentences: list[str],
    facts: dict[str, str], skipped: list = (), simulated: str = "", title: str = "A second opinion",
) -> Path:  # fmt: skip
    """Write the page, whole or not at all; memory does not grow with the number of images.

    Parameters
    ----------
    out : path
    rows : DataFrame
        Of the images, as a manifest has them: ``file``, ``path``, ``pixels_per_um``, ``scale_source``, ``source``.
    opinions : list of machine.opinion.Opinion
        One a row.
    training : DataFrame
        The training rows that ``neighbours`` counts in, with ``label`` and ``specimen`` besides.
    classes : list of str
    sentences : list of str
        On the batch as a whole, for the top of the page.
    facts : dict
        Of the machine, name to text, for the foot of the page.
    skipped : list of (file, reason)
        Images that could not be answered.
    simulated : str
        What is simulated about the machine, such as "simulated training micrographs", or "".
    title : str

    Returns
    -------
    Path
        ``out``.
    """
    out, training = Path(out), training.reset_index(drop=True)
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("opinion.css", "opinion.js"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    pieces = environment.get_template("opinion.html.j2").generate(
        title=title,
        n_images=len(rows),
        entries=_entries(rows, opinions, training),
        answers=[*classes, NONE_OF_THESE],
        none_of_these=NONE_OF_THESE,
        flags=list(dict.fromkeys(o.flag for o in opinions)),
        sentences=sentences,
        skipped=list(skipped),
        facts=facts,
        simulated=simulated,
        attribution=attribution.of(training),
        training=as_script(_training_pictures(opinions, training)),
        # The page's policy lets only this very style and script in, and nothing reach the network.
        style=Markup(style),
        style_hash=source_hash(style),
        script=Markup(script),
        script_hash=source_hash(script),
    )
    with written_whole(out) as path, open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(pieces)
    return out
