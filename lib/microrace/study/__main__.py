"""The command line of a study: ``python -m microrace.study --study NAME`` runs the notebooks that are not up to date."""

from __future__ import annotations

import argparse
import signal
import sys

from microrace.study.parameters import StudyError
from microrace.study.runner import redraw, run


def call(function, parser: argparse.ArgumentParser, argv: list[str] | None = None) -> int:
    """Call a function with the options of its name; return the exit code: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` stops the kernel, like Ctrl-C
    try:
        options, unknown = parser.parse_known_args(argv)
        if unknown:
            raise StudyError(f'{" ".join(unknown)}: no option; a parameter is -p name=value (make PARAMS="-p name=value")')
        function(**vars(options))
    except (ValueError, OSError) as error:  # bad input, a full disk, a folder that may not be written
        print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    except KeyboardInterrupt:
        print("\ninterrupted; what was finished is kept, and the same command goes on from there", file=sys.stderr)
        return 130
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m microrace.study", description="Run a study's notebooks.")
    add = parser.add_argument
    add("--study", required=True, help="name of the folder in runs/")
    add("--dataset", default="", help="manifest, or uhcsdb; without it, the one of before")
    add("--panel", default="", help="folder of answer sheets, or simulated; without it real micrographs have no panel")
    add("-p", dest="parameters", action="append", default=[], metavar="name=value", help="a parameter")
    add("--replace", action="store_true", help="let a finished study be replaced by one with other parameters")
    add("--like", default="", help="another study, whose data and parameters to take")
    add("--jobs", type=int, default=1, help="processes for the ablations")
    add("--scheduler", default="", help="dask scheduler for the ablations, tcp://host:port")
    add("--figure", default="", help="draw this one figure of a study that has run, and nothing else")
    return call(lambda figure, **rest: redraw(rest["study"], figure) if figure else run(**rest), parser, argv)


if __name__ == "__main__":
    sys.exit(main())
