"""`make DATASET=uhcsdb`: from a server to a report with figures, by one command; on a replica that this computer serves."""

import json
import re

import pandas as pd
import pytest
import replica
from PIL import Image

from micrographs import archives
from microrace import paths
from small import run


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with replica.Server(replica.make_replica(tmp_path_factory.mktemp("archive") / "data")) as server:
        yield server


@pytest.fixture
def data(monkeypatch, tmp_path):
    """In place of the repository's data/, so that nothing is downloaded into it; the table of archives is the true one."""
    assert archives.TABLE.is_file()
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    return tmp_path / "data"


def test_the_study_runs_end_to_end_by_one_command(server, data, tmp_path, monkeypatch):
    monkeypatch.setenv("MICRORACE_UHCSDB_URL", server.url)
    assert run(tmp_path / "runs", "uhcs", "uhcsdb", "selection=quiz-like", stems=("01-micrographs",)) == 0
    folder = tmp_path / "runs" / "uhcs"
    assert (data / "uhcsdb" / "manifest-quiz-like.csv").is_file()
    card = json.loads((folder / "dataset.json").read_text())
    assert card["simulated"] is False and card["n_quiz"] > 0 and len(card["classes"]) == 5
    # Whose micrographs they are, in the report and in every figure, however it was made.
    report = (folder / "report.html").read_text()
    assert "doi:10.1007/s40192-017-0097-0" in report and "CC-BY-3.0-US" in report
    pictures = sorted((folder / "figures").glob("*.png"))
    assert len(pictures) > 2
    for picture in pictures:
        with Image.open(picture) as image:
            assert "DeCost" in image.info.get("Copyright", ""), picture.name
        assert re.search(rb"/Subject \((?:[^()\\]|\\.)*DeCost", picture.with_suffix(".pdf").read_bytes()), picture.name
    assert "DeCost" in pd.read_csv(folder / "manifest.csv")["citation"][0]
