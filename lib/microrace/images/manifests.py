"""The manifest of micrographs: read, validated, and written beside a run."""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import os
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa

from microrace.images.reading import read_image
from microrace.images.scale import PRINT_DPI, ScaleError, check_plausible, read_scale
from microrace.images.splits import split_by_group

NONE_OF_THESE = "none of these"
NO_ANSWER = "no answer"
# What a class cannot be called: a missing answer, and the columns that stand beside the classes in a table of scores.
RESERVED_LABELS = (NO_ANSWER, "image", "answer", "score", "distance")
SPLITS = ("train", "quiz")
SIMULATED = "simulated"  # how the `source` of a rendered micrograph begins
SHORTEST_SIDE_PX = 64


def _rule(holds, remedy: str) -> pa.Check:
    return pa.Check(holds, error=remedy)


# What the cells must hold, each rule with its remedy; what needs the images or several rows is checked after this.
SCHEMA = pa.DataFrameSchema(
    {
        "file": pa.Column(
            str,
            [
                _rule(lambda s: s != "", "give the path of the image, relative to the manifest's folder"),
                _rule(lambda s: ~s.duplicated() | (s == ""), "is there already; list each image once"),
            ],
        ),
        "label": pa.Column(
            str,
            [
                _rule(lambda s: s != "", "give the class, or remove the row"),
                _rule(lambda s: ~s.str.lower().isin(RESERVED_LABELS), "is a reserved word; call the class otherwise"),
            ],
        ),
        "split": pa.Column(str, _rule(lambda s: s.isin(SPLITS), f"write {' or '.join(SPLITS)}")),
    }
)


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
            lines.append(f"  {where}: " + (f"{f.value!r}: " if str(f.value) else "") + f.remedy)
        super().__init__("\n".join(lines))

    def __reduce__(self):
        # An exception is pickled by its message unless told otherwise; workers of a sweep send it home.
        return type(self), (self.path, list(self.faults.itertuples(index=False, name=None)))


def _inspect(path: str) -> dict:
    """Hashes and size of an image file, or the fault for which it cannot be used."""
    if not os.path.isfile(path):
        slashes = ", with / between folders" if "\\" in path else ""
        return {"fault": f"there is no such file; give its path from the manifest's folder{slashes}"}
    found = {}
    try:
        found["sha256"] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        image = read_image(path)
    except (OSError, ValueError) as error:
        return found | {"fault": f"{error}; replace it by a whole PNG, JPEG or TIFF"}
    height, width = image.shape
    # The pixels' own hash finds one picture saved twice, whatever the file format did to its bytes.
    pixels = hashlib.sha256(np.round(image * 255).astype(np.uint8).tobytes() + f"{height}x{width}".encode())
    found |= {"height": height, "width": width, "pixels": pixels.hexdigest()}
    if min(height, width) < SHORTEST_SIDE_PX:
        found["fault"] = (
            f"is {width} x {height} px; give an image of at least {SHORTEST_SIDE_PX} px on its short side"
        )
    return found


def _read_table(path: Path) -> tuple[pd.DataFrame, np.ndarray, list[tuple]]:
    """The cells as stripped strings, the line that each row begins on, and faults of the table's form.

    Read with the csv module: "NA" and "None" stay what they are, and a quoted line break keeps the line numbers true.
    """
    if not path.is_file():
        raise ManifestError(path, [(0, "manifest", "", "there is no such file; give the path of a manifest CSV")])
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ManifestError(path, [(0, "manifest", "", "is not UTF-8 text; save it as 'CSV UTF-8'")]) from None
    # Spreadsheets of half of Europe separate by semicolons.
    delimiter = max(",;\t", key=(text.splitlines() or [""])[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows, lines, begins = [], [], 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows.append(cells)
                lines.append(begins)
            begins = reader.line_num + 1
    except csv.Error as error:
        remedy = f"is not a CSV table ({error}); save it again"
        raise ManifestError(path, [(begins, "manifest", "", remedy)]) from None
    if len(rows) < 2:
        raise ManifestError(path, [(0, "manifest", "", "has no rows; write a header and one image a row")])
    header, faults = rows[0], []
    for name in sorted({name for name in header if name and header.count(name) > 1}):
        faults.append((lines[0], name, "", "the column is there twice; remove one"))
    for row, at in zip(rows[1:], lines[1:], strict=True):
        if any(row[len(header) :]):
            remedy = f"{len(row)} values under {len(header)} columns; put quotes around a value that holds a comma"
            faults.append((at, "manifest", row[-1], remedy))
    width = len(header)
    table = pd.DataFrame(
        [(row + [""] * width)[:width] for row in rows[1:]],
        columns=[name or f"unnamed {i + 1}" for i, name in enumerate(header)],
        dtype=str,
    )
    table = table.loc[:, ~table.columns.duplicated()]
    unused = [c for c in table if c.startswith("unnamed ") and (table[c] == "").all()]
    return table.drop(columns=unused), np.array(lines[1:]), faults


def _misspelt(name: str, columns) -> str | None:
    """The column that was most likely meant to be ``name``."""
    plain = {c.lower().replace("-", "_").replace(" ", "_"): c for c in columns}
    close = difflib.get_close_matches(name, plain, 1, 0.85)
    return plain[close[0]] if close else None


def _scales(table: pd.DataFrame, lines, readable: list[bool]) -> tuple[list, list, list]:
    """Scale of each image, where it is from, and the faults found."""
    scales, sources, faults = [], [], []
    known = table["scale_source"] if "scale_source" in table else [""] * len(table)
    for value, file, told, whole, at in zip(
        table["pixels_per_um"], table["path"], known, readable, lines, strict=True
    ):
        scale, source = np.nan, told or "manifest"
        try:
            if value:
                try:
                    scale = float(value)
                except ValueError:
                    remedy = "is not a number; write pixels per um, with a decimal point"
                    raise ScaleError(remedy) from None
                check_plausible(scale)
            elif whole:
                scale, source = read_scale(file)
        except ScaleError as error:
            faults.append((int(at), "pixels_per_um", value, str(error)))
        scales.append(scale)
        sources.append(source)
    return scales, sources, faults


def _label_faults(table: pd.DataFrame, lines) -> list[tuple]:
    """Labels that cannot be meant as written, and classes that cannot be learned."""
    faults = []
    # "Pearlite" in the quiz would quietly become "none of these".
    spelling = table["label"].map(lambda s: " ".join(unicodedata.normalize("NFKC", s).casefold().split()))
    usual = table["label"].groupby(spelling).agg(lambda s: s.value_counts(sort=True).index[0])
    meant = spelling.map(usual)
    for at, label, other in zip(lines, table["label"], meant, strict=True):
        if label != other:
            faults.append((int(at), "label", label, f"is written {other!r} elsewhere; write it one way"))
    train = table["split"] == "train"
    for at, label in zip(lines[train], table["label"][train], strict=True):
        if label.lower() == NONE_OF_THESE:
            faults.append((int(at), "label", label, "is no class to learn; use it in the quiz only"))
    if not train.any():
        faults.append((0, "split", "", "no row is train; mark the images to learn from"))
        return faults
    # A cell that is a fault already is not one more class.
    counts = meant[train & ~spelling.isin(["", NONE_OF_THESE, *RESERVED_LABELS])].value_counts()
    if len(counts) == 1:
        faults.append((0, "label", counts.index[0], "is the only class to train on; give at least two"))
    for label in sorted(counts.index[counts == 1]):
        at = int(lines[train & (meant == label)][0])
        faults.append((at, "label", label, "has a single training image; give the class at least two"))
    return faults


def _leaks(table: pd.DataFrame, lines, pixels: list[str]) -> list[tuple]:
    """Images given twice, and groups of one class in both splits."""
    faults, first_of = [], {}
    for i, (key, file) in enumerate(zip(pixels, table["file"], strict=True)):
        first = first_of.setdefault(key or f"unreadable {i}", i)
        if file == table["file"].iloc[first]:
            continue  # itself, or a `file` given twice, which the schema has reported
        splits = {table["split"].iloc[first], table["split"].iloc[i]}
        both = " and one is in train, one in quiz" if splits == set(SPLITS) else ""
        remedy = f"is the same picture as line {lines[first]}{both}; remove one"
        faults.append((int(lines[i]), "file", file, remedy))
    # Quiz images of no training class may come from a training specimen: nothing of their class leaks.
    n_splits = table.groupby(["label", "split_group"])["split"].transform("nunique")
    leaking = ((n_splits > 1) & (table["split"] == "quiz") & (table["label"] != "")).to_numpy()
    for at, row in zip(lines[leaking], table[leaking].itertuples(), strict=True):
        remedy = f"{row.label!r} of this group is in train too; keep a group (specimen) within one split"
        faults.append((int(at), "split_group", row.split_group, remedy))
    return faults


def _notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the results should know about the images, in sentences."""
    notes = []
    train, quiz = (table[table["split"] == s] for s in SPLITS)
    if quiz.empty:
        notes.append("There are no quiz images: training is validated, the comparison is skipped.")
    other = quiz[~quiz["label"].isin(train["label"])]
    if len(other):
        names = ", ".join(sorted(other["label"].unique()))
        notes.append(f"{len(other)} quiz images have labels that no training image has ({names}): the right answer "
                     f"to them is {NONE_OF_THESE!r}.")  # fmt: skip
    n_groups = train.groupby("label")["split_group"].nunique()
    if (n_groups == 1).any():
        names = ", ".join(n_groups.index[n_groups == 1])
        notes.append(f"In training these classes come from a single group: {names}. Cross-validation splits them by "
                     "image and flatters them.")  # fmt: skip
    return notes


def read_manifest(
    path, *, labels_required: bool = True, quiz_fraction: float = 0.2, seed: int = 0
) -> pd.DataFrame:
    """Read and check a manifest; nothing is trained or answered on one with a fault.

    Parameters
    ----------
    path : path
        CSV with ``file, label, split, pixels_per_um``, optional ``modality, specimen, split_group, source,
        licence, sha256`` and any further columns; see data/README.md. ``file`` is relative to the manifest's folder,
        unless a column ``path`` says where the image lies.
    labels_required : bool
        False for images to be answered: ``label`` and ``split`` may be absent then, and all rows count as quiz.
    quiz_fraction, seed : float, int
        For `split_by_group`, when there is no ``split``.

    Returns
    -------
    DataFrame
        The columns above and ``scale_source``, ``path`` (absolute), ``width``, ``height`` (pixels); ``sha256`` of
        each file. ``attrs``: ``manifest``, ``sha256`` (of table and images), ``simulated`` (whether any image is)
        and ``notes``, sentences on what was decided or should be known.

    Raises
    ------
    ManifestError
        With all faults at once.
    """
    path = Path(path).resolve()
    table, lines, faults = _read_table(path)
    missing = [name for name in ("file", "label", "pixels_per_um") if name not in table]
    if not labels_required:
        # What the manifest says of labels does not matter to the answers.
        missing = [name for name in missing if name == "file" or (name != "label" and _misspelt(name, table))]
        table["label"] = table.get("label", "")
        table["split"] = "quiz"
    for name in missing:
        close = difflib.get_close_matches(name, table.columns, 1, 0.5)
        remedy = f"rename {close[0]!r}" if close else "add it"
        if name == "pixels_per_um":
            remedy += " (cells may stay empty where the file's own tags give the scale)"
        faults.append((1, name, "", f"the column is missing; {remedy}"))
    # A misspelt optional column would leak specimens, or make up a split, without a word.
    for name in ("split", "specimen", "split_group"):
        if name not in table and (close := _misspelt(name, table.columns)):
            faults.append((1, name, "", f"there is a column {close!r}; rename it to {name!r}"))
            table = table.rename(columns={close: name})  # to find its other faults
    if "file" in missing:
        raise ManifestError(path, faults)

    has_split = "split" in table and (table["split"] != "").any()
    if not has_split:
        table["split"] = "train"
    has_specimens = any(name in table for name in ("specimen", "sample", "split_group"))
    for name, default in (
        ("label", ""),
        ("pixels_per_um", ""),
        ("modality", ""),
        ("source", ""),
        ("licence", ""),
        ("specimen", table.get("sample", "")),
        ("split_group", ""),
        ("sha256", ""),
        ("path", ""),
    ):
        if name not in table:
            table[name] = default
    for name, instead in (("specimen", "file"), ("split_group", "specimen"), ("path", "file")):
        table[name] = table[name].where(table[name] != "", table[instead])
    # A manifest kept with a run says where the images lie, and `file` remains their name.
    table["path"] = [str((path.parent / p).resolve()) for p in table["path"]]

    unlabelled = not labels_required or "label" in missing
    try:
        (SCHEMA.remove_columns(["label"]) if unlabelled else SCHEMA).validate(table, lazy=True)
    except pa.errors.SchemaErrors as errors:
        for case in errors.failure_cases.itertuples():
            faults.append((int(lines[int(case.index)]), case.column, case.failure_case, case.check))

    with ThreadPoolExecutor() as pool:
        inspected = list(pool.map(_inspect, table["path"]))
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
        table["pixels_per_um"], table["scale_source"], found = _scales(table, lines, readable)
        faults += found

    if not unlabelled:
        faults += _label_faults(table, lines)
    if labels_required:
        faults += _leaks(table, lines, [found.get("pixels", "") for found in inspected])
    if faults:
        raise ManifestError(path, faults)

    notes = []
    if not has_split:
        table["split"] = split_by_group(table, quiz_fraction, seed)
        n_quiz = int((table["split"] == "quiz").sum())
        notes.append(f"The manifest has no split: {n_quiz} of {len(table)} images were set aside as the quiz, whole "
                     f"groups at a time (seed {seed}).")  # fmt: skip
    if labels_required:
        if not has_specimens:
            notes.append("The manifest names no specimens: each image counts as its own. Images of one specimen in "
                         "both splits would flatter the machine.")  # fmt: skip
        notes += _notes(table)
    tagged = table["scale_source"] != "manifest"
    if tagged.any():
        kinds = ", ".join(sorted(table.loc[tagged, "scale_source"].unique()))
        notes.append(f"The scale of {int(tagged.sum())} images was read from their own tags ({kinds}).")
    print_like = table["pixels_per_um"].isin(PRINT_DPI)
    if print_like.all():
        notes.append("Every scale is a number that is also a print resolution in dots per inch; make sure that "
                     "pixels_per_um holds pixels per micrometre.")  # fmt: skip
    digest = hashlib.sha256(path.read_bytes() + "".join(table["sha256"]).encode()).hexdigest()
    table.attrs = {
        "manifest": str(path),
        "sha256": digest,
        "simulated": bool(table["source"].str.lower().str.startswith(SIMULATED).any()),
        "notes": notes,
    }
    return table


def write_manifest(manifest: pd.DataFrame, path) -> None:
    """Write a manifest that `read_manifest` reads back, whole or not at all.

    ``file`` remains the image's name. ``path`` says where it lies: relative to the new manifest for images below its
    folder, which may then move as a whole, absolute otherwise.
    """
    path = Path(path).resolve()
    places = [Path(p) for p in manifest["path"]]
    below = [str(p.relative_to(path.parent) if p.is_relative_to(path.parent) else p) for p in places]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    # With the line ends of RFC 4180, line breaks of either kind inside a cell are put in quotes.
    manifest.assign(path=below).to_csv(temporary, index=False, lineterminator="\r\n")
    os.replace(temporary, path)


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
