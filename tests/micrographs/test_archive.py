"""The public archive: fetched by hash, cropped, and made a manifest; from a replica on this computer."""

import hashlib
import json
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import micrographs as mg
from micrographs import uhcsdb

CLASSES = ("martensite", "network", "pearlite", "pearlite+spheroidite", "spheroidite", "pearlite+widmanstatten")


def draw_picture(number: int) -> np.ndarray:
    """An image as the archive has them: a line above, 481 rows of micrograph, a black and white band below."""
    rng = np.random.default_rng(number)
    grains = rng.integers(4, 60, 2)  # of a kind of its own each, or all pairs would be looked at as likely copies
    patches = cv2.resize(rng.standard_normal(grains), (645, 522), interpolation=cv2.INTER_CUBIC)
    wave = np.cos(np.arange(645) * rng.uniform(0.1, 1)) * np.cos(np.arange(522)[:, None] * rng.uniform(0.1, 1))
    picture = np.clip(128 + 30 * patches + 20 * wave + rng.normal(0, 12, wave.shape), 1, 254).astype(np.uint8)
    picture[0], picture[482:] = 255, np.where(np.arange(645) // 20 % 2, 255, 0)
    return picture


def make_replica(folder, n_specimens: int = 6):
    """Write the images, manifest.json, and selections.csv (in place of ``uhcsdb.SELECTIONS``)."""
    (folder / "micrographs").mkdir(parents=True)
    rows, files = [], {}
    for number in range(len(CLASSES) * n_specimens):
        label, specimen = CLASSES[number // n_specimens], number % n_specimens
        split = "quiz" if specimen == n_specimens - 1 else "" if "widman" in label else "train"
        name = f"micrographs/micrograph{number}.{'tif' if number % 3 else 'png'}"
        Image.fromarray(draw_picture(number)).save(folder / name)
        rows.append([name, label, f"{1 + number / 4}", f"s{specimen}", f"s{specimen}", split, "train"])
        files[name] = {"sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}
    columns = ["original", "label", "pixels_per_um", "specimen", "split_group", "quiz-like", "whole"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "selections.csv", index=False)
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    return folder


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        self.server.asked.append(self.path.lstrip("/"))


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The replica's server on this computer; ``asked`` holds what was asked for."""
    folder = make_replica(tmp_path / "archive")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # pooch waits between attempts
    monkeypatch.setattr(uhcsdb, "SELECTIONS", folder / "selections.csv")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        monkeypatch.setenv("MICRORACE_UHCSDB_URL", f"http://127.0.0.1:{server.server_port}/")
        server.folder, server.asked = folder, []
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


def test_a_study_is_fetched_cropped_and_complete(server, tmp_path):
    found = mg.read_manifest(uhcsdb.fetch(folder=tmp_path / "uhcsdb"))
    assert found["split"].value_counts().to_dict() == {"train": 25, "quiz": 6} and found.attrs["simulated"] is False
    assert "pearlite+widmanstatten" not in mg.classes(found) and "DeCost" in mg.attribution(found)[0]
    for row in found.itertuples():
        number = int("".join(filter(str.isdigit, row.original)))
        with Image.open(row.path) as image:
            np.testing.assert_array_equal(np.asarray(image), draw_picture(number)[1:482])
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
