"""Command line: ``python -m steelrender --quiz 1 --out data/rendered/quiz1``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import steelrender as render
from steelrender.quizzes import render_quiz


def _at_least(least: int):
    """A type of argparse: whole numbers from `least` on."""

    def whole_number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return int(text)

    return whole_number


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m steelrender", description=render.__doc__.splitlines()[0])
    parser.add_argument("--quiz", type=int, choices=(1, 2), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; replaced when it holds another seed")
    parser.add_argument("--seed", type=_at_least(0), default=0)
    parser.add_argument("--jobs", type=_at_least(1), default=os.cpu_count() or 1)
    parser.add_argument("--limit-per-class", type=_at_least(1), default=None)
    args = parser.parse_args()
    try:
        print(render_quiz(args.quiz, args.out, args.seed, args.jobs, args.limit_per_class))
    except FileExistsError as error:
        parser.exit(2, f"error: {error}\n")
    except OSError as error:  # a full disk, a folder that may not be written, a file in the way
        where = error.filename or args.out
        parser.exit(2, f"error: {where}: {error.strerror or error}; mend this and run the same command again\n")


if __name__ == "__main__":
    main()
