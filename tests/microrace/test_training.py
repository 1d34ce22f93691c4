"""The machine as a whole: cross-validation, the saved machine, answers, controls, explanations, classes left out."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from micrographs import manifest as manifests
from microrace import paths
from microrace.controls import scale_alone, scale_probe
from microrace.evaluation import embedding_table, evaluate, left_out_classes
from microrace.explain import Explainer, interesting_images
from microrace.features import CropFeatures
from microrace.machine import Judges, Machine
from microrace.settings import NONE_RULES, TrainingConfig
from microrace.training import folds_of, train

SMALL = TrainingConfig(
    backbone="test_efficientnet", weights="", epochs=2, crops_per_epoch=32, batch_size=16, crop_px=32, n_folds=2,
    n_members=2, augmented_crops=2, workers=0, device="cpu",
)  # fmt: skip


@pytest.mark.parametrize(
    "change", [{"loss": "hinge"}, {"scale_handling": "maybe"}, {"epochs": 0}, {"n_folds": 1}, {"accept_share": 1.0},
               {"none_rule": "texture"}, {"augmented_crops": -1}, {"backbone_rate": -0.1}],
)  # fmt: skip
def test_bad_settings_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        TrainingConfig(**change)


@pytest.fixture(scope="module")
def manifest(tiny_manifest):
    return manifests.read_manifest(tiny_manifest)


@pytest.fixture(scope="module")
def result(manifest):
    return train(manifest, SMALL)


def test_held_out_answers_cover_the_training_images_once(manifest, result):
    rows = manifest[manifest["split"] == "train"]
    classes = manifests.classes(manifest)
    assert sorted(result.held_out["file"]) == sorted(rows["file"])
    np.testing.assert_allclose(result.held_out[classes].sum(axis=1), 1, rtol=1e-5)
    best = [classes[i] for i in result.held_out[classes].to_numpy().argmax(axis=1)]
    assert result.held_out["answer"].tolist() == best
    assert len(result.history) == SMALL.epochs * SMALL.n_members * (SMALL.n_folds + 1)
    assert np.isfinite(result.history[["loss", "spread"]]).all(axis=None)


def test_no_fold_learns_from_a_specimen_that_it_judges(manifest):
    rows = manifest[manifest["split"] == "train"].reset_index(drop=True)
    for train_index, valid_index in folds_of(rows, SMALL):
        assert not set(rows["split_group"].iloc[train_index]) & set(rows["split_group"].iloc[valid_index])


def test_the_same_seed_gives_the_same_numbers_whatever_workers_and_threads(manifest, result, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "FEATURES", tmp_path)  # computed anew, not read
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(threads, 2))
        again = train(manifest, dataclasses.replace(SMALL, workers=2))
    finally:
        torch.set_num_threads(threads)
    pd.testing.assert_frame_equal(again.held_out, result.held_out, rtol=1e-3, atol=1e-3)
    different = train(manifest, dataclasses.replace(SMALL, seed=1), only_validate=True)
    assert different.machine is None
    assert not np.array_equal(different.held_out["distance"], result.held_out["distance"])


def test_a_saved_machine_answers_as_before(manifest, result, tmp_path):
    result.machine.save(tmp_path / "weights.pt")
    quiz = manifest[manifest["split"] == "quiz"].reset_index(drop=True)
    before = result.machine.scores(quiz)
    pd.testing.assert_frame_equal(Machine.load(tmp_path / "weights.pt", "cpu").scores(quiz), before)


def test_a_fine_tuned_backbone_is_saved_with_the_machine(manifest, tmp_path):
    config = dataclasses.replace(SMALL, backbone_rate=1.0, n_members=1, epochs=1)
    tuned = train(manifest, config, tmp_path)
    assert tuned.machine.backbone is not None and (tuned.history["head"] == 0).any()
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*.pt"))
    tuned.machine.save(tmp_path / "weights.pt")
    quiz = manifest[manifest["split"] == "quiz"].reset_index(drop=True)
    pd.testing.assert_frame_equal(Machine.load(tmp_path / "weights.pt", "cpu").scores(quiz), tuned.machine.scores(quiz))


def test_a_machine_that_is_not_there_or_of_another_version_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="run the study first"):
        Machine.load(tmp_path / "weights.pt")
    torch.save({"config": {"forest_share": 0.5}}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="run the study again"):
        Machine.load(tmp_path / "weights.pt")


def test_the_machine_averages_its_heads_and_rejects_beyond_its_threshold(manifest, result):
    quiz = manifest[manifest["split"] == "quiz"].reset_index(drop=True)
    machine = result.machine
    both, unlike = machine.judge(quiz)
    each = []
    for head in machine.judges.heads:
        one = Judges(machine.config, [head], machine.judges.unlikeness)
        each.append(Machine(machine.config, machine.classes, one, 0.0).judge(quiz)[0])
    np.testing.assert_allclose(both, np.mean(each, axis=0), atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 1e-4
    strict = Machine(machine.config, machine.classes, machine.judges, float(np.sort(unlike)[0]) - 1)
    assert (strict.scores(quiz)["answer"] == manifests.NONE_OF_THESE).all()
    assert strict.scores(quiz)["score"].between(0.5, 1).all()


def test_evaluate_reports_the_quiz_beside_its_controls(manifest, result):
    metrics, scores = evaluate(manifest, result)
    truth = manifests.truth(manifest).reindex(scores["image"]).to_numpy()
    assert metrics["accuracy"]["value"] == pytest.approx((scores["answer"].to_numpy() == truth).mean())
    assert metrics["accuracy"]["low"] <= metrics["accuracy"]["value"] <= metrics["accuracy"]["high"]
    assert metrics["scale_alone"] is not None and metrics["scale_probe_r2"] <= 1
    assert metrics["validation_scale_alone"]["n"] == metrics["n_train"]
    no_quiz = manifest[manifest["split"] == "train"]
    no_quiz.attrs = manifest.attrs
    metrics, scores = evaluate(no_quiz, result)
    assert scores is None and metrics["accuracy"] is None and metrics["skipped"]


def test_an_explanation_is_of_the_answer_and_shows_training_crops_where_they_lie(manifest, result):
    training_rows = manifest[manifest["split"] == "train"].reset_index(drop=True)
    explainer = Explainer(result.machine, training_rows)
    quiz = manifest[manifest["split"] == "quiz"].reset_index(drop=True)
    row = quiz.iloc[0]
    found = explainer.explain(row)
    probability = result.machine.judge(quiz.head(1))[0][0]
    assert found.answer == result.machine.classes[probability.argmax()] != found.runner_up
    assert found.evidence.shape == (row["height"], row["width"]) and np.abs(found.evidence).max() <= 1
    assert len({p["training_image"] for p in found.pairs}) == len(found.pairs) == 3
    for pair in found.pairs:
        source = training_rows.iloc[pair["training_image"]]
        places = SMALL.places((source["height"], source["width"]), source["pixels_per_um"])
        assert (places == pair["training_place"]).all(axis=1).any() and pair["cosine"] <= 1 + 1e-5
    # A training image explains itself by itself.
    itself = explainer.explain(training_rows.iloc[0]).pairs[0]
    assert itself["training_image"] == 0 and itself["cosine"] > 0.99


class ByBrightness:
    """Judges made by hand: a crop is of the first class by as much as its first feature says."""

    def crop_probabilities(self, features):
        return np.column_stack([features.values[:, 0], 1 - features.values[:, 0]])


def test_the_map_points_at_the_part_that_decided(manifest, result, monkeypatch):
    from microrace import explain

    training_rows = manifest[manifest["split"] == "train"].reset_index(drop=True)
    explainer = Explainer(result.machine, training_rows)
    image = np.zeros((96, 192), np.float32)
    image[:, :96] = 1
    monkeypatch.setattr(explain, "read_image", lambda path: image)
    n_features = explainer.training.values.shape[1]
    monkeypatch.setattr(explain, "features_of", lambda b, crops, d: np.tile(crops.mean((1, 2))[:, None], (1, n_features)))
    monkeypatch.setattr(result.machine.judges, "crop_probabilities", ByBrightness().crop_probabilities, raising=False)
    monkeypatch.setattr(result.machine, "judge", lambda rows: (np.array([[0.6, 0.4]]), None))
    found = explainer.explain(pd.Series({"path": "", "pixels_per_um": 4.0, "sha256": "", "file": ""}))
    assert found.evidence[:, :48].mean() > 0.5 and found.evidence[:, -48:].mean() < -0.5


def test_the_images_worth_explaining_are_the_sure_and_the_wrong():
    scores = pd.DataFrame({"image": list("abcd"), "answer": ["x", "x", "y", "y"], "score": [0.9, 0.6, 0.8, 0.99]})
    picks = interesting_images(scores, pd.Series({"a": "x", "b": "x", "c": "x", "d": "x"}))
    assert dict(zip(picks["why"], picks["image"], strict=True)) == {
        "surest right": "a", "least sure right": "b", "surest wrong": "d"
    }  # fmt: skip


def test_a_class_left_out_is_told_from_the_known_ones(manifest):
    table = left_out_classes(manifest, SMALL)
    assert set(table["left_out"]) == set(manifests.classes(manifest)) and len(table) == 3 * len(NONE_RULES)
    assert table["auroc"].between(0, 1).all() and (table["n_unknown"] > 0).all()
    two = manifest[manifest["label"] != "waves"]
    assert left_out_classes(two, SMALL).empty


def test_the_embedding_table_has_a_point_on_the_sphere_for_every_image(manifest, result):
    table = embedding_table(result.machine, manifest)
    assert len(table) == len(manifest) and (table["label"] == manifests.NONE_OF_THESE).sum() == 2
    np.testing.assert_allclose(np.linalg.norm(table.filter(regex=r"^e\d+$"), axis=1), 1, rtol=1e-5)


def test_scale_alone_reads_a_confounded_scale():
    rows = pd.DataFrame({"pixels_per_um": [1.0] * 6 + [100.0] * 6, "label": ["a"] * 6 + ["b"] * 6})
    assert scale_alone(rows, pd.DataFrame({"pixels_per_um": [1.5, 80.0]})).tolist() == ["a", "b"]


def test_the_scale_probe_finds_scale_in_features_that_hold_it_and_in_no_others():
    rng = np.random.default_rng(0)
    scale, noise = rng.uniform(0, 6, 200).astype(np.float32), rng.standard_normal((200, 8)).astype(np.float32)

    def crops(values):
        parts = zip(np.split(values, 2), np.split(scale, 2), strict=True)
        return [CropFeatures(v, s, np.arange(100), 100) for v, s in parts]

    assert scale_probe(*crops(noise + scale[:, None])) > 0.8
    assert scale_probe(*crops(noise)) < 0.2


def test_thinned_folds_keep_every_class_and_leave_validation_alone(manifest):
    rows = manifest[manifest["split"] == "train"].reset_index(drop=True)
    n_classes = rows["label"].nunique()
    whole = folds_of(rows, SMALL)
    thin = folds_of(rows, dataclasses.replace(SMALL, max_train_images=n_classes))
    for (index, valid), (few, same) in zip(whole, thin, strict=True):
        assert np.array_equal(valid, same)
        assert set(few) <= set(index) and rows["label"].iloc[few].nunique() == n_classes == len(few)
    with pytest.raises(ValueError, match="fewer than"):
        folds_of(rows, dataclasses.replace(SMALL, max_train_images=1))


def test_real_micrographs_train_and_answer(shared_manifest):
    manifest = manifests.read_manifest(shared_manifest)
    config = TrainingConfig(crop_px=64, crops_per_field=1, augmented_crops=0, n_folds=3, n_members=1, device="cpu")
    metrics, scores = evaluate(manifest, train(manifest, config))
    assert len(scores) == 36 and metrics["n_train"] == 134
    # Even small crops, few of them and one head, beat what the scale alone gives away.
    validation = metrics["validation"]["accuracy"]["value"]
    assert validation > metrics["validation_scale_alone"]["accuracy"]["value"] + 0.05
