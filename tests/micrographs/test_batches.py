"""Batches of new images: any folder, and faults that stop no other image."""

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from micrographs import batches
from micrographs.manifest import ManifestError


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (80, 96), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    for i in range(3):
        tifffile.imwrite(tmp_path / f"m{i}.tif", picture(i), imagej=True, resolution=(4.0, 4.0), metadata={"unit": "um"})
    (tmp_path / "broken [1].tif").write_bytes(b"II*\0 and no more")
    tifffile.imwrite(tmp_path / "unscaled.tif", picture(3))
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_a_folder_needs_no_manifest(folder):
    for pattern in (str(folder), str(folder / "*.tif"), str(folder / "**" / "*.tif")):
        rows, skipped = batches.read_images(batches.image_files([pattern]))
        assert rows["file"].tolist() == ["m0.tif", "m1.tif", "m2.tif"] and (rows["pixels_per_um"] == 4).all()
        reasons = dict(skipped)
        assert set(reasons) == {"broken [1].tif", "unscaled.tif"}
        assert "read" in reasons["broken [1].tif"] and "--pixels-per-um" in reasons["unscaled.tif"]
    rows, skipped = batches.read_images(batches.image_files([str(folder)]), 2.5)
    assert rows["file"].tolist() == ["m0.tif", "m1.tif", "m2.tif", "unscaled.tif"] and (rows["pixels_per_um"] == 2.5).all()
    assert [s.file for s in skipped] == ["broken [1].tif"]


def test_names_with_brackets_and_several_patterns(folder):
    Image.fromarray(picture(7)).save(folder / "odd [2].png")
    files = batches.image_files([str(folder / "odd [2].png"), str(folder / "m*.tif"), str(folder / "m0.tif")])
    assert [f.name for f in files] == ["m0.tif", "m1.tif", "m2.tif", "odd [2].png"]
    with pytest.raises(batches.BatchError, match="no image there"):
        batches.image_files([str(folder / "*.bmp")])


def test_when_nothing_can_be_read_it_says_why(folder):
    with pytest.raises(batches.BatchError, match="broken"):
        batches.read_images([folder / "broken [1].tif"], 1.0)


def test_faults_of_rows_are_skipped_and_faults_of_the_table_are_not(folder):
    table = pd.DataFrame(
        {
            "file": ["m0.tif", "gone.tif", "broken [1].tif", "m1.tif", "m2.tif"],
            "pixels_per_um": ["3", "3", "3", "-1", ""],
            "comment": ["two\nlines", "", "", "", "NA"],
        }
    )
    table.to_csv(folder / "new.csv", index=False)
    rows, skipped = batches.read_batch(folder / "new.csv")
    assert rows["file"].tolist() == ["m0.tif", "m2.tif"] and rows["pixels_per_um"].tolist() == [3, 4]
    reasons = dict(skipped)
    assert set(reasons) == {"gone.tif", "broken [1].tif", "m1.tif"}
    assert "no such file" in reasons["gone.tif"] and "pixels_per_um" in reasons["m1.tif"]
    table.drop(columns="file").to_csv(folder / "new.csv", index=False)
    with pytest.raises(ManifestError, match="file"):
        batches.read_batch(folder / "new.csv")
    table.iloc[1:3].to_csv(folder / "new.csv", index=False)
    with pytest.raises(batches.BatchError, match="gone.tif"):
        batches.read_batch(folder / "new.csv")
