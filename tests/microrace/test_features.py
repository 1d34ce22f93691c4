"""Features are computed once, kept whole or not at all, beside other processes, with the same memory for more images."""

import dataclasses
import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from micrographs import manifest as manifests
from microrace import features, paths
from microrace.features import FeatureStore
from microrace.settings import TrainingConfig

SMALL = TrainingConfig(
    backbone="test_efficientnet", weights="", crop_px=32, augmented_crops=3, crops_per_field=2, workers=0, device="cpu"
)


@pytest.fixture
def rows(tiny_manifest):
    manifest = manifests.read_manifest(tiny_manifest)
    return manifest[manifest["split"] == "train"].reset_index(drop=True)


def no_backbone(*args, **kwargs):
    pytest.fail("computed again")


@pytest.mark.parametrize("augmented", [False, True])
def test_what_was_computed_is_read_and_the_same(rows, tmp_path, monkeypatch, augmented):
    first = FeatureStore(SMALL, folder=tmp_path).of(rows, augmented)
    monkeypatch.setattr(features, "build_backbone", no_backbone)
    again = FeatureStore(SMALL, folder=tmp_path).of(rows, augmented)
    for a, b in zip(dataclasses.astuple(first), dataclasses.astuple(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(list(tmp_path.rglob("*.npz"))) == len(rows)
    assert set(first.image_index) == set(range(len(rows))) and np.isfinite(first.values).all()


def test_the_order_of_images_and_the_number_of_processes_do_not_matter(rows, tmp_path):
    whole = FeatureStore(SMALL, folder=tmp_path / "a").of(rows, augmented=True)
    turned = FeatureStore(dataclasses.replace(SMALL, workers=2), folder=tmp_path / "b").of(rows[::-1], augmented=True)
    for i in range(len(rows)):
        mine, other = (f.values[f.image_index == k] for f, k in ((whole, i), (turned, len(rows) - 1 - i)))
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize(
    ("change", "augmented"),
    [({"crop_px": 48}, False), ({"crops_per_field": 1}, False), ({"max_fields": 1}, False), ({"seed": 1}, False),
     ({"backbone": "test_resnet"}, False), ({"scale_handling": "none"}, False), ({"pipeline": "none"}, True),
     ({"without": "noise"}, True)],
)  # fmt: skip
def test_whatever_changes_features_changes_their_place(change, augmented):
    place, other = (FeatureStore(c).place("a" * 64, 2.5, augmented) for c in (SMALL, dataclasses.replace(SMALL, **change)))
    assert place != other


def test_an_image_of_another_content_or_scale_has_a_place_of_its_own():
    store = FeatureStore(SMALL)
    assert len({store.place(s, p, False) for s in ("a" * 64, "b" * 64) for p in (2.5, 2.6)}) == 4


@pytest.mark.parametrize(
    "change", [{"epochs": 3}, {"n_folds": 3}, {"embedding_dim": 4}, {"loss": "cross-entropy"}, {"max_train_images": 5},
               {"workers": 2}, {"scale_handling": "normalised"}],
)  # fmt: skip
def test_whatever_only_heads_mind_shares_the_features(change):
    one, other = FeatureStore(SMALL), FeatureStore(dataclasses.replace(SMALL, **change))
    assert all(one.place("a" * 64, 2.5, k) == other.place("a" * 64, 2.5, k) for k in (False, True))


def test_fewer_augmented_crops_are_the_first_of_more(rows, tmp_path, monkeypatch):
    more = FeatureStore(SMALL, folder=tmp_path).of(rows, augmented=True)
    monkeypatch.setattr(features, "build_backbone", no_backbone)
    fewer = FeatureStore(dataclasses.replace(SMALL, augmented_crops=2), folder=tmp_path).of(rows, augmented=True)
    np.testing.assert_array_equal(fewer.values[:2], more.values[:2])
    assert len(fewer.values) == 2 * len(rows)


def test_a_spoilt_file_is_computed_anew(rows, tmp_path):
    store = FeatureStore(SMALL, folder=tmp_path)
    first = store.of(rows)
    files = sorted(tmp_path.rglob("*.npz"))
    files[0].write_bytes(files[0].read_bytes()[:100])
    files[1].write_bytes(b"")
    np.testing.assert_array_equal(FeatureStore(SMALL, folder=tmp_path).of(rows).values, first.values)


def test_without_a_place_to_keep_them_features_are_still_given(rows, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.warns(UserWarning, match="cannot be kept"):
        found = FeatureStore(SMALL, folder=tmp_path / "file" / "features").of(rows.head(2))
    assert np.isfinite(found.values).all()


def fill(arguments):
    path, folder = arguments
    rows = manifests.read_manifest(path)
    return FeatureStore(SMALL, folder=folder).of(rows[rows["split"] == "train"]).values


def test_two_processes_fill_one_folder(tiny_manifest, tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        one, other = pool.map(fill, [(str(tiny_manifest), str(tmp_path))] * 2)
    np.testing.assert_array_equal(one, other)
    assert not [p for p in tmp_path.rglob(".*")], "a temporary file was left"


STREAM = """
import resource, sys
import pandas as pd
from microrace.features import FeatureStore
from microrace.settings import TrainingConfig

config = TrainingConfig(backbone="test_efficientnet", weights="", crop_px=64, crops_per_field=4, workers=0, device="cpu")
rows = pd.read_csv(sys.argv[1])
n = sum(len(values) for _, values, _ in FeatureStore(config, folder=sys.argv[2]).stream(rows))
print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_number_of_images(rows, tmp_path):
    """Streamed, four hundred images take no more than forty, within what an allocator varies by."""
    env = {**os.environ, "PYTHONPATH": str(paths.ROOT / "lib"), "OMP_NUM_THREADS": "1"}
    peak = {}
    for n in (40, 400):
        table = pd.concat([rows] * (n // len(rows) + 1), ignore_index=True).head(n)
        table["sha256"] = [f"{n}-{i}" for i in range(n)]  # each an image of its own
        table.to_csv(tmp_path / "rows.csv", index=False)
        command = [sys.executable, "-c", STREAM, str(tmp_path / "rows.csv"), str(tmp_path / f"features-{n}")]
        said = subprocess.run(command, capture_output=True, text=True, env=env, check=True).stdout.split()
        peak[n] = int(said[1])
    assert peak[400] < peak[40] + 60, peak
