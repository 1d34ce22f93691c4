"""Fixtures: a tiny manifest drawn on the spot, and the real micrographs where they lie beside the project."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
# Features of the tests' images are kept for the tests alone; kernels and other processes inherit the place.
if "MICRORACE_FEATURES" not in os.environ:
    os.environ["MICRORACE_FEATURES"] = tempfile.mkdtemp(prefix="microrace-features-")
    atexit.register(shutil.rmtree, os.environ["MICRORACE_FEATURES"], ignore_errors=True)

import pytest

import micrographs as mg  # noqa: E402
from microrace import paths  # noqa: E402
from microrace.training import train  # noqa: E402
from tiny import TINY, make_tiny_manifest  # noqa: E402


@pytest.fixture(scope="session")
def shared_manifest():
    """The manifest of real micrographs beside the project, never inside it; what needs it skips where it is absent."""
    path = paths.ROOT.parent / "shared" / "micrographs" / "manifest.csv"
    return path if path.is_file() else pytest.skip(f"no real micrographs at {path}")


@pytest.fixture(scope="session")
def tiny_manifest(tmp_path_factory):
    """Path of the tiny manifest; not to be changed."""
    return make_tiny_manifest(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def manifest(tiny_manifest):
    """The tiny manifest as it is read."""
    return mg.read_manifest(tiny_manifest)


@pytest.fixture(scope="session")
def trained(manifest):
    """What training on the tiny manifest gives; not to be changed."""
    return train(manifest, TINY)
