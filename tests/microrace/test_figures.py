"""Scale bars of the right length, the same bytes twice, and what a figure says of itself."""

import json

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from microrace import figures

SHARES = pd.DataFrame({"who": ["a reader", "machine"], "value": [0.5, 1.0], "low": [0.4, 0.6], "high": [0.6, 1.0]})


def drawn():
    """A figure of readers' and the machine's shares."""
    figure, ax = plt.subplots()
    told = figures.dots(ax, *(SHARES[column] for column in SHARES), figures.COLOURS["machine"])
    return figures.described(figure, "The race.", told, readers=True)


def run_of(folder, simulated=False, kinds=("human",)):
    """The record of a run, as notebooks 01 and 03 write it; the folder of its figures."""
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({"simulated": simulated, "attribution": ["A. Author, CC BY"]}))
    pd.DataFrame({"kind": kinds}).to_csv(folder / "panel.csv")
    return folder / "figures"


@pytest.mark.parametrize("pixels_per_um", [0.258, 5.15, 212.0])
def test_the_scale_bar_is_as_long_as_it_says(pixels_per_um):
    figure, ax = plt.subplots()
    ax.imshow(np.zeros((384, 512)))
    figures.scale_bar(ax, pixels_per_um)
    bar, (left, right) = ax.patches[1], ax.get_xlim()
    number, unit = ax.texts[0].get_text().split()
    length_um = float(number) * {"nm": 1e-3, "µm": 1, "mm": 1e3}[unit]
    assert length_um == pytest.approx(bar.get_width() / pixels_per_um)
    assert 512 / 8 < bar.get_width() <= 512 / 3 and left < bar.get_x() and bar.get_x() + bar.get_width() < right


def test_a_figure_has_the_same_bytes_twice_and_its_numbers_and_words_beside_it(tmp_path):
    for name in "ab":
        figures.save(drawn(), run_of(tmp_path / name), "race", SHARES)
    one, two = (tmp_path / name / "figures" for name in "ab")
    assert sorted(p.name for p in one.iterdir()) == ["race.csv", "race.json", "race.pdf", "race.png"]
    assert all(p.read_bytes() == (two / p.name).read_bytes() for p in one.iterdir())
    assert "machine 1.00 (0.60 to 1.00)" in json.loads((one / "race.json").read_text())["alt"]
    assert Image.open(one / "race.png").text["Copyright"] == "A. Author, CC BY"


@pytest.mark.parametrize(
    ("simulated", "kinds", "said"),
    [
        (False, ("human",), "no"),
        (False, ("simulated human",), "panel"),
        (True, ("simulated human",), "micrographs and panel"),
    ],
)
def test_the_stamp_follows_the_runs_own_record(tmp_path, simulated, kinds, said):
    out = run_of(tmp_path / "run", simulated, kinds)
    figure = figures.save(drawn(), out, "race", SHARES)
    stamps = [text.get_text() for text in figure.texts if text.get_text().startswith("simulated")]
    assert stamps == ([f"simulated {said}"] if said != "no" else [])
    assert set(pd.read_csv(out / "race.csv")["simulated"]) == {said}
    # A figure of the machine alone does not call its micrographs simulated for the panel's sake.
    figures.save(figures.described(plt.figure(), "", "nothing"), out, "alone")
    assert json.loads((out / "alone.json").read_text())["simulated"] == ("micrographs" if simulated else "no")


def test_pictures_are_marked_and_words_are_asked_for(tmp_path):
    figure, ax = plt.subplots()
    with pytest.raises(ValueError, match="described"):
        figures.save(figure, tmp_path, "plain")
    figures.show_micrograph(ax, np.zeros((64, 64)), 2.0)
    figures.save(figures.described(figure, "", "a black square"), tmp_path, "picture")
    assert json.loads((tmp_path / "picture.json").read_text())["shows_micrographs"]


def test_a_users_own_settings_do_not_reach_the_figures():
    with mpl.rc_context({"axes.grid": True, "lines.linewidth": 5, "text.usetex": True}):
        figures.use_style()
        found = [mpl.rcParams[name] for name in ("axes.grid", "lines.linewidth", "text.usetex")]
    assert found == [False, 1.2, False]
