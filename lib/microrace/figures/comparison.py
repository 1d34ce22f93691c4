"""Figures of readers and machine on the same images (notebook 03)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from micrographs import manifest as manifests
from micrographs import reading
from microrace.figures.style import (
    CLASS_COLOURS,
    COLOURS,
    MARKERS,
    ONE_COLUMN_IN,
    TWO_COLUMNS_IN,
    show_micrograph,
    stamp,
    wrapped,
)


def human_versus_machine(readers: pd.DataFrame, *, simulated: bool) -> Figure:
    """Accuracy of every decision maker with its 95 % interval, best reader on top."""
    is_panel = readers["kind"].isin(["human", "simulated human"])
    people = readers[is_panel].sort_values(["accuracy", "decision_maker"])
    others = readers[~is_panel].sort_values("accuracy")
    rows = pd.concat([people, others], ignore_index=True)
    figure, ax = plt.subplots(figsize=(ONE_COLUMN_IN, 0.75 + 0.155 * len(rows)))
    for y, row in enumerate(rows.itertuples()):
        colour = COLOURS[row.kind]
        ax.plot([row.accuracy_low, row.accuracy_high], [y, y], color=colour, linewidth=1.1)
        hollow = row.kind == "simulated human"
        ax.plot(
            row.accuracy,
            y,
            MARKERS[row.kind],
            color=colour,
            markersize=4.5,
            markerfacecolor="white" if hollow else colour,
            clip_on=False,  # a share of 1 lies on the frame
        )
    ax.axhline(len(people) - 0.5, color="#BBBBBB", linewidth=0.6)
    ax.set_yticks(range(len(rows)), [wrapped(name, 18) for name in rows["decision_maker"]])
    ax.set_ylim(-0.7, len(rows) - 0.3)
    ax.set_xlim(0, 1)
    ax.set_xlabel(f"share of {int(rows['n_images'].max())} quiz images right\n(95 % interval)")
    stamp(figure, simulated, "simulated")
    return figure


def confusion_matrices(confusion: pd.DataFrame, classes: list[str], *, simulated: bool) -> Figure:
    """Answers by right answer, for the machine and the panel side by side; each row adds up to 1."""
    right = [*classes, manifests.NONE_OF_THESE]
    right = [c for c in right if c in set(confusion["truth"])]
    given = [*classes, manifests.NONE_OF_THESE]
    if manifests.NO_ANSWER in set(confusion["answer"]):
        given.append(manifests.NO_ANSWER)
    who = [w for w in ("machine", "panel") if w in set(confusion["who"])]
    longest = max(len(line) for name in given for line in wrapped(name).split("\n"))
    height = 0.75 + 0.065 * longest + 0.34 * len(right)
    figure, axes = plt.subplots(1, len(who), figsize=(TWO_COLUMNS_IN, height), sharey=True, squeeze=False)
    for letter, ax, name in zip("ab", axes[0], who, strict=False):
        table = confusion[confusion["who"] == name].pivot_table(
            index="truth", columns="answer", values="count", aggfunc="sum"
        )
        table = table.reindex(index=right, columns=given).fillna(0)
        share = table.div(table.sum(axis=1).replace(0, np.nan), axis=0)
        labels = share.map(lambda v: f"{v:.2f}".lstrip("0") if 0 < v < 1 else ("1" if v == 1 else ""))
        sns.heatmap(share, ax=ax, cmap="Blues", vmin=0, vmax=1, annot=labels, fmt="", cbar=False, square=True,
                    linewidths=0.5, linecolor="white", annot_kws={"fontsize": 6.5})  # fmt: skip
        ax.set_title(f"{letter}  {name}", loc="left")
        ax.set_xticks(np.arange(len(given)) + 0.5, [wrapped(g) for g in given], rotation=90)
        ax.set_yticks(np.arange(len(right)) + 0.5, [wrapped(r) for r in right], rotation=0)
        ax.set_xlabel("answer")
        ax.set_ylabel("right answer" if ax is axes[0][0] else "")
    stamp(figure, simulated, "simulated")
    return figure


def hardest_images(items: pd.DataFrame, manifest: pd.DataFrame, n: int = 8, *, simulated: bool) -> Figure:
    """The images that fewest readers got right, with the right answer, the machine's, and the panel's share."""
    shown = items.sort_values(["reader_accuracy", "machine_correct", "image"]).head(n)
    by_file = manifest.set_index("file")
    columns = 4
    rows = -(-len(shown) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(TWO_COLUMNS_IN, 2.15 * rows), squeeze=False)
    for ax in axes.ravel()[len(shown) :]:
        ax.remove()
    for ax, item in zip(axes.ravel(), shown.itertuples(), strict=False):
        row = by_file.loc[item.image]
        show_micrograph(ax, reading.read_image(row["path"]), row["pixels_per_um"], item.truth)
        mark = "right" if item.machine_correct else "wrong"
        ax.set_xlabel(
            f"machine {mark}: {wrapped(item.machine_answer)}\nreaders right: {item.n_readers_correct} of {item.n_readers}",
            fontsize=6.5, color=COLOURS["machine"] if not item.machine_correct else "black",
        )  # fmt: skip
    stamp(figure, simulated, "simulated")
    return figure


def person_item_map(rasch: pd.DataFrame, *, simulated: bool) -> Figure:
    """Readers, machine and images on one logit scale: whoever stands above an image more often gets it right."""
    people = rasch[rasch["kind"] != "image"].sort_values("logit").reset_index(drop=True)
    images = rasch[rasch["kind"] == "image"].sort_values("logit").reset_index(drop=True)
    figure, (left, right) = plt.subplots(1, 2, figsize=(TWO_COLUMNS_IN, 0.7 + 0.15 * max(len(people), 12)), sharex=True)
    for ax, rows, title in ((left, people, "a  ability"), (right, images, "b  difficulty of images")):
        for y, row in enumerate(rows.itertuples()):
            ax.plot([row.logit_low, row.logit_high], [y, y], color=COLOURS[row.kind], linewidth=0.9)
            ax.plot(row.logit, y, MARKERS[row.kind], color=COLOURS[row.kind], markersize=4)
        ax.set_title(title, loc="left")
        ax.set_xlabel("logit")
        ax.axvline(0, color="#BBBBBB", linewidth=0.6, zorder=0)
    left.set_yticks(range(len(people)), people["name"])
    right.set_yticks([])
    right.set_ylabel("images, easy to hard")
    stamp(figure, simulated, "simulated")
    return figure


def agreement(table: pd.DataFrame, *, simulated: bool) -> Figure:
    """Error consistency (kappa) of every pair: the machine with each reader, against readers with each other."""
    figure, ax = plt.subplots(figsize=(ONE_COLUMN_IN, 1.6))
    pairs = table.apply(lambda row: frozenset((row["role_a"], row["role_b"])), axis=1)
    rng = np.random.default_rng(0)
    for y, (roles, label, kind) in enumerate(
        (({"reader"}, "reader and reader", "human"), ({"machine", "reader"}, "machine and reader", "machine"))
    ):
        rows = table[pairs == roles]
        kappa = rows["kappa"].dropna()
        ax.plot(kappa, y + rng.uniform(-0.2, 0.2, len(kappa)), MARKERS[kind], color=COLOURS[kind], markersize=3, alpha=0.6)
        if len(kappa):
            ax.plot([kappa.mean()] * 2, [y - 0.33, y + 0.33], color="black", linewidth=1.5)
        ax.text(1.02, y, f"{label}\n{len(kappa)} pairs", transform=ax.get_yaxis_transform(), fontsize=6.5, va="center")
    ax.axvline(0, color="#BBBBBB", linewidth=0.6, zorder=0)
    ax.set_yticks([])
    ax.set_ylim(-0.6, 1.6)
    ax.set_xlabel("error consistency κ (bar: mean)")
    stamp(figure, simulated, "simulated")
    return figure


def calibration(table: pd.DataFrame, *, simulated: bool) -> Figure:
    """Share right against stated confidence, for the machine and the panel."""
    figure, ax = plt.subplots(figsize=(ONE_COLUMN_IN, 2.6))
    ax.plot([0, 1], [0, 1], ":", color="#888888", linewidth=0.8)
    for who, rows in table.groupby("who"):
        kind = "machine" if who == "machine" else "human"
        ax.plot(
            rows["confidence"],
            rows["accuracy"],
            "-",
            marker=MARKERS[kind],
            color=COLOURS[kind],
            markersize=4,
            label=who,
        )
        for row in rows.itertuples():
            ax.annotate(int(row.n), (row.confidence, row.accuracy), xytext=(3, -8), textcoords="offset points", fontsize=6)
    ax.set(xlim=(0, 1.02), ylim=(-0.05, 1.05), xlabel="stated confidence", ylabel="share right")
    ax.legend()
    stamp(figure, simulated, "simulated")
    return figure


def experience(table: pd.DataFrame, *, simulated: bool) -> Figure:
    """Accuracy of each reader against experience, time and confidence, whichever were recorded."""
    labels = {
        "years_experience": "years of experience",
        "median_seconds": "median seconds an image",
        "mean_confidence": "mean confidence",
    }
    columns = [c for c in labels if c in table and table[c].notna().any()]
    figure, axes = plt.subplots(1, max(1, len(columns)), figsize=(TWO_COLUMNS_IN, 2.0), sharey=True, squeeze=False)
    for letter, ax, column in zip("abc", axes[0], columns, strict=False):
        ax.plot(table[column], table["accuracy"], "o", color=COLOURS["human"], markersize=4)
        ax.set_xlabel(labels[column])
        ax.set_title(letter, loc="left", fontweight="bold")
    axes[0][0].set_ylabel("share right")
    axes[0][0].set_ylim(0, 1)
    stamp(figure, simulated, "simulated")
    return figure


def power(table: pd.DataFrame, *, margin: float, simulated: bool = True) -> Figure:
    """How often a quiz of this size shows superiority, and non-inferiority, at a true difference."""
    figure, axes = plt.subplots(1, 2, figsize=(TWO_COLUMNS_IN, 2.3), sharey=True)
    shown = {"superior": "a  superiority", "non_inferior": f"b  non-inferiority, margin {margin:g}"}
    for ax, (column, title) in zip(axes, shown.items(), strict=True):
        for (key, rows), colour, dash in zip(
            table.groupby(["n_images", "n_readers"]), CLASS_COLOURS, ("-", "--", "-.", ":") * 2, strict=False
        ):
            ax.plot(rows["true_difference"], rows[column], dash, marker="o", markersize=3, color=colour,
                    label=f"{key[0]} images, {key[1]} readers")  # fmt: skip
        ax.axhline(0.8, color="#BBBBBB", linewidth=0.6)
        ax.set_title(title, loc="left")
        ax.set(ylim=(0, 1.02), xlabel="true difference in accuracy")
    axes[0].set_ylabel("share of quizzes that show it")
    axes[0].legend()
    stamp(figure, simulated, "from simulated quizzes")
    return figure


def verdicts(table: pd.DataFrame) -> Figure:
    """Coverage of the difference's interval and its false verdicts against accuracy, beside the plain bootstrap's.

    A line is a panel and quiz; grey is what `comparison.power.percentile_bootstrap` gives.
    """
    figure, axes = plt.subplots(1, 4, figsize=(TWO_COLUMNS_IN, 2.2), sharex=True)
    measures = {
        "coverage": "a  coverage",
        "false_superior": "b  falsely superior",
        "false_non_inferior": "c  falsely\n    non-inferior",
        "power_superior": "d  power at +0.15",
    }
    keys = ["n_images", "n_specimens", "n_readers", "against", "method"]
    for ax, (column, title) in zip(axes, measures.items(), strict=True):
        for (*_, against, method), rows in table.groupby(keys):
            old = method != "this study"
            colour = "#BBBBBB" if old else COLOURS[against]
            ax.plot(rows["accuracy"], rows[column], color=colour, linewidth=0.6, zorder=1 if old else 2)
        ax.set_title(title, loc="left")
        ax.set_xlabel("accuracy of the panel")
    for ax, limit in zip(axes, (0.95, 0.025, 0.025), strict=False):
        ax.axhline(limit, color="black", linewidth=0.6, linestyle=":")
    axes[0].set_ylim(None, 1.005)
    axes[3].set_ylim(0, 1)
    handles = [
        Line2D([], [], color=COLOURS.get(name, "#BBBBBB"), label=label)
        for name, label in (("panel mean", "this study's interval, to the panel mean"),
                            ("majority vote", "to the majority vote"), ("", "percentile bootstrap, to the panel mean"))
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    stamp(figure, True, "from simulated quizzes")
    return figure
