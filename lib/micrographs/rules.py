"""What a manifest must hold: each rule with its remedy, and what a reader of the results should know."""

from __future__ import annotations

import difflib
import re

import numpy as np
import pandas as pd
import pandera.pandas as pa

from micrographs.scale import PRINT_DPI, ScaleError, check_plausible, read_scale
from spreadsheets.tables import column_name, plain

NONE_OF_THESE = "none of these"
NO_ANSWER = "no answer"
# What a class cannot be called: a missing answer, and the columns that stand beside the classes in a table of scores.
RESERVED_LABELS = (NO_ANSWER, "image", "answer", "score", "distance")
SPLITS = ("train", "quiz")
COLUMNS = (
    "file", "label", "split", "pixels_per_um", "modality", "specimen", "split_group", "source", "licence", "sha256", "path",
)  # fmt: skip
ALSO_CALLED = {
    "licence": ("license",),
    "pixels_per_um": ("pixels_per_\u03bcm",),
    "specimen": tuple(
        kind + end for kind in ("specimen", "sample") for end in ("", "_id", "_no", "_nr", "_number", "_name", "_nummer")
    ),
}
SHORTEST_ALIKE = 5  # letters of a word, from which on one letter more or less is asked about


def _rule(holds, remedy: str) -> pa.Check:
    return pa.Check(holds, error=remedy)


# What the cells must hold; what needs the images or several rows is checked by the functions below.
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
                _rule(lambda s: ~s.map(plain).isin(RESERVED_LABELS), "is a reserved word; call the class otherwise"),
            ],
        ),
        "split": pa.Column(str, _rule(lambda s: s.isin(SPLITS), f"write {' or '.join(SPLITS)}")),
    }
)


def known_columns(table: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple]]:
    """Give the columns their names, however they are spelt, and ask where that is not clear.

    Parameters
    ----------
    table : DataFrame
        As `tables.read_table` gives it.

    Returns
    -------
    table : DataFrame
    faults : list of (line, column, value, remedy)
        Here and below as `ManifestError` takes them.
    """
    faults, plainly, at = [], {column: column_name(column) for column in table}, table.attrs["header_line"]
    for name in COLUMNS:
        if name in table:
            continue
        meant = [c for c, said in plainly.items() if said in (name, *ALSO_CALLED.get(name, ()))]
        if len(meant) > 1:
            faults.append((at, name, "", f"{' and '.join(map(repr, meant))} may both be meant; call one {name!r}"))
        if meant and plainly[meant[0]] == name:
            table = table.rename(columns={meant[0]: name})
        elif meant:
            table[name] = table[meant[0]]
    return table, faults


def misspelt(name: str, columns) -> str | None:
    """The column that was most likely meant to be ``name``."""
    said = {column_name(c): c for c in columns}
    close = difflib.get_close_matches(name, said, 1, 0.85)
    return said[close[0]] if close else None


def group_key(name: str) -> str:
    """A group's name as it is compared: as a person sees it, and 007 and 7.0 as 7."""
    seen = re.sub(r"^(\d+)\.0+$", r"\1", plain(name))
    return re.sub(r"(?<![\d.,])0+(?=\d)", "", seen)


def scales(table: pd.DataFrame, lines, readable: list[bool]) -> tuple[list, list, list]:
    """Scale of each image, where it is from, and the faults found.

    Parameters
    ----------
    table : DataFrame
        With ``pixels_per_um`` as text, "" for what the file says, and ``path``.
    lines : array of int
        The line of each row.
    readable : list of bool
        Which images could be read; of the others no scale is sought.

    Returns
    -------
    pixels_per_um : list of float
    sources : list of str
    faults : list
    """
    found, sources, faults = [], [], []
    known = table["scale_source"] if "scale_source" in table else [""] * len(table)
    for value, path, told, whole, at in zip(
        table["pixels_per_um"], table["path"], known, readable, lines, strict=True
    ):
        scale, source = np.nan, told or "manifest"
        try:
            if value:
                try:
                    if "_" in value or not value.isascii():  # which float() takes
                        raise ValueError
                    scale = float(value)
                except ValueError:
                    remedy = "is not a number; write pixels per um, with a decimal point"
                    raise ScaleError(remedy) from None
                check_plausible(scale)
            elif whole:
                scale, source = read_scale(path)
        except ScaleError as error:
            faults.append((int(at), "pixels_per_um", value, str(error)))
        found.append(scale)
        sources.append(source)
    return found, sources, faults


def _a_letter_apart(a: str, b: str) -> bool:
    """Whether two names differ by one letter of a long word: added, left out, replaced, or two swapped."""
    words = [re.findall(r"\w+", name) for name in (a, b)]
    if "".join(words[0]) == "".join(words[1]):  # but for spaces, hyphens and points
        return len("".join(words[0])) >= SHORTEST_ALIKE
    if len(words[0]) != len(words[1]):
        return False
    apart = [(x, y) for x, y in zip(*words, strict=True) if x != y]
    if len(apart) != 1 or min(map(len, apart[0])) < SHORTEST_ALIKE:
        return False
    x, y = sorted(apart[0], key=len)
    start = next((i for i, (p, q) in enumerate(zip(x, y, strict=False)) if p != q), len(x))
    if any(c.isdigit() for c in x[start : start + 1] + y[start : start + 1]):
        return False  # "type12" and "type13" are counted
    if len(x) < len(y):
        return x[start:] == y[start + 1 :]
    return x[start + 1 :] == y[start + 1 :] or x[start:] == y[start + 1] + y[start] + y[start + 2 :]


def label_faults(table: pd.DataFrame, lines) -> list[tuple]:
    """Labels that cannot be meant as written, and classes that cannot be learned.

    A label is asked about where it differs from another only by case, spaces, invisible characters or dashes, or by
    one letter of a long word.
    """
    faults = []
    # "Pearlite" in the quiz would quietly become "none of these".
    spelling = table["label"].map(plain)
    usual = table["label"].groupby(spelling).agg(lambda s: s.value_counts(sort=True).index[0])
    meant = spelling.map(usual)
    for at, label, other in zip(lines, table["label"], meant, strict=True):
        if label != other:
            faults.append((int(at), "label", label, f"is written {other!r} elsewhere; write it one way"))
    n_images = spelling.value_counts()
    names = list(n_images.index)[:200]
    for i, rare in enumerate(names):
        for common in names[:i]:
            if rare and common and _a_letter_apart(rare, common):
                remedy = (
                    f"differs by a letter from {usual[common]!r} ({n_images[common]} images); write it the same way, or, if "
                    "it is another class, call it so that nobody takes the two for one"
                )
                faults.append((int(lines[spelling == rare][0]), "label", usual[rare], remedy))
    train = (table["split"] == "train").to_numpy()
    for at, label in zip(lines[train], table["label"][train], strict=True):
        if plain(label) == NONE_OF_THESE:
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


def leaks(table: pd.DataFrame, lines, pixels: list[str]) -> list[tuple]:
    """Images given twice, and groups of one class in both splits.

    Parameters
    ----------
    table : DataFrame
    lines : array of int
        The line of each row.
    pixels : list of str
        A hash of each image's grey values, "" where there is none to compare.

    Returns
    -------
    list of faults
    """
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
    keys = table["split_group"].map(group_key)
    n_splits = table["split"].groupby([table["label"].map(plain), keys]).transform("nunique")
    leaking = ((n_splits > 1) & (table["split"] == "quiz") & (table["label"] != "")).to_numpy()
    for i in np.flatnonzero(leaking):
        row = table.iloc[i]
        others = table["split_group"][(keys == keys.iloc[i]) & (table["split"] == "train")]
        spelt = "" if row["split_group"] in set(others) else f" as {next(iter(others), '')!r}"
        remedy = f"{row['label']!r} of this group is in train too{spelt}; keep a group (specimen) within one split"
        faults.append((int(lines[i]), "split_group", row["split_group"], remedy))
    return faults


def near_copies(table: pd.DataFrame, lines, pairs: list[tuple[int, int, float]]) -> tuple[list[tuple], list[str]]:
    """Faults for images of train and quiz that show nearly the same, and a note on such images of one split.

    Parameters
    ----------
    table : DataFrame
    lines : array of int
        The line of each row.
    pairs : list of (first, second, correlation)
        As `copies.find` gives them.

    Returns
    -------
    faults : list
    notes : list of str
    """
    faults, within = [], []
    for i, k, r in pairs:
        a, b = table.iloc[i], table.iloc[k]
        if a["split"] != b["split"]:
            remedy = (
                f"shows nearly the same as {a['file']!r} (line {lines[i]}, correlation {r:.2f}), and one is in train, one "
                "in quiz; keep both in one split, or remove one"
            )
            faults.append((int(lines[k]), "file", b["file"], remedy))
        else:
            within.append(f"{a['file']} and {b['file']} ({r:.2f})")
    some = "; ".join(within[:10]) + ("; ..." if len(within) > 10 else "")
    one = f"{len(within)} pair{'s' if len(within) > 1 else ''} of images"
    return faults, [f"{one} within a split show nearly the same (correlation): {some}."] if within else []


def notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the results should know about the images, in sentences."""
    said = []
    train, quiz = (table[table["split"] == s] for s in SPLITS)
    if quiz.empty:
        said.append("There are no quiz images: training is validated, the comparison is skipped.")
    other = quiz[~quiz["label"].isin(train["label"])]
    if len(other):
        names = ", ".join(sorted(other["label"].unique()))
        said.append(f"{len(other)} quiz images have labels that no training image has ({names}): the right answer "
                    f"to them is {NONE_OF_THESE!r}.")  # fmt: skip
    n_groups = train.groupby("label")["split_group"].nunique()
    if (n_groups == 1).any():
        names = ", ".join(n_groups.index[n_groups == 1])
        said.append(f"In training these classes come from a single group: {names}. Cross-validation splits them by "
                    "image and flatters them.")  # fmt: skip
    return said


def scale_notes(table: pd.DataFrame) -> list[str]:
    """Where the scales come from, where that should be known."""
    said, tagged = [], table["scale_source"] != "manifest"
    if tagged.any():
        kinds = ", ".join(sorted(set(table.loc[tagged, "scale_source"].str.replace(r"(sidecar).*", r"\1", regex=True))))
        said.append(f"The scale of {int(tagged.sum())} images was read from their own tags ({kinds}).")
    if table["pixels_per_um"].isin(PRINT_DPI).all():
        said.append("Every scale is a number that is also a print resolution in dots per inch; make sure that "
                    "pixels_per_um holds pixels per micrometre.")  # fmt: skip
    return said
