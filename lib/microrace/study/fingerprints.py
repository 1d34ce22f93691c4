"""Whether a notebook is up to date: hashes of the data, of the panel, of the library and of what notebooks wrote."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
from pathlib import Path

from micrographs.files import files_of
from microrace.study.parameters import source_of
from spreadsheets import tables


def hash_file(path: Path, cache: dict) -> str:
    """Return the SHA-256 of a file, from `cache` while its size and modification time are the same."""
    status = path.stat()
    key, stamp = str(path), [status.st_size, status.st_mtime_ns]
    if cache.get(key, [None])[:-1] != stamp:
        with open(path, "rb") as file:
            cache[key] = [*stamp, hashlib.file_digest(file, "sha256").hexdigest()]
    return cache[key][-1]


def hash_value(value) -> str:
    """Return the SHA-256 of a value as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def hash_dataset(manifest: Path, cache: dict) -> str:
    """Return a hash of a manifest's bytes and of those of every image it lists, without judging either."""
    paths = [manifest, *files_of(manifest)]
    return hash_value([hash_file(path, cache) if os.access(path, os.R_OK) else "missing" for path in paths])


def hash_panel(panel: Path, cache: dict) -> str:
    """Return a hash of the names and bytes of the answer sheets in a folder, and of the panel's protocol."""
    protocols = [path for path in [panel / "protocol.json"] if path.is_file()]
    return hash_value({path.name: hash_file(path, cache) for path in [*sheets_in(panel), *protocols]})


def sheets_in(panel: Path) -> list[Path]:
    """Return the files of a folder that end like a table, in any case: every one that the panel's reader reads."""
    files = panel.iterdir() if panel.is_dir() else ()
    return sorted(path for path in files if path.suffix.lower() in tables.TABLES and path.is_file())


def library_files(notebook: dict) -> list[Path]:
    """Return the files of this package that a notebook's results can depend on.

    Those are the modules it imports, those that these import in turn, and the package's data files. If the code
    cannot be parsed, every module counts.
    """
    package = Path(__file__).parents[1]
    modules = {
        path.relative_to(package.parent).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
        for path in package.rglob("*.py")
        if path.parent.name != "study" and path.stem != "quiz"
    }
    code = "\n".join(source_of(cell) for cell in notebook["cells"] if cell["cell_type"] == "code")
    code = re.sub(r"^\s*[%!?].*$", "", code, flags=re.MULTILINE)  # IPython's own syntax
    found, queue = set(), [code]
    while queue:
        try:
            tree = ast.walk(ast.parse(queue.pop()))
        except SyntaxError:
            found = set(modules)
            break
        names = set()
        for node in tree:
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
        # Importing a module runs its packages, too.
        names |= {name[:dot] for name in names for dot in range(len(name)) if name[dot] == "."}
        new = (names & set(modules)) - found
        found |= new
        queue += [modules[name].read_text(encoding="utf-8") for name in new]
    data = [path for path in package.rglob("*") if path.suffix in (".pt", ".json")]
    return sorted({package / "__init__.py", *(modules[name] for name in found), *data})


def is_finished(record: dict | None, fingerprint: str, executed: Path, cache: dict) -> bool:
    """Whether a notebook ran to its end with this fingerprint and everything it wrote is still there, unchanged."""
    if not record or record["fingerprint"] != fingerprint or not executed.is_file():
        return False
    files = {executed.parents[1] / name: digest for name, digest in record["outputs"].items()}
    return all(path.is_file() and hash_file(path, cache) == digest for path, digest in files.items())
