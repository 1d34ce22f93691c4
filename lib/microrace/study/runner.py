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

import argparse
import ast
import csv
import datetime
import difflib
import hashlib
import html
import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from microrace import paths
from microrace.study import prediction

# Each notebook with those whose files it reads.
CHAIN = {
    "01-micrographs": (),
    "02-train": ("01-micrographs",),
    "03-human-versus-machine": ("01-micrographs", "02-train"),
    "04-what-matters": ("01-micrographs", "02-train"),
    "05-figures": ("01-micrographs", "02-train", "03-human-versus-machine", "04-what-matters"),
    "06-second-opinion": ("01-micrographs", "02-train", "03-human-versus-machine"),
}

# Parameters that the command line sets by options of their own, with the option.
OPTIONS = {
    "run_dir": "--study",
    "dataset": "--dataset",
    "panel": "--panel",
    "jobs": "--jobs",
    "scheduler": "--scheduler",
}
# Where and on how many cores a notebook runs does not change what it finds.
WITHOUT_EFFECT = {"run_dir", "jobs", "scheduler"}

# The libraries whose version can change a number or a figure.
PACKAGES = (
    "albumentations numpy opencv-python-headless pandas pytorch-metric-learning scikit-image scikit-learn scipy "
    "statsmodels tifffile torch matplotlib pillow papermill"
).split()

# Figures that show micrographs, and what without a figure belongs to what is published.
SHOW_MICROGRAPHS = ("examples", "augmentation", "explanations", "hardest", "explore")
CLOSING_TABLES = ("metrics.json", "coverage.csv", "none-of-these.csv", "quiz-of-methods.csv")

# In a run's folder but not what a notebook hands over; checkpoints may be deleted at any time. A sweep's finished runs
# know by themselves what they are of: a larger grid, another seed or an interrupted sweep goes on from them.
NOT_OUTPUTS = re.compile(r"^(notebooks/|sweep/|run\.json$|report\.html$|quiz\.html$)|(^|/)\.|checkpoint")


class StudyError(Exception):
    """A study that cannot go on; the message is for the user and `exit_code` for the shell."""

    def __init__(self, message: str, exit_code: int = 2):
        super().__init__(message)
        self.exit_code = exit_code


# --- parameters ------------------------------------------------------------------------------------------------------


def read_notebook(path: Path) -> dict:
    """Return a notebook as the plain dictionary of its JSON.

    Raises
    ------
    StudyError
        If the file is missing or is not a notebook.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        return notebook if notebook["cells"] else {}["no cells"]
    except FileNotFoundError:
        raise StudyError(f"{path}: no such notebook") from None
    except (ValueError, KeyError, TypeError):
        raise StudyError(f"{path}: not a notebook") from None


def _source(cell: dict) -> str:
    return "".join(cell["source"])


def default_parameters(notebook: dict) -> dict:
    """Return the parameters a notebook declares, name to default, in the order they are written.

    Papermill's own `inspect_notebook` reads them line by line with a regular expression; the syntax tree also
    tells a literal from an expression. An expression is refused: papermill puts the new values in a cell *after*
    this one, so whatever was computed here would silently keep the default's value.

    Raises
    ------
    StudyError
        If a parameter is not a literal.
    """
    found = {}
    for cell in notebook["cells"]:
        if "parameters" not in cell.get("metadata", {}).get("tags", []):
            continue
        for line in ast.parse(_source(cell)).body:
            target = line.target if isinstance(line, ast.AnnAssign) else getattr(line, "targets", [None])[0]
            if not isinstance(target, ast.Name):
                raise StudyError(f"the parameters cell may only assign literals, not {ast.unparse(line)!r}")
            try:
                found[target.id] = ast.literal_eval(line.value)
            except (ValueError, TypeError):
                raise StudyError(
                    f"the parameter {target.id} is computed in the parameters cell ({ast.unparse(line)}); "
                    "give a literal there and compute in a later cell"
                ) from None
    return found


def convert(name: str, text: str, default):
    """Return the text of ``-p name=text`` as a value of the type of the notebook's default.

    Raises
    ------
    StudyError
        If the text is not of that type. ``1e-3`` is a number here, unlike in YAML.
    """
    kind = type(default)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.strip().lower()]
        if kind is int:
            return int(text)
        if kind is float:
            if not math.isfinite(float(text)):
                raise ValueError
            return float(text)
        if kind is str:
            return text
        value = ast.literal_eval(text)
    except (KeyError, ValueError, SyntaxError):
        raise _mismatch(name, text, default) from None
    if default is None:
        return value
    value = list(value) if kind is list and isinstance(value, tuple) else value
    if not isinstance(value, kind):
        raise _mismatch(name, text, default)
    if kind in (list, tuple) and default:
        # A list of numbers takes numbers, a list of strings strings.
        allowed = {type(item) for item in default} | ({int} if float in map(type, default) else set())
        if not all(type(item) in allowed for item in value):
            raise _mismatch(name, text, default)
    return value


def _mismatch(name: str, text: str, default) -> StudyError:
    words = {bool: "true or false", int: "a whole number", float: "a finite number", list: "a list", tuple: "a tuple"}
    wanted = words.get(type(default), f"a {type(default).__name__}")
    return StudyError(f"parameter {name}: {text!r} is not {wanted} (the default is {default!r})")


def resolve_parameters(declared: dict[str, dict], given: list[str], options: dict) -> dict[str, dict]:
    """Return the parameters of each notebook: its defaults, then the options, then ``name=value`` from the user.

    A given name goes to every notebook that declares it.

    Parameters
    ----------
    declared : dict
        Notebook name to its `default_parameters`.
    given : list of str
        ``name=value``, as typed.
    options : dict
        Values for the parameters in `OPTIONS`.

    Raises
    ------
    StudyError
        If no notebook declares a name (with the names close to it), or a value is of the wrong type.
    """
    everywhere = {name for parameters in declared.values() for name in parameters}
    resolved = {
        notebook: {name: options.get(name, default) for name, default in parameters.items()}
        for notebook, parameters in declared.items()
    }
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise StudyError(f"-p {text}: write -p name=value")
        if name in OPTIONS:
            raise StudyError(f"-p {name}: set this with {OPTIONS[name]}")
        if name not in everywhere:
            open_names = sorted(everywhere - set(OPTIONS))
            close = difflib.get_close_matches(name, open_names)
            hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(open_names)}"
            raise StudyError(f"unknown parameter {name}: no notebook declares it; {hint}")
        for notebook, parameters in declared.items():
            if name in parameters:
                resolved[notebook][name] = convert(name, value, parameters[name])
    return resolved


# --- fingerprints ----------------------------------------------------------------------------------------------------


def hash_file(path: Path, cache: dict) -> str:
    """Return the SHA-256 of a file, from `cache` while its size and modification time are the same."""
    status = path.stat()
    key, stamp = str(path), [status.st_size, status.st_mtime_ns]
    if cache.get(key, [None])[:-1] != stamp:
        with open(path, "rb") as file:
            cache[key] = [*stamp, hashlib.file_digest(file, "sha256").hexdigest()]
    return cache[key][-1]


def _hash(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def hash_dataset(manifest: Path, cache: dict) -> str:
    """Return a hash of a manifest's bytes and of those of every image it lists, without judging either."""
    hashes = [hash_file(manifest, cache)]
    with open(manifest, encoding="utf-8-sig", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            path = manifest.parent / (row.get("file") or "")
            hashes.append(hash_file(path, cache) if path.is_file() else "missing")
    return _hash(hashes)


def hash_panel(panel: Path, cache: dict) -> str:
    """Return a hash of the names and bytes of the answer sheets in a folder."""
    return _hash({path.name: hash_file(path, cache) for path in sorted(panel.glob("*.csv"))})


def library_files(notebook: dict) -> list[Path]:
    """Return the files of this package that a notebook's results can depend on.

    Those are the modules it imports, those that these import in turn, and the package's data files. If the code
    cannot be parsed, every module counts.
    """
    package = Path(__file__).parents[1]
    modules = {
        path.relative_to(package.parent).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
        for path in package.rglob("*.py")
        if path.parent.name != "study" and path.stem != "quiz"
    }
    code = "\n".join(_source(cell) for cell in notebook["cells"] if cell["cell_type"] == "code")
    code = re.sub(r"^\s*[%!?].*$", "", code, flags=re.MULTILINE)  # IPython's own syntax
    found, queue = set(), [code]
    while queue:
        try:
            tree = ast.walk(ast.parse(queue.pop()))
        except SyntaxError:
            found = set(modules)
            break
        names = set()
        for node in tree:
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
        new = (names & set(modules)) - found
        found |= new
        queue += [modules[name].read_text(encoding="utf-8") for name in new]
    data = [path for path in package.rglob("*") if path.suffix in (".pt", ".json")]
    return sorted([package / "__init__.py", *(modules[name] for name in found), *data])


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries in `PACKAGES`."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def outputs_below(run_dir: Path) -> dict[str, tuple[int, int]]:
    """Return every file that notebooks can have written: relative path to (size in bytes, time in ns)."""
    found = {}
    for path in run_dir.rglob("*"):
        relative = path.relative_to(run_dir).as_posix()
        if path.is_file() and not NOT_OUTPUTS.search(relative):
            found[relative] = (path.stat().st_size, path.stat().st_mtime_ns)
    return found


def _is_finished(record: dict | None, fingerprint: str, executed: Path, cache: dict) -> bool:
    """Whether a notebook ran to its end with this fingerprint and everything it wrote is still there, unchanged."""
    if not record or record["fingerprint"] != fingerprint or not executed.is_file():
        return False
    files = {executed.parents[1] / name: digest for name, digest in record["outputs"].items()}
    return all(path.is_file() and hash_file(path, cache) == digest for path, digest in files.items())


# --- running ---------------------------------------------------------------------------------------------------------


def _read_json(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_whole(path: Path, text: str) -> None:
    """Write a file under another name first, so that it is never seen half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def git_state() -> dict:
    """Return the commit of this checkout and whether files differ from it; None where git cannot say."""

    def git(*arguments):
        command = ["git", "-C", str(paths.ROOT), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    status = git("status", "--porcelain")
    return {"commit": git("rev-parse", "--verify", "HEAD"), "dirty": None if status is None else bool(status)}


def host() -> dict:
    """Return facts about this computer that explain a timing."""
    try:
        model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (OSError, ValueError):
        model, memory = None, None
    return {
        "platform": platform.platform(),
        "cpu": model.group(1) if model else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": memory and round(memory, 1),
    }


class Progress:
    """A text stream that shows a notebook's own progress bars as they would look in a terminal.

    A bar redraws its line after a carriage return. A terminal is given that as it comes; a log file only gets
    what each line says in the end.
    """

    def __init__(self, stream):
        self.stream, self.line = stream, ""

    def write(self, text: str) -> None:
        if self.stream.isatty():
            self.stream.write(text)
            return
        *lines, self.line = (self.line + text).split("\n")
        for line in lines:
            last = line.rstrip("\r").rpartition("\r")[2]
            if last.strip():
                self.stream.write(last + "\n")

    def flush(self) -> None:
        self.stream.flush()


def execute(source: Path, executed: Path, parameters: dict) -> None:
    """Run one notebook through papermill; `executed` exists afterwards only if it ran to its end.

    Raises
    ------
    StudyError
        If a cell raised or the kernel died: with the cell, the end of the traceback, and where to see all of it.
    """
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
            stderr_file=Progress(sys.stderr),
            start_timeout=120,
            cwd=str(executed.parents[1]),
            # The kernel remarks at every start that it listens, and at every end that it was told to stop; what cells raise
            # comes back through papermill.
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
        )
    except papermill.PapermillExecutionError as error:
        os.replace(running, failed)
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


def check_inputs(dataset: Path, panel: Path | None) -> None:
    """Validate the manifest, then the answer sheets, and stop with all their faults before anything runs.

    Raises
    ------
    StudyError
        With what `manifests.read_manifest` or `panel.read_sheets` found.
    """
    from microrace.images import manifests

    try:
        manifest = manifests.read_manifest(dataset)
        if not (manifest["split"] == "train").any():
            raise StudyError(f"{dataset}: no row has the split 'train', so there is nothing to learn from")
        if panel is not None:
            from microrace.people import panel as panels

            panels.read_sheets(panel, manifest)
    except ValueError as error:  # ManifestError, SheetError and ScaleError all are
        raise StudyError(str(error)) from None


def _kernel_environment() -> None:
    """Let the notebooks' kernels find this very package, and nothing ask the network."""
    library = str(Path(__file__).parents[2])
    others = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and part != library]
    os.environ["PYTHONPATH"] = os.pathsep.join([library, *others])
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # this environment's kernel, not one the user once installed
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    os.environ.setdefault("PYTHONHASHSEED", "0")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # silences a debugger's remark at every start


def run(
    study: str,
    dataset: str | Path | None = None,
    *,
    panel: str | Path = "",
    parameters: list[str] | None = None,
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
    from microrace.images import datasets

    try:
        dataset, parameters = datasets.manifest_of(dataset, parameters or [])
    except datasets.DatasetError as error:
        raise StudyError(str(error)) from None
    run_dir = Path(runs_dir or paths.RUNS).absolute() / study
    # "Again, with a panel" need not say the data once more.
    known = (_read_json(run_dir / "run.json").get("data") or {}).get("manifest")
    dataset = Path(dataset or known or paths.RENDERED / study / "manifest.csv").absolute()
    if not dataset.is_file():
        raise StudyError(
            f"{dataset}: no such manifest; give one with --dataset (make DATASET=... STUDY={study}); `make` alone "
            f"renders the default ones into {paths.RENDERED}"
        )
    panel = Path(panel).absolute() if str(panel) else None
    if panel is not None and not list(panel.glob("*.csv")):
        raise StudyError(f"--panel {panel}: a folder with answer sheets (*.csv) is needed here")
    options = {
        "run_dir": str(run_dir),
        "dataset": str(dataset),
        "panel": str(panel or ""),
        "jobs": jobs,
        "scheduler": scheduler,
    }
    notebooks = {name: read_notebook(notebooks_dir / f"{name}.ipynb") for name in chain}
    declared = {name: default_parameters(notebook) for name, notebook in notebooks.items()}
    resolved = resolve_parameters(declared, parameters or [], options)

    import filelock

    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(run_dir / ".lock", timeout=0):
            _run_locked(run_dir, notebooks_dir, chain, notebooks, resolved, dataset, panel)
    except filelock.Timeout:
        raise StudyError(f"{run_dir}: another run is working there; wait for it or choose another --study") from None
    return run_dir


def _run_locked(run_dir, notebooks_dir, chain, notebooks, resolved, dataset, panel) -> None:
    """Execute what is not finished, then write the report; `run` has the folder to itself here."""
    cache = _read_json(run_dir / ".hashes.json")
    state = _read_json(run_dir / "run.json")
    records = state.get("notebooks", {})
    data = {"manifest": str(dataset), "sha256": hash_dataset(dataset, cache)}
    sheets = {"folder": str(panel), "sha256": hash_panel(panel, cache)} if panel else None
    lib_hashes = {
        name: {path.name: hash_file(path, cache) for path in library_files(notebook)}
        for name, notebook in notebooks.items()
    }
    ran = versions()

    def fingerprint(name):
        return _hash(
            {
                "cells": [[cell["cell_type"], _source(cell)] for cell in notebooks[name]["cells"]],
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
        label = f"[{number}/{len(chain)}] {name}"
        executed = run_dir / "notebooks" / f"{name}.ipynb"
        if _is_finished(records.get(name), fingerprint(name), executed, cache):
            continue
        if not validated:
            check_inputs(dataset, panel)
            _kernel_environment()
            validated = True
            state.update(
                study=run_dir.name,
                status="running",
                started=_now(),
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
        _write_whole(run_dir / "run.json", json.dumps(state, indent=1))
        before = outputs_below(run_dir)
        clock, start = time.monotonic(), _now()
        print(f"{label} ...", flush=True)
        try:
            execute(notebooks_dir / f"{name}.ipynb", executed, resolved[name])
        except (StudyError, KeyboardInterrupt) as error:
            state["status"] = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{name} failed"
            _write_whole(run_dir / "run.json", json.dumps(state, indent=1))
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

    report = run_dir / "report.html"
    executed = [run_dir / "notebooks" / f"{name}.ipynb" for name in chain]
    sources = _hash([hash_file(path, cache) for path in [*executed, Path(__file__)]])
    if worked or state.get("report") != sources or not report.is_file():
        _write_whole(report, render_report(run_dir, executed))
        state.update(status="finished", finished=_now(), report=sources)
        if worked:
            state["seconds"] = round(time.monotonic() - started, 1)
        _write_whole(run_dir / "run.json", json.dumps(state, indent=1))
    _write_whole(run_dir / ".hashes.json", json.dumps(cache))
    if not worked:
        print(f"{run_dir.name}: nothing to do, every notebook is up to date")


# --- what came out ---------------------------------------------------------------------------------------------------


def simulated_parts(run_dir: Path) -> list[str]:
    """Return which of "micrographs" and "panel" are simulated in a finished study."""
    parts = ["micrographs"] if _read_json(run_dir / "dataset.json").get("simulated") else []
    readers = run_dir / "readers.csv"
    if readers.is_file():
        with open(readers, encoding="utf-8", newline="") as file:
            if any((row.get("kind") or "").startswith("simulated") for row in csv.DictReader(file)):
                parts.append("panel")
    return parts


def _interval(found, name: str) -> str | None:
    """Return "0.78 (0.62 to 0.89)" for {"value", "low", "high"}, or None where there is no number."""
    entry = found.get(name) if isinstance(found, dict) else None
    if isinstance(entry, dict):
        value, low, high = (entry.get(key) for key in ("value", "low", "high"))
    else:
        value, low, high = entry, None, None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    text = f"{value:.2f}"
    if isinstance(low, int | float) and isinstance(high, int | float):
        text += f" ({low:.2f} to {high:.2f})"
    return text


def headline(run_dir: Path) -> list[str]:
    """Return the lines that sum a study up, from ``metrics.json`` and ``comparison.json``; what is absent is left out."""
    metrics, comparison = _read_json(run_dir / "metrics.json"), _read_json(run_dir / "comparison.json")
    lines = []
    for who, found in (
        ("machine", metrics),
        ("scale alone", metrics.get("scale_alone")),
        ("validation", metrics.get("validation")),
    ):
        parts = [
            f"{title} {text}"
            for title, name in (("accuracy", "accuracy"), ("balanced", "balanced_accuracy"))
            if (text := _interval(found, name))
        ]
        if parts:
            lines.append(f"  {who:<14}{', '.join(parts)}")
    for who, name in (("panel mean", "panel_mean"), ("majority vote", "majority_vote")):
        if text := _interval(comparison, name):
            lines.append(f"  {who:<14}accuracy {text}")
    for reason in metrics.get("skipped") or []:
        lines.append(f"  skipped       {reason}")
    simulated = simulated_parts(run_dir)
    if simulated:
        lines.append(f"  simulated     {' and '.join(simulated)}")
    return lines


STYLE = """
:root { --ink: #1c2230; --soft: #5b6475; --line: #dde1e8; --paper: #ffffff; --tint: #f5f6f9; --accent: #0b5c8c; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--paper); font: 16px/1.6 "Source Serif 4", Georgia, serif; }
.banner { background: #8c3b00; color: #fff; padding: .6rem 2rem; font-family: system-ui, sans-serif; }
.page { display: grid; grid-template-columns: 17rem minmax(0, 50rem); gap: 3rem; padding: 2rem; }
nav { position: sticky; top: 1.5rem; align-self: start; max-height: 94vh; overflow: auto;
      font: 14px/1.45 system-ui, sans-serif; }
nav ul { list-style: none; margin: .2rem 0 .8rem; padding-left: .9rem; } nav > ul { padding: 0; }
nav a { color: var(--soft); text-decoration: none; } nav > ul > li > a { color: var(--ink); font-weight: 600; }
nav a:hover { color: var(--accent); text-decoration: underline; }
h1, h2, h3, h4 { font-family: system-ui, sans-serif; line-height: 1.25; margin: 2.2rem 0 .8rem; }
h1 { font-size: 1.75rem; } h2 { font-size: 1.3rem; } h3 { font-size: 1.05rem; }
section { border-top: 3px solid var(--ink); margin-top: 3rem; } a { color: var(--accent); }
a.anchor-link { display: none; }
pre, code { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
p code, li code, td code { background: var(--tint); padding: .1em .3em; border-radius: 3px; }
pre { overflow-x: auto; margin: 0; padding: .7rem .9rem; background: var(--tint); border-radius: 5px; }
.summary pre { border-left: 3px solid var(--accent); }
details.input { margin: .6rem 0; } details.input > summary { cursor: pointer; color: var(--soft);
      font: 12.5px system-ui, sans-serif; }
.jp-InputPrompt, .jp-OutputPrompt, .jp-Collapser { display: none; }
.jp-OutputArea-output { margin: .6rem 0; overflow-x: auto; }
img, svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font: 13.5px/1.4 system-ui, sans-serif; margin: .8rem 0; }
th, td { border: 0; border-bottom: 1px solid var(--line); padding: .3rem .7rem; text-align: right; }
thead th { border-bottom: 2px solid var(--ink); } blockquote { margin: 1rem 0; padding-left: 1rem;
      border-left: 3px solid var(--line); color: var(--soft); }
footer { color: var(--soft); font: 13px system-ui, sans-serif; border-top: 1px solid var(--line); margin-top: 3rem; }
@media (max-width: 60rem) { .page { display: block; padding: 1rem; } nav { position: static; } }
@media print { nav, details.input { display: none; } .page { display: block; } }
"""

# Input cells fold away; the outputs and the prose are the report.
TEMPLATE = """{% extends 'basic/index.html.j2' %}
{% block input_group %}<details class="input"><summary>code</summary>{{ super() }}</details>{% endblock %}"""


def render_report(run_dir: Path, executed: list[Path]) -> str:
    """Return the executed notebooks as one HTML page that needs no other file.

    Progress bars and warnings (stderr) stay in the executed notebooks; cells tagged ``hide-report`` and the cells
    in which papermill wrote the parameters are shown folded like all code.
    """
    import nbformat
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    exporter = HTMLExporter(
        template_file="report.html.j2", extra_loaders=[DictLoader({"report.html.j2": TEMPLATE})], embed_images=True
    )
    contents, sections = [], []
    for path in executed:
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        notebook.metadata.pop("widgets", None)
        body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"path": str(run_dir)}})
        # Two notebooks may have a heading of the same name; links between notebooks become links in the page.
        body = re.sub(r'(<h[1-6][^>]*\bid=")', rf"\g<1>{path.stem}-", body)
        body = re.sub(r'href="#', f'href="#{path.stem}-', body)
        body = re.sub(r'href="(?:\./)?(\d\d-[\w-]+)\.ipynb"', r'href="#\1"', body)
        headings = re.findall(r'<h([12])[^>]*\bid="([^"]*)"[^>]*>(.*?)(?:<a class="anchor-link"|</h)', body, re.DOTALL)
        plain = [(level, anchor, re.sub(r"<[^>]*>", "", text).strip()) for level, anchor, text in headings]
        title = next((text for level, _, text in plain if level == "1"), path.stem)
        inner = "".join(f'<li><a href="#{anchor}">{text}</a></li>' for level, anchor, text in plain if level == "2")
        contents.append(f'<li><a href="#{path.stem}">{title}</a><ul>{inner}</ul></li>')
        sections.append(f'<section id="{path.stem}">{body}</section>')

    name, state = html.escape(run_dir.name), _read_json(run_dir / "run.json")
    simulated = simulated_parts(run_dir)
    banner = (
        f'<div class="banner" role="note"><strong>Simulated:</strong> the {" and the ".join(simulated)} of this study '
        "were generated by the computer. The numbers show what the method does, not what people can do.</div>"
        if simulated
        else ""
    )
    summary = html.escape("\n".join(line.strip() for line in headline(run_dir))) or "no headline numbers"
    commit = (state.get("git") or {}).get("commit") or "no commit"
    dirty = ", with changes not committed" if (state.get("git") or {}).get("dirty") else ""
    facts = html.escape(
        f"Data {(state.get('data') or {}).get('manifest', '')}, started {state.get('started', '')}, "
        f"seed {state.get('seed')}, {commit}{dirty}. Everything else is in run.json."
    )
    # tojson-like safety is not needed: every piece is either ours, escaped above, or nbconvert's own HTML.
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}{HtmlFormatter(style='friendly').get_style_defs('.highlight')}</style></head><body>{banner}"
        f'<div class="page"><nav aria-label="Contents"><ul>{"".join(contents)}</ul></nav><main>'
        f'<h1>Study {name}</h1><div class="summary"><pre>{summary}</pre></div>{"".join(sections)}'
        f"<footer><p>{facts}</p></footer></main></div></body></html>\n"
    )


# --- checking a study again ------------------------------------------------------------------------------------------


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
    state = _read_json(run_dir / "run.json")
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
    left_out = () if _read_json(run_dir / "dataset.json").get("simulated") else SHOW_MICROGRAPHS
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


def lock_mismatches(lock: Path) -> list[str]:
    """Return the lines of the lock that this environment does not satisfy exactly; a local part (+cpu) is ignored."""
    wrong = []
    for line in lock.read_text(encoding="utf-8").splitlines():
        name, equals, wanted = line.partition("#")[0].strip().partition("==")
        if not equals:
            continue
        try:
            found = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found = "absent"
        if found != wanted:
            wrong.append(f"{name}: the lock has {wanted}, here {found}")
    return wrong


# --- command line ----------------------------------------------------------------------------------------------------


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m microrace.study", description="Run studies and use what they made.")
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("run", help="run the notebooks that are not up to date")
    command.add_argument("--study", required=True, help="name of the folder in runs/")
    command.add_argument("--dataset", help="manifest, or the name of an archive; without it, the one of before")
    command.add_argument("--panel", default="", help="folder of answer sheets; without it a panel is simulated")
    command.add_argument("-p", dest="parameters", action="append", default=[], metavar="name=value", help="a parameter")
    command.add_argument("--jobs", type=int, default=1, help="processes for the ablations")
    command.add_argument("--scheduler", default="", help="dask scheduler for the ablations, tcp://host:port")
    command.add_argument("--runs-dir", type=Path, help="in place of runs/")

    command = commands.add_parser("predict", help="let a finished study name the structures in new micrographs")
    prediction.add_arguments(command)

    command = commands.add_parser("verify", help="run a finished study again and compare every file")
    command.add_argument("--study", required=True)
    command = commands.add_parser("publish", help="copy a study's figures to figures/")
    command.add_argument("--study", required=True)
    commands.add_parser("check-environment", help="compare the installed packages with the lock")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None, **places) -> int:
    """Run the command line and return its exit code: 0 done, 1 a notebook failed, 2 bad input, 130 interrupted.

    `places` may hold the `notebooks_dir` and `chain` of `run`.
    """
    arguments = _arguments(argv)

    def stop(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)  # `kill` stops the kernel and says how to go on, like Ctrl-C
    try:
        if arguments.command == "run":
            run_dir = run(
                arguments.study,
                arguments.dataset,
                panel=arguments.panel,
                parameters=arguments.parameters,
                jobs=arguments.jobs,
                scheduler=arguments.scheduler,
                runs_dir=arguments.runs_dir,
                **places,
            )
            print("\n".join([f"{run_dir.name}:", *headline(run_dir), f"  report        {run_dir / 'report.html'}"]))
        elif arguments.command == "predict":
            try:
                return prediction.predict(arguments)
            except (ValueError, FileNotFoundError) as error:
                raise StudyError(str(error)) from None
        elif arguments.command == "verify":
            verify(arguments.study, **places)
        elif arguments.command == "publish":
            publish(arguments.study)
        else:
            wrong = lock_mismatches(paths.ROOT / "requirements.txt")
            if wrong:
                raise StudyError("\n".join(wrong), 1)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        again = f"python -m microrace.study {' '.join(sys.argv[1:] if argv is None else argv)}"
        print(
            "\ninterrupted; finished notebooks are kept and training goes on from its last epoch. To go on, run the "
            f"same command again:\n  {again}",
            file=sys.stderr,
        )
        return 130
    return 0

