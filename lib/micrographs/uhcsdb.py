"""UHCSDB, the public archive: micrographs of an ultrahigh carbon steel, fetched by hash, cropped, and made a manifest.

Which images make which study, with their labels and scales, stands in ``data/uhcsdb-selections.csv``.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pooch
from tqdm import tqdm

from micrographs.reading import read_image

DATA = Path(__file__).resolve().parents[2] / "data"
SELECTIONS = DATA / "uhcsdb-selections.csv"
# The original host, hdl:11256/940, no longer answers; this is a mirror at a fixed commit.
BASE_URL = "https://raw.githubusercontent.com/rydia001/UHCS_micrographs_mirror/e5267cf1b3ea67912d30891a53418e3e42c578c8/"
BY_HAND = (
    "get manifest.json and micrographs/ by hand from doi:10.5281/zenodo.23050464 or "
    "https://github.com/rydia001/UHCS_micrographs_mirror (commit e5267cf) and put them into"
)
WIDTH_PX, ROWS = 645, slice(1, 482)  # below lies the information band
FACTS = {
    "modality": "sem",
    "source": "UHCSDB (hdl:11256/940, mirror doi:10.5281/zenodo.23050464), information band cropped, 8-bit grey",
    "licence": "CC-BY-3.0-US",
    "citation": "B. L. DeCost, M. D. Hecht, T. Francis, B. A. Webler, Y. N. Picard, E. A. Holm, UHCSDB: UltraHigh Carbon "
    "Steel Micrograph DataBase, Integrating Materials and Manufacturing Innovation 6 (2017) 197-205, "
    "doi:10.1007/s40192-017-0097-0",
    "labelled_by": "the database's authors: primary microconstituent",
}


class DatasetError(ValueError):
    """An archive that cannot be fetched or is not what it should be; the message holds the remedy."""


def _cropped(original: Path, target: Path) -> str:
    """Cut the micrograph out of an image of the archive, and return the sha256 of the file written."""
    image = read_image(original)
    if image.shape[1] != WIDTH_PX or image.shape[0] < ROWS.stop:
        raise DatasetError(f"{original}: is of shape {image.shape}, not {WIDTH_PX} px wide with a band below")
    content = cv2.imencode(".png", np.round(image[ROWS] * 255).astype(np.uint8))[1].tobytes()
    if not (target.is_file() and target.read_bytes() == content):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        part.write_bytes(content)
        os.replace(part, target)
    return hashlib.sha256(content).hexdigest()


def fetch(selection: str = "quiz-like", folder=DATA / "uhcsdb") -> Path:
    """Download what is missing of a selection's images, and return the path of its manifest.

    Parameters
    ----------
    selection : str
        "quiz-like" (170 images, a study of the paper's sizes) or "whole" (961 images to train on).
    folder : path
        ``originals/`` holds what was downloaded, ``micrographs/`` the cropped images. The environment variable
        ``MICRORACE_UHCSDB_URL`` names another server with the same files.

    Raises
    ------
    DatasetError
        If there is no such selection, or an image cannot be fetched or is not what it should be.
    """
    rows = pd.read_csv(SELECTIONS, dtype=str, keep_default_na=False)
    if selection not in rows.columns[5:]:
        raise DatasetError(f"selection={selection}: uhcsdb has {' and '.join(rows.columns[5:])}")
    rows = rows[rows[selection] != ""].reset_index(drop=True)
    folder = Path(folder)
    originals, names = folder / "originals", list(rows["original"])
    url = os.environ.get("MICRORACE_UHCSDB_URL", BASE_URL).rstrip("/") + "/"
    pooch.get_logger().setLevel("WARNING")
    try:
        listed = pooch.retrieve(url + "manifest.json", None, "manifest.json", originals)
        promised = {name: file["sha256"] for name, file in json.loads(Path(listed).read_text())["files"].items()}
        store = pooch.create(originals, url, registry={name: promised[name] for name in names}, retry_if_failed=4)
        with ThreadPoolExecutor(5) as pool:
            list(tqdm(pool.map(store.fetch, names), "fetch UHCSDB", len(names), unit="image"))
            targets = [str(Path(name).with_suffix(".png")) for name in names]
            hashes = list(pool.map(lambda name, file: _cropped(originals / name, folder / file), names, targets))
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"uhcsdb: {error}. Run the command again with a network, or {BY_HAND} {originals}") from None
    rows = rows.rename(columns={selection: "split"}).assign(file=targets, sha256=hashes, **FACTS)
    # Of a picture that is there twice the quiz keeps its copy.
    rows = rows.sort_values("split", kind="stable").drop_duplicates("sha256").sort_index()
    columns = ["file", "label", "split", "pixels_per_um", "specimen", "split_group", *FACTS, "sha256", "original"]
    manifest = folder / f"manifest-{selection}.csv"
    rows[columns].to_csv(manifest, index=False, lineterminator="\n")
    return manifest


if __name__ == "__main__":
    print(fetch(*sys.argv[1:2]))
