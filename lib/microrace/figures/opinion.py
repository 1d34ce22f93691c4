"""Figures of the second opinion: how far a probability may be believed, and who should answer (notebook 06)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from micrographs import NONE_OF_THESE
from microrace.figures import style


def _against(ax, table: pd.DataFrame, x: str, y: str) -> str:
    """Draw a share with its interval against another number, beside the diagonal where both are equal; the same in words."""
    ends = np.clip([table[y] - table[f"{y}_low"], table[f"{y}_high"] - table[y]], 0, 1)
    look = {"color": style.COLOURS["machine"], "markersize": 4, "linewidth": 1, "capsize": 2, "clip_on": False}
    ax.errorbar(table[x], table[y], ends, fmt="D", **look)
    ax.axline((0, 0), slope=1, linestyle="--", **style.GUIDE)
    ax.locator_params(nbins=5)
    return "; ".join(f"at {at:.2f}, {share:.2f}" for at, share in zip(table[x], table[y], strict=True))


def reliability(table: pd.DataFrame) -> Figure:
    """Share right against confidence, before and after calibration, with 95 % intervals.

    Parameters
    ----------
    table : DataFrame
        probabilities ("before", "after"), confidence, share_right, share_right_low, share_right_high.
    """
    figure, axes = plt.subplots(1, 2, figsize=(style.TWO_COLUMNS_IN * 0.72, 2.5), sharex=True, sharey=True)
    told = []
    for letter, ax, (name, rows) in zip("ab", axes, table.groupby("probabilities", sort=False), strict=True):
        told.append(f"{name} calibration: {_against(ax, rows, 'confidence', 'share_right')}")
        ax.set_title(f"{letter}  {name} calibration", loc="left")
        ax.set(xlabel="probability of the answer", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes[0].set_ylabel("share right, held out")
    return style.described(figure, "Is an answer given with 80 % right in 80 % of cases?", f"Share right {'. '.join(told)}.")


def risk_coverage(table: pd.DataFrame, ask_share: float) -> Figure:
    """Accuracy on what the machine keeps against the share passed on, with its 95 % band."""
    figure, ax = plt.subplots(figsize=(style.ONE_COLUMN_IN, 2.4))
    style.band(ax, table["passed_on"], table, "accuracy")
    ax.axvline(ask_share, color="#444444", linewidth=0.8, linestyle=":")
    ax.text(ask_share - 0.01, 0.03, "passed on here", fontsize=6.5, ha="right" if ask_share > 0.4 else "left")
    ax.set(xlabel="share passed on to a person, least sure first", ylabel="accuracy on the rest, held out")
    ax.set(xlim=(0, table["passed_on"].max()), ylim=(0, 1))
    told = style.interval(*table.iloc[0][["accuracy", "accuracy_low", "accuracy_high"]])
    alt = f"A curve with its band; with nothing passed on, {told}; at most {table['accuracy'].max():.2f}."
    return style.described(figure, "What is gained by asking a person about the least sure images.", alt)


def false_alarms(table: pd.DataFrame) -> Figure:
    """Realised against chosen rate of calling known structures "none of these"."""
    figure, ax = plt.subplots(figsize=(style.ONE_COLUMN_IN, 2.4))
    told = _against(ax, table, "chosen", "realised")
    ax.set(xlabel="chosen rate of false alarms", ylabel=f'"{NONE_OF_THESE}" on unseen\nspecimens of known classes')
    ax.set(xlim=(0, 1.1 * table["chosen"].max()), ylim=(0, 1.1 * table["realised_high"].max()))
    caption = f'How often a known structure is called "{NONE_OF_THESE}".'
    return style.described(figure, caption, f"Realised rate by the chosen one: {told}.")


def teams(table: pd.DataFrame) -> Figure:
    """Accuracy of machine, readers and vote, alone and together, with 95 % intervals."""
    figure, ax = plt.subplots(figsize=(style.ONE_COLUMN_IN * 1.25, 0.55 + 0.27 * len(table)))
    kinds = {"mean reader alone": "panel mean", "vote alone": "majority vote"}
    names = [f"{who} ({n})" for who, n in zip(table["who"], table["n_asked"], strict=True)]
    colours = [style.COLOURS[kinds.get(who, "machine")] for who in table["who"]]
    ends = (table[column] for column in ("accuracy", "accuracy_low", "accuracy_high"))
    told = style.dots(ax, names, *ends, colours, hollow=list(table["against"] == ""))
    ax.set(xlim=(0, 1), xlabel="accuracy (95 % interval; hollow: alone)\nin brackets: images that people look at")
    return style.described(figure, "Machine and readers, alone and together.", told, readers=True)
