"""A simulated panel that says that it is one, and that finds hard what shows its structure badly."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api

from readerstudy import simulated
from steelrender import quizzes

OPTIONS = ["bainite", "ferrite", "martensite", "pearlite", "none of these"]


def cases_of(truth):
    cases = pd.DataFrame({"truth": list(truth)}, index=[f"{i}.png" for i in range(len(truth))])
    cases.attrs["quiz_id"] = "quiz-x"
    return cases


def test_the_simulated_panel_is_marked_seeded_and_sound():
    cases = cases_of(OPTIONS * 8)
    first, again, other = (simulated.simulate(cases, OPTIONS, n_readers=5, seed=s) for s in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert not first["answer"].equals(other["answer"])
    assert (first["kind"] == "simulated human").all() and (first["quiz"] == "quiz-x").all()
    assert first["decision_maker"].str.startswith("simulated").all() and len(first) == 5 * 40
    assert first["answer"].isin(OPTIONS).all() and first["confidence"].between(0, 1).all()


def test_what_makes_an_image_hard_is_recovered_from_many_readers(monkeypatch):
    """Logistic regression of right on the terms of visibility, with an intercept for each reader."""
    monkeypatch.setattr(simulated, "LAPSE", 0.0)
    monkeypatch.setattr(simulated, "SD_DIFFICULTY", 0.0)
    cases, rng = cases_of(OPTIONS[:4] * 60), np.random.default_rng(5)
    n = len(cases)
    known = {
        "feature_over_resolution": 2 ** rng.uniform(-1, 4, n),
        "features_in_view": 2 ** rng.uniform(0, 8, n),
        "ambiguity": rng.uniform(0, 1, n),
    }
    visibility = pd.DataFrame(known, index=cases.index).astype(str)  # as a manifest has them
    sheet = simulated.simulate(cases, OPTIONS, n_readers=60, seed=2, visibility=visibility)
    right = sheet["answer"].to_numpy() == cases["truth"].reindex(sheet["image"]).to_numpy()
    terms = simulated.visibility_terms(visibility).reindex(sheet["image"]).to_numpy()
    readers = pd.get_dummies(sheet["decision_maker"]).to_numpy(float)
    fitted = statsmodels.api.Logit(right.astype(float), np.hstack([-terms, readers])).fit(disp=0)
    expected = [simulated.UNRESOLVED_PENALTY, simulated.FEW_PENALTY, simulated.AMBIGUITY_PENALTY]
    assert np.all(np.abs(fitted.params[:3] - expected) < 4 * fitted.bse[:3]) and np.all(fitted.bse[:3] < 0.1)
    assert np.corrcoef(fitted.params[3:], sheet.attrs["ability"])[0, 1] > 0.9
    # What is known of some images only is not used.
    visibility.iloc[0, 1] = ""
    assert simulated.visibility_terms(visibility) is None
    assert simulated.visibility_terms(visibility.drop(columns="ambiguity")) is None


def test_an_image_of_which_nothing_is_known_is_as_hard_as_a_rendered_one_is_on_average():
    plans = [quizzes.plan(quiz, seed) for quiz in (1, 2) for seed in range(5)]
    terms = pd.concat([simulated.visibility_terms(plan[plan["split"] == "quiz"]) for plan in plans])
    penalties = [simulated.UNRESOLVED_PENALTY, simulated.FEW_PENALTY, simulated.AMBIGUITY_PENALTY]
    assert (terms.to_numpy() @ penalties).mean() == pytest.approx(simulated.USUAL_DIFFICULTY, abs=0.15)
