"""The runner: what runs again and what does not, and what a kernel finds in its environment and says in a log."""

import json
import os
import subprocess
import sys

import pytest

import toy
from microrace.study import runner
from microrace.study.environment import process_settings
from microrace.study.runner import Progress


def ran(capsys) -> set[str]:
    """The notebooks that ran, by what was said."""
    said = capsys.readouterr().out
    return {name for name in toy.CHAIN if f"{name} done" in said}


def test_only_what_a_change_reaches_runs_again(finished_toy, capsys):
    assert finished_toy() == 0 and not ran(capsys)
    assert finished_toy("epochs=4") == 0 and ran(capsys) == {"02-learn", "03-show"}
    # Words alone: what it wrote is the same, and what reads that is not run.
    path = finished_toy.notebooks / "01-data.ipynb"
    path.write_text(path.read_text().replace("Part one", "Another word"))
    assert finished_toy("epochs=4") == 0 and ran(capsys) == {"01-data"}
    (finished_toy.runs / "toy" / "figures" / "weights.csv").unlink()
    assert finished_toy("epochs=4") == 0 and ran(capsys) == {"03-show"}
    (finished_toy.runs / "toy" / "weights.pt").write_text("[]")
    assert finished_toy("epochs=4") == 0 and "02-learn" in ran(capsys)


def test_finding_nothing_to_do_loads_no_heavy_library(finished_toy):
    assert finished_toy() == 0
    code = (
        "import sys, json; from microrace.study.__main__ import main; code = main(sys.argv[2:], **json.loads(sys.argv[1]));"
        "heavy = {'numpy', 'pandas', 'torch', 'papermill', 'nbconvert', 'jinja2', 'IPython'} & set(sys.modules);"
        "print('loaded:', *sorted(heavy)); sys.exit(code)"
    )
    places = json.dumps({"notebooks_dir": str(finished_toy.notebooks), "chain": toy.CHAIN})
    words = ["run", "--study", "toy", "--runs-dir", str(finished_toy.runs)]
    done = subprocess.run([sys.executable, "-c", code, places, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stdout and done.stdout.endswith("loaded:\n")


def test_a_preference_gives_way_to_what_is_asked_for(finished_toy, capsys):
    assert finished_toy(options=["--prefer", "epochs=3"]) == 0 and not ran(capsys), "3 is the default"
    assert finished_toy("epochs=4", options=["--prefer", "epochs=2"]) == 0 and ran(capsys)
    assert len(json.loads((finished_toy.runs / "toy" / "weights.pt").read_text())) == 4


def test_kernels_start_with_the_settings_for_memory_and_threads(toy_study):
    """glibc and OpenMP read them when a process starts, so that setting them inside it would be too late."""
    path = toy_study.notebooks / "02-learn.ipynb"
    notebook = json.loads(path.read_text())
    notebook["cells"][-1]["source"] += '\n(run / "environ.txt").write_bytes(Path("/proc/self/environ").read_bytes())'
    path.write_text(json.dumps(notebook))
    if not os.path.exists("/proc/self/environ"):
        pytest.skip("this system does not tell what a process started with")
    assert toy_study() == 0
    started_with = (toy_study.runs / "toy" / "environ.txt").read_bytes().decode().split("\0")
    names = dict(line.partition("=")[::2] for line in started_with)
    assert process_settings().items() <= names.items()


def test_a_command_starts_anew_with_the_settings_that_it_lacks():
    lacking = {k: v for k, v in os.environ.items() if k not in process_settings()}
    code = "import os; from microrace.study import environment as e; e.restart_with_settings(); print('went on', os.environ)"
    said = subprocess.run([sys.executable, "-c", code], env=lacking, capture_output=True, text=True, check=True).stdout
    assert said.count("went on") == 1 and all(repr(name) in said for name in process_settings())


class Stream:
    """A stream that is or is not a terminal, and keeps what it is given."""

    def __init__(self, terminal):
        self.terminal, self.text = terminal, ""

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.text += text


def test_of_a_line_redrawn_in_a_log_only_the_end_is_kept(monkeypatch):
    monkeypatch.delenv("MICRORACE_PROGRESS", raising=False)
    stream = Stream(terminal=False)
    progress = Progress(stream, "quiz1 02-train")
    for text in ("\r 10%", "\r 50%", "\r100%\n", "a warn", "ing\n\n"):
        progress.write(text)
    assert stream.text == "quiz1 02-train: 100%\nquiz1 02-train: a warning\n"


def test_a_terminal_gets_everything_as_it_comes(monkeypatch):
    monkeypatch.delenv("MICRORACE_PROGRESS", raising=False)
    stream = Stream(terminal=True)
    progress = Progress(stream, "quiz1 02-train")
    for text in ("\r 10%", "\r100%\n"):
        progress.write(text)
    assert stream.text == "\r 10%\r100%\n"


def test_every_notebook_of_the_chain_is_there_and_after_those_it_reads():
    from microrace import paths

    seen = set()
    for name, reads in runner.CHAIN.items():
        assert (paths.NOTEBOOKS / f"{name}.ipynb").is_file() and set(reads) <= seen
        seen.add(name)
