"""The runner: what runs again and what does not, what a study keeps, and what goes wrong around it."""

import json
import shutil

import pytest

from microrace import paths
from microrace.study import runner


def ran(capsys) -> set[str]:
    """The notebooks that ran, by what was said."""
    said = capsys.readouterr().out
    return {name for name in runner.CHAIN if f"{name} done" in said}


@pytest.fixture
def asked(monkeypatch):
    """The notebooks that would run."""
    found = []
    monkeypatch.setattr(runner, "execute", lambda source, executed, parameters: found.append(source.stem))
    return found


def test_only_what_a_change_reaches_runs_again(finished_toy, capsys):
    assert finished_toy(options=["-p", "epochs=4", "--replace"]) == 0 and ran(capsys) == {"02-learn", "03-show"}
    assert finished_toy() == 0 and not ran(capsys), "a study keeps its parameters"
    # Words alone: what it wrote is the same, and what reads that is not run.
    path = paths.NOTEBOOKS / "01-data.ipynb"
    path.write_text(path.read_text().replace("Part one", "Another word"))
    assert finished_toy() == 0 and ran(capsys) == {"01-data"}
    (finished_toy.run_dir / "figures" / "weights.csv").unlink()
    assert finished_toy() == 0 and ran(capsys) == {"03-show"}


def test_a_moved_folder_has_nothing_to_do(finished_toy, monkeypatch, capsys):
    moved = shutil.move(paths.RUNS, finished_toy.folder / "a {place}")
    finished_toy.manifest = shutil.copytree(finished_toy.manifest.parent, finished_toy.folder / "data") / "manifest.csv"
    monkeypatch.setattr(paths, "RUNS", moved)
    assert finished_toy() == 0 and "nothing to do" in capsys.readouterr().out
    # Braces in a folder's name mean nothing to the runner, although papermill would fill parameters in.
    (moved / "toy" / "metrics.json").unlink()
    assert finished_toy() == 0 and ran(capsys) == {"02-learn"}


@pytest.mark.parametrize("file", ["microrace/figures/__init__.py", "readerstudy/quiz.html.j2"])
def test_a_changed_file_of_the_library_runs_what_uses_it(finished_toy, monkeypatch, asked, file):
    library = runner.hash_library()
    assert file in library and not [name for name in library if name.startswith(("steelrender/", "microrace/study/"))]
    monkeypatch.setattr(runner, "hash_library", lambda: library | {file: "changed"})
    # Another style of figures does not train anything again; a page's template counts as code does.
    assert finished_toy() == 0 and asked == (["03-show"] if "figures" in file else [*runner.CHAIN])


@pytest.mark.parametrize("content", [b"[1]", b"{'", b"\xff\xfe\x00"], ids=["list", "cut off", "binary"])
def test_a_spoilt_record_of_a_run_counts_as_none(finished_toy, asked, content):
    (finished_toy.run_dir / "run.json").write_bytes(content)
    assert finished_toy() == 0 and asked == [*runner.CHAIN]


def test_a_finished_study_is_not_overwritten_without_being_told(finished_toy, capsys):
    assert finished_toy("epochs=4") == 2
    assert "toy is finished, with other parameters: epochs=4 (was 3); choose another name" in capsys.readouterr().err
    assert finished_toy("epochs=3", "rate=1e-1", "grid=full") == 0, "defaults and a larger sweep are the same study"
    assert finished_toy("grid=small") == 2 and "grid=small (was full)" in capsys.readouterr().err
    assert finished_toy("seed=1", study="toy-seed1", options=["--like", "toy", "--replace"]) == 0
    state = json.loads((paths.RUNS / "toy-seed1" / "run.json").read_text())
    assert state["given"] == {"epochs": "3", "rate": "1e-1", "grid": "full", "seed": "1"}


def test_two_runs_of_one_study_do_not_disturb_each_other(finished_toy, monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(runner, "execute", lambda *given: codes.append(finished_toy()))
    assert finished_toy("epochs=4", options=["--replace"]) == 0 and codes == [2, 2]
    assert capsys.readouterr().err.count("another run is working there") == 2


def test_a_notebook_that_stops_is_told_and_goes_on_once_it_is_mended(toy_study, capsys):
    assert toy_study("fail=out of cheese") == 1
    told = capsys.readouterr().err
    assert "02-learn stopped" in told and "ValueError: out of cheese" in told and "02-learn.unfinished.ipynb" in told
    assert toy_study("fail=") == 0
    assert ran(capsys) == {"02-learn", "03-show"}, "what was finished is not run again"
    assert not list(toy_study.run_dir.rglob("*unfinished*"))


def test_one_figure_is_drawn_again_without_the_others(finished_toy, capsys):
    figure = finished_toy.run_dir / "figures" / "weights.csv"
    figure.write_text("old")
    assert finished_toy(options=["--figure", "weights"]) == 0 and figure.read_text().startswith("weight\n0.0")
    assert finished_toy(options=["--figure", "wieghts"]) == 2
    assert "no notebook that has run there draws a figure 'wieghts'" in capsys.readouterr().err
    assert finished_toy() == 0 and "nothing to do" in capsys.readouterr().out
