r"""Lower bounds on the expected regret of the worst instance, and so on any upper bound for it.

Notation as in `jaxbandit.bounds.regret`. Rewards are $\sigma$-sub-Gaussian with means in the range
of the confidence; offline rewards are drawn anew with the rest. Each function has its instance in
`jaxbandit.hard_instances`, on which the policy has at least this regret. Results are rounded down
and never negative: where the construction does not fit the range, nothing is claimed.

Three of the instances are one: all arms have the same mean and no noise, but for one arm with
noise $\sigma$ and a mean that is $\Delta$ off. With probability $\Phi(-\kappa)$ that arm's offline
mean errs by $\kappa \sigma / \sqrt{m_i}$ or more to the wrong side; the radii of the arms add to
that, or take from it, and where it makes up for $\Delta$ the policy is deceived. Against the
logging policy, which plays that arm in a share w of rounds, a policy that is not deceived gains
$w \Delta$ where one that is loses $(1 - w) \Delta$: the expected loss is
$(\Phi(-\kappa) - w) \Delta$. Each bound takes the best $\kappa$ of a grid.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxbandit import checks
from jaxbandit.bounds.arguments import Setting, check_some, make_setting
from jaxbandit.checks import InputError
from jaxbandit.inference.arms import Confidence
from jaxbandit.precision import rounding
from jaxbandit.precision.settings import promotion

# kappa, and its Phi(-kappa).
_KAPPA = np.arange(-4, 2.51, 0.125)
_PROBABILITY = np.array([0.5 * math.erfc(kappa / math.sqrt(2)) for kappa in _KAPPA])
# Where a lower bound would meet the floor, it is kept this share of the range above.
_CLEARANCE = 2.0**-10


@promotion()
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
    known = make_setting(count, horizon, confidence, for_lower=True)
    widest = jnp.max(spreads(known, sigma), initial=0)
    return rounding.down(math.exp(-0.5) / 16 * known.horizon * widest, known.count.shape[0])


@promotion()
def lcb_minimax_regret_lower(
    count: Float[ArrayLike, " arms"],
    horizon: ArrayLike,
    confidence: Confidence | None = None,
    *,
    sigma: ArrayLike = 0.5,
) -> Float[Array, ""]:
    r"""LCB against the best arm: $R(T) \ge \Phi(-\kappa)\, T \Delta$ for every $\kappa$ and

    $\Delta = \kappa \sigma / \sqrt{m_1} + c/\sqrt{m_1} - c/\sqrt{m_K}$, with $m_1$ the smallest and
    $m_K$ the largest count. Arm 1 is the best and the only one with noise; deceived, LCB plays arm
    K, whose bound only rises. $\Delta$ is below the range less $c/\sqrt{m_K}$, for the lower bound
    of arm K must clear the floor; where $m_1 = 0$ that is all, and LCB is deceived surely.

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
    return rounding.down(known.horizon * lcb_unexplored(known, sigma).loss)


@promotion()
def ucb_first_round_logging_regret_lower(
    count: Float[ArrayLike, " arms"],
    confidence: Confidence | None = None,
    *,
    sigma: ArrayLike = 0.5,
) -> Float[Array, ""]:
    r"""UCB against the logging policy, one round: $R_{log}(1) \ge (\Phi(-\kappa) - m_1/m) \Delta$

    for every $\kappa$ and $\Delta = \min(R, \kappa \sigma / \sqrt{m_1} + c/\sqrt{m_1} -
    c/\sqrt{m_2})$, $m_1$ and $m_2$ the two smallest counts. Arm 1 is the worst and the only one
    with noise. Without samples on some arm, $R_{log}(1) = R$: all such arms are worst, and one of
    them is played.

    Args, Returns, Raises:
        As `lcb_minimax_regret_lower`; the horizon is one.

    Source:
        Sentenac et al. 2025, proposition 5.4; constants derived here.
    """
    known = logged_setting(count, 1, confidence, sigma)
    return rounding.down(ucb_first_round(known, sigma).loss)


@promotion()
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
    return rounding.down(jnp.where(fits, jnp.maximum(even - beyond * loss, 0), 0), k)


@promotion()
def lcb_logging_regret_lower(
    count: Float[ArrayLike, " arms"],
    horizon: ArrayLike,
    confidence: Confidence | None = None,
    *,
    sigma: ArrayLike = 0.5,
) -> Float[Array, ""]:
    r"""LCB against the logging policy: $R_{log}(T) \ge T (\Phi(-\kappa) - m_K/m) \Delta$ for every

    $\kappa$ and $\Delta = \kappa \sigma / \sqrt{m_K} + c/\sqrt{m_{K-1}} - c/\sqrt{m_K}$, $m_K$ and
    $m_{K-1}$ the two largest counts. Arm K is the worst and the only one with noise; deceived, LCB
    plays it for ever. $\Delta$ is limited as in `lcb_minimax_regret_lower`. With all samples on one
    arm LCB is the logging policy, and the bound is 0.

    Args, Returns, Raises:
        As `lcb_minimax_regret_lower`.

    Source:
        Sentenac et al. 2025, proposition 5.7; constants derived here.
    """
    known = logged_setting(count, horizon, confidence, sigma)
    return rounding.down(known.horizon * lcb_misled(known, sigma).loss)


# Shared with the instances.


class Deception(NamedTuple):
    """One arm with noise."""

    gap: Float[Array, ""]
    """Delta."""
    loss: Float[Array, ""]
    """Expected, in a round."""


def logged_setting(
    count: ArrayLike, horizon: ArrayLike, confidence: Confidence | None, sigma: ArrayLike = 1.0
) -> Setting:
    """The setting, of at least two arms and one sample."""
    check_some(count)
    checks.check_positive("sigma", sigma)
    known = make_setting(count, horizon, confidence, for_lower=True)
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


def lcb_unexplored(known: Setting, sigma: ArrayLike) -> Deception:
    """Of `lcb_minimax_regret_lower`: the least sampled arm is best."""
    least, most = jnp.min(known.count), jnp.max(known.count)
    noise = _errors(sigma, least)
    gain = noise + known.first_radius * _difference(least, most)
    clear = (1 - _CLEARANCE) * known.limit - known.first_radius / jnp.sqrt(most)
    best = _best(jnp.minimum(gain, clear), 0)
    surely = jnp.maximum(clear, 0)
    return _where(least > 0, best, Deception(surely, surely))


def ucb_first_round(known: Setting, sigma: ArrayLike) -> Deception:
    """Of `ucb_first_round_logging_regret_lower`: the least sampled arm is worst."""
    least, second = jnp.sort(known.count)[:2]
    gain = _errors(sigma, least) + known.first_radius * _difference(least, second)
    best = _best(jnp.minimum(gain, known.limit), least / jnp.sum(known.count))
    return _where(least > 0, best, Deception(known.limit, known.limit))


def lcb_misled(known: Setting, sigma: ArrayLike) -> Deception:
    """Of `lcb_logging_regret_lower`: the most sampled arm is worst."""
    second, most = jnp.sort(known.count)[-2:]
    noise = _errors(sigma, most)
    gain = noise + known.first_radius * _difference(second, most)
    # With its error, the bound of that arm must clear the floor.
    clear = (1 - _CLEARANCE) * known.limit - known.first_radius / jnp.sqrt(most) + noise
    gap = jnp.minimum(jnp.minimum(gain, clear), known.limit)
    return _best(gap, most / jnp.sum(known.count))


def equalised_shortfall(known: Setting) -> tuple[Array, Array]:
    """Of `ucb_logging_regret_lower`: pulls of each arm, whole, and `c / sqrt(m_i + pulls)`."""
    k = known.count.shape[0]
    share = jnp.floor(known.horizon / k)
    # The quotient may have been rounded to the next whole number.
    share = jnp.where(k * share > known.horizon, share - 1, share)
    return share, known.first_radius / jnp.sqrt(known.count + share)


def _errors(sigma: ArrayLike, samples: Array) -> Array:
    """kappa sigma / sqrt(samples), of the grid; one sample at least."""
    kappa = jnp.asarray(_KAPPA, samples.dtype)
    return kappa * jnp.asarray(sigma, samples.dtype) / jnp.sqrt(jnp.maximum(samples, 1))


def _difference(fewer: Array, more: Array) -> Array:
    """`1 / sqrt(fewer) - 1 / sqrt(more)`; infinite where there are no samples."""
    return jnp.where(fewer > 0, 1 / jnp.sqrt(fewer) - 1 / jnp.sqrt(more), jnp.inf)


def _best(gap: Array, share: ArrayLike) -> Deception:
    """The kappa with the largest `(Phi(-kappa) - share) gap`; gaps of the grid."""
    gap = jnp.maximum(gap, 0)
    loss = (jnp.asarray(_PROBABILITY, gap.dtype) - share) * gap
    best = jnp.argmax(loss)
    return Deception(gap[best], jnp.maximum(loss[best], 0))


def _where(some: Array, first: Deception, second: Deception) -> Deception:
    return Deception(*(jnp.where(some, a, b) for a, b in zip(first, second, strict=True)))
