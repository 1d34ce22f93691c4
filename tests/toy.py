"""A study of three small notebooks on the tiny manifest: all that the runner does, without the time that learning takes."""

from pathlib import Path

import nbformat

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
accuracy = {"value": 0.5 + weights[-1] / 10, "low": 0.4, "high": 0.8}
Path(run_dir, "metrics.json").write_text(json.dumps({"n_quiz": 20, "accuracy": accuracy}))
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


def write_notebooks(folder: Path) -> Path:
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
