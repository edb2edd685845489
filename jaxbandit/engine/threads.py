"""Many rows of arrays in pieces, each computed by one thread.

XLA's own threads share out every step of a block of rows, and lose by it what they gain: a block's
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
from jaxbandit.engine.devices import aligned, compiler_options, usable_cores
from jaxbandit.precision.settings import promotion

Function = Callable[..., Any]
"""(shared, piece, ...) -> pytree of arrays; of a module, to be compiled once."""


class Piece(NamedTuple):
    """Consecutive rows; all pieces have as many, so that one program computes each."""

    rows: Any
    """Pytree of arrays [rows, ...]."""
    skip: Any
    """[], how many of them an earlier piece had too."""


@promotion()
def each(function: Function, shared: Any, rows: Any, size: int) -> list[Any]:
    """What a function gives of every piece.

    Args:
        function: (shared, piece) -> pytree of arrays.
        shared: pytree of what all pieces share.
        rows: pytree of arrays, whose first axes are as long.
        size: rows in a piece, where they are cut.
    """
    pieces = _cut(shared, rows, size)
    if len(pieces) == 1:
        return [_compiled(function)(shared, pieces[0])]
    with _precision(rows):
        like = jax.eval_shape(function, shared, pieces[0])
    leaves, tree = jax.tree.flatten(like)
    rooms = [aligned((len(pieces), *x.shape), np.dtype(x.dtype)) for x in leaves]
    results = list(zip(*rooms, strict=True))
    _in_threads(function, like, results, shared, pieces)
    return [jax.tree.unflatten(tree, result) for result in results]


@promotion()
def joined(function: Function, shared: Any, rows: Any, size: int, *of_pieces: Iterable[Any]) -> Any:
    """What a function gives of all rows, from what it gives of those of a piece.

    Args:
        function: (shared, piece, *others) -> pytree of arrays [rows, ...].
        shared: pytree of what all pieces share.
        rows: pytree of arrays, whose first axes are as long.
        size: rows in a piece, where they are cut.
        of_pieces: what else the function takes, piece by piece.
    """
    pieces = _cut(shared, rows, size)
    others = list(zip(*of_pieces, strict=True)) or [()] * len(pieces)
    if len(pieces) == 1:
        return _compiled(function)(shared, pieces[0], *others[0])
    with _precision(rows):
        like = jax.eval_shape(function, shared, pieces[0], *others[0])
    leaves, tree = jax.tree.flatten(like)
    count = len(jax.tree.leaves(rows)[0])
    rooms = [aligned((count, *x.shape[1:]), np.dtype(x.dtype)) for x in leaves]
    starts = [min(first, count - size) for first in range(0, count, size)]
    results = [
        [room[start + int(piece.skip) : start + size] for room in rooms]
        for start, piece in zip(starts, pieces, strict=True)
    ]
    _in_threads(function, like, results, shared, pieces, *of_pieces)
    (device,) = jax.tree.leaves(rows)[0].devices()
    return jax.tree.unflatten(tree, jax.device_put(rooms, device))


@promotion()
def total(parts: Iterable[Any]) -> Any:
    """Sum of pytrees, in order."""
    return reduce(lambda a, b: jax.tree.map(jnp.add, a, b), parts)


def _cut(shared: Any, rows: Any, size: int) -> list[Piece]:
    """The rows in pieces; in a single one if they are few, not on a CPU, or anything is traced."""
    count = jax.tree.leaves(rows)[0].shape[0]  # A symbol, in an export for any number of rows.
    if not is_concrete(shared, rows) or count < 2 * size or not _on_one_cpu(rows):
        return [Piece(rows, np.array(0, np.int32))]
    host = jax.tree.map(np.asarray, rows)

    def piece(first: int) -> Piece:
        # The last piece overlaps the one before it.
        start = min(first, count - size)
        some = jax.tree.map(lambda x: x[start : start + size], host)
        return Piece(some, np.array(first - start, np.int32))

    return [piece(first) for first in range(0, count, size)]


def _in_threads(
    function: Function,
    like: Any,
    results: Iterable[Sequence[np.ndarray]],
    shared: Any,
    pieces: list[Piece],
    *of_pieces: Iterable[Any],
) -> None:
    """Put the last rows of what the function gives of each piece, all `like` it, in `results`."""
    # One thread more than cores: XLA's own do the work, and one should always wait for them.
    threads = usable_cores() + 1
    program = _compiled_in_place(function)
    rows = pieces[0].rows
    # A thread writes one piece over another and copies it to its room: memory fresh from the system
    # costs more than a copy, but for a room's huge pages.
    with _precision(rows):
        memory = [jax.tree.map(jnp.zeros_like, like) for _ in range(threads)]

    def call(result: Sequence[np.ndarray], *args: Any) -> None:
        # Settings in a context hold for their thread alone.
        with _precision(rows), promotion():
            out = program(memory.pop(), shared, *args)
        for room, values in zip(result, jax.tree.leaves(out), strict=True):
            room[:] = np.asarray(values)[-len(room) :]
        memory.append(out)

    with ThreadPoolExecutor(threads) as pool:
        # A list, so that errors are raised here.
        list(pool.map(call, results, pieces, *of_pieces))


@cache
def _compiled(function: Function) -> Callable[..., Any]:
    return jax.jit(function)


@cache
def _compiled_in_place(function: Function) -> Callable[..., Any]:
    """(memory, shared, piece, ...) -> what the function gives, in that memory."""

    def in_place(memory: Any, *args: Any) -> Any:
        del memory  # Given to the compiler alone, for its results.
        return function(*args)

    options = compiler_options("cpu")
    return jax.jit(in_place, donate_argnums=0, keep_unused=True, compiler_options=options)


def _precision(rows: Any) -> AbstractContextManager[Any]:
    wide = any(leaf.dtype == np.float64 for leaf in jax.tree.leaves(rows))
    return jax.enable_x64(wide)


def _on_one_cpu(rows: Any) -> bool:
    devices = jax.tree.leaves(rows)[0].devices()
    return [device.platform for device in devices] == ["cpu"]
