"""Prototypes, weights and unlikeness by hand and against explicit loops."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from micrographs.manifest import NONE_OF_THESE
from microrace.classifiers import (
    Prototypes,
    Unlikeness,
    answers_from_scores,
    balanced_weights,
    class_means,
    image_means,
)


def test_every_class_counts_alike_and_inside_it_every_image():
    of_class = np.array([0, 0, 0, 0, 1, 1])
    image = np.array([7, 7, 7, 8, 9, 9])
    weight = balanced_weights(of_class, image)
    assert weight.mean() == pytest.approx(1)
    assert weight[of_class == 0].sum() == pytest.approx(weight[of_class == 1].sum())
    assert weight[image == 7].sum() == pytest.approx(weight[image == 8].sum())
    values = np.array([[0.0], [0.0], [0.0], [4.0], [1.0], [3.0]])
    assert class_means(values, of_class, weight, 2).ravel() == pytest.approx([2.0, 2.0])


def test_image_means_keep_the_shape_behind_the_crops():
    values = np.arange(12.0).reshape(3, 2, 2)
    means = image_means(values, np.array([0, 1, 1]))
    np.testing.assert_array_equal(means[0], values[0])
    np.testing.assert_array_equal(means[1], values[1:].mean(axis=0))


def test_prototypes_are_class_means_on_the_sphere():
    points = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    prototypes = Prototypes(points, np.array([0, 0, 1]), np.arange(3), 2)
    np.testing.assert_allclose(prototypes.means, np.eye(2))
    p = prototypes.probabilities(np.array([[1.0, 0.0], [np.sqrt(0.5), np.sqrt(0.5)]]))
    assert p[0, 0] == pytest.approx(1 / (1 + np.exp(-10))) and p[1].tolist() == pytest.approx([0.5, 0.5])


@pytest.fixture
def cloud():
    rng = np.random.default_rng(0)
    of_class = np.repeat([0, 1], 40)
    image = np.repeat(np.arange(20), 4)
    points = rng.standard_normal((80, 3)) + 4 * np.eye(3)[of_class]
    values = np.abs(rng.standard_normal((80, 6))) + 5 * np.eye(6)[of_class]
    return values, points, of_class, image


def test_unlikeness_equals_explicit_loops(cloud):
    values, points, of_class, image = cloud
    unlike = Unlikeness("embedding", values, points, of_class, image, 2)
    means = [points[of_class == c].mean(axis=0) for c in (0, 1)]
    inverse = np.linalg.inv(
        LedoitWolf(assume_centered=True).fit(points - np.array(means)[of_class]).covariance_ + 1e-6 * np.eye(3)
    )
    distance = [min(np.sqrt((p - m) @ inverse @ (p - m)) for m in means) for p in points]
    own = np.array([np.mean(np.array(distance)[image == i]) for i in range(20)])
    spread = np.subtract(*np.quantile(own, [5 / 6, 1 / 6])) / 2 + 1e-6
    np.testing.assert_allclose(unlike(values, points, image), (own - np.median(own)) / spread, rtol=1e-5)

    unlike.rule = "nearest image"
    stranger = np.tile([0, 0, 0, 0, 0, 7.0], (4, 1))
    units = [values[image == i].mean(axis=0) / np.linalg.norm(values[image == i].mean(axis=0)) for i in range(20)]
    nearest = 1 - max(float(u[5]) for u in units)
    center, width = unlike.scales[1]
    assert unlike(stranger, points[:4], np.zeros(4, int))[0] == pytest.approx((nearest - center) / width, rel=1e-4)


def test_both_views_add_up_and_a_stranger_is_the_least_like(cloud):
    values, points, of_class, image = cloud
    strange_values, strange_points = np.tile([0, 0, 0, 0, 0, 7.0], (4, 1)), np.full((4, 3), -9.0)
    found = {}
    for rule in ("embedding", "nearest image", "both"):
        unlike = Unlikeness(rule, values, points, of_class, image, 2)
        found[rule] = unlike(strange_values, strange_points, np.zeros(4, int))[0]
        assert found[rule] > unlike(values, points, image).max() + 1
    assert found["both"] == pytest.approx(found["embedding"] + found["nearest image"])


def test_answers_are_none_beyond_the_threshold():
    probability = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert answers_from_scores(probability, [0.5, 2.0], ["a", "b"], 1.0) == ["a", NONE_OF_THESE]
