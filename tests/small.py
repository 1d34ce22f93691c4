"""The chain of notebooks with parameters so small that it runs in a minute."""

from microrace.study.__main__ import main

SMALL = [
    *("epochs=2", "crops_per_epoch=32", "batch_size=16", "crop_px=32", "n_folds=2", "n_members=1", "crops_per_field=2"),
    "augmented_crops=2",
    *("grid=small", "n_power_quizzes=4", "n_coverage_panels=4", "n_bootstrap=100", "n_simulated_readers=4", "workers=0"),
]


def command(*arguments, runs_dir=None):
    arguments = [str(a) for a in arguments]
    return main([*arguments, *(["--runs-dir", str(runs_dir)] if runs_dir else [])])


def run(runs_dir, name, manifest, *parameters, options=()):
    asked = {p.partition("=")[0] for p in parameters}
    given = [word for p in (*(s for s in SMALL if s.partition("=")[0] not in asked), *parameters) for word in ("-p", p)]
    dataset = ("--dataset", manifest) if manifest else ()
    return command("run", "--study", name, *dataset, *given, *options, runs_dir=runs_dir)
