"""Environments of K arms: Bernoulli and normal rewards, and rows of a table."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.engine import draws
from jaxbandit.engine.entries import take
from jaxbandit.environments.base import Environment
from jaxbandit.precision import settings
from jaxbandit.precision.reference import check_resolved, namespace, reference, rounding_step


@settings.usual()
def bernoulli_arms(mean: ArrayLike) -> Environment:
    """Rewards 0 or 1.

    A round's word has 32 bits, so a probability is played as the nearest multiple of 2^-32: exactly
    as float32 has it from 2^-8 on, to one in a thousand at 1e-7.

    Args:
        mean: [arms], probabilities of 1, in [0, 1].

    Raises:
        InputError: not a vector, not probabilities, or a probability of 1 or of 0 that is so small,
            but not zero, that 32 bits miss it by more than one in a hundred.
    """
    probability: Any = _arms("mean", mean)
    threshold = _word_threshold(probability)
    if checks.is_concrete(probability):
        if not np.all((probability >= 0) & (probability <= 1)):
            raise InputError(f"mean must lie in [0, 1] for Bernoulli arms, was {probability}")
        played = np.where(threshold == _LAST_WORD, 1.0, threshold / 2.0**32)
        missed = np.abs(played - probability) > 0.01 * np.minimum(probability, 1 - probability)
        if np.any(missed):
            raise InputError(
                f"mean of arm {np.argmax(missed)} must be 0, 1, or at least some 1e-8 from both, "
                f"was {float(probability[missed][0])!r}: a round has 32 random bits; play a "
                "likelier reward of the same expectation, or an arm that never gives one"
            )
    return Environment(threshold, probability, _bernoulli, low=0.0, high=1.0)


@settings.usual()
def gaussian_arms(mean: ArrayLike, std: ArrayLike) -> Environment:
    """Normal rewards.

    Args:
        mean: [arms].
        std: [] or [arms], at least 0; an arm with 0 always gives its mean.

    Raises:
        InputError: not a vector, not finite, or a std that is negative or of another number of
            arms; means so far from zero that float32 cannot tell rewards apart.
    """
    center: Any = _arms("mean", mean)
    if np.ndim(std) > 0:
        checks.check_shape("std", std, center.shape, "[arms]")
    checks.check_not_negative("std", std)
    xp = namespace(center, std)
    width: Any = xp.broadcast_to(xp.asarray(std, center.dtype), center.shape)
    if checks.is_concrete(center, width) and np.any(width < rounding_step(center)):
        # Wider noise makes the rounding of rewards one more small noise.
        check_resolved("mean", center, np.ptp(center))
    near = reference(center, -math.inf, math.inf)
    return Environment(GaussianArms(near, center - near, width), center, _gaussian)


@settings.usual()
def reward_table(table: ArrayLike) -> Environment:
    """Rewards of a row drawn uniformly each round, with replacement.

    Args:
        table: [rows, arms].

    Raises:
        InputError: not a matrix, empty, or not finite; rewards so far from zero that float32 cannot
            tell them apart.
    """
    checks.check_shape("table", table, (None, None), "[rows, arms]")
    if 0 in np.shape(table):
        raise InputError(f"table must have rows and arms, has shape {np.shape(table)}")
    checks.check_finite("table", table)
    rewards: Any = _floating(table)
    mean = namespace(rewards).mean(rewards, axis=0)
    if not checks.is_concrete(rewards):
        return Environment(rewards, mean, _row)
    low, high = float(np.min(rewards)), float(np.max(rewards))
    if not np.array_equal(rewards.astype(jnp.result_type(float)), rewards):
        check_resolved("table", rewards, high - low)
    return Environment(rewards, mean, _row, low=low, high=high)


def _floating(value: ArrayLike) -> Any:
    """An array of float64 on the host where there are values, else of the working precision."""
    if checks.is_concrete(value):
        return np.asarray(value, np.float64)
    return jnp.asarray(value, float)


def _arms(name: str, value: ArrayLike) -> Any:
    checks.check_shape(name, value, (None,), "[arms]")
    if np.shape(value)[0] == 0:
        raise InputError(f"{name} must have at least one arm, was empty")
    checks.check_finite(name, value)
    return _floating(value)


# Rewards.

_LAST_WORD = 2**32 - 1


class GaussianArms(NamedTuple):
    """Arrays of normal rewards."""

    near: Any
    """[], the `reference` of the means."""
    excess: Any
    """[arms], the means less that."""
    std: Any
    """[arms]."""


def _word_threshold(probability: Any) -> Any:
    """How many words of 32 bits are below each probability; all of them are written as 2^32 - 1.

    Whole numbers keep the digits of p near 0 and near 1, where float32 has those of p alone.
    """
    xp = namespace(probability)
    scaled = xp.clip(xp.round(probability * 2.0**32), 0, 2.0**32)
    surely = scaled >= float(_LAST_WORD)
    return xp.where(surely, np.uint32(_LAST_WORD), xp.where(surely, 0, scaled).astype(np.uint32))


def _bernoulli(threshold: Array, arm: Array, word: Array) -> Array:
    # The last word counts as the one before: below 2^32 - 1 is then every word.
    word = jnp.minimum(word, jnp.uint32(_LAST_WORD - 1))
    return (word < take(threshold, arm)).astype(jnp.result_type(float))


def _gaussian(params: GaussianArms, arm: Array, word: Array) -> Array:
    noise = draws.to_normal(word).astype(jnp.result_type(float))
    return params.near + (take(params.excess, arm) + take(params.std, arm) * noise)


def _row(table: Array, arm: Array, word: Array) -> Array:
    return table[draws.to_index(word, table.shape[0]), arm]
