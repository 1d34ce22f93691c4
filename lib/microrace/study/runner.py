"""Runs a study: the notebooks in order, each once, with nothing left half done.

``python -m microrace.study --study NAME`` executes `CHAIN` through papermill into ``runs/NAME``::

    runs/NAME/run.json        what ran, with which data, parameters, versions, commit, and how long it took
    runs/NAME/report.html     the executed notebooks on one page
    runs/NAME/notebooks/      the executed notebooks; NAME.unfinished.ipynb of one that stopped with an error
    runs/NAME/*, figures/*    what the notebooks hand over to each other

A notebook is skipped while its *fingerprint* is the same: its cells and parameters, this library, the versions of other
libraries, the bytes of the data and of the panel, and the bytes that its upstream notebooks wrote. Comparing what
upstream wrote, rather than whether it ran, means that a corrected sentence in notebook 01 does not train the network
again. No path is part of it, so that a folder may be moved. Heavy libraries are imported where they are used: finding
nothing to do takes a fraction of a second.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from microrace import paths
from microrace.study import report
from microrace.study.parameters import OPTIONS, StudyError, given_values, read_notebook, resolve
from microrace.whole import written_whole

# Each notebook with those whose files it reads.
CHAIN = {
    "01-micrographs": (),
    "02-train": ("01-micrographs",),
    "03-human-versus-machine": ("01-micrographs", "02-train"),
    "04-what-matters": ("01-micrographs", "02-train"),
    "05-figures": ("01-micrographs", "02-train", "03-human-versus-machine", "04-what-matters"),
    "06-second-opinion": ("01-micrographs", "02-train", "03-human-versus-machine"),
}
# Those that train for long: another style of figures does not make them run again.
TRAINING = {"02-train", "04-what-matters"}
# No part of what notebooks are made with: the runner itself, and the renderer, whose images count by their bytes.
NOT_LIBRARY = re.compile(r"__pycache__|\.egg-info|^steelrender/|^microrace/study/")
# In a run's folder but not what a notebook hands over; checkpoints may be deleted at any time. A sweep's finished runs
# know by themselves what they are of: a larger grid, another seed or an interrupted sweep goes on from them.
NOT_OUTPUTS = re.compile(r"^(notebooks/|sweep/|run\.json$|report\.html$|quiz\.html$)|(^|/)\.|checkpoint")

# Panels that are no folder of answer sheets.
NO_SHEETS = ("", "simulated")


def sha256(path: Path) -> str:
    """Return the hash of a file's bytes, or "missing"."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and os.access(path, os.R_OK) else "missing"


def hash_value(value) -> str:
    """Return the hash of a value as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write(path: Path, value: dict | str) -> None:
    """Write a text, or a dictionary as JSON, whole or not at all."""
    with written_whole(path) as file:
        file.write_text(value if isinstance(value, str) else json.dumps(value, indent=1) + "\n", encoding="utf-8")


def outputs_below(run_dir: Path) -> dict[str, tuple[int, int]]:
    """Return every file that notebooks can have written: relative path to (size in bytes, time in ns)."""
    found = {path.relative_to(run_dir).as_posix(): path.stat() for path in run_dir.rglob("*") if path.is_file()}
    return {name: (s.st_size, s.st_mtime_ns) for name, s in sorted(found.items()) if not NOT_OUTPUTS.search(name)}


def hash_library() -> dict[str, str]:
    """Return the hash of every file that notebooks are made with, pages and tables among them, by its path in lib/."""
    lib = Path(__file__).parents[2]
    files = {path.relative_to(lib).as_posix(): path for path in sorted(lib.rglob("*")) if path.is_file()}
    return {name: sha256(path) for name, path in files.items() if not NOT_LIBRARY.search(name)}


def origins() -> dict:
    """Return what a run comes from, for its record: the versions of all packages, the commit, the computer."""
    versions = {"python": platform.python_version()}
    versions |= {found.name: found.version for found in importlib.metadata.distributions()}
    # By a shell, as there may be no git.
    command = f"git -C {shlex.quote(str(paths.ROOT))} describe --always --dirty --abbrev=40 --exclude='*'"
    status, commit = subprocess.getstatusoutput(command)  # noqa: S605
    host = f"{platform.platform()}, {os.cpu_count()} cores"
    return {"versions": versions, "commit": None if status else commit, "host": host}


def execute(source: Path, executed: Path, parameters: dict) -> None:
    """Run one notebook through papermill; `executed` is new afterwards only if it ran to its end.

    Raises
    ------
    StudyError
        If a cell raised or the kernel died: with the end of the traceback, and where to see all of it.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    unfinished = executed.with_name(f"{executed.stem}.unfinished.ipynb")
    # papermill puts parameters in where a path has braces, so a brace of one's own is doubled.
    places = [re.sub(r"([{}])", r"\1\1", str(path)) for path in (source, unfinished)]
    try:
        papermill.execute_notebook(
            *places, parameters, kernel_name="python3", cwd=str(executed.parents[1]), start_timeout=120,
            progress_bar=False, stderr_file=sys.stderr,
            # Kernels remark at every start that they listen; what cells raise comes back through papermill.
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
        )  # fmt: skip
    except (papermill.PapermillExecutionError, DeadKernelError) as error:
        end = "\n    ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()[-25:])
        raise StudyError(f"{source.stem} stopped:\n    {end}\nThe notebook up to there: {unfinished}", 1) from None
    os.replace(unfinished, executed)


def redraw(study: str, name: str) -> None:
    """Draw one figure of a study again: run its notebook up to the cell that draws it, without those of other figures.

    Raises
    ------
    StudyError
        If the study has not run that far, or no notebook draws such a figure.
    """
    run_dir = paths.RUNS / study
    records = report.read_json(run_dir / "run.json").get("notebooks", {})
    for stem in records:
        notebook = json.loads((paths.NOTEBOOKS / f"{stem}.ipynb").read_text(encoding="utf-8"))
        sources, _ = read_notebook(paths.NOTEBOOKS / f"{stem}.ipynb")
        drawing = ["figures.save(" in source and f'"{name}"' in source for source in sources]
        if any(drawing):
            last = drawing.index(True)
            keep = [i for i, source in enumerate(sources[: last + 1]) if i == last or "figures.save(" not in source]
            notebook["cells"] = [notebook["cells"][i] for i in keep]
            source, executed = (run_dir / "notebooks" / f".{word}.ipynb" for word in ("figure", "drawn"))
            write(source, notebook)
            return execute(source, executed, records[stem]["parameters"] | {"run_dir": str(run_dir)})
    raise StudyError(f"{study}: no notebook that has run there draws a figure {name!r}; the report lists them")


def check_inputs(dataset: Path, panel: str, scheduler: str, resolved: dict[str, dict]) -> None:
    """Stop with the faults of settings, scheduler, manifest and answer sheets before anything runs.

    Raises
    ------
    ValueError, FileNotFoundError
        With what those who read them found.
    """
    from micrographs import read_manifest
    from microrace.network import build_backbone
    from microrace.readers import cases_of
    from microrace.training import TrainingConfig
    from readerstudy import read_protocol, read_sheets

    for values in resolved.values():
        config = TrainingConfig(**{name: v for name, v in values.items() if name in TrainingConfig.__dataclass_fields__})
        if config.backbone != TrainingConfig.backbone or config.weights != TrainingConfig.weights:
            build_backbone(config.backbone, config.weights)
    manifest = read_manifest(dataset)
    if not (manifest["split"] == "train").any():
        raise StudyError(f"{dataset}: no row has the split 'train', so there is nothing to learn from")
    if panel not in NO_SHEETS:
        read_sheets(panel, cases_of(manifest))
        read_protocol(panel)
    if scheduler:
        try:
            place = urlsplit(scheduler)
            socket.create_connection((place.hostname, place.port), timeout=10).close()
        except (OSError, ValueError, OverflowError) as error:
            raise StudyError(f"--scheduler {scheduler}: nobody answers ({error}); write tcp://host:port") from None


def kept(run_dir: Path, before: dict[str, str], given: dict[str, str], declared: dict[str, dict]) -> dict[str, str]:
    """Return what a study was given before and is given now; once it is finished only its sweep may become larger.

    Raises
    ------
    StudyError
        Where a finished study would be overwritten by another.
    """
    now, ran = resolve(declared, before | given, {}), resolve(declared, before, {})
    free = () if any(values.get("grid") == "full" for values in ran.values()) else ("grid", "n_seeds")
    other = {
        f"{k}={v} (was {ran[name][k]})" for name in now for k, v in now[name].items() if v != ran[name][k] and k not in free
    }
    if other and (run_dir / "report.html").is_file():
        told = f"{run_dir.name} is finished, with other parameters: {', '.join(sorted(other))}; choose another name (STUDY=)"
        raise StudyError(told + ', or replace it by --replace (make PARAMS="--replace -p name=value")')
    return before | given


def run(
    study: str,
    dataset: str | Path = "",
    *,
    panel: str | Path = "",
    parameters: list[str] = (),
    replace: bool = False,
    like: str = "",
    jobs: int = 1,
    scheduler: str = "",
    runs_dir: Path | None = None,
) -> Path:
    """Bring a study up to date and return its folder.

    Parameters
    ----------
    study : str
        The name of the folder in `runs_dir`.
    dataset : path or str, optional
        The manifest of the micrographs, or ``uhcsdb``, which is fetched first; without it, the manifest that the study
        ran on before, or the rendered one.
    panel : path, optional
        A folder of answer sheets, or ``simulated``; without it, rendered micrographs get a simulated panel, real ones none.
    parameters : list of str, optional
        ``name=value`` for the notebooks, and ``selection=...`` for an archive.
    replace : bool
        Let a finished study be overwritten by one with other parameters.
    like : str
        Another study in the folder: what is not given here is as it was given there.
    jobs, scheduler
        Processes on this computer, or the address of a dask scheduler, for notebook 04.
    runs_dir : path, optional
        In place of ``runs/``.

    Raises
    ------
    ValueError, OSError
        If an input is bad (nothing has been written then), another run works in the folder, or a notebook fails.
    """
    import filelock

    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", study):
        raise StudyError(f"--study {study}: use letters, digits, '-', '_' and '.' only")
    run_dir = Path(runs_dir or paths.RUNS).absolute() / study
    state, given = report.read_json(run_dir.with_name(like or study) / "run.json"), given_values(parameters)
    notebooks = {name: read_notebook(paths.NOTEBOOKS / f"{name}.ipynb") for name in CHAIN}
    declared = {name: found for name, (_, found) in notebooks.items()}
    selection = given.pop("selection", "quiz-like")
    earlier = state.get("given", {}) if like or not replace else {}
    given = earlier | given if replace else kept(run_dir, earlier, given, declared)
    if str(dataset) == "uhcsdb":
        from micrographs import uhcsdb

        dataset = uhcsdb.fetch(selection, paths.DATA / "uhcsdb")
    # "Again, with a panel" need not say the data once more.
    known = state.get("data", {}).get("manifest")
    dataset = Path(os.path.abspath(dataset or (paths.ROOT / known if known else paths.RENDERED / study / "manifest.csv")))
    if not dataset.is_file():
        raise StudyError(
            f"{dataset}: no such manifest; give one (make DATASET=path/to/manifest.csv STUDY={study}), or uhcsdb, the only "
            "archive that has a name"
        )
    panel = panel if panel in NO_SHEETS else os.path.abspath(panel)
    options = dict(zip(OPTIONS, (str(run_dir), str(dataset), panel, max(jobs, 1), scheduler), strict=True))
    resolved = resolve(declared, given, options)
    values = {name: {key: value for key, value in found.items() if key not in OPTIONS} for name, found in resolved.items()}
    from micrographs import files_of

    # Of the bytes of the manifest and of every image that it lists, which are judged later.
    data_hash = hash_value([sha256(path) for path in (dataset, *files_of(dataset))])
    data = {"manifest": os.path.relpath(dataset, paths.ROOT), "sha256": data_hash}
    sheets = panel if panel in NO_SHEETS else {path.name: sha256(path) for path in sorted(Path(panel).glob("*"))}
    library, origin = hash_library(), origins()

    def fingerprint(name: str, records: dict) -> str:
        used = {file: d for file, d in library.items() if name not in TRAINING or not file.startswith("microrace/figures/")}
        # Figures are for people: no notebook reads them.
        upstream = [records.get(other, {}).get("outputs", {}) for other in CHAIN[name]]
        read = [{file: d for file, d in outputs.items() if not file.startswith("figures/")} for outputs in upstream]
        seen = [data["sha256"], sheets if "panel" in resolved[name] else None]
        return hash_value([notebooks[name][0], values[name], used, origin["versions"], seen, read])

    def is_finished(name: str, records: dict) -> bool:
        record, executed = records.get(name, {}), run_dir / "notebooks" / f"{name}.ipynb"
        same = record.get("fingerprint") == fingerprint(name, records) and executed.is_file()
        return same and all(sha256(run_dir / file) == digest for file, digest in record["outputs"].items())

    page, made_with = run_dir / "report.html", hash_value([sha256(path) for path in report.SOURCES])
    if not all(is_finished(name, state.get("notebooks", {})) for name in CHAIN):
        check_inputs(dataset, panel, scheduler, resolved)
    elif page.is_file() and state.get("page") == made_with:
        print("\n".join([f"{study}: nothing to do, every notebook is up to date", *report.summary(run_dir), str(page)]))
        return run_dir
    (run_dir / "notebooks").mkdir(parents=True, exist_ok=True)
    try:
        lock = filelock.FileLock(run_dir / ".lock").acquire(timeout=0)
    except filelock.Timeout:
        raise StudyError(f"{run_dir}: another run is working there; wait for it or choose another --study") from None
    with lock:
        records = report.read_json(run_dir / "run.json").get("notebooks", {})  # as another run may have left them meanwhile
        answers = panel if panel in NO_SHEETS else os.path.relpath(panel, paths.ROOT)
        state = dict(study=study, status="running", given=given, data=data, panel=answers, notebooks=records, **origin)
        for number, name in enumerate(CHAIN, start=1):
            if is_finished(name, records):
                continue
            # What an earlier run of this notebook left is out of date from here on, whether or not this one ends well.
            for old in records.pop(name, {"outputs": {}})["outputs"]:
                (run_dir / old).unlink(missing_ok=True)
            write(run_dir / "run.json", state)
            before, begun, label = outputs_below(run_dir), time.monotonic(), f"{study} [{number}/{len(CHAIN)}] {name}"
            print(f"{label} ...", flush=True)
            execute(paths.NOTEBOOKS / f"{name}.ipynb", run_dir / "notebooks" / f"{name}.ipynb", resolved[name])
            seconds = round(time.monotonic() - begun, 1)
            written = {file: sha256(run_dir / file) for file, s in outputs_below(run_dir).items() if before.get(file) != s}
            for other in records.values():  # a file belongs to whichever notebook wrote it last
                other["outputs"] = {file: digest for file, digest in other["outputs"].items() if file not in written}
            done = dict(parameters=values[name], outputs=written, seconds=seconds)
            records[name] = done | {"fingerprint": fingerprint(name, records)}
            print(f"{label} done in {seconds:.0f} s, {len(written)} files", flush=True)
        write(page, report.render(run_dir, state, [run_dir / "notebooks" / f"{name}.ipynb" for name in CHAIN]))
        write(run_dir / "run.json", state | {"status": "finished", "page": made_with})
        print("\n".join([*report.summary(run_dir), str(page)]))
    return run_dir
