"""Building blocks against the sizes they were asked for, same bytes every time, and the controls at chance."""

import hashlib

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from microrace import micrographs, render, training
from microrace.render import Field


def spectrum_period_um(image: np.ndarray, pixels_per_um: float) -> float:
    spectrum = np.abs(np.fft.rfft(image - image.mean(), axis=1)).mean(axis=0)
    return image.shape[1] / (1 + spectrum[1:].argmax()) / pixels_per_um


@pytest.mark.parametrize("pixels_per_um", [20.0, 60.0, 150.0])
def test_lamellae_have_the_spacing_asked_for_at_every_scale(pixels_per_um):
    field = Field.make(pixels_per_um, np.random.default_rng(0))
    image = render.lamellae(field, 0.3, 0.0, waviness=0.0)
    assert spectrum_period_um(image, field.fine_pixels_per_um) == pytest.approx(0.3, rel=0.05)


def test_the_minor_phase_fills_its_share():
    field = Field.make(50.0, np.random.default_rng(0))
    assert render.lamellae(field, 0.3, 0.4, waviness=0.0, share=0.3).mean() == pytest.approx(0.3, abs=0.02)


def test_lamellae_below_the_resolution_blur_to_grey():
    means, contrasts = [], []
    for pixels_per_um in (1.2, 60.0):
        field = Field.make(pixels_per_um, np.random.default_rng(0))
        fine = render.lamellae(field, 0.2, 0.3, waviness=0.0, share=0.3)
        image = cv2.resize(fine, (render.WIDTH_PX, render.HEIGHT_PX), interpolation=cv2.INTER_AREA)
        means.append(image.mean())
        contrasts.append(image.std())
    assert contrasts[0] < 0.05 < 0.3 < contrasts[1]
    assert means[0] == pytest.approx(means[1], abs=0.03)


def test_grains_have_the_mean_size_asked_for():
    field = Field.make(4.0, np.random.default_rng(1))
    index, boundary = render.voronoi(field, 8.0, waviness=0.0)
    width, height = field.size_um
    area = width * height / len(np.unique(index))
    assert np.sqrt(4 * area / np.pi) == pytest.approx(8.0, rel=0.2)
    # Hardly a point lies farther from a boundary than half a diameter and some.
    assert 1.5 < np.quantile(boundary, 0.95) < 6 and boundary.min() < 0.2


def test_particles_fill_their_share_and_keep_their_size():
    field = Field.make(20.0, np.random.default_rng(2))
    drawn = render.particles(field, 1.0, 0.12, spread=0.1, aspect=1.0)
    assert drawn.mean() == pytest.approx(0.12, rel=0.25)
    n, _, stats, _ = cv2.connectedComponentsWithStats((drawn > 0.5).astype(np.uint8))
    diameters = np.sqrt(4 * stats[1:, cv2.CC_STAT_AREA] / np.pi) / field.fine_pixels_per_um
    assert n > 30 and np.median(diameters) == pytest.approx(1.0, rel=0.15)


def test_the_same_seed_gives_the_same_bytes_whatever_the_jobs(tmp_path):
    one, two, other = (
        render.render_quiz(1, tmp_path / name, seed=seed, jobs=jobs, limit_per_class=1).parent
        for name, seed, jobs in (("a", 0, 1), ("b", 0, 2), ("c", 1, 2))
    )

    def digest(folder):
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((folder / "images").iterdir())}

    assert digest(one) == digest(two) != digest(other)
    stamp = (one / "manifest.csv").stat().st_mtime_ns
    render.render_quiz(1, one, limit_per_class=1)
    assert (one / "manifest.csv").stat().st_mtime_ns == stamp, "what is done is not done again"


def test_quizzes_have_the_papers_sizes():
    first, second = render.plan(1), render.plan(2)
    assert first["split"].value_counts().to_dict() == {"train": 134, "quiz": 36}
    assert set(first.loc[first["split"] == "train", "label"]) == set(render.QUIZ_1)
    assert set(first.loc[first["split"] == "quiz", "label"]) == set(render.QUIZ_1) | set(render.QUIZ_1_NONE)
    assert (second["split"] == "quiz").sum() == 21 and second["label"].nunique() == 7
    assert (second["modality"] == "sem").all() and set(first["modality"]) == {"optical", "sem"}
    for table in (first, second):
        assert (table.groupby("specimen")["split"].nunique() == 1).all()
        assert table["source"].str.startswith("simulated").all()
    assert first["pixels_per_um"].min() < 1.6 and first["pixels_per_um"].max() > 160
    with pytest.raises(ValueError, match="no quiz 3"):
        render.plan(3)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Both quizzes, whole."""
    folder = tmp_path_factory.mktemp("rendered")
    return {q: micrographs.read_manifest(render.render_quiz(q, folder / f"quiz{q}")) for q in (1, 2)}


def above_chance(answers, truth, n_classes) -> bool:
    """Whether so many right answers would come from guessing in fewer than one quiz of a hundred."""
    right = int((np.asarray(answers) == np.asarray(truth)).sum())
    return right > binom.ppf(0.99, len(truth), 1 / n_classes)


@pytest.mark.parametrize("quiz", [1, 2])
def test_scale_alone_and_mean_grey_and_contrast_alone_stay_near_chance(rendered, quiz):
    manifest = rendered[quiz]
    names = micrographs.classes(manifest)
    known = manifest[manifest["label"].isin(names)]
    train, test = (known[known["split"] == s] for s in ("train", "quiz"))
    assert not above_chance(training.scale_alone(train, test), test["label"], len(names))

    def grey(rows):
        images = [micrographs.read_image(p) for p in rows["path"]]
        return np.array([(i.mean(), i.std()) for i in images])

    scaler = StandardScaler().fit(grey(train))
    control = KNeighborsClassifier(5).fit(scaler.transform(grey(train)), train["label"])
    assert not above_chance(control.predict(scaler.transform(grey(test))), test["label"], len(names))


def test_rendered_images_are_sound_and_marked_simulated(rendered):
    for manifest in rendered.values():
        assert manifest.attrs["simulated"]
        contrast = [micrographs.read_image(p).std() for p in manifest["path"]]
        assert min(contrast) > 0.05


def test_images_of_a_specimen_share_its_size_but_not_its_place():
    drawn = [
        render.render_image("spheroidite", "s-1", 20.0, "sem", [0, 1, i], width_px=128, height_px=96) for i in (1, 2)
    ]
    assert not np.array_equal(*drawn)
    sizes = [
        render.draw_specimen(render.QUIZ_1["spheroidite"], 20.0, "sem", np.random.default_rng(7))["size_um"]
        for _ in range(2)
    ]
    assert sizes[0] == sizes[1]
    table = pd.DataFrame({"specimen": render.plan(1)["specimen"]})
    assert table["specimen"].value_counts().max() == 3
