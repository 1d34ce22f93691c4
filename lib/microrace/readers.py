"""What a study gives to `readerstudy`: the cases of its quiz, and pictures and a comparison for its page.

``python -m microrace.readers --run runs/quiz1 --out quiz.html`` writes the quiz page.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

import micrographs as mg
import readerstudy as rs
from microrace.whole import written_whole
from readerstudy import quiz


def cases_of(manifest: pd.DataFrame) -> pd.DataFrame:
    """The cases of a manifest's quiz, as `readerstudy.sheets` takes them: by file, truth, specimen and image_id.

    The specimen is the manifest's ``split_group``, whose images are not independent.
    """
    name, rows = mg.quiz_id(manifest), manifest[manifest["split"] == "quiz"]
    ids = [rs.opaque_image_id(name, sha256) for sha256 in rows["sha256"]]
    cases = mg.truth(manifest).to_frame().assign(specimen=rows["split_group"].to_numpy(), image_id=ids)
    cases.attrs = {"quiz_id": name, "options": [*mg.classes(manifest), rs.NONE_OF_THESE]}
    return cases


def pictures(rows: pd.DataFrame) -> Iterator[tuple[str, quiz.Picture]]:
    """The images of some rows of a manifest, by file, read one by one."""
    for row in rows.itertuples():
        yield row.file, quiz.Picture(mg.read_image(row.path), row.pixels_per_um, row.source.lower().startswith(mg.SIMULATED))


def reference_rows(manifest: pd.DataFrame, label: str, n: int) -> pd.DataFrame:
    """At most ``n`` training images of a class, of different specimens if possible, spread over the magnifications."""
    rows = manifest[(manifest["split"] == "train") & (manifest["label"] == label)]
    distinct = rows.drop_duplicates("split_group")
    rows = (distinct if len(distinct) >= n else rows).sort_values(["pixels_per_um", "file"])
    return rows if len(rows) <= n else rows.iloc[((np.arange(n) + 0.5) * len(rows) / n).astype(int)]


def comparison_rows(run: Path, cases: pd.DataFrame) -> list[dict]:
    """Whom the result screen of `readerstudy.quiz.build` sets beside the participant; never a simulated panel.

    The machine's accuracy comes from ``answers.csv`` of the run, people's and other machines' from ``readers.csv``.

    Raises
    ------
    SheetError
        When the run is of another quiz, or has no answers.
    """
    answers = rs.read_machine_sheet(run / "answers.csv", cases).set_index("image")["answer"].reindex(cases.index)
    share = rs.share_interval((answers == cases["truth"]).to_numpy(float), cases["specimen"].to_numpy())
    rows, people = [("machine", "", *map(float, share))], []
    if (run / "readers.csv").is_file():
        readers = pd.read_csv(run / "readers.csv", keep_default_na=False, na_values=[""])
        people = readers.loc[readers["kind"] == "human", "accuracy"].tolist()
        who = {"machine": "other machine"} | ({"panel mean": "panel", "majority vote": "vote"} if people else {})
        others = readers[readers["kind"].isin(who) & (readers["decision_maker"] != "machine")].replace({"kind": who})
        columns = ["kind", "decision_maker", "accuracy", "accuracy_low", "accuracy_high"]
        rows += list(others[columns].itertuples(index=False))
    more = {"n": len(people), "readers": people}
    return [dict(zip(("who", "name", "accuracy", "low", "high"), row, strict=True)) | more for row in rows]


def main(arguments: list[str] | None = None) -> int:
    """Write the quiz page: see ``python -m microrace.readers --help``."""
    parser = argparse.ArgumentParser(prog="python -m microrace.readers", description="Write the quiz as one web page.")
    parser.add_argument("--run", type=Path, help="folder of a study: manifest, and answers for the result screen")
    parser.add_argument("--manifest", type=Path, help="manifest of the quiz; alone, the result screen compares with nobody")
    parser.add_argument("--out", type=Path, required=True, help="the page to write, e.g. quiz.html")
    parser.add_argument("--references", type=int, default=4, help="reference images a class")
    parser.add_argument("--title", default="", help="heading of the page")
    parser.add_argument("--contact", default="", help="to whom sheets are sent")
    parser.add_argument("--language", default="", help="en or de; default: the browser's")
    given = parser.parse_args(arguments)
    if not (given.run or given.manifest):
        parser.error("give --run, --manifest or both")
    try:
        manifest = mg.read_manifest(given.manifest or given.run / "manifest.csv")
        cases, comparison = cases_of(manifest), []
        try:
            comparison = comparison_rows(given.run, cases) if given.run else []
        except rs.SheetError as error:
            print(f"quiz: {error}\nThe result screen compares with nobody.", file=sys.stderr)
        chosen = {label: reference_rows(manifest, label, given.references) for label in mg.classes(manifest)}
        references = {label: [picture for _, picture in pictures(rows)] for label, rows in chosen.items()}
        said = {"title": given.title, "contact": given.contact, "language": given.language, "comparison": comparison}
        page = quiz.build(cases, pictures(manifest[manifest["split"] == "quiz"]), references, **said)
    except ValueError as error:
        print(f"quiz: {error}", file=sys.stderr)
        return 2
    with written_whole(given.out) as file:
        file.write_text(page, encoding="utf-8", newline="\n")
    print(f"{given.out}: {cases.attrs['quiz_id']}, images: {len(cases)}, {given.out.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
