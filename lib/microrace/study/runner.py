"""Runs a study: the notebooks in order, each once, with nothing left half done.

``python -m microrace.study run --study NAME`` executes `CHAIN` through papermill into ``runs/NAME``::

    runs/NAME/run.json        what ran, with which data, parameters, versions, commit, and how long it took
    runs/NAME/report.html     the executed notebooks on one page
    runs/NAME/notebooks/      the executed notebooks; NAME.failed.ipynb where one stopped with an error
    runs/NAME/*, figures/*    what the notebooks hand over to each other

A notebook is skipped while its *fingerprint* is the same: its own cells and parameters, the modules of this package
that it imports, the versions of the libraries, the bytes of the data and of the panel, and the bytes its upstream
notebooks wrote. Comparing what upstream wrote, rather than whether it ran, means that a corrected sentence in
notebook 01 does not train the network again. Heavy libraries are imported where they are used, so that finding
nothing to do takes a fraction of a second.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from microrace import paths
from microrace.study import report
from microrace.study.environment import git_state, host, kernel_environment, versions
from microrace.study.fingerprints import (
    hash_dataset,
    hash_file,
    hash_panel,
    hash_value,
    is_finished,
    library_files,
    sheets_in,
)
from microrace.study.parameters import (
    WITHOUT_EFFECT,
    StudyError,
    default_parameters,
    given_names,
    read_notebook,
    resolve_parameters,
    source_of,
)
from microrace.study.records import now, outputs_below, read_json, write_whole

# Each notebook with those whose files it reads.
CHAIN = {
    "01-micrographs": (),
    "02-train": ("01-micrographs",),
    "03-human-versus-machine": ("01-micrographs", "02-train"),
    "04-what-matters": ("01-micrographs", "02-train"),
    "05-figures": ("01-micrographs", "02-train", "03-human-versus-machine", "04-what-matters"),
    "06-second-opinion": ("01-micrographs", "02-train", "03-human-versus-machine"),
}


class Progress:
    """A text stream that shows a notebook's own progress and warnings while it runs.

    A terminal is given them as they come, bars that redraw themselves among them. A log gets whole lines, each with
    what it is from, and of a line that was redrawn after carriage returns only what it says in the end.
    """

    def __init__(self, stream, source: str):
        self.stream, self.source, self.line = stream, source, ""
        self.raw = stream.isatty() and os.environ.get("MICRORACE_PROGRESS") != "lines"

    def write(self, text: str) -> None:
        if self.raw:
            self.stream.write(text)
            return
        *lines, self.line = (self.line + text).split("\n")
        for line in lines:
            last = line.rstrip("\r").rpartition("\r")[2]
            if last.strip():
                self.stream.write(f"{self.source}: {last}\n")

    def flush(self) -> None:
        self.stream.flush()


def execute(source: Path, executed: Path, parameters: dict) -> None:
    """Run one notebook through papermill; `executed` exists afterwards only if it ran to its end.

    Raises
    ------
    StudyError
        If a cell raised or the kernel died: with the cell, the end of the traceback, and where to see all of it.
    """
    # nbformat's checker would load a grammar of web addresses, for 2.5 s, and checks no address in a notebook.
    sys.modules.setdefault("rfc3987_syntax", None)

    import papermill
    from nbclient.exceptions import DeadKernelError

    executed.parent.mkdir(parents=True, exist_ok=True)
    running = executed.with_name(f".{executed.stem}.running.ipynb")
    failed = executed.with_name(f"{executed.stem}.failed.ipynb")
    for old in (executed, failed):
        old.unlink(missing_ok=True)
    try:
        papermill.execute_notebook(
            str(source),
            str(running),
            parameters,
            kernel_name="python3",
            progress_bar=False,
            stderr_file=Progress(sys.stderr, f"{executed.parents[1].name} {source.stem}"),
            start_timeout=120,
            cwd=str(executed.parents[1]),
            # The kernel remarks at every start that it listens, and at every end that it was told to stop; what cells raise
            # comes back through papermill.
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
        )
    except papermill.PapermillExecutionError as error:
        os.replace(running, failed)
        if f"[Errno {errno.ENOSPC}]" in error.evalue:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(executed.parents[1])) from None
        cell = "\n".join(f"    {line}" for line in error.source.splitlines()[:20])
        trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback)).strip().splitlines()[-8:]
        raise StudyError(
            f"{source.stem} stopped with an error in this cell:\n\n{cell}\n\n"
            + "\n".join(f"    {line}" for line in trace)
            + f"\n\nThe notebook up to there: {failed}",
            exit_code=1,
        ) from None
    except DeadKernelError:
        os.replace(running, failed)
        raise StudyError(
            f"{source.stem}: its Python process died, most likely for want of memory.\n"
            f"The notebook up to there: {failed}",
            exit_code=1,
        ) from None
    os.replace(running, executed)


def check_scheduler(address: str) -> None:
    """Stop where nobody listens at the address of a dask scheduler, rather than an hour later in notebook 04.

    Raises
    ------
    StudyError
        If it is no address, or no connection can be made.
    """
    if not address:
        return
    try:
        place = urlsplit(address)
        if place.scheme not in ("tcp", "tls") or not place.hostname or not place.port:
            raise ValueError
    except ValueError:  # of a port that is no number, too
        raise StudyError(f"--scheduler {address}: write tcp://host:port, as `dask scheduler` prints it") from None
    try:
        socket.create_connection((place.hostname, place.port), timeout=10).close()
    except OSError as error:
        raise StudyError(
            f"--scheduler {address}: no answer ({error.strerror or error}); start one with `dask scheduler`, "
            "or leave this out"
        ) from None


def check_inputs(dataset: Path, panel: Path | None) -> None:
    """Validate the manifest, then the answer sheets, and stop with all their faults before anything runs.

    Raises
    ------
    StudyError
        With what `manifests.read_manifest`, `panel.read_sheets` or `protocol.read_protocol` found.
    """
    from micrographs import manifest as manifests

    try:
        manifest = manifests.read_manifest(dataset)
        if not (manifest["split"] == "train").any():
            raise StudyError(f"{dataset}: no row has the split 'train', so there is nothing to learn from")
        if panel is not None:
            from readerstudy import sheets as panels
            from readerstudy.protocol import read_protocol

            panels.read_sheets(panel, manifest)
            read_protocol(panel)
    except ValueError as error:  # ManifestError, SheetError, ScaleError and ProtocolError all are
        raise StudyError(str(error)) from None


def run(
    study: str,
    dataset: str | Path | None = None,
    *,
    panel: str | Path = "",
    parameters: list[str] | None = None,
    preferred: list[str] | None = None,
    jobs: int = 1,
    scheduler: str = "",
    runs_dir: Path | None = None,
    notebooks_dir: Path | None = None,
    chain: dict[str, tuple[str, ...]] | None = None,
) -> Path:
    """Bring a study up to date and return its folder.

    Parameters
    ----------
    study : str
        The name of the folder in `runs_dir`.
    dataset : path or str, optional
        The manifest of the micrographs, or the name of an archive in ``data/datasets.toml``, which is fetched first;
        without it, the manifest that the study ran on before, or the rendered one.
    panel : path, optional
        A folder of answer sheets; "" lets notebook 03 simulate a panel.
    parameters : list of str, optional
        ``name=value`` for the notebooks, and ``selection=...`` for an archive.
    preferred : list of str, optional
        ``name=value`` in place of the notebooks' defaults; `parameters` win.
    jobs, scheduler
        Processes on this computer, or the address of a dask scheduler, for notebook 04.
    runs_dir, notebooks_dir, chain
        In place of ``runs/``, ``notebooks/`` and `CHAIN`.

    Raises
    ------
    StudyError
        If an input is bad (nothing has run then), another run works in the folder, or a notebook fails.
    """
    notebooks_dir = Path(notebooks_dir or paths.NOTEBOOKS)
    chain = CHAIN if chain is None else chain
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", study):
        raise StudyError(f"--study {study}: use letters, digits, '-', '_' and '.' only")
    if jobs < 1:
        raise StudyError(f"--jobs {jobs}: at least 1")
    check_scheduler(scheduler)
    given_names(parameters or [])
    if dataset and not Path(dataset).is_file():  # what is no file may be the name of an archive; to tell takes a second
        from micrographs import uhcsdb as datasets

        try:
            dataset, parameters = datasets.manifest_of(dataset, parameters or [])
        except datasets.DatasetError as error:
            raise StudyError(str(error)) from None
    run_dir = Path(runs_dir or paths.RUNS).absolute() / study
    # "Again, with a panel" need not say the data once more.
    known = (read_json(run_dir / "run.json").get("data") or {}).get("manifest")
    dataset = Path(dataset or known or paths.RENDERED / study / "manifest.csv").absolute()
    if not dataset.is_file():
        raise StudyError(
            f"{dataset}: no such manifest; give one with --dataset (make DATASET=... STUDY={study}); `make` alone "
            f"renders the default ones into {paths.RENDERED}"
        )
    panel = Path(panel).absolute() if str(panel) else None
    if panel is not None and not sheets_in(panel):
        raise StudyError(f"--panel {panel}: a folder with answer sheets (.csv or .xlsx) is needed here")
    options = {
        "run_dir": str(run_dir),
        "dataset": str(dataset),
        "panel": str(panel or ""),
        "jobs": jobs,
        "scheduler": scheduler,
    }
    notebooks = {name: read_notebook(notebooks_dir / f"{name}.ipynb") for name in chain}
    declared = {name: default_parameters(notebook) for name, notebook in notebooks.items()}
    resolved = resolve_parameters(declared, parameters or [], options, preferred)

    import filelock

    for folder in (*reversed(run_dir.parents), run_dir, run_dir / "notebooks", run_dir / "figures", run_dir / "sweep"):
        if folder.exists() and not folder.is_dir():
            raise StudyError(f"{folder}: a file lies where a folder is needed; move it away or choose another --study")
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(run_dir / ".lock", timeout=0):
            _run_locked(run_dir, notebooks_dir, chain, notebooks, resolved, dataset, panel)
    except filelock.Timeout:
        raise StudyError(f"{run_dir}: another run is working there; wait for it or choose another --study") from None
    except OSError as error:  # of a write to a file that was open the system does not say which
        raise OSError(error.errno, error.strerror or str(error), error.filename or str(run_dir)) from None
    return run_dir


def _run_locked(run_dir, notebooks_dir, chain, notebooks, resolved, dataset, panel) -> None:
    """Execute what is not finished, then write the report; `run` has the folder to itself here."""
    cache = read_json(run_dir / ".hashes.json")
    state = read_json(run_dir / "run.json")
    records = state.get("notebooks", {})
    data = {"manifest": str(dataset), "sha256": hash_dataset(dataset, cache)}
    sheets = {"folder": str(panel), "sha256": hash_panel(panel, cache)} if panel else None
    package = Path(__file__).parents[1]
    lib_hashes = {
        name: {str(path.relative_to(package)): hash_file(path, cache) for path in library_files(notebook)}
        for name, notebook in notebooks.items()
    }
    ran = versions()

    def fingerprint(name):
        return hash_value(
            {
                "cells": [[cell["cell_type"], source_of(cell)] for cell in notebooks[name]["cells"]],
                "parameters": {k: v for k, v in resolved[name].items() if k not in WITHOUT_EFFECT},
                "library": lib_hashes[name],
                "versions": ran,
                "data": data["sha256"],
                "panel": sheets if "panel" in resolved[name] else None,
                # Figures are for people: no notebook reads them, and 05 writes the ones to publish once more.
                "upstream": {
                    other: {file: d for file, d in records[other]["outputs"].items() if not file.startswith("figures/")}
                    for other in chain[name]
                },
            }
        )

    started = time.monotonic()
    validated = worked = False
    for number, name in enumerate(chain, start=1):
        label = f"{run_dir.name} [{number}/{len(chain)}] {name}"
        executed = run_dir / "notebooks" / f"{name}.ipynb"
        if is_finished(records.get(name), fingerprint(name), executed, cache):
            continue
        if not validated:
            check_inputs(dataset, panel)
            kernel_environment()
            validated = True
            state.update(
                study=run_dir.name,
                status="running",
                started=now(),
                finished=None,
                seed=next((p["seed"] for p in resolved.values() if "seed" in p), None),
                data=data,
                panel=sheets,
                versions=ran,
                git=git_state(),
                host=host(),
                notebooks=records,
            )
            print(f"{run_dir.name}: {dataset} -> {run_dir}", flush=True)
        # What an earlier run of this notebook left is out of date from here on, whether or not this one ends well.
        for old in records.pop(name, {"outputs": {}})["outputs"]:
            (run_dir / old).unlink(missing_ok=True)
        write_whole(run_dir / "run.json", json.dumps(state, indent=1))
        before = outputs_below(run_dir)
        clock, start = time.monotonic(), now()
        print(f"{label} ...", flush=True)
        try:
            execute(notebooks_dir / f"{name}.ipynb", executed, resolved[name])
        except (StudyError, OSError, KeyboardInterrupt) as error:
            state["status"] = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{name} failed"
            with contextlib.suppress(OSError):  # on a full disk the record stays as it was; what stopped the run is told
                write_whole(run_dir / "run.json", json.dumps(state, indent=1))
            raise
        after = outputs_below(run_dir)
        written = {
            file: hash_file(run_dir / file, cache) for file, stamp in sorted(after.items()) if before.get(file) != stamp
        }
        for other in records.values():  # a file belongs to whichever notebook wrote it last
            other["outputs"] = {file: digest for file, digest in other["outputs"].items() if file not in written}
        records[name] = {
            "fingerprint": fingerprint(name),
            "parameters": resolved[name],
            "outputs": written,
            "started": start,
            "seconds": round(time.monotonic() - clock, 1),
            "git": state["git"],
        }
        worked = True
        print(f"{label} done in {records[name]['seconds']:.0f} s, {len(written)} files", flush=True)

    page = run_dir / "report.html"
    executed = [run_dir / "notebooks" / f"{name}.ipynb" for name in chain]
    sources = hash_value([hash_file(path, cache) for path in [*executed, *report.SOURCES]])
    if worked or state.get("report") != sources or not page.is_file():
        write_whole(page, report.render_report(run_dir, executed))
        state.update(status="finished", finished=now(), report=sources)
        if worked:
            state["seconds"] = round(time.monotonic() - started, 1)
        write_whole(run_dir / "run.json", json.dumps(state, indent=1))
    write_whole(run_dir / ".hashes.json", json.dumps(cache))
    if not worked:
        print(f"{run_dir.name}: nothing to do, every notebook is up to date")
