"""The quiz page: what its source holds, and taken in a real browser from start to end."""

import base64
import functools
import hashlib
import http.server
import io
import json
import os
import re
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from micrographs import manifest as manifests
from micrographs.manifest import NO_ANSWER, NONE_OF_THESE
from readerstudy import quiz
from readerstudy import sheets as panel

CHROMIUM, CHROMEDRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking --no-first-run"
    " --disable-component-update --disable-sync"
)
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
# Labels and file names that try to break out of text, attributes, scripts and CSV.
LABELS = [
    "pearlite",
    "<!--<script></script ><script>window.pwned=1</script>",
    '"><img src=x onerror=pwned=2>, "x"+a-very_long/label',
]
LABELS_SORTED = sorted(LABELS)
SECRET = "unobtainium"
WORDS = {
    "title": "<b>Which</b> & why?",
    "contact": '"><script>window.pwned=4</script><img src=x onerror=pwned=5>{{ 7 * 7 }}',
}


def make_manifest(folder, quiz_labels=(*LABELS, *LABELS, SECRET)):
    """Three classes of three training images, and a quiz image for each given label; one in two is simulated."""
    (folder / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    rows = [(label, "train") for label in LABELS for _ in range(3)] + [(label, "quiz") for label in quiz_labels]
    table = []
    for i, (label, split) in enumerate(rows):
        file = f"images/{i:02d} <img src=x onerror=pwned=3> & {re.sub('[^a-z]', '', label)}.png"
        blobs = cv2.GaussianBlur(random.random((120, 160)).astype(np.float32), (0, 0), 3)
        blobs = cv2.normalize(blobs, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
        Image.fromarray(blobs).save(folder / file)
        source = ("simulated: a test", "Simulated: a test")[i % 4 > 1] if i % 2 else "a test"
        table.append({"file": file, "label": label, "split": split, "pixels_per_um": 0.8 * 1.7**i, "source": source})
    pd.DataFrame(table).to_csv(folder / "manifest.csv", index=False)
    return manifests.read_manifest(folder / "manifest.csv")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_manifest(tmp_path_factory.mktemp("quiz") / "data")


@pytest.fixture(scope="module")
def run(manifest, tmp_path_factory):
    """A study's folder in which the machine got all but the first image right."""
    folder = tmp_path_factory.mktemp("run")
    truth = manifests.truth(manifest)
    sheet = pd.DataFrame(
        {
            "quiz": manifests.quiz_id(manifest),
            "image": truth.index,
            "decision_maker": "machine",
            "kind": "machine",
            "answer": [NONE_OF_THESE, *truth[1:]],
        }
    )
    sheet.to_csv(folder / "answers.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def page(manifest, run, tmp_path_factory):
    return quiz.write(tmp_path_factory.mktemp("page") / "quiz.html", manifest, run, **WORDS)


def page_data(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL).group(1))


def right_answers(manifest):
    """The right answer of each image by its name on the page."""
    name = manifests.quiz_id(manifest)
    sha256 = manifest.set_index("file")["sha256"]
    return {panel.opaque_image_id(name, sha256[file]): answer for file, answer in manifests.truth(manifest).items()}


# ---- the source ----


def test_source_names_no_file_and_no_right_answer(manifest, page):
    text = page.read_text(encoding="utf-8")
    for row in manifest.itertuples():
        assert row.file not in text and Path(row.file).name not in text and row.sha256 not in text
    assert SECRET not in text
    data, right = page_data(text), right_answers(manifest)
    ids = [image["id"] for image in data["images"]]
    assert set(ids) == set(right) and ids == sorted(ids)
    for image in data["images"]:
        matches = [a for a in data["options"] if quiz.answer_hash(a, image["id"], data["salt"]) == image["answer"]]
        assert matches == [right[image["id"]]]
    # Equal answers do not look equal, and nothing cheaper than the slow hash gives them away.
    hashes = [image["answer"] for image in data["images"]]
    assert len(set(hashes)) == len(hashes)
    for image in data["images"]:
        fast = hashlib.sha256((data["salt"] + image["id"] + right[image["id"]]).encode()).hexdigest()
        assert fast not in text
    assert data["iterations"] == quiz.ITERATIONS >= 10_000
    assert "deters" in text and "not" in text.split("deters", 1)[1][:60]


def test_embedded_images_keep_their_scale_and_carry_no_metadata(manifest, page, tmp_path):
    data = page_data(page.read_text(encoding="utf-8"))
    for image in data["images"]:
        picture = Image.open(io.BytesIO(base64.b64decode(image["src"].split(",", 1)[1])))
        assert picture.format == "JPEG" and picture.size == (160, 120) and picture.mode == "L"
        assert not picture.getexif() and "comment" not in picture.info
        assert image["field_um"] == pytest.approx([160 / image["pixels_per_um"], 120 / image["pixels_per_um"]])
    large = tmp_path / "large.png"
    Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (100, 16))).save(large)
    row = pd.Series({"path": str(large), "pixels_per_um": 8.0, "source": "a test"})
    reduced = quiz.embedded(row, 2048, 90)
    assert (reduced["width"], reduced["height"]) == (2048, 50)
    assert reduced["field_um"] == [512, 12.5] and reduced["reduced_from"] == [4096, 100]


def test_page_is_self_contained_and_reproducible(manifest, run, page):
    text = page.read_text(encoding="utf-8")
    assert text == quiz.build(manifest, run, **WORDS)
    assert not re.search(r"""(?:src|href|url\()\s*=?\s*["']?(?:https?:)?//""", text)
    assert "default-src 'none'" in text
    assert "unsafe" not in re.search('Security-Policy" content="([^"]*)"', text).group(1)
    for element in ("script", "style"):
        (source,) = re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in text
    # Nothing that the policy would have to allow besides: no style attribute, no handler.
    assert not re.search(r"<[a-z]+ [^>]*\b(style|on[a-z]+)=", re.sub("<script.*?</script>", "", text, flags=re.DOTALL))


def test_opaque_names_depend_on_quiz_and_content():
    names = {panel.opaque_image_id(q, h) for q in ("quiz-a", "quiz-b") for h in ("00", "01")}
    assert len(names) == 4
    assert all(re.fullmatch("image-[0-9a-f]{16}", name) for name in names)


def test_references_are_training_images_spread_over_scales_and_specimens():
    n = 12
    rows = pd.DataFrame(
        {
            "file": [f"{i}.png" for i in range(n + 3)],
            "label": "a",
            "split": ["train"] * n + ["quiz"] * 3,
            "split_group": [f"s{i // 3}" for i in range(n + 3)],
            "pixels_per_um": [2.0**i for i in range(n + 3)],
        }
    )
    assert list(quiz.reference_rows(rows, "a", 4)["split_group"]) == ["s0", "s1", "s2", "s3"]
    chosen = quiz.reference_rows(rows.assign(split_group="one"), "a", 3)
    assert list(chosen["pixels_per_um"]) == [2.0**2, 2.0**6, 2.0**10]
    assert len(quiz.reference_rows(rows, "a", 99)) == n


def test_comparison_is_of_the_same_quiz(manifest, run, tmp_path):
    (machine,) = quiz.comparison_rows(run, manifest)
    assert machine["accuracy"] == pytest.approx(6 / 7) and machine["name"] == "The machine"
    assert quiz.comparison_rows(tmp_path, manifest) == []
    sheet = pd.read_csv(run / "answers.csv", keep_default_na=False)
    sheet.assign(quiz="quiz-other").to_csv(tmp_path / "answers.csv", index=False)
    with pytest.raises(quiz.QuizError, match="another quiz"):
        quiz.comparison_rows(tmp_path, manifest)
    readers = pd.DataFrame(
        [
            ("machine", "machine", 7, 6, 6 / 7, 0.5, 1),
            ("simulated 01", "simulated human", 7, 3, 3 / 7, 0.1, 0.8),
            ("simulated 02", "simulated human", 7, 5, 5 / 7, 0.3, 0.9),
            ("panel mean", "panel mean", 7, 4, 4 / 7, 0.3, 0.8),
            ("majority vote", "majority vote", 7, 5, 5 / 7, None, None),
        ],
        columns=["decision_maker", "kind", "n_images", "n_correct", "accuracy", "accuracy_low", "accuracy_high"],
    )
    readers.to_csv(tmp_path / "readers.csv", index=False)
    machine, mean, vote = quiz.comparison_rows(tmp_path, manifest)
    assert (machine["low"], machine["high"]) == (0.5, 1.0)
    assert "simulated panel, 2 readers" in mean["name"] and mean["readers"] == pytest.approx([3 / 7, 5 / 7])
    assert vote["low"] is None and vote["accuracy"] == pytest.approx(5 / 7)
    # A reader who was not shown every image, and another machine in the panel.
    readers.loc[1, "n_images"] = 4
    readers.loc[2, ["decision_maker", "kind"]] = "resnet", "machine"
    readers.to_csv(tmp_path / "readers.csv", index=False)
    names = [row["name"] for row in quiz.comparison_rows(tmp_path, manifest)]
    assert names[:2] == ["The machine", "Another machine, resnet"]
    readers.assign(n_images=8).to_csv(tmp_path / "readers.csv", index=False)
    with pytest.raises(quiz.QuizError, match="7 quiz images"):
        quiz.comparison_rows(tmp_path, manifest)


def test_command_line_writes_the_page_or_says_why_not(manifest, tmp_path, capsys):
    path = manifest.attrs["manifest"]
    assert quiz.main(["--manifest", path, "--out", str(tmp_path / "q.html"), "--references", "1"]) == 0
    assert manifests.quiz_id(manifest) in capsys.readouterr().out
    assert len(page_data((tmp_path / "q.html").read_text(encoding="utf-8"))["references"][0]["images"]) == 1
    train = manifest[manifest["split"] == "train"]
    train[["file", "label", "split", "pixels_per_um", "path", "sha256"]].to_csv(tmp_path / "train.csv", index=False)
    assert quiz.main(["--manifest", str(tmp_path / "train.csv"), "--out", str(tmp_path / "no.html")]) == 2
    assert "no quiz rows" in capsys.readouterr().err
    assert quiz.main(["--run", str(tmp_path / "absent"), "--out", str(tmp_path / "no.html")]) == 2
    assert not (tmp_path / "no.html").exists()


# ---- in a browser ----


class Reader:
    """Takes the quiz in a browser, through what a participant sees."""

    def __init__(self, driver, downloads):
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.by import By

        self.driver, self.downloads = driver, downloads
        self._actions, self._by = ActionChains, By

    def open(self, url, keep=False):
        self.driver.get(url)
        if not keep:
            self.js("try { localStorage.clear() } catch {}")
            self.driver.get(url)

    def js(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def find(self, name):
        return self.driver.find_element(self._by.ID, name)

    def all(self, css):
        return self.driver.find_elements(self._by.CSS_SELECTOR, css)

    def press(self, *keys):
        self._actions(self.driver).send_keys(*keys).perform()

    @property
    def screen(self):
        (shown,) = self.js("return [...document.querySelectorAll('main > section:not([hidden])')].map((s) => s.id)")
        return shown.removeprefix("screen-")

    def wait(self, condition, what, seconds=20):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited in vain for {what}"
            time.sleep(0.05)

    def consent(self, pseudonym="a reader", years="4.5"):
        assert self.screen == "start"
        self.find("pseudonym").clear()
        self.find("pseudonym").send_keys(pseudonym)
        self.find("years").send_keys(years)
        self.find("agree").click()
        self.all("#consent button")[0].click()

    def begin(self):
        self.consent()
        self.find("begin").click()
        assert self.screen == "question"

    def shown_image(self, data):
        src = self.find("image").get_attribute("src")
        (image,) = [image for image in data["images"] if image["src"] == src]
        return image

    def sheet(self):
        self.wait(lambda: self.screen == "results", "the result screen")
        # Asked for in the tab that downloads: the browser forgets it with the tab that asked.
        where = {"behavior": "allow", "downloadPath": str(self.downloads)}
        self.driver.execute_cdp_cmd("Browser.setDownloadBehavior", where)
        self.find("download").click()
        # The browser reserves the name with an empty file first.
        self.wait(lambda: [p for p in self.downloads.glob("*.csv") if p.stat().st_size], "the download")
        (path,) = self.downloads.glob("*.csv")
        return path


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver")
    if not (CHROMIUM.exists() and CHROMEDRIVER.exists()):
        pytest.skip("no chromium and chromedriver in /usr/bin; apt-get install chromium-driver")
    from selenium.webdriver.chrome.service import Service

    os.environ["SE_OFFLINE"] = "true"
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    profile = tmp_path_factory.mktemp("profile")
    # A name that is not localhost: the page then has no crypto.subtle, as on any plain http host.
    for flag in [*FLAGS.split(), f"--user-data-dir={profile}", "--host-resolver-rules=MAP quiz.test 127.0.0.1"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))
    driver.set_window_size(1280, 900)
    yield driver
    driver.quit()


@pytest.fixture
def reader(driver, tmp_path):
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.get_log("browser")
    yield Reader(driver, downloads)
    complaints = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert not complaints


def read_sheet(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_taken_from_start_to_end_the_sheet_says_what_was_answered(reader, manifest, page, tmp_path):
    data, right = page_data(page.read_text(encoding="utf-8")), right_answers(manifest)
    reader.open(page.as_uri())
    assert reader.all("#screen-start h1")[0].text == "<b>Which</b> & why?"
    # Nothing goes on without agreement and a pseudonym that is none of the comparison's own names.
    reader.find("pseudonym").clear()
    reader.find("pseudonym").send_keys("Machine")
    reader.all("#consent button")[0].click()
    assert reader.screen == "start" and reader.find("agree-error").text and reader.find("pseudonym-error").text
    reader.consent("Ünal 3", "4,5")
    assert reader.screen == "classes"
    assert [h.text for h in reader.all("#references h2")] == LABELS_SORTED
    reader.find("begin").click()

    expected = []
    for i in range(len(data["images"])):
        assert reader.find("position").text == f"Image {i + 1} of 7"
        image = reader.shown_image(data)
        assert reader.find("image-simulated").is_displayed() == image["simulated"]
        if i == 0:  # by pointer; nothing is accepted half done
            reader.find("next").click()
            assert "what the image shows" in reader.find("question-error").text
            answer = data["options"].index(right[image["id"]])
            reader.all("#answers label")[answer].click()
            reader.find("next").click()
            assert "likely" in reader.find("question-error").text
            reader.all("#confidences label")[4].click()
            reader.find("next").click()
            confidence = 1.0
        elif i == 1:  # by keyboard, changing one's mind; slowly
            time.sleep(1.2)
            answer = data["options"].index(right[image["id"]])
            reader.press("1", "a", str(answer + 1), "s", "\ue007")
            confidence = 0.4
        else:  # wrong on purpose
            answer = (data["options"].index(right[image["id"]]) + 1) % 4
            reader.press(str(answer + 1), "f", "\ue007")
            confidence = 0.8
        expected.append((image["id"], data["options"][answer], confidence))
    path = reader.sheet()
    assert path.name == f"{data['quiz']}-Ünal-3.csv"
    sheet = read_sheet(path)
    assert list(sheet.columns) == [*panel.COLUMNS, *panel.OPTIONAL]
    assert list(zip(sheet["image"], sheet["answer"], sheet["confidence"].astype(float), strict=True)) == expected
    assert set(sheet["decision_maker"]) == {"Ünal 3"} and set(sheet["kind"]) == {"human"}
    assert set(sheet["quiz"]) == {manifests.quiz_id(manifest)} and set(sheet["years_experience"]) == {"4.5"}
    seconds = sheet["seconds"].astype(float)
    assert 1.2 <= seconds[1] < 6 and (seconds > 0).all()
    assert reader.find("sheet").get_attribute("value") == path.read_text(encoding="utf-8")

    # The result screen agrees with the sheet and with the machine's own answers.
    assert reader.find("score").text.startswith("2 of 7 right: 29")
    ranks = {li.find_element("class name", "who").text: li for li in reader.all("#ranks li:not(.scale)")}
    assert [r.split("\n")[0] for r in ranks] == ["You", "The machine"]
    assert "86" in list(ranks)[1]
    cards = [card.text.split("\n") for card in reader.all("#wrong figure")]
    assert len(cards) == 5
    for card, (image, answer, _) in zip(cards, expected[2:], strict=True):
        assert right[image] in card and answer in card
    assert reader.js("return window.pwned") is None
    assert reader.js("return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length") == 0

    # The sheet flows into the panel once the opaque names are the manifest's again.
    # The sheet goes into a panel as it was downloaded.
    read = panel.read_sheets(path, manifest)
    assert (read["answer"] == manifests.truth(manifest).reindex(read["image"]).to_numpy()).sum() == 2


def test_resumed_after_a_closed_tab_and_stopped_early(reader, page):
    data = page_data(page.read_text(encoding="utf-8"))
    reader.open(page.as_uri())
    reader.begin()
    seen = []
    for _ in range(3):
        seen.append(reader.shown_image(data)["id"])
        reader.press("2", "d", "\ue007")
    waiting = reader.shown_image(data)["id"]
    reader.press("1")
    time.sleep(0.5)
    first = reader.driver.current_window_handle
    reader.driver.switch_to.new_window("tab")
    second = reader.driver.current_window_handle
    reader.driver.switch_to.window(first)
    reader.driver.close()
    reader.driver.switch_to.window(second)
    reader.open(page.as_uri(), keep=True)
    assert reader.screen == "resume" and "3 of 7" in reader.find("resume-text").text
    reader.find("resume").click()
    assert reader.find("position").text == "Image 4 of 7"
    assert reader.shown_image(data)["id"] == waiting
    assert [i.is_selected() for i in reader.all("#answers input")] == [True, False, False, False]
    reader.press("g", "\ue007")
    reader.find("stop").click()
    assert "3 images" in reader.find("ask-text").text
    reader.find("ask-yes").click()
    sheet = read_sheet(reader.sheet())
    assert list(sheet["image"][:4]) == [*seen, waiting] and sheet["image"].nunique() == 7
    assert list(sheet["answer"]) == [data["options"][1]] * 3 + [data["options"][0]] + [NO_ANSWER] * 3
    assert list(sheet["seconds"][4:]) == [""] * 3 and float(sheet["seconds"][3]) >= 0.5
    assert reader.find("score-note").text
    # A finished quiz comes back too, until it is cleared.
    reader.open(page.as_uri(), keep=True)
    reader.find("resume").click()
    reader.wait(lambda: reader.screen == "results", "the result again")
    reader.find("another").click()
    reader.find("ask-yes").click()
    reader.wait(lambda: reader.screen == "start", "the first screen")
    reader.open(page.as_uri(), keep=True)
    assert reader.screen == "start"


def test_time_stops_while_the_page_is_hidden(reader, page):
    reader.open(page.as_uri())
    reader.begin()
    hide = (
        "Object.defineProperty(document, 'visibilityState', { value: arguments[0], configurable: true });"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    reader.js(hide, "hidden")
    kept = reader.js("return JSON.parse(localStorage.getItem(Object.keys(localStorage)[0])).draft.seconds")
    time.sleep(2)
    reader.js(hide, "visible")
    reader.press("1", "a", "\ue007")
    state = reader.js("return JSON.parse(localStorage.getItem(Object.keys(localStorage)[0]))")
    (answer,) = state["answers"].values()
    assert kept <= answer["seconds"] < kept + 1.5


def test_orders_differ_between_participants(reader, page):
    orders = set()
    for _ in range(4):
        reader.open(page.as_uri())
        reader.consent()
        orders.add(tuple(reader.js("return JSON.parse(localStorage.getItem(Object.keys(localStorage)[0])).order")))
    assert len(orders) > 1 and len({frozenset(order) for order in orders}) == 1


def test_scale_bar_stays_true_under_zoom(reader, page):
    data = page_data(page.read_text(encoding="utf-8"))
    reader.open(page.as_uri())
    reader.begin()
    units = {"nm": 1e-3, "µm": 1.0, "mm": 1e3}

    def check(zoom):
        image = reader.shown_image(data)
        shown, width, transform = reader.js(
            "const s = document.getElementById('stage');"
            "return [document.getElementById('image').getBoundingClientRect().width, s.clientWidth,"
            " document.getElementById('bar-line').getBoundingClientRect().width]"
        )
        assert shown / width == pytest.approx(zoom, rel=1e-3)
        number, unit = reader.find("bar-label").text.split()
        um = float(number) * units[unit]
        assert transform == pytest.approx(um * shown / image["field_um"][0], abs=1)
        assert 0.09 * width < transform <= 0.26 * width

    for _ in range(3):
        check(1)
        reader.find("zoom-in").click()
        check(1.5)
        reader.press("+", "+", "+")
        check(1.5**4)
        reader.press("0")
        check(1)
        reader.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
        reader.press("+")
        time.sleep(0.2)
        check(1.5)
        reader.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        time.sleep(0.2)
        reader.press("1", "a")
        reader.find("next").click()
    # The bars of the reference images are part of their width.
    bars = reader.js(
        "return [...document.querySelectorAll('#references .bar')].map((bar) => ["
        "bar.querySelector('span').textContent, parseFloat(bar.querySelector('i').style.width)])"
    )
    references = [image for group in data["references"] for image in group["images"]]
    assert len(bars) == len(references) == 9
    for (label, percent), image in zip(bars, references, strict=True):
        number, unit = label.split()
        assert percent == pytest.approx(100 * float(number) * units[unit] / image["field_um"][0], rel=1e-4)


def test_without_storage_it_warns_and_still_exports(reader, page):
    broken = (
        "for (const name of ['setItem', 'getItem', 'removeItem'])"
        " Storage.prototype[name] = () => { throw new DOMException('no', 'SecurityError') }"
    )
    script = reader.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": broken})
    try:
        reader.open(page.as_uri(), keep=True)
        assert reader.find("storage-warning").is_displayed()
        reader.begin()
        reader.press("3", "g", "\ue007")
        reader.find("stop").click()
        reader.find("ask-yes").click()
        sheet = read_sheet(reader.sheet())
        assert (sheet["answer"] == NO_ANSWER).sum() == 6
    finally:
        reader.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


@pytest.mark.parametrize("kept", ["not json", "[]", '{"order": ["x"]}', "null"])
def test_a_spoilt_store_is_not_used(reader, manifest, page, kept):
    reader.open(page.as_uri())
    reader.js("localStorage.setItem(arguments[0], arguments[1])", "microrace/" + manifests.quiz_id(manifest), kept)
    reader.open(page.as_uri(), keep=True)
    assert reader.screen == "start" and not reader.find("storage-warning").is_displayed()


def test_a_second_tab_does_not_write_over_the_first(reader, page):
    reader.open(page.as_uri())
    reader.begin()
    first = reader.driver.current_window_handle
    reader.driver.switch_to.new_window("tab")
    reader.open(page.as_uri(), keep=True)
    reader.find("resume").click()
    reader.press("1", "a", "\ue007")
    second = reader.driver.current_window_handle
    reader.driver.switch_to.window(first)
    reader.wait(lambda: reader.screen == "elsewhere", "the first tab to notice")
    reader.find("take-over").click()
    assert reader.screen == "resume" and "1 of 7" in reader.find("resume-text").text
    reader.driver.switch_to.window(second)
    reader.driver.close()
    reader.driver.switch_to.window(first)


def test_plain_http_marks_with_the_page_s_own_hash(reader, manifest, page):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(page.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        data, right = page_data(page.read_text(encoding="utf-8")), right_answers(manifest)
        reader.open(f"http://quiz.test:{server.server_port}/{page.name}")
        assert reader.js("return !window.isSecureContext && !crypto.subtle")
        reader.begin()
        wrong = []
        for i in range(7):
            image = reader.shown_image(data)
            answer = data["options"].index(right[image["id"]])
            wrong += [] if i % 2 else [image["id"]]
            reader.press(str((answer + 1 - i % 2) % 4 + 1), "s", "\ue007")
        reader.wait(lambda: reader.screen == "results", "the result screen")
        assert reader.find("score").text.startswith("3 of 7")
        assert [dd.text for dd in reader.all("#wrong dd:first-of-type")] == [right[image] for image in wrong]
    finally:
        server.shutdown()
        server.server_close()


# What can be checked by hand of the accessibility guidelines: names, labels, contrast, size of targets.
FAULTS = r"""
const shown = (e) => e.checkVisibility({ visibilityProperty: true });
const faults = [];
const name = (e) => (e.getAttribute('aria-label') || [...(e.labels || [])].map((l) => l.textContent).join(' ')
  || (e.getAttribute('aria-labelledby') || '').split(' ').map((i) => document.getElementById(i)?.textContent || '').join('')
  || e.textContent).trim();
for (const e of document.querySelectorAll('button, input, textarea, summary, progress, output, [role=group], dialog[open]'))
  if (shown(e) && !name(e)) faults.push('no name: ' + e.outerHTML.slice(0, 80));
for (const e of document.querySelectorAll('img')) if (shown(e) && !e.alt) faults.push('no alt');
if ([...document.querySelectorAll('h1')].filter(shown).length !== 1) faults.push('not one h1');
if (!document.documentElement.lang || !document.title) faults.push('no language or title');
const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
if (new Set(ids).size !== ids.length) faults.push('ids twice');
for (const e of document.querySelectorAll('[aria-describedby], [aria-labelledby]'))
  for (const i of (e.getAttribute('aria-describedby') || e.getAttribute('aria-labelledby')).split(' '))
    if (!document.getElementById(i)) faults.push('no ' + i);
const parse = (c) => { const n = c.match(/[\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
const linear = (v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
const luminance = (c) => c.slice(0, 3).map((v) => linear(v / 255))
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3])).concat(1);
const ground = (e) => e ? over(parse(getComputedStyle(e).backgroundColor), ground(e.parentElement)) : [255, 255, 255, 1];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const e = walk.currentNode.parentElement;
  if (!walk.currentNode.textContent.trim() || ['SCRIPT', 'NOSCRIPT', 'STYLE'].includes(e.tagName) || !shown(e)) continue;
  const under = ground(e), a = luminance(over(parse(getComputedStyle(e).color), under)), b = luminance(under);
  const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  if (contrast < 4.5) faults.push('contrast ' + contrast.toFixed(2) + ': ' + walk.currentNode.textContent.slice(0, 40));
}
for (const e of document.querySelectorAll('button, summary, input, textarea')) {
  const box = (e.closest('label') || e).getBoundingClientRect();
  if (shown(e) && (box.width < 24 || box.height < 24)) faults.push('small target: ' + e.outerHTML.slice(0, 80));
}
const wide = document.documentElement.scrollWidth - window.innerWidth;
if (wide > 0) faults.push('wider than the window by ' + wide);
const box = document.querySelector('dialog[open]');
if (box && box.scrollWidth > box.clientWidth) faults.push('dialog scrolls sideways');
return faults;
"""


@pytest.mark.parametrize("width", ["desktop", "phone"])
def test_every_screen_is_accessible_and_fits(reader, page, width):
    if width == "phone":
        reader.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    reader.open(page.as_uri())
    assert reader.js(FAULTS) == [] and reader.screen == "start"
    reader.all("#consent button")[0].click()
    assert reader.js(FAULTS) == []
    assert reader.js("return document.activeElement.id") == "agree"
    reader.consent()
    assert reader.js("return document.activeElement.textContent") == "The classes"
    assert reader.js(FAULTS) == []
    reader.find("begin").click()
    assert reader.js("return document.activeElement.id") == "position"
    reader.press("2", "d")
    assert reader.js(FAULTS) == []
    reader.press("r")
    assert reader.find("reference-dialog").is_displayed() and reader.js(FAULTS) == []
    reader.press("1")  # does not answer the question behind
    reader.press("\ue00c")
    assert not reader.find("reference-dialog").is_displayed()
    assert [i.is_selected() for i in reader.all("#answers input")] == [False, True, False, False]
    # Single keys can be switched off, as they must; arrows still move between answers.
    reader.js("document.getElementById('shortcuts').click()")
    reader.js("document.querySelectorAll('#answers input')[1].focus()")
    reader.press("3")
    assert reader.all("#answers input")[1].is_selected()
    reader.press("\ue015")
    assert reader.all("#answers input")[2].is_selected()
    reader.press("\ue007")
    assert reader.find("position").text == "Image 2 of 7"
    # Every control can be reached by the tab key.
    reached = set()
    for _ in range(20):
        reader.press("\ue004")
        reached.add(reader.js("const e = document.activeElement; return e.name || e.id"))
    assert {"stop", "stage", "zoom-out", "zoom-in", "zoom-fit", "answer", "confidence", "next"} <= reached
    assert {"show-references", "shortcuts"} <= reached
    reader.find("stop").click()
    assert reader.js(FAULTS) == []
    reader.find("ask-yes").click()
    reader.wait(lambda: reader.screen == "results", "the result screen")
    reader.js("document.querySelector('details').open = true")
    assert reader.js(FAULTS) == []
    reader.open(page.as_uri(), keep=True)
    assert reader.screen == "resume" and reader.js(FAULTS) == []


def test_hostile_labels_stay_text(reader, page):
    reader.open(page.as_uri())
    reader.begin()
    options = [b.text for b in reader.all("#answers b")]
    assert options == [*LABELS_SORTED, NONE_OF_THESE]
    assert reader.js("return window.pwned") is None
    assert not reader.all("[onerror]") and len(reader.all("script")) == 2
    assert WORDS["contact"] in reader.js("return document.getElementById('screen-start').textContent")


def test_the_policy_stops_what_got_in_all_the_same(reader, page):
    """Were a text ever put in as markup, neither its script nor its style nor its address would do anything."""
    reader.open(page.as_uri())
    inject = """
      const script = document.createElement('script');
      try { script.textContent = 'window.pwned = 6'; document.body.append(script); } catch {}
      try { document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.pwned = 7">'); } catch {}
      const style = document.createElement('style');
      style.textContent = 'h1 { color: rgb(1, 2, 3) !important }';
      document.head.append(style);
      const answered = arguments[arguments.length - 1];
      fetch('data:text/plain,x').then(() => answered('fetched'), () => answered('stopped'));
    """
    assert reader.driver.execute_async_script(inject) == "stopped"
    assert reader.js("return window.pwned") is None
    assert reader.js("return getComputedStyle(document.querySelector('h1')).color") != "rgb(1, 2, 3)"
    complaints = [entry["message"] for entry in reader.driver.get_log("browser")]
    assert any("Content Security Policy" in message for message in complaints)
