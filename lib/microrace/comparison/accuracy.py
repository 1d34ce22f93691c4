"""Statistics of readers and machine on the same images; readers and images are both random."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import brentq, minimize
from scipy.stats import spearmanr
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from microrace.images.manifests import NO_ANSWER

VOTE, MEAN = "majority vote", "panel mean"
# Of non-inferiority, in accuracy: this study's choice, about two images of quiz 1.
MARGIN = 0.05


def correct_table(sheets: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """Right (1) or wrong (0): one row a decision maker, one column an image; no answer is wrong."""
    right = sheets["answer"].to_numpy() == truth.reindex(sheets["image"]).to_numpy()
    table = sheets.assign(right=right.astype(float)).pivot(index="decision_maker", columns="image", values="right")
    return table.reindex(columns=truth.index).fillna(0.0)


def majority_vote(panel: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """The panel's most frequent answer to each image, and the share of it that is right.

    A tie between k answers counts as right with 1/k where the right one is among them: what a coin would give
    on average. ``answer`` shows the first of the tied ones. Not answering is no vote.

    Returns
    -------
    DataFrame
        image, answer, right (0 to 1).
    """
    rows = []
    for image in truth.index:
        votes = panel.loc[(panel["image"] == image) & (panel["answer"] != NO_ANSWER), "answer"].value_counts()
        winners = sorted(votes.index[votes == votes.max()]) if len(votes) else [NO_ANSWER]
        rows.append((image, winners[0], (truth[image] in winners) / len(winners)))
    return pd.DataFrame(rows, columns=["image", "answer", "right"])


def _interval(draws) -> tuple[float, float]:
    return tuple(float(np.quantile(draws, q)) for q in (0.025, 0.975))


def wilson(n_correct: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share: of one decision maker, over images."""
    return tuple(float(x) for x in proportion_confint(n_correct, n, 0.05, "wilson"))


def _weights(rng, n: int, n_bootstrap: int) -> np.ndarray:
    return rng.multinomial(n, np.full(n, 1 / n), n_bootstrap) / n


def crossed_bootstrap(panel: np.ndarray, machine: np.ndarray, n_bootstrap: int = 2000, seed: int = 0) -> dict:
    """Bootstrap that draws readers and images anew, both with replacement.

    Parameters
    ----------
    panel : array (n_readers, n_images)
        Right or wrong.
    machine : array (n_images,)
    n_bootstrap, seed : int

    Returns
    -------
    dict of arrays (n_bootstrap,)
        ``panel`` and ``machine``: mean accuracies; ``difference``: machine minus panel, on the same images;
        ``beats``: probability that the machine is more often right than a random reader, ties counting half.
    """
    rng = np.random.default_rng(seed)
    n_readers, n_images = panel.shape
    readers, images = _weights(rng, n_readers, n_bootstrap), _weights(rng, n_images, n_bootstrap)
    of_reader = images @ panel.T  # (n_bootstrap, n_readers)
    of_machine = images @ machine
    lead = of_machine[:, None] - of_reader
    wins = (lead > 1e-12) + 0.5 * (np.abs(lead) <= 1e-12)
    mean = (readers * of_reader).sum(1)
    return {
        "panel": mean,
        "machine": of_machine,
        "difference": of_machine - mean,
        "beats": (readers * wins).sum(1),
    }


def readers_table(sheets: pd.DataFrame, truth: pd.Series, n_bootstrap: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Accuracy of every reader, the panel's mean and majority vote, and the machine, with 95 % intervals.

    The intervals of single decision makers are Wilson's (1927), as the bootstrap's are too narrow over a few dozen
    images; that of the panel's mean draws readers and images; that of the vote draws readers, who vote anew, and images.

    Parameters
    ----------
    sheets : DataFrame
        Answers of all decision makers.
    truth : Series
        Right answers by image.

    Returns
    -------
    DataFrame
        decision_maker, kind, n_images, n_correct, accuracy, accuracy_low, accuracy_high, balanced_accuracy.
    """
    rng = np.random.default_rng(seed)
    right = correct_table(sheets, truth)
    kinds = sheets.groupby("decision_maker")["kind"].first()
    n = len(truth)
    by_class = [np.flatnonzero(truth.to_numpy() == c) for c in sorted(truth.unique())]
    images = _weights(rng, n, n_bootstrap)

    def row(name, kind, values, interval):
        balanced = float(np.mean([values[c].mean() for c in by_class]))
        return (name, kind, n, float(values.sum()), float(values.mean()), *interval, balanced)

    rows = [row(name, kinds[name], v := right.loc[name].to_numpy(), wilson(v.sum(), n)) for name in right.index]
    panel = sheets[sheets["kind"] != "machine"]
    if len(panel):
        of_panel = right.loc[panel["decision_maker"].unique()].to_numpy()
        draws = crossed_bootstrap(of_panel, np.zeros(n), n_bootstrap, seed)["panel"]
        rows.append(row(MEAN, MEAN, of_panel.mean(axis=0), _interval(draws)))
        vote = majority_vote(panel, truth)["right"].to_numpy()
        of_vote = _vote_draws(panel, truth, images, min(n_bootstrap, 500), rng)
        rows.append(row(VOTE, VOTE, vote, _interval(of_vote)))
    columns = "decision_maker kind n_images n_correct accuracy accuracy_low accuracy_high balanced_accuracy".split()
    return pd.DataFrame(rows, columns=columns)


def _vote_draws(panel, truth, image_weights, n_bootstrap, rng) -> np.ndarray:
    """Accuracy of the vote when readers and images are drawn anew."""
    answers = sorted(set(panel["answer"]) - {NO_ANSWER} | set(truth))
    readers = sorted(panel["decision_maker"].unique())
    one_hot = np.zeros((len(readers), len(truth), len(answers)))
    position = {image: i for i, image in enumerate(truth.index)}
    for reader, image, answer in panel[["decision_maker", "image", "answer"]].itertuples(index=False):
        if answer != NO_ANSWER:
            one_hot[readers.index(reader), position[image], answers.index(answer)] = 1
    index = np.array([answers.index(t) for t in truth])
    drawn = rng.multinomial(len(readers), np.full(len(readers), 1 / len(readers)), n_bootstrap)
    out = np.empty(n_bootstrap)
    for b in range(n_bootstrap):
        votes = np.tensordot(drawn[b], one_hot, axes=1)
        top = votes == votes.max(axis=1, keepdims=True)
        right = top[np.arange(len(truth)), index] / top.sum(axis=1) * (votes.max(axis=1) > 0)
        out[b] = image_weights[b] @ right
    return out


def mcnemar_table(sheets: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """The machine against each reader and the majority vote on the same images: exact McNemar test.

    Two-sided, from the images that only one of the two got right, with Holm's correction over all comparisons.
    The vote's tied images count for it where the shown answer is right.

    Returns
    -------
    DataFrame
        decision_maker, machine_only_correct, reader_only_correct, p_value, p_holm.
    """
    right = correct_table(sheets, truth).astype(bool)
    machine_name = sheets.loc[sheets["kind"] == "machine", "decision_maker"].iloc[0]
    machine = right.loc[machine_name].to_numpy()
    panel = sheets[sheets["kind"] != "machine"]
    others = {name: right.loc[name].to_numpy() for name in panel["decision_maker"].unique()}
    vote = majority_vote(panel, truth)
    others[VOTE] = vote["answer"].to_numpy() == truth.to_numpy()
    rows = []
    for name, values in others.items():
        b, c = int((machine & ~values).sum()), int((~machine & values).sum())
        p = float(mcnemar([[0, b], [c, 0]], exact=True).pvalue) if b + c else 1.0
        rows.append((name, b, c, p))
    table = pd.DataFrame(rows, columns=["decision_maker", "machine_only_correct", "reader_only_correct", "p_value"])
    table["p_holm"] = multipletests(table["p_value"], method="holm")[1]
    return table


def confusion_table(sheets: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """How often each answer was given to each right answer: who (machine, panel), truth, answer, count."""
    who = np.where(sheets["kind"] == "machine", "machine", "panel")
    table = pd.DataFrame({"who": who, "truth": truth.reindex(sheets["image"]).to_numpy(), "answer": sheets["answer"]})
    return table.value_counts().rename("count").reset_index().sort_values(["who", "truth", "answer"], ignore_index=True)


def items_table(sheets: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """One row an image: image, truth, readers right of how many, the machine's and the vote's answer."""
    panel = sheets[sheets["kind"] != "machine"]
    machine = sheets[sheets["kind"] == "machine"].set_index("image")["answer"].reindex(truth.index)
    right = correct_table(panel, truth)
    vote = majority_vote(panel, truth)
    return pd.DataFrame(
        {
            "image": truth.index,
            "truth": truth.to_numpy(),
            "n_readers": len(right),
            "n_readers_correct": right.sum(axis=0).astype(int).to_numpy(),
            "reader_accuracy": right.mean(axis=0).to_numpy(),
            "machine_answer": machine.to_numpy(),
            "machine_correct": machine.to_numpy() == truth.to_numpy(),
            "vote_answer": vote["answer"],
            "vote_correct": vote["answer"].to_numpy() == truth.to_numpy(),
        }
    )


def error_consistency(a, b) -> tuple[float, float, float]:
    """Cohen's kappa of being right or wrong on the same images, with its attainable bounds.

    After Geirhos et al., NeurIPS 2020: agreement beyond what two independent deciders of these accuracies show.

    Parameters
    ----------
    a, b : arrays (n,) of bool

    Returns
    -------
    kappa, lowest, highest : float
        NaN where one of the two is always right or always wrong, so that no agreement beyond chance can be seen.
    """
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    p, q = a.mean(), b.mean()
    expected = p * q + (1 - p) * (1 - q)
    if p in (0, 1) or q in (0, 1):
        return (np.nan,) * 3
    observed = (a == b).mean()
    # Agreement of two deciders with these accuracies can lie between these.
    lowest, highest = abs(p + q - 1), 1 - abs(p - q)
    return tuple(float((o - expected) / (1 - expected)) for o in (observed, lowest, highest))


def agreement_table(sheets: pd.DataFrame, truth: pd.Series, n_bootstrap: int = 500, seed: int = 0) -> pd.DataFrame:
    """Error consistency of every pair: a, b, kappa, kappa_low, kappa_high (bootstrap over images), kappa_min, kappa_max."""
    right = correct_table(sheets, truth).astype(bool)
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(truth), (n_bootstrap, len(truth)))
    machine = set(sheets.loc[sheets["kind"] == "machine", "decision_maker"])
    rows = []
    for i, a in enumerate(right.index):
        for b in right.index[i + 1 :]:
            first, second = right.loc[a].to_numpy(), right.loc[b].to_numpy()
            kappa, lowest, highest = error_consistency(first, second)
            x, y = first[draws], second[draws]
            p, q = x.mean(1), y.mean(1)
            expected = p * q + (1 - p) * (1 - q)
            with np.errstate(invalid="ignore", divide="ignore"):
                boot = np.where((p % 1 == 0) | (q % 1 == 0), np.nan, ((x == y).mean(1) - expected) / (1 - expected))
            low, high = _interval(boot[np.isfinite(boot)]) if np.isfinite(boot).any() else (np.nan, np.nan)
            name = {m: "machine" for m in machine}
            rows.append((name.get(a, a), name.get(b, b), kappa, low, high, lowest, highest))
    return pd.DataFrame(rows, columns=["a", "b", "kappa", "kappa_low", "kappa_high", "kappa_min", "kappa_max"])


def fleiss_kappa(counts: np.ndarray) -> float:
    """Fleiss' kappa (1971) of a table (n_images, n_answers) of how many readers gave each answer."""
    counts = np.asarray(counts, float)
    n = counts.sum(axis=1)[0]
    if n < 2:
        return float("nan")
    share = counts.sum(axis=0) / counts.sum()
    observed = ((counts**2).sum(axis=1) - n) / (n * (n - 1))
    expected = (share**2).sum()
    return float((observed.mean() - expected) / (1 - expected)) if expected < 1 else float("nan")


def rasch_fit(y: np.ndarray, prior_sd: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Fit the Rasch model to right and wrong answers.

    Parameters
    ----------
    y : array (n, m) of 0 and 1
        Decision makers by images.
    prior_sd : float
        Of the normal prior on abilities and difficulties, in logits.

    Returns
    -------
    logit : array (n + m,)
        Abilities, then difficulties, whose mean is 0.
    half : array (n + m,)
        Half of the 95 % interval.
    """
    n, m = y.shape
    precision = 1 / prior_sd**2

    def probability(theta):
        return 1 / (1 + np.exp(-(theta[:n, None] - theta[None, n:])))

    def loss(theta):
        z = theta[:n, None] - theta[None, n:]
        residual = probability(theta) - y
        gradient = np.concatenate([residual.sum(1), -residual.sum(0)]) + precision * theta
        return float((np.logaddexp(0, z) - y * z).sum() + 0.5 * precision * theta @ theta), gradient

    theta = minimize(loss, np.zeros(n + m), jac=True, method="L-BFGS-B").x
    w = probability(theta)
    w = w * (1 - w)
    curvature = np.block([[np.diag(w.sum(1)), -w], [-w.T, np.diag(w.sum(0))]]) + precision * np.eye(n + m)
    covariance = np.linalg.inv(curvature)
    # Placed so that difficulties have mean 0; the intervals are of the distances from that mean.
    shift = np.eye(n + m)
    shift[:, n:] -= 1 / m
    theta, covariance = shift @ theta, shift @ covariance @ shift.T
    half = 1.96 * np.sqrt(np.maximum(np.diag(covariance), 0))
    return theta, half


def rasch(sheets: pd.DataFrame, truth: pd.Series, prior_sd: float = 2.0) -> pd.DataFrame:
    """Rasch model: readers, machine and images on one logit scale (Rasch, 1960).

    A decision maker of ability a gets an image of difficulty d right with probability logistic(a - d). Penalised
    maximum likelihood, with a normal prior of standard deviation ``prior_sd`` on abilities and difficulties, which
    keeps those who were always or never right finite; intervals from the curvature at the maximum.

    Returns
    -------
    DataFrame
        name, kind ("image" for images), logit, logit_low, logit_high. Difficulties have mean 0.
    """
    right = correct_table(sheets, truth)
    theta, half = rasch_fit(right.to_numpy(), prior_sd)
    kinds = sheets.groupby("decision_maker")["kind"].first()
    return pd.DataFrame(
        {
            "name": [*right.index, *right.columns],
            "kind": [*kinds[right.index], *["image"] * len(right.columns)],
            "logit": theta,
            "logit_low": theta - half,
            "logit_high": theta + half,
        }
    )


def verdict(low: float, high: float, margin: float) -> str:
    """What a 95 % interval of (machine minus other) supports, with a margin of non-inferiority stated beforehand.

    ``superior`` when the interval lies above 0, ``inferior`` when below 0 and not within the margin, ``equivalent``
    when within plus and minus the margin, ``non-inferior`` when above minus the margin, else ``undecided``. Reading
    superiority off the same interval after non-inferiority costs no correction (CPMP/EWP/482/99).
    """
    if low > 0:
        return "superior"
    if -margin < low and high < margin:
        return "equivalent"
    if low > -margin:
        return "non-inferior"
    return "inferior" if high < 0 else "undecided"


def vote_bootstrap(sheets: pd.DataFrame, truth: pd.Series, n_bootstrap: int = 500, seed: int = 0) -> np.ndarray:
    """Machine minus majority vote, with readers (who vote anew) and images drawn anew: array (n_bootstrap,)."""
    rng = np.random.default_rng([seed, 1])
    images = _weights(rng, len(truth), n_bootstrap)
    machine = correct_table(sheets[sheets["kind"] == "machine"], truth).to_numpy()[0]
    panel = sheets[sheets["kind"] != "machine"]
    return images @ machine - _vote_draws(panel, truth, images, n_bootstrap, rng)


def discordant_share(b: int, c: int) -> tuple[float, float, float]:
    """Share b / (b + c) of the images that only one of two got right, with its exact (Clopper-Pearson) 95 % interval.

    NaN where there is no such image.
    """
    if b + c == 0:
        return (np.nan,) * 3
    return b / (b + c), *proportion_confint(b, b + c, 0.05, "beta")


def headline(sheets: pd.DataFrame, truth: pd.Series, n_bootstrap: int = 2000, seed: int = 0, margin: float = MARGIN) -> dict:
    """Machine against panel in numbers.

    Returns
    -------
    dict
        n_images, n_readers, simulated_panel, margin, fleiss_kappa (None unless all answered everything), and as
        value, low, high: ``machine``, ``panel_mean`` and ``majority_vote`` (accuracies); ``difference`` (machine
        minus panel mean) and ``difference_vote``, each with its ``verdict``; ``beats``, the probability that the
        machine is more often right than a reader drawn at random, ties counting half; and ``beats_vote``, how often
        it is the machine that is right on an image that only one of machine and vote gets right.
    """
    right = correct_table(sheets, truth)
    machine_name = sheets.loc[sheets["kind"] == "machine", "decision_maker"].iloc[0]
    panel = right.drop(index=machine_name).to_numpy()
    machine = right.loc[machine_name].to_numpy()
    readers = sheets[sheets["kind"] != "machine"]
    vote = majority_vote(readers, truth)
    draws = crossed_bootstrap(panel, machine, n_bootstrap, seed)
    draws["panel_mean"] = draws.pop("panel")
    draws["difference_vote"] = vote_bootstrap(sheets, truth, min(n_bootstrap, 500), seed)
    draws["majority_vote"] = _vote_draws(
        readers, truth, _weights(rng := np.random.default_rng([seed, 2]), len(truth), min(n_bootstrap, 500)),
        min(n_bootstrap, 500), rng,
    )  # fmt: skip
    lead = machine.mean() - panel.mean(axis=1)
    values = {
        "machine": machine.mean(),
        "panel_mean": panel.mean(),
        "majority_vote": vote["right"].mean(),
        "difference": machine.mean() - panel.mean(),
        "difference_vote": machine.mean() - vote["right"].mean(),
        "beats": ((lead > 1e-12) + 0.5 * (np.abs(lead) <= 1e-12)).mean(),
    }
    found = {
        name: {"value": float(value), **dict(zip(("low", "high"), _interval(draws[name]), strict=True))}
        for name, value in values.items()
    }
    found["machine"] |= dict(zip(("low", "high"), wilson(machine.sum(), len(machine)), strict=True))
    for name in ("difference", "difference_vote"):
        found[name]["verdict"] = verdict(found[name]["low"], found[name]["high"], margin)
    vote_right = vote["answer"].to_numpy() == truth.to_numpy()
    share = discordant_share(int((machine * ~vote_right).sum()), int(((1 - machine) * vote_right).sum()))
    found["beats_vote"] = {
        k: None if np.isnan(v) else float(v) for k, v in zip(("value", "low", "high"), share, strict=True)
    }
    answers = sorted(set(readers["answer"]))
    counts = readers.pivot_table(index="image", columns="answer", aggfunc="size", fill_value=0)[answers]
    kappa = fleiss_kappa(counts.to_numpy()) if counts.sum(axis=1).nunique() == 1 else np.nan
    return {
        "n_images": len(truth),
        "n_readers": len(panel),
        "simulated_panel": bool((readers["kind"] == "simulated human").any()),
        "margin": margin,
        "fleiss_kappa": None if np.isnan(kappa) else kappa,
        **found,
    }


def claim_sentences(numbers: dict, mcnemar_rows: pd.DataFrame) -> list[str]:
    """What the comparison supports, sentence by sentence, each chosen by its interval.

    Parameters
    ----------
    numbers : dict
        As `headline` gives it.
    mcnemar_rows : DataFrame
        As `mcnemar_table` gives it.
    """
    who = "simulated readers" if numbers["simulated_panel"] else "readers"
    n, margin = numbers["n_readers"], numbers["margin"]

    def against(name, other):
        d = numbers[name]
        size = f"{d['value']:+.2f} (95 % interval {d['low']:+.2f} to {d['high']:+.2f})"
        if d["low"] > 0:
            first = f"The machine is more often right than {other}: difference {size}."
        elif d["high"] < 0:
            first = f"The machine is less often right than {other}: difference {size}."
        else:
            first = f"Machine and {other} cannot be told apart: difference {size}."
        shown = {
            "superior": "which shows superiority",
            "equivalent": "which shows equivalence",
            "non-inferior": "which shows non-inferiority but not superiority",
            "inferior": "which shows inferiority",
            "undecided": "which decides neither superiority nor non-inferiority",
        }[d["verdict"]]
        return f"{first[:-1]}, {shown} at the margin of {margin:.2f} stated beforehand."

    first = against("difference", f"the mean of {n} {who}")
    second = against("difference_vote", "the majority vote")
    b = numbers["beats"]
    third = f"It beats a reader drawn at random with probability {b['value']:.2f} ({b['low']:.2f} to {b['high']:.2f})."
    readers = mcnemar_rows[mcnemar_rows["decision_maker"] != VOTE]
    lead = readers["machine_only_correct"] - readers["reader_only_correct"]
    sure = readers["p_holm"] < 0.05
    fourth = (
        f"By exact McNemar tests with Holm's correction it is better than {int((sure & (lead > 0)).sum())} and worse than "
        f"{int((sure & (lead < 0)).sum())} of the {len(readers)}; the others cannot be told from it with "
        f"{numbers['n_images']} images."
    )
    vote = mcnemar_rows[mcnemar_rows["decision_maker"] == VOTE].iloc[0]
    fifth = (
        f"Against the majority vote it alone is right on {vote['machine_only_correct']} images and the vote alone on "
        f"{vote['reader_only_correct']} (exact McNemar p = {vote['p_value']:.2f})."
    )
    share = numbers["beats_vote"]
    if share["value"] is not None:
        fifth += (
            f" On an image that only one of the two gets right, it is the machine with probability {share['value']:.2f} "
            f"({share['low']:.2f} to {share['high']:.2f})."
        )
    kappa = numbers["fleiss_kappa"]
    sixth = (
        "The readers' agreement (Fleiss' kappa) is undefined here: they did not all answer everything, or never differ."
        if kappa is None
        else f"The {who} agree among each other with Fleiss' kappa {kappa:.2f}: the ceiling for agreeing with them."
    )
    return [first, second, third, fourth, fifth, sixth]


def calibration_table(sheets: pd.DataFrame, truth: pd.Series, n_bins: int = 5) -> pd.DataFrame:
    """Share right against stated confidence: who, bin_low, bin_high, confidence, accuracy, n; empty without confidence."""
    right = sheets["answer"].to_numpy() == truth.reindex(sheets["image"]).to_numpy()
    table = sheets.assign(right=right, who=np.where(sheets["kind"] == "machine", "machine", "panel"))
    table = table[table["confidence"].notna()]
    edges = np.linspace(0, 1, n_bins + 1)
    table = table.assign(bin=np.clip(np.digitize(table["confidence"], edges) - 1, 0, n_bins - 1))
    rows = [
        (who, edges[b], edges[b + 1], rows["confidence"].mean(), rows["right"].mean(), len(rows))
        for (who, b), rows in table.groupby(["who", "bin"])
    ]
    return pd.DataFrame(rows, columns=["who", "bin_low", "bin_high", "confidence", "accuracy", "n"])


def experience_table(sheets: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """One row a reader: years_experience, median_seconds, mean_confidence, accuracy."""
    panel = sheets[sheets["kind"] != "machine"]
    accuracy = correct_table(panel, truth).mean(axis=1)
    grouped = panel.groupby("decision_maker")
    return pd.DataFrame(
        {
            "years_experience": grouped["years_experience"].first(),
            "median_seconds": grouped["seconds"].median(),
            "mean_confidence": grouped["confidence"].mean(),
            "accuracy": accuracy,
        }
    ).reset_index()


def calibration_summary(sheets: pd.DataFrame, truth: pd.Series, n_bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Overconfidence (mean confidence minus share right) and Brier score of machine and panel, with 95 % intervals.

    Readers and images are drawn anew. Answers without a confidence are left out.

    Returns
    -------
    DataFrame
        who, n, and overconfidence and brier, each with _low and _high; empty without confidence.
    """
    rng = np.random.default_rng(seed)
    right = sheets["answer"].to_numpy() == truth.reindex(sheets["image"]).to_numpy()
    table = sheets.assign(right=right.astype(float))[sheets["confidence"].notna().to_numpy()]
    rows = []
    for who, part in (("machine", table[table["kind"] == "machine"]), ("panel", table[table["kind"] != "machine"])):
        if part.empty:
            continue
        _, reader = np.unique(part["decision_maker"], return_inverse=True)
        _, image = np.unique(part["image"], return_inverse=True)
        weight = np.ones((n_bootstrap + 1, len(part)))
        weight[1:] = _weights(rng, reader.max() + 1, n_bootstrap)[:, reader]
        weight[1:] *= _weights(rng, image.max() + 1, n_bootstrap)[:, image]
        # A draw may happen to hold no answer with a confidence; it says nothing.
        weight = weight[weight.sum(1) > 0]
        gap = (part["confidence"] - part["right"]).to_numpy()
        values = [weight @ v / weight.sum(1) for v in (gap, gap**2)]
        rows.append((who, len(part), *(x for v in values for x in (v[0], *_interval(v[1:])))))
    columns = ["who", "n", *(f"{m}{e}" for m in ("overconfidence", "brier") for e in ("", "_low", "_high"))]
    return pd.DataFrame(rows, columns=columns)


def experience_correlations(experience: pd.DataFrame, n_bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Spearman's correlation of the readers' accuracy with their experience, time and confidence.

    Parameters
    ----------
    experience : DataFrame
        As `experience_table` gives it.

    Returns
    -------
    DataFrame
        quantity, n_readers, rho, rho_low, rho_high (bootstrap over readers), p_value; only quantities that at least
        four readers gave and that vary.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for quantity in ("years_experience", "median_seconds", "mean_confidence"):
        known = experience[experience[quantity].notna()]
        if len(known) < 4 or known[quantity].nunique() < 2 or known["accuracy"].nunique() < 2:
            continue
        x, y = known[quantity].to_numpy(), known["accuracy"].to_numpy()
        found = spearmanr(x, y)
        draws = rng.integers(0, len(x), (n_bootstrap, len(x)))
        varied = [d for d in draws if np.ptp(x[d]) > 0 and np.ptp(y[d]) > 0]
        boot = [spearmanr(x[d], y[d]).statistic for d in varied]
        rows.append((quantity, len(x), found.statistic, *_interval(boot), found.pvalue))
    return pd.DataFrame(rows, columns=["quantity", "n_readers", "rho", "rho_low", "rho_high", "p_value"])


def mrmc_table(sheets: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """All answers in the long form of R's multi-reader multi-case packages: one row a reader and case.

    The first four columns are what iMRMC calls a data frame of successes; in R,
    ``doIMRMC(successDFtoROCdf(read.csv("mrmc.csv")[, 1:4]))``. For MRMCaov, the columns are reader, case, treatment and
    rating in this order.

    Returns
    -------
    DataFrame
        readerID, caseID, modalityID ("machine" or "panel"), score (1 right, 0 wrong), truth, answer, confidence.
    """
    label = truth.reindex(sheets["image"]).to_numpy()
    table = pd.DataFrame(
        {
            "readerID": sheets["decision_maker"].to_numpy(),
            "caseID": sheets["image"].to_numpy(),
            "modalityID": np.where(sheets["kind"] == "machine", "machine", "panel"),
            "score": (sheets["answer"].to_numpy() == label).astype(int),
            "truth": label,
            "answer": sheets["answer"].to_numpy(),
            "confidence": sheets["confidence"].to_numpy() if "confidence" in sheets else np.nan,
        }
    )
    return table.sort_values(["modalityID", "readerID", "caseID"], ignore_index=True)


def _logistic(x):
    return 1 / (1 + np.exp(-x))


def _ability(accuracy: float, sd_difficulty: float = 1.2) -> float:
    """Ability, in logits, that gives this accuracy over normally distributed difficulties."""
    # Gauss-Hermite quadrature over the difficulties.
    x, w = np.polynomial.hermite_e.hermegauss(41)
    return float(brentq(lambda a: (w * _logistic(a - sd_difficulty * x)).sum() / w.sum() - accuracy, -15, 15))


def _simulated_quiz(rng, n_readers: int, n_images: int, panel_accuracy: float, machine_accuracy: float):
    """Right or wrong of a panel (n_readers, n_images) and a machine (n_images,), and the readers' abilities.

    ``panel_accuracy`` is that of the reader of mean ability; the mean over readers lies a little nearer to a half.

    Difficulties have a standard deviation of 1.2 logits, shared by panel and machine, and abilities one of 0.7, the
    values of `simulated.PanelModel`.
    """
    difficulty = rng.normal(0, 1.2, n_images)
    ability = _ability(panel_accuracy, 1.2) + rng.normal(0, 0.7, n_readers)
    panel = rng.random((n_readers, n_images)) < _logistic(ability[:, None] - difficulty)
    machine = rng.random(n_images) < _logistic(_ability(machine_accuracy, 1.2) - difficulty)
    return panel.astype(float), machine.astype(float), ability


def coverage_table(
    n_images: int = 36,
    n_readers: int = 12,
    n_panels: int = 400,
    n_bootstrap: int = 500,
    panel_accuracy: float = 0.7,
    machine_accuracy: float = 0.85,
    seed: int = 0,
) -> pd.DataFrame:
    """How often the nominal 95 % intervals hold the truth, on simulated panels whose truth is known.

    Every panel is a new draw of readers, images and answers. The truth of an accuracy or a difference is its
    expectation over all of them; that of ``beats`` is the chance that the machine is more often right than a random
    reader on a quiz of this size, from 20 000 further quizzes; that of a Rasch ability is the simulated reader's own.

    Returns
    -------
    DataFrame
        interval, n_images, n_readers, n_panels, truth, coverage, coverage_low, coverage_high (exact 95 % interval of
        the coverage itself), mean_width.
    """
    rng = np.random.default_rng(seed)
    spread = np.hypot(1.2, 0.7)  # readers' abilities and images' difficulties together
    x, w = np.polynomial.hermite_e.hermegauss(41)
    panel_truth = (w * _logistic(_ability(panel_accuracy) - spread * x)).sum() / w.sum()
    wins = []
    for _ in range(20_000 // n_readers):
        panel, machine, _ = _simulated_quiz(rng, n_readers, n_images, panel_accuracy, machine_accuracy)
        lead = machine.sum() - panel.sum(axis=1)
        wins.append(((lead > 0) + 0.5 * (lead == 0)).mean())
    truths = {
        "machine": machine_accuracy,
        "panel": float(panel_truth),
        "difference": machine_accuracy - float(panel_truth),
        "beats": float(np.mean(wins)),
    }
    held, width = {name: [] for name in [*truths, "rasch ability"]}, {name: [] for name in [*truths, "rasch ability"]}
    for _ in range(n_panels):
        panel, machine, ability = _simulated_quiz(rng, n_readers, n_images, panel_accuracy, machine_accuracy)
        draws = crossed_bootstrap(panel, machine, n_bootstrap, int(rng.integers(2**31)))
        for name, value in truths.items():
            low, high = wilson(machine.sum(), n_images) if name == "machine" else _interval(draws[name])
            held[name].append(low - 1e-12 <= value <= high + 1e-12)
            width[name].append(high - low)
        logit, half = rasch_fit(panel)
        # Only distances between abilities can be known; both sides are taken from their panel's mean.
        own, half = logit[:n_readers] - logit[:n_readers].mean(), half[:n_readers]
        held["rasch ability"].extend(np.abs(own - (ability - ability.mean())) <= half)
        width["rasch ability"].extend(2 * half)
    rows = []
    for name in held:
        n, k = len(held[name]), int(np.sum(held[name]))
        low, high = proportion_confint(k, n, 0.05, "beta")
        rows.append((name, n_images, n_readers, n_panels, truths.get(name, np.nan), k / n, low, high, np.mean(width[name])))
    columns = "interval n_images n_readers n_panels truth coverage coverage_low coverage_high mean_width".split()
    return pd.DataFrame(rows, columns=columns)


def power_table(n_images, n_readers, differences=(0.05, 0.1, 0.15, 0.2, 0.3), base: float = 0.7, n_quizzes: int = 200,
                seed: int = 0) -> pd.DataFrame:  # fmt: skip
    """How often a quiz shows a true difference between machine and panel, by simulating such quizzes.

    Readers of mean accuracy ``base`` (ability and difficulty vary as in `simulated.PanelModel`), a machine that is more
    accurate by the true difference; a quiz shows it when the crossed bootstrap's 95 % interval excludes 0.

    Parameters
    ----------
    n_images, n_readers : int or sequence of int
    differences : sequence of float
    base : float
    n_quizzes, seed : int

    Returns
    -------
    DataFrame
        n_images, n_readers, true_difference, power.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for images in np.atleast_1d(n_images):
        for readers in np.atleast_1d(n_readers):
            for difference in differences:
                found = 0
                for _ in range(n_quizzes):
                    panel, machine, _ = _simulated_quiz(rng, readers, images, base, min(base + difference, 0.99))
                    draws = crossed_bootstrap(panel, machine, 200, int(rng.integers(2**31)))
                    found += _interval(draws["difference"])[0] > 0
                rows.append((int(images), int(readers), float(difference), found / n_quizzes))
    return pd.DataFrame(rows, columns=["n_images", "n_readers", "true_difference", "power"])
