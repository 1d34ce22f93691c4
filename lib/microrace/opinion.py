"""A second opinion on new micrographs: the machine's answer, how sure it is, what decided, and when a person should look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from micrographs import manifest as manifests
from micrographs.manifest import NONE_OF_THESE
from microrace.calibration import Calibration, calibrated
from microrace.network import features_of
from microrace.training import CropFeatures, Machine

ASK, SURE = "ask a person", "sure"
FLAGS = (ASK, NONE_OF_THESE, SURE)
# Rows of the map of what decided. The machine looks at a handful of crops, which is no finer than this.
MAP_ROWS = 24
# Beyond chance: a one-sided test at this level says that a batch differs from the training images.
LEVEL = 0.01


@dataclass
class Opinion:
    """What the machine says of one image.

    Attributes
    ----------
    answer : str
        A class, or "none of these".
    best, second : str
        The two most probable classes, whatever the answer is.
    probability, second_probability : float
        Calibrated.
    distance, unlikeness : float
        From the training images, in the machine's own units, and as the share of held-out training images that are less far.
    flag : str
        One of `FLAGS`.
    evidence : array (`MAP_ROWS`, columns)
        Of each place, the probability of ``best`` minus that of ``second`` by the crops that cover it, -1 to 1.
    neighbours : list of (int, float)
        Positions of the training images that lie nearest, with their cosine in the embedding.
    """

    answer: str
    best: str
    second: str
    probability: float
    second_probability: float
    distance: float
    unlikeness: float
    flag: str
    evidence: np.ndarray
    neighbours: list[tuple[int, float]]


def evidence_map(places, lead, shape) -> np.ndarray:
    """Mean of a number of each crop over the crops that cover a place; each field of view counts for as much.

    Parameters
    ----------
    places : array (n, 3)
        Centre x, centre y and side of the crops in pixels.
    lead : array (n,)
    shape : (int, int)
        Height and width of the image in pixels.

    Returns
    -------
    array (`MAP_ROWS`, columns)
        In the image's proportions; 0 where no crop lies.
    """
    height, width = shape
    columns = max(1, round(MAP_ROWS * width / height))
    y, x = ((np.arange(n) + 0.5) * length / n - 0.5 for n, length in ((MAP_ROWS, height), (columns, width)))
    total, weight = np.zeros((MAP_ROWS, columns)), np.zeros((MAP_ROWS, columns))
    for (cx, cy, side), value in zip(places, lead, strict=True):
        share = 1 / (places[:, 2] == side).sum()
        inside = (np.abs(y - cy) <= side / 2)[:, None] & (np.abs(x - cx) <= side / 2)
        total += inside * share * value
        weight += inside * share
    return np.divide(total, weight, out=total, where=weight > 0)


class SecondOpinion:
    """Answers with their reasons, from one machine and its training images.

    Parameters
    ----------
    machine : Machine
    training : DataFrame
        The manifest's training rows.
    calibration : Calibration
        From the same machine's held-out training images.
    """

    def __init__(self, machine: Machine, training: pd.DataFrame, calibration: Calibration):
        self.machine, self.training, self.calibration = machine, training.reset_index(drop=True), calibration
        self.store = machine.store()
        features = self.store.features(self.training)
        self._points = self._embedded(features)
        self._first_crop = np.searchsorted(features.image_index, np.arange(len(self.training)))

    @classmethod
    def of_run(cls, run_dir, device: str = "auto", ask_share: float = 0.2) -> SecondOpinion:
        """From the files of a finished study: ``weights.pt``, ``manifest.csv`` and ``held-out.csv``.

        Raises
        ------
        FileNotFoundError, ValueError
            If one is missing or is not what a study wrote, with what to do.
        """
        run_dir = Path(run_dir)
        machine = Machine.load(run_dir / "weights.pt", device)
        if not (run_dir / "held-out.csv").is_file():
            raise FileNotFoundError(f"no held-out.csv in {run_dir}; run the study to the end of notebook 02 first")
        manifest = manifests.read_manifest(run_dir / "manifest.csv")
        held_out = pd.read_csv(run_dir / "held-out.csv", keep_default_na=False, dtype={"label": str})
        calibration = Calibration.of(held_out, machine.classes, ask_share)
        return cls(machine, manifest[manifest["split"] == "train"], calibration)

    @property
    def simulated(self) -> str:
        """What a page must say of the training images: "simulated training micrographs", or nothing."""
        rendered = self.training["source"].str.lower().str.startswith(manifests.SIMULATED).any()
        return "simulated training micrographs" if rendered else ""

    def facts(self) -> dict[str, str]:
        """What a page should say of the machine, name to text."""
        scales = self.training["pixels_per_um"]
        return {
            "Classes": ", ".join(self.machine.classes),
            "Trained on": f"{len(self.training)} micrographs of {self.training['split_group'].nunique()} specimens, "
            f"{scales.min():.3g} to {scales.max():.3g} px/µm",
            "Right on held-out training images": f"{self.calibration.accuracy:.0%}",
            "Temperature of the probabilities": f"{self.calibration.temperature:.2f}",
            "Asks a person below": f"{self.calibration.ask_below:.0%}",
        }

    def _embedded(self, features: CropFeatures) -> np.ndarray:
        """Points of crops in all heads' embeddings at once: their scalar product is the heads' mean cosine."""
        heads = self.machine.ensemble.heads
        return np.concatenate([head.points(features) for head, _ in heads], axis=1) / np.sqrt(len(heads))

    def _opinion(self, features: CropFeatures, row, n_neighbours: int) -> Opinion:
        machine, classes = self.machine, self.machine.classes
        of_crop = machine.ensemble.crop_probabilities(features)
        raw, distance = machine.ensemble.judge(features)
        answer = machine.answers(raw, distance)[0]
        probability = calibrated(raw, self.calibration.temperature)[0]
        best, second = np.argsort(-probability, kind="stable")[:2]
        sure = probability[best] >= self.calibration.ask_below
        cosine = self._embedded(features) @ self._points.T
        # How near a training image lies: to each crop its own nearest crop, on average.
        nearness = np.maximum.reduceat(cosine, self._first_crop, axis=1).mean(axis=0)
        nearest = np.argsort(-nearness, kind="stable")[:n_neighbours]
        shape = int(row["height"]), int(row["width"])
        places = machine.config.crop_positions(shape, float(row["pixels_per_um"]))
        return Opinion(
            answer=answer,
            best=classes[best],
            second=classes[second],
            probability=float(probability[best]),
            second_probability=float(probability[second]),
            distance=float(distance[0]),
            unlikeness=self.calibration.unlikeness(distance[0]),
            flag=NONE_OF_THESE if answer == NONE_OF_THESE else SURE if sure else ASK,
            evidence=evidence_map(places, of_crop[:, best] - of_crop[:, second], shape),
            neighbours=[(int(i), float(nearness[i])) for i in nearest],
        )

    def stream(self, rows: pd.DataFrame, n_neighbours: int = 3) -> Iterator[tuple[int, Opinion]]:
        """Opinions on the images of manifest rows, each with its position in ``rows``, as their features come."""
        for i, values, scales in self.store.stream(rows):
            features = CropFeatures(values, scales, np.zeros(len(values), dtype=int))
            yield i, self._opinion(features, rows.iloc[i], n_neighbours)

    def of(self, rows: pd.DataFrame, n_neighbours: int = 3) -> list[Opinion]:
        """Opinions on the images of manifest rows, in their order; no picture is kept, some kB an image are."""
        return [opinion for _, opinion in sorted(self.stream(rows, n_neighbours), key=lambda item: item[0])]

    def of_crop(self, crop: np.ndarray, pixels_per_um: float) -> tuple[str, np.ndarray]:
        """Answer and probabilities (n_classes,) of one crop (crop_px, crop_px), such as a student made.

        They are not calibrated: the temperature is that of means over an image's crops, which one crop is not.
        """
        values = features_of(self.store.backbone, crop[None].astype(np.float32), self.store.device)
        features = CropFeatures(values, np.log2([pixels_per_um]).astype(np.float32), np.zeros(1, dtype=int))
        raw, distance = self.machine.ensemble.judge(features)
        answer = self.machine.answers(raw, distance)[0]
        return answer, raw[0]


def drift(rows: pd.DataFrame, opinions: list[Opinion], asked: SecondOpinion) -> dict:
    """How unlike a batch is to the training images.

    Returns
    -------
    dict
        n_images; n_unlike and expected_unlike (share "none of these", here and among held-out training images); n_ask and
        expected_ask; n_below, n_above and the training images' lowest and highest scale (px/um); more_unlike: whether
        more images are unlike than the held-out share explains (one-sided binomial test at `LEVEL`, which takes images
        as independent).
    """
    n, calibration = len(opinions), asked.calibration
    n_unlike = sum(o.answer == NONE_OF_THESE for o in opinions)
    held_out_unlike = int((calibration.distances > asked.machine.threshold).sum())
    # One more than seen: with a hundred images a rate of 0 is never known to be 0.
    expected = (held_out_unlike + 1) / (len(calibration.distances) + 1)
    scales = asked.training["pixels_per_um"]
    low, high = float(scales.min()), float(scales.max())
    n_below, n_above = int((rows["pixels_per_um"] < low).sum()), int((rows["pixels_per_um"] > high).sum())
    unlikely = n > 0 and binomtest(n_unlike, n, expected, alternative="greater").pvalue < LEVEL
    return {
        "n_images": n,
        "n_unlike": n_unlike,
        "expected_unlike": held_out_unlike / len(calibration.distances),
        "n_ask": sum(o.flag == ASK for o in opinions),
        "expected_ask": calibration.ask_share,
        "n_below": n_below,
        "n_above": n_above,
        "lowest_pixels_per_um": low,
        "highest_pixels_per_um": high,
        "more_unlike": bool(unlikely),
    }


def drift_sentences(found: dict) -> list[str]:
    """What `drift` found, in words chosen by its numbers."""
    n = found["n_images"]
    unlike = (
        f"{found['n_unlike']} of {n} images ({found['n_unlike'] / n:.0%}) are unlike all training images; of training "
        f"images held out it was {found['expected_unlike']:.0%}."
    )
    if found["more_unlike"]:
        unlike += (
            " That is more than chance gives: a new microscope, preparation or structure is likely, and the probabilities "
            "below were not measured on such images."
        )
    else:
        unlike += " That is no more than chance gives."
    outside = found["n_below"] + found["n_above"]
    limits = f"{found['lowest_pixels_per_um']:.3g} to {found['highest_pixels_per_um']:.3g} px/µm"
    scales = (
        f"{outside} of {n} images lie outside the scales of the training images ({limits}): {found['n_below']} below, "
        f"{found['n_above']} above. There the machine has seen nothing."
        if outside
        else f"All scales lie within those of the training images ({limits})."
    )
    ask = (
        f"A person is asked about {found['n_ask']} more ({found['n_ask'] / n:.0%}), whose answer is less sure than a limit "
        f"that {found['expected_ask']:.0%} of the held-out training images fell below."
    )
    return [unlike, scales, ask]
