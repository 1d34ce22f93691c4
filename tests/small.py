"""The chain of notebooks with parameters so small that it runs in a minute."""

import pytest

from microrace import paths
from microrace.study import runner
from microrace.study.__main__ import main
from microrace.study.parameters import read_notebook

SMALL = (
    "epochs=2 crops_per_epoch=32 batch_size=16 crop_px=32 n_folds=2 n_members=1 crops_per_field=2 augmented_crops=2 "
    "grid=small n_seeds=1 n_power_quizzes=4 n_simulated_readers=4 workers=0"
).split()


def small_for(stems, *parameters) -> list[str]:
    """The small parameters that notebooks declare, in the form of the command line; what is given goes before."""
    declared = {name for stem in stems for name in read_notebook(paths.NOTEBOOKS / f"{stem}.ipynb")[1]}
    asked = {parameter.partition("=")[0] for parameter in parameters}
    small = [p for p in SMALL if p.partition("=")[0] in declared - asked]
    return [word for parameter in (*small, *parameters) for word in ("-p", parameter)]


def run(runs_dir, name, manifest, *parameters, options=(), stems=tuple(runner.CHAIN)) -> int:
    """The exit code of a study of some notebooks, in a folder of runs of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "RUNS", runs_dir)
        patch.setattr(runner, "CHAIN", {stem: runner.CHAIN[stem] for stem in stems})
        words = ["--study", name, "--dataset", manifest, *small_for(stems, *parameters), *options]
        return main([str(word) for word in words])
