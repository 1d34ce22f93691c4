"""Figures of the micrographs and of what the transformations do (notebook 01)."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from micrographs import classes, read_image
from microrace.figures import style


def examples(manifest: pd.DataFrame) -> Figure:
    """One training image a class, each with its scale bar."""
    names = classes(manifest)
    rows = -(-len(names) // 5)
    columns = -(-len(names) // rows)
    lines = max(style.wrapped(name).count("\n") for name in names) + 2
    height = 0.2 + rows * (0.15 * lines + 4.4 / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(style.TWO_COLUMNS_IN, height), squeeze=False)
    for ax in axes.ravel()[len(names) :]:
        ax.remove()
    for ax, name in zip(axes.ravel(), names, strict=False):
        of_class = manifest[(manifest["split"] == "train") & (manifest["label"] == name)].sort_values("pixels_per_um")
        row = of_class.iloc[len(of_class) // 2]
        title = f"{style.wrapped(name)}\n{row['modality'].upper() or 'micrograph'}, {row['pixels_per_um']:.3g} px/µm"
        style.show_micrograph(ax, read_image(row["path"]), row["pixels_per_um"], title)
    return style.described(figure, "One training image of each class.", f"Micrographs with scale bars: {', '.join(names)}.")


def scales(manifest: pd.DataFrame) -> Figure:
    """Scale of every image by class and split: where classes part along the axis, scale alone tells them apart."""
    names = sorted(manifest["label"].unique())
    figure, ax = plt.subplots(figsize=(style.ONE_COLUMN_IN, 0.6 + 0.3 * len(names)))
    rng = np.random.default_rng(0)
    for split, marker, colour in (("train", "o", "#0072B2"), ("quiz", "x", "#D55E00")):
        rows = manifest[manifest["split"] == split]
        y = rows["label"].map(names.index) + rng.uniform(-0.25, 0.25, len(rows))
        ax.scatter(rows["pixels_per_um"], y, s=9, marker=marker, c=colour, linewidths=0.7, alpha=0.8, label=split)
    ax.set_xscale("log")
    ax.set_yticks(range(len(names)), [style.wrapped(n, 24) for n in names])
    ax.set_xlabel("pixels per µm")
    figure.legend(loc="outside lower center", ncols=2)
    ranges = manifest.groupby("label")["pixels_per_um"].agg(["min", "max"])
    told = "; ".join(f"{label} {low:.3g} to {high:.3g}" for label, low, high in ranges.itertuples())
    caption = "The scale of every image, by class: where classes part here, scale alone tells them apart."
    return style.described(figure, caption, f"Dots of pixels per µm by class: {told}.")


def augmentation_explained(steps: list[tuple[str, np.ndarray, float]], boxes: list[tuple]) -> Figure:
    """One image and what becomes of it.

    Parameters
    ----------
    steps : list of (title, image (h, w), pixels_per_um)
        The whole image first, then a crop after each transformation.
    boxes : list of (corners (4, 2) in pixels of the whole image, label)
        Fields of view drawn on the first image.
    """
    columns = 4
    rows = -(-(len(steps) + 1) // columns)
    figure = plt.figure(figsize=(style.TWO_COLUMNS_IN, 1.9 * rows))
    layout = figure.add_gridspec(rows, columns)
    for i, (title, image, pixels_per_um) in enumerate(steps, start=1):
        ax = figure.add_subplot(layout[0, :2] if i == 1 else layout[i // columns, i % columns])
        style.show_micrograph(ax, image, pixels_per_um, f"{chr(96 + i)}  {title}")
    first = figure.axes[0]
    for (corners, label), colour in zip(boxes, style.CLASS_COLOURS, strict=False):
        first.add_patch(mpl.patches.Polygon(corners, fill=False, edgecolor=colour, linewidth=1.2))
        (x, y), box = corners[0], {"facecolor": colour, "pad": 1, "linewidth": 0}
        first.text(x + 4, y + 4, label, fontsize=6, va="top", color="white", bbox=box)
    told = ", then ".join(title for title, *_ in steps)
    return style.described(figure, "One image, and what the transformations make of it.", f"Micrographs: {told}.")
