r"""Posteriors of the hierarchical linear Gaussian model.

Everything is computed in *task coordinates*, in which the task covariance is the identity and the
hyper-prior mean is zero: with $\Sigma_0 = F F'$ write $\theta_s = \mu_q + F \eta_s$ and
$\mu_* = \mu_q + F \nu$. Then $\nu \sim N(0, H H')$ with $H H' = F^{-1} \Sigma_q F^{-\top}$,
$\eta_s \sim N(\nu, I)$, and task s contributes the precision $A_s = F' G_s F$ and the information
$b_s = F' (B_s - G_s \mu_q)$. With $P_s = (I + A_s)^{-1}$:

- hyper-posterior: $\nu \mid D \sim N(S h, S)$, $S = H (I + H' T H)^{-1} H'$,
  $T = \sum_s A_s P_s$, $h = \sum_s P_s b_s$;
- task posterior: $\eta_s \mid D \sim N(P_s (S h + b_s),\; P_s + P_s S P_s)$.

Nothing singular is ever inverted ($I + A_s$ and $I + H' T H$ are at least the identity) and nothing
large is subtracted, so tasks without records and hyper-priors of any rank are exact.

In float32, a direction in which a task has no data carries the rounding of the directions in which
it has: a relative error of about 6e-8 times the largest eigenvalue of $A_s$, the ratio of data to
prior precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxbandit import checks, linalg
from jaxbandit.linalg import einsum
from jaxbandit.offpolicy.model import (
    Gaussian,
    HierarchicalGaussian,
    TaskStatistics,
    check_model,
    check_statistics,
)

# Tasks handled at a time: packed matrices of so many tasks stay in a core's cache.
_BLOCK = 2048


class HyperInformation(NamedTuple):
    """What tasks say about the hyper-parameter, in task coordinates; adds up over tasks."""

    precision: Float[Array, "features features"]
    """T, the sum of `A_s P_s`."""
    vector: Float[Array, " features"]
    """h, the sum of `P_s b_s`."""


def hyper_posterior(model: HierarchicalGaussian, stats: TaskStatistics) -> Gaussian:
    r"""Posterior of the hyper-parameter given every task's data.

    Each task is one observation of $\mu_*$ with covariance $\Sigma_0 + G_s^{-1}$; precisions add:
    $\bar\Sigma^{-1} = \Sigma_q^{-1} + \sum_s (\Sigma_0 + G_s^{-1})^{-1}$. $G_s$ and $\Sigma_q$ are
    never inverted, so tasks without records, and a hyper_cov of any rank, are exact.

    Args:
        model: hyper_mean [features], hyper_cov and task_cov [features, features], noise_std [].
        stats: raw sums per task; gram [tasks, features, features] in feature units squared,
            moment [tasks, features] in feature times reward units.

    Returns:
        Gaussian with mean [features] and cov [features, features].

    Raises:
        InputError: shapes disagree, or the model is not valid (`check_model`).

    Source:
        Hong et al. 2023, eq. 7.

    >>> import jax.numpy as jnp
    >>> import jaxbandit as jb
    >>> model = jb.HierarchicalGaussian(jnp.zeros(1), jnp.eye(1), jnp.eye(1), 1.0)
    >>> stats = jb.task_statistics(jb.BanditLog([0], [[1.0]], [3.0]), tasks=2)
    >>> hyper = jb.hyper_posterior(model, stats)  # one observation of variance 1 + 1
    >>> [round(float(x), 4) for x in (hyper.mean[0], hyper.cov[0, 0])]
    [1.0, 0.6667]
    """
    model, stats = _checked(model, stats)
    return _hyper_posterior(model, _hyper_information(model, stats))


def hyper_posterior_from(model: HierarchicalGaussian, information: HyperInformation) -> Gaussian:
    """The hyper-posterior, from information summed over tasks.

    Raises:
        InputError: the model is not valid (`check_model`).
    """
    return _hyper_posterior(check_model(model), information)


def hyper_information(model: HierarchicalGaussian, stats: TaskStatistics) -> HyperInformation:
    """What all tasks say about the hyper-parameter: one reduction over the tasks.

    Raises:
        InputError: shapes disagree, or the model is not valid (`check_model`).
    """
    return _hyper_information(*_checked(model, stats))


def scan_hyper_information(
    model: HierarchicalGaussian, stats: TaskStatistics, initial: HyperInformation | None = None
) -> HyperInformation:
    """The same, as a recursion over tasks: carry in, carry out.

    Args:
        model: the model.
        stats: the tasks to add.
        initial: information of tasks already seen; None for none.

    Raises:
        InputError: shapes disagree, or the model is not valid (`check_model`).
    """
    model, stats = _checked(model, stats)
    factor = _basis(model).factor
    initial = _no_information(model) if initial is None else initial

    def add_task(carry: HyperInformation, one: TaskStatistics) -> tuple[HyperInformation, None]:
        precision, vector = _information(factor, model, one.gram, one.moment)
        inverse, _ = linalg.spd_inverse(precision + jnp.eye(len(vector), dtype=vector.dtype))
        return HyperInformation(
            carry.precision + linalg.symmetrize(linalg.matmul(precision, inverse)),
            carry.vector + linalg.matmul(inverse, vector),
        ), None

    return lax.scan(add_task, initial, stats)[0]


def task_posteriors(model: HierarchicalGaussian, stats: TaskStatistics) -> Gaussian:
    r"""Posterior of every task's parameter given every task's data: what HierOPO acts on.

    Mean $\tilde\Sigma_s (\Sigma_0^{-1} \bar\mu + B_s)$, covariance $\tilde\Sigma_s +
    \tilde\Sigma_s \Sigma_0^{-1} \bar\Sigma \Sigma_0^{-1} \tilde\Sigma_s$ with
    $\tilde\Sigma_s = (\Sigma_0^{-1} + G_s)^{-1}$.

    Args:
        model: hyper_mean [features], hyper_cov and task_cov [features, features], noise_std [].
        stats: raw sums per task, gram [tasks, features, features] and moment [tasks, features].

    Returns:
        Gaussian with mean [tasks, features] and cov [tasks, features, features].

    Raises:
        InputError: shapes disagree, or the model is not valid (`check_model`).

    Source:
        Hong et al. 2023, eq. 8.
    """
    return _task_posteriors(*_checked(model, stats))


def oracle_posteriors(
    model: HierarchicalGaussian, stats: TaskStatistics, hyper_parameter: ArrayLike
) -> Gaussian:
    r"""Posterior of every task's parameter if $\mu_*$ were known: what OracleOPO acts on.

    Args:
        model: the model; hyper_mean and hyper_cov play no role.
        stats: raw sums per task.
        hyper_parameter: [features], $\mu_*$.

    Returns:
        Gaussian with mean [tasks, features] and cov [tasks, features, features].

    Raises:
        InputError: shapes disagree, or the model is not valid (`check_model`).

    Source:
        Hong et al. 2023, section 3.3.
    """
    model, stats = _checked(model, stats)
    features = model.hyper_mean.shape
    checks.check_shape("hyper_parameter", hyper_parameter, features, "[features]")
    checks.check_finite("hyper_parameter", hyper_parameter)
    return _oracle_posteriors(model, stats, jnp.asarray(hyper_parameter, model.hyper_mean.dtype))


def flat_posteriors(model: HierarchicalGaussian, stats: TaskStatistics) -> Gaussian:
    r"""Posterior of every task's parameter given its own data alone: what FlatOPO acts on.

    The prior of each task is its marginal, $N(\mu_q, \Sigma_q + \Sigma_0)$.

    Args:
        model: the model.
        stats: raw sums per task.

    Returns:
        Gaussian with mean [tasks, features] and cov [tasks, features, features].

    Raises:
        InputError: shapes disagree, or the model is not valid (`check_model`).

    Source:
        Hong et al. 2023, section 3.3.
    """
    return _flat_posteriors(*_checked(model, stats))


def new_task_posterior(model: HierarchicalGaussian, stats: TaskStatistics) -> Gaussian:
    r"""Distribution of the parameter of a task without data: $N(\bar\mu, \Sigma_0 + \bar\Sigma)$.

    Args:
        model: the model.
        stats: raw sums of the tasks that have data.

    Returns:
        Gaussian with mean [features] and cov [features, features].

    Raises:
        InputError: shapes disagree, or the model is not valid (`check_model`).
    """
    hyper = hyper_posterior(model, stats)
    return Gaussian(hyper.mean, hyper.cov + jnp.asarray(model.task_cov, hyper.cov.dtype))


def log_marginal_likelihood(model: HierarchicalGaussian, stats: TaskStatistics) -> Array:
    r"""Log density of all rewards given all features, parameters integrated out.

    Task parameters first, then the hyper-parameter, with $y$ centred at its prior mean:
    $-\tfrac{1}{2} [n \log 2\pi\sigma^2 + \sum_s (\log|I + A_s| + |y_s|^2/\sigma^2 - b_s' P_s b_s)
    + \log|I + H' T H| - h' S h]$.

    Args:
        model: the model; may be differentiated, for empirical Bayes.
        stats: raw sums per task.

    Returns:
        [], in nats.

    Raises:
        InputError: shapes disagree, or the model is not valid (`check_model`).
    """
    return _log_marginal_likelihood(*_checked(model, stats))


# The same, on checked arguments.


@jax.jit
def _hyper_posterior(model: HierarchicalGaussian, information: HyperInformation) -> Gaussian:
    basis = _basis(model)
    mean, root = _hyper(basis, information)
    return Gaussian(
        model.hyper_mean + linalg.matmul(basis.factor, mean),
        linalg.congruence(basis.factor, linalg.outer_gram(root)),
    )


@jax.jit
def _hyper_information(model: HierarchicalGaussian, stats: TaskStatistics) -> HyperInformation:
    factor = _basis(model).factor

    def add(carry: HyperInformation, part: TaskStatistics) -> HyperInformation:
        tasks = _condition(factor, model, part)
        inverse = linalg.unpack(tasks.inverse)
        precision = einsum("ijs,kjs->ik", linalg.unpack(tasks.precision), inverse)
        return HyperInformation(
            carry.precision + linalg.symmetrize(precision),
            carry.vector + einsum("ijs,js->i", inverse, tasks.vector),
        )

    return _over_blocks(add, _no_information(model), stats)


@jax.jit
def _task_posteriors(model: HierarchicalGaussian, stats: TaskStatistics) -> Gaussian:
    basis = _basis(model)
    mean, root = _hyper(basis, _hyper_information(model, stats))

    def spread(inverse: Array) -> Array:
        # P + P S P = P + (P K)(P K)', with S = K K'.
        through = einsum("kr,kis->ris", root, linalg.unpack(inverse))
        return inverse + linalg.packed_outer(through)

    return _posteriors(basis.factor, model, stats, mean, spread)


@jax.jit
def _oracle_posteriors(
    model: HierarchicalGaussian, stats: TaskStatistics, hyper_parameter: Array
) -> Gaussian:
    model = model._replace(hyper_mean=hyper_parameter)
    return _posteriors(_basis(model).factor, model, stats)


@jax.jit
def _flat_posteriors(model: HierarchicalGaussian, stats: TaskStatistics) -> Gaussian:
    order, factor = _graded_factor(model.hyper_cov + model.task_cov)
    return _posteriors(factor[jnp.argsort(order)], model, stats)


@jax.jit
def _log_marginal_likelihood(model: HierarchicalGaussian, stats: TaskStatistics) -> Array:
    basis = _basis(model)
    variance = model.noise_std**2

    def add(carry: Array, part: TaskStatistics) -> Array:
        # Squared residuals of each task at the prior mean, less what its parameter explains.
        at_mean = linalg.quadratic_form(part.gram, model.hyper_mean)
        square = part.square - 2 * linalg.matmul(part.moment, model.hyper_mean) + at_mean
        tasks = _condition(basis.factor, model, part)
        # b' P b as the maximum of 2 b' x - x' (I + A) x: rounding in x counts only squared.
        x = linalg.packed_multiply(tasks.inverse, tasks.vector)
        back = tasks.vector - x - linalg.packed_multiply(tasks.precision, x)
        fitted = jnp.sum(x * (tasks.vector + back), axis=0)
        return carry + jnp.sum(square / variance - fitted + tasks.log_det)

    within = _over_blocks(add, jnp.zeros_like(variance), stats)
    information = _hyper_information(model, stats)
    inverse, log_det = linalg.spd_inverse(_hyper_precision(basis, information))
    shared = linalg.quadratic_form(inverse, linalg.matmul(basis.hyper.T, information.vector))
    count = jnp.sum(stats.count).astype(variance.dtype)
    return -0.5 * (count * jnp.log(2 * jnp.pi * variance) + within + log_det - shared)


# Task coordinates.


class _Basis(NamedTuple):
    factor: Float[Array, "features features"]
    """F, task_cov = F F'; triangular but for the order of its rows."""
    hyper: Float[Array, "features features"]
    """H, hyper_cov = F H H' F'."""


class _Conditioned(NamedTuple):
    """Tasks in their coordinates, packed, tasks last."""

    precision: Float[Array, "entries tasks"]
    """A."""
    inverse: Float[Array, "entries tasks"]
    """P = (I + A)^-1."""
    log_det: Float[Array, " tasks"]
    """log |I + A|."""
    vector: Float[Array, "features tasks"]
    """b."""


def _checked(
    model: HierarchicalGaussian, stats: TaskStatistics
) -> tuple[HierarchicalGaussian, TaskStatistics]:
    checked = check_model(model)
    return checked, check_statistics(stats, checked.hyper_mean.shape[0], checked.hyper_mean.dtype)


def _basis(model: HierarchicalGaussian) -> _Basis:
    order, factor = _graded_factor(model.task_cov)
    hyper = lax.linalg.triangular_solve(
        factor, linalg.psd_factor(model.hyper_cov[order][:, order]), left_side=True, lower=True
    )
    return _Basis(factor[jnp.argsort(order)], hyper)


def _graded_factor(cov: Array) -> tuple[Array, Array]:
    """Features by descending variance, and the Cholesky factor of `cov` in that order.

    Large variances first, the columns of the factor fall off with the variances, and so do the rows
    of A; in another order all columns are as long as the longest, and the digits of features with a
    small variance drown in those with a large one.
    """
    order = jnp.argsort(-jnp.diagonal(cov), stable=True)
    return order, linalg.cholesky(cov[order][:, order])


def _hyper_precision(basis: _Basis, information: HyperInformation) -> Array:
    identity = jnp.eye(basis.hyper.shape[1], dtype=basis.hyper.dtype)
    return identity + linalg.congruence(basis.hyper.T, information.precision)


def _hyper(basis: _Basis, information: HyperInformation) -> tuple[Array, Array]:
    """Mean and a factor K, S = K K', of the hyper-posterior in task coordinates."""
    inverse, _ = linalg.spd_inverse(_hyper_precision(basis, information))
    root = linalg.matmul(basis.hyper, linalg.cholesky(inverse))
    return linalg.matmul(root, linalg.matmul(root.T, information.vector)), root


def _information(
    factor: Array, model: HierarchicalGaussian, gram: Array, moment: Array
) -> tuple[Array, Array]:
    """A and b of one task."""
    variance = model.noise_std**2
    centred = moment - linalg.matmul(gram, model.hyper_mean)
    precision = linalg.congruence(factor.T, gram) / variance
    return precision, linalg.matmul(factor.T, centred) / variance


def _condition(factor: Array, model: HierarchicalGaussian, stats: TaskStatistics) -> _Conditioned:
    """A, P and b of many tasks, with the task covariance F F' of `factor`."""
    variance = model.noise_std**2
    d = factor.shape[0]
    precision = linalg.congruence_packed(factor, stats.gram) / variance
    identity = linalg.pack(jnp.eye(d, dtype=factor.dtype))
    inverse, log_det = linalg.packed_inverse(precision + identity[:, None])
    centred = stats.moment - einsum("sij,j->si", stats.gram, model.hyper_mean)
    vector = einsum("ji,sj->is", factor, centred) / variance
    return _Conditioned(precision, inverse, log_det, vector)


def _posteriors(
    factor: Array,
    model: HierarchicalGaussian,
    stats: TaskStatistics,
    mean: Array | None = None,
    spread: Callable[[Array], Array] = lambda inverse: inverse,
) -> Gaussian:
    """Posteriors of all tasks under the prior N(hyper_mean + F mean, F F').

    `spread` takes packed P to the packed covariance, both in task coordinates.
    """
    m = stats.count.shape[0]

    def block(part: TaskStatistics) -> Gaussian:
        tasks = _condition(factor, model, part)
        vector = tasks.vector if mean is None else tasks.vector + mean[:, None]
        solution = linalg.packed_multiply(tasks.inverse, vector)
        return Gaussian(
            model.hyper_mean + einsum("ij,js->si", factor, solution),
            linalg.congruence_unpacked(factor, spread(tasks.inverse)),
        )

    if m <= _BLOCK:
        return block(stats)

    def write(index: Array, out: Gaussian) -> Gaussian:
        start, part = _block(stats, index)
        return jax.tree.map(
            lambda whole, piece: lax.dynamic_update_slice_in_dim(whole, piece, start, 0),
            out,
            block(part),
        )

    empty = Gaussian(jnp.zeros_like(stats.moment), jnp.zeros_like(stats.gram))
    return lax.fori_loop(0, -(-m // _BLOCK), write, empty)


def _block(stats: TaskStatistics, index: Array) -> tuple[Array, TaskStatistics]:
    """Start and statistics of a block of tasks; the last overlaps the one before it."""
    start = jnp.minimum(index * _BLOCK, stats.count.shape[0] - _BLOCK)
    return start, jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, _BLOCK), stats)


def _over_blocks(add: Callable[[Any, TaskStatistics], Any], initial: Any, stats: Any) -> Any:
    """Fold `add(carry, statistics of a block of tasks)` over all tasks, each counted once.

    A task met a second time is given as one without records, so `add` must leave the carry alone
    for those.
    """
    m = stats.count.shape[0]
    if m <= _BLOCK:
        return add(initial, stats)

    def body(index: Array, carry: Any) -> Any:
        start, part = _block(stats, index)
        fresh = start + jnp.arange(_BLOCK) >= index * _BLOCK
        part = jax.tree.map(
            lambda x: jnp.where(fresh.reshape((-1,) + (1,) * (x.ndim - 1)), x, 0), part
        )
        return add(carry, part)

    return lax.fori_loop(0, -(-m // _BLOCK), body, initial)


def _no_information(model: HierarchicalGaussian) -> HyperInformation:
    return HyperInformation(jnp.zeros_like(model.task_cov), jnp.zeros_like(model.hyper_mean))
