"""Epsilon-greedy: mostly the best mean, now and then any arm."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.engine import draws
from jaxbandit.policies.arms import leader
from jaxbandit.policies.arms.leader import Leader
from jaxbandit.policies.base import Policy, Problem, Round, as_floating
from jaxbandit.precision import settings


class EpsilonGreedyParams(NamedTuple):
    """Arrays of epsilon-greedy."""

    epsilon: Array
    decay: Array


@settings.usual()
def epsilon_greedy(epsilon: ArrayLike = 0.1, decay: ArrayLike = 0.0) -> Policy:
    r"""Explore with probability $\min(1, \epsilon t^{-\text{decay}})$ in round t, else be greedy.

    Greedy is the best mean of offline and online samples pooled, arms without samples first, ties
    to the lowest; exploring is any arm, all alike. `decay=0` is the constant epsilon; `decay=1` is
    the schedule $\min(1, c/t)$ of the source, with epsilon for c ($c K / d^2$ there).

    Args:
        epsilon: [], a probability; at least 0 where it decays.
        decay: [], at least 0.

    Raises:
        InputError: epsilon or decay negative or not finite, or a constant epsilon above 1.

    Source:
        Auer, Cesa-Bianchi and Fischer 2002, figure 3.
    """
    checks.check_not_negative("epsilon", epsilon)
    checks.check_not_negative("decay", decay)
    if checks.is_concrete(epsilon, decay) and np.any(
        (np.asarray(epsilon) > 1) & (np.asarray(decay) == 0)
    ):
        raise InputError(f"epsilon must lie in [0, 1] unless it decays (decay=1), was {epsilon}")
    params = EpsilonGreedyParams(jnp.asarray(epsilon, float), jnp.asarray(decay, float))
    return Policy(params, _init, _select, _update)


def _init(params: EpsilonGreedyParams, problem: Problem) -> Leader:
    problem = as_floating(problem)
    return leader.start(problem, leader.sample_mean)


def _select(params: EpsilonGreedyParams, state: Leader, round: Round) -> Array:
    coin, die = draws.bits(round.key, (2,))
    chance = params.epsilon * jnp.asarray(round.number, params.decay.dtype) ** -params.decay
    explore = draws.to_uniform(coin) < chance
    return jnp.where(explore, draws.to_index(die, len(state.count)), state.arm)


def _update(
    params: EpsilonGreedyParams, state: Leader, round: Round, arm: Array, reward: Array
) -> Leader:
    return leader.pulled(state, round, arm, reward, leader.sample_mean)
