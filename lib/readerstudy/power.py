"""What a quiz can show, and how far its verdicts can be trusted: both on simulated quizzes whose truth is known."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pandas as pd
from scipy.special import expit
from tqdm import tqdm

from readerstudy.intervals import FEWEST_READERS, difference_interval
from readerstudy.protocol import MARGIN

# This study's choices, in logits: how much images differ, and readers; and how much of the variance of difficulty lies
# between specimens.
SD_DIFFICULTY, SD_ABILITY, SPECIMEN_SHARE = 1.2, 0.7, 0.5
# Beyond these, expected accuracies are cut: no one is right, or wrong, for certain.
LOWEST, HIGHEST = 0.02, 0.995
_ABILITIES = np.linspace(-12, 20, 3001)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(61)


@functools.cache
def _accuracies(sd: float) -> np.ndarray:
    """Expected accuracy at each of `_ABILITIES`, over normal difficulties of this standard deviation."""
    return expit(_ABILITIES[:, None] - sd * _NODES) @ _WEIGHTS / _WEIGHTS.sum()


def simulate(rng, n: int, specimen, n_readers: int, accuracy: float, difference: float = 0.0, shared: float = 1.0,
             specimen_share: float = SPECIMEN_SHARE):  # fmt: skip
    """Simulate quizzes, each with new readers and images.

    A decision maker of ability a gets an image of difficulty d right with probability logistic(a - d); abilities and
    difficulties are normal, and difficulties partly shared by the images of a specimen.

    Parameters
    ----------
    rng : numpy Generator
    n : int
        Number of quizzes.
    specimen : array (n_images,) of int
        Specimen of each image.
    n_readers : int
    accuracy : float
        Of the panel, expected over readers and images.
    difference : float
        By which the machine's expected accuracy is above the panel's; above these readers' own mean where they are
        fewer than `intervals.FEWEST_READERS`, as the interval is then about these.
    shared : float
        Share of the variance of an image's difficulty that is the same for machine and readers, who share all of it.
    specimen_share : float
        Share of that variance that lies between specimens.

    Returns
    -------
    panel : array (n, n_readers, n_images) of 0 and 1
    machine : array (n, n_images)
    truth : array (n,)
        The difference that the interval is about; cut where the machine would be above 0.995.
    """

    def difficulty():
        between = rng.normal(0, np.sqrt(specimen_share), (n, specimen.max() + 1))[:, specimen]
        return SD_DIFFICULTY * (between + rng.normal(0, np.sqrt(1 - specimen_share), (n, len(specimen))))

    spread = float(np.hypot(SD_DIFFICULTY, SD_ABILITY))
    abilities = np.interp(accuracy, _accuracies(spread), _ABILITIES) + rng.normal(0, SD_ABILITY, (n, n_readers))
    own = _accuracies(SD_DIFFICULTY)
    level = np.full(n, accuracy) if n_readers >= FEWEST_READERS else np.interp(abilities, _ABILITIES, own).mean(1)
    aim = np.clip(level + difference, LOWEST, HIGHEST)
    theirs = difficulty()
    ours = np.sqrt(shared) * theirs + np.sqrt(1 - shared) * difficulty()
    panel = rng.random((n, n_readers, len(specimen))) < expit(abilities[:, :, None] - theirs[:, None])
    machine = rng.random((n, len(specimen))) < expit(np.interp(aim, own, _ABILITIES)[:, None] - ours)
    return panel.astype(float), machine.astype(float), aim - level


def power_table(specimen, n_readers: int, accuracy: float = 0.8, differences=(0.0, 0.05, 0.1, 0.15, 0.2, 0.3),
                shared=(1.0, 0.5, 0.0), margin: float = MARGIN, n_quizzes: int = 1000,
                seed: int = 0) -> pd.DataFrame:  # fmt: skip
    """How often a quiz shows superiority, and non-inferiority, at a true difference between machine and panel.

    Parameters
    ----------
    specimen : array (n_images,) of int
        Specimen of each image of the quiz.
    n_readers, accuracy, shared
        As for `simulate`. Power is highest where machine and readers find the same images hard.
    differences : sequence of float
        Those that would bring the machine above 0.995 are left out.
    margin : float
        Of non-inferiority.
    n_quizzes, seed : int

    Returns
    -------
    DataFrame
        n_images, n_readers, panel_accuracy, shared_difficulty, true_difference, superior, non_inferior.
    """
    rng, rows = np.random.default_rng(seed), []
    for share, difference in itertools.product(shared, differences):
        if accuracy + difference > HIGHEST:
            continue
        panel, machine, _ = simulate(rng, n_quizzes, specimen, n_readers, accuracy, difference, share)
        low = difference_interval(panel, machine, specimen)[1]
        rows.append((len(specimen), n_readers, accuracy, share, difference, (low > 0).mean(), (low > -margin).mean()))
    columns = "n_images n_readers panel_accuracy shared_difficulty true_difference superior non_inferior".split()
    return pd.DataFrame(rows, columns=columns)


def designs() -> dict[str, list[int]]:
    """Quizzes of the table of verdicts: name -> images of each specimen."""
    found = {f"{n} specimens alike": [36 // n] * n for n in (1, 2, 3, 6, 12, 36)} | {"7 specimens alike": [3] * 7}
    for n, rest in ((2, 24), (6, 24), (12, 24), (36, 35)):
        found[f"12 images of one, {rest} of {n - 1} more"] = [12, *np.bincount(np.arange(rest) % (n - 1)).tolist()]
    return found | {"12, 11, 7, 3, 2, 1": [12, 11, 7, 3, 2, 1]}


def verdict_table(readers=(1, 2, 3, 5, 12), sizes: dict | None = None, accuracies=(0.6, 0.8, 0.95), shared=(0.0, 0.5, 1.0),
                  specimen_shares=(0.5, 0.9), n_quizzes: int = 6000, seed: int = 0) -> pd.DataFrame:  # fmt: skip
    """Coverage, false verdicts and power of `intervals.difference_interval` over panels and quizzes of many sizes.

    At each size the machine is as accurate as the panel (true difference 0), less accurate by the margin, more accurate
    by it, and more accurate by 0.15. A verdict is false when it says superior or inferior at 0, non-inferior at minus the
    margin, or equivalent at the margin on either side.

    Parameters
    ----------
    readers, accuracies, shared, specimen_shares : sequences
        As for `simulate`.
    sizes : dict, optional
        As `designs` gives it.
    n_quizzes, seed : int
        Simulated for each number; with 6000 a rate of 0.025 is known to 0.004.

    Returns
    -------
    DataFrame
        quiz, n_images, n_specimens, n_readers, readers_are, accuracy, shared_difficulty, specimen_share; coverage
        (smallest at the true differences), false_superior, false_inferior, false_non_inferior, false_equivalent;
        power_superior (at +0.15; NaN where the machine would have to be above 0.995) and power_non_inferior (at 0).
    """
    rows, shifts = [], {"at 0": 0.0, "below": -MARGIN, "above": MARGIN, "far": 0.15}
    cells = itertools.product((sizes or designs()).items(), readers, accuracies, shared, specimen_shares)
    for number, ((name, counts), n_readers, accuracy, share, between) in enumerate(
        tqdm(list(cells), "verdicts", unit="row")
    ):
        specimen, rng = np.repeat(np.arange(len(counts)), counts), np.random.default_rng([seed, number])
        low, high, held, truth = {}, {}, [], {}
        for shift, by in shifts.items():
            # The panel, not the machine, is moved down where the machine would come too near to 1.
            base = min(accuracy, 0.97 - max(by, 0))
            panel, machine, truth[shift] = simulate(rng, n_quizzes, specimen, n_readers, base, by, share, between)
            _, low[shift], high[shift] = difference_interval(panel, machine, specimen)
            held.append(((low[shift] <= truth[shift] + 1e-9) & (truth[shift] <= high[shift] + 1e-9)).mean())
        row = (name, len(specimen), len(counts), n_readers, "a sample" if n_readers >= FEWEST_READERS else "these")
        within = [((low[s] > -MARGIN) & (high[s] < MARGIN)).mean() for s in ("below", "above")]
        false = (low["at 0"] > 0).mean(), (high["at 0"] < 0).mean(), (low["below"] > -MARGIN).mean(), max(within)
        # These readers may be so good that no machine can be better by so much.
        power = (low["far"] > 0).mean() if truth["far"].mean() > 0.14 else np.nan
        rows.append((*row, accuracy, share, between, min(held), *false, power, (low["at 0"] > -MARGIN).mean()))
    columns = "quiz n_images n_specimens n_readers readers_are accuracy shared_difficulty specimen_share coverage " \
        "false_superior false_inferior false_non_inferior false_equivalent power_superior power_non_inferior"  # fmt: skip
    return pd.DataFrame(rows, columns=columns.split())
