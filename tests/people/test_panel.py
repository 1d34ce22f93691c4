"""Answer sheets: strict import."""

import pandas as pd
import pytest

from microrace.images import manifests
from microrace.people import panel, simulated
from microrace.people.panel import SheetError


@pytest.fixture(scope="module")
def manifest(tiny_manifest):
    return manifests.read_manifest(tiny_manifest)


@pytest.fixture
def sheet(manifest):
    """A sound sheet of one reader."""
    return simulated.simulate(manifest, n_readers=1, seed=3).assign(kind="human", decision_maker="anna")


def write(folder, **sheets):
    for name, table in sheets.items():
        table.to_csv(folder / f"{name}.csv", index=False)


def test_sound_sheets_are_read(manifest, sheet, tmp_path):
    write(tmp_path, anna=sheet, ben=sheet.assign(decision_maker="ben")[list(panel.COLUMNS)])
    read = panel.read_sheets(tmp_path, manifest)
    assert read.groupby("decision_maker").size().to_dict() == {"anna": 8, "ben": 8}
    assert read.loc[read["decision_maker"] == "ben", "seconds"].isna().all()


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("answer", "granite", "'granite': not an answer"),
        ("image", "moon.png", "no such image"),
        ("quiz", "quiz-000000000000", "of another quiz"),
        ("kind", "robot", "take one of human"),
        ("confidence", "1.5", "from 0 to 1"),
        ("seconds", "-3", "from 0"),
        ("decision_maker", "", "pseudonym"),
    ],
)
def test_faults_are_named_with_file_and_row(manifest, sheet, tmp_path, column, value, says):
    spoilt = sheet.astype(object)
    spoilt.loc[2, column] = value
    write(tmp_path, anna=spoilt)
    with pytest.raises(SheetError) as caught:
        panel.read_sheets(tmp_path, manifest)
    assert says in str(caught.value) and "anna.csv, line 4" in str(caught.value)


def test_missing_and_double_answers_and_double_readers_are_refused(manifest, sheet, tmp_path):
    write(tmp_path, anna=sheet.iloc[:-1], ben=pd.concat([sheet, sheet.iloc[:1]]).assign(decision_maker="ben"))
    write(tmp_path, other=sheet.assign(decision_maker="ben"))
    with pytest.raises(SheetError) as caught:
        panel.read_sheets(tmp_path, manifest)
    for says in ("has no row for 1 images", "answered twice", "also in ben.csv", "no answer"):
        assert says in str(caught.value)


def test_an_empty_folder_and_missing_columns_are_refused(manifest, sheet, tmp_path):
    with pytest.raises(SheetError, match="no answer sheets"):
        panel.read_sheets(tmp_path, manifest)
    write(tmp_path, anna=sheet.drop(columns="answer"))
    with pytest.raises(SheetError, match="answer missing"):
        panel.read_sheets(tmp_path, manifest)


def test_none_of_these_and_no_answer_are_answers(manifest, sheet, tmp_path):
    write(tmp_path, anna=sheet.assign(answer=[manifests.NONE_OF_THESE, manifests.NO_ANSWER] * 4))
    assert set(panel.read_sheets(tmp_path, manifest)["answer"]) == {"none of these", "no answer"}
