"""Many tasks in pieces, each computed by one thread.

XLA's own threads share out every step of a block of tasks, and lose by it what they gain: a block's
arrays are small. Whole pieces scale with the cores. They are the same whatever the number of
threads, and what they sum to is added in order, so that the bits are too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbandit.checks import is_concrete
from jaxbandit.offpolicy.model import Gaussian, TaskStatistics
from jaxbandit.packed import block_size
from jaxbandit.settings import promotion
from jaxbandit.tile_programs import compiler_options
from jaxbandit.tiles import aligned, usable_cores

# Blocks in a piece: enough for a call to be worth it.
_BLOCKS = 20


class Piece(NamedTuple):
    """Consecutive tasks; all pieces have as many, so that one program computes each."""

    start: int
    """The first of them."""
    skip: np.ndarray
    """[], how many of them an earlier piece had too."""
    stats: TaskStatistics
    """Theirs."""


@promotion()
def each(
    function: Callable[[Any, Any, Piece], Any], given: Any, stats: TaskStatistics
) -> list[Any]:
    """What a function gives of every piece.

    Args:
        function: (out, given, piece) -> pytree of arrays; of a module, to be compiled once. Where
            `out` is not None, it is what the function gave of an earlier piece, to be written over.
        given: pytree of what all pieces share.
        stats: of all tasks.
    """
    pieces = _split(given, stats)
    if len(pieces) == 1:
        return [_compiled(function)(None, given, pieces[0])]
    with _precision(stats):
        like = jax.eval_shape(function, None, given, pieces[0])
    leaves, tree = jax.tree.flatten(like)
    rooms = [aligned((len(pieces), *x.shape), np.dtype(x.dtype)) for x in leaves]
    parts = list(zip(*rooms, strict=True))
    _in_threads(function, like, parts, given, pieces)
    return [jax.tree.unflatten(tree, part) for part in parts]


@promotion()
def total(parts: Iterable[Any]) -> Any:
    """Sum of pytrees, in order."""
    return reduce(lambda a, b: jax.tree.map(jnp.add, a, b), parts)


@promotion()
def joined(
    function: Callable[..., Gaussian], given: Any, stats: TaskStatistics, *others: Iterable[Any]
) -> Gaussian:
    """Gaussians of all tasks, from a function that gives those of a piece.

    Args:
        function: (out, given, piece, *other) -> Gaussian, with `out` as in `each`.
        given: pytree of what all pieces share.
        stats: of all tasks.
        others: what else the function takes, piece by piece.
    """
    pieces = _split(given, stats)
    if len(pieces) == 1:
        return _compiled(function)(None, given, pieces[0], *(other for (other,) in others))
    rooms = [aligned(x.shape, np.dtype(x.dtype)) for x in (stats.moment, stats.gram)]
    parts = [
        [room[piece.start + int(piece.skip) :][: len(piece.stats.count)] for room in rooms]
        for piece in pieces
    ]
    one = pieces[0].stats
    _in_threads(function, Gaussian(one.moment, one.gram), parts, given, pieces, *others)
    (device,) = stats.gram.devices()
    return Gaussian(*jax.device_put(rooms, device))


def _split(given: Any, stats: TaskStatistics) -> list[Piece]:
    """The tasks in pieces; in a single one if they are few, not on a CPU, or anything is traced."""
    tasks, d = stats.moment.shape
    size = _BLOCKS * block_size(d)
    if not is_concrete(given, stats) or tasks < 2 * size or not _on_one_cpu(stats):
        return [Piece(0, np.array(0, np.int32), stats)]
    host = jax.tree.map(np.asarray, stats)

    def piece(first: int) -> Piece:
        start = min(first, tasks - size)
        part = jax.tree.map(lambda x: x[start : start + size], host)
        return Piece(start, np.array(first - start, np.int32), part)

    return [piece(first) for first in range(0, tasks, size)]


def _in_threads(
    function: Callable[..., Any],
    like: Any,
    rooms: Iterable[Sequence[np.ndarray]],
    given: Any,
    pieces: list[Piece],
    *others: Iterable[Any],
) -> None:
    """Put the last rows of what the function gives of each piece, all `like` it, in its rooms."""
    # One thread more than cores: XLA's own do the work, and one should always wait for them.
    threads = usable_cores() + 1
    program = _compiled(function, many=True)
    stats = pieces[0].stats
    # A thread writes one piece over another and copies it to its room: memory fresh from the system
    # costs more than a copy, but for a room's huge pages.
    with _precision(stats):
        spare = [jax.tree.map(jnp.zeros_like, like) for _ in range(threads)]

    def call(rooms: Sequence[np.ndarray], *args: Any) -> None:
        # Settings in a context hold for their thread alone.
        with _precision(stats), promotion():
            out = program(spare.pop(), given, *args)
        for room, part in zip(rooms, jax.tree.leaves(out), strict=True):
            room[:] = np.asarray(part)[-len(room) :]
        spare.append(out)

    with ThreadPoolExecutor(threads) as pool:
        # A list, so that errors are raised here.
        list(pool.map(call, rooms, pieces, *others))


@cache
def _compiled(function: Callable[..., Any], many: bool = False) -> Callable[..., Any]:
    options = compiler_options("cpu") if many else None
    return jax.jit(function, donate_argnums=0, compiler_options=options)


def _precision(stats: TaskStatistics) -> AbstractContextManager[Any]:
    return jax.enable_x64(stats.moment.dtype == np.float64)


def _on_one_cpu(stats: TaskStatistics) -> bool:
    return [device.platform for device in stats.gram.devices()] == ["cpu"]
