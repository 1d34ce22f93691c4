"""The second opinion against the machine's own answers, its map against a loop, and drift of known batches."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from micrographs import manifest as manifests
from micrographs.manifest import NONE_OF_THESE
from micrographs.reading import read_image
from microrace import card, opinion
from microrace.calibration import Calibration, calibrated
from microrace.places import cut_places
from microrace.settings import TrainingConfig
from microrace.study.__main__ import main
from microrace.training import train

SMALL = TrainingConfig(
    backbone="test_efficientnet", weights="", epochs=2, crops_per_epoch=32, batch_size=16, crop_px=32, n_folds=2,
    n_members=2, augmented_crops=2, workers=0, device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def run_dir(tiny_manifest, tmp_path_factory):
    """What notebooks 01 and 02 leave, as far as a second opinion needs it."""
    folder = tmp_path_factory.mktemp("run")
    manifest = manifests.read_manifest(tiny_manifest)
    result = train(manifest, SMALL)
    result.machine.save(folder / "weights.pt")
    result.held_out.to_csv(folder / "held-out.csv", index=False)
    manifests.write_manifest(manifest, folder / "manifest.csv")
    return folder


@pytest.fixture(scope="module")
def asked(run_dir):
    return opinion.SecondOpinion.of_run(run_dir, "cpu", 0.25)


@pytest.fixture(scope="module")
def quiz(run_dir):
    manifest = manifests.read_manifest(run_dir / "manifest.csv")
    return manifest[manifest["split"] == "quiz"].reset_index(drop=True)


def test_opinions_are_the_machines_answers_with_calibrated_probabilities(asked, quiz):
    opinions, scores = asked.of(quiz), asked.machine.scores(quiz)
    assert [o.answer for o in opinions] == scores["answer"].tolist()
    probability = calibrated(scores[asked.machine.classes], asked.calibration.temperature)
    for o, p, distance in zip(opinions, probability, scores["distance"], strict=True):
        assert o.probability == pytest.approx(p.max(), rel=1e-4) and o.best == asked.machine.classes[p.argmax()]
        assert o.second_probability == pytest.approx(np.sort(p)[-2], rel=1e-4) and o.second != o.best
        assert o.distance == pytest.approx(distance, rel=1e-4, abs=1e-5)  # sums near 0 of larger ones
        sure = o.probability >= asked.calibration.ask_below
        assert o.flag == (NONE_OF_THESE if o.answer == NONE_OF_THESE else opinion.SURE if sure else opinion.ASK)
        assert np.abs(o.evidence).max() <= 1 and len({i for i, _ in o.neighbours}) == 3


def test_a_training_image_rests_on_itself(asked):
    some = asked.training.iloc[[0, 7, 13]].reset_index(drop=True)
    for file, o in zip(some["file"], asked.of(some), strict=True):
        position, nearness = o.neighbours[0]
        assert asked.training["file"][position] == file and nearness == pytest.approx(1, abs=1e-3)


def test_the_map_is_a_mean_over_covering_crops():
    places = np.array([[39.5, 29.5, 60.0], [14.5, 14.5, 30.0], [64.5, 14.5, 30.0]])
    lead = np.array([0.6, -0.3, 0.9])
    found = opinion.evidence_map(places, lead, (60, 80))
    assert found.shape == (opinion.MAP_ROWS, 32)
    for i in range(found.shape[0]):
        for j in range(found.shape[1]):
            y, x = (i + 0.5) * 60 / found.shape[0] - 0.5, (j + 0.5) * 80 / found.shape[1] - 0.5
            total = weight = 0.0
            for (cx, cy, side), value in zip(places, lead, strict=True):
                if abs(x - cx) <= side / 2 and abs(y - cy) <= side / 2:
                    share = 1.0 if side == 60 else 0.5
                    total, weight = total + share * value, weight + share
            assert found[i, j] == pytest.approx(total / weight if weight else 0)


def test_a_crop_is_answered_as_an_image_of_one_crop(asked, quiz):
    row, px = quiz.iloc[0], SMALL.crop_px
    image = read_image(row["path"])
    (crop,), (scale,) = cut_places(image, row["pixels_per_um"], np.array([[60.0, 40.0, 48.0]]), px)
    answer, probability = asked.of_crop(crop, scale)
    assert probability.sum() == pytest.approx(1) and answer in [*asked.machine.classes, NONE_OF_THESE]
    _, other = asked.of_crop(1 - crop[:, ::-1], scale / 8)
    assert not np.allclose(probability, other)


def test_drift_of_batches_that_are_alike_and_that_are_not(asked, quiz):
    n = len(asked.calibration.distances)
    threshold = asked.machine.threshold
    like = dataclasses.replace(asked.of(quiz)[0], answer=asked.machine.classes[0], flag=opinion.SURE, distance=threshold - 1)
    unlike = dataclasses.replace(like, answer=NONE_OF_THESE, flag=NONE_OF_THESE, distance=threshold + 1)
    scales = asked.training["pixels_per_um"]
    rows = pd.DataFrame({"pixels_per_um": [scales.min(), scales.max(), scales.max() * 2, scales.min() / 2] * 5})
    alike = opinion.drift(rows.iloc[:2], [like] * 2, asked)
    assert not alike["more_unlike"] and alike["n_below"] == alike["n_above"] == 0
    other = opinion.drift(rows, [unlike] * 20, asked)
    assert other["more_unlike"] and (other["n_below"], other["n_above"]) == (5, 5)
    assert other["expected_unlike"] == pytest.approx((asked.calibration.distances > threshold).sum() / n)
    told = opinion.drift_sentences(other)
    assert "20 of 20" in told[0] and "new microscope" in told[0] and "10 of 20" in told[1]
    assert "no more than chance" in opinion.drift_sentences(alike)[0]


def test_model_card_names_limits_that_its_numbers_show(run_dir):
    manifest = manifests.read_manifest(run_dir / "manifest.csv")
    held_out = pd.read_csv(run_dir / "held-out.csv")
    held_out["correct"] = held_out["label"] != "waves"
    classes = card.classes_table(manifest, held_out, n_bootstrap=50)
    assert classes.set_index("class")["right"].to_dict() == {"dots": 1, "lines": 1, "waves": 0}
    assert (classes["specimens"] == 3).all() and (classes["images"] == 6).all()
    apart = classes.assign(lowest_pixels_per_um=[1.0, 1.0, 30.0], highest_pixels_per_um=[8.0, 8.0, 40.0])
    apart["specimens"] = [1, 3, 3]
    limits = "\n".join(card.limits_of(manifest, apart))
    assert "waves: fewer than half" in limits and "dots: a single specimen" in limits
    assert "dots and waves: never shown at the same scale" in limits and "dots and lines: never" not in limits
    text = card.model_card(manifest, TrainingConfig(), classes.replace("dots", "a|<b>"), {"A measure": "1"}, ["A limit."])
    assert "simulated" in text and "Apache-2.0" in text and "a\\|&lt;b&gt;" in text and "- A measure: 1" in text


def test_predict_answers_a_folder_and_tells_what_it_skipped(run_dir, quiz, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    files = [*quiz["path"].head(3), str(tmp_path / "broken.png")]
    common = ["predict", "--run", str(run_dir), "--device", "cpu"]
    out, page = tmp_path / "a.csv", tmp_path / "p.html"
    images = ["--images", *files, "--pixels-per-um", "2"]
    assert main([*common, *images, "--out", str(out), "--report", str(page)]) == 3
    assert "broken.png" in capsys.readouterr().err and "broken.png" in page.read_text(encoding="utf-8")
    answers = pd.read_csv(out, keep_default_na=False)
    assert list(answers) == ["image", "answer", "score", "dots", "lines", "waves"] and len(answers) == 3
    assert page.read_text(encoding="utf-8").count("<article") == 3
    assert main([*common, "--images", *files[:3], "--pixels-per-um", "2", "--out", str(out)]) == 0
    # Names are relative to the folder that all files share, which is another one now; the rest is as before.
    again = pd.read_csv(out, keep_default_na=False)
    assert again["image"].tolist() == [name.rsplit("/")[-1] for name in answers["image"]]
    pd.testing.assert_frame_equal(again.drop(columns="image"), answers.drop(columns="image"))


@pytest.mark.parametrize(
    "options, message",
    [
        (["--images", "nowhere/*.tif", "--out", "a.csv"], "no image there"),
        (["--images", "nowhere/*.tif"], "--out"),
        (["--manifest", "nowhere.csv", "--out", "a.csv"], "nowhere.csv"),
        (["--manifest", "m.csv", "--pixels-per-um", "2", "--out", "a.csv"], "--images"),
        (["--images", "x", "--pixels-per-um", "-2", "--out", "a.csv"], "positive"),
    ],
)
def test_predict_refuses_with_a_reason(run_dir, options, message, capsys):
    assert main(["predict", "--run", str(run_dir), "--device", "cpu", *options]) == 2
    told = capsys.readouterr().err
    assert message in told and "Traceback" not in told


def test_a_run_without_its_parts_says_what_to_do(run_dir, tmp_path, capsys):
    assert main(["predict", "--run", str(tmp_path), "--images", "x", "--out", "a.csv"]) == 2
    assert "study" in capsys.readouterr().err
    (tmp_path / "weights.pt").write_bytes((run_dir / "weights.pt").read_bytes())
    with pytest.raises(FileNotFoundError, match="notebook 02"):
        opinion.SecondOpinion.of_run(tmp_path, "cpu")
    with pytest.raises(ValueError, match="column"):
        Calibration.of(pd.DataFrame({"label": ["a"]}), ["a"])
