"""Answer sheets as they come: what laboratories' programs save is read, what cannot be meant is asked about."""

import json

import openpyxl
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from micrographs import manifest as manifests
from readerstudy import sheets as panel
from readerstudy.sheets import SheetError


@pytest.fixture(scope="module")
def manifest(tiny_manifest):
    return manifests.read_manifest(tiny_manifest)


@pytest.fixture
def sheet(manifest):
    """A sound sheet of one reader, eight images, as text."""
    truth = manifests.truth(manifest)
    return pd.DataFrame({"quiz": manifests.quiz_id(manifest), "image": truth.index, "decision_maker": "anna",
                         "kind": "human", "answer": truth.to_numpy(), "seconds": "12.5", "confidence": "0.8",
                         "years_experience": "4"})  # fmt: skip


def write(folder, **sheets):
    for name, table in sheets.items():
        table.to_csv(folder / f"{name}.csv", index=False)


def faults(folder, manifest):
    with pytest.raises(SheetError) as caught:
        panel.read_sheets(folder, manifest)
    return str(caught.value)


def test_sound_sheets_are_read(manifest, sheet, tmp_path):
    write(tmp_path, anna=sheet, ben=sheet.assign(decision_maker="ben")[list(panel.COLUMNS)])
    read = panel.read_sheets(tmp_path, manifest)
    assert list(read) == [*panel.COLUMNS, *panel.OPTIONAL] and read.attrs["notes"] == []
    assert read.groupby("decision_maker").size().to_dict() == {"anna": 8, "ben": 8}
    assert (read.loc[read["decision_maker"] == "anna", "seconds"] == 12.5).all()
    assert read.loc[read["decision_maker"] == "ben", "seconds"].isna().all()


# ---- the form ----


def text(sheet, separator=",", end="\n"):
    return sheet.to_csv(index=False, sep=separator, lineterminator=end)


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("anna.CSV", lambda s: text(s).encode()),
        ("anna.txt", lambda s: text(s, "\t").encode()),
        ("anna.tsv", lambda s: text(s, "\t").encode()),
        ("anna.csv", lambda s: text(s, ";", "\r\n").encode()),
        ("anna.csv", lambda s: text(s, "\t").encode("utf-16")),
        ("anna.csv", lambda s: text(s.assign(decision_maker="Müller"), ";").encode("cp1252")),
        ("anna.csv", lambda s: text(s).replace("\n", ",\n").encode()),  # a trailing comma
        ("anna.csv", lambda s: ("\n" + text(s) + ",,,,,,,\n\n").encode()),  # rows of commas only
        ("anna.csv", lambda s: text(s.rename(columns=lambda c: c.replace("_", " ").title())).encode()),
        ("anna.csv", lambda s: text(s.assign(confidence="0,8", seconds="12,5"), ";").encode()),
        ("anna.csv", lambda s: text(s.assign(answer=s["answer"].str.upper() + " ", kind="Human")).encode()),
    ],
)
def test_sheets_are_read_as_programs_save_them(manifest, sheet, tmp_path, file, data):
    (tmp_path / file).write_bytes(data(sheet))
    read = panel.read_sheets(tmp_path, manifest)
    assert list(read["answer"]) == list(sheet["answer"]) and set(read["decision_maker"]) <= {"anna", "Müller"}
    assert (read["confidence"] == 0.8).all() and (read["seconds"] == 12.5).all()


def test_an_excel_sheet_is_read(manifest, sheet, tmp_path):
    book = openpyxl.Workbook()
    for row in [list(sheet), *sheet.assign(seconds=12.5, years_experience=4).to_numpy().tolist()]:
        book.active.append(row)
    book.save(tmp_path / "anna.xlsx")
    read = panel.read_sheets(tmp_path, manifest)
    assert list(read["answer"]) == list(sheet["answer"]) and (read["years_experience"] == 4).all()


def test_no_file_of_the_folder_is_passed_over_in_silence(manifest, sheet, tmp_path):
    write(tmp_path, anna=sheet)
    (tmp_path / "README.md").write_text("ours")
    (tmp_path / "protocol.json").write_text(json.dumps({"margin": 0.05}))
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "consent.pdf").write_bytes(b"%PDF")
    assert panel.read_sheets(tmp_path, manifest).attrs["notes"] == [
        "consent.pdf in the panel's folder is no answer sheet and was not read."
    ]
    (tmp_path / "ben.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    (tmp_path / "second session").mkdir()
    (tmp_path / "notes.txt").write_text("Ben came late.\nHe left early.\n")
    said = faults(tmp_path, manifest)
    for says in ("ben.xls: cannot be read; save it as CSV", "second session: is a folder", "notes.txt: the columns quiz"):
        assert says in said


def test_an_empty_folder_and_a_missing_file_are_refused(manifest, tmp_path):
    assert "no answer sheets" in faults(tmp_path, manifest)
    assert "there is no such file" in faults(tmp_path / "absent", manifest)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda t: t.splitlines()[0] + "\n", "anna.csv: has no rows below its header"),
        (lambda t: "\n".join(line + "," + ("answer" if i == 0 else "no answer") for i, line in enumerate(t.splitlines())),
         "anna.csv, line 1, answer: the column is there twice"),
        (lambda t: t.replace("answer", "reply", 1), "anna.csv: the column answer missing"),
        (lambda t: t.replace("confidence", "confidense", 1), "a column 'confidense'; rename it to 'confidence'"),
        (lambda t: t.replace("anna", '"anna', 1), "anna.csv, line 2: a quote"),
        (lambda t: "", "anna.csv: is empty"),
    ],
)  # fmt: skip
def test_a_spoilt_form_is_refused(manifest, sheet, tmp_path, edit, says):
    (tmp_path / "anna.csv").write_text(edit(text(sheet)))
    assert says in faults(tmp_path, manifest)


# ---- the cells ----


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("answer", "granite", "'granite': not an answer"),
        ("answer", "", "'': not an answer"),
        ("image", "moon.png", "no such image"),
        ("quiz", "quiz-000000000000", "of another quiz"),
        ("kind", "robot", "take one of human"),
        ("confidence", "1.5", "from 0 to 1"),
        ("seconds", "-3", "of 0 or more"),
        ("seconds", "inf", "of 0 or more"),
        ("seconds", "nan", "of 0 or more"),
        ("seconds", "1_0", "of 0 or more"),
        ("seconds", "1,234", "with a decimal point"),
        ("decision_maker", "", "pseudonym"),
        ("decision_maker", "Majority vote", "another meaning"),
        ("decision_maker", "Anna", "'Anna' is written 'anna' in anna.csv, line 4"),
        ("kind", "machine", "'anna' has several values of kind"),
        ("years_experience", "5", "'anna' has several values of years_experience"),
    ],
)
@pytest.mark.parametrize("blank_lines", [0, 2])
def test_faults_are_named_with_file_and_row(manifest, sheet, tmp_path, column, value, says, blank_lines):
    spoilt = sheet.copy()
    spoilt.loc[2, column] = value
    header, rest = text(spoilt).split("\n", 1)
    (tmp_path / "anna.csv").write_text(header + "\n" + "\n" * blank_lines + rest)
    line = 4 + blank_lines
    says = says.replace("line 4", f"line {2 + blank_lines}")  # the first spelling's place
    said = faults(tmp_path, manifest)
    assert says in said
    assert f"anna.csv, line {line}" in said or "several values" in said


def test_a_sheet_of_another_quiz_is_told_once(manifest, sheet, tmp_path):
    write(tmp_path, anna=sheet.assign(quiz="quiz-000000000000", image="elsewhere.png"))
    said = faults(tmp_path, manifest)
    assert said.startswith("1 fault in") and "anna.csv, line 2 and 7 more, quiz" in said


def test_one_person_is_one_reader_and_two_are_two(manifest, sheet, tmp_path):
    write(tmp_path, anna=sheet, ben=pd.concat([sheet, sheet.iloc[:1]]).assign(decision_maker="ben"))
    write(tmp_path, other=sheet.assign(decision_maker="ben"), third=sheet.assign(decision_maker="Anna "))
    said = faults(tmp_path, manifest)
    for says in ("ben.csv, line 10, image", "answered twice", "other.csv, line 2, decision_maker: 'ben' is also in ben.csv",
                 "third.csv, line 2, decision_maker: 'Anna' is written 'anna' in anna.csv, line 2"):  # fmt: skip
        assert says in said


def test_none_of_these_and_no_answer_are_answers(manifest, sheet, tmp_path):
    write(tmp_path, anna=sheet.assign(answer=[manifests.NONE_OF_THESE, manifests.NO_ANSWER] * 4))
    assert set(panel.read_sheets(tmp_path, manifest)["answer"]) == {"none of these", "no answer"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_sheet_spoilt_anywhere_is_read_or_refused_in_words(manifest, sheet, tmp_path, data):
    """Cut off, bytes changed, cells replaced: a table of the quiz's answers comes out, or a message with the file's name."""
    whole = bytearray(text(sheet).encode())
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cells = whole.replace(b"12.5", data.draw(st.text(max_size=8)).encode("utf-8", "replace"))
    (tmp_path / "anna.csv").write_bytes(cells[: data.draw(st.integers(0, len(cells)))])
    try:
        read = panel.read_sheets(tmp_path, manifest)
    except SheetError as error:
        assert "anna.csv" in str(error)
    else:
        assert set(read["answer"]) <= {*manifests.classes(manifest), manifests.NONE_OF_THESE, manifests.NO_ANSWER}
        assert read["confidence"].dropna().between(0, 1).all() and not read.duplicated(["decision_maker", "image"]).any()


# ---- panels as they come ----


def test_split_and_incomplete_panels_are_read_and_told(manifest, sheet, tmp_path):
    write(tmp_path, anna=sheet.iloc[:4], ben=sheet.iloc[4:].assign(decision_maker="ben"))
    read = panel.read_sheets(tmp_path, manifest)
    assert read.groupby("decision_maker").size().to_dict() == {"anna": 4, "ben": 4}
    assert read.attrs["notes"] == [f"{reader!r} has no row for 4 of the 8 images, which count as not shown to this reader."
                                   for reader in ("anna", "ben")]  # fmt: skip


def test_another_machine_takes_part_under_its_own_name(manifest, sheet, tmp_path):
    write(tmp_path, anna=sheet, resnet=sheet.assign(decision_maker="resnet", kind="machine"))
    read = panel.read_sheets(tmp_path, manifest)
    assert read.groupby("decision_maker")["kind"].first().to_dict() == {"anna": "human", "resnet": "machine"}
    write(tmp_path, resnet=sheet.assign(decision_maker="Machine", kind="machine"))
    read = panel.read_sheets(tmp_path, manifest)
    assert set(read["decision_maker"]) == {"anna", "machine (panel)"}
    assert "The reader 'Machine' of resnet.csv is called 'machine (panel)'" in read.attrs["notes"][0]


def test_the_study_s_machine_answers_every_image_under_its_own_name(manifest, sheet, tmp_path):
    own = sheet.assign(decision_maker="machine", kind="machine")
    write(tmp_path, own=own, short=own.iloc[:-1], anna=sheet)
    assert set(panel.read_machine_sheet(tmp_path / "own.csv", manifest)["decision_maker"]) == {"machine"}
    with pytest.raises(SheetError, match="no row for 1 images"):
        panel.read_machine_sheet(tmp_path / "short.csv", manifest)
    with pytest.raises(SheetError, match="not the sheet of the study's machine"):
        panel.read_machine_sheet(tmp_path / "anna.csv", manifest)
