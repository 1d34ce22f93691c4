"""Where the images of a manifest lie: beside it, through links, outside it only if allowed; and what a study depends on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
import tifffile
from PIL import Image

from micrographs import files
from micrographs import manifest as manifests
from micrographs.manifest import ManifestError, read_manifest
from microrace.study.runner import hash_dataset


@pytest.fixture
def dataset(tmp_path):
    """Twelve pictures in a folder, and the table of their manifest."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for k in range(12):
        picture = np.random.default_rng(k).integers(0, 256, (80, 80), np.uint8)
        Image.fromarray(picture).save(folder / f"{k}.png")
        rows.append([f"{k}.png", ("ferrite", "pearlite")[k % 2], "train" if k < 8 else "quiz", "2.5"])
    return folder, pd.DataFrame(rows, columns=["file", "label", "split", "pixels_per_um"])


def write(table, path, **options):
    table.to_csv(path, index=False, **options)
    return path


# --- links ---------------------------------------------------------------------------------------------------------


def test_a_linked_manifest_looks_beside_the_link_first_and_then_beside_its_file(dataset):
    folder, table = dataset
    (folder / "v1").mkdir()
    write(table, folder / "v1" / "m.csv")
    (folder / "m.csv").symlink_to("v1/m.csv")
    manifest = read_manifest(folder / "m.csv")
    assert len(manifest) == 12 and Path(manifest.attrs["manifest"]) == folder / "m.csv"
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "m.csv").symlink_to(write(table, folder / "own.csv"))
    assert set(read_manifest(elsewhere / "m.csv")["path"]) == {str(folder / f"{k}.png") for k in range(12)}


def test_a_linked_image_keeps_its_ending_and_its_scale(dataset):
    folder, table = dataset
    objects = folder.parent / "objects"
    objects.mkdir()
    scan = [(34682, 2, 0, b"[Scan]\r\nPixelWidth=2e-08\r\nPixelHeight=2e-08\r\n", True)]
    picture = np.random.default_rng(50).integers(0, 256, (80, 80), np.uint8)
    tifffile.imwrite(objects / "9f3c", picture, metadata=None, extratags=scan)
    (folder / "linked.tif").symlink_to(objects / "9f3c")
    table.loc[0, ["file", "pixels_per_um"]] = ["linked.tif", ""]
    manifest = read_manifest(write(table, folder / "m.csv"))
    assert manifest.loc[0, "pixels_per_um"] == pytest.approx(50)
    assert manifest.loc[0, "path"] == str(folder / "linked.tif")


def test_a_linked_folder(dataset):
    folder, table = dataset
    write(table, folder / "m.csv")
    (folder.parent / "link").symlink_to("data")
    assert len(read_manifest(folder.parent / "link" / "m.csv")) == 12


# --- outside --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["file", "path"])
@pytest.mark.parametrize("absolute", [False, True])
def test_a_path_leaves_the_folder_only_if_the_user_says_so(dataset, monkeypatch, column, absolute):
    folder, table = dataset
    shutil.move(folder / "3.png", folder.parent / "3.png")
    table["path"] = ""
    table.loc[3, column] = str(folder.parent / "3.png") if absolute else "../data/../3.png"
    path = write(table, folder / "m.csv")
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    [fault] = caught.value.faults.itertuples()
    assert fault.row == 5 and "outside" in fault.remedy and files.ALLOW_OUTSIDE in fault.remedy
    assert len(read_manifest(path, allow_outside=True)) == 12
    monkeypatch.setenv(files.ALLOW_OUTSIDE, "1")
    assert len(read_manifest(path)) == 12
    monkeypatch.setenv(files.ALLOW_OUTSIDE, "0")
    # Whoever knows the hash of a file does not learn what it is.
    table["sha256"] = ["" if k != 3 else manifests._sha256(folder.parent / "3.png").upper() for k in range(12)]
    assert len(read_manifest(write(table, folder / "m.csv"))) == 12
    table["sha256"] = ["" if k != 3 else "0" * 64 for k in range(12)]
    with pytest.raises(ManifestError, match="has the hash"):
        read_manifest(write(table, folder / "m.csv"))


def test_a_way_out_and_back_in_is_inside(dataset):
    folder, table = dataset
    table.loc[0, "file"] = "../data/0.png"
    table.loc[1, "file"] = str(folder / "1.png")
    assert len(read_manifest(write(table, folder / "m.csv"))) == 12


def test_the_copy_of_a_run_names_images_elsewhere(dataset):
    folder, table = dataset
    manifest = read_manifest(write(table, folder / "m.csv"))
    run = folder.parent / "runs"
    run.mkdir()
    manifests.write_manifest(manifest, run / "manifest.csv")
    pd.testing.assert_frame_equal(read_manifest(run / "manifest.csv"), manifest)


# --- what a study depends on ------------------------------------------------------------------------------------------


def excel(table, path):
    book = openpyxl.Workbook()
    for row in [list(table.columns), *table.to_numpy().tolist()]:
        book.active.append(row)
    book.save(path)
    return path


FORMS = {
    "commas": lambda table, folder: write(table, folder / "m.csv"),
    "semicolons": lambda table, folder: write(table, folder / "m.csv", sep=";"),
    "tabs": lambda table, folder: write(table, folder / "m.tsv", sep="\t"),
    "UTF-16": lambda table, folder: write(table, folder / "m.txt", sep="\t", encoding="utf-16"),
    "a column path": lambda table, folder: write(table.assign(path=table["file"], file=table.index), folder / "m.csv"),
    "only a path": lambda table, folder: write(table.rename(columns={"file": "Path"}), folder / "m.csv"),
    "File": lambda table, folder: write(table.rename(columns={"file": "File"}), folder / "m.csv"),
    "Excel": lambda table, folder: excel(table, folder / "m.xlsx"),
}


def blank_first_line(table, folder):
    path = write(table, folder / "m.csv")
    path.write_text("\n,,,\n" + path.read_text())
    return path


@pytest.mark.parametrize("form", [*FORMS, "a blank first line"])
def test_a_replaced_image_is_noticed_however_the_manifest_is_written(dataset, form):
    folder, table = dataset
    path = FORMS.get(form, blank_first_line)(table, folder)
    assert files.files_of(path) == [folder / f"{k}.png" for k in range(12)]
    assert len(read_manifest(path)) == 12
    before = hash_dataset(path, {})
    assert hash_dataset(path, {}) == before
    Image.new("L", (80, 80)).save(folder / "0.png")
    replaced = hash_dataset(path, {})
    (folder / "1.png").unlink()
    assert len({before, replaced, hash_dataset(path, {})}) == 3


def test_a_changed_sidecar_is_noticed(dataset):
    folder, table = dataset
    path = write(table, folder / "m.csv")
    seen = {hash_dataset(path, {})}
    for name in ("0.txt", "0.png.txt", "0-png.hdr"):
        (folder / name).write_text("PixelSizeX=1e-08\n")
        seen.add(hash_dataset(path, {}))
    assert len(seen) == 4


@pytest.mark.parametrize(
    "content",
    ["file\n" + "n" * 5000 + "\n", "file\n" + "x" * 140_000 + "\n", "file\n.\n..\n/\nsub\n", "file\na\0b\n", "", "\x89PNG",
     'file,label\n"a,b\n', "file,file\n0.png,1.png\n", "label\nferrite\n", "file\n/proc/kcore\n/dev/zero\n"],
)  # fmt: skip
def test_no_manifest_is_too_odd_to_be_hashed(dataset, content):
    folder, _ = dataset
    (folder / "sub").mkdir()
    path = folder / "m.csv"
    path.write_text(content)
    digest = hash_dataset(path, {})
    assert len(digest) == 64
    path.write_text(content + "\n0.png\n")
    assert hash_dataset(path, {}) != digest


def test_to_ask_what_has_changed_imports_nothing_heavy():
    code = "import sys, micrographs.files; print([m for m in ('pandas', 'numpy', 'cv2') if m in sys.modules])"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(root / "lib")}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr
