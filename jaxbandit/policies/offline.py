"""Acting on posteriors: pessimism, and what it costs.

HierOPO, FlatOPO and OracleOPO differ only in the posterior they act on. Each is a function of one
form, `(model, stats, hyper_parameter) -> Gaussian per task`; so is a user's own.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.inference import posterior
from jaxbandit.inference.model import (
    Gaussian,
    HierarchicalGaussian,
    TaskStatistics,
    check_actions,
    check_choices,
)
from jaxbandit.linalg import products
from jaxbandit.precision.floating import floating
from jaxbandit.precision.settings import promotion

Algorithm = Callable[[HierarchicalGaussian, TaskStatistics, Array], Gaussian]
"""(model, stats, true hyper-parameter [features]) -> Gaussian, leading axis tasks."""


def hieropo(model: HierarchicalGaussian, stats: TaskStatistics, hyper_parameter: Array) -> Gaussian:
    """HierOPO: the hyper-parameter is learned from all tasks (Hong et al. 2023, algorithm 1)."""
    del hyper_parameter
    return posterior.task_posteriors(model, stats)


def flatopo(model: HierarchicalGaussian, stats: TaskStatistics, hyper_parameter: Array) -> Gaussian:
    """FlatOPO: each task learns alone, from its marginal prior."""
    del hyper_parameter
    return posterior.flat_posteriors(model, stats)


def oracleopo(
    model: HierarchicalGaussian, stats: TaskStatistics, hyper_parameter: Array
) -> Gaussian:
    """OracleOPO: the hyper-parameter is known."""
    return posterior.oracle_posteriors(model, stats, hyper_parameter)


ALGORITHMS: dict[str, Algorithm] = {
    "HierOPO": hieropo,
    "FlatOPO": flatopo,
    "OracleOPO": oracleopo,
}


def lower_confidence_bound(
    gaussian: Gaussian, feature: Float[ArrayLike, "... features"], alpha: ArrayLike
) -> Float[Array, "..."]:
    r"""Pessimistic mean reward, $\phi' m - \alpha \sqrt{\phi' C \phi}$.

    Args:
        gaussian: one parameter's posterior, mean [features] and cov [features, features]; map over
            tasks with `jax.vmap`.
        feature: [..., features], any leading axes.
        alpha: width of the confidence interval in posterior standard deviations, at least 0.

    Returns:
        [...], in reward units.

    Raises:
        InputError: shapes disagree; a number is not finite, cov is no covariance, or alpha is
            negative.

    Source:
        Hong et al. 2023, eqs. 2-3 and 8.

    >>> import jax.numpy as jnp
    >>> import jaxbandit as jb
    >>> theta = jb.Gaussian(mean=jnp.array([1.0, 0.0]), cov=jnp.eye(2))
    >>> jb.lower_confidence_bound(theta, jnp.array([[1.0, 0.0], [0.0, 2.0]]), alpha=0.5).tolist()
    [0.5, -1.0]
    """
    mean, cov, feature = _checked(gaussian, feature)
    checks.check_not_negative("alpha", alpha)
    checks.check_broadcast({"alpha": alpha, "the bounds": feature[..., 0]})
    return _lower_bound(mean, cov, feature, *floating(alpha))


def pessimistic_action(
    gaussian: Gaussian, feature: Float[ArrayLike, "... actions features"], alpha: ArrayLike
) -> Int[Array, "..."]:
    """The action of highest lower confidence bound, ties to the lowest index.

    Args:
        gaussian: one parameter's posterior, mean [features] and cov [features, features].
        feature: [..., actions, features], one row an action.
        alpha: as in `lower_confidence_bound`.

    Raises:
        InputError: as `lower_confidence_bound`.
    """
    check_actions(feature)
    return jnp.argmax(lower_confidence_bound(gaussian, feature, alpha), axis=-1)


def suboptimality(
    task_parameter: Float[ArrayLike, " features"],
    feature: Float[ArrayLike, "*contexts actions features"],
    action: Int[ArrayLike, "*contexts"],
) -> Float[Array, ""]:
    r"""Mean reward lost to the best policy, $E[\max_a \phi' \theta - \phi_{\pi(X)}' \theta]$.

    Args:
        task_parameter: [features], the true parameter.
        feature: [*contexts, actions, features]; contexts weigh the same.
        action: [*contexts], the policy's action in each.

    Returns:
        [], in reward units, at least 0.

    Raises:
        InputError: shapes disagree; a number is not finite, an action is not an integer or is out
            of range.

    Source:
        Hong et al. 2023, section 2.
    """
    check_choices(task_parameter, feature)
    theta, feature = floating(task_parameter, feature)
    checks.check_shape("action", action, feature.shape[:-2], "[*contexts]")
    remedy = "it is the index of a row of feature"
    checks.check_indices("action", action, feature.shape[-2], "context", remedy)
    return _loss(theta, feature, jnp.asarray(action))


@promotion()
def _lower_bound(mean: Array, cov: Array, feature: Array, alpha: Array) -> Array:
    std = products.positive_root(products.quadratic_form(cov, feature))
    return products.inner(feature, mean) - alpha * std


@promotion()
def _loss(theta: Array, feature: Array, action: Array) -> Array:
    reward = products.inner(feature, theta)
    taken = jnp.take_along_axis(reward, action[..., None], axis=-1)[..., 0]
    return jnp.mean(jnp.max(reward, axis=-1) - taken)


# Checks.


def _checked(gaussian: Gaussian, feature: ArrayLike) -> tuple[Array, Array, Array]:
    mean, cov = gaussian
    if np.ndim(mean) != 1:
        raise InputError(
            f"gaussian.mean must have shape [features], was {np.shape(mean)}; "
            "use jax.vmap over tasks"
        )
    d = np.shape(mean)[0]
    checks.check_shape("gaussian.cov", cov, (d, d), "[features, features]")
    shape = checks.shape_of("feature", feature)
    if shape[-1:] != (d,):
        raise InputError(f"feature must have shape [..., {d}], was {shape}")
    checks.check_finite("gaussian.mean", mean)
    checks.check_covariance("gaussian.cov", cov, singular=True)
    checks.check_finite("feature", feature)
    mean, cov, feature = floating(mean, cov, feature)
    return mean, cov, feature
