"""Scale from tags against files written here, and the warp against gratings of known period."""

import math

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from microrace.images.scale import ScaleError, check_plausible, field_of_view_um, read_scale, warp_crop


def grating(period_um: float, pixels_per_um: float, shape=(240, 320), angle_deg: float = 0.0) -> np.ndarray:
    """A cosine grating, 0 to 1, of known period."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    angle = math.radians(angle_deg)
    across = (x * math.cos(angle) + y * math.sin(angle)) / pixels_per_um
    return (0.5 + 0.5 * np.cos(2 * np.pi * across / period_um)).astype(np.float32)


def period_px(crop: np.ndarray) -> tuple[float, float]:
    """Period in pixels and direction in degrees of the strongest wave, from the zero-padded spectrum's peak."""
    n = 1024
    window = np.outer(np.hanning(crop.shape[0]), np.hanning(crop.shape[1]))
    spectrum = np.abs(np.fft.fft2((crop - crop.mean()) * window, (n, n)))
    spectrum[0, 0] = 0
    v, u = np.unravel_index(spectrum[: n // 2].argmax(), (n // 2, n))
    fy, fx = v / n, (u if u < n // 2 else u - n) / n
    return 1 / math.hypot(fx, fy), math.degrees(math.atan2(fy, fx))


@settings(max_examples=40, deadline=None)
@given(
    reduction=st.floats(0.6, 4.0),
    rotation=st.floats(0, 360),
    mirror=st.booleans(),
    pixels_per_um=st.floats(0.5, 200),
)
def test_a_grating_keeps_its_period_in_um_through_every_warp(reduction, rotation, mirror, pixels_per_um):
    size_px = 80
    period_um = 9 * reduction / pixels_per_um  # nine pixels of the crop
    image = grating(period_um, pixels_per_um, shape=(520, 560), angle_deg=20)
    target = pixels_per_um / reduction
    crop = warp_crop(
        image,
        pixels_per_um=pixels_per_um,
        target_pixels_per_um=target,
        centre_xy=(280, 260),
        size_px=size_px,
        rotation_deg=rotation,
        mirror=mirror,
    )
    assert period_px(crop)[0] / target == pytest.approx(period_um, rel=0.03)


def test_rotation_turns_the_grating_by_the_angle_asked_for():
    image = grating(1.0, 10.0)
    crop = warp_crop(
        image, pixels_per_um=10, target_pixels_per_um=10, centre_xy=(160, 120), size_px=96, rotation_deg=30
    )
    assert abs(period_px(crop)[1]) % 180 == pytest.approx(30, abs=3)


def test_no_change_of_scale_returns_the_pixels_themselves():
    image = np.random.default_rng(0).random((65, 65), dtype=np.float32)
    crop = warp_crop(image, pixels_per_um=3, target_pixels_per_um=3, centre_xy=(32, 32), size_px=65)
    np.testing.assert_allclose(crop, image, atol=1e-5)
    mirrored = warp_crop(image, pixels_per_um=3, target_pixels_per_um=3, centre_xy=(32, 32), size_px=65, mirror=True)
    np.testing.assert_allclose(mirrored, image[:, ::-1], atol=1e-5)


def test_what_the_target_scale_cannot_resolve_blurs_to_grey_instead_of_folding():
    image = grating(0.3, 10.0, shape=(480, 480))  # 3 px a period
    crop = warp_crop(image, pixels_per_um=10, target_pixels_per_um=2, centre_xy=(240, 240), size_px=90)
    assert crop.mean() == pytest.approx(0.5, abs=0.01)
    assert crop.std() < 0.02  # without the low-pass 0.35 of it would alias


def test_field_of_view():
    assert field_of_view_um(512, 4.0) == 128.0


@pytest.mark.parametrize("bad", [0, -3, math.nan, math.inf, 72 / 25400, 300 / 25400, 96 / 25400, 1e-5, 1e7])
def test_implausible_scales_are_refused_with_a_remedy(bad):
    with pytest.raises(ScaleError, match="pixels_per_um"):
        check_plausible(bad)


@pytest.mark.parametrize("good", [0.258, 1.1, 12.9, 180, 212])
def test_scales_of_real_micrographs_pass(good):
    assert check_plausible(good) == good


def write(path, **tags):
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), **tags)
    return path


def test_resolution_tag_in_centimetres_and_inches(tmp_path):
    assert read_scale(write(tmp_path / "cm.tif", resolution=(50_000, 50_000), resolutionunit="CENTIMETER"))[0] == 5.0
    scale, source = read_scale(write(tmp_path / "inch.tif", resolution=(254_000, 254_000), resolutionunit="INCH"))
    assert scale == pytest.approx(10.0) and "TIFF" in source


def test_imagej_units(tmp_path):
    for unit, factor in (("micron", 1), ("um", 1), ("nm", 1000)):
        path = tmp_path / f"{unit}.tif"
        tifffile.imwrite(
            path,
            np.zeros((64, 64), np.uint8),
            imagej=True,
            resolution=(7.5 / factor, 7.5 / factor),
            metadata={"unit": unit},
        )
        scale, source = read_scale(path)
        assert scale == pytest.approx(7.5, rel=1e-4) and source == "ImageJ metadata"


def test_ome_metadata(tmp_path):
    metadata = {"PhysicalSizeX": 200.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 200.0, "PhysicalSizeYUnit": "nm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((64, 64), np.uint8), metadata={"axes": "YX", **metadata})
    scale, source = read_scale(tmp_path / "a.ome.tif")
    assert scale == pytest.approx(5.0) and source == "OME metadata"


def test_fei_metadata(tmp_path):
    text = b"[Scan]\r\nPixelWidth=2e-08\r\nPixelHeight=2e-08\r\n"
    tifffile.imwrite(tmp_path / "fei.tif", np.zeros((64, 64), np.uint8), extratags=[(34682, 2, 0, text, True)])
    scale, source = read_scale(tmp_path / "fei.tif")
    assert scale == pytest.approx(50.0) and "FEI" in source


@pytest.mark.parametrize("dpi", [72, 300])
def test_dpi_is_not_a_scale(tmp_path, dpi):
    with pytest.raises(ScaleError, match="dpi"):
        read_scale(write(tmp_path / "a.tif", resolution=(dpi, dpi), resolutionunit="INCH"))


def test_pixels_that_are_not_square_are_refused(tmp_path):
    with pytest.raises(ScaleError, match="square"):
        read_scale(write(tmp_path / "a.tif", resolution=(50_000, 40_000), resolutionunit="CENTIMETER"))


def test_files_without_a_scale_are_refused(tmp_path):
    for path in (write(tmp_path / "none.tif"), tmp_path / "a.png"):
        with pytest.raises(ScaleError, match="give pixels_per_um in the manifest"):
            read_scale(path)
