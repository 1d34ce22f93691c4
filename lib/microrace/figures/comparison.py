"""Figures of readers and machine on the same images (notebook 03), and of how far verdicts can be trusted."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from micrographs import NONE_OF_THESE, read_image
from microrace.figures import style
from readerstudy import NO_ANSWER


def difference(numbers: dict) -> Figure:
    """Machine minus panel with interval and margin, and the shares themselves: the study's first figure.

    Parameters
    ----------
    numbers : dict
        As `readerstudy.headline` gives it.
    """
    margin, figure = numbers["margin"], plt.figure(figsize=(style.TWO_COLUMNS_IN, 1.75))
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    leads = {"panel mean": numbers["difference"], "majority vote": numbers["difference_vote"]}
    left.axvspan(-margin, margin, color="#EEEEEE", zorder=0)
    left.axvline(0, **style.GUIDE)
    names = [f"machine minus {who}\n{lead['verdict']}" for who, lead in leads.items()]
    ends = [[lead[key] for lead in leads.values()] for key in ("value", "low", "high")]
    told = style.dots(left, names, *ends, [style.COLOURS[who] for who in leads], [style.MARKERS[who] for who in leads])
    widest = 1.05 * max(margin, *np.abs(np.ravel(ends)))
    left.set(xlim=(-widest, widest), xlabel=f"difference in share right (95 % interval; grey: margin of {margin:g})")
    left.set_title("a  better or worse than the readers?", loc="left")
    shares = {who: numbers[who.replace(" ", "_")] for who in ("machine", *leads)}
    ends = [[share[key] for share in shares.values()] for key in ("value", "low", "high")]
    style.dots(right, list(shares), *ends, [style.COLOURS[who] for who in shares], [style.MARKERS[who] for who in shares])
    right.set(xlim=(0, 1), xlabel="share right (95 % interval)")
    right.set_title("b  the shares", loc="left")
    return style.described(figure, "Is the machine as often right as the readers?", told, readers=True)


def human_versus_machine(readers: pd.DataFrame) -> Figure:
    """Accuracy of every decision maker with its 95 % interval, best reader first."""
    readers = readers.dropna(subset="accuracy")
    people = readers["kind"].isin(["human", "simulated human"])
    rows = pd.concat([readers[~people].sort_values("accuracy", ascending=False),
                      readers[people].sort_values(["accuracy", "decision_maker"], ascending=[False, True])])  # fmt: skip
    figure, ax = plt.subplots(figsize=(style.ONE_COLUMN_IN, 0.75 + 0.155 * len(rows)))
    simulated = rows["kind"] == "simulated human"
    prefix = np.where(rows["kind"].isin(["panel mean", "majority vote"]) & simulated.any(), "simulated ", "")
    ends = (rows[column] for column in ("accuracy", "accuracy_low", "accuracy_high"))
    looks = ([of[k] for k in rows["kind"]] for of in (style.COLOURS, style.MARKERS))
    told = style.dots(ax, prefix + rows["decision_maker"], *ends, *looks, list(simulated))
    ax.axhline((~people).sum() - 0.5, **style.GUIDE)
    ax.set(xlim=(0, 1), xlabel=f"share of {int(rows['n_images'].max())} quiz images right\n(95 % interval)")
    return style.described(figure, "The share of quiz images that each decision maker got right.", told, readers=True)


def confusion_matrices(confusion: pd.DataFrame, classes: list[str]) -> Figure:
    """Answers by right answer, for the machine and the panel side by side; each row adds up to 1."""
    given = [*classes, NONE_OF_THESE, *({NO_ANSWER} & set(confusion["answer"]))]
    right = [c for c in given if c in set(confusion["truth"])]
    who = [w for w in ("machine", "panel") if w in set(confusion["who"])]
    longest = max(len(line) for name in given for line in style.wrapped(name).split("\n"))
    height = 0.75 + 0.065 * longest + 0.34 * len(right)
    figure, axes = plt.subplots(1, len(who), figsize=(style.TWO_COLUMNS_IN, height), squeeze=False)
    told = []
    for letter, ax, name in zip("ab", axes[0], who, strict=False):
        table = confusion[confusion["who"] == name].pivot_table("count", "truth", "answer", aggfunc="sum")
        table = table.reindex(index=right, columns=given).fillna(0)
        n = table.sum(axis=1)
        share = table.div(n.replace(0, np.nan), axis=0)
        labels = share.map(lambda v: f"{v:.2f}".lstrip("0") if 0 < v < 1 else ("1" if v == 1 else ""))
        sns.heatmap(share, ax=ax, cmap="Blues", vmin=0, vmax=1, annot=labels, fmt="", cbar=False, square=True,
                    linewidths=0.5, linecolor="white", annot_kws={"fontsize": 6.5})  # fmt: skip
        ax.set_title(f"{letter}  {name}, {int(n.sum())} answers", loc="left")
        ax.set_xticks(np.arange(len(given)) + 0.5, [style.wrapped(g) for g in given], rotation=90)
        names = [f"{style.wrapped(r)}\nn = {int(n[r])}" if ax is axes[0][0] else f"n = {int(n[r])}" for r in right]
        ax.set_yticks(np.arange(len(right)) + 0.5, names, rotation=0)
        ax.set(xlabel="answer", ylabel="right answer" if ax is axes[0][0] else "")
        told += [f"{name}, {r}: {share.loc[r, r]:.2f} right of {int(n[r])}" for r in right]
    return style.described(figure, "What is mistaken for what.", f"Two matrices of shares. {'; '.join(told)}.", readers=True)


def hardest_images(items: pd.DataFrame, manifest: pd.DataFrame, n: int = 8) -> Figure:
    """The images that fewest readers got right, with the right answer, the machine's, and the panel's share."""
    shown = items.sort_values(["reader_accuracy", "machine_correct", "image"]).head(n)
    by_file, columns = manifest.set_index("file"), 4
    rows = -(-len(shown) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(style.TWO_COLUMNS_IN, 2.15 * rows), squeeze=False)
    for ax in axes.ravel()[len(shown) :]:
        ax.remove()
    for ax, item in zip(axes.ravel(), shown.itertuples(), strict=False):
        row = by_file.loc[item.image]
        style.show_micrograph(ax, read_image(row["path"]), row["pixels_per_um"], item.truth)
        colour, mark = ("black", "right") if item.machine_correct else (style.COLOURS["machine"], "wrong")
        said = f"machine {mark}: {style.wrapped(item.machine_answer)}"
        ax.set_xlabel(f"{said}\nreaders right: {item.n_readers_correct} of {item.n_readers}", fontsize=6.5, color=colour)
    told = [f"{i.truth}, {i.n_readers_correct} of {i.n_readers} readers right" for i in shown.itertuples()]
    caption = "The images that the fewest readers got right."
    return style.described(figure, caption, f"Micrographs: {'; '.join(told)}.", readers=True)


def agreement(table: pd.DataFrame) -> Figure:
    """Error consistency (kappa) of every pair: the machine with each reader, against readers with each other."""
    figure, ax = plt.subplots(figsize=(style.ONE_COLUMN_IN, 1.6))
    pairs = table.apply(lambda row: frozenset((row["role_a"], row["role_b"])), axis=1)
    rng, told = np.random.default_rng(0), []
    kinds = (({"reader"}, "reader and reader", "human"), ({"machine", "reader"}, "machine and reader", "machine"))
    for y, (roles, label, kind) in enumerate(kinds):
        kappa = table.loc[pairs == roles, "kappa"].dropna()
        at = y + rng.uniform(-0.2, 0.2, len(kappa))
        ax.plot(kappa, at, style.MARKERS[kind], color=style.COLOURS[kind], markersize=3, alpha=0.6, clip_on=False)
        if len(kappa):
            ax.plot([kappa.mean()] * 2, [y - 0.33, y + 0.33], color="black", linewidth=1.5)
            told.append(f"{label}, {len(kappa)} pairs, mean {kappa.mean():.2f}")
        ax.text(1.02, y, f"{label}\n{len(kappa)} pairs", transform=ax.get_yaxis_transform(), fontsize=6.5, va="center")
    ax.axvline(0, **style.GUIDE)
    ax.set(yticks=[], ylim=(-0.6, 1.6), xlabel="error consistency κ (bar: mean)")
    caption = "Does the machine err on the images on which the readers err?"
    return style.described(figure, caption, f"Error consistency: {'; '.join(told) or 'undefined'}.", readers=True)


def power(table: pd.DataFrame, *, margin: float) -> Figure:
    """How often a quiz of this size shows superiority, and non-inferiority, at a true difference."""
    figure, axes = plt.subplots(1, 2, figsize=(style.TWO_COLUMNS_IN, 2.4), sharey=True)
    shown = {"superior": "a  superiority", "non_inferior": f"b  non-inferiority, margin {margin:g}"}
    for ax, (column, title) in zip(axes, shown.items(), strict=True):
        designs = table.groupby(["n_images", "n_readers", "shared_difficulty"])
        for i, ((n_images, n_readers, shared), rows) in enumerate(designs):
            ax.plot(rows["true_difference"], rows[column], ("-", "--", "-.", ":")[i % 4], marker="o", markersize=3,
                    color=style.CLASS_COLOURS[i % 8], clip_on=False,
                    label=f"{n_images} images, {n_readers} readers, {shared:.0%} of difficulty shared")  # fmt: skip
        ax.axhline(0.8, **style.GUIDE)
        ax.set_title(title, loc="left")
        ax.set(ylim=(0, 1), xlabel="true difference in accuracy")
    axes[0].set_ylabel("share of quizzes that show it")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    best = table.loc[table["superior"].idxmax()]
    alt = f"Lines; the highest power for superiority is {best['superior']:.2f}, at {best['true_difference']:+g}."
    return style.described(figure, "What a quiz of this size can show.", alt, simulated="quizzes")


def verdicts(table: pd.DataFrame) -> Figure:
    """Coverage, false superiority and power by quiz, one dot a panel: how far verdicts can be trusted."""
    measures = {
        "coverage": ("a  coverage", 0.93),
        "false_superior": ("b  falsely superior", 0.035),
        "power_superior": ("c  power at +0.15", 0.8),
    }
    quizzes = list(dict.fromkeys(table["quiz"]))
    figure, axes = plt.subplots(1, 3, figsize=(style.TWO_COLUMNS_IN, 0.9 + 0.2 * len(quizzes)), sharey=True)
    rng = np.random.default_rng(0)
    for ax, (column, (title, limit)) in zip(axes, measures.items(), strict=True):
        for i, (n, rows) in enumerate(table.groupby("n_readers")):
            y = rows["quiz"].map(quizzes.index) + rng.uniform(-0.3, 0.3, len(rows))
            label = f"{n} reader{'s' if n > 1 else ''}"
            ax.plot(rows[column], y, ".", color=style.CLASS_COLOURS[i], markersize=2, alpha=0.7, clip_on=False, label=label)
        ax.axvline(limit, color="black", linewidth=0.6, linestyle=":")
        ax.set_title(title, loc="left")
        ax.set_xlabel("share of quizzes")
    axes[0].set_yticks(range(len(quizzes)), [style.wrapped(q, 26) for q in quizzes])
    axes[0].set_ylim(len(quizzes) - 0.4, -0.6)
    axes[2].set_xlim(0, 1)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), markerscale=3)
    alt = (f"Dots by quiz; the lowest coverage is {table['coverage'].min():.3f}, the most false superiority "
           f"{table['false_superior'].max():.3f}; dotted: 0.93, 0.035 and 0.8.")  # fmt: skip
    return style.described(
        figure, "How often intervals hold the truth, verdicts are false, and a lead is shown.", alt, simulated="quizzes"
    )
