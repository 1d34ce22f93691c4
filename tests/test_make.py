"""The Makefile's command lines: paths of any kind arrive whole, and what the user gives goes before any default."""

import json
import os
import shutil
import stat
import subprocess
import sys

import pytest

from microrace import paths

# In place of Python: writes down how it was called, and what of it matters in the environment.
RECORDER = """#!{python} -I
import json, os, sys
with open({log!r}, "a", encoding="utf-8") as file:
    print(json.dumps([sys.argv[1:], os.environ.get("PYTHONPATH")]), file=file)
"""


@pytest.fixture(params=["C", None], ids=["LC_ALL=C", "the locale here"])
def make(tmp_path, request):
    """Calls make in a checkout whose path has spaces, umlauts and an apostrophe; returns the study's command lines."""
    checkout = tmp_path / "Anna's Gefüge neu"
    checkout.mkdir()
    shutil.copy(paths.ROOT / "Makefile", checkout)
    recorder, log = checkout / "my python", checkout / "log"
    recorder.write_text(RECORDER.format(python=sys.executable, log=str(log)), encoding="utf-8")
    recorder.chmod(recorder.stat().st_mode | stat.S_IXUSR)
    environment = {k: v for k, v in os.environ.items() if k not in ("CONDA_PREFIX", "MAKEFLAGS", "LC_ALL", "SEED", "PARAMS")}

    def call(*arguments):
        log.unlink(missing_ok=True)
        command = ["make", "--no-print-directory", "ENVIRONMENT=", f"PYTHON={recorder}", *arguments]
        locale = {"LC_ALL": request.param} if request.param else {}
        done = subprocess.run(command, cwd=checkout, env=environment | locale, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        called = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        assert all(library == str(checkout / "lib") for _, library in called)
        return [words[2:] for words, _ in called if words[:3] == ["-m", "microrace.study", "run"]]

    return call


def after(words, option):
    return [words[i + 1] for i, word in enumerate(words) if word == option]


def test_paths_arrive_whole(make):
    data, sheets = "/Proben 2026/Härte & 'Rest'/manifest.csv", "panels/die Leser; alle"
    (words,) = make(f"DATASET={data}", f"PANEL={sheets}", "STUDY=mine")
    assert after(words, "--dataset") == [data] and after(words, "--panel") == [sheets]
    assert after(words, "--study") == ["mine"]


def test_both_quizzes_run_by_default(make):
    one, two = make()
    assert after(one, "--study") == ["quiz1"] and after(two, "--study") == ["quiz2"]
    assert after(one, "-p") == after(two, "-p") == [] and "seed=0" in after(one, "--prefer")


def test_what_is_given_is_no_default(make):
    """The runner refuses a name given twice; a default of make is none that was given."""
    one, two = make("PARAMS=-p seed=3 -p grid=small")
    for words in (one, two):
        assert after(words, "-p") == ["seed=3", "grid=small"]
    (words,) = make("STUDY=other", "SEED=0", "PARAMS=-p seed=3")
    assert sorted(after(words, "-p")) == ["seed=0", "seed=3"]
