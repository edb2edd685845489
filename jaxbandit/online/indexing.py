"""Reading, writing and maximising over arms, fast under `vmap`.

Policies are written for one run, on arrays [arms]. The simulator maps them over runs with the runs
*last* in memory, where these three functions become short vector code. Plain `x[arm]` and
`x.at[arm].set(v)` give the same numbers, several times slower.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_batching import custom_vmap
from jaxtyping import Float, Int, Shaped

# Arrays of more arms than this are held runs first, and read and written in place: a pass over all
# arms costs more than the scattered access it saves.
ROWS_ABOVE = 128


def first_argmax(value: Float[Array, " arms"]) -> Int[Array, ""]:
    """The lowest index at which `value` is largest.

    A chain of comparisons, one an arm: `jnp.argmax` is many times slower from some 25 arms on.
    """
    arms = value.shape[0]
    if arms <= ROWS_ABOVE:
        return first_max([value[index] for index in range(arms)])[1]

    def better(one: _Entries, other: _Entries) -> _Entries:
        (value, index), (rival, its_index) = one, other
        wins = (rival > value) | ((rival == value) & (its_index < index))
        return jnp.where(wins, rival, value), jnp.where(wins, its_index, index)

    index = jnp.arange(arms, dtype=jnp.int32)
    return _fold(better, (value, index), (-jnp.inf, arms))[1]


def total(value: Float[Array, " arms"]) -> Float[Array, ""]:
    """The sum, in a fraction of the time of `jnp.sum`."""
    return _fold(lambda one, other: (one[0] + other[0],), (value,), (0,))[0]


_Entries = tuple[Array, ...]
_PIECES = 16


def _fold(
    join: Callable[[_Entries, _Entries], _Entries], entries: _Entries, neutral: tuple[float, ...]
) -> _Entries:
    """What joining the entries of all arms gives, whatever the order; entries are arrays [arms].

    Arms are joined one by one where runs are last. Where they are first, pieces of rows are joined
    element by element. Both are vector code, which XLA does not make of a reduction.
    """
    rows = entries[0].shape[0] > ROWS_ABOVE
    while (length := entries[0].shape[0]) > 1:
        # Whole vectors, as long as there is more than one.
        width = _PIECES * -(-length // _PIECES**2) if rows and length > _PIECES else 1
        parts = [
            tuple(x[start : start + width] for x in entries) for start in range(0, length, width)
        ]
        # Only the last is padded: to pad all before they are cut costs a comparison an element.
        parts[-1] = tuple(
            jnp.pad(x, (0, -length % width), constant_values=fill)
            for x, fill in zip(parts[-1], neutral, strict=True)
        )
        while len(parts) > 1:
            unpaired = parts[len(parts) // 2 * 2 :]
            pairs = zip(parts[::2], parts[1::2], strict=False)
            parts = [join(*pair) for pair in pairs] + unpaired
        entries = parts[0]
    return tuple(x[0] for x in entries)


def first_max(values: Sequence[Array]) -> tuple[Array, Array]:
    """The largest of some numbers and the lowest position at which it stands."""
    best, position = values[0], jnp.int32(0)
    for index in range(1, len(values)):
        better = values[index] > best
        best = jnp.where(better, values[index], best)
        position = jnp.where(better, jnp.int32(index), position)
    return best, position


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


def runs_last(function: Callable[..., Array]) -> Callable[..., Array]:
    """A function of arrays [arms] and numbers to [arms], computed with runs last when mapped.

    It is then called with arrays [arms, runs] or [arms, 1] and numbers [runs] or [], and has to
    broadcast them.
    """
    mapped = custom_vmap(function)

    @mapped.def_vmap
    def _(size: int, batched: Any, *operands: Array) -> tuple[Array, bool]:
        def column(x: Array, many: bool) -> Array:
            return jnp.moveaxis(x, 0, -1) if many else x[:, None] if x.ndim else x

        columns = [column(x, many) for x, many in zip(operands, batched, strict=True)]
        return jnp.moveaxis(function(*columns), -1, 0), True

    return mapped


def run_axis(shape: tuple[int, ...]) -> int:
    """Where the runs lie in a state array of this shape per run."""
    return 0 if shape and shape[0] > ROWS_ABOVE else -1


@take.def_vmap
def _(size: int, batched: Any, value: Array, arm: Array) -> tuple[Array, bool]:
    if not batched[1]:
        return lax.dynamic_index_in_dim(value, arm, 1, keepdims=False), True
    if not batched[0]:
        return _gather(value, arm), True
    run = jnp.arange(size, dtype=arm.dtype)
    if value.shape[1] > ROWS_ABOVE:
        return _gather(value.reshape(-1), arm + value.shape[1] * run), True
    # Runs are last in memory, so this transposition moves nothing.
    return _gather(jnp.moveaxis(value, 0, -1).reshape(-1), arm * size + run), True


@put.def_vmap
def _(size: int, batched: Any, value: Array, arm: Array, entry: Array) -> tuple[Array, bool]:
    return _write(lambda old, new: new, size, batched, value, arm, entry), True


@add_at.def_vmap
def _(size: int, batched: Any, value: Array, arm: Array, amount: Array) -> tuple[Array, bool]:
    return _write(lambda old, new: old + new, size, batched, value, arm, amount), True


def _write(
    combine: Callable[[Array, Array], Array], size: int, batched: Any, *operands: Array
) -> Array:
    value, arm, entry = (
        x if b else jnp.broadcast_to(x, (size, *jnp.shape(x)))
        for x, b in zip(operands, batched, strict=True)
    )
    entry = entry.astype(value.dtype)
    arms = value.shape[1]
    if arms <= ROWS_ABOVE:
        columns = jnp.moveaxis(value, 0, -1)
        hit = jnp.arange(arms, dtype=arm.dtype)[:, None] == arm
        return jnp.moveaxis(jnp.where(hit, combine(columns, entry), columns), -1, 0)

    def one_by_one(flat: Array, place: Array, entry: Array) -> Array:
        def store(run: Array, flat: Array) -> Array:
            at = (place[run],)
            new = combine(lax.dynamic_slice(flat, at, (1,)), lax.dynamic_slice(entry, (run,), (1,)))
            return lax.dynamic_update_slice(flat, new, at)

        return lax.fori_loop(0, size, store, flat)

    def at_once(flat: Array, place: Array, entry: Array) -> Array:
        new = combine(flat[place], entry)
        return flat.at[place].set(new, unique_indices=True, mode="promise_in_bounds")

    # A CPU's scatter is slow, and no part of a single kernel.
    place = arm + arms * jnp.arange(size, dtype=arm.dtype)
    flat = lax.platform_dependent(value.reshape(-1), place, entry, cpu=one_by_one, default=at_once)
    return flat.reshape(value.shape)


def _gather(flat: Array, index: Array) -> Array:
    numbers = lax.GatherDimensionNumbers((), (0,), (0,))
    mode = lax.GatherScatterMode.CLIP
    return lax.gather(flat, index[:, None], numbers, (1,), mode=mode)


def fence(round_number: Array, value: Any) -> Any:
    """`value`, computed once and stored.

    On a CPU the compiler recomputes a value inside every loop over arms that uses it, once for each
    arm; a conditional it cannot see through stops that. Elsewhere a conditional would cost a wait.
    `round_number` is any traced integer that is at least zero, the same for all runs.
    """
    return lax.platform_dependent(round_number, value, cpu=_stored, default=lambda _, value: value)


def _stored(round_number: Array, value: Any) -> Any:
    return lax.cond(
        round_number >= 0, lambda x: x, lambda x: jax.tree.map(jnp.zeros_like, x), value
    )
