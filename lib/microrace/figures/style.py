"""One style for every figure: colours, scale bars, stamps on what is simulated, files that come out the same twice."""

from __future__ import annotations

import json
import math
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from microrace.whole import written_whole

ONE_COLUMN_IN, TWO_COLUMNS_IN = 3.35, 6.9
# Okabe and Ito's colours, told apart with every common colour vision; each kind has its own marker too.
COLOURS = {
    "machine": "#D55E00",
    "human": "#0072B2",
    "simulated human": "#56B4E9",
    "majority vote": "#009E73",
    "panel mean": "#CC79A7",
    "image": "#7F7F7F",
}
MARKERS = {
    "machine": "D",
    "human": "o",
    "simulated human": "o",
    "majority vote": "s",
    "panel mean": "^",
    "image": "|",
}
CLASS_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#8C6D1F")
CLASS_MARKERS = "osD^vP*X"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
    "svg.hashsalt": "microrace",
}


def use_style() -> None:
    """Set matplotlib to the study's style."""
    mpl.rcParams.update(STYLE)


def _attribution_of_run(directory: Path) -> list[str]:
    """Whom to name for the micrographs, as notebook 01 wrote it into the run's ``dataset.json`` beside the figures."""
    try:
        return json.loads((directory.parent / "dataset.json").read_text(encoding="utf-8"))["attribution"]
    except (OSError, ValueError, KeyError):
        return []


def save(
    figure: Figure, directory, stem: str, data: pd.DataFrame | None = None, *, attribution: list[str] | None = None
) -> Figure:
    """Write a figure as PNG and PDF, and the numbers behind it as CSV; the same bytes on every run.

    Parameters
    ----------
    figure : Figure
    directory : path
        Made when missing.
    stem : str
        File name without its ending.
    data : DataFrame, optional
    attribution : list of str, optional
        Whom to name for the micrographs, kept in the files' metadata (``Copyright`` of the PNG, ``Subject`` of the
        PDF); without it, what the run's ``dataset.json`` says.

    Returns
    -------
    Figure
        The same, so that a notebook shows it.
    """
    directory = Path(directory)
    credit = " ".join(_attribution_of_run(directory) if attribution is None else attribution) or None
    # Software and dates are left out: they would make two equal figures differ.
    for ending, metadata in (
        (".png", {"Software": None, "Copyright": credit}),
        (".pdf", {"CreationDate": None, "Producer": None, "Subject": credit}),
    ):
        with written_whole(directory / f"{stem}{ending}") as file:
            figure.savefig(file, metadata=metadata)
    if data is not None:
        with written_whole(directory / f"{stem}.csv") as file:
            data.to_csv(file, index=False)
    plt.close(figure)
    return figure


def stamp(figure: Figure, simulated: bool, what: str = "simulated data") -> None:
    """Write "simulated" at the figure's top right corner, above everything drawn."""
    if simulated:
        if isinstance(engine := figure.get_layout_engine(), ConstrainedLayoutEngine):
            engine.set(rect=(0, 0, 1, 1 - 0.14 / figure.get_figheight()))
        figure.text(0.995, 1 - 0.02 / figure.get_figheight(), what, ha="right", va="top", fontsize=6.5,
                    color="#B00020", fontweight="bold")  # fmt: skip


def scale_bar_um(width_um: float) -> float:
    """The longest round length (1, 2 or 5 times a power of ten) of at most a third of ``width_um``."""
    longest = width_um / 3
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))


def length_label(length_um: float) -> str:
    """A length in the unit that gives it a short number: nm, um or mm."""
    for limit, factor, unit in ((1, 1e3, "nm"), (1e3, 1, "µm"), (math.inf, 1e-3, "mm")):
        if length_um < limit:
            return f"{length_um * factor:g} {unit}"
    raise AssertionError


def scale_bar(ax, pixels_per_um: float, small: bool = False) -> None:
    """Draw a scale bar of round length into the lower right corner of an axes that shows an image.

    A bar shorter than its label has it flush right. ``small`` is for axes of about a centimetre.
    """
    left, right = sorted(ax.get_xlim())
    bottom, top = sorted(ax.get_ylim())
    width, height = right - left, top - bottom
    length_um = scale_bar_um(width / pixels_per_um)
    length = length_um * pixels_per_um
    x1, y = right - 0.05 * width, top - 0.05 * height
    label, tall, size = (0.44 * width, 0.24, 5) if small else (0.28 * width, 0.17, 6)
    box = max(length, label)
    ax.add_patch(
        mpl.patches.Rectangle(
            (x1 - box - 0.025 * width, y - (tall - 0.025) * height), box + 0.05 * width, tall * height,
            facecolor="black", alpha=0.65, linewidth=0, zorder=4,
        )
    )  # fmt: skip
    ax.add_patch(
        mpl.patches.Rectangle((x1 - length, y - 0.03 * height), length, 0.03 * height, facecolor="white", zorder=5)
    )
    at, side = (x1, "right") if length < label else (x1 - length / 2, "center")
    ax.text(at, y - 0.045 * height, length_label(length_um), color="white", fontsize=size, ha=side, va="bottom", zorder=6)


def show_micrograph(ax, image: np.ndarray, pixels_per_um: float, title: str = "", small: bool = False) -> None:
    """Show a grey image in [0, 1] with its scale bar and no axes."""
    ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    scale_bar(ax, pixels_per_um, small)
    if title:
        ax.set_title(title, fontsize=6 if small else 7, pad=2 if small else 6)


def wrapped(name: str, width: int = 16) -> str:
    """Break a long class name at its plus signs and spaces."""
    lines = [""]
    for part in name.replace("+", "+ ").split(" "):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part if part.endswith("+") or not part else part + " "
    return "\n".join(line.strip() for line in lines)


use_style()
