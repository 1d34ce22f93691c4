"""Data of one's own: what runs through the notebooks, and what stops the chain before training."""

import json
import re

import nbformat
import pandas as pd
import pytest

from microrace import paths
from small import run
from tiny import make_tiny_manifest


def test_a_study_that_never_ran_asks_for_its_data(tmp_path, capsys):
    assert run(tmp_path, "unheard-of", None) == 2
    assert "--dataset" in capsys.readouterr().err


def test_manifests_without_split_and_without_quiz_run(tmp_path):
    (tmp_path / "data").mkdir()
    path = make_tiny_manifest(tmp_path / "data")
    rows = pd.read_csv(path)
    rows[rows["split"] == "train"].to_csv(tmp_path / "data" / "no-quiz.csv", index=False)
    rows[rows["label"] != "odd"].drop(columns="split").to_csv(tmp_path / "data" / "no-split.csv", index=False)
    assert run(tmp_path, "no-quiz", tmp_path / "data" / "no-quiz.csv", "grid=none") == 0
    metrics = json.loads((tmp_path / "no-quiz" / "metrics.json").read_text())
    assert metrics["accuracy"] is None and metrics["skipped"] and metrics["validation"]["accuracy"]["value"] >= 0
    assert run(tmp_path, "no-split", tmp_path / "data" / "no-split.csv", "grid=none") == 0
    assert json.loads((tmp_path / "no-split" / "metrics.json").read_text())["accuracy"] is not None


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda r, d: r.assign(file=r["file"].replace("dots00.png", "gone.png")), "gone.png"),
        (lambda r, d: r.assign(pixels_per_um=""), "pixels_per_um"),
        (lambda r, d: r.assign(pixels_per_um="-2"), "pixels_per_um"),
        (lambda r, d: r.assign(pixels_per_um=str(72 / 25400)), "dpi"),
        (lambda r, d: (d / "lines00.png").write_bytes((d / "lines00.png").read_bytes()[:200]) and r, "lines00.png"),
        (lambda r, d: (d / "dots30.png").write_bytes((d / "dots00.png").read_bytes()) and r, "dots30.png"),
        (lambda r, d: r.assign(split="quiz"), "train"),
    ],
)
def test_bad_manifests_stop_before_training_with_a_message(tmp_path, capsys, spoil, says):
    path = make_tiny_manifest(tmp_path)
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    spoil(rows, tmp_path).to_csv(path, index=False)
    assert run(tmp_path / "runs", "bad", path) == 2
    said = capsys.readouterr()
    assert says in said.err and "Traceback" not in said.err
    assert not (tmp_path / "runs" / "bad" / "weights.pt").exists()


@pytest.mark.parametrize("parameter", ["epoch=3", "epochs=many", "loss=hinge"])
def test_bad_parameters_stop_with_a_message(tiny_manifest, tmp_path, capsys, parameter):
    assert run(tmp_path, "bad", tiny_manifest, parameter) != 0
    assert parameter.split("=")[0] in capsys.readouterr().err
    assert not (tmp_path / "bad" / "weights.pt").exists()


def test_no_notebook_makes_an_output_widget():
    # papermill's client may wait for ever on a cell with one (nbclient's issue 312): it once cost a CI its 90 minutes.
    for path in paths.NOTEBOOKS.glob("*.ipynb"):
        code = "".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
        assert not re.search(r"\binteract(ive(_output)?)?\(|\bOutput\(", code), path.name


def test_the_chain_runs_on_the_real_micrographs(shared_manifest, tmp_path):
    assert run(tmp_path, "uhcs", shared_manifest, "epochs=1", "grid=none") == 0
    metrics = json.loads((tmp_path / "uhcs" / "metrics.json").read_text())
    assert metrics["n_train"] == 134 and metrics["n_quiz"] == 36
    assert metrics["scale_alone"]["accuracy"]["value"] > metrics["scale_alone"]["accuracy"]["low"]
    assert json.loads((tmp_path / "uhcs" / "dataset.json").read_text())["simulated"] is False
