"""Models of one task given the hyper-parameter, for `two_level`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.nn import sigmoid, softplus
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.inference.digits import warn_of_likelihood, warn_of_rewards
from jaxbandit.inference.model import Gaussian, TaskStatistics
from jaxbandit.linalg import products, spd
from jaxbandit.precision.floating import floating, working_type
from jaxbandit.precision.settings import promotion

# Damped Newton steps from the prior mean, and bisections of the length of each: to rounding, in
# float64, for logits in the hundreds (8 steps do for logits below ten).
_NEWTON_STEPS = 20
_BISECTIONS = 5

Conditional = Callable[[Array, Any], Gaussian]
"""(hyper-parameter [hyper], one task's data) -> mean [features], cov [features, features]."""

LogEvidence = Callable[[Array, Any], Array]
"""(hyper-parameter [hyper], one task's data) -> log density of the data, []."""


class TaskModel(NamedTuple):
    """One task given the hyper-parameter.

    A function that needs arrays of its own is best a `jax.tree_util.Partial` of them, which
    compiles once whatever their values; a closure compiles anew each time it is made.
    """

    conditional: Conditional
    """Mean and covariance of the task parameter."""
    log_evidence: LogEvidence
    """Log density of the task's rewards, its parameter integrated out."""


class TaskRecords(NamedTuple):
    """Records of one task, padded to a common length, or of many: leading axes are shared."""

    feature: Float[Array, "... records features"]
    """Of the action taken in its context."""
    reward: Float[Array, "... records"]
    """0 or 1 for `bernoulli_laplace`."""
    mask: Bool[Array, "... records"]
    """Whether there is a record; what is stored where there is none plays no role."""


@promotion()
def linear_gaussian(task_cov: ArrayLike, noise_std: ArrayLike) -> TaskModel:
    r"""$\theta_s | \mu \sim N(\mu, \Sigma_0)$, $y \sim N(\phi' \theta_s, \sigma^2)$; exact.

    A task's data is its `TaskStatistics`, so the statistics of a log serve as `data`.

    Args:
        task_cov: [features, features], positive semi-definite.
        noise_std: [], positive.

    Raises:
        InputError: an argument is not as above.
    """
    factor = _check_task_cov(task_cov)
    checks.check_shape("noise_std", noise_std, (), "[]")
    checks.check_positive("noise_std", noise_std)
    arrays = factor, jnp.asarray(noise_std, factor.dtype)
    return TaskModel(Partial(_linear_conditional, *arrays), Partial(_linear_evidence, *arrays))


@promotion()
def bernoulli_laplace(task_cov: ArrayLike) -> TaskModel:
    r"""$\theta_s | \mu \sim N(\mu, \Sigma_0)$, $P(y = 1) = 1 / (1 + e^{-\phi' \theta_s})$.

    Conditional and evidence are Laplace's approximations at the mode. A task's data is
    `TaskRecords`, with rewards 0 or 1.

    Args:
        task_cov: [features, features], positive semi-definite.

    Raises:
        InputError: task_cov is not as above; where data is met, rewards other than 0 or 1.
    """
    factor = _check_task_cov(task_cov)
    return TaskModel(Partial(_laplace_conditional, factor), Partial(_laplace_evidence, factor))


# Task models, in coordinates theta = mu + F u with task_cov = F F', in which u ~ N(0, I).


def _floating(hyper_parameter: Array, stats: TaskStatistics) -> tuple[Array, TaskStatistics]:
    hyper_parameter, *sums = floating(hyper_parameter, *stats)
    return hyper_parameter, TaskStatistics(*sums)


def _linear(
    factor: Array, noise_std: Array, hyper_parameter: Array, stats: TaskStatistics
) -> tuple[Array, Array, Array]:
    """Posterior covariance of u, log-determinant of its precision, and information."""
    variance = noise_std**2
    precision = products.congruence(factor.T, stats.gram) / variance
    inverse, log_det = spd.inverse(precision + jnp.eye(len(factor), dtype=precision.dtype))
    centred = stats.moment - products.matmul(stats.gram, hyper_parameter)
    return inverse, log_det, products.matmul(factor.T, centred) / variance


@promotion()
def _linear_conditional(
    factor: Array, noise_std: Array, hyper_parameter: Array, stats: TaskStatistics
) -> Gaussian:
    hyper_parameter, stats = _floating(hyper_parameter, stats)
    inverse, _, vector = _linear(factor, noise_std, hyper_parameter, stats)
    return _gaussian(factor, hyper_parameter, products.matmul(inverse, vector), inverse)


@promotion()
def _linear_evidence(
    factor: Array, noise_std: Array, hyper_parameter: Array, stats: TaskStatistics
) -> Array:
    hyper_parameter, stats = _floating(hyper_parameter, stats)
    inverse, log_det, vector = _linear(factor, noise_std, hyper_parameter, stats)
    variance = noise_std**2
    at_mean = products.quadratic_form(stats.gram, hyper_parameter)
    square = stats.square - 2 * products.inner(stats.moment, hyper_parameter) + at_mean
    fitted = products.quadratic_form(inverse, vector)
    constant = stats.count * jnp.log(2 * jnp.pi * variance)
    return -0.5 * (constant + square / variance - fitted + log_det)


class _Rewards(NamedTuple):
    """What a task's rewards say of u: of their logits `centre + inside u`, and of u itself."""

    inside: Float[Array, "records features"]
    centre: Float[Array, " records"]
    reward: Float[Array, " records"]
    """0 or 1."""

    def logit(self, u: Array) -> Array:
        return self.centre + products.matmul(self.inside, u)

    def gradient(self, u: Array) -> Array:
        """Of minus the log density; it vanishes at the mode."""
        return u + products.matmul(self.inside.T, sigmoid(self.logit(u)) - self.reward)

    def precision(self, u: Array) -> Array:
        """The gradient's own."""
        weight = sigmoid(self.logit(u)) * sigmoid(-self.logit(u))
        identity = jnp.eye(len(u), dtype=self.inside.dtype)
        return identity + products.matmul(self.inside.T, weight[:, None] * self.inside)


@jax.custom_jvp
def _mode(rewards: _Rewards) -> Array:
    """The u of highest density."""
    inside, _, reward = rewards

    def newton(_: Array, mode: Array) -> Array:
        step = -spd.solve(rewards.precision(mode), rewards.gradient(mode))
        change = products.matmul(inside, step)

        def narrow(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bracket
            middle = jnp.sqrt(low * high)
            error = sigmoid(rewards.logit(mode) + middle * change) - reward
            slope = products.inner(mode + middle * step, step) + jnp.sum(error * change)
            return jnp.where(slope > 0, low, middle), jnp.where(slope > 0, middle, high)

        # Curvature grows at most by e^c where logits change by c, so log(1 + c)/c of the step stops
        # short of the minimum along it (Sun and Tran-Dinh 2019, eq. 34, nu = 2): so does whatever
        # bisection adds to it, every step descends, and the last ones are full.
        largest = jnp.max(jnp.abs(change), initial=0)
        safe = jnp.where(largest > 0, jnp.log1p(largest) / largest, 1)
        length, _ = lax.fori_loop(0, _BISECTIONS, narrow, (safe, jnp.ones_like(safe)))
        return mode + length * step

    return lax.fori_loop(0, _NEWTON_STEPS, newton, jnp.zeros_like(inside, shape=inside.shape[1]))


@_mode.defjvp
def _mode_jvp(primals: tuple[_Rewards], tangents: tuple[_Rewards]) -> tuple[Array, Array]:
    # The gradient g(mode, rewards) stays 0, so H dmode = -dg, whatever led to the mode.
    mode = _mode(*primals)
    _, change = jax.jvp(lambda rewards: rewards.gradient(mode), primals, tangents)
    # A product, which has a transpose.
    return mode, -products.matmul(spd.inverse(primals[0].precision(mode))[0], change)


def _laplace(
    factor: Array, hyper_parameter: Array, records: TaskRecords
) -> tuple[Array, Array, Array]:
    """Mode of u, the precision there, and minus the log density there, relative to the prior's."""
    _check_rewards(records)
    hyper_parameter, feature = floating(hyper_parameter, records.feature)
    feature = jnp.where(records.mask[:, None], feature, 0)
    centre, inside = products.matmul(feature, hyper_parameter), products.matmul(feature, factor)
    reward = jnp.where(records.mask, records.reward, 0).astype(inside.dtype)
    rewards = _Rewards(inside, centre, reward)
    mode = _mode(rewards)
    at_mode = rewards.logit(mode)
    loss = reward * softplus(-at_mode) + (1 - reward) * softplus(at_mode)
    energy = jnp.sum(jnp.where(records.mask, loss, 0)) + 0.5 * products.inner(mode, mode)
    return mode, rewards.precision(mode), energy


@promotion()
def _laplace_conditional(factor: Array, hyper_parameter: Array, records: TaskRecords) -> Gaussian:
    mode, precision, _ = _laplace(factor, hyper_parameter, records)
    return _gaussian(factor, hyper_parameter, mode, spd.inverse(precision)[0])


@promotion()
def _laplace_evidence(factor: Array, hyper_parameter: Array, records: TaskRecords) -> Array:
    _, precision, energy = _laplace(factor, hyper_parameter, records)
    return -energy - 0.5 * spd.inverse(precision)[1]


def _gaussian(factor: Array, hyper_parameter: Array, mean: Array, cov: Array) -> Gaussian:
    return Gaussian(
        hyper_parameter + products.matmul(factor, mean), products.congruence(factor, cov)
    )


def check_data(function: Any, data: Any) -> None:
    """What the functions of `bernoulli_laplace` ask of their data; those of users ask nothing.

    Warns:
        UserWarning: rewards of `linear_gaussian` lie so far from zero that sums lack digits.
    """
    named = getattr(function, "func", None)
    if named is _linear_conditional:
        warn_of_rewards(data, function.args[1], stacklevel=6)
    if named is _linear_evidence:
        eps = float(jnp.finfo(working_type(data.square)).eps)
        what = "the log evidence of particles"
        warn_of_likelihood(data.square, function.args[1], eps, what, stacklevel=6)
    if named in (_laplace_conditional, _laplace_evidence):
        checks.check_kind("data", data, TaskRecords, "TaskRecords for bernoulli_laplace")
        _check_rewards(data)


def _check_rewards(records: Any) -> None:
    """Rewards of 0 or 1 wherever there is a record, of one task or many."""
    shape = checks.shape_of("data.mask", records.mask)
    checks.check_shape("data.reward", records.reward, shape, "[..., records]")
    checks.check_shape("data.feature", records.feature, (*shape, None), "[..., records, features]")
    if not checks.is_concrete(records):
        return
    checks.numbers("data.feature", records.feature)
    reward = checks.numbers("data.reward", records.reward)
    wrong = ~np.isin(reward, (0, 1)) & checks.numbers("data.mask", records.mask).astype(bool)
    if np.any(wrong):
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise InputError(
            f"data.reward must be 0 or 1 for bernoulli_laplace, was {reward[where]} at index "
            f"{where}; linear_gaussian takes any reward"
        )


def _check_task_cov(task_cov: ArrayLike) -> Array:
    """A factor F of the task covariance, F F'."""
    checks.check_square("task_cov", task_cov)
    checks.check_covariance("task_cov", task_cov, singular=True)
    return products.psd_factor(*floating(task_cov))
