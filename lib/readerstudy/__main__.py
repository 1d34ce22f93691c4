"""``python -m readerstudy power`` before a panel is asked; ``python -m readerstudy verdicts`` for the published table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from readerstudy.power import power_table, verdict_table


def main(arguments: list[str] | None = None) -> int:
    """Statistics of a reader study that need no answers."""
    parser = argparse.ArgumentParser(prog="python -m readerstudy", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    power = commands.add_parser("power", help="what a quiz of this size can show")
    for name in ("images", "specimens", "readers"):
        power.add_argument(f"--{name}", type=int, required=True)
    power.add_argument("--accuracy", type=float, default=0.8, help="of the readers (0.8)")
    verdicts = commands.add_parser("verdicts", help="how often verdicts are false, on quizzes of many sizes")
    verdicts.add_argument("--out", type=Path, default=Path("figures/verdicts.csv"), help="table to write")
    power.add_argument("--quizzes", type=int, default=1000, help="simulated behind each number (1000)")
    verdicts.add_argument("--quizzes", type=int, default=6000, help="simulated behind each number (6000)")
    given = parser.parse_args(arguments)
    if given.command == "verdicts":
        verdict_table(n_quizzes=given.quizzes).round(4).to_csv(given.out, index=False)
        return 0
    if not 1 <= given.specimens <= given.images or given.readers < 1 or not 0.02 <= given.accuracy <= 0.995:
        parser.error("give at least one reader, 1 to --images specimens, and an accuracy from 0.02 to 0.995")
    table = power_table(
        np.arange(given.images) * given.specimens // given.images, given.readers, given.accuracy, n_quizzes=given.quizzes
    )
    print(
        "Share of simulated quizzes that show the machine to be superior, and non-inferior at the margin of 0.05,\n"
        "by the true difference and by the share of an image's difficulty that machine and readers have in common\n"
    )
    print(table.pivot(index="true_difference", columns="shared_difficulty", values=["superior", "non_inferior"]).round(2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
