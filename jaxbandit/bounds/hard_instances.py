"""Instances on which the lower bounds hold: what a policy cannot do better than, to be played.

Each is made for offline counts, a horizon and the constants of the policy's confidence bounds:

    hard = jb.hard_instances.lcb_unexplored([10, 200], 1000, confidence)
    jb.simulate(key, {"lcb": jb.lcb(confidence)}, hard.environment, horizon=1000, runs=4096,
                offline_count=hard.offline_count)["lcb"].regret.mean[-1] >= hard.regret

Offline rewards must be drawn anew in each run (`offline_count=`): the bounds are on regret expected
over them too.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxbandit import checks
from jaxbandit.bounds import regret_lower as lower
from jaxbandit.bounds.arguments import Setting
from jaxbandit.checks import InputError
from jaxbandit.environments.arms import gaussian_arms
from jaxbandit.environments.base import Environment
from jaxbandit.inference.arms import Confidence
from jaxbandit.precision.settings import promotion


class HardInstance(NamedTuple):
    """Arms, offline counts and a horizon on which regret is large."""

    environment: Environment
    """The arms."""
    offline_count: Float[Array, " arms"]
    """Samples whose rewards are drawn anew in each run."""
    horizon: int
    """Rounds."""
    regret: Float[Array, ""]
    """Lower bound on the expected regret; which regret, the maker says. 0 claims nothing."""


@promotion()
def confusable_pair(
    count: Float[ArrayLike, " arms"],
    horizon: int,
    confidence: Confidence | None = None,
    *,
    sigma: ArrayLike = 0.5,
    pulls: Float[ArrayLike, " arms"] | None = None,
) -> tuple[HardInstance, HardInstance]:
    r"""Two Gaussian instances that no policy can tell apart in time.

    In the first, the most sampled arm has the mean $\Delta$ above all others; in the second, one
    of the least sampled arms J has $2\Delta$ instead, $\Delta = \sigma \sqrt{|J| / (4 (T + \sum_J
    m_j))}$: the one of which the policy has the fewest samples, offline or its own. So the second
    is a policy's own, and the larger of its regrets on the two against the best arm is at least
    `regret`. Play the first, give `pulls`, and play the second.

    Args:
        count: [arms], offline samples, at least two arms.
        horizon: T.
        confidence: its range is that of the means; default `jaxbandit.confidence()`.
        sigma: standard deviation of the rewards.
        pulls: [arms], the policy's expected pulls in the first instance; default none.

    Raises:
        InputError: wrong shapes, one arm, no samples, negative counts or pulls, horizon below one,
            sigma not positive or so large that no pair fits the range.

    Source:
        Sentenac et al. 2025, theorem 5.1.
    """
    known = _checked(count, horizon, confidence, sigma)
    spread = lower.spreads(known, sigma)
    size = int(jnp.argmax(spread)) + 1
    if not spread[size - 1] > 0:
        raise InputError(
            f"sigma must be small enough for a pair of instances to fit the range, was {sigma}; "
            "give a longer horizon or a wider range"
        )
    order = jnp.argsort(known.count, stable=True)
    samples = known.count
    if pulls is not None:
        checks.check_shape("pulls", pulls, samples.shape, "[arms]")
        checks.check_not_negative("pulls", pulls)
        samples = samples + jnp.asarray(pulls, samples.dtype)
    arm = order[jnp.argmin(samples[order[:size]])]
    first = (
        jnp.full_like(known.count, known.confidence.floor).at[order[-1]].add(spread[size - 1] / 2)
    )
    second = first.at[arm].add(spread[size - 1])
    regret = lower.minimax_regret_lower(count, horizon, confidence, sigma=sigma)
    environments = (gaussian_arms(mean, sigma) for mean in (first, second))
    pair = [HardInstance(env, known.count, horizon, regret) for env in environments]
    return pair[0], pair[1]


@promotion()
def lcb_unexplored(
    count: Float[ArrayLike, " arms"],
    horizon: int,
    confidence: Confidence | None = None,
    *,
    sigma: ArrayLike = 0.5,
) -> HardInstance:
    """LCB never plays the best arm, the least sampled one; regret against that arm.

    Args:
        count: [arms], offline samples, at least two arms.
        horizon: T.
        confidence: constants of LCB's bounds, default `jaxbandit.confidence()`.
        sigma: standard deviation of the one arm with noise.

    Raises:
        InputError: as `jaxbandit.bounds.lcb_minimax_regret_lower`.

    Source:
        Sentenac et al. 2025, proposition 5.3.
    """
    known = _checked(count, horizon, confidence, sigma)
    best = jnp.argmin(known.count)
    short = lower.lcb_unexplored(known, sigma).gap
    shortfall = jnp.full_like(known.count, short).at[best].set(0)
    regret = lower.lcb_minimax_regret_lower(count, horizon, confidence, sigma=sigma)
    return _short_of_ceiling(known, horizon, shortfall, regret, best, sigma)


@promotion()
def ucb_first_round(
    count: Float[ArrayLike, " arms"],
    confidence: Confidence | None = None,
    *,
    sigma: ArrayLike = 0.5,
) -> HardInstance:
    """UCB's first round goes to the worst arm, the least sampled one; regret against logging.

    Args, Raises:
        As `lcb_unexplored`; the horizon is one.

    Source:
        Sentenac et al. 2025, proposition 5.4.
    """
    known = _checked(count, 1, confidence, sigma)
    worst = jnp.argmin(known.count)
    # Arms without samples, all of them; else the one.
    bad = (known.count == 0).at[worst].set(True)
    shortfall = bad * lower.ucb_first_round(known, sigma).gap
    regret = lower.ucb_first_round_logging_regret_lower(count, confidence, sigma=sigma)
    return _short_of_ceiling(known, 1, shortfall, regret, worst, sigma)


@promotion()
def ucb_equalised(
    count: Float[ArrayLike, " arms"], horizon: int, confidence: Confidence | None = None
) -> HardInstance:
    """UCB pulls all arms alike, the less sampled and worse ones too; regret against logging.

    Rewards are not random: where the number of arms divides the horizon, UCB's regret against the
    logging policy is `regret` in every run, to rounding. (In float32, from about a million samples
    on, upper bounds differ by less than rounding, and pulls are no longer even.)

    Args:
        count: [arms], offline samples, at least two arms.
        horizon: T.
        confidence: constants of UCB's bounds, default `jaxbandit.confidence()`.

    Raises:
        InputError: as `jaxbandit.bounds.ucb_logging_regret_lower`, or a range that the instance
            does not fit.

    Source:
        Sentenac et al. 2025, proposition 5.5.
    """
    lower.check_fixed(confidence)
    known = _checked(count, horizon, confidence)
    _, shortfall = lower.equalised_shortfall(known)
    if not jnp.max(shortfall) <= known.limit:
        raise InputError(
            f"confidence must have a range of at least {float(jnp.max(shortfall)):.3g} for this "
            f"instance, has {float(known.limit):.3g}; lengthen the horizon or widen the range"
        )
    regret = lower.ucb_logging_regret_lower(count, horizon, confidence)
    return _short_of_ceiling(known, horizon, shortfall, regret)


@promotion()
def lcb_misled(
    count: Float[ArrayLike, " arms"],
    horizon: int,
    confidence: Confidence | None = None,
    *,
    sigma: ArrayLike = 0.5,
) -> HardInstance:
    """LCB plays the worst arm, the most sampled one, for ever; regret against logging.

    Args, Raises:
        As `lcb_unexplored`.

    Source:
        Sentenac et al. 2025, proposition 5.7.
    """
    known = _checked(count, horizon, confidence, sigma)
    worst = jnp.argmax(known.count)
    shortfall = jnp.zeros_like(known.count).at[worst].set(lower.lcb_misled(known, sigma).gap)
    regret = lower.lcb_logging_regret_lower(count, horizon, confidence, sigma=sigma)
    return _short_of_ceiling(known, horizon, shortfall, regret, worst, sigma)


def _checked(
    count: ArrayLike, horizon: int, confidence: Confidence | None, sigma: ArrayLike = 1.0
) -> Setting:
    checks.check_count("horizon", horizon)
    return lower.logged_setting(count, horizon, confidence, sigma)


def _short_of_ceiling(
    known: Setting,
    horizon: int,
    shortfall: Array,
    regret: Array,
    noisy: Array | None = None,
    sigma: ArrayLike = 0.0,
) -> HardInstance:
    """Means that fall short of the ceiling; noise on one arm or on none."""
    std = jnp.zeros_like(known.count)
    std = std if noisy is None else std.at[noisy].set(sigma)
    environment = gaussian_arms(known.confidence.ceiling - shortfall, std)
    return HardInstance(environment, known.count, horizon, regret)
