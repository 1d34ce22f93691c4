"""Reproduced or not: the published numbers, their tolerances, and a second run beside them."""

import csv
import json
import statistics

import pytest

from microrace import study
from microrace.study import numbers, verification
from microrace.study.numbers import Number, Verdict


def published(toy, **kwargs):
    return study.publish(
        "toy", runs_dir=toy.runs, figures_dir=toy.folder / "figures", notebooks_dir=toy.notebooks, **kwargs
    )


def verify(toy, **kwargs):
    return study.verify("toy", runs_dir=toy.runs, figures_dir=toy.folder / "figures", **toy.places, **kwargs)


def test_a_second_run_reproduces_every_published_number(finished_toy, capsys):
    folder = published(finished_toy)
    with open(folder / "numbers.csv", newline="") as file:
        names = {row["name"] for row in csv.DictReader(file)}
    assert {"accuracy.value", "accuracy.low", "n_quiz"} <= names and "seconds" not in names, "clocks are no results"
    verdicts = verify(finished_toy, dataset=finished_toy.manifest)
    said = capsys.readouterr().out
    assert len(verdicts) == len(names) and all(verdict.reproduced for verdict in verdicts)
    assert said.count("REPRODUCED") == len(names) + 1 and "DIFFERS" not in said


def test_a_number_outside_its_tolerance_differs_and_fails(finished_toy, capsys):
    folder = published(finished_toy)
    text = (folder / "numbers.csv").read_text()
    found = {number.name: number for number in numbers.read_numbers(folder / "numbers.csv")}
    value = found["accuracy.value"].value
    (folder / "numbers.csv").write_text(text.replace(repr(value), repr(value + 2 * found["accuracy.value"].tolerance)))
    with pytest.raises(study.StudyError, match="DIFFERS: metrics.json accuracy.value") as stopped:
        verify(finished_toy, dataset=finished_toy.manifest)
    assert stopped.value.exit_code == 1
    assert sum("DIFFERS" in line for line in capsys.readouterr().out.splitlines()) == 1


def test_without_published_numbers_the_finished_run_is_compared_and_its_bytes_on_demand(finished_toy, capsys):
    verify(finished_toy, every_byte=True)
    assert "files are the same to the byte" in capsys.readouterr().out
    (finished_toy.runs / "toy" / "weights.pt").write_text("[1.0, 2.0, 3.0]")
    verify(finished_toy)  # no number is in that file
    with pytest.raises(study.StudyError, match="weights.pt"):
        verify(finished_toy, every_byte=True)


def test_tolerances_come_from_other_seeds_where_they_have_run(finished_toy):
    verification.run_other_seeds("toy", 2, runs_dir=finished_toy.runs, **finished_toy.places)
    ours, *others = (
        json.loads((finished_toy.runs / name / "metrics.json").read_text())["accuracy"]["value"]
        for name in ("toy", "toy-seed1", "toy-seed2")
    )
    found = {n.name: n for n in numbers.read_numbers(published(finished_toy) / "numbers.csv")}
    assert found["accuracy.value"].tolerance == pytest.approx(2 * statistics.stdev([ours, *others]))
    assert "3 seeds" in found["accuracy.value"].rule and found["n_quiz"].tolerance == 0
    # A run with another parameter says nothing about seeds.
    assert finished_toy("seed=7", "epochs=5", study="toy-seed7") == 0
    again = {n.name: n for n in numbers.read_numbers(published(finished_toy) / "numbers.csv")}
    assert again == found


def test_without_its_sweep_a_study_runs_the_same_otherwise():
    assert verification.without_sweep({"grid": "full", "n_seeds": "3", "epochs": "4"}) == {"grid": "none", "epochs": "4"}
    assert verification.without_sweep({"epochs": "4"}) == {"epochs": "4"}


def test_a_skipped_sweep_leaves_out_its_numbers_and_no_others(finished_toy):
    folder = published(finished_toy)
    known = numbers.read_numbers(folder / "numbers.csv")
    swept = Number("augmentation, none: accuracy", 0.9, 0.1, "", "levels.csv")
    numbers.write_numbers([*known, swept], folder / "numbers.csv")
    with pytest.raises(study.StudyError, match="DIFFERS: levels.csv augmentation, none: accuracy$"):
        verify(finished_toy, dataset=finished_toy.manifest)
    assert len(verify(finished_toy, dataset=finished_toy.manifest, skip_sweep=True)) == len(known)


def test_the_published_parameters_are_run_again_and_not_those_of_a_later_run(finished_toy):
    published(finished_toy)
    assert finished_toy("seed=5") == 0  # now runs/toy holds another study
    assert all(verdict.reproduced for verdict in verify(finished_toy, dataset=finished_toy.manifest))


def test_data_outside_the_repository_must_be_named(finished_toy):
    folder = published(finished_toy)
    assert json.loads((folder / "study.json").read_text())["data"]["manifest"] == ""
    with pytest.raises(study.StudyError, match="--dataset"):
        verify(finished_toy)


@pytest.mark.parametrize(
    ("now", "reproduced"), [(0.5, True), (0.55, True), (0.4499, False), (None, False), (0.55 + 1e-12, True)]
)
def test_a_verdict_is_about_the_tolerance(now, reproduced):
    number = Number("accuracy", 0.5, 0.05, "two images", "metrics.json")
    assert Verdict(number, now).reproduced is reproduced
    assert ("REPRODUCED" if reproduced else "DIFFERS") in numbers.table_lines([Verdict(number, now)])[-1]


def test_numbers_with_commas_and_quotes_read_back_the_same(tmp_path):
    found = [Number('reader "A, B": accuracy', 1 / 3, 0.1, "a, b", "readers.csv"), Number("n", 3.0, 0, "a count", "m.json")]
    numbers.write_numbers(found, tmp_path / "numbers.csv")
    assert numbers.read_numbers(tmp_path / "numbers.csv") == found


@pytest.mark.parametrize("row", ["accuracy,half,0.1,r,s", "accuracy,0.5,-1,r,s", "accuracy,0.5", "accuracy,nan,0,r,s"])
def test_a_spoilt_table_of_numbers_is_told_with_its_row(tmp_path, row):
    (tmp_path / "numbers.csv").write_text(f"name,value,tolerance,rule,source\nn,1,0,a count,m.json\n{row}\n")
    with pytest.raises(ValueError, match=r"numbers\.csv, row 3"):
        numbers.read_numbers(tmp_path / "numbers.csv")
