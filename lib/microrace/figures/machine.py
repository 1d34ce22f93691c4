"""Figures of the machine: its training, its embedding, its reasons, and what matters (notebooks 02 and 04)."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from micrographs import manifest as manifests
from microrace.figures.style import (
    CLASS_COLOURS,
    CLASS_MARKERS,
    COLOURS,
    ONE_COLUMN_IN,
    TWO_COLUMNS_IN,
    show_micrograph,
    stamp,
    wrapped,
)


def training_curve(history: pd.DataFrame, *, simulated: bool) -> Figure:
    """Loss, share of active triplets and spread of the embedding by epoch, one line a head or network."""
    panels = [
        ("loss", "loss"),
        ("active_triplets", "share of active triplets"),
        ("spread", "spread of the embedding"),
    ]
    # The machine's heads differ in their seed alone, and so share a colour.
    names = list(dict.fromkeys(history["network"]))
    colour_of = dict(zip(names, [*CLASS_COLOURS] * len(names), strict=False))
    dash_of = dict(zip(names, ["-", "--", "-.", ":"] * len(names), strict=False))
    figure, axes = plt.subplots(1, 3, figsize=(TWO_COLUMNS_IN, 2.1))
    for letter, ax, (column, label) in zip("abc", axes, panels, strict=True):
        for (network, head), rows in history.groupby(["network", "head"], sort=False):
            first = head == history.loc[history["network"] == network, "head"].iloc[0]
            ax.plot(rows["epoch"], rows[column], dash_of[network], color=colour_of[network], marker=".", markersize=3,
                    label=network if first else None)  # fmt: skip
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_ylabel(label)
        ax.set_title(letter, loc="left", fontweight="bold")
        ax.set_ylim(0, 1.08 * history[column].max())
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), columnspacing=1.2)
    stamp(figure, simulated, "simulated micrographs")
    return figure


def explanations(
    images: list[np.ndarray], pixels_per_um, titles: list[str], found: list, training_images: list, training_rows,
    *, simulated: bool
) -> Figure:  # fmt: skip
    """Why the machine answered so: per image the map of what spoke for it, and its crops beside the nearest training crops.

    Parameters
    ----------
    images : list of array (H, W)
    pixels_per_um : sequence of float
    titles : list of str
    found : list of explain.Explanation
    training_images : list of array
        By row of the training images; only those that pairs name are needed, others may be None.
    training_rows : DataFrame
        With label and pixels_per_um.
    simulated : bool
    """
    n_pairs = max(len(e.pairs) for e in found)
    # Placed by hand, in inches: the layout engine gives no room to titles above rows of unequal axes.
    left_in, row_in, picture_in, crop_in, pair_in = 0.06, 1.92, (2.0, 1.5), 0.62, 0.93
    height_in = 0.2 + row_in * len(images) + 0.5
    figure = plt.figure(figsize=(TWO_COLUMNS_IN, height_in))
    figure.set_layout_engine("none")

    def axes_at(x, y, width, height):
        """Axes whose upper left corner lies x from the left and y from the top."""
        across, up = TWO_COLUMNS_IN, height_in
        return figure.add_axes((x / across, 1 - (y + height) / up, width / across, height / up))

    def crop(image, place, scale):
        x, y, side = place
        left, top = max(0, round(x + 0.5 - side / 2)), max(0, round(y + 0.5 - side / 2))
        return image[top : top + round(side), left : left + round(side)], scale

    colours = mpl.colors.LinearSegmentedColormap.from_list("evidence", ["#0072B2", "#FFFFFF", "#D55E00"])
    overlay = None
    for i, (image, scale, title, e) in enumerate(zip(images, pixels_per_um, titles, found, strict=True)):
        y = 0.5 + row_in * i
        show_micrograph(axes_at(left_in, y, *picture_in), image, scale, title)
        ax = axes_at(2 * left_in + picture_in[0], y, *picture_in)
        show_micrograph(ax, image, scale, f"for {e.answer}\nagainst {e.runner_up}")
        overlay = ax.imshow(e.evidence, cmap=colours, vmin=-1, vmax=1, alpha=0.55, interpolation="bilinear")
        for k, pair in enumerate(e.pairs):
            row = training_rows.iloc[pair["training_image"]]
            source = training_images[pair["training_image"]]
            x = 2 * picture_in[0] + 0.25 + k * pair_in
            top, bottom = (axes_at(x, at, crop_in, crop_in) for at in (y, y + picture_in[1] - crop_in))
            show_micrograph(top, *crop(image, pair["place"], scale), "its crops" if k == n_pairs // 2 else "", small=True)
            training_crop = crop(source, pair["training_place"], row["pixels_per_um"])
            show_micrograph(bottom, *training_crop, wrapped(row["label"], 14), small=True)
    bar = figure.colorbar(overlay, cax=axes_at(1.7, height_in - 0.42, 3.5, 0.08), orientation="horizontal")
    bar.set_label("probability of the answer minus that of the runner-up", fontsize=6.5)
    bar.ax.tick_params(labelsize=6)
    stamp(figure, simulated, "simulated micrographs")
    return figure


def embedding(table: pd.DataFrame, *, simulated: bool) -> Figure:
    """The embedding in two dimensions (t-SNE from a PCA start): training images dots, quiz images ringed."""
    columns = [c for c in table.columns if c.startswith("e") and c[1:].isdigit()]
    points = table[columns].to_numpy()
    if len(points) > 10:
        tsne = TSNE(perplexity=min(20, (len(points) - 1) / 3), init="pca", random_state=0, metric="cosine")
        flat = tsne.fit_transform(points)
    else:
        flat = PCA(2).fit_transform(points)
    figure, ax = plt.subplots(figsize=(ONE_COLUMN_IN, 3.4))
    names = sorted(set(table["label"]), key=lambda n: (n == manifests.NONE_OF_THESE, n))
    for i, name in enumerate(names):
        colour = "#000000" if name == manifests.NONE_OF_THESE else CLASS_COLOURS[i % len(CLASS_COLOURS)]
        marker = CLASS_MARKERS[i % len(CLASS_MARKERS)]
        of_class = (table["label"] == name).to_numpy()
        quiz = of_class & (table["split"] == "quiz").to_numpy()
        ax.scatter(*flat[of_class & ~quiz].T, s=11, c=colour, marker=marker, linewidths=0, alpha=0.55)
        ax.scatter(*flat[quiz].T, s=26, facecolors=colour, edgecolors="black", marker=marker, linewidths=0.7)
        ax.scatter([], [], s=16, c=colour, marker=marker, label=wrapped(name, 22))
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel("t-SNE 1")
    ax.set_ylabel("t-SNE 2")
    figure.legend(loc="outside lower center", ncols=2, columnspacing=1.0, handletextpad=0.3)
    ax.set_title("quiz images: large, edged in black", fontsize=7)
    stamp(figure, simulated, "simulated")
    return figure


def ablations(levels: pd.DataFrame, *, simulated: bool) -> Figure:
    """Held-out accuracy of every level of every factor, with 95 % intervals; the reference first."""
    factors = list(dict.fromkeys(levels["factor"]))
    n_rows = len(levels) + len(factors)
    figure, ax = plt.subplots(figsize=(ONE_COLUMN_IN, 0.6 + 0.165 * n_rows))
    y, ticks, names = 0.0, [], []
    for factor in factors:
        ax.text(0.01, y, factor, transform=ax.get_yaxis_transform(), fontsize=6.5, fontweight="bold", va="center")
        y += 1
        for row in levels[levels["factor"] == factor].itertuples():
            is_reference = row.level == row.reference
            colour = COLOURS["machine"] if is_reference else "#444444"
            ax.plot([row.accuracy_low, row.accuracy_high], [y, y], color=colour, linewidth=1.0)
            ax.plot(row.accuracy, y, "D" if is_reference else "o", color=colour, markersize=3.8, clip_on=False)
            ticks.append(y)
            names.append(row.level)
            y += 1
    ax.set_yticks(ticks, names)
    ax.set_ylim(y - 0.4, -0.7)
    ax.set_xlim(0, 1)
    ax.set_xlabel("held-out accuracy\n(95 % interval over specimens)")
    stamp(figure, simulated, "simulated")
    return figure
