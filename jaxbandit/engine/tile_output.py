"""A tile of runs in few arrays.

Each array that a program gives costs kernels to compile and to start, and copies on the host, so a
tile's quantities are joined on its device, whatever their number, and parted on the host.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool

from jaxbandit.engine.moments import Moments, tile_moments


class TileOutput(NamedTuple):
    """What a program gives for a tile, every leaf [runs, ...]."""

    averaged: Any
    """Pytree whose leaves are averaged over runs."""
    kept: Any = ()
    """Pytree whose leaves are returned run by run."""


class Joined(NamedTuple):
    """A tile, its quantities joined; a `Layout` parts them."""

    moments: Moments
    """Of `averaged`, over the finite runs; mean and deviation [entries]."""
    kept: list[Any]
    """Leaves of the program's `kept`, [width, ...]: padding included."""
    finite: Any
    """[width], whether all numbers of a run are finite."""


def join(out: TileOutput, listed: Bool[Array, " runs"]) -> Joined:
    """The summary of what a program gives, over its listed runs, on the device."""
    averaged, kept = jax.tree.leaves(out.averaged), jax.tree.leaves(out.kept)
    rows = _rows(averaged, len(listed))
    finite = _are_finite(rows) & _are_finite(
        _rows([leaf for leaf in kept if jnp.issubdtype(leaf.dtype, jnp.inexact)], len(listed))
    )
    return Joined(tile_moments(rows.T, finite & listed), kept, finite)


def _rows(leaves: list[Array], runs: int) -> Array:
    """All entries, [entries, runs]."""
    if not leaves:
        return jnp.zeros((0, runs))
    # Of types as they are: a weak one would give way to a narrower one.
    dtype = jnp.result_type(*(leaf.dtype for leaf in leaves))
    return jnp.concatenate([jnp.moveaxis(x, 0, -1).reshape(-1, runs).astype(dtype) for x in leaves])


def _are_finite(rows: Array) -> Bool[Array, " runs"]:
    # The difference is 0, or NaN where the number is not finite.
    return jnp.dot(jnp.ones(len(rows), rows.dtype), rows - rows) == 0


class Layout:
    """Where the quantities of a program are in what was joined."""

    def __init__(self, out: TileOutput) -> None:
        """`out` has arrays, or their shapes."""
        leaves, self.averaged_structure = jax.tree.flatten(out.averaged)
        self.kept_structure = jax.tree.structure(out.kept)
        self.shapes = [leaf.shape[1:] for leaf in leaves]
        ends = np.cumsum([math.prod(shape) for shape in self.shapes], dtype=int)
        self.places = [
            slice(end - math.prod(s), end) for s, end in zip(self.shapes, ends, strict=True)
        ]

    def averaged(self, whole: Moments) -> Any:
        """Joined moments, [..., entries], as the program's `averaged` has them, each leaf a
        `Moments`."""
        more = whole.mean.shape[:-1]
        parts = [
            # The index makes numbers of arrays without axes.
            Moments(
                whole.count,
                whole.mean[..., place].reshape(more + shape)[()],
                whole.deviation[..., place].reshape(more + shape)[()],
            )
            for place, shape in zip(self.places, self.shapes, strict=True)
        ]
        return jax.tree.unflatten(self.averaged_structure, parts)

    def kept(self, leaves: list[Any]) -> Any:
        """The leaves as the program's `kept` has them."""
        return jax.tree.unflatten(self.kept_structure, leaves)
