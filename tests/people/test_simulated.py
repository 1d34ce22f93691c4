"""A simulated panel that says that it is one, whose parameters come back when they are fitted."""

import numpy as np
import pandas as pd
import pytest

from microrace.comparison import accuracy as comparison
from microrace.images import manifests
from microrace.people import panel, simulated


@pytest.fixture(scope="module")
def manifest(tiny_manifest):
    return manifests.read_manifest(tiny_manifest)


def test_the_simulated_panel_is_marked_seeded_and_sound(manifest, tmp_path):
    first, again, other = (simulated.simulate(manifest, n_readers=5, seed=s) for s in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert not first["answer"].equals(other["answer"])
    assert (first["kind"] == "simulated human").all()
    assert first["decision_maker"].str.startswith("simulated").all()
    first.to_csv(tmp_path / "panel.csv", index=False)
    assert len(panel.read_sheets(tmp_path, manifest)) == 5 * 8


def plain_quiz(n_images=160):
    """A manifest of four classes without image files, and a similarity that is the same for all classes."""
    files = [f"{i}.png" for i in range(n_images)]
    manifest = pd.DataFrame({"file": files, "label": np.repeat(list("abcd"), n_images // 4), "split": "quiz",
                             "pixels_per_um": 5.0, "sha256": files})  # fmt: skip
    train = manifest.iloc[:: n_images // 4].assign(split="train", file=list("wxyz"))
    alike = pd.DataFrame(0.0, index=files, columns=[*"abcd", manifests.NONE_OF_THESE])
    return pd.concat([manifest, train], ignore_index=True), alike


def test_simulated_abilities_are_recovered_by_the_rasch_model():
    manifest, alike = plain_quiz()
    model = simulated.PanelModel(lapse=0.0, scale_penalty=0.0)
    sheet = simulated.simulate(manifest, n_readers=20, seed=1, model=model, similarity=alike)
    fitted = comparison.rasch(sheet, manifests.truth(manifest))
    ability = fitted[fitted["kind"] != "image"].sort_values("name")["logit"]
    truth = np.array(sheet.attrs["ability"]) - np.mean(sheet.attrs["difficulty"])
    assert np.corrcoef(ability, truth)[0, 1] > 0.9
    assert np.abs(ability - truth).mean() < 0.35


def test_wrong_answers_fall_on_what_looks_alike():
    manifest, alike = plain_quiz()
    alike.loc[:, "b"] = 1.5  # everything looks like b
    sheet = simulated.simulate(manifest, n_readers=20, similarity=alike, model=simulated.PanelModel(lapse=0.0))
    truth = manifests.truth(manifest).reindex(sheet["image"]).to_numpy()
    wrong = sheet[(sheet["answer"] != truth) & (truth != "b")]["answer"].value_counts(normalize=True)
    # Softmax over b and the three others that are wrong answers as well.
    expected = np.exp(1.5 * 1.5) / (np.exp(1.5 * 1.5) + 3)
    assert wrong["b"] == pytest.approx(expected, abs=0.05)
    right = pd.Series(sheet["answer"].to_numpy() == truth).groupby(truth).mean()
    assert right["b"] > right.drop("b").max() + 0.1, "what looks like its own class is easier"


def test_images_look_like_their_own_class(manifest):
    alike = simulated.visual_similarity(manifest)
    truth = manifests.truth(manifest)
    known = truth[truth != manifests.NONE_OF_THESE]
    best = alike.drop(columns=manifests.NONE_OF_THESE).loc[known.index].idxmax(axis=1)
    assert (best == known).mean() > 0.8
    assert simulated.looks(np.random.default_rng(0).random((70, 90))).shape == (10,)
