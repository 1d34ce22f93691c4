"""The whole chain, notebook by notebook, with small parameters: what it hands over, and what may be done with it."""

import json
import shutil

import pandas as pd
import pytest

import micrographs as mg
import readerstudy as rs
from microrace.readers import cases_of
from microrace.study import runner
from small import run

HANDED_OVER = (
    "manifest.csv dataset.json weights.pt history.csv held-out.csv scores.csv answers.csv metrics.json embedding.csv "
    "panel.csv readers.csv items.csv confusion.csv agreement.csv comparison.json levels.csv claims.json second-opinion.json "
    "second-opinion.html model-card.md report.html run.json figures/human-versus-machine.png figures/what-matters.pdf"
).split()


@pytest.fixture(scope="module")
def finished(tiny_manifest, tmp_path_factory):
    """The folder of a whole study; not to be changed."""
    runs = tmp_path_factory.mktemp("runs")
    assert run(runs, "tiny", tiny_manifest) == 0
    return runs / "tiny"


def read(folder, stem):
    return json.loads((folder / f"{stem}.json").read_text())


def test_every_notebook_hands_over_what_it_promises_and_the_numbers_agree(finished):
    assert not [name for name in HANDED_OVER if not (finished / name).is_file() or not (finished / name).stat().st_size]
    accuracy = read(finished, "metrics")["accuracy"]["value"]
    readers = pd.read_csv(finished / "readers.csv").set_index("decision_maker")
    assert read(finished, "comparison")["machine"]["value"] == readers.loc["machine", "accuracy"] == pytest.approx(accuracy)
    scores = pd.read_csv(finished / "scores.csv", keep_default_na=False)
    truth = mg.truth(mg.read_manifest(finished / "manifest.csv")).reindex(scores["image"])
    assert (scores["answer"].to_numpy() == truth.to_numpy()).mean() == pytest.approx(accuracy)


def test_whatever_a_person_sees_says_simulated_and_the_record_names_what_it_comes_from(finished):
    report, record = (finished / "report.html").read_text(), (finished / "run.json").read_text()
    assert "Simulated: the micrographs and panel." in report and read(finished, "dataset")["simulated"] is True
    readers = pd.read_csv(finished / "readers.csv")
    assert read(finished, "comparison")["simulated_panel"] is True and (readers["kind"] == "simulated human").sum() == 4
    assert not [word for word in ("torch", "seed", "sha256", "commit", "epochs") if f'"{word}"' not in record]
    assert str(finished.parents[1]) not in report


def test_a_panel_of_ones_own_flows_through(finished, tmp_path):
    cases = cases_of(mg.read_manifest(finished / "manifest.csv"))
    sheet = rs.simulate(cases, cases.attrs["options"], n_readers=2, seed=5).assign(kind="human")
    sheet["decision_maker"] = sheet["decision_maker"].str.replace("simulated", "reader")
    sheet["image"] = sheet["image"].map(cases["image_id"])  # as the quiz page writes them
    panel = tmp_path / "panel"
    panel.mkdir()
    sheet.to_csv(panel / "both.csv", index=False)
    shutil.copytree(finished, tmp_path / "tiny")
    assert run(tmp_path, "tiny", "", options=("--panel", panel)) == 0, "the data need not be named again"
    readers = pd.read_csv(tmp_path / "tiny" / "readers.csv")
    assert (readers["kind"] == "human").sum() == 2 and "simulated human" not in set(readers["kind"])
    sheet.assign(answer="granite").to_csv(panel / "both.csv", index=False)
    assert run(tmp_path, "tiny", "", options=("--panel", panel)) == 2


def test_a_manifest_without_quiz_runs_to_the_end(manifest, tmp_path):
    manifest[manifest["split"] == "train"].assign(file=manifest["path"]).to_csv(tmp_path / "no-quiz.csv", index=False)
    stems = [stem for stem in runner.CHAIN if stem != "04-what-matters"]  # which does not look at the quiz
    assert run(tmp_path, "no-quiz", tmp_path / "no-quiz.csv", stems=stems) == 0
    metrics = read(tmp_path / "no-quiz", "metrics")
    assert metrics["accuracy"] is None and metrics["skipped"] and metrics["validation"]["accuracy"]["value"] >= 0


def test_a_bad_manifest_stops_before_training_with_a_message(manifest, tmp_path, capsys):
    manifest.assign(file=manifest["path"], pixels_per_um=-2).to_csv(tmp_path / "bad.csv", index=False)
    assert run(tmp_path / "runs", "bad", tmp_path / "bad.csv") == 2
    said = capsys.readouterr().err
    assert "pixels_per_um" in said and "Traceback" not in said and not (tmp_path / "runs").exists()


def test_the_chain_runs_on_the_real_micrographs(shared_manifest, tmp_path):
    stems = ("01-micrographs", "02-train", "03-human-versus-machine")
    assert run(tmp_path, "uhcs", shared_manifest, "epochs=1", stems=stems) == 0
    metrics, dataset, comparison = (read(tmp_path / "uhcs", name) for name in ("metrics", "dataset", "comparison"))
    assert (metrics["n_train"], metrics["n_quiz"], dataset["simulated"]) == (134, 36, False)
    # Nobody is invented to compare with.
    assert "nobody has answered" in comparison["skipped"][0] and not (tmp_path / "uhcs" / "panel.csv").exists()
