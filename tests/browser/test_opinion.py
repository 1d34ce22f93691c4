"""The second opinion's page in a real browser: strict, sorted, filtered, read by keyboard, printed."""

import base64
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from test_quiz import FAULTS, PHONE, driver  # noqa: F401  (a fixture)

from micrographs import NONE_OF_THESE
from microrace.opinion import ASK, SURE, Explanation, translator, write_page

HOSTILE = '"><img src=x onerror=pwned=1></script><script>window.pwned=2</script>'
# answer, flag, probability, unlike, px/um of each image.
IMAGES = [("pearlite", SURE, 0.9999, 0.1, 4.0), (HOSTILE, ASK, 0.51, 0.2, 1250.0),
          (NONE_OF_THESE, NONE_OF_THESE, 0.6, 0.9, 2.0), ("pearlite", SURE, 0.97, 0.3, 8.0)]  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page in English and in German."""
    folder = tmp_path_factory.mktemp("opinion")
    cv2.imwrite(str(folder / "texture.png"), (np.random.default_rng(0).random((120, 160)) * 255).astype(np.uint8))
    about = {
        "path": str(folder / "texture.png"),
        "scale_source": "as given",
        "source": "simulated: a test",
        "licence": "CC0",
    }
    training = pd.DataFrame({"file": ["t0", "t1"], "label": "pearlite", "specimen": "<s>", "pixels_per_um": 2.0} | about)
    rows, answers, found = [], [], []
    for i, (answer, flag, probability, unlike, scale) in enumerate(IMAGES):
        rows.append({"file": f'{i} <b>new</b> & "{i}".png', "pixels_per_um": scale} | about)
        best, second = (HOSTILE, "pearlite") if answer == HOSTILE else ("pearlite", HOSTILE)
        said = {"answer": answer, "flag": flag, "unlike": unlike, "probability": probability}
        answers.append(said | {best: probability, second: 1 - probability})
        pairs = [{"training_image": k, "cosine": 0.9} for k in (0, 1)]
        found.append(Explanation(best, second, np.linspace(-1, 1, 768).reshape(24, 32), pairs))
    sure = {"limit": 0.95, "realised": (0.98, 0.9, 1.0), "correct": np.ones(3), "sure": np.ones(3), "wanted": 0.95}
    batch = {"n": 4, "n_none": 1, "expected": 0.03, "p_value": 0.011, "n_outside": 1, "lowest": 1.0, "highest": 9.0}
    asked = SimpleNamespace(training=training, machine=SimpleNamespace(classes=["pearlite", HOSTILE]))
    asked.calibration, asked.batch, asked.explain = SimpleNamespace(**sure), lambda *_: batch, lambda rows: found
    for language in ("en", "de"):
        given = asked, pd.DataFrame(rows), pd.DataFrame(answers), [("<u>bad</u>.tif", "no scale")] * 40
        write_page(folder / f"{language}.html", *given, "mine", translator(language))
    return folder


SAID = {
    "en": ("over 99 %", "0.98 (0.90 to 1.00)", "rarely chance (p = 0.011)", "simulated training", "(as given)",
           "No training image has this scale", "none of these", "Nearest class", "4 of 4 images"),
    "de": ("über 99 %", "0,98 (0,90 bis 1,00)", "selten Zufall (p = 0,011)", "simulierte Training", "(wie angegeben)",
           "Kein Trainingsbild hat diesen Maßstab", "keine davon", "Nächste Klasse", "4 von 4 Bildern"),
}  # fmt: skip


@pytest.mark.parametrize(("width", "language"), [("desktop", "en"), ("phone", "de"), ("phone", "en")])
def test_the_page_says_everything_in_its_language_and_stays_text(driver, pages, width, language):  # noqa: F811
    if width == "phone":
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    driver.get((pages / f"{language}.html").as_uri())
    driver.execute_script("document.querySelector('details').open = true")
    assert driver.execute_script(FAULTS) == []
    text = driver.find_element("css selector", "main").text
    for words in (*SAID[language], HOSTILE, "1250 px/µm", "<b>new</b>", "<s>", "<u>bad</u>.tif"):
        assert words in text, words
    assert "60 %" not in driver.find_element("css selector", ".entry[data-number='2']").text
    assert driver.execute_script("return window.pwned || document.querySelectorAll('[onerror], main img').length") == 0
    assert not [e for e in driver.get_log("browser") if e["level"] == "SEVERE"]


def test_sorting_filtering_and_print(driver, pages):  # noqa: F811
    driver.get((pages / "de.html").as_uri())

    def shown(name, value):
        script = "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
        script += "for (const type of ['input', 'change']) e.dispatchEvent(new Event(type));"
        script += "return [...document.querySelectorAll('.entry:not([hidden])')].map((e) => +e.dataset.number)"
        return driver.execute_script(script, name, value)

    assert shown("order", "probability") == [1, 2, 3, 0] and shown("order", "scale") == [2, 0, 3, 1]
    assert shown("answer", "pearlite") == [0, 3] and driver.find_element("css selector", "#count").text == "2 von 4 Bildern"
    assert shown("answer", "") == shown("flag", "") and shown("flag", ASK) == [1]
    assert shown("search", "nowhere") == [] and driver.find_element("css selector", "#nothing").is_displayed()
    assert base64.b64decode(driver.print_page()).startswith(b"%PDF")
