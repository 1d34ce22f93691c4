"""A study killed anywhere, as by a power cut, and started again: it ends with the bytes of one that nothing disturbed.

Always: four moments in the first two notebooks, which cut crops, compute features, train and plot. With ``--all-kills``:
twenty moments in the renderer and the whole chain.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from microrace.study.runner import CHAIN
from small import small_for

# What was measured with a clock is in these.
CLOCKS = ("metrics.json", "history.csv", "figures/training.csv", "ablations.csv")
FIRST = ("01-micrographs", "02-train")
# What `make` runs, as one process group: the renderer, unless there is a manifest, and then the runner.
SCRIPT = """
set -e
[ -n "$MANIFEST" ] || "$PYTHON" -m steelrender --quiz 1 --limit-per-class 2 --jobs 1 --out "$PLACE/rendered"
"$PYTHON" -c '
import json, sys
from pathlib import Path
from microrace import paths
from microrace.study import runner
from microrace.study.__main__ import main
runner.CHAIN = {name: runner.CHAIN[name] for name in json.loads(sys.argv[1])}
paths.RUNS = Path(sys.argv[2])
sys.exit(main(sys.argv[3:]))
' "$CHAIN" "$PLACE/runs" --study small --dataset "${MANIFEST:-$PLACE/rendered/manifest.csv}" "$@"
"""


class Started:
    """The script in a process group of its own, and what it has said, with the time of each line."""

    def __init__(self, place: Path, chain, manifest: Path | None = None):
        words = small_for(chain)
        environment = os.environ | {
            "PYTHON": sys.executable,
            "PLACE": str(place),
            "MANIFEST": str(manifest or ""),
            "CHAIN": json.dumps(chain),
            "MICRORACE_FEATURES": str(place / "features"),
        }
        self.renders = manifest is None
        self.begun, self.lines, self.news = time.monotonic(), [], threading.Condition()
        self.process = subprocess.Popen(
            ["bash", "-c", SCRIPT, "make", *words], env=environment, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.news:
                self.lines.append((time.monotonic() - self.begun, line))
                self.news.notify_all()

    def wait_until_begun(self, stage: str, timeout: float = 300) -> None:
        """Return when a stage has begun, or the process has ended."""
        end = time.monotonic() + timeout
        while self.process.poll() is None and not self.has_begun(stage):
            assert time.monotonic() < end, f"{stage} did not begin: {self.said()}"
            with self.news:
                self.news.wait(0.1)

    def has_begun(self, stage: str) -> bool:
        return stage == "rendering" or any(line.rstrip().endswith(f"{stage} ...") for _, line in list(self.lines))

    def said(self) -> str:
        return "".join(line for _, line in self.lines)

    def finish(self) -> None:
        assert self.process.wait(timeout=600) == 0, self.said()
        self.reader.join(timeout=10)

    def kill(self) -> bool:
        """End the whole group at once; whether it was still at work."""
        at_work = self.process.poll() is None
        if at_work:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return at_work

    def stages(self) -> dict[str, float]:
        """Seconds that each stage took, in order."""
        begins = {"rendering": 0.0} if self.renders else {}
        begins |= {line.split()[2]: at for at, line in self.lines if line.rstrip().endswith(" ...")}
        ends = [*list(begins.values())[1:], time.monotonic() - self.begun]
        return {name: end - begin for (name, begin), end in zip(begins.items(), ends, strict=True)}


def moments(stages: dict[str, float], count: int, rng: random.Random) -> list[tuple[str, float]]:
    """`count` moments in the order of the stages, each as (stage, seconds after it has begun).

    Every stage has its share, the later ones first.
    """
    names = list(stages)
    drawn = [names[-1 - k % len(names)] for k in range(count)]
    return [(name, rng.uniform(0.02, 0.9) * stages[name]) for name in sorted(drawn, key=names.index)]


def test_a_study_killed_anywhere_ends_with_the_bytes_of_an_undisturbed_one(tmp_path, tiny_manifest, all_kills, capsys):
    what = (tuple(CHAIN), None) if all_kills else (FIRST, tiny_manifest)
    place, undisturbed = tmp_path / "place", tmp_path / "undisturbed"
    place.mkdir()
    whole = Started(place, *what)
    whole.finish()
    stages = whole.stages()
    assert set(stages) == {*what[0], *(["rendering"] if all_kills else [])}
    shutil.move(place, undisturbed)  # the second study lies where the first did: paths are no difference
    place.mkdir()

    landed = []
    for stage, seconds in moments(stages, 20 if all_kills else 4, random.Random(12)):
        killed = Started(place, *what)
        killed.wait_until_begun(stage)
        time.sleep(seconds)
        if killed.kill():
            landed.append((stage, round(seconds, 2)))
    assert {stage for stage, _ in landed} == set(stages), "a stage was spared"
    again = Started(place, *what)
    again.finish()

    ours, theirs = ({f: d for done in json.loads((root / "runs" / "small" / "run.json").read_text())["notebooks"].values()
                     for f, d in done["outputs"].items() if f not in CLOCKS} for root in (undisturbed, place))  # fmt: skip
    assert ours == theirs and len(ours) > 10
    for part in ("rendered", "features"):  # beside them may lie what a killed process left half written, under another name
        ours, theirs = ({p.relative_to(root / part): p.read_bytes() for p in (root / part).rglob("*") if p.is_file()}
                        for root in (undisturbed, place))  # fmt: skip
        assert ours.keys() <= theirs.keys() and all(theirs[name] == content for name, content in ours.items())
    with capsys.disabled():
        print(f"\nkilled {len(landed)} times: " + ", ".join(f"{stage} +{seconds:g} s" for stage, seconds in landed))
