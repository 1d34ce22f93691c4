"""Published numbers, their tolerances, and a second run beside them."""

import json
import shutil
import statistics
from pathlib import Path

import pandas as pd
import pytest

import reproduce
from microrace import paths
from microrace.study.parameters import StudyError
from reproduce import main, publish, verify


@pytest.fixture
def again(monkeypatch):
    """A second run that gives what the first gave, with the time of a runner that has nothing to run."""
    changes = {}

    def run(study, dataset, *, panel, parameters, runs_dir):
        folder = Path(shutil.copytree(paths.RUNS / study, f"{runs_dir}/{study}"))
        metrics = json.loads((folder / "metrics.json").read_text())
        (folder / "metrics.json").write_text(json.dumps(metrics | changes))
        changes["asked"] = (str(dataset), parameters)
        return folder

    monkeypatch.setattr(reproduce, "run", run)
    return changes


def test_a_second_run_reproduces_every_published_number(finished_toy, capsys):
    publish("toy")
    numbers = pd.read_csv(paths.FIGURES / "toy" / "numbers.csv", index_col="number")
    assert {"metrics.json accuracy.value", "metrics.json accuracy.low", "metrics.json n_quiz"} <= {*numbers.index}
    capsys.readouterr()
    assert main(["verify", "--study", "toy", "--bytes"]) == 0, capsys.readouterr().err
    said, n = capsys.readouterr().out, len(numbers)
    assert f"toy, on the same data: {n} of {n} numbers are REPRODUCED" in said and "DIFFERS" not in said


@pytest.mark.parametrize(
    ("value", "tolerance", "verdict"),
    [(0.55, 0.05, None), (0.5501, 0.05, "DIFFERS"), (0.7, 0.39, "LOOSE"), (0.9, 0.39, "DIFFERS"), (None, 0.1, "DIFFERS")],
)  # fmt: skip
def test_a_number_is_reproduced_within_its_tolerance_unless_that_says_nothing(
    finished_toy, again, capsys, value, tolerance, verdict
):
    publish("toy")
    table = paths.FIGURES / "toy" / "numbers.csv"
    table.write_text(f"number,value,tolerance\nmetrics.json accuracy.value,0.5,{tolerance}\nmetrics.json n_quiz,20,0\n")
    again["accuracy"] = {"value": value}
    if verdict is None:
        verify("toy")
    else:
        with pytest.raises(StudyError, match=f"not reproduced:\n  metrics.json accuracy.value {verdict}$") as stopped:
            verify("toy")
        assert stopped.value.exit_code == 1
        assert "toy, on the same data: 1 of 2 numbers are REPRODUCED" in capsys.readouterr().out


def test_a_skipped_sweep_leaves_out_its_numbers_and_no_others(finished_toy, again, capsys):
    (finished_toy.run_dir / "levels.csv").write_text("factor,level,accuracy,seconds\naugmentation,none,0.9,3\n")
    publish("toy")
    (finished_toy.run_dir / "levels.csv").unlink()
    with pytest.raises(StudyError, match="levels.csv augmentation, none: accuracy DIFFERS$"):
        verify("toy")
    verify("toy", skip_sweep=True)
    assert again["asked"][1] == ["grid=none"]


def test_tolerances_come_from_other_seeds_and_are_not_lost_in_silence(finished_toy):
    for seed in (1, 2):
        assert finished_toy(f"seed={seed}", study=f"toy-seed{seed}", options=["--like", "toy"]) == 0
    publish("toy")
    found = pd.read_csv(paths.FIGURES / "toy" / "numbers.csv", index_col="number")
    values = [json.loads(p.read_text())["accuracy"]["value"] for p in sorted(paths.RUNS.glob("*/metrics.json"))]
    assert len(values) == 3 and found.loc["metrics.json accuracy.value", "tolerance"] == pytest.approx(
        2 * statistics.stdev(values)
    )
    assert found.loc["metrics.json n_quiz", "tolerance"] == 0
    # A run of other data says nothing about seeds, and what was known is not given up in silence.
    other = paths.RUNS / "toy-seed2" / "run.json"
    other.write_text(other.read_text().replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(
        StudyError, match="shows more: 0 numbers that this run lacks, and tolerances from 2 other seeds, here 1"
    ):
        publish("toy")
    publish("toy", replace=True)


def test_real_micrographs_are_not_published_and_the_page_shows_the_rest(finished_toy, capsys):
    publish("toy")
    assert "![Three weights](toy/weights.png)" in (paths.FIGURES / "README.md").read_text()
    (finished_toy.run_dir / "dataset.json").write_text('{"simulated": false}')
    publish("toy")
    assert "without weights" in capsys.readouterr().out and not list(paths.FIGURES.glob("toy/weights*"))


@pytest.mark.parametrize("command", ["verify", "publish"])
def test_what_needs_a_finished_study_says_so(toy_study, capsys, command):
    assert main([command, "--study", "never-run"]) == 2
    assert "never-run: not a finished study; run it first" in capsys.readouterr().err
