"""What a study is told: the parameters that notebooks declare, and values for them, checked before anything runs."""

from __future__ import annotations

import ast
import json
import math
import re
from pathlib import Path

# Parameters that the command line sets by options of their own, with the option.
OPTIONS = {"run_dir": "--study", "dataset": "--dataset", "panel": "--panel", "jobs": "--jobs", "scheduler": "--scheduler"}
LINE = re.compile(r"(\w+): (?:str|int|float|bool) = (.+?)  # (.+)")
# Comments that say which values there are: nothing but words in quotation marks, or a range before anything else.
CHOICES = re.compile(r'("[^"]*"(,? or |, |$)){2,}')
RANGE = re.compile(r"([\d.]+) to ([\d.]+)[;,:]")


class StudyError(ValueError):
    """A study that cannot go on; the message is for the user and `exit_code` for the shell."""

    def __init__(self, message: str, exit_code: int = 2):
        super().__init__(message)
        self.exit_code = exit_code


def read_notebook(path: Path) -> tuple[list[str], dict[str, tuple]]:
    """Return the source of each cell, and the parameters that the notebook declares: name to (default, comment).

    A parameter is a line ``name: type = literal  # what it is``. A computed value is refused: papermill puts the new
    values in a cell *after* this one, so that whatever was computed here would silently keep the default's value.

    Raises
    ------
    StudyError
        If a line of the parameters cell has another form.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    found = {}
    for cell, source in zip(cells, sources, strict=True):
        for line in source.splitlines() if "parameters" in cell.get("metadata", {}).get("tags", ()) else ():
            try:
                name, literal, comment = LINE.fullmatch(line).groups()
                found[name] = ast.literal_eval(literal), comment
            except (AttributeError, ValueError, SyntaxError):
                raise StudyError(f"{path.name}: {line!r} is no parameter; write `name: type = literal  # what`") from None
    return sources, found


def convert(name: str, text: str, default, comment: str):
    """Return the text of ``-p name=text`` as a value of the default's type, among those that the comment allows.

    Raises
    ------
    StudyError
        If it is not. ``1e-3`` is a number here, unlike in YAML; no number is negative.
    """
    choices = re.findall('"([^"]*)"', comment) if CHOICES.fullmatch(comment) else [text]
    bounds = RANGE.match(comment)
    low, high = map(float, bounds.groups()) if bounds else (0, math.inf)
    numbers = f"from {low:g} to {high:g}" if bounds else "from 0 on"
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        value = type(default)(text)
        if value in choices if isinstance(default, str) else low <= value <= high and value < math.inf:
            return value
    except (KeyError, ValueError):
        pass
    kinds = {bool: "true or false", int: f"a whole number {numbers}", float: f"a number {numbers}", str: comment}
    raise StudyError(f"parameter {name}: {text!r} is not {kinds[type(default)]} (the default is {default!r})")


def given_values(given: list[str]) -> dict[str, str]:
    """Return ``name=value`` as typed, as name to text.

    Raises
    ------
    StudyError
        If one is not of that form, or a name is given twice: which of the two was meant nobody can say.
    """
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise StudyError(f"-p {text}: write -p name=value")
        if name in found:
            raise StudyError(f"parameter {name} is given twice, as {found[name]} and {value}; leave one out")
        found[name] = value
    return found


def resolve(declared: dict[str, dict[str, tuple]], given: dict[str, str], options: dict) -> dict[str, dict]:
    """Return the parameters of each notebook: its defaults, then the options, then what was given.

    Parameters
    ----------
    declared : dict
        Notebook name to the parameters of `read_notebook`. A given name goes to every notebook that declares it.
    given : dict
        Name to text.
    options : dict
        Values of the parameters in `OPTIONS`.

    Raises
    ------
    StudyError
        If no notebook declares a name, or a value does not fit.
    """
    names = sorted({name for parameters in declared.values() for name in parameters} - set(OPTIONS))
    for name in given:
        if name not in names:
            hint = f"set it with {OPTIONS[name]}" if name in OPTIONS else f"there are {', '.join(names)}"
            raise StudyError(f"-p {name}: no notebook takes this parameter; {hint}")

    def value(name: str, default, comment: str):
        return (
            options[name] if name in options else convert(name, given[name], default, comment) if name in given else default
        )

    return {notebook: {name: value(name, *p) for name, p in found.items()} for notebook, found in declared.items()}
