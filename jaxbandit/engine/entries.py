"""Reading and writing the entry of an arm, fast under `vmap`.

Policies are written for one run, on arrays [arms]. The simulator maps them over runs with the runs
*last* in memory, where these functions become short vector code. Plain `x[arm]` and
`x.at[arm].set(v)` give the same numbers, several times slower.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.custom_batching import custom_vmap
from jaxtyping import Int, Shaped

from jaxbandit.engine.keep import stored

# Arrays of more arms than this are held runs first: at 1000 arms that is four times as fast, at
# 200 a little faster.
ROWS_ABOVE = 128

# On CPUs, all entries of at most so many arms are looked at whichever is wanted: that is vector
# code, and costs less than to go to one place for each run.
_ALL_UP_TO = 32

# Places written in a step of a loop, whose counter waits in memory.
_IN_A_STEP = 8


@custom_vmap
def take(value: Shaped[Array, " arms"], arm: Int[Array, ""]) -> Shaped[Array, ""]:
    """`value[arm]`, for an arm in range."""
    return lax.dynamic_index_in_dim(value, arm, keepdims=False)


@custom_vmap
def put(
    value: Shaped[Array, " arms"], arm: Int[Array, ""], entry: Shaped[Array, ""]
) -> Shaped[Array, " arms"]:
    """`value` with `value[arm]` replaced, for an arm in range."""
    return jnp.where(jnp.arange(value.shape[0], dtype=arm.dtype) == arm, entry, value)


@custom_vmap
def add_at(
    value: Shaped[Array, " arms"], arm: Int[Array, ""], amount: Shaped[Array, ""]
) -> Shaped[Array, " arms"]:
    """`value` with `amount` added to `value[arm]`, for an arm in range."""
    return jnp.where(jnp.arange(value.shape[0], dtype=arm.dtype) == arm, value + amount, value)


def run_axis(shape: tuple[int, ...]) -> int:
    """Where the runs lie in a state array of this shape per run."""
    return 0 if shape and _in_rows(shape) else -1


@take.def_vmap
def _(size: int, batched: Any, value: Array, arm: Array) -> tuple[Array, bool]:
    if not batched[1]:
        return lax.dynamic_index_in_dim(value, arm, 1, keepdims=False), True
    # Runs are last in memory where they are not first, so this transposition moves nothing.
    columns = jnp.moveaxis(value, 0, -1) if batched[0] else value
    if len(columns) > _ALL_UP_TO:
        return _gathered(columns, arm), True
    return lax.platform_dependent(columns, arm, cpu=_chosen, default=_gathered), True


def _chosen(columns: Array, arm: Array) -> Array:
    """By one binary digit of the arm after another."""
    entries, digit = list(columns), 1
    while len(entries) > 1:
        odd = (arm & digit) != 0
        pairs = zip(entries[1::2], entries[::2], strict=False)
        unpaired = entries[len(entries) // 2 * 2 :]
        entries = [jnp.where(odd, *pair) for pair in pairs] + unpaired
        digit *= 2
    # A loop over arms that uses the entry would compute it for each arm; see `keep`.
    return stored(arm[0], jnp.broadcast_to(entries[0], arm.shape))


def _gathered(columns: Array, arm: Array) -> Array:
    if columns.ndim == 1:
        flat, place = columns, arm
    else:
        flat, place = _flat(columns), _places(columns.shape, arm)
    numbers = lax.GatherDimensionNumbers((), (0,), (0,))
    mode = lax.GatherScatterMode.CLIP
    return lax.gather(flat, place[:, None], numbers, (1,), mode=mode)


@put.def_vmap
def _(size: int, batched: Any, value: Array, arm: Array, entry: Array) -> tuple[Array, bool]:
    return _write(lambda old, new: new, size, batched, value, arm, entry), True


@add_at.def_vmap
def _(size: int, batched: Any, value: Array, arm: Array, amount: Array) -> tuple[Array, bool]:
    return _write(lambda old, new: old + new, size, batched, value, arm, amount), True


_Combine = Callable[[Array, Array], Array]
"""(old entries, what is written) -> new ones."""


def _write(combine: _Combine, size: int, batched: Any, *operands: Array) -> Array:
    value, arm, entry = (
        x if b else jnp.broadcast_to(x, (size, *jnp.shape(x)))
        for x, b in zip(operands, batched, strict=True)
    )
    columns, entry = jnp.moveaxis(value, 0, -1), entry.astype(value.dtype)
    rows, everywhere = _in_rows(columns.shape), partial(_everywhere, combine)
    if len(columns) <= _ALL_UP_TO:
        columns = everywhere(columns, arm, entry)
    else:
        # A CPU's scatter is slow, and no part of a single kernel.
        columns = lax.platform_dependent(
            columns,
            arm,
            entry,
            cpu=partial(_one_by_one, combine),
            default=partial(_at_once, combine) if rows else everywhere,
        )
    return jnp.moveaxis(columns, -1, 0)


def _everywhere(combine: _Combine, columns: Array, arm: Array, entry: Array) -> Array:
    hit = jnp.arange(len(columns), dtype=arm.dtype)[:, None] == arm
    return jnp.where(hit, combine(columns, entry), columns)


def _at_once(combine: _Combine, columns: Array, arm: Array, entry: Array) -> Array:
    flat, place = _flat(columns), _places(columns.shape, arm)
    new = combine(flat[place], entry)
    flat = flat.at[place].set(new, unique_indices=True, mode="promise_in_bounds")
    return _columns(flat, columns.shape)


def _one_by_one(combine: _Combine, columns: Array, arm: Array, entry: Array) -> Array:
    # Unsigned, so that nothing looks for places below zero.
    place = _places(columns.shape, arm).astype(jnp.uint32)
    many = math.gcd(place.size, _IN_A_STEP)

    def store(step: Array, flat: Array) -> Array:
        places, entries = (lax.dynamic_slice(x, (step * many,), (many,)) for x in (place, entry))
        for run in range(many):
            at = (places[run],)
            new = combine(lax.dynamic_slice(flat, at, (1,)), entries[run : run + 1])
            flat = lax.dynamic_update_slice(flat, new, at)
        return flat

    steps = jnp.uint32(place.size // many)
    flat = lax.fori_loop(jnp.uint32(0), steps, store, _flat(columns))
    return _columns(flat, columns.shape)


def _in_rows(shape: tuple[int, ...]) -> bool:
    """Whether runs are first in memory, for a shape [arms, ...]."""
    return shape[0] > ROWS_ABOVE


def _flat(columns: Array) -> Array:
    """[arms, runs] as it lies in memory."""
    return (columns.T if _in_rows(columns.shape) else columns).reshape(-1)


def _columns(flat: Array, shape: tuple[int, ...]) -> Array:
    """[arms, runs], from `_flat`."""
    return flat.reshape(shape[::-1]).T if _in_rows(shape) else flat.reshape(shape)


def _places(shape: tuple[int, ...], arm: Array) -> Array:
    """In `_flat`, of an arm of each run."""
    arms, runs = shape
    run = jnp.arange(runs, dtype=arm.dtype)
    return arm + arms * run if _in_rows(shape) else arm * runs + run
