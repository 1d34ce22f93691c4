"""The tables and sentences of a sweep: each level against its factor's reference, paired by image."""

from __future__ import annotations

import numpy as np
import pandas as pd

from readerstudy import score_with_intervals


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
        One row a level: factor, level, reference, n_seeds, accuracy and balanced_accuracy (means over seeds), and
        difference and balanced_difference: level minus reference, paired by image; each with _low and _high from a
        bootstrap that draws both specimens and seeds.
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
    group_weight = np.vstack([np.ones(len(groups)), group_weight])

    def seed_weight(n):
        drawn = np.random.default_rng([seed, n]).multinomial(n, np.full(n, 1 / n), n_bootstrap)
        return np.vstack([np.ones(n), drawn])

    def draws(rows, n_seeds):
        """First row the estimate, the others the resamples: accuracy, balanced accuracy, over the first n seeds."""
        rows = rows[index["seed"][rows] < n_seeds]
        hits = np.zeros((len(groups), len(labels), n_seeds))
        totals = np.zeros_like(hits)
        where = tuple(index[c][rows] for c in ("split_group", "label", "seed"))
        np.add.at(hits, where, trials["correct"].to_numpy(dtype=float)[rows])
        np.add.at(totals, where, 1.0)
        h = np.einsum("bg,gls,bs->bl", group_weight, hits, seed_weight(n_seeds))
        t = np.einsum("bg,gls,bs->bl", group_weight, totals, seed_weight(n_seeds))
        with np.errstate(invalid="ignore"):
            return h.sum(1) / t.sum(1), np.nanmean(np.where(t > 0, h / t, np.nan), axis=1)

    def interval(values):
        return float(values[0]), *(float(np.quantile(values[1:], q)) for q in (0.025, 0.975))

    levels, reference_of = [], {}
    for (factor, level), rows in trials.groupby(["factor", "level"], sort=False).indices.items():
        # A level that ran with fewer seeds is compared with the reference of those seeds.
        n_seeds = index["seed"][rows].max() + 1
        name, of_reference = reference_of.setdefault(factor, (level, rows))
        found, compared = draws(rows, n_seeds), draws(of_reference, n_seeds)
        values = [interval(v) for v in (*found, found[0] - compared[0], found[1] - compared[1])]
        levels.append((factor, level, name, int(n_seeds), *(v for triple in values for v in triple)))
    columns = ["factor", "level", "reference", "n_seeds"]
    for measure in ("accuracy", "balanced_accuracy", "difference", "balanced_difference"):
        columns += [measure, f"{measure}_low", f"{measure}_high"]
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


def quiz_table(results: list[dict]) -> pd.DataFrame:
    """The opened quiz: one row a level, answers of the first seed; intervals take whole specimens.

    Returns
    -------
    DataFrame
        factor, level, n_images, and accuracy and balanced_accuracy, each with _low and _high; empty when it was
        not opened.
    """
    rows, seen = [], set()
    for result in results:
        if result["quiz"] is None or (key := (result["factor"], result["level"])) in seen:
            continue
        seen.add(key)
        t = pd.DataFrame(result["quiz"])
        found = score_with_intervals(t["label"], t["answer"], t["split_group"])
        values = {
            f"{m}{ending}": found[m][name]
            for m in ("accuracy", "balanced_accuracy")
            for ending, name in (("", "value"), ("_low", "low"), ("_high", "high"))
        }
        rows.append({"factor": key[0], "level": key[1], "n_images": len(t), **values})
    return pd.DataFrame(rows)
