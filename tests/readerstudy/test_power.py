"""Power and false verdicts on quizzes whose truth is known, and the commands."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from readerstudy import power
from readerstudy.__main__ import main

FALSE = ["false_superior", "false_inferior", "false_non_inferior", "false_equivalent"]


def test_simulated_quizzes_have_the_accuracy_and_the_shared_difficulty_asked_for():
    rng, specimen = np.random.default_rng(0), np.arange(30) // 3
    for shared, low, high in ((1.0, 0.15, 1), (0.0, -0.02, 0.02)):
        panel, machine, truth = power.simulate(rng, 2000, specimen, 6, 0.8, 0.1, shared)
        assert (panel.mean(), machine.mean(), truth.mean()) == pytest.approx((0.8, 0.9, 0.1), abs=0.01)
        assert low < np.corrcoef(panel.mean(1).ravel(), machine.ravel())[0, 1] < high
    # Of few readers the truth is about these.
    assert power.simulate(rng, 2000, specimen, 2, 0.8, 0.1)[2].mean() == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize(("readers", "sizes"), [(1, [12, *[1] * 24]), (5, [18, 18]), (12, [12, 11, 7, 3, 2, 1])])
def test_intervals_hold_the_truth_and_verdicts_are_seldom_false(readers, sizes):
    table = power.verdict_table([readers], {"x": sizes}, [0.6, 0.95], [0.0, 1.0], [0.9], n_quizzes=800)
    # 800 quizzes know a rate of 0.025 to 0.011.
    assert (table["coverage"] >= 0.935).all() and (table[FALSE] <= 0.04).all(axis=None), table


def test_the_published_table_keeps_what_it_promises():
    table = pd.read_csv(Path(__file__).parents[2] / "figures" / "verdicts.csv")
    assert set(table["n_readers"]) == {1, 2, 3, 5, 12} and set(table["quiz"]) == set(power.designs())
    assert {1, 2, 3, 6, 12, 36} <= set(table["n_specimens"]) and set(table["shared_difficulty"]) == {0, 0.5, 1}
    assert (table["coverage"] >= 0.93).all() and (table[FALSE] <= 0.035).all(axis=None)


def test_power_rises_with_the_difference_and_the_command_prints_it(capsys):
    table = power.power_table(np.arange(36), 8, 0.7, (0.0, 0.28, 0.5), (1.0,), n_quizzes=300)
    assert table["true_difference"].tolist() == [0, 0.28], "above 0.995 no machine is"
    assert table["superior"].iloc[0] <= 0.05 and table["superior"].iloc[1] >= 0.8
    assert (table["non_inferior"] >= table["superior"]).all()
    assert main(["power", "--images", "12", "--specimens", "4", "--readers", "3", "--quizzes", "20"]) == 0
    assert "non_inferior" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["power", "--images", "12", "--specimens", "13", "--readers", "3"])
