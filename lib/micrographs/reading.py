"""Read a micrograph as grey values, whatever its file makes of them, or say what is wrong with the file."""

from __future__ import annotations

import io
import logging
import re
import warnings
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from spreadsheets.tables import LFS_POINTER, shortened

# What is larger is refused before it is decoded: a file of a few kB can claim any size.
LARGEST_MEGAPIXELS = 100
FORMATS = ("PNG", "JPEG", "JPEG2000", "WEBP", "BMP", "GIF", "PPM")
TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
PHOTOMETRIC = tifffile.PHOTOMETRIC

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it logs the faults of a file that it then raises


class PictureError(ValueError):
    """A file that is no micrograph; the message holds the remedy."""


def _check_size(n_pixels: int, size: str = "") -> None:
    if n_pixels > LARGEST_MEGAPIXELS * 1e6:
        raise PictureError(
            f"has {n_pixels / 1e6:.1f} megapixels{size}; at most {LARGEST_MEGAPIXELS} are read: crop it to the field to be "
            "judged (in ImageJ: select it, Image > Crop, save as TIFF), which leaves its scale as it is"
        )


def _upright(pixels: np.ndarray, orientation) -> np.ndarray:
    """Turn and mirror as the orientation tag of TIFF and EXIF says (1 to 8)."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _from_tiff(path: Path) -> tuple[np.ndarray, int]:
    """Grey values and the number of bits that they had."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        shape, kind, bits = page.shape, page.photometric, page.bitspersample
        _check_size(page.imagewidth * page.imagelength, f" ({page.imagewidth} x {page.imagelength} px)")
        alike = [p for p in tiff.pages[1:] if p.shape == shape and p.dtype == page.dtype]
        told = re.match(r"ImageJ=.*^images=(\d+)", str(page.description), re.DOTALL | re.MULTILINE)
        n_pages = max(1 + len(alike), int(told[1]) if told else 1)
        if n_pages > 1 or page.imagedepth > 1:
            whole = (n_pages, *shape) if n_pages > 1 else shape
            raise PictureError(f"is a stack of shape {whole}; save the one picture to use as a file of its own")
        n_samples = page.samplesperpixel
        alpha = [e in (1, 2) for e in page.extrasamples]
        # A fourth channel of unknown meaning is taken for the transparency that programs forget to declare.
        wanted = {
            PHOTOMETRIC.MINISWHITE: (1,),
            PHOTOMETRIC.MINISBLACK: (1, 2) if alpha[:1] == [True] else (1,),
            PHOTOMETRIC.RGB: (3, 4),
            PHOTOMETRIC.PALETTE: (1,),
            PHOTOMETRIC.SEPARATED: (4, 5) if alpha[:1] == [True] else (4,),
            PHOTOMETRIC.YCBCR: (3,),
            PHOTOMETRIC.CIELAB: (1, 3),
            PHOTOMETRIC.ICCLAB: (1, 3),
        }.get(kind)
        if wanted is None:
            name = getattr(kind, "name", kind)
            raise PictureError(f"has pixels of the kind {name}; save it as a grey or RGB picture")
        if n_samples not in wanted:
            raise PictureError(f"has {n_samples} channels, shape {shape}; save the one channel to use as a grey picture")
        # Not every decoder minds a missing end: JPEG in TIFF fills it up and says nothing.
        ends = np.add(page.dataoffsets, page.databytecounts)
        if ends.max(initial=0) > tiff.filehandle.size:
            raise ValueError("the file is truncated")
        jpeg = page.compression in (6, 7)
        orientation = page.tags.valueof("Orientation")
        if kind == PHOTOMETRIC.YCBCR and not jpeg and tuple(page.subsampling or (2, 2)) != (1, 1):
            # tifffile leaves subsampled colours alone; libtiff, inside OpenCV, does not.
            flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
            pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flags)
            if pixels is None:
                raise ValueError("its subsampled colours cannot be decoded")
            return _upright(_luminance(pixels), orientation), 8
        pixels = page.asarray()
        if n_samples > 1:
            pixels = np.moveaxis(pixels, page.axes.index("S"), -1)
        if pixels.dtype.kind == "i":
            bits = 16  # negative values are stretched, however few bits they have
        white = 1.0 if pixels.dtype.kind == "f" else float(2**bits - 1)
        if kind == PHOTOMETRIC.MINISWHITE:
            pixels = white - pixels.astype(np.float64)
        elif kind == PHOTOMETRIC.PALETTE:
            colours = np.asarray(page.colormap, np.float32)
            # Some programs write 8-bit colours where 16 are due.
            pixels, bits = np.moveaxis(colours if colours.max() < 256 else colours // 256, 0, -1)[pixels], 8
        elif kind == PHOTOMETRIC.SEPARATED:
            light = white - pixels[..., :4].astype(np.float32)
            pixels = light[..., :3] * (light[..., 3:] / white)
        elif kind == PHOTOMETRIC.YCBCR and not jpeg:
            pixels = pixels[..., 0]  # the luminance itself
        elif kind in (PHOTOMETRIC.CIELAB, PHOTOMETRIC.ICCLAB):
            pixels = _from_lab(pixels, white, signed=kind == PHOTOMETRIC.CIELAB) * white
        return _upright(_luminance(pixels), orientation), bits


def _from_lab(pixels: np.ndarray, white: float, *, signed: bool) -> np.ndarray:
    """CIE L*a*b* as TIFF has it, as RGB from 0 to 1."""
    lightness = pixels[..., 0] if pixels.ndim == 3 else pixels
    lab = np.zeros((*lightness.shape, 3), np.float32)
    lab[..., 0] = lightness * np.float32(100 / white)
    if pixels.ndim == 3:
        half = (white + 1) / 2
        colour = pixels[..., 1:].astype(np.float32)
        colour = np.where(colour >= half, colour - 2 * half, colour) if signed else colour - half
        lab[..., 1:] = colour * (128 / half)
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0, 1)


def _from_other(data: bytes) -> tuple[np.ndarray, int]:
    """Grey values and the number of bits that they had, of a picture in another format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked here
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError as error:
            _check_size(int(re.search(r"\d+", str(error))[0]))
            raise
        except UnidentifiedImageError:
            raise ValueError("it is of no known format") from None
    with image:
        _check_size(image.width * image.height, f" ({image.width} x {image.height} px)")
        if getattr(image, "is_animated", False) and image.format != "MPO":
            raise PictureError(f"holds {image.n_frames} pictures; save the one to use as a file of its own")
        orientation = image.getexif().get(274)
        # Pillow keeps only the high byte of 16-bit colours.
        deep = image.format == "PNG" and data[24] == 16 and data[25] in (2, 4, 6)
        if deep or image.format == "JPEG2000":
            pixels = imagecodecs.png_decode(data) if deep else imagecodecs.jpeg2k_decode(data)
        else:
            image.load()  # only this meets the missing end of a truncated file
            if image.mode not in ("L", "LA", "RGB", "RGBA", "F") and not image.mode.startswith("I"):
                image = image.convert("RGB")
            pixels = np.asarray(image)
    return _upright(_luminance(pixels), orientation), 8 * pixels.dtype.itemsize


def _luminance(pixels: np.ndarray) -> np.ndarray:
    """Grey, or the luminance of colours; a second or fourth channel, transparency, is ignored."""
    if pixels.ndim == 3 and pixels.shape[2] in (1, 2):
        pixels = pixels[..., 0]
    if pixels.ndim == 2 and pixels.size:
        return pixels.astype(np.float32)
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or not pixels.size:
        raise PictureError(f"has shape {pixels.shape}; a micrograph is one grey or colour picture")
    return pixels[..., :3].astype(np.float32) @ LUMINANCE


def read_image(path) -> np.ndarray:
    """Read a micrograph as grey values.

    PNG, JPEG, JPEG 2000, WebP, BMP, or TIFF (the first page; further pages of another size, as thumbnails, are
    passed by), of any depth. What the pixels mean is taken from the file: white-is-zero, palettes, CMYK, CIE L*a*b*
    and YCbCr are understood, colour becomes luminance (ITU-R BT.601), transparency is ignored and the orientation
    tag heeded.
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
        `LARGEST_MEGAPIXELS`, is a stack, has channels that are no colours, or holds a single grey value.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(len(LFS_POINTER))
        if head == LFS_POINTER:
            raise PictureError("is a pointer of Git LFS and not the picture; run 'git lfs pull'")
        if head[:4] in TIFF_MARKS:
            grey, bits = _from_tiff(path)
        else:
            grey, bits = _from_other(path.read_bytes())
        if not np.isfinite(grey).all():
            raise PictureError("has pixels that are not numbers; save it again without them")
    except PictureError:
        raise
    except Exception as error:  # decoders raise whatever they like
        raise PictureError(
            f"cannot be read as an image ({shortened(str(error), 120)}); replace it by a whole PNG, JPEG or TIFF"
        ) from error
    low, high = float(grey.min()), float(grey.max())
    if low == high:
        raise PictureError("is empty: all its pixels have one grey value; replace it by the picture")
    if bits <= 8:
        return np.clip(grey / np.float32(2**bits - 1), 0, 1)
    low, high = np.percentile(grey, [0.1, 99.9])
    return np.clip((grey - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
