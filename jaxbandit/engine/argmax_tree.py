"""The arm of the largest index when one arm changes at a time.

Up to 32 arms, all are compared. Above, group maxima are kept in a tree: a change costs its group on
each level, so the cost of a round grows with the logarithm of the number of arms. Exact, ties to
the lowest arm.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from jaxbandit.engine.entries import put, take
from jaxbandit.engine.keep import keep
from jaxbandit.engine.reductions import first_argmax, first_max

_FLAT = 32
_TOP = 20


class Tournament(NamedTuple):
    """Values of all arms, and maxima of groups, of groups of groups, and so on."""

    value: Array
    """[arms, padded to whole groups]."""
    best: tuple[Array, ...]
    """Per level, maxima of groups of the level below."""
    arm: tuple[Array, ...]
    """Per level, the lowest arm attaining them."""


def tournament(value: Array) -> Tournament:
    """Build from all values, [arms]."""
    arms = value.shape[0]
    if arms <= _FLAT:
        return Tournament(value, (), ())
    group = _group(arms)
    value = level = _padded(value, -jnp.inf, group)
    arm = jnp.arange(level.shape[0], dtype=jnp.int32)
    best, who = [], []
    while True:
        values, arms_of = level.reshape(-1, group), arm.reshape(-1, group)
        winner = jnp.argmax(values, axis=1)[:, None]
        level = jnp.take_along_axis(values, winner, 1)[:, 0]
        arm = jnp.take_along_axis(arms_of, winner, 1)[:, 0]
        done = level.shape[0] <= _TOP
        if not done:
            level, arm = _padded(level, -jnp.inf, group), _padded(arm, 0, group)
        best.append(level)
        who.append(arm)
        if done:
            return Tournament(value, tuple(best), tuple(who))


def replace(old: Tournament, arm: Array, value: Array) -> Tournament:
    """The tournament with one arm's value replaced."""
    leaf = put(old.value, arm, value)
    if not old.best:
        return Tournament(leaf, (), ())
    group = _group(old.value.shape[0])
    level, place, best, who = leaf, arm, [], []
    for depth in range(len(old.best)):
        place = lax.div(place, jnp.int32(group))
        members = [take(level, place * group + k) for k in range(group)]
        top, winner = keep(first_max(members))
        child = place * group + winner
        winning_arm = child if depth == 0 else take(who[-1], child)
        level = put(old.best[depth], place, top)
        best.append(level)
        who.append(put(old.arm[depth], place, winning_arm))
    return Tournament(leaf, tuple(best), tuple(who))


def winner(tree: Tournament) -> Array:
    """The lowest arm of the largest value."""
    if not tree.best:
        return first_argmax(tree.value)
    return take(tree.arm[-1], first_argmax(tree.best[-1]))


def _group(arms: int) -> int:
    return 5 if arms <= 200 else 8


def _padded(x: Array, fill: float, group: int) -> Array:
    return jnp.pad(x, (0, -x.shape[0] % group), constant_values=fill)
