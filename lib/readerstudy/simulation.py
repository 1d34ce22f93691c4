"""Quizzes whose truth is known: readers and a machine on images of several specimens, for power and coverage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

# This study's choices, in logits: how much images differ, of which half the variance is between specimens, and readers.
SD_DIFFICULTY, SPECIMEN_SHARE, SD_ABILITY = 1.2, 0.5, 0.7
N_ANSWERS = 6
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_GRID = np.linspace(-10, 15, 5001)


def over_images(function, ability):
    """Expectation over normal difficulties of ``function(p)``, p the chance that one of this ability is right."""
    return (_WEIGHTS * function(expit(np.asarray(ability)[..., None] - SD_DIFFICULTY * _NODES))).sum(-1)


def accuracy_of(ability):
    """Expected accuracy of a decision maker of this ability (logits)."""
    return over_images(lambda p: p, ability)


_ACCURACIES = accuracy_of(_GRID)


def ability_of(accuracy):
    """Ability, in logits, that is right on this share of images."""
    return np.interp(accuracy, _ACCURACIES, _GRID)


def mean_ability(panel_accuracy: float) -> float:
    """Mean ability of readers whose expected accuracy, over readers and images, is ``panel_accuracy``."""
    spread = np.hypot(SD_ABILITY, SD_DIFFICULTY)
    return brentq(lambda a: _WEIGHTS @ expit(a - spread * _NODES) - panel_accuracy, -15, 20)


@dataclass(frozen=True)
class Quizzes:
    """Simulated quizzes with their truth.

    Attributes
    ----------
    panel : array (n, n_readers, n_images) of 0 and 1
    machine : array (n, n_images)
    abilities : array (n, n_readers)
    machine_ability : array (n,)
    difficulty : array (n, n_images)
    """

    panel: np.ndarray
    machine: np.ndarray
    abilities: np.ndarray
    machine_ability: np.ndarray
    difficulty: np.ndarray


def simulate(rng, n: int, n_readers: int, specimen: np.ndarray, panel_accuracy: float, machine) -> Quizzes:
    """Simulate quizzes, each with new readers and images.

    A decision maker of ability a gets an image of difficulty d right with probability logistic(a - d); abilities and
    difficulties are normal, and difficulties partly shared by the images of a specimen.

    Parameters
    ----------
    rng : numpy Generator
    n, n_readers : int
    specimen : array (n_images,) of int
        Specimen of each image.
    panel_accuracy : float
        Expected over readers and images.
    machine : function
        From the readers' abilities (n, n_readers) to the machine's expected accuracies (n,).

    Returns
    -------
    Quizzes
    """
    between = rng.normal(0, np.sqrt(SPECIMEN_SHARE), (n, specimen.max() + 1))[:, specimen]
    within = rng.normal(0, np.sqrt(1 - SPECIMEN_SHARE), (n, len(specimen)))
    difficulty = SD_DIFFICULTY * (between + within)
    abilities = mean_ability(panel_accuracy) + rng.normal(0, SD_ABILITY, (n, n_readers))
    of_machine = np.broadcast_to(ability_of(machine(abilities)), (n,))
    panel = rng.random((n, n_readers, len(specimen))) < expit(abilities[:, :, None] - difficulty[:, None])
    right = rng.random((n, len(specimen))) < expit(of_machine[:, None] - difficulty)
    return Quizzes(panel.astype(float), right.astype(float), abilities, of_machine, difficulty)


def vote(rng, panel: np.ndarray) -> np.ndarray:
    """Share of the majority vote that is right (n, n_images), ties as a coin would decide them.

    Wrong answers fall on one other of six answers half of the time, and else on any of the other four.

    Parameters
    ----------
    panel : array (n, n_readers, n_images)
        Right or wrong.
    """
    given = np.where(rng.random(panel.shape) < 0.5, 1, rng.integers(2, N_ANSWERS, panel.shape))
    given = np.where(panel == 1, 0, given)
    counts = np.stack([(given == k).sum(1) for k in range(N_ANSWERS)], axis=-1)
    top = counts == counts.max(-1, keepdims=True)
    return top[..., 0] / top.sum(-1)


def vote_accuracy(rng, abilities: np.ndarray, n_images: int = 1000) -> np.ndarray:
    """Expected accuracy of these readers' vote (n,), over ``n_images`` further images of each quiz."""
    out = np.empty(len(abilities))
    difficulty = rng.normal(0, SD_DIFFICULTY, n_images)
    for start in range(0, len(abilities), 100):
        some = abilities[start : start + 100]
        panel = rng.random((*some.shape, n_images)) < expit(some[:, :, None] - difficulty)
        out[start : start + 100] = vote(rng, panel).mean(1)
    return out
