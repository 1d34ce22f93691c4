"""Pictures as programs save them: the grey values come out right, and what is no picture is told as what it is."""

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from micrographs import PictureError, read_image


def picture(seed=0, height=64, width=80):
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


GREY, ALPHA, LARGE = picture(), picture(1), picture(0, 200, 200)
RGB, RGBA = np.dstack([GREY] * 3), np.dstack([GREY] * 3 + [ALPHA])
DEEP = (np.linspace(1000, 3000, 64 * 80).astype(np.uint16)).reshape(64, 80)


def tiff(array, photometric=None, **options):
    return lambda path: tifffile.imwrite(path, array, photometric=photometric, metadata=None, **options)


def pil(image, **options):
    return lambda path: image.save(path, **options)


def by_opencv(array):
    return lambda path: cv2.imwrite(str(path), array)


def text(content):
    return lambda path: path.write_text(content)


def palette(white):
    return tiff(GREY, "palette", colormap=np.tile(np.linspace(0, white, 256).astype(np.uint16), (3, 1)))


def after(first, **options):
    """The picture on the second page."""

    def write(path):
        with tifffile.TiffWriter(path) as file:
            file.write(first, **options)
            file.write(GREY)

    return write


EIGHT_BITS = {
    **{f"grey.{ending}": pil(Image.fromarray(GREY)) for ending in ("png", "bmp", "jp2")},
    "rgba.png": pil(Image.fromarray(RGBA)),
    "grey-alpha.png": pil(Image.fromarray(np.dstack([GREY, ALPHA]))),
    "palette.png": pil(Image.fromarray(GREY).convert("P")),
    "lossless.webp": pil(Image.fromarray(RGB), lossless=True),
    "rgba.tif": tiff(RGBA, "rgb", extrasamples=["unassalpha"]),
    "grey-alpha.tif": tiff(np.dstack([GREY, ALPHA]), "minisblack", extrasamples=["unassalpha"]),
    "planar.tif": tiff(np.stack([GREY] * 3), "rgb", planarconfig="separate"),
    "white-is-zero.tif": tiff(255 - GREY, "miniswhite"),
    "palette.tif": palette(65535),
    "palette-of-bytes.tif": palette(255),
    "jpeg-in.tif": tiff(RGB, "rgb", compression="jpeg", compressionargs={"level": 100}),
    "thumbnail-first.tif": after(GREY[::4, ::4]),
    "reduced-first.tif": after(255 - GREY, subfiletype=1),
}


@pytest.mark.parametrize("name", EIGHT_BITS)
def test_eight_bit_files_keep_their_grey_values(tmp_path, name):
    EIGHT_BITS[name](tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.dtype == np.float32 and image.min() >= 0 and image.max() <= 1
    np.testing.assert_allclose(image, GREY / 255, atol=0.02 if name.startswith("jpeg") else 1e-5)


@pytest.mark.parametrize("code", range(1, 9))
def test_a_picture_is_turned_as_its_tag_says(tmp_path, code):
    exif = Image.Exif()
    exif[274] = code
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=exif)
    tiff(GREY, extratags=[(274, 3, 1, code, True)])(tmp_path / "a.tif")
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    for name in ("a.png", "a.tif"):
        np.testing.assert_allclose(read_image(tmp_path / name), upright / 255, atol=1e-5)


def test_luminance_and_single_bits(tmp_path):
    red = np.dstack([GREY, 0 * GREY, 0 * GREY])
    Image.fromarray(red).save(tmp_path / "red.png")
    np.testing.assert_allclose(read_image(tmp_path / "red.png"), GREY / 255 * 0.299, atol=1e-6)
    for photometric, white in (("minisblack", 1), ("miniswhite", 0)):
        tifffile.imwrite(tmp_path / "a.tif", GREY > 127, photometric=photometric)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), (GREY > 127) == white)


DEEP_FILES = {
    "deep.tif": tiff(DEEP),
    "deep-white.tif": tiff(65535 - DEEP, "miniswhite"),
    "signed.tif": tiff(DEEP.astype(np.int16) - 2000),
    "float.tif": tiff((DEEP / 4095).astype(np.float32)),
    "float-white.tif": tiff((1 - DEEP / 4095).astype(np.float32), "miniswhite"),
    "deep.png": by_opencv(DEEP),
    "deep-rgba.png": by_opencv(np.dstack([DEEP] * 3 + [0 * DEEP + 9])),
    "deep.jp2": lambda path: path.write_bytes(imagecodecs.jpeg2k_encode(DEEP, level=0, reversible=True)),
}


@pytest.mark.parametrize("name", DEEP_FILES)
def test_more_than_eight_bits_are_kept_and_stretched(tmp_path, name):
    DEEP_FILES[name](tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.dtype == np.float32 and image.min() == 0 and image.max() == 1
    assert len(np.unique(image)) > 1500  # all but the ends of 2000 levels; eight bits would leave a handful
    low, high = np.percentile(DEEP, [0.1, 99.9])
    np.testing.assert_allclose(image, np.clip((DEEP - low) / (high - low), 0, 1), atol=2e-3)


NO_PICTURES = {
    "cmyk.tif": (pil(Image.fromarray(RGB).convert("CMYK")), "SEPARATED"),
    "cmyk.jpg": (pil(Image.fromarray(RGB).convert("CMYK")), "CMYK"),
    "two-planes.tif": (tiff(np.stack([GREY] * 2), "minisblack", planarconfig="separate"), "2 channels of the kind MINISB"),
    "volume.tif": (tiff(np.stack([GREY] * 32), "minisblack", volumetric=True), "stack of 32 pictures"),
    "pages.tif": (tiff(np.stack([GREY] * 7), "minisblack"), "stack of 7 pictures, shape (7, 64, 80)"),
    "imagej.tif": (lambda path: tifffile.imwrite(path, np.stack([GREY] * 4), imagej=True), "stack of 4 pictures"),
    "animated.gif": (pil(Image.fromarray(GREY), save_all=True, append_images=[Image.fromarray(ALPHA)]), "holds 2 pictures"),
    "nan.tif": (tiff(np.where(GREY > 9, GREY / 255, np.nan).astype(np.float32)), "not numbers"),
    "constant.png": (pil(Image.new("L", (80, 80), 7)), "is empty"),
    "bomb.pgm": (text("P5 60000 60000 255\n"), "is 60000 x 60000 px; at most 100 megapixels are read: crop it"),
    "pointer.tif": (text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"), "git lfs pull"),
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


WHOLE = {
    **{f"t.{ending}": pil(Image.fromarray(LARGE)) for ending in ("png", "jpg", "jp2", "webp")},
    # The directory at the front, so that only pixels are missing.
    **{f"{compression}.tif": tiff(LARGE, compression=compression) for compression in (None, "zlib", "jpeg")},
    "deep-rgb.png": by_opencv(np.dstack([LARGE.astype(np.uint16) * 200] * 3)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_truncated_files_are_refused(tmp_path, name):
    path = tmp_path / name
    WHOLE[name](path)
    assert read_image(path).shape == (200, 200)
    data = path.read_bytes()
    for kept in (0.02, 0.3, 0.9):
        path.write_bytes(data[: int(kept * len(data))])
        with pytest.raises(PictureError, match="cannot be read as an image"):
            read_image(path)
