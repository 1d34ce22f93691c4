"""The second opinion: one answer in table and page, its map against a loop, and the command."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import micrographs as mg
from microrace import evaluation, opinion


@pytest.fixture(scope="module")
def run_dir(manifest, trained, tmp_path_factory):
    """What notebooks 01 and 02 leave, as far as a second opinion needs it."""
    folder = tmp_path_factory.mktemp("run")
    metrics, scores = evaluation.evaluate(manifest, trained)
    assert metrics["heads"]["lowest"] <= metrics["heads"]["highest"] and 0 <= metrics["auroc_none"]["low"] < 1
    trained.machine.save(folder / "weights.pt")
    mg.write_manifest(manifest, folder / "manifest.csv")
    for name, table in {"held-out": trained.held_out, "scores": scores}.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def asked(run_dir):
    return opinion.SecondOpinion.of_run(run_dir)


def test_answers_are_those_of_the_quiz_and_carry_its_probabilities(asked, run_dir):
    manifest = mg.read_manifest(run_dir / "manifest.csv")
    quiz, scores = manifest[manifest["split"] == "quiz"], pd.read_csv(run_dir / "scores.csv", keep_default_na=False)
    found = asked.answers(quiz.reset_index(drop=True))
    assert list(found["answer"]) == list(scores["answer"])
    np.testing.assert_allclose(found[asked.machine.classes], scores[asked.machine.classes], rtol=1e-4)
    assert (found["probability"].isna() == (found["answer"] == mg.NONE_OF_THESE)).all()
    # So few images cannot make anything sure; with a limit, a scale beyond the training images' keeps a person asked.
    assert opinion.SURE not in set(found["flag"])
    asked.calibration.limit, asked.calibration.typical, asked.machine.threshold = 0.0, np.inf, np.inf
    two = quiz.iloc[[0, 0]].assign(pixels_per_um=[asked.scales[0], 3 * asked.scales[1]])
    assert list(asked.answers(two)["flag"]) == [opinion.SURE, opinion.ASK]
    batch = asked.batch(two, asked.answers(two))
    assert batch["n_outside"] == 1 and batch["p_value"] == 1


def test_a_training_image_rests_on_itself(asked):
    for position, why in zip([0, 7], asked.explain(asked.training.iloc[[0, 7]]), strict=True):
        first = why.pairs[0]
        assert first["training_image"] == position and first["cosine"] == pytest.approx(1, abs=1e-3)
        np.testing.assert_array_equal(first["place"], first["training_place"])


def test_the_map_is_a_mean_over_covering_crops_and_numbers_are_written_as_people_write_them():
    places = np.array([[39.5, 29.5, 50.0], [14.5, 14.5, 30.0], [64.5, 14.5, 30.0]])
    found = opinion.evidence_map(places, np.array([0.6, -0.3, 0.9]), (60, 80))
    # A large crop counts for 1, each of two small ones for a half; the corners are not covered.
    assert found[[6, 20], [8, 16]] == pytest.approx([(0.6 - 0.15) / 1.5, 0.6]) and np.isnan(found[-1, 0])
    drawn = opinion.evidence_picture(np.array([[1.0, 0.0, -1.0, np.nan]])).astype(int)[0]
    assert drawn[0, 0] > drawn[0, 2] and drawn[2, 0] < drawn[2, 2] and list(drawn[:, 3] > 0) == [True, False, True, False]
    assert [opinion.number(v) for v in (0.00123, 12.345, 1250, 98765)] == ["0.00123", "12.3", "1250", "98800"]
    assert [opinion.percent(p) for p in (0.9999, 0.876, 1e-9)] == ["over 99 %", "88 %", "under 1 %"]


def test_the_command_gives_one_answer_in_both_files_and_names_what_it_left_out(asked, run_dir, tmp_path, capsys):
    for i in (10, 2):
        shutil.copy(asked.training["path"][i], tmp_path / f"{i}.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    for name in ("notes.txt", "2.txt"):  # the second is an image's own
        (tmp_path / name).touch()
    out, page = tmp_path / "a.csv", tmp_path / "p.html"
    given = ["--run", run_dir, "--images", tmp_path, "--out", out, "--report", page, "--pixels-per-um", "2"]
    assert opinion.main([str(word) for word in given]) == 3
    said, text = capsys.readouterr().err, page.read_text(encoding="utf-8")
    assert "skipped notes.txt: " in said and "broken.png" in said and "broken.png" in text and "2.txt" not in said
    answers = pd.read_csv(out, keep_default_na=False)
    assert list(answers["image"]) == ["2.png", "10.png"]
    for row in answers.itertuples():
        assert f'data-answer="{row.answer}" data-flag="{row.flag}"' in text
        assert row.answer == mg.NONE_OF_THESE or opinion.percent(float(row.probability)) in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--images nowhere/*.tif --out a.csv", "no image there"),
        ("--images nowhere/*.tif", "--out"),
        ("--manifest m.csv --pixels-per-um 2 --out a.csv", "--images"),
        ("--images x --wanted 95 --out a.csv", "between 0 and 1"),
        ("--images x --language fr --report p.html", "take one of de, en"),
    ],
)
def test_the_command_refuses_with_a_reason(run_dir, options, message, capsys):
    assert opinion.main(["--run", str(run_dir), *options.split()]) == 2 and message in capsys.readouterr().err


def test_every_text_of_the_page_has_its_german():
    source = (opinion.HERE / "opinion.html.j2").read_text(encoding="utf-8") + inspect.getsource(opinion)
    asked = {text for text in re.findall(r'_\("([^"]+)"', source) if text != "."}
    german = json.loads((opinion.HERE / "opinion.de.json").read_text(encoding="utf-8"))
    assert len(asked) > 40 and asked | {opinion.ASK, opinion.SURE, mg.NONE_OF_THESE, "Nearest class"} <= german.keys()
    for text, own in german.items():
        assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", own)), text
        # Nothing is left over, and every sentence in code has a translation too.
        assert f'"{text}"' in source or text == mg.NONE_OF_THESE, text


def test_the_model_card_names_limits_that_its_numbers_show(asked, run_dir):
    manifest, held_out = mg.read_manifest(run_dir / "manifest.csv"), pd.read_csv(run_dir / "held-out.csv")
    parts = evaluation.parts_table(held_out.assign(correct=held_out["label"] != "waves"), manifest)
    assert parts[parts["by"] == "class"]["right"].round(9).tolist() == [1, 1, 0]
    parts.loc[0, ["part", "n_specimens", "highest_pixels_per_um", "lowest_pixels_per_um"]] = "a|<b>", 1, 500, 400
    text = opinion.model_card(asked, manifest, parts, {"A measure": "1"})
    for words in ("simulated", "- A measure: 1", "a\\|&lt;b&gt;", "waves: fewer than half", "&lt;b&gt;: a single specimen"):
        assert words in text, words
    assert text.count("never shown at the same scale") == 2


def test_no_module_of_the_working_folder_is_run(tmp_path):
    for name in ("h2.py", "random.py"):
        (tmp_path / name).write_text("raise SystemExit('run in place of a library')")
    env = os.environ | {"PYTHONPATH": str(Path(opinion.__file__).parents[1]), "PYTHONWARNINGS": "error"}
    env.pop("PYTHONSAFEPATH", None)
    done = subprocess.run([sys.executable, "-m", "microrace.opinion", "--help"], cwd=tmp_path, env=env, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
