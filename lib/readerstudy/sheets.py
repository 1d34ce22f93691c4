"""Answer sheets of readers, as laboratories send them: read, and checked against the cases of a quiz.

The cases are a DataFrame indexed by image (its name in tables of results) with the columns ``truth`` (the right answer),
``specimen``, and ``image_id`` (its name on the quiz page, which sheets may use as well). Its ``attrs`` hold ``quiz_id``
and ``options``, the answers to choose from.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd

from spreadsheets import TABLES, Fault, column_name, fault_lines, normalise_name, number, read_table

NO_ANSWER, NONE_OF_THESE = "no answer", "none of these"
COLUMNS = ("quiz", "image", "decision_maker", "kind", "answer")
HIGHEST = {"seconds": math.inf, "confidence": 1, "years_experience": 80}
OPTIONAL = (*HIGHEST, "laboratory")
KINDS = ("human", "simulated human", "machine")
MACHINE = "machine"  # what a study's own machine is called among the readers
LONGEST_NAME = 40
# Spreadsheets that are not read, and might be a reader's sheet.
OTHER_SHEETS = (".xls", ".xlsb", ".ods", ".numbers", ".docx", ".rtf", "")


class SheetError(ValueError):
    """Answer sheets with faults; the message names each with file and row."""

    def __init__(self, where, faults: list[str]):
        number = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__("\n".join([f"{number} in the answer sheets of {where}:", *faults]))


def opaque_image_id(quiz: str, sha256: str) -> str:
    """Name of a quiz image on the page and in the sheets downloaded from it: ``image-`` and 16 hexadecimal digits.

    It is made from the image's content and not from its file's name, which is easily guessed and often tells the class.
    """
    return "image-" + hashlib.sha256(f"{quiz}\n{sha256}".encode()).hexdigest()[:16]


def _sheet_files(folder: Path) -> tuple[list[Path], list[str], list[str]]:
    """The sheets of a panel's folder, faults and notes: no file is passed over without a word.

    Hidden files, ``README`` and ``.json`` files (such as the declared protocol) are no sheets and need no note.
    """
    sheets, faults, notes = [], [], []
    for path in sorted(folder.iterdir()):
        ending = path.suffix.lower()
        if path.name.startswith((".", "~$")) or path.stem.lower() == "readme" or ending == ".json":
            continue
        if path.is_dir():
            faults.append(f"{path.name}: is a folder; move its sheets out of it, or give it as a panel of its own")
        elif ending in TABLES:
            sheets.append(path)
        elif ending in OTHER_SHEETS:
            faults.append(f"{path.name}: cannot be read; save it as CSV or .xlsx, or move it out of the folder")
        else:
            notes.append(f"{path.name} in the panel's folder is no answer sheet and was not read.")
    return sheets, faults, notes


def _is_name(text: str) -> bool:
    """Whether a pseudonym or laboratory has a form that the quiz page takes; a spreadsheet sees no formula in it."""
    signs = {c for c in text if not (c.isalnum() or unicodedata.category(c).startswith("M"))}
    return text[:1].isalnum() and len(text) <= LONGEST_NAME and signs <= set(" ._-")


def _is_reserved(name: str, kind: str) -> bool:
    """Whether a pseudonym has another meaning in the tables of results."""
    name = normalise_name(name)
    machines = kind == "human" and name == MACHINE
    return machines or name in ("majority vote", "panel mean") or name.startswith("simulated") and kind != "simulated human"


def _read_sheet(path: Path, cases: pd.DataFrame) -> tuple[pd.DataFrame, list[Fault]]:
    """One sheet with canonical columns, names and spellings, a column ``line``, notes in attrs; and its faults."""
    known, quiz = COLUMNS + OPTIONAL, cases.attrs["quiz_id"]
    table, lines, faults = read_table(path, known)
    notes = table.attrs.get("notes", [])
    found, table = list(table), table.rename(columns=column_name)
    if not faults and not set(COLUMNS) <= set(table):
        remedy = (
            f"found {', '.join(found)}; needed {', '.join(COLUMNS)}; rename or add what is missing, or move the file away"
        )
        faults = [Fault(0, "columns", "", remedy)]
    if unread := [c for c in table if c not in known]:
        notes = [*notes, f"The columns {', '.join(unread)} are not known and were not read."]
    table = table.reindex(columns=known, fill_value="").assign(line=lines)
    table.attrs = {"notes": [f"{path.name}: {note}" for note in notes]}
    if faults:
        return table, faults

    def wrong(rows, column: str, remedy: str) -> None:
        faults.extend(Fault(int(lines[i]), column, table[column].iloc[i], remedy) for i in np.flatnonzero(rows))

    other = table["quiz"].str.lower() != quiz
    wrong(other, "quiz", f"the sheet is of another quiz; this one is {quiz}")
    if other.all():
        return table, faults
    answers = [*cases.attrs["options"], NO_ANSWER]
    table["quiz"] = quiz
    table["image"] = table["image"].replace(dict(zip(cases["image_id"], cases.index, strict=True)))
    for column, right in (("answer", answers), ("kind", KINDS), ("image", cases.index)):
        spelling = {normalise_name(value): value for value in right}  # "Pearlite" is pearlite
        table[column] = [v if v in right else spelling.get(normalise_name(v), v) for v in table[column]]
    names = table["decision_maker"]
    wrong(~table["image"].isin(cases.index), "image", "no such image in this quiz")
    wrong(~table["answer"].isin(answers), "answer", f"not an answer; take one of {', '.join(answers)}")
    wrong(~table["kind"].isin(KINDS), "kind", f"take one of {', '.join(KINDS)}")
    form = f"begin with a letter or digit; then letters, digits, spaces and . _ - only, at most {LONGEST_NAME}"
    wrong(~names.map(_is_name), "decision_maker", f"give a pseudonym: {form}")
    wrong((table["laboratory"] != "") & ~table["laboratory"].map(_is_name), "laboratory", form)
    reserved = [_is_reserved(name, kind) for name, kind in zip(names, table["kind"], strict=True)]
    wrong(reserved, "decision_maker", "has another meaning in the results; take another pseudonym")
    wrong(table.duplicated(["decision_maker", "image"]), "image", "answered twice by the same reader")
    for column, highest in HIGHEST.items():
        numbers = table[column].map(_number_or_nan)
        to = f"from 0 to {highest:g}" if highest < math.inf else "of 0 or more"
        bad = (table[column] != "") & ~((numbers >= 0) & (numbers <= highest) & (numbers < math.inf))
        wrong(bad, column, f"must be a number {to} with a decimal point, or empty")
        table[column] = numbers
    for column in ("kind", "years_experience", "laboratory"):
        differs = table.groupby("decision_maker")[column].transform(lambda s: s.nunique(dropna=False)) > 1
        wrong(differs & ~names.duplicated(), "decision_maker", f"the reader has several values of {column}; give one")
    return table, faults


def _number_or_nan(text: str) -> float:
    try:
        return number(text)
    except ValueError:
        return math.nan


def _same_reader_faults(sheets: dict[str, pd.DataFrame]) -> list[str]:
    """Readers in two files, and pseudonyms that print alike and are not the same."""
    faults, seen = [], {}
    for file, table in sheets.items():
        for reader, line in table.groupby("decision_maker", sort=False)["line"].first().items():
            place = f"{file}: line {line}"
            other, where, first = seen.setdefault(normalise_name(reader), (reader, place, file))
            if other != reader:
                faults.append(f"{place}, decision_maker: {reader!r} is written {other!r} in {where}; write one person one "
                              "way, and give two people two pseudonyms")  # fmt: skip
            elif file != first:
                faults.append(f"{place}, decision_maker: {reader!r} is also in {first}; a reader has one sheet")
    kinds = {kind for table in sheets.values() for kind in table["kind"]}
    if {"human", "simulated human"} <= kinds:
        faults.append("some readers are simulated and some are people; give them as two panels")
    return faults


def read_sheets(folder, cases: pd.DataFrame) -> pd.DataFrame:
    """Read the answer sheets of a panel.

    A reader need not have seen every image: an image without a row was not shown to that reader, and is told in the
    notes; one that was shown and not answered has a row that says "no answer". Another machine may take part
    (``kind`` is "machine"). If it is called "machine", as the study's own is, it becomes "machine (panel)".

    Parameters
    ----------
    folder : path
        Of one file a sheet (CSV or Excel), or one sheet.
    cases : DataFrame
        See the module.

    Returns
    -------
    DataFrame
        quiz, image, decision_maker, kind, answer, seconds, confidence, years_experience (numbers, NaN unknown),
        laboratory ("" unknown), and ``attrs["notes"]``: sentences on what a reader of the results should know of the
        sheets.

    Raises
    ------
    SheetError
        With all faults of all files at once.
    """
    folder = Path(folder)
    paths, faults, notes = _sheet_files(folder) if folder.is_dir() else ([folder], [], [])
    if not paths:
        faults.append(f"no answer sheets there; put one CSV or .xlsx file a reader into {folder}")
    sheets = {}
    for path in paths:
        table, wrong = _read_sheet(path, cases)
        faults += [f"{path.name}: {line}" for line in fault_lines(wrong)]
        notes += table.attrs["notes"]
        sheets[path.name] = table
    faults += _same_reader_faults(sheets)
    if faults:
        raise SheetError(folder, faults)
    table = pd.concat(sheets.values(), ignore_index=True).drop(columns="line")
    for reader, n in table.groupby("decision_maker", sort=False).size().items():
        if n < len(cases):
            notes.append(f"{reader!r} has no row for {len(cases) - n} of the {len(cases)} images, which count as not shown "
                         "to this reader.")  # fmt: skip
    own = table["decision_maker"].map(normalise_name) == MACHINE
    if own.any():
        table.loc[own, "decision_maker"] = f"{MACHINE} (panel)"
        notes.append(f"The panel's {MACHINE!r} is called '{MACHINE} (panel)', to be told from the machine of this study.")
    table.attrs = {"notes": notes}
    return table


def read_machine_sheet(path, cases: pd.DataFrame) -> pd.DataFrame:
    """Read the answers of the study's own machine, which answers every image under the name "machine".

    Parameters and returns as `read_sheets`, of one file.

    Raises
    ------
    SheetError
        Also if an image is missing, or the sheet is somebody else's.
    """
    path = Path(path)
    table, wrong = _read_sheet(path, cases)
    if not wrong and not (table[["decision_maker", "kind"]] == MACHINE).all(axis=None):
        wrong.append(Fault(0, "decision_maker", "", "is not the study's machine alone; let notebook 02 write it again"))
    if not wrong and (lacking := sorted(set(cases.index) - set(table["image"]))):
        wrong.append(
            Fault(0, "image", lacking[0], f"no row for {len(lacking)} of the images; let notebook 02 write it again")
        )
    if wrong:
        raise SheetError(path, [f"{path.name}: {line}" for line in fault_lines(wrong)])
    table.attrs = {}
    return table.drop(columns="line")
