"""One small study that is played once for all tests of what becomes of it; the command line."""

import subprocess
import sys

import pytest

from jaxbandit import cli
from jaxbandit.engine import compilation_cache
from jaxbandit.studies.sweeps import layout, run
from tests.studies.sweeps.stores import STUDY, WORK, planned


@pytest.fixture(scope="session")
def plan():
    return planned()


@pytest.fixture(scope="session")
def complete(plan, tmp_path_factory):
    """A store that nothing happened to."""
    path = tmp_path_factory.mktemp("complete") / "store"
    assert run.run_study(plan, path).computed == 24
    return path


@pytest.fixture
def command(monkeypatch, capsys):
    """The command line in this process, with small blocks: exit status, output and errors."""
    # The user's cache of programs is no business of this process.
    monkeypatch.setattr(compilation_cache, "use", lambda: None)
    monkeypatch.setattr(layout, "_WORK", WORK)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["jaxbandit", *map(str, arguments)])
        try:
            cli.main()
            status = 0
        except SystemExit as ended:
            status = ended.code
        return status, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    (path / "study.toml").write_text(STUDY)
    return path


@pytest.fixture(scope="module")
def start(root_directory, environment, folder):
    """Start a command about the study; compiled programs are kept between processes."""

    def call(*arguments, **more):
        return subprocess.Popen(
            [sys.executable, "-m", "tests.studies.sweeps.small_blocks", *map(str, arguments)],
            cwd=root_directory,
            env=environment | {"PYTHONWARNINGS": "default"} | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return call
