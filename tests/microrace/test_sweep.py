"""The sweep: paired differences by hand, resume, the generic descriptors, and the sentences."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from micrographs import manifest as manifests
from micrographs import reading
from microrace import peers, sweep, training
from microrace.ablations import claim_sentences, quiz_table, summarise
from microrace.settings import TrainingConfig

SMALL = TrainingConfig(
    backbone="test_efficientnet", weights="", epochs=1, crops_per_epoch=16, batch_size=16, crop_px=32, n_folds=2,
    n_members=1, augmented_crops=2, workers=0, device="cpu",
)  # fmt: skip


def result(level, correct, seed=0):
    n = len(correct)
    held_out = [
        {"file": str(i), "label": "ab"[i % 2], "split_group": str(i // 2), "correct": bool(c)} for i, c in enumerate(correct)
    ]
    assert len(held_out) == n
    return {"factor": "thing", "level": level, "seed": seed, "held_out": held_out}


def test_paired_difference_by_hand():
    runs, levels = summarise([result("with", [1, 1, 1, 1, 1, 0]), result("without", [1, 0, 1, 0, 1, 0])])
    assert runs["accuracy"].tolist() == pytest.approx([5 / 6, 3 / 6])
    row = levels.set_index("level").loc["without"]
    assert row["reference"] == "with"
    assert row["difference"] == pytest.approx(-2 / 6)
    assert row["difference_low"] >= -0.5 - 1e-9 and row["difference_high"] <= 1e-9


def test_a_constant_difference_has_an_interval_of_no_width():
    _, levels = summarise([result("with", [1, 1] * 5), result("without", [1, 0] * 5)])
    row = levels.set_index("level").loc["without"]
    assert row["difference_low"] == row["difference_high"] == pytest.approx(-0.5)
    assert "is worse than with" in claim_sentences(levels)[0]


def test_a_difference_that_averages_out_is_not_claimed():
    _, levels = summarise([result("with", [1, 1, 0, 0] * 5), result("without", [0, 0, 1, 1] * 5)])
    assert "cannot be told" in claim_sentences(levels)[0]


def test_grids_change_one_thing_and_start_each_factor_with_the_reference():
    for name in ("small", "full"):
        seen = set()
        for setting in sweep.grid(name):
            dataclasses.replace(SMALL, **setting.changes)
            if setting.factor not in seen:
                assert not setting.changes and setting.method == "machine"
            seen.add(setting.factor)
            assert len(setting.changes) <= 1 or setting.factor in ("method", "backbone")
        assert seen >= {"training images", "scale handling", "augmentation", "method"}
    with pytest.raises(ValueError, match="medium"):
        sweep.grid("medium")


def test_finished_runs_are_not_run_again(tiny_manifest, tmp_path, monkeypatch):
    settings = [sweep.Setting("method", "machine"), sweep.Setting("method", "scale alone", method="scale alone")]
    first = sweep.run_sweep(tiny_manifest, settings, SMALL, [0], tmp_path)
    monkeypatch.setattr(training, "train", lambda *a, **k: pytest.fail("trained again"))
    # The number of processes is no part of what was run.
    again = sweep.run_sweep(tiny_manifest, settings, dataclasses.replace(SMALL, workers=1), [0], tmp_path)
    assert again == first
    # But of other code it is another run.
    monkeypatch.setattr(sweep, "code_hash", lambda: "other")
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        sweep.run_sweep(tiny_manifest, settings, SMALL, [0], tmp_path)
    files = [{row["file"] for row in r["held_out"]} for r in first]
    assert files[0] == files[1], "paired runs must answer the same images"


def test_descriptors_have_a_fixed_length_and_tell_textures_apart(tiny_manifest):
    manifest = manifests.read_manifest(tiny_manifest)
    features = np.stack(
        [
            peers.texture_descriptors(reading.read_image(p), s)
            for p, s in zip(manifest["path"][:6], manifest["pixels_per_um"][:6], strict=True)
        ]
    )
    assert np.isfinite(features).all()
    told = peers.texture_descriptors(reading.read_image(manifest["path"][0]), 8.0, told_scale=True)
    assert told[-1] == 3.0 and len(told) == features.shape[1] + 1
    assert np.abs(features - features[0]).max() > 0.01


def test_the_quiz_opens_on_demand(tiny_manifest, tmp_path):
    settings = [s for s in sweep.grid("full", SMALL) if s.factor == "embedding dimensions"][:2]
    settings.append(sweep.Setting("method", "scale alone", method="scale alone"))
    results = sweep.run_sweep(tiny_manifest, settings, SMALL, [0], tmp_path, open_quiz=True)
    table = quiz_table(results)
    manifest = manifests.read_manifest(tiny_manifest)
    assert (table["n_images"] == len(sweep.known_quiz(manifest))).all() and len(table) == 3
    assert quiz_table([{"factor": "a", "level": "b", "quiz": None}]).empty


def test_whole_networks_run_with_the_first_seed_alone_and_leave_no_checkpoint(tiny_manifest, tmp_path):
    settings = [sweep.Setting("start", "kept"), sweep.Setting("start", "trained", {"backbone_rate": 1.0})]
    results = sweep.run_sweep(tiny_manifest, settings, SMALL, [0, 1], tmp_path)
    assert [(r["level"], r["seed"]) for r in results] == [("kept", 0), ("kept", 1), ("trained", 0)]
    runs, levels = summarise(results)
    assert levels["n_seeds"].tolist() == [2, 1] and len(runs) == 3
    # It is compared with the reference of its own seed.
    kept, trained = (runs[(runs["level"] == x) & (runs["seed"] == 0)]["accuracy"].item() for x in ("kept", "trained"))
    assert levels["difference"].iloc[1] == pytest.approx(trained - kept)
    assert not list(tmp_path.rglob("*.pt"))


def test_wavelets_know_the_wavelength_and_not_the_direction():
    y, x = np.mgrid[:128, :128]
    fine, coarse = (np.cos(2 * np.pi * x / period).astype(np.float32) for period in (4, 16))
    turned = fine.T.copy()
    a, b, c = (peers.wavelet_descriptors(i) for i in (fine, turned, coarse))
    assert len(a) == 12 and np.allclose(a, b, atol=1e-4) and np.abs(a - c).max() > 1


def test_no_runs_give_empty_tables():
    runs, levels = summarise([])
    assert isinstance(runs, pd.DataFrame) and runs.empty and levels.empty
