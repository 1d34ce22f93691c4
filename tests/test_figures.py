"""Scale bars of the right length, the same bytes twice, and the stamp on what is simulated."""

import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from micrographs import manifest as manifests
from microrace import figures

READERS = pd.DataFrame(
    {
        "decision_maker": ["r1", "a reader with a long pseudonym", "machine", "panel mean", "majority vote"],
        "kind": ["human", "simulated human", "machine", "panel mean", "majority vote"],
        "n_images": 36,
        "n_correct": 20,
        "accuracy": [0.5, 0.6, 0.7, 0.55, 0.65],
        "accuracy_low": [0.4, 0.5, 0.6, 0.5, 0.5],
        "accuracy_high": [0.6, 0.7, 0.8, 0.6, 0.8],
    }
)


@pytest.mark.parametrize("pixels_per_um", [0.258, 5.15, 212.0])
def test_the_scale_bar_is_as_long_as_it_says(pixels_per_um):
    figure, ax = plt.subplots()
    ax.imshow(np.zeros((384, 512)))
    figures.scale_bar(ax, pixels_per_um)
    bar = ax.patches[1]
    length_um = bar.get_width() / pixels_per_um
    number, unit = ax.texts[0].get_text().split()
    assert float(number) * {"nm": 1e-3, "µm": 1, "mm": 1e3}[unit] == pytest.approx(length_um)
    assert 512 / 8 < bar.get_width() <= 512 / 3
    left, right = ax.get_xlim()
    assert left < bar.get_x() and bar.get_x() + bar.get_width() < right
    plt.close(figure)


@pytest.mark.parametrize(("width_um", "bar_um"), [(100, 20), (60, 20), (150, 50), (7, 2), (0.9, 0.2), (2500, 500)])
def test_bars_are_round(width_um, bar_um):
    assert figures.scale_bar_um(width_um) == pytest.approx(bar_um)


def test_a_figure_has_the_same_bytes_twice_and_its_numbers_beside_it(tmp_path):
    for folder in ("a", "b"):
        figures.save(figures.human_versus_machine(READERS, simulated=True), tmp_path / folder, "race", READERS)
    for ending in ("png", "pdf", "csv"):
        one, two = (tmp_path / folder / f"race.{ending}" for folder in "ab")
        assert one.read_bytes() == two.read_bytes() and one.stat().st_size > 100
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["race.csv", "race.pdf", "race.png"]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "a" / "race.csv"), READERS)


def test_a_figure_names_whose_micrographs_it_is_made_from(tmp_path):
    """In its metadata: from the run's dataset.json, or as told; nothing where nothing is known."""

    def credits(folder, **how):
        figures.save(figures.human_versus_machine(READERS, simulated=False), folder, "race", **how)
        with Image.open(folder / "race.png") as image:
            in_png = image.info.get("Copyright")
        in_pdf = re.search(rb"/Subject \(([^)]*)\)", (folder / "race.pdf").read_bytes())
        return in_png, in_pdf and in_pdf[1].decode()

    said = "2 images: a laboratory's steels; licence CC-BY-4.0."
    assert credits(tmp_path / "figures") == (None, None)
    (tmp_path / "dataset.json").write_text(json.dumps({"attribution": [said, "1 image: another."]}))
    assert credits(tmp_path / "figures") == (f"{said} 1 image: another.",) * 2
    assert credits(tmp_path / "figures", attribution=[said]) == (said, said)
    (tmp_path / "dataset.json").write_text("{")
    assert credits(tmp_path / "figures") == (None, None)


@pytest.mark.parametrize("simulated", [True, False])
def test_what_is_simulated_says_so(simulated, tiny_manifest):
    manifest = manifests.read_manifest(tiny_manifest)
    made = [
        figures.human_versus_machine(READERS, simulated=simulated),
        figures.examples(manifest, simulated=simulated),
        figures.scales(manifest, simulated=simulated),
    ]
    for figure in made:
        stamps = [t.get_text() for t in figure.texts if "simulated" in t.get_text()]
        assert bool(stamps) == simulated
        plt.close(figure)


def test_nothing_is_cut_off_with_many_readers_and_long_class_names():
    names = ["spheroidite+widmanstatten", "pearlite+spheroidite", "network"]
    confusion = pd.DataFrame(
        [(w, t, a, 3) for w in ("machine", "panel") for t in names for a in [*names, "none of these", "no answer"]],
        columns=["who", "truth", "answer", "count"],
    )
    many = pd.concat([READERS] + [READERS.iloc[:1].assign(decision_maker=f"reader {i}") for i in range(40)])
    for figure in (
        figures.confusion_matrices(confusion, names, simulated=True),
        figures.human_versus_machine(many, simulated=True),
    ):
        figure.canvas.draw()
        frame = figure.bbox
        for ax in figure.axes:
            box = ax.get_tightbbox()
            assert box.x0 >= frame.x0 - 1 and box.x1 <= frame.x1 + 1
            assert box.y0 >= frame.y0 - 1 and box.y1 <= frame.y1 + 1
        plt.close(figure)
