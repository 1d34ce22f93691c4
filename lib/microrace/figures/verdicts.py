"""The figure of how far verdicts can be trusted, which no notebook draws: ``python -m microrace.figures``."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from microrace import figures


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
    figure, axes = plt.subplots(1, 3, figsize=(figures.TWO_COLUMNS_IN, 0.9 + 0.27 * len(quizzes)), sharey=True)
    for ax, (column, (title, limit)) in zip(axes, measures.items(), strict=True):
        for i, (n, rows) in enumerate(table.groupby("n_readers")):
            found = rows.groupby("quiz")[column].agg(["min", "median", "max"]).reindex(quizzes)
            look = {"label": f"{n} reader{'s' * (n > 1)}", "colour": plt.get_cmap("viridis")(i / len(panels)), "size": 2.5}
            figures.beside(ax, i, len(panels), found["min"], found["median"], found["max"], **look)
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
    return figures.described(figure, caption, alt, simulated="quizzes")
