"""A simulated panel that says that it is one, whose parameters come back when they are fitted."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api

import readerstudy as comparison
from micrographs import manifest as manifests
from readerstudy import sheets as panel
from readerstudy import simulated
from steelrender import microscope, quizzes, specimens


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


def known_quiz(n_images=240):
    """The same manifest with what the renderer knows of each picture, spread over what the quizzes hold."""
    manifest, alike = plain_quiz(n_images)
    rng = np.random.default_rng(5)
    n = len(manifest)
    known = {
        "feature_over_resolution": 2 ** rng.uniform(-1, 4, n),
        "features_in_view": 2 ** rng.uniform(0, 8, n),
        "ambiguity": rng.uniform(0, 1, n),
        "mistaken_for": "b; d",
    }
    return manifest.assign(**{name: np.asarray(values).astype(str) for name, values in known.items()}), alike


@pytest.mark.parametrize("quiz", [plain_quiz, known_quiz])
def test_simulated_abilities_and_difficulties_are_recovered_by_the_rasch_model(quiz):
    manifest, alike = quiz(160)
    model = simulated.PanelModel(lapse=0.0, scale_penalty=0.0, mean_ability=1.5, few_penalty=0.3)
    sheet = simulated.simulate(manifest, n_readers=20, seed=1, model=model, similarity=alike)
    fitted = comparison.rasch(sheet, manifests.truth(manifest))
    ability = fitted[fitted["kind"] != "image"].sort_values("name")["logit"]
    truth = np.array(sheet.attrs["ability"]) - np.mean(sheet.attrs["difficulty"])
    assert np.corrcoef(ability, truth)[0, 1] > 0.9
    assert np.abs(ability - truth).mean() < 0.35


def test_what_makes_an_image_hard_is_recovered_from_many_readers():
    """Logistic regression of right on the renderer's terms, with an intercept for each reader."""
    manifest, alike = known_quiz()
    model = simulated.PanelModel(lapse=0.0, sd_difficulty=0.0)
    sheet = simulated.simulate(manifest, n_readers=60, seed=2, model=model, similarity=alike)
    right = sheet["answer"].to_numpy() == manifests.truth(manifest).reindex(sheet["image"]).to_numpy()
    terms = simulated.visibility_terms(manifest).reindex(sheet["image"]).to_numpy()
    readers = pd.get_dummies(sheet["decision_maker"]).to_numpy(float)
    fitted = statsmodels.api.Logit(right.astype(float), np.hstack([-terms, readers])).fit(disp=0)
    expected = [model.unresolved_penalty, model.few_penalty, model.ambiguity_penalty]
    assert np.all(np.abs(fitted.params[:3] - expected) < 4 * fitted.bse[:3]), fitted.params[:3]
    assert np.all(fitted.bse[:3] < 0.1)
    abilities = pd.Series(sheet.attrs["ability"], sorted(sheet["decision_maker"].unique()))
    assert np.corrcoef(fitted.params[3:], abilities)[0, 1] > 0.9


def test_textbook_pearlite_is_easy_and_pearlite_that_is_not_resolved_is_taken_for_bainite():
    specimen = specimens.draw_specimen(specimens.QUIZ_1["pearlite"], 40.0, np.random.default_rng(3))
    specimen |= {"size_um": 0.25, "degeneracy": 0.0}
    rows = [{"file": f"{k}.png", "label": "pearlite", "split": "quiz", "pixels_per_um": scale, "sha256": str(k),
             **microscope.visibility("pearlite", specimen, scale, "sem")}
            for k, scale in enumerate([40.0] * 30 + [3.0] * 30)]  # fmt: skip
    labels = ["bainite", "ferrite", "pearlite", "martensite"]
    rows += [{"file": name, "label": name, "split": "train", "pixels_per_um": 1.0, "sha256": name} for name in labels]
    manifest = pd.DataFrame(rows)
    alike = pd.DataFrame(0.0, index=manifests.truth(manifest).index, columns=[*sorted(labels), manifests.NONE_OF_THESE])
    sheet = simulated.simulate(manifest, n_readers=12, similarity=alike)
    right = (sheet["answer"] == "pearlite").groupby(sheet["image"]).mean()
    textbook, unresolved = right[[f"{k}.png" for k in range(30)]], right[[f"{k}.png" for k in range(30, 60)]]
    assert textbook.mean() > 0.8 and textbook.min() >= 0.5
    assert unresolved.mean() < 0.5
    wrong = sheet[sheet["answer"] != "pearlite"]["answer"].value_counts()
    assert wrong["bainite"] > 2 * wrong["ferrite"]


def test_an_image_of_which_nothing_is_known_is_as_hard_as_a_rendered_one_is_on_average():
    model = simulated.PanelModel()
    terms = pd.concat([simulated.visibility_terms(quizzes.plan(quiz, seed)) for quiz in (1, 2) for seed in range(5)])
    weights = pd.Series({"unresolved": model.unresolved_penalty, "few": model.few_penalty,
                         "ambiguity": model.ambiguity_penalty})  # fmt: skip
    assert (terms * weights).sum(axis=1).mean() == pytest.approx(simulated.USUAL_DIFFICULTY, abs=0.15)


def test_what_is_known_of_some_images_only_is_not_used():
    manifest, _ = known_quiz()
    assert simulated.visibility_terms(manifest) is not None
    manifest.loc[0, "features_in_view"] = ""
    assert simulated.visibility_terms(manifest) is None
    assert simulated.visibility_terms(manifest.drop(columns="ambiguity")) is None


def test_wrong_answers_fall_on_what_looks_alike():
    manifest, alike = plain_quiz()
    alike.loc[:, "b"] = 1.5  # everything looks like b
    model = simulated.PanelModel(lapse=0.0)
    sheet = simulated.simulate(manifest, n_readers=20, similarity=alike, model=model)
    truth = manifests.truth(manifest).reindex(sheet["image"]).to_numpy()
    wrong = sheet[(sheet["answer"] != truth) & (truth != "b")]["answer"].value_counts(normalize=True)
    # Softmax over b and the three others that are wrong answers as well.
    expected = np.exp(1.5 * model.confusion_sharpness) / (np.exp(1.5 * model.confusion_sharpness) + 3)
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
