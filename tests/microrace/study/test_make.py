"""make: paths with spaces and umlauts, what goes before what, and each name once."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from microrace import paths


def make(*arguments, folder=paths.ROOT, **environment):
    """Run make with this interpreter in place of .venv, which is left alone."""
    locked = Path(tempfile.gettempdir()) / "microrace-tests.lock"
    locked.write_text("".join((paths.ROOT / name).read_text() for name in ("requirements.txt", "requirements-cuda.txt")))
    command = ["make", "--no-print-directory", f"LOCKED={locked}", f"PYTHON={sys.executable}", *arguments]
    kept = {k: v for k, v in os.environ.items() if k not in ("SEED", "PARAMS", "ARGS", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=kept | environment)


def asked(*arguments) -> list[str]:
    """The words of the study's command line that make would run."""
    said = make("-n", *arguments).stdout
    line = next(line for line in said.splitlines() if "microrace.study" in line)
    words = shlex.split(line)
    return words[words.index("microrace.study") + 1 :]


def values(words, option):
    return [value for name, value in zip(words, words[1:], strict=False) if name == option]


@pytest.mark.parametrize(
    "place", ["plain.csv", "two words/ümläute.csv", 'it\'s "quoted".csv', "a & b; (c) <d>.csv", "back\\slash.csv"]
)
def test_any_path_reaches_the_study_as_one_word(place):
    words = asked(f"DATASET={place}", f"PANEL=panel of {place}")
    assert values(words, "--dataset") == [place] and values(words, "--panel") == [f"panel of {place}"]


def test_a_seed_is_given_where_somebody_gives_it():
    assert "seed" not in " ".join(asked("STUDY=quiz1", "PARAMS=-p epochs=3"))
    assert values(asked("STUDY=quiz1", "SEED=2"), "-p") == ["seed=2"]
    assert values(asked("sweep"), "-p") == ["grid=full", "n_seeds=3"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["DATASET=manifest.csv", "PARAMS=-p seed=3", "SEED=0"], "parameter seed is given twice, as 3 and 0; leave one out"),
        (["DATASET=manifest.csv", "PARAMS=epochs=3"], "epochs=3: no option; a parameter is -p name=value"),
        (["DATASET=manifest.csv", "STUDY=mein Labor"], "--study mein Labor: use letters, digits"),
        (["DATASET=uhcsbd"], "uhcsbd: no such manifest; give one"),
        (
            ["STUDY=variant", "PARAMS=-p epochs=3"],
            "no such manifest; give one (make DATASET=path/to/manifest.csv STUDY=variant)",
        ),
        (["quiz", "STUDY=nothere"], "nothere"),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_sentence_and_leaves_nothing_behind(tmp_path, arguments, says):
    checkout(tmp_path)
    said = make(*arguments, folder=tmp_path)
    assert said.returncode and says in said.stderr and "Traceback" not in said.stderr
    assert not (tmp_path / "runs").exists() and not (tmp_path / "data").exists()


def checkout(folder: Path) -> None:
    """What make needs of the project, in another place."""
    for name in ("Makefile", "requirements.txt", "requirements-cuda.txt", "pyproject.toml"):
        shutil.copy(paths.ROOT / name, folder)
    shutil.copytree(paths.ROOT / "lib", folder / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(paths.ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".*"))
    (folder / "manifest.csv").write_text("file,label\n")


def test_an_environment_through_a_link_is_refused_and_not_emptied(tmp_path):
    checkout(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").write_text("mine")
    (tmp_path / ".venv").symlink_to("other")
    command = ["make", "--no-print-directory", "env"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (
        said.returncode and "error: .venv is a link" in said.stderr and (tmp_path / "other" / "mine").read_text() == "mine"
    )


def test_a_python_that_is_too_old_is_told_before_anything_is_installed(tmp_path):
    checkout(tmp_path)
    said = subprocess.run(["make", "env", "PYTHON3=false"], cwd=tmp_path, capture_output=True, text=True)
    assert said.returncode and "error: Python 3.11.5 or newer is needed" in said.stderr and not (tmp_path / ".venv").exists()


def test_the_checkouts_own_path_may_hold_spaces_and_umlauts(tmp_path):
    """In a locale that knows no umlaut, down to the message of the study itself."""
    place = tmp_path / "Größe {der} Körner, 2"
    place.mkdir()
    checkout(place)
    said = make("DATASET=nicht da/größe.csv", folder=place, LC_ALL="C")
    assert said.returncode and f"{place}/nicht da/größe.csv: no such manifest" in said.stderr
    assert "Traceback" not in said.stderr
