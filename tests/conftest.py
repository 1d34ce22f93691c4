"""Fixtures: a tiny manifest drawn on the spot, and the real micrographs where they lie beside the project."""

import os

# Several test processes on few cores: threads inside each only fight.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import cv2
import numpy as np
import pandas as pd
import pytest

from microrace import paths


def pytest_addoption(parser):
    parser.addoption("--all-kills", action="store_true", help="kill the whole chain, at twenty moments")


@pytest.fixture
def all_kills(request) -> bool:
    """Whether every moment is tried."""
    return request.config.getoption("--all-kills")


@pytest.fixture(scope="session")
def shared_manifest():
    """The real micrographs' manifest; what needs it skips where it is absent."""
    if not paths.SHARED_MANIFEST.is_file():
        pytest.skip(f"no real micrographs at {paths.SHARED_MANIFEST}")
    return paths.SHARED_MANIFEST


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


def make_tiny_manifest(folder, *, source="simulated: drawn by the tests"):
    """Three classes of four specimens, two images each; the last specimens and an odd one make the quiz."""
    rng, rows = np.random.default_rng(0), []
    for name in ("dots", "lines", "waves", "odd"):
        for specimen in range(1 if name == "odd" else 4):
            for k in range(2):
                file = f"{name}{specimen}{k}.png"
                cv2.imwrite(str(folder / file), draw_texture(name, rng.uniform(6, 9), rng))
                rows.append(
                    {
                        "file": file,
                        "label": name,
                        "split": "quiz" if specimen == 3 or name == "odd" else "train",
                        "pixels_per_um": float(2 ** rng.integers(0, 4)),
                        "specimen": f"{name}-{specimen}",
                        "source": source,
                    }
                )
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def tiny_manifest(tmp_path_factory):
    """Path of the tiny manifest; not to be changed."""
    return make_tiny_manifest(tmp_path_factory.mktemp("tiny"))
