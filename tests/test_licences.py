"""What is said of licences, citations and real data is true of the files that it is said of."""

import re
import subprocess
import tomllib

import pandas as pd
import pytest
import yaml

import microrace
from microrace import paths

CARD = (paths.DATA / "README.md").read_text(encoding="utf-8")


def test_the_citation_is_valid_and_names_the_paper():
    """The fields that CFF 1.2.0 requires, of the right kind; cffconvert says the rest when it changes."""
    cited = yaml.safe_load((paths.ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0" and cited["title"] and cited["message"] and cited["authors"]
    assert str(cited["version"]) == microrace.__version__ and cited["license"] == "MIT"
    paper = cited["references"][0]
    assert (paper["journal"], paper["volume"], paper["year"]) == ("Scripta Materialia", 193, 2020)
    assert all(re.fullmatch(r"10\.\d{4,}/\S+", work["doi"]) and work["type"] == "article" for work in cited["references"])


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


def test_the_data_cards_table_is_that_of_the_selections():
    table = pd.read_csv(paths.DATA / "uhcsdb-selections.csv", keep_default_na=False)
    for label, rows in table.groupby("label"):
        cells = next(line for line in CARD.splitlines() if line.startswith(f"| {label} |")).strip("| ").split(" | ")
        low, high = rows["pixels_per_um"].min(), rows["pixels_per_um"].max()
        assert cells[1:4] == [str(len(rows)), str(rows["split_group"].nunique()), f"{low:g} to {high:g}"], label


def test_downloaded_micrographs_stay_out_of_the_repository():
    asked = subprocess.run(["git", "check-ignore", "-q", "data/uhcsdb/micrographs/micrograph1.png"], cwd=paths.ROOT)
    if asked.returncode == 128:
        pytest.skip("not a git checkout")
    assert asked.returncode == 0
