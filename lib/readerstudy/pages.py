"""What pages share that stand alone, without server and network: data inside a script, and a strict policy."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import jinja2
from markupsafe import Markup


def as_script(data) -> Markup:
    """JSON that cannot end the script element it stands in, whatever the labels are."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def source_hash(text: str) -> str:
    """How a Content-Security-Policy names an inline style or script that may be used."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def render_page(template, data, **words) -> str:
    """Render a page from a template and the style and script beside it (``.html.j2``, ``.css``, ``.js``).

    Parameters
    ----------
    template : path
        It gets ``data`` (JSON for a script element), ``style``, ``script`` and their hashes for the policy
        (``style_hash``, ``script_hash``), which lets nothing else in.
    data : dict, list
    **words
        Further variables of the template, escaped.

    Returns
    -------
    str
    """
    template = Path(template)
    stem = template.name.partition(".")[0]
    style, script = (template.with_name(f"{stem}.{end}").read_text(encoding="utf-8") for end in ("css", "js"))
    loader = jinja2.FileSystemLoader(template.parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    hashes = {"style_hash": source_hash(style), "script_hash": source_hash(script)}
    sources = {"style": Markup(style), "script": Markup(script), "data": as_script(data)}
    return environment.get_template(template.name).render(**words, **sources, **hashes)
