"""MovieLens 100K for the tests, from the wheel of RecBole, which ships it as an example."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

_WHEEL = "recbole==1.2.1"
_MEMBER = "recbole/dataset_example/ml-100k/ml-100k.inter"


def movielens_100k_directory() -> Path:
    """Directory holding MovieLens 100K as `u.data`, in the user's cache, fetched once by pip.

    Beside it lies `../recbole/ml-100k.inter`, the same records under a header, as RecBole has
    them. The data set's terms forbid redistribution, so it is not in this repository.

    Raises:
        RuntimeError: pip cannot fetch the wheel. A test that needs the data then fails.
    """
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    target = Path(root) / "jaxbandit-tests" / "movielens-100k"
    directory = target / "ml-100k"
    if directory.is_dir():
        return directory
    target.parent.mkdir(parents=True, exist_ok=True)
    # Made aside and moved at the end: whoever is interrupted, or comes second, leaves it whole.
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch) / "made"
        table = zipfile.Path(_download(Path(scratch)), _MEMBER).read_bytes()
        for folder, name, content in (
            ("recbole", "ml-100k.inter", table),
            ("ml-100k", "u.data", table.partition(b"\n")[2]),
        ):
            (made / folder).mkdir(parents=True)
            (made / folder / name).write_bytes(content)
        try:
            made.rename(target)
        except OSError:  # another process was first
            shutil.rmtree(made)
    return directory


def _download(directory: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", _WHEEL]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300)
    wheels = list(directory.glob("recbole-*.whl"))
    if done.returncode or not wheels:
        raise RuntimeError(
            f"MovieLens 100K could not be fetched for the tests: {' '.join(command)} said "
            f"{done.stderr.strip() or 'nothing'}; it needs a package index once"
        )
    return wheels[0]
