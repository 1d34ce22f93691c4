"""The one reader of tables that people make: manifests and answer sheets, as text with the line of each row."""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import re
import unicodedata
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openpyxl
import pandas as pd

EXCEL_TABLES = (".xlsx", ".xlsm")
TABLES = (".csv", ".tsv", ".txt", *EXCEL_TABLES)
LFS_POINTER = b"version https://git-lfs"  # how a file begins whose content Git LFS has not fetched
ROWS_ABOVE_HEADER = 20  # a title and some remarks may stand there, which is told
# Two spellings of a name may differ in these: all print alike.
_DASHES = re.compile("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")
# What spreadsheets show where a formula failed, in any of their languages: #REF!, #BEZUG!, #¿NOMBRE?, #N/A, #NV, Err:502.
_ERROR_VALUE = re.compile(
    r"#[¡¿]?[^\W\d_]+(/0)?[!?]|#[^\W\d_]{1,2}/[^\W\d_]{1,2}[!?]?|#(NV|YOK|HIÁNYZIK|GETTING_DATA)|(Err|Fehler|Erreur):\s?\d{3}",
    re.IGNORECASE,
)


class Fault(NamedTuple):
    """What is wrong with a table; ``line`` counts the file's lines from 1 and is 0 for the file as a whole."""

    line: int
    column: str
    value: str
    remedy: str


class _Unreadable(ValueError):
    """No table at all; the arguments are the line and the remedy."""


def normalise_name(text: str) -> str:
    """A name as a person sees it, to tell whether two names are meant to be one.

    Compatibility composition (NFKC), case folded, dashes of any kind as hyphens, invisible characters (Unicode's
    format and control characters) taken out, and white space of any kind and length as one space.
    """
    composed = unicodedata.normalize("NFKC", _DASHES.sub("-", text)).casefold()
    seen = "".join(c for c in composed if c.isspace() or unicodedata.category(c) not in ("Cf", "Cc"))
    return " ".join(unicodedata.normalize("NFKC", seen).split())


def column_name(name: str) -> str:
    """The name of a column without regard to case, spaces, hyphens and underscores: "Specimen No" is "specimen_no"."""
    return re.sub(r"[\s_-]+", "_", normalise_name(name)).strip("_")


def shortened(value: str, length: int = 60) -> str:
    """A cell as a message quotes it."""
    return value if len(value) <= length else f"{value[: length - 3]}..."


def number(text: str) -> float:
    """A number with a decimal point, in both kinds of table alike; a comma may be of decimals or of thousands.

    Raises
    ------
    ValueError
        For anything else, such as "2,5", or what Python alone takes for a number: "2_5", digits of other scripts.
    """
    if "_" in text or not text.isascii():
        raise ValueError(text)
    return float(text)


def fault_lines(faults: list[Fault]) -> list[str]:
    """One sentence for each kind of fault, in the order of lines; of many rows the first three are named.

    Faults of a column are of one kind if their remedies differ in quoted names and in numbers alone.
    """
    kinds: dict[tuple, list[Fault]] = {}
    for fault in sorted(faults, key=lambda f: f.line):
        kinds.setdefault((fault.column, re.sub(r"'[^']*'|[\d.]+", "", fault.remedy)), []).append(fault)
    sentences = []
    for (column, _), alike in kinds.items():
        lines, values = ([str(f.line) for f in alike if f.line], [repr(shortened(f.value)) for f in alike if f.value])
        where = f"line{'s' * (len(lines) > 1)} {_listed(lines)}, " if lines else ""
        first = f"line {lines[0]}" if lines else values[0] if values else "one"
        example = f" ({first}; the others are alike)" if len({f.remedy for f in alike}) > 1 else ""
        said = f"{_listed(list(dict.fromkeys(values)))}: " if values else ""
        sentences.append(f"{where}{column}: {said}{alike[0].remedy}{example}")
    return sentences


def _listed(items: list[str]) -> str:
    """The first three of many."""
    return ", ".join(items[:3]) + (f" and {len(items) - 3} more" if len(items) > 3 else "")


def read_table(path, columns=()) -> tuple[pd.DataFrame, np.ndarray, list[Fault]]:
    """Read a table that people made, whatever program saved it, and never raise for what is in it.

    Text (.csv, .tsv, .txt, any case) in UTF-8, UTF-16 or Windows-1252, separated by commas, semicolons or tabs; or
    an Excel workbook with one sheet. Rows without any text are skipped.

    Parameters
    ----------
    path : path
    columns : collection of str
        Names of columns, as `column_name` gives them, that the caller knows: by them the header is told from lines
        above it, and in them no error value of a spreadsheet is taken.

    Returns
    -------
    table : DataFrame of str
        Stripped cells; "" where there is nothing, and "NA" and "None" are what they say. Of a column that is there
        twice, which is a fault, the first. ``attrs["header_line"]`` is the line of the header, and ``attrs["notes"]``
        holds sentences on what was guessed or should be looked at.
    lines : array (n_rows,) of int
        The line of the file that each row begins on.
    faults : list of Fault
        Of the table's form; with any of them the table is not to be trusted.
    """
    try:
        rows, faults, notes = _rows(Path(path), columns)
        (at, header), rows = _header(rows, columns), rows[1:]
    except (OSError, ValueError) as error:  # a name too long, or with a NUL in it, besides what is raised here
        unknown = 0, f"cannot be opened ({shortened(str(error))}); give the path of a table (CSV)"
        line, remedy = error.args if isinstance(error, _Unreadable) else unknown
        return pd.DataFrame(), np.array([], dtype=int), [Fault(line, "table", "", remedy)]
    while header and not header[-1] and not any(any(row[len(header) - 1 :]) for _, row in rows):
        header = header[:-1]  # trailing commas
    width, names = len(header), [column_name(name) for name in header]
    for i, name in enumerate(names):
        if name and name in names[:i]:
            faults.append(Fault(at, header[i], "", "the column is there twice; remove one"))
    for line, row in rows:
        if any(row[width:]):
            remedy = f"there are more values than the {width} columns; put quotes around a value that holds a comma"
            faults.append(Fault(line, "table", row[-1], remedy))
        for name, cell in zip(names, row, strict=False):
            if name in columns and _ERROR_VALUE.fullmatch(cell):
                faults.append(Fault(line, name, cell, "is a spreadsheet's error and no value; mend the formula there"))
    if not rows:
        faults.append(Fault(0, "table", "", "has no rows below its header; write one for each entry"))
    cells = [(row + [""] * width)[:width] for _, row in rows]
    table = pd.DataFrame(cells, columns=[name or f"unnamed {i}" for i, name in enumerate(header, 1)], dtype=str)
    table = table.loc[:, ~table.columns.duplicated()]
    table = table.drop(columns=[c for c in table if c.startswith("unnamed ") and (table[c] == "").all()])
    table.attrs = {"header_line": at, "notes": notes}
    return table, np.array([line for line, _ in rows], dtype=int), faults


def _rows(path: Path, columns) -> tuple[list[tuple[int, list[str]]], list[Fault], list[str]]:
    """Line and cells of each row that holds any text, the header among them; faults; notes."""
    if path.is_dir():
        raise _Unreadable(0, "is a folder; give the table in it")
    if not path.is_file():
        raise _Unreadable(0, "there is no such file; give the path of a table (CSV)")
    data = path.read_bytes()
    if data.startswith(LFS_POINTER):
        raise _Unreadable(0, "is a pointer of Git LFS and not the table; run 'git lfs pull'")
    if path.suffix.lower() in EXCEL_TABLES or zipfile.is_zipfile(io.BytesIO(data)):
        rows, notes = _workbook(data)
        return rows, [], notes
    text, guessed = _decoded(data)
    rows, faults = _parsed(text, columns)
    foreign = next((cell for _, row in rows for cell in row if not cell.isascii()), "")
    note = f"The table's encoding was guessed: it reads {shortened(foreign)!r}. If that is wrong, save it as 'CSV UTF-8'."
    return rows, faults, [note] if guessed and foreign else []


def _header(rows: list[tuple[int, list[str]]], columns) -> tuple[int, list[str]]:
    """The first row, unless one further down is the header by its names."""
    if not rows:
        raise _Unreadable(0, "is empty; write a header and one row below it for each entry")
    known = [len({column_name(cell) for cell in row} & set(columns)) for _, row in rows[:ROWS_ABOVE_HEADER]]
    best = known.index(max(known))
    if known[0] == 0 and known[best] > 1:
        above = f"line {rows[0][0]}" + (f" to {rows[best - 1][0]}" if best > 1 else "")
        raise _Unreadable(rows[0][0], f"the header seems to be line {rows[best][0]}; remove {above}")
    return rows[0]


def _decoded(data: bytes) -> tuple[str, bool]:
    """The text of a table as editors and spreadsheets save it, and whether its encoding had to be guessed."""
    marked, every_other = data.startswith((b"\xff\xfe", b"\xfe\xff")), data[1:200:2]
    wide = every_other.count(0) > 0.8 * len(every_other)  # Latin text in UTF-16 without its mark
    for encoding in ["utf-16"] if marked else ["utf-16-le"] if wide else ["utf-8-sig", "cp1252"]:
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode(encoding)
            if "\0" not in text:
                return text, encoding == "cp1252"
    raise _Unreadable(0, "is not a table of text; save it again as 'CSV UTF-8'")


def _separator(text: str, columns) -> str:
    """What separates the cells of the line that holds most of the known names, or else of the first with several cells."""
    lines = [re.sub('"[^"]*[,;\t][^"]*"', "", line) for line in text.splitlines() if line.strip(" ,;\t")]

    def score(place):
        at, separator = place
        cells = [column_name(cell.strip('" ')) for cell in lines[at].split(separator)]
        return len(set(cells) & set(columns)), len(cells) > 1, -at, len(cells)

    places = [(at, separator) for at in range(min(len(lines), ROWS_ABOVE_HEADER)) for separator in ",;\t"]
    return max(places, key=score, default=(0, ","))[1]


def _parsed(text: str, columns) -> tuple[list[tuple[int, list[str]]], list[Fault]]:
    """Rows of a delimited text. Quotes are read strictly: one left open would swallow the rows after it."""
    hint = re.match("sep=(.)\r?\n", text, re.IGNORECASE)  # Excel's own
    separator = hint[1] if hint else _separator(text, columns)
    text = re.sub(f'" +(?=[{re.escape(separator)}\r\n]|$)', '"', text)  # a space after a closing quote
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    rows, faults, ends = [], [], 0
    try:
        for row in reader:
            begins, ends = ends + 1, reader.line_num
            cells = [cell.strip() for cell in row]
            if any(cells) and not (hint and begins == 1):
                rows.append((begins, cells))
                # Of a quote closed only some rows later, what was swallowed still looks like rows.
                parts = [part.count(separator) + 1 for cell in cells for part in cell.splitlines()[1:]]
                if max(parts, default=0) >= max(len(rows[0][1]), 2):
                    remedy = f'a quote opened here runs on to line {ends} over what looks like rows; close it with "'
                    faults.append(Fault(begins, "table", "", remedy))
    except csv.Error as error:
        remedy = f'a quote is not closed rightly ({error}); put " around the whole cell, and write "" for a quote inside it'
        raise _Unreadable(ends + 1, remedy) from None
    return rows, faults


def _workbook(data: bytes) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Rows of the only sheet of a workbook that holds any, and notes on dates and hidden rows."""
    try:
        book = openpyxl.load_workbook(io.BytesIO(data), data_only=True)
        sheets = {sheet.title: sheet for sheet in book.worksheets if any(any(row) for row in sheet.values)}
    except Exception as error:  # a damaged workbook raises whatever its parts raise
        remedy = f"cannot be read as an Excel workbook ({shortened(str(error))}); save it as 'CSV UTF-8'"
        raise _Unreadable(0, remedy) from None
    if len(sheets) > 1:
        raise _Unreadable(0, f"has {len(sheets)} sheets with cells ({', '.join(sheets)}); keep one table a file")
    rows, dates, hidden, notes = [], [], [], []
    for sheet in sheets.values():
        for line, cells in enumerate(sheet.values, 1):
            dates += [f"{cell:%Y-%m-%d} in line {line}" for cell in cells if isinstance(cell, datetime.date)]
            if any(texts := [_cell_text(cell) for cell in cells]):
                rows.append((line, texts))
                hidden += [str(line)] if sheet.row_dimensions[line].hidden else []
    if dates:
        notes.append(f"Cells of the workbook hold dates, which spreadsheets make of names such as 3-1: {_listed(dates)}.")
    if hidden:
        notes.append(f"Rows of the workbook are hidden, and count all the same: {_listed(hidden)}.")
    return rows, notes


def _cell_text(value) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return "" if value is None else str(value).removesuffix(" 00:00:00").strip()
