"""Answer sheets of readers, as laboratories send them: read and check them."""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd

from micrographs import manifest as manifests
from micrographs.manifest import NO_ANSWER, NONE_OF_THESE
from spreadsheets import tables

COLUMNS = ("quiz", "image", "decision_maker", "kind", "answer")
OPTIONAL = ("seconds", "confidence", "years_experience")
KINDS = ("human", "simulated human", "machine")
HIGHEST = {"seconds": math.inf, "confidence": 1, "years_experience": 80}
MACHINE = "machine"  # what a study's own machine is called among the readers
# Rows of the tables of results that are no reader's.
RESERVED_NAMES = ("majority vote", "panel mean")
# Spreadsheets that are not read, and might be a reader's sheet.
OTHER_SHEETS = (".xls", ".xlsb", ".ods", ".numbers", ".docx", ".rtf")


class SheetError(ValueError):
    """Answer sheets with faults; the message names each with file and row."""

    def __init__(self, where, faults: list[str]):
        self.where, self.faults = where, list(faults)
        number = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__("\n".join([f"{number} in the answer sheets of {where}:", *faults]))

    def __reduce__(self):
        # An exception is pickled by its message unless told otherwise.
        return type(self), (self.where, self.faults)


def opaque_image_id(quiz: str, sha256: str) -> str:
    """Name of a quiz image on the page and in the sheets downloaded from it.

    Made from the image's content and not from its file's name, which is easily guessed and often tells the class.

    Parameters
    ----------
    quiz : str
        As `manifests.quiz_id` gives it.
    sha256 : str
        Of the image's file, as the manifest has it.

    Returns
    -------
    str
        ``image-`` and 16 hexadecimal digits.
    """
    return "image-" + hashlib.sha256(f"{quiz}\n{sha256}".encode()).hexdigest()[:16]


def sheet_files(directory) -> tuple[list[Path], list[str], list[str]]:
    """The answer sheets of a panel's folder; no file there is passed over without a word.

    Parameters
    ----------
    directory : path
        A folder.

    Returns
    -------
    sheets : list of Path
        Every file that ends like a table (`tables.TABLES`, in any case), sorted.
    faults, notes : list of str
        On what may hold answers and cannot be read, and on other files. Hidden files, ``README`` and ``.json`` files
        (such as the declared protocol) are no sheets and need no note.
    """
    sheets, faults, notes = [], [], []
    for path in sorted(Path(directory).iterdir()):
        ending = path.suffix.lower()
        if path.name.startswith((".", "~$")) or path.stem.lower() == "readme" or ending == ".json":
            continue
        if path.is_dir():
            faults.append(f"{path.name}: is a folder; move its sheets out of it, or give it as a panel of its own")
        elif ending in tables.TABLES:
            sheets.append(path)
        elif ending in OTHER_SHEETS or not ending:
            faults.append(f"{path.name}: cannot be read; save it as CSV or .xlsx, or move it out of the folder if it is "
                          "no answer sheet")  # fmt: skip
        else:
            notes.append(f"{path.name} in the panel's folder is no answer sheet and was not read.")
    return sheets, faults, notes


def _number(text: str) -> float:
    """A number as people write it, NaN if it is none. A decimal comma is one unless it may separate thousands."""
    if re.fullmatch(r"\d+,\d+", text) and not re.fullmatch(r"[1-9]\d{0,2},\d{3}", text):
        text = text.replace(",", ".")
    try:
        return float(text) if "_" not in text else math.nan
    except ValueError:
        return math.nan


class _Sheet:
    """One file's rows, with canonical columns and spellings; collects its faults with their lines.

    Attributes
    ----------
    table : DataFrame or None
        Of the columns in `COLUMNS` and `OPTIONAL`; None where the file is no sheet of this quiz at all.
    faults : list of str
    """

    def __init__(self, path: Path, manifest: pd.DataFrame):
        self.name, self.manifest, self.table = path.name, manifest, None
        table, self.lines, faults = tables.read_table(path)
        self.faults = []
        for fault in faults:
            where = f", line {fault.line}" if fault.line else ""
            column = "" if fault.column == "table" else f", {fault.column}"
            value = f" {fault.value!r}:" if fault.value else ""
            self.faults.append(f"{self.name}{where}{column}:{value} {fault.remedy}")
        if self.faults:
            return
        known = {c: tables.column_name(c) for c in table}
        self.table = table.rename(columns={c: name for c, name in known.items() if name in COLUMNS + OPTIONAL})
        if self._has_columns() and self._is_of_this_quiz():
            self._check_cells()
        else:
            self.table = None

    def _fault(self, wrong, column: str, remedy: str) -> None:
        """One fault for each value that is wrong, with the line where it is first."""
        values = self.table[column].to_numpy()
        rows = pd.Series(np.flatnonzero(wrong)).groupby(values[np.flatnonzero(wrong)], sort=False)
        for value, at in rows:
            more = f" and {len(at) - 1} more" if len(at) > 1 else ""
            place = f"{self.name}, line {self.lines[at.iloc[0]]}{more}, {column}"
            self.faults.append(f"{place}: {tables.shortened(value)!r}: {remedy}")

    def _has_columns(self) -> bool:
        missing = [c for c in COLUMNS if c not in self.table]
        others = [c for c in self.table if c not in COLUMNS + OPTIONAL]
        # A misspelt optional column would be lost without a word.
        for name in [c for c in COLUMNS + OPTIONAL if c not in self.table]:
            if close := difflib.get_close_matches(name, others, 1, 0.8):
                self.faults.append(f"{self.name}: there is a column {close[0]!r}; rename it to {name!r}")
                missing = [c for c in missing if c != name]
        if missing:
            self.faults.append(f"{self.name}: the column{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing; "
                               "add what is missing, or move the file away if it is no answer sheet")  # fmt: skip
        return not self.faults

    def _is_of_this_quiz(self) -> bool:
        wanted = manifests.quiz_id(self.manifest)
        self.table["quiz"] = self.table["quiz"].str.lower()
        other = (self.table["quiz"] != wanted).to_numpy()
        self._fault(other, "quiz", f"the sheet is of another quiz; this one is {wanted}")
        return not other.all()

    def _check_cells(self) -> None:
        table, quiz = self.table, manifests.truth(self.manifest).index
        rows = self.manifest[self.manifest["split"] == "quiz"]
        # Sheets downloaded from the quiz page name images by their content.
        name = manifests.quiz_id(self.manifest)
        opaque = [opaque_image_id(name, sha256) for sha256 in rows["sha256"]]
        table["image"] = table["image"].replace(dict(zip(opaque, rows["file"], strict=True)))
        answers = [*manifests.classes(self.manifest), NONE_OF_THESE, NO_ANSWER]
        for column, right in (("answer", answers), ("kind", KINDS)):
            # "Pearlite" is pearlite; no two classes differ in case alone.
            spelling = {tables.plain(value): value for value in right}
            table[column] = [spelling.get(tables.plain(value), value) for value in table[column]]
        self._fault(~table["image"].isin(quiz), "image", "no such image in this quiz")
        self._fault(~table["answer"].isin(answers), "answer", f"not an answer; take one of {', '.join(answers)}")
        self._fault(~table["kind"].isin(KINDS), "kind", f"take one of {', '.join(KINDS)}")
        self._fault(table["decision_maker"] == "", "decision_maker", "give a pseudonym")
        reserved = table["decision_maker"].map(tables.plain).isin(RESERVED_NAMES)
        self._fault(reserved, "decision_maker", "has another meaning in the results; take another pseudonym")
        self._fault(table.duplicated(["decision_maker", "image"]), "image", "answered twice by the same reader")
        for column, highest in HIGHEST.items():
            if column not in table:
                table[column] = math.nan
                continue
            number = table[column].map(_number)
            bad = (table[column] != "") & ~((number >= 0) & (number <= highest) & (number < math.inf))
            to = f"from 0 to {highest:g}" if highest < math.inf else "of 0 or more"
            self._fault(bad, column, f"must be a number {to} with a decimal point, or empty")
            table[column] = number
        for column in ("kind", "years_experience"):
            differs = table.groupby("decision_maker")[column].transform(lambda s: s.nunique(dropna=False)) > 1
            for reader in table.loc[differs, "decision_maker"].unique():
                self.faults.append(f"{self.name}: {reader!r} has several values of {column}; give one")


def _same_reader_faults(sheets: list[_Sheet]) -> list[str]:
    """Readers in two files, and pseudonyms that print alike and are not the same."""
    faults, seen = [], {}
    for sheet in sheets:
        for row, reader in sheet.table["decision_maker"].drop_duplicates().items():
            place = f"{sheet.name}, line {sheet.lines[row]}"
            other, where, file = seen.setdefault(tables.plain(reader), (reader, place, sheet.name))
            if other != reader:
                faults.append(f"{place}, decision_maker: {reader!r} is written {other!r} in {where}; write one person one "
                              "way, and give two people two pseudonyms")  # fmt: skip
            elif file != sheet.name:
                faults.append(f"{place}, decision_maker: {reader!r} is also in {file}; a reader has one sheet")
    return faults


def read_sheets(directory, manifest: pd.DataFrame) -> pd.DataFrame:
    """Read the answer sheets of a panel.

    A reader need not have seen every image: an image without a row was not shown to that reader, and is told in the
    notes; one that was shown and not answered has a row that says "no answer". Another machine may take part
    (``kind`` is "machine"). A reader called "machine" is called "machine (panel)" here, since that is the name of the
    study's own machine.

    Parameters
    ----------
    directory : path
        A folder of sheets (`sheet_files`), or one sheet.
    manifest : DataFrame
        Of the quiz.

    Returns
    -------
    DataFrame
        quiz, image, decision_maker, kind, answer, seconds, confidence, years_experience (numbers, NaN unknown), and
        ``attrs["notes"]``: sentences on what a reader of the results should know of the sheets.

    Raises
    ------
    SheetError
        With all faults of all files at once.
    """
    directory = Path(directory)
    if directory.is_dir():
        paths, faults, notes = sheet_files(directory)
        if not paths:
            faults.append(f"no answer sheets there; put one CSV or .xlsx file a reader into {directory}")
    else:
        paths, faults, notes = [directory], [], []
    sheets = [_Sheet(path, manifest) for path in paths]
    faults += [fault for sheet in sheets for fault in sheet.faults]
    sheets = [sheet for sheet in sheets if sheet.table is not None]
    faults += _same_reader_faults(sheets)
    if faults:
        raise SheetError(directory, faults)
    n_images = len(manifests.truth(manifest))
    for sheet in sheets:
        name = sheet.table["decision_maker"]
        for reader, n in name.groupby(name).size().items():
            if n < n_images:
                notes.append(f"{reader!r} has no row for {n_images - n} of the {n_images} images, which count as not "
                             "shown to this reader.")  # fmt: skip
        own = name.map(tables.plain) == MACHINE
        if own.any():
            sheet.table.loc[own, "decision_maker"] = f"{MACHINE} (panel)"
            notes.append(f"The reader {name[own].iloc[0]!r} of {sheet.name} is called '{MACHINE} (panel)', to be told from "
                         "the machine of this study.")  # fmt: skip
    table = pd.concat([sheet.table[[*COLUMNS, *OPTIONAL]] for sheet in sheets], ignore_index=True)
    table.attrs["notes"] = notes
    return table


def read_machine_sheet(path, manifest: pd.DataFrame) -> pd.DataFrame:
    """Read the answers of the study's own machine, which answers every image under the name "machine".

    Parameters and returns as `read_sheets`, of one file.

    Raises
    ------
    SheetError
        Also if an image is missing, or the sheet is somebody else's.
    """
    sheet = _Sheet(Path(path), manifest)
    faults = list(sheet.faults)
    if sheet.table is not None:
        if set(sheet.table["decision_maker"]) != {MACHINE} or set(sheet.table["kind"]) != {MACHINE}:
            faults.append(f"{sheet.name}: is not the sheet of the study's machine alone; let notebook 02 write it again")
        if lacking := sorted(set(manifests.truth(manifest).index) - set(sheet.table["image"])):
            faults.append(
                f"{sheet.name}: no row for {len(lacking)} images, first {lacking[0]!r}; let notebook 02 write it again"
            )
    if faults:
        raise SheetError(path, faults)
    return sheet.table[[*COLUMNS, *OPTIONAL]]
