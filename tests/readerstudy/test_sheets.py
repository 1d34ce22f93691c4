"""Answer sheets as they come: what laboratories' programs save is read, what cannot be meant is asked about."""

import pandas as pd
import pytest

from readerstudy import NONE_OF_THESE, SheetError
from readerstudy import sheets as panel

QUIZ, CLASSES = "quiz-0123456789ab", ["dots", "lines", "waves"]


@pytest.fixture(scope="module")
def cases():
    """Eight images; the last shows none of the classes."""
    images = [f"{i}.png" for i in range(8)]
    table = pd.DataFrame({"truth": [*CLASSES * 2, "dots", NONE_OF_THESE]}, index=images)
    table["image_id"] = [panel.opaque_image_id(QUIZ, image) for image in images]
    table.attrs = {"quiz_id": QUIZ, "options": [*CLASSES, NONE_OF_THESE]}
    return table


@pytest.fixture
def sheet(cases):
    """A sound sheet of one reader, eight images, as text."""
    return pd.DataFrame({"quiz": QUIZ, "image": list(cases.index), "decision_maker": "anna", "kind": "human",
                         "answer": list(cases["truth"]), "seconds": "12.5", "confidence": "0.8",
                         "years_experience": "4", "laboratory": "Lab 1"})  # fmt: skip


def write(folder, **sheets):
    for name, table in sheets.items():
        table.to_csv(folder / f"{name}.csv", index=False)


def faults(folder, cases):
    with pytest.raises(SheetError) as caught:
        panel.read_sheets(folder, cases)
    return str(caught.value)


def test_sound_sheets_are_read(cases, sheet, tmp_path):
    other = sheet.assign(decision_maker=["李 明", "Zoe\u0308 3.b_c"] * 4, image=list(cases["image_id"]))  # as the page gives
    write(tmp_path, anna=sheet, other=other[list(panel.COLUMNS)])
    read = panel.read_sheets(tmp_path, cases)
    assert list(read) == [*panel.COLUMNS, *panel.OPTIONAL] and list(read["image"]) == list(cases.index) * 2
    assert (read.loc[:7, [*panel.OPTIONAL]] == [12.5, 0.8, 4, "Lab 1"]).all(axis=None)
    assert read.loc[8:, "seconds"].isna().all() and (read.loc[8:, "laboratory"] == "").all()
    assert read["decision_maker"].tolist() == ["anna"] * 8 + ["李 明", "Zoe\u0308 3.b_c"] * 4


# ---- the form ----


def test_a_sheet_is_read_as_programs_save_it(cases, sheet, tmp_path):
    saved = sheet.assign(answer=sheet["answer"].str.upper() + " ", kind="Human", decision_maker="Müller")
    saved = saved.assign(image=saved["image"].str.upper()).rename(columns=lambda c: c.replace("_", " ").title())
    saved.to_csv(tmp_path / "anna.CSV", index=False, sep=";", lineterminator="\r\n", encoding="cp1252")
    read = panel.read_sheets(tmp_path, cases)
    assert (read[["image", "answer"]] == sheet[["image", "answer"]]).all(axis=None)
    assert set(read["decision_maker"]) == {"Müller"} and set(read["kind"]) == {"human"}


def test_no_file_and_no_column_is_passed_over_in_silence(cases, sheet, tmp_path):
    assert "no answer sheets" in faults(tmp_path, cases) and "there is no such file" in faults(tmp_path / "absent", cases)
    write(tmp_path, anna=sheet.assign(confidense="0.5"))
    for name in ("README.md", "protocol.json", ".DS_Store", "consent.pdf"):
        (tmp_path / name).touch()
    assert panel.read_sheets(tmp_path, cases).attrs["notes"] == [
        "consent.pdf in the panel's folder is no answer sheet and was not read.",
        "anna.csv: The columns confidense are not known and were not read.",
    ]
    (tmp_path / "ben.xls").touch()
    (tmp_path / "second session").mkdir()
    (tmp_path / "notes.csv").write_text("Name,Gefüge\nBen,ferrite\n")
    write(tmp_path, anna=sheet.assign(quiz="quiz-000000000000", image="elsewhere.png"))
    said = faults(tmp_path, cases)
    needed = "notes.csv: columns: found Name, Gefüge; needed quiz, image, decision_maker, kind, answer; rename"
    for says in ("ben.xls: cannot be read; save it as CSV", "second session: is a folder", needed,
                 "anna.csv: lines 2, 3, 4 and 5 more, quiz"):  # fmt: skip
        assert says in said


# ---- the cells ----

FAULTY = [
    ("answer", ["granite", "NA"], "not an answer"),
    ("answer", ["#N/A"], "a spreadsheet's error"),
    ("image", ["moon.png"], "no such image"),
    ("quiz", ["quiz-000000000000"], "of another quiz"),
    ("kind", ["robot"], "take one of human"),
    ("confidence", ["1.5", "0,8"], "from 0 to 1 with a decimal point"),
    ("seconds", ["-3", "inf"], "of 0 or more"),
    ("decision_maker", ["", "=1+1", "a\nb", "n" * 10_000], "then letters, digits, spaces and . _ - only"),
    ("decision_maker", ["Majority vote", "Machine", "simulated 01"], "another meaning"),
    ("laboratory", ["+49 30"], "begin with a letter or digit"),
    ("laboratory", ["Lab 2"], "'anna': the reader has several values of laboratory"),
]


@pytest.mark.parametrize(("column", "values", "says"), FAULTY)
def test_faults_are_named_with_file_and_row(cases, sheet, tmp_path, column, values, says):
    for value in values:
        sheet.loc[2, column] = value
        (tmp_path / "anna.csv").write_text(sheet.to_csv(index=False).replace("\n", "\n\n\n", 1))
        said = faults(tmp_path, cases)
        line = 4 if "several" in says else 6  # a reader's fault stands where the reader begins
        assert says in said and f"anna.csv: line {line}" in said and len(said) < 1000


def test_one_person_is_one_reader_and_two_are_two(cases, sheet, tmp_path):
    write(tmp_path, anna=sheet, ben=pd.concat([sheet, sheet.iloc[:1]]).assign(decision_maker="ben"))
    write(tmp_path, other=sheet.assign(decision_maker="ben"), third=sheet.assign(decision_maker="Anna "))
    said = faults(tmp_path, cases)
    for says in ("ben.csv: line 10, image", "answered twice", "other.csv: line 2, decision_maker: 'ben' is also in ben.csv",
                 "third.csv: line 2, decision_maker: 'Anna' is written 'anna' in anna.csv: line 2"):  # fmt: skip
        assert says in said


# ---- panels as they come ----


def test_split_and_incomplete_panels_are_read_and_told(cases, sheet, tmp_path):
    write(tmp_path, anna=sheet.iloc[:4], ben=sheet.iloc[3:].assign(decision_maker="ben"))
    read = panel.read_sheets(tmp_path, cases)
    assert read["decision_maker"].value_counts().to_dict() == {"anna": 4, "ben": 5}
    says = "has no row for {} of the 8 images, which count as not shown to this reader."
    assert read.attrs["notes"] == [f"'anna' {says.format(4)}", f"'ben' {says.format(3)}"]


def test_people_and_simulated_readers_are_kept_apart(cases, sheet, tmp_path):
    write(tmp_path, simulated=sheet.assign(decision_maker="simulated 01", kind="simulated human"))
    assert set(panel.read_sheets(tmp_path, cases)["decision_maker"]) == {"simulated 01"}
    write(tmp_path, anna=sheet)
    assert "give them as two panels" in faults(tmp_path, cases)


def test_another_machine_takes_part_under_its_own_name(cases, sheet, tmp_path):
    write(tmp_path, anna=sheet, resnet=sheet.assign(decision_maker="resnet", kind="machine"))
    write(tmp_path, other=sheet.assign(decision_maker="Machine", kind="machine"))
    read = panel.read_sheets(tmp_path, cases)
    assert read["decision_maker"].unique().tolist() == ["anna", "machine (panel)", "resnet"]
    assert "The panel's 'machine' is called 'machine (panel)'" in read.attrs["notes"][0]


def test_the_study_s_machine_answers_every_image_under_its_own_name(cases, sheet, tmp_path):
    own = sheet.assign(decision_maker="machine", kind="machine")
    write(tmp_path, own=own, short=own.iloc[:-1], anna=sheet)
    assert set(panel.read_machine_sheet(tmp_path / "own.csv", cases)["decision_maker"]) == {"machine"}
    for name, says in (("short", "'7.png': no row for 1 of the images"), ("anna", "not the study's machine")):
        with pytest.raises(SheetError, match=says):
            panel.read_machine_sheet(tmp_path / f"{name}.csv", cases)
