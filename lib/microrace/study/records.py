"""The files of a run's folder: which of them notebooks wrote, and how those of the runner are read and written."""

from __future__ import annotations

import datetime
import json
import os
import re
from pathlib import Path

# In a run's folder but not what a notebook hands over; checkpoints may be deleted at any time. A sweep's finished runs
# know by themselves what they are of: a larger grid, another seed or an interrupted sweep goes on from them.
NOT_OUTPUTS = re.compile(r"^(notebooks/|sweep/|run\.json$|report\.html$|quiz\.html$)|(^|/)\.|checkpoint")


def outputs_below(run_dir: Path) -> dict[str, tuple[int, int]]:
    """Return every file that notebooks can have written: relative path to (size in bytes, time in ns)."""
    found = {}
    for path in run_dir.rglob("*"):
        relative = path.relative_to(run_dir).as_posix()
        if path.is_file() and not NOT_OUTPUTS.search(relative):
            found[relative] = (path.stat().st_size, path.stat().st_mtime_ns)
    return found


def read_json(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_whole(path: Path, text: str) -> None:
    """Write a file under another name first, so that it is never seen half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
