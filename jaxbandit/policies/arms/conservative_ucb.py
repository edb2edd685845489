r"""Conservative UCB: optimism that keeps a share of the logging policy's value in every round.

The baseline is to follow the logging policy: an arm drawn as often as the offline data has it,
worth $\mu_0 = \sum_i (m_i/m) \mu_i$. In round t the UCB arm $u_t$ is played if even so the play is
surely worth a share $1 - \alpha$ of what the baseline would have been worth by then,

$\sum_i U_i(t-1) LCB_i(t) + LCB_{u_t}(t) + L(t-1) \mu_0 \ge (1 - \alpha)\, t \mu_0$,

and the baseline otherwise: $U_i$ counts rounds in which i was played as the UCB arm, L rounds of
the baseline. Values are measured from the floor of the means.

A pull changes one lower bound, upwards, so the sum follows by one term.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxbandit import checks
from jaxbandit.engine import draws
from jaxbandit.engine.entries import put, take
from jaxbandit.inference import arms
from jaxbandit.inference.arms import Confidence, lower_bounds, squared_width
from jaxbandit.policies.arms import optimism
from jaxbandit.policies.arms.optimism import Upper
from jaxbandit.policies.base import Policy, Problem, Round, as_floating, check_range, need_data
from jaxbandit.precision import settings


class ConservativeParams(NamedTuple):
    """Arrays of conservative UCB."""

    alpha: Array
    confidence: Confidence


class Baseline(NamedTuple):
    """The logging policy."""

    samples_up_to: Array
    """[arms], offline samples of an arm and those before it."""
    value: Array
    """Upper bound on its value, above the floor."""


class ConservativeState(NamedTuple):
    """All that the next round needs."""

    count: Array
    total: Array
    """[arms], sum of rewards less the reference, as lower bounds are, too."""
    low: Array
    plays: Array
    """[arms], rounds as the UCB arm."""
    upper: Upper
    baseline: Baseline
    earned: Array
    """The sum over arms of plays times (lower bound - floor)."""
    baseline_rounds: Array
    """L."""
    arm: Array
    """The UCB arm of the next round."""
    budget: Array
    """What is left of the condition if it is played: at least 0 where it holds."""


@settings.usual()
def conservative_ucb(alpha: ArrayLike = 0.1, confidence: Confidence | None = None) -> Policy:
    r"""UCB that never falls far behind the logging policy.

    The logging policy's value is not known. All m offline samples are samples of it, and bound it
    by their mean plus $r(m)$, the same in all rounds. The condition is tested at that bound: then
    it holds for all values below, since it can only fail where $L(t-1) < (1 - \alpha) t$, and
    there the smaller the value the better. The paper has the baseline among the arms to be
    optimistic about; here it mixes the others and cannot beat them all. Rewards of baseline rounds
    count as samples of the arms drawn.

    Diagnostics: `baseline_rounds`, and `budget`, the left side less the right one for the round to
    come.

    Args:
        alpha: [], share of the logging policy's value that may be lost, at least 0; from 1 on it is
            UCB.
        confidence: constants of the bounds, default `jaxbandit.confidence()`; its floor is the zero
            of values (0 in the paper).

    Raises:
        InputError: alpha negative or not finite; once the problem is known, no offline data.

    Source:
        Wu, Shariff, Lattimore and Szepesvari 2016, "Conservative bandits", algorithm 1 and its form
        for an unknown baseline.
    """
    checks.check_not_negative("alpha", alpha)
    params = ConservativeParams(jnp.asarray(alpha, float), arms.or_usual(confidence))
    return Policy(params, _init, _select, _update, _info, _check)


def _check(params: ConservativeParams, problem: Problem) -> None:
    need_data("conservative UCB's baseline", problem)
    check_range("conservative_ucb", params.confidence, problem)


def _init(params: ConservativeParams, problem: Problem) -> ConservativeState:
    problem = as_floating(problem)
    bounds, count = params.confidence, problem.count
    width = squared_width(bounds, len(count), 1, problem.horizon)
    low = lower_bounds(bounds, count, problem.excess, width, problem.reference)
    upper, arm = optimism.start(bounds, problem.horizon, (count, problem.excess))
    samples = jnp.sum(count)
    value, radius = jnp.sum(problem.excess) / samples, jnp.sqrt(width / samples)
    floor, ceiling = bounds.floor - problem.reference, bounds.ceiling - problem.reference
    baseline = Baseline(jnp.cumsum(count), jnp.clip(value + radius, floor, ceiling) - floor)
    zero = jnp.zeros_like(radius)
    budget = _budget(params, baseline, zero, zero, take(low, arm) - floor, zero + 1)
    plays = jnp.zeros_like(low)
    return ConservativeState(
        count, problem.excess, low, plays, upper, baseline, zero, zero, arm, budget
    )


def _select(params: ConservativeParams, state: ConservativeState, round: Round) -> Array:
    (word,) = draws.bits(round.key, (1,))
    place = draws.to_uniform(word) * state.baseline.samples_up_to[-1]
    drawn = jnp.sum(state.baseline.samples_up_to <= place, dtype=jnp.int32)
    return jnp.where(state.budget >= 0, state.arm, drawn)


def _update(
    params: ConservativeParams, state: ConservativeState, round: Round, arm: Array, reward: Array
) -> ConservativeState:
    bounds, number = params.confidence, round.number + 1
    optimist = (state.budget >= 0).astype(state.low.dtype)

    # The pulled arm's bounds in the next round.
    count = take(state.count, arm) + 1
    total = take(state.total, arm) + (reward - round.reference)
    width = squared_width(bounds, len(state.count), number, round.horizon)
    before = take(state.low, arm)
    low = jnp.maximum(before, total / count - jnp.sqrt(width / count))
    lows = put(state.low, arm, low)
    upper, following = optimism.pulled(
        bounds, state.upper, round, len(state.count), arm, (count, total)
    )

    # sum U (LCB - floor): earlier plays of the arm gain by its rise, this play enters.
    plays = take(state.plays, arm)
    floor = bounds.floor - round.reference
    earned = state.earned + plays * (low - before) + optimist * (low - floor)
    baseline_rounds = state.baseline_rounds + (1 - optimist)
    above = take(lows, following) - floor
    budget = _budget(params, state.baseline, earned, baseline_rounds, above, number)
    return ConservativeState(
        put(state.count, arm, count),
        put(state.total, arm, total),
        lows,
        put(state.plays, arm, plays + optimist),
        upper,
        state.baseline,
        earned,
        baseline_rounds,
        following,
        budget,
    )


def _budget(
    params: ConservativeParams,
    baseline: Baseline,
    earned: Array,
    baseline_rounds: Array,
    above: Array,
    number: Array,
) -> Array:
    """The condition's left side less its right one; `above` is the UCB arm's lower bound, above the
    floor."""
    rounds = baseline_rounds - (1 - params.alpha) * number
    return earned + above + rounds * baseline.value


def _info(params: ConservativeParams, state: ConservativeState) -> dict[str, Array]:
    return {"baseline_rounds": state.baseline_rounds, "budget": state.budget}
