"""The lesson in explore-augmentations: it runs, plays through, and finds the newest machine."""

import os

import nbformat
import papermill
import pytest

import micrographs as mg
from microrace import lesson, paths
from microrace.training import TrainingConfig, train

# What a student does, in the running kernel.
PLAY = """
import re
assert not any(name in a_said.value for name in classes) and a_choices[0].value is None
a_answer()
assert "Answer all six first" in a_said.value
for choice in a_choices:
    choice.value = classes[0]
without_bars = a_picture.value
a_answer()
assert a_picture.value != without_bars and "scale alone" not in a_said.value
a_answer()
assert "scale alone" in a_said.value and "the machine" in a_said.value

for name, t in TRANSFORMATIONS.items():
    b_what.value, before = name, b_crops.value
    b_slider.value = t.shown
    assert b_crops.value[:4] == b"\\x89PNG" and b_crops.value != before, name
assert not b_curves.value and not any(label in b_said.value for label in classes)
b_what.value, b_first.value = "noise", "A"
b_predict()
curves, b_slider.value = b_curves.value, 0.2
assert curves and b_curves.value != curves and re.search("first mistake|no mistake", b_said.value)

cut, c_lie.value = c_pictures.value, 10.0
assert c_pictures.value != cut and not c_curves.value and not any(label in c_said.value for label in classes)
c_answer.value = classes[0]
assert c_curves.value and f"It is {c_row()['label']}" in c_said.value
assert step_ms(b_slider, [0.1, 0.2, 0.3, 0.1, 0.2]) < 150 and step_ms(c_lie, LIES[::4]) < 150

d_teach()
d_ticks["noise"].value = True
d_teach()
assert list(d["rows"]) == ["nothing", TRANSFORMATIONS["noise"].label] and len(d["rows"]["nothing"]) == len(EXAMS)
e_learn()
assert "the other habit" in e_said.value and "Learned in" in e_said.value
"""


def test_the_lesson_plays_through_without_a_trained_machine(tiny_manifest, tmp_path):
    notebook = nbformat.read(paths.NOTEBOOKS / "explore-augmentations.ipynb", as_version=4)
    assert all(
        c.metadata.get("tags") or c.metadata["jupyter"]["source_hidden"] for c in notebook.cells if c.cell_type == "code"
    )
    notebook.cells.append(nbformat.v4.new_code_cell(PLAY))
    nbformat.write(notebook, tmp_path / "lesson.ipynb")
    given = {"run_dir": str(tmp_path), "dataset": str(tiny_manifest)}
    papermill.execute_notebook(str(tmp_path / "lesson.ipynb"), str(tmp_path / "played.ipynb"), given, progress_bar=False)


def test_the_newest_machine_of_the_same_images_is_found(tiny_manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    assert lesson.newest_machine() is None
    manifest = mg.read_manifest(tiny_manifest)
    config = TrainingConfig(crop_px=32, epochs=1, crops_per_epoch=16, n_folds=2, n_members=1, augmented_crops=0, workers=0)
    machine = train(manifest, config).machine
    for age, name in enumerate(["newer", "older", "broken"]):
        machine.save(tmp_path / name / "weights.pt")
        mg.write_manifest(manifest, tmp_path / name / "manifest.csv")
        os.utime(tmp_path / name / "weights.pt", (2e9 - age, 2e9 - age))
    (tmp_path / "broken" / "weights.pt").write_bytes(b"of another version")
    os.utime(tmp_path / "broken" / "weights.pt", (2.1e9, 2.1e9))
    found, loaded = lesson.newest_machine()
    assert found.name == "newer" and loaded.classes == machine.classes
    assert lesson.newest_machine(images=set(manifest["sha256"]))[0].name == "newer"
    assert lesson.newest_machine(images={"others"}) is None
    assert lesson.newest_machine(str(tmp_path / "older"))[0].name == "older"


def test_a_crop_keeps_its_scale_whatever_is_done_to_it(tiny_manifest):
    row = next(mg.read_manifest(tiny_manifest).itertuples())
    plain, zoomed = (lesson.middle_crop(row, lesson.QUICK, strengths)[1] for strengths in ({}, {"zoom": 2.0, "noise": 0.1}))
    assert zoomed == pytest.approx(plain / 2)
