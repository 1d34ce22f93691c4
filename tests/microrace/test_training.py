"""Features are computed once; heads learn; cross-validation keeps specimens apart; the saved machine answers as before."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

import micrographs as mg
from microrace import augment, network, paths, training
from microrace.training import CropFeatures, Ensemble, FeatureStore, Machine, TrainingConfig, train

SMALL = TrainingConfig(
    backbone="test_efficientnet", weights="", epochs=2, crops_per_epoch=32, batch_size=16, crop_px=32, n_folds=2,
    n_members=2, augmented_crops=2, crops_per_field=2, workers=0, device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def manifest(tiny_manifest):
    return mg.read_manifest(tiny_manifest)


@pytest.fixture(scope="module")
def rows(manifest):
    return manifest[manifest["split"] == "train"].reset_index(drop=True)


@pytest.fixture(scope="module")
def quiz(manifest):
    return manifest[manifest["split"] == "quiz"].reset_index(drop=True)


@pytest.fixture(scope="module")
def result(manifest):
    return train(manifest, SMALL)


@pytest.mark.parametrize(
    "change", [{"loss": "hinge"}, {"scale_handling": "maybe"}, {"epochs": 0}, {"n_folds": 1}, {"acceptance_rate": 1.0},
               {"augmented_crops": -1}, {"backbone_rate": -0.1}],
)  # fmt: skip
def test_bad_settings_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        TrainingConfig(**change)


# Kept features


@pytest.mark.parametrize("augmented", [False, True])
def test_what_was_computed_is_read_and_the_same_for_fewer_crops_too(rows, tmp_path, monkeypatch, augmented):
    first = FeatureStore(SMALL, folder=tmp_path).features(rows, augmented)
    monkeypatch.setattr(FeatureStore, "backbone", property(lambda self: pytest.fail("computed again")))
    again = FeatureStore(dataclasses.replace(SMALL, augmented_crops=1), folder=tmp_path).features(rows, augmented)
    for i in range(len(rows)):
        mine, theirs = (f.values[f.image_index == i] for f in (first, again))
        np.testing.assert_array_equal(mine[:1] if augmented else mine, theirs)
    assert len(list(tmp_path.rglob("*.npz"))) == len(rows)


def files(config=SMALL, sha256="a" * 64, pixels_per_um=2.5):
    return [FeatureStore(config).file_of(sha256, pixels_per_um, augmented) for augmented in (False, True)]


@pytest.mark.parametrize(
    ("change", "which"),
    [({"crop_px": 48}, [1, 1]), ({"crops_per_field": 1}, [1, 0]), ({"seed": 1}, [1, 1]),
     ({"backbone": "test_resnet"}, [1, 1]), ({"scale_handling": "none"}, [1, 1]), ({"pipeline": "none"}, [0, 1]),
     ({"without": "noise"}, [0, 1]), ({"epochs": 3, "n_folds": 3, "embedding_dim": 4, "loss": "cross-entropy", "workers": 2,
                                       "max_train_images": 5, "scale_handling": "normalised"}, [0, 0])],
)  # fmt: skip
def test_whatever_changes_features_and_nothing_else_changes_their_file(change, which):
    changed = files(dataclasses.replace(SMALL, **change))
    assert [mine != other for mine, other in zip(files(), changed, strict=True)] == [bool(w) for w in which]


def test_an_image_of_another_content_or_scale_has_a_file_of_its_own():
    assert len({files(sha256=s * 64, pixels_per_um=p)[0] for s in "ab" for p in (2.5, 2.6)}) == 4


def test_a_transformation_of_another_range_or_other_code_gives_other_features(rows, monkeypatch, tmp_path):
    before, kept = files(), FeatureStore(SMALL, folder=tmp_path).features(rows.head(1), augmented=True)
    stronger = dataclasses.replace(augment.TRANSFORMATIONS["noise"], drawn=(0.3, 0.4), probability=1.0)
    monkeypatch.setitem(augment.TRANSFORMATIONS, "noise", stronger)
    after, anew = files(), FeatureStore(SMALL, folder=tmp_path).features(rows.head(1), augmented=True)
    assert before[0] == after[0] and before[1] != after[1]
    assert not np.array_equal(kept.values, anew.values)
    monkeypatch.setattr(network, "standardise", lambda crops: crops)
    assert files()[0] != before[0]


def test_a_spoilt_file_is_computed_anew(rows, tmp_path):
    first = FeatureStore(SMALL, folder=tmp_path).features(rows)
    kept = sorted(tmp_path.rglob("*.npz"))
    kept[0].write_bytes(kept[0].read_bytes()[:100])
    kept[1].write_bytes(b"")
    np.testing.assert_array_equal(FeatureStore(SMALL, folder=tmp_path).features(rows).values, first.values)


# Heads


def test_every_class_is_drawn_equally_and_inside_it_every_image():
    labels = np.array(["a"] * 90 + ["b"] * 10)
    drawn = training.draw_images(labels, 4000, np.random.default_rng(0))
    assert (labels[drawn] == "a").mean() == pytest.approx(0.5, abs=1e-3)
    assert np.bincount(drawn, minlength=100)[:90].std() < 8  # 22 each, as chance has it
    # Every pair of draws holds both classes: no batch misses one.
    assert all(set(labels[pair]) == {"a", "b"} for pair in drawn.reshape(-1, 2))


def clusters(n_images=12, crops=6, d=20):
    """Features of three classes whose crops lie about centres of their own."""
    rng = np.random.default_rng(0)
    labels, index = np.arange(n_images) % 3, np.repeat(np.arange(n_images), crops)
    centres = 3 * rng.standard_normal((3, d))
    values = (centres[labels[index]] + rng.standard_normal((len(index), d))).astype(np.float32)
    return CropFeatures(values, rng.uniform(0, 6, len(index)).astype(np.float32), index), labels


def test_a_head_parts_classes_it_has_seen_and_the_same_seed_gives_the_same_head():
    features, labels = clusters()
    config = dataclasses.replace(SMALL, epochs=4, crops_per_epoch=96, n_members=1, learning_rate=5e-2)

    def points(config):
        ensemble, history = Ensemble.fit(features, labels, np.arange(9), config)
        assert list(history) == ["epoch", "loss", "active_triplets", "spread", "head"] and len(history) == 4
        return ensemble.heads[0][0].points(features)

    found = points(config)
    cosine, same = found @ found.T, labels[features.image_index][:, None] == labels[features.image_index][None, :]
    assert cosine[same].mean() > cosine[~same].mean() + 0.5
    np.testing.assert_array_equal(points(config), found)
    assert not np.allclose(points(dataclasses.replace(config, seed=1)), found)


def test_a_loss_that_is_no_number_stops():
    features, labels = clusters()
    features.log2_pixels_per_um[:] = np.nan
    with pytest.raises(FloatingPointError, match="learning_rate"):
        Ensemble.fit(features, labels, np.arange(12), SMALL)


# Cross-validation and the machine


def test_held_out_answers_cover_the_training_images_once(manifest, rows, result):
    classes = mg.classes(manifest)
    assert sorted(result.held_out["file"]) == sorted(rows["file"])
    np.testing.assert_allclose(result.held_out[classes].sum(axis=1), 1, rtol=1e-5)
    assert result.held_out["answer"].tolist() == result.held_out[classes].idxmax(axis=1).tolist()
    assert len(result.history) == SMALL.epochs * SMALL.n_members * (SMALL.n_folds + 1)
    assert np.isfinite(result.history[["loss", "spread"]]).all(axis=None)
    accepted = (result.held_out["outlier_score"] <= result.machine.threshold).mean()
    assert accepted == pytest.approx(SMALL.acceptance_rate, abs=1 / len(rows))


def test_no_fold_learns_from_a_specimen_that_it_judges(rows):
    for train_index, valid_index in training.folds_of(rows, SMALL):
        assert not set(rows["split_group"].iloc[train_index]) & set(rows["split_group"].iloc[valid_index])


def test_subsets_keep_every_class_take_whole_specimens_and_leave_validation_alone(rows):
    n_classes = rows["label"].nunique()
    whole = training.folds_of(rows, SMALL)
    for limit, n_specimens in ((n_classes, n_classes), (2 * n_classes, n_classes)):  # two images a specimen
        for (index, valid), (few, same) in zip(
            whole, training.folds_of(rows, dataclasses.replace(SMALL, max_train_images=limit)), strict=True
        ):
            assert np.array_equal(valid, same) and set(few) <= set(index)
            assert rows["label"].iloc[few].nunique() == n_classes
            assert len(few) == min(limit, len(index)) and rows["split_group"].iloc[few].nunique() == n_specimens
    with pytest.raises(ValueError, match="fewer than"):
        training.folds_of(rows, dataclasses.replace(SMALL, max_train_images=1))


def test_the_same_seed_gives_the_same_numbers_whatever_workers_and_threads(manifest, result, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "FEATURES", tmp_path)  # computed anew, not read
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(threads, 2))
        again = train(manifest, dataclasses.replace(SMALL, workers=2))
    finally:
        torch.set_num_threads(threads)
    pd.testing.assert_frame_equal(again.held_out, result.held_out)
    different = train(manifest, dataclasses.replace(SMALL, seed=1), only_validate=True)
    assert different.machine is None
    assert not np.array_equal(different.held_out["outlier_score"], result.held_out["outlier_score"])


@pytest.mark.parametrize("backbone_rate", [0.0, 1.0])
def test_a_saved_machine_answers_as_before(manifest, quiz, result, tmp_path, monkeypatch, backbone_rate):
    machine = result.machine
    if backbone_rate:
        machine = train(manifest, dataclasses.replace(SMALL, backbone_rate=backbone_rate, n_members=1, epochs=1)).machine
        assert not np.allclose(machine.judge(quiz)[0], result.machine.judge(quiz)[0])
    machine.save(tmp_path / "weights.pt")
    pd.testing.assert_frame_equal(Machine.load(tmp_path / "weights.pt", "cpu").scores(quiz), machine.scores(quiz))
    # What is saved does not tell by which process.
    monkeypatch.setattr("microrace.whole.os.getpid", lambda: 12345)
    machine.save(tmp_path / "other.pt")
    assert (tmp_path / "weights.pt").read_bytes() == (tmp_path / "other.pt").read_bytes()


def test_the_machine_is_the_mean_of_its_heads_and_rejects_beyond_the_threshold(quiz, result):
    machine = result.machine
    both, outlier_score = machine.judge(quiz)
    ones = [
        Machine(SMALL, machine.classes, Ensemble([h], machine.ensemble.outlier_score), 0.0) for h in machine.ensemble.heads
    ]
    each = [one.judge(quiz)[0] for one in ones]
    np.testing.assert_allclose(both, np.mean(each, axis=0), atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 1e-4
    scores = Machine(SMALL, machine.classes, machine.ensemble, float(np.median(outlier_score))).scores(quiz)
    rejected = scores["answer"] == mg.NONE_OF_THESE
    assert rejected.tolist() == (outlier_score > np.median(outlier_score)).tolist() and rejected.any() and not rejected.all()
    assert scores["confidence"].isna().tolist() == rejected.tolist()
    sheet = training.answer_sheet(scores, "a quiz")
    assert set(sheet["decision_maker"]) == {"machine"} and sheet["answer"].tolist() == scores["answer"].tolist()


@pytest.mark.parametrize("content", [b"", b"no machine", None])
def test_a_file_that_is_no_machine_is_refused_with_the_remedy(tmp_path, content):
    path = tmp_path / "weights.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match="run the study"):
        Machine.load(path)


# Real micrographs


def test_real_micrographs_train_answer_and_hear_the_scale(shared_manifest):
    manifest = mg.read_manifest(shared_manifest)
    config = TrainingConfig(crop_px=64, crops_per_field=1, augmented_crops=0, n_folds=3, n_members=1, device="cpu")
    found = train(manifest, config)
    assert found.held_out["correct"].mean() > 0.6  # the largest class has 0.37 of the images
    quiz = manifest[manifest["split"] == "quiz"]
    features = found.machine.store().features(quiz)
    truly, _ = found.machine.ensemble.judge(features)
    # The same crops, said to be four times as fine as they are.
    wrongly, _ = found.machine.ensemble.judge(
        dataclasses.replace(features, log2_pixels_per_um=features.log2_pixels_per_um + 2)
    )
    assert (truly.argmax(axis=1) != wrongly.argmax(axis=1)).mean() > 0.1


def test_each_field_of_view_of_an_image_counts_alike():
    scales, images = np.log2([8, 8, 8, 2, 4, 4]), np.array([3, 3, 3, 3, 7, 7])
    found = CropFeatures(np.zeros((6, 1)), scales, images).image_means(np.array([[1.0], [1], [1], [0], [0.2], [0.4]]))
    assert found.ravel() == pytest.approx([0.5, 0.3])
