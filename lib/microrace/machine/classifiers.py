"""From points and features of crops to an image's classes, and to how unlike all of them it is."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.covariance import LedoitWolf
from sklearn.utils.extmath import randomized_svd

from microrace.images.manifests import NONE_OF_THESE


def balanced_weights(class_index, image_index) -> np.ndarray:
    """Weight of each crop (n,): every class counts for as much, and inside a class every image; mean 1."""
    class_index = np.asarray(class_index)
    _, image = np.unique(image_index, return_inverse=True)
    weight = 1 / np.bincount(image)[image]
    weight /= np.bincount(class_index, weight)[class_index]
    return weight * len(weight) / weight.sum()


def class_means(values, class_index, weight, n_classes: int) -> np.ndarray:
    """Weighted mean of each class: array (n_classes, d)."""
    one_hot = np.eye(n_classes, dtype=np.float32)[class_index] * np.asarray(weight, dtype=np.float32)[:, None]
    return (one_hot.T @ values) / one_hot.sum(axis=0)[:, None]


def image_means(crop_values, image_index) -> np.ndarray:
    """Mean over each image's crops: (n_crops, ...) to (n_images, ...); images are numbered 0, 1, ..."""
    count = np.bincount(image_index)
    columns = np.asarray(crop_values).reshape(len(crop_values), -1).T
    sums = np.stack([np.bincount(image_index, column) for column in columns], axis=1)
    return (sums / count[:, None]).reshape(len(count), *np.shape(crop_values)[1:])


class Prototypes:
    """Class probabilities of points on the sphere: a softmax over cosines to the classes' means (Snell et al., 2017).

    Parameters
    ----------
    points : array (n_crops, d)
        Of training crops, on the unit sphere.
    class_index, image_index : array (n_crops,) of int
    n_classes : int
    temperature : float
        Cosines are divided by it before the softmax.
    """

    def __init__(self, points, class_index, image_index, n_classes: int, temperature: float = 0.1):
        means = class_means(points, class_index, balanced_weights(class_index, image_index), n_classes)
        self.means, self.temperature = means / np.linalg.norm(means, axis=1, keepdims=True), temperature

    def logits(self, points) -> np.ndarray:
        """Logits (n, n_classes)."""
        return np.asarray(points) @ self.means.T / self.temperature

    def probabilities(self, points) -> np.ndarray:
        """Probabilities (n, n_classes)."""
        return softmax(self.logits(points), axis=1)


class ClassDistance:
    """Mahalanobis distance to the nearest class mean, with one shrunk covariance for all classes (Lee et al., 2018).

    Of features it looks at the directions in which the training crops vary most.

    Parameters
    ----------
    values : array (n_crops, d)
    class_index, image_index : array (n_crops,) of int
    n_classes : int
    most_directions : int
        Principal directions kept.
    """

    def __init__(self, values, class_index, image_index, n_classes: int, most_directions: int = 64):
        weight = balanced_weights(class_index, image_index)
        self.mean, self.std = values.mean(axis=0), values.std(axis=0) + 1e-3
        standard = (values - self.mean) / self.std
        most = min(most_directions, *standard.shape)
        self.directions = randomized_svd(standard, most, n_iter=3, random_state=0)[2].T
        low = standard @ self.directions
        self.means = class_means(low, class_index, weight, n_classes)
        covariance = LedoitWolf(assume_centered=True).fit(low - self.means[class_index]).covariance_
        self.whiten = np.linalg.cholesky(np.linalg.inv(covariance + 1e-6 * np.eye(len(covariance))))

    def __call__(self, values) -> np.ndarray:
        """Distances (n,) of values (n, d)."""
        whitened = (np.asarray(values) - self.mean) / self.std @ self.directions @ self.whiten
        return np.stack([np.linalg.norm(whitened - mean, axis=1) for mean in self.means @ self.whiten], axis=1).min(axis=1)


def energy(logits) -> np.ndarray:
    """Minus the log-sum-exp of logits (n, n_classes): high where no class is near (Liu et al., 2020)."""
    return -logsumexp(logits, axis=1)


def answers_from_scores(probability, distance, classes: list[str], threshold: float) -> list[str]:
    """Most probable class of each image, or "none of these" where the distance exceeds the threshold."""
    best = np.asarray(probability).argmax(axis=1)
    return [NONE_OF_THESE if d > threshold else classes[b] for b, d in zip(best, distance, strict=True)]
