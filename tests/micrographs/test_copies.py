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


def alike(pictures):
    images = [np.ascontiguousarray(picture, np.float32) / 255 for picture in pictures]
    return [pair[:2] for pair in copies.find([copies.signature(image) for image in images], images.__getitem__)]


CHANGES = {
    "JPEG": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 0),
    "turned by 90": lambda image: np.rot90(image),
    "turned by 180": lambda image: np.rot90(image, 2),
    "mirrored": lambda image: image[:, ::-1],
    "mirrored and turned": lambda image: image.T,
    "info bar cut off, then turned": lambda image: np.rot90(image[:-28]),
    "moved": lambda image: image[9:, 12:],
    "cropped": lambda image: image[6:-6, 8:-8],
    "halved": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brighter": lambda image: np.clip(image * 0.7 + 60.0, 0, 255),
    "inverted light": lambda image: np.clip(image + np.linspace(-60, 60, image.shape[1]), 0, 255),
    "noisy": lambda image: np.clip(image + np.random.default_rng(0).normal(0, 15, image.shape), 0, 255),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_changed_copy_is_found_and_nothing_else(change):
    pictures = [texture(seed, grain=grain) for seed, grain in enumerate((1.0, 1.5, 2.0, 3.0, 5.0, 8.0))]
    assert alike([*pictures, *map(CHANGES[change], pictures)]) == [(i, i + 6) for i in range(6)]


def test_different_pictures_of_one_kind_are_told_apart():
    assert alike([texture(seed) for seed in range(40)]) == []
    light = np.linspace(0, 1, 300)[:, None] * np.ones((1, 400))  # alone it does not make two pictures alike
    assert alike([0.2 * texture(seed) + 0.8 * 255 * light for seed in range(12)]) == []
    assert copies.find([None, None], str) == copies.find([], str) == []
