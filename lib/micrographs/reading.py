"""Read a micrograph as grey values, whatever its file makes of them, or say what is wrong with the file."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from spreadsheets import LFS_POINTER, shortened

# What is larger is refused before it is decoded: a file of a few kB can claim any size.
LARGEST_MEGAPIXELS = 100
FORMATS = ("PNG", "JPEG", "JPEG2000", "WEBP", "BMP", "GIF", "PPM")  # beside TIFF
TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601

Image.MAX_IMAGE_PIXELS = None  # Pillow only warns; `_check_size` refuses
logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it logs the faults of a file that it then raises


class PictureError(ValueError):
    """A file that is no micrograph; the message holds the remedy."""


def _check_size(width: int, height: int) -> None:
    if width * height > LARGEST_MEGAPIXELS * 1e6:
        raise PictureError(
            f"is {width} x {height} px; at most {LARGEST_MEGAPIXELS} megapixels are read: crop it to the field to be "
            "judged (in ImageJ: select it, Image > Crop, save as TIFF), which leaves its scale as it is"
        )


def _upright(pixels: np.ndarray, orientation) -> np.ndarray:
    """Turn and mirror as the orientation tag of TIFF and EXIF says (1 to 8)."""
    pixels = np.swapaxes(pixels, 0, 1) if orientation in (5, 6, 7, 8) else pixels
    pixels = pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


def picture_page(tiff: tifffile.TiffFile) -> tifffile.TiffPage:
    """The page that is the picture: the largest that is not marked as a reduced copy or a mask, wherever it stands.

    Raises
    ------
    PictureError
        If several pages are of that size: a stack.
    """
    pages = [page for top in tiff.pages for page in (top, *(top.pages or ()))]
    whole = [page for page in pages if not (page.is_reduced or page.is_mask)] or pages
    largest = max(page.imagewidth * page.imagelength for page in whole)
    page, *more = (page for page in whole if page.imagewidth * page.imagelength == largest)
    _check_size(page.imagewidth, page.imagelength)
    told = re.match(r"ImageJ=.*^images=(\d+)", str(page.description), re.DOTALL | re.MULTILINE)
    n = max(1 + len(more), int(told[1]) if told else 1, page.imagedepth)
    if n > 1:
        raise PictureError(f"is a stack of {n} pictures, shape {(n, *page.shape)}; save the one to use as a file of its own")
    return page


def _from_tiff(path: Path) -> tuple[np.ndarray, int]:
    """Grey values and the number of bits that they had."""
    with tifffile.TiffFile(path) as tiff:
        page = picture_page(tiff)
        kind, bits = getattr(page.photometric, "name", str(page.photometric)), page.bitspersample
        # A fourth channel of unknown meaning is taken for the transparency that programs forget to declare.
        alpha = [1, 2] if tuple(page.extrasamples)[:1] in ((1,), (2,)) else [1]
        channels = {"MINISWHITE": [1], "MINISBLACK": alpha, "RGB": [3, 4], "PALETTE": [1]}
        if page.compression in (6, 7):  # JPEG, which is decoded to RGB
            channels["YCBCR"] = [3]
        if page.samplesperpixel not in channels.get(kind, []):
            what = f"has {page.samplesperpixel} channels of the kind {kind}, shape {page.shape}"
            raise PictureError(f"{what}; save it as a grey or RGB picture")
        # Not every decoder minds a missing end: JPEG in TIFF fills it up and says nothing.
        if np.add(page.dataoffsets, page.databytecounts).max(initial=0) > tiff.filehandle.size:
            raise ValueError("the file is truncated")
        pixels = page.asarray()
        if page.samplesperpixel > 1:
            pixels = np.moveaxis(pixels, page.axes.index("S"), -1)
        if kind == "PALETTE":
            colours = np.asarray(page.colormap, np.float32)
            # Some programs write 8-bit colours where 16 are due.
            pixels, bits = np.moveaxis(colours if colours.max() < 256 else colours // 256, 0, -1)[pixels], 8
        if pixels.dtype.kind == "i":
            bits = 16  # negative values are stretched, however few bits they have
        if kind == "MINISWHITE":
            pixels = (1.0 if pixels.dtype.kind == "f" else 2.0**bits - 1) - pixels
        return _upright(pixels, page.tags.valueof("Orientation")), bits


def _from_other(data: bytes) -> tuple[np.ndarray, int]:
    """Grey values and the number of bits that they had, of a picture in another format."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise ValueError("it is of no known format") from None
    with image:
        _check_size(image.width, image.height)
        if getattr(image, "is_animated", False) and image.format != "MPO":
            raise PictureError(f"holds {image.n_frames} pictures; save the one to use as a file of its own")
        if image.mode in ("CMYK", "LAB"):
            raise PictureError(f"has pixels of the kind {image.mode}; save it as a grey or RGB picture")
        # Pillow keeps only the high byte of 16-bit colours.
        if image.format == "PNG" and data[24] == 16 and data[25] in (2, 4, 6):
            pixels = imagecodecs.png_decode(data)
        elif image.format == "JPEG2000":
            pixels = imagecodecs.jpeg2k_decode(data)
        else:
            pixels = np.asarray(image.convert("RGB") if image.mode in ("1", "P", "PA") else image)
        return _upright(pixels, image.getexif().get(274)), 8 * pixels.dtype.itemsize


def _grey(pixels: np.ndarray) -> np.ndarray:
    """Grey, or the luminance of colours; a second or fourth channel, transparency, is ignored."""
    if pixels.ndim == 3:
        pixels = pixels[..., 0] if pixels.shape[2] < 3 else pixels[..., :3].astype(np.float32) @ LUMINANCE
    if pixels.ndim != 2 or not pixels.size:
        raise PictureError(f"has shape {pixels.shape}; a micrograph is one grey or colour picture")
    if not np.isfinite(pixels).all():
        raise PictureError("has pixels that are not numbers; save it again without them")
    return pixels.astype(np.float32)


def read_image(path) -> np.ndarray:
    """Read a micrograph as grey values.

    PNG, JPEG, JPEG 2000, WebP, BMP, or TIFF (of several pages the largest that is not a reduced copy), grey, RGB with
    or without transparency, or palette, of any depth. White-is-zero and the orientation tag are heeded, colour becomes
    luminance (ITU-R BT.601), transparency is ignored.
    Up to 8 bits keep their values; more bits, signed and floating-point numbers are stretched between the 0.1 and
    99.9 percentiles, since detectors rarely fill 16 bits.

    Parameters
    ----------
    path : path

    Returns
    -------
    array (H, W) of float32
        0 (black) to 1 (white).

    Raises
    ------
    PictureError
        A ValueError that says what to do: the file is not a whole picture of these kinds, is larger than
        `LARGEST_MEGAPIXELS`, is a stack, has other channels or colours, or holds a single grey value.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(len(LFS_POINTER))
        if head == LFS_POINTER:
            raise PictureError("is a pointer of Git LFS and not the picture; run 'git lfs pull'")
        pixels, bits = _from_tiff(path) if head[:4] in TIFF_MARKS else _from_other(path.read_bytes())
        grey = _grey(pixels)
    except PictureError:
        raise
    except Exception as error:  # decoders raise whatever they like
        raise PictureError(
            f"cannot be read as an image ({shortened(str(error), 120)}); replace it by a whole PNG, JPEG or TIFF"
        ) from error
    if grey.min() == grey.max():
        raise PictureError("is empty: all its pixels have one grey value; replace it by the picture")
    if bits <= 8:
        return np.clip(grey / np.float32(2**bits - 1), 0, 1)
    low, high = np.percentile(grey, [0.1, 99.9])
    return np.clip((grey - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
