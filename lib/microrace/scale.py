"""Where and how a crop is cut: fields of view, crop positions, and the one resampling of the study.

A crop is a square of ``crop_px`` pixels that shows a field of view of so many um. Across the 200-fold range of
magnification no single field fits all images, so crops are cut at several, an octave apart, of which each image supplies
those that its size and scale allow.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

# Physical fields of view of the crops. From 1.1 to 212 pixels per um a micrograph of ordinary size supplies three or four.
FIELDS_OF_VIEW_UM = tuple(2.5 * 2.0**i for i in range(-3, 11))
# Without physical fields: sides of crops as shares of the image's short side.
SHARES = (1.0, 0.7, 0.5)
# A crop may have at most so many pixels for one of the image.
MAX_UPSAMPLING = 1.5


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
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(region, matrix, (size_px, size_px), flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def feasible_fields_of_view_um(shape, pixels_per_um: float, fields_of_view_um, crop_px: int) -> list[float]:
    """Fields of view that an image can supply: not larger than its short side, not enlarged beyond `MAX_UPSAMPLING`.

    Parameters
    ----------
    shape : (int, int)
        Height and width in pixels.
    pixels_per_um : float
    fields_of_view_um : sequence of float
    crop_px : int

    Returns
    -------
    list of float
        Never empty: where none fits, the feasible field nearest to one of those asked for.
    """
    largest = min(shape) / pixels_per_um
    smallest = min(crop_px / MAX_UPSAMPLING / pixels_per_um, largest)
    fits = [f for f in fields_of_view_um if smallest <= f <= largest]
    if fits:
        return sorted(fits)
    nearest = min(fields_of_view_um, key=lambda f: min(abs(math.log(f / smallest)), abs(math.log(f / largest))))
    return [min(max(nearest, smallest), largest)]


def crop_positions(
    shape, pixels_per_um: float, *, crop_px: int, fields_of_view_um=None, crops_per_field: int = 4
) -> np.ndarray:
    """Where the crops lie by which an image is judged: a fixed grid at each field of view that the image can supply.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image.
    pixels_per_um : float
    crop_px, fields_of_view_um
        As in `feasible_fields_of_view_um`; without physical fields, the sides are `SHARES` of the image's short side.
    crops_per_field : int
        Positions at each field of view; one at a field of view that spans nearly the whole image.

    Returns
    -------
    array (n, 3)
        Centre x, centre y and side of each crop, in pixels of the image.
    """
    height, width = shape
    if fields_of_view_um is None:
        sides = [share * min(shape) for share in SHARES]
    else:
        feasible = feasible_fields_of_view_um(shape, pixels_per_um, fields_of_view_um, crop_px)
        sides = [f * pixels_per_um for f in feasible]
    positions = []
    for side in sides:
        # As many columns and rows as keep the positions about equally far apart both ways.
        free_x, free_y = width - side, height - side
        columns = max(1, min(crops_per_field, round(math.sqrt(crops_per_field * (free_x + 1) / (free_y + 1)))))
        rows = max(1, crops_per_field // columns)
        for i in range(columns):
            for j in range(rows):
                x = side / 2 + free_x * (0.5 if columns == 1 else i / (columns - 1)) - 0.5
                y = side / 2 + free_y * (0.5 if rows == 1 else j / (rows - 1)) - 0.5
                positions.append((x, y, side))
    return np.array(positions)


def cut_crops(image: np.ndarray, pixels_per_um: float, positions, crop_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut crops at given positions.

    Parameters
    ----------
    image : array (H, W) of float32
    pixels_per_um : float
    positions : array (n, 3)
        As `crop_positions` gives them.
    crop_px : int

    Returns
    -------
    crops : array (n, crop_px, crop_px) of float32
    crop_pixels_per_um : array (n,)
    """
    scales = pixels_per_um * crop_px / positions[:, 2]
    crops = [
        warp_crop(image, pixels_per_um=pixels_per_um, target_pixels_per_um=scale, centre_xy=(x, y), size_px=crop_px)
        for (x, y, _), scale in zip(positions, scales, strict=True)
    ]
    return np.stack(crops), scales
