"""Every figure of the study: one style, one colour a kind of decision maker, scale bars, and stamps on what is simulated."""

from __future__ import annotations

import math
import os
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from microrace.images import manifests

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


use_style()


def save(figure: Figure, directory, stem: str, data: pd.DataFrame | None = None) -> Figure:
    """Write a figure as PNG and PDF, and the numbers behind it as CSV; the same bytes on every run.

    Parameters
    ----------
    figure : Figure
    directory : path
        Made when missing.
    stem : str
        File name without its ending.
    data : DataFrame, optional

    Returns
    -------
    Figure
        The same, so that a notebook shows it.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    # Software and dates are left out: they would make two equal figures differ.
    for ending, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None, "Producer": None})):
        temporary = directory / f".{stem}.{os.getpid()}{ending}"
        figure.savefig(temporary, metadata=metadata)
        os.replace(temporary, directory / f"{stem}{ending}")
    if data is not None:
        temporary = directory / f".{stem}.{os.getpid()}.csv"
        data.to_csv(temporary, index=False)
        os.replace(temporary, directory / f"{stem}.csv")
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


def _wrapped(name: str, width: int = 16) -> str:
    """Break a long class name at its plus signs and spaces."""
    lines = [""]
    for part in name.replace("+", "+ ").split(" "):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part if part.endswith("+") or not part else part + " "
    return "\n".join(line.strip() for line in lines)


def examples(manifest: pd.DataFrame, *, simulated: bool) -> Figure:
    """One training image a class, each with its scale bar."""
    names = manifests.classes(manifest)
    rows = -(-len(names) // 5)
    columns = -(-len(names) // rows)
    lines = max(_wrapped(name).count("\n") for name in names) + 2
    height = 0.2 + rows * (0.15 * lines + 4.4 / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(TWO_COLUMNS_IN, height), squeeze=False)
    for ax in axes.ravel()[len(names) :]:
        ax.remove()
    train = manifest[manifest["split"] == "train"]
    for ax, name in zip(axes.ravel(), names, strict=False):
        of_class = train[train["label"] == name].sort_values("pixels_per_um")
        row = of_class.iloc[len(of_class) // 2]
        title = f"{_wrapped(name)}\n{row['modality'].upper() or 'micrograph'}, {row['pixels_per_um']:.3g} px/µm"
        show_micrograph(ax, manifests.read_image(row["path"]), row["pixels_per_um"], title)
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
    ax.set_yticks(range(len(names)), [_wrapped(n, 24) for n in names])
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


def training_curve(history: pd.DataFrame, *, simulated: bool) -> Figure:
    """Loss, share of active triplets and held-out accuracy by epoch, one line a network."""
    panels = [
        ("loss", "loss"),
        ("active_triplets", "share of active triplets"),
        ("validation_accuracy", "held-out accuracy"),
    ]
    figure, axes = plt.subplots(1, 3, figsize=(TWO_COLUMNS_IN, 2.1))
    for letter, ax, (column, label) in zip("abc", axes, panels, strict=True):
        for (network, rows), colour, dash in zip(
            history.groupby("network"), CLASS_COLOURS, ("-", "--", "-.", ":") * 2, strict=False
        ):
            known = rows[rows[column].notna()]  # held-out accuracy is not asked for after every epoch
            ax.plot(known["epoch"], known[column], dash, color=colour, label=network, marker=".", markersize=3)
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_ylabel(label)
        ax.set_title(letter, loc="left", fontweight="bold")
        if column != "loss":
            ax.set_ylim(0, 1.02)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(6, len(names)), columnspacing=1.2)
    stamp(figure, simulated, "simulated micrographs")
    return figure


def human_versus_machine(readers: pd.DataFrame, *, simulated: bool) -> Figure:
    """Accuracy of every decision maker with its 95 % interval, best reader on top."""
    is_panel = readers["kind"].isin(["human", "simulated human"])
    people = readers[is_panel].sort_values(["accuracy", "decision_maker"])
    others = readers[~is_panel].sort_values("accuracy")
    rows = pd.concat([people, others], ignore_index=True)
    figure, ax = plt.subplots(figsize=(ONE_COLUMN_IN, 0.75 + 0.155 * len(rows)))
    for y, row in enumerate(rows.itertuples()):
        colour = COLOURS[row.kind]
        ax.plot([row.accuracy_low, row.accuracy_high], [y, y], color=colour, linewidth=1.1)
        hollow = row.kind == "simulated human"
        ax.plot(
            row.accuracy,
            y,
            MARKERS[row.kind],
            color=colour,
            markersize=4.5,
            markerfacecolor="white" if hollow else colour,
        )
    ax.axhline(len(people) - 0.5, color="#BBBBBB", linewidth=0.6)
    ax.set_yticks(range(len(rows)), [_wrapped(name, 18) for name in rows["decision_maker"]])
    ax.set_ylim(-0.7, len(rows) - 0.3)
    ax.set_xlim(0, 1)
    ax.set_xlabel(f"share of {int(rows['n_images'].max())} quiz images right\n(95 % interval)")
    stamp(figure, simulated, "simulated")
    return figure


def confusion_matrices(confusion: pd.DataFrame, classes: list[str], *, simulated: bool) -> Figure:
    """Answers by right answer, for the machine and the panel side by side; each row adds up to 1."""
    right = [*classes, manifests.NONE_OF_THESE]
    right = [c for c in right if c in set(confusion["truth"])]
    given = [*classes, manifests.NONE_OF_THESE]
    if manifests.NO_ANSWER in set(confusion["answer"]):
        given.append(manifests.NO_ANSWER)
    who = [w for w in ("machine", "panel") if w in set(confusion["who"])]
    longest = max(len(line) for name in given for line in _wrapped(name).split("\n"))
    height = 0.75 + 0.065 * longest + 0.34 * len(right)
    figure, axes = plt.subplots(1, len(who), figsize=(TWO_COLUMNS_IN, height), sharey=True, squeeze=False)
    for letter, ax, name in zip("ab", axes[0], who, strict=False):
        table = confusion[confusion["who"] == name].pivot_table(
            index="truth", columns="answer", values="count", aggfunc="sum"
        )
        table = table.reindex(index=right, columns=given).fillna(0)
        share = table.div(table.sum(axis=1).replace(0, np.nan), axis=0)
        labels = share.map(lambda v: f"{v:.2f}".lstrip("0") if 0 < v < 1 else ("1" if v == 1 else ""))
        sns.heatmap(share, ax=ax, cmap="Blues", vmin=0, vmax=1, annot=labels, fmt="", cbar=False, square=True,
                    linewidths=0.5, linecolor="white", annot_kws={"fontsize": 6.5})  # fmt: skip
        ax.set_title(f"{letter}  {name}", loc="left")
        ax.set_xticks(np.arange(len(given)) + 0.5, [_wrapped(g) for g in given], rotation=90)
        ax.set_yticks(np.arange(len(right)) + 0.5, [_wrapped(r) for r in right], rotation=0)
        ax.set_xlabel("answer")
        ax.set_ylabel("right answer" if ax is axes[0][0] else "")
    stamp(figure, simulated, "simulated")
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
    found : list of training.Explanation
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
            show_micrograph(bottom, *training_crop, _wrapped(row["label"], 14), small=True)
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
        ax.scatter([], [], s=16, c=colour, marker=marker, label=_wrapped(name, 22))
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel("t-SNE 1")
    ax.set_ylabel("t-SNE 2")
    figure.legend(loc="outside lower center", ncols=2, columnspacing=1.0, handletextpad=0.3)
    ax.set_title("quiz images: large, edged in black", fontsize=7)
    stamp(figure, simulated, "simulated")
    return figure


def hardest_images(items: pd.DataFrame, manifest: pd.DataFrame, n: int = 8, *, simulated: bool) -> Figure:
    """The images that fewest readers got right, with the right answer, the machine's, and the panel's share."""
    shown = items.sort_values(["reader_accuracy", "machine_correct", "image"]).head(n)
    by_file = manifest.set_index("file")
    columns = 4
    rows = -(-len(shown) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(TWO_COLUMNS_IN, 2.15 * rows), squeeze=False)
    for ax in axes.ravel()[len(shown) :]:
        ax.remove()
    for ax, item in zip(axes.ravel(), shown.itertuples(), strict=False):
        row = by_file.loc[item.image]
        show_micrograph(ax, manifests.read_image(row["path"]), row["pixels_per_um"], item.truth)
        mark = "right" if item.machine_correct else "wrong"
        ax.set_xlabel(
            f"machine {mark}: {_wrapped(item.machine_answer)}\nreaders right: {item.n_readers_correct} of {item.n_readers}",
            fontsize=6.5, color=COLOURS["machine"] if not item.machine_correct else "black",
        )  # fmt: skip
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
            ax.plot(row.accuracy, y, "D" if is_reference else "o", color=colour, markersize=3.8)
            ticks.append(y)
            names.append(row.level)
            y += 1
    ax.set_yticks(ticks, names)
    ax.set_ylim(y - 0.4, -0.7)
    ax.set_xlim(0, 1)
    ax.set_xlabel("held-out accuracy\n(95 % interval over specimens)")
    stamp(figure, simulated, "simulated")
    return figure


def person_item_map(rasch: pd.DataFrame, *, simulated: bool) -> Figure:
    """Readers, machine and images on one logit scale: whoever stands above an image more often gets it right."""
    people = rasch[rasch["kind"] != "image"].sort_values("logit").reset_index(drop=True)
    images = rasch[rasch["kind"] == "image"].sort_values("logit").reset_index(drop=True)
    figure, (left, right) = plt.subplots(1, 2, figsize=(TWO_COLUMNS_IN, 0.7 + 0.15 * max(len(people), 12)), sharex=True)
    for ax, rows, title in ((left, people, "a  ability"), (right, images, "b  difficulty of images")):
        for y, row in enumerate(rows.itertuples()):
            ax.plot([row.logit_low, row.logit_high], [y, y], color=COLOURS[row.kind], linewidth=0.9)
            ax.plot(row.logit, y, MARKERS[row.kind], color=COLOURS[row.kind], markersize=4)
        ax.set_title(title, loc="left")
        ax.set_xlabel("logit")
        ax.axvline(0, color="#BBBBBB", linewidth=0.6, zorder=0)
    left.set_yticks(range(len(people)), people["name"])
    right.set_yticks([])
    right.set_ylabel("images, easy to hard")
    stamp(figure, simulated, "simulated")
    return figure


def agreement(table: pd.DataFrame, *, simulated: bool) -> Figure:
    """Error consistency (kappa) of every pair: the machine with each reader, against readers with each other."""
    figure, ax = plt.subplots(figsize=(ONE_COLUMN_IN, 1.6))
    with_machine = (table["a"] == "machine") | (table["b"] == "machine")
    rng = np.random.default_rng(0)
    for y, (rows, label, kind) in enumerate(
        ((table[~with_machine], "reader and reader", "human"), (table[with_machine], "machine and reader", "machine"))
    ):
        kappa = rows["kappa"].dropna()
        ax.plot(
            kappa, y + rng.uniform(-0.2, 0.2, len(kappa)), MARKERS[kind], color=COLOURS[kind], markersize=3, alpha=0.6
        )
        if len(kappa):
            ax.plot([kappa.mean()] * 2, [y - 0.33, y + 0.33], color="black", linewidth=1.5)
        ax.text(1.02, y, f"{label}\n{len(kappa)} pairs", transform=ax.get_yaxis_transform(), fontsize=6.5, va="center")
    ax.axvline(0, color="#BBBBBB", linewidth=0.6, zorder=0)
    ax.set_yticks([])
    ax.set_ylim(-0.6, 1.6)
    ax.set_xlabel("error consistency κ (bar: mean)")
    stamp(figure, simulated, "simulated")
    return figure


def calibration(table: pd.DataFrame, *, simulated: bool) -> Figure:
    """Share right against stated confidence, for the machine and the panel."""
    figure, ax = plt.subplots(figsize=(ONE_COLUMN_IN, 2.6))
    ax.plot([0, 1], [0, 1], ":", color="#888888", linewidth=0.8)
    for who, rows in table.groupby("who"):
        kind = "machine" if who == "machine" else "human"
        ax.plot(
            rows["confidence"],
            rows["accuracy"],
            "-",
            marker=MARKERS[kind],
            color=COLOURS[kind],
            markersize=4,
            label=who,
        )
        for row in rows.itertuples():
            ax.annotate(
                int(row.n), (row.confidence, row.accuracy), xytext=(3, -8), textcoords="offset points", fontsize=6
            )
    ax.set(xlim=(0, 1.02), ylim=(-0.05, 1.05), xlabel="stated confidence", ylabel="share right")
    ax.legend()
    stamp(figure, simulated, "simulated")
    return figure


def experience(table: pd.DataFrame, *, simulated: bool) -> Figure:
    """Accuracy of each reader against experience, time and confidence, whichever were recorded."""
    labels = {
        "years_experience": "years of experience",
        "median_seconds": "median seconds an image",
        "mean_confidence": "mean confidence",
    }
    columns = [c for c in labels if c in table and table[c].notna().any()]
    figure, axes = plt.subplots(1, max(1, len(columns)), figsize=(TWO_COLUMNS_IN, 2.0), sharey=True, squeeze=False)
    for letter, ax, column in zip("abc", axes[0], columns, strict=False):
        ax.plot(table[column], table["accuracy"], "o", color=COLOURS["human"], markersize=4)
        ax.set_xlabel(labels[column])
        ax.set_title(letter, loc="left", fontweight="bold")
    axes[0][0].set_ylabel("share right")
    axes[0][0].set_ylim(0, 1)
    stamp(figure, simulated, "simulated")
    return figure


def power(table: pd.DataFrame, *, simulated: bool = True) -> Figure:
    """How often a quiz of this size finds a true difference between machine and panel."""
    figure, ax = plt.subplots(figsize=(ONE_COLUMN_IN, 2.3))
    for (key, rows), colour, dash in zip(
        table.groupby(["n_images", "n_readers"]), CLASS_COLOURS, ("-", "--", "-.", ":") * 2, strict=False
    ):
        ax.plot(rows["true_difference"], rows["power"], dash, marker="o", markersize=3, color=colour,
                label=f"{key[0]} images, {key[1]} readers")  # fmt: skip
    ax.axhline(0.8, color="#BBBBBB", linewidth=0.6)
    ax.set(ylim=(0, 1.02), xlabel="true difference in accuracy", ylabel="share of quizzes that show it")
    ax.legend()
    stamp(figure, simulated, "from simulated quizzes")
    return figure
