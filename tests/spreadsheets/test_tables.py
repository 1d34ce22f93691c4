"""The one reader of tables: what laboratories' programs save, and what it says of what cannot be trusted."""

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spreadsheets.tables import column_name, plain, read_rows, read_table

HEADER = ["file", "label", "note"]
ROWS = [["a.png", "ferrite", "µ, ü"], ["b.png", "NA", ""], ["c.png", "None", "two\nlines"]]


def text(separator=",", end="\r\n"):
    quoted = [[f'"{c}"' if set(c) & set(",;\n") else c for c in row] for row in [HEADER, *ROWS]]
    return "".join(separator.join(row) + end for row in quoted)


@pytest.mark.parametrize(
    ("name", "data", "lines"),
    [
        ("a.csv", text().encode(), [2, 3, 4]),
        ("a.CSV", text(end="\n").encode(), [2, 3, 4]),
        ("a.txt", text(end="\r").encode(), [2, 3, 4]),
        ("a.csv", text(";").encode("utf-8-sig"), [2, 3, 4]),
        ("a.tsv", text("\t").encode(), [2, 3, 4]),
        ("a.txt", text("\t").encode("utf-16"), [2, 3, 4]),
        ("a.txt", b"\xfe\xff" + text("\t").encode("utf-16-be"), [2, 3, 4]),
        ("a.txt", text(";").encode("utf-16-le"), [2, 3, 4]),
        ("a.csv", text(";").encode("cp1252"), [2, 3, 4]),
        ("a.csv", ("sep=;\r\n" + text(";")).encode(), [3, 4, 5]),
        ("a.csv", ("\n , ,\n" + text()).encode(), [4, 5, 6]),
        ("a.csv", text(end="\n\n").encode(), [3, 5, 7]),
        ("a.csv", text(end=",,\n").encode(), [2, 3, 4]),
        ("a.csv", (text(end="\n") + ",,\n , ,\n").encode(), [2, 3, 4]),
        ("a.csv", text(" , ").encode(), [2, 3, 4]),
    ],
)
def test_what_programs_save_is_read_with_its_lines(tmp_path, name, data, lines):
    (tmp_path / name).write_bytes(data)
    table, at, faults = read_table(tmp_path / name)
    assert faults == []
    assert list(table.columns) == HEADER
    assert table.to_numpy().tolist() == ROWS
    assert list(at) == lines


def test_a_workbook_is_read_as_text(tmp_path):
    book = openpyxl.Workbook()
    for row in ([], HEADER, [" a.png ", "ferrite", 2.5], [], ["b.png", "NA", 7.0], ["c.png", "None", None]):
        book.active.append(row)
    book.create_sheet("empty")
    book.save(tmp_path / "a.XLSX")
    table, at, faults = read_table(tmp_path / "a.XLSX")
    assert faults == [] and list(table.columns) == HEADER and list(at) == [3, 5, 6]
    assert table.to_numpy().tolist() == [["a.png", "ferrite", "2.5"], ["b.png", "NA", "7"], ["c.png", "None", ""]]
    book["empty"].append(["forgotten"])
    book.save(tmp_path / "a.xlsx")
    [fault] = read_rows(tmp_path / "a.xlsx").faults
    assert "2 sheets" in fault.remedy and "empty" in fault.remedy


BAD = {
    "an unclosed quote": ('a,b,c\n1,2,3\n4,5,"6\n7,8,9\n', 3, "never closed"),
    "a quote that swallows rows": ('a,b,c\n1,2,"3\n4,5,6\n7,8,9"\n', 2, "runs on to line 4"),
    "a quote closed by the next cell's": ('a,b,c\n1,2,"3\n4,"5",6\n', 2, "not closed before the next"),
    "text after a quote": ('a,b\n"1"2,3\n', 2, "not closed before the next"),
    "more values than columns": ("a,b\n1,2\n3,4,5\n", 3, "3 values under 2 columns"),
    "a column twice": ("a,b,a\n1,2,3\n", 1, "there twice"),
    "a column twice in other letters": ("Source,b,source\n1,2,3\n", 1, "once as 'Source'"),
    "a header alone": ("a,b\n", 0, "no rows"),
    "nothing": ("", 0, "is empty"),
    "commas alone": (",,\n,,\n", 0, "is empty"),
    "a cell of 140 kB": ("a,b\n1," + "x" * 140_000 + "\n", 2, "131,072 characters"),
    "NUL characters": ("a,b\n1,2\n3,\0\n", 3, "NUL"),
    "no encoding": (b"a,b\n1,\x81\x8d\n", 0, "not a table of text"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), 0, "not a table of text"),
    "no workbook": (b"PK\x03\x04" + bytes(100) + b"PK\x05\x06" + bytes(18), 0, "Excel workbook"),
    "a pointer of Git LFS": ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", 0, "git lfs pull"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_trusted_is_told_with_its_line(tmp_path, kind):
    content, line, words = BAD[kind]
    path = tmp_path / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    faults = read_table(path)[2]
    assert [fault.line for fault in faults] == [line]
    assert words in faults[0].remedy and len(str(faults[0])) < 400


def test_what_is_no_file(tmp_path):
    (tmp_path / "v.xlsx").write_text("file,label\n")
    for path, words in (
        (tmp_path, "is a folder"),
        (tmp_path / "absent.csv", "no such file"),
        (tmp_path / ("n" * 300), "give the path"),
        ("with\0nul", "give the path"),
        (tmp_path / "v.xlsx", "Excel workbook"),
    ):
        table = read_rows(path)
        assert not table.header and not table.cells and words in table.faults[0].remedy


@settings(max_examples=200, deadline=None)
@given(data=st.one_of(st.binary(max_size=200), st.text(alphabet='a,;\t"\n\r \0\u200b', max_size=60).map(str.encode)))
def test_no_bytes_raise(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(data)
    table, lines, faults = read_table(path)
    assert len(table) == len(lines) and (len(table) or faults)


def test_names_that_look_alike_are_alike():
    for a, b in (
        ("Pearlite", "pearlite"),
        ("Stück", "Stu\u0308ck"),
        ("Probe 1", "Probe\u00a01"),
        ("Probe 1", " Probe  1 "),
        ("ferrite", "fer\u200brite\ufeff"),
        ("as-cast", "as\u2013cast"),
        ("as-cast", "as\u2011cast"),
        ("µm", "μm"),
        ("Straße", "STRASSE"),
    ):
        assert plain(a) == plain(b)
    assert plain("ferrite") != plain("pearlite")
    assert column_name(" Specimen-No ") == column_name("specimen_no") == "specimen_no"
