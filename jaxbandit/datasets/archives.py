"""Archives that data comes in."""

import contextlib
import gzip
import zipfile
import zlib
from collections.abc import Generator
from pathlib import Path

from jaxbandit.checks import InputError


@contextlib.contextmanager
def unpacking(path: Path) -> Generator[None]:
    """Says so in one line where an archive is truncated or damaged."""
    try:
        yield
    except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError) as error:
        # RuntimeError: an encrypted archive, or a compression method unknown to zipfile.
        raise InputError(
            f"{path}: the archive is truncated or damaged ({error}); fetch it again"
        ) from None
