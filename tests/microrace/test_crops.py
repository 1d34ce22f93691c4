"""Crops against gratings of known period: the one warp, pipelines that keep image and scale in agreement, strengths."""

import dataclasses
import math

import albumentations as A
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microrace import augment
from microrace.augment import TRANSFORMATIONS, build_pipeline, crop_at, seeded
from microrace.scale import crop_positions, cut_crops, feasible_fields_of_view_um, warp_crop

FIELDS = (5.0, 10.0, 20.0, 40.0, 80.0)
PHOTOMETRIC = [name for name, t in TRANSFORMATIONS.items() if t.kind == "photometric"]


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


# How a crop is cut


@settings(max_examples=40, deadline=None)
@given(reduction=st.floats(0.6, 4.0), rotation=st.floats(0, 360), mirror=st.booleans(), pixels_per_um=st.floats(0.5, 200))
def test_a_grating_keeps_its_period_in_um_through_every_warp(reduction, rotation, mirror, pixels_per_um):
    period_um = 9 * reduction / pixels_per_um  # nine pixels of the crop
    image = grating(period_um, pixels_per_um, shape=(520, 560), angle_deg=20)
    target = pixels_per_um / reduction
    where = {"pixels_per_um": pixels_per_um, "target_pixels_per_um": target, "centre_xy": (280, 260), "size_px": 80}
    crop = warp_crop(image, rotation_deg=rotation, mirror=mirror, **where)
    assert period_px(crop)[0] / target == pytest.approx(period_um, rel=0.03)


def test_rotation_turns_by_the_angle_asked_for_and_no_change_of_scale_returns_the_pixels_themselves():
    where = {"pixels_per_um": 10, "target_pixels_per_um": 10, "centre_xy": (160, 120), "size_px": 96}
    crop = warp_crop(grating(1.0, 10.0), rotation_deg=30, **where)
    assert abs(period_px(crop)[1]) % 180 == pytest.approx(30, abs=3)
    image = np.random.default_rng(0).random((65, 65), dtype=np.float32)
    where |= {"centre_xy": (32, 32), "size_px": 65}
    np.testing.assert_allclose(warp_crop(image, **where), image, atol=1e-5)
    np.testing.assert_allclose(warp_crop(image, mirror=True, **where), image[:, ::-1], atol=1e-5)


def test_what_the_target_scale_cannot_resolve_blurs_to_grey_instead_of_folding():
    image = grating(0.3, 10.0, shape=(480, 480))  # 3 px a period
    crop = warp_crop(image, pixels_per_um=10, target_pixels_per_um=2, centre_xy=(240, 240), size_px=90)
    assert crop.mean() == pytest.approx(0.5, abs=0.01)
    assert crop.std() < 0.02  # without the low-pass 0.35 of it would alias


def test_an_image_that_fits_no_field_gives_the_nearest_it_can():
    assert feasible_fields_of_view_um((300, 400), 0.1, FIELDS, 96) == [pytest.approx(640.0)]
    assert feasible_fields_of_view_um((300, 400), 1000.0, FIELDS, 96) == [pytest.approx(0.3)]
    # Smaller than the crop: the whole of it is shown, however much that enlarges it.
    assert feasible_fields_of_view_um((64, 64), 1.0, (500.0,), 112) == [pytest.approx(64.0)]


def test_crops_lie_inside_the_image_and_cover_the_fields_that_it_can_supply():
    image = np.random.default_rng(0).random((300, 400), dtype=np.float32)
    positions = crop_positions(image.shape, 10.0, crop_px=96, fields_of_view_um=FIELDS, crops_per_field=4)
    x, y, side = positions.T
    assert (np.abs(x + 0.5 - 200) <= 200 - side / 2 + 1e-6).all() and (np.abs(y + 0.5 - 150) <= 150 - side / 2 + 1e-6).all()
    crops, scales = cut_crops(image, 10.0, positions, 96)
    np.testing.assert_array_equal(crops, cut_crops(image, 10.0, positions, 96)[0])
    pipeline = build_pipeline("none", crop_px=96, fields_of_view_um=FIELDS)
    drawn = [seeded(pipeline, 0, 0, i)(image=image, pixels_per_um=10.0)["pixels_per_um"] for i in range(40)]
    # 5 um would be enlarged 1.9 times; 40 um is more than the image shows.
    assert {round(96 / s, 6) for s in scales} == {round(96 / s, 6) for s in drawn} == {10.0, 20.0}


# What may be done to it


@pytest.mark.parametrize("name", augment.PIPELINES)
@pytest.mark.parametrize("fields", [None, FIELDS])
def test_a_grating_keeps_its_period_in_um_through_every_pipeline(name, fields):
    period_um, checked = 2.5, 0
    image = grating(period_um, 8.0, shape=(400, 500), angle_deg=35)
    pipeline = build_pipeline(name, crop_px=96, fields_of_view_um=fields)
    for i in range(25):
        out = seeded(pipeline, 0, 0, i)(image=image, pixels_per_um=8.0)
        assert out["image"].shape == (96, 96) and out["image"].dtype == np.float32
        # Only crops in which the grating is resolved and repeats can be measured.
        if 4 < period_um * out["pixels_per_um"] < 24:
            assert period_px(out["image"])[0] / out["pixels_per_um"] == pytest.approx(period_um, rel=0.06)
            checked += 1
    assert checked >= 5


@pytest.mark.parametrize("breaker", [A.Resize(32, 32), A.RandomScale(), A.HorizontalFlip()])
def test_a_transformation_that_would_break_the_scale_is_refused(monkeypatch, breaker):
    entry = dataclasses.replace(TRANSFORMATIONS["noise"], make=lambda low, high, p: breaker)
    monkeypatch.setitem(TRANSFORMATIONS, "breaker", entry)
    with pytest.raises(ValueError, match=type(breaker).__name__):
        build_pipeline("full", crop_px=64)
    for name, without in (("everything", ()), ("full", ("colour",))):
        with pytest.raises(ValueError, match="everything|colour"):
            build_pipeline(name, crop_px=64, without=without)


def test_the_same_seed_gives_the_same_crop_and_another_index_another():
    image = np.random.default_rng(0).random((200, 260), dtype=np.float32)
    first, second = (build_pipeline("full", crop_px=64, fields_of_view_um=FIELDS) for _ in range(2))
    # The history of a pipeline does not matter.
    asked = [(first, 3, 1, 7), (first, 3, 1, 8), (first, 3, 1, 7), (second, 3, 1, 7), (first, 4, 1, 7), (first, 3, 2, 7)]
    once, *others = (seeded(*key)(image=image, pixels_per_um=10.0)["image"] for key in asked)
    assert [np.array_equal(once, other) for other in others] == [False, True, True, False, False]


def test_transforms_draw_independently():
    """albumentations seeds all transforms of a pipeline alike; contrast and gamma would rise and fall together."""
    pipeline, draws = build_pipeline("full", crop_px=64), []
    drawn = [pipeline.transforms[1 + PHOTOMETRIC.index(name)] for name in ("contrast", "gamma")]
    for i in range(300):
        seeded(pipeline, 0, 0, i)
        found = [t.get_params_dependent_on_data({"shape": (8, 8)}, {"image": np.zeros((8, 8), np.float32)}) for t in drawn]
        draws.append((found[0]["alpha"], *found[1].values()))
    assert abs(np.corrcoef(np.array(draws).T)[0, 1]) < 0.2


def test_noise_has_the_same_strength_whatever_the_scale():
    flat = np.full((400, 400), 0.5, np.float32)
    for side_px in (80, 360):
        crop, _ = crop_at(flat, 10.0, centre_xy=(200, 200), side_px=side_px, crop_px=96, strengths={"noise": 0.05})
        assert crop.std() == pytest.approx(0.05, rel=0.05)


def test_each_strength_does_what_its_label_says():
    rng, crop = np.random.default_rng(0), np.array([[0.2, 0.4], [0.6, 0.8]], np.float32)
    for name, value, expected in (("contrast", 0.5, crop * 0.5), ("brightness", 0.1, crop + 0.1), ("gamma", 2.0, crop**2)):
        np.testing.assert_allclose(TRANSFORMATIONS[name].apply(crop, value, rng), expected, atol=1e-5)
    damping = np.exp(-2 * (np.pi * 1.5 / 8.0) ** 2)  # of a Gaussian of 1.5 px on a period of 8 px
    blurred = TRANSFORMATIONS["defocus"].apply(grating(1.0, 8.0, shape=(64, 64)), 1.5, rng)
    assert np.ptp(blurred[20:44, 20:44]) == pytest.approx(damping, rel=0.05)
    shaded = TRANSFORMATIONS["shading"].apply(np.full((65, 65), 0.5, np.float32), 0.2, rng)
    assert shaded[32, 32] == pytest.approx(0.5, abs=1e-3) and 0.2 < np.ptp(shaded) < 0.8


@pytest.mark.parametrize("name", PHOTOMETRIC)
def test_the_neutral_strength_changes_nothing_and_the_shown_one_does(name):
    crop, transformation = grating(1.0, 8.0, shape=(64, 64)), TRANSFORMATIONS[name]
    assert transformation.apply(crop, transformation.neutral, np.random.default_rng(0)) is crop
    low, high, _ = transformation.slider
    assert low <= transformation.neutral <= high and low <= transformation.shown <= high
    assert np.abs(transformation.apply(crop, transformation.shown, np.random.default_rng(0)) - crop).mean() > 2e-3


def test_what_is_declared_once_shows_everywhere(monkeypatch):
    image, where = grating(2.0, 8.0, shape=(480, 600), angle_deg=20), (8.0, (300, 240), 256, 160)
    monkeypatch.setitem(TRANSFORMATIONS, "haze", dataclasses.replace(TRANSFORMATIONS["noise"], label="haze"))
    assert len(build_pipeline("full", crop_px=64).transforms) == 2 + len(PHOTOMETRIC)
    assert len(build_pipeline("full", crop_px=64, without=("haze", "jpeg")).transforms) == len(PHOTOMETRIC)
    hazy, plain = (crop_at(image, *where, strengths)[0] for strengths in ({"haze": 0.2}, {}))
    assert np.abs(hazy - plain).mean() > 0.01
    turned, pixels_per_um = crop_at(image, *where, {"rotation": 30, "mirror": 1, "zoom": 1.25})
    assert period_px(turned)[0] / pixels_per_um == pytest.approx(2.0, rel=0.05)
