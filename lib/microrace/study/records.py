"""The files of a run's folder: which of them notebooks wrote, and how those of the runner are read and written."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path

from microrace.whole import written_whole

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
    """Write a text, whole or not at all."""
    with written_whole(path) as file:
        file.write_text(text, encoding="utf-8")


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
