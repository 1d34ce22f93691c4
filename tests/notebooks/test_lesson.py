"""The lesson in explore-augmentations: it runs, plays through, and finds the newest machine."""

import os

import nbformat
import papermill

import micrographs as mg
from microrace import paths

# What a student does, in the running kernel.
PLAY = """
for choice in a_choices:
    choice.value = classes[0]
a_answer()
assert "scale alone" not in a_said.value
a_answer()
assert "scale alone" in a_said.value and "the machine" in a_said.value

for name, t in TRANSFORMATIONS.items():
    b_what.value, before = name, b_crops.value
    b_slider.value = t.shown
    assert b_crops.value != before, name
assert not b_curves.value and not any(label in b_said.value for label in classes)
b_first.value = "A"
b_predict()
curves, b_slider.value = b_curves.value, 50
assert curves and b_curves.value != curves and "mistake" in b_said.value

cut, c_lie.value = c_pictures.value, 10.0
assert c_pictures.value != cut and not c_curves.value and not any(label in c_said.value for label in classes)
c_answer.value = classes[0]
assert c_curves.value and f"It is {c_row()['label']}" in c_said.value
assert step_ms(b_redraw) < 150 and step_ms(c_redraw) < 150

d_ticks["noise"].value = True
d_teach()
assert set(d["rows"][TRANSFORMATIONS["noise"].label]) == set(EXAMS)
e_learn()
assert "the other habit" in e_said.value
"""


def test_the_lesson_plays_through_without_a_trained_machine(tiny_manifest, tmp_path):
    notebook = nbformat.read(paths.NOTEBOOKS / "explore-augmentations.ipynb", as_version=4)
    code = [cell.metadata for cell in notebook.cells if cell.cell_type == "code"]
    assert all(about.get("tags") or about["jupyter"]["source_hidden"] for about in code)
    notebook.cells.append(nbformat.v4.new_code_cell(PLAY))
    nbformat.write(notebook, tmp_path / "lesson.ipynb")
    given = {"run_dir": str(tmp_path), "dataset": str(tiny_manifest)}
    papermill.execute_notebook(str(tmp_path / "lesson.ipynb"), str(tmp_path / "played.ipynb"), given, progress_bar=False)


def test_the_newest_machine_of_the_same_images_is_found(manifest, trained, tmp_path, monkeypatch):
    cells = nbformat.read(paths.NOTEBOOKS / "explore-augmentations.ipynb", as_version=4).cells
    lesson = {}
    exec(next(cell.source for cell in cells if "def newest_machine" in cell.source), lesson)
    newest_machine = lesson["newest_machine"]
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    assert newest_machine() is None
    machine = trained.machine
    for age, name in enumerate(["broken", "newer", "older"]):
        machine.save(file := tmp_path / name / "weights.pt")
        mg.write_manifest(manifest, tmp_path / name / "manifest.csv")
        file.write_bytes(b"of another version" if name == "broken" else file.read_bytes())
        os.utime(file, (2e9 - age, 2e9 - age))
    found, loaded = newest_machine(images=set(manifest["sha256"]))
    assert found.name == "newer" and loaded.classes == machine.classes and newest_machine(images={"others"}) is None
    assert newest_machine(str(tmp_path / "older"))[0].name == "older"
