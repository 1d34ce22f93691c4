"""What matters: the study's claims as paired, cross-validated comparisons, run as a resumable sweep.

Every run is one method, with one thing changed, cross-validated inside the training set with one seed. Runs of
the same seed share their folds, so two of them are compared image by image. The quiz is never looked at.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tqdm.auto import tqdm

from microrace import micrographs, training
from microrace.scale import warp_crop
from microrace.training import TrainingConfig

REFERENCE = "reference"


@dataclass(frozen=True)
class Setting:
    """One level of one factor: what is changed from the reference, and by which method it is run.

    Attributes
    ----------
    factor, level : str
        As they appear in tables and figures.
    changes : dict
        Fields of `TrainingConfig` that differ from the reference.
    method : str
        ``network``, or one of `GENERIC_METHODS`.
    """

    factor: str
    level: str
    changes: dict = field(default_factory=dict)
    method: str = "network"


def grid(name: str) -> list[Setting]:
    """The settings of a sweep by name: ``none``, ``small`` or ``full``.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if name == "none":
        return []
    if name not in ("small", "full"):
        raise ValueError(f"unknown grid {name!r}; take none, small or full")
    full = name == "full"
    settings = [Setting("training images", "all")]
    settings += [
        Setting("training images", str(n), {"max_train_images": n})
        for n in ((10, 20, 40, 60, 80) if full else (10, 40))
    ]
    settings += [Setting("scale handling", "both")]
    settings += [Setting("scale handling", s, {"scale_handling": s}) for s in ("none", "normalised", "told")]
    settings += [Setting("augmentation", "full")]
    settings += [Setting("augmentation", p, {"pipeline": p}) for p in ("none", "geometric", "photometric")]
    settings += [Setting("method", "tailored network")]
    settings += [Setting("method", m, method=m) for m in GENERIC_METHODS]
    if full:
        settings += [Setting("loss", "triplet")]
        settings += [Setting("loss", name, {"loss": name}) for name in training.LOSSES if name != "triplet"]
        settings += [Setting("embedding dimensions", "16")]
        settings += [Setting("embedding dimensions", str(d), {"embedding_dim": d}) for d in (2, 4, 64, 128)]
    return settings


def texture_descriptors(image: np.ndarray, pixels_per_um: float, told_scale: bool = False) -> np.ndarray:
    """Generic texture descriptors of an image: local binary patterns and grey-level co-occurrence at three scales.

    Rotation-invariant uniform LBP (Ojala et al., 2002; P = 8, R = 1) and Haralick's contrast, homogeneity, energy
    and correlation (1973; 32 grey levels, distances 1 and 3, four angles), of the image and of it halved twice.

    Parameters
    ----------
    image : array (H, W) of float32
    pixels_per_um : float
    told_scale : bool
        Append log2 of the scale.

    Returns
    -------
    array (66,) or (67,)
    """
    features = []
    height, width = image.shape
    for octave in range(3):
        side = min(height, width) // 2**octave
        small = warp_crop(
            image,
            pixels_per_um=1.0,
            target_pixels_per_um=side / min(height, width),
            centre_xy=((width - 1) / 2, (height - 1) / 2),
            size_px=side,
        )
        grey = np.clip((small - small.mean()) / (small.std() + 1e-6) / 6 + 0.5, 0, 1)
        patterns = local_binary_pattern((grey * 255).astype(np.uint8), 8, 1, "uniform")
        features.append(np.bincount(patterns.astype(int).ravel(), minlength=10)[:10] / patterns.size)
        matrix = graycomatrix((grey * 31).astype(np.uint8), [1, 3], np.arange(4) * np.pi / 4, 32, True, True)
        for name in ("contrast", "homogeneity", "energy", "correlation"):
            values = graycoprops(matrix, name)
            features.append(values.mean(axis=1))
            if name == "contrast":
                features.append(values.max(axis=1) - values.min(axis=1))
    if told_scale:
        features.append([np.log2(pixels_per_um)])
    return np.concatenate(features)


GENERIC_METHODS = ("scale alone", "LBP + GLCM, SVM", "LBP + GLCM + scale, forest")


def _generic_held_out(method: str, rows: pd.DataFrame, config: TrainingConfig) -> pd.DataFrame:
    """Held-out answers of a generic method on the folds that a network of the same seed would see."""
    if method == "scale alone":
        features = np.log(rows[["pixels_per_um"]].to_numpy())
    else:
        told = "scale" in method
        features = np.stack(
            [
                texture_descriptors(micrographs.read_image(path), scale, told)
                for path, scale in zip(rows["path"], rows["pixels_per_um"], strict=True)
            ]
        )
    held_out = []
    for train_index, valid_index in training.folds_of(rows, config):
        train, valid = rows.iloc[train_index], rows.iloc[valid_index]
        if method == "scale alone":
            answer = training.scale_alone(train, valid)
        else:
            model = (
                RandomForestClassifier(500, class_weight="balanced", random_state=config.seed)
                if method.endswith("forest")
                else make_pipeline(StandardScaler(), SVC(C=10.0, class_weight="balanced"))
            )
            answer = model.fit(features[train_index], train["label"]).predict(features[valid_index])
        held_out.append(valid[["file", "label", "split_group"]].assign(answer=answer))
    held_out = pd.concat(held_out, ignore_index=True)
    return held_out.assign(correct=held_out["answer"] == held_out["label"])


def run_one(manifest_path: str, setting: Setting, reference: TrainingConfig, seed: int, cache: str) -> dict:
    """One run of the sweep, read from ``cache`` when it was done before.

    Returns
    -------
    dict
        factor, level, seed, and ``held_out``: one record a training image (file, label, split_group, correct).
    """
    manifest = micrographs.read_manifest(manifest_path)
    config = dataclasses.replace(reference, seed=seed, **setting.changes)
    # The level's name is not part of the key: one reference run serves every factor.
    identity = json.dumps([setting.method, dataclasses.asdict(config), manifest.attrs["sha256"]])
    path = Path(cache) / f"{hashlib.sha256(identity.encode()).hexdigest()[:20]}.json"
    if path.is_file():
        records = json.loads(path.read_text())
    else:
        if setting.method == "network":
            held_out = training.train(manifest, config).held_out
        else:
            rows = manifest[manifest["split"] == "train"].reset_index(drop=True)
            held_out = _generic_held_out(setting.method, rows, config)
        records = json.loads(held_out[["file", "label", "split_group", "answer", "correct"]].to_json(orient="records"))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(records))
        os.replace(temporary, path)
    return {"factor": setting.factor, "level": setting.level, "seed": seed, "held_out": records}


def run_sweep(
    manifest_path,
    settings: list[Setting],
    reference: TrainingConfig,
    seeds: list[int],
    cache,
    *,
    jobs: int = 1,
    scheduler: str = "",
) -> list[dict]:
    """Run all settings with all seeds: here, in ``jobs`` processes, or on a Dask cluster.

    Parameters
    ----------
    manifest_path, cache : path
        The manifest, and the folder in which finished runs are kept; an interrupted sweep goes on from it.
    settings, reference, seeds
        As in `run_one`.
    jobs : int
        Worker processes on this machine; 1 runs in this process.
    scheduler : str
        Address of a Dask scheduler (``tcp://host:8786``) whose workers see the same files; empty for none.

    Returns
    -------
    list of dict
        As `run_one` gives them, in the order of settings and seeds.
    """
    tasks = [(str(manifest_path), s, reference, seed, str(cache)) for s in settings for seed in seeds]
    bar = tqdm(total=len(tasks), desc="sweep", unit="run")
    if not scheduler and jobs == 1:
        results = []
        for task in tasks:
            bar.set_postfix_str(f"{task[1].factor}: {task[1].level}")
            results.append(run_one(*task))
            bar.update()
        bar.close()
        return results

    from distributed import Client, LocalCluster, as_completed

    with contextlib.ExitStack() as stack:
        if scheduler:
            client = stack.enter_context(Client(scheduler))
        else:
            cluster = stack.enter_context(LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=None))
            client = stack.enter_context(Client(cluster))
        # The runs that share a reference would race for its cache entry; Dask runs equal keys once.
        futures = [client.submit(run_one, *task, pure=True) for task in tasks]
        for _ in as_completed(list({f.key: f for f in futures}.values())):
            bar.update()
        bar.close()
        return client.gather(futures)


def summarise(results: list[dict], n_bootstrap: int = 2000, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of a sweep.

    Parameters
    ----------
    results : list of dict
        As `run_sweep` gives them. The first level of each factor is the one that the others are compared with.
    n_bootstrap, seed : int

    Returns
    -------
    DataFrame
        One row a run: factor, level, seed, accuracy, balanced_accuracy.
    DataFrame
        One row a level: factor, level, reference, accuracy and balanced_accuracy (means over seeds), each with
        _low and _high, and difference, difference_low, difference_high: level minus reference in accuracy,
        paired by image, from a bootstrap that draws both specimens and seeds.
    """
    frames = []
    for result in results:
        frame = pd.DataFrame(result["held_out"])
        frames.append(frame.assign(factor=result["factor"], level=result["level"], seed=result["seed"]))
    if not frames:
        return pd.DataFrame(), pd.DataFrame()
    trials = pd.concat(frames, ignore_index=True)
    runs = []
    for (factor, level, run_seed), t in trials.groupby(["factor", "level", "seed"], sort=False):
        per_class = t.groupby("label")["correct"].mean()
        runs.append((factor, level, run_seed, t["correct"].mean(), per_class.mean()))
    runs = pd.DataFrame(runs, columns=["factor", "level", "seed", "accuracy", "balanced_accuracy"])

    # A table (specimens x classes x seeds) of hits and counts per level; resampling weights both axes.
    groups, labels, seeds = (sorted(trials[c].unique()) for c in ("split_group", "label", "seed"))
    index = {
        c: trials[c].map({v: i for i, v in enumerate(values)}).to_numpy()
        for c, values in (("split_group", groups), ("label", labels), ("seed", seeds))
    }
    rng = np.random.default_rng(seed)
    group_weight = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), n_bootstrap)
    seed_weight = rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), n_bootstrap)
    group_weight = np.vstack([np.ones(len(groups)), group_weight])
    seed_weight = np.vstack([np.ones(len(seeds)), seed_weight])

    def draws(rows):
        """First row the estimate, the others the resamples: accuracy, balanced accuracy."""
        hits = np.zeros((len(groups), len(labels), len(seeds)))
        totals = np.zeros_like(hits)
        where = tuple(index[c][rows] for c in ("split_group", "label", "seed"))
        np.add.at(hits, where, trials["correct"].to_numpy(dtype=float)[rows])
        np.add.at(totals, where, 1.0)
        h = np.einsum("bg,gls,bs->bl", group_weight, hits, seed_weight)
        t = np.einsum("bg,gls,bs->bl", group_weight, totals, seed_weight)
        with np.errstate(invalid="ignore"):
            return h.sum(1) / t.sum(1), np.nanmean(np.where(t > 0, h / t, np.nan), axis=1)

    def interval(values):
        return float(values[0]), *(float(np.quantile(values[1:], q)) for q in (0.025, 0.975))

    levels, reference_of = [], {}
    for (factor, level), rows in trials.groupby(["factor", "level"], sort=False).indices.items():
        accuracy, balanced = draws(rows)
        first = factor not in reference_of
        if first:
            reference_of[factor] = (level, accuracy)
        difference = interval(accuracy - reference_of[factor][1])
        values = (*interval(accuracy), *interval(balanced), *difference)
        levels.append((factor, level, reference_of[factor][0], *values))
    columns = ["factor", "level", "reference"]
    columns += [f"{m}{e}" for m in ("accuracy", "balanced_accuracy", "difference") for e in ("", "_low", "_high")]
    return runs, pd.DataFrame(levels, columns=columns)


def claim_sentences(levels: pd.DataFrame) -> list[str]:
    """One sentence for each comparison, chosen by whether its interval excludes zero."""
    sentences = []
    for row in levels.itertuples():
        if row.level == row.reference:
            continue
        size = f"{row.difference:+.2f} (95 % interval {row.difference_low:+.2f} to {row.difference_high:+.2f})"
        if row.difference_high < 0:
            verdict = f"is worse than {row.reference}"
        elif row.difference_low > 0:
            verdict = f"is better than {row.reference}"
        else:
            verdict = f"cannot be told from {row.reference} with these images"
        sentences.append(f"{row.factor.capitalize()}: {row.level} {verdict}; accuracy differs by {size}.")
    return sentences
