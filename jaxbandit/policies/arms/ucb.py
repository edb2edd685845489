"""UCB: play the arm of the largest upper confidence bound."""

from __future__ import annotations

from typing import Any, NamedTuple

from jax import Array

from jaxbandit.engine.entries import put, take
from jaxbandit.inference import arms
from jaxbandit.inference.arms import Confidence
from jaxbandit.policies.arms import optimism
from jaxbandit.policies.base import Policy, Problem, Round, as_floating
from jaxbandit.precision import settings


class UCBState(NamedTuple):
    """Samples so far, and the next arm."""

    count: Array
    total: Array
    """[arms], sum of rewards less the reference."""
    upper: Any
    arm: Array


@settings.usual()
def ucb(confidence: Confidence | None = None) -> Policy:
    """UCB warm-started with the offline data.

    Args:
        confidence: constants of the bounds, default `jaxbandit.confidence()`; with `anytime=True`
            they widen with the round.

    Source:
        Auer, Cesa-Bianchi and Fischer 2002; Sentenac et al. 2025, section 3.
    """
    return Policy(arms.or_usual(confidence), _init, _select, _update)


def _init(bounds: Confidence, problem: Problem) -> UCBState:
    problem = as_floating(problem)
    upper, arm = optimism.start(bounds, problem.horizon, (problem.count, problem.excess))
    return UCBState(problem.count, problem.excess, upper, arm)


def _select(bounds: Confidence, state: UCBState, round: Round) -> Array:
    return state.arm


def _update(
    bounds: Confidence, state: UCBState, round: Round, arm: Array, reward: Array
) -> UCBState:
    count = take(state.count, arm) + 1
    total = take(state.total, arm) + (reward - round.reference)
    upper, following = optimism.pulled(
        bounds, state.upper, round, len(state.count), arm, (count, total)
    )
    return UCBState(put(state.count, arm, count), put(state.total, arm, total), upper, following)
