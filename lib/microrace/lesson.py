"""What the lesson in notebooks/explore-augmentations does more than once: find a machine, cut a crop, ask, teach.

Every part of the lesson looks at the *middle crop* of an image, so that you and the machine see the same pixels.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from micrographs import read_image
from microrace import augment, network, paths, scale
from microrace.training import CropFeatures, FeatureStore, Machine, TrainingConfig

# A slider asks for the same few images again and again.
_read = lru_cache(8)(read_image)
# Learns in seconds: one head, few steps.
QUICK = TrainingConfig(crops_per_field=1, epochs=5, crops_per_epoch=512, n_members=1, workers=0)


def newest_machine(run_dir: str = "", images: set[str] | None = None) -> tuple[Path, Machine] | None:
    """The newest trained machine and the folder of its run; None where there is none that this version can read.

    Parameters
    ----------
    run_dir : str
        Look only here; empty for all of ``runs/``.
    images : set of str, optional
        Pass over runs on other images than those of these ``sha256``: such a machine may have learned from the quiz.
    """
    folders = [Path(run_dir)] if run_dir else paths.RUNS.glob("*")
    trained = [f for folder in folders for f in folder.glob("weights.pt") if (folder / "manifest.csv").is_file()]
    for file in sorted(trained, key=lambda f: f.stat().st_mtime, reverse=True):
        if images is None or images == set(pd.read_csv(file.with_name("manifest.csv"))["sha256"]):
            try:
                return file.parent, Machine.load(file)
            except ValueError:
                continue
    return None


def middle_crop(row, config: TrainingConfig, strengths=()) -> tuple[np.ndarray, float]:
    """The crop (crop_px, crop_px) in the middle of an image, and its pixels per um.

    It shows the second largest field of view of the image, so that it may be turned, and zoomed by two, without reaching
    over the edge.

    Parameters
    ----------
    row : row of a manifest
    config : TrainingConfig
    strengths : mapping of str to float
        As in `augment.crop_at`.
    """
    image, pixels_per_um, crop_px = _read(row.path), row.pixels_per_um, config.crop_px
    fields = scale.feasible_fields_of_view_um(image.shape, pixels_per_um, scale.FIELDS_OF_VIEW_UM, crop_px)
    middle = [(length - 1) / 2 for length in image.shape[::-1]]
    return augment.crop_at(image, pixels_per_um, middle, fields[-2:][0] * pixels_per_um, crop_px, dict(strengths))


def features_of_crops(store: FeatureStore, crops, image_index=None) -> CropFeatures:
    """Features of pairs of a crop and its pixels per um, each of an image of its own unless told."""
    with network.one_thread():
        values = network.features_of(store.backbone, np.stack([crop for crop, _ in crops]), store.device)
    log2_scales = np.log2([pixels_per_um for _, pixels_per_um in crops]).astype(np.float32)
    return CropFeatures(values, log2_scales, np.arange(len(crops)) if image_index is None else image_index)


def features_to_learn(store: FeatureStore, rows: pd.DataFrame, ticked, seed: int, n: int = 4) -> CropFeatures:
    """Features of ``n`` crops of each image, drawn with the transformations whose names are ``ticked``."""
    without = tuple(name for name in augment.TRANSFORMATIONS if name not in ticked)
    pipeline, crops = augment.build_pipeline("full", without=without, **store.config.cutting), []
    for row in rows.itertuples():
        image = read_image(row.path)
        drawn = (augment.augmented(pipeline, image, row.pixels_per_um, seed, 0, k) for k in range(n))
        crops += [(crop, 2.0**log2_scale) for crop, log2_scale in drawn]
    return features_of_crops(store, crops, np.repeat(np.arange(len(rows)), n))
