"""Answer sheets: strict import, and a simulated panel that says that it is one."""

import numpy as np
import pandas as pd
import pytest

from microrace import comparison, micrographs, panel
from microrace.panel import SheetError


@pytest.fixture(scope="module")
def manifest(tiny_manifest):
    return micrographs.read_manifest(tiny_manifest)


@pytest.fixture
def sheet(manifest):
    """A sound sheet of one reader."""
    return panel.simulate(manifest, n_readers=1, seed=3).assign(kind="human", decision_maker="anna")


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
    write(tmp_path, anna=sheet.assign(answer=[micrographs.NONE_OF_THESE, micrographs.NO_ANSWER] * 4))
    assert set(panel.read_sheets(tmp_path, manifest)["answer"]) == {"none of these", "no answer"}


def test_the_simulated_panel_is_marked_seeded_and_sound(manifest, tmp_path):
    first, again, other = (panel.simulate(manifest, n_readers=5, seed=s) for s in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert not first["answer"].equals(other["answer"])
    assert (first["kind"] == "simulated human").all()
    assert first["decision_maker"].str.startswith("simulated").all()
    write(tmp_path, panel=first)
    assert len(panel.read_sheets(tmp_path, manifest)) == 5 * 8


def test_simulated_abilities_are_recovered_by_the_rasch_model():
    files = [f"{i}.png" for i in range(160)]
    manifest = pd.DataFrame({"file": files, "label": np.repeat(list("abcd"), 40), "split": "quiz",
                             "pixels_per_um": 5.0, "sha256": files})  # fmt: skip
    train = manifest.iloc[[0, 40, 80, 120]].assign(split="train", file=list("wxyz"))
    manifest = pd.concat([manifest, train], ignore_index=True)
    model = panel.PanelModel(lapse=0.0, scale_penalty=0.0)
    sheet = panel.simulate(manifest, n_readers=20, seed=1, model=model)
    fitted = comparison.rasch(sheet, micrographs.truth(manifest))
    ability = fitted[fitted["kind"] != "image"].sort_values("name")["logit"]
    truth = np.array(sheet.attrs["ability"]) - np.mean(sheet.attrs["difficulty"])
    assert np.corrcoef(ability, truth)[0, 1] > 0.9
    assert np.abs(ability - truth).mean() < 0.35
