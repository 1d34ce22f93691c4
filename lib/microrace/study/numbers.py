"""The numbers that a study publishes, how far each may be off when it is reproduced, and whether it was.

A number counts as reproduced when it differs from the published one by no more than its tolerance:

- what counts images, readers or specimens (whole numbers named ``n`` or ``n_...``) has none;
- where the study was also run with other seeds (``tolerance``), it is twice the standard deviation over the seeds, the
  published one among them: another machine or another number of threads rounds otherwise, which moves a trained head no
  farther than another start does;
- otherwise it is what two images of the quiz answered otherwise change a share by, for numbers above 1 in proportion.
"""

from __future__ import annotations

import csv
import io
import math
import re
import statistics
from pathlib import Path
from typing import NamedTuple

from microrace.study.records import read_json, write_whole

FILE = "numbers.csv"
# JSON files whose every number counts, and tables with the columns that name a row and those that hold numbers.
JSON_FILES = ("metrics.json", "comparison.json", "second-opinion.json")
OF_SWEEP = "levels.csv"
TABLES = {
    "readers.csv": (("decision_maker",), ("accuracy", "balanced_accuracy")),
    OF_SWEEP: (("factor", "level"), ("accuracy", "balanced_accuracy", "difference")),
    "teams.csv": (("who",), ("accuracy",)),
}
COUNT = re.compile(r"(^|[. ])n(_\w+)?$")
SEEDS_APART = 2.0  # standard deviations over the seeds
IMAGES_APART = 2  # where there is one seed


class Number(NamedTuple):
    """A published number: ``source`` is its file, and ``rule`` says in words where the tolerance is from."""

    name: str
    value: float
    tolerance: float
    rule: str
    source: str


class Verdict(NamedTuple):
    """A published number beside the one found now, which is None where it is no longer there."""

    number: Number
    now: float | None

    @property
    def reproduced(self) -> bool:
        """Whether the two differ by no more than the tolerance and the last digits of a decimal fraction."""
        number, now = self.number, self.now
        return now is not None and abs(now - number.value) <= number.tolerance + 1e-9 * max(1.0, abs(number.value))


def _leaves(value, name: str = ""):
    """Yield (dotted name, number) for every finite number in nested dictionaries and lists; clocks do not count."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if "seconds" not in key:
                yield from _leaves(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _leaves(inner, f"{name}.{i}")
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield name, float(value)


def values_of(run_dir: Path) -> dict[tuple[str, str], float]:
    """Return the numbers of a run's folder: (file, name) to value."""
    found = {}
    for file in JSON_FILES:
        found |= {(file, name): value for name, value in _leaves(read_json(run_dir / file))}
    for file, (keys, columns) in TABLES.items():
        if not (run_dir / file).is_file():
            continue
        with open(run_dir / file, encoding="utf-8", newline="") as table:
            for row in csv.DictReader(table):
                who = ", ".join(row.get(key) or "" for key in keys)
                for column in columns:
                    try:
                        value = float(row.get(column) or "nan")
                    except ValueError:
                        continue
                    if math.isfinite(value):
                        found[file, f"{who}: {column}"] = value
    return found


def numbers_of(run_dir: Path, seeds: list[Path] = ()) -> list[Number]:
    """Return the numbers of a finished study with their tolerances.

    Parameters
    ----------
    run_dir : Path
        Of the study.
    seeds : list of Path
        Folders of the same study run with other seeds. A number that one of them lacks is treated as if there were none.
    """
    values, others = values_of(run_dir), [values_of(folder) for folder in seeds]
    n_quiz = values.get(("metrics.json", "n_quiz")) or values.get(("metrics.json", "n_train")) or 1.0
    found = []
    for (file, name), value in values.items():
        spread = [other[file, name] for other in others if (file, name) in other]
        if COUNT.search(name) and value.is_integer():
            tolerance, rule = 0.0, "a count"
        elif others and len(spread) == len(others):
            tolerance = SEEDS_APART * statistics.stdev([value, *spread])
            rule = f"{SEEDS_APART:g} standard deviations over {len(spread) + 1} seeds"
        else:
            tolerance, rule = max(1.0, abs(value)) * IMAGES_APART / n_quiz, f"{IMAGES_APART} images of {n_quiz:.0f}"
        found.append(Number(name, value, tolerance, rule, file))
    return found


def write_numbers(numbers: list[Number], path: Path) -> None:
    """Write numbers as a table that reads back as the same ones."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([Number._fields, *numbers])
    write_whole(path, text.getvalue())


def read_numbers(path: Path) -> list[Number]:
    """Return the numbers of a table that `write_numbers` wrote.

    Raises
    ------
    ValueError
        If a row is not one of a number; the message names the file and the row.
    """
    found = []
    with open(path, encoding="utf-8", newline="") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            try:
                numbers = {key: float(row[key]) for key in ("value", "tolerance")}
                if not all(math.isfinite(value) for value in numbers.values()) or numbers["tolerance"] < 0:
                    raise ValueError
                found.append(Number(**{**{key: row[key] for key in Number._fields}, **numbers}))
            except (KeyError, TypeError, ValueError):
                raise ValueError(
                    f"{path}, row {line}: name, value, tolerance, rule and source are needed, value and tolerance as "
                    "numbers; `make figures` writes the table"
                ) from None
    return found


def compare(published: list[Number], run_dir: Path) -> list[Verdict]:
    """Return each published number beside that of a run's folder."""
    now = values_of(run_dir)
    return [Verdict(number, now.get((number.source, number.name))) for number in published]


def table_lines(verdicts: list[Verdict]) -> list[str]:
    """Return the verdicts as the lines of a table for a terminal."""
    rows = [("number", "published", "now", "may differ by", "")]
    for number, now in verdicts:
        word = "REPRODUCED" if Verdict(number, now).reproduced else "DIFFERS"
        found = "absent" if now is None else f"{now:.4g}"
        rows.append((f"{number.source} {number.name}", f"{number.value:.4g}", found, f"{number.tolerance:.2g}", word))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return [
        f"{name:<{widths[0]}}  " + "  ".join(f"{text:>{w}}" for text, w in zip(rest, widths[1:], strict=True)) + f"  {word}"
        for name, *rest, word in rows
    ]
