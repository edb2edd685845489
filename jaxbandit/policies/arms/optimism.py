"""The arm of the largest upper confidence bound, kept up to date one pull at a time.

With a fixed delta a pull changes one bound: a tournament finds the next arm. With `delta / t^2` all
bounds move every round, and all are compared.

Samples are pairs (count, total). Where there are several, an arm's bound is the least of theirs.
"""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxbandit.engine import argmax_tree
from jaxbandit.engine.argmax_tree import Tournament
from jaxbandit.engine.entries import put
from jaxbandit.engine.keep import keep
from jaxbandit.engine.reductions import first_argmax
from jaxbandit.inference.arms import Confidence, mean_reward, squared_width, upper_bounds
from jaxbandit.policies.base import Round


class Moving(NamedTuple):
    """What upper bounds of changing width are made of."""

    mean: Array
    """[arms], 0 where there are no samples."""
    inverse_root: Array
    """[arms], one over the root of the number of samples; infinity where there are none."""


Upper = Tournament | tuple[Moving, ...]
"""Bounds that stay, or what those that move are made of, for each kind of samples."""


def start(bounds: Confidence, horizon: Array, *samples: tuple[Array, Array]) -> tuple[Upper, Array]:
    """State, and the arm of the largest upper bound in the first round; samples are [arms]."""
    width = squared_width(bounds, len(samples[0][0]), 1, horizon)
    if bounds.anytime is None:
        upper = [upper_bounds(count, total, width) for count, total in samples]
        tree = argmax_tree.tournament(reduce(jnp.minimum, upper))
        return tree, argmax_tree.winner(tree)
    moving = tuple(Moving(mean_reward(n, total), 1 / jnp.sqrt(n)) for n, total in samples)
    return moving, _widest(moving, width)


def pulled(
    bounds: Confidence,
    state: Upper,
    round: Round,
    arms: int,
    arm: Array,
    *samples: tuple[Array, Array],
) -> tuple[Upper, Array]:
    """State, and the arm of the largest upper bound in the next round.

    Args:
        bounds: constants.
        state: as of this round.
        round: this round.
        arms: number of arms.
        arm: the arm pulled.
        samples: of that arm, with this round's; as many as at the start.
    """
    width = squared_width(bounds, arms, round.number + 1, round.horizon)
    if isinstance(state, Tournament):
        upper = [total / count + jnp.sqrt(width / count) for count, total in samples]
        state = argmax_tree.replace(state, arm, reduce(jnp.minimum, upper))
        return state, keep(argmax_tree.winner(state))
    state = tuple(
        Moving(put(m.mean, arm, total / count), put(m.inverse_root, arm, 1 / jnp.sqrt(count)))
        for m, (count, total) in zip(state, samples, strict=True)
    )
    return state, keep(_widest(state, width))


def _widest(moving: tuple[Moving, ...], width: Array) -> Array:
    upper = [m.mean + jnp.sqrt(width) * m.inverse_root for m in moving]
    return first_argmax(reduce(jnp.minimum, upper))
