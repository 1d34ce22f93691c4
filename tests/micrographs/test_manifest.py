"""The manifest: what people write is read, what cannot be meant is told with its line, and nothing leaks between splits."""

import pickle
import shutil

import numpy as np
import openpyxl
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


def picture(seed, height=80, width=90):
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Twelve sound images."""
    (tmp_path / "data").mkdir()
    for k in range(12):
        Image.fromarray(picture(k)).save(tmp_path / "data" / f"{k}.png")
    return tmp_path / "data"


def rows():
    """A sound manifest: line 2 is image 0, line 10 the first of the quiz."""
    cells = [[f"{k}.png", ("ferrite", "pearlite")[k % 2], "train" if k < 8 else "quiz", "2.5", f"s{k}"] for k in range(12)]
    return pd.DataFrame(cells, columns=HEADER)


def write(table, folder, name="m.csv"):
    table.to_csv(folder / name, index=False, lineterminator="\r\n")  # by which pandas quotes either line break in a cell
    return folder / name


def cells(column, **values):
    """Other cells in a column: ``_5="x"`` for line 5."""

    def change(table, folder):
        table[column] = table.get(column, "")
        for line, value in values.items():
            table.loc[int(line[1:]) - 2, column] = value

    return change


def image(save, name="bad.png", line=5):
    """Another file in the place of the image of a line."""

    def change(table, folder):
        save(folder / name)
        table.loc[line - 2, "file"] = name

    return change


def unscaled(table, folder):
    table.loc[[3, 4, 5, 6, 7], "pixels_per_um"] = ""


def pil(array, **options):
    return lambda path: Image.fromarray(array).save(path, **options)


def tif(array):
    return lambda path: tifffile.imwrite(path, array)


# A change to the sound manifest, and the one sentence that it is told.
BAD = {
    "no file": (cells("file", _5=""), "line 5, file: give the path"),
    "a file twice": (cells("file", _5="0.png"), "line 5, file: '0.png': is there already"),
    "an absent file": (cells("file", _5="absent.png"), "line 5, file: 'absent.png': there is no such file"),
    "a name of 5000 letters": (cells("file", _5="n" * 5000), "there is no such file"),
    "as Windows names it": (cells("file", _5="sub\\3.png"), "with / between folders"),
    "a folder": (cells("file", _5="."), "line 5, file: '.': is a folder"),
    "another case": (cells("file", _5="3.PNG"), "line 5, file: '3.PNG': '3.png' is there, which differs by case"),
    "no class": (cells("label", _5=""), "line 5, label: give the class"),
    "a reserved class": (cells("label", _5="No  Answer"), "line 5, label: 'No  Answer': is a reserved word"),
    "a class in another case": (cells("label", _5="Pearlite"), "line 5, label: 'Pearlite': is written 'pearlite' elsewhere"),
    "a zero-width space": (cells("label", _5="pearl\u200bite"), "is written 'pearlite' elsewhere"),
    "none of these to learn": (cells("label", _5="None of  These"), "'None of  These': is no class to learn"),
    "a class of one image": (cells("label", _5="bainite"), "line 5, label: 'bainite': has a single training image"),
    "one class": (lambda table, folder: table.__setitem__("label", "ferrite"), "  label: images of at least two classes"),
    "another split": (cells("split", _5="test"), "line 5, split: 'test': write train or quiz"),
    "a negative scale": (cells("pixels_per_um", _5="-2.5"), "line 5, pixels_per_um: '-2.5': a scale must be a"),
    "a decimal comma": (cells("pixels_per_um", _5="2,5"), "line 5, pixels_per_um: '2,5': is not a number"),
    "an underscore": (cells("pixels_per_um", _5="2_5"), "is not a number"),
    "a print resolution": (cells("pixels_per_um", _5=str(300 / 25400)), "a pixel 84.67 um wide"),
    "a wrong hash": (cells("sha256", _5="0" * 64), "line 5, file: '3.png': has not the sha256"),
    "no scale in the files": (unscaled, "lines 5, 6, 7 and 2 more, pixels_per_um: no tag of the file"),
    "a truncated image": (image(lambda path: path.write_bytes(b"\x89PNG\r\n")), "line 5, file: 'bad.png': cannot be read"),
    "too small": (image(pil(picture(50, 63, 90))), "is 90 x 63 px"),
    "the same picture in train": (image(pil(picture(0), compress_level=0)), "line 5, file: 'bad.png': is the same"),
    "the same picture in the quiz": (image(tif(picture(0)), "a.tif", 10), "is the same picture as line 2"),
    "nearly the same in the quiz": (image(pil(picture(0), quality=70), "a.jpg", 10), "'a.jpg': shows nearly the same as"),
    **{
        f"specimen {a!r} and {b!r}": (cells("specimen", _3=a, _11=b), f"line 11, split_group: {b!r}: has images of")
        for a, b in (("A1", "a1"), ("Probe 1", "Probe\u00a01"), ("Stück", "Stu\u0308ck"), ("007", "7"), ("A-1", "A\u20131"),
                     ("a  b", "a b"), ("b\u200b", "b"), ("P07", "P7"), ("7.0", "7"), ("same", "same"))
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_each_fault_is_told_once_with_its_line_and_a_remedy(folder, kind):
    change, words = BAD[kind]
    table = rows()
    change(table, folder)
    with pytest.raises(ManifestError) as caught:
        read_manifest(write(table, folder))
    [_, sentence] = str(caught.value).split("\n")
    assert words in sentence and "None" not in sentence.replace("'None of  These'", "")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def said(folder, header):
    table = rows().set_axis(header, axis=1)
    with pytest.raises(ManifestError) as caught:
        read_manifest(write(table, folder))
    return str(caught.value)


def test_columns_of_other_names(folder):
    said_of = said(folder, ["Datei", "Gefüge", *HEADER[2:]])
    assert "line 1, columns: found Datei, Gefüge, split, pixels_per_um, specimen; needed file, label; rename them" in said_of
    for name, formula in {
        "pixel_size_um": "1 / it", "um/px": "1 / it", "PixelSizeNm": "1000 / it", "Pixelgröße (nm)": "1000 / it",
        "Pixel pro mm": "it / 1000",
        "pixels_per_mm": "it / 1000", "px/cm": "it / 10000", "pixels_per_nm": "it x 1000", "mm per pixel": "0.001 / it",
    }.items():  # fmt: skip
        said_of = said(folder, [*HEADER[:3], name, "specimen"])
        assert f"add the column: pixels_per_um = {formula.replace('it', repr(name))}" in said_of and "rename" not in said_of
    for name in (
        "pix_um",
        "pixels_per_100um",
        "resolution_dpi",
        "magnification",
    ):  # of unclear or other meaning: never taken
        said_of = said(folder, [*HEADER[:3], name, "specimen"])
        assert "lines 2, 3, 4 and 9 more, pixels_per_um: no tag of the file" in said_of and name not in said_of
    assert "'sample' and 'Sample ID' may both be meant" in said(folder, [*HEADER[:3], "sample", "Sample ID"])
    for name in ("px/um", "Pixels per µm", "px_per_micron", "Pixels-Per-um"):
        found = read_manifest(write(rows().set_axis(["File", "LABEL", "split", name, "Sample No"], axis=1), folder))
        assert set(found["pixels_per_um"]) == {2.5} and list(found["specimen"]) == [f"s{k}" for k in range(12)]


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
    tifffile.imwrite(folder / "t.tif", picture(20), metadata=None, resolution=(50_000, 50_000), resolutionunit=3)
    table.loc[0, ["file", "pixels_per_um"]] = ["t.tif", ""]
    found = read_manifest(write(table.drop(columns="specimen"), folder))
    notes = " ".join(found.attrs["notes"])
    assert "names no specimens" in notes and "1 of these tags do not say how wide the image was" in notes
    assert found.loc[0, "pixels_per_um"] == pytest.approx(5) and not found["scale_source"].str.contains("nan").any()


def test_a_manifest_without_a_split_gets_one_of_whole_groups(folder):
    for table in (rows().drop(columns="split"), rows().assign(split="")):
        table["specimen"] = [f"s{k // 2}" for k in range(12)]
        found = read_manifest(write(table, folder), seed=3)
        assert set(found["split"]) == {"train", "quiz"} and found.groupby("specimen")["split"].nunique().max() == 1
        assert any("no split" in note for note in found.attrs["notes"])
    Image.fromarray(picture(0)).save(folder / "11.jpg", quality=90)  # a copy stays beside its picture
    found = read_manifest(write(table.replace("11.png", "11.jpg"), folder), seed=3).set_index("file")
    assert found.loc["0.png", "split"] == found.loc["11.jpg", "split"]


cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
words = cell.map(str.strip).filter(bool) | st.sampled_from(
    ["NA", "None", "nan", "1,5", 'a "quoted" word', "a;b\tc", "two\r\nlines"]
)


@given(st.lists(words, min_size=12, max_size=12))
@settings(max_examples=6, deadline=None)
def test_round_trip(tmp_path_factory, remarks):
    folder = tmp_path_factory.mktemp("trip")
    for k in range(12):
        Image.fromarray(picture(k)).save(folder / f"{k}.png")
    try:
        first = read_manifest(write(rows().assign(remark=remarks), folder))
    except ManifestError as error:
        assert {fault.column for fault in error.faults} == {"table"}  # of text that looks like rows
        return
    assert list(first["remark"]) == remarks
    for place in (folder, tmp_path_factory.mktemp("run")):
        mg.write_manifest(first, place / "kept.csv")
        pd.testing.assert_frame_equal(read_manifest(place / "kept.csv"), first)
        assert not list(place.glob(".*"))
    moved = shutil.move(folder, folder.with_name(folder.name + "-moved"))
    assert len(read_manifest(f"{moved}/kept.csv")) == 12


def test_files_that_a_study_depends_on(folder):
    book = openpyxl.Workbook()
    for row in [HEADER, *rows().to_numpy().tolist()]:
        book.active.append(row)
    book.save(folder / "m.xlsx")
    rows().to_csv(folder / "m.txt", sep="\t", index=False, encoding="utf-16")
    for path in (folder / "m.xlsx", folder / "m.txt", write(rows().rename(columns={"file": "Path"}), folder)):
        assert mg.files_of(path) == [folder / f"{k}.png" for k in range(12)]
        assert len(read_manifest(path)) == 12
    (folder / "0.txt").touch()
    assert mg.files_of(path)[:2] == [folder / "0.png", folder / "0.txt"]
    for odd in ("file\n.\n..\n/\n", "file\na\0b\n", "", 'file,label\n"a,b\n', "label\nferrite\n", "file\n" + "n" * 5000):
        path.write_text(odd)
        assert len(mg.files_of(path)) <= 1


def test_an_image_may_lie_anywhere(folder):
    shutil.move(folder / "3.png", folder.parent / "3.png")
    table = rows().assign(path="")
    for place in ("../3.png", str(folder.parent / "3.png")):
        table.loc[3, "path"] = place
        assert len(read_manifest(write(table, folder))) == 12


def test_images_to_be_answered(folder):
    for name in ("x10.tif", "x9.tif"):
        tifffile.imwrite(folder / name, picture(30 + len(name)), imagej=True, resolution=(4.0, 4.0), metadata={"unit": "um"})
    for name in ("b.bmp", "c.jp2", "d.webp"):
        Image.fromarray(picture(40)).save(folder / name)
    (folder / "e.dm3").write_bytes(b"\0\0\0\3")
    (folder / "odd [2].txt").touch()
    files = mg.image_files([str(folder)])
    assert [p.name for p in files[-2:]] == ["x9.tif", "x10.tif"] and len(files) == 18  # in natural order, without the text
    found, skipped = mg.read_images(files)
    assert (
        list(found["file"]) == ["x9.tif", "x10.tif"]
        and set(found["pixels_per_um"]) == {4}
        and set(found["split"]) == {"quiz"}
    )
    assert "no known format" in dict(skipped)["e.dm3"] and "give pixels_per_um" in dict(skipped)["b.bmp"]
    found, skipped = mg.read_images(mg.image_files([str(folder / "*.*")]), 2.5)
    assert set(found["pixels_per_um"]) == {2.5} and [file for file, _ in skipped] == ["e.dm3"]
    table = rows()[["file", "pixels_per_um"]]
    table.loc[0, "file"], table.loc[1, "pixels_per_um"] = "gone.png", "-1"
    found, skipped = mg.read_images(write(table, folder))
    assert len(found) == 10 and [file for file, _ in skipped] == ["gone.png", "1.png"]
    for what, words in (
        ([folder / "e.dm3"], "none of the images"),
        (write(table[:2], folder), "'gone.png': there is no such file"),
    ):
        with pytest.raises(mg.PictureError, match=words):
            mg.read_images(what)
    with pytest.raises(mg.PictureError, match="no image there"):
        mg.image_files([str(folder / "*.nothing")])


def test_a_template_for_a_folder_of_classes(folder):
    for k in range(12):
        (folder / ("ferrite", "pearlite")[k % 2]).mkdir(exist_ok=True)
        (folder / f"{k}.png").rename(folder / ("ferrite", "pearlite")[k % 2] / f"{k}.png")
    tifffile.imwrite(folder / "ferrite" / "a.tif", picture(20), metadata=None, resolution=(50_000, 50_000), resolutionunit=3)
    (folder / "ferrite" / "e.dm3").touch()
    [left_out, complete] = mg.write_template(folder)
    assert "ferrite/e.dm3 is left out" in left_out and "13 images; 12 of them do not say their scale" in complete
    table = pd.read_csv(folder / "manifest.csv", keep_default_na=False, dtype=str)
    assert list(table["file"])[-2:] == ["pearlite/9.png", "pearlite/11.png"] and set(table["label"]) == {
        "ferrite",
        "pearlite",
    }
    assert dict(zip(table["file"], table["pixels_per_um"], strict=True))["ferrite/a.tif"] == "5"
    write(table.replace({"pixels_per_um": {"": "2.5"}}), folder, "manifest.csv")
    assert len(read_manifest(folder / "manifest.csv")) == 13
    with pytest.raises(ManifestError, match="already"):
        mg.write_template(folder)


def test_attribution():
    table = pd.DataFrame({"source": ["a", "b", ""], "licence": ["CC0", "CC0", ""]})
    assert mg.attribution(table) == ["2 images: a and 1 more; licence CC0."]


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
    fold_of = pd.Series(index=table.index, dtype=float)
    for f, (train, valid) in enumerate(folds):
        assert set(table["label"].iloc[train]) == set(table["label"]) and len(train) + len(valid) == len(table)
        fold_of.iloc[valid] = f
    for label, own in table.groupby("label"):
        if own["split_group"].nunique() > 1:
            assert fold_of[own.index].groupby(own["split_group"]).nunique().max() == 1, label
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


def test_a_table_of_a_run_moves_with_the_checkout(tmp_path):
    home = tmp_path / "checkout"
    for name in ("data", "runs/mine"):
        (home / name).mkdir(parents=True)
    table = rows().assign(file="data/" + rows()["file"])
    for k in range(len(table)):
        Image.fromarray(picture(k)).save(home / "data" / f"{k}.png")
    mg.write_manifest(read_manifest(write(table, home)), home / "runs" / "mine" / "manifest.csv")
    moved = home.rename(tmp_path / "moved")
    assert read_manifest(moved / "runs" / "mine" / "manifest.csv")["path"].str.startswith(str(moved)).all()


@pytest.mark.parametrize("name", ["Confidence", "outlier_score", "flag", "split_group"])
def test_a_class_is_not_called_as_a_column_beside_the_classes(folder, name):
    with pytest.raises(ManifestError, match="reserved word"):
        read_manifest(write(rows().assign(label=name), folder))


def test_one_fault_of_many_images_is_one_sentence(tmp_path):
    for k in range(5):
        Image.fromarray(picture(k)[: 10 + k]).save(tmp_path / f"{k}.png")
    with pytest.raises(
        mg.PictureError, match="'0.png', '1.png', '2.png' and 2 more: .*'0.png'; the others are alike"
    ) as told:
        mg.read_images(mg.image_files([str(tmp_path)]), 2.0)
    assert len(str(told.value).splitlines()) == 2
