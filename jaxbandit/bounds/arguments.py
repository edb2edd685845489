"""What a bound on regret is told: offline counts, a horizon, constants; checked, as arrays."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.inference import arms
from jaxbandit.inference.arms import Confidence, budget_per_round, squared_width
from jaxbandit.precision import rounding, settings


class Setting(NamedTuple):
    """One instance, but for its means."""

    count: Float[Array, " arms"]
    """Offline samples."""
    horizon: Float[Array, ""]
    """T."""
    square: Float[Array, ""]
    """c^2 in the last round; a radius is c over the root of the samples."""
    radius: Float[Array, ""]
    """c in the last round."""
    first_radius: Float[Array, ""]
    """c in the first round."""
    unit: Float[Array, ""]
    """b, of OtO's budget; not a number without offline data."""
    limit: Float[Array, ""]
    """R: ceiling less floor."""
    confidence: Confidence


def make_setting(
    count: ArrayLike,
    horizon: ArrayLike,
    confidence: Confidence | None = None,
    *,
    for_lower: bool = False,
) -> Setting:
    """Checked arguments, and what follows from them.

    What has more digits than the type in use is rounded so that an upper bound is not lowered by
    it, nor a lower one raised: an upper bound takes the next longer horizon, smaller counts and the
    wider range, a lower bound the opposite.

    Raises:
        InputError: count that is not [arms] or is negative, horizon below one.
    """
    settings.check_process()
    checks.check_shape("count", count, (None,), "[arms]")
    k = np.shape(count)[0]
    if k == 0:
        raise InputError("count must have at least one arm, was empty")
    checks.check_not_negative("count", count)
    confidence = arms.or_usual(confidence)
    rounds = check_horizon(horizon, for_lower=for_lower)
    number = (rounding.at_least if for_lower else rounding.at_most)(count, rounds.dtype)
    floor, ceiling = (jnp.asarray(x, rounds.dtype) for x in (confidence.floor, confidence.ceiling))
    if for_lower:
        # Both were rounded outwards, by less than the step to the next number.
        floor, ceiling = jnp.nextafter(floor, jnp.inf), jnp.nextafter(ceiling, -jnp.inf)
        limit = -rounding.difference_at_least(floor, ceiling)
    else:
        limit = rounding.difference_at_least(ceiling, floor)
    square, first, unit = (
        jnp.asarray(value, rounds.dtype)
        for value in (
            squared_width(confidence, k, rounds, rounds),
            squared_width(confidence, k, 1, rounds),
            budget_per_round(confidence, number, rounds),
        )
    )
    return Setting(
        number, rounds, square, jnp.sqrt(square), jnp.sqrt(first), unit, limit, confidence
    )


def gaps(known: Setting, mean: ArrayLike) -> Float[Array, " arms"]:
    """What each arm's mean falls short of the best.

    Raises:
        InputError: mean that is not [arms], not finite or outside the range.
    """
    checks.check_shape("mean", mean, known.count.shape, "[arms]")
    checks.check_finite("mean", mean)
    low, high = known.confidence.floor, known.confidence.ceiling
    if checks.is_concrete(mean):
        # On the host, where close means keep their difference.
        exact = np.asarray(mean, np.float64)
        gap = jnp.asarray(np.max(exact) - exact, known.count.dtype)
    else:
        mean = jnp.asarray(mean, known.count.dtype)
        gap = jnp.max(mean) - mean
    if checks.is_concrete(mean, low, high):
        # Likewise: inside `jax.jit` what is computed from known values is not known.
        value = np.asarray(mean, known.count.dtype)
        if not np.all((value >= np.asarray(low)) & (value <= np.asarray(high))):
            raise InputError(
                f"mean must lie in the range of the confidence, [{low}, {high}], was {value}; "
                "give floor= and ceiling= to jaxbandit.confidence"
            )
    return gap


def mean_radius(known: Setting) -> Float[Array, ""]:
    """The logging policy's mean radius in the first round, the sum of (m_i/m) c / sqrt(m_i)."""
    return known.first_radius * jnp.sum(jnp.sqrt(known.count)) / jnp.sum(known.count)


def last_proxy(known: Setting) -> Float[Array, ""]:
    """OtO's H in the last round: the horizon, or the power of two from 2 on that reaches it."""
    if known.confidence.anytime is None:
        return known.horizon
    # The reference implementation doubles two rounds late. frexp is exact where log2 is not.
    lag = jnp.asarray(2 * known.confidence.lagged, known.horizon.dtype)
    fraction, exponent = jnp.frexp(rounding.difference_at_least(known.horizon, lag))
    exponent = jnp.where(fraction == 0.5, exponent - 1, exponent)
    return jnp.maximum(2, jnp.ldexp(jnp.ones_like(known.horizon), exponent))


def check_horizon(horizon: ArrayLike, *, for_lower: bool = False) -> Float[Array, ""]:
    """The horizon as a floating number, at least one; for a lower bound not above it, else not
    below."""
    settings.check_process()
    if checks.is_concrete(horizon):
        value = np.asarray(horizon)
        if not np.all((value >= 1) & np.isfinite(value)):
            raise InputError(f"horizon must be at least 1 round, was {horizon}")
    return (rounding.at_most if for_lower else rounding.at_least)(horizon)


def check_some(count: ArrayLike) -> None:
    """At least one offline sample."""
    if checks.is_concrete(count) and not np.any(np.asarray(count) > 0):
        raise InputError(
            "count must not be all zero: without offline data there is no logging policy, and OtO "
            "has no budget; upper bounds of UCB and LCB against the best arm need none"
        )


def check_oto(count: ArrayLike, alpha: ArrayLike, confidence: Confidence | None) -> None:
    """Offline data, an alpha, and where `confidence` is given, a budget that bounds are known for.

    Raises:
        InputError: no samples, a negative alpha, the preset "reference".
    """
    check_some(count)
    checks.check_not_negative("alpha", alpha)
    if confidence is None or not checks.is_concrete(confidence.lagged):
        return
    if np.any(np.asarray(confidence.lagged) > 0):
        raise InputError(
            'confidence must have preset "paper" for this bound: the budget of "reference" is '
            "another, for which only oto_logging_regret is known"
        )
