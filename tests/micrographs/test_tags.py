"""The scale of a micrograph from tags and sidecars written here: the right ones are read, and no wrong one is believed."""

import math
import re

import numpy as np
import pytest
import tifffile
from PIL import Image

from micrographs import ScaleError, check_plausible, read_scale
from micrographs.tags import NO_WIDTH

FEI, THERMO, ZEISS, TESCAN, HITACHI_S = 34682, 34683, 34118, 50431, 40092  # their private tags


@pytest.mark.parametrize("bad", [0, -3, math.nan, math.inf, 72 / 25400, 350 / 25400, 0.0199, 1e-5, 1e7])
def test_implausible_scales_are_refused_with_a_remedy(bad):
    with pytest.raises(ScaleError, match="pixels_per_um"):
        check_plausible(bad)
    assert check_plausible(0.17) == 0.17


def micrograph(path, width=64, height=48, **tags):
    tifffile.imwrite(path, np.zeros((height, width), np.uint8), metadata=None, **tags)
    return path


def tag(code, *lines):
    """A private tag of text; Tescan's and that of Windows' comments, in which Hitachi writes, are of bytes."""
    text = "\r\n".join([*lines, ""])
    if code in (TESCAN, HITACHI_S):
        data = text.encode("utf-16-le" if code == HITACHI_S else "latin-1")
        return {"extratags": [(code, 1, len(data), data, True)]}
    return {"extratags": [(code, 2, 0, text.encode("cp1252"), True)]}


def per(value, unit):
    return {"resolution": (value, value), "resolutionunit": unit}


def imagej(*lines, resolution=(7.5, 7.5)):
    return {"description": "\n".join(["ImageJ=1.53t", *lines, ""]), "resolution": resolution, "resolutionunit": 1}


def ome(**attributes):
    said = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    return {"description": f"<OME><Image><Pixels {said}/></Image></OME>".encode()}


ZEISS_PIXEL, ZEISS_WIDTH = ("AP_PIXEL_SIZE", "Pixel Size = 5.825 nm"), ("AP_WIDTH", "Width = 5.965 µm")
JEOL_XML = """<?xml version="1.0"?><TemReporter><Eos><EosMode>{mode}</EosMode></Eos><ImageFormingSystem>
<ModeString>MAG</ModeString><SelectorValue>10000</SelectorValue></ImageFormingSystem></TemReporter>"""
SCAN = ("[Scan]", "PixelWidth=2e-08", "PixelHeight=2e-08")
DPI_64 = per(64, 2)  # what a way out by the resolution tag would take

# Tags, width in pixels, the right scale, and what it must be said to come from.
RIGHT = {
    "FEI, EScan only": (tag(FEI, "[EScan]", *SCAN[1:]), 64, 50, "FEI"),
    "FEI, ion beam": (tag(FEI, "[Beam]", "Scan=IScan", "[EScan]", "PixelWidth=1e-06", "PixelHeight=1e-06",
                          "[IScan]", *SCAN[1:]) | DPI_64, 64, 50, "FEI"),
    "FEI, whole field": (tag(FEI, "[EBeam]", "HFW=1.28e-06", "VFW=9.6e-07", "[Image]", "ResolutionX=64", "ResolutionY=48"),
                         64, 50, "FEI"),
    "Thermo, XML": (tag(THERMO, '<Metadata><BinaryResult><PixelSize><X unit="m">2E-08</X><Y unit="m">2E-08</Y></PixelSize>'
                        "</BinaryResult></Metadata>"), 64, 50, "Thermo"),
    "Zeiss": (tag(ZEISS, *ZEISS_PIXEL, *ZEISS_WIDTH), 512, 85.83, "Zeiss"),
    "Zeiss, pixel of the display": (tag(ZEISS, *ZEISS_PIXEL), 512, 85.83, "Zeiss"),
    "Zeiss, of LEO's time": (tag(ZEISS, "0", "0", "0", "5.825e-09"), 512, 85.83, "Zeiss"),
    "Zeiss, own pixel": (tag(ZEISS, "AP_IMAGE_PIXEL_SIZE", "Image Pixel Size = 11.65 nm", *ZEISS_PIXEL, *ZEISS_WIDTH,
                             "DP_IMAGE_STORE", "Store resolution = 512 * 384"), 512, 85.84, "Zeiss"),
    "Tescan": (tag(TESCAN, "*\0\0\0Magnification=5000", "PixelSizeX=2e-08", "PixelSizeY=2e-08") | DPI_64, 64, 50, "Tescan"),
    "JEOL TEM": ({"description": JEOL_XML.format(mode="eosTEM")} | per(50, 3), 64, 50, "JEOL"),
    "Hitachi's tag": (tag(HITACHI_S, "SerialNumber=0", "PixelSize=20.0") | DPI_64, 64, 50, "Hitachi"),
    "a comment of Windows": (tag(HITACHI_S, "etched 10 s") | per(254_000, 2), 64, 10, "TIFF"),
    "OME in nm": (ome(PhysicalSizeX=200, PhysicalSizeXUnit="nm", PhysicalSizeY=0.2), 64, 5, "OME"),
    **{
        f"ImageJ in {unit}": (imagej(f"unit={unit}", resolution=(7.5 * um, 7.5 * um)), 64, 7.5, "ImageJ")
        for unit, um in {"\\u00B5m": 1, "Microns": 1, "Micrometres": 1, "nm": 1e-3, "Angstrom": 1e-4}.items()
    },
    "ImageJ in inches": (imagej("unit=inches", resolution=(190500, 190500)), 64, 7.5, "TIFF"),
    "ImageJ with a yunit": (imagej("unit=micron", "yunit=mm", resolution=(7.5, 7500)), 64, 7.5, "ImageJ"),
    "0.5 px/um, 4 mm wide": (per(5000, 3), 2000, 0.5, "TIFF"),
}  # fmt: skip


@pytest.mark.parametrize("kind", RIGHT)
def test_scales_from_tags(tmp_path, kind):
    tags, width, pixels_per_um, source = RIGHT[kind]
    scale, said = read_scale(micrograph(tmp_path / "a.tif", width, **tags))
    assert scale == pytest.approx(pixels_per_um, rel=1e-3)
    assert source in said


# Tags, and words of the reason for which they give no scale to an image 512 px wide.
WRONG = {
    **{f"{n} per unit {unit}": (per(n, unit), "dpi") for n, unit in ((1, 2), (72, 2), (300, 2), (9600, 2), (118.11, 3))},
    "no tags": ({}, "no tag"),
    "not square": ({"resolution": (50_000, 40_000), "resolutionunit": 3}, "square"),
    "FEI, empty Scan": (tag(FEI, "[Scan]") | DPI_64, "FEI metadata: no size"),
    "FEI, decimal comma": (tag(FEI, "[Scan]", "PixelWidth=2,0e-08", "PixelHeight=2,0e-08"), "not a size"),
    "FEI, halved": (tag(FEI, *SCAN, "[Image]", "ResolutionX=1024", "ResolutionY=96"), "cropped or resized"),
    "FEI, halved, by its field": (tag(FEI, *SCAN, "HorFieldsize=2.048e-05"), "1024 px wide"),
    "Thermo, no XML": (tag(THERMO, "<Metadata") | DPI_64, "no size of a pixel"),
    "Thermo, no unit": (tag(THERMO, "<FeiImage><pixelWidth>20</pixelWidth></FeiImage>"), "no unit of length"),
    "Zeiss, nothing": (tag(ZEISS, "AP_BRIGHTNESS", "Brightness = 49.7 %") | DPI_64, "Zeiss metadata: no size"),
    "Zeiss, halved": (tag(ZEISS, *ZEISS_PIXEL, "DP_IMAGE_STORE", "Store resolution = 1024 * 768"), "cropped"),
    "Tescan, unreadable": (tag(TESCAN, "\1\2\3\4") | DPI_64, "Tescan"),
    "JEOL XML": ({"description": JEOL_XML.format(mode="modeASID")} | per(50_000, 3), "JEOL"),
    "DigitalMicrograph": ({"extratags": [(65009, 12, 1, 0.2, True)]} | per(50_000, 3), "Digital"),
    "OME, nothing": (ome(SizeX=512) | DPI_64, "OME metadata: no size"),
    "OME, halved": (ome(PhysicalSizeX=0.2, PhysicalSizeY=0.2, SizeX=1024), "1024 px wide"),
    "OME, of a print": (ome(PhysicalSizeX=25400 / 600, PhysicalSizeY=25400 / 600), "resolution of a print"),
    "ImageJ in mm, of a print": (imagej("unit=mm", resolution=(600 / 25.4, 600 / 25.4)), "resolution of a print"),
    "ImageJ, unit=1": (imagej("unit=1"), "no unit of length"),
    "ImageJ, pixels": (imagej("unit=pixel"), "no tag"),
    "ImageJ, dpi": (imagej("unit=inch", resolution=(300, 300)), "dpi"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_no_scale_is_better_than_a_wrong_one(tmp_path, kind):
    tags, words = WRONG[kind]
    with pytest.raises(ScaleError, match=re.escape(words)) as caught:
        read_scale(micrograph(tmp_path / "a.tif", 512, **tags))
    assert "pixels_per_um" in str(caught.value) or "square" in str(caught.value)


def test_a_zeiss_image_of_a_width_that_it_does_not_store_was_resized(tmp_path):
    with pytest.raises(ScaleError, match="1024 px wide, and this one has 1000"):
        read_scale(micrograph(tmp_path / "a.tif", 1000, **tag(ZEISS, *ZEISS_PIXEL)))


JEOL = "$CM_FORMAT JEOL/SEM\n$CM_MAG 5000\n$CM_FULL_SIZE 128 96\n$$SM_MICRON_BAR 100\n$$SM_MICRON_MARKER {}\n"
HITACHI = "[SemImageFile]\r\nInstructName=TM3000\r\nDataSize=128x96\r\nPixelSize=20.0\r\n"
HDR = "[MAIN]\nMagnification=5000\nPixelSizeX=2e-08\nPixelSizeY=2e-08\n[SEM]\nHV=20000\n"


@pytest.mark.parametrize(
    ("picture", "beside", "text", "encoding", "maker"),
    [
        ("a.png", "a.TXT", JEOL.format("2 µm"), "cp1252", "JEOL"),
        ("a.jpg", "a.txt", "$CM_IMAGE_SIZE 128 96\n$CM_FIELD_OF_VIEW 2.56µm 1.92µm\n", "utf-8", "JEOL"),
        ("a.tif", "a.txt", "$CM_IMAGE_SIZE 128 96\n$CM_PIXEL_SIZE 20.0nm\n", "utf-8-sig", "JEOL"),
        ("a.bmp", "a.txt", HITACHI, "utf-16", "Hitachi"),
        ("a.PNG", "a-png.hdr", HDR, "utf-8", "Tescan"),
        ("a.tif", "a.hdr", HDR, "utf-8", "Tescan"),
    ],
)
def test_sidecars(tmp_path, picture, beside, text, encoding, maker):
    # With the info bar the picture is higher than the scan; its print resolution is no scale.
    options = {"dpi": (96, 96)} if picture.endswith("tif") else {}
    Image.fromarray(np.zeros((110, 128), np.uint8)).save(tmp_path / picture, **options)
    (tmp_path / beside).write_bytes(text.encode(encoding))
    (tmp_path / "notes.txt").write_text(JEOL.format("7um"))  # of another picture
    scale, source = read_scale(tmp_path / picture)
    assert scale == pytest.approx(50, rel=1e-6)
    assert f"{maker} sidecar {beside}" in source
    assert source.endswith(NO_WIDTH) == (maker == "Tescan")  # which does not say how wide the image was


def test_a_sidecar_that_cannot_be_believed(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(path)
    for text, words in (
        (HITACHI, "a.txt is of an image 128 px wide"),
        (HITACHI.replace("20.0", "0"), "a.txt: PixelSize is '0', not a size"),
        (HITACHI.replace("PixelSize", "Magnification"), "a.txt: PixelSize is missing"),
        (JEOL.format(""), "a.txt: no size"),
        (HDR.replace("PixelSizeY", "Y"), "a.txt: PixelSizeY is"),
        ("etched for 10 s\n", "no sidecar"),  # notes are none
    ):
        path.with_suffix(".txt").write_text(text)
        with pytest.raises(ScaleError, match=words):
            read_scale(path)


def test_tags_and_sidecar_must_agree(tmp_path):
    path = micrograph(tmp_path / "a.tif", 128, **tag(FEI, *SCAN))
    path.with_suffix(".txt").write_text(HITACHI)
    assert read_scale(path)[1].startswith("FEI metadata")
    path.with_suffix(".txt").write_text(HITACHI.replace("20.0", "40.0"))
    with pytest.raises(ScaleError, match="50 px/um after its FEI metadata.*, but 25 px/um after its Hitachi sidecar a.txt"):
        read_scale(path)


def test_the_tags_are_those_of_the_picture_and_not_of_a_thumbnail_before_it(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((48, 64), np.uint8), metadata=None, **per(25_000, 3))
        file.write(np.zeros((480, 640), np.uint8), metadata=None, **per(200_000, 3))
    assert read_scale(tmp_path / "a.tif")[0] == pytest.approx(20)


def test_a_phenom_appends_its_metadata_to_a_jpeg(tmp_path):
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(tmp_path / "a.jpg")
    with (tmp_path / "a.jpg").open("ab") as file:
        file.write(b'<?xml version="1.0"?><FeiImage xmlns="urn:x"><pixelWidth unit="um">0.02</pixelWidth></FeiImage>')
    assert read_scale(tmp_path / "a.jpg") == (pytest.approx(50), "Thermo Fisher metadata" + NO_WIDTH)


def test_pictures_without_a_scale_are_refused(tmp_path):
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(tmp_path / "a.png", dpi=(254000, 254000))
    for name in ("a.png", "absent.tif"):
        with pytest.raises(ScaleError, match="give pixels_per_um in the manifest"):
            read_scale(tmp_path / name)
