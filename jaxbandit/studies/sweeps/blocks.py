"""A block as a file: an NPZ that appears whole or not at all, and knows its own checksum.

The file is what `numpy.savez` writes; the archive's comment is the SHA-256 of all bytes before it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxbandit.checks import InputError

_DIGEST = 64
_PROVENANCE = "provenance"
ANEW = "the same sweep computes it anew"

Arrays = dict[str, np.ndarray]


class DamagedBlockError(InputError):
    """A block whose bytes are not those that were written."""


def write_block(path: Path, arrays: Mapping[str, np.ndarray], provenance: Any) -> None:
    """Write a block; when this returns it is on the disk.

    Raises:
        OSError: it cannot be written; then there is no file.
    """
    buffer = io.BytesIO()
    note = np.frombuffer(json.dumps(provenance).encode(), np.uint8)
    everything: dict[str, Any] = {**arrays, _PROVENANCE: note}
    np.savez(buffer, **everything)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"0" * _DIGEST
    data = buffer.getbuffer()
    data[-_DIGEST:] = hashlib.sha256(data[:-_DIGEST]).hexdigest().encode()
    write_whole(path, data)


def read_block(path: Path) -> tuple[Arrays, Any]:
    """Arrays of a block, and its provenance.

    Raises:
        DamagedBlockError: the file is cut short or changed.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise DamagedBlockError(
            f"{path} is damaged: its SHA-256 is not the one written with it; {ANEW}"
        )
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = dict(archive)
        return arrays, json.loads(arrays.pop(_PROVENANCE).tobytes())
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile):
        raise DamagedBlockError(f"{path} is not a block of a study; {ANEW}") from None


def write_whole(path: Path, data: bytes | memoryview, *, replace: bool = True) -> None:
    """Write a file that appears whole or not at all, and is on the disk when this returns.

    Args:
        path: the file.
        data: its bytes.
        replace: whether to replace a file that is already there, rather than leave it.

    Raises:
        OSError: it cannot be written.
    """
    part = part_of(path)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(part, path)
        else:
            _link(part, path)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(path.parent)


def part_of(path: Path) -> Path:
    """Where to make a file or folder that is to be moved to `path` once it is whole."""
    token = os.urandom(4).hex()  # Containers may share host name and process number.
    return path.with_name(f".{path.name}.{token}.{socket.gethostname()}.{os.getpid()}.part")


def remove_parts(folder: Path) -> None:
    """Remove what processes of this host that are no more left unfinished."""
    ours = f".{socket.gethostname()}."
    for part in folder.glob(".*.part"):
        head, _, number = part.name.removesuffix(".part").rpartition(".")
        if not f"{head}.".endswith(ours) or not number.isdigit() or _lives(int(number)):
            continue
        remove(part)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    if process == os.getpid():
        return False  # This process has written nothing yet.
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _link(part: Path, path: Path) -> None:
    """Give a file its name, unless the name is taken."""
    try:
        os.link(part, path)
    except FileExistsError:
        pass
    except OSError:
        # A file system without links.
        if not path.exists():
            os.replace(part, path)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
