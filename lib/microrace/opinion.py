"""A second opinion on new micrographs: the machine's answer, how sure it is, what decided, and when a person should look.

``python -m microrace.opinion --run runs/quiz1 --images folder --report page.html --out answers.csv`` asks a finished study.

--out is a CSV with one row an image: image (its name), answer (a class, or "none of these"), probability (of the answer,
calibrated; "none of these" has none), flag ("sure", "ask a person" or "none of these"), unlike (share of held-out training
images that are less unlike the others), then the calibrated probability of each class in a column of its name.

--report is one HTML page with the same answers and pictures, for any browser and without a network.

Exit code: 0 all images answered; 3 some files could not be read or have no scale, which are named, and all others are
answered; 2 nothing answered, because the study, the options or every image is at fault.
"""

from __future__ import annotations

import argparse
import base64
import io
import itertools
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import jinja2
import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import binomtest

import micrographs as mg
from micrographs.tags import sidecars_of
from microrace.evaluation import Calibration, calibrated
from microrace.figures import length_label, scale_bar_um
from microrace.training import CropFeatures, Machine
from microrace.whole import written_whole
from readerstudy.pages import render_page

ASK, SURE, HERE = "ask a person", "sure", Path(__file__).parent
# Rows of the map of what decided. The machine looks at a handful of crops, which is no finer than this.
MAP_ROWS = 24
# For and against the answer, as in the figures; between them the picture shows through.
FOR, AGAINST = (213, 94, 0), (0, 114, 178)
PICTURE_PX, TRAINING_PX = 360, 200  # longest sides on the page


@dataclass
class Explanation:
    """Why the machine answered as it did for one image.

    Attributes
    ----------
    answer, runner_up : str
        The two classes that the machine finds most probable.
    evidence : array (`MAP_ROWS`, columns)
        Of each place, the probability of the answer minus that of the runner-up, averaged over the crops that cover it,
        each field of view counting alike: -1 to 1, and NaN where no crop lies.
    pairs : list of dict
        The nearest training images: ``training_image`` (position in the training rows), ``cosine`` (of each crop to that
        image's nearest, on average), and the two crops that are most alike: ``place`` and ``training_place`` (centre x,
        centre y, side in pixels).
    """

    answer: str
    runner_up: str
    evidence: np.ndarray
    pairs: list[dict]


def evidence_map(places, lead, shape) -> np.ndarray:
    """Mean of a number of each crop, lead (n,), over the crops that cover a place; see `Explanation`.

    Parameters
    ----------
    places : array (n, 3)
        Centre x, centre y and side of the crops in pixels.
    lead : array (n,)
    shape : (int, int)
        Height and width of the image in pixels.
    """
    height, width = shape
    columns = max(1, round(MAP_ROWS * width / height))
    y, x = ((np.arange(n) + 0.5) * length / n - 0.5 for n, length in ((MAP_ROWS, height), (columns, width)))
    cx, cy, side = places.T[:, :, None, None]
    # One over the number of crops of the same field of view.
    share = 1 / (side == places[:, 2]).sum(axis=-1, keepdims=True)
    weight = share * (np.abs(y[:, None] - cy) <= side / 2) * (np.abs(x - cx) <= side / 2)
    total, covered = np.tensordot(lead, weight, 1), weight.sum(axis=0)
    return np.divide(total, covered, out=np.full_like(total, np.nan), where=covered > 0)


class SecondOpinion:
    """Answers with their reasons, from one machine, its training images, and its answers to them when held out.

    Parameters
    ----------
    machine : Machine
    training : DataFrame
        The manifest's training rows.
    held_out : DataFrame
        As `training.train` gives it.
    wanted : float
        Share of "sure" answers that shall be right.
    """

    def __init__(self, machine: Machine, training: pd.DataFrame, held_out: pd.DataFrame, wanted: float = 0.95):
        self.machine, self.training = machine, training.reset_index(drop=True)
        self.calibration = Calibration(held_out, machine.classes, wanted)
        self.scales = self.training["pixels_per_um"].min(), self.training["pixels_per_um"].max()

    @classmethod
    def of_run(cls, run_dir, wanted: float = 0.95) -> SecondOpinion:
        """From the files of a finished study: ``weights.pt``, ``manifest.csv`` and ``held-out.csv``.

        Raises
        ------
        FileNotFoundError, ValueError
            If one is missing or is not what a study wrote, with what to do.
        """
        run_dir = Path(run_dir)
        machine = Machine.load(run_dir / "weights.pt")
        if not (run_dir / "held-out.csv").is_file():
            raise FileNotFoundError(f"no held-out.csv in {run_dir}; run the study to the end of notebook 02 first")
        manifest = mg.read_manifest(run_dir / "manifest.csv")
        held_out = pd.read_csv(run_dir / "held-out.csv", keep_default_na=False, dtype={"label": str})
        return cls(machine, manifest[manifest["split"] == "train"], held_out, wanted)

    def answers(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Answer the images of manifest rows.

        Returns
        -------
        DataFrame
            image; answer (a class, or "none of these"); probability of the answer, calibrated ("none of these" has none);
            flag: "sure" from the `Calibration`'s limit on, "none of these", or "ask a person", also for images that are not
            typical or at scales outside those of the training images; unlike (share of held-out training images that are
            less unlike the others); and the calibrated probability of each class in a column of its name.
        """
        raw, outlier_score = self.machine.judge(rows)
        probability = calibrated(raw, self.calibration.temperature)
        answer = np.array(self.machine.answers(raw, outlier_score), dtype=object)
        none = answer == mg.NONE_OF_THESE
        sure = (probability.max(axis=1) >= self.calibration.limit) & (outlier_score <= self.calibration.typical)
        sure &= rows["pixels_per_um"].between(*self.scales).to_numpy()
        seen = self.calibration.outlier_scores
        table = {
            "image": rows["file"].to_numpy(),
            "answer": answer,
            "probability": np.where(none, np.nan, probability.max(axis=1)),
            "flag": np.where(none, mg.NONE_OF_THESE, np.where(sure, SURE, ASK)),
            "unlike": np.searchsorted(seen, outlier_score) / len(seen),
        }
        return pd.DataFrame(table).join(pd.DataFrame(probability, columns=self.machine.classes))

    def batch(self, rows: pd.DataFrame, answers: pd.DataFrame) -> dict:
        """How unlike a batch is to the training images.

        Returns
        -------
        dict
            n, n_none ("none of these"), expected (their share among held-out training images), p_value (one-sided binomial
            test, which takes images as independent), n_outside (beyond the training images' scales), lowest, highest.
        """
        n_none, seen = int((answers["flag"] == mg.NONE_OF_THESE).sum()), self.calibration.outlier_scores
        held_out = int((seen > self.machine.threshold).sum())
        # One more than seen: with a hundred images a rate of 0 is never known to be 0.
        p_value = binomtest(n_none, len(rows), (held_out + 1) / (len(seen) + 1), alternative="greater").pvalue
        found = {"n": len(rows), "n_none": n_none, "expected": held_out / len(seen), "p_value": p_value}
        n_outside = int((~rows["pixels_per_um"].between(*self.scales)).sum())
        return found | {"n_outside": n_outside, "lowest": self.scales[0], "highest": self.scales[1]}

    def _embedded(self, crops: CropFeatures) -> np.ndarray:
        """Points of crops in all heads' embeddings at once: their scalar product is the heads' mean cosine."""
        heads = self.machine.ensemble.heads
        return np.concatenate([head.points(crops) for head, _ in heads], axis=1) / np.sqrt(len(heads))

    def _places(self, row) -> np.ndarray:
        return self.machine.config.crop_positions((int(row["height"]), int(row["width"])), float(row["pixels_per_um"]))

    def explain(self, rows: pd.DataFrame, n_pairs: int = 3) -> list[Explanation]:
        """Explain the answers to the images of manifest rows, by the very crops that gave them."""
        store, classes, found = self.machine.store(), self.machine.classes, {}
        known = store.features(self.training)
        points, first = self._embedded(known), np.searchsorted(known.image_index, np.arange(len(self.training)))
        for i, values, scales in store.stream(rows):
            crops, row = CropFeatures(values, scales, np.zeros(len(values), dtype=int)), rows.iloc[i]
            probability, places, pairs = self.machine.ensemble.crop_probabilities(crops), self._places(row), []
            answer, runner_up = np.argsort(-crops.image_means(probability)[0], kind="stable")[:2]
            cosine = self._embedded(crops) @ points.T
            # How near a training image lies: to each crop its own nearest crop, on average.
            nearness = np.maximum.reduceat(cosine, first, axis=1).mean(axis=0)
            for image in np.argsort(-nearness, kind="stable")[:n_pairs]:
                theirs = self._places(self.training.iloc[image])
                part = cosine[:, first[image] : first[image] + len(theirs)]
                ours, other = np.unravel_index(part.argmax(), part.shape)
                pair = {"training_image": int(image), "cosine": float(nearness[image])}
                pairs.append(pair | {"place": places[ours], "training_place": theirs[other]})
            evidence = evidence_map(
                places, probability[:, answer] - probability[:, runner_up], (row["height"], row["width"])
            )
            found[i] = Explanation(classes[answer], classes[runner_up], evidence, pairs)
        return [found[i] for i in range(len(rows))]


def _uri(pixels: np.ndarray, **options) -> str:
    """A picture as a data URI in WebP, without metadata."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", method=2, **options)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def _picture(row, longest_px: int) -> dict:
    """What the page draws of an image: its picture, no side longer than so many pixels, and its scale bar."""
    image = mg.read_image(row["path"])
    factor, width_um = min(1.0, longest_px / max(image.shape)), image.shape[1] / row["pixels_per_um"]
    width, height = (max(1, round(side * factor)) for side in image.shape[::-1])
    pixels = cv2.resize(np.round(image * 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_AREA)
    bar_um = scale_bar_um(width_um)
    size = {"width": width, "height": height, "width_um": width_um, "bar": bar_um / width_um * width}
    return size | {"uri": _uri(pixels, quality=60), "label": length_label(bar_um)}


def evidence_picture(evidence: np.ndarray) -> np.ndarray:
    """The map of what decided as colours with opacity, (rows, columns, 4) of uint8: orange for the answer, blue against.

    Where all crops agree the map would be of one colour: opacity shows the differences inside the image.
    """
    least, most = max(np.nanmin(evidence), 0), max(np.nanmax(evidence), 0)
    lead = np.where(evidence > 0, (evidence - least) / max(most - least, 0.05), evidence)
    opacity = 130 * np.abs(np.nan_to_num(lead))[..., None]
    return np.concatenate([np.where(evidence[..., None] > 0, FOR, AGAINST), opacity], axis=-1).round().astype(np.uint8)


def translator(language: str = "en"):
    """A function that says a text of the page in a language: ``_(text, **values)``, numbers with two decimal places.

    The texts stand in the page in English; ``opinion.de.json`` has them in German, with the decimal mark, and a further
    language is one more such file.

    Raises
    ------
    ValueError
        If there is no such file.
    """
    files = {path.name.split(".")[1]: path for path in HERE.glob("opinion.*.json")}
    if language not in ("en", *files):
        raise ValueError(f"no page in the language {language!r}; take one of {', '.join(sorted(['en', *files]))}")
    words = json.loads(files[language].read_text(encoding="utf-8")) if language in files else {}

    def translated(text: str, **values) -> str:
        mark = words.get(".", ".")
        told = {name: f"{v:.2f}".replace(".", mark) if isinstance(v, float) else v for name, v in values.items()}
        return words.get(text, text).format(**told)

    return translated


ENGLISH = translator()


def sure_sentence(calibration: Calibration, _=ENGLISH) -> str:
    """What "sure" means for a machine, with the interval."""
    measured, (share, low, high) = "none was there", calibration.realised
    if calibration.sure.any():
        measured = (
            "of {n} held-out training images above the limit that other specimens set, {share} ({low} to {high}) were right"
        )
    measured = _(measured, n=calibration.sure.sum(), share=share, low=low, high=high)
    said = "No answer is called sure, as {wanted} right cannot be reached with these images: {measured}."
    if np.isfinite(calibration.limit):
        said = "Sure: a probability of {limit} or more, for {wanted} right; {measured}."
    return _(said, limit=calibration.limit, wanted=calibration.wanted, measured=measured)


def number(value: float) -> str:
    """Three significant digits, and no powers of ten below a million."""
    return f"{float(f'{value:.3g}'):g}"


def percent(share: float) -> str:
    """A share in whole per cent; what is nearly certain is not rounded to certain."""
    return "over 99 %" if share > 0.99 else "under 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def write_page(out, asked: SecondOpinion, rows, answers, skipped=(), study: str = "", _=ENGLISH) -> None:
    """Write the answers to the images of manifest rows as one page without server and network, whole or not at all.

    Parameters
    ----------
    out : path
    asked : SecondOpinion
    rows, answers : DataFrame
        Of the images, and what `SecondOpinion.answers` said of them.
    skipped : list of (file, reason)
        Images that could not be answered.
    study : str
        Name of the study.
    _ : callable
        Of `translator`.
    """
    found, training = asked.explain(rows), asked.training.to_dict("records")
    entries = []
    for row, said, why in zip(rows.to_dict("records"), answers.to_dict("records"), found, strict=True):
        drawn = {"picture": _picture(row, PICTURE_PX), "map": _uri(evidence_picture(why.evidence), lossless=True)}
        lead = np.nanmin(why.evidence), np.nanmax(why.evidence)
        entries.append({"row": row, "said": said, "why": why, "lead": lead, **drawn})
    shown = sorted({pair["training_image"] for why in found for pair in why.pairs})
    about = {"classes": asked.machine.classes, "calibration": asked.calibration, "batch": asked.batch(rows, answers)}
    about |= {"study": study, "skipped": skipped, "credit": mg.attribution(asked.training), "ASK": ASK, "SURE": SURE}
    about |= {"training": training, "pictures": {i: _picture(training[i], TRAINING_PX) for i in shown}, "entries": entries}
    about |= {"_": _, "sure_sentence": sure_sentence(asked.calibration, _), "percent": lambda share: _(percent(share))}
    about |= {"number": lambda value: number(value).replace(".", _(".")), "NONE": mg.NONE_OF_THESE}
    page = render_page(HERE / "opinion.html.j2", [], simulated=_simulated(asked.training), **about)
    with written_whole(out) as file:
        file.write_text(page, encoding="utf-8", newline="\n")


def model_card(asked: SecondOpinion, manifest: pd.DataFrame, parts: pd.DataFrame, measured: dict[str, str]) -> str:
    """What the machine is, on what it was measured, and where it must not be believed, as Markdown.

    Parameters
    ----------
    asked : SecondOpinion
    manifest : DataFrame
        Of the study.
    parts : DataFrame
        Of `evaluation.parts_table`.
    measured : dict
        Measure to its value with interval, in words.
    """
    classes = parts[parts["by"] == "class"].to_dict("records")
    low, high = "lowest_pixels_per_um", "highest_pixels_per_um"
    apart = [
        (a["part"], b["part"]) for a, b in itertools.combinations(classes, 2) if max(a[low], b[low]) > min(a[high], b[high])
    ]
    loader = jinja2.FileSystemLoader(HERE)
    template = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True).get_template("model-card.md.j2")
    return template.render(asked=asked, manifest=manifest, classes=classes, apart=apart, parts=parts.to_dict("records"),
                           measured=measured, credit=mg.attribution(asked.training), number=number,
                           simulated=_simulated(asked.training))  # fmt: skip


def _simulated(rows: pd.DataFrame) -> bool:
    return bool(rows["source"].str.lower().str.startswith(mg.SIMULATED).any())


def main(arguments: list[str] | None = None) -> int:
    """Answer new images: see ``python -m microrace.opinion --help``."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m microrace.opinion", description=__doc__, formatter_class=raw)
    parser.add_argument("--run", required=True, type=Path, help="folder of the study, runs/NAME")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--images", nargs="+", help="files, folders, or 'folder/*.tif' in quotes")
    what.add_argument("--manifest", type=Path, help="table of images with their scale; labels are not needed")
    parser.add_argument("--pixels-per-um", type=float, help="scale of all --images; else the files' own tags give it")
    parser.add_argument("--out", type=Path, help="table to write (CSV)")
    parser.add_argument("--report", type=Path, help="page to write (HTML)")
    parser.add_argument("--wanted", type=float, default=0.95, help="share of sure answers that shall be right")
    parser.add_argument("--language", default="en", help="of the page: en or de")
    given = parser.parse_args(arguments)
    try:
        if not (given.out or given.report):
            raise ValueError("give --out answers.csv, --report page.html, or both")
        if given.pixels_per_um is not None and given.manifest:
            raise ValueError("--pixels-per-um goes with --images; in a manifest the column pixels_per_um says it")
        # What is wrong with the study is told before a thousand images are read.
        asked, words = SecondOpinion.of_run(given.run, given.wanted), translator(given.language)
        source = given.manifest or mg.image_files(given.images)
        rows, skipped = mg.read_images(source, given.pixels_per_um)
        # In either way a person said it.
        rows, answers = rows.replace({"scale_source": {"manifest": "as given"}}), asked.answers(rows)
        if given.out:
            with written_whole(given.out) as file:
                answers.to_csv(file, index=False)
        if given.report:
            write_page(given.report, asked, rows, answers, skipped, given.run.resolve().name, words)
    except (ValueError, OSError) as error:
        print(f"predict: {error}", file=sys.stderr)
        return 2
    # Of folders, what is neither an image, nor an image's sidecar, nor written here.
    beside = {f for name in given.images or () for f in Path(os.path.abspath(name)).glob("[!.]*") if f.is_file()}
    beside -= {file for image in source for file in (image, *sidecars_of(image))} if beside else set()
    beside -= {Path(os.path.abspath(file)) for file in (given.out, given.report) if file}
    told = [*skipped, *((file.name, "its name is no image's, so it is left out") for file in sorted(beside))]
    for reason, files in pd.DataFrame(told, columns=["file", "reason"]).groupby("reason", sort=False)["file"]:
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        print(f"skipped {', '.join(files[:3])}{more}: {reason}", file=sys.stderr)
    print(f"{len(rows)} images answered, {len(skipped)} skipped; see", *filter(None, (given.out, given.report)))
    return 3 if skipped else 0


if __name__ == "__main__":
    sys.exit(main())
