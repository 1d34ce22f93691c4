"""What goes wrong around a study: two runs at once, a full disk, folders that cannot be written, files in the way."""

import json
import os
import subprocess
import sys

import pytest

import toy
from microrace import study

UNIT = "from microrace.study.__main__ import main; import sys, json; sys.exit(main(sys.argv[2:], **json.loads(sys.argv[1])))"


def start(toy_study, *parameters) -> subprocess.Popen:
    """The toy study in a process of its own, in a session of its own."""
    places = json.dumps({"notebooks_dir": str(toy_study.notebooks), "chain": toy.CHAIN})
    words = ["run", "--study", "toy", "--dataset", toy_study.manifest, "--runs-dir", toy_study.runs]
    words += [word for parameter in parameters for word in ("-p", parameter)]
    command = [sys.executable, "-c", UNIT, places, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def said_one_sentence(capsys, *words):
    """Whether standard error holds one message with these words, and no traceback."""
    told = capsys.readouterr().err
    assert told.count("error: ") == 1 and "Traceback" not in told, told
    for word in words:
        assert word in told, told


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own of one megabyte; mounting one takes root."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", folder], capture_output=True)
        if done.returncode:
            pytest.skip("mounting is not permitted here")
        return folder

    try:
        yield mount
    finally:
        subprocess.run(["umount", folder], capture_output=True)


def test_two_runs_of_one_study_do_not_disturb_each_other(toy_study, capsys):
    first = start(toy_study, "seconds=2", "epochs=4")
    for line in first.stdout:
        if "02-learn ..." in line:
            break
    assert toy_study("seed=3") == 2
    said_one_sentence(capsys, "toy", "another run is working there")
    assert first.wait(timeout=120) == 0
    first.communicate()
    record = json.loads((toy_study.runs / "toy" / "run.json").read_text())
    assert record["status"] == "finished" and record["notebooks"]["02-learn"]["parameters"]["epochs"] == 4
    assert toy_study("seconds=2", "epochs=4") == 0 and "nothing to do" in capsys.readouterr().out


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(toy_study, small_disk, capsys):
    disk = small_disk("size=1m")
    toy_study.runs = disk / "runs"
    assert toy_study() == 0
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    capsys.readouterr()
    kept = (toy_study.runs / "toy" / "manifest.csv").read_bytes()
    assert toy_study("epochs=5") == 2
    said_one_sentence(capsys, "No space left", str(disk))
    assert (toy_study.runs / "toy" / "manifest.csv").read_bytes() == kept
    ballast.unlink()
    assert toy_study("epochs=5") == 0
    assert len(json.loads((toy_study.runs / "toy" / "weights.pt").read_text())) == 5
    assert not list(toy_study.runs.rglob("*.tmp"))


def test_a_read_only_folder_is_told_and_left_as_it_is(toy_study, small_disk, capsys):
    disk = small_disk("size=1m", "ro")
    toy_study.runs = disk / "runs"
    assert toy_study() == 2
    said_one_sentence(capsys, "Read-only", str(disk))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told(toy_study, capsys):
    toy_study.runs.mkdir(mode=0o500)
    assert toy_study() == 2
    said_one_sentence(capsys, "Permission denied", str(toy_study.runs))


@pytest.mark.parametrize("place", ["", "toy", "toy/figures", "toy/notebooks"])
def test_a_file_where_a_folder_should_be_is_told_and_left_alone(toy_study, capsys, place):
    path = toy_study.runs / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    assert toy_study() == 2
    said_one_sentence(capsys, str(path), "a folder is needed")
    assert path.read_text() == "mine" and not list(toy_study.folder.rglob("weights.pt"))


def test_a_notebook_that_stops_is_told_with_its_cell_and_goes_on_once_it_is_mended(toy_study, capsys):
    assert toy_study("fail=out of cheese") == 1
    told = capsys.readouterr().err
    assert "02-learn" in told and "out of cheese" in told and "02-learn.failed.ipynb" in told
    assert json.loads((toy_study.runs / "toy" / "run.json").read_text())["status"] == "02-learn failed"
    with pytest.raises(study.StudyError, match="not a finished study"):
        study.verify("toy", runs_dir=toy_study.runs, figures_dir=toy_study.folder / "figures", **toy_study.places)
    assert toy_study() == 0
    assert "01-data" not in capsys.readouterr().out, "what was finished is not run again"
    assert not (toy_study.runs / "toy" / "notebooks" / "02-learn.failed.ipynb").exists()
