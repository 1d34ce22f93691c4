"""Long work in a notebook is seen while it runs: as a bar in a terminal, as plain lines in a log."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

CODE = "from microrace.study.__main__ import main; import sys, json; sys.exit(main(sys.argv[2:], **json.loads(sys.argv[1])))"


@pytest.fixture
def command(toy_study):
    """The long notebook of the toy study, as a process of its own would run it."""

    def build(*parameters):
        places = json.dumps({"notebooks_dir": str(toy_study.notebooks), "chain": {"02-learn": ()}})
        words = ["run", "--study", "toy", "--dataset", toy_study.manifest, "--runs-dir", toy_study.runs]
        words += [word for parameter in parameters for word in ("-p", parameter)]
        return [sys.executable, "-c", CODE, places, *map(str, words)]

    return build


ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "MICRORACE_PROGRESS"}


def test_a_log_has_plain_lines_of_long_work_and_no_carriage_return(command):
    done = subprocess.run(command("epochs=3", "seconds=5.2"), capture_output=True, text=True, env=ENVIRONMENT, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "\r" not in done.stdout + done.stderr
    said = done.stderr.splitlines()
    assert "toy 02-learn: learning: 2 of 3 epochs, about 0:05 left" in said
    assert [line for line in said if line.startswith("toy 02-learn: learning: done, 3 epochs in 0:1")]
    assert re.search(r"^toy \[1/1\] 02-learn done in \d+ s", done.stdout, re.MULTILINE)


def test_a_terminal_shows_the_bar_of_the_notebook_that_runs(command):
    leader, follower = pty.openpty()
    # Rows and columns: a bar needs some.
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    shown = b""
    with subprocess.Popen(command("epochs=4"), stdout=follower, stderr=follower, env=ENVIRONMENT) as process:
        os.close(follower)
        while True:
            try:
                shown += os.read(leader, 4096)
            except OSError:  # the last process that held the terminal has gone
                break
        assert process.wait(timeout=200) == 0
    os.close(leader)
    assert re.search(r"\rlearning: 100%\|█+\| 4/4", shown.decode())
