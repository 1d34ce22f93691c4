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
def table(finished_toy):
    """The numbers of a published study."""
    publish("toy")
    return paths.FIGURES / "toy" / "numbers.csv"


@pytest.fixture
def asked(monkeypatch):
    """What second runs are asked for, which give what is in runs/."""
    found = []

    def run(study, dataset, *, parameters, runs_dir, **more):
        found.extend(parameters)
        return Path(shutil.copytree(paths.RUNS / study, f"{runs_dir}/{study}"))

    monkeypatch.setattr(reproduce, "run", run)
    return found


def test_a_second_run_reproduces_every_published_number(table, capsys):
    numbers = set(pd.read_csv(table)["number"])
    assert {"metrics.json accuracy.value", "metrics.json accuracy.low", "metrics.json n_quiz"} <= numbers
    assert main(["verify", "--study", "toy"]) == 0
    assert f"toy, on the same data: {len(numbers)} of {len(numbers)} numbers are REPRODUCED" in capsys.readouterr().out


VERDICTS = [(0.55, 0.05, "REPRODUCED"), (0.5501, 0.05, "DIFFERS"), (0.7, 0.39, "LOOSE"), (None, 0.39, "DIFFERS")]


@pytest.mark.parametrize(("value", "tolerance", "verdict"), VERDICTS)
def test_a_tolerance_decides_unless_it_allows_too_much(finished_toy, table, asked, capsys, value, tolerance, verdict):
    table.write_text(f"number,value,tolerance\nmetrics.json accuracy.value,0.5,{tolerance}\nmetrics.json n_quiz,20,0\n")
    (finished_toy.run_dir / "metrics.json").write_text(json.dumps({"n_quiz": 20, "accuracy": {"value": value}}))
    differs = main(["verify", "--study", "toy"])
    said = capsys.readouterr()
    assert differs == (verdict != "REPRODUCED") and f"{2 - differs} of 2 numbers are REPRODUCED" in said.out
    assert said.err.endswith(f"not reproduced:\n  metrics.json accuracy.value {verdict}\n" * differs)


def test_a_skipped_sweep_leaves_out_its_numbers_and_no_others(finished_toy, asked):
    (finished_toy.run_dir / "levels.csv").write_text("factor,level,accuracy,change,seconds\naugmentation,none,0.9,,3\n")
    publish("toy")
    (finished_toy.run_dir / "levels.csv").unlink()
    with pytest.raises(StudyError, match=":\n  levels.csv augmentation, none: accuracy DIFFERS$"):
        verify("toy")
    verify("toy", skip_sweep=True)
    assert asked == ["grid=none"]


def test_tolerances_come_from_other_seeds_and_are_not_lost_in_silence(finished_toy):
    for seed in (1, 2):
        assert finished_toy(f"seed={seed}", study=f"toy-seed{seed}", options=["--like", "toy"]) == 0
    publish("toy")
    found = pd.read_csv(paths.FIGURES / "toy" / "numbers.csv", index_col="number")["tolerance"]
    values = [json.loads(path.read_text())["accuracy"]["value"] for path in paths.RUNS.glob("*/metrics.json")]
    assert found["metrics.json accuracy.value"] == pytest.approx(2 * statistics.stdev(values)) and len(values) == 3
    assert found["metrics.json n_quiz"] == 0
    # A run of other data says nothing about seeds, and what was known is not given up in silence.
    other = paths.RUNS / "toy-seed2" / "run.json"
    other.write_text(other.read_text().replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(StudyError, match="shows more: 0 numbers that .* tolerances from 2 other seeds, here 1"):
        publish("toy")
    publish("toy", replace=True)


def test_real_micrographs_are_not_published_and_the_page_shows_the_rest(finished_toy, table, capsys):
    assert "![Three weights](toy/weights.png)" in (paths.FIGURES / "README.md").read_text()
    (finished_toy.run_dir / "dataset.json").write_text('{"simulated": false}')
    publish("toy")
    assert "without weights" in capsys.readouterr().out and not list(paths.FIGURES.glob("toy/weights*"))


@pytest.mark.parametrize("command", ["verify", "publish"])
def test_what_needs_a_finished_study_says_so(toy_study, capsys, command):
    assert main([command, "--study", "never-run"]) == 2
    assert "never-run: not a finished study; run it first" in capsys.readouterr().err
