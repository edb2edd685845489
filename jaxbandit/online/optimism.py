"""The arm of the largest upper confidence bound, kept up to date one pull at a time.

With a fixed delta a pull changes one bound: a tournament finds the next arm. With `delta / t^2` all
bounds move every round, and all are compared.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxbandit.online import tournament
from jaxbandit.online.arms import Confidence, mean_reward, squared_width, upper_bounds
from jaxbandit.online.indexing import fence, first_argmax, put
from jaxbandit.online.policies.base import Problem, Round
from jaxbandit.online.tournament import Tournament


class Moving(NamedTuple):
    """What upper bounds of changing width are made of."""

    mean: Array
    """[arms], 0 where there are no samples."""
    inverse_root: Array
    """[arms], one over the root of the number of samples; infinity where there are none."""


def start(bounds: Confidence, problem: Problem) -> tuple[Tournament | Moving, Array]:
    """State, and the arm of the largest upper bound in the first round."""
    width = squared_width(bounds, len(problem.count), 1, problem.horizon)
    if bounds.anytime is None:
        tree = tournament.tournament(upper_bounds(problem.count, problem.total, width))
        return tree, tournament.winner(tree)
    mean = mean_reward(problem.count, problem.total)
    moving = Moving(mean, 1 / jnp.sqrt(problem.count))
    return moving, first_argmax(moving.mean + jnp.sqrt(width) * moving.inverse_root)


def pulled(
    bounds: Confidence,
    state: Tournament | Moving,
    round: Round,
    arms: int,
    arm: Array,
    mean: Array,
    count: Array,
) -> tuple[Tournament | Moving, Array]:
    """State, and the arm of the largest upper bound in the next round.

    Args:
        bounds: constants.
        state: as of this round.
        round: this round.
        arms: number of arms.
        arm: the arm pulled.
        mean: its mean reward, with this round's.
        count: its number of samples, with this round's.
    """
    width = squared_width(bounds, arms, round.number + 1, round.horizon)
    if isinstance(state, Tournament):
        state = tournament.replace(state, arm, mean + jnp.sqrt(width / count), round.number)
        return state, fence(round.number, tournament.winner(state))
    state = Moving(put(state.mean, arm, mean), put(state.inverse_root, arm, 1 / jnp.sqrt(count)))
    index = state.mean + jnp.sqrt(width) * state.inverse_root
    return state, fence(round.number, first_argmax(index))
