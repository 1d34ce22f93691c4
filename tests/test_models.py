"""Backbones, weights, the embedding on the sphere, and the neighbour classifier against explicit loops."""

import math

import numpy as np
import pytest
import torch

from microrace.micrographs import NONE_OF_THESE
from microrace.models import (
    EmbeddingNet,
    NeighbourClassifier,
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


def test_neighbour_scores_equal_explicit_loops():
    rng = np.random.default_rng(0)

    def sphere(n):
        x = rng.normal(size=(n, 3))
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    train, query = sphere(20), sphere(7)
    label = np.arange(20) % 3
    classifier = NeighbourClassifier(train, label, 3, k=4, temperature=0.2)
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


def test_a_class_without_a_training_crop_is_refused():
    with pytest.raises(ValueError, match="without a training crop"):
        NeighbourClassifier(np.eye(3), np.array([0, 0, 1]), 3)


def test_far_images_are_none_of_these():
    probability = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert answers_from_scores(probability, [0.1, 0.5], ["a", "b"], 0.3) == ["a", NONE_OF_THESE]
