"""Answer sheets: strict import, and a simulated panel that says that it is one."""

import numpy as np
import pandas as pd
import pytest

from microrace.comparison import accuracy as comparison
from microrace.images import manifests
from microrace.people import panel
from microrace.people.panel import SheetError


@pytest.fixture(scope="module")
def manifest(tiny_manifest):
    return manifests.read_manifest(tiny_manifest)


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
    write(tmp_path, anna=sheet.assign(answer=[manifests.NONE_OF_THESE, manifests.NO_ANSWER] * 4))
    assert set(panel.read_sheets(tmp_path, manifest)["answer"]) == {"none of these", "no answer"}


def test_the_simulated_panel_is_marked_seeded_and_sound(manifest, tmp_path):
    first, again, other = (panel.simulate(manifest, n_readers=5, seed=s) for s in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert not first["answer"].equals(other["answer"])
    assert (first["kind"] == "simulated human").all()
    assert first["decision_maker"].str.startswith("simulated").all()
    write(tmp_path, panel=first)
    assert len(panel.read_sheets(tmp_path, manifest)) == 5 * 8


def plain_quiz(n_images=160):
    """A manifest of four classes without image files, and a similarity that is the same for all classes."""
    files = [f"{i}.png" for i in range(n_images)]
    manifest = pd.DataFrame({"file": files, "label": np.repeat(list("abcd"), n_images // 4), "split": "quiz",
                             "pixels_per_um": 5.0, "sha256": files})  # fmt: skip
    train = manifest.iloc[:: n_images // 4].assign(split="train", file=list("wxyz"))
    alike = pd.DataFrame(0.0, index=files, columns=[*"abcd", manifests.NONE_OF_THESE])
    return pd.concat([manifest, train], ignore_index=True), alike


def test_simulated_abilities_are_recovered_by_the_rasch_model():
    manifest, alike = plain_quiz()
    model = panel.PanelModel(lapse=0.0, scale_penalty=0.0)
    sheet = panel.simulate(manifest, n_readers=20, seed=1, model=model, similarity=alike)
    fitted = comparison.rasch(sheet, manifests.truth(manifest))
    ability = fitted[fitted["kind"] != "image"].sort_values("name")["logit"]
    truth = np.array(sheet.attrs["ability"]) - np.mean(sheet.attrs["difficulty"])
    assert np.corrcoef(ability, truth)[0, 1] > 0.9
    assert np.abs(ability - truth).mean() < 0.35


def test_wrong_answers_fall_on_what_looks_alike():
    manifest, alike = plain_quiz()
    alike.loc[:, "b"] = 1.5  # everything looks like b
    sheet = panel.simulate(manifest, n_readers=20, similarity=alike, model=panel.PanelModel(lapse=0.0))
    truth = manifests.truth(manifest).reindex(sheet["image"]).to_numpy()
    wrong = sheet[(sheet["answer"] != truth) & (truth != "b")]["answer"].value_counts(normalize=True)
    # Softmax over b and the three others that are wrong answers as well.
    expected = np.exp(1.5 * 1.5) / (np.exp(1.5 * 1.5) + 3)
    assert wrong["b"] == pytest.approx(expected, abs=0.05)
    right = pd.Series(sheet["answer"].to_numpy() == truth).groupby(truth).mean()
    assert right["b"] > right.drop("b").max() + 0.1, "what looks like its own class is easier"


def test_images_look_like_their_own_class(manifest):
    alike = panel.visual_similarity(manifest)
    truth = manifests.truth(manifest)
    known = truth[truth != manifests.NONE_OF_THESE]
    best = alike.drop(columns=manifests.NONE_OF_THESE).loc[known.index].idxmax(axis=1)
    assert (best == known).mean() > 0.8
    assert panel.looks(np.random.default_rng(0).random((70, 90))).shape == (10,)
