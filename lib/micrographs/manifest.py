"""The manifest of micrographs: read, validated, and written beside a run."""

from __future__ import annotations

import difflib
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa

from micrographs import copies, files, rules
from micrographs.reading import read_image
from micrographs.rules import NO_ANSWER as NO_ANSWER
from micrographs.rules import NONE_OF_THESE as NONE_OF_THESE
from micrographs.splits import split_by_group
from microrace.whole import written_whole
from spreadsheets import tables

SIMULATED = "simulated"  # how the `source` of a rendered micrograph begins
SHORTEST_SIDE_PX = 64


class ManifestError(ValueError):
    """A manifest with faults; the message lists them all, one a line.

    Attributes
    ----------
    faults : DataFrame
        row (line of the file, the header being line 1; 0 for the file as a whole), column, value, remedy.
    """

    def __init__(self, path, faults: list[tuple]):
        self.path = path
        table = pd.DataFrame(faults, columns=["row", "column", "value", "remedy"])
        self.faults = table.sort_values(["row", "column"], kind="stable", ignore_index=True)
        lines = [f"{path}: {len(faults)} fault{'s' if len(faults) != 1 else ''}"]
        for f in self.faults.itertuples():
            where = f"line {f.row}, {f.column}" if f.row else f.column
            lines.append(f"  {where}: " + (f"{tables.shortened(str(f.value))!r}: " if str(f.value) else "") + f.remedy)
        super().__init__("\n".join(lines))

    def __reduce__(self):
        # An exception is pickled by its message unless told otherwise; workers of a sweep send it home.
        return type(self), (self.path, list(self.faults.itertuples(index=False, name=None)))


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inspect(path: str, given_sha256: str, allowed: bool) -> dict:
    """Hashes, signature and size of an image file, or the fault for which it cannot be used."""
    if not allowed and not given_sha256:
        return {
            "fault": "lies outside the manifest's folder; move it below that, give its sha256 in the manifest, or set "
            f"{files.ALLOW_OUTSIDE}=1"
        }
    if not os.path.isfile(path):
        slashes = ", with / between folders" if "\\" in path else ""
        return {"fault": f"there is no such file; give its path from the manifest's folder{slashes}"}
    try:
        found = {"sha256": _sha256(path)}
        if not allowed and found["sha256"] != given_sha256.lower():
            return found  # the hash that differs is the fault
        image = read_image(path)
    except (OSError, ValueError) as error:
        return {"fault": str(error)}
    height, width = image.shape
    # The pixels' own hash finds one picture saved twice, whatever the file format did to its bytes.
    pixels = hashlib.sha256(np.round(image * 255).astype(np.uint8).tobytes() + f"{height}x{width}".encode())
    found |= {"height": height, "width": width, "pixels": pixels.hexdigest(), "signature": copies.signature(image)}
    if min(height, width) < SHORTEST_SIDE_PX:
        found["fault"] = f"is {width} x {height} px; give an image of at least {SHORTEST_SIDE_PX} px on its short side"
    return found


def _seal(manifest: pd.DataFrame) -> str:
    """A hash of all that the checks of the images depend on, but for the images; "" where something is missing."""
    columns = ["file", "label", "split", "split_group", "sha256", "width", "height"]
    if not set(columns) <= set(manifest):
        return ""
    rows = manifest[columns].astype(str).agg("\n".join, axis=1)
    return hashlib.sha256("\n\n".join(rows).encode()).hexdigest()[:16]


def _known(table: pd.DataFrame) -> list[dict] | None:
    """What `_inspect` found before the manifest was written, if neither table nor images have changed since."""
    seal = _seal(table)
    if not seal or "checked" not in table or not (table["checked"] == seal).all():
        return None
    try:
        if [_sha256(path) for path in table["path"]] != list(table["sha256"]):
            return None
    except OSError:
        return None
    sizes = zip(table["sha256"], table["width"], table["height"], strict=True)
    return [{"sha256": sha256, "width": int(w), "height": int(h), "pixels": ""} for sha256, w, h in sizes]


def _named(table: pd.DataFrame, labels_required: bool) -> tuple[pd.DataFrame, list[str], list[tuple]]:
    """The table with its columns called as they should be, those of the required that are missing, and the faults."""
    at = table.attrs["header_line"]
    table, faults = rules.known_columns(table)
    if "file" not in table and "path" in table:
        table["file"] = table["path"]
    missing = [name for name in ("file", "label", "pixels_per_um") if name not in table]
    if not labels_required:
        # What the manifest says of labels does not matter to the answers.
        missing = [name for name in missing if name == "file" or (name != "label" and rules.misspelt(name, table))]
        table["label"] = table.get("label", "")
        table["split"] = "quiz"
    for name in missing:
        close = difflib.get_close_matches(name, table.columns, 1, 0.5)
        remedy = f"rename {close[0]!r}" if close else "add it"
        if name == "pixels_per_um":
            remedy += " (cells may stay empty where the file's own tags give the scale)"
        faults.append((at, name, "", f"the column is missing; {remedy}"))
    # A misspelt optional column would leak specimens, make up a split or lose the mark "simulated" without a word.
    for name in rules.COLUMNS:
        if name not in (*table, *missing) and (close := rules.misspelt(name, table.columns)):
            faults.append((at, name, "", f"there is a column {close!r}; rename it to {name!r}"))
            table = table.rename(columns={close: name})  # to find its other faults
    return table, missing, faults


def read_manifest(
    path, *, labels_required: bool = True, quiz_fraction: float = 0.2, seed: int = 0, allow_outside: bool = False
) -> pd.DataFrame:
    """Read and check a manifest; nothing is trained or answered on one with a fault.

    A manifest that `write_manifest` wrote is not checked image by image again while neither it nor an image has
    changed.

    Parameters
    ----------
    path : path
        Table (CSV, Excel; see `tables.read_rows`) with ``file, label, split, pixels_per_um``, optional ``modality,
        specimen, split_group, source, licence, sha256`` and any further columns; see data/README.md. ``file`` is
        relative to the manifest's folder, unless a column ``path`` says where the image lies.
    labels_required : bool
        False for images to be answered: ``label`` and ``split`` may be absent then, and all rows count as quiz.
    quiz_fraction, seed : float, int
        For `split_by_group`, when there is no ``split``.
    allow_outside : bool
        Whether images may lie outside the manifest's folder; otherwise they may where the row has their ``sha256``
        or the environment says so (`files.ALLOW_OUTSIDE`).

    Returns
    -------
    DataFrame
        The columns above and ``scale_source``, ``path`` (absolute), ``width``, ``height`` (pixels); ``sha256`` of
        each file; groups spelt one way. ``attrs``: ``manifest``, ``sha256`` (of table and images), ``simulated``
        (whether any image is) and ``notes``, sentences on what was decided or should be known.

    Raises
    ------
    ManifestError
        With all faults at once.
    """
    path = Path(os.path.abspath(path))
    table, lines, faults = tables.read_table(path)
    if table.empty:
        raise ManifestError(path, faults)
    table, missing, more = _named(table, labels_required)
    faults += more
    if "file" in missing:
        raise ManifestError(path, faults)
    has_split = "split" in table and (table["split"] != "").any()
    if not has_split:
        table["split"] = "train"
    has_specimens = "specimen" in table or "split_group" in table
    for name in rules.COLUMNS:
        if name not in table:
            table[name] = ""
    for name, instead in (("specimen", "file"), ("split_group", "specimen"), ("path", "file")):
        table[name] = table[name].where(table[name] != "", table[instead])

    unlabelled = not labels_required or "label" in missing
    try:
        (rules.SCHEMA.remove_columns(["label"]) if unlabelled else rules.SCHEMA).validate(table, lazy=True)
    except pa.errors.SchemaErrors as errors:
        for case in errors.failure_cases.itertuples():
            faults.append((int(lines[int(case.index)]), case.column, case.failure_case, case.check))

    # A manifest kept with a run says where the images lie, and `file` remains their name.
    folders = files.folders_of(path)
    places = [files.locate(folders, name) for name in table["path"]]
    table["path"] = [str(place) for place, _ in places]
    inspected = _known(table)
    if inspected is None:
        allowed = [inside or allow_outside or files.outside_allowed() for _, inside in places]
        with ThreadPoolExecutor() as pool:
            inspected = list(pool.map(_inspect, table["path"], table["sha256"], allowed))
    table = table.drop(columns="checked", errors="ignore")
    for found, file, given, at in zip(inspected, table["file"], table["sha256"], lines, strict=True):
        if file and "fault" in found:
            faults.append((int(at), "file", file, found["fault"]))
        actual = found.get("sha256", "")
        if given and actual and given.lower() != actual:
            remedy = f"{file} has the hash {actual[:12]}...; restore the file, or correct the hash"
            faults.append((int(at), "sha256", given, remedy))
    for name, default in (("sha256", ""), ("width", 0), ("height", 0)):
        table[name] = [found.get(name, default) for found in inspected]
    if "pixels_per_um" not in missing:
        readable = ["pixels" in found for found in inspected]
        table["pixels_per_um"], table["scale_source"], more = rules.scales(table, lines, readable)
        faults += more

    notes = []
    if not unlabelled:
        faults += rules.label_faults(table, lines)
    if labels_required:
        faults += rules.leaks(table, lines, [found.get("pixels", "") for found in inspected])
        pairs = _near_copies(table, inspected)
        more, notes = rules.near_copies(table, lines, pairs)
        faults += more if has_split else []
        if not has_split:
            _keep_together(table, pairs)
    if faults:
        raise ManifestError(path, faults)

    for name in ("specimen", "split_group"):
        keys = table[name].map(rules.group_key)
        table[name] = table[name].groupby(keys).transform("first")
    if not has_split:
        table["split"] = split_by_group(table, quiz_fraction, seed)
        n_quiz = int((table["split"] == "quiz").sum())
        notes.append(f"The manifest has no split: {n_quiz} of {len(table)} images were set aside as the quiz, whole "
                     f"groups at a time (seed {seed}).")  # fmt: skip
    if labels_required:
        if not has_specimens:
            notes.append("The manifest names no specimens: each image counts as its own. Images of one specimen in "
                         "both splits would flatter the machine.")  # fmt: skip
        notes += rules.notes(table)
    notes += rules.scale_notes(table)
    digest = hashlib.sha256(path.read_bytes() + "".join(table["sha256"]).encode()).hexdigest()
    table.attrs = {
        "manifest": str(path),
        "sha256": digest,
        "simulated": bool(table["source"].map(tables.plain).str.startswith(SIMULATED).any()),
        "notes": notes,
    }
    return table


def _near_copies(table: pd.DataFrame, inspected: list[dict]) -> list[tuple[int, int, float]]:
    """Pairs of images that show nearly the same, but for those that are the same."""
    found = copies.find([one.get("signature") for one in inspected], lambda i: read_image(table["path"].iloc[i]))
    return [pair for pair in found if inspected[pair[0]]["pixels"] != inspected[pair[1]]["pixels"]]


def _keep_together(table: pd.DataFrame, pairs: list[tuple[int, int, float]]) -> None:
    """Join the groups of images that show nearly the same, before a split is made of whole groups."""
    for i, k, _ in pairs:
        own, other = table["split_group"].iloc[i], table["split_group"].iloc[k]
        table["split_group"] = table["split_group"].replace(other, own)


def write_manifest(manifest: pd.DataFrame, path) -> None:
    """Write a manifest that `read_manifest` reads back, whole or not at all.

    ``file`` remains the image's name. ``path`` says where it lies: relative to the new manifest for images below its
    folder, which may then move as a whole, absolute otherwise.
    """
    path = Path(os.path.abspath(path))
    places = [Path(p) for p in manifest["path"]]
    below = [str(p.relative_to(path.parent) if p.is_relative_to(path.parent) else p) for p in places]
    with written_whole(path) as file:
        # With the line ends of RFC 4180, line breaks of either kind inside a cell are put in quotes.
        manifest.assign(path=below, checked=_seal(manifest)).to_csv(file, index=False, lineterminator="\r\n")


def classes(manifest: pd.DataFrame) -> list[str]:
    """The classes to choose from: the labels of the training rows, sorted."""
    return sorted(manifest.loc[manifest["split"] == "train", "label"].unique())


def truth(manifest: pd.DataFrame) -> pd.Series:
    """The right answer to each quiz image, by ``file``: its label, or "none of these" if no training row has it."""
    quiz = manifest[manifest["split"] == "quiz"]
    known = set(classes(manifest))
    answers = [label if label in known else NONE_OF_THESE for label in quiz["label"]]
    return pd.Series(answers, index=pd.Index(quiz["file"], name="image"), name="truth", dtype=object)


def quiz_id(manifest: pd.DataFrame) -> str:
    """Name of a quiz: a hash of its images and of the classes to choose from."""
    quiz = manifest[manifest["split"] == "quiz"]
    parts = [*sorted(quiz["sha256"]), *classes(manifest)]
    return "quiz-" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
