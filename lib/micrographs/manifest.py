"""The manifest of micrographs: read, checked, split and written beside a run; and images without one, to be answered."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from micrographs import copies
from micrographs.reading import PictureError, read_image
from micrographs.splits import split_by_group
from micrographs.tags import NO_WIDTH, UM_PER_UNIT, ScaleError, check_plausible, read_scale, sidecars_of
from spreadsheets import Fault, column_name, fault_lines, normalise_name, number, read_table

NONE_OF_THESE = "none of these"
SIMULATED = "simulated"  # how the `source` of a rendered micrograph begins
SHORTEST_SIDE_PX = 64
# What a class cannot be called: a missing answer, and the columns that stand beside the classes in a table of scores.
RESERVED_LABELS = ("no answer", "image", "file", "label", "split_group", "answer", "correct", "confidence", "outlier_score",
                   "probability", "flag", "unlike")  # fmt: skip
SPLITS = ("train", "quiz")
COLUMNS = (
    "file", "label", "split", "pixels_per_um", "modality", "specimen", "split_group", "source", "licence", "citation",
    "labelled_by", "sha256", "path",
)  # fmt: skip
FOUND = ("path", "sha256", "width", "height", "pixels_per_um", "scale_source")  # what images say
HELPERS = ["pixels", "signature", "fault", "unscaled"]
# How a column may be called, as `column_name` gives it.
CALLED = {name: name for name in COLUMNS} | {"license": "licence"}
CALLED |= {f"{kind}{end}": "specimen" for kind in ("specimen", "sample") for end in ("", "s", "_id", "_no", "_nr", "_name")}


class ManifestError(ValueError):
    """A manifest with faults, all of them; the message has a line for each kind.

    Attributes
    ----------
    path : path
    faults : list of Fault
        ``line`` is that of the file, the header being line 1; 0 for the file as a whole.
    """

    def __init__(self, path, faults: list[Fault]):
        super().__init__(path, faults)  # to be pickled
        self.path, self.faults = path, sorted(faults, key=lambda fault: fault[:2])

    def __str__(self):
        n = len(self.faults)
        return "\n  ".join([f"{self.path}: {n} fault{'s' * (n != 1)}", *fault_lines(self.faults)])


# --- the table -------------------------------------------------------------------------------------------------------


def _as_scale(column: str) -> str:
    """How to make ``pixels_per_um`` of a column, by its name, as a formula; "" where that is not clear."""
    name = normalise_name(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column)).replace("metre", "meter")
    words = re.findall(r"[^\W\d_]+", name)
    pixels = [i for i, word in enumerate(words) if re.match("px|pix", word)]
    units = [i for i, word in enumerate(words) if word.removesuffix("s") in UM_PER_UNIT and word not in ("in", "m", "u")]
    if not pixels or not units or re.search(r"\d", name):
        return ""
    um, per = UM_PER_UNIT[words[units[-1]].removesuffix("s")], "/" in name or {"per", "pro"} & set(words)
    if per and pixels[0] < units[-1]:
        return repr(column) + ("" if um == 1 else f" / {um:g}" if um > 1 else f" x {1 / um:g}")
    return f"{1 / um:g} / {column!r}" if per or re.search("size|width|spacing|grösse|breite", name) else ""


def _read(path: Path, needed: tuple[str, ...]) -> tuple[pd.DataFrame, list[Fault], list[str]]:
    """The table with all of `COLUMNS`, called as they should be, its index the line of each row; faults; notes.

    Raises
    ------
    ManifestError
        If nothing more can be said of a table with these faults.
    """
    table, lines, faults = read_table(path, CALLED)
    if table.empty or faults:
        raise ManifestError(path, faults)
    at, notes, found = table.attrs["header_line"], table.attrs["notes"], list(table)
    scales = {c: how for c in found if (how := _as_scale(c))}
    meant = {c: "pixels_per_um" if scales.get(c) == repr(c) else CALLED.get(column_name(c)) for c in found}
    for name in {name for name in meant.values() if name} - set(found):
        same = [c for c in found if meant[c] == name]
        if len(same) > 1:
            faults.append(Fault(at, name, "", f"{' and '.join(map(repr, same))} may both be meant; call one {name!r}"))
        table = table.rename(columns={same[0]: name})
    if "file" not in table and "path" in table:
        table["file"] = table["path"]
    if missing := [name for name in needed if name not in table]:
        remedy = f"found {', '.join(found)}; needed {', '.join(missing)}; rename them, or add what is missing"
        faults.append(Fault(at, "columns", "", remedy))
    if "pixels_per_um" not in table and scales:
        how = " or ".join(f"pixels_per_um = {how}" for how in scales.values())
        faults.append(Fault(at, "pixels_per_um", "", f"add the column: {how}"))
    if "file" not in table:
        raise ManifestError(path, faults)
    unused = [c for c in table if c not in (*COLUMNS, *FOUND)]
    notes += [f"Columns that are kept and mean nothing to the study: {', '.join(unused)}."] if unused else []
    return table.set_axis(lines).assign(**{c: "" for c in COLUMNS if c not in table}), faults, notes


def _faults(table: pd.DataFrame, *rules) -> list[Fault]:
    """A fault for each row that breaks a rule: column, mask of the rows at fault, and the remedy, a text or one a row."""
    return [
        Fault(int(table.index[i]), column, str(table[column].iloc[i]), remedy if isinstance(remedy, str) else remedy.iloc[i])
        for column, wrong, remedy in rules
        for i in np.flatnonzero(wrong)
    ]


# --- the images ------------------------------------------------------------------------------------------------------


def _no_such_file(path: Path) -> str:
    """What to do about a file that is not there: perhaps its name has another case or Unicode composition."""
    part = next(part for part in reversed([path, *path.parents]) if not os.path.exists(part))
    for name in os.listdir(part.parent) if os.path.isdir(part.parent) else []:
        if normalise_name(name) == normalise_name(part.name):
            same = unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", part.name)
            return f"{name!r} is there, which differs by {'Unicode composition' if same else 'case'}; write it that way"
    slashes = ", with / between folders" if "\\" in path.name else ""
    return f"there is no such file; give its path from the manifest's folder{slashes}"


def _inspect(path: str, given: str, cell: str) -> dict:
    """What a file says, ``fault`` if it is no micrograph, ``unscaled`` if its scale is not known.

    ``pixels`` is a hash of the grey values, by which a picture that is saved twice is found whatever the format.
    """
    found = {"path": path, "sha256": "", "width": 0, "height": 0, "pixels_per_um": np.nan, "scale_source": ""}
    found |= {"pixels": "", "signature": None, "fault": "", "unscaled": ""}
    try:
        if not os.path.isfile(path):
            raise PictureError("is a folder; give a file" if os.path.isdir(path) else _no_such_file(Path(path)))
        with open(path, "rb") as file:
            found["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        if given and given.lower() != found["sha256"]:
            raise PictureError("has not the sha256 that the manifest gives; restore the file, or correct the hash")
        image = read_image(path)
        height, width = image.shape
        if min(height, width) < SHORTEST_SIDE_PX:
            raise PictureError(
                f"is {width} x {height} px; give an image of at least {SHORTEST_SIDE_PX} px on its short side"
            )
        grey = np.round(image * 255).astype(np.uint8).tobytes() + f"{height}x{width}".encode()
        found |= {"width": width, "height": height, "pixels": hashlib.sha256(grey).hexdigest()}
        found["signature"] = copies.signature(image)
        scale, source = (check_plausible(number(cell)), "manifest") if cell else read_scale(path)
        found |= {"pixels_per_um": scale, "scale_source": source}
    except ScaleError as error:
        found["unscaled"] = str(error)
    except (OSError, PictureError) as error:
        found["fault"] = str(error)
    except ValueError:
        found["unscaled"] = "is not a number; write pixels per um, with a decimal point (2.5)"
    return found


def _look(table: pd.DataFrame, folder: Path) -> tuple[pd.DataFrame, list[Fault]]:
    """The table with what its images say, and in further columns (`HELPERS`) what the rules need to know of them."""
    file, cells = table["file"], table["pixels_per_um"]
    places = table["path"].where(table["path"] != "", file).str.replace("\0", "?")
    paths = [os.path.normpath(folder / place) for place in places]
    with ThreadPoolExecutor() as pool:
        found = pd.DataFrame(list(pool.map(_inspect, paths, table["sha256"], cells)), table.index)
    faults = _faults(
        table,
        ("file", file == "", "give the path of the image, relative to the manifest's folder"),
        ("file", file.duplicated() & (file != ""), "is there already; list each image once"),
        ("file", (found["fault"] != "") & (file != ""), found["fault"]),
        ("pixels_per_um", found["unscaled"] != "", found["unscaled"]),
    )
    # What a study has kept says where its scales were from at first.
    before = table.get("scale_source", pd.Series("", table.index))
    found["scale_source"] = before.where(before != "", found["scale_source"])
    table = table.assign(**found)
    for name, instead in (("specimen", "file"), ("split_group", "specimen")):
        table[name] = table[name].where(table[name] != "", table[instead])
    return table, faults


# --- the rules -------------------------------------------------------------------------------------------------------


def _group_key(name: str) -> str:
    """A group's name as it is compared: as a person sees it, and 007 and 7.0 as 7."""
    seen = re.sub(r"^(\d+)\.0+$", r"\1", normalise_name(name))
    return re.sub(r"(?<![\d.,])0+(?=\d)", "", seen)


def _rule_faults(table: pd.DataFrame) -> list[Fault]:
    """Labels that cannot be meant as written, classes that cannot be learned, images given twice, and leaks."""
    label, split, train, line = table["label"], table["split"], table["split"] == "train", table.index.to_series()
    spelling = label.map(normalise_name)
    # "Pearlite" in the quiz would quietly become "none of these".
    usual = label.groupby(spelling).transform(lambda same: same.value_counts().index[0])
    learned = train & ~spelling.isin(["", NONE_OF_THESE, *RESERVED_LABELS])
    n_images = usual.where(learned).groupby(usual).transform("count")
    first = line.groupby(table["pixels"]).transform("first")
    twice = (first != line) & (table["pixels"] != "") & ~table["file"].duplicated()
    # Quiz images of no training class may come from a training specimen: nothing of their class leaks.
    groups = [[spelling, table[name].map(_group_key)] for name in ("specimen", "split_group")]
    both = np.any([split.groupby(keys).transform("nunique") > 1 for keys in groups], axis=0)
    remedy = "has images of one class in train too; keep a group (specimen) within one split, however it is spelt"
    faults = _faults(
        table,
        ("label", label == "", "give the class, or remove the row"),
        ("label", spelling.isin(RESERVED_LABELS), "is a reserved word; call the class otherwise"),
        ("label", label != usual, "is written " + usual.map(repr) + " elsewhere; write it one way"),
        ("label", train & (spelling == NONE_OF_THESE), "is no class to learn; use it in the quiz only"),
        ("label", learned & (n_images == 1), "has a single training image; give the class two or more"),
        ("split", ~split.isin(SPLITS), f"write {' or '.join(SPLITS)}"),
        ("file", twice, "is the same picture as line " + first.astype(str) + "; remove one"),
        ("split_group", both & (split == "quiz") & (label != ""), remedy),
    )
    if label[learned].nunique() < 2:
        faults.append(Fault(0, "label", "", "images of at least two classes are needed in train"))
    return faults


def _notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the results should know about the images, in sentences."""
    notes, (train, quiz) = [], (table[table["split"] == split] for split in SPLITS)
    if (table["specimen"] == table["file"]).all() and (table["split_group"] == table["file"]).all():
        notes.append("The manifest names no specimens, so each image counts as its own: one in both splits would flatter.")
    if quiz.empty:
        notes.append("There are no quiz images: training is validated, the comparison is skipped.")
    other = quiz[~quiz["label"].isin(train["label"])]
    if len(other):
        names = ", ".join(sorted(set(other["label"])))
        notes.append(
            f"{len(other)} quiz images have labels that no training image has: {NONE_OF_THESE!r} is right ({names})."
        )
    for name in ("specimen", "split_group"):
        shared = sorted(set(quiz[name]) & set(train[name]))
        if shared and (name == "specimen" or not table["specimen"].equals(table["split_group"])):
            notes.append(f"In training and in the quiz, with other classes on either side: {name} {', '.join(shared)}.")
    n_groups = train.groupby("label")["split_group"].nunique()
    if (n_groups == 1).any():
        names = ", ".join(n_groups.index[n_groups == 1])
        notes.append(f"Of one group in training, so that cross-validation splits them by image and flatters them: {names}.")
    return notes


def _finished(table: pd.DataFrame, path: Path | None, notes: list[str]) -> pd.DataFrame:
    """The table with its ``attrs``, and notes on where the scales come from."""
    tagged = table.loc[table["scale_source"] != "manifest", "scale_source"]
    kinds = sorted(set(tagged.str.removesuffix(NO_WIDTH).str.replace("(sidecar).*", r"\1", regex=True)))
    notes = notes + [f"The scale of {len(tagged)} images was read from their own tags ({', '.join(kinds)})."] * bool(kinds)
    if n := tagged.str.endswith(NO_WIDTH).sum():
        notes.append(
            f"{n} of these tags do not say how wide the image was: if it was made smaller since, its scale is wrong."
        )
    digest = hashlib.sha256((path.read_bytes() if path else b"") + "".join(table["sha256"]).encode()).hexdigest()
    simulated = bool(table["source"].map(normalise_name).str.startswith(SIMULATED).any())
    table = table.drop(columns=HELPERS)
    table.attrs = {"manifest": str(path or ""), "sha256": digest, "simulated": simulated, "notes": notes}
    return table


# --- reading and writing ---------------------------------------------------------------------------------------------


def read_manifest(path, seed: int = 0) -> pd.DataFrame:
    """Read and check a manifest; nothing is trained on one with a fault.

    Parameters
    ----------
    path : path
        Table (CSV, Excel; see `spreadsheets.read_table`) with ``file, label``, optional ``split, pixels_per_um,
        modality, specimen, split_group, source, licence, citation, labelled_by, sha256, path`` and any further columns;
        see data/README.md. ``file`` is relative to the manifest's folder, unless ``path`` says where the image lies.
    seed : int
        For `split_by_group`, when there is no ``split``.

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
    table, faults, notes = _read(path, ("file", "label"))
    has_split, has_labels = (table["split"] != "").any(), not any(fault.column == "columns" for fault in faults)
    table, more = _look(table if has_split else table.assign(split="train"), path.parent)
    faults += more + (_rule_faults(table) if has_labels else [])
    within = []
    for i, k, r in copies.find(list(table["signature"]), lambda i: read_image(table["path"].iloc[i])):
        a, b = table.iloc[i], table.iloc[k]
        if a["split"] != b["split"] and a["pixels"] != b["pixels"]:
            remedy = (
                f"shows nearly the same as {a['file']!r} (line {a.name}, correlation {r:.2f}) in the other split; remove one"
            )
            faults.append(Fault(int(b.name), "file", b["file"], remedy))
        within.append(f"{a['file']} and {b['file']} ({r:.2f})")
        if not has_split:
            table["split_group"] = table["split_group"].replace(b["split_group"], a["split_group"])
    if faults:
        raise ManifestError(path, faults)
    if within:
        some = "; ".join(within[:10]) + "; ..." * (len(within) > 10)
        notes.append(f"{len(within)} pairs of images within a split show nearly the same (correlation): {some}.")
    table = table.reset_index(drop=True)
    for name in ("specimen", "split_group"):
        table[name] = table[name].groupby(table[name].map(_group_key)).transform("first")
    if not has_split:
        table["split"] = split_by_group(table, seed)
        n = (table["split"] == "quiz").sum()
        notes.append(
            f"The manifest has no split: {n} of {len(table)} images became the quiz, by whole groups (seed {seed})."
        )
    return _finished(table, path, notes + _notes(table))


def write_manifest(manifest: pd.DataFrame, path) -> None:
    """Write a manifest that `read_manifest` reads back, whole or not at all.

    ``file`` remains the image's name. ``path`` says where it lies: relative to the new manifest for images in its
    folder or below the two folders around it (of runs, and of the checkout), which may then move as a whole; absolute
    otherwise.
    """
    path = Path(os.path.abspath(path))
    home = path.parents[:3][-1]
    below = [os.path.relpath(p, path.parent) if Path(p).is_relative_to(home) else p for p in manifest["path"]]
    part = path.with_name(f".{path.name}.part")
    # With the line ends of RFC 4180, line breaks of either kind inside a cell are put in quotes.
    manifest.assign(path=below).to_csv(part, index=False, lineterminator="\r\n")
    os.replace(part, path)


def files_of(path) -> list[Path]:
    """Every file that a manifest's study depends on beside the manifest itself, without judging any of them.

    Parameters
    ----------
    path : path
        Of a manifest of any kind and in any state; one that cannot be read has no files.

    Returns
    -------
    list of Path
        The images in the order of their rows, whether they are there or not, each followed by its sidecars.
    """
    table, _, _ = read_table(path, CALLED)
    cells = {CALLED.get(column_name(c)): table[c] for c in reversed(list(table))}
    file = cells.get("file", cells.get("path", pd.Series(dtype=str)))
    path = Path(os.path.abspath(path))
    names = [name for name in cells.get("path", file).where(lambda place: place != "", file) if name and "\0" not in name]
    places = [Path(os.path.normpath(path.parent / name)) for name in names]
    return [found for place in places if place.name and not os.path.isdir(place) for found in (place, *sidecars_of(place))]


def write_template(folder) -> list[str]:
    """Write a manifest to be completed, ``manifest.csv`` in a folder of images: one subfolder a class.

    Scales are those that the files say; cells stay empty where they say none.

    Returns
    -------
    list of str
        What is left out and what is to be completed, in sentences.

    Raises
    ------
    ManifestError
        If there is a manifest already, or no image in any subfolder.
    """
    folder, path = Path(folder), Path(folder) / "manifest.csv"
    files = [file for file in _natural(folder.glob("*/**/*")) if _may_be_picture(file)]
    if path.exists() or not files:
        fault = "is there already; move it away" if path.exists() else "no image; put those of a class into a subfolder"
        raise ManifestError(path, [Fault(0, "table", "", fault)])
    table, _ = _look(_listed(files, folder), folder)
    left_out = [f"{row.file} is left out: {row.fault}" for row in table.itertuples() if row.fault]
    table = table[table["fault"] == ""].assign(label=table["file"].str.replace("/.*", "", regex=True), specimen="")
    columns = ["file", "label", "split", "pixels_per_um", "specimen"]
    table[columns].to_csv(path, index=False, encoding="utf-8-sig", float_format="%.6g")  # with its mark for Excel
    n = int(table["pixels_per_um"].isna().sum())
    return [*left_out, f"{path} names {len(table)} images; {n} of them do not say their scale: complete it"]


def _listed(files: list[Path], folder: Path) -> pd.DataFrame:
    """The empty manifest of some files."""
    names = [os.path.relpath(file, folder).replace(os.sep, "/") for file in files]
    return pd.DataFrame("", range(len(files)), COLUMNS).assign(file=names)


# --- images to be answered -------------------------------------------------------------------------------------------


def _may_be_picture(path: Path) -> bool:
    """All files but hidden ones, and the tables and notes that lie beside pictures."""
    texts = (".txt", ".hdr", ".csv", ".tsv", ".xlsx", ".json", ".md")
    return path.is_file() and not path.name.startswith(".") and path.suffix.lower() not in texts


def _natural(paths) -> list[Path]:
    """Sorted as people number: 2 before 10."""
    return sorted(paths, key=lambda p: [int(x) if x.isdecimal() else x.casefold() for x in re.split(r"(\d+)", str(p))])


def image_files(patterns: list[str]) -> list[Path]:
    """Files that match any of the patterns, in natural order: each a file, a folder, or a pattern with * or ** in it.

    Of a folder every file that may be a picture is there; `read_images` names those that are none.

    Raises
    ------
    PictureError
        If a pattern matches nothing.
    """
    found: set[Path] = set()
    for pattern in patterns:
        inside = os.path.join(glob.escape(pattern), "*") if os.path.isdir(pattern) else pattern
        # A name may itself hold brackets.
        names = [pattern] if os.path.isfile(pattern) else glob.glob(inside, recursive=True)
        if not (matches := {Path(os.path.abspath(name)) for name in names if _may_be_picture(Path(name))}):
            raise PictureError(f"{pattern}: no image there; give files, a folder, or a pattern in quotes: 'folder/*.tif'")
        found |= matches
    return _natural(found)


def read_images(source, pixels_per_um: float | None = None) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Rows of images to be answered; one that cannot be used stops no other.

    Parameters
    ----------
    source : path or list of Path
        A manifest, whose labels and split do not matter; or files, as `image_files` finds them.
    pixels_per_um : float, optional
        Scale of all of the files; without it each file's own tags must give it.

    Returns
    -------
    rows : DataFrame
        As `read_manifest` gives them, all of the split "quiz".
    skipped : list of (file, reason)
        What is not answered.

    Raises
    ------
    ManifestError
        If the table itself has a fault, such as a missing column.
    PictureError
        If no image can be answered.
    """
    if isinstance(source, list):
        path, folder, notes = None, Path(os.path.commonpath([file.parent for file in source])), []
        table = _listed(source, folder)
        table["pixels_per_um"] = "" if pixels_per_um is None else str(pixels_per_um)
    else:
        path = Path(os.path.abspath(source))
        folder, (table, faults, notes) = path.parent, _read(path, ("file",))
        if faults:
            raise ManifestError(path, faults)
    table, faults = _look(table.assign(split="quiz"), folder)
    reasons = {at: "; ".join(fault.remedy for fault in faults if fault.line == at) for at in {f.line for f in faults}}
    skipped = [(file or f"line {at}", reasons[at]) for at, file in table["file"].items() if at in reasons]
    rows = table[~table.index.isin(list(reasons))].reset_index(drop=True)
    if rows.empty:
        told = fault_lines([Fault(0, "file", file, reason) for file, reason in skipped])
        raise PictureError("\n  ".join([f"{path or folder}: none of the images can be answered", *told]))
    return _finished(rows, path, notes), skipped


# --- what a manifest says --------------------------------------------------------------------------------------------


def classes(manifest: pd.DataFrame) -> list[str]:
    """The classes to choose from: the labels of the training rows, sorted."""
    return sorted(manifest.loc[manifest["split"] == "train", "label"].unique())


def truth(manifest: pd.DataFrame) -> pd.Series:
    """The right answer to each quiz image, by ``file``: its label, or "none of these" if no training row has it."""
    quiz = manifest[manifest["split"] == "quiz"]
    answers = quiz["label"].where(quiz["label"].isin(classes(manifest)), NONE_OF_THESE)
    return pd.Series(list(answers), index=pd.Index(quiz["file"], name="image"), name="truth", dtype=object)


def quiz_id(manifest: pd.DataFrame) -> str:
    """Name of a quiz: a hash of its images and of the classes to choose from."""
    parts = [*sorted(manifest.loc[manifest["split"] == "quiz", "sha256"]), *classes(manifest)]
    return "quiz-" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def attribution(manifest: pd.DataFrame) -> list[str]:
    """Return a sentence for each citation and licence among the images: how many they are, and where they come from.

    Of many sources the first is named and the others are counted.
    """
    sentences = []
    columns = manifest.reindex(columns=["source", "licence", "citation"]).fillna("").astype(str)
    for (citation, licence), rows in columns.groupby(["citation", "licence"], sort=False):
        first, *others = [source for source in rows["source"].unique() if source] or [""]
        source = f"{first} and {len(others)} more" if others else first
        parts = [part for part in (source, citation, licence and f"licence {licence}") if part]
        if parts:
            sentences.append(f"{len(rows)} image{'s' * (len(rows) > 1)}: {'; '.join(parts)}.")
    return sentences
