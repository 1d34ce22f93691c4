"""Bad input to a study: each fault is told in one sentence with its remedy, and nothing is run or written."""

import json

import pytest

from microrace import paths
from microrace.study.parameters import StudyError, convert, read_notebook
from microrace.study.runner import CHAIN

WRONG = [
    # options of run, what is said of them
    (["-p", "epoch=4"], "-p epoch: no notebook takes this parameter; there are deep, epochs,"),
    (["-p", "epochs=many"], "parameter epochs: 'many' is not a whole number from 0 on (the default is 3)"),
    (["-p", "rate=0.9"], "parameter rate: '0.9' is not a number from 0 to 0.5 (the default is 0.1)"),
    (["-p", "grid=huge"], 'parameter grid: \'huge\' is not "none", "small" or "full"'),
    (["-p", "epochs"], "-p epochs: write -p name=value"),
    (["-p", "epochs=3", "-p", "epochs=4"], "parameter epochs is given twice, as 3 and 4; leave one out"),
    (["-p", "dataset=x.csv"], "-p dataset: no notebook takes this parameter; set it with --dataset"),
    (["epochs=3"], "epochs=3: no option; a parameter is -p name=value"),
    (["--study", "mein Labor"], "--study mein Labor: use letters, digits"),
    (["--study", "../away"], "--study ../away: use letters, digits"),
    (["--dataset", "uhcsbd"], "uhcsbd: no such manifest; give one (make DATASET=path/to/manifest.csv STUDY=toy), or uhcsdb"),
    (["--panel", "nowhere"], "nowhere"),
    (["--scheduler", "tcp://127.0.0.1:9"], "--scheduler tcp://127.0.0.1:9: nobody answers"),
    (["--scheduler", "8786"], "--scheduler 8786: nobody answers"),
]


@pytest.mark.parametrize(("options", "says"), WRONG, ids=lambda value: str(value)[:40])
def test_bad_options_stop_before_anything_is_written(toy_study, capsys, options, says):
    assert toy_study(options=options) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and says in told and "Traceback" not in told and told.count("\n") <= 2
    assert not (toy_study.folder / "runs").exists()


@pytest.mark.parametrize(
    ("text", "default", "comment", "value"),
    [
        ("1e-3", 0.1, "rate", 0.001), ("nan", 0.1, "rate", None), ("1e999", 0.1, "rate", None), ("-1", 0, "seed", None),
        ("0x10", 0, "seed", None), ("4.5", 3, "epochs", None), ("", 3, "epochs", None), ("TRUE", False, "deep", True),
        ("yes", False, "deep", None), ("0.5", 0.05, "0 to 0.5; margin", 0.5), ("0.51", 0.05, "0 to 0.5; margin", None),
        ("b c", "a", '"a" or "b c"', "b c"), ("", "a", '"a" or "b c"', None),
        ("any", "lite0", '"lite0", any model of timm', "any"),
    ],
)  # fmt: skip
def test_a_text_becomes_a_value_of_the_defaults_type_that_the_comment_allows(text, default, comment, value):
    if value is not None:
        assert convert("x", text, default, comment) == value
    else:
        with pytest.raises(StudyError, match="parameter x"):
            convert("x", text, default, comment)


@pytest.mark.parametrize("line", ["x = 2 * y", "x: int = 2 * 3  # computed", "x: int = 3", "print(3)"])
def test_a_parameter_is_a_typed_literal_with_a_comment(tmp_path, line):
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": [line]}
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": [cell]}))
    with pytest.raises(StudyError, match="a.ipynb: .* is no parameter"):
        read_notebook(tmp_path / "a.ipynb")


@pytest.mark.parametrize(
    ("wrong", "says"), [("grid=huge", "grid: 'huge'"), ("backbone=resnet", "backbone 'resnet'"),
                        ("loss=hinge", "loss"), ("n_folds=1", "n_folds")]
)  # fmt: skip
def test_the_studys_own_parameters_are_checked_before_the_first_notebook(
    tmp_path, monkeypatch, tiny_manifest, capsys, wrong, says
):
    from microrace.study.__main__ import main

    monkeypatch.setattr(paths, "RUNS", tmp_path)
    assert main(["--study", "s", "--dataset", str(tiny_manifest), "-p", wrong]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and says in told and "Traceback" not in told and not list(tmp_path.iterdir())


def test_every_notebook_of_the_chain_is_there_and_after_those_it_reads():
    seen = set()
    for name, reads in CHAIN.items():
        assert (paths.NOTEBOOKS / f"{name}.ipynb").is_file() and set(reads) <= seen
        seen.add(name)
