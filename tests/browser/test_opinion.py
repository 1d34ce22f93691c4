"""The second opinion's page: its source, and sorted, filtered, printed and read in a real browser."""

import base64
import hashlib
import io
import re
import time

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_quiz import FAULTS, PHONE, driver  # noqa: F401  (a fixture)

from micrographs.manifest import NONE_OF_THESE
from microrace import opinion_page as page_of
from microrace.figures.style import scale_bar_um
from microrace.opinion import ASK, SURE, Opinion

HOSTILE = '"><img src=x onerror=pwned=1></script><script>window.pwned=2</script>'
CLASSES = ["pearlite", HOSTILE]
# answer, flag, probability, distance, px/um of each image.
IMAGES = [
    ("pearlite", SURE, 0.95, 1.0, 4.0),
    (HOSTILE, ASK, 0.51, 2.0, 1.0),
    (NONE_OF_THESE, NONE_OF_THESE, 0.6, 9.0, 2.0),
    ("pearlite", SURE, 0.8, 3.0, 8.0),
]


def texture(path, seed, shape=(240, 320)):
    pixels = cv2.GaussianBlur(np.random.default_rng(seed).random(shape).astype(np.float32), (0, 0), 3)
    cv2.imwrite(str(path), cv2.normalize(pixels, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8))


def make_page(folder, n=4, **changes):
    training = []
    for i in range(3):
        texture(folder / f"t{i}.png", i)
        row = {"file": f"t{i}.png", "path": str(folder / f"t{i}.png"), "label": CLASSES[i % 2], "specimen": f"<s{i}>"}
        training.append(row | {"pixels_per_um": 2.0, "source": "a test", "licence": "CC0"})
    rows, opinions = [], []
    for i in range(n):
        answer, flag, probability, distance, scale = IMAGES[i % len(IMAGES)]
        texture(folder / f"new{i % 8}.png", 10 + i % 8)
        row = {"file": f"{i} <b>new</b> & \"{i}\".png", "path": str(folder / f"new{i % 8}.png"), "pixels_per_um": scale}
        rows.append(row | {"scale_source": "manifest", "source": "simulated: a test" if i == 0 else ""})
        best = answer if answer in CLASSES else "pearlite"
        second = CLASSES[1 - CLASSES.index(best)]
        neighbours, evidence = [(i % 3, 0.9), ((i + 1) % 3, 0.7)], np.linspace(-1, 1, 24 * 32).reshape(24, 32)
        sure = best, second, probability, 1 - probability
        opinions.append(Opinion(answer, *sure, distance, 0.5, flag, evidence, neighbours))
    options = {"classes": CLASSES, "sentences": ["All is as it was <i>there</i>."], "facts": {"Study": HOSTILE}}
    options |= {"skipped": [("<u>bad</u>.tif", "cannot be read")], "simulated": "simulated training micrographs"}
    return page_of.write(folder / "page.html", pd.DataFrame(rows), opinions, pd.DataFrame(training), **(options | changes))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return make_page(tmp_path_factory.mktemp("opinion"))


def test_page_is_self_contained_strict_and_reproducible(page, tmp_path):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href|url\()\s*=?\s*["']?(?:https?:)?//""", text)
    policy = re.search('Security-Policy" content="([^"]*)"', text).group(1)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for element in ("script", "style"):
        (source,) = re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
        assert f"{element}-src 'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'" in policy
    body = re.sub("<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"<[a-z]+ [^>]*\b(style|on[a-z]+)=", re.sub(r'"[^"]*"', '""', body))
    assert "<b>new</b>" not in text and "<img src=x" not in text and "<s0>" not in text and "<u>bad" not in text
    assert "simulated training micrographs" in text and "CC0" in text
    assert make_page(tmp_path).read_text(encoding="utf-8") == text


def test_pictures_are_small_and_their_scale_bar_is_as_long_as_it_says(tmp_path):
    grey = np.full((300, 400), 0.5, np.float32)
    for field_um in (3.0, 100.0, 5000.0):
        picture = np.asarray(page_of.with_scale_bar(page_of._reduced(grey, 400), field_um))
        row = picture[-8]  # through the bar
        length_px = np.ptp(np.flatnonzero(row == 255)) + 1
        assert length_px / 400 * field_um == pytest.approx(scale_bar_um(field_um), abs=1.01 * field_um / 400)
    large = page_of._reduced(np.zeros((1500, 3000), np.float32), page_of.PICTURE_PX)
    assert large.shape == (page_of.PICTURE_PX // 2, page_of.PICTURE_PX)
    opened = Image.open(io.BytesIO(base64.b64decode(page_of._webp(large).split(",", 1)[1])))
    assert opened.format == "WEBP" and not opened.getexif()


def test_the_map_is_orange_for_and_blue_against(tmp_path):
    evidence = np.array([[1.0, 0.0, -1.0]])
    picture = page_of.map_picture(np.full((100, 300), 0.5, np.float32), evidence).astype(int)
    left, middle, right = (picture[40, x] for x in (5, len(picture[0]) // 2, -5))
    assert left[0] > left[2] + 50 and right[2] > right[0] + 50 and np.ptp(middle) < 12


def test_a_page_that_fails_leaves_the_old_one(tmp_path):
    page = make_page(tmp_path)
    before = page.read_bytes()
    with pytest.raises(ValueError):
        make_page(tmp_path, skipped=[("one value too many", "", "")])
    assert page.read_bytes() == before and not list(tmp_path.glob(".page*"))


# ---- in a browser ----


class Browser:
    def __init__(self, driver):  # noqa: F811
        self.driver = driver

    def js(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def find(self, css):
        return self.driver.find_element("css selector", css)

    def choose(self, name, text):
        from selenium.webdriver.support.ui import Select

        Select(self.find(f"#{name}")).select_by_visible_text(text)

    def shown(self):
        """Numbers of the entries to be seen, from top to bottom."""
        return self.js("return [...document.querySelectorAll('.entry:not([hidden])')].map((e) => Number(e.dataset.number))")

    def wait(self, condition, what, seconds=20):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited in vain for {what}"
            time.sleep(0.05)


@pytest.fixture
def browser(driver, page):  # noqa: F811
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.get_log("browser")
    driver.get(page.as_uri())
    yield Browser(driver)
    assert not [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def test_sorting_and_filtering(browser):
    assert browser.shown() == [0, 1, 2, 3]
    orders = {"least sure first": [1, 2, 3, 0], "most unlike first": [2, 3, 1, 0], "by scale": [1, 2, 0, 3]}
    for order, expected in orders.items():
        browser.choose("order", order)
        assert browser.shown() == expected
    browser.choose("answer", "pearlite")
    assert browser.shown() == [0, 3] and browser.find("#count").text == "2 of 4 images"
    browser.choose("answer", "all")
    browser.choose("flag", ASK)
    assert browser.shown() == [1]
    browser.choose("flag", "all")
    browser.find("#search").send_keys("3 <B>NEW")
    assert browser.shown() == [3]
    browser.find("#search").send_keys("nowhere")
    assert browser.shown() == [] and browser.find("#nothing").is_displayed()


def test_an_entry_says_everything_and_stays_text(browser):
    entry = browser.find(".entry[data-number='1']")
    for words in (HOSTILE, "51 %", ASK, "pearlite, 49 %", "1 px/µm", "<b>new</b>", "specimen <s1>", "2 px/µm"):
        assert words in entry.text, words
    none = browser.find(".entry[data-number='2']").text
    assert NONE_OF_THESE in none and "if it were one of them" in none
    assert "simulated" in browser.find(".entry[data-number='0'] figcaption").text
    assert "<u>bad</u>.tif" in browser.find(".skipped").text
    assert browser.js("return window.pwned") is None
    assert browser.js("return document.querySelectorAll('[onerror]').length") == 0
    missing = "return [...document.images].filter((i) => i.complete && !i.naturalWidth).length"
    # A training micrograph comes when its entry comes into view.
    for number in range(len(IMAGES)):
        at = f".entry[data-number='{number}']"
        browser.js(f"document.querySelector(\"{at}\").scrollIntoView()")
        late = f"return document.querySelectorAll(\"{at} img:not([src])\").length"
        browser.wait(lambda late=late: browser.js(late) == 0, "the training micrographs")
    browser.wait(lambda: browser.js(missing) == 0, "pictures that can be seen")


@pytest.mark.parametrize("width", ["desktop", "phone"])
def test_page_is_accessible_and_fits(browser, page, width):
    if width == "phone":
        browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
        browser.driver.get(page.as_uri())
    browser.js("document.querySelector('details').open = true")
    assert browser.js(FAULTS) == []
    # Every entry is an article with a name, and every control can be reached by the tab key.
    names = browser.js("return [...document.querySelectorAll('article')].map((a) => document.getElementById("
                       "a.getAttribute('aria-labelledby')).textContent)")  # fmt: skip
    assert len(set(names)) == len(IMAGES)
    from selenium.webdriver.common.action_chains import ActionChains

    reached = set()
    browser.js("document.activeElement.blur()")
    for _ in range(10):
        ActionChains(browser.driver).send_keys("\ue004").perform()
        reached.add(browser.js("return document.activeElement.id"))
    assert {"search", "answer", "flag", "order", "print"} <= reached


def test_print_has_every_picture_and_no_controls(browser):
    browser.choose("flag", SURE)
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not browser.find("#controls").is_displayed()
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    pdf = base64.b64decode(browser.driver.print_page())
    assert pdf.startswith(b"%PDF")
    assert browser.js("return document.querySelectorAll('.entry:not([hidden]) img:not([src])').length") == 0


def test_hundreds_of_images_stay_usable(driver, tmp_path):  # noqa: F811
    large = make_page(tmp_path, n=300)
    driver.set_page_load_timeout(120)
    driver.get(large.as_uri())
    browser = Browser(driver)
    assert browser.find("#count").text == "300 of 300 images"
    # Training micrographs of entries out of sight are not loaded.
    time.sleep(0.3)
    assert browser.js("return document.querySelectorAll('.entry img:not([src])').length") > 500
    took = browser.js(
        "const start = performance.now(); const order = document.getElementById('order'); order.value = 'probability';"
        "order.dispatchEvent(new Event('change')); document.body.offsetHeight; return performance.now() - start"
    )
    assert took < 1000
    assert browser.shown()[:75] == [i for i in range(300) if i % 4 == 1]
