"""LCB: play the arm of the largest lower confidence bound."""

from __future__ import annotations

from typing import NamedTuple

from jax import Array

from jaxbandit.engine.reductions import first_argmax
from jaxbandit.inference import arms
from jaxbandit.inference.arms import Confidence, lower_bounds, squared_width
from jaxbandit.policies.base import Policy, Problem, Round, as_floating, check_range, no_info
from jaxbandit.precision import settings


class LCBState(NamedTuple):
    """The arm played."""

    arm: Array


@settings.usual()
def lcb(confidence: Confidence | None = None) -> Policy:
    """LCB: pessimism, from the offline data on.

    A lower bound never falls (it is the largest so far), and the bound of an arm that is not played
    does not rise. So the best arm of the first round stays the best, ties included, and is played
    throughout: the rounds need no bounds at all.

    Args:
        confidence: constants of the bounds, default `jaxbandit.confidence()`.

    Source:
        Sentenac et al. 2025, section 3.
    """
    return Policy(arms.or_usual(confidence), _init, _select, _update, no_info, _check)


def _check(bounds: Confidence, problem: Problem) -> None:
    check_range("lcb", bounds, problem)


def _init(bounds: Confidence, problem: Problem) -> LCBState:
    problem = as_floating(problem)
    width = squared_width(bounds, len(problem.count), 1, problem.horizon)
    low = lower_bounds(bounds, problem.count, problem.excess, width, problem.reference)
    return LCBState(first_argmax(low))


def _select(bounds: Confidence, state: LCBState, round: Round) -> Array:
    return state.arm


def _update(
    bounds: Confidence, state: LCBState, round: Round, arm: Array, reward: Array
) -> LCBState:
    return state
