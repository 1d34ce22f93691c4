"""The scale of a micrograph as instruments write it: into tags, and into text files beside the picture.

Every reader returns a `PixelSize`, or None where its maker's data hold none. Such data without a size that can be
believed are a `ScaleError`: the resolution of a printer is then no way out. One check, `_believed`, judges them all.
The makers' formats are as Gwyddion, Bio-Formats and RosettaSciIO document them.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import tifffile
from PIL import Image

from micrographs.reading import FORMATS, TIFF_MARKS, picture_page
from spreadsheets import shortened

REMEDY = "give pixels_per_um in the manifest, or --pixels-per-um to predict (micron bar in pixels / its length in um)"
# A person's own scale is asked about where a pixel is larger than 50 um or smaller than an atom.
PLAUSIBLE_PIXELS_PER_UM = (0.02, 1e5)
# Resolutions of prints and screens, in whatever unit a program has put them, are coarser than the first (1016 dpi). A bare
# resolution tag is mostly a printer's or a scanner's, and believed only beyond 10 160 dpi.
LARGEST_PIXEL_UM, LARGEST_BARE_PIXEL_UM = 25.0, 2.5
RESOLUTION = "TIFF resolution tag"
NO_WIDTH = ", for no known width"  # ends the source of a scale that a smaller copy of the image would keep
UM_PER_INCH = 25_400.0
UM_PER_UNIT = (
    dict.fromkeys(("um", "u", "\u03bcm", "\u03bc", "micron", "micrometer"), 1.0)
    | dict.fromkeys(("in", "inch", "inche", '"'), UM_PER_INCH)
    | {"km": 1e9, "m": 1e6, "meter": 1e6, "cm": 1e4, "centimeter": 1e4, "mm": 1e3, "millimeter": 1e3}
    | {"nm": 1e-3, "nanometer": 1e-3, "\u00e5": 1e-4, "angstrom": 1e-4, "\u00e5ngstr\u00f6m": 1e-4, "pm": 1e-6}
)


class ScaleError(ValueError):
    """A scale that is unknown or cannot be true; the message holds the remedy."""


class PixelSize(NamedTuple):
    """Size of a pixel in um across and down, the width in px of the image that it is of, if told, and who says so."""

    x_um: float
    y_um: float
    width_px: float | None = None
    source: str = ""


def um_per(unit) -> float:
    """Micrometres in a unit of length, however it is spelt: "\\u00B5m", "Micron", "nanometres", "Angstrom"."""
    text = re.sub(r"\\[uU]([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), str(unit or ""))
    name = unicodedata.normalize("NFKC", text).strip(" \0.").casefold().replace("metre", "meter")
    name = name.removesuffix("s") if len(name) > 3 else name
    if name not in UM_PER_UNIT:
        raise ScaleError(f"{shortened(text)!r} is no unit of length; {REMEDY}")
    return UM_PER_UNIT[name]


def _length(value, what: str) -> float:
    """A positive finite number, or the fault."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        said = "missing" if value is None else f"{shortened(str(value))!r}, not a size"
        raise ScaleError(f"{what} is {said}; {REMEDY}")
    return number


def _quantity(text: str, what: str) -> float:
    """um of a text such as "20.0nm" or "2 \u00b5m"."""
    number, unit = re.fullmatch(r"([\d.eE+-]*)\s*(.*)", text).groups()
    return _length(number, what) * um_per(unit)


# --- texts, in a tag or beside the picture ---------------------------------------------------------------------------


def _hitachi(said: dict) -> PixelSize:
    """``PixelSize`` in nm, ``DataSize`` in pixels."""
    um = _length(said.get("PixelSize"), "PixelSize") * 1e-3
    return PixelSize(um, um, _first_number(said.get("DataSize")))


def _jeol(said: dict) -> PixelSize | None:
    """``$CM_`` and ``$SM_`` lines: the micron bar in pixels and its length, the size of a pixel, or the field."""
    width = _first_number(said.get("CM_FULL_SIZE") or said.get("CM_IMAGE_SIZE"))
    field = re.match(r"[\d.]+\s*[^\s\d.]+", said.get("CM_FIELD_OF_VIEW", ""))
    if said.get("SM_MICRON_MARKER"):
        um = _quantity(said["SM_MICRON_MARKER"], "SM_MICRON_MARKER") / _length(said.get("SM_MICRON_BAR"), "SM_MICRON_BAR")
    elif said.get("CM_PIXEL_SIZE"):
        um = _quantity(said["CM_PIXEL_SIZE"], "CM_PIXEL_SIZE")
    elif field:
        um = _quantity(field[0], "CM_FIELD_OF_VIEW") / _length(width, "CM_FULL_SIZE")
    else:
        return None
    return PixelSize(um, um, width)


def _tescan(said: dict) -> PixelSize:
    """``PixelSizeX`` and ``PixelSizeY`` in m; an axis may point down. How wide the image was is not told."""
    return PixelSize(*(_length(said.get(f"PixelSize{axis}", "").lstrip("-"), f"PixelSize{axis}") * 1e6 for axis in "XY"))


TEXTS = {
    "Tescan": (r"PixelSize[XY]\s*=", _tescan),
    "JEOL": (r"^\s*\$\$?(CM|SM)_\w+", _jeol),
    "Hitachi": (r"^\s*(\[SemImageFile\]|(InstructName|SerialNumber|SampleName|SignalName)\s*=)", _hitachi),
}


def _first_number(text) -> float | None:
    found = re.match(r"\s*(\d+)", str(text or ""))
    return float(found[1]) if found else None


def _from_text(text: str, source: str) -> PixelSize | None:
    """What an instrument's lines of names and values say of the size of a pixel; None for any other text."""
    for maker, (mark, read) in TEXTS.items():
        if re.search(mark, text, re.MULTILINE):
            said = dict(re.findall(r"\$*(\w+)(?:[ \t]*=[ \t]*|[ \t]+)([^\r\n\0]*?)[ \t]*(?=[\r\n\0]|$)", text))
            try:
                size = read(said)
            except ScaleError as error:
                raise ScaleError(f"{maker} {source}: {error}") from None
            return _sized(size, f"{maker} {source}")
    return None


def _sized(size: PixelSize | None, source: str) -> PixelSize:
    if size is None:
        raise ScaleError(f"{source}: no size of a pixel that can be read; {REMEDY}")
    return size._replace(source=source)


def sidecars_of(image) -> list[Path]:
    """The text files beside an image that an instrument may have written, by their names.

    The image's name with ``.txt`` or ``.hdr`` instead of or after the ending, or as Tescan has it (``a-tif.hdr``).
    """
    image = Path(image)
    stems = (image.stem, image.name, *(f"{image.stem}-{ending}" for ending in {image.suffix[1:], image.suffix[1:].lower()}))
    names = [image.with_name(stem + ending) for stem in stems for ending in (".txt", ".TXT", ".hdr", ".HDR")]
    return [path for path in names if path != image and os.path.isfile(path)]


def sidecar(path: Path) -> PixelSize | None:
    """The size of a pixel after a text file beside the picture; notes of other kinds are passed by."""
    for file in sidecars_of(path):
        data = file.read_bytes()[: 2**20]
        try:
            text = data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
        if size := _from_text(text, f"sidecar {file.name}"):
            return size
    return None


# --- tags ------------------------------------------------------------------------------------------------------------


def fei(data: dict, page) -> PixelSize | None:
    """FEI and Thermo Fisher: ``PixelWidth`` in m of the scan, or the field of view over ``ResolutionX``."""
    image, active = data.get("Image", {}), data.get("Beam", {})
    width, height = image.get("ResolutionX"), image.get("ResolutionY")
    for name in ("Scan", active.get("Scan"), "EScan", "IScan", active.get("Beam"), "EBeam", "IBeam", "IRBeam"):
        part = data.get(name, {})
        if part.get("PixelWidth"):
            x, y = (_length(part.get(key), key) for key in ("PixelWidth", "PixelHeight"))
            return PixelSize(x * 1e6, y * 1e6, width or part.get("HorFieldsize", 0) / x or None)
        if part.get("HFW") and width:
            x, y = (_length(part.get(key), key) / _length(n, "ResolutionX") for key, n in (("HFW", width), ("VFW", height)))
            return PixelSize(x * 1e6, y * 1e6, width)
    return None


def thermo(data, page=None) -> PixelSize | None:
    """The XML of Thermo Fisher (``PixelSize``) and of its Phenom (``pixelWidth``), each with its unit; no width is told."""
    root = _xml(data.decode("utf-8", "replace") if isinstance(data, bytes) else str(data))
    for names in (("pixelWidth", "pixelHeight"), ("PixelSize/{*}X", "PixelSize/{*}Y")):
        found = [element for name in names for element in root.findall(f".//{{*}}{name}")[:1]]
        if sizes := [_length(element.text, names[0]) * um_per(element.get("unit")) for element in found]:
            return PixelSize(sizes[0], sizes[-1])
    return None


def _xml(text: str) -> ElementTree.Element:
    """The root of a text's XML; an empty element where it is none."""
    try:
        return ElementTree.fromstring(re.sub(r"[\x00-\x08\x0b-\x1f]", "", text[text.index("<") :]).strip())
    except (ValueError, ElementTree.ParseError):
        return ElementTree.Element("none")


def zeiss(data: dict, page) -> PixelSize | None:
    """Zeiss SmartSEM: the width of the field over that of the image; ``AP_PIXEL_SIZE`` is of the 1024 px display."""

    def um(key):
        name, number, unit = (*data.get(key, ("", None)), "")[:3]
        return None if number is None else _length(number, key.upper()) * um_per(unit)

    width = _first_number(data.get("dp_image_store", ("", ""))[1])
    field, own, display = um("ap_width"), um("ap_image_pixel_size"), um("ap_pixel_size")
    if own:
        return PixelSize(own, own, width or (field and field / own))
    if not field and not display:
        # Files of LEO, from before the entries had names: the fourth number is the display's pixel in m.
        unnamed = data.get("", ())
        if len(unnamed) < 4:
            return None
        display = _length(unnamed[3], "the size of a pixel in its Zeiss metadata") * 1e6
    size = (field or display * 1024) / page.imagewidth
    # SmartSEM stores 512, 1024, 2048 ... px.
    return PixelSize(size, size, width or (1024 if page.imagewidth % 512 else page.imagewidth))


def olympus(data: dict, page) -> PixelSize:
    """Olympus SIS: ``pixelsizex`` in m."""
    data = (page.tags.valueof(33471) or {}) | data
    return PixelSize(*(_length(data.get(f"pixelsize{axis}"), f"pixelsize{axis}") * 1e6 for axis in "xy"))


def jeol_tem(text: str, page) -> PixelSize | None:
    """JEOL's XML: in the mode MAG of a TEM the resolution is that of the camera, magnified."""
    said = {element.tag.split("}")[-1]: (element.text or "").strip() for element in _xml(text).iter()}
    if said.get("EosMode") != "eosTEM" or said.get("ModeString") != "MAG":
        return None
    magnification = _length(said.get("SelectorValue"), "JEOL's magnification")
    return PixelSize(*(size / magnification for size in _resolution(page)))


def ome(text: str, page) -> PixelSize | None:
    """OME-XML: ``PhysicalSizeX`` with its unit, um where there is none."""
    pixels = next((e.attrib for e in _xml(text).iter() if e.tag.split("}")[-1] == "Pixels"), {})
    if not any(name.startswith("PhysicalSize") for name in pixels):
        return None
    names = [f"PhysicalSize{axis}" for axis in "XY"]
    sizes = [_length(pixels.get(name), name) * um_per(pixels.get(f"{name}Unit", "um")) for name in names]
    return PixelSize(*sizes, pixels.get("SizeX"))


def imagej(text: str, page) -> PixelSize:
    """ImageJ: the resolution in pixels a ``unit``, and down in pixels a ``yunit`` where that is another."""
    said = dict(re.findall(r"^(\w+)=(.*?)\s*$", text, re.MULTILINE))
    units = said["unit"], said.get("yunit", said["unit"])
    return PixelSize(*(um_per(unit) / _ratio(page, f"{axis}Resolution") for unit, axis in zip(units, "XY", strict=True)))


def _ratio(page, name: str) -> float:
    numerator, denominator = page.tags.valueof(name)
    return _length(numerator, name) / _length(denominator, name)


def _resolution(page) -> tuple[float, float]:
    """Size of a pixel in um after the resolution tags; a missing unit means inch (TIFF 6.0)."""
    um = 1e4 if page.tags.valueof("ResolutionUnit", 2) == 3 else UM_PER_INCH
    return um / _ratio(page, "XResolution"), um / _ratio(page, "YResolution")


# By their private tags; where there is no reader, the maker's data are not understood.
TAGS = {
    "FEI": ((34682, 34680), fei),
    "Thermo Fisher": ((34683,), thermo),
    "Zeiss": ((34118,), zeiss),
    "Olympus": ((33560,), olympus),
    "MetaMorph, FluoView, Zeiss LSM, TVIPS or DigitalMicrograph": ((33628, 34361, 34412, 37706, 65009), None),
}
# By a mark in the description. ImageJ takes the dots per inch or cm of any file that it opens for its scale.
DESCRIPTIONS = {
    "JEOL": ("JEOL|<TemReporter", jeol_tem),
    "OME": (r"OME>\s*\Z", ome),
    RESOLUTION: (r'(?ms)^ImageJ=.*^unit=(in|inche?s?|"|c?m|centimet(er|re)s?|met(er|re)s?)\s*$', imagej),
    "ImageJ": (r"(?ms)^ImageJ=.*^unit=(?!pixels?\s*$)\S", imagej),
}


def maker(page) -> PixelSize | None:
    """What the first maker whose data are in a page says of the size of a pixel."""
    for name, (codes, read) in TAGS.items():
        for data in (page.tags.valueof(code) for code in codes if code in page.tags):
            return _sized(read and read(data, page), f"{name} metadata")
    for code, encoding in ((50431, "latin-1"), (40092, "utf-16-le")):  # Tescan's binary blocks, and Hitachi's
        value = page.tags.valueof(code) or b""
        text = value if isinstance(value, str) else bytes(value).decode(encoding, "replace")
        if (size := _from_text(text, "metadata")) or (value and code == 50431):
            return _sized(size, "Tescan metadata" if size is None else size.source)
    for name, (mark, read) in DESCRIPTIONS.items():
        if re.search(mark, str(page.description)):
            return _sized(read(str(page.description), page), name if name == RESOLUTION else f"{name} metadata")
    return None


def resolution(page) -> PixelSize | None:
    """The bare TIFF resolution, where no maker's mark says that there is something better."""
    if "XResolution" not in page.tags or page.tags.valueof("ResolutionUnit", 2) not in (2, 3):
        return None
    return PixelSize(*_resolution(page), None, RESOLUTION)


def phenom_jpeg(data: bytes) -> PixelSize | None:
    """The XML of a Phenom, appended to a JPEG."""
    found = re.search(rb"<FeiImage.*?</FeiImage>", data, re.DOTALL)
    return _sized(thermo(found[0]), "Thermo Fisher metadata") if found else None


# --- what is believed ------------------------------------------------------------------------------------------------


def check_plausible(pixels_per_um: float) -> float:
    """Return the scale, refusing what cannot be the scale of a micrograph.

    Raises
    ------
    ScaleError
        If it is not a positive finite number, or a pixel would be larger than 50 um or smaller than an atom.
    """
    value, (low, high) = float(pixels_per_um), PLAUSIBLE_PIXELS_PER_UM
    if not math.isfinite(value) or value <= 0:
        raise ScaleError(f"a scale must be a positive number of pixels per um, not {value:g}; {REMEDY}")
    if not low <= value <= high:
        raise ScaleError(
            f"{value:.4g} px/um makes a pixel {1 / value:.4g} um wide, which no micrograph has; is it the resolution of a "
            f"print, or in another unit? {REMEDY}"
        )
    return value


def _believed(size: PixelSize, width_px: int) -> tuple[float, str]:
    """Scale and source, unless the size of a pixel is of another image or of a print."""
    x, y, recorded, source = size
    if recorded is not None and round(_length(recorded, f"the width in {source}")) != width_px:
        was = f"{source} is of an image {float(recorded):.0f} px wide, and this one has {width_px}"
        raise ScaleError(f"{was}: it was cropped or resized; {REMEDY}")
    if not math.isclose(x, y, rel_tol=0.01):
        raise ScaleError(f"{source} has {1 / x:g} px/um across but {1 / y:g} px/um down; resample to square pixels")
    if x > (LARGEST_BARE_PIXEL_UM if source == RESOLUTION else LARGEST_PIXEL_UM):
        pixel = f"{source} makes a pixel {x:.4g} um wide ({UM_PER_INCH / x:.4g} dpi)"
        raise ScaleError(f"{pixel}: the resolution of a print and not a scale; {REMEDY}")
    return check_plausible(1 / x), source + (NO_WIDTH if recorded is None else "")


def read_scale(path) -> tuple[float, str]:
    """Scale of a micrograph from its file's own tags, or from the text file that the instrument wrote beside it.

    Tried in turn: the metadata of FEI/Thermo Fisher, Phenom, Zeiss, JEOL, Olympus, Tescan and Hitachi, OME, ImageJ; the
    sidecars of Hitachi, JEOL and Tescan; the TIFF resolution with its unit, where no printer or scanner has it.

    Returns
    -------
    pixels_per_um : float
    source : str
        Which tag or sidecar it came from; it ends with `NO_WIDTH` where a copy made smaller would not be noticed.

    Raises
    ------
    ScaleError
        If the file carries no scale, an implausible one, two that differ, or pixels that are not square.
    """
    path, found, wrong = Path(path), [], []

    def look(read, what) -> None:
        try:
            if size := read(what):
                found.append(_believed(size, width_px))
        except ScaleError as error:
            wrong.append(error)

    try:
        with path.open("rb") as file:
            is_tiff = file.read(4) in TIFF_MARKS
        with tifffile.TiffFile(path) if is_tiff else Image.open(path, formats=FORMATS) as file:
            page = picture_page(file) if is_tiff else None
            width_px = page.imagewidth if is_tiff else file.width
            look(*((maker, page) if is_tiff else (phenom_jpeg, path.read_bytes())))
            look(sidecar, path)
            if is_tiff and not found and not wrong:
                look(resolution, page)
    except Exception as error:  # whatever a damaged file makes its readers raise
        raise ScaleError(f"its tags cannot be read ({shortened(str(error))}); {REMEDY}") from error
    if len(found) > 1 and not math.isclose(found[0][0], found[1][0], rel_tol=0.02):
        said = ", but ".join(f"{scale:.4g} px/um after its {source}" for scale, source in found)
        raise ScaleError(f"it has {said}; {REMEDY}")
    if not found:
        raise (
            *wrong,
            ScaleError(f"no tag of the file, and no sidecar of a microscope beside it, gives its scale; {REMEDY}"),
        )[0]
    return found[0]
