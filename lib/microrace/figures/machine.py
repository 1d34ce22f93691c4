"""Figures of the machine: its training, its embedding, its reasons, and what matters (notebooks 02 and 04)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from micrographs import NONE_OF_THESE
from microrace.figures import style


def training_curve(history: pd.DataFrame) -> Figure:
    """Loss, share of active triplets and spread of the embedding by epoch: mean and range of heads, folds and machine."""
    panels = {"loss": "loss", "active_triplets": "share of active triplets", "spread": "spread of the embedding"}
    figure, axes = plt.subplots(1, 3, figsize=(style.TWO_COLUMNS_IN, 2.0))
    of_fold = history["network"].str.startswith("fold")
    kinds = {"machine": (~of_fold, style.COLOURS["machine"]), "folds": (of_fold, style.COLOURS["human"])}
    for letter, ax, (column, label) in zip("abc", axes, panels.items(), strict=True):
        for name, (rows, colour) in kinds.items():
            by_epoch = history[rows].groupby("epoch")[column].agg(["mean", "min", "max"])
            ax.fill_between(by_epoch.index, by_epoch["min"], by_epoch["max"], color=colour, alpha=0.2, linewidth=0)
            ax.plot(by_epoch["mean"], color=colour, label=f"{name}: mean and range of heads")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set(xlabel="epoch", ylabel=label, ylim=(0, 1.08 * history[column].max()))
        ax.set_title(letter, loc="left", fontweight="bold")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    loss = history.groupby("epoch")["loss"].mean()
    alt = f"Three curves over {len(loss)} epochs; mean loss {loss.iloc[0]:.3f} at first, {loss.iloc[-1]:.3f} at last."
    return style.described(figure, "Did the heads learn, and did none collapse?", alt)


def explanations(images: list[np.ndarray], pixels_per_um, titles: list[str], found: list, training_images: list,
                 training_rows: pd.DataFrame) -> Figure:  # fmt: skip
    """Why the machine answered so: per image the map of what spoke for it, and its crops beside the nearest training crops.

    Parameters
    ----------
    images : list of array (H, W)
    pixels_per_um : sequence of float
    titles : list of str
        With the right answer and the machine's.
    found : list of opinion.Explanation
    training_images : list of array
        By row of the training images; only those that pairs name are needed, others may be None.
    training_rows : DataFrame
        With label and pixels_per_um.
    """
    figure = plt.figure(figsize=(style.TWO_COLUMNS_IN, 2.15 * len(images)))
    grid = figure.add_gridspec(2 * len(images), 7)
    orange = LinearSegmentedColormap.from_list("evidence", ["#D55E0000", "#D55E00B0"])

    def crop(image, position, scale):
        x, y, side = position
        left, top = max(0, round(x + 0.5 - side / 2)), max(0, round(y + 0.5 - side / 2))
        return image[top : top + round(side), left : left + round(side)], scale

    for i, (image, scale, title, e) in enumerate(zip(images, pixels_per_um, titles, found, strict=True)):
        rows = slice(2 * i, 2 * i + 2)
        style.show_micrograph(figure.add_subplot(grid[rows, :2]), image, scale, title)
        ax = figure.add_subplot(grid[rows, 2:4])
        # Where all crops agree, the map would be of one colour: it shows differences inside the image.
        low, high = np.nanmin(e.evidence), np.nanmax(e.evidence)
        style.show_micrograph(ax, image, scale, f"for {e.answer}\nover {e.runner_up}\nby {low:+.2f} to {high:+.2f}")
        look = {"cmap": orange, "interpolation": "bilinear", "vmin": low, "vmax": max(high, low + 0.05)}
        ax.imshow(e.evidence, extent=ax.images[0].get_extent(), **look)
        for k, pair in enumerate(e.pairs[:3]):
            row = training_rows.iloc[pair["training_image"]]
            top, bottom = (figure.add_subplot(grid[2 * i + r, 4 + k]) for r in (0, 1))
            style.show_micrograph(top, *crop(image, pair["place"], scale), "of the image" if k == 1 else "", small=True)
            known = crop(training_images[pair["training_image"]], pair["training_place"], row["pixels_per_um"])
            style.show_micrograph(bottom, *known, style.wrapped(row["label"], 14), small=True)
    caption = "Why these answers: orange places spoke most for the answer; right, crops above their nearest training crops."
    return style.described(figure, caption, f"Micrographs with maps: {'; '.join(t.replace(chr(10), ', ') for t in titles)}.")


def embedding(table: pd.DataFrame) -> Figure:
    """The embedding in two dimensions (t-SNE from a PCA start): training images dots, quiz images ringed."""
    points = table[[c for c in table.columns if c.startswith("e") and c[1:].isdigit()]].to_numpy()
    perplexity = min(20, (len(points) - 1) / 3)
    flat = TSNE(perplexity=perplexity, init="pca", random_state=0, metric="cosine").fit_transform(points)
    figure, ax = plt.subplots(figsize=(style.ONE_COLUMN_IN, 3.4))
    names, quiz = sorted(set(table["label"]), key=lambda n: (n == NONE_OF_THESE, n)), (table["split"] == "quiz").to_numpy()
    for i, name in enumerate(names):
        colour = "#000000" if name == NONE_OF_THESE else style.CLASS_COLOURS[i % len(style.CLASS_COLOURS)]
        marker = style.CLASS_MARKERS[i % len(style.CLASS_MARKERS)]
        of_class = (table["label"] == name).to_numpy()
        ax.scatter(*flat[of_class & ~quiz].T, s=11, c=colour, marker=marker, linewidths=0, alpha=0.55)
        ax.scatter(*flat[of_class & quiz].T, s=26, fc=colour, ec="black", marker=marker, linewidths=0.7)
        ax.scatter([], [], s=16, c=colour, marker=marker, label=style.wrapped(name, 22))
    ax.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")
    figure.legend(loc="outside lower center", ncols=2, columnspacing=1.0, handletextpad=0.3)
    ax.set_title("quiz images: large, edged in black", fontsize=7)
    caption = "What lies close looks alike to the machine; distances between far groups mean nothing."
    return style.described(figure, caption, f"A map of {len(table)} images as points, coloured by {len(names)} classes.")


def differences(levels: pd.DataFrame) -> Figure:
    """Paired difference of every level from its factor's first, on images as they are, with 95 % intervals."""
    rows = levels[(levels["condition"] == "as they are")]
    compared = rows.dropna(subset="difference")
    figure, ax = plt.subplots(figsize=(style.ONE_COLUMN_IN * 1.25, 0.7 + 0.16 * (len(compared) + rows["factor"].nunique())))
    names, values = [], []
    for factor, of_factor in compared.groupby("factor", sort=False):
        first = of_factor["reference"].iloc[0]
        names += [f"{factor.upper()}, from {first}", *of_factor["level"]]
        values += [(np.nan,) * 3, *of_factor[["difference", "difference_low", "difference_high"]].itertuples(index=False)]
    sure = [low > 0 or high < 0 for _, low, high in values]
    ax.axvline(0, **style.GUIDE)
    told = style.dots(ax, names, *zip(*values, strict=True), [style.COLOURS["machine"] if s else "#444444" for s in sure])
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("difference in held-out accuracy\n(95 % interval; orange: told from 0)")
    return style.described(figure, "What each ingredient earns, one changed at a time.", told)


def tests(levels: pd.DataFrame, factor: str, conditions: list[str], caption: str) -> Figure:
    """Accuracy and paired difference of one factor's levels under conditions: the zoom test and the knob test.

    Parameters
    ----------
    levels : DataFrame
        As `ablations.compare` gives it.
    factor : str
    conditions : list of str
        In the order of the axis.
    caption : str
    """
    rows = levels[(levels["factor"] == factor) & levels["condition"].isin(conditions)]
    names = list(dict.fromkeys(rows["level"]))
    height = 0.9 + len(conditions) * (0.1 + 0.055 * len(names))
    figure, axes = plt.subplots(1, 2, figsize=(style.TWO_COLUMNS_IN, height), sharey=True)
    columns = {"accuracy": "a  share right", "difference": f"b  difference from {rows['reference'].iloc[0]!r}"}
    for ax, (column, title) in zip(axes, columns.items(), strict=True):
        for i, name in enumerate(names):
            of_level = rows[rows["level"] == name].set_index("condition").reindex(conditions)
            ends, look = (
                (of_level[f"{column}{end}"] for end in ("_low", "", "_high")),
                (style.CLASS_COLOURS, style.CLASS_MARKERS),
            )
            style.beside(ax, i, len(names), *ends, name, *(kind[i % len(kind)] for kind in look))
        ax.set_title(title, loc="left")
    axes[0].set(xlim=(0, 1), xlabel="held-out accuracy (95 % interval)")
    axes[0].set_yticks(range(len(conditions)), conditions)
    axes[0].set_ylim(len(conditions) - 0.5, -0.5)
    axes[1].axvline(0, **style.GUIDE)
    axes[1].set_xlabel("difference, same images (95 % interval)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(names))
    told = "; ".join(f"{r.condition}, {r.level}: {r.accuracy:.2f}" for r in rows.itertuples())
    return style.described(figure, caption, f"Dots with intervals, held-out accuracy: {told}.")


def learning_curve(levels: pd.DataFrame) -> Figure:
    """Held-out accuracy against the number of training images, with 95 % intervals."""
    rows = levels[(levels["factor"] == "images") & (levels["condition"] == "as they are")]
    rows = rows.assign(n=pd.to_numeric(rows["level"], errors="coerce").fillna(np.inf)).sort_values("n")
    figure, ax = plt.subplots(figsize=(style.ONE_COLUMN_IN, 2.2))
    style.band(ax, np.arange(len(rows)), rows, "accuracy", marker="D", markersize=4)
    ax.set_xticks(range(len(rows)), rows["level"])
    ax.set(xlabel="training images", ylabel="held-out accuracy\n(95 % interval)", ylim=(0, 1))
    told = "; ".join(f"{r.level} images {r.accuracy:.2f}" for r in rows.itertuples())
    return style.described(figure, "How many training images are enough?", f"A curve: {told}.")
