"""A tiny manifest, drawn on the spot, and settings that learn from it in a second."""

import cv2
import numpy as np
import pandas as pd

from microrace.training import TrainingConfig

# A machine that learns nothing much, in a second.
TINY = TrainingConfig(
    backbone="test_efficientnet", weights="", epochs=2, crops_per_epoch=32, batch_size=16, crop_px=32, n_folds=2,
    n_members=2, augmented_crops=2, crops_per_field=2, workers=0, device="cpu",
)  # fmt: skip


def draw_texture(name: str, period_px: float, rng) -> np.ndarray:
    """A texture of known period, 96 x 128 px, uint8."""
    y, x = np.mgrid[:96, :128]
    wave = 2 * np.pi / period_px
    texture = {
        "dots": np.cos(wave * x) * np.cos(wave * y),
        "lines": np.cos(wave * x),
        "waves": np.cos(2 * wave * (x + 5 * np.sin(y / 7))),
        "odd": rng.standard_normal((96, 128)),
    }[name]
    return np.clip(128 + 60 * texture + rng.normal(0, 20, texture.shape), 0, 255).astype(np.uint8)


def make_tiny_manifest(folder):
    """Three classes of four specimens, two images each; the last specimens and an odd one make the quiz."""
    rng, rows = np.random.default_rng(0), []
    for name in ("dots", "lines", "waves", "odd"):
        for specimen in range(1 if name == "odd" else 4):
            for k in range(2):
                file = f"{name}{specimen}{k}.png"
                cv2.imwrite(str(folder / file), draw_texture(name, rng.uniform(6, 9), rng))
                split = "quiz" if specimen == 3 or name == "odd" else "train"
                rows.append((file, name, split, float(2 ** rng.integers(0, 4)), f"{name}-{specimen}", "simulated: a test"))
    columns = ["file", "label", "split", "pixels_per_um", "specimen", "source"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"
