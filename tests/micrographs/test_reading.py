"""Pictures as programs save them: the grey values come out right, and what is no picture is told as what it is."""

import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from micrographs import PictureError, read_image


def picture(seed=0, height=64, width=80):
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


GREY = picture()
RGB = np.dstack([GREY] * 3)
DEEP = (np.linspace(1000, 3000, 64 * 80).astype(np.uint16)).reshape(64, 80)


def tiff(array, photometric=None, **options):
    return lambda path: tifffile.imwrite(path, array, photometric=photometric, metadata=None, **options)


def planes(n):
    return tiff(np.stack([GREY] * n), "minisblack", planarconfig="separate")


def palette(white):
    return tiff(GREY, "palette", colormap=np.tile(np.linspace(0, white, 256).astype(np.uint16), (3, 1)))


def pil(image, **options):
    return lambda path: image.save(path, **options)


def codec(encode, array, **options):
    return lambda path: path.write_bytes(encode(array, **options))


def pages(first, second, **options):
    def write(path):
        with tifffile.TiffWriter(path) as file:
            file.write(first, **options)
            file.write(second)

    return write


def with_orientation(code):
    """As the camera holds it, so that turning it by the tag gives GREY."""
    stored = GREY
    if code in (3, 4, 7, 8):
        stored = stored[::-1]
    if code in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    return np.ascontiguousarray(stored.T if code in (5, 6, 7, 8) else stored)


def exif(code):
    found = Image.Exif()
    found[274] = code
    return found


# How a file is written, and how far its grey values may be from GREY / 255.
EIGHT_BITS = {
    "grey.png": (pil(Image.fromarray(GREY)), 1e-6),
    "rgb.png": (pil(Image.fromarray(RGB)), 1e-5),
    "rgba.png": (pil(Image.fromarray(np.dstack([RGB, picture(1)]))), 1e-5),
    "grey-alpha.png": (pil(Image.fromarray(np.dstack([GREY, picture(1)]))), 1e-6),
    "palette.png": (pil(Image.fromarray(GREY).convert("P")), 1e-5),
    "grey.bmp": (pil(Image.fromarray(GREY)), 1e-6),
    "lossless.webp": (pil(Image.fromarray(GREY).convert("RGB"), lossless=True), 1e-5),
    "lossless.jp2": (pil(Image.fromarray(GREY)), 1e-6),
    "grey.tif": (tiff(GREY), 1e-6),
    "tiles.tif": (tiff(GREY, tile=(16, 16)), 1e-6),
    "rgba.tif": (tiff(np.dstack([RGB, picture(1)]), "rgb", extrasamples=["unassalpha"]), 1e-5),
    "grey-alpha.tif": (tiff(np.dstack([GREY, picture(1)]), "minisblack", extrasamples=["unassalpha"]), 1e-6),
    "planar.tif": (tiff(np.stack([GREY] * 3), "rgb", planarconfig="separate"), 1e-5),
    "white-is-zero.tif": (tiff(255 - GREY, "miniswhite"), 1e-6),
    "palette.tif": (palette(65535), 1e-5),
    "palette-of-bytes.tif": (palette(255), 1e-5),
    "jpeg-in.tif": (tiff(RGB, "rgb", compression="jpeg", compressionargs={"level": 100}), 0.02),
    "thumbnail-last.tif": (pages(GREY, GREY[::4, ::4]), 1e-6),
    "thumbnail-first.tif": (pages(GREY[::4, ::4], GREY), 1e-6),
    "reduced-first.tif": (pages(GREY[::4, ::4], GREY, subfiletype=1), 1e-6),
    **{f"turned-{k}.tif": (tiff(with_orientation(k), extratags=[(274, 3, 1, k, True)]), 1e-6) for k in range(1, 9)},
    **{f"turned-{k}.png": (pil(Image.fromarray(with_orientation(k)), exif=exif(k)), 1e-6) for k in range(1, 9)},
}


@pytest.mark.parametrize("name", EIGHT_BITS)
def test_eight_bit_files_keep_their_grey_values(tmp_path, name):
    write, tolerance = EIGHT_BITS[name]
    write(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.dtype == np.float32 and image.min() >= 0 and image.max() <= 1
    np.testing.assert_allclose(image, GREY / 255, atol=tolerance)


def test_luminance(tmp_path):
    red = np.zeros((64, 64, 3), np.uint8)
    red[:32, :, 0] = 255
    for name in ("red.png", "red.tif"):
        Image.fromarray(red).save(tmp_path / name)
        image = read_image(tmp_path / name)
        np.testing.assert_allclose(image[:32], 0.299, atol=1e-6)
        assert (image[32:] == 0).all()


def test_a_single_bit_fills_the_range(tmp_path):
    for photometric, white in (("minisblack", 1), ("miniswhite", 0)):
        tifffile.imwrite(tmp_path / "a.tif", GREY > 127, photometric=photometric)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), (GREY > 127) == white)


DEEP_FILES = {
    "deep.tif": tiff(DEEP),
    "deep-white.tif": tiff(65535 - DEEP, "miniswhite"),
    "signed.tif": tiff(DEEP.astype(np.int16) - 2000),
    "float.tif": tiff((DEEP / 4095).astype(np.float32)),
    "float-white.tif": tiff((1 - DEEP / 4095).astype(np.float32), "miniswhite"),
    "deep-rgb.tif": tiff(np.dstack([DEEP] * 3), "rgb"),
    "deep-rgb.png": lambda path: cv2.imwrite(str(path), np.dstack([DEEP] * 3)),
    "deep-rgba.png": codec(imagecodecs.png_encode, np.dstack([DEEP] * 3 + [0 * DEEP + 9])),
    "deep.jp2": codec(imagecodecs.jpeg2k_encode, DEEP, level=0, reversible=True),
}


@pytest.mark.parametrize("name", DEEP_FILES)
def test_more_than_eight_bits_are_kept_and_stretched(tmp_path, name):
    DEEP_FILES[name](tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.dtype == np.float32 and image.min() == 0 and image.max() == 1
    assert len(np.unique(image)) > 1500  # all but the ends of 2000 levels; eight bits would leave a handful
    low, high = np.percentile(DEEP, [0.1, 99.9])
    np.testing.assert_allclose(image, np.clip((DEEP - low) / (high - low), 0, 1), atol=2e-3)


def bomb(path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def animated(path):
    Image.fromarray(GREY).save(path, save_all=True, append_images=[Image.fromarray(255 - GREY)])


def text(content):
    return lambda path: path.write_text(content)


NO_PICTURES = {
    "cmyk.tif": (pil(Image.fromarray(RGB).convert("CMYK")), "SEPARATED"),
    "cmyk.jpg": (pil(Image.fromarray(RGB).convert("CMYK")), "CMYK"),
    "lab.tif": (tiff(RGB, "cielab"), "CIELAB"),
    "ycbcr.tif": (tiff(RGB, "ycbcr", subsampling=(1, 1)), "YCBCR"),
    "two-planes.tif": (planes(2), "2 channels of the kind MINISBLACK, shape (2, 64, 80)"),
    "seventy.tif": (planes(70), "shape (70, 64, 80)"),
    "five.tif": (tiff(np.dstack([RGB, GREY, GREY]), "rgb"), "5 channels"),
    "channels.tif": (tiff(np.dstack([GREY] * 3), "minisblack", planarconfig="contig"), "3 channels"),
    "volume.tif": (tiff(np.stack([GREY] * 32), "minisblack", volumetric=True), "stack of 32 pictures"),
    "pages.tif": (tiff(np.stack([GREY] * 7), "minisblack"), "stack of 7 pictures, shape (7, 64, 80)"),
    "imagej.tif": (lambda path: tifffile.imwrite(path, np.stack([GREY] * 4), imagej=True), "stack of 4 pictures"),
    "animated.gif": (animated, "holds 2 pictures"),
    "nan.tif": (tiff(np.where(GREY > 9, GREY / 255, np.nan).astype(np.float32)), "not numbers"),
    "constant.png": (pil(Image.new("L", (80, 80), 7)), "is empty"),
    "bomb.png": (bomb, "is 60000 x 60000 px; at most 100 megapixels are read: crop it"),
    "pointer.tif": (text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"), "git lfs pull"),
    "empty.tif": (lambda path: path.write_bytes(b""), "cannot be read"),
    "eps.png": (text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "no known format"),
    "a folder.png": (lambda path: path.mkdir(), "cannot be read"),
}


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture_is_told_as_what_it_is(tmp_path, name):
    write, words = NO_PICTURES[name]
    write(tmp_path / name)
    with pytest.raises(PictureError) as caught:
        read_image(tmp_path / name)
    assert words in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["t.png", "t.jpg", "t.jp2", "t.webp", "plain.tif", "zlib.tif", "jpeg.tif", "deep-rgb.png"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9])
def test_truncated_files_are_refused(tmp_path, name, kept):
    path, large = tmp_path / name, picture(0, 200, 200)
    if name.endswith("tif"):
        # The directory at the front, so that only pixels are missing.
        tifffile.imwrite(path, large, compression={"zlib.tif": "zlib", "jpeg.tif": "jpeg"}.get(name))
    elif name.startswith("deep"):
        cv2.imwrite(str(path), np.dstack([large.astype(np.uint16) * 200] * 3))
    else:
        Image.fromarray(large).save(path)
    assert read_image(path).shape == (200, 200)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(PictureError, match="cannot be read as an image"):
        read_image(path)
