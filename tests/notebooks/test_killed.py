"""A study killed as by a power cut, and started again: it ends with the bytes of one that nothing disturbed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

from small import small_for

FIRST = ("01-micrographs", "02-train")
# The first two notebooks, which cut crops, compute features, train and plot, in a process group of their own.
SCRIPT = f"""
import sys
from pathlib import Path
from microrace import paths
from microrace.study import runner
from microrace.study.__main__ import main
runner.CHAIN = {{name: runner.CHAIN[name] for name in {FIRST}}}
paths.RUNS = Path(sys.argv[1])
sys.exit(main(["--study", "small", *sys.argv[2:]]))
"""


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def outputs(place):
    """What the notebooks wrote, by the run's own record."""
    record = json.loads((place / "runs" / "small" / "run.json").read_text())
    return {file: digest for done in record["notebooks"].values() for file, digest in done["outputs"].items()}


def test_a_killed_study_ends_with_the_bytes_of_an_undisturbed_one(tmp_path, tiny_manifest):
    place, undisturbed = tmp_path / "place", tmp_path / "undisturbed"
    run, features = place / "runs" / "small", place / "features"

    def start():
        command = [sys.executable, "-c", SCRIPT, str(place / "runs"), "--dataset", str(tiny_manifest), *small_for(FIRST)]
        environment = os.environ | {"MICRORACE_FEATURES": str(features)}
        return subprocess.Popen(command, env=environment, start_new_session=True)

    assert start().wait(timeout=600) == 0
    shutil.move(place, undisturbed)  # the second study lies where the first did: paths are no difference
    moments = {
        "features are computed": lambda: len(list(features.rglob("*.npz"))) >= 5,
        "heads are trained": lambda: (run / "history.csv").exists(),
    }
    for moment, has_come in moments.items():
        killed, end = start(), time.monotonic() + 300
        while not has_come():
            assert killed.poll() is None and time.monotonic() < end, moment
            time.sleep(0.005)
        os.killpg(killed.pid, signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL, moment
    assert start().wait(timeout=600) == 0
    assert outputs(place) == outputs(undisturbed) and len(outputs(place)) > 10
    # Beside them may lie what a killed process left half written, under another name.
    ours, theirs = files_of(undisturbed / "features"), files_of(features)
    assert ours.keys() <= theirs.keys() and all(theirs[name] == content for name, content in ours.items())
