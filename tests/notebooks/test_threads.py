"""Threads and worker processes: they may change the last bit of a feature, and no answer.

Heads are trained in one thread, so that theirs are the same bytes everywhere (tests/machine). The backbone uses every
core, and how a sum is split among threads decides how it is rounded.
"""

import pandas as pd
import pytest

from microrace import paths, study
from microrace.study import numbers
from microrace.study.__main__ import main
from microrace.study.parameters import default_parameters, read_notebook
from small import SMALL

CHAIN = {name: study.CHAIN[name] for name in ("01-micrographs", "02-train")}


def test_threads_and_workers_change_no_answer(tiny_manifest, tmp_path, monkeypatch):
    declared = {name for stem in CHAIN for name in default_parameters(read_notebook(paths.NOTEBOOKS / f"{stem}.ipynb"))}
    small = [p for p in SMALL if p.partition("=")[0] in declared - {"workers"}]
    found = []
    for n_threads, workers in ((1, 0), (2, 2)):
        monkeypatch.setenv("OMP_NUM_THREADS", str(n_threads))
        monkeypatch.setenv("MICRORACE_FEATURES", str(tmp_path / f"features-{n_threads}"))
        given = [word for p in (*small, f"workers={workers}") for word in ("-p", p)]
        runs = tmp_path / f"runs-{n_threads}"
        command = ["run", "--study", "s", "--dataset", str(tiny_manifest), "--runs-dir", str(runs), *given]
        assert main(command, chain=CHAIN) == 0
        found.append(runs / "s")
    one, two = found
    for table in ("held-out.csv", "answers.csv"):
        a, b = (pd.read_csv(folder / table, keep_default_na=False) for folder in found)
        assert a["answer"].tolist() == b["answer"].tolist() and len(a), table
    ours, theirs = numbers.values_of(one), numbers.values_of(two)
    assert ours.keys() == theirs.keys() and len(ours) > 20
    assert theirs == pytest.approx(ours, rel=0.01, abs=0.01)
    assert all(verdict.reproduced for verdict in numbers.compare(numbers.numbers_of(one), two))
