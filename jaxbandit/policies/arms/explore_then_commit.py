"""Explore-then-commit: every arm in turn, then the best one to the end."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxbandit import checks
from jaxbandit.policies.arms import leader
from jaxbandit.policies.arms.leader import Leader
from jaxbandit.policies.base import Policy, Problem, Round, as_floating
from jaxbandit.precision import settings


class ExploreThenCommitParams(NamedTuple):
    """Arrays of explore-then-commit."""

    rounds_per_arm: Array


class ExploreThenCommitState(NamedTuple):
    """Samples so far, and the next arm."""

    leader: Leader
    arm: Array


@settings.usual()
def explore_then_commit(rounds_per_arm: ArrayLike) -> Policy:
    """Play each arm `rounds_per_arm` times in turn, then the best mean for the rest of the game.

    Offline samples do not shorten the exploration, but count in the means compared at its end; what
    is seen after that changes nothing.

    Args:
        rounds_per_arm: [], a whole number, at least 1.

    Raises:
        InputError: rounds_per_arm not a whole number of at least 1.

    Source:
        Lattimore and Szepesvari 2020, "Bandit algorithms", algorithm 1.
    """
    checks.check_whole("rounds_per_arm", rounds_per_arm, minimum=1)
    params = ExploreThenCommitParams(jnp.asarray(rounds_per_arm, jnp.int32))
    return Policy(params, _init, _select, _update)


def _init(params: ExploreThenCommitParams, problem: Problem) -> ExploreThenCommitState:
    problem = as_floating(problem)
    return ExploreThenCommitState(leader.start(problem, leader.sample_mean), jnp.int32(0))


def _select(params: ExploreThenCommitParams, state: ExploreThenCommitState, round: Round) -> Array:
    return state.arm


def _update(
    params: ExploreThenCommitParams,
    state: ExploreThenCommitState,
    round: Round,
    arm: Array,
    reward: Array,
) -> ExploreThenCommitState:
    first = leader.pulled(state.leader, round, arm, reward, leader.sample_mean)
    played, arms = round.number, len(first.count)
    rounds = arms * params.rounds_per_arm
    following = jnp.where(
        played < rounds, played % arms, jnp.where(played == rounds, first.arm, state.arm)
    )
    return ExploreThenCommitState(first, following)
