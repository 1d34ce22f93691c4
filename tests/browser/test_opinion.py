"""The second opinion's page in a real browser: strict, sorted, filtered, read by keyboard, printed."""

import base64
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from test_quiz import FAULTS, PHONE, driver  # noqa: F401  (a fixture)

from micrographs import NONE_OF_THESE
from microrace.opinion import ASK, SURE, Explanation, write_page

HOSTILE = '"><img src=x onerror=pwned=1></script><script>window.pwned=2</script>'
# answer, flag, probability, unlike, px/um of each image.
IMAGES = [("pearlite", SURE, 0.9999, 0.1, 4.0), (HOSTILE, ASK, 0.51, 0.2, 1250.0),
          (NONE_OF_THESE, NONE_OF_THESE, 0.6, 0.9, 2.0), ("pearlite", SURE, 0.97, 0.3, 8.0)]  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("opinion")
    pixels = (np.random.default_rng(0).random((120, 160)) * 255).astype(np.uint8)
    cv2.imwrite(str(folder / "texture.png"), pixels)
    about = {
        "path": str(folder / "texture.png"),
        "scale_source": "manifest",
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
    calibration = SimpleNamespace(
        limit=0.95, realised=(0.98, 0.9, 1.0), correct=np.ones(3), sentence=lambda: "Sure: <i>so</i>."
    )
    batch = {"n": 4, "n_none": 1, "expected": 0.03, "p_value": 0.011, "n_outside": 1, "lowest": 1.0, "highest": 9.0}
    machine = SimpleNamespace(classes=["pearlite", HOSTILE])
    asked = SimpleNamespace(training=training, machine=machine, calibration=calibration, batch=lambda *_: batch)
    asked.explain = lambda rows: found
    write_page(folder / "page.html", asked, pd.DataFrame(rows), pd.DataFrame(answers), [("<u>bad</u>.tif", "no scale")] * 40)
    return folder / "page.html"


@pytest.mark.parametrize("width", ["desktop", "phone"])
def test_the_page_says_everything_stays_text_and_can_be_used_by_keyboard(driver, page, width):  # noqa: F811
    if width == "phone":
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    driver.get(page.as_uri())
    driver.execute_script("document.querySelector('details').open = true")
    assert driver.execute_script(FAULTS) == []
    text = driver.find_element("css selector", "main").text
    for words in (HOSTILE, "over 99 %", "1250 px/µm", "<b>new</b>", "<s>", "<u>bad</u>.tif", "0.98 (0.90 to 1.00)",
                  "rarely chance (p = 0.011)", "simulated training", "No training image has this scale"):  # fmt: skip
        assert words in text, words
    none = driver.find_element("css selector", ".entry[data-number='2']").text
    assert "Nearest class" in none and "60 %" not in none
    assert driver.execute_script("return window.pwned || document.querySelectorAll('[onerror], main img').length") == 0
    assert not [e for e in driver.get_log("browser") if e["level"] == "SEVERE"]


def test_sorting_filtering_and_print(driver, page):  # noqa: F811
    driver.get(page.as_uri())

    def shown(name, value):
        script = "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
        script += "for (const type of ['input', 'change']) e.dispatchEvent(new Event(type));"
        script += "return [...document.querySelectorAll('.entry:not([hidden])')].map((e) => +e.dataset.number)"
        return driver.execute_script(script, name, value)

    assert shown("order", "probability") == [1, 2, 3, 0] and shown("order", "scale") == [2, 0, 3, 1]
    assert shown("answer", "pearlite") == [0, 3] and driver.find_element("css selector", "#count").text == "2 of 4 images"
    assert shown("answer", "") == shown("flag", "") and shown("flag", ASK) == [1]
    assert shown("search", "nowhere") == [] and driver.find_element("css selector", "#nothing").is_displayed()
    assert base64.b64decode(driver.print_page()).startswith(b"%PDF")
