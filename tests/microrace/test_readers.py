"""From a manifest and a run to the quiz page: the cases, the reference images, and whom the result screen compares with."""

import json
import re

import pandas as pd
import pytest

import micrographs as mg
import readerstudy as rs
from microrace import readers


@pytest.fixture
def run(manifest, tmp_path):
    """A study's folder in which the machine got all but the first of eight images right."""
    cases = readers.cases_of(manifest)
    answers = ["waves", *cases["truth"].iloc[1:]]
    sheet = {"quiz": cases.attrs["quiz_id"], "image": cases.index, "decision_maker": "machine", "kind": "machine"}
    pd.DataFrame(sheet | {"answer": answers}).to_csv(tmp_path / "answers.csv", index=False)
    mg.write_manifest(manifest, tmp_path / "manifest.csv")
    return tmp_path


def write_readers(run, kind):
    rows = [("machine", "machine", 7 / 8), ("resnet", "machine", 6 / 8), ("anna", kind, 3 / 8), ("ben", kind, 2 / 4)]
    rows += [("cora", "answered nothing", ""), ("panel mean", "panel mean", 0.4), ("majority vote", "majority vote", 5 / 8)]
    table = pd.DataFrame(rows, columns=["decision_maker", "kind", "accuracy"])
    table.assign(accuracy_low=0.3, accuracy_high=0.9).to_csv(run / "readers.csv", index=False)


def page_data(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL).group(1))


def test_cases_are_those_of_the_manifest(manifest):
    cases, quiz = readers.cases_of(manifest), manifest[manifest["split"] == "quiz"]
    assert list(cases.index) == list(quiz["file"]) and list(cases["specimen"]) == list(quiz["split_group"])
    assert list(cases["truth"]) == list(quiz["label"].replace("odd", rs.NONE_OF_THESE))
    assert cases.attrs == {"quiz_id": mg.quiz_id(manifest), "options": ["dots", "lines", "waves", rs.NONE_OF_THESE]}


def test_the_comparison_has_the_study_s_numbers(manifest, run):
    cases = readers.cases_of(manifest)
    (machine,) = readers.comparison_rows(run, cases)
    right = [False] + [True] * 7
    assert [machine[k] for k in ("accuracy", "low", "high")] == list(rs.share_interval(right, cases["specimen"].to_numpy()))
    write_readers(run, "human")
    found = readers.comparison_rows(run, cases)
    assert [row["who"] for row in found] == ["machine", "other machine", "panel", "vote"]
    assert found[0] | {"n": 0, "readers": []} == machine and found[1]["name"] == "resnet"
    assert found[2]["readers"] == [3 / 8, 2 / 4] and found[2]["n"] == 2 and found[2]["low"] == 0.3


def test_a_simulated_panel_is_never_shown(run):
    write_readers(run, "simulated human")
    assert readers.main(["--run", str(run), "--out", str(run / "quiz.html")]) == 0
    assert [row["who"] for row in page_data(run / "quiz.html")["comparison"]] == ["machine", "other machine"]
    assert "simulated panel" not in (run / "quiz.html").read_text(encoding="utf-8")


def test_the_command_writes_the_page_or_says_why_not(tiny_manifest, manifest, run, tmp_path, capsys):
    page, no = tmp_path / "sub" / "quiz.html", tmp_path / "no.html"
    arguments = ["--out", str(page), "--references", "1", "--language", "de", "--title", "Was ist das?"]
    assert readers.main(["--manifest", str(tiny_manifest), *arguments]) == 0
    assert mg.quiz_id(manifest) in capsys.readouterr().out
    data = page_data(page)
    assert len(data["references"][0]["images"]) == 1 and list(data["texts"]) == ["de"] and data["comparison"] == []
    assert data["simulated"] == "all" and len(data["images"]) == 8
    # A run on another quiz, or one without answers: the page is written, and compares with nobody.
    sheet = pd.read_csv(run / "answers.csv", keep_default_na=False)
    sheet.assign(quiz="quiz-other").to_csv(run / "answers.csv", index=False)
    assert readers.main(["--run", str(run), "--out", str(page)]) == 0
    assert "compares with nobody" in capsys.readouterr().err and page_data(page)["comparison"] == []
    for given in (["--manifest", str(tiny_manifest), "--language", "fr"], ["--run", str(tmp_path / "absent")]):
        assert readers.main([*given, "--out", str(no)]) == 2 and not no.exists()
