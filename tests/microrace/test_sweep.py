"""What matters: conditions, paired differences by hand, resume, peers, and the sentences."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import tiny
from microrace import ablations
from microrace.ablations import AS_THEY_ARE, CONDITIONS, Condition, Setting, claim_sentences, compare
from microrace.training import FeatureStore

TINY = dataclasses.replace(tiny.TINY, epochs=1, crops_per_epoch=16, n_members=1)


def trials_of(**right):
    """Trials of levels with images right (1) or wrong (0), two images a specimen, in two seeds that agree."""
    rows = [
        ("thing", level, AS_THEY_ARE, seed, str(i), "ab"[i % 2], str(i // 2), bool(c))
        for level, answers in right.items() for seed in (0, 1) for i, c in enumerate(answers)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns="factor level condition seed file label split_group correct".split())


def test_paired_difference_by_hand():
    levels = compare(trials_of(all=[1, 1, 1, 1, 1, 0] * 4, some=[1, 0, 1, 0, 1, 0] * 4))
    row = levels.set_index("level").loc["some"]
    assert (row["reference"], row["n_seeds"], row["n_images"]) == ("all", 2, 24)
    assert row["accuracy"] == pytest.approx(1 / 2) and row["difference"] == pytest.approx(-1 / 3)
    # Class a is right in all, class b in two thirds and in none.
    assert row["balanced_difference"] == pytest.approx((0 - 2 / 3) / 2)
    assert row["difference_low"] < row["difference"] < row["difference_high"] < 0
    assert np.isnan(levels.set_index("level").loc["all", "difference"])


def test_only_what_is_told_from_zero_is_claimed():
    for answers, word, n in (([1, 0] * 20, "worse than", 1), ([1, 1, 0, 0] * 10, "not told from", 0)):
        said = claim_sentences(compare(trials_of(all=[1, 1] * 20 if n else [0, 0, 1, 1] * 10, some=answers)))
        assert f"some is {word} all" in said[0] and said[-1].startswith(f"{n} of 1 differences")
    assert compare(pd.DataFrame()).empty


def test_grids_change_one_thing_and_begin_each_factor_with_what_others_are_compared_with(manifest):
    small, full = (ablations.grid(name, TINY, manifest) for name in ("small", "full"))
    for setting in full:
        dataclasses.replace(TINY, **setting.changes)
        assert len(setting.changes) <= 1 or setting.factor in ("method", "backbone")
        assert set(setting.conditions) <= set(CONDITIONS)
    assert {s.factor for s in small} == {"images", "scale", "transformations", "method"} < {s.factor for s in full}
    # Two folds of 18 images leave 9 to learn from: no more can be asked for.
    assert [s.level for s in full if s.factor == "images"] == ["all"]
    with pytest.raises(ValueError, match="medium"):
        ablations.grid("medium", TINY, manifest)


def test_a_condition_changes_image_and_scale_together():
    image = np.random.default_rng(0).random((96, 128), dtype=np.float32)
    config = dataclasses.replace(TINY, scale_handling="none")
    plain, half, centre = (Condition(magnification=m)(image, 4.0, config) for m in (1, 0.5, 2))
    # Crops of a share of the image show the same field of view when it is reduced, and half of it when enlarged.
    assert half[1] == pytest.approx(plain[1]) and centre[1] == pytest.approx(2 * plain[1])
    assert np.abs(half[0][0] - plain[0][0]).mean() < 0.5 * np.abs(centre[0][0] - plain[0][0]).mean()
    blurred, _ = CONDITIONS["defocus 3"](image, 4.0, config)
    assert blurred.shape == plain[0].shape and blurred.std() < 0.5 * plain[0].std()


def test_features_under_a_condition_are_kept_apart_and_a_wrong_scale_changes_the_scale_alone(manifest):
    rows = manifest.iloc[:2]
    plain, told = FeatureStore(TINY).features(rows), ablations.features_under("scale told 4 times", rows, TINY)
    assert np.array_equal(told.values, plain.values)
    assert told.log2_pixels_per_um == pytest.approx(plain.log2_pixels_per_um + 2)
    for _ in range(2):
        assert np.abs(ablations.features_under("defocus 3", rows, TINY).values - plain.values).max() > 0


def test_finished_runs_are_not_run_again_and_all_methods_answer_the_same_images(manifest, tmp_path, monkeypatch):
    settings = [Setting("method", "machine", conditions=("reduced to 1/2",))]
    settings += [Setting("method", peer, method=peer) for peer in ablations.PEERS]
    first = ablations.run_sweep(manifest, settings, TINY, [0], tmp_path)
    assert first.groupby(["level", "condition"])["file"].agg(lambda f: tuple(sorted(f))).nunique() == 1
    assert compare(first)["condition"].tolist() == [AS_THEY_ARE, "reduced to 1/2", *[AS_THEY_ARE] * len(ablations.PEERS)]
    monkeypatch.setattr(ablations, "_held_out", lambda *a: pytest.fail("run again"))
    # The number of processes is no part of what was run; the seed is.
    again = ablations.run_sweep(manifest, settings, dataclasses.replace(TINY, workers=1), [0], tmp_path)
    pd.testing.assert_frame_equal(again, first)
    with pytest.raises(pytest.fail.Exception, match="run again"):
        ablations.run_sweep(manifest, settings, TINY, [1], tmp_path)


def test_whole_networks_run_with_the_first_seed_alone(manifest, tmp_path):
    settings = [Setting("start", "kept"), Setting("start", "trained", {"backbone_rate": 1.0})]
    trials = ablations.run_sweep(manifest, settings, TINY, [0, 1], tmp_path)
    accuracy = trials.groupby(["level", "seed"])["correct"].mean()
    assert list(accuracy.index) == [("kept", 0), ("kept", 1), ("trained", 0)]
    # It is compared with the reference of its own seed.
    assert compare(trials)["difference"].iloc[1] == pytest.approx(accuracy["trained", 0] - accuracy["kept", 0])
