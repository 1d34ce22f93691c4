"""Archives that are downloaded: whole or not at all, cropped, split without leakage; from a replica on this computer."""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
import replica
from PIL import Image

from micrographs import archives, attribution, downloads
from micrographs import manifest as manifests
from micrographs import uhcsdb as datasets
from microrace import paths

VARIABLE = "MICRORACE_UHCSDB_URL"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A replica of two classes, twelve images; not to be changed."""
    return replica.make_replica(tmp_path_factory.mktemp("archive") / "data", classes=("network", "spheroidite"))


@pytest.fixture(scope="module")
def all_classes(tmp_path_factory):
    """A replica of all seven classes, 42 images; not to be changed."""
    return replica.make_replica(tmp_path_factory.mktemp("all") / "data")


@pytest.fixture
def whole_server(all_classes):
    with replica.Server(all_classes) as server:
        yield server


@pytest.fixture
def own(archive, tmp_path):
    """A copy of the replica to change."""
    return shutil.copytree(archive, tmp_path / "own")


@pytest.fixture
def server(archive):
    with replica.Server(archive) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        for spelt in (name, name.lower()):
            monkeypatch.delenv(spelt, raising=False)


@pytest.fixture
def fetch(monkeypatch, tmp_path):
    """Fetch UHCSDB from a server into this test's own folder; quiz-like unless told otherwise."""

    def run(server, selection="", folder=tmp_path / "uhcsdb"):
        monkeypatch.setenv(VARIABLE, server if isinstance(server, str) else server.url)
        return datasets.fetch("uhcsdb", selection, folder=folder)

    return run


def images_asked(server):
    return [name for name in server.asked if name.startswith("micrographs/")]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- the first run ---------------------------------------------------------------------------------------------------


def test_the_first_run_writes_a_manifest_that_a_study_takes(whole_server, all_classes, fetch, tmp_path):
    path = fetch(whole_server, "whole")
    manifest = manifests.read_manifest(path)
    metadata = pd.read_csv(all_classes / "metadata.csv", dtype=str, keep_default_na=False)
    assert len(manifest) == len(metadata) == 42 and (manifest["split"] == "train").all()
    assert list(manifest["label"]) == list(metadata["primary_microconstituent"])
    assert sorted(images_asked(whole_server)) == sorted("micrographs/" + metadata["path"])
    scales = manifest.groupby("label")["pixels_per_um"].first()
    assert scales["pearlite"] == 258 and scales["network"] == 0.515 and scales["spheroidite"] == 10.3
    assert manifest.attrs["simulated"] is False and not manifest.attrs["notes"][1:]
    # From the archive's own bytes to the cropped ones, each by its hash.
    promised = json.loads((all_classes / "manifest.json").read_text())["files"]
    for row in manifest.itertuples():
        assert row.original_sha256 == promised[row.original]["sha256"]
        assert row.sha256 == hashlib.sha256((tmp_path / "uhcsdb" / row.file).read_bytes()).hexdigest()


def test_the_micrograph_is_rows_1_to_481_and_nothing_else(whole_server, fetch, tmp_path):
    manifest = manifests.read_manifest(fetch(whole_server, "whole"))
    seen = set()
    for number, row in enumerate(manifest.itertuples(), start=1):
        with Image.open(row.path) as image, Image.open(tmp_path / "uhcsdb" / "originals" / row.original) as original:
            assert image.mode == "L" and image.format == "PNG" and image.size == (645, 481)
            picture = np.asarray(image)
            seen.add((original.format, original.mode))
        whole = replica.draw_picture(number, replica.CLASSES[row.label][1])
        assert np.array_equal(picture, whole[1:482])
        assert 0 < picture.min() and picture.max() < 255, "a line or the band is still there"
    assert seen == {("TIFF", "L"), ("PNG", "L"), ("PNG", "RGB")}


def test_heat_treatments_are_groups_whatever_the_quench_is_called(whole_server, fetch):
    manifest = manifests.read_manifest(fetch(whole_server, "whole"))
    groups = manifest.groupby("heat_treatment")["split_group"].unique().map(list)
    assert groups["AC1 800C 85H WQ"] == groups["AC1 800C 85H Q"] == ["800C 85H Q"]
    assert groups["AC1 970C 90M WQ-2C"] == ["970C 90M Q"] and groups["AC1 970 5M FC"] == ["970C 5M FC"]
    assert groups[""] == ["no sample"] and groups["ET Gyro"] == ["ET Gyro"]
    assert set(manifest.loc[manifest["heat_treatment"] == "ET Gyro", "specimen"]) == {"42"}


def test_the_quiz_like_study_fetches_its_own_images_only(whole_server, fetch):
    manifest = manifests.read_manifest(fetch(whole_server))
    quiz, train = (manifest[manifest["split"] == s] for s in ("quiz", "train"))
    assert manifests.classes(manifest) == sorted(set(replica.CLASSES) - {n for n in replica.CLASSES if "widman" in n})
    assert not set(quiz["split_group"]) & set(train["split_group"])
    assert (manifests.truth(manifest) == manifests.NONE_OF_THESE).sum() == quiz["label"].str.contains("widman").sum() > 0
    assert len(images_asked(whole_server)) == len(manifest) < 42


def test_one_selection_after_the_other_fetches_the_rest_alone(whole_server, fetch):
    few = pd.read_csv(fetch(whole_server))
    whole_server.asked.clear()
    fetch(whole_server, "whole")
    assert len(images_asked(whole_server)) == 42 - len(few)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_nothing_to_do_fetches_no_image_and_writes_nothing(server, fetch, tmp_path, capsys):
    path = fetch(server)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "uhcsdb").rglob("*") if p.is_file()}
    server.asked.clear()
    assert fetch(server) == path and server.asked == ["manifest.json"]
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert "nothing to fetch" in capsys.readouterr().out


@pytest.mark.parametrize("spoil", [lambda p: p.write_bytes(b"broken"), lambda p: p.unlink()])
def test_a_broken_or_missing_file_is_mended_and_no_other(server, fetch, tmp_path, spoil):
    row = pd.read_csv(fetch(server)).iloc[3]
    wanted = (tmp_path / "uhcsdb" / row["file"]).read_bytes()
    spoil(tmp_path / "uhcsdb" / "originals" / row["original"])
    spoil(tmp_path / "uhcsdb" / row["file"])
    server.asked.clear()
    fetch(server)
    assert images_asked(server) == [row["original"]]
    assert (tmp_path / "uhcsdb" / row["file"]).read_bytes() == wanted


@pytest.mark.parametrize("fault", ["broken off", "other bytes", "hang up", 503, (429, {"Retry-After": "7"})])
def test_what_goes_wrong_twice_is_tried_again(server, fetch, fault):
    server.faults = {name: [fault] * 2 for name in ("metadata.csv", "micrographs/micrograph3.png")}
    manifest = manifests.read_manifest(fetch(server, "whole"))
    assert len(manifest) == 12 and server.asked.count("micrographs/micrograph3.png") == 3


def test_a_busy_server_is_asked_when_it_says(server, fetch, monkeypatch):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    server.faults = {"manifest.json": [(429, {"Retry-After": "7"})]}
    fetch(server, "whole")
    assert 7 in waited


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("broken off", "could not be fetched (the connection broke off)"),
        ("other bytes", "sha256 differs"),
        ("hang up", "could not be fetched (the connection broke off)"),
        (404, "404 Not Found: the archive has no such file"),
        (503, "503 Service Unavailable"),
        ((302, {"Location": "http://example.org/"}), "http://example.org/: micrographs are fetched over https only"),
    ],
)
def test_what_goes_wrong_every_time_stops_with_a_sentence_and_leaves_no_part_of_a_file(server, fetch, tmp_path, fault, says):
    name = "micrographs/micrograph5.tif"
    server.faults = {name: [fault] * 99}
    with pytest.raises(datasets.DatasetError) as caught:
        fetch(server, "whole")
    told, folder = str(caught.value), tmp_path / "uhcsdb"
    assert says in told and "\n" not in told and "files are here and stay" in told
    if not isinstance(fault, tuple):
        assert name in told
    assert not (folder / "originals" / name).exists() and not list(folder.glob("manifest-*"))
    assert not [p for p in folder.rglob("tmp*") if p.is_file()]
    assert server.asked.count(name) <= downloads.ATTEMPTS_MORE + 1, "as polite as this"
    # What has come is not asked for again.
    server.faults.clear()
    server.asked.clear()
    here = len(list((folder / "originals" / "micrographs").iterdir()))
    assert len(pd.read_csv(fetch(server, "whole"))) == 12 and len(images_asked(server)) == 12 - here


def test_a_server_that_stops_in_the_middle_and_comes_back(archive, fetch, tmp_path):
    with replica.Server(archive) as first:
        first.stops_after = 7
        with pytest.raises(datasets.DatasetError, match="files are here and stay.*run the same command again"):
            fetch(first, "whole")
    here = {p.name for p in (tmp_path / "uhcsdb" / "originals" / "micrographs").iterdir()}
    assert 2 < len(here) < 7
    with replica.Server(archive, port=first.port) as second:
        assert len(manifests.read_manifest(fetch(second, "whole"))) == 12
        assert {name.removeprefix("micrographs/") for name in images_asked(second)}.isdisjoint(here)


@pytest.mark.parametrize("after", [3, 9])
def test_killed_in_the_middle_it_goes_on_to_the_same_manifest(archive, fetch, tmp_path, after):
    with replica.Server(archive) as server:
        undisturbed = fetch(server, "whole", folder=tmp_path / "undisturbed").read_bytes()
        server.asked.clear()
        server.slow = 0.05
        options = ["--selection", "whole", "--folder", tmp_path / "killed"]
        command = [sys.executable, "-m", "micrographs.uhcsdb", "uhcsdb", *options]
        killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        while len(server.asked) < after and killed.poll() is None:
            threading.Event().wait(0.01)
        os.killpg(killed.pid, signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
        assert fetch(server, "whole", folder=tmp_path / "killed").read_bytes() == undisturbed
    whole = {p.name for p in (tmp_path / "killed" / "micrographs").iterdir()}
    assert whole == {p.name for p in (tmp_path / "undisturbed" / "micrographs").iterdir()}


def test_without_a_network_it_says_what_to_do_by_hand(fetch, tmp_path):
    with pytest.raises(datasets.DatasetError) as caught:
        fetch(f"http://127.0.0.1:{free_port()}/")
    told = str(caught.value)
    for part in ("Connection refused", "by hand", str(tmp_path / "uhcsdb" / "originals"), "manifest.json", "metadata.csv",
                 "https://github.com/rydia001/UHCS_micrographs_mirror", "run it again"):  # fmt: skip
        assert part in told, part
    assert "Traceback" not in told and "\n" not in told and "object at" not in told


def own_table(tmp_path, folder, **changes):
    """A table whose archive is a folder on a port where nothing listens, with its metadata's own hash."""
    text = archives.TABLE.read_text()
    for old, new in {
        archives.known()["uhcsdb"].base_url: f"http://127.0.0.1:{free_port()}/",
        archives.known()["uhcsdb"].metadata_sha256: hashlib.sha256((folder / "metadata.csv").read_bytes()).hexdigest(),
        "[uhcsdb": "[lab",
        **changes,
    }.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "datasets.toml").write_text(text)
    return tmp_path / "datasets.toml"


def test_files_put_there_by_hand_need_no_network(own, tmp_path):
    table = own_table(tmp_path, own)
    shutil.copytree(own, tmp_path / "lab" / "originals")
    path = datasets.fetch("lab", "whole", folder=tmp_path / "lab", table=table)
    assert len(manifests.read_manifest(path)) == 12
    (tmp_path / "lab" / "originals" / "micrographs" / "micrograph7.tif").write_bytes(b"not what was promised")
    with pytest.raises(datasets.DatasetError, match="micrograph7.tif: could not be fetched"):
        datasets.fetch("lab", "whole", folder=tmp_path / "lab", table=table)


def test_an_archive_that_is_not_the_published_one_is_not_used(own, tmp_path):
    table = own_table(tmp_path, own)
    with replica.Server(own) as server:
        table.write_text(table.read_text().replace(archives.known(table)["lab"].base_url, server.url))
        assert datasets.fetch("lab", folder=tmp_path / "lab", table=table).is_file()
        text = (own / "metadata.csv").read_text()
        (own / "metadata.csv").write_text(text.replace("spheroidite", "network", 1))
        replica.write_list(own)
        with pytest.raises(datasets.DatasetError, match="the archive has changed, so nothing of it is used"):
            datasets.fetch("lab", folder=tmp_path / "elsewhere", table=table)
    assert not list((tmp_path / "elsewhere").rglob("*.csv"))


def test_a_list_that_is_none_says_so(own, fetch):
    with replica.Server(own) as server:
        for content in ("<html>Log in to the hotel's network</html>", '{"files": {}}', '{"files": []}'):
            (own / "manifest.json").write_text(content)
            with pytest.raises(datasets.DatasetError, match="does not list metadata.csv; is the address right?"):
                fetch(server)


def test_a_folder_that_cannot_be_written_says_so(server, fetch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(datasets.DatasetError, match="file.*cannot be written"):
        fetch(server, folder=tmp_path / "file" / "uhcsdb")


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["https://example.org/x", "http://127.0.0.1:8000/", "http://[::1]/", "http://localhost/x"])
def test_https_and_this_computer_are_fetched_from(url):
    downloads.check_url(url)


@pytest.mark.parametrize(
    "url", ["http://example.org/", "http://10.0.0.1/", "ftp://example.org/", "file:///etc/passwd", "http://127.0.0.1.example.org/",
            "http://localhost@example.org/", "http://[::1", "example.org", ""]
)  # fmt: skip
def test_nothing_else_is(url, fetch):
    with pytest.raises(downloads.DownloadError, match="over https only"):
        downloads.check_url(url)
    if url:
        with pytest.raises(datasets.DatasetError, match="over https only"):
            fetch(url)


def test_a_proxy_of_the_environment_is_used(server, fetch, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("no_proxy", "")
    assert len(pd.read_csv(fetch(f"http://127.0.0.1:{free_port()}/data/", "whole"))) == 12
    assert len(images_asked(server)) == 12


def test_progress_has_bytes_and_time_left_and_no_redraws_in_a_log(server, fetch, monkeypatch, capsys):
    monkeypatch.setattr(downloads, "SECONDS_BETWEEN_LINES", 0.0)
    fetch(server, "whole")
    said = capsys.readouterr().err
    assert "\r" not in said
    lines = [line for line in said.splitlines() if line.startswith("uhcsdb: ")]
    assert len(lines) > 5
    for line in lines:
        assert line.split(" MB, about ")[1].endswith(" left") and " of " in line


def test_progress_is_a_bar_in_a_terminal(server, fetch, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch(server, "whole")
    assert "B/s" in capsys.readouterr().err


# --- what an archive says --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("1,micrograph1.tif", "1,../../escaped.tif", "'../../escaped.tif': is no path of an image below"),
        ("1,micrograph1.tif", "1,", "line 2, path: '': is no path"),
        ("2,micrograph2.tif", "2,micrograph1.png", "line 3, path: 'micrograph1.png': is there already"),
        ("network,SE", ",SE", "line 2, primary_microconstituent: '': the image has no label"),
        (",200.0,um,103,", ",200.0,furlong,103,", "line 2, micron_bar: '200.0': the unit 'furlong' is not known"),
        (",200.0,um,103,", ",,um,103,", "micron_bar is '', which is no number"),
        (",200.0,um,103,", ",200.0,um,a lot,", "micron_bar_px is 'a lot', which is no number"),
        (",200.0,um,103,", ",0,um,103,", "line 2, micron_bar: '0': is no length of a micron bar"),
        (",200.0,um,103,", ",200.0,um,0,", "a positive number of pixels per um"),
        (",200.0,um,103,", ",inf,um,103,", "a positive number of pixels per um"),
        (",200.0,um,103,", ",200.0,nm,103000000,", "outside 0.001 to 100000 px/um"),
        ("sample_key", "sample", "has no column sample_key"),
    ],
)
def test_bad_metadata_stop_with_line_and_column(own, fetch, tmp_path, old, new, says):
    text = (own / "metadata.csv").read_text()
    assert old in text
    (own / "metadata.csv").write_text(text.replace(old, new, 1))
    replica.write_list(own)
    with replica.Server(own) as server, pytest.raises(datasets.DatasetError) as caught:
        fetch(server)
    assert says in str(caught.value) and "metadata.csv" in str(caught.value)
    assert not images_asked(server) and not (tmp_path / "escaped.tif").exists()


def test_an_image_without_a_hash_is_not_fetched(own, fetch):
    listed = json.loads((own / "manifest.json").read_text())
    del listed["files"]["micrographs/micrograph4.tif"]
    (own / "manifest.json").write_text(json.dumps(listed))
    with replica.Server(own) as server:
        with pytest.raises(datasets.DatasetError, match="has no hash of micrographs/micrograph4.tif"):
            fetch(server, "whole")
        assert not images_asked(server)


@pytest.mark.parametrize("shape", [(522, 640), (482, 645), (481, 645), (400, 645)])
def test_an_image_of_another_shape_stops_with_its_name(own, fetch, shape):
    grey = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    Image.fromarray(grey).save(own / "micrographs" / "micrograph2.tif")
    replica.write_list(own)
    with replica.Server(own) as server, pytest.raises(datasets.DatasetError) as caught:
        fetch(server, "whole")
    assert f"micrograph2.tif: is {shape[1]} x {shape[0]} px" in str(caught.value)


def test_a_file_that_is_no_image_stops_with_its_name(own, fetch):
    (own / "micrographs" / "micrograph2.tif").write_bytes(b"II*\0 and nothing more")
    replica.write_list(own)
    with replica.Server(own) as server, pytest.raises(datasets.DatasetError, match="micrograph2.tif: cannot be read"):
        fetch(server, "whole")


def test_a_picture_that_is_there_twice_is_used_once(own, fetch, capsys):
    with Image.open(own / "micrographs" / "micrograph1.tif") as image:
        image.save(own / "micrographs" / "micrograph9.png")
    replica.write_list(own)
    with replica.Server(own) as server:
        manifest = manifests.read_manifest(fetch(server, "whole"))
    assert len(manifest) == 11 and "micrographs/micrograph9.tif" not in set(manifest["original"])
    assert "micrograph9.png is the same picture as micrographs/micrograph1.tif" in capsys.readouterr().err


def test_unknown_names_are_listed_against_the_known(fetch, server):
    with pytest.raises(datasets.DatasetError, match="uhcsdb"):
        datasets.fetch("uhcs-db")
    with pytest.raises(datasets.DatasetError, match="selection=half: uhcsdb has quiz-like and whole"):
        fetch(server, "half")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[uhcsdb]", "[uhcsdb", "is not TOML"),
        ("hashes =", "hashed =", "got an unexpected keyword argument 'hashed'"),
        ("licence =", "# licence =", "missing 1 required positional argument: 'licence'"),
        ("label = ", "class = ", "columns: 'label' is missing"),
        ("bar_px = ", "px = ", "scale: give pixels_per_um, or bar, unit and bar_px"),
        ("rows = [1, 481]", "rows = [481]", "rows: give the first and the last"),
        ("n_none = 6", "none = 6", "selections: each is empty or has classes, n_none, n_quiz"),
        ("[uhcsdb", '["../uhcsdb"', "a name has letters"),
    ],
)
def test_a_bad_table_says_where(tmp_path, old, new, says):
    text = archives.TABLE.read_text()
    assert old in text
    (tmp_path / "t.toml").write_text(text.replace(old, new))
    with pytest.raises(datasets.DatasetError, match="t.toml.*" + re.escape(says)):
        archives.known(tmp_path / "t.toml")


def test_a_laboratorys_own_archive_is_one_more_table(tmp_path):
    """Other columns, folders of its own, the scale given, no band, and a list of hashes made by the library."""
    folder = tmp_path / "lab"
    rows = []
    for steel in ("A", "B"):
        (folder / "images" / steel).mkdir(parents=True)
        for k in range(4):
            Image.fromarray(replica.draw_picture(k, 20 if steel == "A" else 9)).save(folder / "images" / steel / f"{k}.tif")
            rows.append({"steel": steel, "number": k, "phase": f"phase {steel}", "px": 4 * k + 4, "bar": f"{steel}{k // 2}"})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    listed = datasets.write_hashes(folder)
    images = {f"images/{steel}/{k}.tif" for steel in "AB" for k in range(4)}
    assert json.loads(listed.read_text())["files"].keys() == {"table.csv"} | images
    with replica.Server(folder) as server:
        (tmp_path / "datasets.toml").write_text(f"""
            [lab]
            title = "Our steels"
            base_url = "{server.url}"
            hashes = "manifest.json"
            metadata = "table.csv"
            images = "images/{{steel}}/{{number}}.tif"
            source = "the laboratory"
            licence = "all rights reserved"
            columns = {{ label = "phase", specimen = "bar" }}
            scale = {{ pixels_per_um = "px" }}
            split_group = {{ column = "steel" }}
            selections = {{ all = {{}} }}
        """)
        manifest = manifests.read_manifest(
            datasets.fetch("lab", folder=tmp_path / "data", table=tmp_path / "datasets.toml")
        )
    assert list(manifest["file"][:2]) == ["micrographs/images/A/0.png", "micrographs/images/A/1.png"]
    assert list(manifest["pixels_per_um"]) == [4, 8, 12, 16] * 2 and set(manifest["split_group"]) == {"A", "B"}
    assert set(manifest["height"]) == {replica.HEIGHT}
    assert attribution.of(manifest) == ["8 images: the laboratory; licence all rights reserved."]


# --- the studies -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written():
    return pd.read_csv(archives.known()["uhcsdb"].selections_file, keep_default_na=False, dtype={"specimen": str})


def test_what_is_written_down_is_what_is_drawn(written):
    dataset = archives.known()["uhcsdb"]
    drawn = archives.selections(dataset, written)
    pd.testing.assert_frame_equal(drawn, written, check_dtype=False)


def test_the_quiz_like_study_has_the_sizes_of_the_papers_quiz_1(written):
    train, quiz = (written[written["quiz-like"] == s] for s in ("train", "quiz"))
    known = archives.known()["uhcsdb"].selections["quiz-like"]["classes"]
    assert len(train) == 134 and len(quiz) == 36 and set(train["label"]) == set(known) and len(known) == 5
    assert quiz["label"].value_counts()[known].eq(6).all() and (~quiz["label"].isin(known)).sum() == 6
    assert not set(train["split_group"]) & set(quiz["split_group"])
    assert train["label"].value_counts().min() == 20


def test_the_whole_set_is_whole(written):
    assert len(written) == 961 and (written["whole"] == "train").all() and written["original"].is_unique
    assert written["label"].value_counts()[["martensite", "pearlite"]].tolist() == [36, 124]


def test_the_table_agrees_with_the_170_images_prepared_elsewhere(written, shared_manifest):
    """Scale, label, and which images belong together, as another pair of hands had them from the same database."""
    shared = pd.read_csv(shared_manifest, keep_default_na=False)
    number = shared["source"].str.extract(r"micrograph (\d+)")[0]
    ours = written.set_index(written["original"].str.extract(r"(\d+)\.")[0]).loc[number].reset_index(drop=True)
    assert (ours["label"] == shared["label"]).all() and np.allclose(ours["pixels_per_um"], shared["pixels_per_um"])
    pairs = set(zip(ours["split_group"], shared["split_group"], strict=True))
    assert len(pairs) == ours["split_group"].nunique() == shared["split_group"].nunique()
    dataset = archives.known()["uhcsdb"]
    assert (shared["width"] == dataset.width_px).all() and (shared["height"] == np.ptp(dataset.rows) + 1).all()


def test_groups_take_turns_and_the_draw_is_the_same_twice():
    groups = ["large"] * 30 + ["g1", "g2"] * 5 + ["h1", "h2"] * 6
    rows = pd.DataFrame({"label": ["a"] * 40 + ["b"] * 12, "split_group": groups})
    how = dict(classes=["a", "b"], n_train=12, n_quiz=4, n_none=0, quiz_fraction=0.3, seed=0)
    split = archives.draw(rows, **how)
    assert split.equals(archives.draw(rows, **how))
    assert split.value_counts()["train"] == 12
    train = rows[(split == "train") & (rows["label"] == "a")]
    counts = train["split_group"].value_counts()
    assert counts.max() - counts.min() <= 1
    sides = rows.assign(split=split)[split != ""].groupby("split_group")["split"].nunique()
    assert (sides == 1).all()


def test_a_table_of_another_archive_is_noticed(own, tmp_path, monkeypatch):
    table = own_table(tmp_path, own)
    shutil.copytree(own, tmp_path / "lab" / "originals")
    monkeypatch.setattr(paths, "DATA", tmp_path)
    (tmp_path / "lab-selections.csv").write_text("original,whole\nmicrographs/other.tif,train\n")
    with pytest.raises(datasets.DatasetError, match="lab-selections.csv: is not of this archive.*--write-selections"):
        datasets.fetch("lab", "whole", folder=tmp_path / "lab", table=table)


# --- in a study ------------------------------------------------------------------------------------------------------


def test_a_name_becomes_a_manifest_and_a_path_stays_one(server, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, server.url)
    monkeypatch.setattr(paths, "DATA", tmp_path)
    assert datasets.manifest_of("a/manifest.csv", ["selection=x"]) == ("a/manifest.csv", ["selection=x"])
    assert datasets.manifest_of(None, ["seed=1"]) == (None, ["seed=1"])
    path, parameters = datasets.manifest_of("uhcsdb", ["seed=1", "selection=whole"])
    assert path == tmp_path / "uhcsdb" / "manifest-whole.csv" and parameters == ["seed=1"]


def test_attribution_names_source_citation_and_licence_once(server, fetch):
    said = attribution.of(manifests.read_manifest(fetch(server)))
    assert len(said) == 1
    for part in ("UHCSDB", "hdl:11256/940", "DeCost", "doi:10.1007/s40192-017-0097-0", "CC-BY-3.0-US", "band cropped"):
        assert part in said[0]
    frame = pd.DataFrame({"source": ["x 1", "x 2", ""], "licence": ["CC0-1.0", "CC0-1.0", ""]})
    assert attribution.of(frame) == ["2 images: x 1 and 1 more; licence CC0-1.0."]
    assert attribution.of(pd.DataFrame({"file": ["a"]})) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no-such-archive"], "known are uhcsdb"),
        (["no-such-archive", "--write-selections", "metadata.csv"], "known are uhcsdb"),
        (["uhcsdb", "--write-selections", "no-such-file.csv"], "No such file"),
        (["no-such-folder", "--write-hashes"], "no-such-folder: no such folder"),
    ],
)
def test_the_command_line_says_what_is_wrong(capsys, arguments, says):
    assert datasets.main(arguments) == 2
    assert says in capsys.readouterr().err


def test_other_rows_are_cropped_anew_without_a_download(own, tmp_path):
    table = own_table(tmp_path, own)
    shutil.copytree(own, tmp_path / "lab" / "originals")
    for last in (481, 400):
        table.write_text(re.sub(r"rows = .*", f"rows = [1, {last}]", table.read_text()))
        path = datasets.fetch("lab", "whole", folder=tmp_path / "lab", table=table)
        assert set(manifests.read_manifest(path)["height"]) == {last}
    path.write_text("not,a\nmanifest,")
    assert len(pd.read_csv(datasets.fetch("lab", "whole", folder=tmp_path / "lab", table=table))) == 12
