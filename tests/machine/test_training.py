"""The training loop: batches, losses against explicit loops, resume, determinism, answers and controls."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from microrace.images import manifests
from microrace.machine import training
from microrace.machine.models import NONE_RULES
from microrace.machine.training import MetricLoss, TrainingConfig

SMALL = TrainingConfig(
    weights="", epochs=2, crops_per_epoch=32, batch_size=16, crop_px=32, n_folds=2, n_members=1, validate_every=1, workers=0,
    device="cpu",
)  # fmt: skip


def test_every_class_and_inside_it_every_specimen_is_drawn_equally():
    labels = np.array(["a"] * 90 + ["b"] * 10)
    groups = np.array(["s0"] * 80 + ["s1"] * 10 + ["s2"] * 10)
    drawn = training.draw_images(labels, groups, 4000, np.random.default_rng(0))
    assert (labels[drawn] == "a").mean() == pytest.approx(0.5, abs=1e-3)
    assert (groups[drawn][labels[drawn] == "a"] == "s1").mean() == pytest.approx(0.5, abs=0.05)
    # Every pair of draws holds both classes: no batch misses one.
    assert all(set(labels[pair]) == {"a", "b"} for pair in drawn.reshape(-1, 2))


def test_active_share_and_semi_hard_loss_equal_explicit_loops():
    torch.manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(12, 4), dim=1)
    labels = torch.arange(12) % 3
    margin, n, active, violations = 0.2, 0, 0, []
    for a, p, q in itertools.product(range(12), repeat=3):
        if a == p or labels[a] != labels[p] or labels[a] == labels[q]:
            continue
        d_ap, d_an = float((points[a] - points[p]).norm()), float((points[a] - points[q]).norm())
        n += 1
        active += d_an - d_ap < margin
        if d_ap < d_an < d_ap + margin:
            violations.append(d_ap - d_an + margin)
    loss, share = MetricLoss("triplet", 3, 4, margin)(points, labels)
    assert share == pytest.approx(active / n)
    # The mean runs over the triplets with a positive loss, as pytorch-metric-learning's reducer does.
    assert float(loss) == pytest.approx(np.mean(violations), rel=1e-4)


@pytest.mark.parametrize("name", training.LOSSES)
def test_each_loss_falls_when_classes_part(name):
    torch.manual_seed(0)
    criterion = MetricLoss(name, 2, 4)
    if name == "cross-entropy":
        criterion.loss.W.data = torch.eye(4)[:, :2].contiguous()
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    apart = torch.eye(4)[labels]
    mixed = torch.nn.functional.normalize(torch.randn(6, 4), dim=1)
    assert criterion(apart, labels)[0] < criterion(mixed, labels)[0]


@pytest.mark.parametrize(
    "change", [{"loss": "hinge"}, {"scale_handling": "maybe"}, {"epochs": 0}, {"n_folds": 1}, {"accept_share": 1.0},
               {"forest_share": 1.5}],
)  # fmt: skip
def test_bad_settings_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        TrainingConfig(**change)


@pytest.fixture(scope="module")
def trained(tiny_manifest):
    manifest = manifests.read_manifest(tiny_manifest)
    return manifest, training.train(manifest, SMALL)


def test_held_out_answers_cover_the_training_images_once(trained):
    manifest, result = trained
    train = manifest[manifest["split"] == "train"]
    assert sorted(result.held_out["file"]) == sorted(train["file"])
    assert set(result.held_out["answer"]) <= set(manifests.classes(manifest))
    assert len(result.history) == SMALL.epochs * (SMALL.n_folds + SMALL.n_members)
    folds = result.history["network"].str.startswith("fold")
    result = dataclasses.replace(result, history=result.history[folds])
    assert np.isfinite(result.history[["loss", "spread", "validation_accuracy"]]).all(axis=None)


def test_the_same_seed_gives_the_same_numbers_whatever_the_workers(trained):
    manifest, result = trained
    again = training.train(manifest, dataclasses.replace(SMALL, workers=2))
    for (net, _), (other, _) in zip(result.machine.members, again.machine.members, strict=True):
        for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b)
    assert again.machine.threshold == result.machine.threshold
    different = training.train(manifest, dataclasses.replace(SMALL, seed=1, epochs=1))
    assert not np.array_equal(different.held_out["distance"], result.held_out["distance"])


def test_an_interrupted_run_resumes_to_the_same_numbers(trained, tmp_path, monkeypatch):
    manifest, result = trained
    save, n_saves = training._save, itertools.count()

    def stop_after_three(obj, path):
        save(obj, path)
        if next(n_saves) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        training.train(manifest, SMALL, tmp_path)
    monkeypatch.setattr(training, "_save", save)
    resumed = training.train(manifest, SMALL, tmp_path)
    pd.testing.assert_frame_equal(
        resumed.history.drop(columns="seconds"), result.history.drop(columns="seconds"), check_exact=True
    )
    pd.testing.assert_frame_equal(resumed.held_out, result.held_out, check_exact=True)


def test_a_saved_machine_answers_as_before_and_predict_needs_no_labels(trained, tmp_path):
    manifest, result = trained
    result.machine.save(tmp_path / "weights.pt")
    quiz = manifest[manifest["split"] == "quiz"].reset_index(drop=True)
    before = result.machine.scores(quiz["file"], training.image_crops(quiz, SMALL))
    new = pd.DataFrame({"file": quiz["path"], "pixels_per_um": quiz["pixels_per_um"]})
    new.to_csv(tmp_path / "new.csv", index=False)
    written = training.predict(tmp_path, tmp_path / "new.csv", tmp_path / "out" / "answers.csv", device="cpu")
    on_disk = pd.read_csv(tmp_path / "out" / "answers.csv", keep_default_na=False)
    assert list(on_disk.columns) == ["image", "answer", "score", *manifests.classes(manifest)]
    assert on_disk["answer"].tolist() == before["answer"].tolist() == written["answer"].tolist()
    np.testing.assert_allclose(on_disk[manifests.classes(manifest)].sum(axis=1), 1.0, rtol=1e-5)


def test_networks_and_forest_are_mixed_by_the_share(trained):
    manifest, result = trained
    machine = result.machine
    quiz = manifest[manifest["split"] == "quiz"].reset_index(drop=True)
    crops = training.image_crops(quiz, SMALL)
    both, distance = machine.judge(crops)
    by_share = {}
    for share in (0.0, 1.0):
        config = dataclasses.replace(SMALL, forest_share=share)
        other = training.Machine(config, machine.classes, machine.members, machine.forest, machine.threshold)
        by_share[share], same = other.judge(crops)
        np.testing.assert_array_equal(same, distance)
    np.testing.assert_allclose(both, 0.5 * by_share[0.0] + 0.5 * by_share[1.0])
    assert np.abs(by_share[0.0] - by_share[1.0]).max() > 0.05
    networks = dataclasses.replace(SMALL, forest_share=0.0, none_rule="nearest")
    alone = training.Machine(networks, machine.classes, machine.members, None, machine.threshold)
    np.testing.assert_allclose(alone.judge(crops)[0], by_share[0.0])
    assert not np.allclose(alone.judge(crops)[1], distance)
    assert training.train(manifest, dataclasses.replace(networks, epochs=1)).machine.forest is None


def test_a_forest_is_told_the_scale_only_when_the_networks_are(trained):
    manifest, _ = trained
    rows = manifest.head(2)
    told, untold = (
        training.image_crops(rows, dataclasses.replace(SMALL, scale_handling=handling))
        for handling in ("both", "normalised")
    )
    assert told.textures.shape[1] == untold.textures.shape[1] + 1
    np.testing.assert_array_equal(told.textures[:, -1], told.log2_pixels_per_um)
    np.testing.assert_array_equal(told.textures[:, :-1], untold.textures)


def test_predict_without_a_trained_run_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="run the study first"):
        training.predict(tmp_path, "any.csv", tmp_path / "out.csv")


def test_evaluate_reports_the_quiz_beside_its_controls(trained):
    manifest, result = trained
    metrics, scores = training.evaluate(manifest, result)
    truth = manifests.truth(manifest).reindex(scores["image"]).to_numpy()
    assert metrics["accuracy"]["value"] == pytest.approx((scores["answer"].to_numpy() == truth).mean())
    assert metrics["accuracy"]["low"] <= metrics["accuracy"]["value"] <= metrics["accuracy"]["high"]
    assert metrics["scale_alone"] is not None and metrics["scale_probe_r2"] <= 1
    no_quiz = manifest[manifest["split"] == "train"]
    no_quiz.attrs = manifest.attrs
    metrics, scores = training.evaluate(no_quiz, result)
    assert scores is None and metrics["accuracy"] is None and metrics["skipped"]


class Anisotropy(torch.nn.Module):
    """An embedding made by hand: the angle says how much of a crop's gradient is horizontal."""

    def forward(self, crops, log2_pixels_per_um):
        gx, gy = crops.diff(dim=3).float().pow(2).mean((1, 2, 3)), crops.diff(dim=2).float().pow(2).mean((1, 2, 3))
        angle = torch.pi / 2 * gx / (gx + gy)
        return torch.stack([angle.cos(), angle.sin()], dim=1)


def test_an_explanation_points_at_the_part_that_decided():
    """An image of lines on the left two thirds and noise on the right, judged by a machine that knows both."""
    x = np.mgrid[:128, :256][1].astype(np.float32)
    lines = 0.5 + 0.4 * np.cos(2 * np.pi * x / 8)
    noise = np.random.default_rng(0).random((128, 256)).astype(np.float32)
    config = dataclasses.replace(SMALL, scale_handling="normalised")
    sources = training.ImageCrops([lines, noise], [10.0, 10.0], config)
    points = training.embed(Anisotropy(), sources.crops, sources.log2_pixels_per_um, "cpu")
    classifier = training.make_classifier(points, sources.image_index, sources.image_index, 2, config)
    machine = training.Machine(config, ["lines", "noise"], [(Anisotropy(), classifier)], None, 1.0)
    found = training.explain(machine, np.where(x < 170, lines, noise), 10.0, sources)
    assert found.answer == "lines" and found.runner_up == "noise" and found.evidence.shape == x.shape
    # Crops at large fields of view see both, so the noise is not wholly against it.
    assert found.evidence[:, :130].mean() > 0.3 and found.evidence[:, 200:].mean() < found.evidence[:, :130].mean() - 0.5
    best = found.pairs[0]
    assert best["training_image"] == 0 and best["cosine"] > 0.999 and best["place"][0] + best["place"][2] / 2 < 175
    assert len({p["training_image"] for p in found.pairs}) == len(found.pairs)


def test_the_images_worth_explaining_are_the_sure_and_the_wrong():
    scores = pd.DataFrame({"image": list("abcd"), "answer": ["x", "x", "y", "y"], "score": [0.9, 0.6, 0.8, 0.99]})
    picks = training.interesting_images(scores, pd.Series({"a": "x", "b": "x", "c": "x", "d": "x"}))
    assert dict(zip(picks["why"], picks["image"], strict=True)) == {
        "surest right": "a", "least sure right": "b", "surest wrong": "d"
    }  # fmt: skip


def test_a_class_left_out_is_told_from_the_known_ones(tiny_manifest):
    manifest = manifests.read_manifest(tiny_manifest)
    table = training.left_out_classes(manifest, SMALL)
    assert set(table["left_out"]) == set(manifests.classes(manifest)) and len(table) == 3 * len(NONE_RULES)
    assert table["auroc"].between(0, 1).all() and (table["n_unknown"] > 0).all()
    two = manifest[manifest["label"] != "waves"]
    assert training.left_out_classes(two, SMALL).empty


def test_intervals_over_specimens_are_wider_than_over_images():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 20)
    right = np.repeat(rng.random(12) < 0.6, 20)
    truth = np.array(["a"] * 240)
    answers = np.where(right, "a", "b")
    by_group = training.score_with_intervals(truth, answers, groups)["accuracy"]
    by_image = training.score_with_intervals(truth, answers, np.arange(240))["accuracy"]
    assert by_group["value"] == by_image["value"] == pytest.approx(right.mean())
    assert by_group["high"] - by_group["low"] > 2 * (by_image["high"] - by_image["low"])


def test_balanced_accuracy_by_hand():
    score = training.score_with_intervals(["a", "a", "a", "b"], ["a", "a", "b", "b"], ["1", "1", "2", "3"])
    assert score["accuracy"]["value"] == 0.75
    assert score["balanced_accuracy"]["value"] == pytest.approx((2 / 3 + 1) / 2)


def test_scale_alone_reads_a_confounded_scale():
    train = pd.DataFrame({"pixels_per_um": [1.0] * 6 + [100.0] * 6, "label": ["a"] * 6 + ["b"] * 6})
    test = pd.DataFrame({"pixels_per_um": [1.5, 80.0]})
    assert training.scale_alone(train, test).tolist() == ["a", "b"]


def test_thinned_folds_keep_every_class_and_leave_validation_alone(tiny_manifest):
    manifest = manifests.read_manifest(tiny_manifest)
    rows = manifest[manifest["split"] == "train"].reset_index(drop=True)
    n_classes = rows["label"].nunique()
    whole = training.folds_of(rows, SMALL)
    thin = training.folds_of(rows, dataclasses.replace(SMALL, max_train_images=n_classes))
    for (train, valid), (few, same) in zip(whole, thin, strict=True):
        assert np.array_equal(valid, same)
        assert set(few) <= set(train) and rows["label"].iloc[few].nunique() == n_classes == len(few)
    with pytest.raises(ValueError, match="fewer than"):
        training.folds_of(rows, dataclasses.replace(SMALL, max_train_images=1))


def test_real_micrographs_train_and_answer(shared_manifest):
    manifest = manifests.read_manifest(shared_manifest)
    result = training.train(manifest, dataclasses.replace(SMALL, crops_per_epoch=64, crops_per_field=1))
    metrics, scores = training.evaluate(manifest, result)
    assert len(scores) == 36 and metrics["n_train"] == 134
    # Ten steps of training teach little; the network class at the lowest magnification is what even they find.
    assert metrics["validation"]["accuracy"]["value"] > 0.25
