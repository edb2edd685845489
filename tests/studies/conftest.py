"""One small study that is played once for all tests of what becomes of it."""

import pytest

from jaxbandit.studies import run
from tests.studies.sweeps import planned


@pytest.fixture(scope="session")
def plan():
    return planned()


@pytest.fixture(scope="session")
def complete(plan, tmp_path_factory):
    """A store that nothing happened to."""
    path = tmp_path_factory.mktemp("complete") / "store"
    assert run.run_study(plan, path).computed == 24
    return path
