"""The arm of the largest index, where an arm's index depends on its own samples alone.

A pull then changes one index: a tournament finds the next arm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jaxbandit.engine import argmax_tree
from jaxbandit.engine.argmax_tree import Tournament
from jaxbandit.engine.entries import put, take
from jaxbandit.engine.keep import keep
from jaxbandit.inference.arms import mean_reward
from jaxbandit.policies.base import Problem, Round

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
    tree = argmax_tree.tournament(jnp.where(count > 0, value, jnp.inf))
    return Leader(count, total, tree, argmax_tree.winner(tree))


def pulled(leader: Leader, round: Round, arm: Array, reward: Array, index: Index) -> Leader:
    """After a pull."""
    count = take(leader.count, arm) + 1
    total = take(leader.total, arm) + (reward - round.reference)
    tree = argmax_tree.replace(leader.index, arm, index(total / count, count))
    following = keep(argmax_tree.winner(tree))
    return Leader(put(leader.count, arm, count), put(leader.total, arm, total), tree, following)


def sample_mean(mean: Array, count: Array) -> Array:
    """The index that is the mean."""
    return mean
