"""Many tasks in pieces, each computed by one thread.

XLA's own threads share out every step of a block of tasks, and lose by it what they gain: a block's
arrays are small. Whole pieces scale with the cores. They are the same whatever the number of
threads, and what they sum to is added in order, so that the bits are too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbandit.checks import is_concrete
from jaxbandit.offpolicy.model import Gaussian, TaskStatistics
from jaxbandit.packed import block_size
from jaxbandit.tiles import aligned, usable_cores

# Blocks in a piece: enough for a call to be worth it.
_BLOCKS = 16


class Piece(NamedTuple):
    """Consecutive tasks; all pieces have as many, so that one program computes each."""

    start: int
    """The first of them."""
    skip: np.ndarray
    """[], how many of them an earlier piece had too."""
    stats: TaskStatistics
    """Theirs."""


def each(function: Callable[[Any, Piece], Any], given: Any, stats: TaskStatistics) -> list[Any]:
    """`function(given, piece)` of every piece."""
    return _in_threads(function, given, _split(given, stats))


def total(parts: Iterable[Any]) -> Any:
    """Sum of pytrees, in order."""
    return reduce(lambda a, b: jax.tree.map(jnp.add, a, b), parts)


def joined(
    function: Callable[..., Gaussian], given: Any, stats: TaskStatistics, *others: Iterable[Any]
) -> Gaussian:
    """Gaussians of all tasks, from a function that gives those of a piece.

    Args:
        function: (given, piece, *other) -> Gaussian.
        given: pytree of what all pieces share.
        stats: of all tasks.
        others: what else the function takes, piece by piece.
    """
    pieces = _split(given, stats)
    if len(pieces) == 1:
        (whole,) = _in_threads(function, given, pieces, *others)
        return whole
    out = [aligned(x.shape, np.dtype(x.dtype)) for x in (stats.moment, stats.gram)]

    def write(given: Any, piece: Piece, *other: Any) -> None:
        for whole, part in zip(out, function(given, piece, *other), strict=True):
            fresh = np.asarray(part)[int(piece.skip) :]
            stop = piece.start + len(part)
            whole[stop - len(fresh) : stop] = fresh

    _in_threads(write, given, pieces, *others)
    (device,) = stats.gram.devices()
    return Gaussian(*jax.device_put(out, device))


def _split(given: Any, stats: TaskStatistics) -> list[Piece]:
    """The tasks in pieces; in a single one if they are few, not on a CPU, or anything is traced."""
    tasks, d = stats.moment.shape
    size = _BLOCKS * block_size(d)
    if tasks < 2 * size or not is_concrete(given, stats) or not _on_one_cpu(stats):
        return [Piece(0, np.array(0, np.int32), stats)]
    host = jax.tree.map(np.asarray, stats)

    def piece(first: int) -> Piece:
        start = min(first, tasks - size)
        part = jax.tree.map(lambda x: x[start : start + size], host)
        return Piece(start, np.array(first - start, np.int32), part)

    return [piece(first) for first in range(0, tasks, size)]


def _in_threads(
    function: Callable[..., Any], given: Any, pieces: list[Piece], *others: Iterable[Any]
) -> list[Any]:
    if len(pieces) == 1:
        return [function(given, *args) for args in zip(pieces, *others, strict=True)]
    x64 = pieces[0].stats.moment.dtype == np.float64

    def call(*args: Any) -> Any:
        # Settings in a context hold for their thread alone.
        with jax.enable_x64(x64):
            return jax.block_until_ready(function(given, *args))

    # One thread more than cores: XLA's own do the work, and one should always wait for them.
    with ThreadPoolExecutor(usable_cores() + 1) as pool:
        return list(pool.map(call, pieces, *others))


def _on_one_cpu(stats: TaskStatistics) -> bool:
    return [device.platform for device in stats.gram.devices()] == ["cpu"]
