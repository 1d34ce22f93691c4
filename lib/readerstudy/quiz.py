"""The quiz as one self-contained web page: images inside, no server, no network, answers downloaded as a sheet."""

from __future__ import annotations

import argparse
import base64
import hashlib
import sys
from pathlib import Path

import cv2
import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from micrographs import manifest as manifests
from micrographs import reading
from micrographs.manifest import NO_ANSWER, NONE_OF_THESE, SIMULATED
from microrace.whole import written_whole
from readerstudy import sheets as panel
from readerstudy.pages import as_script, source_hash

LONGEST_SIDE_PX = 2048  # larger quiz images are reduced to this; the page says so beside them
REFERENCE_SIDE_PX = 480
HERE = Path(__file__).parent
# Measured for 36 images: 0.4 s to mark a sheet in Chromium, some seconds on plain http, where it has no crypto.subtle.
ITERATIONS = 20_000


class QuizError(ValueError):
    """A quiz page that cannot be made, with what to do about it."""


def answer_hash(answer: str, image: str, salt: str) -> str:
    """Slow salted hash of a right answer: PBKDF2-HMAC-SHA-256 (RFC 8018), 64 hexadecimal digits.

    It deters reading the answers off the page, and cannot prevent it: there are only a handful of answers to try.
    """
    return hashlib.pbkdf2_hmac("sha256", answer.encode(), (salt + image).encode(), ITERATIONS).hex()


def embedded(row, longest_side_px: int, quality: int) -> dict:
    """One micrograph as the page holds it: grey JPEG without metadata, with its physical size.

    Parameters
    ----------
    row : named tuple
        Of the manifest.
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
    image = reading.read_image(row.path)
    height, width = image.shape
    pixels = np.round(image * 255).astype(np.uint8)
    factor = min(1.0, longest_side_px / max(height, width))
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return {
        "src": "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode(),
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "pixels_per_um": float(row.pixels_per_um),
        "field_um": [width / row.pixels_per_um, height / row.pixels_per_um],
        "simulated": row.source.lower().startswith(SIMULATED),
        "reduced_from": [width, height] if factor < 1 else None,
    }


def reference_rows(manifest: pd.DataFrame, label: str, n: int) -> pd.DataFrame:
    """At most ``n`` training images of a class, of different specimens if possible, spread over the magnifications."""
    rows = manifest[(manifest["split"] == "train") & (manifest["label"] == label)]
    distinct = rows.drop_duplicates("split_group")
    rows = distinct if len(distinct) >= n else rows
    rows = rows.sort_values(["pixels_per_um", "file"])
    if len(rows) <= n:
        return rows
    return rows.iloc[((np.arange(n) + 0.5) * len(rows) / n).astype(int)]


def _comparison_row(name: str, accuracy: float, colour: str) -> dict:
    """One decision maker on the result screen; the page computes Wilson's interval where there is no other."""
    return {"name": name, "accuracy": float(accuracy), "low": None, "high": None, "colour": colour, "readers": None}


def comparison_rows(run: Path, manifest: pd.DataFrame) -> list[dict]:
    """What the result screen sets beside the participant: the machine's and the panel's accuracy, never their answers.

    Parameters
    ----------
    run : path
        A study's folder; ``readers.csv`` is used if there, or else the machine's sheet ``answers.csv``.
    manifest : DataFrame
        Of the same study.

    Returns
    -------
    list of dict
        name, accuracy, low, high (95 %; None where the page computes Wilson's), colour, readers (accuracies or None).

    Raises
    ------
    QuizError
        If the files belong to another quiz.
    """
    truth = manifests.truth(manifest)
    readers_csv, answers_csv = run / "readers.csv", run / "answers.csv"
    if readers_csv.is_file():
        readers = pd.read_csv(readers_csv, keep_default_na=False, na_values={"accuracy_low": "", "accuracy_high": ""})
        # A reader may have seen fewer images, the machine has seen them all.
        seen, own = readers["n_images"], readers["decision_maker"] == panel.MACHINE
        if (seen > len(truth)).any() or (seen[own] != len(truth)).any():
            raise QuizError(f"{readers_csv} is not of these {len(truth)} quiz images; run notebook 03 again")
        people = readers[readers["kind"].isin(["human", "simulated human"])]
        whose = "the simulated panel" if (people["kind"] == "simulated human").any() else "the panel"
        rows = []
        for kind, name, colour in (
            ("machine", "The machine", "machine"),
            ("panel mean", f"Mean of {whose}, {len(people)} readers", "panel"),
            ("majority vote", f"Majority vote of {whose}", "vote"),
        ):
            for r in readers[readers["kind"] == kind].itertuples():
                other = kind == "machine" and r.decision_maker != panel.MACHINE
                row = _comparison_row(f"Another machine, {r.decision_maker}" if other else name, r.accuracy, colour)
                if not (pd.isna(r.accuracy_low) or pd.isna(r.accuracy_high)):
                    row |= {"low": float(r.accuracy_low), "high": float(r.accuracy_high)}
                if kind == "panel mean":
                    row["readers"] = [float(a) for a in people["accuracy"]]
                rows.append(row)
        return rows
    if answers_csv.is_file():
        try:
            sheet = panel.read_machine_sheet(answers_csv, manifest)
        except panel.SheetError as error:
            raise QuizError(str(error)) from None
        right = sheet["answer"].to_numpy() == truth.reindex(sheet["image"]).to_numpy()
        return [_comparison_row("The machine", right.mean(), "machine")]
    return []


def build(manifest: pd.DataFrame, run=None, *, title: str = "Which microstructure is it?",
          contact: str = "the person who gave you this page", n_references: int = 4) -> str:  # fmt: skip
    """The quiz page of a manifest.

    Parameters
    ----------
    manifest : DataFrame
        As `manifests.read_manifest` gives it, with quiz rows.
    run : path, optional
        Folder of a study on this manifest, for the machine's and the panel's accuracy on the result screen.
    title : str
        Heading of the page.
    contact : str
        To whom sheets go, as it reads after "send it to".
    n_references : int
        Reference images a class.

    Returns
    -------
    str
        One HTML document. The same arguments and files give the same text.

    Raises
    ------
    QuizError
        If there is nothing to ask, or ``run`` belongs to another quiz.
    """
    rows = manifest[manifest["split"] == "quiz"]
    if rows.empty:
        raise QuizError("the manifest has no quiz rows; mark the images to ask with split = quiz")
    quiz = manifests.quiz_id(manifest)
    truth = manifests.truth(manifest)
    labels = manifests.classes(manifest)
    salt = hashlib.sha256(f"microrace answers of {quiz}".encode()).hexdigest()
    images = []
    for row in rows.itertuples():
        image = panel.opaque_image_id(quiz, row.sha256)
        hashed = answer_hash(truth[row.file], image, salt)
        images.append({"id": image, "answer": hashed} | embedded(row, LONGEST_SIDE_PX, 92))
    # Sorted by their opaque names: the manifest is often sorted by class.
    images.sort(key=lambda image: image["id"])
    references = []
    for label in labels:
        chosen = reference_rows(manifest, label, n_references)
        # References are small on purpose; only a quiz image need say that it was reduced.
        small = [embedded(r, REFERENCE_SIDE_PX, 85) | {"reduced_from": None} for r in chosen.itertuples()]
        references.append({"label": label, "images": small})
    shown = [image for group in references for image in group["images"]] + images
    n_simulated = sum(image["simulated"] for image in shown)
    all_simulated = n_simulated == len(shown)
    data = {
        "quiz": quiz,
        "salt": salt,
        "iterations": ITERATIONS,
        "options": [*labels, NONE_OF_THESE],
        "no_answer": NO_ANSWER,
        "columns": [*panel.COLUMNS, *panel.OPTIONAL],
        "images": images,
        "references": references,
        "comparison": comparison_rows(Path(run), manifest) if run else [],
    }
    style = (HERE / "quiz.css").read_text(encoding="utf-8")
    script = "\n".join((HERE / name).read_text(encoding="utf-8") for name in ("pbkdf2.js", "quiz.js"))
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.get_template("quiz.html.j2").render(
        title=title,
        contact=contact,
        quiz=quiz,
        n_images=len(images),
        none_of_these=NONE_OF_THESE,
        simulated=("simulated micrographs" if all_simulated else "partly simulated") if n_simulated else "",
        all_simulated=all_simulated,
        data=as_script(data),
        # The page's policy lets only this very style and script in, and nothing reach the network.
        style=Markup(style),
        style_hash=source_hash(style),
        script=Markup(script),
        script_hash=source_hash(script),
    )


def write(out, manifest: pd.DataFrame, run=None, **options) -> Path:
    """Write the page of `build` to ``out``, whole or not at all."""
    out = Path(out)
    page = build(manifest, run, **options)
    with written_whole(out) as file:
        file.write_text(page, encoding="utf-8", newline="\n")
    return out


def main(arguments: list[str] | None = None) -> int:
    """Command line: see ``python -m readerstudy.quiz --help``."""
    parser = argparse.ArgumentParser(prog="python -m readerstudy.quiz", description=__doc__)
    parser.add_argument("--run", type=Path, help="folder of a study: manifest, and answers for the result screen")
    parser.add_argument("--manifest", type=Path, help="manifest of the quiz; alone, the result screen compares with nobody")
    parser.add_argument("--out", type=Path, required=True, help="the page to write, e.g. quiz.html")
    parser.add_argument("--title", default="Which microstructure is it?", help="heading of the page")
    parser.add_argument("--contact", default="the person who gave you this page", help="to whom sheets are sent")
    parser.add_argument("--references", type=int, default=4, help="reference images a class")
    given = parser.parse_args(arguments)
    if not (given.run or given.manifest):
        parser.error("give --run, --manifest or both")
    try:
        manifest = manifests.read_manifest(given.manifest or given.run / "manifest.csv")
        if given.run and given.manifest:
            ran_on = manifests.quiz_id(manifests.read_manifest(given.run / "manifest.csv"))
            if ran_on != manifests.quiz_id(manifest):
                print(f"{given.run} ran on another quiz ({ran_on}): the result screen compares with nobody", file=sys.stderr)
                given.run = None
        options = {"title": given.title, "contact": given.contact, "n_references": given.references}
        out = write(given.out, manifest, given.run, **options)
    except ValueError as error:
        print(f"quiz: {error}", file=sys.stderr)
        return 2
    n_images = int((manifest["split"] == "quiz").sum())
    print(f"{out}: {manifests.quiz_id(manifest)}, {n_images} images, {out.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
