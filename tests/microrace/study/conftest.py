"""Fixtures: the toy study, in a folder of its own or finished."""

import shutil

import pytest

import toy
from microrace.study.__main__ import main


class Toy:
    """Runs the toy study below one folder."""

    def __init__(self, folder, manifest):
        self.folder, self.manifest, self.runs = folder, manifest, folder / "runs"
        self.notebooks = toy.write_notebooks(folder / "notebooks")

    @property
    def places(self):
        return {"notebooks_dir": self.notebooks, "chain": toy.CHAIN}

    def __call__(self, *parameters, study="toy", options=()) -> int:
        """The exit code of ``run``."""
        given = [word for parameter in parameters for word in ("-p", parameter)]
        command = ["run", "--study", study, "--dataset", self.manifest, "--runs-dir", self.runs, *given, *options]
        return main([str(word) for word in command], **self.places)


@pytest.fixture
def toy_study(tmp_path, tiny_manifest):
    return Toy(tmp_path, tiny_manifest)


@pytest.fixture(scope="module")
def _finished(tmp_path_factory, tiny_manifest):
    study = Toy(tmp_path_factory.mktemp("toy"), tiny_manifest)
    assert study() == 0
    return study


@pytest.fixture
def finished_toy(_finished, tmp_path, tiny_manifest):
    """A toy study that has run; a copy, so that a test may do with it what it likes."""
    shutil.copytree(_finished.runs, tmp_path / "runs")
    return Toy(tmp_path, tiny_manifest)
