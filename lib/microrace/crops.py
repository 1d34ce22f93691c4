"""Crops of micrographs: drawn and augmented for training, cut at fixed places for judging."""

from __future__ import annotations

import gc
import math
from functools import lru_cache

import numpy as np
from torch.utils.data import DataLoader, Dataset

from micrographs.reading import read_image
from microrace import augment
from microrace.places import cut_places
from microrace.settings import TrainingConfig

# Images that a process keeps decoded: enough for a study of the paper's size, and no more for one of 100,000.
KEPT_IMAGES = 400
_read = lru_cache(KEPT_IMAGES)(read_image)


def loader(dataset: Dataset, workers: int, **options) -> DataLoader:
    """A DataLoader of ``workers`` processes, none where a batch is all there is."""
    # Python may put off freeing an earlier loader until it is inside a process of this one, whose own it is not, which
    # then complains at length; so what is left over is freed first.
    gc.collect()
    return DataLoader(dataset, num_workers=workers if len(dataset) > 1 else 0, **options)


class TrainingCrops(Dataset):
    """Augmented crops; item i depends on (seed, draw, i) alone, whatever process makes it.

    Parameters
    ----------
    paths, pixels_per_um : sequences (n_images,)
    image_index : array (n,) of int
        Which image each crop is of.
    config : TrainingConfig
    draw : int
        Another draw of crops for another number, such as an epoch's.
    """

    def __init__(self, paths, pixels_per_um, image_index, config: TrainingConfig, draw: int):
        self.paths, self.pixels_per_um, self.image_index = list(paths), list(pixels_per_um), image_index
        self.seed, self.draw = config.seed, draw
        self.pipeline = config.make_pipeline()

    def __len__(self):
        return len(self.image_index)

    def __getitem__(self, i):
        augment.seeded(self.pipeline, self.seed, self.draw, i)
        image = self.image_index[i]
        out = self.pipeline(image=_read(self.paths[image]), pixels_per_um=self.pixels_per_um[image])
        crop = np.ascontiguousarray(out["image"], dtype=np.float32)
        return crop[None], np.float32(math.log2(out["pixels_per_um"])), image


class CropsOfImages(Dataset):
    """All crops of one image an item: (position, crops (n, crop_px, crop_px), log2 scales (n,)).

    Parameters
    ----------
    paths, pixels_per_um : sequences (n_images,)
    config : TrainingConfig
    augmented : bool
        ``augmented_crops`` augmented ones, always of seed 0, instead of those by which the image is judged.
    """

    def __init__(self, paths, pixels_per_um, config: TrainingConfig, augmented: bool):
        self.paths, self.pixels_per_um = list(paths), list(pixels_per_um)
        self.config, self.augmented = config, augmented
        self.pipeline = config.make_pipeline() if augmented else None

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        image, scale = read_image(self.paths[i]), self.pixels_per_um[i]
        if not self.augmented:
            crops, scales = cut_places(image, scale, self.config.places(image.shape, scale), self.config.crop_px)
        else:
            outs = [
                augment.seeded(self.pipeline, 0, 0, k)(image=image, pixels_per_um=scale)
                for k in range(self.config.augmented_crops)
            ]
            crops = np.stack([out["image"] for out in outs])
            scales = np.array([out["pixels_per_um"] for out in outs])
        return i, np.asarray(crops, dtype=np.float32), np.log2(scales).astype(np.float32)


def draw_images(labels, groups, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n image positions: a class, then one of its specimens, then one of that specimen's images.

    Every class comes up equally often (in turn, so that each batch holds all of them), and inside a class every
    specimen, so that a much-photographed specimen does not stand for its class.

    Parameters
    ----------
    labels, groups : array (n_images,)
    n : int
    rng : numpy Generator

    Returns
    -------
    array (n,) of int
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    by_class = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        by_class.append([members[groups[members] == g] for g in np.unique(groups[members])])
    order = np.concatenate([rng.permutation(len(by_class)) for _ in range(-(-n // len(by_class)))])[:n]
    drawn = np.empty(n, dtype=int)
    for i, c in enumerate(order):
        specimen = by_class[c][rng.integers(len(by_class[c]))]
        drawn[i] = specimen[rng.integers(len(specimen))]
    return drawn
