"""The arm of the largest index, where an arm's index depends on its own samples alone.

A pull then changes one index: a tournament finds the next arm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxbandit.mapped import fence
from jaxbandit.online import tournament
from jaxbandit.online.arms import mean_reward
from jaxbandit.online.indexing import put, take
from jaxbandit.online.policies.base import Problem, Round
from jaxbandit.online.tournament import Tournament

Index = Callable[[Array, Array], Array]
"""(mean less the reference, number of samples, above zero) -> index, less the same."""


class Leader(NamedTuple):
    """Samples so far, offline ones included, and the arm that leads."""

    count: Array
    """[arms]."""
    total: Array
    """[arms], sum of rewards less the reference."""
    index: Tournament
    arm: Array


def start(problem: Problem, index: Index) -> Leader:
    """From the offline data. Arms without samples lead, the lowest first."""
    count, total = problem.count, problem.excess
    value = index(mean_reward(count, total), jnp.where(count > 0, count, 1))
    tree = tournament.tournament(jnp.where(count > 0, value, jnp.inf))
    return Leader(count, total, tree, tournament.winner(tree))


def pulled(leader: Leader, round: Round, arm: Array, reward: Array, index: Index) -> Leader:
    """After a pull."""
    count = take(leader.count, arm) + 1
    total = take(leader.total, arm) + (reward - round.reference)
    tree = tournament.replace(leader.index, arm, index(total / count, count), round.number)
    following = fence(round.number, tournament.winner(tree))
    return Leader(put(leader.count, arm, count), put(leader.total, arm, total), tree, following)


def sample_mean(mean: Array, count: Array) -> Array:
    """The index that is the mean."""
    return mean
