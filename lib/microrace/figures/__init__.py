"""What all figures share: one style, scale bars, the stamp on what is simulated, files that come out the same twice.

Each notebook draws its own figures with it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from microrace.whole import written_whole

ONE_COLUMN_IN, TWO_COLUMNS_IN = 3.35, 6.9
# Okabe and Ito's colours, told apart with every common colour vision; each kind has its own marker too.
COLOURS = {"machine": "#D55E00", "human": "#0072B2", "simulated human": "#56B4E9"}
COLOURS |= {"majority vote": "#009E73", "panel mean": "#CC79A7"}
MARKERS = {"machine": "D", "human": "o", "simulated human": "o", "majority vote": "s", "panel mean": "^"}
CLASS_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#8C6D1F")
CLASS_MARKERS = "osD^vP*X"
GUIDE = {"color": "#BBBBBB", "linewidth": 0.6, "zorder": 0}


def use_style() -> None:
    """Set matplotlib to the study's style, whatever the user's own settings are."""
    mpl.rcdefaults()
    plt.style.use(Path(__file__).with_name("microrace.mplstyle"))


def described(figure: Figure, caption: str, alt: str, *, readers: bool = False, simulated: str = "") -> Figure:
    """Say with a figure what `save` keeps beside it.

    Parameters
    ----------
    figure : Figure
    caption : str
        What it shows, in a sentence.
    alt : str
        The same for those who cannot see it, with its main numbers.
    readers : bool
        Whether it shows readers' answers, which may be simulated.
    simulated : str
        What of it is simulated in every run, such as "quizzes".
    """
    figure.caption, figure.alt, figure.readers, figure.simulated = caption, alt, readers, simulated
    return figure


def _recorded(run_dir) -> dict:
    """What notebook 01 recorded of a run's micrographs."""
    file = Path(run_dir) / "dataset.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def simulated_parts(run_dir, readers: bool = True) -> str:
    """What of a run is simulated, by its own record.

    Parameters
    ----------
    run_dir : path
    readers : bool
        Whether the panel counts.

    Returns
    -------
    str
        "micrographs", "panel", "micrographs and panel", or "no".
    """
    found, panel = ["micrographs"] if _recorded(run_dir).get("simulated") else [], Path(run_dir) / "panel.csv"
    if readers and panel.is_file() and pd.read_csv(panel, usecols=["kind"])["kind"].str.startswith("simulated").any():
        found.append("panel")
    return " and ".join(found) or "no"


def save(figure: Figure, directory, stem: str, data: pd.DataFrame | None = None, *, shows_micrographs=None) -> Figure:
    """Write a figure as PNG and PDF, the numbers behind it as CSV, and what it shows as JSON; the same bytes on every run.

    The run's own record (``dataset.json`` and ``panel.csv`` beside the folder) says what is simulated: a stamp says it in
    the figure, a column ``simulated`` in the table; and whom to name for the micrographs, in the files' metadata.

    Parameters
    ----------
    figure : Figure
    directory : path
        A run's ``figures``; made when missing.
    stem : str
        File name without its ending.
    data : DataFrame, optional
    shows_micrographs : bool, optional
        Whether it holds pictures, which are not this study's to publish; unless told, whether `show_micrograph` drew some.

    Returns
    -------
    Figure
        The same, so that a notebook shows it.

    Raises
    ------
    ValueError
        If nothing says in words what it shows.
    """
    directory = Path(directory)
    if not getattr(figure, "alt", ""):
        raise ValueError(f"figure {stem!r} has no text for those who cannot see it; let figures.described give it one")
    simulated = figure.simulated or simulated_parts(directory.parent, figure.readers)
    if simulated != "no":
        stamp(figure, f"simulated {simulated}")
    credit = " ".join(_recorded(directory.parent).get("attribution", ())) or None
    if shows_micrographs is None:
        shows_micrographs = getattr(figure, "shows_micrographs", False)
    # Software and dates are left out: they would make two equal figures differ.
    png = {"Software": None, "Copyright": credit, "Description": figure.alt}
    pdf = {"CreationDate": None, "Producer": None, "Subject": credit, "Title": figure.caption}
    for ending, metadata in ((".png", png), (".pdf", pdf)):
        with written_whole(directory / f"{stem}{ending}") as file:
            figure.savefig(file, metadata=metadata)
    if data is not None:
        with written_whole(directory / f"{stem}.csv") as file:
            data.assign(simulated=simulated).to_csv(file, index=False)
    record = {"alt": figure.alt, "caption": figure.caption}
    record |= {"shows_micrographs": bool(shows_micrographs), "simulated": simulated}
    with written_whole(directory / f"{stem}.json") as file:
        file.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
    plt.close(figure)
    return figure


def stamp(figure: Figure, what: str) -> None:
    """Write what is simulated at the figure's top right corner, above everything drawn."""
    if engine := figure.get_layout_engine():
        engine.set(rect=(0, 0, 1, 1 - 0.14 / figure.get_figheight()))
    figure.text(0.995, 1 - 0.02 / figure.get_figheight(), what, ha="right", va="top", fontsize=6.5, color="#B00020",
                fontweight="bold")  # fmt: skip


def scale_bar_um(width_um: float) -> float:
    """The longest round length (1, 2 or 5 times a power of ten) of at most a third of ``width_um``."""
    longest = width_um / 3
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))


def length_label(length_um: float) -> str:
    """A length in the unit that gives it a short number: nm, um or mm."""
    factor, unit = (1e3, "nm") if length_um < 1 else (1, "µm") if length_um < 1e3 else (1e-3, "mm")
    return f"{length_um * factor:g} {unit}"


def scale_bar(ax, pixels_per_um: float, small: bool = False) -> None:
    """Draw a scale bar of round length into the lower right corner of an axes that shows an image.

    A bar shorter than its label has it flush right. ``small`` is for axes of about a centimetre.
    """
    (left, right), (bottom, top) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    width, height = right - left, top - bottom
    length_um = scale_bar_um(width / pixels_per_um)
    length = length_um * pixels_per_um
    x1, y = right - 0.05 * width, top - 0.05 * height
    label, tall, size = (0.44 * width, 0.24, 5) if small else (0.28 * width, 0.17, 6)
    box = max(length, label)
    corner = (x1 - box - 0.025 * width, y - (tall - 0.025) * height)
    dark = {"facecolor": "black", "alpha": 0.65, "linewidth": 0, "zorder": 4}
    ax.add_patch(mpl.patches.Rectangle(corner, box + 0.05 * width, tall * height, **dark))
    bar = (x1 - length, y - 0.03 * height)
    ax.add_patch(mpl.patches.Rectangle(bar, length, 0.03 * height, facecolor="white", linewidth=0, zorder=5))
    at, side = (x1, "right") if length < label else (x1 - length / 2, "center")
    ax.text(at, y - 0.045 * height, length_label(length_um), color="white", fontsize=size, ha=side, va="bottom", zorder=6)


def show_micrograph(ax, image: np.ndarray, pixels_per_um: float, title: str = "", small: bool = False) -> None:
    """Show a grey image in [0, 1] with its scale bar and no axes, and mark the figure as one that shows micrographs."""
    ax.figure.shows_micrographs = True
    ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    scale_bar(ax, pixels_per_um, small)
    if title:
        ax.set_title(title, fontsize=6 if small else 7, pad=2 if small else 6)


def cells(n: int, columns: int, height_in: float) -> tuple[Figure, np.ndarray]:
    """A figure of two columns' width with axes for n pictures, so many side by side."""
    rows = -(-n // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(TWO_COLUMNS_IN, height_in * rows), squeeze=False)
    for ax in axes.ravel()[n:]:
        ax.remove()
    return figure, axes.ravel()[:n]


def wrapped(name: str, width: int = 16) -> str:
    """Break a long class name at its plus signs and spaces."""
    lines = [""]
    for part in name.replace("+", "+ ").split(" "):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part if part.endswith("+") or not part else part + " "
    return "\n".join(line.strip() for line in lines)


def interval(value: float, low: float, high: float) -> str:
    """A number with its 95 % interval in words, "0.97 (0.84 to 1.00)"."""
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def band(ax, at, table: pd.DataFrame, column: str, **look) -> None:
    """Draw a share of the machine's as a line with its 95 % band."""
    low, high, colour = table[f"{column}_low"], table[f"{column}_high"], COLOURS["machine"]
    ax.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.plot(at, table[column], color=colour, clip_on=False, **look)


def beside(ax, i: int, n: int, low, middle, high, label: str, colour, marker: str = "o", size: float = 3.5) -> None:
    """Draw the i-th of n dots with lines a row, one under the other, for all rows of an axis."""
    y = np.arange(len(middle)) + 0.7 * ((i + 0.5) / n - 0.5)
    ax.hlines(y, low, high, color=colour, linewidth=1, clip_on=False)
    ax.plot(middle, y, marker, color=colour, markersize=size, label=label, clip_on=False)


def dots(ax, names, values, lows, highs, colours, markers="o", hollow=False) -> str:
    """Draw a dot with its interval a row, the first on top; one colour, marker and filling for all, or a list of each.

    Returns
    -------
    str
        The same in words, for `described`.
    """
    looks = [v if isinstance(v, list) else [v] * len(names) for v in (colours, markers, hollow)]
    told = []
    for y, (name, *ends, colour, marker, empty) in enumerate(zip(names, values, lows, highs, *looks, strict=True)):
        ax.plot(ends[1:], [y, y], color=colour, linewidth=1.1)
        # A share of 1 lies on the frame.
        filling = "white" if empty else colour
        ax.plot(ends[0], y, marker, color=colour, markersize=4.5, mfc=filling, clip_on=False, zorder=5)
        told += [f"{name} {interval(*ends)}"] * bool(np.isfinite(ends[0]))  # a heading has no number
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    return f"Dots with 95 % intervals: {'; '.join(told)}.".replace("\n", " ")


use_style()
