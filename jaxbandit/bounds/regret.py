r"""Upper bounds on the regret of UCB, LCB and OtO.

$m_i$ are the offline counts and m their sum, $D_i = \mu_* - \mu_i$ the gaps,
$D_0 = \sum_i (m_i/m) D_i$ the gap of the logging policy, $c / \sqrt n$ the radius after n samples,
$c = \sigma \sqrt{2 \log(K/\delta)}$, and $b = \sum_i (m_i/m)\, c / \sqrt{m_i}$ its mean under the
logging policy. $R(T)$ is regret against the best arm, $R_{log}(T) = R(T) - T D_0$ regret against
the logging policy.

Every bound holds whenever all means lie within their confidence bounds in all rounds, which has
probability `event_probability` or more. Where the horizon is unknown
(`jaxbandit.confidence(anytime=True)`), c has $\delta / T^2$ in place of $\delta$ and b does not:
radii grow with the round, and with c at $\delta$ the bounds of UCB are false.

A function is of one instance, from arrays [arms] to a scalar; map it over instances, horizons and
alpha with `jax.vmap`. Counts need not be whole. Results are rounded up, and none is above the
horizon times the range of the means, that product rounded up too.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxbandit.bounds import arguments
from jaxbandit.bounds.arguments import Setting
from jaxbandit.bounds.worst_pulls import largest_excess, largest_total, pull_limit
from jaxbandit.inference import arms
from jaxbandit.inference.arms import Confidence
from jaxbandit.precision import rounding
from jaxbandit.precision.settings import promotion


@promotion()
def event_probability(horizon: ArrayLike, confidence: Confidence | None = None) -> Array:
    r"""Probability with which every bound of this module holds: at least $1 - 2T\delta$.

    Hoeffding's inequality for each of K arms, T sample counts and two sides, each failing with
    probability $\delta/K$ or less. Where the horizon is unknown, round t fails with probability
    $2\delta/t^2$ or less, all rounds together with $\pi^2\delta/3$. LCB is settled in the first
    round, so that its bounds hold with probability $1 - 2\delta$: `event_probability(1)`, at the
    delta used.

    Args:
        horizon: T.
        confidence: constants of the bounds, default `jaxbandit.confidence()`; those of the preset
            "reference" have this probability for rewards that are $1/\sqrt2$-sub-Gaussian, such as
            all in [0, 1].

    Raises:
        InputError: horizon below one.

    Source:
        Sentenac et al. 2025, lemma 3.1 and remark 4.3.

    >>> import jaxbandit as jb
    >>> float(jb.bounds.event_probability(2000, jb.confidence(delta=1e-5))).__round__(4)
    0.96
    """
    confidence = arms.or_usual(confidence)
    horizon = arguments.check_horizon(horizon)
    delta = 1 / horizon**2 if confidence.delta is None else jnp.asarray(confidence.delta, float)
    failure = 2 * horizon * delta if confidence.anytime is None else np.pi**2 / 3 * delta
    return jnp.maximum(jnp.nextafter(1 - rounding.up(failure), -jnp.inf), 0)


# UCB.


@promotion()
def ucb_regret(
    count: Float[ArrayLike, " arms"],
    mean: Float[ArrayLike, " arms"],
    horizon: ArrayLike,
    confidence: Confidence | None = None,
) -> Float[Array, ""]:
    r"""UCB on a given instance: $R(T) \le \max \{\sum_i D_i n_i : n_i \le N_i, \sum_i n_i \le T\}$.

    $N_i = \min(T, (\lfloor 4c^2/D_i^2 - m_i \rfloor + 1)_+)$ is the most that arm i is pulled, and
    the worst T pulls are those of the largest gaps. The paper's bound, $\sum_i D_i N_i$, is larger
    where the $N_i$ add up to more than T; this is never above `ucb_minimax_regret`, as
    $n_i \le N_i$ implies $D_i \le 2c/\sqrt{m_i + n_i - 1}$.

    Args:
        count: [arms], offline samples.
        mean: [arms], true means.
        horizon: T.
        confidence: constants of the bounds, default `jaxbandit.confidence()`.

    Returns:
        [], in reward units.

    Raises:
        InputError: wrong shapes, negative counts, means outside the range, horizon below one.

    Source:
        Sentenac et al. 2025, theorem 5.2; that the pulls are T in all is added here.

    >>> import jaxbandit as jb
    >>> bound = jb.bounds.ucb_regret([100, 100], [0.5, 0.6], 1000, jb.confidence(delta=0.001))
    >>> print(f"{bound:.1f}")  # all 1000 rounds
    100.0
    """
    known = arguments.make_setting(count, horizon, confidence)
    return _capped(known, _ucb_regret(known, arguments.gaps(known, mean)))


@promotion()
def ucb_minimax_regret(
    count: Float[ArrayLike, " arms"],
    horizon: ArrayLike,
    confidence: Confidence | None = None,
) -> Float[Array, ""]:
    r"""UCB on any instance: the best allocation of T pulls, each $n_i$ whole, to

    $R(T) \le \max_{\sum_i n_i = T} \sum_i n_i \min(R, 2c/\sqrt{(m_i + n_i - 1)_+})$.

    The last of $n_i$ pulls was made on $m_i + n_i - 1$ samples; with $m_i + n_i$ in its place this
    would be no upper bound. It is found to a relative 1e-8, or to rounding, where all
    $m_i \ge 1$ or $4c^2 \ge 3R^2$; else the same with concave envelopes.

    Args:
        count: [arms], offline samples.
        horizon: T.
        confidence: constants of the bounds, default `jaxbandit.confidence()`.

    Returns:
        [], in reward units.

    Raises:
        InputError: wrong shapes, negative counts, horizon below one.

    Source:
        Sentenac et al. 2025, theorem 5.2.
    """
    known = arguments.make_setting(count, horizon, confidence)
    return largest_total(known.count, known.radius, known.limit, known.horizon)


@promotion()
def ucb_logging_regret(
    count: Float[ArrayLike, " arms"],
    horizon: ArrayLike,
    confidence: Confidence | None = None,
) -> Float[Array, ""]:
    r"""UCB on any instance, against the logging policy: $R_{log}(T) \le R(T)$.

    The same number as `ucb_minimax_regret`; for $T = 1$ it is $\min(R, 2c/\sqrt{\min_i m_i})$.

    Args, Returns:
        As `ucb_minimax_regret`.

    Raises:
        InputError: as there, or no offline samples at all.

    Source:
        Sentenac et al. 2025, propositions 5.4 and 5.5.
    """
    arguments.check_some(count)
    return ucb_minimax_regret(count, horizon, confidence)


# LCB.


@promotion()
def lcb_minimax_regret(
    count: Float[ArrayLike, " arms"],
    horizon: ArrayLike,
    confidence: Confidence | None = None,
) -> Float[Array, ""]:
    r"""LCB on any instance: $R(T) \le T \min(R, 2c/\sqrt{\min_i m_i})$.

    LCB plays one arm throughout, the best lower bound l of the first round (unplayed arms' bounds
    do not rise): $\mu_* \le LCB_* + 2c/\sqrt{m_*} \le LCB_l + 2c/\sqrt{m_*} \le \mu_l +
    2c/\sqrt{m_*}$. Only that round's bounds matter, so that where the horizon is unknown c keeps
    $\delta$, and the bound holds with probability $1 - 2\delta$.

    Args, Returns, Raises:
        As `ucb_minimax_regret`.

    Source:
        Sentenac et al. 2025, proposition 5.3.
    """
    known = arguments.make_setting(count, horizon, confidence)
    widest = 2 * known.first_radius / jnp.sqrt(jnp.min(known.count))
    return _capped(known, known.horizon * widest)


@promotion()
def lcb_logging_regret(
    count: Float[ArrayLike, " arms"],
    horizon: ArrayLike,
    confidence: Confidence | None = None,
) -> Float[Array, ""]:
    r"""LCB on any instance, against the logging policy: $R_{log}(T) \le 2bT$.

    The lower bound of the arm played is at least the logging policy's mean lower bound, and that
    at least $\mu_0 - 2b$. As in `lcb_minimax_regret`, the probability is $1 - 2\delta$.

    Args, Returns:
        As `ucb_minimax_regret`.

    Raises:
        InputError: as there, or no offline samples at all.

    Source:
        Sentenac et al. 2025, proposition 5.7.
    """
    arguments.check_some(count)
    known = arguments.make_setting(count, horizon, confidence)
    return _capped(known, 2 * known.horizon * arguments.mean_radius(known))


# OtO.


@promotion()
def oto_regret(
    count: Float[ArrayLike, " arms"],
    mean: Float[ArrayLike, " arms"],
    horizon: ArrayLike,
    alpha: ArrayLike,
    confidence: Confidence | None = None,
) -> Float[Array, ""]:
    r"""OtO on a given instance: UCB's bound, and the price of the budget.

    $R(T) \le R_{ucb} + \min(R, D_0 + 2b) + \frac{1}{\alpha b} \sum_i \psi_i$, with $R_{ucb}$ from
    `ucb_regret` (the paper's is $\sum_i D_i N_i$) and
    $\psi_i = \max_{1 \le v \le N_i} v \min(R, D_i + 2c/\sqrt{m_i + v - 1})^2 / 4$, and $N_i = T$
    for arms without a gap. It is never above $T \max_i D_i$, which is all that is known at
    alpha = 0, nor above `oto_minimax_regret`.

    *Proof.* A round of LCB costs $G = \mu_* - \max LCB(0) \le D_0 + 2b$ at most. In the last one,
    $\tau$, the budget is spent, which bounds the others: $\alpha b\, L(\tau - 1) \le
    \sum_i v_i (\gamma - LCB_i)$ with $v_i \le N_i$; and $G (x - G) \le x^2/4$.

    Args:
        count: [arms], offline samples.
        mean: [arms], true means.
        horizon: T.
        alpha: size of OtO's budget, for `jaxbandit.oto(alpha, budget="separate")`.
        confidence: constants of the bounds, default `jaxbandit.confidence()`.

    Returns:
        [], in reward units.

    Raises:
        InputError: wrong shapes, negative counts or alpha, no offline samples at all, means outside
            the range, horizon below one, or the preset "reference", whose budget differs.

    Source:
        Sentenac et al. 2025, theorem 4.2, eq. 3.
    """
    arguments.check_oto(count, alpha, confidence)
    known = arguments.make_setting(count, horizon, confidence)
    gap = arguments.gaps(known, mean)
    # D_0 + 2b, as one pessimistic round
    round_cost = jnp.sum(known.count / jnp.sum(known.count) * gap) + 2 * known.unit
    most = pull_limit(known.count, gap, known.square, known.horizon)
    excess = largest_excess(known.count, gap, known.radius, known.limit, most)
    explored = _ucb_regret(known, gap) + jnp.minimum(known.limit, round_cost)
    total = explored + _per_allowance(known, alpha, excess)
    return _capped(known, jnp.minimum(total, known.horizon * jnp.max(gap)))


@promotion()
def oto_minimax_regret(
    count: Float[ArrayLike, " arms"],
    horizon: ArrayLike,
    alpha: ArrayLike,
    confidence: Confidence | None = None,
) -> Float[Array, ""]:
    r"""OtO on any instance: `oto_regret` with each term at its largest.

    That is UCB's minimax value, R, and $\psi_i$ at the gap that is worst for it. Arm i has v plays
    in it only if $D_i \le 2c/\sqrt{m_i + v - 1}$, so
    $\sup_{D_i} \psi_i = \max_{1 \le v \le T} v \min(R, 4c/\sqrt{m_i + v - 1})^2 / 4$.

    Args, Returns, Raises:
        As `oto_regret`.

    Source:
        Sentenac et al. 2025, theorem 4.2, eq. 4.
    """
    arguments.check_oto(count, alpha, confidence)
    known = arguments.make_setting(count, horizon, confidence)
    zero = jnp.zeros_like(known.count)
    excess = largest_excess(known.count, zero, 2 * known.radius, known.limit, zero + known.horizon)
    explored = largest_total(known.count, known.radius, known.limit, known.horizon)
    total = explored + known.limit + _per_allowance(known, alpha, excess)
    return _capped(known, total)


@promotion()
def oto_logging_regret(
    count: Float[ArrayLike, " arms"],
    horizon: ArrayLike,
    alpha: ArrayLike,
    confidence: Confidence | None = None,
) -> Float[Array, ""]:
    r"""OtO on any instance, against the logging policy: $R_{log}(T) \le 2 b T + \alpha b H$.

    H is the horizon, or where that is unknown its proxy in the last round, below 2T. With the
    constants of the preset "reference" the first b is the mean radius and the second the budget's
    unit, which differ.

    Args, Returns, Raises:
        As `oto_regret`, of which the preset "reference" is no error here.

    Source:
        Sentenac et al. 2025, theorem 4.2, eq. 2.
    """
    confidence = arms.or_usual(confidence)
    arguments.check_oto(count, alpha, None)
    known = arguments.make_setting(count, horizon, confidence)
    alpha = jnp.asarray(alpha, known.count.dtype)
    budget = alpha * known.unit * arguments.last_proxy(known)
    return _capped(known, 2 * known.horizon * arguments.mean_radius(known) + budget)


# Parts.


def _ucb_regret(known: Setting, gap: Array) -> Array:
    most = pull_limit(known.count, gap, known.square, known.horizon)
    worst_first = jnp.argsort(-gap)
    most, gap = most[worst_first], gap[worst_first]
    left = known.horizon - (jnp.cumsum(most) - most)
    return jnp.sum(gap * jnp.clip(left, 0, most))


def _per_allowance(known: Setting, alpha: ArrayLike, excess: Array) -> Array:
    """Sum over arms, divided by alpha b; infinite at alpha = 0."""
    allowance = jnp.asarray(alpha, excess.dtype) * known.unit
    return jnp.where(allowance > 0, jnp.sum(excess) / allowance, jnp.inf)


def _capped(known: Setting, bound: Array) -> Array:
    most = rounding.product_at_least(known.horizon, known.limit)
    return jnp.minimum(rounding.up(bound, known.count.shape[0]), most)
