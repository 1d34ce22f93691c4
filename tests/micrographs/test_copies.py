"""Nearly the same picture twice: every way of making one is found, and no two different pictures are taken for one."""

import cv2
import numpy as np
import pytest

from micrographs import copies


def texture(seed, height=300, width=400, grain=3.0):
    """Grains of random places and greys, 8 bit: what a micrograph is to the eye."""
    rng = np.random.default_rng(seed)
    noise = sum(cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), grain * s) * s for s in (1, 2, 4))
    return np.uint8(np.clip(128 + 45 * noise / noise.std() + rng.normal(0, 6, noise.shape), 0, 255))


def jpeg(image, quality):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0)


CHANGES = {
    "JPEG": lambda image: jpeg(image, 40),
    "turned by 90": lambda image: np.rot90(image),
    "turned by 180": lambda image: np.rot90(image, 2),
    "turned by 270": lambda image: np.rot90(image, 3),
    "mirrored": lambda image: image[:, ::-1],
    "mirrored and turned": lambda image: image.T,
    "info bar cut off": lambda image: image[:-28],
    "info bar cut off, then turned": lambda image: np.rot90(image[:-28]),
    "moved": lambda image: image[9:, 12:],
    "moved, same size": lambda image: np.roll(image, (5, -7), (0, 1)),
    "cropped": lambda image: image[6:-6, 8:-8],
    "halved": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brighter": lambda image: np.uint8(np.clip(image * 0.7 + 60.0, 0, 255)),
    "inverted light": lambda image: np.uint8(np.clip(image + np.linspace(-60, 60, image.shape[1]), 0, 255)),
    "noisy": lambda image: np.uint8(np.clip(image + np.random.default_rng(0).normal(0, 15, image.shape), 0, 255)),
}


@pytest.fixture(scope="module")
def pictures():
    return [texture(seed, grain=grain) for seed, grain in enumerate((1.0, 1.5, 2.0, 3.0, 5.0, 8.0))]


@pytest.mark.parametrize("change", CHANGES)
def test_every_changed_copy_is_found_and_nothing_else(pictures, change):
    changed = [np.ascontiguousarray(CHANGES[change](image)) for image in pictures]
    images = [np.float32(image) / 255 for image in (*pictures, *changed)]
    found = copies.find([copies.signature(image) for image in images], images.__getitem__)
    n = len(pictures)
    assert [(i, k) for i, k, _ in found] == [(i, i + n) for i in range(n)]
    assert all(copies.LEAST_CORRELATION <= r <= 1.001 for _, _, r in found)


def test_different_pictures_of_one_kind_are_told_apart():
    images = [np.float32(texture(seed)) / 255 for seed in range(60)]
    assert copies.find([copies.signature(image) for image in images], images.__getitem__) == []
    assert copies.find([None, None], images.__getitem__) == [] and copies.find([], images.__getitem__) == []


def test_uneven_light_alone_does_not_make_two_pictures_alike():
    light = np.linspace(0, 1, 300)[:, None] * np.ones((1, 400))
    images = [np.float32(0.2 * texture(seed) / 255 + 0.8 * light) for seed in range(12)]
    assert copies.find([copies.signature(image) for image in images], images.__getitem__) == []
