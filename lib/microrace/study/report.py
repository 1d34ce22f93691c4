"""The report of a study: what it found, then its executed notebooks, as one page of HTML that needs no other file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

HERE = Path(__file__).parent
# What the page is made from beside a study's own files.
SOURCES = [HERE / name for name in ("report.py", "report.html.j2", "report.css")]
# The HTML that notebooks' prose and outputs may hold beside what bleach lets through: how a text is built, and pictures.
TAGS = (
    "p div span pre br hr h1 h2 h3 h4 h5 h6 table caption thead tbody tfoot tr th td img figure figcaption details summary "
    "sub sup del s small dl dt dd"
).split()
ATTRIBUTES = "class id title href src alt width height colspan rowspan scope".split()


def read_json(path: Path) -> dict:
    """Return the dictionary that a file holds, or an empty one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def figures_of(folder: Path) -> dict[str, dict]:
    """Return the figures in a folder: name to what `figures.save` wrote about it, such as ``alt`` and ``caption``."""
    return {path.stem: read_json(path.with_suffix(".json")) for path in sorted(folder.glob("*.png"))}


def summary(run_dir: Path) -> list[str]:
    """Return what sums a study up: what is simulated, the first claim, the machine's shares, what is left out."""
    card, metrics, comparison = (read_json(run_dir / f"{stem}.json") for stem in ("dataset", "metrics", "comparison"))
    flags = {"micrographs": card.get("simulated"), "panel": comparison.get("simulated_panel")}
    simulated = " and ".join(part for part, flag in flags.items() if flag)
    why = "The numbers show what the method does, not what people can do."
    said = [f"**Simulated: the {simulated}.** {why}"] if simulated else []
    said += comparison.get("claims", [])[:1]
    for images, part in (("{n_quiz} quiz", metrics), ("{n_train} held-out training", metrics.get("validation", {}))):
        if accuracy := part.get("accuracy"):
            share = "{value:.2f} ({low:.2f} to {high:.2f})".format(**accuracy)
            said.append(f"The machine is right on {share} of {images.format(**metrics)} images.")
    return [*said, *metrics.get("skipped", []), *comparison.get("skipped", [])]


def harmless(element) -> str:
    """Return HTML from a notebook's prose or output with nothing left but tags that structure a text, and pictures.

    nbconvert's own `clean_html`, in whose place this stands, knows neither headings, paragraphs nor heads of tables.
    """
    import bleach

    text = element.decode() if isinstance(element, bytes) else str(element)
    # Here the content goes with the tag. pandas gives every table a stylesheet, which the page's own makes needless.
    text = re.sub(r"<(style|script)\b.*?</\1\s*>", "", text, flags=re.DOTALL | re.IGNORECASE)
    tags, protocols = {*bleach.ALLOWED_TAGS, *TAGS}, {*bleach.ALLOWED_PROTOCOLS, "data"}
    text = bleach.clean(text, tags=tags, attributes={"*": ATTRIBUTES}, protocols=protocols, strip=True)
    # pandas' empty corner is the head of nothing; and who has only a keyboard scrolls a wide table.
    return text.replace("<th></th>", "<td></td>").replace("<table", '<table tabindex="0"')


def render(run_dir: Path, state: dict, executed: list[Path]) -> str:
    """Return the executed notebooks as one HTML page that needs no other file, runs no script and loads nothing.

    Progress bars and warnings (stderr) stay in the executed notebooks. Every text is escaped, and of the HTML in the
    notebooks' prose and outputs only harmless tags are kept: a label or a path may hold anything.
    """
    import jinja2
    import nbformat
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    figures = figures_of(run_dir / "figures")
    rows = [
        f"| {about.get('caption', stem).replace('|', '/')} | [{stem}](#figure-{stem}) | "
        + f"[{stem}.csv](figures/{stem}.csv)" * (run_dir / "figures" / f"{stem}.csv").is_file()
        + " |"
        for stem, about in figures.items()
    ]
    first = [stem for stem in ("difference", "human-versus-machine", "training") if stem in figures]
    pictures = [f"![{figures[stem].get('alt', stem)}](figures/{stem}.png)" for stem in first[:1]]
    table = "\n".join(["| what it shows | figure and cell | table |", "|---|---|---|", *rows])
    opening = [f"# Study {run_dir.name}", *summary(run_dir), *pictures, "## Claims, figures, tables", table]
    cells, unplaced = [nbformat.v4.new_markdown_cell("\n\n".join(opening))], set(figures)
    for path in executed:
        cells.append(nbformat.v4.new_markdown_cell(f'<a id="{path.stem}"></a>'))
        for cell in nbformat.read(path, as_version=4).cells:
            drawn = [stem for stem in figures if "figures.save(" in cell.source and f'"{stem}"' in cell.source]
            shown = [output for output in cell.get("outputs", ()) if "image/png" in output.get("data", ())]
            for stem, output in zip(drawn, shown, strict=False):
                output.metadata["image/png"] = {"alt": figures[stem].get("alt", stem)}
            anchors = "".join(f'<a id="figure-{stem}"></a>' for stem in drawn if stem in unplaced)
            cells += [nbformat.v4.new_markdown_cell(anchors), cell] if anchors else [cell]
            unplaced -= set(drawn)
    for cell in cells:
        cell.pop("id", None)  # unique in one notebook only, and another one at each call
    exporter = HTMLExporter(
        template_file="report.html.j2", extra_loaders=[jinja2.FileSystemLoader(HERE)], embed_images=True, sanitize_html=True,
        exclude_input_prompt=True, exclude_output_prompt=True, exclude_anchor_links=True,
    )  # fmt: skip
    exporter.register_filter("clean_html", harmless)
    style = (HERE / "report.css").read_text(encoding="utf-8") + HtmlFormatter().get_style_defs(".highlight")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    about = {"state": state, "parts": executed, "style": style, "digest": digest}
    about["attribution"] = read_json(run_dir / "dataset.json").get("attribution", [])
    resources = {"metadata": {"path": str(run_dir)}, "report": about}
    page, _ = exporter.from_notebook_node(nbformat.v4.new_notebook(cells=cells, nbformat_minor=4), resources=resources)
    page = re.sub(r'(<h\d[^>]*?) id="[^"]*"', r"\1", page)  # two notebooks may have a heading of the same name
    page = page.replace(f"{run_dir.parents[1]}/", "")  # places on this computer are nobody's business
    page = re.sub(r'href="(\w+\.md)', r'href="../../notebooks/\1', page)
    return re.sub(r'href="(?:\./)?(\d\d-[\w-]+)\.ipynb"', r'href="#\1"', page)  # links between notebooks
