"""Fixed arm: the same arm in every round."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.policies.base import Policy, Problem, Round, no_info
from jaxbandit.precision import settings


class FixedArmParams(NamedTuple):
    """Arrays of a fixed arm."""

    arm: Array


@settings.usual()
def fixed_arm(arm: ArrayLike) -> Policy:
    """Play one arm throughout, whatever is seen: the yardstick of an arm chosen beforehand.

    Args:
        arm: [], a whole number, from 0.

    Raises:
        InputError: arm not a whole number of at least 0 or, once the arms are known, beyond them.
    """
    checks.check_whole("arm", arm, minimum=0)
    params = FixedArmParams(jnp.asarray(arm, jnp.int32))
    return Policy(params, _init, _select, _update, no_info, _check)


def _check(params: FixedArmParams, problem: Problem) -> None:
    arms = len(problem.count)
    if checks.is_concrete(params.arm) and np.any(np.asarray(params.arm) >= arms):
        raise InputError(f"arm must be below {arms}, the number of arms, was {params.arm}")


def _init(params: FixedArmParams, problem: Problem) -> tuple[()]:
    return ()


def _select(params: FixedArmParams, state: tuple[()], round: Round) -> Array:
    return params.arm


def _update(
    params: FixedArmParams, state: tuple[()], round: Round, arm: Array, reward: Array
) -> tuple[()]:
    return state
