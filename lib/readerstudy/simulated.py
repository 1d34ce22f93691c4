"""A simulated panel: readers drawn from a psychometric model, marked as simulated in every row."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd

from micrographs import manifest as manifests
from micrographs import reading
from micrographs.manifest import NONE_OF_THESE
from readerstudy.sheets import OPTIONAL

# What the renderer writes into its manifest of each picture (`images.render.microscope.visibility`).
KNOWN = ("feature_over_resolution", "features_in_view", "ambiguity", "mistaken_for")
# A structure is seen well where its feature is three times what is resolved, and eight of it are in view.
SEEN_WELL_RESOLUTIONS, SEEN_WELL_FEATURES = 3.0, 8.0
MOST_OCTAVES = 3.0  # beyond this, seen worse is no longer harder
USUAL_DIFFICULTY = 1.2  # mean over the images of both rendered quizzes, for images of which nothing is known


@dataclass(frozen=True)
class PanelModel:
    """The psychometric model of the simulated panel; every number is this study's choice.

    A Rasch model with lapses: a reader of ability a answers an image of difficulty d rightly with probability
    logistic(a - d), but for lapses, in which any answer is as likely as any other. Where the renderer says what it
    drew, difficulty comes from that: how far the feature that tells the class is from being resolved, how few are in
    view, and how much the specimen looks like another class. Of other images only the looks and the scale are
    known: an image is harder the more it looks like another class than its own, and the farther its scale lies from the
    middle of the quiz. A wrong answer falls on the classes that the image looks like, by a softmax.

    Attributes
    ----------
    mean_ability, sd_ability : float
        Of the readers, in logits, before a picture in which everything is seen well.
    unresolved_penalty : float
        Logits for each octave by which the telling feature is smaller than three times what is resolved.
    few_penalty : float
        Logits for each octave by which fewer than eight features are in view.
    ambiguity_penalty : float
        Logits for a specimen that is altogether like another class.
    similarity_penalty : float
        Logits for each standard deviation by which the closest other class looks more like the image than its own.
        Only for images of which nothing is known.
    scale_penalty : float
        Logits for each octave that an image lies beyond the middle scale of the quiz. Only for such images.
    sd_difficulty, sd_difficulty_unknown : float
        Of what makes images differ besides, in logits: where the above is known, and where it is not.
    confusion_sharpness : float
        How strongly wrong answers go to classes that look like the image; at 0 all are as likely.
    mistaken_bonus : float
        Logits that a wrong answer falls rather on a class for which the specimen's is known to be mistaken.
    lapse : float
        Share of answers given without looking.
    experience_slope : float
        Logits an e-fold of years.
    """

    mean_ability: float = 2.8
    sd_ability: float = 0.7
    unresolved_penalty: float = 1.3
    few_penalty: float = 0.8
    ambiguity_penalty: float = 3.5
    similarity_penalty: float = 0.6
    scale_penalty: float = 0.12
    sd_difficulty: float = 0.35
    sd_difficulty_unknown: float = 1.0
    confusion_sharpness: float = 1.0
    mistaken_bonus: float = 1.5
    lapse: float = 0.03
    experience_slope: float = 0.25


def visibility_terms(manifest: pd.DataFrame) -> pd.DataFrame | None:
    """What the renderer knows of each quiz image, as the model's terms; None where any image lacks it.

    Returns
    -------
    DataFrame
        One row a quiz image (index: file): ``unresolved`` and ``few`` (octaves, 0 to 3) and ``ambiguity`` (0 to 1).
    """
    quiz = manifest[manifest["split"] == "quiz"].set_index("file")
    if not set(KNOWN) <= set(quiz):
        return None
    known = quiz[list(KNOWN[:3])].apply(pd.to_numeric, errors="coerce")
    if not (known[["feature_over_resolution", "features_in_view"]] > 0).all(axis=None) or known.isna().any(axis=None):
        return None
    octaves = {
        "unresolved": np.log2(SEEN_WELL_RESOLUTIONS / known["feature_over_resolution"]),
        "few": np.log2(SEEN_WELL_FEATURES / known["features_in_view"]),
    }
    terms = pd.DataFrame(octaves).clip(0, MOST_OCTAVES)
    return terms.assign(ambiguity=known["ambiguity"].clip(0, 1))


def difficulties(manifest: pd.DataFrame, alike: pd.DataFrame, model: PanelModel, rng) -> np.ndarray:
    """Difficulty of each quiz image in logits, in the order of `manifests.truth`.

    Parameters
    ----------
    manifest : DataFrame
    alike : DataFrame
        As `visual_similarity` gives it.
    model : PanelModel
    rng : numpy Generator

    Returns
    -------
    array (n_images,)
    """
    truth, terms = manifests.truth(manifest), visibility_terms(manifest)
    noise = rng.standard_normal(len(truth))
    if terms is not None:
        weights = [model.unresolved_penalty, model.few_penalty, model.ambiguity_penalty]
        columns = terms.reindex(truth.index)[["unresolved", "few", "ambiguity"]].to_numpy()
        return columns @ weights + model.sd_difficulty * noise
    own = np.array([alike.loc[image, answer] for image, answer in truth.items()])
    other = np.array([alike.loc[image].drop(answer).max() for image, answer in truth.items()])
    like_another = (other - own - (other - own).mean()) / ((other - own).std() + 1e-9)
    log_scale = np.log2(manifest.set_index("file")["pixels_per_um"].reindex(truth.index).to_numpy())
    off_middle = np.abs(log_scale - np.median(log_scale))
    difficulty = model.similarity_penalty * like_another + model.scale_penalty * (off_middle - off_middle.mean())
    # Centred where nothing is known: such a panel is as good as one before images of usual difficulty.
    return USUAL_DIFFICULTY + difficulty + model.sd_difficulty_unknown * noise


def wrong_answers(manifest: pd.DataFrame, alike: pd.DataFrame, model: PanelModel) -> np.ndarray:
    """Probability of each answer, given that it is wrong: (n_images, n_answers), in the columns of ``alike``."""
    truth, answers = manifests.truth(manifest), list(alike.columns)
    logits = model.confusion_sharpness * alike.to_numpy()
    quiz = manifest[manifest["split"] == "quiz"].set_index("file").reindex(truth.index)
    if "mistaken_for" in quiz:
        named = [str(names).split("; ") for names in quiz["mistaken_for"]]
        logits = logits + model.mistaken_bonus * np.array([[answer in names for answer in answers] for names in named])
    logits[np.array([[answer == right for answer in answers] for right in truth])] = -np.inf
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def looks(image: np.ndarray) -> np.ndarray:
    """What an image looks like at first sight, in ten numbers: how coarse, how directed, how dark or bright its features.

    The logarithm of the share of the power spectrum in seven octaves of wavelength, the coherence of the structure
    tensor (Bigun and Granlund, 1987) at two scales, and the skewness of the grey. They play a reader's eye in the
    simulation; the machine never sees them.

    Parameters
    ----------
    image : array (H, W)

    Returns
    -------
    array (10,)
    """
    side = min(image.shape)
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = cv2.resize(np.float32(image[top : top + side, left : left + side]), (256, 256), interpolation=cv2.INTER_AREA)
    square = (square - square.mean()) / (square.std() + 1e-6)
    window = np.outer(np.hanning(256), np.hanning(256))
    power = np.abs(np.fft.rfft2(square * window)) ** 2
    cycles = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None, :]) * 256
    octave = np.floor(np.log2(np.maximum(cycles, 1))).astype(int)
    bands = np.array([power[(octave == o) & (cycles >= 1)].sum() for o in range(7)])
    coherence = []
    for sigma in (2, 6):
        gy, gx = np.gradient(cv2.GaussianBlur(square, (0, 0), sigma / 2))
        xx, yy, xy = (cv2.GaussianBlur(v, (0, 0), 3 * sigma) for v in (gx * gx, gy * gy, gx * gy))
        coherence.append((np.hypot(xx - yy, 2 * xy) / (xx + yy + 1e-9)).mean())
    return np.array([*np.log(bands / bands.sum() + 1e-6), *coherence, (square**3).mean()])


def visual_similarity(manifest: pd.DataFrame) -> pd.DataFrame:
    """How much each quiz image looks like each class, in standard deviations over all images and classes.

    Minus the distance from the image's `looks` to the mean of the class's training images, standardised; the column
    "none of these" is 0 throughout, as a reader has no picture of it.

    Returns
    -------
    DataFrame
        One row a quiz image (index: file), one column a class and one for "none of these".
    """
    rows = manifest[manifest["split"].isin(["train", "quiz"])]
    features = np.stack([looks(reading.read_image(path)) for path in rows["path"]])
    train = (rows["split"] == "train").to_numpy()
    features = (features - features[train].mean(0)) / (features[train].std(0) + 1e-9)
    names = manifests.classes(manifest)
    means = np.stack([features[train & (rows["label"] == c).to_numpy()].mean(0) for c in names])
    closeness = -np.linalg.norm(features[~train][:, None] - means[None], axis=2)
    closeness = (closeness - closeness.mean()) / (closeness.std() + 1e-9)
    return pd.DataFrame(closeness, index=rows.loc[~train, "file"], columns=names).assign(**{NONE_OF_THESE: 0.0})


def simulate(
    manifest: pd.DataFrame,
    *,
    n_readers: int = 12,
    seed: int = 0,
    model: PanelModel | None = None,
    similarity: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Simulate a panel's answers; every row's ``kind`` is "simulated human".

    Parameters
    ----------
    manifest : DataFrame
    n_readers, seed : int
    model : PanelModel, optional
    similarity : DataFrame, optional
        As `visual_similarity` gives it, which is asked when there is none.

    Returns
    -------
    DataFrame
        As `read_sheets`. ``attrs["ability"]`` and ``attrs["difficulty"]`` hold the truth, in logits.
    """
    model = model or PanelModel()
    rng = np.random.default_rng([seed, 4711])
    truth = manifests.truth(manifest)
    alike = (visual_similarity(manifest) if similarity is None else similarity).reindex(truth.index)
    classes = list(alike.columns)
    difficulty = difficulties(manifest, alike, model, rng)
    years = np.round(rng.gamma(1.5, 7, n_readers), 1)
    experience = model.experience_slope * (np.log1p(years) - np.log1p(years).mean())
    ability = model.mean_ability + experience + rng.normal(0, model.sd_ability, n_readers)
    wrong = wrong_answers(manifest, alike, model)
    rows = []
    for r in range(n_readers):
        right = 1 / (1 + np.exp(-(ability[r] - difficulty)))
        for i, (image, answer) in enumerate(truth.items()):
            if rng.random() < model.lapse:
                given = classes[rng.integers(len(classes))]
            elif rng.random() < right[i]:
                given = answer
            else:
                given = classes[rng.choice(len(classes), p=wrong[i])]
            confidence = np.clip(rng.beta(1 + 6 * right[i], 1 + 6 * (1 - right[i])), 0, 1)
            seconds = np.exp(rng.normal(2.4 + 0.4 * difficulty[i] - 0.1 * ability[r], 0.4))
            rows.append((image, f"simulated {r + 1:02d}", given, seconds, confidence, years[r]))
    table = pd.DataFrame(rows, columns=["image", "decision_maker", "answer", *OPTIONAL])
    table.insert(0, "quiz", manifests.quiz_id(manifest))
    table.insert(3, "kind", "simulated human")
    table["seconds"], table["confidence"] = table["seconds"].round(1), table["confidence"].round(2)
    table.attrs = {"ability": ability.tolist(), "difficulty": difficulty.tolist()}
    return table
