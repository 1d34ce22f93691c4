"""Progress: a bar where somebody looks, plain lines in a log."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from microrace import progress


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when told to."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setenv(progress.VARIABLE, "lines")
    return now


def work(clock, n, seconds):
    for i in range(n):
        clock[0] += seconds
        yield i


def test_a_log_gets_a_plain_line_every_ten_seconds_with_the_time_left(clock, capsys):
    assert list(progress.track(work(clock, 30, 4.0), 30, "rendering quiz 1", "image")) == list(range(30))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "rendering quiz 1: 3 of 30 images, about 1:48 left"
    assert lines[1] == "rendering quiz 1: 6 of 30 images, about 1:36 left"
    assert lines[-1] == "rendering quiz 1: done, 30 images in 2:00" and len(lines) == 10


def test_short_work_says_nothing_in_a_log(clock, capsys):
    assert len(list(progress.track(work(clock, 9, 1.0), 9, "reading", "file"))) == 9
    assert list(progress.track([], description="reading")) == []
    assert capsys.readouterr().err == ""


def test_an_unknown_total_counts_and_hours_are_told(clock, capsys):
    list(progress.track(work(clock, 2, 4000.0), description="training", unit="epoch"))
    assert capsys.readouterr().err.splitlines() == [
        "training: 1 epoch in 1:06:40", "training: 2 epochs in 2:13:20", "training: done, 2 epochs in 2:13:20"
    ]  # fmt: skip


def in_a_process(stderr) -> int:
    code = "from microrace.progress import track\nfor _ in track(range(3), description='counting'): pass"
    environment = {k: v for k, v in os.environ.items() if k != progress.VARIABLE}
    return subprocess.run([sys.executable, "-c", code], stderr=stderr, env=environment, check=True, timeout=60)


def test_a_terminal_gets_a_bar_and_a_pipe_none():
    leader, follower = pty.openpty()
    # Rows and columns: a bar needs some.
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    try:
        in_a_process(follower)
        shown = os.read(leader, 4096).decode()
    finally:
        os.close(leader)
        os.close(follower)
    assert re.search(r"counting: 100%\|█+\| 3/3", shown)
    assert in_a_process(subprocess.PIPE).stderr == b""
