"""The engine: a program for one tile of runs, driven over many tiles.

A tile has a fixed width, the last one is padded, and tiles are merged in order, so results have
the same bits for any number of runs, threads and devices. On a CPU, Python threads each drive one
compiled call at a time (XLA's own threads slow small kernels down); on accelerators one thread
drives each local device.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxbandit import keys, moments
from jaxbandit.checks import InputError, check_count

Progress = Callable[[int, int], None]
"""Called with (runs done, runs asked) each time a tile is merged."""


class TileOutput(NamedTuple):
    """What a program gives for a tile, every leaf [runs, ...]."""

    averaged: Any
    """Pytree whose leaves are averaged over runs."""
    kept: Any = ()
    """Pytree whose leaves are returned run by run."""


class TilesResult(NamedTuple):
    """What the engine gives for all runs."""

    averaged: Any
    """The program's `averaged`, each leaf a `Moments` over the finite runs."""
    kept: Any
    """The program's `kept`, leaves [runs, ...]."""
    non_finite: np.ndarray
    """Indices of runs left out of `averaged` because a number in them was not finite."""


Program = Callable[[Any, Array, Array, Any], TileOutput]
"""(static configuration, root key, runs [width], params) -> TileOutput; a module-level function."""


def run_tiles(
    program: Program,
    static: Hashable,
    key: Array,
    params: Any,
    *,
    runs: int,
    width: int,
    threads: int | None = None,
    devices: list[Any] | None = None,
    progress: Progress | None = None,
    written_out: bool = False,
) -> TilesResult:
    """Run a program for every run and merge what it gives.

    Args:
        program: the tile program; with `static` and the shapes of `params` it is the compile key.
        static: hashable configuration of the program.
        key: the root PRNG key.
        params: pytree of arrays.
        runs: number of runs.
        width: runs in a tile; part of what fixes the bits of the result.
        threads: tiles in flight on a CPU; default: the cores this process may use.
        devices: devices to use; default: all local ones.
        progress: called as tiles are merged.
        written_out: whether the program is much straight code that runs for long, rather than a
            loop of few short kernels; it is then compiled by a compiler that is quicker on such.

    Raises:
        InputError: `runs` or `threads` is not a positive integer, or every run was non-finite.
    """
    runs = check_count("runs", runs)
    root = keys.root_key(key)
    merged: list[moments.Moments] = []
    kept: list[list[np.ndarray]] = []
    non_finite: list[np.ndarray] = []
    structure: Any = None
    kept_structure: Any = None
    done = 0
    for tile in _tiles(program, static, root, params, runs, width, threads, devices, written_out):
        used = min(width, runs - done)
        leaves, structure = jax.tree.flatten(
            tile.averaged, is_leaf=lambda x: isinstance(x, moments.Moments)
        )
        pairs = zip(merged or [_EMPTY] * len(leaves), leaves, strict=True)
        merged = [moments.merge(*pair) for pair in pairs]
        kept_leaves, kept_structure = jax.tree.flatten(tile.kept)
        kept.append([leaf[:used] for leaf in kept_leaves])
        non_finite.append(done + np.flatnonzero(~tile.finite[:used]))
        done += used
        if progress is not None:
            progress(done, runs)
    bad = np.concatenate(non_finite)
    if len(bad) == runs:
        raise InputError(
            f"all {runs} runs gave numbers that are not finite; look at the parameters, and at "
            "whether a policy of your own chooses arms that do not exist"
        )
    return TilesResult(
        averaged=jax.tree.unflatten(structure, merged),
        kept=jax.tree.unflatten(
            kept_structure, [np.concatenate(x) for x in zip(*kept, strict=True)]
        ),
        non_finite=bad,
    )


_EMPTY = moments.Moments(np.float64(0), np.float64(0), np.float64(0))


class _TileSummary(NamedTuple):
    averaged: Any
    kept: Any
    finite: Any


@cache
def _compiled(platform: str, written_out: bool) -> Any:
    return jax.jit(
        _tile, static_argnums=(0, 1, 2), compiler_options=_compiler_options(platform, written_out)
    )


def _compiler_options(platform: str, written_out: bool) -> dict[str, Any]:
    """XLA's options, of those that this version knows."""
    if platform != "cpu":
        return {}
    # x86 compilers shy from full-width vectors, for the sake of chips that slow down on meeting
    # them; current ones do not, and the straight arithmetic here gains a third.
    options: dict[str, Any] = {"xla_cpu_prefer_vector_width": 512}
    if written_out:
        # The older of XLA's two ways to emit kernels: half the compile time, a little faster code.
        # Short kernels in a loop it makes eight times slower.
        options["xla_cpu_use_fusion_emitters"] = False
    else:
        # No reductions by a library: they cannot be part of a larger kernel.
        options["xla_cpu_experimental_ynn_fusion_type"] = ""
    return {name: value for name, value in options.items() if _is_known(name, value)}


@cache
def _is_known(option: str, value: Any) -> bool:
    try:
        jax.jit(jnp.negative, compiler_options={option: value}).lower(np.float32(0)).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def _tile(
    program: Program,
    static: Hashable,
    width: int,
    root: Array,
    first: Array,
    runs: Array,
    params: Any,
) -> _TileSummary:
    run = first + jnp.arange(width, dtype=jnp.uint32)
    out = program(static, root, run, params)
    finite = jnp.ones(width, bool)
    for leaf in jax.tree.leaves(out):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            finite &= jnp.all(jnp.isfinite(leaf.reshape(width, -1)), axis=1)
    valid = finite & (run < runs)
    averaged = jax.tree.map(lambda leaf: moments.tile_moments(leaf, valid), out.averaged)
    return _TileSummary(averaged, out.kept, finite)


def _tiles(
    program: Program,
    static: Hashable,
    root: Array,
    params: Any,
    runs: int,
    width: int,
    threads: int | None,
    devices: list[Any] | None,
    written_out: bool,
) -> Iterator[_TileSummary]:
    """Summaries of all tiles on the host, in order; at most two per worker wait to be merged."""
    devices = jax.local_devices() if devices is None else devices
    workers = len(devices)
    if devices[0].platform == "cpu":
        workers = max(
            workers, usable_cores() if threads is None else check_count("threads", threads)
        )
    tile = _compiled(devices[0].platform, written_out)
    inputs = [jax.device_put((root, params), device) for device in devices]
    count = -(-runs // width)

    def work(index: int) -> _TileSummary:
        device = index % len(devices)
        with jax.default_device(devices[device]):
            on_root, on_params = inputs[device]
            summary = tile(
                program,
                static,
                width,
                on_root,
                np.uint32(index * width),
                np.uint32(runs),
                on_params,
            )
            return jax.tree.map(np.asarray, summary)

    # The first tile compiles; threads that start together would each compile.
    yield work(0)
    if workers == 1 or count == 2:
        yield from map(work, range(1, count))
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[_TileSummary]] = deque()
        try:
            for index in range(1, count):
                waiting.append(pool.submit(work, index))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
