"""Where and how a crop is cut: fields of view, crop positions, and the one resampling of the study."""

from __future__ import annotations

import math

import cv2
import numpy as np


def field_of_view_um(size_px: float, pixels_per_um: float) -> float:
    """Length in um that ``size_px`` pixels show."""
    return size_px / pixels_per_um


def warp_crop(
    image: np.ndarray,
    *,
    pixels_per_um: float,
    target_pixels_per_um: float,
    centre_xy: tuple[float, float],
    size_px: int,
    rotation_deg: float = 0.0,
    mirror: bool = False,
) -> np.ndarray:
    """Cut a square crop at another scale, turned and mirrored, in one resampling.

    The source is low-passed to the target scale first: a Gaussian of sigma 0.5 sqrt(f^2 - 1) source pixels, with
    f the reduction, gives a crop of any reduction the point spread of about half its own pixel. Beyond the
    image's edges the image is reflected.

    Parameters
    ----------
    image : array (H, W) of float32
    pixels_per_um, target_pixels_per_um : float
        Scale of the image and of the crop.
    centre_xy : (float, float)
        Centre of the crop in source pixels; (0, 0) is the middle of the first pixel.
    size_px : int
        Side of the crop.
    rotation_deg : float
        Counter-clockwise.
    mirror : bool
        Left to right, before the rotation.

    Returns
    -------
    array (size_px, size_px) of float32
    """
    reduction = pixels_per_um / target_pixels_per_um
    sigma = 0.5 * math.sqrt(max(reduction**2 - 1, 0.0))
    # Only what the crop can see, and what the blur reaches, is touched.
    reach = reduction * size_px * 0.5 * (math.sqrt(2) if rotation_deg % 90 else 1.0) + 3 * sigma + 3
    height, width = image.shape
    x0, y0 = (max(0, math.floor(c - reach)) for c in centre_xy)
    x1 = min(width, math.ceil(centre_xy[0] + reach) + 1)
    y1 = min(height, math.ceil(centre_xy[1] + reach) + 1)
    region = image[y0:y1, x0:x1]
    if sigma > 0.15:
        region = cv2.GaussianBlur(region, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    angle = math.radians(rotation_deg)
    cos, sin = math.cos(angle) * reduction, math.sin(angle) * reduction
    flip = -1.0 if mirror else 1.0
    middle = (size_px - 1) / 2
    matrix = np.array([[flip * cos, sin, 0.0], [-flip * sin, cos, 0.0]])
    matrix[:, 2] = np.array(centre_xy) - (x0, y0) - matrix[:, :2] @ (middle, middle)
    return cv2.warpAffine(
        region,
        matrix,
        (size_px, size_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
