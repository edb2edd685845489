"""JAX's cache of compiled programs, with a check that a program is the one that was written.

JAX itself runs a program that was changed on disk, and keeps one that it cannot read for ever. This
is a private part of JAX, so `compilation_cache` does without where it is not.
"""

from __future__ import annotations

import hashlib

from jax._src import compilation_cache
from jax._src.lru_cache import LRUCache

# A frame that readers of Zstandard skip, with the SHA-256 of all bytes before it.
_FRAME = b"\x50\x2a\x4d\x18" + (32).to_bytes(4, "little")
_LENGTH = len(_FRAME) + 32


class CheckedPrograms(LRUCache):
    """Programs by their keys; those that are not as they were written are removed when asked for,
    so that they are compiled and written anew."""

    def get(self, key: str) -> bytes | None:
        """A program, or None.

        Raises:
            OSError: it cannot be read, or not be removed.
        """
        value = super().get(key)
        if value is None:
            return None
        program = value[:-_LENGTH]
        if value != _signed(program):
            (self.path / f"{key}-cache").unlink(missing_ok=True)
            return None
        return program

    def put(self, key: str, value: bytes) -> None:
        """Keep a program, unless there is one.

        Raises:
            OSError: it cannot be written.
        """
        super().put(key, _signed(value))


def use() -> None:
    """Let JAX keep its programs so, from now on; before it has compiled any."""
    setattr(compilation_cache, LRUCache.__name__, CheckedPrograms)


def _signed(program: bytes) -> bytes:
    return program + _FRAME + hashlib.sha256(program).digest()
