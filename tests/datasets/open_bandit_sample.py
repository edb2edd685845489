"""The Open Bandit Dataset's sample for the tests, from the wheel of obp, which ships it."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

_WHEEL = "obp==0.4.1"
_FOLDER = "obp/dataset/obd/"


def open_bandit_directory() -> Path:
    """Directory with 10,000 records of each log, in the user's cache, fetched once by pip.

    Raises:
        RuntimeError: pip cannot fetch the wheel. A test that needs the data then fails.
    """
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    target = Path(root) / "jaxbandit-tests" / "open-bandit"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # Made aside and moved at the end: whoever is interrupted, or comes second, leaves it whole.
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch)
        with zipfile.ZipFile(_download(made)) as wheel:
            wanted = [name for name in wheel.namelist() if name.startswith(_FOLDER)]
            wheel.extractall(made, [name for name in wanted if name.endswith(".csv")])
        try:
            (made / _FOLDER).rename(target)
        except OSError:  # another process was first
            shutil.rmtree(made / _FOLDER)
    return target


def _download(directory: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", _WHEEL]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300)
    wheels = list(directory.glob("obp-*.whl"))
    if done.returncode or not wheels:
        raise RuntimeError(
            f"the Open Bandit Dataset's sample could not be fetched for the tests: "
            f"{' '.join(command)} said {done.stderr.strip() or 'nothing'}; it needs a package "
            "index once"
        )
    return wheels[0]
