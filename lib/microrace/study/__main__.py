"""The command line of a study: ``python -m microrace.study run|predict|verify|tolerance|publish|environment``."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from microrace import paths
from microrace.study import prediction
from microrace.study.environment import lock_mismatches, process_settings, restart_with_settings
from microrace.study.parameters import StudyError
from microrace.study.published import publish
from microrace.study.report import headline_lines
from microrace.study.runner import run
from microrace.study.verification import run_other_seeds, verify


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m microrace.study", description="Run studies and use what they made.")
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("run", help="run the notebooks that are not up to date")
    command.add_argument("--study", required=True, help="name of the folder in runs/")
    command.add_argument("--dataset", help="manifest, or the name of an archive; without it, the one of before")
    command.add_argument("--panel", default="", help="folder of answer sheets; without it a panel is simulated")
    command.add_argument("-p", dest="parameters", action="append", default=[], metavar="name=value", help="a parameter")
    command.add_argument(
        "--prefer", action="append", default=[], metavar="name=value", help="in place of a default; -p goes before it"
    )
    command.add_argument("--jobs", type=int, default=1, help="processes for the ablations")
    command.add_argument("--scheduler", default="", help="dask scheduler for the ablations, tcp://host:port")
    command.add_argument("--runs-dir", type=Path, help="in place of runs/")

    command = commands.add_parser("predict", help="let a finished study name the structures in new micrographs")
    prediction.add_arguments(command)

    command = commands.add_parser("verify", help="run a study again and tell which published numbers are REPRODUCED")
    command.add_argument("--study", required=True)
    command.add_argument("--dataset", default="", help="manifest, where the data are not where they were")
    command.add_argument("--bytes", action="store_true", help="compare every file of the study in runs/, too")
    command.add_argument("--skip-sweep", action="store_true", help="leave out notebook 04's full grid, which takes longest")
    command = commands.add_parser("tolerance", help="run a finished study with other seeds, for the tolerances")
    command.add_argument("--study", required=True)
    command.add_argument("--seeds", type=int, default=3, help="how many (default 3)")
    command = commands.add_parser("publish", help="copy a study's figures and numbers to figures/")
    command.add_argument("--study", required=True)
    commands.add_parser("check-environment", help="compare the installed packages with the lock")
    commands.add_parser("environment", help="print what a process of a study should find in its environment")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None, **places) -> int:
    """Run the command line and return its exit code: 0 done, 1 a notebook failed, 2 bad input, 130 interrupted.

    `places` may hold the `notebooks_dir` and `chain` of `run`.
    """
    arguments = _arguments(argv)

    def stop(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)  # `kill` stops the kernel and says how to go on, like Ctrl-C
    try:
        if arguments.command == "run":
            run_dir = run(
                arguments.study,
                arguments.dataset,
                panel=arguments.panel,
                parameters=arguments.parameters,
                preferred=arguments.prefer,
                jobs=arguments.jobs,
                scheduler=arguments.scheduler,
                runs_dir=arguments.runs_dir,
                **places,
            )
            print("\n".join([f"{run_dir.name}:", *headline_lines(run_dir), f"  report        {run_dir / 'report.html'}"]))
        elif arguments.command == "predict":
            try:
                return prediction.predict(arguments)
            except (ValueError, FileNotFoundError) as error:
                raise StudyError(str(error)) from None
        elif arguments.command == "verify":
            verify(
                arguments.study, every_byte=arguments.bytes, skip_sweep=arguments.skip_sweep, dataset=arguments.dataset,
                **places,
            )  # fmt: skip
        elif arguments.command == "tolerance":
            run_other_seeds(arguments.study, arguments.seeds, **places)
        elif arguments.command == "publish":
            publish(arguments.study)
        elif arguments.command == "environment":
            print("\n".join(f"{name}={value}" for name, value in process_settings().items()))
        else:
            wrong = lock_mismatches(paths.ROOT / "requirements.txt")
            if wrong:
                raise StudyError("\n".join(wrong), 1)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # a full disk, a folder that may not be written, a file in the way
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"error: {where}{error.strerror or error}; what was finished is kept: mend this and run the same command again",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        again = f"python -m microrace.study {' '.join(sys.argv[1:] if argv is None else argv)}"
        print(
            "\ninterrupted; finished notebooks are kept and training goes on from its last epoch. To go on, run the "
            f"same command again:\n  {again}",
            file=sys.stderr,
        )
        return 130
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["predict"]:
        restart_with_settings()
    sys.exit(main())
