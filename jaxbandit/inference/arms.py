r"""Offline data and confidence bounds on K arms.

With $n_i$ samples of arm i in all, offline ones included, the bounds are the mean plus or minus
$r_i = \sqrt{s \log(K/\delta) / n_i}$; $s = 2 \sigma^2$ for $\sigma$-sub-Gaussian rewards.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.precision import rounding, settings


class OfflineArms(NamedTuple):
    """Samples of each arm from before the game."""

    count: Any
    """[arms], number of samples."""
    total: Any
    """[arms], sum of their rewards."""


class Confidence(NamedTuple):
    """Constants of the confidence bounds; made by `confidence`."""

    scale: Any
    """s: a radius is the root of `s log(K / delta) / n`."""
    delta: Any
    """Failure probability; None for `1 / horizon^2`."""
    floor: Any
    """Smallest mean possible."""
    ceiling: Any
    """Largest mean possible."""
    budget_scale: Any
    """The same as `scale`, in OtO's budget."""
    budget_union: Any
    """1 where the budget's logarithm has K in it, 0 where not."""
    lagged: Any
    """1 where OtO's budget sums lower bounds of the round before and its proxy of an unknown
    horizon doubles two rounds late, 0 for current bounds and in time."""
    anytime: tuple[()] | None
    """() where delta shrinks as `delta / t^2`, None where it is fixed; part of the structure."""


@settings.usual()
def confidence(
    preset: Literal["paper", "reference"] = "paper",
    *,
    sigma: ArrayLike | None = None,
    delta: ArrayLike | None = None,
    floor: ArrayLike = 0.0,
    ceiling: ArrayLike = 1.0,
    anytime: bool = False,
) -> Confidence:
    r"""Constants of the confidence bounds.

    Args:
        preset: "paper", the formulas of Sentenac et al. 2025,
            $r = \sigma \sqrt{2 \log(K/\delta)/n}$;
            or "reference", those of the authors' simulator: $r = \sqrt{\log(K/\delta)/n}$ whatever
            sigma, a budget without K, lower bounds of the round before in OtO's budget, and a later
            doubling of its unknown horizon.
        sigma: rewards are sigma-sub-Gaussian; None for 1/2, which rewards in [0, 1] are. Only for
            "paper".
        delta: failure probability of one bound; None for $1/T^2$, T the horizon.
        floor: smallest mean possible.
        ceiling: largest mean possible.
        anytime: use $\delta / t^2$ in round t, for an unknown horizon.

    Raises:
        InputError: delta outside (0, 1), sigma not positive or given for "reference", floor not
            below ceiling, or anytime without delta.
    """
    if preset not in ("paper", "reference"):
        raise InputError(f'preset must be "paper" or "reference", was {preset!r}')
    if sigma is not None and preset == "reference":
        raise InputError(
            'sigma has no part in the radius of preset "reference", was '
            f'{sigma}; leave it out, or use "paper"'
        )
    sigma = 0.5 if sigma is None else sigma
    checks.check_positive("sigma", sigma)
    if delta is not None:
        checks.check_probability("delta", delta)
    elif anytime:
        raise InputError("delta must be given where the horizon is unknown (anytime=True)")
    for name, value in (("floor", floor), ("ceiling", ceiling)):
        checks.check_finite(name, value)
    if checks.is_concrete(floor, ceiling) and not np.all(np.asarray(floor) < np.asarray(ceiling)):
        raise InputError(f"floor must be below ceiling, was {floor} and {ceiling}")
    square = jnp.asarray(sigma, float) ** 2
    paper = preset == "paper"
    one, zero = jnp.ones((), square.dtype), jnp.zeros((), square.dtype)
    return Confidence(
        scale=2 * square if paper else one,
        delta=None if delta is None else jnp.asarray(delta, square.dtype),
        # With fewer digits the range may only grow.
        floor=rounding.at_most(floor, square.dtype),
        ceiling=rounding.at_least(ceiling, square.dtype),
        budget_scale=2 * square if paper else 0.5 * one,
        budget_union=one if paper else zero,
        lagged=zero if paper else one,
        anytime=() if anytime else None,
    )


def or_usual(given: Confidence | None) -> Confidence:
    """What a function was given as its `confidence`, or the default.

    Raises:
        InputError: something else.
    """
    if given is None:
        return confidence()
    made = "made by jaxbandit.confidence, as in confidence(delta=0.05)"
    checks.check_kind("confidence", given, Confidence, made)
    return given


def squared_width(bounds: Confidence, arms: int, round_number: ArrayLike, horizon: Any) -> Array:
    """`s log(K / delta)` in a round: a radius is the root of this over the number of samples."""
    log_inverse = _log_inverse_delta(bounds, horizon)
    if bounds.anytime is not None:
        log_inverse = log_inverse + 2 * jnp.log(jnp.asarray(round_number, log_inverse.dtype))
    return bounds.scale * (np.log(arms) + log_inverse)


def mean_reward(count: Any, total: Any) -> Float[Array, " arms"]:
    """Total over count; 0 where there are no samples."""
    # The divisor depends on the total so that a compiler that sees the same counts in all runs
    # cannot multiply by their reciprocals: the last bit would differ from that of the divisions in
    # later rounds, and arms with equal samples would not tie.
    return total / jnp.where((count > 0) & ~jnp.isnan(total), count, 1)


def lower_bounds(
    bounds: Confidence, count: Any, total: Any, width: Any, reference: Any = 0.0
) -> Float[Array, " arms"]:
    """The mean less the radius, at least the floor; the floor where there are no samples.

    Where rewards are summed less a `reference`, so are the bounds.
    """
    floor = bounds.floor - reference
    low = mean_reward(count, total) - jnp.sqrt(width / jnp.where(count > 0, count, 1))
    return jnp.where(count > 0, jnp.maximum(floor, low), floor)


def upper_bounds(count: Any, total: Any, width: Any) -> Float[Array, " arms"]:
    """The mean plus the radius; infinity where there are no samples."""
    high = mean_reward(count, total) + jnp.sqrt(width / jnp.where(count > 0, count, 1))
    return jnp.where(count > 0, high, jnp.inf)


def budget_per_round(bounds: Confidence, count: Any, horizon: Any) -> Array:
    r"""OtO's b: the logging policy's mean radius, $\sum_i (m_i/m) r_i(m_i)$ (S. eq. 1)."""
    log_term = _log_inverse_delta(bounds, horizon) + bounds.budget_union * np.log(len(count))
    return jnp.sum(jnp.sqrt(count)) / jnp.sum(count) * jnp.sqrt(bounds.budget_scale * log_term)


def _log_inverse_delta(bounds: Confidence, horizon: Any) -> Array:
    if bounds.delta is None:
        return 2 * jnp.log(jnp.asarray(horizon, jnp.result_type(float)))
    return -jnp.log(jnp.asarray(bounds.delta))
