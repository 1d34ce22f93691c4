"""Where things are, found from this file's own place and never from the working directory."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "data"
RENDERED = DATA / "rendered"
RUNS = ROOT / "runs"
FIGURES = ROOT / "figures"
# Features of crops, which every study shares and any of them can make anew.
FEATURES = Path(os.environ.get("MICRORACE_FEATURES") or ROOT / ".cache" / "features")
