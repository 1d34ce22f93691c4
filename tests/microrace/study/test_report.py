"""The report: a page that reads as the notebooks do, loads nothing, runs nothing, and shows every text as text."""

import base64
import hashlib
import json
import re

import nbformat
import pytest
from bs4 import BeautifulSoup

from microrace.study import report

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
TABLE = '<style scoped>td { color: red }</style><table class="dataframe"><thead><tr><th>class</th></tr></thead></table>'
SHOWN = [
    {"text/plain": "4 + 4", "text/html": TABLE},
    {"text/markdown": f"A label: {HOSTILE}"},
    {"text/html": f'<p onclick="alert(3)">{HOSTILE}</p>'},
    {"image/png": PNG, "text/plain": "Figure"},
]


@pytest.fixture
def text(tmp_path):
    """The report of a study whose files hold what nobody should be able to smuggle into the page."""
    outputs = [nbformat.v4.new_output("execute_result", data) for data in SHOWN]
    outputs += [nbformat.v4.new_output("stream", name=name, text=f"{name} {HOSTILE}") for name in ("stdout", "stderr")]
    cells = [
        nbformat.v4.new_markdown_cell("# The title\n\nA paragraph, see [the other](02-b.ipynb).\n\n## A part <b>"),
        nbformat.v4.new_code_cell('figures.save(figure, out, "difference")', outputs=outputs, execution_count=4),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "01-a.ipynb")
    files = {
        "dataset.json": {"simulated": True, "attribution": [f"170 images: UHCSDB. {HOSTILE}"]},
        "comparison.json": {"claims": [f"The machine is better. {HOSTILE}", "Second."], "simulated_panel": True},
        "metrics.json": {"skipped": ["no quiz"]},
        "figures/difference.json": {"alt": "A bar above zero", "caption": "What the difference is"},
        "figures/difference.csv": "",
    }
    (tmp_path / "figures").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    for stem in ("difference", "sheet"):
        (tmp_path / "figures" / f"{stem}.png").write_bytes(base64.b64decode(PNG))
    state = {"study": "mine", "commit": "abc", "data": {"manifest": f"data/{HOSTILE}/manifest.csv"}}
    return report.render(tmp_path, state, [tmp_path / "01-a.ipynb"])


@pytest.fixture
def page(text):
    return BeautifulSoup(text, "html.parser")


def test_the_first_screen_says_what_was_found_and_shows_it(text):
    said = ["Simulated: the micrographs and panel.", "The machine is better.", 'alt="A bar above zero"', "The title"]
    places = [text.index(part) for part in said]
    assert places == sorted(places) and "Second." not in text and "no quiz" in text


def test_a_claim_leads_to_its_figure_its_cell_and_its_table(text):
    assert '<a href="#figure-difference">difference</a>' in text and text.count('id="figure-difference"') == 1
    assert "figures/sheet.csv" not in text and "What the difference is" in text
    assert '<a href="figures/difference.csv">' in text
    pictures = re.findall("<img[^>]*data:image/png[^>]*>", text)
    assert len(pictures) == 2 and all('alt="A bar above zero"' in tag for tag in pictures)


def test_the_prose_keeps_its_form_and_the_contents_name_it(text, page):
    assert re.search(r"<h1[^>]*>The title", text) and "<p>A paragraph, see" in text and 'href="#02-b"' in text
    assert "<thead>" in text and '<a href="#01-a">01 a</a>' in text and text.count('id="01-a"') == 1
    assert not re.search(r"(In|Out)\s*(\[|&nbsp;)|\| ", page.text) and "stderr" not in text and "color: red" not in text


def test_nothing_runs_and_nothing_is_loaded(text, page):
    styles = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    policy = page.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    digest = base64.b64encode(hashlib.sha256(styles[0].encode()).digest()).decode()
    assert len(styles) == 1 and f"style-src 'sha256-{digest}'" in policy and policy.startswith("default-src 'none'")
    assert "unsafe" not in policy and "script-src" not in policy
    assert not page.find_all(["script", "iframe", "object", "embed", "form"])
    assert not [name for tag in page.find_all() for name in tag.attrs if name.startswith("on") or name == "style"]
    assert {tag["src"].partition(":")[0] for tag in page.find_all(src=True)} == {"data", "x"}


def test_whose_images_they_are_is_said_as_text(page):
    assert f"170 images: UHCSDB. {HOSTILE}" in page.footer.text and not page.footer.find_all(["script", "img"])
