"""Figures of the micrographs and of what the transformations do (notebook 01)."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from micrographs import manifest as manifests
from micrographs import reading
from microrace.figures.style import (
    CLASS_COLOURS,
    ONE_COLUMN_IN,
    TWO_COLUMNS_IN,
    show_micrograph,
    stamp,
    wrapped,
)


def examples(manifest: pd.DataFrame, *, simulated: bool) -> Figure:
    """One training image a class, each with its scale bar."""
    names = manifests.classes(manifest)
    rows = -(-len(names) // 5)
    columns = -(-len(names) // rows)
    lines = max(wrapped(name).count("\n") for name in names) + 2
    height = 0.2 + rows * (0.15 * lines + 4.4 / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(TWO_COLUMNS_IN, height), squeeze=False)
    for ax in axes.ravel()[len(names) :]:
        ax.remove()
    train = manifest[manifest["split"] == "train"]
    for ax, name in zip(axes.ravel(), names, strict=False):
        of_class = train[train["label"] == name].sort_values("pixels_per_um")
        row = of_class.iloc[len(of_class) // 2]
        title = f"{wrapped(name)}\n{row['modality'].upper() or 'micrograph'}, {row['pixels_per_um']:.3g} px/µm"
        show_micrograph(ax, reading.read_image(row["path"]), row["pixels_per_um"], title)
    stamp(figure, simulated, "simulated micrographs")
    return figure


def scales(manifest: pd.DataFrame, *, simulated: bool) -> Figure:
    """Scale of every image by class and split: where classes part along the axis, scale alone tells them apart."""
    names = sorted(manifest["label"].unique())
    figure, ax = plt.subplots(figsize=(ONE_COLUMN_IN, 0.5 + 0.3 * len(names)))
    rng = np.random.default_rng(0)
    for split, marker, colour in (("train", "o", "#0072B2"), ("quiz", "x", "#D55E00")):
        rows = manifest[manifest["split"] == split]
        y = rows["label"].map({n: i for i, n in enumerate(names)}) + rng.uniform(-0.25, 0.25, len(rows))
        ax.scatter(rows["pixels_per_um"], y, s=9, marker=marker, c=colour, linewidths=0.7, alpha=0.8, label=split)
    ax.set_xscale("log")
    ax.set_yticks(range(len(names)), [wrapped(n, 24) for n in names])
    ax.set_xlabel("pixels per µm")
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, 1.16), ncols=2)
    stamp(figure, simulated, "simulated")
    return figure


def augmentation_explained(
    steps: list[tuple[str, np.ndarray, float]], boxes: list[tuple], *, simulated: bool
) -> Figure:
    """One image and what becomes of it.

    Parameters
    ----------
    steps : list of (title, image (h, w), pixels_per_um)
        The whole image first, then a crop after each transformation.
    boxes : list of (corners (4, 2) in pixels of the whole image, label)
        Fields of view drawn on the first image.
    simulated : bool
    """
    columns = 4
    rows = -(-(len(steps) + 1) // columns)
    figure = plt.figure(figsize=(TWO_COLUMNS_IN, 1.9 * rows))
    layout = figure.add_gridspec(rows, columns)
    first = figure.add_subplot(layout[0, :2])
    title, image, pixels_per_um = steps[0]
    show_micrograph(first, image, pixels_per_um, f"a  {title}")
    for (corners, label), colour in zip(boxes, CLASS_COLOURS, strict=False):
        first.add_patch(mpl.patches.Polygon(corners, fill=False, edgecolor=colour, linewidth=1.2))
        x, y = corners[0]
        first.text(
            x + 4,
            y + 4,
            label,
            fontsize=6,
            va="top",
            color="white",
            bbox={"facecolor": colour, "pad": 1, "linewidth": 0},
        )
    for i, (title, image, pixels_per_um) in enumerate(steps[1:], start=2):
        ax = figure.add_subplot(layout[i // columns, i % columns])
        show_micrograph(ax, image, pixels_per_um, f"{chr(96 + i)}  {title}")
    stamp(figure, simulated, "simulated micrograph")
    return figure
