"""The method's peers: generic texture descriptors with ordinary classifiers, and the scale alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pywt
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from micrographs.reading import read_image
from microrace.scale import warp_crop

GENERIC_METHODS = ("scale alone", "LBP + GLCM, SVM", "LBP + GLCM + scale, forest", "wavelets, forest")


def texture_descriptors(image: np.ndarray, pixels_per_um: float, told_scale: bool = False) -> np.ndarray:
    """Generic texture descriptors of an image: local binary patterns and grey-level co-occurrence at three scales.

    Rotation-invariant uniform LBP (Ojala et al., 2002; P = 8, R = 1) and Haralick's contrast, homogeneity, energy
    and correlation (1973; 32 grey levels, distances 1 and 3, four angles), of the image and of it halved twice.

    Parameters
    ----------
    image : array (H, W) of float32
    pixels_per_um : float
    told_scale : bool
        Append log2 of the scale.

    Returns
    -------
    array (66,) or (67,)
    """
    features = []
    height, width = image.shape
    for octave in range(3):
        side = min(height, width) // 2**octave
        small = warp_crop(
            image,
            pixels_per_um=1.0,
            target_pixels_per_um=side / min(height, width),
            centre_xy=((width - 1) / 2, (height - 1) / 2),
            size_px=side,
        )
        grey = np.clip((small - small.mean()) / (small.std() + 1e-6) / 6 + 0.5, 0, 1)
        patterns = local_binary_pattern((grey * 255).astype(np.uint8), 8, 1, "uniform")
        features.append(np.bincount(patterns.astype(int).ravel(), minlength=10)[:10] / patterns.size)
        matrix = graycomatrix((grey * 31).astype(np.uint8), [1, 3], np.arange(4) * np.pi / 4, 32, True, True)
        for name in ("contrast", "homogeneity", "energy", "correlation"):
            values = graycoprops(matrix, name)
            features.append(values.mean(axis=1))
            if name == "contrast":
                features.append(values.max(axis=1) - values.min(axis=1))
    if told_scale:
        features.append([np.log2(pixels_per_um)])
    return np.concatenate(features)


def wavelet_descriptors(image: np.ndarray) -> np.ndarray:
    """Energies of a wavelet decomposition: the log variance of each detail band, and its anisotropy.

    Four levels of Daubechies-4 (Mallat, 1989). Rotation exchanges the horizontal and the vertical band, so their mean
    and their difference's size are taken.

    Parameters
    ----------
    image : array (H, W) of float32

    Returns
    -------
    array (12,)
    """
    grey = (image - image.mean()) / (image.std() + 1e-6)
    features = []
    for horizontal, vertical, diagonal in pywt.wavedec2(grey, "db4", level=4, mode="periodization")[1:]:
        h, v, d = (np.log(band.var() + 1e-9) for band in (horizontal, vertical, diagonal))
        features += [(h + v) / 2, abs(h - v), d]
    return np.array(features)


def generic_features(method: str, rows: pd.DataFrame) -> np.ndarray:
    """What one of `GENERIC_METHODS` sees of the images of these manifest rows: array (n_images, d)."""
    if method == "scale alone":
        return np.log(rows[["pixels_per_um"]].to_numpy())
    images = (read_image(path) for path in rows["path"])
    if method.startswith("wavelets"):
        return np.stack([wavelet_descriptors(image) for image in images])
    told = "scale" in method
    return np.stack(
        [texture_descriptors(image, scale, told) for image, scale in zip(images, rows["pixels_per_um"], strict=True)]
    )


def generic_model(method: str, seed: int):
    """The classifier of one of `GENERIC_METHODS`."""
    if method == "scale alone":
        return KNeighborsClassifier(5)
    if method.endswith("forest"):
        return RandomForestClassifier(500, class_weight="balanced", random_state=seed)
    return make_pipeline(StandardScaler(), SVC(C=10.0, class_weight="balanced"))
