"""Features are computed once; heads learn; cross-validation keeps specimens apart; the saved machine answers as before."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import threadpoolctl
import torch

import micrographs as mg
from microrace import augment, network, paths, training
from microrace.training import CropFeatures, Ensemble, FeatureStore, Machine, TrainingConfig, train
from tiny import TINY


@pytest.fixture(scope="module")
def rows(manifest):
    return manifest[manifest["split"] == "train"].reset_index(drop=True)


@pytest.fixture(scope="module")
def quiz(manifest):
    return manifest[manifest["split"] == "quiz"].reset_index(drop=True)


@pytest.mark.parametrize("change", [{"loss": "hinge"}, {"scale_handling": "maybe"}, {"epochs": 0}, {"backbone_rate": -0.1}])
def test_bad_settings_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        TrainingConfig(**change)


# Kept features


@pytest.mark.parametrize("augmented", [False, True])
def test_what_was_computed_is_read_and_what_is_spoilt_computed_anew(rows, tmp_path, monkeypatch, augmented):
    def features(config=TINY):
        return FeatureStore(config, folder=tmp_path).features(rows, augmented)

    first, files = features(), sorted(tmp_path.rglob("*.npz"))
    assert len(files) == len(rows)
    files[0].write_bytes(files[0].read_bytes()[:100])
    files[1].write_bytes(b"")
    np.testing.assert_array_equal(features().values, first.values)
    monkeypatch.setattr(FeatureStore, "backbone", property(lambda self: pytest.fail("computed again")))
    again = features(dataclasses.replace(TINY, augmented_crops=1))  # fewer crops are the same crops
    for i in range(len(rows)):
        mine, theirs = (f.values[f.image_index == i] for f in (first, again))
        np.testing.assert_array_equal(mine[:1] if augmented else mine, theirs)


def files(config=TINY, sha256="a" * 64, pixels_per_um=2.5):
    rows = pd.DataFrame({"sha256": [sha256], "pixels_per_um": pixels_per_um})
    return [FeatureStore(config).files(rows, augmented)[0] for augmented in (False, True)]


@pytest.mark.parametrize(
    ("change", "which"),
    [({"crop_px": 48}, [1, 1]), ({"crops_per_field": 1}, [1, 0]), ({"backbone": "test_resnet"}, [1, 1]),
     ({"scale_handling": "none"}, [1, 1]), ({"pipeline": "none"}, [0, 1]), ({"without": "noise"}, [0, 1]),
     ({"epochs": 3, "n_folds": 3, "loss": "cross-entropy", "workers": 2, "scale_handling": "normalised"}, [0, 0])],
)  # fmt: skip
def test_whatever_changes_features_and_nothing_else_changes_their_file(change, which):
    changed = files(dataclasses.replace(TINY, **change))
    assert [mine != other for mine, other in zip(files(), changed, strict=True)] == [bool(w) for w in which]
    assert len({files(sha256=s * 64, pixels_per_um=p)[0] for s in "ab" for p in (2.5, 2.6)}) == 4


def test_a_transformation_of_another_range_or_other_code_gives_other_features(rows, monkeypatch, tmp_path):
    def values():
        return FeatureStore(TINY, folder=tmp_path).features(rows.head(1), augmented=True).values

    before, kept = files(), values()
    stronger = dataclasses.replace(augment.TRANSFORMATIONS["noise"], drawn=(0.3, 0.4), probability=1.0)
    monkeypatch.setitem(augment.TRANSFORMATIONS, "noise", stronger)
    after = files()
    assert before[0] == after[0] and before[1] != after[1] and not np.array_equal(kept, values())
    monkeypatch.setattr(network, "standardise", lambda crops: crops)
    assert files()[0] != before[0]


# Heads


def test_every_class_is_drawn_equally_and_inside_it_every_image():
    labels = np.array(["a"] * 90 + ["b"] * 10)
    drawn = training.draw_images(labels, 4000, np.random.default_rng(0))
    assert (labels[drawn] == "a").mean() == pytest.approx(0.5, abs=1e-3)
    assert np.bincount(drawn, minlength=100)[:90].std() < 8  # 22 each, as chance has it
    # Every pair of draws holds both classes: no batch misses one.
    assert all(set(labels[pair]) == {"a", "b"} for pair in drawn.reshape(-1, 2))


def clusters():
    """Features of twelve images of three classes, whose crops lie about centres of their own."""
    rng, labels, index = np.random.default_rng(0), np.arange(12) % 3, np.repeat(np.arange(12), 6)
    values = 3 * rng.standard_normal((3, 20))[labels[index]] + rng.standard_normal((len(index), 20))
    return CropFeatures(values.astype(np.float32), rng.uniform(0, 6, len(index)).astype(np.float32), index), labels


def test_a_head_parts_classes_it_has_seen():
    features, labels = clusters()
    config = dataclasses.replace(TINY, epochs=4, crops_per_epoch=96, n_members=1, learning_rate=5e-2)
    ensemble, history = Ensemble.fit(features, labels, np.arange(9), config)
    assert list(history) == ["epoch", "loss", "active_triplets", "spread", "head"] and len(history) == 4
    points = ensemble.heads[0][0].points(features)
    cosine, same = points @ points.T, labels[features.image_index][:, None] == labels[features.image_index][None, :]
    assert cosine[same].mean() > cosine[~same].mean() + 0.5
    features.log2_pixels_per_um[:] = np.nan
    with pytest.raises(FloatingPointError, match="learning_rate"):
        Ensemble.fit(features, labels, np.arange(9), config)


# Cross-validation and the machine


def test_held_out_answers_cover_the_training_images_once(manifest, rows, trained):
    found, classes = trained.held_out, mg.classes(manifest)
    assert sorted(found["file"]) == sorted(rows["file"])
    np.testing.assert_allclose(found[classes].sum(axis=1), 1, rtol=1e-5)
    assert found["answer"].tolist() == found[classes].idxmax(axis=1).tolist()
    assert len(trained.history) == TINY.epochs * TINY.n_members * (TINY.n_folds + 1)
    assert np.isfinite(trained.history[["loss", "spread"]]).all(axis=None)
    accepted = (found["outlier_score"] <= trained.machine.threshold).mean()
    assert accepted == pytest.approx(TINY.acceptance_rate, abs=1 / len(rows))


def test_folds_keep_specimens_apart_and_subsets_take_whole_ones_of_every_class(rows):
    n_classes, whole = rows["label"].nunique(), training.folds_of(rows, TINY)
    for limit, n_specimens in ((n_classes, n_classes), (2 * n_classes, n_classes)):  # two images a specimen
        subsets = training.folds_of(rows, dataclasses.replace(TINY, max_train_images=limit))
        for (index, valid), (few, same) in zip(whole, subsets, strict=True):
            assert np.array_equal(valid, same) and set(few) <= set(index)
            assert not set(rows["split_group"].iloc[index]) & set(rows["split_group"].iloc[valid])
            chosen = rows.iloc[few]
            assert len(few) == min(limit, len(index)) and chosen["split_group"].nunique() == n_specimens
            assert chosen["label"].nunique() == n_classes
    with pytest.raises(ValueError, match="fewer than"):
        training.folds_of(rows, dataclasses.replace(TINY, max_train_images=1))


def test_the_same_seed_gives_the_same_numbers_whatever_workers_and_threads(manifest, trained, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "FEATURES", tmp_path)  # computed anew, not read
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    with threadpoolctl.threadpool_limits(3 - min(threads, 2)):
        again = train(manifest, dataclasses.replace(TINY, workers=2))
    torch.set_num_threads(threads)
    pd.testing.assert_frame_equal(again.held_out, trained.held_out)
    different = train(manifest, dataclasses.replace(TINY, seed=1), only_validate=True)
    assert different.machine is None
    assert not np.array_equal(different.held_out["outlier_score"], trained.held_out["outlier_score"])


@pytest.mark.parametrize("backbone_rate", [0.0, 1.0])
def test_a_saved_machine_answers_as_before(manifest, quiz, trained, tmp_path, monkeypatch, backbone_rate):
    machine = trained.machine
    if backbone_rate:
        machine = train(manifest, dataclasses.replace(TINY, backbone_rate=backbone_rate, n_members=1, epochs=1)).machine
        assert not np.allclose(machine.judge(quiz)[0], trained.machine.judge(quiz)[0])
    machine.save(tmp_path / "weights.pt")
    pd.testing.assert_frame_equal(Machine.load(tmp_path / "weights.pt", "cpu").scores(quiz), machine.scores(quiz))
    # What is saved does not tell by which process.
    monkeypatch.setattr("microrace.whole.os.getpid", lambda: 12345)
    machine.save(tmp_path / "other.pt")
    assert (tmp_path / "weights.pt").read_bytes() == (tmp_path / "other.pt").read_bytes()


def test_the_machine_is_the_mean_of_its_heads_and_rejects_beyond_the_threshold(quiz, trained):
    machine, ensemble = trained.machine, trained.machine.ensemble
    both, outlier_score = machine.judge(quiz)
    alone = [Ensemble([head], ensemble.outlier_score) for head in ensemble.heads]
    each = [Machine(TINY, machine.classes, one, 0.0).judge(quiz)[0] for one in alone]
    np.testing.assert_allclose(both, np.mean(each, axis=0), atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 1e-4
    scores = Machine(TINY, machine.classes, ensemble, float(np.median(outlier_score))).scores(quiz)
    rejected = scores["answer"] == mg.NONE_OF_THESE
    assert rejected.tolist() == (outlier_score > np.median(outlier_score)).tolist() == scores["confidence"].isna().tolist()
    sheet = training.answer_sheet(scores, "a quiz")
    assert set(sheet["decision_maker"]) == {"machine"} and sheet["answer"].tolist() == scores["answer"].tolist()


def test_a_file_that_is_no_machine_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"no machine")
    for name in ("weights.pt", "absent.pt"):
        with pytest.raises((ValueError, FileNotFoundError), match="run the study"):
            Machine.load(tmp_path / name)


# Real micrographs


def test_real_micrographs_train_answer_and_hear_the_scale(shared_manifest):
    manifest = mg.read_manifest(shared_manifest)
    found = train(manifest, TrainingConfig(crop_px=64, crops_per_field=1, augmented_crops=0, n_folds=3, n_members=1))
    assert found.held_out["correct"].mean() > 0.6  # the largest class has 0.37 of the images
    features, judge = found.machine.store().features(manifest[manifest["split"] == "quiz"]), found.machine.ensemble.judge
    # The same crops, said to be four times as fine as they are.
    wrong = dataclasses.replace(features, log2_pixels_per_um=features.log2_pixels_per_um + 2)
    assert (judge(features)[0].argmax(axis=1) != judge(wrong)[0].argmax(axis=1)).mean() > 0.1


def test_each_field_of_view_of_an_image_counts_alike():
    scales, images = np.log2([8, 8, 8, 2, 4, 4]), np.array([3, 3, 3, 3, 7, 7])
    found = CropFeatures(np.zeros((6, 1)), scales, images).image_means(np.array([[1.0], [1], [1], [0], [0.2], [0.4]]))
    assert found.ravel() == pytest.approx([0.5, 0.3])
