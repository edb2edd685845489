"""The compiled program of a tile: what the engine calls.

The user's part of it gives numbers run by run; here they are summarised on the device, and several
tiles put in a call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from threading import RLock
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxbandit.engine.devices import compiler_options, lowering_for
from jaxbandit.engine.kept import Compiled, Kind, kind_of
from jaxbandit.engine.tile_output import Joined, Layout, TileOutput, join
from jaxbandit.precision import settings

Program = Callable[[Any, Array, Array, Any], TileOutput]
"""(static configuration, root key, runs [width], params) -> TileOutput; a module-level function."""


class Job(NamedTuple):
    """A program with all that its tiles share."""

    program: Program
    static: Hashable
    """Configuration; with the program and the shapes of `params` it is the compile key."""
    params: Any
    """Pytree of arrays."""
    runs: int
    """Runs asked for; what a tile has beyond them is padding."""
    width: int
    """Runs in a tile; part of what fixes the bits of the result."""
    written_out: bool = False
    """Whether the program is much straight code that runs for long, rather than a loop of few short
    kernels; it is then compiled by a compiler that is quicker on such."""

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return -(-self.runs // self.width)


def compile_kind(job: Job, *settings: Hashable) -> Kind:
    """What a tile is compiled for, under settings that are compiled for too."""
    leaves, structure = jax.tree.flatten(job.params)
    shapes = tuple((np.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    return kind_of(*settings, job._replace(params=shapes, runs=0), structure)


class _Traced(NamedTuple):
    """What a program is made of; filled in while it is traced."""

    job: Job
    batch: int
    layouts: list[Layout]


def _tiles(
    traced: _Traced, root: Array, start: Array, count: Array, runs: Array, leaves: list[Array]
) -> Joined:
    """Tiles start, ..., start + count - 1; leaves [batch, ...], of which `count` are filled."""
    job, batch = traced.job, traced.batch
    params = jax.tree.unflatten(jax.tree.structure(job.params), leaves)

    def program(*arguments: Any) -> TileOutput:
        out = job.program(*arguments)
        traced.layouts.append(Layout(out))
        return out

    @jax.jit  # Traced once, for its shapes and in the loop.
    def one(index: Array) -> Joined:
        first = index * jnp.uint32(job.width)
        return tile(program, job.static, job.width, root, first, runs, params)

    if batch == 1:
        return jax.tree.map(lambda leaf: leaf[None], one(start))

    def step(place: Array, filled: Joined) -> Joined:
        return jax.tree.map(lambda rows, row: rows.at[place].set(row), filled, one(start + place))

    shapes = jax.eval_shape(one, start)
    empty = jax.tree.map(lambda leaf: jnp.zeros((batch, *leaf.shape), leaf.dtype), shapes)
    return lax.fori_loop(jnp.uint32(0), count, step, empty)


def tile(
    program: Program,
    static: Hashable,
    width: int,
    root: Array,
    first: Array,
    runs: Array,
    params: Any,
) -> Joined:
    """The tile that begins with run `first`, of which runs from `runs` on are padding."""
    run = first + jnp.arange(width, dtype=jnp.uint32)
    return join(program(static, root, run, params), run < runs)


class Prepared(NamedTuple):
    """A program that has been traced."""

    tiles: Compiled
    """`_tiles`, compiled as suits the platform and the program."""
    layout: Layout
    """How to part what it gives."""
    lends_threads: bool
    """Whether it calls LAPACK for a batch of matrices: on a CPU such a call shares them out among
    the threads that programs run on, and waits; as many at once as there are threads wait for ever.
    """


def prepare(job: Job, root: Array, params: Any, device: Any) -> Prepared:
    """A job's tiles traced; leaves the compiler's part alone to the first call."""
    options = compiler_options(device.platform, job.written_out)
    tiles, layouts = Compiled(_tiles, compiler_options=options), list[Layout]()
    # Threads trace no faster together; one after another, the first can go on to be compiled. What
    # is traced for a device is known for that device. A program may itself simulate.
    with (
        _TRACING,
        settings.usual(),
        jax.default_device(device),
        lowering_for(device.platform),
    ):
        text = tiles.lower(*_arguments(job, layouts, range(1), root, params, device)).as_text()
    return Prepared(tiles, layouts[0], lends_threads(text))


def call(
    prepared: Prepared, job: Job, span: range, root: Array, params: Any, device: Any
) -> Joined:
    """Consecutive tiles of a job on a device, where `root` and `params` are; leaves of `_tiles`."""
    with jax.default_device(device):
        return prepared.tiles(*_arguments(job, [], span, root, params, device))


def lends_threads(text: str) -> bool:
    """Whether a program, as JAX hands it to the compiler, has such a call."""
    # Operands of a single matrix have two axes.
    return re.search(r"@lapack_.*: \(tensor<\d+x\d+x\d+x", text) is not None


_TRACING = RLock()


def _arguments(
    job: Job, layouts: list[Layout], span: range, root: Array, params: Any, device: Any
) -> tuple[Any, ...]:
    numbers = span.start, len(span), job.runs
    traced = _Traced(job, most_tiles(device.platform), layouts)
    return traced, root, *map(np.uint32, numbers), jax.tree.leaves(params)


def most_tiles(platform: str) -> int:
    """Tiles of a job in a call, at most."""
    # A call costs a CPU a fraction of a millisecond; an accelerator's tiles are long.
    return MOST_TILES if platform == "cpu" else 1


MOST_TILES = 8
"""Tiles that may go into a call."""
