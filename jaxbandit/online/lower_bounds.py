r"""Lower bounds on the expected regret of the worst instance, and so on any upper bound for it.

Notation as in `jaxbandit.online.bounds`. Rewards are $\sigma$-sub-Gaussian with means in the range
of the confidence; offline rewards are drawn anew with the rest. Each function has its instance in
`jaxbandit.hard_instances`, on which the policy has at least this regret.
Results are rounded down and never negative: where the construction does not fit the range, nothing
is claimed.

Three of the instances are one: all arms have the same mean and no noise, but for one arm with
noise $\sigma$ and a mean that is $\Delta$ off. With probability $\Phi(-\kappa)$ or more, that arm's
offline mean deceives by $\kappa \sigma / \sqrt{m_i}$; $\kappa = 3/4$ nearly maximises
$\kappa \Phi(-\kappa)$. A policy that is deceived stays so: the radii of the others do the rest.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.online.allocation import round_down
from jaxbandit.online.arms import Confidence
from jaxbandit.online.setting import Setting, check_some, make_setting

DECEPTION = 0.75
"""kappa."""
PROBABILITY = 0.5 * math.erfc(DECEPTION / math.sqrt(2))
"""Phi(-kappa), 0.2266."""
# Where a lower bound would meet the floor, it is kept this share of the range above.
_CLEARANCE = 2.0**-10


def minimax_regret_lower(
    count: Float[ArrayLike, " arms"],
    horizon: ArrayLike,
    confidence: Confidence | None = None,
    *,
    sigma: ArrayLike = 0.5,
) -> Float[Array, ""]:
    r"""Any policy: $R(T) \ge \frac{e^{-1/2}}{16} \sigma T \max_J \sqrt{|J| / (T + \sum_J m_j)}$.

    J are the least sampled arms, any number of them but the last. Two Gaussian instances differ in
    one arm of J by $\sigma \sqrt{|J| / (T + \sum_J m_j)}$, which must lie within the range; by the
    inequality of Bretagnolle and Huber no policy has less regret than this on both.

    Args:
        count: [arms], offline samples.
        horizon: T.
        confidence: its range is that of the means; default `jaxbandit.confidence()`.
        sigma: rewards are sigma-sub-Gaussian.

    Returns:
        [], in reward units; 0 for a single arm.

    Raises:
        InputError: wrong shapes, negative counts, horizon below one, sigma not positive.

    Source:
        Sentenac et al. 2025, theorem 5.1.
    """
    checks.check_positive("sigma", sigma)
    known = make_setting(count, horizon, confidence)
    widest = jnp.max(spreads(known, sigma), initial=0)
    return round_down(math.exp(-0.5) / 16 * known.horizon * widest)


def lcb_minimax_regret_lower(
    count: Float[ArrayLike, " arms"],
    horizon: ArrayLike,
    confidence: Confidence | None = None,
    *,
    sigma: ArrayLike = 0.5,
) -> Float[Array, ""]:
    r"""LCB against the best arm, $R(T) \ge \Phi(-\kappa)\, T \Delta$ for the largest

    $\Delta \le \kappa \sigma / \sqrt{m_1} + c/\sqrt{m_1} - c/\sqrt{m_K}$, with $m_1$ the smallest
    and $m_K$ the largest count. Arm 1 is the best and the only one with noise; deceived, LCB plays
    arm K, whose bound only rises. For $m_1 = 0$ it does so surely, and $R(T) \ge T \Delta$ for
    $\Delta$ up to the range less $c/\sqrt{m_K}$, which is the limit for $m_1 > 0$ too: the lower
    bound of arm K must clear the floor.

    Args:
        count: [arms], offline samples, at least two arms.
        horizon: T.
        confidence: constants of LCB's bounds, default `jaxbandit.confidence()`.
        sigma: rewards are sigma-sub-Gaussian.

    Returns:
        [], in reward units.

    Raises:
        InputError: wrong shapes, one arm, no samples, negative counts, horizon below one, sigma not
            positive.

    Source:
        Sentenac et al. 2025, proposition 5.3; constants derived here.
    """
    known = logged_setting(count, horizon, confidence, sigma)
    least = jnp.min(known.count)
    probability = jnp.where(least > 0, PROBABILITY, 1)
    return round_down(probability * known.horizon * lcb_unexplored_gap(known, sigma))


def ucb_first_round_logging_regret_lower(
    count: Float[ArrayLike, " arms"],
    confidence: Confidence | None = None,
    *,
    sigma: ArrayLike = 0.5,
) -> Float[Array, ""]:
    r"""UCB against the logging policy, one round: $R_{log}(1) \ge \Phi(-\kappa) (1 - m_1/m) \Delta$

    with $\Delta = \min(R, \kappa \sigma / \sqrt{m_1} + c/\sqrt{m_1} - c/\sqrt{m_2})$, $m_1$ and
    $m_2$ the two smallest counts. Arm 1 is the worst and the only one with noise. Without samples
    on some arm, $R_{log}(1) = R$: all such arms are worst, and one of them is played.

    Args, Returns, Raises:
        As `lcb_minimax_regret_lower`; the horizon is one.

    Source:
        Sentenac et al. 2025, proposition 5.4; constants derived here.
    """
    known = logged_setting(count, 1, confidence, sigma)
    least = jnp.min(known.count)
    chance = PROBABILITY * (1 - least / jnp.sum(known.count))
    return round_down(jnp.where(least > 0, chance, 1) * ucb_first_round_gap(known, sigma))


def ucb_logging_regret_lower(
    count: Float[ArrayLike, " arms"],
    horizon: ArrayLike,
    confidence: Confidence | None = None,
) -> Float[Array, ""]:
    r"""UCB against the logging policy: $R_{log} \ge T \sum_i (1/K - m_i/m)\, c/\sqrt{m_i + T/K}$.

    Rewards are not random, $\mu_i = C - c/\sqrt{m_i + T/K}$ with C the ceiling: UCB evens out the
    upper bounds and pulls each arm T/K times. Where K does not divide T the instance is that of the
    last multiple of K before T, and each round beyond it counts as played on the best arm. Delta
    must be fixed, not $\delta/t^2$.

    Args:
        count: [arms], offline samples.
        horizon: T.
        confidence: constants of UCB's bounds, default `jaxbandit.confidence()`.

    Returns:
        [], in reward units; 0 where $c/\sqrt{\min_i m_i + T/K}$ exceeds the range.

    Raises:
        InputError: wrong shapes, no samples, negative counts, horizon below one, an unknown
            horizon.

    Source:
        Sentenac et al. 2025, proposition 5.5.
    """
    check_fixed(confidence)
    known = logged_setting(count, horizon, confidence)
    share, shortfall = equalised_shortfall(known)
    weight = known.count / jnp.sum(known.count)
    k = known.count.shape[0]
    fits = jnp.max(shortfall) <= known.limit
    # The weights 1/K - m_i/m sum to zero, so that a common shift changes nothing but the rounding.
    gap = shortfall - jnp.min(shortfall)
    even = k * share * jnp.sum((1 / k - weight) * gap)
    beyond, loss = known.horizon - k * share, jnp.sum(weight * gap)
    return round_down(jnp.where(fits, jnp.maximum(even - beyond * loss, 0), 0))


def lcb_logging_regret_lower(
    count: Float[ArrayLike, " arms"],
    horizon: ArrayLike,
    confidence: Confidence | None = None,
    *,
    sigma: ArrayLike = 0.5,
) -> Float[Array, ""]:
    r"""LCB against the logging policy: $R_{log}(T) \ge \Phi(-\kappa)\, T (1 - m_K/m) \Delta$ for

    $\Delta \le \kappa \sigma / \sqrt{m_K} + c/\sqrt{m_{K-1}} - c/\sqrt{m_K}$, $m_K$ and $m_{K-1}$
    the two largest counts. Arm K is the worst and the only one with noise; deceived, LCB plays it
    for ever. With all samples on one arm LCB is the logging policy, and the bound is 0.

    Args, Returns, Raises:
        As `lcb_minimax_regret_lower`.

    Source:
        Sentenac et al. 2025, proposition 5.7; constants derived here.
    """
    known = logged_setting(count, horizon, confidence, sigma)
    others = 1 - jnp.max(known.count) / jnp.sum(known.count)
    return round_down(PROBABILITY * known.horizon * others * lcb_misled_gap(known, sigma))


# Shared with the instances.


def logged_setting(
    count: ArrayLike, horizon: ArrayLike, confidence: Confidence | None, sigma: ArrayLike = 1.0
) -> Setting:
    """The setting, of at least two arms and one sample."""
    check_some(count)
    checks.check_positive("sigma", sigma)
    known = make_setting(count, horizon, confidence)
    if known.count.shape[0] < 2:
        raise InputError("count must have at least two arms for this bound, has one")
    return known


def check_fixed(confidence: Confidence | None) -> None:
    """Delta does not shrink with the round."""
    if confidence is not None and confidence.anytime is not None:
        raise InputError(
            "confidence must have a fixed delta (anytime=False): with delta / t^2 UCB's radii "
            "grow, and it does not pull each arm T/K times"
        )


def spreads(known: Setting, sigma: ArrayLike) -> Array:
    r"""$\sigma \sqrt{|J| / (T + \sum_J m_j)}$ for |J| = 1 to K - 1; 0 where beyond the range."""
    total = known.horizon + jnp.cumsum(jnp.sort(known.count)[:-1])
    size = jnp.arange(1, known.count.shape[0], dtype=total.dtype)
    spread = jnp.asarray(sigma, total.dtype) * jnp.sqrt(size / total)
    return jnp.where(spread <= known.limit, spread, 0)


def lcb_unexplored_gap(known: Setting, sigma: ArrayLike) -> Array:
    """Delta of `lcb_minimax_regret_lower`."""
    least, most = jnp.min(known.count), jnp.max(known.count)
    gain = _noise(sigma, least) + known.first_radius * _difference(least, most)
    clear = (1 - _CLEARANCE) * known.limit - known.first_radius / jnp.sqrt(most)
    return jnp.maximum(jnp.minimum(gain, clear), 0)


def ucb_first_round_gap(known: Setting, sigma: ArrayLike) -> Array:
    """Delta of `ucb_first_round_logging_regret_lower`; the range where an arm has no samples."""
    least, second = jnp.sort(known.count)[:2]
    gain = _noise(sigma, least) + known.first_radius * _difference(least, second)
    return jnp.minimum(gain, known.limit)


def lcb_misled_gap(known: Setting, sigma: ArrayLike) -> Array:
    """Delta of `lcb_logging_regret_lower`."""
    second, most = jnp.sort(known.count)[-2:]
    noise = _noise(sigma, most)
    gain = noise + known.first_radius * _difference(second, most)
    # Deceived by `noise`, the bound of arm K must clear the floor.
    clear = (1 - _CLEARANCE) * known.limit - known.first_radius / jnp.sqrt(most)
    clear = jnp.minimum(clear + noise, known.limit)
    return jnp.maximum(jnp.minimum(gain, clear), 0)


def equalised_shortfall(known: Setting) -> tuple[Array, Array]:
    """Of `ucb_logging_regret_lower`: pulls of each arm, whole, and `c / sqrt(m_i + pulls)`."""
    share = jnp.floor(known.horizon / known.count.shape[0])
    return share, known.first_radius / jnp.sqrt(known.count + share)


def _noise(sigma: ArrayLike, samples: Array) -> Array:
    return DECEPTION * jnp.asarray(sigma, samples.dtype) / jnp.sqrt(samples)


def _difference(fewer: Array, more: Array) -> Array:
    """`1 / sqrt(fewer) - 1 / sqrt(more)`; infinite where there are no samples."""
    return jnp.where(fewer > 0, 1 / jnp.sqrt(fewer) - 1 / jnp.sqrt(more), jnp.inf)
