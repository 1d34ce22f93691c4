"""The comparison in numbers, and the sentences that the numbers support."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd

from readerstudy.agreement import agreement_table, mean_kappas, panel_kappa
from readerstudy.answers import NO_ANSWER, READER, SILENT, VOTE, answers_of
from readerstudy.intervals import FEWEST_READERS, ROUNDING, difference_interval, mean_interval, named, share_interval
from readerstudy.protocol import ENDPOINTS, Protocol, check_margin

# Images, each of its own specimen, with which four of five quizzes show a difference of 0.15 from twelve readers who are
# right on 0.70, where machine and readers share half of an image's difficulty (`power.power_table`).
LARGE_ENOUGH = 100


def verdict(low: float, high: float, margin: float) -> str:
    """What a 95 % interval of (machine minus other) supports.

    ``superior`` when the interval lies above 0, ``inferior`` when below 0, ``equivalent`` when within plus and minus the
    margin, or "superior and equivalent" or "inferior and equivalent" when both hold; else ``non-inferior`` when above
    minus the margin, else ``undecided``. Reading superiority off the same interval after non-inferiority costs no
    correction (CPMP/EWP/482/99). A bound that is 0 but for rounding is 0.

    Raises
    ------
    ProtocolError
        When the margin is none (`protocol.check_margin`).
    """
    check_margin(margin)
    shown = ["superior"] * (low > ROUNDING) + ["inferior"] * (high < -ROUNDING)
    shown += ["equivalent"] * (-margin < low and high < margin)
    return " and ".join(shown) or ("non-inferior" if low > -margin else "undecided")


def headline(
    sheets: pd.DataFrame, truth: pd.Series, groups: pd.Series | None = None, protocol: Protocol | None = None
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

    Returns
    -------
    dict
        n_images, n_specimens, n_effective_specimens (Kish's number, less where sizes differ), n_readers, n_laboratories,
        n_shown and n_no_answer (of the readers), left_out (readers who answered nothing), readers_are ("a sample" or
        "these"), simulated_panel, conclusive (whether so large a quiz can show anything), margin, primary, declared, late,
        fleiss_kappa (None where undefined), ``kappas`` (`agreement.mean_kappas`), and as value, low,
        high: ``machine``, ``panel_mean`` and ``majority_vote`` (accuracies), ``difference`` (machine minus panel mean)
        and ``difference_vote``, each with its ``verdict``.

    Raises
    ------
    ValueError
        As `answers.answers_of` says.
    """
    protocol = protocol or Protocol()
    found = answers_of(sheets, truth, groups)
    machine, panel, vote, specimen = found.machine, found.panel, found.vote, found.specimen
    several = {"laboratories": found.laboratory}
    intervals = {
        "machine": share_interval(machine, specimen),
        "panel_mean": mean_interval(panel, specimen, **several),
        "majority_vote": share_interval(vote, specimen),
        "difference": difference_interval(panel, machine, specimen, **several),
        "difference_vote": difference_interval(vote[None], machine, specimen, random_readers=False),
    }
    numbers = {name: named(interval) for name, interval in intervals.items()}
    for lead in (numbers["difference"], numbers["difference_vote"]):
        lead["verdict"] = verdict(lead["low"], lead["high"], protocol.margin)
    # The clearest quiz of this size: the machine is always right, and the readers never.
    clearest = difference_interval(panel * 0, np.ones(len(truth)), specimen, **several)
    kappa, n_laboratories = panel_kappa(sheets), len(set(found.laboratory))
    return (
        numbers
        | asdict(protocol)
        | {
            "n_images": len(truth),
            "n_specimens": int(specimen.max() + 1),
            "n_effective_specimens": float(len(truth) ** 2 / (np.bincount(specimen) ** 2).sum()),
            "n_readers": len(panel),
            "n_laboratories": n_laboratories,
            "n_shown": len(found.readers),
            "n_no_answer": int((found.readers["answer"] == NO_ANSWER).sum()),
            "left_out": list(found.role.index[found.role == SILENT]),
            "readers_are": "a sample" if n_laboratories >= FEWEST_READERS else "these",
            "simulated_panel": bool((found.readers["kind"] == "simulated human").any()),
            "conclusive": bool(clearest[1] > 0),
            "fleiss_kappa": None if np.isnan(kappa) else kappa,
            "kappas": mean_kappas(agreement_table(sheets, truth)),
        }
    )


def counted(n: int, noun: str) -> str:
    """A number with its noun: "1 image", "36 images"."""
    return f"{n} {noun}{'s' * (n != 1)}"


def p_words(p: float) -> str:
    """A p-value as it is written: "p = 0.24", "p = 0.003", "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def size_sentences(numbers: dict) -> list[str]:
    """How large the comparison is, and who was left out: what comes before any table.

    Parameters
    ----------
    numbers : dict
        As `headline` gives it.
    """
    n, kind = numbers["n_specimens"], "simulated reader" if numbers["simulated_panel"] else "reader"
    quiz, alike = (
        f"{counted(numbers['n_images'], 'quiz image')} of {counted(n, 'specimen')}",
        numbers["n_effective_specimens"],
    )
    uneven = f" (of unequal size, they count as {alike:.1f} of equal size)" * (alike < 0.9 * n)
    laboratories = f" of {numbers['n_laboratories']} laboratories" * (numbers["n_laboratories"] < numbers["n_readers"])
    size = (
        f"{quiz}{uneven} were answered by {counted(numbers['n_readers'], kind)}{laboratories}: {numbers['n_shown']} images "
        f"shown in all, {numbers['n_no_answer']} of them left without an answer, which counts as wrong."
    )
    if not numbers["conclusive"]:
        size = (
            f"{quiz}: nothing can be concluded; about {LARGE_ENOUGH} images, each of its own specimen, and twelve readers "
            "are needed to show a difference of 0.15 in four of five such quizzes."
        )
    left = numbers["left_out"]
    return [size] + [f"Left out, as they answered nothing: {', '.join(left)}."] * bool(left)


def _against(numbers: dict, name: str, other: str, endpoint: str) -> str:
    """The sentence on one difference."""
    d, margin = numbers[name], f"{numbers['margin']:g}"
    who = f"machine and {other} cannot be told apart"
    if d["low"] > 0 or d["high"] < 0:
        who = f"the machine is {'more' if d['low'] > 0 else 'less'} often right than {other}"
    shown = {
        "superior": "superiority, as the interval lies above 0",
        "inferior": "inferiority, as the interval lies below 0",
        "equivalent": f"equivalence, as the interval lies within {margin} of 0",
        "non-inferior": f"non-inferiority at the margin of {margin}, but not superiority",
        "undecided": f"neither superiority nor non-inferiority at the margin of {margin}: undecided",
    }
    rank = "Primary endpoint" if numbers["primary"] == endpoint else "Secondary"
    means = ", and ".join(shown[word] for word in d["verdict"].split(" and "))
    # Three digits, so that a bound beside the margin is seen to be so.
    size = f"difference {d['value']:+.3f} (95 % interval {d['low']:+.3f} to {d['high']:+.3f})"
    return f"{rank if numbers['declared'] else 'Not declared beforehand'}: {who}: {size}. This shows {means}."


def _tests(numbers: dict, tests: pd.DataFrame) -> list[str]:
    """What the exact tests say of single readers and of the vote, or that they can say nothing."""
    holm = f" after Holm's correction over {len(tests)} comparisons" * (len(tests) > 1)
    if not (tests["p_least"] < 0.05).any():
        return [
            f"Exact tests against single readers cannot decide: {counted(numbers['n_specimens'], 'specimen')} allow no "
            f"p-value below {tests['p_least'].min():.2g}{holm}."
        ]
    single = tests[tests["role"] == READER]
    sure = single["p_holm"] < 0.05
    better, worse = (int((sure & side).sum()) for side in (single["difference"] > 0, single["difference"] < 0))
    sentences = [
        f"By exact tests the machine is better than {better} and worse than {worse} of {counted(len(single), 'reader')} "
        f"(smallest p-value: {p_words(single['p_holm'].min())}{holm})."
    ]
    for row in tests[tests["role"] == VOTE].itertuples():
        sentences.append(
            f"Against the majority vote it alone is right on {row.machine_only_correct:.3g} images and the vote alone on "
            f"{row.reader_only_correct:.3g}, a tied vote counting as a coin would ({p_words(row.p_holm)}{holm})."
        )
    return sentences


def claim_sentences(numbers: dict, tests: pd.DataFrame) -> list[str]:
    """What the comparison supports, sentence by sentence, each chosen by its interval.

    Parameters
    ----------
    numbers : dict
        As `headline` gives it.
    tests : DataFrame
        As `accuracy.mcnemar_table` gives it.
    """
    n, kind = numbers["n_readers"], "simulated reader" if numbers["simulated_panel"] else "reader"
    few, kappas, margin = numbers["readers_are"] == "these", numbers["kappas"], f"margin of {numbers['margin']:g}"
    readers = f"the mean of these {n} {kind}s" if few else f"the mean of {kind}s like these {n}"
    mean = _against(numbers, "difference", readers if n > 1 else f"this {kind}", ENDPOINTS[0])
    vote = _against(numbers, "difference_vote", f"the majority vote of these {n}", ENDPOINTS[1])
    sentences = [mean, vote] if numbers["primary"] == ENDPOINTS[0] else [vote, mean]
    sentences = [*(sentences if n > 1 else [mean]), *_tests(numbers, tests)]
    if not numbers["conclusive"]:
        sentences = size_sentences(numbers)[:1]
    if numbers["fleiss_kappa"] is not None:
        sentences.append(f"The {kind}s agree in their answers with Fleiss' kappa {numbers['fleiss_kappa']:.2f}.")
    if None not in kappas.values():
        sentences.append(
            "Error consistency, the agreement on which images are got wrong: mean kappa "
            f"{kappas['machine_and_readers']:.2f} between the machine and these {n}, {kappas['readers']:.2f} among them. No "
            "interval of such means holds, so none is given."
        )
    if few:
        sentences.append(
            f"With fewer than {FEWEST_READERS} readers or laboratories these sentences are about "
            f"{'this one' if n == 1 else 'these'}, on other images of the same kind; they say nothing of other readers."
        )
    declared = f"The {margin} and the primary endpoint ({numbers['primary']}) were declared on {numbers['declared']}."
    if not numbers["declared"]:
        late = numbers["late"] or "No protocol was declared before the answers were given"
        declared = f"{late}: the {margin} is this run's, and all of this is exploratory."
    return [*sentences, *size_sentences(numbers)[1:], declared]
