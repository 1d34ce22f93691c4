"""A simulated panel: readers drawn from a psychometric model, marked as simulated in every row.

A Rasch model with lapses: a reader of ability a answers an image of difficulty d rightly with probability
logistic(a - d), but for lapses, in which any answer is as likely as any other. Where it is known how well an image shows
its structure, difficulty comes from that: how far the feature that tells the class is from being resolved, how few are in
view, and how much the specimen is like another class. Of other images nothing is known but that they differ. A wrong
answer falls rather on a class for which the specimen's is known to be mistaken. Every number is a choice, not a
measurement.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

# Of the readers, in logits, before a picture in which everything is seen well; and what an e-fold of years adds.
MEAN_ABILITY, SD_ABILITY, EXPERIENCE_SLOPE = 2.8, 0.7, 0.25
# A structure is seen well where its feature is three times what is resolved, and eight of it are in view.
SEEN_WELL_RESOLUTIONS, SEEN_WELL_FEATURES = 3.0, 8.0
MOST_OCTAVES = 3.0  # beyond this, seen worse is no longer harder
# Logits for an octave that is not resolved, for one by which too few are in view, for a specimen altogether like another.
UNRESOLVED_PENALTY, FEW_PENALTY, AMBIGUITY_PENALTY = 1.3, 0.8, 3.5
# What makes images differ besides; and, where nothing is known, what makes them differ at all, about the usual difficulty.
SD_DIFFICULTY, USUAL_DIFFICULTY, SD_UNKNOWN = 0.35, 1.2, 1.2
MISTAKEN_BONUS = 1.5  # logits that a wrong answer falls on a class for which the specimen's is known to be mistaken
LAPSE = 0.03  # share of answers given without looking


def visibility_terms(visibility: pd.DataFrame) -> pd.DataFrame | None:
    """How badly each image shows its structure, as the model's terms; None where it is not known of every image.

    Parameters
    ----------
    visibility : DataFrame
        By image: feature_over_resolution, features_in_view (both above 0), ambiguity (0 to 1).

    Returns
    -------
    DataFrame
        By image: unresolved and few (octaves, 0 to 3), ambiguity (0 to 1).
    """
    names = ["feature_over_resolution", "features_in_view", "ambiguity"]
    if not set(names) <= set(visibility):
        return None
    known = visibility[names].apply(pd.to_numeric, errors="coerce")
    if known.isna().any(axis=None) or not (known[names[:2]] > 0).all(axis=None):
        return None
    octaves = {
        "unresolved": np.log2(SEEN_WELL_RESOLUTIONS / known["feature_over_resolution"]),
        "few": np.log2(SEEN_WELL_FEATURES / known["features_in_view"]),
    }
    return pd.DataFrame(octaves).clip(0, MOST_OCTAVES).assign(ambiguity=known["ambiguity"].clip(0, 1))


def simulate(
    cases: pd.DataFrame, options: list[str], *, n_readers: int = 12, seed: int = 0, visibility: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Simulate a panel's answers; every row's ``kind`` is "simulated human".

    Parameters
    ----------
    cases : DataFrame
        By image: ``truth``; ``attrs["quiz_id"]`` names the quiz.
    options : list of str
        Answers to choose from, every right one among them.
    n_readers, seed : int
    visibility : DataFrame, optional
        By image, as `visibility_terms` takes it; and ``mistaken_for``, names joined by "; ".

    Returns
    -------
    DataFrame
        As `read_sheets`. ``attrs["ability"]`` and ``attrs["difficulty"]`` hold the truth, in logits.
    """
    rng = np.random.default_rng([seed, 4711])
    truth, noise = cases["truth"].to_numpy(), rng.standard_normal(len(cases))
    visibility = pd.DataFrame(index=cases.index) if visibility is None else visibility.reindex(cases.index)
    difficulty = USUAL_DIFFICULTY + SD_UNKNOWN * noise
    if (terms := visibility_terms(visibility)) is not None:
        difficulty = terms.to_numpy() @ [UNRESOLVED_PENALTY, FEW_PENALTY, AMBIGUITY_PENALTY] + SD_DIFFICULTY * noise
    years = np.round(rng.gamma(1.5, 7, n_readers), 1)
    experience = EXPERIENCE_SLOPE * (np.log1p(years) - np.log1p(years).mean())
    ability = MEAN_ABILITY + experience + rng.normal(0, SD_ABILITY, n_readers)
    mistaken = visibility["mistaken_for"] if "mistaken_for" in visibility else [""] * len(truth)
    odds = [[np.exp(MISTAKEN_BONUS * (o in str(names).split("; "))) for o in options] for names in mistaken]
    wrong = np.where(np.array(options) == truth[:, None], 0, odds)
    wrong /= wrong.sum(axis=1, keepdims=True)
    rows = []
    for r in range(n_readers):
        right = 1 / (1 + np.exp(-(ability[r] - difficulty)))
        for i, image in enumerate(cases.index):
            if rng.random() < LAPSE:
                given = options[rng.integers(len(options))]
            elif rng.random() < right[i]:
                given = truth[i]
            else:
                given = options[rng.choice(len(options), p=wrong[i])]
            confidence = np.clip(rng.beta(1 + 6 * right[i], 1 + 6 * (1 - right[i])), 0, 1)
            seconds = np.exp(rng.normal(2.4 + 0.4 * difficulty[i] - 0.1 * ability[r], 0.4))
            rows.append((image, f"simulated {r + 1:02d}", given, round(seconds, 1), round(confidence, 2), years[r]))
    columns = ["image", "decision_maker", "answer", "seconds", "confidence", "years_experience"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(0, "quiz", cases.attrs["quiz_id"])
    table.insert(3, "kind", "simulated human")
    table.attrs = {"ability": ability.tolist(), "difficulty": difficulty.tolist()}
    return table
