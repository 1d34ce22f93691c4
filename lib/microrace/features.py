"""Features of crops, computed once and kept on disk: one small file an image and a way of cutting it.

A file's name is a hash of everything that decides its content: the image's bytes, its scale, how it is cut and
augmented, the backbone and its weights. Whatever is asked for again is read; a file is written whole or not at all, so
that several processes may fill one folder. Images are streamed: memory does not grow with their number.
"""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from microrace import paths
from microrace.backbones import autocast, build_backbone, one_thread, resolve_device, standardise, weights_id
from microrace.crops import CropsOfImages, loader
from microrace.progress import track
from microrace.settings import FIELDS_OF_VIEW_UM, TrainingConfig
from microrace.whole import written_whole

# Crops that a backbone sees at once.
BATCH = 64
# To be raised when the same settings give other features.
VERSION = 3


@dataclass
class CropFeatures:
    """Features of the crops of some images.

    Attributes
    ----------
    values : array (n_crops, n_features) of float32
    log2_pixels_per_um : array (n_crops,)
    image_index : array (n_crops,) of int
        Which image a crop is of.
    n_images : int
    """

    values: np.ndarray
    log2_pixels_per_um: np.ndarray
    image_index: np.ndarray
    n_images: int

    def of(self, images) -> CropFeatures:
        """The crops of these images (positions, in any order), which keep their numbers."""
        ours = np.flatnonzero(np.isin(self.image_index, images))
        return CropFeatures(self.values[ours], self.log2_pixels_per_um[ours], self.image_index[ours], self.n_images)

    @classmethod
    def together(cls, parts: list[CropFeatures]) -> CropFeatures:
        """Several crops of the same images as one."""
        return cls(
            np.concatenate([p.values for p in parts]),
            np.concatenate([p.log2_pixels_per_um for p in parts]),
            np.concatenate([p.image_index for p in parts]),
            parts[0].n_images,
        )


@torch.inference_mode()
def features_of(backbone, crops, device) -> np.ndarray:
    """Features (n, n_features) of crops (n, h, w), in batches of `BATCH`."""
    backbone.eval()
    device, out = torch.device(device), []
    for start in range(0, len(crops), BATCH):
        x = torch.from_numpy(np.asarray(crops[start : start + BATCH], dtype=np.float32))[:, None].to(device)
        with autocast(device):
            out.append(backbone(standardise(x).contiguous(memory_format=torch.channels_last)).float().cpu().numpy())
    return np.concatenate(out)


class FeaturesOfImages(Dataset):
    """Features of all crops of one image an item, where the processor computes: (position, values, log2 scales).

    Two processes with one thread each get through the crops faster than one with two, and the number of threads, on
    which the last bit depends, is always the same.
    """

    def __init__(self, crops: CropsOfImages, backbone):
        self.crops, self.backbone = crops, backbone

    def __len__(self):
        return len(self.crops)

    def __getitem__(self, i):
        i, crops, scales = self.crops[i]
        with one_thread():
            return i, features_of(self.backbone, crops, "cpu"), scales


class FeatureStore:
    """Features by a backbone, from disk or computed.

    Parameters
    ----------
    config : TrainingConfig
        Of it count the backbone and its weights, and how crops are cut and augmented.
    backbone : Module, optional
        One that was trained further, whose features are not kept; without it the configuration's.
    folder : path, optional
        Where the files lie; `paths.FEATURES` unless told otherwise.
    """

    def __init__(self, config: TrainingConfig, backbone=None, folder=None):
        self.config, self.device = config, resolve_device(config.device)
        self._backbone, self.kept = backbone, backbone is None
        self.folder = Path(folder or paths.FEATURES)
        cutting = {
            "version": VERSION, "backbone": config.backbone, "weights": weights_id(config.backbone, config.weights),
            "crop_px": config.crop_px, "fields_of_view_um": config.fields_of_view_um and FIELDS_OF_VIEW_UM,
            "max_fields": config.max_fields,
        }  # fmt: skip
        self.ways = {
            False: {**cutting, "crops_per_field": config.crops_per_field},
            True: {
                **cutting,
                "pipeline": config.pipeline,
                "without": config.without,
            },
        }
        # A random start is another one for another seed.
        if not config.weights:
            self.ways = {k: {**way, "seed": config.seed} for k, way in self.ways.items()}

    @property
    def backbone(self):
        """The backbone, made when it is first needed."""
        if self._backbone is None:
            torch.manual_seed(self.config.seed)
            self._backbone = build_backbone(self.config.backbone, self.config.weights)
        return self._backbone.to(self.device, memory_format=torch.channels_last)

    def place(self, sha256: str, pixels_per_um: float, augmented: bool) -> Path:
        """The file of one image's features."""
        what = json.dumps([self.ways[augmented], sha256, float(pixels_per_um)], sort_keys=True)
        key = hashlib.sha256(what.encode()).hexdigest()
        return self.folder / key[:2] / f"{key[2:34]}.npz"

    def _write(self, path: Path, values, log2_scales) -> None:
        try:
            with written_whole(path) as file:
                np.savez(file, values=values, log2_pixels_per_um=log2_scales)
        except OSError as error:
            # Without a place to keep them features are computed again, which costs time and nothing else.
            warnings.warn(f"features cannot be kept in {self.folder} ({error.strerror})", stacklevel=2)
            self.kept = False

    def _computed(self, rows: pd.DataFrame, augmented: bool) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Features of these images, one after the other.

        Each image's crops are a batch of their own: in other company the last bit may differ, and then a run that was
        interrupted would not end with the bytes of one that was not.
        """
        dataset = CropsOfImages(rows["path"], rows["pixels_per_um"], self.config, augmented)
        name = "features of augmented crops" if augmented else "features of crops"
        on_processor = self.device.type == "cpu"
        if on_processor:
            dataset = FeaturesOfImages(dataset, self.backbone)
        images = loader(dataset, self.config.workers, batch_size=None)
        for i, found, scales in track(images, total=len(dataset), description=name, unit="image"):
            values = found if on_processor else features_of(self.backbone, np.asarray(found), self.device)
            yield int(i), np.asarray(values), np.asarray(scales)

    def stream(self, rows: pd.DataFrame, augmented: bool = False) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Features image by image, those on disk first.

        Parameters
        ----------
        rows : DataFrame
            Of a manifest: ``path``, ``pixels_per_um``, ``sha256``.
        augmented : bool
            Of augmented crops, instead of those by which images are judged.

        Yields
        ------
        position in ``rows``, array (n_crops, n_features) of float32, log2 scales (n_crops,)
        """
        # Half precision halves the disk and is finer than two crops of one place differ.
        missing = []
        for i, (sha256, scale) in enumerate(zip(rows["sha256"], rows["pixels_per_um"], strict=True)):
            path = self.place(sha256, scale, augmented)
            try:
                with np.load(path) as found:
                    values, scales = found["values"].astype(np.float32), found["log2_pixels_per_um"]
                if augmented:
                    # The first crops of a longer row are those of a shorter one.
                    if len(values) < self.config.augmented_crops:
                        raise ValueError("fewer crops than are asked for")
                    values, scales = values[: self.config.augmented_crops], scales[: self.config.augmented_crops]
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # not there, or not whole
                missing.append(i)
                continue
            yield i, values, scales
        if not missing:
            return
        todo = rows.iloc[missing]
        for k, values, scales in self._computed(todo, augmented):
            half = values.astype(np.float16)
            if self.kept:
                row = todo.iloc[k]
                self._write(self.place(row["sha256"], row["pixels_per_um"], augmented), half, scales)
            yield missing[k], half.astype(np.float32), scales

    def of(self, rows: pd.DataFrame, augmented: bool = False) -> CropFeatures:
        """Features of all crops of these images, in their order; see `stream`."""
        found = sorted(self.stream(rows, augmented), key=lambda item: item[0])
        return CropFeatures(
            np.concatenate([values for _, values, _ in found]),
            np.concatenate([scales for _, _, scales in found]),
            np.repeat([i for i, _, _ in found], [len(values) for _, values, _ in found]),
            len(rows),
        )

    def for_training(self, rows: pd.DataFrame) -> tuple[CropFeatures, CropFeatures]:
        """What heads learn from and what judges: all crops, augmented ones among them, and those of judging alone."""
        judged = self.of(rows)
        if not self.config.augmented_crops:
            return judged, judged
        return CropFeatures.together([judged, self.of(rows, augmented=True)]), judged
