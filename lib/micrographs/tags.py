"""The size of a pixel as instruments write it into TIFF tags and into files beside the picture.

Every reader returns the size of a pixel in um, across and down, or None where its maker's mark is absent. A mark
without a size that can be believed is a `ScaleError`: the resolution of a printer is then no way out.
The makers' formats are as Gwyddion, Bio-Formats and RosettaSciIO document them.
"""

from __future__ import annotations

import math
import re
import unicodedata
from pathlib import Path
from xml.etree import ElementTree

import tifffile

from micrographs import files
from spreadsheets import tables

REMEDY = "give pixels_per_um in the manifest (length of the micron bar in pixels / its length in um)"
UM_PER_INCH = 25_400.0
UM_PER_UNIT = {
    "km": 1e9,
    "m": 1e6,
    "meter": 1e6,
    "cm": 1e4,
    "centimeter": 1e4,
    "mm": 1e3,
    "millimeter": 1e3,
    "um": 1.0,
    "u": 1.0,
    "\u03bc": 1.0,
    "\u03bcm": 1.0,
    "micron": 1.0,
    "micrometer": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "\u00e5": 1e-4,
    "angstrom": 1e-4,
    "\u00e5ngstr\u00f6m": 1e-4,
    "pm": 1e-6,
    "picometer": 1e-6,
    "inch": UM_PER_INCH,
    "inche": UM_PER_INCH,
    "in": UM_PER_INCH,
    '"': UM_PER_INCH,
}
# Tags of programs and instruments whose own scale is not read here: beside them the resolution is not believed.
OTHER_MAKERS = {
    33628: "MetaMorph",
    34361: "FluoView",
    34412: "Zeiss LSM",
    37706: "TVIPS",
    65009: "DigitalMicrograph",
}
PRINT_LIKE_UNITS = ("in", "inch", '"', "cm", "centimeter", "m", "meter")


class ScaleError(ValueError):
    """A scale that is unknown or cannot be true; the message holds the remedy."""


def um_per(unit) -> float:
    """Micrometres in a unit of length, however it is spelt: "\\u00B5m", "Micron", "nanometres", "Angstrom"."""
    text = re.sub(r"\\[uU]([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), str(unit))
    name = unicodedata.normalize("NFKC", text).strip(" \0.").casefold().replace("metre", "meter")
    if name not in UM_PER_UNIT and len(name) > 3:
        name = name.removesuffix("s")
    if name not in UM_PER_UNIT:
        raise ScaleError(f"{tables.shortened(str(unit))!r} is no unit of length; {REMEDY}")
    return UM_PER_UNIT[name]


def _length(value, what: str) -> float:
    """A positive finite number, or the fault."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ScaleError(f"{what} is {tables.shortened(str(value))!r}, not a size; {REMEDY}")
    return number


def _same_width(recorded, width_px: int, what: str) -> None:
    """Refuse the tags of an image of another width: whether it was cropped or resized since, nobody can tell."""
    recorded = _length(recorded, f"the width in {what}")
    if round(recorded) != width_px:
        raise ScaleError(
            f"{what} is of an image {recorded:g} px wide, and this one has {width_px}: it was cropped or resized; {REMEDY}"
        )


def fei(tiff: tifffile.TiffFile):
    """FEI and Thermo Fisher: ``PixelWidth`` in m of the scan, or the field of view over ``ResolutionX``."""
    data = tiff.fei_metadata
    if data is None:
        return None
    page, what = tiff.pages[0], "FEI metadata"
    image = data.get("Image", {})
    active = data.get("Beam", {})
    scans = ["Scan", active.get("Scan"), "EScan", "IScan"]
    beams = [active.get("Beam"), "EBeam", "IBeam", "IRBeam"]
    recorded = image.get("ResolutionX")
    for scan in (data[name] for name in scans if data.get(name, {}).get("PixelWidth")):
        size = _length(scan["PixelWidth"], "PixelWidth"), _length(scan.get("PixelHeight"), "PixelHeight")
        if not recorded and scan.get("HorFieldsize"):
            recorded = round(_length(scan["HorFieldsize"], "HorFieldsize") / size[0])
        if recorded:
            _same_width(recorded, page.imagewidth, what)
        return size[0] * 1e6, size[1] * 1e6, what
    for beam in (data[name] for name in beams if data.get(name, {}).get("HFW")):
        if recorded and image.get("ResolutionY"):
            _same_width(recorded, page.imagewidth, what)
            x = _length(beam["HFW"], "HFW") / _length(recorded, "ResolutionX")
            y = _length(beam.get("VFW"), "VFW") / _length(image["ResolutionY"], "ResolutionY")
            return x * 1e6, y * 1e6, what
    raise ScaleError(f"its FEI metadata hold no size of a pixel; {REMEDY}")


def thermo_xml(tiff: tifffile.TiffFile):
    """The XML of Thermo Fisher (``PixelSize``, in m) and of its Phenom (``pixelWidth``), each with its unit."""
    tag = tiff.pages[0].tags.get(34683)
    if tag is None:
        return None
    text = tag.value.decode("utf-8", "replace") if isinstance(tag.value, bytes) else str(tag.value)
    try:
        root = ElementTree.fromstring(text.strip(" \0\r\n\ufeff"))
    except ElementTree.ParseError:
        raise ScaleError(f"its Thermo Fisher metadata are no XML; {REMEDY}") from None
    for across, down in (("pixelWidth", "pixelHeight"), ("PixelSize/X", "PixelSize/Y")):
        x = next((e for e in root.iterfind(f".//{across}")), None)
        y = next((e for e in root.iterfind(f".//{down}")), x)
        if x is not None:
            return *(_length(e.text, across) * um_per(e.get("unit")) for e in (x, y)), "Thermo Fisher metadata"
    raise ScaleError(f"its Thermo Fisher metadata hold no size of a pixel; {REMEDY}")


def zeiss(tiff: tifffile.TiffFile):
    """Zeiss SmartSEM: the width of the field over that of the image; ``AP_PIXEL_SIZE`` is of the 1024 px display."""
    data = tiff.sem_metadata
    if data is None:
        return None
    width, what = tiff.pages[0].imagewidth, "Zeiss metadata"

    def um(key):
        entry = data.get(key)
        if entry is None:
            return None
        if len(entry) < 3:
            raise ScaleError(f"{key.upper()} in its Zeiss metadata is {tables.shortened(str(entry[-1]))!r}; {REMEDY}")
        return _length(entry[1], key.upper()) * um_per(entry[2])

    stored = re.match(r"\s*(\d+)", str(data.get("dp_image_store", ("", ""))[1]))
    if stored:
        _same_width(stored[1], width, what)
    field, own, display = um("ap_width"), um("ap_image_pixel_size"), um("ap_pixel_size")
    if own:
        if field and not math.isclose(field / own, width, rel_tol=0.01):
            _same_width(round(field / own), width, what)
        return own, own, what
    if field is None and display is None:
        # Files of LEO, from before the entries had names: the fourth number is the display's pixel in m.
        unnamed = data.get("", ())
        if len(unnamed) < 4:
            raise ScaleError(f"its Zeiss metadata hold no size of a pixel; {REMEDY}")
        display = _length(unnamed[3], "the size of a pixel in its Zeiss metadata") * 1e6
    if width % 512:  # all that SmartSEM stores
        _same_width(1024, width, what)
    size = (field or display * 1024) / width
    return size, size, what


def _tescan_text(text: str):
    """``PixelSizeX`` and ``PixelSizeY`` in m, as in Tescan's tag and header files."""
    found = [re.search(rf"PixelSize{axis}\s*=\s*-?([^\s\0]+)", text) for axis in "XY"]  # the axis may point down
    if not all(found):
        raise ScaleError(f"its Tescan metadata hold no size of a pixel; {REMEDY}")
    return tuple(_length(match[1], match[0]) * 1e6 for match in found)


def tescan(tiff: tifffile.TiffFile):
    """Tescan's private tag 50431: binary blocks, of which one is text."""
    tag = tiff.pages[0].tags.get(50431)
    if tag is None:
        return None
    data = tag.value
    text = data.decode("latin-1") if isinstance(data, bytes) else str(data)
    return *_tescan_text(text), "Tescan metadata"


def jeol(tiff: tifffile.TiffFile):
    """JEOL's XML in the description: in the mode MAG of a TEM the resolution is that of the camera, magnified."""
    page = tiff.pages[0]
    description = str(page.description)
    if not (str(page.tags.valueof("Make") or "").startswith("JEOL") or re.search("JEOL|<TemReporter", description)):
        return None
    try:
        root = ElementTree.fromstring(re.sub(r"[\x00-\x08\x0b-\x1f]", "", description[description.index("<") :]).strip())
    except (ValueError, ElementTree.ParseError):
        root = ElementTree.Element("none")
    said = {element.tag.split("}")[-1]: (element.text or "").strip() for element in root.iter()}
    if said.get("EosMode") == "eosTEM" and said.get("ModeString") == "MAG":
        magnification = _length(said.get("SelectorValue"), "JEOL's magnification")
        return *(size / magnification for size in _resolution(page)), "JEOL metadata"
    raise ScaleError(f"its JEOL metadata hold no size of a pixel that can be read; {REMEDY}")


def olympus(tiff: tifffile.TiffFile):
    """Olympus SIS: ``pixelsizex`` in m."""
    data = tiff.sis_metadata
    if data is None:
        return None
    return *(_length(data.get(f"pixelsize{axis}"), f"pixelsize{axis}") * 1e6 for axis in "xy"), "Olympus metadata"


def ome(tiff: tifffile.TiffFile):
    """OME-XML: ``PhysicalSizeX`` with its unit, um where there is none."""
    if not (tiff.is_ome and tiff.ome_metadata):
        return None
    root = ElementTree.fromstring(tiff.ome_metadata)
    pixels = next((e for e in root.iter() if e.tag.split("}")[-1] == "Pixels"), None)
    if pixels is None or not any(name.startswith("PhysicalSize") for name in pixels.attrib):
        raise ScaleError(f"its OME metadata hold no size of a pixel; {REMEDY}")
    if pixels.get("SizeX"):
        _same_width(pixels.get("SizeX"), tiff.pages[0].imagewidth, "OME metadata")
    x, y = (
        _length(pixels.get(f"PhysicalSize{a}"), f"PhysicalSize{a}") * um_per(pixels.get(f"PhysicalSize{a}Unit", "um"))
        for a in "XY"
    )
    return x, y, "OME metadata"


def imagej(tiff: tifffile.TiffFile):
    """ImageJ: the resolution in pixels a ``unit``, and down in pixels a ``yunit`` where that is another."""
    data = tiff.imagej_metadata
    if data is None or str(data.get("unit", "")).strip().casefold() in ("", "pixel", "pixels"):
        return None
    page, unit = tiff.pages[0], data["unit"]
    size = [um_per(u) / _ratio(page, f"{a}Resolution") for a, u in zip("XY", (unit, data.get("yunit", unit)), strict=True)]
    # ImageJ takes the dots per inch of any file that it opens for its scale.
    print_like = str(unit).strip().casefold().removesuffix("s") in (*PRINT_LIKE_UNITS, "inche")
    return *size, "TIFF resolution tag" if print_like else "ImageJ metadata"


def _ratio(page, name: str) -> float:
    tag = page.tags.get(name)
    if tag is None:
        raise ScaleError(f"it has no {name}; {REMEDY}")
    if not (isinstance(tag.value, tuple) and len(tag.value) == 2 and all(v > 0 for v in tag.value)):
        raise ScaleError(f"its {name} is {tables.shortened(str(tag.value))!r}, not a ratio of two numbers; {REMEDY}")
    return tag.value[0] / tag.value[1]


def _resolution(page) -> tuple[float, float]:
    """Size of a pixel in um after the resolution tags. A missing unit means inch (TIFF 6.0), and 1 means none at all."""
    code = int(page.tags.valueof("ResolutionUnit", 2))
    if code not in (2, 3):
        raise ScaleError(f"its resolution has no unit; {REMEDY}")
    um = UM_PER_INCH if code == 2 else 1e4
    return um / _ratio(page, "XResolution"), um / _ratio(page, "YResolution")


def resolution(tiff: tifffile.TiffFile):
    """The bare TIFF resolution, where no maker's mark says that there is something better."""
    page = tiff.pages[0]
    for code, maker in OTHER_MAKERS.items():
        if code in page.tags:
            raise ScaleError(f"the metadata of {maker} in it are not read; {REMEDY}")
    if "XResolution" not in page.tags or int(page.tags.valueof("ResolutionUnit", 2)) not in (2, 3):
        return None
    return *_resolution(page), "TIFF resolution tag"


# The more an entry knows, the earlier it comes.
TIFF_READERS = (fei, thermo_xml, zeiss, tescan, jeol, olympus, ome, imagej)


def _hitachi_text(text: str, width_px: int):
    """Hitachi's ``[SemImageFile]``: ``PixelSize`` in nm, ``DataSize`` in pixels."""
    said = dict(re.findall(r"^\s*(\w+)\s*=\s*(.*?)\s*$", text, re.MULTILINE))
    if recorded := re.match(r"\s*(\d+)", said.get("DataSize", "")):
        _same_width(recorded[1], width_px, "Hitachi metadata")
    size = _length(said.get("PixelSize"), "PixelSize") * 1e-3
    return size, size


def _jeol_text(text: str, width_px: int):
    """JEOL's ``$CM_`` lines: the micron bar in pixels of an image of ``$CM_FULL_SIZE``, and its length."""
    said = dict(re.findall(r"^\s*(\$+\w+)[ \t]+(.*?)\s*$", text, re.MULTILINE))
    for key in ("$CM_FULL_SIZE", "$CM_IMAGE_SIZE"):
        if recorded := re.match(r"(\d+)", said.get(key, "")):
            _same_width(recorded[1], width_px, "JEOL metadata")
            break
    marker = re.fullmatch(r"([\d.]+)\s*(\D+)", said.get("$$SM_MICRON_MARKER", ""))
    if marker:
        bar_px = _length(said.get("$$SM_MICRON_BAR"), "$$SM_MICRON_BAR")
        size = _length(marker[1], "$$SM_MICRON_MARKER") * um_per(marker[2]) / bar_px
        return size, size
    field = re.findall(r"([\d.]+)\s*([^\s\d.]+)", said.get("$CM_FIELD_OF_VIEW", ""))
    extent = re.findall(r"\d+", said.get("$CM_FULL_SIZE", said.get("$CM_IMAGE_SIZE", "")))
    if len(field) == len(extent) == 2:
        x, y = (
            _length(value, "$CM_FIELD_OF_VIEW") * um_per(unit) / _length(pixels, "$CM_FULL_SIZE")
            for (value, unit), pixels in zip(field, extent, strict=True)
        )
        return x, y
    raise ScaleError(f"its JEOL metadata hold no micron bar; {REMEDY}")


SIDECARS = (
    ("Hitachi", re.compile(r"^\s*\[SemImageFile\]", re.MULTILINE), _hitachi_text),
    ("JEOL", re.compile(r"^\s*\${1,2}(CM|SM)_\w+", re.MULTILINE), _jeol_text),
    ("Tescan", re.compile(r"^\s*PixelSizeX\s*=", re.MULTILINE), lambda text, width_px: _tescan_text(text)),
)


def sidecar(path: Path, width_px: int):
    """The size of a pixel after a text file that an instrument wrote beside the picture.

    Other text files of such a name (`files.sidecars_of`) are passed by.
    """
    for beside in files.sidecars_of(path):
        if beside.stat().st_size > 2**20:
            continue
        data = beside.read_bytes()
        text = data.decode("utf-16") if data.startswith((b"\xff\xfe", b"\xfe\xff")) else data.decode("latin-1")
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u00c2\u00b5", "\u00b5")
        for maker, mark, read in SIDECARS:
            if mark.search(text):
                try:
                    return *read(text, width_px), f"{maker} sidecar {beside.name}"
                except ScaleError as error:
                    raise ScaleError(f"{beside.name} beside it: {error}") from None
    return None
