"""Figures of the second opinion: how far a probability may be believed, and who should answer (notebook 06)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from micrographs.manifest import NONE_OF_THESE
from microrace.figures.style import COLOURS, ONE_COLUMN_IN, TWO_COLUMNS_IN, stamp, wrapped


def reliability(table: pd.DataFrame, *, simulated: bool) -> Figure:
    """Share right against confidence, before and after calibration, with 95 % intervals over specimens.

    Parameters
    ----------
    table : DataFrame
        Of `calibration.reliability_table`, with a column ``probabilities``: "before" and "after".
    simulated : bool
    """
    figure, axes = plt.subplots(1, 2, figsize=(TWO_COLUMNS_IN * 0.72, 2.5), sharex=True, sharey=True)
    for letter, ax, (name, rows) in zip("ab", axes, table.groupby("probabilities", sort=False), strict=True):
        ax.plot([0, 1], [0, 1], color="#7F7F7F", linewidth=0.8, linestyle="--")
        share = rows["share_right"]
        spread = np.clip([share - rows["share_right_low"], rows["share_right_high"] - share], 0, 1)
        ax.errorbar(rows["confidence"], rows["share_right"], spread, fmt="D", color=COLOURS["machine"], markersize=4,
                    linewidth=1, capsize=2)  # fmt: skip
        ax.set_title(f"{letter}  {name} calibration", loc="left")
        ax.set_xlabel("probability of the answer")
        ax.set_xlim(0, 1.02)
        ax.set_ylim(-0.02, 1.02)
        ax.set_aspect("equal")
    axes[0].set_ylabel("share right, held out")
    stamp(figure, simulated, "simulated micrographs")
    return figure


def risk_coverage(table: pd.DataFrame, ask_share: float, *, simulated: bool) -> Figure:
    """Accuracy on what the machine keeps against the share passed on, with its 95 % band."""
    figure, ax = plt.subplots(figsize=(ONE_COLUMN_IN, 2.4))
    ax.fill_between(table["passed_on"], table["accuracy_low"], table["accuracy_high"], color=COLOURS["machine"], alpha=0.2,
                    linewidth=0)  # fmt: skip
    ax.plot(table["passed_on"], table["accuracy"], color=COLOURS["machine"])
    ax.axvline(ask_share, color="#444444", linewidth=0.8, linestyle=":")
    ax.annotate("passed on here", (ask_share, 0.03), xytext=(3, 0), textcoords="offset points", fontsize=6.5)
    ax.set_xlabel("share passed on to a person, least sure first")
    ax.set_ylabel("accuracy on the rest, held out")
    ax.set_xlim(0, table["passed_on"].max())
    ax.set_ylim(0, 1.02)
    stamp(figure, simulated, "simulated micrographs")
    return figure


def false_alarms(table: pd.DataFrame, *, simulated: bool) -> Figure:
    """Realised against chosen rate of calling known structures "none of these"."""
    figure, ax = plt.subplots(figsize=(ONE_COLUMN_IN, 2.4))
    top = 1.1 * max(table["chosen"].max(), table["realised_high"].max())
    ax.plot([0, top], [0, top], color="#7F7F7F", linewidth=0.8, linestyle="--")
    spread = np.clip([table["realised"] - table["realised_low"], table["realised_high"] - table["realised"]], 0, 1)
    ax.errorbar(table["chosen"], table["realised"], spread, fmt="D", color=COLOURS["machine"], markersize=4, linewidth=1,
                capsize=2)  # fmt: skip
    ax.set_xlabel("chosen rate of false alarms")
    ax.set_ylabel(f'"{NONE_OF_THESE}" on unseen\nspecimens of known classes')
    ax.set_xlim(0, top)
    ax.set_ylim(-0.02 * top, top)
    stamp(figure, simulated, "simulated micrographs")
    return figure


def teams(table: pd.DataFrame, *, simulated: bool) -> Figure:
    """Accuracy of machine, readers and vote, alone and together, with 95 % intervals."""
    figure, ax = plt.subplots(figsize=(ONE_COLUMN_IN * 1.25, 0.55 + 0.27 * len(table)))
    y = np.arange(len(table))
    for at, row in zip(y, table.itertuples(), strict=True):
        alone = row.against == ""
        kind = "machine" if row.who.startswith("machine alone") else "human" if "reader" in row.who else "majority vote"
        colour = COLOURS[kind if alone else "machine"]
        ax.plot([row.accuracy_low, row.accuracy_high], [at, at], color=colour, linewidth=1.2)
        ax.plot(row.accuracy, at, "o" if alone else "D", color=colour, markersize=4.5,
                markerfacecolor="white" if alone else colour)  # fmt: skip
    ax.set_yticks(y, [f"{w} ({n})" for w, n in zip(table["who"], table["n_asked"], strict=True)])
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set_xlim(0, 1.02)
    ax.set_xlabel("accuracy (in brackets: images for people)")
    stamp(figure, simulated, "simulated")
    return figure


def class_bars(ax, classes: list[str], probabilities, answer: str, label: str) -> None:
    """Draw the machine's probability of each class as bars, its answer as title, and the image's own label in bold."""
    y = np.arange(len(classes))
    colours = [COLOURS["machine"] if name == answer else "#BBBBBB" for name in classes]
    ax.barh(y, probabilities, color=colours, height=0.62)
    ax.set_yticks(y, [wrapped(name, 14) for name in classes])
    for tick, name in zip(ax.get_yticklabels(), classes, strict=True):
        tick.set_fontweight("bold" if name == label else "normal")
    ax.set_ylim(len(classes) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.set_xlabel("probability")
    ax.set_title(f"machine: {answer}", fontsize=7)
