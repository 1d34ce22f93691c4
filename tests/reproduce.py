"""What of a study is published, and whether a second run gives the same: the script behind `make figures` and `make verify`.

A number counts as reproduced when it differs from the published one by no more than its tolerance:

- what counts images, readers or specimens (whole numbers named ``n`` or ``n_...``) has none;
- otherwise it is what two images of the quiz (or held out, where there is no quiz) answered otherwise change a share by,
  for numbers above 1 in proportion;
- or, where that is more, twice the standard deviation over other seeds that the study was run with (``make tolerance``),
  the published one among them: another machine rounds otherwise, which moves a trained head no farther than another start
  does.

Where that allows more than `TELLING`, a number that differs by more is neither reproduced nor different, but LOOSE: seeds
differ too much to tell.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pandas as pd

from microrace import paths
from microrace.study.__main__ import call
from microrace.study.parameters import StudyError
from microrace.study.report import figures_of, read_json
from microrace.study.runner import NO_SHEETS, run, write

JSON_FILES, TABLES = ("metrics.json", "comparison.json", "second-opinion.json"), ("readers.csv", "levels.csv")
# What belongs to what is published beside the figures, where there is one.
FILES = ("metrics.json", "second-opinion.csv", "teams.csv", "power.csv", "none-of-these.csv", "leads.csv")
SEEDS_APART, IMAGES_APART, TELLING = 2.0, 2, 0.1
# A sweep has several seeds of its own.
SWEEP = ("grid", "n_seeds")


def finished(run_dir: Path) -> dict:
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


def values_of(run_dir: Path) -> dict[str, float]:
    """Return the numbers of a run's folder, "file name" to value; clocks do not count."""
    found = {}
    for file in JSON_FILES:
        numbers = pd.json_normalize(read_json(run_dir / file)).select_dtypes("number")
        found |= {f"{file} {name}": float(column[0]) for name, column in numbers.items() if "seconds" not in name}
    for file in TABLES:
        if (run_dir / file).is_file() and (run_dir / file).stat().st_size > 2:
            table = pd.read_csv(run_dir / file)
            numbers = table.select_dtypes("number")
            who = table.drop(columns=numbers.columns).astype(str).agg(", ".join, axis=1)
            cells = numbers.set_axis(who).stack().dropna()
            found |= {f"{file} {row}: {column}": float(v) for (row, column), v in cells.items() if "seconds" not in column}
    return found


def numbers_of(run_dir: Path, seeds: list[Path] = ()):
    """Return the numbers of a study as a table by name: ``value`` and ``tolerance``.

    Parameters
    ----------
    run_dir : Path
        Of the study.
    seeds : list of Path
        Folders of the same study run with other seeds. A number that one of them lacks is treated as if there were none.
    """
    table = pd.DataFrame({"value": values_of(run_dir)}).rename_axis("number")
    n_images = table["value"].get("metrics.json n_quiz", 1) or table["value"]["metrics.json n_train"]
    others = [pd.Series(values_of(folder), name=folder.name) for folder in seeds]
    spread = table[["value"]].join(others).std(axis=1, skipna=False) * SEEDS_APART
    table["tolerance"] = (table["value"].abs().clip(lower=1) * IMAGES_APART / n_images).clip(lower=spread.fillna(0))
    counts = table.index.str.contains(r"[. ]n(?:_\w+)?$") & (table["value"] % 1 == 0)
    return table.assign(tolerance=table["tolerance"].mask(counts, 0.0))


def told(folder: Path) -> list:
    """Return what a finished study was made from, but for its seed and its sweep."""
    state = read_json(folder / "run.json")
    given = {name: text for name, text in state.get("given", {}).items() if name not in (*SWEEP, "seed")}
    return [state.get("status"), given, state.get("data", {}).get("sha256"), state.get("panel")]


def publish(study: str, replace: bool = False) -> None:
    """Copy a study's figures, the numbers behind them and its closing tables to ``figures/<study>``.

    Beside them go ``numbers.csv``, each number with its tolerance, and ``study.json``, by which `verify` runs the study
    again; ``figures/README.md`` shows all that is published. Figures of real micrographs are left out: whoever owns them
    decides where copies go.

    Raises
    ------
    StudyError
        If the study did not end, or less would be published than is there, unless `replace` says so.
    """
    run_dir, target = paths.RUNS / study, paths.FIGURES / study
    state = finished(run_dir)
    seeds = [folder for folder in sorted(paths.RUNS.glob(f"{study}-seed*")) if told(folder) == told(run_dir)]
    numbers = numbers_of(run_dir, seeds)
    known = pd.read_csv(target / "numbers.csv", index_col="number") if (target / "numbers.csv").is_file() else numbers
    lost, before = known.index.difference(numbers.index), read_json(target / "study.json").get("other_seeds", 0)
    if not replace and (len(lost) or before > len(seeds)):
        more = f"{len(lost)} numbers that this run lacks, and tolerances from {before} other seeds, here {len(seeds)}"
        made = "`make sweep` and `make tolerance` make them, ARGS=--replace does without"
        raise StudyError(f"{target} shows more: {more}; {made}")
    figures, simulated = figures_of(run_dir / "figures"), read_json(run_dir / "dataset.json").get("simulated")
    left_out = [stem for stem, about in figures.items() if about.get("shows_micrographs") and not simulated]
    # Put together beside its place: what was published stays until all of the new is there.
    unfinished = target.with_name(f".{study}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(run_dir / "figures", unfinished, ignore=shutil.ignore_patterns(".*", *(f"{s}.*" for s in left_out)))
    for name in FILES:
        if (run_dir / name).is_file():
            shutil.copy(run_dir / name, unfinished)
    numbers.to_csv(unfinished / "numbers.csv")
    about = {name: state[name] for name in ("given", "data", "panel", "commit", "versions")}
    about |= {"other_seeds": len(seeds), "micrographs": "rendered" if simulated else "real"}
    write(unfinished / "study.json", about)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(unfinished, target)
    lines = ["# The published figures\n", "Each with the numbers behind it. `make figures` writes this page."]
    for folder in sorted(path for path in paths.FIGURES.iterdir() if path.is_dir()):
        about, measured = read_json(folder / "study.json"), read_json(folder / "metrics.json")
        images = f"{measured.get('n_train')} to learn from, cross-validated, and {measured.get('n_quiz')} in the quiz"
        lines.append(f"\n## {folder.name}\n\n{about.get('micrographs', '').capitalize()} micrographs: {images}.")
        for stem, about in figures_of(folder).items():
            place, alt, caption = f"{folder.name}/{stem}", about.get("alt", stem), about.get("caption", stem)
            link = f" [Numbers]({place}.csv)" if (folder / f"{stem}.csv").is_file() else ""
            lines.append(f"\n![{alt}]({place}.png)\n\n{caption}{link}")
    write(paths.FIGURES / "README.md", "\n".join(lines) + "\n")
    without = f"; without {', '.join(left_out)}, which show real micrographs" if left_out else ""
    print(f"{target}: {len(numbers)} numbers, their tolerances from {len(seeds) + 1} seed(s){without}")


def verify(study: str, dataset: str = "", skip_sweep: bool = False) -> None:
    """Run a study again from nothing, in a temporary folder, and print which numbers came out the same.

    What is run again is the published study, as ``figures/<study>/study.json`` tells it, or else the finished one in
    ``runs/<study>``. No feature is taken from an earlier run.

    Parameters
    ----------
    study : str
    dataset : str
        Where the data are, if not where they were.
    skip_sweep : bool
        Leave out the sweep and its numbers.

    Raises
    ------
    StudyError
        If something is not reproduced, with what it is (exit code 1).
    """
    run_dir, published = paths.RUNS / study, paths.FIGURES / study
    if (published / "numbers.csv").is_file():
        wanted, state = pd.read_csv(published / "numbers.csv", index_col="number"), read_json(published / "study.json")
    else:
        wanted, state = numbers_of(run_dir), finished(run_dir)
    given = [f"{name}={text}" for name, text in state["given"].items() if not (skip_sweep and name in SWEEP)]
    if skip_sweep:
        given, wanted = [*given, "grid=none"], wanted[~wanted.index.str.startswith("levels.csv")]
    with tempfile.TemporaryDirectory(prefix="microrace-verify-") as scratch:
        os.environ["MICRORACE_FEATURES"] = f"{scratch}/features"
        dataset, panel = dataset or paths.ROOT / state["data"]["manifest"], state["panel"]
        panel = panel if panel in NO_SHEETS else paths.ROOT / panel
        again = run(study, dataset, panel=panel, parameters=given, jobs=os.cpu_count(), runs_dir=scratch)
        now, record = values_of(again), read_json(again / "run.json")
    wanted["now"] = pd.Series(now).reindex(wanted.index)
    off, size = (wanted["now"] - wanted["value"]).abs(), wanted["value"].abs().clip(lower=1)
    allowed = wanted["tolerance"] + 1e-9 * size
    close = off <= allowed.clip(upper=TELLING * size)
    wanted["verdict"] = close.map({True: "REPRODUCED", False: "DIFFERS"}).mask(~close & (off <= allowed), "LOOSE")
    print(wanted.to_string())
    data = "the same" if record["data"]["sha256"] == state["data"]["sha256"] else "other"
    print(f"{study}, on {data} data: {close.sum()} of {len(wanted)} numbers are REPRODUCED")
    differing = [f"{name} {word}" for name, word in wanted["verdict"][~close].items()]
    if differing:
        raise StudyError(f"{study}, not reproduced:\n  " + "\n  ".join(differing), 1)


def main(argv: list[str]) -> int:
    """Run ``publish`` or ``verify`` with its options and return the exit code."""
    parser = argparse.ArgumentParser(prog="tests/reproduce.py", description="Publish a study, or run it again.")
    parser.add_argument("function", choices=["publish", "verify"])
    parser.add_argument("--study", required=True, help="name of the folder in runs/ or figures/")
    parser.add_argument("--replace", action="store_true", help="publish also where the published study shows more")
    parser.add_argument("--dataset", default="", help="manifest, where the data are not where they were")
    parser.add_argument("--skip-sweep", action="store_true", help="leave out notebook 04's full grid")

    def chosen(function: str, study: str, replace: bool, **options) -> None:
        publish(study, replace) if function == "publish" else verify(study, **options)

    return call(chosen, parser, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
