"""What of a study is published: its figures, the numbers, and what it takes to run it again."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from microrace import paths
from microrace.study import numbers
from microrace.study.parameters import StudyError
from microrace.study.records import read_json, write_whole
from microrace.study.verification import finished_state, given_parameters, other_seeds

# Figures that show micrographs, and what without a figure belongs to what is published.
SHOW_MICROGRAPHS = ("examples", "augmentation", "explanations", "hardest", "explore")

CLOSING_TABLES = (
    "metrics.json", "coverage.csv", "classes.csv", "second-opinion.csv", "none-of-these.csv", "quiz-of-methods.csv",
)  # fmt: skip


def _inside(place: str | None) -> str:
    """Return a path relative to the repository, or "" where it lies elsewhere: other computers do not have it."""
    path = Path(place) if place else None
    return path.relative_to(paths.ROOT).as_posix() if path and path.is_relative_to(paths.ROOT) else ""


def publish(
    study: str, *, runs_dir: Path | None = None, figures_dir: Path | None = None, notebooks_dir: Path | None = None
) -> Path:
    """Copy a study's figures, the numbers behind them and its closing tables to ``figures/<study>``; return the folder.

    Beside them go ``numbers.csv``, each number with its tolerance, and ``study.json``, by which `verify` runs the study
    again.

    Figures that show micrographs are left out unless the micrographs are rendered: whoever owns real ones decides
    where copies of them go.

    Raises
    ------
    StudyError
        If the study has no figures or did not end.
    """
    run_dir = Path(runs_dir or paths.RUNS) / study
    source = run_dir / "figures"
    if not source.is_dir():
        raise StudyError(f"{source}: no figures there; run the study first")
    left_out = () if read_json(run_dir / "dataset.json").get("simulated") else SHOW_MICROGRAPHS
    state, seeds = finished_state(run_dir), other_seeds(run_dir, notebooks_dir)
    target = Path(figures_dir or paths.FIGURES) / study
    target.parent.mkdir(parents=True, exist_ok=True)
    # Put together beside its place: what was published stays until all of the new is there.
    unfinished = target.with_name(f".{study}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(source, unfinished, ignore=shutil.ignore_patterns(".*", *(f"{stem}.*" for stem in left_out)))
    for name in CLOSING_TABLES:
        if (run_dir / name).is_file():
            shutil.copy(run_dir / name, unfinished / name)
    found = numbers.numbers_of(run_dir, seeds)
    numbers.write_numbers(found, unfinished / numbers.FILE)
    told = {
        "parameters": given_parameters(state, Path(notebooks_dir or paths.NOTEBOOKS)),
        "data": {"manifest": _inside(state["data"]["manifest"]), "sha256": state["data"]["sha256"]},
        "panel": _inside((state.get("panel") or {}).get("folder")),
        "commit": (state.get("git") or {}).get("commit"),
        "versions": state.get("versions"),
    }
    write_whole(unfinished / "study.json", json.dumps(told, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(unfinished, target)
    n_files = len(list(target.iterdir()))
    print(f"{n_files} files in {target}; {len(found)} numbers, their tolerances from {len(seeds) + 1} seed(s)")
    if left_out:
        print(f"left out, as they show real micrographs: {', '.join(left_out)}")
    return target
