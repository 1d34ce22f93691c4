"""What a trained machine is measured by, and how far its probabilities may be believed.

Calibration looks at ``held-out.csv`` alone: the probabilities that cross-validation gave to training images. Every share
has the interval of `readerstudy.share_interval`, which takes whole specimens as drawn.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from scipy import optimize, special, stats
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

import micrographs as mg
from microrace.training import CropFeatures, Ensemble, FeatureStore, TrainingConfig, TrainingResult, folds_of
from readerstudy import score_with_intervals, share_interval

# --- accuracy, and the controls beside it ----------------------------------------------------------------------------


def scale_alone(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Answers of a classifier that sees log(pixels per um) and nothing else: the control for confounding."""
    control = KNeighborsClassifier(min(5, len(train)))
    control.fit(np.log(train[["pixels_per_um"]].to_numpy()), train["label"])
    return control.predict(np.log(test[["pixels_per_um"]].to_numpy()))


def scale_probe(train: CropFeatures, test: CropFeatures) -> float:
    """How well the crops' log2 scale can be read off the backbone's features: R2 of a ridge regression.

    Fitted on the training images' crops, measured on the test images'. The scale that heads are given does not enter.
    Near 0, interpolation and sampling leave no trace; near 1, they give the scale away.
    """
    mean, std = train.values.mean(axis=0), train.values.std(axis=0) + 1e-6
    probe = Ridge(alpha=train.values.shape[1] / 10).fit((train.values - mean) / std, train.log2_pixels_per_um)
    return float(probe.score((test.values - mean) / std, test.log2_pixels_per_um))


def auroc_interval(is_none, outlier_score, groups) -> dict[str, float]:
    """AUROC of the outlier score for "none of these" (n,) of bool, with its 95 % interval.

    Newcombe's method 5 (Statistics in Medicine 25, 2006), which holds near 1 and for a handful of images, with Kish's
    effective numbers of specimens in place of the numbers of images of either side.

    Returns
    -------
    dict
        value, low, high.
    """
    is_none, groups = np.asarray(is_none, dtype=bool), np.asarray(groups)
    value = float(roc_auc_score(is_none, outlier_score))
    counts = (np.unique(groups[side], return_counts=True)[1] for side in (is_none, ~is_none))
    m, n = (c.sum() ** 2 / (c @ c) for c in counts)

    def outside(theta):
        spread = 1 + ((m + n) / 2 - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (theta - value) ** 2 - stats.norm.ppf(0.975) ** 2 * theta * (1 - theta) * spread / (m * n)

    inside = np.clip(value, 1e-6, 1 - 1e-6)
    return {"value": value, "low": optimize.brentq(outside, 0, inside), "high": optimize.brentq(outside, inside, 1)}


def evaluate(manifest: pd.DataFrame, result: TrainingResult) -> tuple[dict, pd.DataFrame | None]:
    """Open the quiz once: the metrics of a trained machine and its scores on the quiz images.

    Returns
    -------
    dict
        Quiz accuracy and balanced accuracy with intervals, ``heads`` (lowest and highest quiz accuracy of single heads,
        which differ in their seed alone), the scale-alone control, the scale probe, the cross-validated figures and those
        of the scale alone beside them, the threshold, and the AUROC of "none of these" with its interval; what a manifest
        without quiz rows cannot give is None, with the reason under ``skipped``.
    DataFrame or None
        As `Machine.scores`, with calibrated probabilities.
    """
    machine, held_out = result.machine, result.held_out
    train, quiz = (manifest[manifest["split"] == split].reset_index(drop=True) for split in ("train", "quiz"))
    control = np.empty(len(train), dtype=object)
    for train_index, valid_index in folds_of(train, machine.config):
        control[valid_index] = scale_alone(train.iloc[train_index], train.iloc[valid_index])
    metrics = dict.fromkeys("accuracy balanced_accuracy heads scale_alone scale_probe_r2 auroc_none".split()) | {
        "threshold": machine.threshold,
        "validation": score_with_intervals(held_out["label"], held_out["answer"], held_out["split_group"]),
        "validation_scale_alone": score_with_intervals(train["label"], control, train["split_group"]),
        "n_train": len(train),
        "n_quiz": len(quiz),
        "skipped": [],
    }
    if quiz.empty:
        metrics["skipped"].append("the manifest has no quiz rows: no quiz accuracy, controls or answer sheet")
        return metrics, None
    scores = machine.scores(quiz)
    probability = calibrated(scores[machine.classes], Calibration(held_out, machine.classes).temperature)
    scores[machine.classes] = probability
    scores["confidence"] = np.where(scores["confidence"].isna(), np.nan, probability.max(axis=1))
    truth, specimens = mg.truth(manifest).reindex(quiz["file"]).to_numpy(), quiz["split_group"].to_numpy()
    metrics |= score_with_intervals(truth, scores["answer"], specimens)
    metrics["scale_alone"] = score_with_intervals(truth, scale_alone(train, quiz), specimens)
    store, ensemble = machine.store(), machine.ensemble
    crops = store.features(quiz)
    metrics["scale_probe_r2"] = scale_probe(store.features(train), crops)
    single = [Ensemble([head], ensemble.outlier_score).judge(crops) for head in ensemble.heads]
    shares = [float(np.mean(np.array(machine.answers(*judged), dtype=object) == truth)) for judged in single]
    metrics["heads"] = {"n": len(shares), "lowest": min(shares), "highest": max(shares)}
    is_none = truth == mg.NONE_OF_THESE
    if is_none.any() and not is_none.all():
        metrics["auroc_none"] = auroc_interval(is_none, scores["outlier_score"], specimens)
        closed = np.array(machine.classes, dtype=object)[probability.argmax(axis=1)]
        metrics["known_classes"] = score_with_intervals(truth[~is_none], closed[~is_none], specimens[~is_none])
    else:
        metrics["skipped"].append("the quiz has no image of 'none of these': no AUROC")
    return metrics, scores


def parts_table(held_out: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Share right of held-out images by class, by modality and by octave of magnification.

    Returns
    -------
    DataFrame
        by, part, n_images, n_specimens, lowest_pixels_per_um, highest_pixels_per_um, right, right_low, right_high.
    """
    rows, table = held_out[["file", "label", "split_group", "correct"]], []
    rows = rows.merge(manifest[["file", "modality", "pixels_per_um"]])
    octave = 2.0 ** np.floor(np.log2(rows["pixels_per_um"]))
    for by, part in {"class": rows["label"], "modality": rows["modality"], "pixels per um from": octave}.items():
        for value, ours in rows.groupby(part):
            name, specimens = value if isinstance(value, str) else f"{value:g}", ours["split_group"]
            about = by, name, len(ours), specimens.nunique(), *ours["pixels_per_um"].agg(["min", "max"])
            table.append((*about, *share_interval(ours["correct"], specimens)))
    columns = "by part n_images n_specimens lowest_pixels_per_um highest_pixels_per_um right right_low right_high"
    return pd.DataFrame(table, columns=columns.split())


def left_out_classes(manifest: pd.DataFrame, config: TrainingConfig) -> pd.DataFrame:
    """How well the outlier score tells a class that was never shown from the known ones, without opening the quiz.

    Each class in turn is left out; a head is trained on each fold of the others, and the images of the class left out
    are told from the held-out images of the others by their outlier score.

    Returns
    -------
    DataFrame
        left_out, n_known, n_unknown, auroc (mean over folds). Empty with fewer than three classes.
    """
    rows = manifest[manifest["split"] == "train"].reset_index(drop=True)
    classes = mg.classes(manifest)
    features, judged = FeatureStore(config).for_training(rows)
    table = []
    for left_out in classes if len(classes) > 2 else ():
        unknown, known = (np.flatnonzero((rows["label"] == left_out) == is_it) for is_it in (True, False))
        names = [c for c in classes if c != left_out]
        # The class left out takes the number 0 and no part: none of its images is learned from.
        labels = rows["label"].map({c: i for i, c in enumerate(names)}).fillna(0).to_numpy(dtype=int)
        found = []
        for train_part, valid_part in folds_of(rows.iloc[known].reset_index(drop=True), config):
            ensemble, _ = Ensemble.fit(features, labels, known[train_part], dataclasses.replace(config, n_members=1))
            theirs = judged.select(np.concatenate([known[valid_part], unknown]))
            is_unknown = np.isin(np.unique(theirs.image_index), unknown)
            found.append(roc_auc_score(is_unknown, ensemble.judge(theirs)[1]))
        table.append((left_out, len(known), len(unknown), float(np.mean(found))))
    return pd.DataFrame(table, columns=["left_out", "n_known", "n_unknown", "auroc"])


# --- calibration -----------------------------------------------------------------------------------------------------


def calibrated(probabilities, temperature: float) -> np.ndarray:
    """Probabilities (n, n_classes) at a temperature: softmax(log p / T) (Guo et al., 2017).

    Above 1 it makes them less sure, below 1 surer; which class is the most probable does not change.
    """
    return special.softmax(np.log(np.asarray(probabilities, dtype=float)) / temperature, axis=1)


def log_loss(probabilities, labels, smoothing: float = 0.0) -> float:
    """Mean cross-entropy of labels (n,) of int, of whose weight a share is spread over all classes; finite at 0."""
    n_classes = np.shape(probabilities)[1]
    weight = (1 - smoothing) * np.eye(n_classes)[labels] + smoothing / n_classes
    return float(-(weight * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1).mean())


def fit_temperature(probabilities, labels) -> float:
    """The temperature, 0.05 to 20, at which held-out probabilities have the least log loss.

    Labels are smoothed by 1 / (n + 2) (Platt, 1999): where few images are all right, no probability becomes surer than so
    many can show.
    """
    n = len(labels)

    def loss(log_temperature):
        return log_loss(calibrated(probabilities, np.exp(log_temperature)), labels, 1 / (n + 2))

    return float(np.exp(optimize.minimize_scalar(loss, bounds=np.log([0.05, 20]), method="bounded").x))


def _others(groups):
    """Each specimen in turn: which images are of all others, and which its own. Nothing with a single specimen."""
    groups = np.asarray(groups, dtype=str)
    return [(groups != name, groups == name) for name in np.unique(groups) if (groups != name).any()]


def cross_calibrated(probabilities, labels, groups) -> np.ndarray:
    """Probabilities (n, n_classes), each specimen's at the temperature that all other specimens give.

    With a single specimen there is nothing to fit on, and they stay as they are.
    """
    out = np.array(probabilities, dtype=float)
    for others, ours in _others(groups):
        out[ours] = calibrated(probabilities[ours], fit_temperature(probabilities[others], labels[others]))
    return out


def calibration_measures(probabilities, labels, n_bins: int = 5) -> list[float]:
    """Log loss, Brier score, calibration slope and intercept, and expected calibration error.

    The slope, 1 where the machine is neither too sure nor too unsure, is that of a logistic regression of being right on
    the logit of the confidence, penalised by next to nothing, so that it stays finite where all are right. The intercept, 0
    where the machine is right as often as it says, is what is to be added to all logits (Van Calster et al., BMC Medicine
    17, 2019). The error is the mean distance between confidence and share right over bins of equally many images (Nixon et
    al., 2019).
    """
    confidence, right = probabilities.max(axis=1), (probabilities.argmax(axis=1) == labels).astype(float)
    brier = ((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1).mean()
    x, n, slope = special.logit(np.clip(confidence, 1e-6, 1 - 1e-6)), len(right), np.nan
    if 0 < right.mean() < 1:
        slope = LogisticRegression(C=10).fit(x[:, None], right).coef_[0, 0]
    share = np.clip(right.mean(), 0.5 / n, 1 - 0.5 / n)
    intercept = optimize.brentq(lambda a: special.expit(x + a).mean() - share, -50, 50)
    bins = np.array_split(np.argsort(confidence, kind="stable"), n_bins)
    error = sum(abs((confidence[b] - right[b]).sum()) for b in bins) / n
    return [log_loss(probabilities, labels), brier, slope, intercept, error]


def jackknife_interval(measure, groups, *arrays):
    """A measure of images with its 95 % interval: specimens are left out one after the other.

    With h a specimen's share of the images, the variance is the sum of (1 - h) (measure without it - measure)^2; the
    quantile is Student's with Kish's effective number of specimens, less one, as in `readerstudy.share_interval`.

    Parameters
    ----------
    measure : callable
        Of the arrays, or of the same part of each; gives an array of numbers.
    groups : array (n,)
    *arrays : array (n, ...)

    Returns
    -------
    value, low, high : arrays
        Bounds are NaN with a single specimen.
    """
    value, share = np.asarray(measure(*arrays)), np.unique(groups, return_counts=True)[1] / len(groups)
    left = np.array([measure(*(array[others] for array in arrays)) for others, _ in _others(groups)] or [value * np.nan])
    freedom = max(1 / (share @ share) - 1, 0.5)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(np.tensordot(1 - share, (left - value) ** 2, 1))
    return value, value - half, value + half


def calibration_report(probabilities, labels, groups, n_bins: int = 5) -> pd.DataFrame:
    """The probabilities' `calibration_measures` before and after calibration, which is cross-validated by specimen.

    Returns
    -------
    DataFrame
        measure, then before, after and difference (after less before), each with ``_low`` and ``_high`` of
        `jackknife_interval`, for which temperatures are fitted anew without each specimen: their own noise is part of what
        a difference is uncertain by. The expected calibration error has none: even a perfect forecaster's is above 0.
    """

    def measure(before, labels, groups):
        after = cross_calibrated(before, labels, groups)
        pair = np.array([calibration_measures(p, labels, n_bins) for p in (before, after)])
        return np.concatenate([pair, pair[1:] - pair[:1]])

    ends = np.array(jackknife_interval(measure, groups, probabilities, labels, groups))
    ends[1:, :, -1] = np.nan
    columns = [f"{k}{end}" for k in ("before", "after", "difference") for end in ("", "_low", "_high")]
    names = ["log loss", "Brier score", "calibration slope", "calibration intercept", "expected calibration error"]
    table = pd.DataFrame(ends.transpose(2, 1, 0).reshape(len(names), -1), columns=columns)
    return table.rename_axis("measure").set_axis(names).reset_index(names="measure")


def false_alarms(outlier_score, groups, rate: float) -> np.ndarray:
    """Known structures called "none of these": array (n,) of 0 and 1, at thresholds that their own specimens did not set.

    Each specimen's threshold is a quantile of the outlier scores (n,) of all others' held-out images, so that they may call
    the share ``rate``. NaN with a single specimen.
    """
    score = np.asarray(outlier_score)
    flagged = np.full(len(score), np.nan)
    for others, ours in _others(groups):
        flagged[ours] = score[ours] > np.quantile(score[others], 1 - rate)
    return flagged


def sure_limit(confidence, correct, wanted: float) -> float:
    """The lowest confidence from which on the wanted share of images is right, with one more taken to be wrong.

    That one, as in conformal risk control (Angelopoulos et al., 2024), keeps a few lucky images from setting the limit:
    0.95 takes at least 19 images. It is no lower than the wanted share itself: an answer of 64 % is not sure in whatever
    company. Infinity where the share cannot be reached.
    """
    order = np.argsort(-confidence, kind="stable")
    wrong, sorted_down = np.cumsum(~np.asarray(correct, dtype=bool)[order]), np.append(confidence[order], -np.inf)
    # Images of one confidence are sure together or not at all.
    whole = sorted_down[1:] < sorted_down[:-1]
    enough = np.flatnonzero(whole & (wrong + 1 <= (1 - wanted) * (np.arange(len(wrong)) + 2) + 1e-9))
    return max(wanted, float(sorted_down[enough[-1]])) if len(enough) else np.inf


# Share of known structures that is passed on to a person so that fewer unknown ones are called sure; chosen on classes left
# out of the training images, not on a quiz.
UNTYPICAL = 0.2


class Calibration:
    """What the held-out training images say of a machine's probabilities.

    Parameters
    ----------
    held_out : DataFrame
        As `training.train` gives it.
    classes : list of str
    wanted : float
        Share of "sure" answers that shall be right.

    Attributes
    ----------
    temperature : float
    probabilities, labels : array (n, n_classes), array (n,) of int
        Of the held-out images, before calibration.
    confidence, correct : arrays (n,)
        After calibration by all other specimens, and whether the most probable class is right.
    typical : float
        Outlier score up to which an answer may be sure. Held-out images are of known classes and say nothing of others; so
        the share `UNTYPICAL` of them that is least like the training images is left to a person.
    sure : array (n,) of bool
        Typical held-out images above the limit that all *other* specimens set.
    realised : (float, float, float)
        Share of those that are right, with its interval.
    limit : float
        Calibrated probability from which on an answer is sure. Infinity where no limit gives the wanted share, or where
        less is realised: then the limit does not carry over to other specimens.

    Raises
    ------
    ValueError
        If ``wanted`` is no share, or the table is not of these classes.
    """

    def __init__(self, held_out: pd.DataFrame, classes: list[str], wanted: float = 0.95):
        if not 0 < wanted < 1:
            raise ValueError(f"the share of sure answers that shall be right must lie between 0 and 1, not {wanted:g}")
        if missing := [c for c in ("label", "split_group", "outlier_score", *classes) if c not in held_out]:
            raise ValueError(f"held-out.csv has no column {missing[0]!r}; let notebook 02 write it again")
        self.wanted, groups = wanted, held_out["split_group"].to_numpy()
        self.labels = held_out["label"].map(classes.index).to_numpy()
        self.probabilities = held_out[classes].to_numpy(float)
        self.temperature = fit_temperature(self.probabilities, self.labels)
        self.confidence = cross_calibrated(self.probabilities, self.labels, groups).max(axis=1)
        self.correct = self.probabilities.argmax(axis=1) == self.labels
        self.sure = np.zeros(len(held_out), dtype=bool)
        self.typical = float(np.quantile(held_out["outlier_score"], 1 - UNTYPICAL))
        confidence = np.where(held_out["outlier_score"] <= self.typical, self.confidence, 0)
        for others, ours in _others(groups):
            self.sure[ours] = confidence[ours] >= sure_limit(confidence[others], self.correct[others], wanted)
        self.realised = share_interval(np.where(self.sure, self.correct, np.nan), groups)
        carries_over = self.realised[0] >= wanted
        self.limit = sure_limit(confidence, self.correct, wanted) if carries_over else np.inf
        self.outlier_scores = np.sort(held_out["outlier_score"])
