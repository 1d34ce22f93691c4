"""The manifest: what people write is read, what cannot be meant is told with its line, and nothing leaks between splits."""

import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import micrographs as mg
from micrographs import ManifestError, read_manifest
from micrographs.splits import split_by_group

HEADER = ["file", "label", "split", "pixels_per_um", "specimen"]


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (80, 90), np.uint8)


def tagged(path):
    """A picture that says its scale: 5 pixels per um."""
    tifffile.imwrite(path, picture(20), metadata=None, resolution=(50_000, 50_000), resolutionunit=3)


@pytest.fixture
def folder(tmp_path):
    """Twelve sound images, in a folder of a checkout."""
    data = tmp_path / "checkout" / "data"
    data.mkdir(parents=True)
    for k in range(12):
        Image.fromarray(picture(k)).save(data / f"{k}.png")
    return data


def rows():
    """A sound manifest: line 2 is image 0, line 10 the first of the quiz."""
    cells = [[f"{k}.png", ("ferrite", "pearlite")[k % 2], "train" if k < 8 else "quiz", "2.5", f"s{k}"] for k in range(12)]
    return pd.DataFrame(cells, columns=HEADER)


def write(table, folder):
    table.to_csv(folder / "m.csv", index=False, lineterminator="\r\n")  # by which pandas quotes either line break in a cell
    return folder / "m.csv"


def told(folder, table):
    with pytest.raises(ManifestError) as caught:
        read_manifest(write(table, folder))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    return str(caught.value)


# One other cell in the sound manifest, and words of the one sentence that it is told.
BAD = [
    (5, "file", "", "give the path"),
    (5, "file", "0.png", "is there already"),
    (5, "file", "absent.png", "there is no such file"),
    (5, "file", "sub\\3.png", "with / between folders"),
    (5, "file", ".", "is a folder"),
    (5, "file", "3.PNG", "'3.png' is there, which differs by case"),
    (5, "file", "truncated.png", "cannot be read"),
    (5, "file", "small.png", "is 90 x 63 px"),
    (5, "file", "same.tif", "is the same picture as line 2"),
    (10, "file", "same.tif", "is the same picture as line 2"),
    (10, "file", "nearly.jpg", "shows nearly the same as '0.png' (line 2"),
    (5, "sha256", "0" * 64, "has not the sha256"),
    (5, "label", "", "give the class"),
    (5, "label", "No  Answer", "is a reserved word"),
    (5, "label", "Outlier_score", "is a reserved word"),  # as a column beside the classes is called
    (5, "label", "Pearl\u200bite", "is written 'pearlite' elsewhere"),
    (5, "label", "none of  These", "is no class to learn"),
    (5, "label", "bainite", "has a single training image"),
    (5, "split", "test", "write train or quiz"),
    (5, "pixels_per_um", "-2.5", "a scale must be a"),
    (5, "pixels_per_um", "2,5", "is not a number"),
    (5, "pixels_per_um", str(300 / 25400), "a pixel 84.67 um wide"),
]


@pytest.mark.parametrize(("line", "column", "value", "words"), BAD)
def test_each_fault_is_told_once_with_its_line_and_a_remedy(folder, line, column, value, words):
    (folder / "truncated.png").write_bytes(b"\x89PNG\r\n")
    Image.fromarray(picture(50)[:63]).save(folder / "small.png")
    tifffile.imwrite(folder / "same.tif", picture(0))
    Image.fromarray(picture(0)).save(folder / "nearly.jpg", quality=70)
    table = rows().assign(sha256="")
    table.loc[line - 2, column] = value
    [_, sentence] = told(folder, table).split("\n")
    assert f"line {line}, {column.replace('sha256', 'file')}: " in sentence and words in sentence and "None" not in sentence


@pytest.mark.parametrize("a, b", [("A", "A"), ("Stück 1", "stu\u0308ck\u00a0 1"), ("P07", "P7"), ("7.0", "7")])
def test_a_specimen_in_both_splits_leaks_however_it_is_spelt(folder, a, b):
    table = rows()
    table.loc[[1, 9], "specimen"] = [a, b]
    assert f"line 11, split_group: {b!r}: has images of" in told(folder, table)


def test_columns_of_other_names(folder):
    def said(*header):
        return told(folder, rows().set_axis(header, axis=1))

    words = "line 1, columns: found Datei, Gefüge, split, pixels_per_um, specimen; needed file, label; rename them"
    assert words in said("Datei", "Gefüge", *HEADER[2:])
    for name, formula in {
        "PixelSizeNm": "1000 / it", "Pixelgröße (nm)": "1000 / it", "Pixel pro mm": "it / 1000", "px/cm": "it / 10000",
        "pixels_per_nm": "it x 1000", "mm per pixel": "0.001 / it",
    }.items():  # fmt: skip
        assert f"add the column: pixels_per_um = {formula.replace('it', repr(name))}" in said(*HEADER[:3], name, "specimen")
    for name in ("pix_um", "pixels_per_100um", "resolution_dpi"):  # of unclear or other meaning: never taken
        said_of = said(*HEADER[:3], name, "specimen")
        assert "lines 2, 3, 4 and 9 more, pixels_per_um: no tag of the file" in said_of and name not in said_of
    assert "'sample' and 'Sample ID' may both be meant" in said(*HEADER[:3], "sample", "Sample ID")
    for name in ("px/um", "Pixels per µm", "Pixels-Per-Micron"):
        found = read_manifest(write(rows().set_axis(["File", "LABEL", "split", name, "Sample No"], axis=1), folder))
        assert set(found["pixels_per_um"]) == {2.5} and list(found["specimen"]) == [f"s{k}" for k in range(12)]
    assert "\n  label: images of at least two classes" in told(folder, rows().assign(label="ferrite"))


def test_what_a_reader_of_the_results_should_know_is_noted(folder):
    table = rows().assign(source="Simulated: x", remark="dry")
    table.loc[8:9, "label"], table.loc[8, "specimen"] = "dendrites", "s1"
    found = read_manifest(write(table, folder))
    assert found.attrs["simulated"] and len(found.attrs["sha256"]) == 64
    assert found.attrs["notes"] == [
        "Columns that are kept and mean nothing to the study: remark.",
        "2 quiz images have labels that no training image has: 'none of these' is right (dendrites).",
        "In training and in the quiz, with other classes on either side: specimen s1.",
    ]
    assert mg.classes(found) == ["ferrite", "pearlite"]
    assert list(mg.truth(found)) == ["none of these"] * 2 + ["ferrite", "pearlite"]
    assert mg.quiz_id(found) == mg.quiz_id(found.sample(frac=1, random_state=0))
    tagged(folder / "t.tif")
    table.loc[0, ["file", "pixels_per_um"]] = ["t.tif", ""]
    found = read_manifest(write(table.drop(columns="specimen"), folder))
    notes = " ".join(found.attrs["notes"])
    assert "names no specimens" in notes and "1 of these tags do not say how wide the image was" in notes
    assert found.loc[0, "pixels_per_um"] == pytest.approx(5) and not found["scale_source"].str.contains("nan").any()


def test_a_manifest_without_a_split_gets_one_of_whole_groups(folder):
    table = rows().assign(split="", specimen=[f"s{k // 2}" for k in range(12)])
    found = read_manifest(write(table, folder), seed=3)
    assert set(found["split"]) == {"train", "quiz"} and found.groupby("specimen")["split"].nunique().max() == 1
    assert any("no split" in note for note in found.attrs["notes"])
    Image.fromarray(picture(0)).save(folder / "11.jpg", quality=90)  # a copy stays beside its picture
    table = table.drop(columns="split").replace("11.png", "11.jpg")
    found = read_manifest(write(table, folder), seed=3).set_index("file")
    assert found.loc["0.png", "split"] == found.loc["11.jpg", "split"]


def test_a_manifest_that_is_written_is_read_back_and_moves_with_the_checkout(folder):
    remarks = 'NA|None|nan|1,5|a "quoted" word|a;b\tc|two\r\nlines|a\rb|a\nb|\u200b|x\x1c\u2028é|'.split("|")
    first = read_manifest(write(rows().assign(remark=remarks), folder))
    assert list(first["remark"]) == remarks
    run = folder.parent / "runs" / "mine"
    run.mkdir(parents=True)
    for place in (folder, run):
        mg.write_manifest(first, place / "kept.csv")
        pd.testing.assert_frame_equal(read_manifest(place / "kept.csv"), first)
        assert not list(place.glob(".*"))
    moved = folder.parent.rename(folder.parents[1] / "moved")
    assert read_manifest(moved / "runs" / "mine" / "kept.csv")["path"].str.startswith(str(moved)).all()


def test_files_that_a_study_depends_on(folder):
    rows().to_excel(folder / "m.xlsx", index=False)
    rows().to_csv(folder / "m.txt", sep="\t", index=False, encoding="utf-16")
    for path in (folder / "m.xlsx", folder / "m.txt", write(rows().rename(columns={"file": "Path"}), folder)):
        assert mg.files_of(path) == [folder / f"{k}.png" for k in range(12)]
        assert len(read_manifest(path)) == 12
    (folder / "0.txt").touch()
    assert mg.files_of(path)[:2] == [folder / "0.png", folder / "0.txt"]
    for odd in ("file\n.\n..\n/\n", "file\na\0b\n", 'file,label\n"a,b\n', "label\nferrite\n", "file\n" + "n" * 5000):
        path.write_text(odd)
        assert len(mg.files_of(path)) <= 1


def test_an_image_may_lie_anywhere(folder):
    shutil.move(folder / "3.png", folder.parent / "3.png")
    for place in ("../3.png", str(folder.parent / "3.png")):
        assert len(read_manifest(write(rows().assign(path=["", "", "", place] + [""] * 8), folder))) == 12


def test_images_to_be_answered(folder):
    for name in ("x10.tif", "x9.tif"):
        tagged(folder / name)
    Image.fromarray(picture(40)).save(folder / "odd [2].bmp")
    (folder / "e.dm3").write_bytes(b"\0\0\0\3")
    (folder / "x9.txt").touch()
    files = mg.image_files([str(folder)])
    assert [p.name for p in files[-3:]] == ["odd [2].bmp", "x9.tif", "x10.tif"] and len(files) == 16  # in natural order
    assert mg.image_files([str(files[-3])]) == files[-3:-2]  # its brackets are no pattern
    found, skipped = mg.read_images(files)
    assert found[["file", "pixels_per_um", "split"]].to_numpy().tolist() == [["x9.tif", 5, "quiz"], ["x10.tif", 5, "quiz"]]
    assert "no known format" in dict(skipped)["e.dm3"] and "give pixels_per_um" in dict(skipped)["odd [2].bmp"]
    found, skipped = mg.read_images(mg.image_files([str(folder / "*.*")]), 2.5)
    assert set(found["pixels_per_um"]) == {2.5} and [file for file, _ in skipped] == ["e.dm3"]
    table = rows()[["file", "pixels_per_um"]]
    table.loc[0, "file"], table.loc[1, "pixels_per_um"] = "gone.png", "-1"
    found, skipped = mg.read_images(write(table, folder))
    assert len(found) == 10 and [file for file, _ in skipped] == ["gone.png", "1.png"]
    with pytest.raises(mg.PictureError, match="none of the images.*\n  file: '0.png', '1.png', '2.png' and 2 more: no tag"):
        mg.read_images(files[:5])
    with pytest.raises(mg.PictureError, match="no image there"):
        mg.image_files([str(folder / "*.nothing")])


def test_a_template_for_a_folder_of_classes(folder):
    for row in rows().itertuples():
        (folder / row.label).mkdir(exist_ok=True)
        (folder / row.file).rename(folder / row.label / row.file)
    tagged(folder / "ferrite" / "a.tif")
    (folder / "ferrite" / "e.dm3").touch()
    [left_out, complete] = mg.write_template(folder)
    assert "ferrite/e.dm3 is left out" in left_out and "13 images; 12 of them do not say their scale" in complete
    table = pd.read_csv(folder / "manifest.csv", keep_default_na=False, dtype=str).set_index("file")
    assert list(table.index[-2:]) == ["pearlite/9.png", "pearlite/11.png"]
    assert table.loc["ferrite/a.tif", "pixels_per_um"] == "5"
    completed = table.replace({"pixels_per_um": {"": "2.5"}}).reset_index()
    assert set(read_manifest(write(completed, folder))["label"]) == {"ferrite", "pearlite"}
    with pytest.raises(ManifestError, match="already"):
        mg.write_template(folder)


@st.composite
def tables(draw):
    """Labels and groups of images, every label with two images or more; groups may hold several labels."""
    sizes = draw(st.lists(st.integers(2, 9), min_size=2, max_size=4))
    labels = [f"class {c}" for c, n in enumerate(sizes) for _ in range(n)]
    groups = [f"g{draw(st.integers(0, 6))}" for _ in labels]
    return pd.DataFrame({"label": labels, "split_group": groups, "file": [f"{i}.png" for i in range(len(labels))]})


@given(tables(), st.integers(2, 6), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_folds_and_splits_keep_groups_whole_and_train_every_class(table, n_folds, seed):
    folds = mg.group_folds(table, n_folds, seed)
    assert 2 <= len(folds) <= n_folds
    np.testing.assert_array_equal(np.sort(np.concatenate([valid for _, valid in folds])), np.arange(len(table)))
    group = table["label"] + table["split_group"]
    whole = set(group[table.groupby("label")["split_group"].transform("nunique") > 1])
    for train, valid in folds:
        assert set(table["label"].iloc[train]) == set(table["label"]) and len(train) + len(valid) == len(table)
        assert not whole & set(group.iloc[train]) & set(group.iloc[valid])
    split = split_by_group(table, seed)
    assert split.groupby(table["split_group"]).nunique().max() == 1
    assert (table["label"][split == "train"].value_counts().reindex(table["label"].unique(), fill_value=0) >= 2).all()


def test_the_real_manifest(shared_manifest):
    found = read_manifest(shared_manifest)
    assert found["split"].value_counts().to_dict() == {"train": 134, "quiz": 36} and not found.attrs["simulated"]
    assert (mg.truth(found) == mg.NONE_OF_THESE).sum() == 2
    assert any(note.endswith("either side: specimen uhcs-s09.") for note in found.attrs["notes"])
    pairs = [tuple(own) for _, own in found.groupby("field")["file"] if len(own) > 1]
    [note] = [note for note in found.attrs["notes"] if "nearly the same" in note]
    assert note.startswith("4 pairs") and all(f"{first} and {second} (0." in note for first, second in pairs)
