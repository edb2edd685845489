"""The hierarchical linear Gaussian model and its data.

A hyper-parameter `mu ~ N(hyper_mean, hyper_cov)` is shared by all tasks; task s has the parameter
`theta_s ~ N(mu, task_cov)`; a record with features `phi` has the reward
`y ~ N(phi' theta_s, noise_std^2)`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.inference.digits import warn_of_posteriors
from jaxbandit.precision import settings
from jaxbandit.precision.floating import counts, floating, in_precision


class HierarchicalGaussian(NamedTuple):
    """The model's parameters.

    Source:
        Hong et al. 2023, section 3.2.
    """

    hyper_mean: Any
    """[features], in reward per feature unit."""
    hyper_cov: Any
    """[features, features], positive semi-definite of any rank."""
    task_cov: Any
    """[features, features], positive definite."""
    noise_std: Any
    """[], standard deviation of a reward given its mean."""


class BanditLog(NamedTuple):
    """Logged bandit feedback, one record an entry."""

    task: Any
    """[records], integers from 0."""
    feature: Any
    """[records, features], of the action taken in its context."""
    reward: Any
    """[records]."""


class TaskStatistics(NamedTuple):
    """Sums over each task's records: all that the posteriors need of a log.

    Sums are raw, free of the noise, so the noise can be fitted without the records. Statistics of
    disjoint logs add up.
    """

    gram: Array
    """[tasks, features, features], sum of `phi phi'`."""
    moment: Array
    """[tasks, features], sum of `phi y`."""
    square: Array
    """[tasks], sum of `y^2`."""
    count: Array
    """[tasks], number of records, integer."""


class Gaussian(NamedTuple):
    """A Gaussian distribution, or many: leading axes are shared by both fields."""

    mean: Array
    """[..., features]."""
    cov: Array
    """[..., features, features]."""


def check_model(model: HierarchicalGaussian) -> HierarchicalGaussian:
    """The model as arrays of one floating type.

    Raises:
        InputError: shapes disagree or, where values are known, a number is not finite, a covariance
            is not symmetric, hyper_cov has a negative eigenvalue, task_cov is not positive
            definite, or noise_std is not positive.
    """
    model = in_precision(model)
    checks.check_shape("hyper_mean", model.hyper_mean, (None,), "[features]")
    d = np.shape(model.hyper_mean)[0]
    if d == 0:
        raise InputError("hyper_mean must have at least one feature, was empty")
    for name in ("hyper_cov", "task_cov"):
        checks.check_shape(name, getattr(model, name), (d, d), "[features, features]")
    checks.check_shape("noise_std", model.noise_std, (), "[]")
    checks.check_finite("hyper_mean", model.hyper_mean)
    checks.check_covariance("hyper_cov", model.hyper_cov, singular=True)
    checks.check_covariance("task_cov", model.task_cov, singular=False)
    checks.check_positive("noise_std", model.noise_std)
    return HierarchicalGaussian(*floating(*model))


def check_log(log: BanditLog, tasks: int, features: int | None, source: str) -> None:
    """Shapes of a log and, where values are known, its tasks; rewards may be left out, as None.

    Args:
        log: to be checked.
        tasks: as many as `source`, an argument, says.
        features: as many as a record has; None for any number.
        source: as the messages name it.

    Raises:
        InputError: shapes disagree, a task is out of range or not an integer.
    """
    checks.check_shape("log.feature", log.feature, (None, features), "[records, features]")
    n = np.shape(log.feature)[0]
    checks.check_shape("log.task", log.task, (n,), "[records]")
    if log.reward is not None:
        checks.check_shape("log.reward", log.reward, (n,), "[records]")
    check_tasks("log.task", log.task, tasks, source)


def check_tasks(name: str, task: Any, tasks: int, source: str) -> None:
    """Integers in [0, tasks), where values are known; `source` as in `check_log`."""
    remedy = f"number the tasks 0, 1, ... first; {source} says how many there are"
    checks.check_indices(name, task, tasks, "record", remedy)


def check_statistics(stats: TaskStatistics, features: int, dtype: jnp.dtype) -> TaskStatistics:
    """The statistics as arrays, sums in the given floating type.

    Raises:
        InputError: shapes disagree with each other or with the model's number of features.
    """
    settings.check_process()
    stats = in_precision(stats)
    checks.check_shape(
        "stats.gram", stats.gram, (None, features, features), "[tasks, features, features]"
    )
    m = np.shape(stats.gram)[0]
    if m == 0:
        raise InputError("stats must have at least one task, has none")
    checks.check_shape("stats.moment", stats.moment, (m, features), "[tasks, features]")
    checks.check_shape("stats.square", stats.square, (m,), "[tasks]")
    checks.check_shape("stats.count", stats.count, (m,), "[tasks]")
    return TaskStatistics(
        gram=jnp.asarray(stats.gram, dtype),
        moment=jnp.asarray(stats.moment, dtype),
        square=jnp.asarray(stats.square, dtype),
        count=counts(stats.count),
    )


def check_choices(task_parameter: ArrayLike, feature: ArrayLike) -> None:
    """A task's parameter, and features of the actions that it chooses from."""
    shape = check_actions(feature)
    checks.check_shape("task_parameter", task_parameter, shape[-1:], "[features]")
    checks.check_finite("task_parameter", task_parameter)
    checks.check_finite("feature", feature)


def check_actions(feature: ArrayLike) -> tuple[int, ...]:
    """Shape of features that have an axis of actions, of at least one."""
    shape = checks.shape_of("feature", feature)
    if len(shape) < 2 or shape[-2] == 0:
        raise InputError(f"feature must have shape [..., actions, features], was {shape}")
    return shape


def checked(
    model: HierarchicalGaussian, stats: TaskStatistics
) -> tuple[HierarchicalGaussian, TaskStatistics]:
    """A model and statistics of its tasks, as arrays of one floating type.

    Raises:
        InputError: as `check_model` and `check_statistics`.

    Warns:
        UserWarning: rewards or hyper_mean lie so far from zero that means of tasks are rounded.
    """
    model = check_model(model)
    stats = check_statistics(stats, model.hyper_mean.shape[0], model.hyper_mean.dtype)
    warn_of_posteriors(model, stats)
    return model, stats
