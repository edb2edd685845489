"""What a study can be made of, by the names it has in a STUDY.toml.

The options of each are the arguments of the function that makes it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from jaxbandit.environments.arms import bernoulli_arms, gaussian_arms, reward_table
from jaxbandit.environments.linear_tasks import synthetic_design
from jaxbandit.inference.arms import OfflineArms, confidence
from jaxbandit.policies.arms.conservative_ucb import conservative_ucb
from jaxbandit.policies.arms.epsilon_greedy import epsilon_greedy
from jaxbandit.policies.arms.explore_then_commit import explore_then_commit
from jaxbandit.policies.arms.fixed_arm import fixed_arm
from jaxbandit.policies.arms.lcb import lcb
from jaxbandit.policies.arms.min_ucb import min_ucb
from jaxbandit.policies.arms.moss import moss
from jaxbandit.policies.arms.oto import oto
from jaxbandit.policies.arms.thompson import thompson_bernoulli, thompson_gaussian
from jaxbandit.policies.arms.ucb import ucb
from jaxbandit.policies.offline import ALGORITHMS

Make = Callable[..., Any]


def _offline(count: Any, total: Any = None) -> OfflineArms:
    """Samples of each arm; without `total`, rewards are drawn anew in each run."""
    return OfflineArms(count, total)


ENVIRONMENTS: Mapping[str, Make] = {
    "bernoulli": bernoulli_arms,
    "gaussian": gaussian_arms,
    "table": reward_table,
}
POLICIES: Mapping[str, Make] = {
    make.__name__: make
    for make in (
        ucb,
        lcb,
        oto,
        thompson_bernoulli,
        thompson_gaussian,
        epsilon_greedy,
        explore_then_commit,
        moss,
        conservative_ucb,
        min_ucb,
        fixed_arm,
    )
}
CONFIDENCES: Mapping[str, Make] = {"confidence": confidence}
OFFLINES: Mapping[str, Make] = {"offline": _offline}
DESIGNS: Mapping[str, Make] = {"synthetic": synthetic_design}
ALGORITHM_NAMES = tuple(ALGORITHMS)

# Options that are lists of numbers, one an arm (or a table of them), and those that may be.
VECTORS = ("mean", "count", "total", "table")
BROADCAST = ("std", "successes", "failures", "bias_bound", "prior_mean", "prior_std")
# Given by the study itself.
_NOT_OPTIONS = ("confidence", "max_tasks")
REQUIRED = inspect.Parameter.empty


@cache  # Asked for in every cell.
def options(make: Make) -> Mapping[str, Any]:
    """Name -> default of a component's options; `REQUIRED` where there is none."""
    parameters = _parameters(make).values()
    return {p.name: p.default for p in parameters if p.name not in _NOT_OPTIONS}


def takes_confidence(make: Make) -> bool:
    """Whether a policy has confidence bounds."""
    return "confidence" in _parameters(make)


@cache
def _parameters(make: Make) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(make).parameters


def fault(make: Make, name: str, value: Any) -> str | None:
    """What is wrong with the type of an option's value; its range is the maker's business."""
    default = options(make)[name]
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "must be true or false"
    if isinstance(default, str):
        return None if isinstance(value, str) else "must be a string"
    if _is_number(value):
        return "must be a list of numbers" if name in VECTORS else None
    if name in VECTORS + BROADCAST and _is_array(value):
        return None
    if isinstance(value, list) and name not in VECTORS + BROADCAST:
        return "must be one number (for several, sweep it: see [[sweep]])"
    return "must be a list of numbers" if name in VECTORS else "must be a number"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_array(value: Any) -> bool:
    """A list of numbers, or of such lists of equal length."""
    if not isinstance(value, list) or not value:
        return False
    if all(isinstance(row, list) for row in value):
        return all(_is_array(row) for row in value) and len({len(row) for row in value}) == 1
    return all(_is_number(item) for item in value)
