"""Sums and maxima over arms, fast under `vmap`: vector code, which XLA does not make of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, Shaped

from jaxbandit.engine.entries import ROWS_ABOVE


def first_argmax(value: Float[Array, " arms"]) -> Int[Array, ""]:
    """The lowest index at which `value` is largest.

    Comparisons as vector code, one an arm: `jnp.argmax` is many times slower from some 25 arms on.
    """
    arms = value.shape[0]
    if arms <= ROWS_ABOVE:
        return first_max([value[index] for index in range(arms)])[1]

    def better(one: _Entries, other: _Entries) -> _Entries:
        (value, index), (rival, its_index) = one, other
        wins = (rival > value) | ((rival == value) & (its_index < index))
        return jnp.where(wins, rival, value), jnp.where(wins, its_index, index)

    both = value, jnp.arange(arms, dtype=jnp.int32)
    return _fold(better, partial(_piece, both), arms, (-jnp.inf, arms))[1]


# Numbers compared one after another: with more, each comparison waits for the one before.
_CHAIN = 16


def first_max(values: Sequence[Array]) -> tuple[Array, Array]:
    """The largest of some numbers and the lowest position at which it stands."""
    both = [(value, jnp.int32(position)) for position, value in enumerate(values)]
    chains = [both[start : start + _CHAIN] for start in range(0, len(both), _CHAIN)]
    return reduce(_larger, [reduce(_larger, chain) for chain in chains])


def _larger(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    better = other[0] > one[0]
    return jnp.where(better, other[0], one[0]), jnp.where(better, other[1], one[1])


def weighted_sum(value: Shaped[Array, " arms"], weight: Float[Array, " arms"]) -> Float[Array, ""]:
    """The sum of value times weight, in a fraction of the time of `jnp.dot`."""

    def products(arms: slice) -> _Entries:
        return (value[arms].astype(weight.dtype) * weight[arms],)

    return _fold(lambda one, other: (one[0] + other[0],), products, len(value), (0,))[0]


_Entries = tuple[Array, ...]
_PIECES = 16


def _fold(
    join: Callable[[_Entries, _Entries], _Entries],
    entries: Callable[[slice], _Entries],
    arms: int,
    neutral: tuple[float, ...],
) -> _Entries:
    """What joining the entries of all arms gives, whatever the order.

    Arms are joined one by one where runs are last in memory. Where they are first, pieces of rows
    are joined element by element.

    Args:
        join: of arrays, element by element.
        entries: of a slice of the arms. Were they made of all arms at once, they would be stored,
            and read again.
        arms: how many.
        neutral: the entry that changes none it is joined with.
    """
    rows = arms > ROWS_ABOVE
    while True:
        # Whole vectors, as long as there is more than one.
        width = _PIECES * -(-arms // _PIECES**2) if rows and arms > _PIECES else 1
        parts = [entries(slice(start, start + width)) for start in range(0, arms, width)]
        # Only the last is padded: to pad all before they are cut costs a comparison an element.
        parts[-1] = tuple(
            jnp.pad(x, (0, -arms % width), constant_values=fill)
            for x, fill in zip(parts[-1], neutral, strict=True)
        )
        while len(parts) > 1:
            unpaired = parts[len(parts) // 2 * 2 :]
            pairs = zip(parts[::2], parts[1::2], strict=False)
            parts = [join(*pair) for pair in pairs] + unpaired
        if width == 1:
            return tuple(x[0] for x in parts[0])
        entries, arms = partial(_piece, parts[0]), width


def _piece(entries: _Entries, arms: slice) -> _Entries:
    return tuple(x[arms] for x in entries)
