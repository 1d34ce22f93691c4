"""What of a study is published, and whether a second run gives it again."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from pathlib import Path

from microrace import paths
from microrace.study.parameters import OPTIONS, StudyError, default_parameters, read_notebook
from microrace.study.records import outputs_below, read_json
from microrace.study.runner import run

# Figures that show micrographs, and what without a figure belongs to what is published.
SHOW_MICROGRAPHS = ("examples", "augmentation", "explanations", "hardest", "explore")

CLOSING_TABLES = (
    "metrics.json", "coverage.csv", "classes.csv", "second-opinion.csv", "none-of-these.csv", "quiz-of-methods.csv",
)  # fmt: skip


def _without_times(path: Path):
    """Return a file's content for comparison: tables and JSON without what was measured with a clock."""

    def prune(value):
        if isinstance(value, dict):
            return {key: prune(inner) for key, inner in value.items() if "seconds" not in key}
        return [prune(inner) for inner in value] if isinstance(value, list) else value

    if path.suffix == ".json":
        return prune(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".csv":
        with open(path, encoding="utf-8", newline="") as file:
            return prune(list(csv.DictReader(file)))
    return path.read_bytes()


def differences(one: Path, other: Path) -> list[str]:
    """Return the outputs that are not the same in two runs' folders, times aside."""
    here, there = outputs_below(one), outputs_below(other)
    return [
        name
        for name in sorted(here.keys() | there.keys())
        if name not in here or name not in there or _without_times(one / name) != _without_times(other / name)
    ]


def verify(study: str, *, runs_dir: Path | None = None, **places) -> None:
    """Run a finished study again from nothing, in a temporary folder, and compare every file it writes.

    Raises
    ------
    StudyError
        If the study has not been run, or a file differs.
    """
    run_dir = Path(runs_dir or paths.RUNS) / study
    state = read_json(run_dir / "run.json")
    if state.get("status") != "finished":
        raise StudyError(f"{run_dir}: not a finished study; run it first")
    changed = {}
    for name, record in state["notebooks"].items():
        defaults = default_parameters(
            read_notebook(Path(places.get("notebooks_dir") or paths.NOTEBOOKS) / f"{name}.ipynb")
        )
        given = {k: v for k, v in record["parameters"].items() if k not in OPTIONS and defaults.get(k, v) != v}
        changed |= {k: v if isinstance(v, str) else repr(v) for k, v in given.items()}
    with tempfile.TemporaryDirectory(prefix="microrace-verify-") as scratch:
        again = run(
            study,
            state["data"]["manifest"],
            panel=(state.get("panel") or {}).get("folder", ""),
            parameters=[f"{k}={v}" for k, v in changed.items()],
            runs_dir=Path(scratch),
            **places,
        )
        found = differences(run_dir, again)
        total = len(outputs_below(run_dir))
    if found:
        raise StudyError(f"{study}: {len(found)} of {total} files differ on a second run: {', '.join(found)}", 1)
    print(f"{study}: all {total} files are the same on a second run")


def publish(study: str, *, runs_dir: Path | None = None, figures_dir: Path | None = None) -> Path:
    """Copy a study's figures, the numbers behind them and its closing tables to ``figures/<study>``; return the folder.

    Figures that show micrographs are left out unless the micrographs are rendered: whoever owns real ones decides
    where copies of them go.

    Raises
    ------
    StudyError
        If the study has no figures.
    """
    run_dir = Path(runs_dir or paths.RUNS) / study
    source = run_dir / "figures"
    if not source.is_dir():
        raise StudyError(f"{source}: no figures there; run the study first")
    left_out = () if read_json(run_dir / "dataset.json").get("simulated") else SHOW_MICROGRAPHS
    target = Path(figures_dir or paths.FIGURES) / study
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*", *(f"{stem}.*" for stem in left_out)))
    for name in CLOSING_TABLES:
        if (run_dir / name).is_file():
            shutil.copy(run_dir / name, target / name)
    print(f"{len(list(target.iterdir()))} files in {target}")
    if left_out:
        print(f"left out, as they show real micrographs: {', '.join(left_out)}")
    return target
