"""Power, coverage and false verdicts on quizzes whose truth is known; the layout for R."""

import functools
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

import readerstudy as comparison
from microrace import paths
from readerstudy import power, simulation


def test_simulated_quizzes_have_the_accuracy_asked_for():
    rng = np.random.default_rng(0)
    q = simulation.simulate(rng, 2000, 4, np.arange(30) // 3, 0.8, lambda a: np.full(len(a), 0.9))
    assert q.panel.mean() == pytest.approx(0.8, abs=0.01) and q.machine.mean() == pytest.approx(0.9, abs=0.01)
    same = np.corrcoef(q.difficulty[:, 0], q.difficulty[:, 1])[0, 1]
    assert same == pytest.approx(simulation.SPECIMEN_SHARE, abs=0.05)
    assert abs(np.corrcoef(q.difficulty[:, 0], q.difficulty[:, 3])[0, 1]) < 0.1
    # A coin decides between the right answer and one wrong one.
    tie = simulation.vote(rng, np.array([[[1.0], [0.0]]]))
    assert tie.tolist() == [[0.5]]


@pytest.mark.parametrize(("readers", "accuracy"), [(1, 0.95), (3, 0.8), (12, 0.97)])
def test_intervals_hold_the_truth_and_verdicts_are_seldom_false(readers, accuracy):
    table = power.verdict_table([readers], [(21, 21), (36, 12)], [accuracy], n_quizzes=600)
    ours = table[table["method"] == "this study"]
    # 600 quizzes know a rate of 0.025 to 0.013.
    assert (ours["coverage"] >= 0.93).all()
    false = ours[["false_superior", "false_inferior", "false_non_inferior", "false_equivalent"]]
    assert (false <= 0.04).all(axis=None)
    if accuracy > 0.9:
        plain = table[table["method"] == "percentile bootstrap"]
        assert (plain["coverage"] < 0.9).all(), "what is mended was not broken"


def test_the_published_table_keeps_what_it_promises():
    table = pd.read_csv(paths.ROOT / "figures" / "verdicts.csv")
    ours = table[table["method"] == "this study"]
    assert set(ours["n_readers"]) == {1, 2, 3, 5, 12} and {21, 36} <= set(ours["n_images"])
    assert ours["accuracy"].min() == 0.7 and ours["accuracy"].max() == 0.97
    assert (ours["coverage"] >= 0.93).all()
    assert (ours[["false_superior", "false_inferior", "false_non_inferior", "false_equivalent"]] <= 0.03).all(axis=None)


def test_every_printed_interval_is_covered_near_ceiling_and_for_few_readers():
    for readers, panel, machine in ((12, 0.95, 1.0), (1, 0.8, 0.9)):
        table = power.coverage_table(np.arange(36) // 3, readers, panel, machine, n_panels=120).set_index("interval")
        assert (table["coverage_high"] > 0.95).all() and (table["coverage"] >= 0.9).all(), table["coverage"]
        assert table["panel_accuracy"].eq(panel).all() and table["machine_accuracy"].le(0.995).all()
    assert "difference of mean kappas" not in table.index, "one reader has no mean among readers"


def test_power_rises_with_the_difference():
    table = power.power_table(np.arange(36), 8, 0.7, differences=(0.0, 0.28, 0.5), n_quizzes=300)
    assert table["true_difference"].tolist() == [0, 0.28], "above 0.995 no machine is"
    assert table["superior"].iloc[0] <= 0.05 and table["superior"].iloc[1] >= 0.8
    assert (table["non_inferior"] >= table["superior"]).all()


def test_the_command_writes_table_and_figure_and_refuses_what_it_cannot(tmp_path, monkeypatch):
    small = functools.partial(power.verdict_table, readers=[2], designs=[(12, 6)], accuracies=[0.7, 0.9])
    monkeypatch.setattr(power, "verdict_table", small)
    assert power.main(["--out", str(tmp_path / "verdicts.csv"), "--quizzes", "20"]) == 0
    table = pd.read_csv(tmp_path / "verdicts.csv")
    assert len(table) == 2 * 3 and table["n_specimens"].eq(6).all()
    assert (tmp_path / "verdicts.png").is_file() and (tmp_path / "verdicts.pdf").is_file()
    for wrong in (["--out", "x.txt"], ["--quizzes", "0"]):
        with pytest.raises(SystemExit):
            power.main(wrong)


def test_the_long_form_has_the_machine_once_for_every_reader(make, tmp_path):
    sheets, truth = make({"r1": "aabbc-", "r2": "abbba-", "m": "aabbcc"}, "aabbcc")
    table = comparison.mrmc_table(sheets, truth)
    assert list(table.columns[:4]) == ["readerID", "caseID", "modalityID", "score"]
    cells = table.groupby(["readerID", "caseID"])["modalityID"].apply(lambda m: sorted(m))
    assert len(cells) == 10 and all(m == ["machine", "panel"] for m in cells)
    assert table.groupby("modalityID")["score"].sum().to_dict() == {"machine": 10, "panel": 8}


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="no R here")
def test_the_docstrings_lines_run_in_r(make, tmp_path):
    sheets, truth = make({"r1": "aabbc-", "r2": "abbba-", "m": "aabbcc"}, "aabbcc")
    comparison.mrmc_table(sheets, truth).to_csv(tmp_path / "mrmc.csv", index=False)
    lines = [line.strip() for line in comparison.mrmc_table.__doc__.splitlines()]
    code = lines[lines.index('d <- read.csv("mrmc.csv", stringsAsFactors = TRUE)') :][:3]
    found = subprocess.run(["Rscript", "-e", "\n".join(code)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    assert float(found.stdout.split()[-1]) == pytest.approx(comparison.headline(sheets, truth)["difference"]["value"])
