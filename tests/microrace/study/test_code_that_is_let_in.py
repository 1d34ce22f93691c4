"""What is read can run nothing: no file is unpickled, nothing is evaluated or given to a shell, pages let no script in."""

import ast
import json
import re

import pytest

from microrace import paths

MODULES = sorted((paths.ROOT / "lib").rglob("*.py"))
NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
PAGES = sorted((paths.ROOT / "lib").rglob("*.html.j2"))
# What unpickles or runs whatever it is given, by the end of its dotted name.
RUNS_ANYTHING = {"pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "yaml.load", "os.system", "eval", "exec"}


def code_of(path) -> str:
    if path.suffix == ".py":
        return path.read_text(encoding="utf-8")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def unsafe_calls(code: str) -> list[str]:
    """The calls in a piece of Python that could run what a file holds."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        reads_weights = name == "torch.load" and given.get("weights_only") != "True"
        if reads_weights or name in RUNS_ANYTHING or given.get("allow_pickle") == "True" or given.get("shell") == "True":
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", [*MODULES, *NOTEBOOKS], ids=lambda path: path.stem)
def test_nothing_that_is_read_is_run(path):
    assert unsafe_calls(code_of(path)) == []


@pytest.mark.parametrize(
    "code",
    ["torch.load(p)", "torch.load(p, weights_only=False)", "pickle.loads(b)", "np.load(p, allow_pickle=True)", "eval(s)",
     "subprocess.run(c, shell=True)"],
)  # fmt: skip
def test_an_unsafe_call_would_be_found(code):
    assert unsafe_calls(f"def f(p, b, s, c):\n    return {code}") == [code]


def test_weights_are_read_somewhere():
    assert sum("torch.load(" in code_of(path) for path in MODULES) >= 2, "the test above looks at the wrong folder"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_let_in_nothing_but_what_they_bring(path):
    policy = re.search(r'http-equiv="Content-Security-Policy"\s+content="([^"]*)"', path.read_text(encoding="utf-8"))
    if policy is None and path.name.endswith("-cells.html.j2"):
        pytest.skip("part of a page")
    assert policy, "no policy"
    assert "default-src 'none'" in policy[1] and not re.search(r"unsafe|\*|http", policy[1])
