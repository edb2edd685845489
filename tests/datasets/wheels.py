"""Data for the tests from wheels that ship it: fetched once by pip, into the user's cache."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path


def kept(name: str, requirement: str, unpack: Callable[[zipfile.ZipFile, Path], None]) -> Path:
    """The folder `name` of the tests' cache, filled the first time by `unpack(wheel, folder)`.

    Raises:
        RuntimeError: pip cannot fetch the wheel. A test that needs the data then fails.
    """
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    target = Path(root) / "jaxbandit-tests" / name
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # Made aside and moved at the end: whoever is interrupted, or comes second, leaves it whole.
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        with zipfile.ZipFile(_download(requirement, Path(scratch))) as wheel:
            unpack(wheel, made)
        try:
            made.rename(target)
        except OSError:  # another process was first
            shutil.rmtree(made)
    return target


def _download(requirement: str, directory: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", requirement]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300)
    wheels = list(directory.glob("*.whl"))
    if done.returncode or not wheels:
        raise RuntimeError(
            f"data for the tests could not be fetched: {' '.join(command)} said "
            f"{done.stderr.strip() or 'nothing'}; it needs a package index once"
        )
    return wheels[0]
