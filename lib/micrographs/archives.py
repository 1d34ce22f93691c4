"""What an archive of micrographs is: where it lies, what its columns mean, and which of its images make a study.

``data/datasets.toml`` has one table an archive; data/README.md describes the keys.
"""

from __future__ import annotations

import csv
import io
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from micrographs.manifest import NONE_OF_THESE
from micrographs.scale import check_plausible
from micrographs.splits import split_by_group
from microrace import paths

TABLE = paths.DATA / "datasets.toml"
UM_PER_UNIT = {"nm": 1e-3, "um": 1.0, "\u00b5m": 1.0, "\u03bcm": 1.0, "mm": 1e3}  # in which a micron bar may be given
DRAWN_BY = {"classes", "n_train", "n_quiz", "n_none", "quiz_fraction", "seed"}  # what `draw` is told


class DatasetError(ValueError):
    """An archive that cannot be used as it is; the message names the file, the place in it and the remedy."""


@dataclass(frozen=True)
class Dataset:
    """One archive; the attributes are the keys of its table in ``data/datasets.toml``."""

    name: str
    title: str
    base_url: str
    hashes: str
    metadata: str
    images: str
    columns: dict[str, str]
    scale: dict[str, str]
    split_group: dict
    selections: dict[str, dict]
    source: str
    licence: str
    by_hand: str = ""
    metadata_sha256: str = ""
    width_px: int = 0
    rows: list[int] = field(default_factory=list)
    modality: str = ""
    citation: str = ""

    def __post_init__(self):
        bar = {"bar", "unit", "bar_px"}
        for holds, what in (
            (re.fullmatch(r"[A-Za-z0-9][\w.-]*", self.name), "a name has letters, digits, '-', '_' and '.' only"),
            ("label" in self.columns, "columns: 'label' is missing"),
            ("pixels_per_um" in self.scale or bar <= set(self.scale), "scale: give pixels_per_um, or bar, unit and bar_px"),
            ("column" in self.split_group, "split_group: 'column' is missing"),
            (len(self.rows) in (0, 2), "rows: give the first and the last"),
            (self.selections, "selections: give at least one"),
            (all(set(how) in (set(), DRAWN_BY) for how in self.selections.values()),
             f"selections: each is empty or has {', '.join(sorted(DRAWN_BY))}"),
        ):  # fmt: skip
            if not holds:
                raise TypeError(what)

    @property
    def variable(self) -> str:
        """The environment variable that replaces `base_url`."""
        return f"MICRORACE_{re.sub('[^A-Z0-9]', '_', self.name.upper())}_URL"

    @property
    def selections_file(self) -> Path:
        """Where the images of each selection are written down."""
        return paths.DATA / f"{self.name}-selections.csv"


def known(table=TABLE) -> dict[str, Dataset]:
    """The archives of a table, by name.

    Raises
    ------
    DatasetError
        If it is not TOML, or an archive's keys are not those of `Dataset`.
    """
    if not Path(table).is_file():
        return {}
    try:
        found = tomllib.loads(Path(table).read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{table}: is not TOML ({error}); correct it") from None
    datasets = {}
    for name, keys in found.items():
        try:
            datasets[name] = Dataset(name=name, **keys)
        except TypeError as error:
            raise DatasetError(f"{table}, [{name}]: {str(error).replace('Dataset.__init__() ', '')}") from None
    return datasets


def named(name: str, table=TABLE) -> Dataset:
    """The archive of that name.

    Raises
    ------
    DatasetError
        If there is none.
    """
    datasets = known(table)
    if name not in datasets:
        raise DatasetError(f"{name}: no such archive in {table}; known are {', '.join(datasets) or 'none'}")
    return datasets[name]


# --- what the archive says -------------------------------------------------------------------------------------------


def read_rows(dataset: Dataset, metadata) -> pd.DataFrame:
    """Read an archive's own table as rows of a manifest, without the images.

    Parameters
    ----------
    dataset : Dataset
    metadata : path
        CSV with the columns that `dataset` names.

    Returns
    -------
    DataFrame
        ``original`` (name of the image in the archive), ``label``, ``pixels_per_um``, ``specimen``, ``split_group``
        and whatever else ``columns`` maps.

    Raises
    ------
    DatasetError
        With all faults, each with its line and column.
    """
    text = Path(metadata).read_bytes().decode("utf-8-sig", errors="replace")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    in_images = re.findall(r"{(\w+)}", dataset.images)
    wanted = [*in_images, *dataset.columns.values(), *dataset.scale.values(), dataset.split_group["column"]]
    missing = sorted(set(wanted) - set(reader.fieldnames or []))
    if missing:
        raise DatasetError(f"{metadata}: has no column {', '.join(missing)}; correct the table's [{dataset.name}]")
    rows, faults, stems = [], [], set()
    for row in reader:
        cells = {name: (row[name] or "").strip() for name in wanted}

        def fault(column, remedy, at=reader.line_num, cells=cells):
            faults.append(f"  line {at}, {column}: {cells[column]!r}: {remedy}")

        original = dataset.images.format(**cells)
        parts = PurePosixPath(original).parts
        if not all(cells[name] for name in in_images) or ".." in parts or "\\" in original or original.startswith("/"):
            fault(in_images[0], "is no path of an image below the archive's folder")
        if (stem := PurePosixPath(original).with_suffix("")) in stems:
            fault(in_images[0], "is there already; each image needs a name of its own, apart from its ending")
        stems.add(stem)
        if not cells[dataset.columns["label"]]:
            fault(dataset.columns["label"], "the image has no label; give it one, or remove the row")
        found = {"original": original} | {ours: cells[theirs] for ours, theirs in dataset.columns.items()}
        try:
            found["pixels_per_um"] = _pixels_per_um(dataset.scale, cells)
        except ValueError as error:
            fault(dataset.scale.get("bar") or dataset.scale["pixels_per_um"], str(error))
        # Keys that a spreadsheet took for numbers: "35.0" is specimen 35.
        found["specimen"] = re.sub(r"^(\d+)\.0$", r"\1", found.get("specimen", ""))
        group = cells[dataset.split_group["column"]]
        for pattern, by in dataset.split_group.get("replace", []):
            group = re.sub(pattern, by, group)
        found["split_group"] = group or dataset.split_group.get("empty", "")
        rows.append(found)
    if not rows:
        faults.append("  has no rows")
    if faults:
        raise DatasetError(f"{metadata}: {len(faults)} faults\n" + "\n".join(faults))
    return pd.DataFrame(rows)


def _pixels_per_um(columns: dict[str, str], cells: dict[str, str]) -> float:
    """The scale of a row: given, or the micron bar's length in pixels by its length in um."""

    def number(key):
        try:
            return float(cells[columns[key]])
        except ValueError:
            raise ValueError(f"{columns[key]} is {cells[columns[key]]!r}, which is no number; write one") from None

    if "pixels_per_um" in columns:
        return check_plausible(number("pixels_per_um"))
    unit = cells[columns["unit"]]
    if unit not in UM_PER_UNIT:
        raise ValueError(f"the unit {unit!r} is not known; write um, nm or mm")
    um, px = number("bar") * UM_PER_UNIT[unit], number("bar_px")
    if not um > 0:
        raise ValueError("is no length of a micron bar; write a number above zero")
    # Digits that the division made up are not written down.
    return check_plausible(float(f"{px / um:.10g}"))


# --- which images ----------------------------------------------------------------------------------------------------


def draw(
    rows: pd.DataFrame, *, classes: list[str], n_train: int, n_quiz: int, n_none: int, quiz_fraction: float, seed: int
) -> pd.Series:
    """Draw a study like the paper's quiz 1 from a larger archive; no group lies on both sides.

    `split_by_group` gives about ``quiz_fraction`` of each class to the quiz's side, whole groups at a time. On either
    side each class gets the same number of images, or all it has, and the classes that have more share what is left.
    Within a class the groups take turns, so that a large one does not crowd out the others.

    Parameters
    ----------
    rows : DataFrame
        With ``label`` and ``split_group``.
    classes : list of str
        The classes to learn; images of all others are "none of these" and in the quiz only.
    n_train, n_quiz, n_none : int
        Training images, quiz images of the classes, and quiz images of none of these; fewer where there are not so many.
    quiz_fraction : float
    seed : int

    Returns
    -------
    Series of "train", "quiz" or "", indexed as ``rows``.
    """
    label = rows["label"].where(rows["label"].isin(classes), NONE_OF_THESE)
    side = split_by_group(rows.assign(label=label), quiz_fraction, seed)
    rng = np.random.default_rng(seed)
    split = pd.Series("", index=rows.index, name="split")
    for part, total in (("quiz", n_quiz), ("train", n_train)):
        there = {name: rows.index[(side == part) & (label == name)] for name in classes}
        fewest_first = sorted(there, key=lambda name: (len(there[name]), name))
        for position, name in enumerate(fewest_first):
            n = min(len(there[name]), total // (len(classes) - position))
            split[_in_turn(rows.loc[there[name]], n, rng)] = part
            total -= n
    others = rows.index[(side == "quiz") & (label == NONE_OF_THESE)]
    split[_in_turn(rows.loc[others], min(n_none, len(others)), rng)] = "quiz"
    return split


def _in_turn(rows: pd.DataFrame, n: int, rng) -> pd.Index:
    """``n`` images at random, the groups taking turns."""
    shuffled = rows.iloc[rng.permutation(len(rows))]
    turn = shuffled.groupby("split_group", sort=False).cumcount()
    return turn.sort_values(kind="stable").index[:n]


def selections(dataset: Dataset, rows: pd.DataFrame) -> pd.DataFrame:
    """The facts of each image and its part in each selection: "train", "quiz", or "" where it has none."""
    table = rows[["original", "label", "pixels_per_um", "specimen", "split_group"]].copy()
    for name, how in dataset.selections.items():
        table[name] = draw(rows, **how) if how else "train"
    return table


def read_split(dataset: Dataset, selection: str, rows: pd.DataFrame, published: bool) -> pd.Series:
    """Return a selection's split: as written down for the published archive, drawn for any other.

    Raises
    ------
    DatasetError
        If what is written down is of other images.
    """
    if not (published and dataset.selections_file.is_file()):
        return selections(dataset, rows)[selection]
    written = pd.read_csv(dataset.selections_file, keep_default_na=False, dtype=str).set_index("original")
    if set(written.index) != set(rows["original"]) or selection not in written:
        command = f"python -m micrographs.uhcsdb {dataset.name} --write-selections"
        raise DatasetError(f"{dataset.selections_file}: is not of this archive; write it anew: {command}")
    return written.loc[rows["original"], selection].set_axis(rows.index)
