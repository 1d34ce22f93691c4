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
    margin, figure = numbers["margin"], plt.figure(figsize=(style.TWO_COLUMNS_IN, 1.85))
    leads = {"panel mean": numbers["difference"], "majority vote": numbers["difference_vote"]}
    shares = {who: numbers[who.replace(" ", "_")] for who in ("machine", *leads)}
    left, right = figure.subplots(1, 2)
    told = []
    for ax, parts, title in ((left, leads, "a  machine minus readers"), (right, shares, "b  share right")):
        prefix = {who: "simulated " * (who != "machine" and numbers["simulated_panel"]) for who in parts}
        names = [f"{prefix[who]}{who}" + (f"\n({part['verdict']})" if parts is leads else "") for who, part in parts.items()]
        ends = [[part[end] for part in parts.values()] for end in ("value", "low", "high")]
        told.append(style.dots(ax, names, *ends, *([of[who] for who in parts] for of in (style.COLOURS, style.MARKERS))))
        ax.set_title(title, loc="left")
    widest = 1.05 * max(margin, *(abs(lead[end]) for lead in leads.values() for end in ("low", "high")))
    left.axvspan(-margin, margin, color="#EEEEEE", zorder=0)
    left.axvline(0, **style.GUIDE)
    left.set(
        xlim=(-widest, widest), xlabel=f"machine worse  ←  →  machine better\n(95 % intervals; grey: margin of {margin:g})"
    )
    right.set(xlim=(0, 1), xlabel="share of quiz images right\n(95 % intervals)")
    return style.described(figure, "Is the machine as often right as the readers?", " Shares: ".join(told), readers=True)


def human_versus_machine(readers: pd.DataFrame) -> Figure:
    """Accuracy of every decision maker with its 95 % interval, best reader first."""
    rows = readers.dropna(subset="accuracy").assign(person=lambda r: r["kind"].isin(["human", "simulated human"]))
    rows = rows.sort_values(["person", "accuracy", "decision_maker"], ascending=[True, False, True])
    figure, ax = plt.subplots(figsize=(style.ONE_COLUMN_IN, 0.75 + 0.155 * len(rows)))
    simulated = rows["kind"] == "simulated human"
    prefix = np.where(rows["kind"].isin(["panel mean", "majority vote"]) & simulated.any(), "simulated ", "")
    ends = (rows[column] for column in ("accuracy", "accuracy_low", "accuracy_high"))
    looks = ([of[k] for k in rows["kind"]] for of in (style.COLOURS, style.MARKERS))
    told = style.dots(ax, prefix + rows["decision_maker"], *ends, *looks, list(simulated))
    ax.axhline((~rows["person"]).sum() - 0.5, **style.GUIDE)
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
        n = table.sum(axis=1).astype(int)
        share = table.div(n.replace(0, np.nan), axis=0)
        labels = share.map(lambda v: f"{v:.2f}".lstrip("0") if 0 < v < 1 else "1" if v == 1 else "")
        sns.heatmap(share, ax=ax, cmap="Blues", vmin=0, vmax=1, annot=labels, fmt="", cbar=False, square=True,
                    linewidths=0.5, linecolor="white", annot_kws={"fontsize": 6.5})  # fmt: skip
        ax.set_title(f"{letter}  {name}, {n.sum()} answers", loc="left")
        ax.set_xticks(np.arange(len(given)) + 0.5, [style.wrapped(g) for g in given], rotation=90)
        names = [f"{style.wrapped(r)}\n" if ax is axes[0][0] else "" for r in right]
        ax.set_yticks(
            np.arange(len(right)) + 0.5, [f"{name}n = {n[r]}" for name, r in zip(names, right, strict=True)], rotation=0
        )
        ax.set(xlabel="answer", ylabel="right answer" if ax is axes[0][0] else "")
        told += [f"{name}, {r}: {share.loc[r, r]:.2f} right of {n[r]}" for r in right]
    return style.described(figure, "What is mistaken for what.", f"Two matrices of shares. {'; '.join(told)}.", readers=True)


def hardest_images(items: pd.DataFrame, manifest: pd.DataFrame) -> Figure:
    """The eight images that fewest readers got right, with the right answer, the machine's, and the panel's share."""
    shown = items.sort_values(["reader_accuracy", "machine_correct", "image"]).head(8)
    by_file, told = manifest.set_index("file"), []
    lines = max(style.wrapped(answer).count("\n") for answer in shown["machine_answer"])
    figure, axes = style.cells(len(shown), 4, 1.85 + 0.13 * lines)
    for ax, item in zip(axes, shown.itertuples(), strict=True):
        row, readers = by_file.loc[item.image], f"{item.n_readers_correct} of {item.n_readers}"
        style.show_micrograph(ax, read_image(row["path"]), row["pixels_per_um"], item.truth)
        colour, mark = ("black", "right") if item.machine_correct else (style.COLOURS["machine"], "wrong")
        said = f"machine {mark}: {style.wrapped(item.machine_answer)}\nreaders right: {readers}"
        ax.set_xlabel(said, fontsize=6.5, color=colour)
        told.append(f"{item.truth}, {readers} readers right, machine {mark}")
    caption = "The images that the fewest readers got right."
    return style.described(figure, caption, f"Micrographs: {'; '.join(told)}.", readers=True)


def agreement(table: pd.DataFrame) -> Figure:
    """Error consistency (kappa) of every pair: the machine with each reader, against readers with each other."""
    figure, ax = plt.subplots(figsize=(style.ONE_COLUMN_IN, 1.6))
    with_machine = (table[["role_a", "role_b"]] == "machine").any(axis=1)
    between = table[["role_a", "role_b"]].isin(["machine", "reader"]).all(axis=1)
    rng, told = np.random.default_rng(0), []
    for y, (kind, rows) in enumerate({"human": between & ~with_machine, "machine": between & with_machine}.items()):
        kappa, label = table.loc[rows, "kappa"].dropna(), f"{'machine' if y else 'reader'} and reader"
        at = y + rng.uniform(-0.2, 0.2, len(kappa))
        ax.plot(kappa, at, style.MARKERS[kind], color=style.COLOURS[kind], markersize=3, alpha=0.6, clip_on=False)
        ax.plot([kappa.mean()] * 2, [y - 0.33, y + 0.33], color="black", linewidth=1.5)
        ax.text(1.02, y, f"{label}\n{len(kappa)} pairs", transform=ax.get_yaxis_transform(), fontsize=6.5, va="center")
        told.append(f"{label}, {len(kappa)} pairs" + (f", mean {kappa.mean():.2f}" if len(kappa) else ""))
    ax.axvline(0, **style.GUIDE)
    ax.set(yticks=[], ylim=(-0.6, 1.6), xlabel="error consistency κ (bar: mean)")
    caption = "Does the machine err on the images on which the readers err?"
    return style.described(figure, caption, f"Error consistency: {'; '.join(told)}.", readers=True)


def power(table: pd.DataFrame, *, margin: float) -> Figure:
    """How often a quiz of this size shows superiority, and non-inferiority, at a true difference."""
    figure, axes = plt.subplots(1, 2, figsize=(style.TWO_COLUMNS_IN, 2.4), sharey=True)
    shown = {"superior": "a  superiority", "non_inferior": f"b  non-inferiority, margin {margin:g}"}
    for ax, (column, title) in zip(axes, shown.items(), strict=True):
        for i, (shared, rows) in enumerate(table.groupby("shared_difficulty")):
            look = {"color": style.CLASS_COLOURS[i], "marker": style.CLASS_MARKERS[i], "markersize": 3, "clip_on": False}
            ax.plot(rows["true_difference"], rows[column], label=f"{shared:.0%}", **look)
        ax.axhline(0.8, **style.GUIDE)
        ax.set_title(title, loc="left")
        ax.set(ylim=(0, 1), xlabel="true difference in accuracy", xticks=sorted(set(table["true_difference"])))
    axes[0].set_ylabel("share of quizzes that show it")
    size = "{} images, {} readers".format(*table[["n_images", "n_readers"]].to_numpy(int)[0])
    title = f"{size}; share of an image's difficulty that is the same for machine and readers:"
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(handles[0]), title=title, title_fontsize=6.5)
    best = table.loc[table["superior"].idxmax()]
    alt = f"Lines, {size}; the highest power for superiority is {best['superior']:.2f}, at {best['true_difference']:+g}."
    return style.described(figure, "What a quiz of this size can show.", alt, simulated="quizzes")


def verdicts(table: pd.DataFrame) -> Figure:
    """Coverage, false superiority and power by quiz and number of readers: how far verdicts can be trusted.

    Parameters
    ----------
    table : DataFrame
        As `readerstudy.power.verdicts_table` gives it: a row a quiz and panel.
    """
    measures = {"coverage": ("a  coverage", 0.93), "false_superior": ("b  falsely superior", 0.035)}
    measures["power_superior"] = ("c  power at +0.15", 0.8)
    table = table.assign(alike=~table["quiz"].str.contains("alike"), order=table["n_specimens"])
    table = table.sort_values(["alike", "order"], kind="stable")
    quizzes, panels = list(dict.fromkeys(table["quiz"])), sorted(set(table["n_readers"]))
    figure, axes = plt.subplots(1, 3, figsize=(style.TWO_COLUMNS_IN, 0.9 + 0.27 * len(quizzes)), sharey=True)
    for ax, (column, (title, limit)) in zip(axes, measures.items(), strict=True):
        for i, (n, rows) in enumerate(table.groupby("n_readers")):
            found = rows.groupby("quiz")[column].agg(["min", "median", "max"]).reindex(quizzes)
            look = {"label": f"{n} reader{'s' * (n > 1)}", "colour": plt.get_cmap("viridis")(i / len(panels)), "size": 2.5}
            style.beside(ax, i, len(panels), found["min"], found["median"], found["max"], **look)
        ax.axvline(limit, color="black", linewidth=0.6, linestyle=":")
        ax.set_title(title, loc="left")
        ax.set_xlabel("share of quizzes")
    axes[0].set_yticks(range(len(quizzes)), [quiz.replace("1 specimens alike", "1 specimen") for quiz in quizzes])
    axes[0].set_ylim(len(quizzes) - 0.4, -0.6)
    axes[2].set_xlim(0, 1)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(panels))
    caption = "How often intervals hold the truth, verdicts are false, and a lead is shown."
    caption += " Lines: least to most over accuracies and kinds of difficulty; dots: the median."
    alt = f"The lowest coverage is {table['coverage'].min():.3f}, the most false superiority "
    alt += f"{table['false_superior'].max():.3f}; dotted: 0.93, 0.035 and 0.8."
    return style.described(figure, caption, alt, simulated="quizzes")
