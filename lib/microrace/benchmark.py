"""Times of the machine's parts, each beside its peer in the same run: ``python -m microrace.benchmark``."""

from __future__ import annotations

import time

import albumentations as A
import cv2
import numpy as np
import pandas as pd
import torch

from microrace.backbones import build_backbone
from microrace.embedding import fit_head
from microrace.features import CropFeatures, features_of
from microrace.places import cut_places
from microrace.scale import warp_crop
from microrace.settings import TrainingConfig

REPEATS = 30


def milliseconds(call, repeats: int = REPEATS) -> float:
    """Median time of a call, after one that does not count."""
    call()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return 1e3 * float(np.median(seconds))


def zone_plate(height: int, width: int, pixels_per_period: float) -> np.ndarray:
    """Rings that become finer outwards, down to ``pixels_per_period`` in the corner; 0 to 1."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    r2 = (x - width / 2) ** 2 + (y - height / 2) ** 2
    r_max = np.hypot(width, height) / 2
    return (0.5 + 0.5 * np.cos(np.pi * r2 / (pixels_per_period * r_max))).astype(np.float32)


def crop_benchmark(image: np.ndarray, crop_px: int = 128, zoom: float = 0.4, rotation_deg: float = 30.0) -> pd.DataFrame:
    """A crop turned and brought to another scale: one warp against resizing, turning and cutting one after the other.

    The error is the root mean square difference to the mean of the image over each crop pixel's own area, sampled
    64-fold.

    Returns
    -------
    DataFrame
        part, milliseconds, rms_error (grey range 0 to 1).
    """
    height, width = image.shape
    centre = ((width - 1) / 2, (height - 1) / 2)

    def ours():
        return warp_crop(image, pixels_per_um=1.0, target_pixels_per_um=zoom, centre_xy=centre, size_px=crop_px,
                         rotation_deg=rotation_deg)  # fmt: skip

    # The usual chain, with its randomness pinned to the same crop.
    chain = A.Compose(
        [
            A.RandomScale(scale_limit=(zoom - 1, zoom - 1), p=1),
            A.Rotate(limit=(rotation_deg, rotation_deg), border_mode=cv2.BORDER_REFLECT_101, p=1),
            A.HorizontalFlip(p=0),
            A.CenterCrop(crop_px, crop_px),
        ]
    )
    random = A.Compose(
        [A.RandomScale(scale_limit=(zoom - 1, zoom - 1), p=1), A.Rotate(limit=180, p=1), A.HorizontalFlip(p=0.5),
         A.RandomCrop(crop_px, crop_px)]
    )  # fmt: skip
    fine, n = 8, crop_px * 8
    # Exact: the crop's own grid, eight by eight times as fine, read bilinearly and averaged.
    angle = np.deg2rad(rotation_deg)
    grid = (np.arange(n) - (n - 1) / 2) / fine / zoom
    x, y = np.meshgrid(grid, grid)

    # The chain and the warp may turn in opposite senses; each is compared with the crop turned its own way.
    def exact(sign):
        """The crop, turned this or the other way."""
        c, s = np.cos(sign * angle), np.sin(sign * angle)
        xs, ys = centre[0] + c * x - s * y, centre[1] + s * x + c * y
        xs, ys = xs.astype(np.float32), ys.astype(np.float32)
        read = cv2.remap(image, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        return read.reshape(crop_px, fine, crop_px, fine).mean(axis=(1, 3))

    def error(crop):
        return min(float(np.sqrt(((crop - exact(sign)) ** 2).mean())) for sign in (1, -1))

    rows = [
        ("a crop in one warp", milliseconds(ours), error(ours())),
        (
            "RandomScale, Rotate, Flip, CenterCrop",
            milliseconds(lambda: chain(image=image)),
            error(chain(image=image)["image"]),
        ),
        ("RandomScale, Rotate, Flip, RandomCrop", milliseconds(lambda: random(image=image)), np.nan),
    ]
    return pd.DataFrame(rows, columns=["part", "milliseconds", "rms_error"])


def machine_benchmark(image: np.ndarray, pixels_per_um: float = 10.0) -> pd.DataFrame:
    """Feature extraction beside the same batch already in memory, and a head beside the features that it learns from.

    Returns
    -------
    DataFrame
        part, milliseconds.
    """
    config = TrainingConfig()
    backbone = build_backbone(config.backbone, config.weights).to(memory_format=torch.channels_last)
    pipeline = config.make_pipeline()
    places = config.places(image.shape, pixels_per_um)
    crops, _ = cut_places(image, pixels_per_um, places, config.crop_px)

    def cut():
        return cut_places(image, pixels_per_um, places, config.crop_px)[0]

    rng = np.random.default_rng(0)
    index = np.repeat(np.arange(100), 20)
    values = rng.standard_normal((len(index), backbone.n_features)).astype(np.float32)
    features = CropFeatures(values, rng.uniform(0, 6, len(index)).astype(np.float32), index, 100)
    labels, images = np.arange(100) % 5, np.arange(100)
    rows = [
        (f"cut the {len(crops)} crops by which an image is judged", milliseconds(cut)),
        ("their features, crops in memory", milliseconds(lambda: features_of(backbone, crops, "cpu"), 5)),
        ("their features, crops cut first", milliseconds(lambda: features_of(backbone, cut(), "cpu"), 5)),
        ("an augmented crop", milliseconds(lambda: pipeline(image=image, pixels_per_um=pixels_per_um))),
        ("a head on 100 images", milliseconds(lambda: fit_head(features, labels, images, images, config), 3)),
    ]
    return pd.DataFrame(rows, columns=["part", "milliseconds"])


def main() -> None:
    """Print both tables."""
    image = zone_plate(768, 1024, 4.0)
    crops = crop_benchmark(image)
    crops["times_ours"] = crops["milliseconds"] / crops["milliseconds"].iloc[0]
    print(crops.round(4).to_string(index=False))
    print(machine_benchmark(zone_plate(480, 640, 4.0)).round(2).to_string(index=False))


if __name__ == "__main__":
    main()
