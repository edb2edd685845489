"""The engine: a program for one tile of runs, driven over many tiles.

A tile has a fixed width, the last one is padded, and tiles are merged in order, so results have
the same bits for any number of runs, threads and devices. On a CPU, Python threads each drive one
compiled call at a time (XLA's own threads slow small kernels down); on accelerators one thread
drives each local device.
"""

from __future__ import annotations

import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from threading import BoundedSemaphore
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxbandit.checks import InputError, check_count, check_function, is_concrete
from jaxbandit.engine import keys, moments, programs
from jaxbandit.engine.devices import usable_cores
from jaxbandit.engine.kept import Kept, Kind, kind_of
from jaxbandit.engine.programs import MOST_TILES, Job, Prepared, Program, compile_kind, most_tiles
from jaxbandit.engine.tile_output import Joined, Layout
from jaxbandit.precision import settings

TRACED = "a simulation must have values, was traced; call it outside jax.jit"

Progress = Callable[[int, int], None]
"""Called with (runs done, runs asked) each time a tile is merged."""


class TilesResult(NamedTuple):
    """What the engine gives for all runs."""

    averaged: Any
    """The program's `averaged`, each leaf a `Moments` over the finite runs."""
    kept: Any
    """The program's `kept`, leaves [runs, ...]."""
    non_finite: np.ndarray
    """Indices of runs left out of `averaged` because a number in them was not finite."""


@settings.usual()
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
        width: runs in a tile, as in `Job`.
        threads: tiles in flight on a CPU; default: one more than there are cores.
        devices: devices to use; default: all local ones.
        progress: called as tiles are merged.
        written_out: as in `Job`.

    Raises:
        InputError: `runs` or `threads` is not a positive integer, `progress` is no function, an
            array is traced, or every run was non-finite.

    Warns:
        UserWarning: some runs were non-finite.
    """
    runs = check_count("runs", runs)
    if progress is not None:
        check_function("progress", progress, "(done, runs)")
    check_values(key, params)
    job = Job(program, static, params, runs, width, written_out)
    work = ((job, index) for index in range(job.tiles))
    merged = moments.Moments(np.float64(0), np.float64(0), np.float64(0))
    kept: list[list[np.ndarray]] = []
    non_finite: list[np.ndarray] = []
    found: Any = None
    done = 0
    for layout, tile in play_tiles(key, work, threads=threads, devices=devices):
        found = layout
        used = min(width, runs - done)
        merged = moments.merge(merged, tile.moments)
        kept.append([leaf[:used] for leaf in tile.kept])
        non_finite.append(done + np.flatnonzero(~tile.finite[:used]))
        done += used
        if progress is not None:
            progress(done, runs)
    bad = np.concatenate(non_finite)
    of_runs = found.kept([np.concatenate(x) for x in zip(*kept, strict=True)])
    _report_left_out(bad, runs, of_runs)
    return TilesResult(averaged=found.averaged(merged), kept=of_runs, non_finite=bad)


@settings.usual()
def check_values(*arguments: Any) -> None:
    """Refuse a simulation within a transformation of JAX.

    Raises:
        InputError: one of the arrays is traced, or a new one would be.
    """
    # Within `jax.jit` all arrays are traced; within `jax.vmap` or `jax.grad`, those that depend on
    # what is mapped or differentiated.
    if not is_concrete(arguments, jnp.zeros(())):
        raise InputError(TRACED)


def _report_left_out(bad: np.ndarray, runs: int, kept: Any) -> None:
    """Warn of runs that are left out, and refuse to go on without any."""
    if len(bad) == 0:
        return
    named = kept if isinstance(kept, dict) else {}  # As those of `simulate` are, by policy.
    whose = [
        repr(name)
        for name, leaves in named.items()
        if not all(np.all(np.isfinite(leaf[bad])) for leaf in jax.tree.leaves(leaves))
    ]
    said = (
        f"gave numbers that are not finite{' in ' if whose else ''}{', '.join(whose)}; look at the "
        "parameters, at rewards, and at whether a policy of your own chooses arms that do not exist"
    )
    if len(bad) == runs:
        raise InputError(f"all {runs} runs {said}")
    # To whoever called the function that called `run_tiles`, which is wrapped.
    warnings.warn(
        f"{len(bad)} of {runs} runs are left out, for all that was simulated: they {said}",
        stacklevel=5,
    )


def play_tiles(
    key: Array,
    work: Iterable[tuple[Job, int]],
    *,
    threads: int | None = None,
    devices: list[Any] | None = None,
) -> Iterator[tuple[Layout, Joined]]:
    """Tiles on the host, in the order asked for, each with how to part its quantities.

    What a tile gives depends on the key, its job and its index alone: the moments of a job's tiles,
    merged in order, are what `run_tiles` gives, whoever computed them. At most four calls a worker,
    of at most eight tiles each, wait to be taken.

    Args:
        key: the root PRNG key.
        work: jobs and indices of their tiles; taken some tens of tiles before they are played.
            Tiles of a job that follow each other share its arrays on the device, and calls.
        threads: tiles in flight on a CPU; default: one more than there are cores.
        devices: devices to use; default: all local ones.

    Raises:
        InputError: `key` is not a PRNG key, or `threads` not a positive integer.
    """
    settings.check_process()
    root = keys.root_key(key)
    devices = jax.local_devices() if devices is None else devices
    platform = devices[0].platform
    workers = len(devices)
    if platform == "cpu":
        # One thread more than cores: XLA's own run the tiles, and one should always wait for them.
        in_flight = usable_cores() + 1 if threads is None else check_count("threads", threads)
        workers = max(workers, in_flight)
    roots = [_on(device, root) for device in devices]
    x64 = jnp.result_type(float) == jnp.float64
    pace = _Pace(platform)

    def play(job: Job, span: range, params: Any, place: int, prepared: Prepared) -> list[Joined]:
        one_of_few = _LENDERS if prepared.lends_threads else nullcontext()
        # Settings in a context hold for their thread alone.
        with jax.enable_x64(x64), settings.usual(), one_of_few:
            started = time.perf_counter()
            joined = programs.call(prepared, job, span, roots[place], params, devices[place])
            if not is_concrete(joined):
                raise InputError(TRACED)
            leaves, structure = jax.tree.flatten(joined)
            # Copies, for no tile to hold on to what is empty.
            each = zip(*(np.asarray(leaf)[: len(span)].copy() for leaf in leaves), strict=True)
            pace.seconds = (time.perf_counter() - started) / len(span)
            return [jax.tree.unflatten(structure, tile) for tile in each]

    current: Job | None = None
    kind: Kind = kind_of()
    # Those of this call, whatever their number, are at hand until its end.
    in_use: dict[Kind, Prepared] = {}
    placed: dict[int, Any] = {}
    waiting: deque[tuple[Layout, Future[list[Joined]]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for number, (job, span) in enumerate(_spans(work, pace, workers)):
            if job is not current:
                current, kind, placed = job, compile_kind(job, platform, x64), {}
            place = number % len(devices)
            if place not in placed:
                placed[place] = _on(devices[place], job.params)
            prepared = in_use.get(kind) or _PREPARED.get(kind)
            if workers == 1 or prepared is None:
                # The first tile compiles; threads that start together would each compile.
                prepared = prepared or programs.prepare(
                    job, roots[place], placed[place], devices[place]
                )
                future: Future[list[Joined]] = Future()
                future.set_result(play(job, span, placed[place], place, prepared))
                _PREPARED.put(kind, prepared)
            else:
                future = pool.submit(play, job, span, placed[place], place, prepared)
            in_use[kind] = prepared
            waiting.append((prepared.layout, future))
            # One a worker, until it is known how long tiles take.
            calls = WAITING_CALLS if pace.is_known and workers > 1 else 1
            while len(waiting) >= calls * workers:
                first, future = waiting.popleft()
                yield from ((first, tile) for tile in future.result())
        for first, future in waiting:
            yield from ((first, tile) for tile in future.result())
    finally:
        for _, future in waiting:
            future.cancel()
        pool.shutdown()


def _on(device: Any, tree: Any) -> Any:
    """The tree's arrays on a device."""
    # To send arrays where they are takes longer than many a tile.
    there = {device}
    if all(isinstance(x, Array) and x.devices() == there for x in jax.tree.leaves(tree)):
        return tree
    return jax.device_put(tree, device)


@dataclass
class _Pace:
    """How long tiles take, which decides how many share a call."""

    platform: str
    seconds: float = math.inf
    """Of a tile in the last call; not known at first."""

    @property
    def is_known(self) -> bool:
        """Whether a call has ended."""
        return self.seconds < math.inf

    @property
    def most(self) -> int:
        """Tiles for a call."""
        return int(max(1, min(most_tiles(self.platform), _CALL_SECONDS / self.seconds)))


def _spans(
    work: Iterable[tuple[Job, int]], pace: _Pace, workers: int
) -> Iterator[tuple[Job, range]]:
    """Tiles of a job that follow each other, for a call; fewer near the end, for all workers to end
    at about the same time."""
    work = iter(work)
    ahead = deque(islice(work, workers * MOST_TILES))
    while ahead:
        job, first = ahead[0]
        most = max(1, min(len(ahead) // workers, pace.most))
        span = range(first, first)
        while len(span) < most and ahead and ahead[0][0] is job and ahead[0][1] == span.stop:
            ahead.popleft()
            span = range(first, span.stop + 1)
        ahead.extend(islice(work, len(span)))
        yield job, span


WAITING_CALLS = 4
"""Calls a worker that may wait to be taken: workers play on while who takes them writes a file."""

_CALL_SECONDS = 0.05
"""No more tiles are put in a call than take so long: who interrupts waits for it."""

_PREPARED: Kept[Prepared] = Kept(32)
"""Programs of this process, by platforms, precisions and kinds of tiles."""


_LENDERS = BoundedSemaphore(max(usable_cores() - 1, 1))
"""Held by calls of programs that lend XLA's threads, of which one must stay free."""
