r"""MIN-UCB: offline data whose rewards may differ from the online ones by a known amount.

Plays the arm of the largest

$\min\{\bar x_i + r(n_i),\; \bar y_i + r(m_i + n_i) + \tfrac{m_i}{m_i + n_i} V_i\}$,

$\bar x_i$ the mean of the $n_i$ online rewards, $\bar y_i$ that of offline and online ones, r the
radius of the confidence bounds and $V_i$ the largest amount by which the offline mean can exceed or
fall short of the online one. Both are upper bounds, so their minimum is. The second is the pooled
bound with every offline reward raised by $V_i$, and is computed so.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.engine.entries import put, take
from jaxbandit.inference import arms
from jaxbandit.inference.arms import Confidence
from jaxbandit.policies.arms import optimism
from jaxbandit.policies.arms.optimism import Upper
from jaxbandit.policies.base import Policy, Problem, Round, as_floating, no_info, per_arm
from jaxbandit.precision import settings


class MinUCBParams(NamedTuple):
    """Arrays of MIN-UCB."""

    bias_bound: Array
    confidence: Confidence


class MinUCBState(NamedTuple):
    """Samples, and the next arm."""

    count: Array
    """[arms], online."""
    total: Array
    """[arms], sum of online rewards less the reference."""
    offline_count: Array
    raised_total: Array
    """[arms], of offline rewards, each raised by the bias bound."""
    upper: Upper
    arm: Array


@settings.usual()
def min_ucb(bias_bound: ArrayLike, confidence: Confidence | None = None) -> Policy:
    r"""MIN-UCB: the lesser of the online and the pooled upper bound, the latter raised by the bias.

    At an infinite bias bound it is UCB without offline data. The paper's radius,
    $\sqrt{2 \log(2t/\delta_t)/n}$, is that of `confidence` here; its round-robin start is not
    needed, as an arm without samples of either kind has an infinite bound.

    Args:
        bias_bound: [] or [arms], V, at least 0: a bound on the distance between an arm's offline
            and online mean. Infinity ignores the offline data.
        confidence: constants of the bounds, default `jaxbandit.confidence()`.

    Raises:
        InputError: bias_bound negative or not a number, or of another number of arms.

    Source:
        Cheung and Lyu 2024, "Leveraging (biased) information: multi-armed bandits with offline
        data", algorithm 1.
    """
    if checks.is_concrete(bias_bound) and not np.all(np.asarray(bias_bound) >= 0):
        raise InputError(f"bias_bound must be at least 0, or infinite, was {bias_bound}")
    params = MinUCBParams(jnp.asarray(bias_bound, float), arms.or_usual(confidence))
    return Policy(params, _init, _select, _update, no_info, _check)


def _check(params: MinUCBParams, problem: Problem) -> None:
    per_arm("bias_bound", params.bias_bound, as_floating(problem))


def _init(params: MinUCBParams, problem: Problem) -> MinUCBState:
    problem = as_floating(problem)
    bias = per_arm("bias_bound", params.bias_bound, problem)
    # An infinite bound on no samples is no amount at all.
    raised = problem.excess + jnp.where(problem.count > 0, problem.count * bias, 0)
    none = jnp.zeros_like(problem.count)
    upper, arm = optimism.start(
        params.confidence, problem.horizon, (none, none), (problem.count, raised)
    )
    return MinUCBState(none, none, problem.count, raised, upper, arm)


def _select(params: MinUCBParams, state: MinUCBState, round: Round) -> Array:
    return state.arm


def _update(
    params: MinUCBParams, state: MinUCBState, round: Round, arm: Array, reward: Array
) -> MinUCBState:
    count = take(state.count, arm) + 1
    total = take(state.total, arm) + (reward - round.reference)
    pooled = take(state.offline_count, arm) + count, take(state.raised_total, arm) + total
    upper, following = optimism.pulled(
        params.confidence, state.upper, round, len(state.count), arm, (count, total), pooled
    )
    return state._replace(
        count=put(state.count, arm, count),
        total=put(state.total, arm, total),
        upper=upper,
        arm=following,
    )
