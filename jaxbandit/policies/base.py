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
from jaxbandit.inference.arms import Confidence


class Problem(NamedTuple):
    """What is known before the first round."""

    count: Float[Array, " arms"]
    """Offline samples."""
    total: Float[Array, " arms"]
    """Sum of their rewards."""
    horizon: Float[Array, ""]
    """Rounds to be played."""
    reference: Any = 0.0
    """[], a number near the rewards: sums of rewards less it keep their digits where rewards lie
    far from zero. `Round` has it too."""
    excess: Any = None
    """[arms], total less count times reference, of all the digits there were; None for that of the
    fields above."""
    limits: Any = None
    """What is known of the rewards, `Limits`, where parameters are checked; None elsewhere."""


class Limits(NamedTuple):
    """What is known of rewards before the first round, on the host."""

    low: float
    """No reward is smaller."""
    high: float
    """No reward is larger."""
    mean: np.ndarray | None
    """[arms], the means; None where nothing is known. Where each run draws its own, those of some
    runs, [runs, arms]."""
    samples: tuple[np.ndarray, np.ndarray] | None = None
    """Count and total of the offline data, where only those have values."""


class Round(NamedTuple):
    """The round being played."""

    number: Int[Array, ""]
    """From 1."""
    horizon: Float[Array, ""]
    """Rounds in all."""
    key: Key[Array, ""]
    """For the policy's own randomness; costs nothing unless used."""
    reference: Any = 0.0
    """[], that of the `Problem`."""


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


def check_functions(name: str, policy: Policy) -> None:
    """A policy's functions, for which programs are compiled."""
    for field in policy._fields[1:]:
        checks.check_hashable(f"{name}: {field}", getattr(policy, field))


def as_floating(problem: Problem) -> Problem:
    """The problem as floating arrays, whatever lists or whole numbers a caller has it in."""
    arrays = [jnp.asarray(value) for value in problem[:4]]
    # Sums of rewards would be cut to whole numbers in an array of such.
    dtype = jnp.result_type(float, *arrays)
    count, total, horizon, near = (array.astype(dtype) for array in arrays)
    excess = total - count * near if problem.excess is None else problem.excess
    return Problem(count, total, horizon, near, jnp.asarray(excess, dtype))


def check_range(policy: str, bounds: Confidence, problem: Problem) -> None:
    """Refuse means outside the confidence's range, within which the policy takes them to lie.

    Below the floor all lower bounds are the floor, and say nothing of the arms.

    Raises:
        InputError: a mean of the environment outside the range or, where each run draws its own,
            all means of most runs; where nothing is known of the environment's, a mean of the
            offline data further from the range than noise takes it.
    """
    if not checks.is_concrete(bounds):
        return
    floor, ceiling = float(np.asarray(bounds.floor)), float(np.asarray(bounds.ceiling))
    known, slack, whose = problem.limits, 1e-6 * (ceiling - floor), "of the environment"
    if known is not None and known.mean is not None:
        mean = np.asarray(known.mean, float)
        below, above = mean < floor - slack, mean > ceiling + slack
        if mean.ndim > 1:
            hopeless = np.all(below, axis=1) | np.all(above, axis=1)
            below = above = np.broadcast_to(np.mean(hopeless) > 0.5, mean.shape[1:])
            mean = mean[np.argmax(hopeless)]
    elif known is not None and known.samples is not None:
        count, total = known.samples
        mean, whose = total / np.maximum(count, 1), "of the offline data"
        noise = 3 * np.sqrt(np.asarray(bounds.scale) / 2 / np.maximum(count, 1)) + slack
        below, above = mean + noise < floor, mean - noise > ceiling
        below, above = below & (count > 0), above & (count > 0)
    else:
        return
    outside = np.flatnonzero(below | above)
    if len(outside):
        raise InputError(
            f"{policy} takes means to lie in [floor, ceiling] = [{floor:g}, {ceiling:g}], but that "
            f"of arm {outside[0]} {whose} is {mean[outside[0]]:.6g}; give the range of the means: "
            f"{policy}(confidence=jaxbandit.confidence(floor=..., ceiling=...))"
        )


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
