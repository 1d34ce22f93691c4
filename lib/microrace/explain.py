"""Why the machine answered as it did: where in the image it came from, and which training crops it rests on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from micrographs.reading import read_image
from microrace.network import features_of
from microrace.scale import cut_crops
from microrace.training import CropFeatures, Machine


@dataclass
class Explanation:
    """Why the machine answered as it did for one image.

    Attributes
    ----------
    answer, runner_up : str
        The two classes that the machine finds most probable for the whole image.
    evidence : array (H, W)
        Of each place, the probability of the answer minus that of the runner-up, averaged over the crops that cover
        it, at all fields of view: from -1 to 1.
    pairs : list of dict
        The image's crops that lie nearest to a training crop, one pair a training image: ``place`` and
        ``training_place`` (centre x, centre y, side in pixels), ``training_image`` (position in the training rows),
        ``cosine``.
    """

    answer: str
    runner_up: str
    evidence: np.ndarray
    pairs: list[dict]


def _dense_places(shape, sides) -> np.ndarray:
    """Centre x, centre y and side of crops on a denser grid than the answer's: four to a crop's length, at most 12."""
    height, width = shape
    places = []
    for side in np.unique(sides):
        steps = [min(12, max(1, round(4 * (length - side) / side) + 1)) for length in (width, height)]
        x, y = (np.linspace(side / 2, length - side / 2, n) for length, n in zip((width, height), steps, strict=True))
        places += [(cx - 0.5, cy - 0.5, side) for cy in y for cx in x]
    return np.array(places)


class Explainer:
    """Explains the answers of one machine; the training crops are embedded once.

    Parameters
    ----------
    machine : Machine
    training_rows : DataFrame
        The manifest's training rows.
    """

    def __init__(self, machine: Machine, training_rows: pd.DataFrame):
        self.machine, self.rows = machine, training_rows
        self.store = machine.store()
        self.training = self.store.features(training_rows)
        self.points = machine.ensemble.heads[0][0].points(self.training)

    def _training_place(self, crop: int) -> np.ndarray:
        """Where a training crop lies in its image; crops of an image stand in the order of its places."""
        image = self.training.image_index[crop]
        row = self.rows.iloc[image]
        shape = (row["height"], row["width"])
        first = int(np.searchsorted(self.training.image_index, image))
        return self.machine.config.crop_positions(shape, row["pixels_per_um"])[crop - first]

    def explain(self, row, n_pairs: int = 3) -> Explanation:
        """Explain the answer to the image of a manifest's row.

        The machine's answer is a mean over crops. The map shows, crop by crop, what is averaged.

        Parameters
        ----------
        row : Series
            With ``path``, ``pixels_per_um``, ``sha256``, ``file``.
        n_pairs : int
            Training images to show.

        Returns
        -------
        Explanation
        """
        machine, config = self.machine, self.machine.config
        image, pixels_per_um = read_image(row["path"]), float(row["pixels_per_um"])
        places = _dense_places(image.shape, config.crop_positions(image.shape, pixels_per_um)[:, 2])
        crops, scales = cut_crops(image, pixels_per_um, places, config.crop_px)
        values = features_of(self.store.backbone, crops, self.store.device)
        features = CropFeatures(values, np.log2(scales).astype(np.float32), np.zeros(len(values), dtype=int))
        probability = machine.ensemble.crop_probabilities(features)
        cosine = machine.ensemble.heads[0][0].points(features) @ self.points.T
        pairs, shown = [], set()
        for i in np.argsort(cosine.max(axis=1))[::-1]:
            j = int(cosine[i].argmax())
            source = int(self.training.image_index[j])
            if source not in shown:
                shown.add(source)
                pairs.append({"place": places[i], "training_place": self._training_place(j),
                              "training_image": source, "cosine": float(cosine[i, j])})  # fmt: skip
            if len(pairs) == n_pairs:
                break
        # As the machine answers, from fewer crops: where two classes are close, the many of the map may lean the other way.
        answer, runner_up = np.argsort(machine.judge(pd.DataFrame([row]))[0][0])[::-1][:2]
        total, weight = np.zeros(image.shape), np.zeros(image.shape)
        for (x, y, side), p in zip(places, probability, strict=True):
            left, top = max(0, round(x + 0.5 - side / 2)), max(0, round(y + 0.5 - side / 2))
            window = (slice(top, top + round(side)), slice(left, left + round(side)))
            # Each field of view counts for as much, however many crops it takes to cover the image.
            share = 1 / (places[:, 2] == side).sum()
            total[window] += share * (p[answer] - p[runner_up])
            weight[window] += share
        evidence = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        return Explanation(machine.classes[answer], machine.classes[runner_up], evidence, pairs)


def interesting_images(scores: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """The quiz images worth explaining: the surest right, the least sure right and the surest wrong answer.

    Returns
    -------
    DataFrame
        Rows of ``scores`` with a column ``why``; those that there are.
    """
    right = scores["answer"].to_numpy() == truth.reindex(scores["image"]).to_numpy()
    ordered = scores.sort_values("confidence", ascending=False)
    rights, wrongs = ordered[right[ordered.index]], ordered[~right[ordered.index]]
    picks = [
        rights.head(1).assign(why="surest right"),
        rights.iloc[1:].tail(1).assign(why="least sure right"),
        wrongs.head(1).assign(why="surest wrong"),
    ]
    return pd.concat([p for p in picks if len(p)], ignore_index=True)
