"""The manifest of micrographs: read, validate, split without leakage, and read the images it names."""

from __future__ import annotations

import difflib
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pandera.pandas as pa
import tifffile
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold

from microrace.scale import ScaleError, check_plausible, read_scale

NONE_OF_THESE = "none of these"
NO_ANSWER = "no answer"
SPLITS = ("train", "quiz")
SIMULATED = "simulated"  # how the `source` of a rendered micrograph begins
SHORTEST_SIDE_PX = 64
OPTIONAL_COLUMNS = ("modality", "specimen", "split_group", "source", "licence", "sha256")

# What the columns must hold. Everything that needs the files is checked after this.
SCHEMA = pa.DataFrameSchema(
    {
        "file": pa.Column(str, [pa.Check.str_length(min_value=1, name="not empty"),
                                pa.Check(lambda s: ~s.duplicated(keep="first"), name="unique")]),
        "label": pa.Column(str, [pa.Check.str_length(min_value=1, name="not empty"),
                                 pa.Check.ne(NO_ANSWER, name="not reserved")]),
        "split": pa.Column(str, pa.Check.isin(SPLITS, name="train or quiz")),
        "pixels_per_um": pa.Column(str),
    }
)  # fmt: skip
REMEDIES = {
    ("file", "not empty"): "give the path of the image, relative to the manifest",
    ("file", "unique"): "list each image once",
    ("label", "not empty"): "give the class, or remove the row",
    ("label", "not reserved"): f"{NO_ANSWER!r} is the code of a missing answer; use another class name",
    ("split", "train or quiz"): "write train or quiz",
}


class ManifestError(ValueError):
    """A manifest with faults.

    Attributes
    ----------
    faults : DataFrame
        row (line number in the file; 0 for the file as a whole), column, value, remedy.
    """

    def __init__(self, path, faults: list[tuple]):
        self.faults = pd.DataFrame(faults, columns=["row", "column", "value", "remedy"]).sort_values(
            ["row", "column"], kind="stable", ignore_index=True
        )
        lines = [f"{path}: {len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"]
        for f in self.faults.itertuples():
            where = f"line {f.row}, {f.column}" if f.row else f.column
            lines.append(f"  {where}: {f.value!r}: {f.remedy}" if str(f.value) else f"  {where}: {f.remedy}")
        super().__init__("\n".join(lines))


def read_image(path) -> np.ndarray:
    """Read a micrograph as grey values.

    8 or 16 bit, grey or RGB(A), PNG, JPEG or TIFF. Colour becomes luminance, transparency is ignored; more than
    8 bits are stretched between the 0.1 and 99.9 percentiles, since detectors rarely fill 16 bits.

    Parameters
    ----------
    path : path

    Returns
    -------
    array (H, W) of float32
        0 (black) to 1 (white).

    Raises
    ------
    ValueError
        If the file is not a whole image of these kinds.
    """
    path = Path(path)
    try:
        if path.suffix.lower() in {".tif", ".tiff"}:
            with tifffile.TiffFile(path) as tiff:
                page = tiff.pages[0]
                pixels = page.asarray()
                if page.photometric.name == "PALETTE":
                    pixels = (np.moveaxis(page.colormap, 0, -1)[pixels] / 257).astype(np.uint8)
                elif page.photometric.name == "MINISWHITE":
                    pixels = np.iinfo(pixels.dtype).max - pixels
                if pixels.ndim == 3 and pixels.shape[0] in (3, 4) and pixels.shape[2] > 4:
                    pixels = np.moveaxis(pixels, 0, -1)
        else:
            with Image.open(path) as image:
                # Pillow warns of a truncated file only when it decodes all of it.
                image.load()
                if image.mode in ("P", "CMYK", "YCbCr", "1"):
                    image = image.convert("RGB")
                pixels = np.asarray(image)
    except (OSError, ValueError, SyntaxError, KeyError, IndexError, tifffile.TiffFileError) as error:
        raise ValueError(f"cannot be read as an image ({error})") from error
    if pixels.ndim == 3:
        pixels = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]
    if pixels.ndim not in (2, 3) or pixels.size == 0:
        raise ValueError(f"has shape {pixels.shape}; a micrograph is one grey or colour picture")
    eight_bit = pixels.dtype == np.uint8
    grey = pixels.astype(np.float32)
    if grey.ndim == 3:
        grey = grey @ np.array([0.299, 0.587, 0.114], np.float32) if grey.shape[2] == 3 else grey[..., 0]
    if eight_bit:
        return grey / np.float32(255)
    low, high = np.percentile(grey, [0.1, 99.9])
    return np.clip((grey - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def _inspect(path: str) -> dict:
    """Hash and size of an image file, or why it cannot be used."""
    if not os.path.isfile(path):
        return {"fault": "there is no such file; correct the path (relative to the manifest's folder)"}
    data = Path(path).read_bytes()
    found = {"sha256": hashlib.sha256(data).hexdigest()}
    try:
        image = read_image(path)
    except ValueError as error:
        return found | {"fault": f"{error}; replace it by a whole PNG, JPEG or TIFF"}
    height, width = image.shape
    # The pixels' own hash finds one picture saved twice, whatever the file format did to its bytes.
    pixels = hashlib.sha256(np.round(image * 255).astype(np.uint8).tobytes() + f"{height}x{width}".encode())
    found |= {"height": height, "width": width, "pixels": pixels.hexdigest()}
    if min(height, width) < SHORTEST_SIDE_PX:
        found["fault"] = f"is {width} x {height} px; at least {SHORTEST_SIDE_PX} px on the short side are needed"
    return found


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise ManifestError(path, [(0, "manifest", "", "there is no such file; give the path of a manifest CSV")])
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ManifestError(path, [(0, "manifest", "", "is not UTF-8 text; save it as 'CSV UTF-8'")]) from None
    header = text.split("\n", 1)[0]
    if "," not in header and (";" in header or "\t" in header):
        raise ManifestError(path, [(0, "manifest", header.strip(), "separate the columns by commas")])
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skip_blank_lines=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ManifestError(path, [(0, "manifest", "", f"is not a CSV table: {error}")]) from None
    table.columns = [c.strip() for c in table.columns]
    table = table.fillna("").apply(lambda column: column.str.strip())
    table["line"] = np.arange(len(table)) + 2
    return table[(table.drop(columns="line") != "").any(axis=1)].reset_index(drop=True)


def read_manifest(path, *, labels_required: bool = True) -> pd.DataFrame:
    """Read and check a manifest; nothing is trained or answered on one with a fault.

    Parameters
    ----------
    path : path
        CSV with ``file, label, split, pixels_per_um``, optional ``modality, specimen, split_group, source,
        licence, sha256`` and any further columns. ``file`` is relative to the manifest's folder, unless a column ``path``
        says where the image lies.
    labels_required : bool
        False for images to be answered: ``label`` and ``split`` may be absent then, and all rows count as quiz.

    Returns
    -------
    DataFrame
        The columns above and ``scale_source``, ``path``, ``width``, ``height`` (pixels); ``sha256`` of each file.
        ``attrs``: ``manifest``, ``sha256`` (of table and images), ``simulated`` and ``notes``, sentences on what
        was decided for want of a column.

    Raises
    ------
    ManifestError
        With all faults at once.
    """
    path = Path(path).resolve()
    table = _read_table(path)
    notes, faults = [], []
    required = ["file", "pixels_per_um"] if not labels_required else ["file", "label", "pixels_per_um"]
    if not labels_required and "pixels_per_um" not in table:
        table["pixels_per_um"] = ""
    for name in required:
        if name not in table:
            close = difflib.get_close_matches(name, table.columns, 1, 0.6)
            remedy = f"rename {close[0]!r} to {name!r}" if close else f"add a column {name!r}"
            faults.append((1, name, "", f"the column is missing; {remedy}"))
    if table.empty:
        faults.append((0, "manifest", "", "has no rows; list one image a row"))
    if faults:
        raise ManifestError(path, faults)
    if not labels_required:
        # What a manifest says of labels does not matter to the answers.
        table["label"] = table["label"] if "label" in table else ""
        table["split"] = "quiz"
    has_split = "split" in table
    if not has_split:
        table["split"] = "train"
    for name, default in (("specimen", table.get("sample", table["file"])), ("modality", ""), ("source", ""),
                          ("licence", "")):  # fmt: skip
        if name not in table:
            table[name] = default
    table["specimen"] = table["specimen"].where(table["specimen"] != "", table["file"])
    if "split_group" not in table:
        table["split_group"] = table["specimen"]
    table["split_group"] = table["split_group"].where(table["split_group"] != "", table["specimen"])

    line = table["line"]
    checked = table if labels_required else table.assign(label="any")
    try:
        SCHEMA.validate(checked, lazy=True)
    except pa.errors.SchemaErrors as errors:
        for case in errors.failure_cases.itertuples():
            row = int(line.iloc[int(case.index)]) if pd.notna(case.index) else 0
            remedy = REMEDIES.get((case.column, case.check), f"does not hold: {case.check}")
            faults.append((row, case.column, case.failure_case, remedy))

    # A manifest kept with a run says where the images lie, and keeps `file` as their name.
    where = table["path"].where(table["path"] != "", table["file"]) if "path" in table else table["file"]
    table["path"] = [str((path.parent / f).resolve()) for f in where]
    with ThreadPoolExecutor() as pool:
        inspected = list(pool.map(_inspect, table["path"]))
    for found, name, at in zip(inspected, table["file"], line, strict=True):
        if "fault" in found:
            faults.append((int(at), "file", name, found["fault"]))
    computed = [found.get("sha256", "") for found in inspected]
    if "sha256" in table:
        for given, actual, at in zip(table["sha256"], computed, line, strict=True):
            if given and actual and given.lower() != actual:
                remedy = f"the file's hash is {actual[:12]}...; it has changed: restore it or correct the hash"
                faults.append((int(at), "sha256", f"{given[:12]}...", remedy))
    table["sha256"] = computed
    table["width"] = [found.get("width", 0) for found in inspected]
    table["height"] = [found.get("height", 0) for found in inspected]

    scales, sources = [], []
    for value, file, at in zip(table["pixels_per_um"], table["path"], line, strict=True):
        scale, source = np.nan, "manifest"
        try:
            if value:
                try:
                    scale = float(value)
                except ValueError:
                    raise ScaleError("is not a number; write pixels per um with a decimal point") from None
                check_plausible(scale)
            elif os.path.isfile(file):
                scale, source = read_scale(file)
        except ScaleError as error:
            faults.append((int(at), "pixels_per_um", value, str(error)))
        scales.append(scale)
        sources.append(source)
    table["pixels_per_um"], table["scale_source"] = scales, sources

    if labels_required:
        seen = {}
        for i, found in enumerate(inspected):
            first = seen.setdefault(found.get("pixels", f"missing {i}"), i)
            if first != i and table["path"].iloc[first] != table["path"].iloc[i]:
                straddles = has_split and table["split"].iloc[first] != table["split"].iloc[i]
                where = "in train and quiz" if straddles else "listed twice"
                remedy = f"the same picture as line {line.iloc[first]} is {where}; remove one"
                faults.append((int(line.iloc[i]), "file", table["file"].iloc[i], remedy))
        if not has_split and not faults:
            table["split"] = split_by_group(table)
            n_quiz = int((table["split"] == "quiz").sum())
            notes.append(f"The manifest has no split: {n_quiz} images were set aside as the quiz, by split_group.")
        train = table[table["split"] == "train"]
        if train.empty:
            faults.append((0, "split", "", "no row is train; mark the training images"))
        elif train["label"].nunique() < 2:
            faults.append((0, "label", train["label"].iloc[0], "only one class to train; give at least two"))
        for row in train[train["label"].str.lower() == NONE_OF_THESE].itertuples():
            faults.append((int(row.line), "label", row.label, "is for quiz images only; it is not a class to learn"))
        if has_split:
            known = table[table["label"].isin(set(train["label"]))]
            n_splits = known.groupby(["label", "split_group"])["split"].transform("nunique")
            for row in known[(n_splits > 1) & (known["split"] == "quiz")].itertuples():
                remedy = f"{row.label!r} of this group is in train too; give each split its own specimens"
                faults.append((int(row.line), "split_group", row.split_group, remedy))
        if (table["split"] != "quiz").all():
            notes.append("The manifest has no quiz rows: training is validated, the comparison is skipped.")
    if faults:
        raise ManifestError(path, faults)

    tagged = table["scale_source"] != "manifest"
    if tagged.any():
        kinds = ", ".join(sorted(table.loc[tagged, "scale_source"].unique()))
        notes.append(f"The scale of {int(tagged.sum())} images was read from their own tags ({kinds}).")
    digest = hashlib.sha256(path.read_bytes() + "".join(computed).encode()).hexdigest()
    table = table.drop(columns="line")
    table.attrs = {
        "manifest": str(path),
        "sha256": digest,
        "simulated": bool(table["source"].str.startswith(SIMULATED).any()),
        "notes": notes,
    }
    return table


def write_manifest(manifest: pd.DataFrame, path) -> None:
    """Write a manifest that `read_manifest` reads back from any folder: ``path`` holds where the images lie."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    manifest.drop(columns=["width", "height", "scale_source"], errors="ignore").to_csv(temporary, index=False)
    os.replace(temporary, path)


def classes(manifest: pd.DataFrame) -> list[str]:
    """The classes to choose from: the labels of the training rows, sorted."""
    return sorted(manifest.loc[manifest["split"] == "train", "label"].unique())


def truth(manifest: pd.DataFrame) -> pd.Series:
    """The right answer of each quiz image, by ``file``: its label, or "none of these" if no training row has it."""
    quiz = manifest[manifest["split"] == "quiz"]
    known = set(classes(manifest))
    answers = [label if label in known else NONE_OF_THESE for label in quiz["label"]]
    return pd.Series(answers, index=pd.Index(quiz["file"], name="image"), name="truth", dtype=object)


def quiz_id(manifest: pd.DataFrame) -> str:
    """Name of a quiz: a hash of its images and of the classes to choose from."""
    quiz = manifest[manifest["split"] == "quiz"]
    parts = [*sorted(quiz["sha256"]), *classes(manifest)]
    return "quiz-" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def split_by_group(manifest: pd.DataFrame, quiz_fraction: float = 0.2, seed: int = 0) -> pd.Series:
    """Set about ``quiz_fraction`` of the images aside as the quiz, whole groups at a time, stratified by label.

    A label found in a single group stays in training, or no training image would have it.

    Returns
    -------
    Series of "train" or "quiz", indexed as the manifest.
    """
    groups = manifest["split_group"]
    split = pd.Series("train", index=manifest.index)
    if groups.nunique() < 2:
        return split
    n_folds = max(2, min(round(1 / quiz_fraction), groups.nunique()))
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    _, chosen = next(iter(folds.split(manifest, manifest["label"], groups)))
    split.iloc[chosen] = "quiz"
    for label in manifest["label"].unique():
        rows = manifest["label"] == label
        if (split[rows] == "quiz").all():
            split[rows & groups.isin(groups[rows].unique())] = "train"
    # Putting a label back may have torn its group apart: a group goes where any of it trains.
    torn = groups.isin(groups[split == "train"])
    split[torn] = "train"
    return split


def group_folds(rows: pd.DataFrame, n_folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds for cross-validation: stratified by label, no group in both halves where that is possible.

    A class photographed in a single group cannot be trained on and held out whole; its images are dealt out one by
    one instead, so that every fold can train on the class. Its held-out figures are optimistic.

    Parameters
    ----------
    rows : DataFrame
        Training rows with ``label``, ``split_group`` and ``file``.
    n_folds, seed : int

    Returns
    -------
    list of (train, validation)
        Positions in ``rows``; each image is in one validation set.

    Raises
    ------
    ValueError
        If a class has a single image.
    """
    labels = rows["label"].to_numpy()
    # A group counts per label: the same heat treatment may show two classes in two places.
    units = (rows["label"] + "\0" + rows["split_group"]).to_numpy(dtype=object)
    groups = rows["split_group"].to_numpy(dtype=object).copy()
    for label in np.unique(labels):
        of_class = labels == label
        if of_class.sum() < 2:
            raise ValueError(f"class {label!r} has a single training image; give it at least two")
        if len(np.unique(units[of_class])) == 1:
            groups[of_class] = rows["file"].to_numpy()[of_class]
    n_folds = min(n_folds, len(np.unique(groups)))
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    validation_of = np.empty(len(rows), dtype=int)
    for f, (_, valid) in enumerate(splitter.split(labels, labels, groups)):
        validation_of[valid] = f
    # Grouping may still have put all of a class into one fold; then its groups, or at last its images, are dealt.
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        if len(np.unique(validation_of[of_class])) == 1:
            parts = groups[of_class] if len(np.unique(groups[of_class])) > 1 else of_class.astype(object)
            for i, part in enumerate(pd.unique(pd.Series(parts))):
                validation_of[of_class[parts == part]] = i % n_folds
    return [
        (np.flatnonzero(validation_of != f), np.flatnonzero(validation_of == f))
        for f in range(n_folds)
        if (validation_of == f).any()
    ]
