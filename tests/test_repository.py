"""The repository itself: one lock, clean notebooks, a help that lists every target, prose that names what exists."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml

from microrace import paths, study

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))


LOCKS = ("requirements.txt", "requirements-cuda.txt")


def requirements(lock: str) -> dict[str, str]:
    """Each requirement of a lock as a whole, with its marker and hashes, by name."""
    found = re.findall(r"^\S.*(?:\n    .*)*", (paths.ROOT / lock).read_text(), re.M)
    return {re.match(r"[\w.-]+", text).group(): text for text in found if not text.startswith("#")}


def test_the_environment_reads_the_one_lock():
    environment = yaml.safe_load((paths.ROOT / "environment.yml").read_text())
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert pip == [f"-r {lock}" for lock in LOCKS]
    pins = [d for d in environment["dependencies"] if isinstance(d, str) and d.startswith(tuple(requirements(LOCKS[0])))]
    assert not [d for d in pins if "=" in d and not d.startswith(("python", "pip"))]


def test_the_lock_is_exact_and_holds_every_dependency():
    names = {name.lower().replace("_", "-") for name in requirements(LOCKS[0])}
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.match(r"[\w-]+", d).group().lower().replace("_", "-") for d in project["dependencies"]}
    assert wanted <= names
    assert {"pytest", "ruff", "hypothesis", "nbstripout"} <= names


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_names_one_version_of_each_package_and_the_hash_of_every_file(lock):
    for name, text in requirements(lock).items():
        first, *hashes = text.replace(" \\\n", "\n").split("\n")
        # A local build (+cpu) would not be found elsewhere.
        assert re.fullmatch(rf"{re.escape(name)}==[\w.]+( ; .+)?", first), first
        assert hashes and all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", line) for line in hashes), name


def test_pip_refuses_a_file_of_other_bytes(tmp_path):
    """What the hashes are for, tried on a package of no content."""
    wheel = tmp_path / "harmless-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as made:
        made.writestr("harmless-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: harmless\nVersion: 1.0\n")
        made.writestr("harmless-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr("harmless-1.0.dist-info/RECORD", "")
    install = re.search(r"^INSTALL = \S+ (.*)$", (paths.ROOT / "Makefile").read_text(), re.M).group(1).split()
    for digest, works in ((hashlib.sha256(wheel.read_bytes()).hexdigest(), True), ("0" * 64, False)):
        lock = tmp_path / "lock.txt"
        lock.write_text(f"harmless==1.0 --hash=sha256:{digest}\n")
        options = [lock, "--no-index", "--find-links", tmp_path, "--target", tmp_path / digest]
        said = subprocess.run([sys.executable, *install, *options], capture_output=True, text=True)
        assert (said.returncode == 0) == works, said.stderr
        assert works or "DO NOT MATCH THE HASHES" in said.stderr


def test_this_environment_is_the_locks():
    assert study.lock_mismatches(paths.ROOT / "requirements.txt") == []


def test_the_package_is_found_from_anywhere(tmp_path):
    """As the README's commands need it, and a notebook opened in an editor."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-m", "microrace.study", "--help"]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert said.returncode == 0 and "predict" in said.stdout, said.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_committed_clean(path):
    notebook = json.loads(path.read_text())
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert sum("parameters" in c["metadata"].get("tags", []) for c in code) == 1
    assert notebook["cells"][0]["cell_type"] == "markdown" and "".join(notebook["cells"][0]["source"]).startswith("# ")
    assert not [c for c in code if re.search(r"^(def|class) [A-Z]", "".join(c["source"]), re.M)], "classes live in lib"
    keys = "metadata.papermill cell.metadata.papermill cell.metadata.execution"
    command = [sys.executable, "-m", "nbstripout", "--verify", "--keep-id", "--extra-keys", keys, str(path)]
    assert subprocess.run(command, capture_output=True).returncode == 0, f"run nbstripout on {path.name}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_parameter_is_explained(path):
    notebook = json.loads(path.read_text())
    cell = next(c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", []))
    for line in "".join(cell["source"]).splitlines():
        assert re.match(r"\w+: (str|int|float|bool) = .+  # .+", line), line


def test_make_help_lists_every_target():
    text = (paths.ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", text, re.M).group(1).split())
    shown = subprocess.run(["make", "--no-print-directory", "help"], cwd=paths.ROOT, capture_output=True, text=True).stdout
    assert targets == {line.split()[0] for line in shown.splitlines()}


def test_ruff_is_clean():
    found = subprocess.run([sys.executable, "-m", "ruff", "check", "."], cwd=paths.ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_the_readme_quotes_the_published_numbers():
    """On real micrographs: each row of the README's table, from the file of the run that it names."""
    text = (paths.ROOT / "README.md").read_text()
    metrics = json.loads((paths.FIGURES / "uhcs" / "metrics.json").read_text())
    for quoted in (metrics, metrics["known_classes"], metrics["scale_alone"], metrics["validation"],
                   metrics["validation_scale_alone"]):  # fmt: skip
        found = [[quoted[n][k] for k in ("value", "low", "high")] for n in ("accuracy", "balanced_accuracy")]
        assert " | ".join(f"{v:.2f} ({low:.2f} to {high:.2f})" for v, low, high in found) in text


def test_the_readme_links_to_what_exists():
    text = (paths.ROOT / "README.md").read_text()
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert links and not [link for link in links if not (paths.ROOT / link).exists()]


def test_nothing_of_the_shared_micrographs_is_in_the_project():
    listed = subprocess.run(["git", "ls-files"], cwd=paths.ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert not [name for name in listed.stdout.splitlines() if "uhcs_" in name]
