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

from microrace import paths  # noqa: E402
from tiny import make_tiny_manifest  # noqa: E402


@pytest.fixture(scope="session")
def shared_manifest():
    """The real micrographs' manifest; what needs it skips where it is absent."""
    if not paths.SHARED_MANIFEST.is_file():
        pytest.skip(f"no real micrographs at {paths.SHARED_MANIFEST}")
    return paths.SHARED_MANIFEST


@pytest.fixture(scope="session")
def tiny_manifest(tmp_path_factory):
    """Path of the tiny manifest; not to be changed."""
    return make_tiny_manifest(tmp_path_factory.mktemp("tiny"))
