"""From points and features of crops to an image's classes, and to how unlike all of them it is."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax
from sklearn.covariance import LedoitWolf

from micrographs.manifest import NONE_OF_THESE


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
    """

    # Cosines are divided by it before the softmax.
    TEMPERATURE = 0.1

    def __init__(self, points, class_index, image_index, n_classes: int):
        means = class_means(points, class_index, balanced_weights(class_index, image_index), n_classes)
        self.means = means / np.linalg.norm(means, axis=1, keepdims=True)

    def probabilities(self, points) -> np.ndarray:
        """Probabilities (n, n_classes)."""
        return softmax(np.asarray(points) @ self.means.T / self.TEMPERATURE, axis=1)


class Unlikeness:
    """How unlike all training images an image is, so that "none of these" can be answered.

    Two views, each in robust standard deviations of the training images' own values:

    - ``embedding``: the Mahalanobis distance of its points to the nearest class mean, with one shrunk covariance for
      all classes (Lee et al., 2018). The head learned to part the known classes and nothing else.
    - ``nearest image``: the cosine distance of its mean features to the nearest training image's (Sun et al., 2022).
      The backbone knows nothing of the classes.

    ``both`` is their sum.

    Parameters
    ----------
    rule : str
        ``embedding``, ``nearest image`` or ``both``.
    values : array (n_crops, n_features)
        Features of training crops.
    points : array (n_crops, d)
        The same crops on the sphere.
    class_index, image_index : array (n_crops,) of int
    n_classes : int
    """

    def __init__(self, rule: str, values, points, class_index, image_index, n_classes: int):
        self.rule = rule
        _, position = np.unique(image_index, return_inverse=True)
        self.means = class_means(points, class_index, balanced_weights(class_index, image_index), n_classes)
        covariance = LedoitWolf(assume_centered=True).fit(points - self.means[class_index]).covariance_
        self.whiten = np.linalg.cholesky(np.linalg.inv(covariance + 1e-6 * np.eye(len(covariance))))
        self.images = self._directions(values, position)
        cosine = self.images @ self.images.T
        np.fill_diagonal(cosine, -1)
        own = {"embedding": self._distance(points, position), "nearest image": 1 - cosine.max(axis=1)}
        # The median, and half the width of the middle two thirds: an odd training image does not move them.
        self.scales = np.array(
            [(np.median(v), np.subtract(*np.quantile(v, [5 / 6, 1 / 6])) / 2 + 1e-6) for v in own.values()]
        )

    @staticmethod
    def _directions(values, position) -> np.ndarray:
        means = image_means(values, position)
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)

    def _distance(self, points, position) -> np.ndarray:
        whitened, means = np.asarray(points) @ self.whiten, self.means @ self.whiten
        distance = np.stack([np.linalg.norm(whitened - mean, axis=1) for mean in means], axis=1).min(axis=1)
        return image_means(distance, position)

    def __call__(self, values, points, position) -> np.ndarray:
        """Unlikeness (n_images,) of images from their crops' features, points and images' numbers 0, 1, ..."""
        views = {
            "embedding": lambda: self._distance(points, position),
            "nearest image": lambda: 1 - (self._directions(values, position) @ self.images.T).max(axis=1),
        }
        asked = views if self.rule == "both" else [self.rule]
        parts = [(v() - m) / s for (name, v), (m, s) in zip(views.items(), self.scales, strict=True) if name in asked]
        return np.sum(parts, axis=0)


def answers_from_scores(probability, distance, classes: list[str], threshold: float) -> list[str]:
    """Most probable class of each image, or "none of these" where the distance exceeds the threshold."""
    best = np.asarray(probability).argmax(axis=1)
    return [NONE_OF_THESE if d > threshold else classes[b] for b, d in zip(best, distance, strict=True)]
