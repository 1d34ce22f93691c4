"""How far the comparison can be trusted: power, coverage of every interval, and false verdicts, on simulated quizzes.

``python -m readerstudy.power --out figures/verdicts.csv`` makes the table of false verdicts (some minutes).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from readerstudy.agreement import kappa_draws, posterior_limits
from readerstudy.inference import (
    FEWEST_READERS,
    difference_interval,
    mean_interval,
    share_interval,
)
from readerstudy.protocol import MARGIN
from readerstudy.psychometrics import calibration_intervals, rasch_fit
from readerstudy.simulation import (
    ability_of,
    accuracy_of,
    over_images,
    simulate,
    vote,
    vote_accuracy,
)

# Beyond these, expected accuracies are cut: no one is right, or wrong, for certain.
LOWEST, HIGHEST = 0.02, 0.995
READERS, DESIGNS = (1, 2, 3, 5, 12), ((21, 21), (36, 36), (36, 12), (36, 9))
ACCURACIES = (0.70, 0.80, 0.85, 0.90, 0.95, 0.97)


def panel_truth(abilities: np.ndarray, panel_accuracy: float) -> np.ndarray:
    """What an interval of the panel's mean is about (n,): readers at large, or these where they are few."""
    if abilities.shape[1] >= FEWEST_READERS:
        return np.full(len(abilities), panel_accuracy)
    return accuracy_of(abilities).mean(1)


def power_table(specimen, n_readers, base: float, differences=(0.0, 0.05, 0.1, 0.15, 0.2, 0.3), margin: float = MARGIN,
                n_quizzes: int = 1000, seed: int = 0) -> pd.DataFrame:  # fmt: skip
    """How often a quiz shows superiority, and non-inferiority, at a true difference between machine and panel.

    Parameters
    ----------
    specimen : array (n_images,) of int
        Specimen of each image of the quiz.
    n_readers : int or sequence of int
    base : float
        Expected accuracy of the panel; the machine's is higher by the difference.
    differences : sequence of float
        Those that would bring the machine above 0.995 are left out.
    margin : float
        Of non-inferiority.
    n_quizzes, seed : int

    Returns
    -------
    DataFrame
        n_images, n_readers, panel_accuracy, true_difference, superior, non_inferior.
    """
    rng, rows = np.random.default_rng(seed), []
    for readers in np.atleast_1d(n_readers):
        for difference in differences:
            if base + difference > HIGHEST:
                continue
            quizzes = simulate(
                rng, n_quizzes, readers, specimen, base,
                lambda abilities, d=difference: np.clip(panel_truth(abilities, base) + d, LOWEST, HIGHEST),
            )  # fmt: skip
            low = difference_interval(quizzes.panel, quizzes.machine, specimen)[1]
            found = (low > 0).mean(), (low > -margin).mean()
            rows.append((len(specimen), int(readers), base, float(difference), *map(float, found)))
    return pd.DataFrame(rows, columns="n_images n_readers panel_accuracy true_difference superior non_inferior".split())


def _pair_kappa(first, second):
    """Error consistency of two abilities over all images."""
    both = over_images_of_two(first, second)
    p, q = accuracy_of(first), accuracy_of(second)
    expected = p * q + (1 - p) * (1 - q)
    return (1 - p - q + 2 * both - expected) / (1 - expected)


def over_images_of_two(first, second):
    """Chance that both of two abilities are right on the same image."""
    return over_images(lambda p: p[..., 0, :] * p[..., 1, :], np.stack(np.broadcast_arrays(first, second), axis=-1))


def coverage_table(specimen, n_readers: int, panel_accuracy: float, machine_accuracy: float, n_panels: int = 400,
                   seed: int = 0) -> pd.DataFrame:  # fmt: skip
    """How often the nominal 95 % intervals hold the truth, for a quiz of this design and these accuracies.

    Every panel is a new draw of readers, images and answers. With few readers the truth of the panel's intervals is these
    readers'; that of the vote, the kappas and the Rasch abilities always is. The slow ones have a quarter of the panels.

    Parameters
    ----------
    specimen : array (n_images,) of int
    n_readers : int
    panel_accuracy, machine_accuracy : float
        Expected accuracies; cut to 0.02 and 0.995.
    n_panels, seed : int

    Returns
    -------
    DataFrame
        interval, n_images, n_readers, panel_accuracy, machine_accuracy, n_panels, coverage, coverage_low, coverage_high
        (exact 95 % interval of the coverage itself), mean_width.
    """
    panel_accuracy, machine_accuracy = np.clip([panel_accuracy, machine_accuracy], LOWEST, HIGHEST).tolist()
    rng = np.random.default_rng(seed)
    q = simulate(rng, n_panels, n_readers, specimen, panel_accuracy, lambda a: np.full(len(a), machine_accuracy))
    of_panel = panel_truth(q.abilities, panel_accuracy)
    votes, of_vote = vote(rng, q.panel), vote_accuracy(rng, q.abilities)
    found = {}

    def keep(name, truth, low, high):
        found[name] = np.broadcast_arrays(*(np.asarray(v, float) for v in (truth, low, high)))

    keep("machine", machine_accuracy, *np.transpose([share_interval(m, specimen)[1:] for m in q.machine]))
    keep("panel mean", of_panel, *mean_interval(q.panel, specimen)[1:])
    keep("majority vote", of_vote, *np.transpose([share_interval(v, specimen)[1:] for v in votes]))
    keep("difference", machine_accuracy - of_panel, *difference_interval(q.panel, q.machine, specimen)[1:])
    lead = difference_interval(votes[:, None], q.machine, specimen, random_readers=False)
    keep("difference to the vote", machine_accuracy - of_vote, *lead[1:])
    _calibration(rng, q, specimen, panel_accuracy, keep)
    few = max(1, n_panels // 4)
    _consistency(rng, q, specimen, few, keep)
    fitted = [rasch_fit(panel) for panel in q.panel[:few]]
    # Only distances between abilities can be known; both sides are taken from their panel's mean.
    own = np.array([logit[:n_readers] - logit[:n_readers].mean() for logit, _ in fitted])
    half = np.array([half[:n_readers] for _, half in fitted])
    if n_readers > 1:
        keep("Rasch ability", q.abilities[:few] - q.abilities[:few].mean(1, keepdims=True), own - half, own + half)
    rows = []
    for name, (truth, low, high) in found.items():
        held = (low <= truth + 1e-9) & (truth <= high + 1e-9)
        limits = proportion_confint(held.sum(), held.size, 0.05, "beta")
        rows.append((name, len(specimen), n_readers, panel_accuracy, machine_accuracy, len(held), held.mean(), *limits,
                     (high - low).mean()))  # fmt: skip
    columns = "interval n_images n_readers panel_accuracy machine_accuracy n_panels coverage coverage_low coverage_high"
    return pd.DataFrame(rows, columns=[*columns.split(), "mean_width"])


def _calibration(rng, q, specimen, panel_accuracy, keep):
    """Confidences about the chance to be right, Beta(1 + 6 p, 7 - 6 p), and the truth of overconfidence and Brier score."""

    def truths(ability):
        gap = over_images(lambda p: (1 + 6 * p) / 8 - p, ability)
        # Mean square of the confidence is that of its mean plus its variance.
        square = lambda p: ((1 + 6 * p) / 8) ** 2 + (1 + 6 * p) * (7 - 6 * p) / (64 * 9)  # noqa: E731
        return gap, over_images(lambda p: square(p) - 2 * p * (1 + 6 * p) / 8 + p, ability)

    for who, ability, right in (
        ("machine", q.machine_ability[:, None], q.machine[:, None]),
        ("panel", q.abilities, q.panel),
    ):
        p = 1 / (1 + np.exp(q.difficulty[:, None] - ability[:, :, None]))
        intervals = calibration_intervals(rng.beta(1 + 6 * p, 7 - 6 * p), right, specimen)
        of_readers = truths(ability)
        if who == "panel" and ability.shape[1] >= FEWEST_READERS:
            spread = np.random.default_rng(0).normal(ability.mean(), ability.std(), 20_000)
            of_readers = [np.full(ability.shape, t.mean()) for t in truths(spread)]
        for (name, (_, low, high)), truth in zip(intervals.items(), of_readers, strict=True):
            keep(f"{name} of the {who}", truth.mean(1), low, high)


def _consistency(rng, q, specimen, n, keep):
    """Kappa of the machine with a reader, and the mean with all less the mean among them."""
    draws = [
        kappa_draws(np.vstack([m, panel]), specimen, 400, int(rng.integers(2**31)))
        for m, panel in zip(q.machine[:n], q.panel[:n], strict=True)
    ]
    with_machine = _pair_kappa(q.machine_ability[:n, None], q.abilities[:n])
    n_specimens = specimen.max() + 1
    bounds = np.array([posterior_limits(d[:, 0, 1], n_specimens, n_specimens < len(specimen)) for d in draws])
    keep("kappa of machine and reader", with_machine[:, 0], *bounds.T)
    i, j = np.triu_indices(q.abilities.shape[1], 1)
    if len(i):
        truth = with_machine.mean(1) - _pair_kappa(q.abilities[:n, i], q.abilities[:n, j]).mean(1)
        gaps = [d[:, 0, 1:].mean(1) - d[:, i + 1, j + 1].mean(1) for d in draws]
        keep("difference of mean kappas", truth, *np.array([posterior_limits(g, n_specimens) for g in gaps]).T)


def percentile_bootstrap(panel, machine, specimen, n_draws: int = 500, seed: int = 0):
    """What this study does not use: percentiles of the difference over readers and specimens drawn with replacement.

    Kept to show, beside `inference.difference_interval`, what that one mends and what it costs.

    Returns
    -------
    low, high : arrays (n,)
    """
    rng = np.random.default_rng(seed)
    n_readers, n_specimens = panel.shape[1], specimen.max() + 1
    readers = rng.multinomial(n_readers, np.full(n_readers, 1 / n_readers), n_draws) / n_readers
    images = rng.multinomial(n_specimens, np.full(n_specimens, 1 / n_specimens), n_draws)[:, specimen]
    images = images / images.sum(1, keepdims=True)
    lead = machine[:, None] - panel
    low, high = np.transpose([np.quantile(((readers @ x) * images).sum(1), (0.025, 0.975)) for x in lead])
    return np.where(np.abs(low) < 1e-12, 0, low), np.where(np.abs(high) < 1e-12, 0, high)


def verdict_table(readers=READERS, designs=DESIGNS, accuracies=ACCURACIES, n_quizzes: int = 4000, margin: float = MARGIN,
                  seed: int = 0, say=lambda row: None) -> pd.DataFrame:  # fmt: skip
    """Coverage, false verdicts and power over panels and quizzes of many sizes.

    At each size the machine is as accurate as the panel (true difference 0), less accurate by the margin, more accurate
    by it, and more accurate by 0.15. A verdict is false when it says superior or inferior at 0, non-inferior at minus the
    margin, or equivalent at the margin on either side.

    Parameters
    ----------
    readers : sequence of int
    designs : sequence of (n_images, n_specimens)
    accuracies : sequence of float
        Of the panel.
    n_quizzes : int
        Simulated for each number; a rate of 0.025 is then known to 0.005.
    margin : float
    seed : int
    say : function, optional
        Called with each finished row.

    Returns
    -------
    DataFrame
        n_images, n_specimens, n_readers, readers_are, against (panel mean, majority vote), method, accuracy; coverage
        (smallest at the true differences), false_superior, false_inferior, false_non_inferior, false_equivalent;
        power_superior (at +0.15; NaN where the machine would have to be above 0.995) and power_non_inferior (at 0).
    """
    rows = []
    for n_images, n_specimens in designs:
        specimen = np.arange(n_images) * n_specimens // n_images
        for n_readers in readers:
            for accuracy in accuracies:
                for row in _verdict_rows(specimen, n_readers, accuracy, n_quizzes, margin, seed):
                    rows.append(row)
                    say(row)
    return pd.DataFrame(rows)


def _verdict_rows(specimen, n_readers, accuracy, n_quizzes, margin, seed):
    rng = np.random.default_rng([seed, len(specimen), specimen.max(), n_readers, int(1000 * accuracy)])
    shifts = {"at 0": 0.0, "below": -margin, "above": margin, "far": 0.15}
    found = {}
    for shift, by in shifts.items():
        # The panel, not the machine, is moved down where the machine would come too near to 1.
        base = min(accuracy, 0.97 - max(by, 0))
        asked = simulate(
            rng, n_quizzes, n_readers, specimen, base,
            lambda a, base=base, by=by: np.clip(panel_truth(a, base) + by, LOWEST, HIGHEST),
        )  # fmt: skip
        lead = accuracy_of(asked.machine_ability) - panel_truth(asked.abilities, base)
        found["panel mean", "this study", shift] = lead, *difference_interval(asked.panel, asked.machine, specimen)[1:]
        before = percentile_bootstrap(asked.panel, asked.machine, specimen, seed=seed)
        found["panel mean", "percentile bootstrap", shift] = lead, *before
        if n_readers > 1:
            of_vote = vote_accuracy(rng, asked.abilities)
            ability = ability_of(np.clip(of_vote + by, LOWEST, HIGHEST))
            machine = rng.random(asked.machine.shape) < 1 / (1 + np.exp(asked.difficulty - ability[:, None]))
            votes = vote(rng, asked.panel)[:, None]
            limits = difference_interval(votes, machine.astype(float), specimen, random_readers=False)[1:]
            found["majority vote", "this study", shift] = accuracy_of(ability) - of_vote, *limits
    for against, method in dict.fromkeys(key[:2] for key in found):
        held = {
            shift: ((low <= t + 1e-9) & (t <= high + 1e-9)).mean()
            for (a, m, shift), (t, low, high) in found.items() if (a, m) == (against, method)
        }  # fmt: skip
        low, high = ({s: found[against, method, s][k] for s in shifts} for k in (1, 2))
        far = found[against, method, "far"][0].mean()
        within = {s: (low[s] > -margin) & (high[s] < margin) for s in ("below", "above")}
        yield {
            "n_images": len(specimen),
            "n_specimens": int(specimen.max() + 1),
            "n_readers": n_readers,
            "readers_are": "a sample" if n_readers >= FEWEST_READERS and against == "panel mean" else "these",
            "against": against,
            "method": method,
            "accuracy": accuracy,
            "coverage": min(held.values()),
            "false_superior": (low["at 0"] > 0).mean(),
            "false_inferior": (high["at 0"] < 0).mean(),
            "false_non_inferior": (low["below"] > -margin).mean(),
            "false_equivalent": max(w.mean() for w in within.values()),
            # A vote may be so good that no machine can be better by so much.
            "power_superior": (low["far"] > 0).mean() if far > shifts["far"] - 0.01 else np.nan,
            "power_non_inferior": (low["at 0"] > -margin).mean(),
        }


def main(arguments: list[str] | None = None) -> int:
    """Write the table of false verdicts, and its figure beside it."""
    parser = argparse.ArgumentParser(prog="python -m readerstudy.power", description=main.__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("figures/verdicts.csv"), help="table to write; the figure lies beside"
    )
    parser.add_argument("--quizzes", type=int, default=4000, help="simulated quizzes behind each number")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.quizzes < 1 or options.out.suffix != ".csv":
        parser.error("--quizzes must be at least 1, and --out a .csv file")
    from microrace import figures

    def say(row):
        print(
            f"{row['n_images']} images, {row['n_readers']} readers, {row['accuracy']:.2f}, {row['against']}", file=sys.stderr
        )

    table = verdict_table(n_quizzes=options.quizzes, seed=options.seed, say=say).round(4)
    figures.save(figures.verdicts(table), options.out.parent, options.out.stem, table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
