"""``predict``: a finished study answers new micrographs, as a table and as a page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from microrace.whole import written_whole

# Some files could not be read; all others are answered.
SOME_SKIPPED = 3
DESCRIPTION = """
Let a finished study name the structures in new micrographs.

--out is a CSV with one row an image: image (its name), answer (a class, or "none of these"), score (probability of the
answer, 0 to 1; for "none of these" 0.5 to 1, the farther from all training images the higher), then the probability of
each class in a column of its name. Scales are in pixels per um everywhere.

--report is one HTML page with pictures, for any browser and without a network.

Exit code: 0 all images answered; 3 some files could not be read or have no scale, which are named, and all others are
answered; 2 nothing answered, because the study, the options or every image is at fault.
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the options of ``predict``."""
    command.formatter_class, command.description = argparse.RawDescriptionHelpFormatter, DESCRIPTION
    command.add_argument("--run", required=True, type=Path, help="folder of the study, runs/NAME")
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--manifest", type=Path, help="table of images with their scale; labels are not needed")
    what.add_argument("--images", nargs="+", help="images without a table: files, folders, or 'folder/*.tif' in quotes")
    command.add_argument("--pixels-per-um", type=float, help="scale of all --images; else the files' own tags give it")
    command.add_argument("--out", type=Path, help="CSV to write")
    command.add_argument("--report", type=Path, help="page to write (HTML)")
    command.add_argument(
        "--ask-share", type=float, default=0.2,
        help="ask a person where the answer is less sure than for this share of held-out training images (default 0.2)",
    )  # fmt: skip
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


def predict(arguments: argparse.Namespace) -> int:
    """Answer, write what was asked for, and return the exit code.

    Raises
    ------
    ValueError, FileNotFoundError
        If nothing can be answered; the message says why and what to do.
    """
    if not (arguments.out or arguments.report):
        raise ValueError("give --out answers.csv, --report page.html, or both")
    if arguments.pixels_per_um is not None and not arguments.images:
        raise ValueError("--pixels-per-um goes with --images; in a manifest the column pixels_per_um says it")
    run_dir = arguments.run
    if not (run_dir / "weights.pt").is_file():
        raise FileNotFoundError(f"{run_dir}: no weights.pt there; a study that has been run is needed")
    from micrographs import batches
    from micrographs.scale import check_plausible
    from microrace import opinion_page as page
    from microrace.opinion import SecondOpinion, drift, drift_sentences
    from microrace.training import Machine

    # What is at fault with an option is told before a thousand images are read.
    if arguments.pixels_per_um is not None:
        check_plausible(arguments.pixels_per_um)
    files = batches.image_files(arguments.images) if arguments.images else []
    asked = None
    if arguments.report:
        asked = SecondOpinion.of_run(run_dir, arguments.device, arguments.ask_share)
    machine = asked.machine if asked else Machine.load(run_dir / "weights.pt", arguments.device)
    if files:
        rows, skipped = batches.read_images(files, arguments.pixels_per_um)
    else:
        rows, skipped = batches.read_batch(arguments.manifest)
    for name, reason in skipped:
        print(f"skipped {name}: {reason}", file=sys.stderr)
    opinions = asked.of(rows) if asked else None
    if arguments.out:
        answers = machine.scores(rows).drop(columns="outlier_score")
        with written_whole(arguments.out) as file:
            answers.to_csv(file, index=False)
        print(f"answers in {arguments.out}")
    if asked:
        page.write(
            arguments.report, rows, opinions, asked.training, classes=machine.classes, skipped=skipped,
            sentences=drift_sentences(drift(rows, opinions, asked)), facts={"Study": run_dir.resolve().name} | asked.facts(),
            simulated=asked.simulated,
        )  # fmt: skip
        print(f"page in {arguments.report}")
    if skipped:
        print(f"{len(rows)} images answered, {len(skipped)} skipped", file=sys.stderr)
    return SOME_SKIPPED if skipped else 0
