"""The report of a study: its executed notebooks and headline numbers as one page of HTML that needs no other file."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import NamedTuple

from microrace.study.records import read_json
from readerstudy.pages import source_hash

HERE = Path(__file__).parent
# What the page is made from beside a study's own files.
SOURCES = [HERE / name for name in ("report.py", "report.html.j2", "report-cells.html.j2", "report.css")]

# The HTML that notebooks' prose and outputs may hold, beside what bleach lets through: how a text is built, and pictures.
TAGS = (
    "p div span pre br hr h1 h2 h3 h4 h5 h6 table caption thead tbody tfoot tr th td img figure figcaption details summary "
    "sub sup del s small dl dt dd"
).split()
ATTRIBUTES = {
    "*": ["class", "id", "title"],
    "a": ["href"],
    "img": ["src", "alt", "width", "height"],
    "th": ["colspan", "rowspan", "scope"],
    "td": ["colspan", "rowspan"],
}


def simulated_parts(run_dir: Path) -> list[str]:
    """Return which of "micrographs" and "panel" are simulated in a finished study."""
    parts = ["micrographs"] if read_json(run_dir / "dataset.json").get("simulated") else []
    readers = run_dir / "readers.csv"
    if readers.is_file():
        with open(readers, encoding="utf-8", newline="") as file:
            if any((row.get("kind") or "").startswith("simulated") for row in csv.DictReader(file)):
                parts.append("panel")
    return parts


def _interval(found, name: str) -> str | None:
    """Return "0.78 (0.62 to 0.89)" for {"value", "low", "high"}, or None where there is no number."""
    entry = found.get(name) if isinstance(found, dict) else None
    if isinstance(entry, dict):
        value, low, high = (entry.get(key) for key in ("value", "low", "high"))
    else:
        value, low, high = entry, None, None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    text = f"{value:.2f}"
    if isinstance(low, int | float) and isinstance(high, int | float):
        text += f" ({low:.2f} to {high:.2f})"
    return text


class Headline(NamedTuple):
    """What sums a study up: (who, accuracy, balanced accuracy) with "" for what is absent, and what was skipped and why."""

    rows: list[tuple[str, str, str]]
    skipped: list[str]


def headline(run_dir: Path) -> Headline:
    """Return the numbers that sum a study up, from ``metrics.json`` and ``comparison.json``."""
    metrics, comparison = read_json(run_dir / "metrics.json"), read_json(run_dir / "comparison.json")
    found = [
        (who, *(_interval(numbers, name) or "" for name in ("accuracy", "balanced_accuracy")))
        for who, numbers in (
            ("machine", metrics),
            ("scale alone", metrics.get("scale_alone")),
            ("validation", metrics.get("validation")),
        )
    ]
    found += [
        (who, _interval(comparison, name) or "", "")
        for who, name in (("panel mean", "panel_mean"), ("majority vote", "majority_vote"))
    ]
    return Headline([row for row in found if any(row[1:])], [str(reason) for reason in metrics.get("skipped") or []])


def headline_lines(run_dir: Path) -> list[str]:
    """Return the lines that sum a study up in a terminal."""
    rows, skipped = headline(run_dir)
    lines = []
    for who, *numbers in rows:
        named = zip(("accuracy", "balanced"), numbers, strict=True)
        lines.append(f"  {who:<14}{', '.join(f'{name} {text}' for name, text in named if text)}")
    lines += [f"  skipped       {reason}" for reason in skipped]
    if simulated := simulated_parts(run_dir):
        lines.append(f"  simulated     {' and '.join(simulated)}")
    return lines


class Part(NamedTuple):
    """One notebook of the report; ``body`` and the headings are safe HTML, made by nbconvert."""

    stem: str
    title: str
    headings: list[tuple[str, str]]
    body: str


def _part(path: Path, exporter, safe) -> Part:
    """Return an executed notebook as a part of the report; `safe` marks HTML as such."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.pop("widgets", None)
    body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"path": str(path.parents[1])}})
    body = re.sub(r' id="cell-id=[^"]*"', "", body)  # unique in a notebook only
    # Two notebooks may have a heading of the same name; links between notebooks become links in the page.
    body = re.sub(r'(<h[1-6][^>]*\bid=")', rf"\g<1>{path.stem}-", body)
    body = re.sub(r'href="#', f'href="#{path.stem}-', body)
    body = re.sub(r'href="(?:\./)?(\d\d-[\w-]+)\.ipynb"', r'href="#\1"', body)
    found = re.findall(r'<h([12])[^>]*\bid="([^"]*)"[^>]*>(.*?)(?:<a class="anchor-link"|</h)', body, re.DOTALL)
    plain = [(level, safe(anchor), safe(re.sub(r"<[^>]*>", "", text).strip())) for level, anchor, text in found]
    title = next((text for level, _, text in plain if level == "1"), path.stem)
    return Part(path.stem, title, [(anchor, text) for level, anchor, text in plain if level == "2"], safe(body))


def harmless(element) -> str:
    """Return HTML from a notebook's prose or output with nothing left but tags that structure a text, and pictures.

    nbconvert's own `clean_html`, in whose place this stands, knows neither headings, paragraphs nor heads of tables.
    """
    import bleach

    text = element.decode() if isinstance(element, bytes) else str(element)
    # Here the content goes with the tag. pandas gives every table a stylesheet, which the page's own makes needless.
    text = re.sub(r"<(style|script)\b.*?</\1\s*>", "", text, flags=re.DOTALL | re.IGNORECASE)
    tags, protocols = {*bleach.ALLOWED_TAGS, *TAGS}, {*bleach.ALLOWED_PROTOCOLS, "data"}
    return bleach.clean(text, tags=tags, attributes=ATTRIBUTES, protocols=protocols, strip=True)


def render_report(run_dir: Path, executed: list[Path]) -> str:
    """Return the executed notebooks as one HTML page that needs no other file, runs no script and loads nothing.

    Progress bars and warnings (stderr) stay in the executed notebooks. Every text is escaped, and of the HTML in the
    notebooks' prose and outputs only harmless tags are kept: a label or a path may hold anything.
    """
    import jinja2
    from markupsafe import Markup
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    loader = jinja2.FileSystemLoader(HERE)
    exporter = HTMLExporter(
        template_file="report-cells.html.j2",
        extra_loaders=[loader],
        embed_images=True,
        sanitize_html=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    exporter.register_filter("clean_html", harmless)
    state = read_json(run_dir / "run.json")
    git = state.get("git") or {}
    style = (HERE / "report.css").read_text(encoding="utf-8") + HtmlFormatter(style="friendly").get_style_defs(".highlight")
    rows, skipped = headline(run_dir)
    page = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    return page.get_template("report.html.j2").render(
        study=run_dir.name,
        simulated=simulated_parts(run_dir),
        rows=rows,
        skipped=skipped,
        parts=[_part(path, exporter, Markup) for path in executed],
        style=Markup(style),
        style_hash=source_hash(style),
        data=(state.get("data") or {}).get("manifest", ""),
        started=state.get("started", ""),
        seed=state.get("seed"),
        commit=(git.get("commit") or "no commit") + (", with changes not committed" if git.get("dirty") else ""),
        attribution=read_json(run_dir / "dataset.json").get("attribution") or [],
    )
