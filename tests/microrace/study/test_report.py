"""The report: a page that reads as the notebooks do, loads nothing, runs nothing, and shows every text as text."""

import base64
import hashlib
import html.parser
import json
import re

import nbformat
import pytest

from microrace.study import report

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
        nbformat.v4.new_output("stream", name="stderr", text="a bar"),
    ]
    cells = [
        nbformat.v4.new_markdown_cell("# The title\n\nA paragraph, see [the other](02-b.ipynb).\n\n## A part <b>"),
        nbformat.v4.new_code_cell("2 + 2", outputs=outputs, execution_count=4),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebooks" / "01-a.ipynb")
    files = {
        "run.json": {"data": {"manifest": f"/data/{HOSTILE}/manifest.csv"}, "seed": 3},
        "dataset.json": {"simulated": True, "attribution": ["170 images: UHCSDB.", f"One more: {HOSTILE}."]},
        "metrics.json": {
            "accuracy": {"value": 0.5, "low": 0.4, "high": 0.625}, "balanced_accuracy": 0.25, "skipped": [HOSTILE],
        },
        "comparison.json": {"panel_mean": {"value": 0.75, "low": 0.5, "high": 1.0}},
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def text(run_dir):
    return report.render_report(run_dir, [run_dir / "notebooks" / "01-a.ipynb"])


def test_the_prose_keeps_its_form_and_the_contents_name_it(text):
    assert re.search(r'<h1[^>]*id="01-a-The-title"[^>]*>The title', text)
    assert "<p>A paragraph, see" in text and 'href="#02-b"' in text
    assert "<th>class</th>" in text and "<thead>" in text
    assert '<a href="#01-a">The title</a>' in text and ">A part" in text


def test_there_are_no_prompts_and_the_numbers_are_a_table(text):
    assert not re.search(r"(In|Out)\s*(\[|&nbsp;)", Page(text).text) and "a bar" not in text
    rows = re.findall(r'<tr><th scope="row">(.*?)</th><td>(.*?)</td><td>(.*?)</td></tr>', text)
    assert rows == [("machine", "0.50 (0.40 to 0.62)", "0.25"), ("panel mean", "0.75 (0.50 to 1.00)", "")]


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
    assert "170 images: UHCSDB." in footer and "seed 3" in footer
    assert "&lt;script&gt;" in footer and "<script" not in footer and "<img" not in footer


def test_the_banner_says_what_is_simulated(run_dir, text):
    assert "the micrographs of this study\nwere generated" in text
    (run_dir / "readers.csv").write_text("decision_maker,kind\nreader 1,simulated human\n")
    (run_dir / "dataset.json").write_text('{"simulated": false}')
    assert "the panel of this study\nwas generated" in report.render_report(run_dir, [])
    (run_dir / "readers.csv").unlink()
    assert 'class="banner"' not in report.render_report(run_dir, [])
