"""The digest that a merged result carries, of its files and of the study it belongs to.

A missing chunk reads as NaN or 0, and a missing variable is not missed: whether a result is whole
can only be told from what was written.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import zarr

_ROOT = "zarr.json"
ATTRIBUTE = "sha256"


def seal(group: zarr.Group, folder: Path, study: str) -> None:
    """Let a result carry its digest; nothing may be written to it from then on.

    Args:
        group: the result.
        folder: where it is.
        study: the digest of its study.

    Raises:
        OSError: it cannot be read or written.
    """
    group.attrs[ATTRIBUTE] = _digest(folder, study, _root(folder)[0])


def is_whole(folder: Path, study: str) -> bool:
    """Whether a result has the files that were written for a study, and no others.

    Args:
        folder: where it is.
        study: the digest of the study.

    Raises:
        OSError: it cannot be read.
    """
    try:
        root, digest = _root(folder)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False  # Not what zarr writes.
    return digest == _digest(folder, study, root)


def _root(folder: Path) -> tuple[bytes, Any]:
    """Metadata of the result as a whole without the digest, and the digest."""
    metadata = json.loads((folder / _ROOT).read_text(encoding="utf-8"))
    digest = metadata["attributes"].pop(ATTRIBUTE, None)
    return json.dumps(metadata, sort_keys=True).encode(), digest


def _digest(folder: Path, study: str, root: bytes) -> str:
    """SHA-256 of the study's and of all files, with their paths, in order."""
    contents = {_ROOT: hashlib.sha256(root).hexdigest()}
    for file in folder.rglob("*"):
        path = file.relative_to(folder).as_posix()
        if path != _ROOT and file.is_file():
            contents[path] = hashlib.sha256(file.read_bytes()).hexdigest()
    return hashlib.sha256(json.dumps([study, contents], sort_keys=True).encode()).hexdigest()
