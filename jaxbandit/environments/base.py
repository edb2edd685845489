"""What an environment is, and offline data drawn from it.

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
from jax import Array, lax
from jaxtyping import Float, UInt32

from jaxbandit.engine import draws
from jaxbandit.precision.reference import reference


class Environment(NamedTuple):
    """K arms."""

    params: Any
    """Pytree of arrays."""
    mean: Any
    """[arms], expected reward of each arm. As a NumPy array of float64, as the makers here give it,
    it keeps its digits until differences between arms are formed."""
    reward: Callable[[Any, Array, UInt32[Array, ""]], Float[Array, ""]]
    """(params, arm, word) -> reward; a module-level function."""
    low: Any = -math.inf
    """No reward is smaller."""
    high: Any = math.inf
    """No reward is larger."""


def offline_totals(
    environment: Environment, key_data: UInt32[Array, "2"], count: Float[Array, " arms"]
) -> Float[Array, " arms"]:
    """Sums of `count` fresh rewards of each arm, drawn one by one."""
    near = jnp.asarray(reference(environment.mean, environment.low, environment.high), count.dtype)
    excess = offline_excess(environment.reward, environment.params, near, key_data, count)
    return excess + count * near


def offline_excess(
    reward: Callable[[Any, Array, Array], Array],
    params: Any,
    near: Array,
    key_data: UInt32[Array, "2"],
    count: Float[Array, " arms"],
) -> Float[Array, " arms"]:
    """The same sums of rewards less the number `near`, which keep their digits far from zero."""
    arms = count.shape[0]
    arm = jnp.arange(arms, dtype=jnp.int32)
    rewards = jax.vmap(reward, in_axes=(None, 0, 0))

    def sample(index: Array, excess: Array) -> Array:
        words, _ = draws.threefry(key_data, arm.astype(jnp.uint32), index.astype(jnp.uint32))
        gained = rewards(params, arm, words).astype(excess.dtype) - near
        return excess + jnp.where(index < count, gained, 0)

    most = jnp.max(count).astype(jnp.int32)
    return lax.fori_loop(0, most, sample, jnp.zeros_like(count))
