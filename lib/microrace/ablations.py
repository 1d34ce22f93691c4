"""What matters: one thing changed at a time, and images changed on purpose, as paired and cross-validated comparisons.

A run is one method, with one thing changed, cross-validated inside the training images with one seed. Its heads are trained
once and judge the held-out images as they are and, where asked for, under other `CONDITIONS`: re-photographed at another
magnification, with their scale told wrong, or with a knob of the microscope turned. Runs of one seed share their folds, so
any two are compared image by image. The quiz stays closed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import json
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from tqdm import tqdm

from micrographs import classes, read_image
from microrace import augment, network, scale, training
from microrace.training import CropFeatures, Ensemble, FeatureStore, TrainingConfig, folds_of
from microrace.whole import written_whole
from readerstudy import crossed_interval, share_interval
from readerstudy.intervals import balancing

AS_THEY_ARE = "as they are"


@dataclass(frozen=True)
class Condition:
    """How images are changed before they are judged; nothing is, unless told.

    Attributes
    ----------
    test : str
        ``zoom`` or ``knob``: which of the two tests it belongs to.
    magnification : float
        Below 1 the image is reduced to that share of its size; above, its centre is enlarged so many times, which shows
        less and adds no detail. The scale is told truly.
    told : float
        The scale that the machine is told, over the true one; a power of two.
    knob, strength
        A transformation of `augment.TRANSFORMATIONS`, done to every crop.
    """

    test: str = ""
    magnification: float = 1.0
    told: float = 1.0
    knob: str = ""
    strength: float = 0.0

    def __call__(self, image: np.ndarray, pixels_per_um: float, config: TrainingConfig):
        """The crops by which the changed image is judged: array (n, crop_px, crop_px), and their scales (n,)."""
        height, width = image.shape
        zoom = self.magnification
        if zoom > 1:
            h, w = round(height / zoom), round(width / zoom)
            y, x = (height - h) // 2, (width - w) // 2
            image = cv2.resize(image[y : y + h, x : x + w], (width, height), interpolation=cv2.INTER_LINEAR)
        elif zoom < 1:
            image = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        pixels_per_um *= zoom
        how = {"crop_px": config.crop_px, "strengths": {self.knob: self.strength} if self.knob else {}}
        found = [
            augment.crop_at(image, pixels_per_um, centre_xy=(x, y), side_px=side, seed=k, **how)
            for k, (x, y, side) in enumerate(config.crop_positions(image.shape, pixels_per_um))
        ]
        crops, scales = zip(*found, strict=True)
        return np.stack(crops).astype(np.float32), np.array(scales)


CONDITIONS = {
    AS_THEY_ARE: Condition(),
    **{f"reduced to 1/{n}": Condition("zoom", 1 / n) for n in (2, 4, 8)},
    **{f"centre 1/{n}, enlarged": Condition("zoom", n) for n in (2, 4)},
    **{f"scale told {t:g} times": Condition("zoom", told=t) for t in (0.25, 0.5, 2.0, 4.0)},
    **{
        f"{knob} {strength:g}": Condition("knob", knob=knob, strength=strength)
        for knob, strengths in {
            "defocus": (0.6, 1.2, 2.0, 3.0),
            "noise": (0.03, 0.06, 0.12, 0.24),
            "shading": (0.08, 0.15, 0.3, 0.5),
            "rotation": (15.0, 45.0, 90.0, 180.0),
        }.items()
        for strength in strengths
    },
}
# Enough to see both tests at work in the small grid.
FEW = ("reduced to 1/4", "scale told 4 times", "defocus 3")


@dataclass(frozen=True)
class Setting:
    """One level of one factor: what is changed from the reference, by which method it is run, and on which images.

    Attributes
    ----------
    factor, level : str
        As they appear in tables and figures.
    changes : dict
        Fields of `TrainingConfig` that differ from the reference.
    method : str
        ``machine``, or one of `PEERS`.
    conditions : tuple of str
        Of `CONDITIONS`, besides the images as they are.
    """

    factor: str
    level: str
    changes: dict = field(default_factory=dict)
    method: str = "machine"
    conditions: tuple[str, ...] = ()


# The method's peers. The first two see what the machine's heads see: the same whitened features and the scale.
PEERS = {
    "LDA, same features": lambda n: LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto"),
    "linear SVM, same features": lambda n: LinearSVC(C=0.01, class_weight="balanced", random_state=0),
    "LBP + GLCM, SVM": lambda n: make_pipeline(StandardScaler(), SVC(C=10.0, class_weight="balanced")),
    "scale alone": lambda n: KNeighborsClassifier(min(5, n)),
}
# Whole networks see fewer crops than heads, which is still far more work.
SHORT = {"epochs": 3, "augmented_crops": 0}
# An ordinary network, trained plainly: random start, cross-entropy, crops of a share of the image, scale unknown.
PLAIN = {"weights": "", "backbone_rate": 1.0, "loss": "cross-entropy", "scale_handling": "none", **SHORT}
GRIDS = ("none", "small", "full")


def grid(name: str, reference: TrainingConfig, manifest: pd.DataFrame) -> list[Setting]:
    """The settings of a sweep by name; the first level of each factor is the one that the others are compared with.

    Parameters
    ----------
    name : str
        ``none``; ``small``: a few runs for each question; ``full``: everything.
    reference : TrainingConfig
        What is changed in one thing at a time.
    manifest : DataFrame
        Tells how many images a learning curve can ask for.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if name not in GRIDS:
        raise ValueError(f"unknown grid {name!r}; take one of {', '.join(GRIDS)}")
    if name == "none":
        return []
    full, settings = name == "full", []

    def vary(factor, changed, levels, conditions=()):
        settings.extend(Setting(factor, str(v), {changed: v}, conditions=conditions) for v in levels)

    most = (manifest["split"] == "train").sum() * (1 - 1 / reference.n_folds)
    sizes = (10, 20, 40, 80, 120, 160, 200, 250) if full else (20,)
    settings.append(Setting("images", "all"))
    vary("images", "max_train_images", [n for n in sizes if len(classes(manifest)) <= n < most])
    asked = {t: tuple(n for n, c in CONDITIONS.items() if c.test == t and (full or n in FEW)) for t in ("zoom", "knob")}
    vary("scale", "scale_handling", training.SCALE_HANDLING, asked["zoom"])
    pipelines = ("none", "geometric", "photometric", "full") if full else ("none", "full")
    vary("transformations", "pipeline", pipelines, asked["knob"])
    settings.append(Setting("method", "machine"))
    settings += [Setting("method", peer, method=peer) for peer in PEERS]
    if full:
        settings.append(Setting("method", "ResNet-18 from scratch", {"backbone": "resnet18", **PLAIN}))
        settings += [Setting("left out", name or "nothing", {"without": name}) for name in ("", *augment.TRANSFORMATIONS)]
        vary("loss", "loss", network.LOSSES)
        vary("dimensions", "embedding_dim", (16, 2, 4, 8, 32))
        settings += [
            Setting("backbone", "ImageNet, kept"),
            Setting("backbone", "ImageNet, fine-tuned", {"backbone_rate": 0.1, **SHORT}),
            Setting("backbone", "random weights, kept", {"weights": ""}),
        ]
    return settings


def texture_descriptors(image: np.ndarray) -> np.ndarray:
    """Generic texture descriptors of an image: local binary patterns and grey-level co-occurrence at three scales.

    Rotation-invariant uniform LBP (Ojala et al., 2002; P = 8, R = 1) and Haralick's contrast, homogeneity, energy and
    correlation (1973; 32 grey levels, distances 1 and 3, means over four angles), of the image and of it halved twice.

    Parameters
    ----------
    image : array (H, W) of float32

    Returns
    -------
    array (54,)
    """
    found = []
    for share in (1, 0.5, 0.25):
        small = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        grey = np.clip((small - small.mean()) / (small.std() + 1e-6) / 6 + 0.5, 0, 1)
        patterns = local_binary_pattern((grey * 255).astype(np.uint8), 8, 1, "uniform").astype(int)
        found.append(np.bincount(patterns.ravel(), minlength=10) / patterns.size)
        pairs = graycomatrix((grey * 31).astype(np.uint8), [1, 3], np.arange(4) * np.pi / 4, 32, True, True)
        found += [graycoprops(pairs, p).mean(axis=1) for p in ("contrast", "homogeneity", "energy", "correlation")]
    return np.concatenate(found)


@cache
def _descriptors(path: str, sha256: str) -> np.ndarray:
    """The texture descriptors of a file, which every seed asks for anew."""
    return texture_descriptors(read_image(path))


def features_under(name: str, rows: pd.DataFrame, config: TrainingConfig) -> CropFeatures:
    """Features of the crops by which images are judged, under one of `CONDITIONS`.

    Fields of view are an octave apart, so that a scale told wrong by a power of two gives the same crops: it changes
    nothing but the number that heads are told.
    """
    condition = CONDITIONS[name]
    found = FeatureStore(config, change=None if condition.told != 1 else condition).features(rows)
    told = found.log2_pixels_per_um + np.float32(np.log2(condition.told))
    return dataclasses.replace(found, log2_pixels_per_um=told)


def _fit_peer(method: str, features: CropFeatures, labels, config: TrainingConfig):
    """One of `PEERS`, fitted on the training images' features: a function that gives class numbers of others."""
    model, inputs = PEERS[method](len(features.values)), lambda f: f.values
    if method.endswith("same features"):
        whitening = network.Whitening.fit(features.values)
        head = network.EmbeddingHead(whitening, whitening.matrix.shape[1], config.embedding_dim, config.scale_input)

        def inputs(f):
            with torch.inference_mode():
                return head.inputs(torch.from_numpy(f.values), torch.from_numpy(f.log2_pixels_per_um)).numpy()

    model.fit(inputs(features), labels[features.image_index])
    decide = getattr(model, "predict_proba", None) or model.decision_function

    def answers(judged):
        scores = decide(inputs(judged))
        scores = np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores
        return model.classes_[judged.image_means(scores).argmax(axis=1)]

    return answers


@network.one_thread()
def _held_out(manifest: pd.DataFrame, method: str, config: TrainingConfig, conditions) -> pd.DataFrame:
    """Held-out answers of a method under conditions: condition, file, label, split_group, answer."""
    columns = ["file", "label", "split_group"]
    if config.backbone_rate > 0:
        found = training.train(manifest, config, only_validate=True).held_out
        return found[[*columns, "answer"]].assign(condition=AS_THEY_ARE)
    rows = manifest[manifest["split"] == "train"].reset_index(drop=True)
    names = np.array(classes(manifest), dtype=object)
    labels = rows["label"].map({c: i for i, c in enumerate(names)}).to_numpy()
    if method in ("machine", *(p for p in PEERS if p.endswith("same features"))):
        learned, judged = FeatureStore(config).for_training(rows)
    else:
        log2_scales = np.log2(rows["pixels_per_um"].to_numpy())
        values = log2_scales[:, None]
        if method != "scale alone":
            values = np.stack([_descriptors(*of) for of in zip(rows["path"], rows["sha256"], strict=True)])
        learned = judged = CropFeatures(values, log2_scales, np.arange(len(rows)))
    tests = {AS_THEY_ARE: judged} | {name: features_under(name, rows, config) for name in conditions}
    found = []
    for f, (train_index, valid_index) in enumerate(folds_of(rows, config)):
        if method == "machine":
            seeded = dataclasses.replace(config, seed=config.seed * 1000 + f)
            judge = Ensemble.fit(learned, labels, train_index, seeded)[0].judge
            answers = lambda features, judge=judge: judge(features)[0].argmax(axis=1)  # noqa: E731
        else:
            answers = _fit_peer(method, learned.select(train_index), labels, config)
        for name, features in tests.items():
            answer = names[answers(features.select(valid_index))]
            found.append(rows.iloc[valid_index][columns].assign(answer=answer, condition=name))
    return pd.concat(found, ignore_index=True)


def run_one(manifest: pd.DataFrame, method: str, config: TrainingConfig, conditions, folder: str) -> pd.DataFrame:
    """One run of a sweep, read from ``folder`` where it was done before.

    Returns
    -------
    DataFrame
        condition, file, label, split_group, answer, correct: one row an image and condition.
    """
    # The number of processes is no part of the key: a sweep begun on one core goes on with JOBS=2. The code is: of other
    # code it is another run.
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k != "workers"}
    code = training._source_hash(scale, augment, network, training, sys.modules[__name__], inspect.getmodule(read_image))
    images = manifest[["sha256", "label", "split", "split_group", "pixels_per_um"]].to_csv()
    identity = json.dumps([method, conditions, settings, images, code])
    path = Path(folder) / f"{hashlib.sha256(identity.encode()).hexdigest()[:20]}.json"
    if not path.is_file():
        table = _held_out(manifest, method, config, conditions)
        with written_whole(path) as file:
            table.assign(correct=table["answer"] == table["label"]).to_json(file, orient="records")
    return pd.read_json(path, dtype=False, convert_dates=False)


def _done(function, tasks: list[tuple], jobs: int, scheduler: str, description: str) -> list:
    """Results of a function on tuples of arguments, in their order: here, in ``jobs`` processes, or on a Dask cluster."""
    if not scheduler and jobs == 1:
        return [function(*task) for task in tqdm(tasks, desc=description, unit="run")]
    from distributed import Client, LocalCluster, as_completed

    with contextlib.ExitStack() as stack:
        if not scheduler:
            cluster = LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=None)
            scheduler = stack.enter_context(cluster)
        client = stack.enter_context(Client(scheduler))
        futures = [client.submit(function, *task, pure=True) for task in tasks]
        list(tqdm(as_completed(futures), total=len(futures), desc=description, unit="run"))
        return client.gather(futures)


def run_sweep(
    manifest: pd.DataFrame,
    settings: list[Setting],
    reference: TrainingConfig,
    seeds: list[int],
    folder,
    *,
    jobs=1,
    scheduler="",
) -> pd.DataFrame:
    """Run all settings with all seeds, or the first alone where a backbone learns or starts at random, which costs much.

    Settings that are the same run, such as the first level of every factor, are run once, under the conditions of all.

    Parameters
    ----------
    manifest : DataFrame
    settings : list of Setting
    reference : TrainingConfig
        What settings change.
    seeds : list of int
    folder : path
        In which finished runs are kept; an interrupted sweep goes on from it.
    jobs : int
        Worker processes on this machine; 1 runs in this process.
    scheduler : str
        Address of a Dask scheduler (``tcp://host:8786``) whose workers see the same files; empty for none.

    Returns
    -------
    DataFrame
        As `run_one` gives them, with factor, level and seed, in the order of settings and seeds.
    """
    asked, under = [], {}
    for setting in settings:
        dear = {"backbone_rate", "weights"} & set(setting.changes)
        for seed in seeds[:1] if dear else seeds:
            run = setting.method, dataclasses.replace(reference, seed=seed, **setting.changes)
            asked.append((setting, seed, run))
            under.setdefault(run, {}).update(dict.fromkeys(setting.conditions))
    # Seed by seed, so that processes beside each other seldom need the same features at once; whole networks last.
    runs = sorted(under, key=lambda run: (run[1].backbone_rate > 0, run[1].seed))
    tasks = [(manifest, *run, list(under[run]), str(folder)) for run in runs]
    done = dict(zip(runs, _done(run_one, tasks, jobs, scheduler, "what matters"), strict=True))
    found = []
    for setting, seed, run in asked:
        ours = done[run][done[run]["condition"].isin([AS_THEY_ARE, *setting.conditions])]
        found.append(ours.assign(factor=setting.factor, level=setting.level, seed=seed))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def compare(trials: pd.DataFrame) -> pd.DataFrame:
    """Each level of each factor under each condition, beside what it is compared with.

    Parameters
    ----------
    trials : DataFrame
        As `run_sweep` gives it.

    Returns
    -------
    DataFrame
        One row a level and condition: factor, level, condition, reference, n_seeds, n_images, then with _low and _high
        accuracy and balanced_accuracy (means over seeds, `readerstudy.share_interval`), difference and
        balanced_difference (level minus the factor's first, same condition), and change (condition minus the images as
        they are, same level). Differences are paired by image; their intervals draw seeds and specimens
        (`readerstudy.crossed_interval`). What a row is its own comparison for is NaN.
    """
    if trials.empty:
        return pd.DataFrame()
    images = trials.drop_duplicates("file").set_index("file")
    groups, weights = images["split_group"].to_numpy(), balancing(images["label"])
    right = {
        key: t.pivot(index="seed", columns="file", values="correct")[images.index].astype(float)
        for key, t in trials.groupby(["factor", "level", "condition"], sort=False)
    }
    first, rows = {}, []
    for (factor, level, condition), mine in right.items():
        reference = first.setdefault(factor, level)
        found = [share_interval(mine.mean(), groups), share_interval(mine.mean(), groups, weights)]
        pairs = [(reference, condition, 1), (reference, condition, weights * len(weights)), (level, AS_THEY_ARE, 1)]
        for other_level, other_condition, weight in pairs:
            if (other_level, other_condition) == (level, condition):
                found.append((np.nan,) * 3)
                continue
            # A level that ran with fewer seeds is compared with those of the other.
            lead = (mine - right[factor, other_level, other_condition].loc[mine.index]).to_numpy() * weight
            # Two seeds tell too little of others, and an interval is then of these seeds' mean.
            low, high = crossed_interval(lead, groups, random_readers=len(mine) > 2)
            found.append((lead.mean(), max(low, -1.0), min(high, 1.0)))
        rows.append((factor, level, condition, reference, len(mine), len(images), *np.ravel(found)))
    measures = ("accuracy", "balanced_accuracy", "difference", "balanced_difference", "change")
    columns = [m + ending for m in measures for ending in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["factor", "level", "condition", "reference", "n_seeds", "n_images", *columns])


def claim_sentences(levels: pd.DataFrame) -> list[str]:
    """What the intervals support: a sentence for each level, and how many comparisons chance alone would have called."""
    sentences, n_compared, n_called = [], 0, 0
    for (factor, level), rows in levels.groupby(["factor", "level"], sort=False):
        compared, changed = (rows.dropna(subset=[measure]) for measure in ("difference", "change"))
        better, worse = compared["difference_low"] > 0, compared["difference_high"] < 0
        n_compared, n_called = n_compared + len(compared), n_called + int((better | worse).sum())
        verdicts = {"better than": better, "worse than": worse, "not told from": ~better & ~worse}
        reference = rows["reference"].iloc[0]
        told = [f"{word} {reference} {_where(compared[yes], 'difference')}" for word, yes in verdicts.items() if yes.any()]
        if told:
            sentences.append(f"{factor.capitalize()}: {level} is {', '.join(told)}.")
        moved = changed[(changed["change_low"] > 0) | (changed["change_high"] < 0)]
        if len(moved):
            where = _where(moved, "change")
            sentences.append(f"{factor.capitalize()}: {level} changes {where}, from the images as they are.")
    if n_compared:
        chance = f"chance alone would call about {0.05 * n_compared:.0f}"
        sentences.append(f"{n_called} of {n_compared} differences are told from 0; {chance}.")
    return sentences


def _where(rows: pd.DataFrame, measure: str) -> str:
    """Conditions with a difference and its interval; only their number where many are alike in saying nothing."""
    low, high = rows[f"{measure}_low"], rows[f"{measure}_high"]
    if len(rows) > 2 and ((low <= 0) & (high >= 0)).all():
        return f"under {len(rows)} conditions"
    told = zip(rows["condition"], rows[measure], low, high, strict=True)
    return "; ".join(f"{condition} ({d:+.2f}, {a:+.2f} to {b:+.2f})" for condition, d, a, b in told)
