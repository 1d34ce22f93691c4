"""The one reader of tables: what laboratories' programs save, and what it says of what cannot be trusted."""

import datetime

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spreadsheets import Fault, column_name, fault_lines, normalise_name, number, read_table

HEADER = ["file", "label", "note"]
ROWS = [["a.png", "ferrite", "µ, ü"], ["b.png", "NA", ""], ["c.png", "None", "two\nlines"]]


def text(separator=",", end="\r\n"):
    quoted = [[f'"{c}"' if set(c) & set(",;\n") else c for c in row] for row in [HEADER, *ROWS]]
    return "".join(separator.join(row) + end for row in quoted)


SAVED = [
    ("a.CSV", text().encode(), [2, 3, 4]),
    ("a.txt", text(end="\r").encode(), [2, 3, 4]),
    ("a.csv", text(";").encode("utf-8-sig"), [2, 3, 4]),
    ("a.txt", text("\t").encode("utf-16"), [2, 3, 4]),
    ("a.txt", b"\xfe\xff" + text("\t").encode("utf-16-be"), [2, 3, 4]),
    ("a.txt", text(";").encode("utf-16-le"), [2, 3, 4]),
    ("a.csv", text(";").encode("cp1252"), [2, 3, 4]),
    ("a.csv", ("sep=;\r\n" + text(";")).encode(), [3, 4, 5]),
    ("a.csv", ("\n , ,\n" + text(end="\n\n")).encode(), [5, 7, 9]),
    ("a.csv", (text(end=",,\n") + ",,\n , ,\n").encode(), [2, 3, 4]),
    ("a.csv", text(" , ").encode(), [2, 3, 4]),
]


@pytest.mark.parametrize(("name", "data", "lines"), SAVED)
def test_what_programs_save_is_read_with_its_lines(tmp_path, name, data, lines):
    (tmp_path / name).write_bytes(data)
    table, at, faults = read_table(tmp_path / name)
    assert faults == [] and list(table.columns) == HEADER and list(at) == lines
    assert table.to_numpy().tolist() == ROWS
    guessed = ["The table's encoding was guessed: it reads 'µ, ü'. If that is wrong, save it as 'CSV UTF-8'."]
    assert table.attrs["notes"] == (guessed if data == text(";").encode("cp1252") else [])


def test_a_workbook_is_read_as_text_and_what_cannot_be_seen_is_noted(tmp_path):
    book, day = openpyxl.Workbook(), datetime.datetime(2026, 3, 1)
    for row in ([], HEADER, [" a.png ", "ferrite", 2.5], [], ["b.png", day, 7.0], ["c.png", "None", None]):
        book.active.append(row)
    book.active.row_dimensions[6].hidden = True
    book.create_sheet("empty")
    book.save(tmp_path / "a.XLSX")
    table, at, faults = read_table(tmp_path / "a.XLSX")
    assert faults == [] and list(table.columns) == HEADER and list(at) == [3, 5, 6]
    assert table.to_numpy().tolist() == [["a.png", "ferrite", "2.5"], ["b.png", "2026-03-01", "7"], ["c.png", "None", ""]]
    dates, hidden = table.attrs["notes"]
    assert "2026-03-01 in line 5" in dates and "hidden" in hidden and hidden.endswith(": 6.")
    book["empty"].append(["forgotten"])
    book.save(tmp_path / "a.xlsx")
    [fault] = read_table(tmp_path / "a.xlsx")[2]
    assert "2 sheets" in fault.remedy and "empty" in fault.remedy


BAD = [
    (b'a,b,c\n1,2,3\n4,5,"6\n7,8,9\n', 3, "a quote is not closed rightly"),
    (b'a,b,c\n1,2,"3\n4,5,6\n7,8,9"\n', 2, "runs on to line 4"),
    (b"a,b\n1,2\n3,4,5\n", 3, "more values than the 2 columns"),
    (b"Source,b,source\n1,2,3\n", 1, "there twice"),
    (b"a,b\n", 0, "no rows"),
    (b",,\n,,\n", 0, "is empty"),
    (b"a,b\n1,2\n3,\0\n", 0, "not a table of text"),
    (b"a,b\n1,\x81\x8d\n", 0, "not a table of text"),
    (b"PK\x03\x04" + bytes(100) + b"PK\x05\x06" + bytes(18), 0, "Excel workbook"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", 0, "git lfs pull"),
    (b"Lab, 2026, A\n,,\nby B,,\nFile;Label;c\n1;2;3\n", 1, "the header seems to be line 4; remove line 1 to 3"),
    *((f"label,b\n{e},{e}\n".encode(), 2, "a spreadsheet's error") for e in ("#n/a", "#DIV/0!", "#NV", "#¡REF!", "Err:502")),
]


@pytest.mark.parametrize(("content", "line", "words"), BAD)
def test_what_cannot_be_trusted_is_told_with_its_line(tmp_path, content, line, words):
    (tmp_path / "a.csv").write_bytes(content)
    [fault] = read_table(tmp_path / "a.csv", {"file", "label"})[2]
    assert fault.line == line and words in fault.remedy and len(fault.remedy) < 200


def test_what_is_no_file_and_what_is_no_error(tmp_path):
    for path, words in ((tmp_path, "is a folder"), (tmp_path / "absent.csv", "no such"), ("\0", "give the path")):
        table, lines, [fault] = read_table(path)
        assert table.empty and not len(lines) and words in fault.remedy
    (tmp_path / "a.csv").write_text("file,label\n#12,A/B\n#A1,#steel\n")
    assert read_table(tmp_path / "a.csv", {"file", "label"})[2] == []


@settings(max_examples=100, deadline=None)
@given(data=st.one_of(st.binary(max_size=200), st.text(alphabet='a,;\t"\n\r \0\u200b', max_size=60).map(str.encode)))
def test_no_bytes_raise(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(data)
    table, lines, faults = read_table(path, {"a"})
    assert len(table) == len(lines) and (len(table) or faults)


def test_the_same_fault_in_many_rows_is_one_sentence():
    faults = [Fault(line, "label", f"x{line}", f"is written 'y{line}'; write it one way") for line in range(300, 1, -1)]
    [other, sentence] = fault_lines([*faults, Fault(0, "table", "", "is empty")])
    assert sentence.startswith("lines 2, 3, 4 and 296 more, label: 'x2', 'x3', 'x4' and 296 more: is written 'y2'; write it")
    assert sentence.endswith("(line 2; the others are alike)") and other == "table: is empty"


def test_names_that_look_alike_are_alike():
    assert normalise_name(" Stu\u0308ck\u00a0 1\u20112 \u200bSTRASSE\ufeff") == normalise_name("stück 1-2 Straße")
    assert column_name(" Specimen-No ") == column_name("specimen_no") == "specimen_no"
    assert number("2.5e1") == 25
    for wrong in ("2,5", "2_5", "\uff12", "", "1 000"):
        with pytest.raises(ValueError):
            number(wrong)
