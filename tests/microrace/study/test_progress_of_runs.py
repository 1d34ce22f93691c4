"""Long work in a notebook is seen in a terminal while it runs; what a log gets: test_runner.py."""

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
