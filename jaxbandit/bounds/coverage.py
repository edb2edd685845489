r"""How well a log covers the optimal policy: the matrices $G_{s,*}$ and the number $\gamma$.

With $A_s$ the mean of $\phi \phi'$ over the records of task s and
$G_{s,*} = E[\phi(X, \pi_*(X)) \phi(X, \pi_*(X))']$, $\gamma_s$ is the largest number with
$A_s \ge \gamma_s G_{s,*}$: positive only if the records excite every direction that the optimal
policy does.

Assumption 1 asks for features of norm 1 at most. The model is the same in other units:
`scale_features` gives it for features divided by a number.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.inference.model import (
    HierarchicalGaussian,
    TaskStatistics,
    check_choices,
    check_statistics,
)
from jaxbandit.linalg import products
from jaxbandit.linalg.eigen import symmetric_eigen, symmetric_eigenvalues
from jaxbandit.precision.floating import counts, floating
from jaxbandit.precision.settings import promotion


@promotion()
def optimal_action(
    task_parameter: Float[ArrayLike, " features"],
    feature: Float[ArrayLike, "*contexts actions features"],
) -> Int[Array, "*contexts"]:
    r"""$\pi_*(x) = \arg\max_a \phi(x, a)' \theta$, ties to the lowest index.

    Args:
        task_parameter: [features].
        feature: [*contexts, actions, features].

    Raises:
        InputError: shapes disagree, a number is not finite.
    """
    check_choices(task_parameter, feature)
    theta, feature = jnp.asarray(task_parameter, float), jnp.asarray(feature, float)
    return jnp.argmax(products.inner(feature, theta), axis=-1)


@promotion()
def optimal_gram(
    task_parameter: Float[ArrayLike, " features"],
    feature: Float[ArrayLike, "*contexts actions features"],
) -> Float[Array, "features features"]:
    r"""$G_* = E[\phi(X, \pi_*(X)) \phi(X, \pi_*(X))']$ of one task; map over tasks with `jax.vmap`.

    Exact where `feature` lists all contexts, equally probable; where it is a sample of them, their
    Monte-Carlo estimate.

    Args:
        task_parameter: [features], the true parameter.
        feature: [*contexts, actions, features], each of norm 1 at most.

    Returns:
        [features, features], positive semi-definite with a trace of 1 at most.

    Raises:
        InputError: shapes disagree, a number is not finite, or a feature vector with a norm above
            1.

    Source:
        Hong et al. 2023, assumptions 1 and 3.
    """
    action = optimal_action(task_parameter, feature)
    feature = jnp.asarray(feature, float)
    if checks.is_concrete(feature):
        norm = np.sqrt(np.max(np.sum(np.asarray(feature, np.float64) ** 2, axis=-1), initial=0))
        if not norm <= 1 + 1e-5:
            raise InputError(
                f"feature vectors must have norm 1 at most (Assumption 1 of the bounds), one has "
                f"{norm:.4g}; divide features by that, and the model and statistics with them: "
                f"jaxbandit.bounds.scale_features({norm:.4g}, model, stats)"
            )
    taken = jnp.take_along_axis(feature, action[..., None, None], axis=-2)[..., 0, :]
    taken = taken.reshape((-1, feature.shape[-1]))
    return products.outer_gram(taken.T) / taken.shape[0]


@promotion()
def task_gamma(
    stats: TaskStatistics, optimal_gram: Float[ArrayLike, "tasks features features"]
) -> Float[Array, " tasks"]:
    r"""$\gamma_s = 1 / \lambda_1(A_s^{+1/2} G_{s,*} A_s^{+1/2})$, of each task.

    0 where the kernel of $A_s$ does not lie in that of $G_{s,*}$, and where there are no records;
    infinite where $G_{s,*} = 0$. The rank of $A_s$ is told from its correlations, so that neither
    the units of the features nor the number of records matter; nothing is added to it.

    Args:
        stats: of the log.
        optimal_gram: [tasks, features, features], from `optimal_gram`.

    Raises:
        InputError: shapes disagree, or features of norm above one.

    Source:
        Hong et al. 2023, assumption 3.
    """
    stats, optimal = _checked(stats, optimal_gram)
    count = stats.count.astype(optimal.dtype)
    mean_gram = stats.gram / jnp.maximum(count, 1)[:, None, None]
    return jnp.where(count > 0, _largest_multiples(mean_gram, optimal), 0)


@promotion()
def pairwise_gamma(
    stats: TaskStatistics, optimal_gram: Float[ArrayLike, "tasks features features"]
) -> Float[Array, "tasks tasks"]:
    r"""For sparse features, the largest g with $A_z \ge g\, G_{s,*}$ for every pair (z, s).

    All matrices are diagonal, and g is the smallest ratio of their entries where that of
    $G_{s,*}$ is not 0.

    Args:
        stats: of the log; feature vectors with at most one entry that is not zero.
        optimal_gram: [tasks, features, features], from `optimal_gram`.

    Returns:
        [tasks z, tasks s]; 0 for z without records.

    Raises:
        InputError: as `task_gamma`; matrices that are not diagonal.

    Source:
        Hong et al. 2023, assumptions 3 and 4; the pairs are what the proof of theorem 2 needs.
    """
    stats, optimal = _checked(stats, optimal_gram)
    for name, gram in (("stats.gram", stats.gram), ("optimal_gram", optimal)):
        if checks.is_concrete(gram):
            beside = np.asarray(gram) * (1 - np.eye(gram.shape[-1]))
            if np.any(beside != 0):
                raise InputError(
                    f"{name} must be diagonal, from features with at most one entry that is not "
                    "zero (Assumption 4); task_gamma takes any"
                )
    count = stats.count.astype(optimal.dtype)
    mean_gram = jnp.diagonal(stats.gram, axis1=1, axis2=2) / jnp.maximum(count, 1)[:, None]
    wanted = jnp.diagonal(optimal, axis1=1, axis2=2)
    ratio = mean_gram[:, None] / jnp.where(wanted > 0, wanted, 1)
    smallest = jnp.min(jnp.where(wanted > 0, ratio, jnp.inf), axis=-1)
    return jnp.where(count[:, None] > 0, smallest, 0)


@promotion()
def smallest_gamma(
    gamma: Float[ArrayLike, " tasks *others"], count: Int[ArrayLike, " tasks"]
) -> Float[Array, ""]:
    r"""One $\gamma$ for all: the smallest, over tasks with records; 0 if there are none.

    Args:
        gamma: [tasks] from `task_gamma`, or [tasks, tasks] from `pairwise_gamma`.
        count: [tasks], records of each task.

    Raises:
        InputError: shapes disagree.
    """
    gamma, count = jnp.asarray(gamma, float), jnp.asarray(count)
    checks.check_shape("count", count, gamma.shape[:1], "[tasks]")
    least = jnp.min(gamma.reshape((gamma.shape[0], -1)), axis=1)
    smallest = jnp.min(jnp.where(count > 0, least, jnp.inf))
    return jnp.where(jnp.any(count > 0), smallest, 0)


@promotion()
def scale_features(
    scale: ArrayLike, model: HierarchicalGaussian, stats: TaskStatistics
) -> tuple[HierarchicalGaussian, TaskStatistics]:
    r"""The same model and data for features divided by `scale`: $\phi/c$, $c\,\theta$.

    Rewards, and so suboptimality, do not change. Divide the features of contexts likewise.

    Args:
        scale: c, positive; the largest norm of a feature vector makes all norms 1 at most.
        model: the model, for the features as they are.
        stats: of the log, likewise.

    Raises:
        InputError: scale not positive.
    """
    checks.check_positive("scale", scale)
    (c,) = floating(scale)
    mean, hyper_cov, task_cov, noise_std = floating(*model)
    gram, moment, square = floating(*stats[:3])
    return (
        HierarchicalGaussian(mean * c, hyper_cov * c**2, task_cov * c**2, noise_std),
        TaskStatistics(gram / c**2, moment / c, square, counts(stats.count)),
    )


def smallest_eigenvalue(matrix: Float[Array, "*batch d d"]) -> Float[Array, "*batch"]:
    """Of positive semi-definite matrices; 0 where it is no more than the rounding of the others."""
    values = symmetric_eigenvalues(matrix)
    return jnp.where(values[..., 0] > _noise(matrix) * values[..., -1], values[..., 0], 0)


def check_optimal_gram(value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Matrices `G_*` of features within Assumption 1: traces of 1 at most."""
    axes = "[features, features]" if len(shape) == 2 else "[tasks, features, features]"
    checks.check_shape("optimal_gram", value, shape, axes)
    optimal = jnp.asarray(value, float)
    checks.check_finite("optimal_gram", optimal)
    if checks.is_concrete(optimal):
        trace = np.max(np.trace(np.asarray(optimal), axis1=-2, axis2=-1), initial=0)
        if not trace <= 1 + 1e-4:
            raise InputError(
                f"optimal_gram must be of features with norm 1 at most (Assumption 1 of the "
                f"bounds), has a trace of {trace:.4g}; see jaxbandit.bounds.scale_features"
            )
    return optimal


def _checked(stats: TaskStatistics, optimal_gram: ArrayLike) -> tuple[TaskStatistics, Array]:
    shape = np.shape(stats.gram)
    optimal = check_optimal_gram(optimal_gram, shape)
    return check_statistics(stats, shape[-1], optimal.dtype), optimal


@jax.custom_jvp
def _largest_multiple(first: Float[Array, "d d"], second: Float[Array, "d d"]) -> Array:
    """The largest g with `first - g second` positive semi-definite, both that themselves."""
    whitening, lacking = _whitening(first, second)
    most = symmetric_eigenvalues(products.congruence(whitening.T, second))[-1]
    # Rounded down: a gamma too large would be no bound.
    return jnp.where(lacking, 0, jnp.where(most > 0, (1 - _noise(first)) / most, jnp.inf))


@_largest_multiple.defjvp
def _largest_multiple_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    # 1/g is the largest x' B x / x' A x, whose derivative is that at the x where it is.
    (first, second), (first_change, second_change) = primals, tangents
    multiple = _largest_multiple(first, second)
    whitening, _ = _whitening(first, second)
    x = products.matmul(
        whitening, symmetric_eigen(products.congruence(whitening.T, second))[1][:, -1]
    )
    known = (multiple > 0) & jnp.isfinite(multiple)
    g = jnp.where(known, multiple, 0)
    change = g * products.symmetrize(second_change) - products.symmetrize(first_change)
    return multiple, -g * products.inner(x, products.matmul(change, x))


_largest_multiples = jax.jit(jax.vmap(_largest_multiple))


def _whitening(first: Array, second: Array) -> tuple[Array, Array]:
    """W with `W' first W` the identity on the range of `first`, zero beside it, and whether
    `second` reaches beyond that range."""
    # Scaled to unit diagonal: rank is read off correlations.
    variance = jnp.diagonal(first)
    seen = variance > 0
    scale = jnp.where(seen, lax.rsqrt(jnp.where(seen, variance, 1)), 0)
    values, vectors = symmetric_eigen(first * scale[:, None] * scale)
    kept = values > _noise(first) * values[-1]
    second_scaled = second * scale[:, None] * scale
    # Directions that `first` lacks: `second` must lack them too, but for rounding.
    missed = jnp.where(kept, 0, jnp.diagonal(products.congruence(vectors.T, second_scaled)))
    unseen = jnp.where(seen, 0, jnp.diagonal(second))
    lacking = (jnp.max(missed) > _noise(first) * jnp.trace(second_scaled)) | (jnp.max(unseen) > 0)
    root = jnp.where(kept, lax.rsqrt(jnp.where(kept, values, 1)), 0)
    return scale[:, None] * vectors * root, lacking


def _noise(matrix: Array) -> float:
    """Relative size below which an eigenvalue is rounding."""
    return 8 * matrix.shape[-1] * float(jnp.finfo(matrix.dtype).eps)
