"""Micrographs by one command: an archive is downloaded, checked, cropped, and turned into a manifest.

Which archives there are, and what is known of each, stands in ``data/datasets.toml`` (`archives`).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
from PIL import Image

from micrographs.archives import TABLE, Dataset, DatasetError, known, named, read_rows, read_split, selections
from micrographs.downloads import DownloadError, fetch_files, is_whole
from micrographs.reading import read_image
from microrace import paths
from microrace.whole import written_whole

# --- the pictures ----------------------------------------------------------------------------------------------------


def crop(dataset: Dataset, path) -> np.ndarray:
    """Read an image of the archive and cut it to the rows that are the micrograph.

    Returns
    -------
    array (H, W) of uint8

    Raises
    ------
    DatasetError
        If it is no image or has another shape.
    """
    try:
        image = read_image(path)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}; the archive's file is at fault, tell its owner") from None
    height, width = image.shape
    first, last = dataset.rows or (0, height - 1)
    band = bool(dataset.rows)
    if (dataset.width_px and width != dataset.width_px) or (band and height <= last + 1):
        raise DatasetError(
            f"{path}: is {width} x {height} px; images of {dataset.name} are {dataset.width_px or 'any'} px wide and "
            f"have their information band below row {last}; correct width_px and rows, or remove the image"
        )
    return np.round(image[first : last + 1] * 255).astype(np.uint8)


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; one that holds the same bytes already keeps its date."""
    if path.is_file() and path.read_bytes() == content:
        return
    with written_whole(path) as file:
        file.write_bytes(content)


def _cropped(dataset: Dataset, rows: pd.DataFrame, folder: Path, promised: dict) -> pd.DataFrame:
    """Crop what is not cropped yet; return the rows with ``file``, hashes and ``cropped_rows``, no picture twice."""
    cropped_rows = " to ".join(map(str, dataset.rows))
    # What earlier manifests vouch for need not be cropped again.
    done = {}
    for path in sorted(folder.glob("manifest-*.csv")):
        with contextlib.suppress(KeyError, ValueError):  # not as it was written: then it vouches for nothing
            for row in pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records"):
                done[row["file"], row["original_sha256"], row["cropped_rows"]] = row["sha256"]
    files, hashes, pictures, twice = [], [], {}, []
    for row in rows.itertuples():
        file = "micrographs/" + str(PurePosixPath(row.original.removeprefix("micrographs/")).with_suffix(".png"))
        sha256 = done.get((file, promised[row.original]["sha256"], cropped_rows), "")
        if not (sha256 and is_whole(folder / file, {"sha256": sha256})):
            buffer = io.BytesIO()
            Image.fromarray(crop(dataset, folder / "originals" / row.original)).save(buffer, "PNG")
            _write_whole(folder / file, buffer.getvalue())
            sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
        files.append(file)
        hashes.append(sha256)
        first = pictures.setdefault(sha256, row.original)
        twice.append(first != row.original)
        if twice[-1]:
            print(f"{dataset.name}: {row.original} is the same picture as {first} and is left out", file=sys.stderr)
    originals = [promised[name]["sha256"] for name in rows["original"]]
    rows = rows.assign(file=files, sha256=hashes, original_sha256=originals, cropped_rows=cropped_rows)
    return rows[~np.array(twice)]


# --- all of it -------------------------------------------------------------------------------------------------------


def _read_list(path: Path) -> dict[str, dict]:
    """The files that a list of hashes names, each with ``sha256`` and ``bytes``; none if it is no such list."""
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {name: {"sha256": str(f["sha256"]).lower(), "bytes": int(f["bytes"])} for name, f in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _promised(dataset: Dataset, base_url: str, folder: Path, by_hand: str) -> dict[str, dict]:
    """The archive's own list of hashes; fetched, unless the list of the published archive is there."""
    path, replaced = folder / dataset.hashes, base_url != dataset.base_url

    def published(files):
        named = files.get(dataset.metadata, {}).get("sha256")
        return named is not None and named == (dataset.metadata_sha256 or named)

    files = _read_list(path)
    if published(files) and not replaced:
        return files
    fresh = folder / ".fresh"  # the old one stays until the new one is known to be good
    try:
        fetch_files(base_url, {dataset.hashes: {}}, fresh, description=dataset.name, by_hand=by_hand)
        files = _read_list(fresh / dataset.hashes)
        if dataset.metadata not in files:
            raise DatasetError(f"{base_url}{dataset.hashes}: does not list {dataset.metadata}; is the address right?")
        if not replaced and not published(files):
            raise DatasetError(
                f"{base_url}{dataset.hashes}: names another {dataset.metadata} than the one this study knows; the archive "
                "has changed, so nothing of it is used. Get it from " + (dataset.by_hand or "its owner")
            )
        if _read_list(path) != files:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(fresh / dataset.hashes, path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return files


def fetch(name: str, selection: str = "", *, folder=None, table=TABLE) -> Path:
    """Download an archive, or what is missing of it, and return the path of the manifest.

    Parameters
    ----------
    name : str
        A table of ``data/datasets.toml``. The environment variable ``MICRORACE_<NAME>_URL`` replaces its base URL; that
        server's own list of hashes counts then, and a selection is drawn anew if the metadata are not the published ones.
    selection : str
        One of the archive's selections; without it the first. Only its images are downloaded.
    folder : path
        ``data/<name>`` unless given. ``originals/`` holds what was downloaded, ``micrographs/`` the cropped images.
    table : path

    Raises
    ------
    DatasetError
        If the archive is unknown, cannot be fetched, or is not what it should be.
    """
    dataset = named(name, table)
    selection = selection or next(iter(dataset.selections))
    if selection not in dataset.selections:
        raise DatasetError(f"selection={selection}: {name} has {' and '.join(dataset.selections)}")
    folder = Path(folder or paths.DATA / name)
    originals = folder / "originals"
    base_url = os.environ.get(dataset.variable) or dataset.base_url
    base_url = base_url.rstrip("/") + "/"
    by_hand = (
        f"get the files by hand from {dataset.by_hand or 'their owner'} and put {dataset.hashes}, {dataset.metadata} and "
        f"the images, in the archive's own folders, into {originals}"
    )
    try:
        promised = _promised(dataset, base_url, originals, by_hand)

        def get(names):
            absent = [n for n in names if n not in promised]
            if absent:
                raise DatasetError(f"{originals / dataset.hashes}: has no hash of {absent[0]}; {dataset.metadata} names it")
            files = {n: promised[n] for n in names}
            return fetch_files(base_url, files, originals, description=name, by_hand=by_hand)

        get([dataset.metadata])
        published = dataset.metadata_sha256 in ("", promised[dataset.metadata]["sha256"])
        if not published:
            print(f"{name}: {dataset.variable} leads to another archive than the published one; the selection is drawn anew")
        rows = read_rows(dataset, originals / dataset.metadata)
        rows["split"] = read_split(dataset, selection, rows, published)
        # Of a picture that is there twice the quiz keeps its copy.
        rows = rows[rows["split"] != ""].sort_values("split", kind="stable")
        n_bytes = sum(promised[n]["bytes"] for n in rows["original"] if n in promised)
        print(f"{name}: {dataset.title}; {dataset.licence}; {len(rows)} images, {n_bytes / 1e6:.0f} MB, "
              f"from {urlsplit(base_url).netloc}", flush=True)  # fmt: skip
        n = get(list(rows["original"]))
        print(f"{name}: {n} files fetched" if n else f"{name}: nothing to fetch, all files are here and whole", flush=True)
        rows = _cropped(dataset, rows, folder, promised).sort_index()
        rows = rows.assign(**{c: getattr(dataset, c) for c in ("modality", "source", "licence", "citation")})
        first = ["file", "label", "split", "pixels_per_um", "modality", "specimen", "split_group"]
        rows = rows[[*first, *(c for c in rows if c not in first)]]
        manifest = folder / f"manifest-{selection}.csv"
        _write_whole(manifest, rows.to_csv(index=False, lineterminator="\n").encode())
    except DownloadError as error:
        raise DatasetError(str(error)) from None
    except OSError as error:
        raise DatasetError(f"{error.filename or folder}: cannot be written ({error.strerror or error})") from None
    return manifest


def manifest_of(dataset, parameters: list[str]) -> tuple:
    """Turn the name of an archive into its manifest, fetched first; a path of a manifest stays what it is.

    Parameters
    ----------
    dataset : path or str or None
    parameters : list of str
        ``name=value``; ``selection=...`` is this function's own, where ``dataset`` is a name.

    Returns
    -------
    dataset, parameters
    """
    if not dataset or str(dataset) not in known():
        return dataset, parameters
    ours = [p for p in parameters if p.startswith("selection=")]
    selection = ours[-1].partition("=")[2] if ours else ""
    return fetch(str(dataset), selection), [p for p in parameters if p not in ours]


def write_hashes(folder, name: str = "manifest.json") -> Path:
    """List the sha256 and size of every file below a folder, as `fetch` reads them: for an archive of one's own.

    Raises
    ------
    DatasetError
        If there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; give the one that holds the archive's files")
    found = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / name)
    files = {
        p.relative_to(folder).as_posix(): {"sha256": hashlib.sha256(p.read_bytes()).hexdigest(), "bytes": p.stat().st_size}
        for p in found
    }
    _write_whole(folder / name, json.dumps({"files": files}, indent=1).encode())
    return folder / name


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m micrographs.uhcsdb", description=__doc__)
    parser.add_argument("name", help="of an archive in data/datasets.toml, or with --write-hashes a folder")
    parser.add_argument("--selection", default="", help="which images; without it, the archive's first selection")
    parser.add_argument("--folder", help="in place of data/<name>")
    parser.add_argument("--write-selections", metavar="METADATA", help="write the table of selections from it")
    parser.add_argument("--write-hashes", action="store_true", help="write a folder's manifest.json, to be an archive")
    arguments = parser.parse_args(argv)
    try:
        if arguments.write_hashes:
            print(write_hashes(arguments.name))
        elif arguments.write_selections:
            dataset = named(arguments.name)
            table = selections(dataset, read_rows(dataset, arguments.write_selections))
            _write_whole(dataset.selections_file, table.to_csv(index=False, lineterminator="\n").encode())
            print(dataset.selections_file)
        else:
            print(fetch(arguments.name, arguments.selection, folder=arguments.folder))
    except (DatasetError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
