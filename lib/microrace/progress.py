"""Progress of long work: a bar in a terminal or a notebook, and in a log a plain line every ten seconds."""

from __future__ import annotations

import os
import sys
import time

import tqdm
import tqdm.auto

SECONDS_BETWEEN_LINES = 10.0
# Set by who runs a notebook unseen, whose kernel would draw a bar where nobody looks: "lines" for a log, and "bar" where
# what the kernel says on standard error is passed on to a terminal.
VARIABLE = "MICRORACE_PROGRESS"


def _bar_is_seen() -> bool:
    """Whether a bar that redraws itself is looked at: in a terminal and in a notebook, unless told otherwise."""
    if os.environ.get(VARIABLE) in ("lines", "bar"):
        return os.environ[VARIABLE] == "bar"
    ipython = sys.modules.get("IPython")
    return sys.stderr.isatty() or hasattr(ipython and ipython.get_ipython(), "kernel")


def _clock(seconds: float) -> str:
    """Seconds as minutes and seconds, with hours where there are any."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _count(n: int, unit: str) -> str:
    return f"{n} {unit}" if n == 1 else f"{n} {unit}s"


def track(iterable, total: int | None = None, description: str = "", unit: str = "step"):
    """Yield from an iterable and show on standard error how far it is.

    In a terminal and in a notebook this is a bar (tqdm). Elsewhere it is a line with what is done, how far it is and the
    time left, at most every ten seconds, and one at the end where there were any; short work says nothing. The variable
    ``MICRORACE_PROGRESS`` decides where it is ``bar`` or ``lines``.

    Parameters
    ----------
    iterable : iterable
    total : int, optional
        Number of items; the iterable's length where it has one, or else unknown.
    description : str
        What is done, such as ``rendering quiz 1``.
    unit : str
        What an item is, in the singular.

    Yields
    ------
    object
        The items, unchanged.
    """
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)
    if _bar_is_seen():
        bar = tqdm.tqdm if os.environ.get(VARIABLE) == "bar" else tqdm.auto.tqdm
        yield from bar(iterable, total=total, desc=description, unit=unit)
        return
    begun = last = time.monotonic()
    done, said = 0, False
    for item in iterable:
        yield item
        done, now = done + 1, time.monotonic()
        if now - last < SECONDS_BETWEEN_LINES or done == total:
            continue
        last, said = now, True
        if total:
            left = (now - begun) * (total - done) / done
            say(f"{description}: {done} of {_count(total, unit)}, about {_clock(left)} left")
        else:
            say(f"{description}: {_count(done, unit)} in {_clock(now - begun)}")
    if said:
        say(f"{description}: done, {_count(done, unit)} in {_clock(time.monotonic() - begun)}")


def say(line: str) -> None:
    """A line on standard error, at once."""
    print(line, file=sys.stderr, flush=True)
