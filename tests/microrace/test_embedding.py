"""The embedding head and its losses against explicit loops; draws of crops; fine-tuning resumes."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from micrographs import manifest as manifests
from microrace import embedding
from microrace.crops import TrainingCrops, draw_images
from microrace.embedding import EmbeddingHead, MetricLoss, fit_head, fit_network
from microrace.features import CropFeatures
from microrace.settings import LOSSES, TrainingConfig

SMALL = TrainingConfig(
    backbone="test_efficientnet", weights="", epochs=2, crops_per_epoch=32, batch_size=16, crop_px=32, workers=0,
    device="cpu",
)  # fmt: skip


def test_every_class_and_inside_it_every_specimen_is_drawn_equally():
    labels = np.array(["a"] * 90 + ["b"] * 10)
    groups = np.array(["s0"] * 80 + ["s1"] * 10 + ["s2"] * 10)
    drawn = draw_images(labels, groups, 4000, np.random.default_rng(0))
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


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_falls_when_classes_part(name):
    torch.manual_seed(0)
    criterion = MetricLoss(name, 2, 4)
    if name == "cross-entropy":
        criterion.loss.W.data = torch.eye(4)[:, :2].contiguous()
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    apart = torch.eye(4)[labels]
    mixed = torch.nn.functional.normalize(torch.randn(6, 4), dim=1)
    assert criterion(apart, labels)[0] < criterion(mixed, labels)[0]


def test_points_lie_on_the_unit_sphere_and_scale_moves_them_only_when_told():
    torch.manual_seed(0)
    values = torch.rand(5, 12)
    for told in (True, False):
        head = EmbeddingHead(12, 6, told).eval()
        with torch.inference_mode():
            points, moved = head(values, torch.zeros(5)), head(values, torch.full((5,), 5.0))
        assert points.shape == (5, 6) and torch.allclose(points.norm(dim=1), torch.ones(5), atol=1e-5)
        assert ((points - moved).abs().max() > 1e-3) == told


def clusters(n_images=12, crops=6, d=20, seed=0):
    """Features of three classes whose crops lie about centres of their own."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_images) % 3
    centres = 3 * rng.standard_normal((3, d))
    index = np.repeat(np.arange(n_images), crops)
    values = (centres[labels[index]] + rng.standard_normal((len(index), d))).astype(np.float32)
    return CropFeatures(values, rng.uniform(0, 6, len(index)).astype(np.float32), index, n_images), labels


def test_a_head_parts_classes_it_has_seen_and_the_same_seed_gives_the_same_head():
    features, labels = clusters()
    groups = np.arange(12)
    config = dataclasses.replace(SMALL, epochs=4, crops_per_epoch=96, learning_rate=1e-2)
    head, history = fit_head(features, labels, groups, np.arange(9), config)
    points = head.points(features)
    cosine = points @ points.T
    same = labels[features.image_index][:, None] == labels[features.image_index][None, :]
    assert cosine[same].mean() > cosine[~same].mean() + 0.5
    assert list(history.columns) == ["epoch", "loss", "active_triplets", "spread", "seconds"] and len(history) == 4
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(threads, 2))
        again, _ = fit_head(features, labels, groups, np.arange(9), config)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(again.points(features), points)
    other, _ = fit_head(features, labels, groups, np.arange(9), dataclasses.replace(config, seed=1))
    assert not np.allclose(other.points(features), points)


def test_a_loss_that_is_no_number_stops():
    features, labels = clusters()
    features.values[0, 0] = np.inf
    with pytest.raises(FloatingPointError, match="learning_rate"):
        fit_head(features, labels, np.arange(12), np.arange(12), SMALL)


@pytest.fixture(scope="module")
def rows(tiny_manifest):
    manifest = manifests.read_manifest(tiny_manifest)
    return manifest[manifest["split"] == "train"].reset_index(drop=True)


def test_training_crops_do_not_depend_on_who_makes_them(rows):
    index = np.array([0, 3, 5])
    one, other = (TrainingCrops(rows["path"], rows["pixels_per_um"], index, SMALL, draw=2) for _ in range(2))
    for i in (2, 0, 1):
        np.testing.assert_array_equal(one[i][0], other[i][0])
    assert not np.array_equal(TrainingCrops(rows["path"], rows["pixels_per_um"], index, SMALL, draw=3)[0][0], one[0][0])


def test_an_interrupted_fine_tuning_resumes_to_the_same_network(rows, tmp_path, monkeypatch):
    labels = pd.factorize(rows["label"])[0]
    config = dataclasses.replace(SMALL, backbone_rate=1.0, epochs=3)
    whole, history = fit_network(rows, labels, np.arange(len(rows)), config, tmp_path / "whole.pt", "whole")
    save, saves = embedding.save_whole, itertools.count()

    def stop_after_two(obj, path):
        save(obj, path)
        if next(saves) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(embedding, "save_whole", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        fit_network(rows, labels, np.arange(len(rows)), config, tmp_path / "cut.pt", "cut")
    monkeypatch.setattr(embedding, "save_whole", save)
    resumed, resumed_history = fit_network(rows, labels, np.arange(len(rows)), config, tmp_path / "cut.pt", "cut")
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    pd.testing.assert_frame_equal(resumed_history.drop(columns="seconds"), history.drop(columns="seconds"))


def test_what_is_saved_does_not_tell_by_which_process(tmp_path, monkeypatch):
    embedding.save_whole({"a": torch.arange(3)}, tmp_path / "one.pt")
    monkeypatch.setattr("microrace.whole.os.getpid", lambda: 12345)
    embedding.save_whole({"a": torch.arange(3)}, tmp_path / "other.pt")
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "other.pt").read_bytes()
