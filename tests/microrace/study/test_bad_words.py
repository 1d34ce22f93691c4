"""Seeds, schedulers and the renderer's options that cannot be: each is told in one sentence, and nothing is written."""

import os
import socket
import sys

import pytest

from steelrender import quizzes
from steelrender.__main__ import main as render_main

SCHEDULERS = ["localhost:8786", "tcp://", "tcp://host", "http://host:8786", "tcp://host:many", "tcp://host:99999", "8786"]
RENDERING = [
    # options of the renderer, what is said of them
    (["--seed", "-1"], "argument --seed: -1 is below 0"),
    (["--seed", "first"], "argument --seed"),
    (["--seed", "1.5"], "argument --seed"),
    (["--jobs", "0"], "argument --jobs: 0 is below 1"),
    (["--limit-per-class", "0"], "argument --limit-per-class: 0 is below 1"),
    (["--quiz", "3"], "argument --quiz: invalid choice: 3"),
]


@pytest.mark.parametrize("seed", ["-1", "first", "1.5", "", "0x10", "1e3"])
def test_a_seed_is_a_whole_number_from_zero_on(toy_study, capsys, seed):
    assert toy_study(f"seed={seed}") == 2
    told = capsys.readouterr().err
    assert told.startswith("error: parameter seed: ") and "Traceback" not in told
    assert not toy_study.runs.exists()


@pytest.mark.parametrize("address", SCHEDULERS)
def test_what_is_no_address_of_a_scheduler_is_told_with_its_form(toy_study, capsys, address):
    assert toy_study(options=["--scheduler", address]) == 2
    assert f"error: --scheduler {address}: write tcp://host:port" in capsys.readouterr().err
    assert not toy_study.runs.exists()


def test_a_scheduler_that_does_not_answer_is_told_before_anything_runs(toy_study, capsys):
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        assert toy_study(options=["--scheduler", address]) == 2
    told = capsys.readouterr().err
    assert f"error: --scheduler {address}: no answer (Connection refused)" in told and "dask scheduler" in told
    assert not toy_study.runs.exists()


@pytest.fixture
def render(monkeypatch, capsys):
    """Runs the renderer's command line and returns its exit code and what it said on standard error."""

    def command(out, *options):
        words = ["render", "--quiz", "1", "--limit-per-class", "1", "--jobs", "1", "--out", str(out), *options]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stopped:
            render_main()
        return stopped.value.code, capsys.readouterr().err

    return command


@pytest.mark.parametrize(("options", "says"), RENDERING, ids=str)
def test_options_of_the_renderer(tmp_path, render, options, says):
    code, told = render(tmp_path / "rendered", *options)
    assert code == 2 and says in told and not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["mine", "mine/rendered"])
def test_the_renderer_leaves_a_file_in_its_way_alone(tmp_path, render, place):
    (tmp_path / "mine").write_text("mine")
    code, told = render(tmp_path / place)
    assert code == 2 and told.startswith("error: ") and str(tmp_path / "mine") in told and told.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine"] and (tmp_path / "mine").read_text() == "mine"


def test_a_renderer_that_was_killed_does_not_stop_one_with_its_number(tmp_path):
    """In a container the next process often has the same number; it used to find the folder of the killed one in its way."""
    (tmp_path / f".rendered.{os.getpid()}" / "images").mkdir(parents=True)
    assert quizzes.render_quiz(1, tmp_path / "rendered", jobs=1, limit_per_class=1).is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["rendered"]
