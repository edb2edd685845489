"""The Open Bandit Dataset's sample for the tests, from the wheel of obp, which ships it."""

import zipfile
from pathlib import Path

from tests.datasets import wheels

_FOLDER = "obp/dataset/obd/"


def open_bandit_directory() -> Path:
    """Directory with 10,000 records of each log."""
    return wheels.kept("open-bandit-sample", "obp==0.4.1", _unpack) / _FOLDER


def _unpack(wheel: zipfile.ZipFile, made: Path) -> None:
    wanted = [name for name in wheel.namelist() if name.startswith(_FOLDER)]
    wheel.extractall(made, [name for name in wanted if name.endswith(".csv")])
