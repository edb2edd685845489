"""MovieLens 100K for the tests, from the wheel of RecBole, which ships it as an example."""

import zipfile
from pathlib import Path

from tests.datasets import wheels

_MEMBER = "recbole/dataset_example/ml-100k/ml-100k.inter"


def movielens_100k_directory() -> Path:
    """Directory holding MovieLens 100K as `u.data`.

    Beside it lies `../recbole/ml-100k.inter`, the same records under a header, as RecBole has
    them. The data set's terms forbid redistribution, so it is not in this repository.
    """
    return wheels.kept("movielens-100k", "recbole==1.2.1", _unpack) / "ml-100k"


def _unpack(wheel: zipfile.ZipFile, made: Path) -> None:
    table = wheel.read(_MEMBER)
    for folder, name, content in (
        ("recbole", "ml-100k.inter", table),
        ("ml-100k", "u.data", table.partition(b"\n")[2]),
    ):
        (made / folder).mkdir()
        (made / folder / name).write_bytes(content)
