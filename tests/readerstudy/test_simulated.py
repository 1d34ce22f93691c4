"""A simulated panel that says that it is one, and that finds hard what shows its structure badly."""

import numpy as np
import pandas as pd
import statsmodels.api

from readerstudy import simulated

OPTIONS = ["bainite", "ferrite", "martensite", "pearlite", "none of these"]
CASES = pd.DataFrame({"truth": OPTIONS * 48}, [f"{i}.png" for i in range(240)])
CASES.attrs["quiz_id"] = "quiz-x"
PENALTIES = [simulated.UNRESOLVED_PENALTY, simulated.FEW_PENALTY, simulated.AMBIGUITY_PENALTY]


def test_the_simulated_panel_is_marked_seeded_and_sound():
    first, again, other = (simulated.simulate(CASES, OPTIONS, n_readers=5, seed=s) for s in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert not first["answer"].equals(other["answer"])
    assert set(first["kind"]) == {"simulated human"} and set(first["quiz"]) == {"quiz-x"}
    assert first["decision_maker"].str.startswith("simulated").all() and len(first) == 5 * 240
    assert first["answer"].isin(OPTIONS).all() and first["confidence"].between(0, 1).all()


def test_what_makes_an_image_hard_is_recovered_from_many_readers(monkeypatch):
    """Logistic regression of right on the terms of visibility, with an intercept for each reader."""
    for name in ("LAPSE", "SD_DIFFICULTY"):
        monkeypatch.setattr(simulated, name, 0.0)
    known = 2 ** np.random.default_rng(5).uniform([-1, 0, -6], [4, 8, 0], (240, 3))
    names = ["feature_over_resolution", "features_in_view", "ambiguity"]
    visibility = pd.DataFrame(known, CASES.index, names).astype(str)  # as a manifest has them
    sheet = simulated.simulate(CASES, OPTIONS, n_readers=60, seed=2, visibility=visibility)
    right = sheet["answer"].to_numpy() == CASES["truth"].reindex(sheet["image"]).to_numpy()
    terms = simulated.visibility_terms(visibility).reindex(sheet["image"]).to_numpy()
    readers = pd.get_dummies(sheet["decision_maker"]).to_numpy(float)
    fitted = statsmodels.api.Logit(right.astype(float), np.hstack([-terms, readers])).fit(disp=0)
    assert np.all(np.abs(fitted.params[:3] - PENALTIES) < 4 * fitted.bse[:3]) and np.all(fitted.bse[:3] < 0.1)
    assert np.corrcoef(fitted.params[3:], sheet.attrs["ability"])[0, 1] > 0.9
    visibility.iloc[0, 1] = ""
    assert simulated.visibility_terms(visibility) is None, "what is known of some images only is not used"
