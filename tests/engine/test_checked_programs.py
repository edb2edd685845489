"""Compiled programs are given as they were written, or not at all."""

import pytest
from jax._src.lru_cache import LRUCache

from jaxbandit.engine.checked_programs import CheckedPrograms

PROGRAM = bytes(range(256)) * 4


@pytest.fixture
def programs(tmp_path):
    found = CheckedPrograms(str(tmp_path), max_size=-1)
    found.put("a", PROGRAM)
    return found


def test_there_and_back(programs):
    assert programs.get("a") == PROGRAM
    assert programs.get("b") is None


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: b"",
        lambda data: b"nonsense",
        lambda data: data[:-1],
        lambda data: data[:100],
        lambda data: data[:500] + bytes([data[500] ^ 1]) + data[501:],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: PROGRAM,
    ],
)
def test_a_damaged_program_is_replaced(programs, tmp_path, harm):
    """JAX's own cache gives it, and keeps it."""
    file = tmp_path / "a-cache"
    harmed = harm(file.read_bytes())
    file.write_bytes(harmed)
    assert LRUCache(str(tmp_path), max_size=-1).get("a") == harmed
    assert programs.get("a") is None
    programs.put("a", PROGRAM)
    assert programs.get("a") == PROGRAM
