"""The report: a page that reads as the notebooks do, loads nothing, runs nothing, and shows every text as text."""

import base64
import hashlib
import html.parser
import json
import re

import nbformat
import pytest

from microrace.study import report

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class Page(html.parser.HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def run_dir(tmp_path):
    """A study that has run, whose files hold what nobody should be able to smuggle into the page."""
    (tmp_path / "notebooks").mkdir()
    table = '<style scoped>td { color: red }</style><table class="dataframe"><thead><tr><th>class</th></tr></thead></table>'
    outputs = [
        nbformat.v4.new_output("execute_result", {"text/plain": "4 + 4", "text/html": table}, execution_count=4),
        nbformat.v4.new_output("display_data", {"text/markdown": f"A label: {HOSTILE}"}),
        nbformat.v4.new_output("display_data", {"text/html": f'<p onclick="alert(3)">{HOSTILE}</p>'}),
        nbformat.v4.new_output("stream", name="stdout", text=HOSTILE),
        nbformat.v4.new_output("display_data", {"image/png": PNG, "text/plain": "Figure"}),
        nbformat.v4.new_output("stream", name="stderr", text="a bar"),
    ]
    cells = [
        nbformat.v4.new_markdown_cell("# The title\n\nA paragraph, see [the other](02-b.ipynb).\n\n## A part <b>"),
        nbformat.v4.new_code_cell('figures.save(figure, out, "difference")', outputs=outputs, execution_count=4),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebooks" / "01-a.ipynb")
    files = {
        "dataset.json": {"simulated": True, "attribution": [f"170 images: UHCSDB. {HOSTILE}"]},
        "comparison.json": {"claims": [f"The machine is better. {HOSTILE}", "Second."], "simulated_panel": True},
        "metrics.json": {"skipped": ["no quiz"]},
        "figures/difference.json": {"alt": "A bar above zero", "caption": "What the difference is"},
    }
    (tmp_path / "figures").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "figures" / "difference.csv").touch()
    for stem in ("difference", "sheet"):
        (tmp_path / "figures" / f"{stem}.png").write_bytes(base64.b64decode(PNG))
    return tmp_path


@pytest.fixture
def text(run_dir):
    state = {"study": "mine", "commit": "abc", "data": {"manifest": f"data/{HOSTILE}/manifest.csv"}}
    return report.render(run_dir, state, [run_dir / "notebooks" / "01-a.ipynb"])


def test_the_first_screen_says_what_was_found_and_shows_it(text):
    assert text.index("<main>") < text.index("Simulated: the micrographs and panel.") < text.index("The machine is better.")
    assert text.index("The machine is better.") < text.index('alt="A bar above zero"') < text.index("The title")
    assert "Second." not in text and "no quiz" in text


def test_a_claim_leads_to_its_figure_its_cell_and_its_table(text):
    assert '<a href="#figure-difference">difference</a>' in text and text.count('id="figure-difference"') == 1
    assert "figures/sheet.csv" not in text and "| " not in Page(text).text  # a figure without numbers breaks no table
    assert "What the difference is" in text and '<a href="figures/difference.csv">' in text
    pictures = re.findall("<img[^>]*data:image/png[^>]*>", text)
    assert len(pictures) == 2 and all('alt="A bar above zero"' in tag for tag in pictures)


def test_the_prose_keeps_its_form_and_the_contents_name_it(text):
    assert re.search(r"<h1[^>]*>The title", text) and "<p>A paragraph, see" in text and 'href="#02-b"' in text
    assert "<th>class</th>" in text and "<thead>" in text
    assert '<a href="#01-a">01 a</a>' in text and text.count('id="01-a"') == 1
    assert not re.search(r"(In|Out)\s*(\[|&nbsp;)", Page(text).text) and "a bar" not in text


def test_nothing_runs_and_nothing_is_loaded(text):
    page = Page(text)
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    styles = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(styles[0].encode()).digest()).decode()
    assert len(styles) == 1 and f"style-src 'sha256-{digest}'" in policy and policy.startswith("default-src 'none'")
    assert "unsafe" not in policy and "script-src" not in policy
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "object", "embed", "form")]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"]
    assert all(a.get("src", "data:").startswith("data:") or a["src"] == "x" for _, a in page.tags)


def test_whose_images_they_are_is_said_as_text(text):
    footer = text[text.index("<footer>") :]
    assert (
        "170 images: UHCSDB." in footer and "&lt;script&gt;" in footer and "<script" not in footer and "<img" not in footer
    )
