"""Answer sheets of readers: read and check them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from microrace.images import manifests
from microrace.images.manifests import NO_ANSWER, NONE_OF_THESE

COLUMNS = ("quiz", "image", "decision_maker", "kind", "answer")
OPTIONAL = ("seconds", "confidence", "years_experience")
KINDS = ("human", "simulated human", "machine")


class SheetError(ValueError):
    """Answer sheets with faults; the message names each with file and row."""


def opaque_image_id(quiz: str, sha256: str) -> str:
    """Name of a quiz image on the page and in the sheets downloaded from it.

    Made from the image's content and not from its file's name, which is easily guessed and often tells the class.

    Parameters
    ----------
    quiz : str
        As `manifests.quiz_id` gives it.
    sha256 : str
        Of the image's file, as the manifest has it.

    Returns
    -------
    str
        ``image-`` and 16 hexadecimal digits.
    """
    return "image-" + hashlib.sha256(f"{quiz}\n{sha256}".encode()).hexdigest()[:16]


def validate(sheet: pd.DataFrame, manifest: pd.DataFrame, name: str = "sheet") -> list[str]:
    """Faults of an answer sheet as sentences; none when it is sound.

    Parameters
    ----------
    sheet : DataFrame
        As read, all text.
    manifest : DataFrame
        Of the quiz that was answered.
    name : str
        File name, for the messages.
    """
    if missing := [c for c in COLUMNS if c not in sheet]:
        return [
            f"{name}: the column{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing; add what is missing"
        ]
    quiz_images = set(manifests.truth(manifest).index)
    answers = [*manifests.classes(manifest), NONE_OF_THESE, NO_ANSWER]
    wanted = manifests.quiz_id(manifest)
    faults = []

    def fault(rows, column, remedy):
        for i in np.flatnonzero(rows):
            faults.append(f"{name}, line {i + 2}, {column}: {sheet[column].iloc[i]!r}: {remedy}")

    fault((sheet["quiz"] != wanted).to_numpy(), "quiz", f"the sheet is of another quiz; this one is {wanted}")
    fault((~sheet["image"].isin(quiz_images)).to_numpy(), "image", "no such image in this quiz")
    fault((~sheet["answer"].isin(answers)).to_numpy(), "answer", f"not an answer; take one of {', '.join(answers)}")
    fault((~sheet["kind"].isin(KINDS)).to_numpy(), "kind", f"take one of {', '.join(KINDS)}")
    fault((sheet["decision_maker"] == "").to_numpy(), "decision_maker", "give a pseudonym")
    fault(sheet.duplicated(["decision_maker", "image"]).to_numpy(), "image", "answered twice by the same reader")
    for column, low, high in (("seconds", 0, np.inf), ("confidence", 0, 1), ("years_experience", 0, 80)):
        if column in sheet:
            number = pd.to_numeric(sheet[column], errors="coerce")
            bad = (sheet[column] != "") & ~((number >= low) & (number <= high))
            fault(bad.to_numpy(), column, f"must be a number from {low:g} to {high:g}, or empty")
    for reader, rows in sheet.groupby("decision_maker"):
        if lacking := sorted(quiz_images - set(rows["image"])):
            faults.append(
                f"{name}: {reader!r} has no row for {len(lacking)} images, first {lacking[0]!r}; "
                f"write {NO_ANSWER!r} where nothing was answered"
            )
    return faults


def read_sheets(directory, manifest: pd.DataFrame) -> pd.DataFrame:
    """Read the answer sheets of a panel.

    Parameters
    ----------
    directory : path
        A folder of CSV files, or one file.
    manifest : DataFrame
        Of the quiz.

    Returns
    -------
    DataFrame
        quiz, image, decision_maker, kind, answer, seconds, confidence, years_experience (numbers, NaN unknown).

    Raises
    ------
    SheetError
        With all faults of all files at once.
    """
    directory = Path(directory)
    paths = sorted(directory.glob("*.csv")) if directory.is_dir() else [directory]
    if not paths or not all(p.is_file() for p in paths):
        raise SheetError(f"{directory}: no answer sheets (*.csv) there; put one CSV a reader into this folder")
    # Sheets downloaded from the quiz page name images by their content.
    quiz, wanted = manifest[manifest["split"] == "quiz"], manifests.quiz_id(manifest)
    names = {opaque_image_id(wanted, sha256): file for sha256, file in zip(quiz["sha256"], quiz["file"], strict=True)}
    sheets, faults, seen = [], [], {}
    for path in paths:
        try:
            # "NA" and "None" are answers like any other.
            sheet = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        except (ValueError, UnicodeDecodeError) as error:
            faults.append(f"{path.name}: not a CSV table ({error})")
            continue
        sheet = sheet.apply(lambda column: column.str.strip())
        if "image" in sheet:
            sheet["image"] = sheet["image"].replace(names)
        faults += validate(sheet, manifest, path.name)
        for reader in sheet["decision_maker"].unique() if "decision_maker" in sheet else ():
            if reader in seen:
                faults.append(f"{path.name}: {reader!r} is also in {seen[reader]}; a reader has one sheet")
            seen[reader] = path.name
        sheets.append(sheet)
    if faults:
        raise SheetError("\n".join([f"{len(faults)} faults in the answer sheets of {directory}:", *faults]))
    table = pd.concat(sheets, ignore_index=True)
    for column in OPTIONAL:
        table[column] = pd.to_numeric(table[column], errors="coerce") if column in table else np.nan
    return table[[*COLUMNS, *OPTIONAL]]
