"""The public archive: fetched by hash, cropped, and made a manifest; from a replica on this computer."""

import time

import numpy as np
import pandas as pd
import pytest
import replica
from PIL import Image

import micrographs as mg
from micrographs import uhcsdb


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # pooch waits between attempts
    with replica.served(replica.make_replica(tmp_path / "archive")) as server:
        monkeypatch.setenv("MICRORACE_UHCSDB_URL", server.url)
        monkeypatch.setattr(uhcsdb, "SELECTIONS", server.folder / "selections.csv")
        yield server


def test_a_study_is_fetched_cropped_and_complete(server, tmp_path):
    found = mg.read_manifest(uhcsdb.fetch(folder=tmp_path / "uhcsdb"))
    assert found["split"].value_counts().to_dict() == {"train": 25, "quiz": 6} and found.attrs["simulated"] is False
    assert "pearlite+widmanstatten" not in mg.classes(found) and "DeCost" in mg.attribution(found)[0]
    for row in found.itertuples():
        number = int("".join(filter(str.isdigit, row.original)))
        with Image.open(row.path) as image:
            np.testing.assert_array_equal(np.asarray(image), replica.draw_picture(number)[1:482])
    # The second time nothing is asked for, what is spoilt is mended, and the rest of the archive is fetched alone.
    server.asked.clear()
    for spoilt in (found["path"][0], tmp_path / "uhcsdb" / "originals" / found["original"][1]):
        with open(spoilt, "wb") as file:
            file.write(b"spoilt")
    again = mg.read_manifest(uhcsdb.fetch(folder=tmp_path / "uhcsdb"))
    assert server.asked == [found["original"][1]] and again["sha256"].equals(found["sha256"])
    assert len(mg.read_manifest(uhcsdb.fetch("whole", tmp_path / "uhcsdb"))) == 36 and len(server.asked) == 6


def test_what_is_not_the_archive_is_refused_with_a_remedy(server, tmp_path):
    victim = server.folder / "micrographs" / "micrograph1.tif"
    victim.write_bytes(victim.read_bytes()[:-9])
    with pytest.raises(uhcsdb.DatasetError, match="hash.*or get manifest.json and micrographs/ by hand"):
        uhcsdb.fetch(folder=tmp_path / "uhcsdb")
    assert not (tmp_path / "uhcsdb" / "originals" / "micrographs" / "micrograph1.tif").exists()
    victim.unlink()
    with pytest.raises(uhcsdb.DatasetError, match="404"):
        uhcsdb.fetch(folder=tmp_path / "uhcsdb")
    with pytest.raises(uhcsdb.DatasetError, match="uhcsdb has quiz-like and whole"):
        uhcsdb.fetch("half")


def test_the_selections_are_of_the_sizes_that_the_data_card_says():
    table = pd.read_csv(uhcsdb.SELECTIONS, keep_default_na=False)
    assert table["quiz-like"].value_counts().to_dict() == {"": 791, "train": 134, "quiz": 36} and len(table) == 961
    groups = table[table["quiz-like"] != ""].groupby("split_group")["quiz-like"].nunique()
    assert groups.max() == 1
