"""Bad input to a study, one row a fault: what is said, with the remedy, and that nothing is run or written."""

import io
import json
import pickle
import zipfile

import pytest

from microrace.study.__main__ import main

PARAMETERS = [
    # what is given with -p, what is said of it
    (["epoch=4"], "unknown parameter epoch: no notebook declares it; did you mean epochs?"),
    (["grain_size=4"], "unknown parameter grain_size: no notebook declares it; there are deep, epochs,"),
    (["epochs=many"], "parameter epochs: 'many' is not a whole number (the default is 3)"),
    (["epochs=4.5"], "parameter epochs: '4.5' is not a whole number"),
    (["epochs="], "parameter epochs: '' is not a whole number"),
    (["rate=fast"], "parameter rate: 'fast' is not a finite number"),
    (["rate=nan"], "parameter rate: 'nan' is not a finite number"),
    (["rate=1e999"], "parameter rate: '1e999' is not a finite number"),
    (["deep=yes"], "parameter deep: 'yes' is not true or false"),
    (["fields=3"], "parameter fields: '3' is not a list"),
    (["fields=[1, 'a']"], "parameter fields: \"[1, 'a']\" is not a list"),
    (["fields=[1, __import__('os')]"], "parameter fields:"),
    (["epochs"], "-p epochs: write -p name=value"),
    (["=4"], "-p =4: write -p name=value"),
    (["epochs=3", "epochs=4"], "parameter epochs is given twice, as epochs=3 and epochs=4; leave one out"),
    (["run_dir=/"], "-p run_dir: set this with --study"),
    (["dataset=x.csv"], "-p dataset: set this with --dataset"),
]
OPTIONS = [
    # further options of run, what is said of them
    (["--study", "../away"], "--study ../away: use letters, digits"),
    (["--study", "a/b"], "--study a/b: use letters, digits"),
    (["--study", ""], "--study : use letters, digits"),
    (["--study", ".hidden"], "--study .hidden: use letters, digits"),
    (["--jobs", "0"], "--jobs 0: at least 1"),
    (["--dataset", "nowhere/manifest.csv"], "nowhere/manifest.csv: no such manifest; give one with --dataset"),
    (["--dataset", "."], "no such manifest; give one with --dataset"),
    (["--panel", "nowhere"], "nowhere: a folder with answer sheets"),
    (["--prefer", "epoch=4"], "unknown parameter epoch"),
]


def told(capsys) -> str:
    err = capsys.readouterr().err
    assert err.startswith("error: ") and "Traceback" not in err
    return err


@pytest.mark.parametrize(("parameters", "says"), PARAMETERS, ids=lambda value: str(value)[:40])
def test_a_bad_parameter_stops_before_anything_runs(toy_study, capsys, parameters, says):
    assert toy_study(*parameters) == 2
    assert says in told(capsys)
    assert not toy_study.runs.exists()


@pytest.mark.parametrize(("options", "says"), OPTIONS, ids=lambda value: str(value)[:40])
def test_a_bad_option_stops_before_anything_runs(toy_study, capsys, options, says):
    assert toy_study(options=options) == 2
    assert says in told(capsys)
    assert not toy_study.runs.exists()


def test_an_empty_panel_stops_before_anything_runs(toy_study, capsys):
    (toy_study.folder / "panel").mkdir()
    assert toy_study(options=["--panel", toy_study.folder / "panel"]) == 2
    assert "a folder with answer sheets (.csv or .xlsx) is needed" in told(capsys)
    assert not toy_study.runs.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a notebook"),
        ('{"cells": []}', "not a notebook"),
        (None, "no such notebook"),
        ("x = 2 * y", "the parameter x is computed in the parameters cell"),
        ("print(3)", "the parameters cell may only assign literals"),
    ],
    ids=str,
)
def test_a_bad_notebook_is_told_by_its_name_or_its_parameter(toy_study, capsys, text, says):
    path = toy_study.notebooks / "02-learn.ipynb"
    if text is None:
        path.unlink()
    elif text and not text.startswith("{"):
        notebook = json.loads(path.read_text())
        notebook["cells"][1]["source"] = text
        path.write_text(json.dumps(notebook))
    else:
        path.write_text(text)
    assert toy_study() == 2
    assert says in told(capsys)
    assert not toy_study.runs.exists()


@pytest.mark.parametrize("file", ["run.json", ".hashes.json"])
@pytest.mark.parametrize("content", [b"", b"[1]", b"{'", b"\xff\xfe\x00"], ids=["empty", "list", "cut off", "binary"])
def test_a_spoilt_record_of_a_run_is_made_anew(finished_toy, capsys, file, content):
    """The record only saves work: without it notebooks run again, and the results are the same."""
    run_dir = finished_toy.runs / "toy"
    weights = (run_dir / "weights.pt").read_bytes()
    (run_dir / file).write_bytes(content)
    assert finished_toy() == 0
    assert json.loads((run_dir / "run.json").read_text())["status"] == "finished"
    assert (run_dir / "weights.pt").read_bytes() == weights


class Malicious:
    """What unpickling of would run a command."""

    def __reduce__(self):
        return print, ("arbitrary code ran",)


def archive(pickled: bytes) -> bytes:
    """A zip file, as torch keeps weights in."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("archive/data.pkl", pickled)
        packed.writestr("archive/version", b"3\n")
        packed.writestr("archive/byteorder", b"little")
    return file.getvalue()


WEIGHTS = {
    "empty": b"",
    "text": b"not weights at all",
    "a pickle that runs code": pickle.dumps(Malicious()),
    "an archive that runs code": archive(pickle.dumps(Malicious())),
    "an archive of something else": archive(pickle.dumps({"a": 1})),
    "cut off": archive(pickle.dumps({"a": 1}))[:60],
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("content", WEIGHTS.values(), ids=WEIGHTS.keys())
def test_bad_weights_answer_nothing_and_run_nothing(tmp_path, tiny_manifest, capsys, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "weights.pt").write_bytes(content)
    out = tmp_path / "answers.csv"
    command = ["predict", "--run", tmp_path / "run", "--manifest", tiny_manifest, "--out", out]
    assert main([str(word) for word in command]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and "weights.pt" in said.err and "Traceback" not in said.err
    assert "arbitrary code ran" not in said.out + said.err and not out.exists()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["predict", "--run", "nowhere", "--manifest", "{manifest}", "--out", "{out}"], "nowhere: no weights.pt there"),
        (["verify", "--study", "never-run"], "not a finished study; run it first"),
        (["verify", "--study", "never-run", "--bytes"], "not a finished study; run it first"),
        (["publish", "--study", "never-run"], "run the study first"),
        (["tolerance", "--study", "never-run"], "not a finished study; run it first"),
        (["tolerance", "--study", "never-run", "--seeds", "1"], "--seeds 1: at least 2"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_needs_a_finished_study_says_so(tmp_path, tiny_manifest, capsys, command, says):
    out = tmp_path / "answers.csv"
    assert main([word.format(manifest=tiny_manifest, out=out) for word in command]) == 2
    assert says in told(capsys)
    assert not out.exists()
