"""Pipelines keep image and scale in agreement, are refused where they would not, and are reproducible."""

import dataclasses

import albumentations as A
import numpy as np
import pytest

from gratings import grating, period_px
from microrace import augment
from microrace.augment import TRANSFORMATIONS, build_pipeline, crop_at, seeded
from microrace.scale import field_of_view_um

FIELDS = (5.0, 10.0, 20.0, 40.0, 80.0)
PHOTOMETRIC = [name for name, t in TRANSFORMATIONS.items() if t.kind == "photometric"]


@pytest.mark.parametrize("name", augment.PIPELINES)
@pytest.mark.parametrize("fields", [None, FIELDS])
def test_a_grating_keeps_its_period_in_um_through_every_pipeline(name, fields):
    period_um, pixels_per_um = 2.5, 8.0
    image = grating(period_um, pixels_per_um, shape=(400, 500), angle_deg=35)
    pipeline = build_pipeline(name, crop_px=96, fields_of_view_um=fields)
    checked = 0
    for i in range(25):
        out = seeded(pipeline, 0, 0, i)(image=image, pixels_per_um=pixels_per_um)
        assert out["image"].shape == (96, 96) and out["image"].dtype == np.float32
        # Only crops in which the grating is resolved and repeats can be measured.
        if 4 < period_um * out["pixels_per_um"] < 24:
            measured_um = period_px(out["image"])[0] / out["pixels_per_um"]
            assert measured_um == pytest.approx(period_um, rel=0.06)
            checked += 1
    assert checked >= 5


def test_training_crops_are_cut_at_the_fields_that_the_image_can_supply():
    image = np.random.default_rng(0).random((300, 400), dtype=np.float32)
    pipeline = build_pipeline("none", crop_px=96, fields_of_view_um=FIELDS)
    outs = [seeded(pipeline, 0, 0, i)(image=image, pixels_per_um=10.0) for i in range(40)]
    assert {round(field_of_view_um(96, out["pixels_per_um"]), 6) for out in outs} == {10.0, 20.0}


@pytest.mark.parametrize("breaker", [A.Resize(32, 32), A.RandomScale(), A.Affine(scale=1.2), A.HorizontalFlip()])
def test_a_transformation_that_would_break_the_scale_is_refused(monkeypatch, breaker):
    entry = dataclasses.replace(TRANSFORMATIONS["noise"], make=lambda low, high, p: breaker)
    monkeypatch.setitem(TRANSFORMATIONS, "breaker", entry)
    with pytest.raises(ValueError, match=type(breaker).__name__):
        build_pipeline("full", crop_px=64)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="everything"):
        build_pipeline("everything", crop_px=64)
    with pytest.raises(ValueError, match="colour"):
        build_pipeline("full", crop_px=64, without=("colour",))


def test_the_same_seed_gives_the_same_crop_and_another_index_another():
    image = np.random.default_rng(0).random((200, 260), dtype=np.float32)
    first, second = (build_pipeline("full", crop_px=64, fields_of_view_um=FIELDS) for _ in range(2))

    def crop(pipeline, *key):
        return seeded(pipeline, *key)(image=image, pixels_per_um=10.0)["image"]

    once = crop(first, 3, 1, 7)
    crop(first, 3, 1, 8)  # the history of a pipeline does not matter
    np.testing.assert_array_equal(once, crop(first, 3, 1, 7))
    np.testing.assert_array_equal(once, crop(second, 3, 1, 7))
    for other in ((4, 1, 7), (3, 2, 7), (3, 1, 8)):
        assert not np.array_equal(once, crop(first, *other))


def test_transforms_draw_independently():
    """albumentations seeds all transforms of a pipeline alike; contrast and gamma would rise and fall together."""
    pipeline = build_pipeline("full", crop_px=64)
    contrast, gamma = (pipeline.transforms[1 + PHOTOMETRIC.index(name)] for name in ("contrast", "gamma"))
    draws, data = [], {"image": np.zeros((8, 8), np.float32)}
    for i in range(300):
        seeded(pipeline, 0, 0, i)
        alpha = contrast.get_params_dependent_on_data({"shape": (8, 8)}, data)["alpha"]
        draws.append((alpha, *gamma.get_params_dependent_on_data({"shape": (8, 8)}, data).values()))
    assert abs(np.corrcoef(np.array(draws).T)[0, 1]) < 0.2


def test_noise_has_the_same_strength_whatever_the_scale():
    flat = np.full((400, 400), 0.5, np.float32)
    for side_px in (80, 360):
        crop, _ = crop_at(flat, 10.0, centre_xy=(200, 200), side_px=side_px, crop_px=96, strengths={"noise": 0.05})
        assert crop.std() == pytest.approx(0.05, rel=0.05)


def test_each_strength_does_what_its_label_says():
    rng = np.random.default_rng(0)
    crop = np.array([[0.2, 0.4], [0.6, 0.8]], np.float32)
    np.testing.assert_allclose(TRANSFORMATIONS["contrast"].apply(crop, 0.5, rng), crop * 0.5, atol=1e-6)
    np.testing.assert_allclose(TRANSFORMATIONS["brightness"].apply(crop, 0.1, rng), crop + 0.1, atol=1e-6)
    np.testing.assert_allclose(TRANSFORMATIONS["gamma"].apply(crop, 2.0, rng), crop**2, rtol=1e-5)
    wide = grating(1.0, 8.0, shape=(64, 64))
    damping = np.exp(-2 * (np.pi * 1.5 / 8.0) ** 2)  # of a Gaussian of 1.5 px on a period of 8 px
    assert np.ptp(TRANSFORMATIONS["defocus"].apply(wide, 1.5, rng)[20:44, 20:44]) == pytest.approx(damping, rel=0.05)
    texture = rng.random((96, 96), dtype=np.float32)
    loss = [np.abs(TRANSFORMATIONS["jpeg"].apply(texture, q, rng) - texture).mean() for q in (10, 50, 95)]
    assert loss[0] > loss[1] > loss[2] > 0
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
    image = grating(2.0, 8.0, shape=(480, 600), angle_deg=20)
    monkeypatch.setitem(TRANSFORMATIONS, "haze", dataclasses.replace(TRANSFORMATIONS["noise"], label="haze"))
    assert len(build_pipeline("full", crop_px=64).transforms) == 2 + len(PHOTOMETRIC)
    assert len(build_pipeline("full", crop_px=64, without=("haze", "jpeg")).transforms) == len(PHOTOMETRIC)
    hazy, plain = (augment.crop_at(image, 8.0, (300, 240), 256, 64, strengths)[0] for strengths in ({"haze": 0.2}, {}))
    assert np.abs(hazy - plain).mean() > 0.01


def test_a_crop_at_any_geometry_keeps_its_scale_true():
    image = grating(2.0, 8.0, shape=(480, 600), angle_deg=20)
    for strengths in ({}, {"rotation": 30}, {"rotation": 30, "mirror": 1}, {"rotation": 30, "zoom": 1.25}):
        crop, pixels_per_um = augment.crop_at(image, 8.0, (300, 240), 256, 160, strengths)
        assert period_px(crop)[0] / pixels_per_um == pytest.approx(2.0, rel=0.05), strengths
