"""Bad input to a study: each fault is told in one sentence with its remedy, and nothing is run or written."""

import json

import pytest

from microrace import paths
from microrace.study.__main__ import main
from microrace.study.parameters import StudyError, convert, read_notebook

WRONG = [
    # options of run, what is said of them
    (["-p", "epoch=4"], "-p epoch: no notebook takes this parameter; there are epochs, fail,"),
    (["-p", "rate=0.9"], "parameter rate: '0.9' is not a number from 0 to 0.5 (the default is 0.1)"),
    (["-p", "grid=huge"], 'parameter grid: \'huge\' is not "none", "small" or "full"'),
    (["-p", "epochs"], "-p epochs: write -p name=value"),
    (["-p", "epochs=3", "-p", "epochs=4"], "parameter epochs is given twice, as 3 and 4; leave one out"),
    (["-p", "dataset=x.csv"], "-p dataset: no notebook takes this parameter; set it with --dataset"),
    (["epochs=3"], "epochs=3: no option; a parameter is -p name=value"),
    (["--study", "../away"], "--study ../away: use letters, digits"),
    (["--dataset", "uhcsbd"], "uhcsbd: no such manifest; give one (make DATASET=path/to/manifest.csv STUDY=toy), or uhcsdb"),
    (["--panel", "nowhere"], "nowhere"),
    (["--scheduler", "tcp://127.0.0.1:9"], "--scheduler tcp://127.0.0.1:9: nobody answers"),
]


@pytest.mark.parametrize(("options", "says"), WRONG, ids=lambda value: str(value)[:40])
def test_bad_options_stop_before_anything_is_written(toy_study, capsys, options, says):
    assert toy_study(options=options) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and says in told and "Traceback" not in told and told.count("\n") <= 2
    assert not paths.RUNS.exists()


TEXTS = [
    # text, default, comment, value
    ("1e-3", 0.1, "rate", 0.001), ("nan", 0.1, "rate", None), ("1e999", 0.1, "rate", None), ("-1", 0, "seed", None),
    ("4.5", 3, "epochs", None), ("TRUE", False, "deep", True), ("yes", False, "deep", None),
    ("0.5", 0.05, "0 to 0.5; margin", 0.5), ("b c", "a", '"a" or "b c"', "b c"), ("", "a", '"a" or "b c"', None),
    ("any", "lite0", '"lite0", any model of timm', "any"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "default", "comment", "value"), TEXTS)
def test_a_text_becomes_a_value_of_the_defaults_type_that_the_comment_allows(text, default, comment, value):
    if value is not None:
        assert convert("x", text, default, comment) == value
    else:
        with pytest.raises(StudyError, match="parameter x"):
            convert("x", text, default, comment)


@pytest.mark.parametrize("line", ["x: int = 2 * 3  # computed", "x: int = 3", "print(3)"])
def test_a_parameter_is_a_typed_literal_with_a_comment(tmp_path, line):
    cell = {"metadata": {"tags": ["parameters"]}, "source": [line]}
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": [cell]}))
    with pytest.raises(StudyError, match="a.ipynb: .* is no parameter"):
        read_notebook(tmp_path / "a.ipynb")


@pytest.mark.parametrize(("wrong", "says"), [("backbone=resnet", "backbone 'resnet'"), ("n_folds=1", "n_folds")])
def test_what_the_real_notebooks_take_is_checked_first(tmp_path, monkeypatch, tiny_manifest, capsys, wrong, says):
    monkeypatch.setattr(paths, "RUNS", tmp_path)
    assert main(["--study", "s", "--dataset", str(tiny_manifest), "-p", wrong]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and says in told and not list(tmp_path.iterdir())
