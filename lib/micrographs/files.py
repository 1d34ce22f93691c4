"""Where the images of a manifest lie. Nothing here is heavy to import: the check of what has changed asks it, too."""

from __future__ import annotations

import os
from pathlib import Path

from spreadsheets import tables

ALLOW_OUTSIDE = "MICRORACE_ALLOW_OUTSIDE"  # set to 1, images may lie anywhere


def outside_allowed() -> bool:
    """Whether the environment lets manifests name images outside their folder."""
    return os.environ.get(ALLOW_OUTSIDE, "") not in ("", "0")


def folders_of(manifest) -> list[Path]:
    """The folders that a manifest's paths are relative to: its own, then that of the file it is a link to."""
    path = Path(os.path.abspath(manifest))
    return list(dict.fromkeys([path.parent, Path(os.path.realpath(path)).parent]))


def locate(folders: list[Path], name: str) -> tuple[Path, bool]:
    """Where an image lies and whether that is inside the manifest's folder.

    Links are not followed: an image that is a link keeps its name's ending, and what lies beside it.

    Parameters
    ----------
    folders : list of Path
        As `folders_of` gives them.
    name : str
        As the manifest has it, relative or absolute.

    Returns
    -------
    path : Path
        Absolute; in the first of the folders where there is such a file, or else in the first.
    inside : bool
    """
    places = [Path(os.path.normpath(folder / name)) for folder in folders]
    path = next((p for p in places if os.path.isfile(p)), places[0])
    return path, any(path.is_relative_to(folder) for folder in folders)


def sidecars_of(image) -> list[Path]:
    """The text files beside an image that an instrument may have written, by their names.

    The image's name with ``.txt`` or ``.hdr`` instead of or after the ending, or as Tescan has it (``a-tif.hdr``).
    """
    image = Path(image)
    stems = (image.stem, image.name, f"{image.stem}-{image.suffix[1:]}", f"{image.stem}-{image.suffix[1:].lower()}")
    names = [stem + ending for stem in dict.fromkeys(stems) for ending in (".txt", ".TXT", ".hdr", ".HDR")]
    return [p for p in (image.with_name(n) for n in names if n != image.name) if os.path.isfile(p)]


def files_of(manifest) -> list[Path]:
    """Every file that a manifest's study depends on beside the manifest itself, without judging any of them.

    Parameters
    ----------
    manifest : path
        Of any kind and in any state; one that cannot be read has no files.

    Returns
    -------
    list of Path
        The images in the order of their rows, each followed by its sidecars. What is no file counts too, so that
        it is noticed when it becomes one; what the manifest may not name (see `locate`) does not.
    """
    table = tables.read_rows(manifest)
    columns = [tables.column_name(name) for name in table.header]
    folders, found = folders_of(manifest), []
    for row in table.cells:
        said = dict(zip(reversed(columns), reversed(row), strict=True))  # of a column that is there twice, the first
        name = said.get("path") or said.get("file")
        if name and "\0" not in name:
            path, inside = locate(folders, name)
            if os.path.isdir(path) or not path.name:
                continue
            if inside or said.get("sha256") or outside_allowed():
                found += [path, *sidecars_of(path)]
    return found
