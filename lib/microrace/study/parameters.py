"""What a study is told: the parameters that notebooks declare, and the values given for them, checked."""

from __future__ import annotations

import ast
import difflib
import json
import math
from pathlib import Path

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


class StudyError(Exception):
    """A study that cannot go on; the message is for the user and `exit_code` for the shell."""

    def __init__(self, message: str, exit_code: int = 2):
        super().__init__(message)
        self.exit_code = exit_code


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


def source_of(cell: dict) -> str:
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
        for line in ast.parse(source_of(cell)).body:
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
            if name == "seed" and int(text) < 0:
                raise StudyError(f"parameter seed: {text} is below 0, where no generator of random numbers starts")
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


def given_names(given: list[str]) -> list[str]:
    """Return the names of ``name=value`` as typed.

    Raises
    ------
    StudyError
        If one is not of that form, or a name is given twice: which of the two was meant nobody can say.
    """
    texts = {}
    for text in given:
        name, equals, _ = text.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise StudyError(f"-p {text}: write -p name=value")
        if name in texts:
            raise StudyError(f"parameter {name} is given twice, as {texts[name]} and {text}; leave one out")
        texts[name] = text
    return list(texts)


def resolve_parameters(
    declared: dict[str, dict], given: list[str], options: dict, preferred: list[str] | None = None
) -> dict[str, dict]:
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
    preferred : list of str, optional
        ``name=value`` in place of the notebooks' defaults; what is given wins.

    Raises
    ------
    StudyError
        If no notebook declares a name (with the names close to it), a name is given twice, or a value is of the
        wrong type.
    """
    everywhere = {name for parameters in declared.values() for name in parameters}
    resolved = {
        notebook: {name: options.get(name, default) for name, default in parameters.items()}
        for notebook, parameters in declared.items()
    }
    names = given_names(given)
    given = [text for text in preferred or [] if text.partition("=")[0] not in names] + given
    for text in given:
        name, _, value = text.partition("=")
        name = name.strip()
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
