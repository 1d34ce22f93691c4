"""Physical scale: pixels per um from a file's own tags, fields of view, and the one resampling of the study."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import tifffile

# Dots per inch that software writes when it knows nothing about the specimen.
PRINT_DPI = (72, 75, 90, 96, 100, 120, 144, 150, 200, 220, 240, 254, 300, 400, 600, 720, 1200, 2400)
UM_PER_INCH = 25_400.0
PLAUSIBLE_PIXELS_PER_UM = (1e-3, 1e5)
REMEDY = "give pixels_per_um in the manifest (length of the micron bar in pixels / its length in um)"

UM_PER_UNIT = {
    "km": 1e9,
    "m": 1e6,
    "meter": 1e6,
    "cm": 1e4,
    "centimeter": 1e4,
    "mm": 1e3,
    "millimeter": 1e3,
    "um": 1.0,
    "\u00b5m": 1.0,
    "\u03bcm": 1.0,
    "\\u00b5m": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "pm": 1e-6,
    "inch": UM_PER_INCH,
    "in": UM_PER_INCH,
}


class ScaleError(ValueError):
    """A scale that is unknown or cannot be true; the message holds the remedy."""


def check_plausible(pixels_per_um: float) -> float:
    """Return the scale, refusing what cannot be the scale of a micrograph.

    Parameters
    ----------
    pixels_per_um : float

    Raises
    ------
    ScaleError
        If it is not a positive finite number, lies outside 0.001 to 100 000 px/um, or is the resolution of a
        printer or a screen (72 dpi is 0.0028 px/um: 353 um a pixel).
    """
    value = float(pixels_per_um)
    if not math.isfinite(value) or value <= 0:
        raise ScaleError(f"a scale must be a positive number of pixels per um, not {value:g}; {REMEDY}")
    for dpi in PRINT_DPI:
        # The dpi itself typed as px/um cannot be told from a true scale; dots per inch expressed in um can.
        if math.isclose(value, dpi / UM_PER_INCH, rel_tol=2e-3):
            raise ScaleError(f"{value:g} px/um is {dpi} dpi, a print resolution and not a scale; {REMEDY}")
    low, high = PLAUSIBLE_PIXELS_PER_UM
    if not low <= value <= high:
        raise ScaleError(f"{value:g} px/um is outside {low:g} to {high:g} px/um; {REMEDY}")
    return value


def field_of_view_um(size_px: float, pixels_per_um: float) -> float:
    """Length in um that ``size_px`` pixels show."""
    return size_px / pixels_per_um


def _square(x: float, y: float, source: str) -> float:
    if not math.isclose(x, y, rel_tol=0.01):
        raise ScaleError(f"{source} has {x:g} px/um across but {y:g} px/um down; resample to square pixels")
    return x


def _from_tiff(path: Path) -> tuple[float, str]:
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        if tiff.fei_metadata:
            scan = tiff.fei_metadata.get("Scan", {})
            width_m, height_m = float(scan.get("PixelWidth", 0) or 0), float(scan.get("PixelHeight", 0) or 0)
            if width_m > 0 and height_m > 0:
                return _square(1e-6 / width_m, 1e-6 / height_m, "FEI metadata"), "FEI/Thermo metadata"
        if tiff.sem_metadata:
            for key in ("ap_image_pixel_size", "ap_pixel_size"):
                entry = tiff.sem_metadata.get(key)
                if entry and len(entry) >= 3 and str(entry[2]) in UM_PER_UNIT:
                    return 1 / (float(entry[1]) * UM_PER_UNIT[str(entry[2])]), "Zeiss metadata"
        if tiff.is_ome and tiff.ome_metadata:
            pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
            pixels = (pixels[0] if isinstance(pixels, list) else pixels)["Pixels"]
            if "PhysicalSizeX" in pixels:
                x, y = (
                    float(pixels[f"PhysicalSize{a}"]) * UM_PER_UNIT[pixels.get(f"PhysicalSize{a}Unit", "um")]
                    for a in "XY"
                )
                return _square(1 / x, 1 / y, "OME metadata"), "OME metadata"
        resolution = [page.tags[name].value for name in ("XResolution", "YResolution") if name in page.tags]
        if len(resolution) == 2 and all(r[0] > 0 and r[1] > 0 for r in resolution):
            x, y = (r[0] / r[1] for r in resolution)
            unit = (tiff.imagej_metadata or {}).get("unit", "").strip()
            if unit in UM_PER_UNIT:
                scale = _square(x / UM_PER_UNIT[unit], y / UM_PER_UNIT[unit], "ImageJ metadata")
                return scale, "ImageJ metadata"
            # TIFF 6.0: a missing ResolutionUnit means inch; 1 means that there is no absolute unit at all.
            code = int(page.tags["ResolutionUnit"].value) if "ResolutionUnit" in page.tags else 2
            if code in (2, 3):
                um = UM_PER_INCH if code == 2 else 1e4
                return _square(x / um, y / um, "the TIFF resolution tag"), "TIFF resolution tag"
    raise ScaleError(f"no tag of {path.name} gives its scale; {REMEDY}")


def read_scale(path: str | Path) -> tuple[float, str]:
    """Scale of a micrograph from its file's own tags.

    Tried in turn: FEI/Thermo and Zeiss SEM metadata, OME, ImageJ, the TIFF resolution with its unit.

    Returns
    -------
    pixels_per_um : float
    source : str
        Which tag it came from.

    Raises
    ------
    ScaleError
        If the file carries no scale, an implausible one, or pixels that are not square.
    """
    path = Path(path)
    if path.suffix.lower() not in {".tif", ".tiff"}:
        raise ScaleError(f"{path.suffix or path.name} files carry no trustworthy scale; {REMEDY}")
    try:
        pixels_per_um, source = _from_tiff(path)
    except (tifffile.TiffFileError, KeyError, ValueError) as error:
        if isinstance(error, ScaleError):
            raise
        raise ScaleError(f"the tags of {path.name} cannot be read ({error}); {REMEDY}") from error
    return check_plausible(pixels_per_um), source


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
