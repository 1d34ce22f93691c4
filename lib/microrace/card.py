"""The model card: what a trained machine is, on what it was measured, and where it must not be believed."""

from __future__ import annotations

import importlib.metadata

import pandas as pd

from micrographs import attribution
from micrographs import manifest as manifests
from microrace.calibration import share_right
from microrace.network import IN_WHEELS, PUBLISHED
from microrace.training import TrainingConfig

# As the packages' LICENSE files say; their metadata do not.
LICENCES = {"lite0": "Apache-2.0 (after Tan and Le, 2019)"}


def classes_table(manifest: pd.DataFrame, held_out: pd.DataFrame, n_bootstrap: int = 2000, seed: int = 0) -> pd.DataFrame:
    """One row a class: class, images, specimens, lowest and highest pixels_per_um, and the share right when held out."""
    training, rows = manifest[manifest["split"] == "train"], []
    for name in manifests.classes(manifest):
        ours, judged = training[training["label"] == name], held_out[held_out["label"] == name]
        share = share_right(judged["correct"], judged["split_group"], n_bootstrap=n_bootstrap, seed=seed)
        scales = ours["pixels_per_um"]
        rows.append((name, len(ours), ours["split_group"].nunique(), scales.min(), scales.max(), *share))
    columns = ["class", "images", "specimens", "lowest_pixels_per_um", "highest_pixels_per_um"]
    return pd.DataFrame(rows, columns=[*columns, "right", "right_low", "right_high"])


def weights_licence(config: TrainingConfig) -> str:
    """Where the backbone's starting weights come from, and under what licence."""
    if not config.weights:
        return "random start, no weights of others"
    if config.weights == PUBLISHED and config.backbone in IN_WHEELS:
        package = importlib.metadata.metadata(IN_WHEELS[config.backbone][1])
        return f"ImageNet weights of the package {package['Name']} {package['Version']}, {LICENCES[config.backbone]}"
    return f"{config.weights} of {config.backbone}; ask its publisher for the licence"


def _percent(row, name: str) -> str:
    return f"{row[name]:.0%} ({row[f'{name}_low']:.0%} to {row[f'{name}_high']:.0%})"


def _cell(text: str) -> str:
    """A text that stays inside its cell of a Markdown table, and is no markup."""
    plain = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def model_card(
    manifest: pd.DataFrame, config: TrainingConfig, classes: pd.DataFrame, measured: dict[str, str], limits: list[str]
) -> str:
    """The card as Markdown.

    Parameters
    ----------
    manifest : DataFrame
        Of the study.
    config : TrainingConfig
        Of the machine.
    classes : DataFrame
        Of `classes_table`.
    measured : dict
        Measure to its value with interval, in words.
    limits : list of str
        Sentences, each chosen by what was measured.
    """
    training = manifest[manifest["split"] == "train"]
    lines = ["# Model card", ""]
    if manifest.attrs["simulated"]:
        lines += ["**Trained on simulated (rendered) micrographs.** It knows models of structures, not materials.", ""]
    lines += [
        "A second opinion on the microstructure that a micrograph shows, for a person who decides. It is made by the study "
        "and describes this run's `weights.pt`.",
        "",
        "## Data",
        "",
        f"{len(training)} training micrographs of {training['split_group'].nunique()} specimens, "
        f"{training['pixels_per_um'].min():.3g} to {training['pixels_per_um'].max():.3g} px/µm.",
        *[f"- {_cell(sentence)}" for sentence in attribution.of(training)],
        "",
        "## Performance by class",
        "",
        "Share right on training images whose specimens the judges had not seen (grouped cross-validation), with 95 % "
        "intervals over specimens. A class of one specimen is cross-validated image by image, which flatters it.",
        "",
        "| class | images | specimens | px/µm | right |",
        "|---|---|---|---|---|",
    ]
    for _, row in classes.iterrows():
        scales = f"{row['lowest_pixels_per_um']:.3g} to {row['highest_pixels_per_um']:.3g}"
        lines.append(
            f"| {_cell(row['class'])} | {row['images']} | {row['specimens']} | {scales} | {_percent(row, 'right')} |"
        )
    lines += ["", "## Measured", "", *[f"- {name}: {text}" for name, text in measured.items()]]
    lines += ["", "## Limits", "", *[f"- {sentence}" for sentence in limits]]
    lines += [
        "",
        "## Settings and licence",
        "",
        f"- Weights: {weights_licence(config)}",
        f"- Backbone {config.backbone}, crops of {config.crop_px} px, scale handling {config.scale_handling}, "
        f"{config.n_members} heads, seed {config.seed}",
        f"- Manifest {manifest.attrs['sha256'][:16]}",
        "",
    ]
    return "\n".join(lines)


def limits_of(manifest: pd.DataFrame, classes: pd.DataFrame) -> list[str]:
    """Where the machine is not to be believed, from its data and its performance by class."""
    limits = [
        'Classes it was not shown, another material, microscope or etchant: it can only say "none of these", not always.',
        f"Scales outside {classes['lowest_pixels_per_um'].min():.3g} to {classes['highest_pixels_per_um'].max():.3g} px/µm.",
    ]
    for _, row in classes.iterrows():
        if row["specimens"] == 1:
            limits.append(f"{row['class']}: a single specimen, so nothing is known of others.")
        elif row["right"] < 0.5:
            limits.append(f"{row['class']}: fewer than half right when held out ({_percent(row, 'right')}).")
    for i, a in classes.iterrows():
        for _, b in classes.iloc[i + 1 :].iterrows():
            pair = pd.DataFrame([a, b])
            if pair["lowest_pixels_per_um"].max() > pair["highest_pixels_per_um"].min():
                limits.append(f"{a['class']} and {b['class']}: never shown at the same scale, which alone tells them apart.")
    if manifest.attrs["simulated"]:
        limits.append("Real micrographs: it has seen none.")
    return limits
