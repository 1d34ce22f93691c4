"""What matters: the study's claims as paired, cross-validated comparisons, run as a resumable sweep.

Every run is one method, with one thing changed, cross-validated inside the training set with one seed. Runs of
the same seed share their folds, so two of them are compared image by image. The quiz stays closed unless a
last table asks for it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pywt
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tqdm.auto import tqdm

from microrace.images import manifests, reading
from microrace.images.scale import warp_crop
from microrace.machine import training
from microrace.machine.models import HEADS, POOLING, PROCEDURAL_WEIGHTS
from microrace.machine.training import TrainingConfig


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


# Ordinary networks, trained plainly: random start, cross-entropy, crops of a share of the image, scale unknown.
PLAIN = {
    "weights": "", "loss": "cross-entropy", "scale_handling": "none", "learning_rate": 1e-3,
    "forest_share": 0.0, "none_rule": "nearest",
}  # fmt: skip
PLAIN_NETWORKS = {"ResNet-18 from scratch": "resnet18", "ConvNeXt-tiny from scratch": "convnext_tiny"}
GENERIC_METHODS = ("scale alone", "LBP + GLCM, SVM", "LBP + GLCM + scale, forest", "wavelets, forest")
TRANSFORMATIONS = ("rotation", "mirror", "zoom", "contrast", "gamma", "defocus", "shading", "noise")


def grid(name: str, reference: TrainingConfig | None = None) -> list[Setting]:
    """The settings of a sweep by name.

    Parameters
    ----------
    name : str
        ``none``; ``small``: the paper's claims in a few runs each; ``peers``: the method and its peers; ``full``:
        everything, one thing changed at a time.
    reference : TrainingConfig, optional
        What everything is compared with; the first level of every factor.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if name not in ("none", "small", "peers", "full"):
        raise ValueError(f"unknown grid {name!r}; take none, small, peers or full")
    reference = reference or TrainingConfig()
    settings = []

    def vary(factor, name, values, label=str):
        own = getattr(reference, name)
        settings.append(Setting(factor, label(own)))
        settings.extend(Setting(factor, label(value), {name: value}) for value in values if value != own)

    if name in ("small", "full"):
        vary("training images", "max_train_images", (10, 20, 40, 60, 80) if name == "full" else (20,),
             lambda n: str(n) if n else "all")  # fmt: skip
        vary("scale handling", "scale_handling", training.SCALE_HANDLING)
        vary("augmentation", "pipeline", ("full", "none", "geometric", "photometric") if name == "full" else ("none",))
        vary("start", "weights", ("procedural", ""), lambda w: w or "random")
        vary("judges", "forest_share", (0.0, 1.0), {0.0: "networks", 0.5: "both", 1.0: "forest"}.get)
    if name == "full":
        vary("transformation", "without", TRANSFORMATIONS, lambda t: f"without {t}" if t else "all")
        vary("fields of view", "max_fields", (1, 2), lambda n: f"the largest {n}" if n else "several")
        vary("loss", "loss", training.LOSSES)
        vary("embedding dimensions", "embedding_dim", (2, 4, 8, 32, 128))
        vary("head", "head", HEADS)
        vary("pooling", "pooling", POOLING)
    if name != "none":
        settings.append(Setting("method", "tailored network"))
        settings += [Setting("method", m, method=m) for m in GENERIC_METHODS[: 3 if name == "small" else None]]
    if name in ("peers", "full"):
        settings += [Setting("method", m, {"backbone": b, **PLAIN}) for m, b in PLAIN_NETWORKS.items()]
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


def wavelet_descriptors(image: np.ndarray) -> np.ndarray:
    """Energies of a wavelet decomposition: the log variance of each detail band, and its anisotropy.

    Four levels of Daubechies-4 (Mallat, 1989). Rotation exchanges the horizontal and the vertical band, so their mean
    and their difference's size are taken.

    Parameters
    ----------
    image : array (H, W) of float32

    Returns
    -------
    array (12,)
    """
    grey = (image - image.mean()) / (image.std() + 1e-6)
    features = []
    for horizontal, vertical, diagonal in pywt.wavedec2(grey, "db4", level=4, mode="periodization")[1:]:
        h, v, d = (np.log(band.var() + 1e-9) for band in (horizontal, vertical, diagonal))
        features += [(h + v) / 2, abs(h - v), d]
    return np.array(features)


def _generic_features(method: str, rows: pd.DataFrame) -> np.ndarray:
    if method == "scale alone":
        return np.log(rows[["pixels_per_um"]].to_numpy())
    images = (reading.read_image(path) for path in rows["path"])
    if method.startswith("wavelets"):
        return np.stack([wavelet_descriptors(image) for image in images])
    told = "scale" in method
    return np.stack(
        [texture_descriptors(image, scale, told) for image, scale in zip(images, rows["pixels_per_um"], strict=True)]
    )


def _generic_model(method: str, seed: int):
    if method == "scale alone":
        return KNeighborsClassifier(5)
    if method.endswith("forest"):
        return RandomForestClassifier(500, class_weight="balanced", random_state=seed)
    return make_pipeline(StandardScaler(), SVC(C=10.0, class_weight="balanced"))


def _generic(method: str, manifest: pd.DataFrame, config: TrainingConfig, open_quiz: bool):
    """Held-out answers of a generic method on the folds that a network of the same seed sees, and the quiz's if opened."""
    rows = manifest[manifest["split"] == "train"].reset_index(drop=True)
    features, labels = _generic_features(method, rows), rows["label"].to_numpy()
    held_out = []
    for train_index, valid_index in training.folds_of(rows, config):
        model = _generic_model(method, config.seed).fit(features[train_index], labels[train_index])
        answer = model.predict(features[valid_index])
        held_out.append(rows.iloc[valid_index][["file", "label", "split_group"]].assign(answer=answer))
    held_out = pd.concat(held_out, ignore_index=True)
    quiz = None
    if open_quiz:
        quiz = known_quiz(manifest)
        answer = _generic_model(method, config.seed).fit(features, labels).predict(_generic_features(method, quiz))
        quiz = quiz[["file", "label", "split_group"]].assign(answer=answer)
    return held_out, quiz


def known_quiz(manifest: pd.DataFrame) -> pd.DataFrame:
    """The quiz images of the training images' classes: those that methods without "none of these" can answer."""
    known = (manifest["split"] == "quiz") & manifest["label"].isin(manifests.classes(manifest))
    return manifest[known].reset_index(drop=True)


def _network(manifest: pd.DataFrame, config: TrainingConfig, open_quiz: bool, run_dir: Path | None):
    """The same of a network."""
    result = training.train(manifest, config, run_dir, only_validate=not open_quiz)
    quiz = None
    if open_quiz:
        quiz, machine = known_quiz(manifest), result.machine
        best = machine.judge(training.image_crops(quiz, config))[0].argmax(axis=1)
        quiz = quiz[["file", "label", "split_group"]].assign(answer=[machine.classes[i] for i in best])
    return result.held_out[["file", "label", "split_group", "answer"]], quiz


@cache
def code_hash() -> str:
    """A hash of the modules and starting weights that decide what a run gives."""
    package = Path(__file__).parent
    names = ("augment", "micrographs", "models", "scale", "scattering", "sweep", "training")
    files = [*(package / f"{name}.py" for name in names), PROCEDURAL_WEIGHTS]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def run_one(
    manifest_path: str, setting: Setting, reference: TrainingConfig, seed: int, cache: str, open_quiz: bool = False
) -> dict:
    """One run of the sweep, read from ``cache`` when it was done before.

    Settings that change only how crops are judged share the reference's networks, kept in ``cache/networks``.

    Returns
    -------
    dict
        factor, level, seed, and ``held_out``: one record a training image (file, label, split_group, answer,
        correct); ``quiz``: the same for the quiz images of known classes when the quiz was opened, else None.
    """
    manifest = manifests.read_manifest(manifest_path)
    config = dataclasses.replace(reference, seed=seed, **setting.changes)
    # The level's name is not part of the key: one reference run serves every factor. Nor is the number of processes, so
    # that a sweep begun on one core goes on with JOBS=2. The code is: a run of other code is another run.
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k != "workers"}
    identity = json.dumps([setting.method, settings, manifest.attrs["sha256"], open_quiz, code_hash()])
    path = Path(cache) / f"{hashlib.sha256(identity.encode()).hexdigest()[:20]}.json"
    if path.is_file():
        records = json.loads(path.read_text())
    else:
        if setting.method == "network":
            training_only = json.dumps([config.training_identity(), manifest.attrs["sha256"]])
            shared = config.training_identity() == dataclasses.replace(reference, seed=seed).training_identity()
            networks = Path(cache) / "networks" / hashlib.sha256(training_only.encode()).hexdigest()[:20]
            if shared:
                networks.mkdir(parents=True, exist_ok=True)
            found = _network(manifest, config, open_quiz, networks if shared else None)
        else:
            found = _generic(setting.method, manifest, config, open_quiz)
        records = {
            name: table
            if table is None
            else json.loads(table.assign(correct=table["answer"] == table["label"]).to_json(orient="records"))
            for name, table in zip(("held_out", "quiz"), found, strict=True)
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(records))
        os.replace(temporary, path)
    return {"factor": setting.factor, "level": setting.level, "seed": seed, **records}


def run_sweep(
    manifest_path,
    settings: list[Setting],
    reference: TrainingConfig,
    seeds: list[int],
    cache,
    *,
    jobs: int = 1,
    scheduler: str = "",
    open_quiz: bool = False,
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
    open_quiz : bool
        Answer the quiz too: for a last table, never for a choice.

    Returns
    -------
    list of dict
        As `run_one` gives them, in the order of settings and seeds.
    """
    tasks = [(str(manifest_path), s, reference, seed, str(cache), open_quiz) for s in settings for seed in seeds]
    bar = tqdm(total=len(tasks), desc="sweep", unit="run")
    if not scheduler and jobs == 1:
        results = []
        for task in tasks:
            bar.set_postfix_str(f"{task[1].factor}: {task[1].level}")
            results.append(run_one(*task))
            bar.update()
        bar.close()
        shutil.rmtree(Path(cache) / "networks", ignore_errors=True)
        return results

    from distributed import Client, LocalCluster, as_completed

    with contextlib.ExitStack() as stack:
        if scheduler:
            client = stack.enter_context(Client(scheduler))
        else:
            cluster = stack.enter_context(LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=None))
            client = stack.enter_context(Client(cluster))
        # The reference first: whatever only judges differently waits for its networks and does not train them again.
        first = [task for task in tasks if not task[1].changes and task[1].method == "network"][: len(seeds)]
        for part in (first, tasks):
            futures = [client.submit(run_one, *task, pure=True) for task in part]
            for _ in as_completed(futures):
                bar.update(part is tasks)
        bar.close()
        results = client.gather(futures)
    shutil.rmtree(Path(cache) / "networks", ignore_errors=True)
    return results


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


def quiz_table(results: list[dict], n_bootstrap: int = 2000, seed: int = 0) -> pd.DataFrame:
    """The opened quiz: one row a level, means over seeds; intervals draw specimens.

    Returns
    -------
    DataFrame
        factor, level, n_images, and accuracy and balanced_accuracy, each with _low and _high; empty when it was
        not opened.
    """
    frames = [
        pd.DataFrame(r["quiz"]).assign(factor=r["factor"], level=r["level"]) for r in results if r["quiz"] is not None
    ]
    if not frames:
        return pd.DataFrame()
    rows = []
    for (factor, level), t in pd.concat(frames).groupby(["factor", "level"], sort=False):
        found = training.score_with_intervals(t["label"], t["answer"], t["split_group"], n_bootstrap, seed)
        values = {
            f"{m}{ending}": found[m][key]
            for m in ("accuracy", "balanced_accuracy")
            for ending, key in (("", "value"), ("_low", "low"), ("_high", "high"))
        }
        rows.append({"factor": factor, "level": level, "n_images": t["file"].nunique(), **values})
    return pd.DataFrame(rows)


def main() -> None:
    """Command line: the protocol by which the method was chosen, on any manifest."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and finished runs; resumes from it")
    parser.add_argument("--grid", default="full", help="none, small, peers or full")
    parser.add_argument("--factors", default="", help="only these factors, separated by commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--scheduler", default="")
    parser.add_argument("--open-quiz", action="store_true", help="answer the quiz too: for a last table only")
    parser.add_argument("-p", dest="changes", action="append", default=[], metavar="name=value", help="of the reference")
    args = parser.parse_args()
    types = {f.name: type(f.default) for f in dataclasses.fields(TrainingConfig)}
    given = dict(change.split("=", 1) for change in args.changes)
    if unknown := sorted(given.keys() - types.keys()):
        parser.error(f"unknown setting {unknown[0]}; there are {', '.join(types)}")
    reference = TrainingConfig(**{name: types[name](value) for name, value in given.items()})
    wanted = [f.strip() for f in args.factors.split(",") if f.strip()]
    settings = [s for s in grid(args.grid, reference) if not wanted or s.factor in wanted]
    results = run_sweep(
        args.manifest, settings, reference, list(range(args.seeds)), args.out / "runs",
        jobs=args.jobs, scheduler=args.scheduler, open_quiz=args.open_quiz,
    )  # fmt: skip
    ablations, levels = summarise(results)
    quiz = quiz_table(results)
    for name, table in (("ablations", ablations), ("levels", levels), ("quiz", quiz)):
        if not table.empty:
            table.to_csv(args.out / f"{name}.csv", index=False)
    print(levels.drop(columns="reference").round(3).to_string(index=False))
    if not quiz.empty:
        print(quiz.round(3).to_string(index=False))
    print("\n".join(claim_sentences(levels)))


if __name__ == "__main__":
    main()
