"""Bad manifests, images, scales and tags in one table: what each is told, and on which line."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openpyxl
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from micrographs import files
from micrographs.manifest import ManifestError, read_manifest

HEADER = ["file", "label", "split", "pixels_per_um", "specimen", "note"]


def picture(seed, height=80, width=90):
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder of twelve sound images."""
    folder = tmp_path_factory.mktemp("sound")
    for k in range(12):
        Image.fromarray(picture(k)).save(folder / f"{k}.png")
    return folder


def rows():
    """The cells of a sound manifest: line 2 is image 0, line 10 the first of the quiz."""
    return [
        [f"{k}.png", ("ferrite", "pearlite")[k % 2], "train" if k < 8 else "quiz", "2.5", f"s{k}", ""] for k in range(12)
    ]


class Bad(NamedTuple):
    """A change to the sound manifest, and the line, column and words of the one fault that it is told."""

    line: int
    column: str
    words: str
    change: object  # of (folder, header, rows): changes them, or returns the manifest's text or path


def cell(line, column, value, words, at=None):
    def change(folder, header, rows):
        rows[line - 2][header.index(column)] = value

    return Bad(line, at or column, words, change)


def cells(column, values, line, words, at=None):
    """Several cells of one column, by their lines."""

    def change(folder, header, rows):
        if column not in header:
            header.append(column)
            for row in rows:
                row.append("")
        for k, value in values.items():
            rows[k - 2][header.index(column)] = value

    return Bad(line, at or column, words, change)


def head(old, new, line, column, words):
    def change(folder, header, rows):
        header[header.index(old)] = new

    return Bad(line, column, words, change)


def text(edit, line, words, column="table"):
    """The manifest's text, changed."""

    def change(folder, header, rows):
        return edit("\n".join(",".join(row) for row in [header, *rows]) + "\n")

    return Bad(line, column, words, change)


def image(write, words, name="bad.png", line=5):
    """Another file in the place of image 3, line 5."""

    def change(folder, header, rows):
        write(folder / name)
        rows[line - 2][0] = name

    return Bad(line, "file", words, change)


def tags(words, name="bad.tif", **options):
    """A TIFF with these tags on line 5, and no scale in the manifest."""

    def change(folder, header, rows):
        tifffile.imwrite(folder / name, picture(50), metadata=None, **options)
        rows[3][0], rows[3][3] = name, ""

    return Bad(5, "pixels_per_um", words, change)


def dpi(value, unit=2):
    return {"resolution": (value, value), "resolutionunit": unit}


def private(code, content):
    return {"extratags": [(code, 2, 0, content, True)]}


def excel(folder, header, rows):
    book = openpyxl.Workbook()
    rows[3][3] = "-1"
    for row in [[], header, *rows]:
        book.active.append(row)
    book.save(folder / "m.xlsx")
    return folder / "m.xlsx"


def two_sheets(folder, header, rows):
    book = openpyxl.Workbook()
    for name in ("one", "two"):
        sheet = book.create_sheet(name)
        for row in [header, *rows]:
            sheet.append(row)
    book.save(folder / "m.xlsx")
    return folder / "m.xlsx"


def pearlite_as(name, others):
    """Another name for pearlite, and others on some lines."""
    return dict.fromkeys(range(3, 14, 2), name) | others


def written(array, **options):
    return lambda path: tifffile.imwrite(path, array, **options)


def saved(**options):
    return lambda path: Image.fromarray(picture(0)).save(path, **options)


def truncated(path):
    Image.fromarray(picture(50)).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def outside(folder, header, rows):
    shutil.copy(folder / "3.png", folder.parent / "out.png")
    rows[3][0] = "../out.png"


def sidecar(folder, header, rows):
    (folder / "3.txt").write_text("[SemImageFile]\nDataSize=180x160\nPixelSize=20\n")
    rows[3][3] = ""


FIVE = np.stack([picture(k) for k in range(5)])
ZEISS_ZERO = b"0\nAP_PIXEL_SIZE\nPixel Size = 0.0 nm\n"
FEI = b"[Scan]\r\nPixelWidth=2e-08\r\nPixelHeight=%s\r\n[Image]\r\nResolutionX=%d\r\n"

BAD = {
    # The table's form.
    "a quote never closed": text(lambda t: t.replace("s3,", 's3,"2 inch bar'), 5, "never closed"),
    "a quote closed rows later": text(lambda t: t.replace("s3,", 's3,"2').replace("s5,", 's5,x"'), 5, "runs on to line 7"),
    "two open quotes": text(lambda t: t.replace("s3,", 's3,"2 in').replace("s5,", 's5,"2 in'), 5, "not closed before"),
    "a comma in a cell": text(lambda t: t.replace("s3,", "s3,etched, dry"), 5, "7 values under 6 columns"),
    "a cell of 140 kB": text(lambda t: t.replace("s3,", "s3," + "x" * 140_000), 5, "131,072 characters"),
    "NUL characters": text(lambda t: t.replace("s3,", "s3,\0"), 5, "NUL"),
    "a column twice": head("note", "label", 1, "label", "there twice"),
    "a column twice in another case": head("note", "Label", 1, "Label", "there twice, once as 'label'"),
    "a header alone": text(lambda t: t.split("\n")[0], 0, "no rows"),
    "no bytes": text(lambda t: "", 0, "is empty"),
    "commas alone": text(lambda t: ",,,\n,,,\n", 0, "is empty"),
    "no text": Bad(0, "table", "not a table of text", lambda folder, header, rows: folder / "0.png"),
    "a folder": Bad(0, "table", "is a folder", lambda folder, header, rows: folder),
    "no file": Bad(0, "table", "no such file", lambda folder, header, rows: folder / "absent.csv"),
    "a name too long": Bad(0, "table", "give the path", lambda folder, header, rows: folder / ("n" * 300)),
    "a pointer of Git LFS": text(lambda t: "version https://git-lfs.github.com/spec/v1\noid sha256:00\n", 0, "git lfs pull"),
    "a workbook with two tables": Bad(0, "table", "2 sheets", two_sheets),
    "a fault in a workbook, after a blank row": Bad(6, "pixels_per_um", "positive", excel),
    # Columns.
    "no label": head("label", "kind", 1, "label", "the column is missing"),
    "labels": head("label", "labels", 1, "label", "rename 'labels'"),
    "no scale": head("pixels_per_um", "magnification", 1, "pixels_per_um", "own tags give the scale"),
    "no label, below a blank line": text(lambda t: "\n" + t.replace("label", "kind", 1), 2, "column is missing", "label"),
    "specimens": head("specimen", "specimens", 1, "specimen", "rename it to 'specimen'"),
    "sources": head("note", "sources", 1, "source", "rename it to 'source'"),
    "sample and sample_id": Bad(1, "specimen", "may both be meant", lambda folder, header, rows: header.__setitem__(
        slice(4, 6), ["sample", "Sample ID"])),
    # Cells.
    "no file named": cell(5, "file", "", "give the path"),
    "a file named twice": cell(5, "file", "0.png", "list each image once"),
    "a file that is not there": cell(5, "file", "absent.png", "no such file"),
    "a file as Windows names it": cell(5, "file", "sub\\3.png", "with / between folders"),
    "a name of 5000 letters": cell(5, "file", "n" * 5000, "no such file"),
    "a folder for a file": cell(5, "file", ".", "no such file"),
    "outside the folder": Bad(5, "file", "outside the manifest's folder", outside),
    "an absolute path": cell(5, "file", "/etc/hostname", "outside the manifest's folder"),
    "no class": cell(5, "label", "", "give the class"),
    "a reserved class": cell(5, "label", "No  Answer", "reserved word"),
    "a class in another case": cell(5, "label", "Pearlite", "written 'pearlite' elsewhere"),
    "a zero-width space": cell(5, "label", "pearl\u200bite", "written 'pearlite' elsewhere"),
    "a letter left out, in the quiz": cell(11, "label", "pearlte", "differs by a letter from 'pearlite'"),
    "two letters swapped, in the quiz": cell(11, "label", "paerlite", "differs by a letter from 'pearlite'"),
    "a hyphen of another kind": cells("label", pearlite_as("as-cast", {7: "as\u2011cast"}), 7, "elsewhere"),
    "a space for a hyphen": cells("label", pearlite_as("as-cast", {11: "as cast"}), 11, "differs by"),
    "none of these to learn": cell(5, "label", "None of  These", "quiz only"),
    "another split": cell(5, "split", "test", "write train or quiz"),
    "a negative scale": cell(5, "pixels_per_um", "-2.5", "positive"),
    "an infinite scale": cell(5, "pixels_per_um", "inf", "positive"),
    "a decimal comma": Bad(5, "pixels_per_um", "decimal point", lambda folder, header, rows: "\n".join(
        ";".join(row) for row in [header, *rows]).replace("3.png;pearlite;train;2.5", "3.png;pearlite;train;2,5")),
    "an underscore": cell(5, "pixels_per_um", "2_5", "not a number"),
    "digits of another script": cell(5, "pixels_per_um", "\uff12.\uff15", "not a number"),
    "a print resolution": cell(5, "pixels_per_um", str(300 / 25400), "300 dpi"),
    "no atom is so small": cell(5, "pixels_per_um", "1e7", "outside"),
    "a wrong hash": cells("sha256", {5: "0" * 64}, 5, "has the hash"),
    **{
        f"specimen {a!r} and {b!r}": cells("specimen", {3: a, 11: b}, 11, "of this group is in train too", "split_group")
        for a, b in (("A1", "a1"), ("Probe 1", "Probe\u00a01"), ("Stück", "Stu\u0308ck"), ("007", "7"), ("A-1", "A\u20131"),
                     ("a  b", "a b"), ("b\u200b", "b"), ("P07", "P7"), ("7.0", "7"), ("same", "same"))
    },
    # Images.
    "a truncated image": image(truncated, "cannot be read as an image"),
    "no image": image(lambda path: path.write_text("no picture"), "no known format"),
    "an image of one grey value": image(lambda path: Image.new("L", (90, 90), 7).save(path), "is empty"),
    "too small": image(lambda path: Image.fromarray(picture(50, 63, 90)).save(path), "90 x 63 px"),
    "too large": image(lambda path: Image.new("1", (10_001, 10_000)).save(path), "(10001 x 10000 px); at most 100"),
    "a stack": image(written(FIVE, photometric="minisblack"), "stack of shape (5, 80, 90)"),
    "five channels": image(written(FIVE, photometric="minisblack", planarconfig="separate"), "5 channels"),
    "numbers that are none": image(written(np.full((80, 90), np.nan, np.float32)), "not numbers"),
    "an image of Git LFS": image(lambda path: path.write_text("version https://git-lfs.github.com/spec\n"), "git lfs pull"),
    "the same picture in train": image(saved(compress_level=0), "same picture as line 2"),
    "the same picture in the quiz": image(written(picture(0)), "one is in train, one in quiz", "a.tif", 10),
    "nearly the same picture in the quiz": image(saved(quality=70), "nearly the same as '0.png' (line 2", "a.jpg", 10),
    # Scales in files.
    "no tag": tags("no tag of bad.tif"),
    "28 per cm": tags("71.12 dpi", **dpi(28, 3)),
    **{f"{value} dpi": tags("resolution of a print", **dpi(value)) for value in (64, 93, 125, 146.12, 270.93, 314, 4800)},
    "pixels not square": tags("resample to square pixels", resolution=(50_000, 40_000), resolutionunit=3),
    "Zeiss of 0 nm": tags("AP_PIXEL_SIZE is '0.0', not a size", **private(34118, ZEISS_ZERO)),
    "an empty FEI block": tags("FEI metadata hold no size", **dpi(64), **private(34682, b"[Scan]\r\n")),
    "FEI, halved": tags("180 px wide, and this one has 90", **private(34682, FEI % (b"2e-08", 180))),
    "FEI, not square": tags("resample to square pixels", **private(34682, FEI % (b"3e-08", 90))),
    "Tescan, unreadable": tags("Tescan metadata hold no size", **dpi(64), **private(50431, b"[MAIN]\r\n")),
    "JEOL's XML": tags("JEOL metadata", **dpi(50_000, 3), description="<JEOL><Mag>5</Mag></JEOL>"),
    "OME of 0": tags("PhysicalSizeX is '0'", description='<OME><Pixels PhysicalSizeX="0" PhysicalSizeY="0"/></OME>'),
    "ImageJ in 1": tags("'1' is no unit of length", **dpi(7.5, 1), description="ImageJ=1.53t\nunit=1\n"),
    "ImageJ in inches": tags("the resolution of a print", **dpi(300, 1), description="ImageJ=1.53t\nunit=inch\n"),
    "a sidecar of another image": Bad(5, "pixels_per_um", "3.txt beside it: Hitachi metadata is of an image 180", sidecar),
    "a PNG without a scale": cell(5, "pixels_per_um", "", "no sidecar of a microscope beside it"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_input_is_told_with_its_line_and_a_remedy(sound, tmp_path, kind):
    bad, folder = BAD[kind], tmp_path / "data"
    shutil.copytree(sound, folder)
    header, table = list(HEADER), rows()
    made = bad.change(folder, header, table)
    path = made if isinstance(made, Path) else folder / "m.csv"
    if isinstance(made, str):
        path.write_text(made)
    elif made is None:
        pd.DataFrame(table, columns=header).to_csv(path, index=False)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    found = caught.value.faults
    told = found["remedy"][(found["row"] == bad.line) & (found["column"] == bad.column)]
    assert any(bad.words in remedy for remedy in told), str(caught.value)
    # Nothing else is wrong.
    assert len(found) == 1, str(caught.value)
    assert path.name in str(caught.value) and len(str(caught.value)) < 3000


def test_the_sound_manifest_is_sound(sound):
    pd.DataFrame(rows(), columns=HEADER).to_csv(sound / "m.csv", index=False)
    manifest = read_manifest(sound / "m.csv")
    assert len(manifest) == 12 and manifest.attrs["notes"] == []
    assert len(BAD) > 80


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_manifest_raises_anything_but_its_faults(sound, data):
    content = bytearray("\n".join(",".join(row) for row in [HEADER, *rows()]).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        odd = st.sampled_from([b'"', b",", b"\n", b"\0", b"\xe2\x80\x8b", b";", b"../"])
        new = data.draw(st.one_of(st.binary(max_size=3), odd))
        content[at : at + data.draw(st.integers(0, 3))] = new
    path = sound / "fuzzed.csv"
    path.write_bytes(content)
    files.files_of(path)
    try:
        assert len(read_manifest(path)) > 0
    except ManifestError as error:
        assert len(error.faults) and error.faults["remedy"].str.len().min() > 5
