"""The whole chain, notebook by notebook, with small parameters: what it hands over, and what may be done with it."""

import json
import shutil

import pandas as pd
import pytest

from micrographs import manifest as manifests
from microrace import study
from readerstudy import sheets as panel
from readerstudy import simulated
from small import command, run


@pytest.fixture(scope="module")
def finished(tiny_manifest, tmp_path_factory):
    """A whole study on the tiny manifest."""
    runs = tmp_path_factory.mktemp("runs")
    assert run(runs, "tiny", tiny_manifest) == 0
    return runs / "tiny"


def test_every_notebook_hands_over_what_it_promises(finished):
    for name in (
        "manifest.csv dataset.json weights.pt history.csv held-out.csv scores.csv answers.csv metrics.json embedding.csv "
        "panel.csv readers.csv items.csv mcnemar.csv confusion.csv agreement.csv rasch.csv calibration.csv "
        "experience.csv correlations.csv power.csv coverage.csv mrmc.csv "
        "comparison.json ablations.csv levels.csv claims.json report.html run.json "
        "second-opinion.json second-opinion.csv second-opinion.html teams.csv model-card.md"
    ).split():
        assert (finished / name).stat().st_size > 0, name
    for stem in ("examples", "scales", "augmentation", "training", "human-versus-machine", "confusion", "hardest",
                 "embedding", "explanations", "what-matters", "rasch", "agreement", "power"):  # fmt: skip
        for ending in ("png", "pdf", "csv"):
            assert (finished / "figures" / f"{stem}.{ending}").stat().st_size > 0, stem


def test_the_numbers_agree_with_each_other(finished):
    metrics, comparison = (json.loads((finished / f"{n}.json").read_text()) for n in ("metrics", "comparison"))
    assert comparison["machine"]["value"] == pytest.approx(metrics["accuracy"]["value"])
    readers = pd.read_csv(finished / "readers.csv").set_index("decision_maker")
    assert readers.loc["machine", "accuracy"] == pytest.approx(metrics["accuracy"]["value"])
    assert (readers["kind"] == "simulated human").sum() == 4
    scores = pd.read_csv(finished / "scores.csv", keep_default_na=False)
    truth = manifests.truth(manifests.read_manifest(finished / "manifest.csv"))
    assert (scores["answer"].to_numpy() == truth.reindex(scores["image"]).to_numpy()).mean() == pytest.approx(
        metrics["accuracy"]["value"]
    )


def test_whatever_a_person_sees_says_simulated(finished):
    assert "simulated" in (finished / "report.html").read_text().lower()
    assert json.loads((finished / "comparison.json").read_text())["simulated_panel"] is True
    assert json.loads((finished / "dataset.json").read_text())["simulated"] is True


def test_the_record_names_versions_seed_data_and_commit(finished):
    record = json.loads((finished / "run.json").read_text())
    text = json.dumps(record)
    for word in ("torch", "albumentations", "seed", "sha256", "commit", "parameters"):
        assert word in text, word


def test_a_second_run_does_nothing_and_says_so(finished, tiny_manifest, capsys):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file() and p.suffix in {".csv", ".pt", ".png"}}
    # Finished runs of a sweep stay when the notebook runs again, as with a larger grid.
    outputs = json.loads((finished / "run.json").read_text())["notebooks"]["04-what-matters"]["outputs"]
    assert list((finished / "sweep").glob("*.json")) and not [name for name in outputs if name.startswith("sweep/")]
    assert run(finished.parent, "tiny", tiny_manifest) == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert "report" in capsys.readouterr().out


def test_a_finished_run_answers_new_images(finished, tiny_manifest, tmp_path):
    manifest = manifests.read_manifest(tiny_manifest)
    new = manifest[["path", "pixels_per_um", "sha256"]].rename(columns={"path": "file"}).head(5)
    new.to_csv(tmp_path / "new.csv", index=False)
    out = tmp_path / "answers.csv"
    assert command("predict", "--run", finished, "--manifest", tmp_path / "new.csv", "--out", out) == 0
    answers = pd.read_csv(out, keep_default_na=False)
    assert list(answers.columns) == ["image", "answer", "score", "dots", "lines", "waves"] and len(answers) == 5


def test_a_panel_of_ones_own_flows_through(finished, tiny_manifest, tmp_path):
    manifest = manifests.read_manifest(tiny_manifest)
    sheet = simulated.simulate(manifest, n_readers=2, seed=5).assign(kind="human")
    sheet["decision_maker"] = sheet["decision_maker"].str.replace("simulated", "reader")
    # As the quiz page writes them: images by their content, one sheet a reader.
    opaque = {f: panel.opaque_image_id(sheet["quiz"][0], h) for f, h in manifest.set_index("file")["sha256"].items()}
    for reader, rows in sheet.assign(image=sheet["image"].map(opaque)).groupby("decision_maker"):
        rows.to_csv(tmp_path / f"{reader}.csv", index=False)
    # The data need not be named again.
    assert run(finished.parent, "tiny", None, options=("--panel", tmp_path)) == 0
    readers = pd.read_csv(finished / "readers.csv")
    assert (readers["kind"] == "human").sum() == 2 and "simulated human" not in set(readers["kind"])
    sheet.assign(answer="granite").to_csv(tmp_path / "panel.csv", index=False)
    assert run(finished.parent, "tiny", None, options=("--panel", tmp_path)) == 2


def test_publishing_leaves_real_micrographs_where_they_are(finished, tmp_path):
    rendered = study.publish("tiny", runs_dir=finished.parent, figures_dir=tmp_path)
    assert (rendered / "examples.png").is_file() and (rendered / "coverage.csv").is_file()
    shutil.copytree(finished, tmp_path / "runs" / "real")
    (tmp_path / "runs" / "real" / "dataset.json").write_text('{"simulated": false}')
    real = study.publish("real", runs_dir=tmp_path / "runs", figures_dir=tmp_path)
    published = {p.stem for p in real.iterdir()}
    assert {"what-matters", "confusion"} <= published and not published & set(study.SHOW_MICROGRAPHS)
    with pytest.raises(study.StudyError, match="run the study first"):
        study.publish("never", runs_dir=tmp_path, figures_dir=tmp_path)
