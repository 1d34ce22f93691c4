"""Fixtures: the toy study, in a folder of its own or finished."""

import shutil

import pytest

import toy
from microrace import paths
from microrace.study import runner
from microrace.study.__main__ import main


class Toy:
    """Runs the toy study below one folder."""

    def __init__(self, folder, manifest):
        self.folder, self.manifest, self.run_dir = folder, manifest, folder / "runs" / "toy"

    def __call__(self, *parameters, study="toy", options=()) -> int:
        """The exit code of ``run``."""
        given = [word for parameter in parameters for word in ("-p", parameter)]
        return main([str(word) for word in ("--study", study, "--dataset", self.manifest, *given, *options)])


@pytest.fixture
def toy_study(tmp_path, tiny_manifest, monkeypatch):
    monkeypatch.setattr(runner, "CHAIN", toy.CHAIN)
    monkeypatch.setattr(runner, "TRAINING", {"01-data", "02-learn"})
    monkeypatch.setattr(paths, "NOTEBOOKS", toy.write_notebooks(tmp_path / "notebooks"))
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    return Toy(tmp_path, tiny_manifest)


@pytest.fixture
def finished_toy(tmp_path_factory, toy_study):
    """A toy study that has run; a copy, so that a test may do with it what it likes."""
    finished = tmp_path_factory.getbasetemp() / "finished-toy"
    if not finished.exists():
        assert toy_study() == 0
        shutil.move(paths.RUNS, finished)
    shutil.copytree(finished, paths.RUNS)
    return toy_study
