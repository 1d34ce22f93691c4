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
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pandas as pd

from micrographs import manifest as manifests
from microrace import network, training
from microrace.ablations import claim_sentences, quiz_table, summarise
from microrace.peers import GENERIC_METHODS, generic_features, generic_model
from microrace.progress import track
from microrace.training import TrainingConfig
from microrace.whole import written_whole


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
        ``machine``, or one of `peers.GENERIC_METHODS`.
    """

    factor: str
    level: str
    changes: dict = field(default_factory=dict)
    method: str = "machine"


# Whole networks see fewer crops than heads, which is still far more work.
SHORT = {"epochs": 3}
# An ordinary network, trained plainly: random start, cross-entropy, crops of a share of the image, scale unknown.
PLAIN = {"weights": "", "backbone_rate": 1.0, "loss": "cross-entropy", "scale_handling": "none", **SHORT}
TRANSFORMATIONS = ("rotation", "mirror", "zoom", "contrast", "gamma", "defocus", "shading", "noise")
GRIDS = ("none", "small", "peers", "full")


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
    if name not in GRIDS:
        raise ValueError(f"unknown grid {name!r}; take one of {', '.join(GRIDS)}")
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
    if name == "full":
        vary("transformation", "without", TRANSFORMATIONS, lambda t: f"without {t}" if t else "all")
        vary("fields of view", "max_fields", (1, 2), lambda n: f"the largest {n}" if n else "several")
        vary("crop side", "crop_px", (64, 128, 224), lambda n: f"{n} px")
        vary("loss", "loss", network.LOSSES)
        vary("embedding dimensions", "embedding_dim", (2, 4, 8, 32, 128))
        settings += [
            Setting("backbone", "ImageNet weights, kept"),
            Setting("backbone", "ImageNet weights, fine-tuned", {"backbone_rate": 0.1, **SHORT}),
            Setting("backbone", "random start, trained", {"weights": "", "backbone_rate": 1.0, **SHORT}),
            Setting("backbone", "random weights, kept", {"weights": ""}),
        ]
    if name != "none":
        settings.append(Setting("method", "tailored machine"))
        settings += [Setting("method", m, method=m) for m in GENERIC_METHODS[: 3 if name == "small" else None]]
    if name in ("peers", "full"):
        settings.append(Setting("method", "ResNet-18 from scratch", {"backbone": "resnet18", **PLAIN}))
    return settings


def seeds_of(setting: Setting, seeds: list[int]) -> list[int]:
    """The seeds that a setting runs with: the first alone where a whole network is trained, at a hundred times the cost."""
    return seeds[:1] if setting.changes.get("backbone_rate") else seeds


def _generic(method: str, manifest: pd.DataFrame, config: TrainingConfig, open_quiz: bool):
    """Held-out answers of a generic method on the folds that a network of the same seed sees, and the quiz's if opened."""
    rows = manifest[manifest["split"] == "train"].reset_index(drop=True)
    features, labels = generic_features(method, rows), rows["label"].to_numpy()
    held_out = []
    for train_index, valid_index in training.folds_of(rows, config):
        model = generic_model(method, config.seed).fit(features[train_index], labels[train_index])
        answer = model.predict(features[valid_index])
        held_out.append(rows.iloc[valid_index][["file", "label", "split_group"]].assign(answer=answer))
    held_out = pd.concat(held_out, ignore_index=True)
    quiz = None
    if open_quiz:
        quiz = known_quiz(manifest)
        answer = generic_model(method, config.seed).fit(features, labels).predict(generic_features(method, quiz))
        quiz = quiz[["file", "label", "split_group"]].assign(answer=answer)
    return held_out, quiz


def known_quiz(manifest: pd.DataFrame) -> pd.DataFrame:
    """The quiz images of the training images' classes: those that methods without "none of these" can answer."""
    known = (manifest["split"] == "quiz") & manifest["label"].isin(manifests.classes(manifest))
    return manifest[known].reset_index(drop=True)


def _machine(manifest: pd.DataFrame, config: TrainingConfig, open_quiz: bool, run_dir: Path):
    """The same of the machine."""
    result = training.train(manifest, config, only_validate=not open_quiz)
    quiz = None
    if open_quiz:
        quiz, machine = known_quiz(manifest), result.machine
        best = machine.judge(quiz)[0].argmax(axis=1)
        quiz = quiz[["file", "label", "split_group"]].assign(answer=[machine.classes[i] for i in best])
    return result.held_out[["file", "label", "split_group", "answer"]], quiz


@cache
def code_hash() -> str:
    """A hash of the modules that decide what a run gives."""
    package = Path(__file__).parents[1]
    machine = "augment backbones classifiers crops embedding features machine peers places settings sweep training".split()
    files = [package / "machine" / f"{stem}.py" for stem in machine]
    files += [package / "micrographs" / f"{stem}.py" for stem in ("reading", "scale", "splits")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def run_one(
    manifest_path: str, setting: Setting, reference: TrainingConfig, seed: int, cache: str, open_quiz: bool = False
) -> dict:
    """One run of the sweep, read from ``cache`` when it was done before.

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
        if setting.method == "machine":
            # Checkpoints of fine-tuned networks, in a folder of this run's own.
            checkpoints = path.with_suffix("")
            if config.fine_tuned:
                checkpoints.mkdir(parents=True, exist_ok=True)
            found = _machine(manifest, config, open_quiz, checkpoints)
            for checkpoint in checkpoints.glob("*") if config.fine_tuned else ():
                checkpoint.unlink()
            if config.fine_tuned:
                checkpoints.rmdir()
        else:
            found = _generic(setting.method, manifest, config, open_quiz)
        records = {
            name: table
            if table is None
            else json.loads(table.assign(correct=table["answer"] == table["label"]).to_json(orient="records"))
            for name, table in zip(("held_out", "quiz"), found, strict=True)
        }
        with written_whole(path) as file:
            file.write_text(json.dumps(records))
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
    tasks = [
        (str(manifest_path), s, reference, seed, str(cache), open_quiz) for s in settings for seed in seeds_of(s, seeds)
    ]
    if not scheduler and jobs == 1:
        return [run_one(*task) for task in track(tasks, description="sweep", unit="run")]

    from distributed import Client, LocalCluster, as_completed

    with contextlib.ExitStack() as stack:
        if scheduler:
            client = stack.enter_context(Client(scheduler))
        else:
            cluster = stack.enter_context(LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=None))
            client = stack.enter_context(Client(cluster))
        futures = [client.submit(run_one, *task, pure=True) for task in tasks]
        for _ in track(as_completed(futures), total=len(futures), description="sweep", unit="run"):
            pass
        return client.gather(futures)


def main() -> None:
    """Command line: the protocol by which the method was chosen, on any manifest."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and finished runs; resumes from it")
    parser.add_argument("--grid", default="full", help=f"one of {', '.join(GRIDS)}")
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
