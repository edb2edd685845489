r"""Posteriors of the hierarchical linear Gaussian model.

One pass over the tasks sums what they say about the hyper-parameter; each task's posterior then
combines its own data with the hyper-posterior. Both happen in the coordinates of
`task_coordinates`, where tasks without records and hyper-priors of any rank are exact.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxbandit import checks, linalg, packed, spd
from jaxbandit.linalg import einsum
from jaxbandit.offpolicy import task_coordinates as coordinates
from jaxbandit.offpolicy import task_pieces
from jaxbandit.offpolicy.model import (
    Gaussian,
    HierarchicalGaussian,
    TaskStatistics,
    check_model,
    checked,
)
from jaxbandit.offpolicy.task_coordinates import Basis, Block, Hyper, HyperInformation


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
    model, stats = checked(model, stats)
    return _hyper_posterior(model, hyper_information(model, stats))


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
    model, stats = checked(model, stats)
    return task_pieces.total(
        task_pieces.each(lambda m, part: _hyper_information(m, part.stats, part.skip), model, stats)
    )


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
    model, stats = checked(model, stats)
    initial = coordinates.no_information(model) if initial is None else initial
    return _scan(model, stats, initial)


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
    model, stats = checked(model, stats)
    learned = task_pieces.each(lambda m, part: _learn(m, part.stats, part.skip), model, stats)
    given = model, _given(model, task_pieces.total(information for information, _ in learned))
    kept = (kept for _, kept in learned)
    return task_pieces.joined(
        lambda given, part, kept: _conclude(*given, part.stats, kept), given, stats, kept
    )


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
    model, stats = checked(model, stats)
    features = model.hyper_mean.shape
    checks.check_shape("hyper_parameter", hyper_parameter, features, "[features]")
    checks.check_finite("hyper_parameter", hyper_parameter)
    known = jnp.asarray(hyper_parameter, model.hyper_mean.dtype)
    return task_pieces.joined(
        lambda given, part: _oracle_posteriors(*given, part.stats), (model, known), stats
    )


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
    model, stats = checked(model, stats)
    return task_pieces.joined(lambda m, part: _flat_posteriors(m, part.stats), model, stats)


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


# The same, on checked arguments.


@jax.jit
def _scan(
    model: HierarchicalGaussian, stats: TaskStatistics, initial: HyperInformation
) -> HyperInformation:
    factor = coordinates.basis(model).factor

    def add_task(carry: HyperInformation, one: TaskStatistics) -> tuple[HyperInformation, None]:
        precision, vector = coordinates.information(factor, model, one.gram, one.moment)
        inverse, _ = spd.inverse(precision + jnp.eye(len(vector), dtype=vector.dtype))
        return HyperInformation(
            carry.precision + linalg.symmetrize(linalg.matmul(precision, inverse)),
            carry.vector + linalg.matmul(inverse, vector),
        ), None

    return lax.scan(add_task, initial, stats)[0]


@jax.jit
def _hyper_posterior(model: HierarchicalGaussian, information: HyperInformation) -> Gaussian:
    basis, hyper = _given(model, information)
    return Gaussian(
        model.hyper_mean + linalg.matmul(basis.factor, hyper.mean),
        linalg.congruence(basis.factor, linalg.outer_gram(hyper.root)),
    )


@jax.jit
def _hyper_information(
    model: HierarchicalGaussian, stats: TaskStatistics, skip: ArrayLike
) -> HyperInformation:
    return _learn(model, stats, skip)[0]


@jax.jit
def _learn(
    model: HierarchicalGaussian, stats: TaskStatistics, skip: ArrayLike
) -> tuple[HyperInformation, tuple[Array, Array]]:
    """What the tasks beyond `skip` say about the hyper-parameter, and each task's P and P b."""
    factor = coordinates.basis(model).factor

    def add(carry: HyperInformation, block: Block) -> tuple[HyperInformation, tuple[Array, Array]]:
        tasks = coordinates.condition(factor, model, block.stats)
        carry = coordinates.add_information(carry, tasks, block.fresh)
        return carry, (tasks.inverse, tasks.solution)

    return coordinates.over_blocks(add, coordinates.no_information(model), stats, skip=skip)


@jax.jit
def _given(model: HierarchicalGaussian, information: HyperInformation) -> tuple[Basis, Hyper]:
    basis = coordinates.basis(model)
    return basis, coordinates.hyper(basis, information)


@jax.jit
def _conclude(
    model: HierarchicalGaussian,
    given: tuple[Basis, Hyper],
    stats: TaskStatistics,
    kept: tuple[Array, Array],
) -> Gaussian:
    """Posteriors of tasks, from what `_given` and `_learn` say."""
    basis, hyper = given

    def write(out: Gaussian, block: Block) -> tuple[Gaussian, None]:
        inverse, solution = block.kept
        mean = solution + packed.multiply(
            inverse, jnp.broadcast_to(hyper.mean[:, None], solution.shape)
        )
        # P + P S P, with S = K K'.
        back = _back(basis.factor, model, mean, inverse, hyper.root)
        return _write(out, block.start, back), None

    return coordinates.over_blocks(write, _empty(stats), stats, kept)[0]


@jax.jit
def _oracle_posteriors(
    model: HierarchicalGaussian, hyper_parameter: Array, stats: TaskStatistics
) -> Gaussian:
    model = model._replace(hyper_mean=hyper_parameter)
    return _own_posteriors(coordinates.basis(model).factor, model, stats)


@jax.jit
def _flat_posteriors(model: HierarchicalGaussian, stats: TaskStatistics) -> Gaussian:
    factor = coordinates.graded_factor(model.hyper_cov + model.task_cov)
    return _own_posteriors(factor, model, stats)


# Parts of those.


def _own_posteriors(factor: Array, model: HierarchicalGaussian, stats: TaskStatistics) -> Gaussian:
    """Posteriors of all tasks from their own data under the prior N(hyper_mean, F F')."""

    def write(out: Gaussian, block: Block) -> tuple[Gaussian, None]:
        tasks = coordinates.condition(factor, model, block.stats)
        return _write(out, block.start, _back(factor, model, tasks.solution, tasks.inverse)), None

    return coordinates.over_blocks(write, _empty(stats), stats)[0]


def _back(
    factor: Array, model: HierarchicalGaussian, mean: Array, cov: Array, root: Array | None = None
) -> Gaussian:
    """Packed Gaussians, tasks last, from task coordinates to the features'."""
    return Gaussian(
        model.hyper_mean + einsum("ij,js->si", factor, mean),
        packed.unpack_congruence(factor, cov, root),
    )


def _empty(stats: TaskStatistics) -> Gaussian:
    return Gaussian(jnp.zeros_like(stats.moment), jnp.zeros_like(stats.gram))


def _write(out: Gaussian, start: Array, part: Gaussian) -> Gaussian:
    return jax.tree.map(
        lambda whole, piece: lax.dynamic_update_slice_in_dim(whole, piece, start, 0), out, part
    )
