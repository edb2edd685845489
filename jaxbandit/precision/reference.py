"""Rewards far from zero, in numbers of few digits.

A sum of n rewards in float32 is rounded to a share of itself, which grows with n and with the
rewards' distance from zero, while what tells arms apart does not. Rewards are therefore summed less
a number that lies near them.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxbandit import checks
from jaxbandit.checks import InputError


def reference(mean: Any, low: Any, high: Any) -> Any:
    r"""A round number r near the means, less which rewards are summed; 0 where they are near zero.

    A sum of n rewards is rounded to a share of $n |\bar x|$, a sum of rewards less r to one of
    $n |\bar x - r|$. It is a multiple of a power of two no smaller than the range of the rewards
    (of the means, where that is not known), so that reward - r has all the reward's digits.

    Args:
        mean: [..., arms].
        low: [...], no reward is smaller.
        high: [...], no reward is larger.

    Returns:
        [...], in float64 on the host where the means have values, else traced.
    """
    xp = namespace(mean, low, high)
    mean = xp.asarray(mean, float)
    least, most = xp.min(mean, axis=-1), xp.max(mean, axis=-1)
    spread = xp.where(xp.isfinite(high) & xp.isfinite(low), high - low, most - least)
    near = xp.minimum(xp.abs(least), xp.abs(most))
    _, exponent = xp.frexp(xp.maximum(spread, near * 2.0**-20))
    step = xp.ldexp(xp.ones_like(near), exponent)
    return xp.where(near >= 16 * spread, xp.floor(least / step) * step, xp.zeros_like(near))


def check_resolved(name: str, value: np.ndarray, scale: Any) -> None:
    """Refuse numbers whose rounding in the working precision is more than 1/256 of their scale.

    Raises:
        InputError: numbers too far from zero.
    """
    step = rounding_step(value)
    if step > scale / 256 and scale > 0:
        raise InputError(
            f"{name} must not lie so far from zero, was {np.ravel(value)[0]:.9g}: there "
            f"{jnp.result_type(float)} has steps of {step:.2g}, for numbers that differ by "
            f"{float(scale):.2g}; subtract a constant from all rewards, or set JAX_ENABLE_X64=1"
        )


def rounding_step(value: np.ndarray) -> float:
    """The distance between neighbours of the largest of some numbers, in the working precision."""
    dtype = np.dtype(jnp.result_type(float))
    return float(np.spacing(np.max(np.abs(value)).astype(dtype)))


def namespace(*values: Any) -> Any:
    """NumPy for arrays that have values, so that they stay float64; else `jax.numpy`."""
    return np if checks.is_concrete(*values) else jnp
