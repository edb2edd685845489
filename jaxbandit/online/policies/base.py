"""What a policy is: four pure functions of one run, and arrays.

Functions are module-level, so that a policy built again with other numbers runs in the program
already compiled. Everything that is swept is an array in `params`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Key

from jaxbandit import checks
from jaxbandit.checks import InputError


class Problem(NamedTuple):
    """What is known before the first round."""

    count: Float[Array, " arms"]
    """Offline samples."""
    total: Float[Array, " arms"]
    """Sum of their rewards."""
    horizon: Float[Array, ""]
    """Rounds to be played."""


class Round(NamedTuple):
    """The round being played."""

    number: Int[Array, ""]
    """From 1."""
    horizon: Float[Array, ""]
    """Rounds in all."""
    key: Key[Array, ""]
    """For the policy's own randomness; costs nothing unless used."""


def no_info(params: Any, state: Any) -> dict[str, Array]:
    """Diagnostics of a policy that has none."""
    del params, state
    return {}


def no_check(params: Any, problem: Problem) -> None:
    """Of a policy that suits any problem."""
    del params, problem


class Policy(NamedTuple):
    """A policy for one run; see `jaxbandit.ucb` for an example."""

    params: Any
    """Pytree of arrays."""
    init: Callable[[Any, Problem], Any]
    """(params, problem) -> state, a pytree of arrays."""
    select: Callable[[Any, Any, Round], Array]
    """(params, state, round) -> arm, an int32 in [0, arms)."""
    update: Callable[[Any, Any, Round, Array, Array], Any]
    """(params, state, round, arm, reward) -> state, of the same structure and shapes."""
    info: Callable[[Any, Any], dict[str, Array]] = no_info
    """(params, state) -> scalars to report at checkpoints."""
    check: Callable[[Any, Problem], None] = no_check
    """(params, problem) -> None. Called with values, before anything is compiled; raises
    `InputError` for params that do not suit the problem."""


def as_floating(problem: Problem) -> Problem:
    """The problem as floating arrays, whatever lists or whole numbers a caller has it in."""
    arrays = [jnp.asarray(value) for value in problem]
    # Sums of rewards would be cut to whole numbers in an array of such.
    dtype = jnp.result_type(float, *arrays)
    return Problem(*(array.astype(dtype) for array in arrays))


def per_arm(name: str, value: ArrayLike, problem: Problem) -> Float[Array, " arms"]:
    """A parameter of each arm, given as one number or as [arms]."""
    shape = problem.count.shape
    if np.ndim(value) > 0:
        checks.check_shape(name, value, shape, "[arms]")
    return jnp.broadcast_to(jnp.asarray(value, problem.count.dtype), shape)


def need_data(what: str, problem: Problem) -> None:
    """Refuse a problem without offline samples."""
    if checks.is_concrete(problem.count) and not np.sum(np.asarray(problem.count)) > 0:
        raise InputError(
            f"{what} comes from offline data, and there is none; give offline or offline_count, "
            "or use ucb"
        )
