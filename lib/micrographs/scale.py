"""Physical scale: pixels per um, what can be one."""

from __future__ import annotations

import math
from pathlib import Path

import tifffile
from PIL import Image

from micrographs import tags
from micrographs.reading import FORMATS, TIFF_MARKS
from micrographs.tags import REMEDY, UM_PER_INCH, ScaleError
from spreadsheets import tables

# Dots per inch that software writes when it knows nothing about the specimen.
PRINT_DPI = (72, 75, 90, 96, 100, 120, 144, 150, 200, 220, 240, 254, 300, 400, 600, 720, 1200, 2400)
PLAUSIBLE_PIXELS_PER_UM = (1e-3, 1e5)
# A bare resolution tag is believed where it implies what a microscope sees: fields of at most 5 mm whose pixels
# are no larger than 5 um (5080 dpi). Every printer and screen lies far beyond; these scanners come near.
PLAUSIBLE_FIELD_UM = (0.01, 5000.0)
LARGEST_PIXEL_UM = 5.0
SCANNER_DPI = (5080, 5760, 6400, 7200, 8000, 9600, 12800, 19200)


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


def _check_resolution(pixels_per_um: float, width_px: int) -> None:
    """Refuse a resolution tag that a printer, a screen or a scanner explains better than a microscope."""
    dpi, field = pixels_per_um * UM_PER_INCH, field_of_view_um(width_px, pixels_per_um)
    low, high = PLAUSIBLE_FIELD_UM
    scanner = any(math.isclose(dpi, known, rel_tol=1e-3) for known in SCANNER_DPI)
    if scanner or not low <= field <= high or 1 / pixels_per_um > LARGEST_PIXEL_UM:
        raise ScaleError(
            f"its resolution tag says {dpi:.6g} dpi, a field of {field / 1000:.3g} mm: the resolution of a print and not a "
            f"scale; {REMEDY}"
        )


def field_of_view_um(size_px: float, pixels_per_um: float) -> float:
    """Length in um that ``size_px`` pixels show."""
    return size_px / pixels_per_um


def _from_tags(path: Path) -> tuple[tuple | None, int]:
    """What the tags of a file say of the size of a pixel, or the `ScaleError` for which they say nothing; its width."""
    with path.open("rb") as file:
        is_tiff = file.read(4) in TIFF_MARKS
    if not is_tiff:
        with Image.open(path, formats=FORMATS) as image:
            return None, image.width
    with tifffile.TiffFile(path) as tiff:
        width_px = tiff.pages[0].imagewidth
        try:
            for reader in tags.TIFF_READERS:
                if found := reader(tiff):
                    return found, width_px
            return tags.resolution(tiff), width_px
        except ScaleError as error:
            return error, width_px


def read_scale(path: str | Path) -> tuple[float, str]:
    """Scale of a micrograph from its file's own tags, or from the text file that the instrument wrote beside it.

    Tried in turn: the metadata of FEI/Thermo, Zeiss, Tescan, JEOL and Olympus, OME, ImageJ; the sidecars of Hitachi,
    JEOL and Tescan; the TIFF resolution with its unit, where it implies a field of view that a microscope has.

    Returns
    -------
    pixels_per_um : float
    source : str
        Which tag or sidecar it came from.

    Raises
    ------
    ScaleError
        If the file carries no scale, an implausible one, two that differ, or pixels that are not square.
    """
    path = Path(path)
    try:
        found, width_px = _from_tags(path)
        beside = tags.sidecar(path, width_px)
    except ScaleError:
        raise
    except Exception as error:  # whatever a damaged file makes its readers raise
        raise ScaleError(f"the tags of {path.name} cannot be read ({tables.shortened(str(error))}); {REMEDY}") from error
    told = found if isinstance(found, tuple) else None
    bare = told is not None and told[2] == "TIFF resolution tag"
    if beside and told and not bare and not math.isclose(told[0], beside[0], rel_tol=0.02):
        raise ScaleError(
            f"{path.name} has {1 / told[0]:.4g} px/um after its {told[2]}, but {1 / beside[0]:.4g} px/um after its "
            f"{beside[2]}; {REMEDY}"
        )
    best = beside if beside and (bare or told is None) else told
    if best is None:
        if isinstance(found, ScaleError):
            raise ScaleError(f"{path.name} carries no scale: {found}") from found
        raise ScaleError(f"no tag of {path.name}, and no sidecar of a microscope beside it, gives its scale; {REMEDY}")
    x, y, source = best
    if not math.isclose(x, y, rel_tol=0.01):
        raise ScaleError(f"{source} has {1 / x:g} px/um across but {1 / y:g} px/um down; resample to square pixels")
    if best is told and bare:
        _check_resolution(1 / x, width_px)
    return check_plausible(1 / x), source
