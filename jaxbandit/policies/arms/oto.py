r"""OtO: from pessimism to optimism, through an exploration budget.

In round t OtO plays the UCB arm $u_t$ if its budget would stay positive,

$B(t) = \sum_i U_i(t-1) (LCB_i(t) - \gamma) + (LCB_{u_t}(t) - \gamma)
+ (L(t-1) + H - t)\, \alpha b > 0$,

and the LCB arm otherwise: $U_i$ counts rounds in which i was played as the UCB arm, L rounds in
which the LCB arm was played, $\gamma = \max_i LCB_i(0) - \alpha b$, and H is the horizon or, where
it is unknown, a proxy that starts at 2 and doubles when it is passed (in the reference
implementation two rounds after it is passed).

A pull changes one lower bound, upwards: the LCB arm follows by one comparison, and the sum by one
term. The state holds the coming decision, made as soon as the reward is in.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.engine.entries import put, take
from jaxbandit.engine.reductions import first_argmax
from jaxbandit.inference import arms
from jaxbandit.inference.arms import Confidence, budget_per_round, lower_bounds, squared_width
from jaxbandit.policies.arms import optimism
from jaxbandit.policies.base import Policy, Problem, Round, as_floating, check_range, need_data
from jaxbandit.precision import settings

Budget = Literal["separate", "unified", "unified-moving"]


class OtOParams(NamedTuple):
    """Arrays of OtO."""

    alpha: Array
    confidence: Confidence


class Best(NamedTuple):
    """The LCB arm, and its bound."""

    arm: Array
    low: Array


class Account(NamedTuple):
    """The budget's parts."""

    spent: Array
    """The sum over arms of plays times (lower bound - gamma)."""
    rounds: Array
    """Rounds so far."""
    lcb_rounds: Array
    """L."""
    gamma: Array
    allowance: Array
    """alpha b."""
    horizon: Array
    """H."""
    reference: Best
    """The offline LCB arm and its current bound, for the moving reference."""


class Decision(NamedTuple):
    """What is played next."""

    arm: Array
    low: Array
    """Its lower bound."""
    optimist: Array
    """Whether it is played as the UCB arm."""
    budget: Array
    """B(t)."""


class OtOState(NamedTuple):
    """All that the next round needs."""

    count: Array
    total: Array
    """[arms], sum of rewards less the reference, as bounds and gamma are, too."""
    low: Array
    plays: Array
    """[arms], rounds counted in the budget's sum."""
    upper: Any
    best: Best
    account: Account
    decision: Decision


@settings.usual()
def oto(
    alpha: ArrayLike = 0.2,
    confidence: Confidence | None = None,
    *,
    budget: Budget = "separate",
) -> Policy:
    """OtO, the offline-to-online policy.

    With a confidence that has `anytime=True` the horizon is taken as unknown: radii use
    `delta / t^2`, the horizon is a doubling proxy, and the budget's unit keeps its first value.

    Diagnostics: `lcb_rounds`; `ucb_share`, the share of rounds so far in which it played the UCB
    arm as such; `budget`, B of the round to come.

    At alpha = 0 OtO is LCB only while the UCB arm's lower bound never exceeds the best offline one
    (for example while some arm has no data); remark 4.4 of the paper claims it always. With the
    budget "unified" it is not LCB even then: LCB's plays count in the sum too, which grows as soon
    as the bound of the arm that LCB plays has risen.

    Args:
        alpha: size of the exploration budget, at least 0; large is UCB.
        confidence: constants of the bounds, default `jaxbandit.confidence()`.
        budget: "separate" (algorithm 1); "unified", every play counted in the sum and no L;
            "unified-moving", the same with the offline LCB arm's current bound as the reference.

    Raises:
        InputError: alpha negative or not finite, an unknown budget.

    Source:
        Sentenac et al. 2025, algorithm 1 and section 9.
    """
    checks.check_not_negative("alpha", alpha)
    if budget not in _FUNCTIONS:
        raise InputError(f"budget must be one of {', '.join(_FUNCTIONS)}, was {budget!r}")
    params = OtOParams(jnp.asarray(alpha, float), arms.or_usual(confidence))
    return Policy(params, *_FUNCTIONS[budget], _check)


def _check(params: OtOParams, problem: Problem) -> None:
    need_data("OtO's budget", problem)
    check_range("oto", params.confidence, problem)


def _init(budget: Budget, params: OtOParams, problem: Problem) -> OtOState:
    problem = as_floating(problem)
    bounds = params.confidence
    width = squared_width(bounds, len(problem.count), 1, problem.horizon)
    low = lower_bounds(bounds, problem.count, problem.excess, width, problem.reference)
    first = first_argmax(low)
    best = Best(first, take(low, first))
    allowance = params.alpha * budget_per_round(bounds, problem.count, problem.horizon)
    zero = jnp.zeros_like(best.low)
    known = bounds.anytime is None
    account = Account(
        spent=zero,
        rounds=zero,
        lcb_rounds=zero,
        gamma=best.low - allowance,
        allowance=allowance,
        horizon=zero + (problem.horizon if known else 2),
        reference=best,
    )
    upper, arm = optimism.start(bounds, problem.horizon, (problem.count, problem.excess))
    decision = _decide(budget, account, account.spent, best, arm, take(low, arm), zero + 1)
    plays = jnp.zeros_like(low)
    return OtOState(problem.count, problem.excess, low, plays, upper, best, account, decision)


def _select(params: OtOParams, state: OtOState, round: Round) -> Array:
    return state.decision.arm


def _update(
    budget: Budget, params: OtOParams, state: OtOState, round: Round, arm: Array, reward: Array
) -> OtOState:
    bounds, account, last = params.confidence, state.account, state.decision
    following = jnp.asarray(round.number + 1, state.low.dtype)
    optimist = last.optimist.astype(state.low.dtype)
    counted = optimist if budget == "separate" else 1

    # The pulled arm's bounds in the next round.
    count = take(state.count, arm) + 1
    total = take(state.total, arm) + (reward - round.reference)
    width = squared_width(bounds, len(state.count), round.number + 1, round.horizon)
    low = jnp.maximum(last.low, total / count - jnp.sqrt(width / count))
    better = (low > state.best.low) | ((low == state.best.low) & (arm < state.best.arm))
    best = Best(jnp.where(better, arm, state.best.arm), jnp.where(better, low, state.best.low))
    lows = put(state.low, arm, low)
    upper, upper_arm = optimism.pulled(
        bounds, state.upper, round, len(state.count), arm, (count, total)
    )

    # sum U (LCB - gamma): earlier plays of the arm gain by its rise, this play enters.
    plays = take(state.plays, arm)
    spent = account.spent + plays * (low - last.low) + counted * (low - account.gamma)
    # The reference implementation sums the bounds of the round before.
    lag = bounds.lagged * (plays + counted) * (low - last.low)
    horizon = account.horizon
    if bounds.anytime is not None:
        # The reference implementation doubles after a round whose index from zero is beyond H.
        horizon = jnp.where(following - 2 * bounds.lagged > horizon, 2 * horizon, horizon)
    # A reference in the sum is lagged like the rest of it.
    reference = account.reference
    moved = jnp.where(arm == reference.arm, low, reference.low)
    lagged_low = jnp.where(bounds.lagged > 0, reference.low, moved)
    account = account._replace(
        spent=spent,
        rounds=account.rounds + 1,
        lcb_rounds=account.lcb_rounds + (1 - optimist),
        horizon=horizon,
        reference=Best(reference.arm, moved),
    )
    in_sum = account._replace(reference=Best(reference.arm, lagged_low))
    decision = _decide(
        budget, in_sum, spent - lag, best, upper_arm, take(lows, upper_arm), following
    )
    return OtOState(
        put(state.count, arm, count),
        put(state.total, arm, total),
        lows,
        put(state.plays, arm, plays + counted),
        upper,
        best,
        account,
        decision,
    )


def _decide(
    budget: Budget,
    account: Account,
    spent: Array,
    best: Best,
    upper_arm: Array,
    upper_low: Array,
    number: Array,
) -> Decision:
    rounds = account.horizon - number
    if budget == "separate":
        rounds = account.lcb_rounds + rounds
    amount = spent + (upper_low - account.gamma) + rounds * account.allowance
    if budget == "unified-moving":
        # gamma in the sum follows the reference arm's bound: every play so far gives up its rise.
        offline_low = account.gamma + account.allowance
        amount = amount - (number - 1) * (account.reference.low - offline_low)
    optimist = amount > 0
    return Decision(
        jnp.where(optimist, upper_arm, best.arm),
        jnp.where(optimist, upper_low, best.low),
        optimist,
        amount,
    )


def _info(params: OtOParams, state: OtOState) -> dict[str, Array]:
    account = state.account
    share = 1 - account.lcb_rounds / jnp.maximum(account.rounds, 1)
    return {
        "lcb_rounds": account.lcb_rounds,
        "ucb_share": share,
        "budget": state.decision.budget,
    }


# Built once, so that policies built alike share their functions and so their program.
_FUNCTIONS: dict[str, tuple[Any, Any, Any, Any]] = {
    name: (partial(_init, name), _select, partial(_update, name), _info)
    for name in ("separate", "unified", "unified-moving")
}
