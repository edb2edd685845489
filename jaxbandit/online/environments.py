"""Where rewards come from.

An environment is one pure function of (params, arm, word): `word` is 32 random bits, the same for
all policies and all arms in a round of a run, so that policies are compared on common random
numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, UInt32

from jaxbandit import checks, draws
from jaxbandit.checks import InputError
from jaxbandit.online.indexing import take


class Environment(NamedTuple):
    """K arms."""

    params: Any
    """Pytree of arrays."""
    mean: Float[Array, " arms"]
    """Expected reward of each arm."""
    reward: Callable[[Any, Array, UInt32[Array, ""]], Float[Array, ""]]
    """(params, arm, word) -> reward; a module-level function."""
    low: float = -math.inf
    """No reward is smaller."""
    high: float = math.inf
    """No reward is larger."""


def bernoulli_arms(mean: ArrayLike) -> Environment:
    """Rewards 0 or 1.

    Args:
        mean: [arms], probabilities of 1, in [0, 1].

    Raises:
        InputError: not a vector, or not probabilities.
    """
    mean = _arms("mean", mean)
    if checks.is_concrete(mean) and not np.all((np.asarray(mean) >= 0) & (np.asarray(mean) <= 1)):
        raise InputError(f"mean must lie in [0, 1] for Bernoulli arms, was {np.asarray(mean)}")
    return Environment(mean, mean, _bernoulli, low=0.0, high=1.0)


def gaussian_arms(mean: ArrayLike, std: ArrayLike) -> Environment:
    """Normal rewards.

    Args:
        mean: [arms].
        std: [] or [arms], at least 0; an arm with 0 always gives its mean.

    Raises:
        InputError: not a vector, not finite, or a std that is negative or of another number of
            arms.
    """
    mean = _arms("mean", mean)
    if np.ndim(std) > 0:
        checks.check_shape("std", std, mean.shape, "[arms]")
    checks.check_not_negative("std", std)
    std = jnp.broadcast_to(jnp.asarray(std, mean.dtype), mean.shape)
    return Environment((mean, std), mean, _gaussian)


def reward_table(table: ArrayLike) -> Environment:
    """Rewards of a row drawn uniformly each round, with replacement.

    Args:
        table: [rows, arms].

    Raises:
        InputError: not a matrix, empty, or not finite.
    """
    checks.check_shape("table", table, (None, None), "[rows, arms]")
    if 0 in np.shape(table):
        raise InputError(f"table must have rows and arms, has shape {np.shape(table)}")
    checks.check_finite("table", table)
    table = jnp.asarray(table, float)
    environment = Environment(table, jnp.mean(table, axis=0), _row)
    if not checks.is_concrete(table):
        return environment
    return environment._replace(low=float(np.min(table)), high=float(np.max(table)))


def offline_totals(
    environment: Environment, key_data: UInt32[Array, "2"], count: Float[Array, " arms"]
) -> Float[Array, " arms"]:
    """Sums of `count` fresh rewards of each arm, drawn one by one."""
    arms = count.shape[0]
    arm = jnp.arange(arms, dtype=jnp.int32)
    reward = jax.vmap(environment.reward, in_axes=(None, 0, 0))

    def sample(index: Array, total: Array) -> Array:
        words, _ = draws.threefry(key_data, arm.astype(jnp.uint32), index.astype(jnp.uint32))
        return total + jnp.where(index < count, reward(environment.params, arm, words), 0)

    most = jnp.max(count).astype(jnp.int32)
    return lax.fori_loop(0, most, sample, jnp.zeros_like(environment.mean))


def _arms(name: str, value: ArrayLike) -> Array:
    checks.check_shape(name, value, (None,), "[arms]")
    if np.shape(value)[0] == 0:
        raise InputError(f"{name} must have at least one arm, was empty")
    checks.check_finite(name, value)
    return jnp.asarray(value, float)


def _bernoulli(mean: Array, arm: Array, word: Array) -> Array:
    return (draws.to_uniform(word) < take(mean, arm)).astype(mean.dtype)


def _gaussian(params: tuple[Array, Array], arm: Array, word: Array) -> Array:
    mean, std = params
    return take(mean, arm) + take(std, arm) * draws.to_normal(word).astype(mean.dtype)


def _row(table: Array, arm: Array, word: Array) -> Array:
    return table[draws.to_index(word, table.shape[0]), arm]
