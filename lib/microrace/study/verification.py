"""Whether a second run of a study gives what was published, or the very bytes of the first."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from pathlib import Path

from microrace import paths
from microrace.study import numbers
from microrace.study.parameters import OPTIONS, StudyError, default_parameters, read_notebook
from microrace.study.records import outputs_below, read_json
from microrace.study.runner import run


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


def finished_state(run_dir: Path) -> dict:
    """Return the record of a finished study.

    Raises
    ------
    StudyError
        If there is none.
    """
    state = read_json(run_dir / "run.json")
    if state.get("status") != "finished":
        raise StudyError(f"{run_dir}: not a finished study; run it first")
    return state


def given_parameters(state: dict, notebooks_dir: Path) -> dict[str, str]:
    """Return what a finished study was given in place of the notebooks' defaults: name to text, as for ``-p``."""
    given = {}
    for name, record in state["notebooks"].items():
        defaults = default_parameters(read_notebook(notebooks_dir / f"{name}.ipynb"))
        changed = {k: v for k, v in record["parameters"].items() if k in defaults and k not in OPTIONS and defaults[k] != v}
        given |= {k: v if isinstance(v, str) else repr(v) for k, v in changed.items()}
    return given


def without_sweep(parameters: dict[str, str]) -> dict[str, str]:
    """The same parameters, but no sweep where notebook 04 was given a grid: a full one takes longer than all else."""
    kept = {name: value for name, value in parameters.items() if name not in ("grid", "n_seeds")}
    return kept | ({"grid": "none"} if "grid" in parameters else {})


def verify(
    study: str,
    *,
    every_byte: bool = False,
    skip_sweep: bool = False,
    dataset: str = "",
    runs_dir: Path | None = None,
    figures_dir: Path | None = None,
    notebooks_dir: Path | None = None,
    chain: dict | None = None,
) -> list[numbers.Verdict]:
    """Run a study again from nothing, in a temporary folder, and print what came out the same.

    What is run again is the published study, with the parameters in ``figures/<study>/study.json``, and its numbers are
    compared within their tolerances (`numbers`). Where nothing is published, or `every_byte` is asked for, it is the
    finished study in ``runs/<study>``. No feature is taken from an earlier run.

    Parameters
    ----------
    study : str
    every_byte : bool
        Compare every file of ``runs/<study>`` as well, times aside: on one machine they are the same.
    skip_sweep : bool
        Leave out what notebook 04 found with another grid than the default, and its numbers.
    dataset : path or str
        Where the data are, if not where they were.
    runs_dir, figures_dir, notebooks_dir, chain
        In place of the repository's.

    Returns
    -------
    list of Verdict

    Raises
    ------
    StudyError
        If there is nothing to run again, or something differs (exit code 1).
    """
    run_dir = Path(runs_dir or paths.RUNS) / study
    published = Path(figures_dir or paths.FIGURES) / study
    if every_byte or not (published / numbers.FILE).is_file():
        state = finished_state(run_dir)
        told = {"parameters": given_parameters(state, Path(notebooks_dir or paths.NOTEBOOKS)), "data": state["data"]}
        told["panel"] = (state.get("panel") or {}).get("folder", "")
        wanted, compared_with = numbers.numbers_of(run_dir), run_dir
    else:
        told = read_json(published / "study.json")
        if not {"parameters", "data", "panel"} <= told.keys():
            raise StudyError(f"{published / 'study.json'}: not whole; `make figures STUDY={study}` writes it")
        try:
            wanted, compared_with = numbers.read_numbers(published / numbers.FILE), published / numbers.FILE
        except ValueError as error:
            raise StudyError(str(error)) from None
        told["panel"] = told["panel"] and str(paths.ROOT / told["panel"])
        told["data"]["manifest"] = told["data"]["manifest"] and str(paths.ROOT / told["data"]["manifest"])
    if skip_sweep:
        told["parameters"] = without_sweep(told["parameters"])
        wanted = [number for number in wanted if number.source != numbers.OF_SWEEP]
    manifest = dataset or told["data"]["manifest"]
    if not manifest:
        raise StudyError(f"{study}: its data are not part of this repository; say where they are with --dataset")

    before = os.environ.get("MICRORACE_FEATURES")
    with tempfile.TemporaryDirectory(prefix="microrace-verify-") as scratch:
        os.environ["MICRORACE_FEATURES"] = str(Path(scratch) / "features")
        try:
            again = run(
                study,
                manifest,
                panel=told["panel"],
                parameters=[f"{name}={value}" for name, value in told["parameters"].items()],
                runs_dir=Path(scratch) / "runs",
                notebooks_dir=notebooks_dir,
                chain=chain,
            )
        finally:
            if before is None:
                del os.environ["MICRORACE_FEATURES"]
            else:
                os.environ["MICRORACE_FEATURES"] = before
        verdicts = numbers.compare(wanted, again)
        other_files = differences(run_dir, again) if every_byte else []
        data = read_json(again / "run.json")["data"]
    print("\n".join(numbers.table_lines(verdicts)))
    if data["sha256"] != told["data"]["sha256"]:
        print(f"{study}: the images or the manifest are not those of then, to the byte")
    differing = [verdict for verdict in verdicts if not verdict.reproduced]
    print(f"{study}: {len(verdicts) - len(differing)} of {len(verdicts)} numbers of {compared_with} REPRODUCED")
    if every_byte:
        total = len(outputs_below(run_dir))
        print(f"{study}: {total - len(other_files)} of {total} files are the same to the byte, times aside")
    if differing or other_files:
        names = [f"{verdict.number.source} {verdict.number.name}" for verdict in differing] + other_files
        raise StudyError(f"{study} DIFFERS: {', '.join(names)}", 1)
    return verdicts


def other_seeds(run_dir: Path, notebooks_dir: Path | None = None) -> list[Path]:
    """Return the finished runs beside a study that differ from it in nothing but the seed and the sweep."""

    def told(folder):
        state = read_json(folder / "run.json")
        if state.get("status") != "finished":
            return None
        given = without_sweep(given_parameters(state, Path(notebooks_dir or paths.NOTEBOOKS)))
        given.pop("seed", None)
        return [given, state["data"]["sha256"], (state.get("panel") or {}).get("sha256"), sorted(state["notebooks"])]

    ours = told(run_dir)
    return [folder for folder in sorted(run_dir.parent.glob(f"{run_dir.name}-seed*")) if told(folder) == ours]


def run_other_seeds(
    study: str, n_seeds: int, *, runs_dir: Path | None = None, notebooks_dir: Path | None = None, chain: dict | None = None
) -> None:
    """Run a finished study with other seeds, as ``runs/<study>-seed<N>``; publishing then takes tolerances from them.

    Without the sweep, which has several seeds of its own.

    Raises
    ------
    StudyError
        If the study is not finished, or `n_seeds` is below 2, of which no spread can be told.
    """
    if n_seeds < 2:
        raise StudyError(f"--seeds {n_seeds}: at least 2")
    run_dir = Path(runs_dir or paths.RUNS) / study
    state = finished_state(run_dir)
    given = given_parameters(state, Path(notebooks_dir or paths.NOTEBOOKS))
    first = state["seed"] or 0
    for seed in range(first + 1, first + 1 + n_seeds):
        run(
            f"{study}-seed{seed}",
            state["data"]["manifest"],
            panel=(state.get("panel") or {}).get("folder", ""),
            parameters=[f"{name}={value}" for name, value in (without_sweep(given) | {"seed": seed}).items()],
            runs_dir=runs_dir,
            notebooks_dir=notebooks_dir,
            chain=chain,
        )
    print(f"{study}: {n_seeds} other seeds have run; `make figures STUDY={study}` takes the tolerances from them")
