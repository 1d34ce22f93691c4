"""The one warp against gratings of known period; fields of view and positions that an image can supply."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gratings import grating, period_px
from microrace.scale import crop_positions, cut_crops, feasible_fields_of_view_um, field_of_view_um, warp_crop

FIELDS = (5.0, 10.0, 20.0, 40.0, 80.0)


@settings(max_examples=40, deadline=None)
@given(reduction=st.floats(0.6, 4.0), rotation=st.floats(0, 360), mirror=st.booleans(), pixels_per_um=st.floats(0.5, 200))
def test_a_grating_keeps_its_period_in_um_through_every_warp(reduction, rotation, mirror, pixels_per_um):
    period_um = 9 * reduction / pixels_per_um  # nine pixels of the crop
    image = grating(period_um, pixels_per_um, shape=(520, 560), angle_deg=20)
    target = pixels_per_um / reduction
    where = {"pixels_per_um": pixels_per_um, "target_pixels_per_um": target, "centre_xy": (280, 260), "size_px": 80}
    crop = warp_crop(image, rotation_deg=rotation, mirror=mirror, **where)
    assert period_px(crop)[0] / target == pytest.approx(period_um, rel=0.03)


def test_rotation_turns_the_grating_by_the_angle_asked_for():
    where = {"pixels_per_um": 10, "target_pixels_per_um": 10, "centre_xy": (160, 120), "size_px": 96}
    crop = warp_crop(grating(1.0, 10.0), rotation_deg=30, **where)
    assert abs(period_px(crop)[1]) % 180 == pytest.approx(30, abs=3)


def test_no_change_of_scale_returns_the_pixels_themselves():
    image = np.random.default_rng(0).random((65, 65), dtype=np.float32)
    where = {"pixels_per_um": 3, "target_pixels_per_um": 3, "centre_xy": (32, 32), "size_px": 65}
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


def test_crops_for_judging_are_fixed_inside_the_image_and_cover_the_fields():
    image = np.random.default_rng(0).random((300, 400), dtype=np.float32)
    positions = crop_positions(image.shape, 10.0, crop_px=96, fields_of_view_um=FIELDS, crops_per_field=4)
    x, y, side = positions.T
    assert (np.abs(x + 0.5 - 200) <= 200 - side / 2 + 1e-6).all() and (np.abs(y + 0.5 - 150) <= 150 - side / 2 + 1e-6).all()
    crops, scales = cut_crops(image, 10.0, positions, 96)
    np.testing.assert_array_equal(crops, cut_crops(image, 10.0, positions, 96)[0])
    # 5 um would be enlarged 1.9 times; 40 um is more than the image shows.
    assert {round(field_of_view_um(96, s), 6) for s in scales} == {10.0, 20.0} and crops.shape == (
        len(positions),
        96,
        96,
    )
    assert len(np.unique(crop_positions(image.shape, 10.0, crop_px=96)[:, 2])) == 3
