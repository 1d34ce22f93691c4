"""The one reader of tables that people make: manifests and answer sheets, as text with the line of each row.

Kept free of heavy imports, since it also says whether anything has changed before a study starts.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
import zipfile
from pathlib import Path
from typing import NamedTuple

TEXT_TABLES = (".csv", ".tsv", ".txt")
EXCEL_TABLES = (".xlsx", ".xlsm")
TABLES = TEXT_TABLES + EXCEL_TABLES
LFS_POINTER = b"version https://git-lfs"  # how a file begins whose content Git LFS has not fetched
LARGEST_TABLE_BYTES = 64 * 2**20
# Two spellings of a name may differ in these: all print alike.
_DASHES = re.compile("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")


class Fault(NamedTuple):
    """What is wrong with a table; ``line`` counts the file's lines from 1 and is 0 for the file as a whole."""

    line: int
    column: str
    value: str
    remedy: str


class Rows(NamedTuple):
    """A table: names of the columns, stripped cells of each row, the line each row begins on, the faults of form."""

    header: list[str]
    cells: list[list[str]]
    lines: list[int]
    faults: list[Fault]
    header_line: int = 1


def plain(text: str) -> str:
    """A name as a person sees it, to tell whether two names are meant to be one.

    Compatibility composition (NFKC), case folded, dashes of any kind as hyphens, invisible characters (Unicode's
    format and control characters) taken out, and white space of any kind and length as one space.
    """
    composed = unicodedata.normalize("NFKC", _DASHES.sub("-", text)).casefold()
    seen = "".join(c for c in composed if c.isspace() or unicodedata.category(c) not in ("Cf", "Cc"))
    return " ".join(unicodedata.normalize("NFKC", seen).split())


def column_name(name: str) -> str:
    """The name of a column without regard to case, spaces, hyphens and underscores: "Specimen No" is "specimen_no"."""
    return re.sub(r"[\s_-]+", "_", plain(name)).strip("_")


def shortened(value: str, length: int = 60) -> str:
    """A cell as a message quotes it."""
    return value if len(value) <= length else f"{value[: length - 3]}..."


def _whole(remedy: str, line: int = 0) -> Rows:
    """No table, for a fault that leaves nothing to read."""
    return Rows([], [], [], [Fault(line, "table", "", remedy)])


def _decoded(data: bytes) -> str | None:
    """The text of a table as editors and spreadsheets save it, None if it is no text."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ("utf-16",)
    elif data[1:200:2].count(0) > 0.8 * len(data[1:200:2]) > 0:
        encodings = ("utf-16-le",)  # Latin text without its mark
    else:
        encodings = ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            pass
    return None


def _delimiter(text: str) -> str:
    """What separates the cells of the first line that holds any: a comma, a semicolon or a tab."""
    for line in io.StringIO(text, newline=""):
        if line.strip(" ,;\t\r\n"):
            outside = re.sub('"[^"]*"', "", line)
            return max(",;\t", key=outside.count)
    return ","


def _text_rows(text: str) -> Rows:
    """The rows of a delimited text. Quotes are read strictly: one left open would swallow the rows after it."""
    begins, delimiter = 1, None
    if hint := re.match("sep=(.)\r?\n", text, re.IGNORECASE):  # Excel's own
        begins, delimiter, text = 2, hint[1], text[hint.end() :]
    delimiter = delimiter or _delimiter(text)
    if delimiter not in ",;\t|":
        return _whole(f"is separated by {delimiter!r}; save it with commas, semicolons or tabs", 1)
    if "\0" in text:
        return _whole("holds NUL characters; save it again as 'CSV UTF-8'", begins + text[: text.index("\0")].count("\n"))
    try:
        return _parsed(text, delimiter, begins)
    except csv.Error:
        # A space after a closing quote, which the strict reader minds.
        text = re.sub(f'" +(?=[{re.escape(delimiter)}\r\n]|$)', '"', text)
    try:
        return _parsed(text, delimiter, begins)
    except csv.Error as error:
        remedy, line = error.args
        return _whole(remedy, line)


def _parsed(text: str, delimiter: str, begins: int) -> Rows:
    """The rows of a text; a csv.Error holds the remedy and the line."""
    offset = begins - 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    header, cells, lines, faults = None, [], [], []
    try:
        for row in reader:
            ends = offset + reader.line_num
            stripped = [cell.strip() for cell in row]
            # Of a quote closed only some rows later, what was swallowed still looks like rows.
            for cell in stripped if ends > begins else ():
                swallowed = re.split("\r\n|\r|\n", cell)[1:]
                if any(part.count(delimiter) >= max(len(header or row) - 1, 1) for part in swallowed):
                    remedy = f'a quote opened here runs on to line {ends} over what looks like rows; close it with "'
                    faults.append(Fault(begins, "table", shortened(cell), remedy))
            if any(stripped):
                if header is None:
                    header, at = stripped, begins
                else:
                    cells.append(stripped)
                    lines.append(begins)
            begins = ends + 1
    except csv.Error as error:
        if "field limit" in str(error):
            remedy = f"a cell holds more than {csv.field_size_limit():,} characters; is a quote left open before it?"
        elif "unexpected end" in str(error):
            remedy = 'a quote opened here is never closed; close it with ", or remove it'
        else:
            remedy = (
                'a quote opened here is not closed before the next; put " around the whole cell, and write "" for a '
                "quote inside it"
            )
        raise csv.Error(remedy, begins) from None
    if header is None:
        return _whole("is empty; write a header and one row below it for each entry")
    return _checked(header, at, cells, lines, faults)


def _excel_rows(path: Path) -> Rows:
    """The rows of the only sheet of a workbook that holds any."""
    import openpyxl

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            sheets = {}
            for sheet in book.worksheets:
                sheet.reset_dimensions()  # what some programs write there is wrong
                rows = [[_excel_text(value) for value in row] for row in sheet.iter_rows(values_only=True)]
                filled = [(at, row) for at, row in enumerate(rows, 1) if any(row)]
                if filled:
                    sheets[sheet.title] = filled
        finally:
            book.close()
    except Exception as error:  # a damaged workbook raises whatever its parts raise
        return _whole(f"cannot be read as an Excel workbook ({shortened(str(error))}); save it as 'CSV UTF-8'")
    if len(sheets) > 1:
        return _whole(f"has {len(sheets)} sheets with cells ({', '.join(sheets)}); keep one table a file")
    if not sheets:
        return _whole("is empty; write a header and one row below it for each entry")
    (at, header), *rest = sheets.popitem()[1]
    return _checked(header, at, [row for _, row in rest], [line for line, _ in rest], [])


def _excel_text(value) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return str(value).strip()


def _checked(header: list[str], at: int, cells: list[list[str]], lines: list[int], faults: list[Fault]) -> Rows:
    """Rows as wide as the header, and the faults of the table's form."""
    while header and not header[-1] and not any(any(row[len(header) - 1 :]) for row in cells):
        header = header[:-1]  # trailing commas
    width, first = len(header), {}
    for i, name in enumerate(header):
        k = first.setdefault(column_name(name) or f"unnamed {i}", i)
        if k != i:
            spelt = "" if header[k] == name else f", once as {header[k]!r}"
            faults.append(Fault(at, shortened(name), "", f"the column is there twice{spelt}; remove one"))
    for row, line in zip(cells, lines, strict=True):
        if any(row[width:]):
            remedy = f"{len(row)} values under {width} columns; put quotes around a value that holds a comma"
            faults.append(Fault(line, "table", shortened(row[-1]), remedy))
    if not cells:
        faults.append(Fault(0, "table", "", "has no rows below its header; write one for each entry"))
    names = [name or f"unnamed {i + 1}" for i, name in enumerate(header)]
    return Rows(names, [(row + [""] * width)[:width] for row in cells], lines, faults, at)


def read_rows(path) -> Rows:
    """Read a table that people made, whatever program saved it, and never raise for what is in it.

    Text (.csv, .tsv, .txt, any case) in UTF-8, UTF-16 or Windows-1252, separated by commas, semicolons or tabs; or
    an Excel workbook (.xlsx) with one sheet. Rows without any text are skipped. A file that cannot be read at all
    gives no rows and a fault.

    Parameters
    ----------
    path : path

    Returns
    -------
    Rows
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _whole("is a folder; give the table in it")
        if not path.is_file():
            return _whole("there is no such file; give the path of a table (CSV)")
        if path.stat().st_size > LARGEST_TABLE_BYTES:
            return _whole(f"is larger than {LARGEST_TABLE_BYTES // 2**20} MB, which no table of images is; give the CSV")
        with path.open("rb") as file:
            head = file.read(len(LFS_POINTER))
        if head == LFS_POINTER:
            return _whole("is a pointer of Git LFS and not the table; run 'git lfs pull'")
        if path.suffix.lower() in EXCEL_TABLES or zipfile.is_zipfile(path):
            return _excel_rows(path)
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # a name too long, or with a NUL in it
        return _whole(f"cannot be opened ({shortened(str(error))}); give the path of a table (CSV)")
    text = _decoded(data)
    if text is None or data.startswith((b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"%PDF", b"\xd0\xcf\x11\xe0")):
        return _whole("is not a table of text; save it as 'CSV UTF-8'")
    return _text_rows(text)


def read_table(path):
    """Read a table as `read_rows` does, as a DataFrame.

    Returns
    -------
    table : DataFrame of str
        Stripped cells; "" where there is nothing, and "NA" and "None" are what they say. Of a column that is there
        twice, which is a fault, the first. ``attrs["header_line"]`` is the line of the header.
    lines : array (n_rows,) of int
        The line of the file that each row begins on.
    faults : list of Fault
        Of the table's form; with any of them the table is not to be trusted.
    """
    import numpy as np
    import pandas as pd

    header, cells, lines, faults, header_line = read_rows(path)
    table = pd.DataFrame(cells, columns=header, dtype=str)
    table = table.loc[:, ~table.columns.duplicated()]
    unused = [c for c in table if c.startswith("unnamed ") and (table[c] == "").all()]
    table = table.drop(columns=unused)
    table.attrs["header_line"] = header_line
    return table, np.array(lines, dtype=int), faults
