"""Command line: ``python -m steelrender --quiz 1 --out data/rendered/quiz1``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import steelrender as render
from steelrender.quizzes import render_quiz


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m steelrender", description=render.__doc__.splitlines()[0])
    parser.add_argument("--quiz", type=int, choices=(1, 2), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; replaced when it holds another seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--limit-per-class", type=int, default=None)
    args = parser.parse_args()
    if args.seed < 0 or args.jobs < 1 or (args.limit_per_class or 1) < 1:
        parser.error("--seed is 0 or more, --jobs and --limit-per-class 1 or more")
    try:
        print(render_quiz(args.quiz, args.out, args.seed, args.jobs, args.limit_per_class))
    except OSError as error:  # a full disk, a folder that may not be written or holds something else, a file in the way
        parser.exit(2, f"error: {error}; mend this and run the same command again\n")


if __name__ == "__main__":
    main()
