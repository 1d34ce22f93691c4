"""A study killed as by a power cut, and started again: it ends with the bytes of one that nothing disturbed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import small

# The first two notebooks, which cut crops, compute features, train and plot, in a process group of their own.
SCRIPT = """
import sys; from pathlib import Path; from small import run
sys.exit(run(Path(sys.argv[1]), "small", sys.argv[2], stems=("01-micrographs", "02-train")))
"""


def contents(place):
    """What notebooks wrote, by the run's own record, and the bytes of the features' files."""
    record = json.loads((place / "runs" / "small" / "run.json").read_text())
    written = {file: digest for done in record["notebooks"].values() for file, digest in done["outputs"].items()}
    return written, {p.name: p.read_bytes() for p in (place / "features").rglob("[!.]*.npz")}


def test_a_killed_study_ends_with_the_bytes_of_an_undisturbed_one(tmp_path, tiny_manifest):
    place, undisturbed = tmp_path / "place", tmp_path / "undisturbed"

    def start():
        ways = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(Path(small.__file__).parent)])
        environment = os.environ | {"MICRORACE_FEATURES": str(place / "features"), "PYTHONPATH": ways}
        command = [sys.executable, "-c", SCRIPT, str(place / "runs"), str(tiny_manifest)]
        return subprocess.Popen(command, env=environment, start_new_session=True)

    assert start().wait(timeout=600) == 0
    shutil.move(place, undisturbed)  # the second study lies where the first did: paths are no difference
    moments = {
        "features are computed": lambda: len(list(place.rglob("*.npz"))) >= 5,
        "heads are trained": lambda: (place / "runs" / "small" / "history.csv").exists(),
    }
    for moment, has_come in moments.items():
        killed, end = start(), time.monotonic() + 300
        while not has_come():
            assert killed.poll() is None and time.monotonic() < end, moment
            time.sleep(0.005)
        os.killpg(killed.pid, signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL, moment
    assert start().wait(timeout=600) == 0
    assert contents(place) == contents(undisturbed) and len(contents(place)[0]) > 10
