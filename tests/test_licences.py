"""What is said of licences, citations and real data is true of the files that it is said of."""

import subprocess
import tomllib

import pytest

from microrace import paths

CARD = (paths.DATA / "README.md").read_text(encoding="utf-8")


def test_licence_and_notices_name_what_is_used():
    licence, notices = ((paths.ROOT / name).read_text(encoding="utf-8") for name in ("LICENSE", "THIRD-PARTY.md"))
    assert licence.startswith("MIT License") and "CC0 1.0" in licence and "THIRD-PARTY.md" in licence
    dependencies = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    name, version = next(d for d in dependencies if d.startswith("efficientnet")).split("==")
    row = next(line for line in notices.splitlines() if name in line)
    assert version in row and "Apache-2.0" in row
    for text in (notices, CARD):
        assert "CC BY 3.0 US" in text and "10.1007/s40192-017-0097-0" in text
        assert all(surname in text for surname in ("DeCost", "Hecht", "Francis", "Webler", "Picard", "Holm"))


def test_downloaded_micrographs_stay_out_of_the_repository():
    asked = subprocess.run(["git", "check-ignore", "-q", "data/uhcsdb/micrographs/micrograph1.png"], cwd=paths.ROOT)
    if asked.returncode == 128:
        pytest.skip("not a git checkout")
    assert asked.returncode == 0
