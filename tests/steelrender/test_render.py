"""The renderer against closed forms, its promises about bytes and manifests, and the controls of the quizzes."""

import hashlib
import os

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from micrographs import manifest as manifests
from steelrender import field as fields
from steelrender import microscope, quizzes, specimens, structures


def field(pixels_per_um, seed=0, **size):
    return fields.Field.make(pixels_per_um, np.random.default_rng(seed), **size)


# --- building blocks ---


@pytest.mark.parametrize("pixels_per_um", [4.0, 16.0, 64.0, 200.0])
@pytest.mark.parametrize("angle", [0.0, 0.5, 2.0])
def test_lamellae_have_their_spacing_in_um_at_every_scale(pixels_per_um, angle):
    f = field(pixels_per_um)
    spacing_um = 12.3 / pixels_per_um  # any multiple of pixels; the check below is in um
    image = structures.lamellae(f, spacing_um, angle)
    image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    window = np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    power = np.abs(np.fft.rfft2((image - image.mean()) * window, s=(2048, 2048)))
    row, column = np.unravel_index(power.argmax(), power.shape)
    fy, fx = np.fft.fftfreq(2048)[row], np.fft.rfftfreq(2048)[column]
    assert 1 / np.hypot(fx, fy) / pixels_per_um == pytest.approx(spacing_um, rel=0.01)
    # The normal points where it was told to, up to its sign.
    assert abs(np.cos(np.arctan2(fy, fx) - angle)) == pytest.approx(1, abs=0.002)


@pytest.mark.parametrize("correlation_um, pixels_per_um", [(0.2, 20.0), (1.5, 20.0), (5.0, 6.0)])
def test_smooth_noise_has_unit_variance_and_its_correlation_length_in_um(correlation_um, pixels_per_um):
    noise = np.stack([fields.smooth_noise(field(pixels_per_um, seed), correlation_um) for seed in range(12)])
    # The coarsest field holds some 24 independent patches: 12 of them have a mean within 0.06, and thrice that is rare.
    assert noise.mean() == pytest.approx(0, abs=0.18)
    assert noise.std() == pytest.approx(1, abs=0.05)
    lag = round(correlation_um * pixels_per_um * fields.SUPERSAMPLING)
    assert (noise[:, :, lag:] * noise[:, :, :-lag]).mean() == pytest.approx(np.exp(-1), abs=0.07)


@pytest.mark.parametrize("spread", [0.1, 0.3])
@pytest.mark.parametrize("pixels_per_um, diameter_um", [(2.0, 20.0), (150.0, 0.25)])
def test_voronoi_cells_have_their_mean_diameter(pixels_per_um, diameter_um, spread):
    f = field(pixels_per_um)
    cells = structures.voronoi(f, diameter_um, spread=spread)
    border = np.unique(np.concatenate([cells.index[0], cells.index[-1], cells.index[:, 0], cells.index[:, -1]]))
    # Cells that the frame cuts count for a half.
    n = len(np.unique(cells.index)) - len(border) / 2
    area = f.size_um[0] * f.size_um[1] / n
    assert np.sqrt(4 * area / np.pi) == pytest.approx(diameter_um, rel=0.06)


@pytest.mark.parametrize("pixels_per_um", [5.0, 40.0])
@pytest.mark.parametrize("diameter_px", [1.2, 8.0, 24.0])
def test_particles_fill_their_share(pixels_per_um, diameter_px):
    diameter_um = diameter_px / pixels_per_um
    drawn = [structures.particles(field(pixels_per_um, seed), diameter_um, 0.12, wobble=0.0) for seed in range(3)]
    share = np.mean(drawn)
    # Particles below the pixel are counted, not drawn, and come out an eighth too many.
    assert share == pytest.approx(0.12, rel=0.15 if diameter_px < 1.5 else 0.1)


# --- plans ---


@pytest.mark.parametrize("quiz, n_train, n_quiz", [(1, 134, 36), (2, 70, 21)])
def test_plan_has_the_paper_s_counts_and_keeps_specimens_apart(quiz, n_train, n_quiz):
    table = quizzes.plan(quiz)
    assert (table["split"] == "train").sum() == n_train and (table["split"] == "quiz").sum() == n_quiz
    assert table["file"].is_unique
    assert (table.groupby("specimen")["split"].nunique() == 1).all()
    assert (table.groupby("specimen")["size_um"].nunique() == 1).all()
    train = set(table.loc[table["split"] == "train", "label"])
    assert train == set(specimens.QUIZ_1 if quiz == 1 else specimens.QUIZ_2)
    only_quiz = table[~table["label"].isin(train)]
    if quiz == 1:
        assert only_quiz["label"].value_counts().to_dict() == dict.fromkeys(specimens.QUIZ_1_NONE, 2)
        assert table["pixels_per_um"].between(*quizzes.SCALE_RANGE_PIXELS_PER_UM).all()
        assert table["pixels_per_um"].min() < 1.5 and table["pixels_per_um"].max() > 170
        optical = table[table["modality"] == "optical"]
        assert optical["pixels_per_um"].max() <= quizzes.OPTICAL_HIGHEST_PIXELS_PER_UM
    else:
        assert only_quiz.empty and set(table["modality"]) == {"sem"} and len(train) == 7


def test_size_alone_parts_the_pairs_and_magnification_does_not():
    """By the same recipe, at lengths that never meet; and each class has the same share of each octave as the others."""
    tables = pd.concat([quizzes.plan(1, seed) for seed in range(5)])
    sizes = tables.groupby("structure")["size_um"].agg(["min", "max"])
    for name, recipe in specimens.SIZE_ONLY.items():
        kin = next(k for k, r in specimens.QUIZ_1.items() if r.draw is recipe.draw)
        assert kin != recipe.label
        gap = max(sizes.loc[name, "min"] / sizes.loc[kin, "max"], sizes.loc[kin, "min"] / sizes.loc[name, "max"])
        assert gap > 2.5, f"{name} and {kin}: {gap:.2f}"
        # They are photographed so that their features span about as many pixels.
        known = tables.assign(px=tables["size_um"] * tables["pixels_per_um"])
        low, high = known.loc[known["structure"] == kin, "px"].quantile([0.05, 0.95])
        assert known.loc[known["structure"] == name, "px"].between(low, high).mean() > 0.6, name
    train = tables[(tables["split"] == "train")]
    octave = np.floor(np.log2(train["pixels_per_um"]))
    counts = pd.crosstab(octave, train["label"])
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 8
    assert 0.12 < train["structure"].isin(list(specimens.SIZE_ONLY)).mean() < 0.3


def test_the_plan_says_what_can_be_seen_of_each_picture():
    table = quizzes.plan(1)
    pearlite = table[table["label"] == "pearlite"]
    assert np.allclose(pearlite["feature_size_px"], pearlite["size_um"] * pearlite["pixels_per_um"], rtol=0.01)
    field_px = fields.WIDTH_PX * fields.HEIGHT_PX
    assert np.allclose(pearlite["features_in_view"], field_px / pearlite["feature_size_px"] ** 2, rtol=0.02)
    # The light microscope resolves a quarter of a micrometre, however large it is printed.
    optical = pearlite[(pearlite["modality"] == "optical") & (pearlite["pixels_per_um"] > 8)]
    assert len(optical) and np.allclose(optical["feature_over_resolution"], optical["size_um"] / 0.25, rtol=0.01)
    electrons = pearlite[pearlite["modality"] == "sem"]
    assert np.allclose(electrons["feature_over_resolution"], electrons["feature_size_px"] / 2, rtol=0.02)
    broken = [p["degeneracy"] > 1.2 for p in pearlite["parameters"]]
    assert any(broken) and list(pearlite["ambiguity"] > 0) == broken
    known = set(specimens.QUIZ_1) | {manifests.NONE_OF_THESE}
    assert set("; ".join(table["mistaken_for"]).split("; ")) <= known


def test_another_quiz_and_an_unknown_label_are_refused():
    with pytest.raises(ValueError, match="quiz 3"):
        quizzes.plan(3)
    with pytest.raises(ValueError, match="cheese"):
        microscope.render_image("cheese", {}, 1.0, "sem", 0)


# --- controls: what should not give the class away does not ---


def test_images_have_the_grey_that_the_plan_gives_them():
    """So the plan alone tells what a classifier of mean grey and contrast could know."""
    cv2.setNumThreads(1)  # threads of OpenCV in this process would hang the processes forked from it below
    table = quizzes.plan(1)
    for row in table.groupby("structure").head(1).itertuples():
        what = (row.structure, row.parameters, row.pixels_per_um, row.modality)
        image = microscope.render_image(*what, seed=0, brightness=row.brightness, contrast=row.contrast)
        assert image.mean() / 255 == pytest.approx(row.brightness, abs=0.01)
        assert image.std() / 255 == pytest.approx(row.contrast, abs=0.01)


def beyond_chance(quiz, columns, leak=0.0):
    """Do 5 nearest neighbours answer more quiz images of 30 seeds than chance does? Thirty images could hide a leak."""
    right = answers = 0
    for seed in range(30):
        table = quizzes.plan(quiz, seed)
        table = table.assign(log_scale=np.log(table["pixels_per_um"]))
        code = table["label"].astype("category").cat.codes
        table[columns] += leak * np.outer(code, table[columns].std())
        train, quizzed = table[table["split"] == "train"], table[table["split"] == "quiz"]
        quizzed = quizzed[quizzed["label"].isin(train["label"])]
        model = make_pipeline(StandardScaler(), KNeighborsClassifier(5)).fit(train[columns], train["label"])
        right += (model.predict(quizzed[columns]) == quizzed["label"]).sum()
        answers += len(quizzed)
    return right > binom.ppf(0.999, answers, 1 / train["label"].nunique())


@pytest.mark.parametrize("quiz", [1, 2])
def test_scale_and_grey_alone_are_at_chance_and_a_leak_would_be_noticed(quiz):
    for columns in (["log_scale"], ["brightness", "contrast"], ["log_scale", "brightness", "contrast"]):
        assert not beyond_chance(quiz, columns), columns
    assert beyond_chance(quiz, ["log_scale"], leak=0.4)
    assert beyond_chance(quiz, ["brightness"], leak=0.4)


# --- rendering ---


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def small_quiz(tmp_path_factory):
    """Quiz 1, two images a class and split."""
    return quizzes.render_quiz(1, tmp_path_factory.mktemp("render") / "quiz", jobs=2, limit_per_class=2)


def test_the_manifest_is_valid_and_matches_the_images(small_quiz):
    table = manifests.read_manifest(small_quiz)
    assert len(table) == 2 * (5 + 5 + 3) and table.attrs["simulated"]
    # What the simulated panel needs to know passes through.
    assert (table["feature_over_resolution"].astype(float) > 0).all() and (table["mistaken_for"] != "").all()
    for row in pd.read_csv(small_quiz).itertuples():
        data = (small_quiz.parent / row.file).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row.sha256
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert image.shape == (fields.HEIGHT_PX, fields.WIDTH_PX) and image.dtype == np.uint8
        chunks = [data[i : i + 4] for i in range(len(data)) if data[i : i + 4] in (b"tEXt", b"tIME", b"eXIf", b"iTXt")]
        assert image.std() > 10 and not chunks
    assert (manifests.truth(table) == manifests.NONE_OF_THESE).sum() == 6


def test_the_same_bytes_whatever_the_number_of_processes(tmp_path, monkeypatch):
    whole = quizzes.plan
    monkeypatch.setattr(quizzes, "plan", lambda *args: whole(*args).head(3))
    one, two = (quizzes.render_quiz(2, tmp_path / str(jobs), jobs=jobs) for jobs in (1, 2))
    assert digests(one.parent) == digests(two.parent)


def test_rendering_again_does_nothing_but_what_is_missing_or_of_another_seed(tmp_path, monkeypatch):
    whole, out = quizzes.plan, tmp_path / "quiz"
    monkeypatch.setattr(quizzes, "plan", lambda *args: whole(*args).head(2))
    manifest = quizzes.render_quiz(1, out, jobs=1)
    first, stamp = digests(out), manifest.stat().st_mtime_ns
    assert quizzes.render_quiz(1, out, jobs=1).stat().st_mtime_ns == stamp
    next(out.glob("images/*.png")).unlink()
    quizzes.render_quiz(1, out, jobs=1)
    assert digests(out) == first
    quizzes.render_quiz(1, out, seed=1, jobs=1)
    other = digests(out)
    assert other.keys() == first.keys() and all(other[k] != first[k] for k in first)
    assert os.listdir(tmp_path) == ["quiz"]


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="something else"):
        quizzes.render_quiz(1, tmp_path, jobs=1, limit_per_class=1)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
