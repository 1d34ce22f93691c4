"""Where crops lie: the physical fields of view that an image can supply, and the fixed places by which it is judged."""

from __future__ import annotations

import math

import numpy as np

from microrace.scale import warp_crop


def feasible_fields_of_view_um(
    shape, pixels_per_um: float, fields_of_view_um, crop_px: int, max_upsampling: float, max_fields: int = 0
) -> list[float]:
    """Fields of view that an image can supply: not larger than its short side, not enlarged too much.

    Parameters
    ----------
    shape : (int, int)
        Height and width in pixels.
    pixels_per_um : float
    fields_of_view_um : sequence of float
    crop_px : int
    max_upsampling : float
        A crop may have at most so many pixels for one of the image.
    max_fields : int
        Keep only so many of them, the largest; 0 keeps all.

    Returns
    -------
    list of float
        Never empty: where none fits, the feasible field nearest to one of those asked for.
    """
    largest = min(shape) / pixels_per_um
    smallest = min(crop_px / max_upsampling / pixels_per_um, largest)
    fits = [f for f in fields_of_view_um if smallest <= f <= largest]
    if fits:
        return sorted(fits)[-max_fields:]
    nearest = min(fields_of_view_um, key=lambda f: min(abs(math.log(f / smallest)), abs(math.log(f / largest))))
    return [min(max(nearest, smallest), largest)]


def evaluation_places(
    shape,
    pixels_per_um: float,
    *,
    crop_px: int,
    fields_of_view_um=None,
    crops_per_field: int = 4,
    max_upsampling: float = 1.5,
    max_fields: int = 0,
) -> np.ndarray:
    """Where the crops lie by which an image is judged: a fixed grid of places at each field of view it can supply.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image.
    pixels_per_um : float
    crop_px, fields_of_view_um, max_upsampling, max_fields
        As in `augment.ScaleCrop`; without physical fields, sides of 1, 0.7 and 0.5 of the image's short side.
    crops_per_field : int
        Places at each field of view; one at a field of view that spans nearly the whole image.

    Returns
    -------
    array (n, 3)
        Centre x, centre y and side of each crop, in pixels of the image.
    """
    height, width = shape
    short = min(height, width)
    if fields_of_view_um is None:
        sides = [short, 0.7 * short, 0.5 * short]
    else:
        feasible = feasible_fields_of_view_um(shape, pixels_per_um, fields_of_view_um, crop_px, max_upsampling, max_fields)
        sides = [f * pixels_per_um for f in feasible]
    places = []
    for side in sides:
        # As many columns and rows as keep the places about equally far apart both ways.
        free_x, free_y = width - side, height - side
        columns = max(1, min(crops_per_field, round(math.sqrt(crops_per_field * (free_x + 1) / (free_y + 1)))))
        rows = max(1, crops_per_field // columns)
        for i in range(columns):
            for j in range(rows):
                x = side / 2 + free_x * (0.5 if columns == 1 else i / (columns - 1)) - 0.5
                y = side / 2 + free_y * (0.5 if rows == 1 else j / (rows - 1)) - 0.5
                places.append((x, y, side))
    return np.array(places)


def cut_places(image: np.ndarray, pixels_per_um: float, places, crop_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut crops at given places.

    Parameters
    ----------
    image : array (H, W) of float32
    pixels_per_um : float
    places : array (n, 3)
        As `evaluation_places` gives them.
    crop_px : int

    Returns
    -------
    crops : array (n, crop_px, crop_px) of float32
    crop_pixels_per_um : array (n,)
    """
    scales = pixels_per_um * crop_px / places[:, 2]
    crops = [
        warp_crop(
            image,
            pixels_per_um=pixels_per_um,
            target_pixels_per_um=scale,
            centre_xy=(x, y),
            size_px=crop_px,
        )
        for (x, y, _), scale in zip(places, scales, strict=True)
    ]
    return np.stack(crops), scales
