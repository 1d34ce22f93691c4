"""make: paths with spaces and umlauts, what goes before what, and each name once."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest

from microrace import paths


def make(*arguments, folder=paths.ROOT, **environment):
    """Run make with this interpreter in place of .venv, which is left alone."""
    command = ["make", "--no-print-directory", "ENVIRONMENT=", f"PYTHON={sys.executable}", *arguments]
    kept = {k: v for k, v in os.environ.items() if k not in ("SEED", "PARAMS", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=kept | environment)


def asked(*arguments) -> list[str]:
    """The words of the study's command line that make would run."""
    said = make("-n", *arguments).stdout
    line = next(line for line in said.splitlines() if "microrace.study run" in line)
    words = shlex.split(line)
    return words[words.index("run") + 1 :]


def values(words, option):
    return [value for name, value in zip(words, words[1:], strict=False) if name == option]


@pytest.mark.parametrize(
    "place", ["plain.csv", "two words/ümläute.csv", 'it\'s "quoted".csv', "a & b; (c) <d>.csv", "back\\slash.csv"]
)
def test_any_path_reaches_the_study_as_one_word(place):
    words = asked(f"DATASET={place}", f"PANEL=panel of {place}")
    assert values(words, "--dataset") == [place] and values(words, "--panel") == [f"panel of {place}"]


def test_parameters_go_before_the_default_seed_and_a_seed_is_asked_for():
    words = asked("STUDY=quiz1", "PARAMS=-p seed=3")
    assert values(words, "-p") == ["seed=3"] and values(words, "--prefer") == ["seed=0"]
    words = asked("STUDY=quiz1", "SEED=2")
    assert values(words, "-p") == ["seed=2"] and not values(words, "--prefer")


def test_a_seed_given_twice_is_an_error(tmp_path):
    shutil.copy(paths.ROOT / "Makefile", tmp_path)
    (tmp_path / "manifest.csv").write_text("file,label\n")
    said = make("DATASET=manifest.csv", "PARAMS=-p seed=3", "SEED=0", folder=tmp_path, PYTHONPATH=str(paths.ROOT / "lib"))
    assert said.returncode and "parameter seed is given twice, as seed=3 and seed=0; leave one out" in said.stderr


def test_targets_only_prefer_so_that_what_is_asked_for_wins():
    words = asked("sweep", "PARAMS=-p grid=small")
    assert values(words, "-p") == ["grid=small"] and {"grid=full", "n_seeds=3"} <= set(values(words, "--prefer"))


def test_the_checkouts_own_path_may_hold_spaces_and_umlauts(tmp_path):
    """In a locale that knows no umlaut, down to the message of the study itself."""
    checkout = tmp_path / "Größe der Körner, 2"
    checkout.mkdir()
    shutil.copy(paths.ROOT / "Makefile", checkout)
    shutil.copytree(paths.ROOT / "lib", checkout / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(paths.ROOT / "notebooks", checkout / "notebooks", ignore=shutil.ignore_patterns(".*"))
    said = make("DATASET=nicht da/größe.csv", folder=checkout, LC_ALL="C")
    assert said.returncode and f"{checkout}/nicht da/größe.csv: no such manifest" in said.stderr
    assert "Traceback" not in said.stderr


def test_what_is_imported_stays_compiled(tmp_path):
    """With pip's --no-compile each notebook would compile everything anew where the environment forbids to keep it."""
    assert "--no-compile" in (paths.ROOT / "Makefile").read_text()
    (tmp_path / "shown.mk").write_text("shown:\n\t@env\n")
    shown = make("-f", str(paths.ROOT / "Makefile"), "-f", str(tmp_path / "shown.mk"), "shown", PYTHONDONTWRITEBYTECODE="1")
    assert "PYTHONPATH=" in shown.stdout and "PYTHONDONTWRITEBYTECODE" not in shown.stdout
