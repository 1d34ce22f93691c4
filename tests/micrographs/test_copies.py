"""Nearly the same picture twice: every way of making one is found, and no two different pictures are taken for one."""

import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from micrographs import copies
from micrographs import manifest as manifests
from micrographs.manifest import ManifestError, read_manifest
from micrographs.reading import read_image


def texture(seed, height=300, width=400, grain=3.0):
    """Grains of random places and greys, 8 bit: what a micrograph is to the eye."""
    rng = np.random.default_rng(seed)
    noise = sum(cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), grain * s) * s for s in (1, 2, 4))
    return np.uint8(np.clip(128 + 45 * noise / noise.std() + rng.normal(0, 6, noise.shape), 0, 255))


def jpeg(image, quality):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0)


def webp(image, quality):
    return cv2.imdecode(cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, quality])[1], 0)


CHANGES = {
    "JPEG": lambda image: jpeg(image, 40),
    "WebP": lambda image: webp(image, 40),
    "turned by 90": lambda image: np.rot90(image),
    "turned by 180": lambda image: np.rot90(image, 2),
    "turned by 270": lambda image: np.rot90(image, 3),
    "mirrored": lambda image: image[:, ::-1],
    "mirrored and turned": lambda image: image.T,
    "info bar cut off": lambda image: image[:-28],
    "info bar cut off, then turned": lambda image: np.rot90(image[:-28]),
    "moved": lambda image: image[9:, 12:],
    "moved, same size": lambda image: np.roll(image, (5, -7), (0, 1)),
    "cropped": lambda image: image[6:-6, 8:-8],
    "halved": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brighter": lambda image: np.uint8(np.clip(image * 0.7 + 60.0, 0, 255)),
    "inverted light": lambda image: np.uint8(np.clip(image + np.linspace(-60, 60, image.shape[1]), 0, 255)),
    "noisy": lambda image: np.uint8(np.clip(image + np.random.default_rng(0).normal(0, 15, image.shape), 0, 255)),
}


@pytest.fixture(scope="module")
def pictures():
    return [texture(seed, grain=grain) for seed, grain in enumerate((1.0, 1.5, 2.0, 3.0, 5.0, 8.0))]


@pytest.mark.parametrize("change", CHANGES)
def test_every_changed_copy_is_found_and_nothing_else(pictures, change):
    changed = [np.ascontiguousarray(CHANGES[change](image)) for image in pictures]
    images = [np.float32(image) / 255 for image in (*pictures, *changed)]
    found = copies.find([copies.signature(image) for image in images], images.__getitem__)
    n = len(pictures)
    assert [(i, k) for i, k, _ in found] == [(i, i + n) for i in range(n)]
    assert all(copies.LEAST_CORRELATION <= r <= 1.001 for _, _, r in found)


def test_different_pictures_of_one_kind_are_told_apart():
    images = [np.float32(texture(seed)) / 255 for seed in range(60)]
    assert copies.find([copies.signature(image) for image in images], images.__getitem__) == []
    assert copies.find([None, None], None) == [] and copies.find([], None) == []


def test_uneven_light_alone_does_not_make_two_pictures_alike():
    light = np.linspace(0, 1, 300)[:, None] * np.ones((1, 400))
    images = [np.float32(0.2 * texture(seed) / 255 + 0.8 * light) for seed in range(12)]
    assert copies.find([copies.signature(image) for image in images], images.__getitem__) == []


@pytest.fixture
def dataset(tmp_path):
    """Two classes of four images in train and two in quiz, each image a specimen; and the table of its manifest."""
    rows = []
    for seed in range(12):
        Image.fromarray(texture(seed, 120, 160)).save(tmp_path / f"{seed}.png")
        rows.append([f"{seed}.png", ("ferrite", "pearlite")[seed % 2], "train" if seed < 8 else "quiz", "2.5"])
    return pd.DataFrame(rows, columns=["file", "label", "split", "pixels_per_um"])


def write(table, folder):
    table.to_csv(folder / "m.csv", index=False)
    return folder / "m.csv"


def sixteen_bits(image, path):
    tifffile.imwrite(path.with_suffix(".tif"), image.astype(np.uint16) * 200 + 3000)
    return path.with_suffix(".tif").name


def saved(image, path):
    Image.fromarray(np.ascontiguousarray(image)).save(path)
    return path.name


@pytest.mark.parametrize("change", ["16 bits", "JPEG", "turned by 90", "info bar cut off"])
@pytest.mark.parametrize("row", [5, 9])
def test_across_splits_a_fault_and_within_a_note(dataset, tmp_path, change, row):
    image = texture(1, 120, 160)
    name = sixteen_bits(image, tmp_path / "copy.png") if change == "16 bits" else None
    name = name or saved(CHANGES[change](image)[: -10 if "bar" in change else None], tmp_path / "copy.png")
    dataset.loc[row, "file"] = name
    path = write(dataset, tmp_path)
    if row == 9:
        with pytest.raises(ManifestError) as caught:
            read_manifest(path)
        [fault] = caught.value.faults.itertuples()
        assert (fault.row, fault.column, fault.value) == (11, "file", name)
        assert "'1.png' (line 3, correlation" in fault.remedy and "one in quiz" in fault.remedy
    else:
        notes = [note for note in read_manifest(path).attrs["notes"] if "nearly the same" in note]
        assert len(notes) == 1 and "1 pair" in notes[0] and f"1.png and {name}" in notes[0]


def test_a_split_that_is_made_keeps_copies_together(dataset, tmp_path):
    for row in (3, 5, 7):
        dataset.loc[row, "file"] = saved(jpeg(texture(1, 120, 160), 90 - 10 * row), tmp_path / f"copy{row}.png")
    manifest = read_manifest(write(dataset.drop(columns="split"), tmp_path), quiz_fraction=0.4)
    assert manifest["split_group"].iloc[[1, 3, 5, 7]].nunique() == 1
    assert manifest["split"].iloc[[1, 3, 5, 7]].nunique() == 1


def test_what_was_checked_is_not_checked_again_until_it_changes(dataset, tmp_path, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    first = read_manifest(write(dataset, tmp_path))
    manifests.write_manifest(first, run / "manifest.csv")
    looked = []
    monkeypatch.setattr(manifests, "read_image", lambda path: looked.append(path) or read_image(path))
    pd.testing.assert_frame_equal(read_manifest(run / "manifest.csv"), first)
    assert not looked
    # Another image under the same name, and other rows, are looked at.
    shutil.copy(tmp_path / "1.png", tmp_path / "0.png")
    with pytest.raises(ManifestError, match="has the hash"):
        read_manifest(run / "manifest.csv")
    assert len(looked) == len(dataset) - 1  # what differs from its hash need not be decoded
    text = (run / "manifest.csv").read_text().replace("1.png,pearlite,train", "1.png,pearlite,quiz", 1)
    (run / "manifest.csv").write_text(text)
    looked.clear()
    with pytest.raises(ManifestError):
        read_manifest(run / "manifest.csv")
    assert looked


def test_the_overlapping_fields_of_the_real_micrographs_are_found(shared_manifest):
    manifest = read_manifest(shared_manifest)
    pairs = [tuple(rows) for _, rows in manifest.groupby("field")["file"] if len(rows) > 1]
    assert len(pairs) == 4
    [note] = [note for note in manifest.attrs["notes"] if "nearly the same" in note]
    assert note.startswith("4 pairs of images within a split")
    assert all(f"{first} and {second} (0." in note for first, second in pairs)
