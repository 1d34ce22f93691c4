"""The quiz page: what its source holds, and taken in a real browser from start to end."""

import base64
import hashlib
import io
import json
import os
import re
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from readerstudy import NO_ANSWER, NONE_OF_THESE, quiz
from readerstudy import sheets as panel

CHROMIUM, CHROMEDRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking --no-first-run"
PHONE, ENTER = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}, "\ue007"
FAULTS = (Path(__file__).parent / "faults.js").read_text(encoding="utf-8")
# Labels that try to break out of text, attributes, scripts and CSV.
LABELS = [
    '"><img src=x onerror=pwned=2>, "x"+a-very_long/label',
    "<!--<script></script ><script>pwned=1</script>",
    "pearlite",
]
WORDS = {
    "title": "<b>Which</b> & why?",
    "contact": '"><script>window.pwned=4</script><img src=x onerror=pwned=5>{{ 7 * 7 }}',
}
MACHINE = {"who": "machine", "name": "", "accuracy": 6 / 7, "low": 0.5, "high": 0.97, "n": 0, "readers": []}


def make_cases():
    """Seven images, two of each class and one of none."""
    index = pd.Index([f"{i} secret name.png" for i in range(7)], name="image")
    ids = [panel.opaque_image_id("quiz-0123456789ab", file) for file in index]
    cases = pd.DataFrame({"truth": [*LABELS, *LABELS, NONE_OF_THESE], "specimen": index, "image_id": ids}, index=index)
    cases.attrs = {"quiz_id": "quiz-0123456789ab", "options": [*LABELS, NONE_OF_THESE]}
    return cases


def make_picture(i):
    blobs = cv2.GaussianBlur(np.random.default_rng(i).random((120, 160)).astype(np.float32), (0, 0), 3)
    return quiz.Picture(cv2.normalize(blobs, None, 0, 1, cv2.NORM_MINMAX), 0.8 * 1.7**i, simulated=i % 2 == 1)


def make_page(**words):
    cases = make_cases()
    references = {label: [make_picture(3 * k + i) for i in range(3)] for k, label in enumerate(LABELS)}
    pictures = ((file, make_picture(9 + i)) for i, file in enumerate(cases.index))
    return quiz.build(cases, pictures, references, comparison=[MACHINE], **WORDS | words)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "quiz.html"
    path.write_text(make_page(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def data(page):
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL).group(1))


SEEN = "Object.defineProperty(document, 'visibilityState', { value: arguments[0], configurable: true });"
SEEN += "document.dispatchEvent(new Event('visibilitychange'))"
RIGHT = make_cases().set_index("image_id")["truth"].to_dict()

# ---- the source ----


def test_the_source_is_self_contained_and_names_no_file(page, data):
    text = page.read_text(encoding="utf-8")
    assert text == make_page() and "secret name" not in text
    ids = [image["id"] for image in data["images"]]
    assert set(ids) == set(RIGHT) and ids == sorted(ids)
    assert not any(label in json.dumps(data["images"]) for label in (*LABELS, NONE_OF_THESE))
    assert not re.search(r"""(?:src|href|url\()\s*=?\s*["']?(?:https?:)?//""", text)
    for element in ("script", "style"):
        (source,) = re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in text


def test_embedded_images_keep_their_scale_and_carry_no_metadata(data):
    image = data["images"][0]
    picture = Image.open(io.BytesIO(base64.b64decode(image["src"].split(",", 1)[1])))
    assert picture.format == "JPEG" and picture.mode == "L" and not picture.getexif() and "comment" not in picture.info
    assert image["field_um"] == pytest.approx([160 / image["pixels_per_um"], 120 / image["pixels_per_um"]])
    reduced = quiz.embedded(quiz.Picture(np.tile(np.linspace(0, 1, 256), (100, 16)), 8.0), 2048, 90)
    assert (reduced["width"], reduced["field_um"], reduced["reduced_from"]) == (2048, [512, 12.5], [4096, 100])


def test_languages_say_the_same_and_older_browsers_can_read_the_script():
    texts = [json.loads((quiz.HERE / f"quiz.{code}.json").read_text(encoding="utf-8")) for code in ("en", "de")]
    english, german = ({key: {*re.findall(r"{\w+}", str(text))} for key, text in own.items()} for own in texts)
    assert english == german
    # A look-behind is a syntax error in Safari before 16.4.
    assert not re.search(r"\(\?<[=!]", (quiz.HERE / "quiz.js").read_text(encoding="utf-8"))
    with pytest.raises(quiz.QuizError, match="take one of de, en"):
        make_page(language="xx")


# ---- in a browser ----


class Reader:
    """Takes the quiz in a browser, through what a participant sees."""

    def __init__(self, driver, downloads):
        self.driver, self.downloads, self.js, self.cdp = driver, downloads, driver.execute_script, driver.execute_cdp_cmd

    def open(self, page, keep=False):
        self.driver.get(page.as_uri())
        if not keep:
            self.js("localStorage.clear()")
            self.driver.get(page.as_uri())

    def find(self, name):
        return self.driver.find_element("id", name)

    def all(self, css):
        return self.driver.find_elements("css selector", css)

    def press(self, *keys):
        self.driver.switch_to.active_element.send_keys(*keys)

    @property
    def screen(self):
        return self.js("return document.querySelector('main > section:not([hidden])').id").removeprefix("screen-")

    def begin(self, pseudonym="a reader", years="4.5", laboratory=""):
        for name, value in {"pseudonym": pseudonym, "years": years, "laboratory": laboratory}.items():
            self.find(name).clear()
            self.find(name).send_keys(value)
        for css in ("#agree", "#consent button", "#begin"):
            self.all(css)[0].click()

    def shown_image(self, data):
        src = self.find("image").get_attribute("src")
        return next(image["id"] for image in data["images"] if image["src"] == src)

    def stop(self, accept=True, button="stop"):
        self.find(button).click()
        alert = self.driver.switch_to.alert
        said = alert.text
        alert.accept() if accept else alert.dismiss()
        return said

    def leaving_asks(self):
        return self.js("const e = new Event('beforeunload', { cancelable: true }); return !dispatchEvent(e)")

    def sheet(self):
        # Asked for in the tab that downloads: the browser forgets it with the tab that asked.
        self.cdp("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(self.downloads)})
        self.find("download").click()
        # The browser reserves the name with an empty file first.
        until(lambda: [p for p in self.downloads.glob("*.csv") if p.stat().st_size])
        (path,) = self.downloads.glob("*.csv")
        return path, pd.read_csv(path, dtype=str, keep_default_na=False)


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver")
    if not (CHROMIUM.exists() and CHROMEDRIVER.exists()):
        pytest.skip("no chromium and chromedriver in /usr/bin; apt-get install chromium-driver")
    os.environ["SE_OFFLINE"] = "true"
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--accept-lang=en-GB"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(CHROMEDRIVER)))
    driver.set_window_size(1280, 900)
    yield driver
    driver.quit()


@pytest.fixture
def reader(driver, tmp_path):
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.get_log("browser")
    yield Reader(driver, tmp_path)
    # The browser complains where a page asks before it is left by one who did nothing.
    assert not [e for e in driver.get_log("browser") if e["level"] == "SEVERE" and "beforeunload" not in e["message"]]


def test_taken_from_start_to_end_the_sheet_says_what_was_answered(reader, page, data):
    reader.open(page)
    assert reader.find("title").text == "<b>Which</b> & why?" and "private window" in reader.all("#screen-start ul")[0].text
    # Nothing goes on without agreement and a pseudonym that is none of the comparison's own names.
    reader.find("pseudonym").clear()
    reader.find("pseudonym").send_keys("Machine")
    reader.all("#consent button")[0].click()
    assert reader.screen == "start" and reader.find("agree-error").text and reader.find("pseudonym-error").text
    reader.begin("Ünal 3", "4,5", "Lab 7")
    assert [b.text for b in reader.all("#answers b")] == [*LABELS, NONE_OF_THESE] and not reader.leaving_asks()
    expected = []
    for i in range(7):
        assert reader.find("position").text == f"Image {i + 1} of 7"
        image = reader.shown_image(data)
        right = data["options"].index(RIGHT[image])
        wrong = (right + 1) % 4
        if i == 0:  # by pointer; nothing is accepted half done
            for css, complaint in (("#answers label", "what the image shows"), ("#confidences label", "likely")):
                reader.find("next").click()
                assert complaint in reader.find("question-error").text
                reader.all(css)[right if css == "#answers label" else 4].click()
            reader.find("next").click()
        elif i == 1:  # by keyboard, changing one's mind, after a while in which the page is hidden
            for visible, seconds in (("visible", 1.2), ("hidden", 1.5), ("visible", 0)):
                reader.js(SEEN, visible)
                time.sleep(seconds)
            reader.press(str(wrong + 1), "a", str(right + 1), "s", ENTER)
        else:  # wrong on purpose
            reader.press(str(wrong + 1), "f", ENTER)
        expected.append((image, data["options"][right if i < 2 else wrong], [1.0, 0.4, *[0.8] * 5][i]))
    assert reader.leaving_asks()
    path, sheet = reader.sheet()
    assert not reader.leaving_asks() and path.name == f"{data['quiz']}-Ünal-3.csv"
    assert list(zip(sheet["image"], sheet["answer"], sheet["confidence"].astype(float), strict=True)) == expected
    assert 1.2 <= float(sheet["seconds"][1]) < 2.6
    # The sheet goes into a panel as it was downloaded.
    read = panel.read_sheets(path, make_cases())
    assert (read[["decision_maker", "laboratory", "years_experience"]] == ["Ünal 3", "Lab 7", 4.5]).all(axis=None)
    assert read["answer"].tolist() == sheet["answer"].tolist() and read.attrs["notes"] == []
    # The result screen agrees with the sheet and with what was given to compare.
    assert reader.find("score").text.startswith("2 of 7 right: 29") and reader.find("score-note").text == ""
    you, machine = (who.text.replace("\u00a0", " ") for who in reader.all("#ranks .who"))
    assert you.startswith("You\n") and machine == "The machine\n86 % (95 % interval 50 to 97 %)"
    for card, (image, answer, _) in zip(reader.all("#wrong figure"), expected[2:], strict=True):
        assert {RIGHT[image], answer} <= {*card.text.split("\n")}
    # Hostile labels stayed text, and nothing was fetched.
    assert reader.js("return window.pwned") is None and not reader.all("[onerror]") and len(reader.all("script")) == 2
    assert reader.js("return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length") == 0


def test_resumed_and_stopped_early_only_shown_images_count(reader, page, data):
    reader.open(page)
    reader.begin()
    seen = []
    for _ in range(3):
        seen.append(reader.shown_image(data))
        reader.press("2", "d", ENTER)
    seen.append(reader.shown_image(data))
    reader.press("1")
    first = reader.driver.current_window_handle
    reader.driver.switch_to.new_window("tab")
    reader.open(page, keep=True)
    assert reader.screen == "resume" and "3 of 7" in reader.find("resume-text").text
    reader.find("resume").click()
    assert reader.find("position").text == "Image 4 of 7" and reader.shown_image(data) == seen[3]
    assert [i.is_selected() for i in reader.all("#answers input")] == [True, False, False, False]
    reader.press("g", ENTER)
    # The first tab notices that another went on, and does not write over its answers.
    reader.driver.close()
    reader.driver.switch_to.window(first)
    until(lambda: reader.screen == "resume")
    reader.find("resume").click()
    seen.append(reader.shown_image(data))
    said = reader.stop(accept=False)
    assert "Answered: 4 of 7" in said and "counts as wrong" in said and "Not seen yet: 2 images" in said
    assert reader.screen == "question"
    reader.stop()
    note = reader.find("score-note").text
    assert " of 5 right" in reader.find("score").text and "2 images that you did not see" in note
    path, sheet = reader.sheet()
    assert list(sheet["image"]) == seen and sheet["confidence"][4] == ""
    assert list(sheet["answer"]) == [data["options"][1]] * 3 + [data["options"][0], NO_ANSWER]
    assert "no row for 2 of the 7 images" in panel.read_sheets(path, make_cases()).attrs["notes"][0]
    # A finished quiz comes back too, until another begins.
    reader.open(page, keep=True)
    reader.find("resume").click()
    assert " of 5 right" in reader.find("score").text
    reader.open(page, keep=True)
    reader.stop(button="restart")
    assert reader.screen == "start"


def test_scale_bars_stay_true_under_zoom(reader, page, data):
    reader.open(page)
    reader.begin()
    [field_um] = [image["field_um"][0] for image in data["images"] if image["id"] == reader.shown_image(data)]
    widths = "return ['image', 'stage', 'bar-line'].map((id) => document.getElementById(id).getBoundingClientRect().width)"
    for key, zoom in (("0", 1), ("+", 1.5), ("+", 2.25)):
        reader.press(key)
        shown, width, bar = reader.js(widths)
        number, unit = reader.find("bar-label").text.split()
        length_um = float(number) * {"nm": 1e-3, "µm": 1.0, "mm": 1e3}[unit]
        assert bar == pytest.approx(length_um * shown / field_um, abs=1) and 0.09 * width < bar <= 0.26 * width
        assert shown / width == pytest.approx(zoom, rel=0.02)


def test_without_storage_it_warns_and_still_exports(reader, page, data):
    broken = "for (const f of ['setItem', 'getItem']) Storage.prototype[f] = () => { throw new DOMException('no') }"
    script = reader.cdp("Page.addScriptToEvaluateOnNewDocument", {"source": broken})
    reader.open(page)
    reader.cdp("Page.removeScriptToEvaluateOnNewDocument", script)
    assert reader.find("storage-warning").is_displayed()
    reader.begin()
    reader.press("3", "g", ENTER)
    reader.stop()
    assert list(reader.sheet()[1]["answer"]) == [LABELS[2], NO_ANSWER]
    reader.open(page)
    for kept in ("not json", '{"order": ["x"]}'):  # and a spoilt store is not used
        reader.js("localStorage.setItem(arguments[0], arguments[1])", "microrace/" + data["quiz"], kept)
        reader.open(page, keep=True)
        assert reader.screen == "start" and not reader.find("storage-warning").is_displayed()


@pytest.mark.parametrize(("width", "language"), [("desktop", "en"), ("phone", "de")])
def test_every_screen_is_accessible_and_fits_in_the_browser_s_language(reader, page, width, language):
    agent = {"userAgent": reader.js("return navigator.userAgent")}
    reader.cdp("Emulation.setUserAgentOverride", agent | {"acceptLanguage": f"{language}-AT,fr"})
    if width == "phone":
        reader.cdp("Emulation.setDeviceMetricsOverride", PHONE)

    def sound(screen):
        assert (reader.screen, reader.js(FAULTS)) == (screen, [])
        return True

    reader.cdp("Emulation.setScriptExecutionDisabled", {"value": True})
    reader.driver.get(page.as_uri())
    assert "use a browser of 2022 or later" in reader.find("not-started").text
    reader.cdp("Emulation.setScriptExecutionDisabled", {"value": False})
    reader.open(page)
    assert not reader.find("not-started").is_displayed()
    assert sound("start") and reader.js("return document.documentElement.lang") == language
    reader.all("#consent button")[0].click()
    assert sound("start") and reader.js("return document.activeElement.id") == "agree"
    reader.find("agree").click()
    reader.all("#consent button")[0].click()
    assert sound("classes") and reader.js("return document.activeElement.tagName") == "H1"
    reader.find("begin").click()
    reader.press("2", "d", "+")
    assert sound("question") and reader.all("#answers b")[-1].text == {"en": "none of these", "de": "keine davon"}[language]
    reader.press("r")
    assert reader.find("reference-dialog").is_displayed() and sound("question")
    reader.press("1", "\ue00c")  # does not answer the question behind
    reader.js("document.getElementById('shortcuts').click()")  # single keys can be switched off, as they must
    reader.press("3")
    assert reader.all("#answers input")[1].is_selected()
    reached = set()
    for _ in range(20):
        reader.press("\ue004")
        reached.add(reader.js("const e = document.activeElement; return e.name || e.id"))
    assert set("stop stage zoom-out zoom-in zoom-fit answers confidences next show-references shortcuts".split()) <= reached
    assert {"en": "counts as wrong", "de": "zählt als falsch"}[language] in reader.stop()
    reader.js("document.querySelector('details').open = true")
    assert sound("results")
    # Windows' high contrast and print take backgrounds away; bars and intervals keep theirs.
    reader.cdp("Emulation.setEmulatedMedia", {"media": "print", "features": [{"name": "forced-colors", "value": "active"}]})
    colour = "return getComputedStyle(document.querySelector(arguments[0])).backgroundColor"
    assert reader.js(colour, ".track.machine i") == "rgb(213, 94, 0)"
    assert reader.js(colour, "#wrong .bar") == "rgb(17, 17, 17)"
    assert reader.find("ranks").is_displayed() and not reader.find("download").is_displayed()
    reader.cdp("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert list(reader.sheet()[1]["answer"]) == [NO_ANSWER]  # in every language
    reader.open(page, keep=True)
    assert sound("resume")
    reader.cdp("Emulation.setUserAgentOverride", agent | {"acceptLanguage": "en-GB"})
