r"""How good is what was learned: predictions of held-out records, and values of policies.

The value of a policy $\pi$ is its mean reward on the contexts of the log. The log's own actions
were drawn with known probabilities (propensities) $p_i$; $w_i = \pi(a_i \mid x_i) / p_i$. Intervals
of values are Student's, of the effective sample size $n_e = (\sum w)^2 / \sum w^2$ less one degrees
of freedom: the spread is known no better than from so many records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.special import betainc, ndtri
from jax.scipy.stats import t as student
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.inference.digits import warn_of_predictions
from jaxbandit.inference.model import BanditLog, Gaussian, check_log
from jaxbandit.linalg import products
from jaxbandit.precision.floating import floating
from jaxbandit.precision.reference import namespace, reference
from jaxbandit.precision.settings import promotion

# Degrees of freedom from which an expansion gives quantiles of Student's distribution.
_MANY = 30


class Prediction(NamedTuple):
    """Predictive distributions of rewards, Gaussian."""

    mean: Float[Array, " records"]
    """Expected reward."""
    std: Float[Array, " records"]
    """With the noise of the reward itself."""


class HeldOutScore(NamedTuple):
    """How well predictions fit rewards that they did not see."""

    rmse: Float[Array, ""]
    """Root mean squared error, in reward units."""
    log_density: Float[Array, ""]
    """Mean log predictive density of a record, in nats."""
    coverage: Float[Array, " levels"]
    """Share of rewards within the central predictive intervals of the asked levels."""


class PolicyValue(NamedTuple):
    """An estimate of a policy's value, and of what it gains on the logging policy."""

    value: Float[Array, ""]
    """Mean reward."""
    std_error: Float[Array, ""]
    """Of `value`."""
    low: Float[Array, ""]
    """Lower end of the interval of `value`."""
    high: Float[Array, ""]
    """Its upper end."""
    gain: Float[Array, ""]
    """Value minus the mean reward of the log; its error counts that both come from one log."""
    gain_std_error: Float[Array, ""]
    """Of `gain`."""
    gain_low: Float[Array, ""]
    """Lower end of the interval of `gain`."""
    gain_high: Float[Array, ""]
    """Its upper end."""
    effective_sample_size: Float[Array, ""]
    """Records that the estimate rests on, $(\\sum w)^2 / \\sum w^2$."""


def predict(posteriors: Gaussian, log: BanditLog, noise_std: ArrayLike) -> Prediction:
    r"""Predictive distribution of each record's reward, $N(\phi' m_s, \phi' C_s \phi + \sigma^2)$.

    Args:
        posteriors: mean [tasks, features] and cov [tasks, features, features].
        log: task [records] and feature [records, features]; rewards play no role.
        noise_std: [].

    Raises:
        InputError: shapes disagree, a task is out of range or not an integer, or a feature is not
            finite.
    """
    checks.check_shape("posteriors.mean", posteriors.mean, (None, None), "[tasks, features]")
    m, d = np.shape(posteriors.mean)
    checks.check_shape("posteriors.cov", posteriors.cov, (m, d, d), "[tasks, features, features]")
    check_log(log._replace(reward=None), m, d, "posteriors")
    checks.check_finite("log.feature", log.feature)
    mean, cov, feature = floating(*posteriors, log.feature)
    noise_std = jnp.asarray(noise_std, float)
    return _predict(Gaussian(mean, cov), jnp.asarray(log.task), feature, noise_std)


def score_held_out(
    prediction: Prediction,
    reward: Float[ArrayLike, " records"],
    levels: Sequence[float] | Array = (0.5, 0.9),
) -> HeldOutScore:
    """Error, log density and calibration of predictions, on rewards that they did not see.

    Args:
        prediction: of each record.
        reward: [records].
        levels: [levels], of the intervals whose coverage is asked; a calibrated prediction covers
            as much as the level says.

    Raises:
        InputError: shapes disagree, a reward that is not finite, a level outside (0, 1).

    Warns:
        UserWarning: predictions lie so far from zero that their errors are rounded.

    >>> import jax.numpy as jnp, jaxbandit as jb
    >>> prediction = jb.Prediction(mean=jnp.zeros(4), std=jnp.ones(4))
    >>> score = jb.score_held_out(prediction, [0.1, -0.3, 1.0, 2.0], levels=[0.5])
    >>> round(float(score.rmse), 3), score.coverage.tolist()
    (1.129, [0.5])
    """
    checks.check_probability("levels", levels)
    checks.check_shape("reward", reward, prediction.mean.shape, "[records]")
    checks.check_finite("reward", reward)
    reward = jnp.asarray(reward, float)
    prediction = Prediction(*floating(*prediction))
    warn_of_predictions(*prediction)
    return _score(prediction, reward, jnp.atleast_1d(jnp.asarray(levels, float)))


def ips_value(
    reward: Float[ArrayLike, " records"],
    propensity: Float[ArrayLike, " records"],
    target: Float[ArrayLike, " records"],
    level: float = 0.95,
) -> PolicyValue:
    r"""Value by inverse propensity scores, $\frac1n \sum_i w_i r_i$: unbiased.

    Args:
        reward: [records].
        propensity: [records], probability with which the logging policy took the logged action.
        target: [records], probability with which the policy to be valued takes it; 0 or 1 for a
            deterministic one.
        level: of the intervals.

    Returns:
        PolicyValue; its intervals are NaN where the policy takes the action of one record, or none.

    Raises:
        InputError: shapes disagree, a propensity outside (0, 1], a target outside [0, 1].

    Source:
        Horvitz and Thompson 1952; Li et al. 2011.

    >>> import jaxbandit as jb
    >>> value = jb.ips_value([1.0, 0.0, 1.0, 0.0], [0.5] * 4, target=[1.0, 0.0, 1.0, 0.0])
    >>> float(value.value), float(value.gain)
    (1.0, 0.5)
    """
    reward, weight, near = _weights(reward, propensity, target, level)
    return _value(weight * reward + near * (weight - 1), reward, weight, near, level)


def snips_value(
    reward: Float[ArrayLike, " records"],
    propensity: Float[ArrayLike, " records"],
    target: Float[ArrayLike, " records"],
    level: float = 0.95,
) -> PolicyValue:
    r"""Value by self-normalised inverse propensity scores, $\sum w_i r_i / \sum w_i$.

    Biased by the order of 1/n, never outside the rewards' range, and mostly of less variance than
    `ips_value`. Standard errors by the delta method: those of the mean of
    $v + w_i (r_i - v) / \bar w$.

    Args:
        reward: [records].
        propensity: [records], probability with which the logging policy took the logged action.
        target: [records], probability with which the policy to be valued takes it.
        level: of the intervals.

    Returns:
        PolicyValue, all NaN where the policy takes none of the logged actions; the intervals are
        where it takes that of one record.

    Raises:
        InputError: as `ips_value`.

    Source:
        Swaminathan and Joachims 2015.
    """
    reward, weight, near = _weights(reward, propensity, target, level)
    value = jnp.sum(weight * reward) / jnp.sum(weight)
    terms = value + weight * (reward - value) / jnp.mean(weight)
    return _value(terms, reward, weight, near, level)


def doubly_robust_value(
    reward: Float[ArrayLike, " records"],
    propensity: Float[ArrayLike, " records"],
    target: Float[ArrayLike, " records"],
    predicted: Float[ArrayLike, " records"],
    predicted_target: Float[ArrayLike, " records"],
    level: float = 0.95,
) -> PolicyValue:
    r"""Value by predictions, corrected by inverse propensity scores of their errors.

    $\frac1n \sum_i \hat q(x_i, \pi) + w_i (r_i - \hat q(x_i, a_i))$: unbiased whatever the
    predictions, provided that they were not learned from these records.

    Args:
        reward: [records].
        propensity: [records], probability with which the logging policy took the logged action.
        target: [records], probability with which the policy to be valued takes it.
        predicted: [records], predicted reward of the logged action.
        predicted_target: [records], predicted reward of the policy to be valued, in expectation
            over its actions.
        level: of the intervals.

    Returns, Raises:
        As `ips_value`; a prediction must be finite.

    Source:
        Dudík, Langford and Li 2011.
    """
    reward, weight, near = _weights(reward, propensity, target, level)
    for name, value in (("predicted", predicted), ("predicted_target", predicted_target)):
        checks.check_shape(name, value, reward.shape, "[records]")
        checks.check_finite(name, value)
    rest = reward - _less(predicted, near)
    terms = _less(predicted_target, near) + weight * rest
    return _value(terms, reward, weight, near, level)


# The same, on checked arguments.


@promotion()
@jax.jit
def _predict(posteriors: Gaussian, task: Array, feature: Array, noise_std: Array) -> Prediction:
    variance = products.quadratic_form(posteriors.cov[task], feature)
    return Prediction(
        products.inner(feature, posteriors.mean[task]),
        jnp.sqrt(jnp.maximum(variance, 0) + noise_std**2),
    )


@promotion()
@jax.jit
def _score(prediction: Prediction, reward: Array, levels: Array) -> HeldOutScore:
    off = reward - prediction.mean
    standard = jnp.abs(off / prediction.std)
    density = -0.5 * (standard**2 + jnp.log(2 * jnp.pi * prediction.std**2))
    within = standard <= ndtri(0.5 + 0.5 * levels)[:, None]
    return HeldOutScore(jnp.sqrt(jnp.mean(off**2)), jnp.mean(density), jnp.mean(within, axis=1))


def _weights(
    reward: ArrayLike, propensity: ArrayLike, target: ArrayLike, level: float
) -> tuple[Array, Array, Array]:
    """Rewards less a number near all of them, weights, and that number, 0 for rewards near 0."""
    checks.check_shape("reward", reward, (None,), "[records]")
    n = np.shape(reward)
    if n[0] < 2:
        raise InputError(f"reward must have at least two records, has {n[0]}")
    checks.check_shape("propensity", propensity, n, "[records]")
    checks.check_shape("target", target, n, "[records]")
    checks.check_finite("reward", reward)
    checks.check_probability("level", level)
    for name, value, least in (("propensity", propensity, "("), ("target", target, "[")):
        if not checks.is_concrete(value):
            continue
        array = np.asarray(value)
        good = (array <= 1) & ((array > 0) if least == "(" else (array >= 0))
        if not np.all(good):
            where = int(np.argmin(good))
            raise InputError(
                f"{name} must lie in {least}0, 1], was {array[where]} at record {where}; it is a "
                "probability of the logged action"
            )
    weight = jnp.asarray(target, float) / jnp.asarray(propensity, float)
    # Far from zero, sums and errors in float32 would lose the digits in which rewards differ.
    xp = namespace(reward)
    plain = xp.asarray(reward, float)
    plain = plain if xp is np else lax.stop_gradient(plain)
    near = reference(plain, xp.min(plain), xp.max(plain))
    return _less(reward, near), weight, near


@promotion()
def _less(value: ArrayLike, near: Array) -> Array:
    xp = namespace(value, near)
    return jnp.asarray(xp.asarray(value, float) - near, float)


@promotion()
@jax.jit
def _value(
    terms: Array, reward: Array, weight: Array, near: Array, level: ArrayLike
) -> PolicyValue:
    """The mean of `terms` plus `near`, and of what they add to the rewards, with intervals."""
    records = jnp.sum(weight) ** 2 / jnp.sum(lax.square(weight))
    # Ends follow the weights through value and error; how freedom moves with them is left out.
    freedom = lax.stop_gradient(records - 1)
    width = _student_width(jnp.asarray(level, records.dtype), freedom)

    def interval(terms: Array) -> tuple[Array, Array, Array, Array]:
        mean = jnp.mean(terms)
        error = jnp.std(terms, ddof=1) / jnp.sqrt(len(terms))
        return mean, error, mean - width * error, mean + width * error

    value, error, low, high = interval(terms)
    gain = interval(terms - reward)
    return PolicyValue(near + value, error, near + low, near + high, *gain, records)


def _student_width(level: Array, freedom: Array) -> Array:
    r"""The t with $P(|T| \le t)$ = level, of Student's distribution; NaN without freedom.

    From `_MANY` degrees on an expansion about the normal quantile, right to 1e-6 up to a level of
    0.999; below it by halving.

    Source:
        Abramowitz and Stegun 1964, 26.7.5.
    """
    z = ndtri(0.5 + 0.5 * level)
    series = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    many = z + sum(term / freedom**power for power, term in enumerate(series, start=1))
    few = _student_width_by_halving(level, jnp.clip(freedom, 1e-3, _MANY))
    return jnp.where(freedom > 0, jnp.where(freedom > _MANY, many, few), jnp.nan)


@jax.custom_jvp
def _student_width_by_halving(level: Array, freedom: Array) -> Array:
    r"""The same, from the $x = \nu / (\nu + t^2)$ with $I_x(\nu/2, 1/2)$ = 1 - level."""

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        beyond = betainc(freedom / 2, 0.5, jnp.exp(middle)) > 1 - level
        return jnp.where(beyond, low, middle), jnp.where(beyond, middle, high)

    # Of the logarithm: with few degrees x is tiny.
    least = jnp.full_like(level + freedom, jnp.log(jnp.finfo(freedom.dtype).tiny))
    steps = jnp.finfo(freedom.dtype).nmant + 8
    log_x = lax.fori_loop(0, steps, halve, (least, jnp.zeros_like(least)))[1]
    return jnp.sqrt(freedom * jnp.expm1(-log_x))


@_student_width_by_halving.defjvp
def _student_width_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    # Halving has no derivative; that of an inverse is one over the density. Freedom is constant.
    width = _student_width_by_halving(*primals)
    return width, tangents[0] / (2 * student.pdf(width, primals[1]))
