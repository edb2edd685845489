"""MOSS: optimism that stops where an arm has had its share of the rounds."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxbandit import checks
from jaxbandit.policies.arms import leader
from jaxbandit.policies.arms.leader import Index, Leader
from jaxbandit.policies.base import Policy, Problem, Round, as_floating
from jaxbandit.precision import settings


class MOSSParams(NamedTuple):
    """Arrays of MOSS."""

    sigma: Array


@settings.usual()
def moss(sigma: ArrayLike = 0.5) -> Policy:
    r"""MOSS warm-started with the offline data: minimax optimal, for a known horizon.

    Plays the arm of the largest $\bar x_i + 2 \sigma \sqrt{\log^+(T / (K n_i)) / n_i}$, where $n_i$
    and $\bar x_i$ pool offline and online samples, T is the horizon and $\log^+ = \max(\log, 0)$:
    an arm with T / K samples, offline ones included, has no bonus left.

    Args:
        sigma: [], rewards are sigma-sub-Gaussian; 1/2 for rewards in [0, 1], which gives the
            published index.

    Raises:
        InputError: sigma not positive.

    Source:
        Audibert and Bubeck 2009, "Minimax policies for adversarial and stochastic bandits".
    """
    checks.check_positive("sigma", sigma)
    return Policy(MOSSParams(jnp.asarray(sigma, float)), _init, _select, _update)


def _init(params: MOSSParams, problem: Problem) -> Leader:
    problem = as_floating(problem)
    return leader.start(problem, _index(params, problem.horizon, len(problem.count)))


def _select(params: MOSSParams, state: Leader, round: Round) -> Array:
    return state.arm


def _update(params: MOSSParams, state: Leader, round: Round, arm: Array, reward: Array) -> Leader:
    index = _index(params, round.horizon, len(state.count))
    return leader.pulled(state, round, arm, reward, index)


def _index(params: MOSSParams, horizon: Array, arms: int) -> Index:
    def index(mean: Array, count: Array) -> Array:
        log = jnp.log(jnp.maximum(horizon / (arms * count), 1))
        return mean + 2 * params.sigma * jnp.sqrt(log / count)

    return index
