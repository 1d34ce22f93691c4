"""Read a micrograph as grey values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image


def read_image(path) -> np.ndarray:
    """Read a micrograph as grey values.

    8 or 16 bit, grey or RGB(A), PNG, JPEG or TIFF (its first page). Colour becomes luminance (ITU-R BT.601),
    transparency is ignored; more than 8 bits are stretched between the 0.1 and 99.9 percentiles, since detectors
    rarely fill 16 bits.

    Parameters
    ----------
    path : path

    Returns
    -------
    array (H, W) of float32
        0 (black) to 1 (white).

    Raises
    ------
    ValueError
        If the file is not a whole image of these kinds.
    """
    path = Path(path)
    try:
        if path.suffix.lower() in {".tif", ".tiff"}:
            with tifffile.TiffFile(path) as tiff:
                page = tiff.pages[0]
                # Not every decoder minds a missing end: JPEG in TIFF fills it up and says nothing.
                ends = np.add(page.dataoffsets, page.databytecounts)
                if ends.max(initial=0) > tiff.filehandle.size:
                    raise ValueError("the file is truncated")
                pixels = page.asarray()
                if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
                    pixels = (np.moveaxis(page.colormap, 0, -1)[pixels] // 256).astype(np.uint8)
                elif page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
                    pixels = ~pixels  # for unsigned integers: the largest value less the pixel's
                if pixels.ndim == 3 and pixels.shape[0] in (3, 4) and pixels.shape[2] > 4:
                    pixels = np.moveaxis(pixels, 0, -1)
        else:
            with Image.open(path) as image:
                image.load()  # only this meets the missing end of a truncated file
                if image.mode not in ("L", "LA", "RGB", "RGBA", "F") and not image.mode.startswith("I"):
                    image = image.convert("RGB")
                pixels = np.asarray(image)
    except Exception as error:  # decoders raise whatever they like
        raise ValueError(f"cannot be read as an image ({error})") from error
    if pixels.ndim not in (2, 3) or pixels.size == 0:
        raise ValueError(f"has shape {pixels.shape}; a micrograph is one grey or colour picture")
    if pixels.ndim == 3:
        pixels = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    grey = pixels.astype(np.float32)
    if grey.ndim == 3:
        colour = grey.shape[2] == 3
        grey = grey @ np.array([0.299, 0.587, 0.114], np.float32) if colour else grey[..., 0]
    if not np.isfinite(grey).all():
        raise ValueError("has pixels that are not numbers")
    if pixels.dtype == np.uint8:
        return np.minimum(grey / np.float32(255), np.float32(1))
    low, high = np.percentile(grey, [0.1, 99.9])
    return np.clip((grey - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
