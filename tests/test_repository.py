"""The repository itself: one lock, clean notebooks, a help that lists every target, prose that names what exists."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib

import nbformat
import pandas as pd
import pytest
import yaml

from microrace import paths

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))

LOCKS = ("requirements.txt", "requirements-cuda.txt")


def requirements(lock: str) -> dict[str, str]:
    """Each requirement of a lock as a whole, with its marker and hashes, by name."""
    found = re.findall(r"^\S.*(?:\n    .*)*", (paths.ROOT / lock).read_text(), re.M)
    return {re.match(r"[\w.-]+", text).group(): text for text in found if not text.startswith("#")}


def test_the_lock_holds_every_dependency_and_the_environment_reads_it():
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    wanted = {
        re.split("[=<>~]", name)[0] for name in [*project["dependencies"], "pytest", "ruff", "hypothesis", "nbstripout"]
    }
    assert wanted <= {name.lower().replace("_", "-") for name in requirements(LOCKS[0])}
    environment = yaml.safe_load((paths.ROOT / "environment.yml").read_text())
    assert environment["dependencies"][-1] == {"pip": [f"-r {lock}" for lock in LOCKS]}


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_names_one_version_of_each_package_and_the_hash_of_every_file(lock):
    for name, text in requirements(lock).items():
        first, *hashes = text.replace(" \\\n", "\n").split("\n")
        # A local build (+cpu) would not be found elsewhere.
        assert re.fullmatch(rf"{re.escape(name)}==[\w.]+( ; .+)?", first), first
        assert hashes and all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", line) for line in hashes), name


@pytest.mark.parametrize("package", ["micrographs", "readerstudy", "steelrender", "spreadsheets"])
def test_a_package_stands_without_microrace_and_from_anywhere(package, tmp_path):
    code = f"import sys; sys.modules['microrace'] = None; import {package}, pkgutil, importlib\n"
    code += f"for found in pkgutil.iter_modules({package}.__path__, '{package}.'):\n"
    code += "    '__main__' in found.name or importlib.import_module(found.name)"
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT / "lib")}
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr


def test_nothing_that_is_read_is_run():
    """Ruff refuses pickle, eval, exec and shells; the readers of torch, joblib and NumPy it does not know."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in (paths.ROOT / "lib").rglob("*.py"))
    loads = re.findall(r"torch\.load\(.*", code)
    assert loads and all("weights_only=True" in load for load in loads)
    assert not re.search(r"joblib|torch\.hub|allow_pickle=True", code)


@pytest.mark.parametrize("path", sorted((paths.ROOT / "lib").rglob("*.html.j2")), ids=lambda path: path.name)
def test_pages_let_in_nothing_but_what_they_bring(path):
    policy = re.search(r'http-equiv="Content-Security-Policy"\s+content="([^"]*)"', path.read_text(encoding="utf-8"))
    assert policy and "default-src 'none'" in policy[1] and not re.search(r"unsafe|\*|http", policy[1])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_committed_clean_and_every_parameter_is_explained(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.kernelspec.name == "python3" and notebook.cells[0].source.startswith("# ")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    [parameters] = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    for line in parameters.source.splitlines():
        assert re.match(r"\w+: (str|int|float|bool) = .+  # .+", line), line
    ran = [part for part in (notebook, *notebook.cells) if {"papermill", "execution"} & part.metadata.keys()]
    assert not ran and not [cell for cell in code if cell.outputs or cell.execution_count], "run nbstripout"
    sources = "\n".join(cell.source for cell in code)
    assert not re.search(r"^class ", sources, re.M), "classes live in lib"
    # papermill's client may wait for ever on a cell with an Output widget (nbclient's issue 312).
    assert not re.search(r"\binteract(ive(_output)?)?\(|\bOutput\(", sources)


def made_in(tree) -> set[str]:
    """Names that code assigns or defines."""
    nodes = list(ast.walk(tree))
    named = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    named |= {n.name for n in nodes if isinstance(n, ast.FunctionDef)}
    return named | {n.arg for n in nodes if isinstance(n, ast.arg)}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_one_figure_can_be_drawn_without_the_others(path):
    code = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    drawing, others = ([ast.parse(c) for c in code if ("figures.save(" in c) == draws] for draws in (True, False))
    elsewhere = set().union(*map(made_in, others))
    for tree in drawing:
        used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - made_in(tree) - elsewhere
        assert not used & set().union(*map(made_in, drawing))


def test_make_help_lists_every_target():
    text = (paths.ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", text, re.M).group(1).split())
    shown = subprocess.run(["make", "--no-print-directory", "help"], cwd=paths.ROOT, capture_output=True, text=True).stdout
    assert targets <= {line.split()[0] for line in shown.splitlines() if line}
    assert {"DATASET=", "STUDY=", "PANEL=", "PARAMS=", "JOBS="} <= set(shown.split())


def test_ruff_is_clean():
    found = subprocess.run([sys.executable, "-m", "ruff", "check", "."], cwd=paths.ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_the_readme_quotes_the_published_numbers():
    """Each row of the tables of real micrographs, and each difference that a claim of the paper is answered by."""
    text, published = (paths.ROOT / "README.md").read_text(), paths.FIGURES
    quiz, whole = (json.loads((published / study / "metrics.json").read_text()) for study in ("uhcs", "uhcs-all"))
    rows = [quiz, quiz["known_classes"], quiz["scale_alone"]]
    rows += [m[part] for m in (quiz, whole) for part in ("validation", "validation_scale_alone")]
    for found in rows:
        shares = [found[name] for name in ("accuracy", "balanced_accuracy")]
        assert " | ".join("{value:.2f} ({low:.2f} to {high:.2f})".format(**share) for share in shares) in text
    told = set()
    for file in (f for study in ("uhcs-all", "quiz1") for f in (published / study).glob("*.csv")):
        table = pd.read_csv(file)
        for name in {"difference", "change", "value"} & set(table):
            ends = table.reindex(columns=[name, *([f"{name}_low", f"{name}_high"] if name != "value" else ["low", "high"])])
            told |= {f"{v:+.2f} ({low:+.2f} to {high:+.2f})" for v, low, high in ends.to_numpy(float)}
    answered = text[text.index("## The paper's claims") : text.index("## The two commands")]
    claims = re.findall(r"[+-]\d\.\d\d \(\S+ to \S+\)", answered)
    assert len(claims) > 20 and set(claims) <= told


def test_the_readme_links_to_what_exists():
    text = (paths.ROOT / "README.md").read_text()
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert links and not [link for link in links if not (paths.ROOT / link).exists()]


def test_licence_and_notices_name_what_is_used():
    files = ("LICENSE", "THIRD-PARTY.md", "data/README.md")
    licence, notices, card = ((paths.ROOT / name).read_text(encoding="utf-8") for name in files)
    assert licence.startswith("MIT License") and "CC0 1.0" in licence and "THIRD-PARTY.md" in licence
    weights = re.search(r"efficientnet\S*==\S+", (paths.ROOT / "pyproject.toml").read_text())[0].strip('",')
    row = next(line for line in notices.splitlines() if weights.partition("==")[0] in line)
    assert weights.partition("==")[2] in row and "Apache-2.0" in row
    for word in ("CC BY 3.0 US", "10.1007/s40192-017-0097-0", "DeCost", "Hecht", "Francis", "Webler", "Picard", "Holm"):
        assert word in notices and word in card


def test_no_micrograph_of_others_is_in_the_project():
    listed = subprocess.run(["git", "ls-files"], cwd=paths.ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert "uhcs_" not in listed.stdout
    place = "data/uhcsdb/micrographs/micrograph1.png"
    assert subprocess.run(["git", "check-ignore", "-q", place], cwd=paths.ROOT).returncode == 0
