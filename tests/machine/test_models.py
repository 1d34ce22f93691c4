"""Backbones, weights, the embedding on the sphere, and the neighbour classifier against explicit loops."""

import math

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import RandomForestClassifier

from microrace.images.manifests import NONE_OF_THESE
from microrace.machine.models import (
    HEADS,
    NONE_RULES,
    POOLING,
    EmbeddingNet,
    ImageClassifier,
    ScatteringForest,
    answers_from_scores,
    build_backbone,
    torchvision,
)


def test_embedding_lies_on_the_unit_sphere_and_ignores_brightness_and_contrast():
    torch.manual_seed(0)
    net = EmbeddingNet(embedding_dim=8).eval()
    crops = torch.rand(3, 1, 64, 64)
    scale = torch.tensor([0.0, 3.0, 6.0])
    with torch.inference_mode():
        points = net(crops, scale)
        brighter = net(0.5 * crops + 0.2, scale)
    assert points.shape == (3, 8)
    assert torch.allclose(points.norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(points, brighter, atol=2e-2)


def test_scale_changes_the_embedding_only_when_told():
    torch.manual_seed(0)
    crops = torch.rand(2, 1, 48, 48)
    for told in (True, False):
        net = EmbeddingNet(told_scale=told).eval()
        with torch.inference_mode():
            moved = (net(crops, torch.zeros(2)) - net(crops, torch.full((2,), 5.0))).abs().max()
        assert (moved > 1e-3) == told


@pytest.mark.parametrize("name", ["residual", "resnet18", "mobilenet_v3_small"])
def test_backbones_by_name_give_the_features_they_promise(name):
    backbone = build_backbone(name).eval()
    with torch.inference_mode():
        assert backbone(torch.rand(2, 1, 64, 64)).shape == (2, backbone.n_features)


def test_unknown_backbone_is_named():
    with pytest.raises(ValueError, match="resnet81"):
        build_backbone("resnet81")


def test_weights_come_from_a_plain_torchvision_state_dict(tmp_path):
    torch.manual_seed(1)
    published = torchvision.models.get_model("resnet18", weights=None)
    torch.save(published.state_dict(), tmp_path / "resnet18.pth")
    backbone = build_backbone("resnet18", str(tmp_path / "resnet18.pth"))
    assert torch.equal(backbone.net.conv1.weight, published.conv1.weight)


def test_weights_that_do_not_fit_or_are_not_there_are_refused(tmp_path):
    torch.save(build_backbone("residual").state_dict(), tmp_path / "residual.pt")
    assert build_backbone("residual", str(tmp_path / "residual.pt")) is not None
    with pytest.raises(ValueError, match="does not fit"):
        build_backbone("resnet18", str(tmp_path / "residual.pt"))
    with pytest.raises(FileNotFoundError, match="missing.pt"):
        build_backbone("residual", str(tmp_path / "missing.pt"))
    with pytest.raises(ValueError, match="IMAGENET1K_V1"):
        build_backbone("residual", "IMAGENET1K_V1")


def test_weights_by_name_are_asked_of_torchvision(monkeypatch):
    asked = {}

    def get_model(name, weights=None):
        asked.update(name=name, weights=weights)
        return torchvision.models.resnet18()

    monkeypatch.setattr(torchvision.models, "get_model", get_model)
    build_backbone("resnet18", "IMAGENET1K_V1")
    assert asked == {"name": "resnet18", "weights": "IMAGENET1K_V1"}


def test_a_pickle_with_code_is_refused(tmp_path):
    torch.save({"weights": math.sin}, tmp_path / "evil.pt")
    with pytest.raises(Exception, match="[Ww]eights"):
        build_backbone("residual", str(tmp_path / "evil.pt"))


def sphere(rng, n):
    x = rng.normal(size=(n, 3))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_neighbour_scores_equal_explicit_loops():
    rng = np.random.default_rng(0)
    train, query = sphere(rng, 20), sphere(rng, 7)
    label = np.arange(20) % 3
    classifier = ImageClassifier(train, label, np.arange(20), 3, k=4, temperature=0.2)
    probability, distance = classifier.crop_scores(query)
    for q in range(7):
        mean = [
            np.mean(sorted((float(query[q] @ t) for t, of in zip(train, label, strict=True) if of == c))[-4:])
            for c in range(3)
        ]
        expected = np.exp(np.array(mean) / 0.2)
        np.testing.assert_allclose(probability[q], expected / expected.sum(), rtol=1e-4)
        assert distance[q] == pytest.approx(1 - max(float(query[q] @ t) for t in train), abs=1e-5)
    image = np.array([0, 0, 0, 1, 1, 2, 2])
    pooled, pooled_distance = classifier.image_scores(query, image, 3)
    np.testing.assert_allclose(pooled[1], probability[3:5].mean(axis=0))
    assert pooled_distance[2] == pytest.approx(distance[5:].mean())


def test_pooling_by_hand():
    rng = np.random.default_rng(1)
    train, query, label = sphere(rng, 20), sphere(rng, 6), np.arange(20) % 2
    image = np.array([0, 0, 0, 1, 1, 1])
    p, _ = ImageClassifier(train, label, np.arange(20), 2).crop_scores(query)

    def pooled(pooling):
        return ImageClassifier(train, label, np.arange(20) // 2, 2, pooling=pooling).image_scores(query, image, 2)[0]

    votes = np.eye(2)[p.argmax(1)]
    np.testing.assert_allclose(pooled("vote")[0], (votes[:3] + 0.01 * p[:3]).mean(0) / 1.01)
    weight = 1 + (p * np.log2(p)).sum(1) + 1e-3  # the entropy of two classes in bits is at most 1
    np.testing.assert_allclose(pooled("attention")[1], (weight[3:, None] * p[3:]).sum(0) / weight[3:].sum(), rtol=1e-5)
    # Training images of two crops become ten points; the label is that of the first of each pair.
    means = np.stack([query[:3].mean(0), query[3:].mean(0)])
    points = np.stack([train[2 * i : 2 * i + 2].mean(0) for i in range(10)])
    points, means = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (points, means))
    again = ImageClassifier(points, label[::2] * 0 + np.arange(10) % 2, np.arange(10), 2)
    pairs = ImageClassifier(train, np.repeat(np.arange(10) % 2, 2), np.repeat(np.arange(10), 2), 2, pooling="mean embedding")
    np.testing.assert_allclose(pairs.image_scores(query, image, 2)[0], again.crop_scores(means)[0], rtol=1e-4)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("pooling", POOLING)
@pytest.mark.parametrize("none_rule", NONE_RULES)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_every_head_pooling_and_rule_finds_what_lies_where(head, pooling, none_rule, n_classes):
    rng = np.random.default_rng(2)

    def around(centre, n=12):
        x = np.eye(4)[centre] + 0.15 * rng.normal(size=(n, 4))
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    points = np.concatenate([around(c) for c in range(n_classes)])
    label, image = np.repeat(np.arange(n_classes), 12), np.repeat(np.arange(3 * n_classes), 4)
    classifier = ImageClassifier(points, label, image, n_classes, head=head, pooling=pooling, none_rule=none_rule)
    query = np.concatenate([around(c, 4) for c in range(n_classes)] + [around(3, 4)])
    probability, unlike = classifier.image_scores(query, np.repeat(np.arange(n_classes + 1), 4), n_classes + 1)
    np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-5)
    assert (probability[:n_classes].argmax(1) == np.arange(n_classes)).all()
    assert unlike[-1] > unlike[:-1].max(), "the point where no class lies is the least like the others"


def test_mahalanobis_unlikeness_by_hand():
    # Two classes at the ends of an axis; residuals with variance 4 along it and 1 across.
    residual = np.array([[2, 1], [2, -1], [-2, 1], [-2, -1]], float)
    points = np.concatenate([residual + [10, 0], residual - [10, 0]])
    classifier = ImageClassifier(points, np.repeat([0, 1], 4), np.arange(8), 2, none_rule="mahalanobis")
    covariance = LedoitWolf(assume_centered=True).fit(np.concatenate([residual, residual])).covariance_
    expected = np.sqrt(np.array([3.0, 2.0]) @ np.linalg.inv(covariance) @ np.array([3.0, 2.0]))
    found = classifier.unlikeness(np.array([[13.0, 2.0]]), None)
    assert found[0] == pytest.approx(expected, rel=1e-3)


def test_a_class_without_a_training_crop_is_refused():
    with pytest.raises(ValueError, match="without a training crop"):
        ImageClassifier(np.eye(3), np.array([0, 0, 1]), np.arange(3), 3)


def test_far_images_are_none_of_these():
    probability = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert answers_from_scores(probability, [0.1, 0.5], ["a", "b"], 0.3) == ["a", NONE_OF_THESE]


def test_a_forest_weighs_classes_and_images_alike_and_pools_crops():
    """Two classes that overlap: without weights the common one, with forty crops an image, would take everything."""
    rng = np.random.default_rng(0)
    textures = np.concatenate([rng.normal(0, 1, (400, 2)), rng.normal(1, 1, (20, 2))])
    class_index = np.repeat([0, 1], [400, 20])
    image_index = np.concatenate([np.repeat(np.arange(10), 40), np.repeat(np.arange(10, 20), 2)])
    forest = ScatteringForest(textures, class_index, image_index, 2)
    new = np.concatenate([rng.normal(0, 1, (300, 2)), rng.normal(1, 1, (300, 2))])
    probability, unlike = forest.crop_scores(new)
    assert probability.shape == (600, 2) and np.allclose(probability.sum(axis=1), 1)
    unweighted = RandomForestClassifier(forest.N_TREES, min_samples_leaf=forest.SMALLEST_LEAF, random_state=0)
    unweighted.fit(textures, class_index)
    assert probability[:, 1].mean() > 2 * unweighted.predict_proba(new)[:, 1].mean()
    pooled, pooled_unlike = forest.image_scores(new, np.repeat([1, 0], 300), 2)
    np.testing.assert_allclose(pooled_unlike, [unlike[300:].mean(), unlike[:300].mean()])
    far = forest.crop_scores(np.full((1, 2), 9.0))[1]
    assert far[0] > unlike.max()
    np.testing.assert_allclose(pooled, [probability[300:].mean(axis=0), probability[:300].mean(axis=0)])
    assert pooled[0, 1] > pooled[1, 1]
