"""The whole chain on the tiny manifest, run once for all tests."""

import pytest

from small import run


@pytest.fixture(scope="session")
def finished(tiny_manifest, tmp_path_factory):
    """The folder of a whole study; not to be changed."""
    runs = tmp_path_factory.mktemp("runs")
    assert run(runs, "tiny", tiny_manifest) == 0
    return runs / "tiny"
