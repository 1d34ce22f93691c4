"""What the pages share that stand alone, without server and network: data inside a script, and their policy."""

from __future__ import annotations

import base64
import hashlib
import json

from markupsafe import Markup


def as_script(data) -> Markup:
    """JSON that cannot end the script element it stands in, whatever the labels are."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def source_hash(text: str) -> str:
    """How a Content-Security-Policy names an inline style or script that may be used."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
