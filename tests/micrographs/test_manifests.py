"""The manifest: what it takes, what it refuses and with which words, and that nothing leaks between splits."""

import pickle
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from micrographs import manifest as manifests
from micrographs import rules, splits
from micrographs.manifest import NONE_OF_THESE, ManifestError, read_manifest
from microrace import paths


def picture(seed, height=64, width=80):
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with 14 pictures, a.png to n.png."""
    folder = tmp_path_factory.mktemp("images")
    for i, name in enumerate("abcdefghijklmn"):
        Image.fromarray(picture(i)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def good(images):
    """A manifest without fault, as a table: two classes, three specimens each, and something else in the quiz."""
    rows = [
        {"file": f"{name}.png", "label": label, "split": split, "pixels_per_um": "12.5", "specimen": specimen}
        for names, label, split, specimen in (
            ("ab", "ferrite", "train", "f1"),
            ("cd", "ferrite", "train", "f2"),
            ("ef", "pearlite", "train", "p1"),
            ("gh", "pearlite", "train", "p2"),
            ("ij", "ferrite", "quiz", "f3"),
            ("kl", "pearlite", "quiz", "p3"),
            ("m", "dendrites", "quiz", "p1"),
            ("n", NONE_OF_THESE, "quiz", "x"),
        )
        for name in names
    ]
    return pd.DataFrame(rows)


def write(table, folder, name="manifest.csv"):
    path = folder / name
    table.to_csv(path, index=False, lineterminator="\r\n")  # or a lone \r is not put in quotes
    return path


def faults(table, folder, **options):
    with pytest.raises(ManifestError) as caught:
        read_manifest(write(table, folder, "bad.csv"), **options)
    found = caught.value.faults
    for fault in found.itertuples():
        assert fault.remedy and fault.remedy in str(caught.value)
    return found


def only_fault(table, folder, **options):
    found = faults(table, folder, **options)
    assert len(found) == 1, found.to_string()
    return found.iloc[0]


# --- what a good manifest gives --------------------------------------------------------------------------------------


def test_a_good_manifest(good, images):
    manifest = read_manifest(write(good.assign(camera="NA"), images))
    assert list(manifest["file"]) == list(good["file"])
    assert set(manifest["camera"]) == {"NA"}
    assert (manifest["pixels_per_um"] == 12.5).all() and (manifest["scale_source"] == "manifest").all()
    assert (manifest["width"] == 80).all() and (manifest["height"] == 64).all()
    assert list(manifest["split_group"]) == list(good["specimen"])
    assert all(Path(p).is_absolute() and Path(p).is_file() for p in manifest["path"])
    assert manifest["sha256"].str.fullmatch("[0-9a-f]{64}").all()
    assert not manifest.attrs["simulated"] and Path(manifest.attrs["manifest"]).name == "manifest.csv"
    assert manifests.classes(manifest) == ["ferrite", "pearlite"]
    truth = manifests.truth(manifest)
    assert dict(truth) == {
        "i.png": "ferrite", "j.png": "ferrite", "k.png": "pearlite", "l.png": "pearlite",
        "m.png": NONE_OF_THESE, "n.png": NONE_OF_THESE,
    }  # fmt: skip
    [note] = manifest.attrs["notes"]
    assert "dendrites" in note and NONE_OF_THESE in note


def test_hashes_follow_what_they_name(good, images):
    manifest = read_manifest(write(good, images))
    shuffled = read_manifest(write(good.sample(frac=1, random_state=1), images, "shuffled.csv"))
    quiz = manifests.quiz_id(manifest)
    assert quiz == manifests.quiz_id(shuffled) and len(quiz) == len("quiz-") + 12
    assert manifest.attrs["sha256"] != shuffled.attrs["sha256"]
    fewer = read_manifest(write(good[good["file"] != "n.png"], images, "fewer.csv"))
    renamed = read_manifest(write(good.replace("ferrite", "iron"), images, "renamed.csv"))
    assert len({quiz, manifests.quiz_id(fewer), manifests.quiz_id(renamed)}) == 3


def test_simulated_when_any_source_says_so(good, images):
    good["source"] = "our laboratory"
    assert not read_manifest(write(good, images)).attrs["simulated"]
    good.loc[3, "source"] = "simulated: steelrender seed 0"
    assert read_manifest(write(good, images)).attrs["simulated"]


def test_scale_from_the_files_own_tags(good, images):
    tifffile.imwrite(
        images / "tagged.tif", picture(50), resolution=(80_000, 80_000), resolutionunit="CENTIMETER"
    )
    good.loc[0, ["file", "pixels_per_um"]] = ["tagged.tif", ""]
    manifest = read_manifest(write(good, images))
    assert manifest.loc[0, "pixels_per_um"] == pytest.approx(8.0)
    assert manifest.loc[0, "scale_source"] == "TIFF resolution tag"
    assert any("tags (TIFF resolution tag)" in note for note in manifest.attrs["notes"])
    # Where the scale came from is still known from the copy kept with a run.
    manifests.write_manifest(manifest, images / "copy.csv")
    assert read_manifest(images / "copy.csv").loc[0, "scale_source"] == "TIFF resolution tag"


@pytest.mark.parametrize("dialect", ["utf-8-sig", "semicolons", "tabs", "crlf", "spaces", "trailing commas", "blank"])
def test_dialects_of_csv(good, images, dialect):
    text = good.to_csv(index=False, sep={"semicolons": ";", "tabs": "\t"}.get(dialect, ","))
    text = {
        "crlf": text.replace("\n", "\r\n"),
        "spaces": text.replace(",", " ,  "),
        "trailing commas": text.replace("\n", ",,\n"),
        "blank": text.replace("\n", "\n\n") + ",,,\n",
    }.get(dialect, text)
    (images / "dialect.csv").write_bytes(text.encode("utf-8-sig" if dialect == "utf-8-sig" else "utf-8"))
    manifest = read_manifest(images / "dialect.csv")
    pd.testing.assert_frame_equal(
        manifest[list(good.columns)].astype(str), good.assign(pixels_per_um="12.5").astype(str)
    )


def test_defaults_for_specimen_and_group(good, images):
    sample = read_manifest(write(good.rename(columns={"specimen": "sample"}), images))
    assert list(sample["specimen"]) == list(sample["split_group"]) == list(good["specimen"])
    unnamed = read_manifest(write(good.drop(columns="specimen"), images))
    assert list(unnamed["split_group"]) == list(unnamed["specimen"]) == list(good["file"])
    assert any("no specimens" in note for note in unnamed.attrs["notes"])


@pytest.mark.parametrize(
    "name", ["Sample", "sample_id", "Specimen No", "SPECIMEN", "Sample-ID", " specimen  number", "Sample\u00a0name"]
)
def test_columns_are_known_however_they_are_spelt(good, images, name):
    table = good.rename(columns={"specimen": name}).assign(Source="Simulated: drawn", SHA256="", License="CC0-1.0")
    table = table.rename(columns={"file": "File", "label": "LABEL", "split": "Split ", "pixels_per_um": "Pixels per µm"})
    manifest = read_manifest(write(table, images))
    assert list(manifest["split_group"]) == list(manifest["specimen"]) == list(good["specimen"])
    assert manifest.attrs["simulated"] and set(manifest["licence"]) == {"CC0-1.0"}
    assert (manifest["pixels_per_um"] == 12.5).all()


def test_groups_are_spelt_one_way(good, images):
    good.loc[[0, 2, 8], "specimen"] = ["Probe  007", "probe 7", "Probe\u00a08"]
    manifest = read_manifest(write(good, images))
    assert list(manifest.loc[[0, 2], "split_group"]) == ["Probe  007"] * 2
    assert manifest.loc[8, "split_group"] == "Probe\u00a08"
    # What makes a difference to a person still does.
    for a, b in (("1.05", "1.5"), ("A1", "A10"), ("1-2", "12"), ("a", "b"), ("70", "7")):
        assert rules.group_key(a) != rules.group_key(b)


def test_labels_that_are_counted_or_short_are_not_asked_about(good, images):
    for a, b in (("state12", "state13"), ("A", "B"), ("type A", "type B"), ("M 250C", "M 350C"), ("ferrite", "ferritic")):
        read_manifest(write(good.replace({"ferrite": a, "pearlite": b}), images))


# --- what a bad manifest is told -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("file", "absent.png", "no such file"),
        ("file", "sub\\b.png", "with / between folders"),
        ("label", "", "give the class"),
        ("label", "No answer", "reserved"),
        ("label", "score", "reserved"),
        ("label", "Pearlite", "'pearlite' elsewhere"),
        ("label", NONE_OF_THESE, "quiz only"),
        ("split", "test", "train or quiz"),
        ("split", "", "train or quiz"),
        ("pixels_per_um", "", "micron bar"),
        ("pixels_per_um", "-3", "positive"),
        ("pixels_per_um", "0", "positive"),
        ("pixels_per_um", "nan", "positive"),
        ("pixels_per_um", "12,5", "decimal point"),
        ("pixels_per_um", "300 dpi", "pixels per um"),
        ("pixels_per_um", str(72 / 25400), "72 dpi"),
        ("pixels_per_um", "1e7", "outside"),
    ],
)
def test_a_bad_cell(good, images, column, value, words):
    good.loc[5, column] = value
    fault = only_fault(good, images)
    assert (fault["row"], fault["column"]) == (7, column)
    assert fault["value"] == value and words in fault["remedy"]


def test_all_faults_at_once(good, images):
    (images / "broken.png").write_bytes((images / "a.png").read_bytes()[:200])
    Image.fromarray(picture(60, 40, 300)).save(images / "small.png")
    good["sha256"] = ""
    good.loc[0, "file"] = "broken.png"
    good.loc[1, "file"] = "small.png"
    good.loc[2, "pixels_per_um"] = "-1"
    good.loc[3, "file"] = "absent.png"
    good.loc[4, "sha256"] = "0" * 64
    good.loc[8, "split"] = "validation"
    good.loc[9, "specimen"] = "f2"
    found = faults(good, images)
    assert list(zip(found["row"], found["column"], strict=True)) == [
        (2, "file"), (3, "file"), (4, "pixels_per_um"), (5, "file"), (6, "sha256"), (10, "split"), (11, "split_group"),
    ]  # fmt: skip
    assert "300 x 40 px" in found["remedy"][1] and "64 px" in found["remedy"][1]
    with pytest.raises(ManifestError) as caught:
        read_manifest(images / "bad.csv")
    assert str(caught.value).count("\n") == len(found) and "bad.csv: 7 faults" in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) and again.faults.equals(found)


@pytest.mark.parametrize("name", ["copy.png", "other-format.tif", "./a.png"])
@pytest.mark.parametrize("row", [1, 9])
def test_one_picture_given_twice(good, images, name, row):
    if name == "copy.png":
        shutil.copy(images / "a.png", images / name)
    elif name == "other-format.tif":
        tifffile.imwrite(images / name, picture(0), compression="zlib")
    good.loc[row, "file"] = name
    fault = only_fault(good, images)
    assert (fault["row"], fault["value"]) == (row + 2, name) and "same picture as line 2" in fault["remedy"]
    assert ("one is in train, one in quiz" in fault["remedy"]) == (row == 9)


def test_a_file_named_twice(good, images):
    good.loc[1, "file"] = "a.png"
    assert only_fault(good, images)["remedy"] == "is there already; list each image once"


def test_a_group_in_both_splits(good, images):
    # m.png shares a specimen with training images, but its class is not trained: no fault in `good`.
    good.loc[good["file"] == "k.png", "specimen"] = "p1"
    fault = only_fault(good, images)
    assert (fault["row"], fault["column"], fault["value"]) == (12, "split_group", "p1")
    assert "'pearlite'" in fault["remedy"]


def test_too_little_to_train_on(good, images):
    quiz = good[good["split"] == "quiz"]
    assert "no row is train" in only_fault(quiz, images)["remedy"]
    one_class = good[(good["split"] == "quiz") | (good["label"] == "ferrite")]
    fault = only_fault(one_class, images)
    assert fault["value"] == "ferrite" and "only class" in fault["remedy"]
    one_image = good[~good["file"].isin(list(map("{}.png".format, "bcd")))]
    assert "single training image" in only_fault(one_image, images)["remedy"]


def test_missing_and_misspelt_columns(good, images):
    fault = only_fault(good.rename(columns={"label": "labels"}), images)
    assert (fault["row"], fault["column"]) == (1, "label") and "rename 'labels'" in fault["remedy"]
    fault = only_fault(good.rename(columns={"pixels_per_um": "px_per_um"}), images)
    assert fault["column"] == "pixels_per_um" and "rename 'px_per_um'" in fault["remedy"]
    assert "rename" in only_fault(good.rename(columns={"file": "filename"}), images)["remedy"]
    # Optional columns too, where to overlook them would leak, or lose the mark "simulated".
    assert only_fault(good.rename(columns={"specimen": "Specimens"}), images)["column"] == "specimen"
    assert only_fault(good.rename(columns={"split": "splits"}), images)["column"] == "split"
    assert only_fault(good.assign(sources="simulated"), images)["column"] == "source"
    # The other faults are still told.
    good.loc[0, "pixels_per_um"] = "-1"
    assert len(faults(good.rename(columns={"label": "labels"}), images)) == 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"file,label,split,pixels_per_um\n", "no rows"),
        (b"file,label\n\x81.png,Perlit\n", "not a table of text"),
        (b"file,label,split,pixels_per_um,label\na.png,x,train,3,x\n", "twice"),
        (b"file,label,split,pixels_per_um\na.png,pearlite, coarse,train,3\n", "put quotes"),
    ],
)
def test_files_that_are_no_manifest(images, data, words):
    (images / "odd.csv").write_bytes(data)
    with pytest.raises(ManifestError, match=words):
        read_manifest(images / "odd.csv")


def test_no_manifest(tmp_path):
    with pytest.raises(ManifestError, match="no such file"):
        read_manifest(tmp_path / "manifest.csv")


def test_line_numbers_are_the_files_own(good, images):
    good["remark"] = ["two\nlines", *[""] * (len(good) - 1)]
    good.loc[2, "pixels_per_um"] = "-1"
    text = good.to_csv(index=False).replace("c.png", "\nc.png")
    (images / "lines.csv").write_text(text)
    with pytest.raises(ManifestError) as caught:
        read_manifest(images / "lines.csv")
    line = caught.value.faults["row"].item()
    assert text.split("\n")[line - 1].startswith("c.png")


# --- images to be answered -------------------------------------------------------------------------------------------


def test_unlabelled(good, images):
    bare = read_manifest(write(good[["file", "pixels_per_um"]], images), labels_required=False)
    assert set(bare["split"]) == {"quiz"} and set(bare["label"]) == {""} and len(bare) == len(good)
    # With labels, even odd ones, all rows are answered too.
    good.loc[0, "label"] = ""
    assert len(read_manifest(write(good, images), labels_required=False)) == len(good)
    good.loc[1, "pixels_per_um"] = "-1"
    assert only_fault(good, images, labels_required=False)["row"] == 3
    misspelt = good[["file"]].assign(pixel_per_um="3")
    assert only_fault(misspelt, images, labels_required=False)["column"] == "pixels_per_um"
    without = faults(good[["file"]], images, labels_required=False)
    assert len(without) == len(good) and set(without["column"]) == {"pixels_per_um"}


# --- splits and folds ------------------------------------------------------------------------------------------------


def test_a_manifest_without_split_gets_one(good, images):
    rows = good[good["label"].isin(["ferrite", "pearlite"])]
    for table in (rows.drop(columns="split"), rows.assign(split="")):
        manifest = read_manifest(write(table, images), quiz_fraction=0.34)
        assert manifest.groupby("specimen")["split"].nunique().max() == 1
        counts = manifest.groupby(["label", "split"]).size()
        assert counts.to_dict() == {(c, s): n for c in ("ferrite", "pearlite") for s, n in (("train", 4), ("quiz", 2))}
        assert any("no split: 4 of 12" in note for note in manifest.attrs["notes"])
        # A split that was made passes as a split that was given.
        manifests.write_manifest(manifest, images / "split.csv")
        assert list(read_manifest(images / "split.csv")["split"]) == list(manifest["split"])


def test_a_manifest_without_quiz(good, images):
    manifest = read_manifest(write(good[good["split"] == "train"], images))
    assert manifests.truth(manifest).empty
    assert any("no quiz images" in note for note in manifest.attrs["notes"])
    one_each = good[good["split"] == "train"].drop(columns="split").assign(specimen="the only one")
    manifest = read_manifest(write(one_each, images))
    assert set(manifest["split"]) == {"train"}
    assert any("no quiz images" in note for note in manifest.attrs["notes"])
    assert any("single group: ferrite, pearlite" in note for note in manifest.attrs["notes"])


@st.composite
def tables(draw):
    """Labels and groups of images, every label with two images or more; groups may hold several labels."""
    sizes = draw(st.lists(st.integers(2, 9), min_size=2, max_size=4))
    labels = [f"class {c}" for c, n in enumerate(sizes) for _ in range(n)]
    groups = [f"g{draw(st.integers(0, 6))}" for _ in labels]
    order = draw(st.permutations(range(len(labels))))
    table = pd.DataFrame({"label": labels, "split_group": groups}).iloc[list(order)].reset_index(drop=True)
    return table.assign(file=[f"{i}.png" for i in range(len(table))])


@given(tables(), st.integers(2, 6), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_folds_hold_each_image_out_once_and_keep_groups_whole(table, n_folds, seed):
    folds = splits.group_folds(table, n_folds, seed)
    assert 2 <= len(folds) <= n_folds
    np.testing.assert_array_equal(np.sort(np.concatenate([v for _, v in folds])), np.arange(len(table)))
    fold_of = pd.Series(index=table.index, dtype=float)
    for f, (train, valid) in enumerate(folds):
        assert len(valid) and not set(train) & set(valid) and len(train) + len(valid) == len(table)
        assert set(table["label"].iloc[train]) == set(table["label"])
        fold_of.iloc[valid] = f
    for label, rows in table.groupby("label"):
        if rows["split_group"].nunique() > 1:
            assert fold_of[rows.index].groupby(rows["split_group"]).nunique().max() == 1, label
    again = splits.group_folds(table, n_folds, seed)
    assert all(np.array_equal(a, b) for x, y in zip(folds, again, strict=True) for a, b in zip(x, y, strict=True))


def test_folds_refuse_what_cannot_be_folded():
    rows = pd.DataFrame({"label": list("aab"), "split_group": list("xyz"), "file": list("123")})
    with pytest.raises(ValueError, match="'b' has a single"):
        splits.group_folds(rows, 5, 0)
    with pytest.raises(ValueError, match="at least 2"):
        splits.group_folds(rows.iloc[:2], 1, 0)


@given(tables(), st.floats(0, 0.9), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_splits_keep_groups_whole_and_classes_trained(table, fraction, seed):
    split = splits.split_by_group(table, fraction, seed)
    assert set(split) <= {"train", "quiz"}
    assert split.groupby(table["split_group"]).nunique().max() == 1
    assert (table["label"][split == "train"].value_counts().reindex(table["label"].unique(), fill_value=0) >= 2).all()
    assert split.equals(splits.split_by_group(table, fraction, seed))


def test_split_is_stratified():
    table = pd.DataFrame({"label": ["a"] * 40 + ["b"] * 20, "split_group": [f"s{i // 2}" for i in range(60)]})
    for seed in range(3):
        counts = table["label"][splits.split_by_group(table, 0.2, seed) == "quiz"].value_counts()
        assert counts.to_dict() == {"a": 8, "b": 4}
    assert (splits.split_by_group(table, 0) == "train").all()
    found = {tuple(splits.split_by_group(table, 0.2, seed)) for seed in range(5)}
    assert len(found) == 5, "the seed changes nothing"
    with pytest.raises(ValueError, match="quiz_fraction"):
        splits.split_by_group(table, 1.5)


# --- round trip ------------------------------------------------------------------------------------------------------

# Stripped when read, so never written with white space around; surrogates are no text.
letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
words = st.text(letters, min_size=1, max_size=12).map(str.strip).filter(bool)
cells = words | st.sampled_from(["NA", "None", "nan", "null", "1,5", 'a "quoted" word', "a;b\tc", "two\r\nlines"])


@given(
    labels=st.lists(
        st.sampled_from(["NA", "None", "nan"]) | cells,
        min_size=2,
        max_size=2,
        unique_by=lambda s: " ".join(s.casefold().split()),
    ),
    extra=st.lists(cells, min_size=8, max_size=8),
    scales=st.lists(st.floats(0.2, 1e4), min_size=8, max_size=8),
    elsewhere=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_round_trip(images, labels, extra, scales, elsewhere):
    table = pd.DataFrame(
        {
            "file": [f"{name}.png" for name in "abcdefgh"],
            "label": [labels[0]] * 4 + [labels[1]] * 4,
            "split": ["train"] * 3 + ["quiz"] + ["train"] * 3 + ["quiz"],
            "pixels_per_um": [repr(s) for s in scales],
            "remark": extra,
        }
    )
    try:
        first = read_manifest(write(table, images, "trip.csv"))
    except ManifestError as error:
        # Only for labels that the rules refuse, and text that looks like rows.
        assert set(error.faults["column"]) <= {"label", "table"}
        return
    assert list(first["label"]) == list(table["label"]) and list(first["remark"]) == extra
    assert list(first["pixels_per_um"]) == scales
    with tempfile.TemporaryDirectory() as folder:
        kept = (Path(folder) if elsewhere else images) / "kept.csv"
        manifests.write_manifest(first, kept)
        second = read_manifest(kept)
    pd.testing.assert_frame_equal(first, second)
    assert manifests.quiz_id(first) == manifests.quiz_id(second)


def test_a_written_manifest_moves_with_its_images(good, images, tmp_path):
    here = tmp_path / "here"
    shutil.copytree(images, here)
    manifests.write_manifest(read_manifest(write(good, here)), here / "kept.csv")
    here.rename(tmp_path / "there")
    moved = read_manifest(tmp_path / "there" / "kept.csv")
    assert all(Path(p).parent == tmp_path / "there" for p in moved["path"])
    assert not list((tmp_path / "there").glob(".*")), "a temporary file was left"


# --- the real micrographs --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared():
    if not paths.SHARED_MANIFEST.is_file():
        pytest.skip("the real micrographs are not here")
    begin = time.perf_counter()
    manifest = read_manifest(paths.SHARED_MANIFEST)
    manifest.attrs["seconds"] = time.perf_counter() - begin
    return manifest


def test_the_real_manifest(shared):
    assert shared["split"].value_counts().to_dict() == {"train": 134, "quiz": 36}
    assert shared.attrs["seconds"] < 15, "170 images took long to check"
    assert not shared.attrs["simulated"]
    assert len(manifests.classes(shared)) == 5
    assert (manifests.truth(shared) == NONE_OF_THESE).sum() == 2
    assert list(shared["specimen"]) == list(shared["sample"])
    assert {"detector", "micron_bar_px", "heat_treatment"} <= set(shared.columns)


def test_folds_of_the_real_manifest(shared):
    train = shared[shared["split"] == "train"]
    single = train.groupby("label")["split_group"].nunique().eq(1)
    assert list(single.index[single]) == ["pearlite+spheroidite"]
    folds = splits.group_folds(train, 5, 0)
    assert len(folds) == 5
    rest = train["label"].to_numpy() != "pearlite+spheroidite"
    groups = train["split_group"].to_numpy()
    for inside, outside in folds:
        inside, outside = inside[rest[inside]], outside[rest[outside]]
        assert not set(zip(train["label"].iloc[inside], groups[inside], strict=True)) & set(
            zip(train["label"].iloc[outside], groups[outside], strict=True)
        )
        assert len(outside) > 5


def test_a_new_split_of_the_real_manifest(shared):
    split = splits.split_by_group(shared, 0.2, 0)
    assert split.groupby(shared["split_group"]).nunique().max() == 1
    assert 0.15 < (split == "quiz").mean() < 0.3
    known = shared["label"].isin(manifests.classes(shared))
    shares = (split == "quiz")[known].groupby(shared["label"][known]).mean()
    assert shares.between(0.1, 0.35).all(), shares.to_string()
