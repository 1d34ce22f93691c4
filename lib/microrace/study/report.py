"""The report of a study: its executed notebooks and headline numbers as one page of HTML."""

from __future__ import annotations

import csv
import html
import re
from pathlib import Path

from microrace.study.records import read_json


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


def headline(run_dir: Path) -> list[str]:
    """Return the lines that sum a study up, from ``metrics.json`` and ``comparison.json``; what is absent is left out."""
    metrics, comparison = read_json(run_dir / "metrics.json"), read_json(run_dir / "comparison.json")
    lines = []
    for who, found in (
        ("machine", metrics),
        ("scale alone", metrics.get("scale_alone")),
        ("validation", metrics.get("validation")),
    ):
        parts = [
            f"{title} {text}"
            for title, name in (("accuracy", "accuracy"), ("balanced", "balanced_accuracy"))
            if (text := _interval(found, name))
        ]
        if parts:
            lines.append(f"  {who:<14}{', '.join(parts)}")
    for who, name in (("panel mean", "panel_mean"), ("majority vote", "majority_vote")):
        if text := _interval(comparison, name):
            lines.append(f"  {who:<14}accuracy {text}")
    for reason in metrics.get("skipped") or []:
        lines.append(f"  skipped       {reason}")
    simulated = simulated_parts(run_dir)
    if simulated:
        lines.append(f"  simulated     {' and '.join(simulated)}")
    return lines

STYLE = """
:root { --ink: #1c2230; --soft: #5b6475; --line: #dde1e8; --paper: #ffffff; --tint: #f5f6f9; --accent: #0b5c8c; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--paper); font: 16px/1.6 "Source Serif 4", Georgia, serif; }
.banner { background: #8c3b00; color: #fff; padding: .6rem 2rem; font-family: system-ui, sans-serif; }
.page { display: grid; grid-template-columns: 17rem minmax(0, 50rem); gap: 3rem; padding: 2rem; }
nav { position: sticky; top: 1.5rem; align-self: start; max-height: 94vh; overflow: auto;
      font: 14px/1.45 system-ui, sans-serif; }
nav ul { list-style: none; margin: .2rem 0 .8rem; padding-left: .9rem; } nav > ul { padding: 0; }
nav a { color: var(--soft); text-decoration: none; } nav > ul > li > a { color: var(--ink); font-weight: 600; }
nav a:hover { color: var(--accent); text-decoration: underline; }
h1, h2, h3, h4 { font-family: system-ui, sans-serif; line-height: 1.25; margin: 2.2rem 0 .8rem; }
h1 { font-size: 1.75rem; } h2 { font-size: 1.3rem; } h3 { font-size: 1.05rem; }
section { border-top: 3px solid var(--ink); margin-top: 3rem; } a { color: var(--accent); }
a.anchor-link { display: none; }
pre, code { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
p code, li code, td code { background: var(--tint); padding: .1em .3em; border-radius: 3px; }
pre { overflow-x: auto; margin: 0; padding: .7rem .9rem; background: var(--tint); border-radius: 5px; }
.summary pre { border-left: 3px solid var(--accent); }
details.input { margin: .6rem 0; } details.input > summary { cursor: pointer; color: var(--soft);
      font: 12.5px system-ui, sans-serif; }
.jp-InputPrompt, .jp-OutputPrompt, .jp-Collapser { display: none; }
.jp-OutputArea-output { margin: .6rem 0; overflow-x: auto; }
img, svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font: 13.5px/1.4 system-ui, sans-serif; margin: .8rem 0; }
th, td { border: 0; border-bottom: 1px solid var(--line); padding: .3rem .7rem; text-align: right; }
thead th { border-bottom: 2px solid var(--ink); } blockquote { margin: 1rem 0; padding-left: 1rem;
      border-left: 3px solid var(--line); color: var(--soft); }
footer { color: var(--soft); font: 13px system-ui, sans-serif; border-top: 1px solid var(--line); margin-top: 3rem; }
@media (max-width: 60rem) { .page { display: block; padding: 1rem; } nav { position: static; } }
@media print { nav, details.input { display: none; } .page { display: block; } }
"""

# Input cells fold away; the outputs and the prose are the report.
TEMPLATE = """{% extends 'basic/index.html.j2' %}
{% block input_group %}<details class="input"><summary>code</summary>{{ super() }}</details>{% endblock %}"""


def render_report(run_dir: Path, executed: list[Path]) -> str:
    """Return the executed notebooks as one HTML page that needs no other file.

    Progress bars and warnings (stderr) stay in the executed notebooks; cells tagged ``hide-report`` and the cells
    in which papermill wrote the parameters are shown folded like all code.
    """
    import nbformat
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    exporter = HTMLExporter(
        template_file="report.html.j2", extra_loaders=[DictLoader({"report.html.j2": TEMPLATE})], embed_images=True
    )
    contents, sections = [], []
    for path in executed:
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        notebook.metadata.pop("widgets", None)
        body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"path": str(run_dir)}})
        # Two notebooks may have a heading of the same name; links between notebooks become links in the page.
        body = re.sub(r'(<h[1-6][^>]*\bid=")', rf"\g<1>{path.stem}-", body)
        body = re.sub(r'href="#', f'href="#{path.stem}-', body)
        body = re.sub(r'href="(?:\./)?(\d\d-[\w-]+)\.ipynb"', r'href="#\1"', body)
        headings = re.findall(r'<h([12])[^>]*\bid="([^"]*)"[^>]*>(.*?)(?:<a class="anchor-link"|</h)', body, re.DOTALL)
        plain = [(level, anchor, re.sub(r"<[^>]*>", "", text).strip()) for level, anchor, text in headings]
        title = next((text for level, _, text in plain if level == "1"), path.stem)
        inner = "".join(f'<li><a href="#{anchor}">{text}</a></li>' for level, anchor, text in plain if level == "2")
        contents.append(f'<li><a href="#{path.stem}">{title}</a><ul>{inner}</ul></li>')
        sections.append(f'<section id="{path.stem}">{body}</section>')

    name, state = html.escape(run_dir.name), read_json(run_dir / "run.json")
    simulated = simulated_parts(run_dir)
    banner = (
        f'<div class="banner" role="note"><strong>Simulated:</strong> the {" and the ".join(simulated)} of this study '
        "were generated by the computer. The numbers show what the method does, not what people can do.</div>"
        if simulated
        else ""
    )
    summary = html.escape("\n".join(line.strip() for line in headline(run_dir))) or "no headline numbers"
    commit = (state.get("git") or {}).get("commit") or "no commit"
    dirty = ", with changes not committed" if (state.get("git") or {}).get("dirty") else ""
    facts = html.escape(
        f"Data {(state.get('data') or {}).get('manifest', '')}, started {state.get('started', '')}, "
        f"seed {state.get('seed')}, {commit}{dirty}. Everything else is in run.json."
    )
    # tojson-like safety is not needed: every piece is either ours, escaped above, or nbconvert's own HTML.
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}{HtmlFormatter(style='friendly').get_style_defs('.highlight')}</style></head><body>{banner}"
        f'<div class="page"><nav aria-label="Contents"><ul>{"".join(contents)}</ul></nav><main>'
        f'<h1>Study {name}</h1><div class="summary"><pre>{summary}</pre></div>{"".join(sections)}'
        f"<footer><p>{facts}</p></footer></main></div></body></html>\n"
    )
