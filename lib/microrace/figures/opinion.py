"""Figures of the second opinion: how far a probability may be believed, and who should answer (notebook 06)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from micrographs import NONE_OF_THESE
from microrace.figures import style


def _against(ax, table: pd.DataFrame, x: str, y: str) -> None:
    """Draw a share with its interval against another number, beside the diagonal on which both are equal."""
    ends = np.clip([table[y] - table[f"{y}_low"], table[f"{y}_high"] - table[y]], 0, 1)
    _, caps, bars = ax.errorbar(table[x], table[y], ends, fmt="D", color=style.COLOURS["machine"], markersize=4, linewidth=1,
                                capsize=2, clip_on=False)  # fmt: skip
    top = max(table[x].max(), table[f"{y}_high"].max())
    ax.plot([0, top], [0, top], linestyle="--", **style.GUIDE)


def reliability(table: pd.DataFrame) -> Figure:
    """Share right against confidence, before and after calibration, with 95 % intervals.

    Parameters
    ----------
    table : DataFrame
        probabilities ("before", "after"), confidence, share_right, share_right_low, share_right_high.
    """
    figure, axes = plt.subplots(1, 2, figsize=(style.TWO_COLUMNS_IN * 0.72, 2.5), sharex=True, sharey=True)
    for letter, ax, (name, rows) in zip("ab", axes, table.groupby("probabilities", sort=False), strict=True):
        _against(ax, rows, "confidence", "share_right")
        ax.set_title(f"{letter}  {name} calibration", loc="left")
        ax.set(xlabel="probability of the answer", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes[0].set_ylabel("share right, held out")
    told = "; ".join(f"{r.probabilities}, {r.confidence:.2f}: {r.share_right:.2f}" for r in table.itertuples())
    return style.described(
        figure, "Is an answer given with 80 % right in 80 % of cases?", f"Share right by probability: {told}."
    )


def risk_coverage(table: pd.DataFrame, ask_share: float) -> Figure:
    """Accuracy on what the machine keeps against the share passed on, with its 95 % band."""
    figure, ax = plt.subplots(figsize=(style.ONE_COLUMN_IN, 2.4))
    low, high, colour = table["accuracy_low"], table["accuracy_high"], style.COLOURS["machine"]
    ax.fill_between(table["passed_on"], low, high, color=colour, alpha=0.2, linewidth=0)
    ax.plot(table["passed_on"], table["accuracy"], color=colour, clip_on=False)
    ax.axvline(ask_share, color="#444444", linewidth=0.8, linestyle=":")
    ax.annotate("passed on here", (ask_share, 0.03), xytext=(3, 0), textcoords="offset points", fontsize=6.5)
    ax.set(xlabel="share passed on to a person, least sure first", ylabel="accuracy on the rest, held out")
    ax.set(xlim=(0, table["passed_on"].max()), ylim=(0, 1))
    told = style.interval(*table.iloc[0][["accuracy", "accuracy_low", "accuracy_high"]])
    alt = f"A curve with its band; with nothing passed on, {told}; at most {table['accuracy'].max():.2f}."
    return style.described(figure, "What is gained by asking a person about the least sure images.", alt)


def false_alarms(table: pd.DataFrame) -> Figure:
    """Realised against chosen rate of calling known structures "none of these"."""
    figure, ax = plt.subplots(figsize=(style.ONE_COLUMN_IN, 2.4))
    _against(ax, table, "chosen", "realised")
    ax.set(xlabel="chosen rate of false alarms", ylabel=f'"{NONE_OF_THESE}" on unseen\nspecimens of known classes')
    ax.set(xlim=(0, 1.1 * table["chosen"].max()), ylim=(0, 1.1 * table["realised_high"].max()))
    told = "; ".join(f"chosen {r.chosen:.2f}, realised {r.realised:.2f}" for r in table.itertuples())
    return style.described(figure, f'How often a known structure is called "{NONE_OF_THESE}".', f"Rates: {told}.")


def teams(table: pd.DataFrame) -> Figure:
    """Accuracy of machine, readers and vote, alone and together, with 95 % intervals."""
    figure, ax = plt.subplots(figsize=(style.ONE_COLUMN_IN * 1.25, 0.55 + 0.27 * len(table)))
    alone = list(table["against"] == "")
    kinds = {"machine alone": "machine", "mean reader alone": "panel mean", "vote alone": "majority vote"}
    names = [f"{who} ({n})" for who, n in zip(table["who"], table["n_asked"], strict=True)]
    colours = [style.COLOURS[kinds.get(who, "machine")] for who in table["who"]]
    ends = (table[column] for column in ("accuracy", "accuracy_low", "accuracy_high"))
    told = style.dots(ax, names, *ends, colours, hollow=alone)
    ax.set(xlim=(0, 1), xlabel="accuracy (95 % interval)\nhollow: alone; in brackets: images for people")
    return style.described(figure, "Machine and readers, alone and together.", told, readers=True)


def class_bars(ax, classes: list[str], probabilities, answer: str, label: str) -> None:
    """Draw the machine's probability of each class as bars, its answer as title, and the image's own label in bold."""
    ax.barh(
        range(len(classes)), probabilities, color=[style.COLOURS["machine"] if c == answer else "#BBBBBB" for c in classes]
    )
    ax.set_yticks(range(len(classes)), [style.wrapped(name, 14) for name in classes])
    for tick, name in zip(ax.get_yticklabels(), classes, strict=True):
        tick.set_fontweight("bold" if name == label else "normal")
    ax.set(ylim=(len(classes) - 0.5, -0.5), xlim=(0, 1), xlabel="probability")
    ax.set_title(f"machine: {answer}", fontsize=7)
