"""Command line: ``python -m microrace.images.render --quiz 1 --out data/rendered/quiz1``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from microrace.images import render
from microrace.images.render.quizzes import render_quiz


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m microrace.images.render", description=render.__doc__.splitlines()[0])
    parser.add_argument("--quiz", type=int, choices=(1, 2), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; replaced when it holds another seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--limit-per-class", type=int, default=None)
    args = parser.parse_args()
    try:
        print(render_quiz(args.quiz, args.out, args.seed, args.jobs, args.limit_per_class))
    except FileExistsError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
