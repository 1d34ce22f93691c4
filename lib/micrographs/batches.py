"""New micrographs to be answered: a manifest or any folder of images, of which one that cannot be read stops no other."""

from __future__ import annotations

import glob
import hashlib
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from micrographs.manifest import ManifestError, read_manifest
from spreadsheets import tables

ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg")


class Skipped(NamedTuple):
    """An image that is not answered, and why."""

    file: str
    reason: str


class BatchError(ValueError):
    """Nothing there to answer; the message says what to give."""


def image_files(patterns: list[str]) -> list[Path]:
    """Files that match any of the patterns, sorted: each a file, a folder (its images), or a pattern with * or ** in it.

    Raises
    ------
    BatchError
        If a pattern matches nothing.
    """
    found = {}
    for pattern in patterns:
        if os.path.isdir(pattern):
            matches = [str(p) for p in Path(pattern).iterdir() if p.suffix.lower() in ENDINGS]
        elif os.path.exists(pattern):  # a name may itself hold brackets
            matches = [pattern]
        else:
            matches = [m for m in glob.glob(pattern, recursive=True) if os.path.isfile(m)]
        if not matches:
            remedy = "give files, a folder, or a pattern in quotes such as 'folder/*.tif'"
            raise BatchError(f"--images {pattern}: no image there; {remedy}")
        found |= {os.path.abspath(m): None for m in matches}
    return [Path(p) for p in sorted(found)]


def read_images(files: list[Path], pixels_per_um: float | None = None) -> tuple[pd.DataFrame, list[Skipped]]:
    """Rows of images without a manifest, as `read_batch` gives them.

    Parameters
    ----------
    files : list of Path
        As `image_files` finds them.
    pixels_per_um : float, optional
        Scale of all of them; without it each file's own tags must give it.

    Raises
    ------
    BatchError
        If none can be read.
    """
    folder = os.path.commonpath([file.parent for file in files])
    table = pd.DataFrame({"file": [os.path.relpath(file, folder) for file in files], "path": [str(f) for f in files]})
    table["pixels_per_um"] = "" if pixels_per_um is None else repr(float(pixels_per_um))
    remedy = "; or give one scale for all of them with --pixels-per-um" if pixels_per_um is None else ""
    rows, skipped = _read(table, [])
    skipped = [Skipped(s.file, s.reason + remedy * ("scale" in s.reason)) for s in skipped]
    return _not_empty(rows, skipped, folder), skipped


def read_batch(path) -> tuple[pd.DataFrame, list[Skipped]]:
    """Rows of a manifest to be answered; labels are not needed.

    Parameters
    ----------
    path : path
        As for `manifests.read_manifest`.

    Returns
    -------
    rows : DataFrame
        As `manifests.read_manifest` gives them.
    skipped : list of Skipped
        Rows with a fault.

    Raises
    ------
    ManifestError
        If the table itself has a fault, such as a missing column.
    BatchError
        If no row is without.
    """
    try:
        return read_manifest(path, labels_required=False), []
    except ManifestError as error:
        table, lines, of_form = tables.read_table(path)
        faults = error.faults
        if of_form or table.empty or "file" not in table or not faults["row"].isin(lines).all():
            raise
    folder, at_fault = Path(path).absolute().parent, set(faults["row"])
    skipped = []
    for line, file in zip(lines, table["file"], strict=True):
        if line in at_fault:
            ours = faults[faults["row"] == line]
            reason = "; ".join(f"{f.column}: {f.remedy}" if f.column != "file" else f.remedy for f in ours.itertuples())
            skipped.append(Skipped(file or f"line {line}", reason))
    table = table[[line not in at_fault for line in lines]].reset_index(drop=True)
    if "path" not in table:
        table["path"] = ""
    table["path"] = [str(folder / (p or file)) for p, file in zip(table["path"], table["file"], strict=True)]
    rows, skipped = _read(table, skipped)
    return _not_empty(rows, skipped, str(path)), skipped


def _not_empty(rows, skipped: list[Skipped], what: str) -> pd.DataFrame:
    if rows is None:
        told = [f"  {s.file}: {s.reason}" for s in skipped[:20]]
        more = [f"  and {len(skipped) - 20} more"] if len(skipped) > 20 else []
        raise BatchError("\n".join([f"{what}: none of the images can be answered", *told, *more]))
    return rows


def _read(table: pd.DataFrame, skipped: list[Skipped]) -> tuple[pd.DataFrame | None, list[Skipped]]:
    """Read a table whose ``path`` is absolute as a manifest, first all of it and then what had no fault."""
    hashes, skipped = [], list(skipped)
    for file, path in zip(table["file"], table["path"], strict=True):
        try:
            with open(path, "rb") as opened:
                hashes.append(hashlib.file_digest(opened, "sha256").hexdigest())
        except OSError as error:
            hashes.append("")
            skipped.append(Skipped(file, f"cannot be opened ({error.strerror})"))
    table = table.assign(sha256=hashes)
    table = table[table["sha256"] != ""].reset_index(drop=True)
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "manifest.csv"
        while len(table):
            table.to_csv(manifest, index=False)
            try:
                return read_manifest(manifest, labels_required=False), skipped
            except ManifestError as error:
                _, lines, _ = tables.read_table(manifest)
                faults = error.faults
                if not faults["row"].isin(lines).any():  # nothing that leaving rows out would mend
                    raise
                bad = set(faults["row"])
                reasons = faults.groupby("row")["remedy"].agg("; ".join)
                skipped += [Skipped(f, reasons[at]) for f, at in zip(table["file"], lines, strict=True) if at in bad]
                table = table[[at not in bad for at in lines]].reset_index(drop=True)
    return None, skipped
