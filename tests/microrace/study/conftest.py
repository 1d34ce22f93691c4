"""A study of three small notebooks: all that the runner does, without the time that learning takes."""

import shutil

import nbformat
import pytest

from microrace import paths
from microrace.study import runner
from microrace.study.__main__ import main

CHAIN = {"01-data": (), "02-learn": ("01-data",), "03-show": ("01-data", "02-learn")}

PARAMETERS = {
    "01-data": 'run_dir: str = ""  # folder\ndataset: str = ""  # manifest\nseed: int = 0  # of all',
    "02-learn": 'run_dir: str = ""  # folder\nseed: int = 0  # of the weights\nepochs: int = 3  # passes\n'
    'rate: float = 0.1  # 0 to 0.5; step\nfail: str = ""  # what to raise\n'
    'grid: str = "none"  # "none", "small" or "full"',
    "03-show": 'run_dir: str = ""  # folder\npanel: str = ""  # answer sheets',
}  # fmt: skip
CODE = {
    "01-data": """
from pathlib import Path
Path(run_dir, "dataset.json").write_text('{"simulated": true}')
""",
    "02-learn": """
import json, random
from pathlib import Path
if fail:
    raise ValueError(fail)
draw = random.Random(seed)
weights = [draw.random() * rate for epoch in range(epochs)]
Path(run_dir, "weights.json").write_text(json.dumps(weights))
accuracy = {"value": 0.5 + weights[-1], "low": 0.4, "high": 0.8}
Path(run_dir, "metrics.json").write_text(json.dumps({"n_quiz": 200, "accuracy": accuracy}))
""",
    "03-show": """
import json
from pathlib import Path
figures = Path(run_dir, "figures")
figures.mkdir(exist_ok=True)
weights = json.loads(Path(run_dir, "weights.json").read_text())
(figures / "weights.csv").write_text("weight\\n" + "\\n".join(map(str, weights)))
(figures / "weights.json").write_text(json.dumps({"alt": "Three weights", "shows_micrographs": True}))
(figures / "weights.png").touch()  # stands for figures.save(..., "weights", ...)
""",
}


def write_notebooks(folder):
    """Write the three notebooks and return their folder."""
    folder.mkdir()
    for name in CHAIN:
        cells = [
            nbformat.v4.new_markdown_cell("# Part one"),
            nbformat.v4.new_code_cell(PARAMETERS[name], metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(CODE[name]),
        ]
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder


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
    monkeypatch.setattr(runner, "CHAIN", CHAIN)
    monkeypatch.setattr(runner, "TRAINING", {"01-data", "02-learn"})
    monkeypatch.setattr(paths, "NOTEBOOKS", write_notebooks(tmp_path / "notebooks"))
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
