"""The command line of a study: ``python -m microrace.study run|verify|publish``."""

from __future__ import annotations

import argparse
import signal
import sys

from microrace.study.parameters import StudyError
from microrace.study.published import publish, verify
from microrace.study.runner import run


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 something failed, 2 bad input, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m microrace.study", description="Run studies and publish them.")
    commands = parser.add_subparsers(required=True)

    def command(function, text):
        added = commands.add_parser(function.__name__, help=text)
        added.set_defaults(function=function)
        added.add_argument("--study", required=True, help="name of the folder in runs/")
        return added.add_argument

    add = command(run, "run the notebooks that are not up to date")
    add("--dataset", default="", help="manifest, or uhcsdb; without it, the one of before")
    add("--panel", default="", help="folder of answer sheets; without it a panel is simulated")
    add("-p", dest="parameters", action="append", default=[], metavar="name=value", help="a parameter")
    add("--replace", action="store_true", help="let a finished study be replaced by one with other parameters")
    add("--like", default="", help="another study, whose data and parameters to take")
    add("--jobs", type=int, default=1, help="processes for the ablations")
    add("--scheduler", default="", help="dask scheduler for the ablations, tcp://host:port")
    add = command(verify, "run a study again and tell which published numbers are REPRODUCED")
    add("--dataset", default="", help="manifest, where the data are not where they were")
    add("--bytes", action="store_true", help="compare every file with that of the study in runs/, too")
    add("--skip-sweep", action="store_true", help="leave out notebook 04's full grid, which takes longest")
    add = command(publish, "copy a study's figures and numbers to figures/")
    add("--replace", action="store_true", help="also where the published study shows more")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` stops the kernel, like Ctrl-C
    try:
        options, unknown = parser.parse_known_args(argv)
        if unknown:
            raise StudyError(f'{" ".join(unknown)}: no option; a parameter is -p name=value (make PARAMS="-p name=value")')
        vars(options).pop("function")(**vars(options))
    except (ValueError, OSError) as error:  # bad input, a full disk, a folder that may not be written
        print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    except KeyboardInterrupt:
        print("\ninterrupted; what was finished is kept, and the same command goes on from there", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
