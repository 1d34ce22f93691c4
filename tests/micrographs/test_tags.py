"""The scale of a micrograph from tags and sidecars written here: the right ones are read, and no wrong one is believed."""

import math
import re

import numpy as np
import pytest
import tifffile
from PIL import Image

from micrographs import ScaleError, check_plausible, read_scale
from micrographs.tags import NO_WIDTH


@pytest.mark.parametrize("bad", [0, -3, math.nan, math.inf, 72 / 25400, 350 / 25400, 0.0199, 1e-5, 1e7])
def test_implausible_scales_are_refused_with_a_remedy(bad):
    with pytest.raises(ScaleError, match="pixels_per_um"):
        check_plausible(bad)
    assert check_plausible(0.17) == 0.17


def micrograph(path, width=64, height=48, **tags):
    if "description" in tags:
        tags["description"] = tags["description"].encode()
    tifffile.imwrite(path, np.zeros((height, width), np.uint8), metadata=None, **tags)
    return path


def text_tag(code, text):
    return [(code, 2, 0, text.encode("cp1252"), True)]


def fei(text):
    return {"extratags": text_tag(34682, text.replace("\n", "\r\n"))}


def thermo(xml):
    return {"extratags": text_tag(34683, xml)}


def zeiss(*unnamed, **entries):
    lines = [*unnamed]
    for key, value in entries.items():
        lines += [key.upper(), value]
    return {"extratags": text_tag(34118, "\r\n".join([*lines, ""]))}


def xp_comment(text):
    data = text.encode("utf-16-le") + b"\0\0"
    return {"extratags": [(40092, 1, len(data), data, True)]}


def per(value, unit):
    return {"resolution": (value, value), "resolutionunit": unit}


def imagej(*lines, resolution=(7.5, 7.5)):
    return {"description": "\n".join(["ImageJ=1.53t", *lines, ""]), "resolution": resolution, "resolutionunit": 1}


def ome(size=None, unit=None, **attributes):
    attributes |= {f"PhysicalSize{a}": size for a in "XY" if size is not None}
    attributes |= {f"PhysicalSize{a}Unit": unit for a in "XY" if unit}
    said = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    return {"description": f"<OME><Image><Pixels {said}/></Image></OME>"}


PIXEL, WIDTH = "Pixel Size = 5.825 nm", "Width = 5.965 µm"
TESCAN = b"\x2a\0\0\0\x02\0Magnification=5000\r\nPixelSizeX=%s\r\nPixelSizeY=2e-08\r\n\x02\0\0\0\0\0"
JEOL_XML = """<?xml version="1.0"?><TemReporter><Eos><EosMode>{mode}</EosMode></Eos><ImageFormingSystem>
<ModeString>MAG</ModeString><SelectorValue>10000</SelectorValue></ImageFormingSystem></TemReporter>"""
SCAN = "[Scan]\nPixelWidth=2e-08\nPixelHeight=2e-08\n"
DPI_64 = per(64, 2)  # what a way out by the resolution tag would take

# Tags, width in pixels, the right scale, and what it must be said to come from.
RIGHT = {
    "FEI, EScan only": (fei("[EScan]\nPixelWidth=2e-08\nPixelHeight=2e-08\n") | DPI_64, 64, 50, "FEI"),
    "FEI, ion beam": (fei("[Beam]\nScan=IScan\n[EScan]\nPixelWidth=1e-06\nPixelHeight=1e-06\n[IScan]\nPixelWidth=2e-08\n"
                          "PixelHeight=2e-08\n"), 64, 50, "FEI"),
    "FEI, whole field": (fei("[EBeam]\nHFW=1.28e-06\nVFW=9.6e-07\n[Image]\nResolutionX=64\nResolutionY=48\n"),
                         64, 50, "FEI"),
    "Thermo, XML": (thermo('<Metadata><BinaryResult><PixelSize><X unit="m">2E-08</X><Y unit="m">2E-08</Y></PixelSize>'
                           "</BinaryResult></Metadata>"), 64, 50, "Thermo"),
    "Zeiss, 512 px": (zeiss(ap_pixel_size=PIXEL, ap_width=WIDTH), 512, 85.83, "Zeiss"),
    "Zeiss, 2048 px": (zeiss(ap_pixel_size=PIXEL, ap_width=WIDTH), 2048, 343.3, "Zeiss"),
    "Zeiss, pixel of the display": (zeiss(ap_pixel_size=PIXEL), 512, 85.83, "Zeiss"),
    "Zeiss, of LEO's time": (zeiss("0", "0", "0", "5.825e-09"), 512, 85.83, "Zeiss"),
    "Zeiss, own pixel": (zeiss(ap_image_pixel_size="Image Pixel Size = 11.65 nm", ap_pixel_size=PIXEL,
                               ap_width=WIDTH, dp_image_store="Store resolution = 512 * 384"), 512, 85.84, "Zeiss"),
    "Phenom, in um, with a namespace": (thermo('<FeiImage xmlns="urn:x"><pixelWidth unit="um">0.02</pixelWidth></FeiImage>'),
                                        64, 50, "Thermo"),
    "Tescan": ({"extratags": [(50431, 1, None, TESCAN % b"2e-08", True)]} | DPI_64, 64, 50, "Tescan"),
    "JEOL TEM": ({"description": JEOL_XML.format(mode="eosTEM")} | per(50, 3), 64, 50, "JEOL"),
    "Hitachi's tag": (xp_comment("SerialNumber=0\r\nPixelSize=20.0\r\nSignalName=BSE\r\n") | DPI_64, 64, 50, "Hitachi"),
    "a comment of Windows": (xp_comment("etched 10 s") | per(254_000, 2), 64, 10, "TIFF"),
    "OME in nm": (ome(200, "nm"), 64, 5, "OME"),
    **{
        f"ImageJ in {unit}": (imagej(f"unit={unit}", resolution=(7.5 * um, 7.5 * um)), 64, 7.5, "ImageJ")
        for unit, um in {
            "um": 1, "\\u00B5m": 1, "\\u03BCm": 1, "Microns": 1, "Micrometres": 1, "nm": 1e-3, "Angstrom": 1e-4,
        }.items()
    },
    "ImageJ in inches": (imagej("unit=inches", resolution=(190500, 190500)), 64, 7.5, "TIFF"),
    "ImageJ with a yunit": (imagej("unit=micron", "yunit=mm", resolution=(7.5, 7500)), 64, 7.5, "ImageJ"),
    "resolution in inches": (per(254_000, 2), 64, 10, "TIFF"),
    "0.5 px/um, 4 mm wide": (per(5000, 3), 2000, 0.5, "TIFF"),
}  # fmt: skip


@pytest.mark.parametrize("kind", RIGHT)
def test_scales_from_tags(tmp_path, kind):
    tags, width, pixels_per_um, source = RIGHT[kind]
    scale, said = read_scale(micrograph(tmp_path / "a.tif", width, 48, **tags))
    assert scale == pytest.approx(pixels_per_um, rel=1e-3)
    assert source in said


DPI = (1, 64, 72, 93, 96, 110, 125, 146.12, 180, 250, 270.93, 300, 314, 360, 600, 1200, 2540, 4800, 5080, 9600)
PRINTS = [(dpi, 2) for dpi in DPI] + [(per_cm, 3) for per_cm in (28, 28.346, 118.11, 236.2, 1000)]
# Tags, width in pixels, and words of the reason for which they give no scale.
WRONG = {
    **{
        f"{value:g} per {'inch' if unit == 2 else 'cm'}, {width} px": (per(value, unit), width, "dpi")
        for value, unit in PRINTS
        for width in (64, 3000)
    },
    "a pixel of 3.3 um": (per(3000, 3), 3000, "resolution of a print"),
    "no tags": ({}, 64, "no tag"),
    "not square": ({"resolution": (50_000, 40_000), "resolutionunit": 3}, 64, "square"),
    "FEI, empty Scan": (fei("[Scan]\n") | DPI_64, 64, "FEI metadata: no size"),
    "FEI, decimal comma": (fei("[Scan]\nPixelWidth=2,0e-08\nPixelHeight=2,0e-08\n"), 64, "not a size"),
    "FEI, halved": (fei(SCAN + "[Image]\nResolutionX=128\nResolutionY=96\n"), 64, "cropped or resized"),
    "FEI, halved, by its field": (fei(SCAN + "HorFieldsize=2.56e-06\n"), 64, "128 px wide"),
    "FEI, not square": (fei("[Scan]\nPixelWidth=2e-08\nPixelHeight=3e-08\n"), 64, "square"),
    "Thermo, no XML": (thermo("<Metadata") | DPI_64, 64, "no size of a pixel"),
    "Thermo, no unit": (thermo("<FeiImage><pixelWidth>20</pixelWidth></FeiImage>"), 64, "no unit of length"),
    "Zeiss, 0.0 nm": (zeiss(ap_pixel_size="Pixel Size = 0.0 nm"), 512, "not a size"),
    "Zeiss, no unit": (zeiss(ap_pixel_size="Pixel Size = 5.825"), 512, "no unit of length"),
    "Zeiss, nothing": (zeiss(ap_brightness="Brightness = 49.7 %") | DPI_64, 512, "Zeiss metadata: no size"),
    "Zeiss, halved": (zeiss(ap_pixel_size=PIXEL, dp_image_store="Store resolution = 1024 * 768"), 512, "cropped"),
    "Zeiss, a width that it does not store": (zeiss(ap_pixel_size=PIXEL), 1000, "1000"),
    "Tescan, unreadable": ({"extratags": [(50431, 1, None, b"\x01\x02\x03\x04", True)]} | DPI_64, 64, "Tescan"),
    "JEOL XML": ({"description": JEOL_XML.format(mode="modeASID")} | per(50_000, 3), 64, "JEOL"),
    "DigitalMicrograph": ({"extratags": [(65009, 12, 1, 0.2, True)]} | per(50_000, 3), 64, "Digital"),
    "OME, 0": (ome(0), 64, "not a size"),
    "OME, pixels": (ome(1, "pixel"), 64, "no unit of length"),
    "OME, nothing": (ome(SizeX=64) | DPI_64, 64, "OME metadata: no size"),
    "OME, halved": (ome(0.2, SizeX=128), 64, "128 px wide"),
    "ImageJ, unit=1": (imagej("unit=1"), 64, "no unit of length"),
    "ImageJ, pixels": (imagej("unit=pixel"), 64, "no tag"),
    "ImageJ, dpi": (imagej("unit=inch", resolution=(300, 300)), 64, "dpi"),
    **{
        f"{program}, a pixel of {25400 / dpi:.0f} um": (tags, 64, "resolution of a print")
        for dpi in (96, 146.12, 180, 192, 256.007, 350, 600)
        for program, tags in {
            "ImageJ in um": imagej("unit=micron", resolution=(dpi / 25400, dpi / 25400)),
            "ImageJ in mm": imagej("unit=mm", resolution=(dpi / 25.4, dpi / 25.4)),
            "OME": ome(25400 / dpi),
        }.items()
    },
    "Hitachi's tag of 0": (xp_comment("SerialNumber=0\r\nPixelSize=0\r\n") | DPI_64, 64, "not a size"),
    "ImageJ, another yunit": (imagej("unit=micron", "yunit=mm"), 64, "square"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_no_scale_is_better_than_a_wrong_one(tmp_path, kind):
    tags, width, words = WRONG[kind]
    path = micrograph(tmp_path / "a.tif", width, 48, **tags)
    with pytest.raises(ScaleError, match=re.escape(words)) as caught:
        read_scale(path)
    assert "pixels_per_um" in str(caught.value) or "square" in str(caught.value)


JEOL = "$CM_FORMAT JEOL/SEM\n$CM_MAG 5000\n$CM_FULL_SIZE 128 96\n$$SM_MICRON_BAR 100\n$$SM_MICRON_MARKER {}\n"
HITACHI = "[SemImageFile]\r\nInstructName=TM3000\r\nDataSize=128x96\r\nPixelSize=20.0\r\n"
HDR = "[MAIN]\nMagnification=5000\nPixelSizeX=2e-08\nPixelSizeY=2e-08\n[SEM]\nHV=20000\n"


@pytest.mark.parametrize(
    ("picture", "beside", "text", "encoding", "maker"),
    [
        ("a.tif", "a.txt", JEOL.format("2um"), "utf-8", "JEOL"),
        ("a.png", "a.TXT", JEOL.format("2 µm"), "cp1252", "JEOL"),
        ("a.bmp", "a.txt", JEOL.format("2000nm"), "utf-8", "JEOL"),
        ("a.jpg", "a.txt", "$CM_IMAGE_SIZE 128 96\n$CM_FIELD_OF_VIEW 2.56µm 1.92µm\n", "utf-8", "JEOL"),
        ("a.tif", "a.txt", HITACHI, "utf-8", "Hitachi"),
        ("a.jpg", "a.txt", HITACHI, "utf-16", "Hitachi"),
        ("a.tif", "a.txt", JEOL.format("2um").replace("$$", "$"), "utf-8-sig", "JEOL"),
        ("a.tif", "a.txt", "$CM_IMAGE_SIZE 128 96\n$CM_PIXEL_SIZE 20.0nm\n", "utf-8-sig", "JEOL"),
        ("a.tif", "a.txt", HITACHI, "utf-8-sig", "Hitachi"),
        ("a.tif", "a-tif.hdr", HDR, "utf-8", "Tescan"),
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
        (HITACHI, "128 px wide"),
        (JEOL.format("2um"), "128 px wide"),
        (HITACHI.replace("128x96", "64x48").replace("20.0", "0"), "not a size"),
        (HITACHI.replace("PixelSize", "Magnification"), "PixelSize is missing"),
        (JEOL.format("2 miles").replace("128", "64"), "no unit of length"),
        (JEOL.format("").replace("128", "64"), "no size"),
        (HDR.replace("PixelSizeY", "Y"), "PixelSizeY is"),
    ):
        path.with_suffix(".txt").write_text(text)
        with pytest.raises(ScaleError, match=words) as caught:
            read_scale(path)
        assert "a.txt" in str(caught.value) and "None" not in str(caught.value)
    path.with_suffix(".txt").write_text("etched for 10 s\n")  # notes are no sidecar
    with pytest.raises(ScaleError, match="no sidecar"):
        read_scale(path)


def test_tags_and_sidecar_must_agree(tmp_path):
    path = micrograph(tmp_path / "a.tif", 128, 96, **fei(SCAN))
    path.with_suffix(".txt").write_text(HITACHI)
    assert read_scale(path)[1].startswith("FEI metadata")
    path.with_suffix(".txt").write_text(HITACHI.replace("20.0", "40.0"))
    with pytest.raises(ScaleError, match="50 px/um after its FEI metadata.*, but 25 px/um after its Hitachi sidecar a.txt"):
        read_scale(path)


def test_the_tags_are_those_of_the_picture_and_not_of_a_thumbnail_before_it(tmp_path):
    cm = {"resolutionunit": 3, "metadata": None}
    for reduced in (0, 1):
        with tifffile.TiffWriter(tmp_path / "a.tif") as file:
            file.write(np.zeros((48, 64), np.uint8), subfiletype=reduced, resolution=(25_000, 25_000), **cm)
            file.write(np.zeros((480, 640), np.uint8), resolution=(200_000, 200_000), **cm)
        assert read_scale(tmp_path / "a.tif")[0] == pytest.approx(20)


def test_a_phenom_appends_its_metadata_to_a_jpeg(tmp_path):
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(tmp_path / "a.jpg")
    xml = '<?xml version="1.0"?><FeiImage><pixelWidth unit="um">0.02</pixelWidth></FeiImage>'
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes() + xml.encode())
    assert read_scale(tmp_path / "a.jpg") == (pytest.approx(50), "Thermo Fisher metadata" + NO_WIDTH)


def test_pictures_without_a_scale_are_refused(tmp_path):
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(tmp_path / "a.png", dpi=(254000, 254000))
    for name in ("a.png", "absent.tif"):
        with pytest.raises(ScaleError, match="give pixels_per_um in the manifest"):
            read_scale(tmp_path / name)
