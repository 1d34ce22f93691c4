"""The renderer against closed forms, its promises about bytes and manifests, and the controls of the quizzes."""

import hashlib
import os

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn.neighbors import KNeighborsClassifier

from micrographs import manifest as manifests
from steelrender import field as fields
from steelrender import microscope, quizzes, specimens, structures


def field(pixels_per_um, seed=0):
    return fields.Field.make(pixels_per_um, np.random.default_rng(seed))


# --- building blocks ---


@pytest.mark.parametrize("pixels_per_um, angle", [(4.0, 0.0), (16.0, 0.5), (200.0, 2.0)])
def test_lamellae_have_their_spacing_in_um_at_every_scale(pixels_per_um, angle):
    spacing_um = 12.3 / pixels_per_um  # any multiple of pixels; the check below is in um
    image = structures.lamellae(field(pixels_per_um), spacing_um, angle)
    image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    window = np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    power = np.abs(np.fft.rfft2((image - image.mean()) * window, s=(2048, 2048)))
    row, column = np.unravel_index(power.argmax(), power.shape)
    fy, fx = np.fft.fftfreq(2048)[row], np.fft.rfftfreq(2048)[column]
    assert 1 / np.hypot(fx, fy) / pixels_per_um == pytest.approx(spacing_um, rel=0.01)
    # The normal points where it was told to, up to its sign.
    assert abs(np.cos(np.arctan2(fy, fx) - angle)) == pytest.approx(1, abs=0.002)


@pytest.mark.parametrize("pixels_per_um, diameter_um, spread", [(2.0, 20.0, 0.1), (150.0, 0.25, 0.3)])
def test_voronoi_cells_have_their_mean_diameter(pixels_per_um, diameter_um, spread):
    f = field(pixels_per_um)
    index = structures.voronoi(f, diameter_um, spread=spread).index
    border = np.unique(np.concatenate([index[0], index[-1], index[:, 0], index[:, -1]]))
    n = len(np.unique(index)) - len(border) / 2  # cells that the frame cuts count for a half
    area = f.size_um[0] * f.size_um[1] / n
    assert np.sqrt(4 * area / np.pi) == pytest.approx(diameter_um, rel=0.06)


# --- plans ---


@pytest.mark.parametrize("quiz, n_train, n_quiz, low, high", [(1, 134, 36, 1.1, 212), (2, 70, 21, 8, 90)])
def test_plan_has_the_paper_s_counts_and_keeps_specimens_apart(quiz, n_train, n_quiz, low, high):
    table, known = quizzes.plan(quiz), specimens.QUIZ_1 if quiz == 1 else specimens.QUIZ_2
    assert table["split"].value_counts().to_dict() == {"train": n_train, "quiz": n_quiz} and table["file"].is_unique
    assert (table.groupby("specimen")[["split", "size_um"]].nunique() == 1).all(axis=None)
    assert set(table.loc[table["split"] == "train", "label"]) == set(known)
    others = table.loc[~table["label"].isin(known), "label"].value_counts().to_dict()
    assert others == (dict.fromkeys(specimens.QUIZ_1_NONE, 2) if quiz == 1 else {})
    scale, optical = table["pixels_per_um"], table["modality"] == "optical"
    assert low <= scale.min() < 1.4 * low and 0.8 * high < scale.max() <= high
    assert (scale[optical] <= quizzes.OPTICAL_HIGHEST_PIXELS_PER_UM).all() and optical.any() == (quiz == 1)


def test_size_alone_parts_the_pairs_and_magnification_does_not():
    """By the same recipe, at lengths that never meet; and each class has the same share of each octave as the others."""
    tables = pd.concat([quizzes.plan(1, seed) for seed in range(5)])
    tables["px"] = tables["size_um"] * tables["pixels_per_um"]
    for name, recipe in specimens.SIZE_ONLY.items():
        kin = next(k for k, r in specimens.QUIZ_1.items() if r.draw is recipe.draw)
        own, usual = (tables[tables["structure"] == structure] for structure in (name, kin))
        smaller, larger = sorted([own["size_um"], usual["size_um"]], key=np.mean)
        assert kin != recipe.label and larger.min() > 2.5 * smaller.max(), name
        # They are photographed so that their features span about as many pixels.
        assert own["px"].between(*usual["px"].quantile([0.05, 0.95])).mean() > 0.6, name
    train = tables[tables["split"] == "train"]
    counts = pd.crosstab(np.floor(np.log2(train["pixels_per_um"])), train["label"])
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 8
    assert 0.12 < train["structure"].isin(list(specimens.SIZE_ONLY)).mean() < 0.3


def test_the_plan_says_what_can_be_seen_of_each_picture():
    pearlite = quizzes.plan(1).query("label == 'pearlite'")
    scale, optical = pearlite["pixels_per_um"], pearlite["modality"] == "optical"
    assert np.allclose(pearlite["feature_size_px"], pearlite["size_um"] * scale, rtol=0.01)
    assert np.allclose(pearlite["features_in_view"] * pearlite["feature_size_px"] ** 2, 512 * 384, rtol=0.02)
    # Two pixels are resolved; but by the light microscope a quarter of a micrometre, however large it is printed.
    resolved_um = np.where(optical & (scale > 8), 0.25, 2 / scale)
    assert np.allclose(pearlite["feature_over_resolution"], pearlite["size_um"] / resolved_um, rtol=0.02)


# --- controls: what should not give the class away does not ---


def test_images_have_the_grey_that_the_plan_gives_them():
    """So the plan alone tells what a classifier of mean grey and contrast could know."""
    cv2.setNumThreads(1)  # threads of OpenCV in this process would hang the processes forked from it below
    for row in quizzes.plan(1).groupby("structure").head(1).itertuples():
        grey = row.brightness, row.contrast
        image = microscope.render_image(row.structure, row.parameters, row.pixels_per_um, row.modality, 0, *grey) / 255
        assert (image.mean(), image.std()) == pytest.approx(grey, abs=0.01)


def beyond_chance(plans, columns, leak):
    """Do 5 nearest neighbours answer more quiz images of all plans than chance does? Thirty images could hide a leak."""
    right = answers = 0
    for table in plans:
        code = table["label"].astype("category").cat.codes.to_numpy()
        known = table[columns] / table[columns].std() + leak * code[:, None]
        train = table["split"] == "train"
        asked = ~train & table["label"].isin(table["label"][train])
        model = KNeighborsClassifier(5).fit(known[train], table["label"][train])
        right += (model.predict(known[asked]) == table["label"][asked]).sum()
        answers += asked.sum()
    return right > binom.ppf(0.999, answers, 1 / table["label"][train].nunique())


@pytest.mark.parametrize("quiz", [1, 2])
def test_scale_and_grey_alone_are_at_chance_and_a_leak_would_be_noticed(quiz):
    plans = [quizzes.plan(quiz, seed).assign(log_scale=lambda t: np.log(t["pixels_per_um"])) for seed in range(30)]
    for columns in (["log_scale"], ["brightness", "contrast"], ["log_scale", "brightness", "contrast"]):
        assert not beyond_chance(plans, columns, leak=0) and beyond_chance(plans, columns, leak=0.4), columns


# --- rendering ---


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_quiz_is_a_valid_manifest_of_the_same_bytes_and_only_what_is_missing_is_rendered(tmp_path, monkeypatch):
    whole, out = quizzes.plan, tmp_path / "quiz"

    def few(*args):
        return whole(*args).query("label == 'graphite flakes' or label in ('ferrite', 'pearlite') and split == 'train'")

    monkeypatch.setattr(quizzes, "plan", few)
    manifest = quizzes.render_quiz(1, out, jobs=2, limit_per_class=2)
    table = manifests.read_manifest(manifest)  # which checks the hashes
    assert len(table) == 6 and table.attrs["simulated"] and list(manifests.truth(table)) == [manifests.NONE_OF_THESE] * 2
    # What the simulated panel needs to know passes through.
    assert (table["feature_over_resolution"].astype(float) > 0).all() and (table["mistaken_for"] != "").all()
    for path in out.glob("images/*.png"):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert image.shape == (fields.HEIGHT_PX, fields.WIDTH_PX) and image.dtype == np.uint8
        assert not [chunk for chunk in (b"tEXt", b"tIME", b"eXIf", b"iTXt") if chunk in path.read_bytes()]
    first, stamp = digests(out), manifest.stat().st_mtime_ns
    assert quizzes.render_quiz(1, out, jobs=2, limit_per_class=2).stat().st_mtime_ns == stamp
    path.unlink()
    quizzes.render_quiz(1, out, jobs=1, limit_per_class=2)
    assert digests(out) == first
    quizzes.render_quiz(1, out, seed=1, jobs=2, limit_per_class=2)
    assert not set(digests(out).values()) & set(first.values()) and os.listdir(tmp_path) == ["quiz"]


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="something else"):
        quizzes.render_quiz(1, tmp_path, jobs=1, limit_per_class=1)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    with pytest.raises(ValueError, match="quiz 3"):
        quizzes.plan(3)
