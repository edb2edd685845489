"""Files that are read and written: whether they can be, and how."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from jaxbandit.checks import InputError


def check_file(name: str, path: Path) -> None:
    """Refuse as a file to read what is not there, or a folder.

    Raises:
        InputError: it is not there.
    """
    if not path.is_file():
        raise InputError(f"{name}: there is no file {path}; check the path")


def check_folder(name: str, folder: Path) -> None:
    """Refuse as a folder to write to what is a file, or lies below one; others can be made.

    Raises:
        InputError: so it is.
    """
    for path in (folder, *folder.parents):
        if path.is_file():
            raise InputError(f"{name} must be a folder, but {path} is a file; name another")


def check_ending(path: Path, *endings: str) -> None:
    """Refuse to write a file whose name does not end as what is written.

    Raises:
        InputError: it does not.
    """
    if path.suffix not in endings:
        raise InputError(f"--out must end in {' or '.join(endings)}, was {path}")


def check_place(path: Path, *inputs: Path) -> None:
    """Refuse to write a file where there is no folder for it, or over what is read.

    Raises:
        InputError: there is no folder, a folder has the file's name, or it is one of the inputs.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it, or name another file")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file")
    for given in inputs:
        if path.exists() and given.exists() and path.samefile(given):
            raise InputError(f"--out would write over {given}, which is read; name another file")


@contextmanager
def whole(path: Path) -> Generator[Path]:
    """A path to write to; `path` then appears whole, or not at all.

    Raises:
        InputError: as `check_place`.
    """
    check_place(path)
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")  # Of this writer alone.
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
