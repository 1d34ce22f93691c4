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
    columns = -(-len(names) // -(-len(names) // 5))
    lines = max(style.wrapped(name).count("\n") for name in names) + 2
    figure, axes = style.cells(len(names), columns, 0.2 + 0.15 * lines + 4.4 / columns)
    for ax, name in zip(axes, names, strict=True):
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
    ax.set(xscale="log", xlabel="pixels per µm")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_yticks(range(len(names)), [style.wrapped(n, 24) for n in names])
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
    figure, axes = style.cells(len(steps), 4, 1.9)
    for letter, ax, (title, image, pixels_per_um) in zip("abcdefghijklmnopqrstuvwxyz", axes, steps, strict=False):
        style.show_micrograph(ax, image, pixels_per_um, f"{letter}  {title}")
    for (corners, label), colour in zip(boxes, style.CLASS_COLOURS, strict=False):
        axes[0].add_patch(mpl.patches.Polygon(corners, fill=False, edgecolor=colour, linewidth=1.2))
        (x, y), box = corners[0], {"facecolor": colour, "pad": 1, "linewidth": 0}
        axes[0].text(x + 4, y + 4, label, fontsize=6, va="top", color="white", bbox=box)
    told = ", then ".join(title for title, *_ in steps)
    caption = "One image, and what the transformations make of it, one after the other."
    return style.described(figure, caption, f"Micrographs: {told}.")
