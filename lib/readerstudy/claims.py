"""The comparison in numbers, and the sentences that the numbers support."""

from __future__ import annotations

import numpy as np
import pandas as pd

from readerstudy.accuracy import other_machines, score_with_intervals
from readerstudy.agreement import mean_kappas, panel_kappa
from readerstudy.answers import (
    MACHINE,
    VOTE,
    correct_table,
    machine_and_panel,
    majority_vote,
    of_readers,
    roles,
    specimen_index,
)
from readerstudy.inference import (
    FEWEST_READERS,
    ROUNDING,
    difference_interval,
    mean_interval,
    share_interval,
)
from readerstudy.protocol import ENDPOINTS, Protocol, check_margin


def verdict(low: float, high: float, margin: float) -> str:
    """What a 95 % interval of (machine minus other) supports.

    ``superior`` when the interval lies above 0, ``inferior`` when below 0 and not within the margin, ``equivalent``
    when within plus and minus the margin, ``non-inferior`` when above minus the margin, else ``undecided``. Reading
    superiority off the same interval after non-inferiority costs no correction (CPMP/EWP/482/99). A bound that is 0 but
    for rounding is 0.

    Raises
    ------
    ProtocolError
        When the margin is none (`protocol.check_margin`).
    """
    check_margin(margin)
    if low > ROUNDING:
        return "superior"
    if -margin < low and high < margin:
        return "equivalent"
    if low > -margin:
        return "non-inferior"
    return "inferior" if high < -ROUNDING else "undecided"


def headline(
    sheets: pd.DataFrame,
    truth: pd.Series,
    groups: pd.Series | None = None,
    protocol: Protocol | None = None,
    n_draws: int = 2000,
    seed: int = 0,
) -> dict:
    """Machine against panel in numbers.

    Parameters
    ----------
    sheets : DataFrame
        Answers of all decision makers (`answers.combine`).
    truth, groups : Series
        Right answer and specimen by image; without ``groups`` every image is its own specimen.
    protocol : Protocol, optional
        As `protocol.read_protocol` gives it.
    n_draws, seed : int
        Of the posterior of the mean kappas.

    Returns
    -------
    dict
        n_images, n_specimens, n_readers, readers_are ("a sample" or "these"), simulated_panel, margin, primary, declared,
        fleiss_kappa (None where undefined), ``kappas`` (`agreement.mean_kappas`), and as value, low, high: ``machine``,
        ``panel_mean`` and ``majority_vote`` (accuracies), ``difference`` (machine minus panel mean) and
        ``difference_vote``, each with its ``verdict``. ``beats`` counts the readers above whom the machine scored on the
        images that both were shown: higher, equal, lower. ``other_machines``: name and accuracy of each.
    """
    protocol = protocol or Protocol()
    specimen = specimen_index(truth, groups)
    machine, panel = machine_and_panel(sheets, truth)
    readers = of_readers(sheets)
    vote = majority_vote(readers, truth)["right"].to_numpy()
    lead = np.nanmean(machine - panel, axis=1)
    role = roles(sheets)
    answers = sheets[sheets["decision_maker"] == role.index[role == MACHINE][0]].set_index("image")["answer"]
    answered = truth.index.isin(answers.index)
    ours = score_with_intervals(
        truth[answered], answers.reindex(truth.index[answered]), specimen[answered]
    )["accuracy"]  # fmt: skip
    found = {
        "panel_mean": mean_interval(panel, specimen),
        "majority_vote": share_interval(vote, specimen),
        "difference": difference_interval(panel, machine, specimen),
        "difference_vote": difference_interval(vote[None], machine, specimen, random_readers=False),
    }
    found = {"machine": ours} | {
        name: dict(zip(("value", "low", "high"), map(float, values), strict=True)) for name, values in found.items()
    }
    for name in ("difference", "difference_vote"):
        found[name]["verdict"] = verdict(found[name]["low"], found[name]["high"], protocol.margin)
    kappa = panel_kappa(sheets)
    right = correct_table(sheets, truth)
    return {
        "n_images": len(truth),
        "n_specimens": int(specimen.max() + 1),
        "n_readers": len(panel),
        "readers_are": "a sample" if len(panel) >= FEWEST_READERS else "these",
        "simulated_panel": bool((readers["kind"] == "simulated human").any()),
        "margin": protocol.margin,
        "primary": protocol.primary,
        "declared": protocol.declared,
        "fleiss_kappa": None if np.isnan(kappa) else kappa,
        "kappas": mean_kappas(sheets, truth, groups, n_draws, seed),
        "beats": {
            "higher": int((lead > ROUNDING).sum()),
            "equal": int((np.abs(lead) <= ROUNDING).sum()),
            "lower": int((lead < -ROUNDING).sum()),
        },
        "other_machines": [
            dict(zip(("name", "value", "low", "high"), (name, *share_interval(right.loc[name], specimen)), strict=True))
            for name in other_machines(sheets)
        ],
        **found,
    }


def p_words(p: float) -> str:
    """A p-value as it is written: "p = 0.24", "p = 0.003", "p < 0.001"."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def claim_sentences(numbers: dict, tests: pd.DataFrame) -> list[str]:
    """What the comparison supports, sentence by sentence, each chosen by its interval.

    Parameters
    ----------
    numbers : dict
        As `headline` gives it.
    tests : DataFrame
        As `accuracy.mcnemar_table` gives it.
    """
    n, margin = numbers["n_readers"], f"{numbers['margin']:g}"
    kind = "simulated reader" if numbers["simulated_panel"] else "reader"
    few = numbers["readers_are"] == "these"
    who = f"this {kind}" if n == 1 else f"these {n} {kind}s" if few else f"{kind}s like these {n}"
    declared = numbers["declared"]

    def against(name, other, endpoint):
        d = numbers[name]
        # Three digits, so that a bound beside the margin is seen to be so.
        size = f"{d['value']:+.3f} (95 % interval {d['low']:+.3f} to {d['high']:+.3f})"
        if d["low"] > 0:
            first = f"the machine is more often right than {other}: difference {size}"
        elif d["high"] < 0:
            first = f"the machine is less often right than {other}: difference {size}"
        else:
            first = f"machine and {other} cannot be told apart: difference {size}"
        shown = {
            "superior": "superiority, as the interval lies above 0",
            "equivalent": f"equivalence, as the interval lies within {margin} of 0",
            "non-inferior": f"non-inferiority at the margin of {margin}, but not superiority",
            "inferior": "inferiority, as the interval lies below 0",
            "undecided": f"neither superiority nor non-inferiority at the margin of {margin}: undecided",
        }[d["verdict"]]
        rank = "Primary endpoint" if numbers["primary"] == endpoint else "Secondary"
        return f"{rank if declared else 'Not declared beforehand'}: {first}. This shows {shown}."

    mean, vote = (
        against("difference", who if n == 1 else f"the mean of {who}", ENDPOINTS[0]),
        against("difference_vote", f"the majority vote of these {n}" if n > 1 else "the vote of one", ENDPOINTS[1]),
    )
    sentences = [mean, vote] if numbers["primary"] == ENDPOINTS[0] else [vote, mean]
    b = numbers["beats"]
    sentences.append(
        f"On the images that both were shown it scored above {b['higher']} of the {n} {kind}{'s' * (n > 1)}, the same as "
        f"{b['equal']} and below {b['lower']}."
    )
    others = {d["name"] for d in numbers["other_machines"]}
    readers = tests[~tests["decision_maker"].isin(others | {VOTE})]
    sure = readers["p_holm"] < 0.05
    better, worse = (int((sure & side).sum()) for side in (readers["difference"] > 0, readers["difference"] < 0))
    sentences.append(
        f"By exact tests with Holm's correction over all {len(tests)} comparisons it is better than {better} and worse than "
        f"{worse} of the {len(readers)}; the others cannot be told from it with {numbers['n_images']} images."
    )
    row = tests[tests["decision_maker"] == VOTE].iloc[0]
    sentences.append(
        f"Against the majority vote it alone is right on {row['machine_only_correct']:.3g} images and the vote alone on "
        f"{row['reader_only_correct']:.3g}, a tied vote counting as a coin would (exact test, {p_words(row['p_holm'])} "
        "after the same correction)."
    )
    kappa = numbers["fleiss_kappa"]
    sentences.append(
        f"The {kind}s' agreement among each other (Fleiss' kappa) is undefined here: no image has two answers, or all "
        "answers are the same."
        if kappa is None
        else f"The {kind}s agree in their answers with Fleiss' kappa {kappa:.2f}."
    )
    kappas = numbers["kappas"]
    if d := kappas["difference"]:
        sentences.append(
            "Error consistency, the agreement on which images are got wrong: mean kappa "
            f"{kappas['machine_and_readers']['value']:.2f} between the machine and these {n}, "
            f"{kappas['readers']['value']:.2f} among them; difference {d['value']:+.2f} "
            f"(95 % interval {d['low']:+.2f} to {d['high']:+.2f})."
        )
    if few:
        sentences.append(
            f"With fewer than {FEWEST_READERS} readers these sentences are about {'this one' if n == 1 else 'these'}, on "
            "other images of the same kind; they say nothing of other readers."
        )
    sentences.append(
        f"Margin ({margin}) and primary endpoint ({numbers['primary']}) were declared on {declared}, by the panel's "
        "protocol."
        if declared
        else f"No protocol was declared before the answers were read: the margin of {margin} is this run's, and all of this "
        "is exploratory."
    )
    return sentences
