"""A study of three small notebooks on the tiny manifest: all that the runner does, without the time that learning takes."""

import json
from pathlib import Path

CHAIN = {"01-data": (), "02-learn": ("01-data",), "03-show": ("01-data", "02-learn")}

PARAMETERS = {
    "01-data": 'run_dir: str = ""  # folder\ndataset: str = ""  # manifest\nseed: int = 0  # of all\n',
    "02-learn": (
        'run_dir: str = ""  # folder\nseed: int = 0  # of the weights\nepochs: int = 3  # passes\n'
        "rate: float = 0.1  # 0 to 0.5; step\nseconds: float = 0.0  # an epoch takes\n"
        'grid: str = "none"  # "none", "small" or "full"\ndeep: bool = False  # or not\n'
        'fail: str = ""  # what to raise\n'
    ),
    "03-show": 'run_dir: str = ""  # folder\npanel: str = ""  # answer sheets\n',
}
CODE = {
    "01-data": """
import json, os
from pathlib import Path
run = Path(run_dir)
(run / "manifest.csv").write_text(Path(dataset).read_text())
simulated = "simulated" in Path(dataset).read_text()
(run / "dataset.json").write_text(json.dumps({"simulated": simulated, "attribution": ["by <b>nobody</b>"]}))
""",
    "02-learn": """
import json, random, time
from pathlib import Path
from tqdm import tqdm
run, weights, draw = Path(run_dir), [], random.Random(seed)
if fail:
    raise ValueError(fail)
for epoch in tqdm(range(epochs), desc="learning", unit="epoch"):
    time.sleep(seconds)
    weights.append(draw.random() * rate)
(run / "weights.pt").write_text(json.dumps(weights))
numbers = {"n_quiz": 20, "accuracy": {"value": 0.5 + weights[-1] / 10, "low": 0.4, "high": 0.8}}
(run / "metrics.json").write_text(json.dumps(numbers))
numbers
""",
    "03-show": """
import base64, json
from pathlib import Path
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=")
run = Path(run_dir)
(run / "figures").mkdir(exist_ok=True)
weights = json.loads((run / "weights.pt").read_text())
(run / "comparison.json").write_text(json.dumps({"claims": ["The toy learns."], "simulated_panel": True}))
(run / "figures" / "weights.csv").write_text("weight\\n" + "\\n".join(map(str, weights)))
(run / "figures" / "weights.json").write_text(json.dumps({"alt": "Three weights", "shows_micrographs": True}))
(run / "figures" / "weights.png").write_bytes(PNG)  # stands for figures.save(..., "weights", ...)
print("shown <script>alert(1)</script>")
""",
}


def write_notebooks(folder: Path) -> Path:
    """Write the three notebooks and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in CHAIN:
        cells = [
            {"cell_type": "markdown", "metadata": {}, "source": f"# The notebook {name}\n\n## Part one", "id": "m"},
            {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": PARAMETERS[name], "id": "p"},
            {"cell_type": "code", "metadata": {}, "source": CODE[name], "id": "c"},
        ]
        for cell in cells[1:]:
            cell.update(outputs=[], execution_count=None)
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook))
    return folder
