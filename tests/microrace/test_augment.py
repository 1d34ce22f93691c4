"""Pipelines keep image and scale in agreement, are refused where they would not, and are reproducible."""

import albumentations as A
import numpy as np
import pytest

from gratings import grating, period_px
from microrace import augment
from microrace.places import cut_places, evaluation_places, feasible_fields_of_view_um
from microrace.scale import field_of_view_um

FIELDS = (5.0, 10.0, 20.0, 40.0, 80.0)


@pytest.mark.parametrize("name", augment.PIPELINES)
@pytest.mark.parametrize("fields", [None, FIELDS])
def test_a_grating_keeps_its_period_in_um_through_every_pipeline(name, fields):
    period_um, pixels_per_um = 2.5, 8.0
    image = grating(period_um, pixels_per_um, shape=(400, 500), angle_deg=35)
    pipeline = augment.build_pipeline(name, crop_px=96, fields_of_view_um=fields)
    checked = 0
    for i in range(25):
        out = augment.seeded(pipeline, 0, 0, i)(image=image, pixels_per_um=pixels_per_um)
        assert out["image"].shape == (96, 96) and out["image"].dtype == np.float32
        # Only crops in which the grating is resolved and repeats can be measured.
        if 4 < period_um * out["pixels_per_um"] < 24:
            measured_um = period_px(out["image"])[0] / out["pixels_per_um"]
            assert measured_um == pytest.approx(period_um, rel=0.06)
            checked += 1
    assert checked >= 5


def test_physical_fields_of_view_are_kept_and_not_enlarged_too_much():
    image = np.random.default_rng(0).random((300, 400), dtype=np.float32)
    pipeline = augment.build_pipeline("none", crop_px=96, fields_of_view_um=FIELDS, max_upsampling=1.5)
    seen = set()
    for i in range(60):
        out = augment.seeded(pipeline, 0, 0, i)(image=image, pixels_per_um=10.0)
        assert out["pixels_per_um"] <= 15.0 + 1e-9
        seen.add(round(field_of_view_um(96, out["pixels_per_um"]), 6))
    assert seen == {10.0, 20.0}  # 5 um would be enlarged 1.9 times; 40 um is more than the image shows


def test_an_image_that_fits_no_field_gives_the_nearest_it_can():
    assert feasible_fields_of_view_um((300, 400), 0.1, FIELDS, 96, 1.5) == [pytest.approx(640.0)]
    assert feasible_fields_of_view_um((300, 400), 1000.0, FIELDS, 96, 1.5) == [pytest.approx(0.3)]
    # Smaller than the crop: the whole of it is shown, however much that enlarges it.
    assert feasible_fields_of_view_um((64, 64), 1.0, (500.0,), 112, 1.5) == [pytest.approx(64.0)]


def test_transforms_that_would_break_the_scale_are_refused():
    crop = augment.ScaleCrop(crop_px=64)
    for breaker in (A.Resize(32, 32), A.RandomScale(), A.Affine(scale=1.2), A.HorizontalFlip(), augment.ScaleCrop(32)):
        with pytest.raises(ValueError, match=type(breaker).__name__):
            augment.compose([crop, breaker])
    with pytest.raises(ValueError, match="starts with ScaleCrop"):
        augment.compose([augment.Noise()])


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="everything"):
        augment.build_pipeline("everything")
    with pytest.raises(ValueError, match="colour"):
        augment.build_pipeline("full", without=("colour",))


def test_the_same_seed_gives_the_same_crop_and_another_index_another():
    image = np.random.default_rng(0).random((200, 260), dtype=np.float32)
    first, second = (augment.build_pipeline("full", crop_px=64, fields_of_view_um=FIELDS) for _ in range(2))

    def crop(pipeline, *key):
        return augment.seeded(pipeline, *key)(image=image, pixels_per_um=10.0)["image"]

    once = crop(first, 3, 1, 7)
    crop(first, 3, 1, 8)  # the history of a pipeline does not matter
    np.testing.assert_array_equal(once, crop(first, 3, 1, 7))
    np.testing.assert_array_equal(once, crop(second, 3, 1, 7))
    for other in ((4, 1, 7), (3, 2, 7), (3, 1, 8)):
        assert not np.array_equal(once, crop(first, *other))


def test_transforms_draw_independently():
    """albumentations seeds all transforms of a pipeline alike; contrast and gamma would rise and fall together."""
    pipeline = augment.build_pipeline("full", crop_px=64)
    contrast, gamma = (next(t for t in pipeline.transforms if isinstance(t, c)) for c in (augment.Contrast, augment.Gamma))
    draws = []
    for i in range(300):
        augment.seeded(pipeline, 0, 0, i)
        draws.append((contrast.get_params()["contrast"], gamma.get_params()["gamma"]))
    assert abs(np.corrcoef(np.array(draws).T)[0, 1]) < 0.2


def test_noise_has_the_same_strength_whatever_the_zoom():
    flat = np.full((400, 400), 0.5, np.float32)
    noise = augment.Noise(std_range=(0.05, 0.05), p=1.0)
    for field in (8.0, 36.0):
        pipeline = augment.compose([augment.ScaleCrop(96, (field,), zoom_range=(1.0, 1.0)), noise])
        out = augment.seeded(pipeline, 0, 0, 0)(image=flat, pixels_per_um=10.0)["image"]
        assert out.std() == pytest.approx(0.05, rel=0.05)


def test_numeric_cores_by_hand():
    crop = np.array([[0.2, 0.4], [0.6, 0.8]], np.float32)
    np.testing.assert_allclose(augment.change_contrast(crop, 2.0, 0.1), (crop - 0.5) * 2 + 0.6, atol=1e-6)
    np.testing.assert_allclose(augment.change_gamma(crop, 2.0), crop**2, rtol=1e-6)
    np.testing.assert_allclose(augment.add_shading(crop, 0.1, 0, 0), crop + [[-0.1, 0.1]] * 2, rtol=1e-6)
    wide = grating(1.0, 8.0, shape=(64, 64))
    damping = np.exp(-2 * (np.pi * 1.5 / 8.0) ** 2)  # of a Gaussian of 1.5 px on a period of 8 px
    assert np.ptp(augment.defocus(wide, 1.5)[20:44, 20:44]) == pytest.approx(damping, rel=0.05)


def test_evaluation_crops_are_fixed_inside_the_image_and_cover_the_fields():
    image = np.random.default_rng(0).random((300, 400), dtype=np.float32)
    places = evaluation_places(image.shape, 10.0, crop_px=96, fields_of_view_um=FIELDS, crops_per_field=4)
    x, y, side = places.T
    assert (np.abs(x + 0.5 - 200) <= 200 - side / 2 + 1e-6).all() and (np.abs(y + 0.5 - 150) <= 150 - side / 2 + 1e-6).all()
    crops, scales = cut_places(image, 10.0, places, 96)
    np.testing.assert_array_equal(crops, cut_places(image, 10.0, places, 96)[0])
    assert set(np.round(96 / scales, 6)) == {10.0, 20.0} and crops.shape == (len(places), 96, 96)
    assert len(np.unique(evaluation_places(image.shape, 10.0, crop_px=96)[:, 2])) == 3
    largest = evaluation_places(image.shape, 10.0, crop_px=96, fields_of_view_um=FIELDS, max_fields=1)
    assert set(largest[:, 2]) == {200.0}


def test_training_crops_keep_to_the_largest_field_when_asked():
    image = np.random.default_rng(0).random((300, 400), dtype=np.float32)
    pipeline = augment.build_pipeline("none", crop_px=96, fields_of_view_um=FIELDS, max_fields=1)
    scales = {
        augment.seeded(pipeline, 0, 0, i)(image=image, pixels_per_um=10.0)["pixels_per_um"].__round__(6) for i in range(9)
    }
    assert scales == {round(96 / 20, 6)}


def test_explanation_keeps_the_scale_true():
    image = grating(2.0, 8.0, shape=(480, 600), angle_deg=20)
    steps, boxes = augment.explain(image, 8.0, FIELDS)
    for title, crop, pixels_per_um in steps[:5]:
        assert period_px(crop)[0] / pixels_per_um == pytest.approx(2.0, rel=0.05), title
    for corners, label in boxes:
        side_um = np.linalg.norm(corners[1] - corners[0]) / 8.0
        assert side_um == pytest.approx(float(label.split()[0]), rel=1e-3)
