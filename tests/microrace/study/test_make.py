"""make: paths with spaces and umlauts, what goes before what, and each name once."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest

from microrace import paths


def make(*words, folder=paths.ROOT, **environment):
    """Run make with this interpreter in place of .venv, which is left alone."""
    command = ["make", "--no-print-directory", "LOCK=/dev/null", "LOCKED=/dev/null", f"PYTHON={sys.executable}", *words]
    kept = {k: v for k, v in os.environ.items() if k not in ("SEED", "PARAMS", "ARGS", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=kept | environment)


def asked(option, *words) -> list[str]:
    """What follows an option in the study's command line that make would run."""
    line = next(line for line in make("-n", *words).stdout.splitlines() if "microrace.study" in line)
    given = shlex.split(line)
    return [value for name, value in zip(given, given[1:], strict=False) if name == option]


@pytest.mark.parametrize("place", ["two words/ümläute.csv", 'it\'s "quoted".csv', "a & b; (c) <d>.csv", "back\\slash.csv"])
def test_any_path_reaches_the_study_as_one_word(place):
    assert asked("--dataset", f"DATASET={place}") == [place]
    assert asked("--panel", f"PANEL=panel of {place}") == [f"panel of {place}"]


def test_a_seed_is_given_where_somebody_gives_it():
    assert asked("-p", "STUDY=quiz1", "PARAMS=-p epochs=3") == ["epochs=3"]
    assert asked("-p", "STUDY=quiz1", "SEED=2") == ["seed=2"]
    assert asked("-p", "sweep") == ["grid=full", "n_seeds=3"]


@pytest.fixture
def checkout(tmp_path):
    """What make needs of the project, in a place whose name holds spaces and umlauts."""
    place = tmp_path / "Größe {der} Körner, 2"
    for name in ("lib", "notebooks"):
        shutil.copytree(paths.ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(paths.ROOT / name, place)
    return place


ENVIRONMENT = ["env", "PYTHON=.venv/bin/python", "LOCKED=.venv/lock"]  # to be made
REFUSED = [
    (["DATASET=manifest.csv", "PARAMS=-p seed=3", "SEED=0"], "parameter seed is given twice, as 3 and 0; leave one out"),
    (["STUDY=variant"], "no such manifest; give one (make DATASET=path/to/manifest.csv STUDY=variant)"),
    (["DATASET=nicht da/größe.csv"], "Größe {der} Körner, 2/nicht da/größe.csv: no such manifest"),
    (["quiz", "STUDY=nothere"], "nothere"),
    ([*ENVIRONMENT, "PYTHON3=false"], "error: Python 3.11.5 or newer is needed"),
]


@pytest.mark.parametrize(("words", "says"), REFUSED, ids=str)
def test_what_cannot_be_is_one_sentence_and_leaves_nothing_behind(checkout, words, says):
    before = sorted(checkout.iterdir())
    said = make(*words, folder=checkout, LC_ALL="C")
    assert said.returncode and says in said.stderr and "Traceback" not in said.stderr
    assert sorted(checkout.iterdir()) == before


def test_an_environment_through_a_link_is_refused_and_not_emptied(checkout):
    (checkout / ".venv").symlink_to("lib")
    said = make(*ENVIRONMENT, folder=checkout)
    assert said.returncode and "error: .venv is a link" in said.stderr and [*(checkout / "lib").iterdir()]
