r"""Posteriors of the hierarchical linear Gaussian model.

One pass over the tasks sums what they say about the hyper-parameter; each task's posterior then
combines its own data with the hyper-posterior. Both happen in the coordinates of
`whitened`, where tasks without records and hyper-priors of any rank are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxbandit import checks
from jaxbandit.engine import threads
from jaxbandit.engine.threads import Piece
from jaxbandit.inference import whitened as coordinates
from jaxbandit.inference.model import (
    Gaussian,
    HierarchicalGaussian,
    TaskStatistics,
    check_model,
    checked,
)
from jaxbandit.inference.whitened import Basis, Block, Hyper, HyperInformation
from jaxbandit.linalg import packed, products, spd
from jaxbandit.linalg.products import einsum
from jaxbandit.precision.settings import promotion


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
    size = coordinates.piece_size(stats)
    return threads.total(threads.each(_hyper_information, model, stats, size))


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
    size = coordinates.piece_size(stats)
    learned = threads.each(_learn, model, stats, size)
    hyper = _hyper(model, threads.total(information for information, _ in learned))
    solved = [tasks for _, tasks in learned]
    return threads.joined(_conclude, (model, *hyper), stats, size, solved)


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
    size = coordinates.piece_size(stats)
    return threads.joined(_oracle_posteriors, (model, known), stats, size)


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
    return threads.joined(_flat_posteriors, model, stats, coordinates.piece_size(stats))


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


@promotion()
@jax.jit
def _scan(
    model: HierarchicalGaussian, stats: TaskStatistics, initial: HyperInformation
) -> HyperInformation:
    factor = coordinates.basis(model).factor

    def add_task(carry: HyperInformation, one: TaskStatistics) -> tuple[HyperInformation, None]:
        precision, vector = coordinates.information(factor, model, one.gram, one.moment)
        inverse, _ = spd.inverse(precision + jnp.eye(len(vector), dtype=vector.dtype))
        return HyperInformation(
            carry.precision + products.symmetrize(products.matmul(precision, inverse)),
            carry.vector + products.matmul(inverse, vector),
        ), None

    return lax.scan(add_task, initial, stats)[0]


@promotion()
@jax.jit
def _hyper_posterior(model: HierarchicalGaussian, information: HyperInformation) -> Gaussian:
    basis, hyper = _hyper(model, information)
    return Gaussian(
        model.hyper_mean + products.matmul(basis.factor, hyper.mean),
        products.congruence(basis.factor, hyper.cov),
    )


@promotion()
@jax.jit
def _hyper(model: HierarchicalGaussian, information: HyperInformation) -> tuple[Basis, Hyper]:
    basis = coordinates.basis(model)
    return basis, coordinates.hyper(basis, information)


# Of pieces of tasks.


def _hyper_information(model: HierarchicalGaussian, piece: Piece) -> HyperInformation:
    return _learn(model, piece)[0]


class _Solved(NamedTuple):
    """What is computed of every task to learn from it, and used again to conclude on it."""

    inverse: Float[Array, "blocks entries tasks"]
    """P, packed."""
    solution: Float[Array, "blocks features tasks"]
    """P b."""


def _learn(model: HierarchicalGaussian, piece: Piece) -> tuple[HyperInformation, _Solved]:
    """What tasks say about the hyper-parameter, T and h, and what is kept of each."""
    factor, stats = coordinates.basis(model).factor, piece.rows

    def add(
        carry: tuple[HyperInformation, _Solved], block: Block
    ) -> tuple[HyperInformation, _Solved]:
        information, solved = carry
        tasks = coordinates.condition(factor, model, block.stats)
        return (
            coordinates.add_information(information, tasks, block.fresh),
            _put(solved, _Solved(tasks.inverse[None], tasks.solution[None]), block.index),
        )

    d = len(factor)
    blocks, size = coordinates.block_shape(stats)
    zeros = partial(jnp.zeros, dtype=factor.dtype)
    solved = _Solved(zeros((blocks, d * (d + 1) // 2, size)), zeros((blocks, d, size)))
    nothing = coordinates.no_information(model), solved
    return coordinates.over_blocks(add, nothing, stats, piece.skip)


def _conclude(
    shared: tuple[HierarchicalGaussian, Basis, Hyper], piece: Piece, solved: _Solved
) -> Gaussian:
    """Posteriors of tasks: P (S h + b) and P + P S P in task coordinates."""
    model, basis, hyper = shared

    def posterior(block: Block) -> Gaussian:
        inverse, solution = (
            lax.dynamic_index_in_dim(x, block.index, keepdims=False) for x in solved
        )
        shift = packed.multiply(inverse, jnp.broadcast_to(hyper.mean[:, None], solution.shape))
        cov = packed.unpack_spread(basis.factor, inverse, hyper.cov, hyper.root)
        return Gaussian(_means(basis.factor, model, solution + shift), cov)

    return _of_blocks(posterior, piece.rows)


def _oracle_posteriors(shared: tuple[HierarchicalGaussian, Array], piece: Piece) -> Gaussian:
    model, hyper_parameter = shared
    model = model._replace(hyper_mean=hyper_parameter)
    return _posteriors_alone(coordinates.basis(model).factor, model, piece.rows)


def _flat_posteriors(model: HierarchicalGaussian, piece: Piece) -> Gaussian:
    factor = coordinates.graded_factor(model.hyper_cov + model.task_cov)
    return _posteriors_alone(factor, model, piece.rows)


# Parts of those.


def _posteriors_alone(
    factor: Array, model: HierarchicalGaussian, stats: TaskStatistics
) -> Gaussian:
    """Posteriors of all tasks from their own data under the prior N(hyper_mean, F F'): P b, P."""

    def posterior(block: Block) -> Gaussian:
        tasks = coordinates.condition(factor, model, block.stats)
        cov = packed.unpack_congruence(factor, tasks.inverse)
        return Gaussian(_means(factor, model, tasks.solution), cov)

    return _of_blocks(posterior, stats)


def _means(factor: Array, model: HierarchicalGaussian, mean: Array) -> Array:
    """Means [features, tasks] from task coordinates to the features', [tasks, features]."""
    return model.hyper_mean + einsum("ij,js->si", factor, mean)


def _of_blocks(posterior: Callable[[Block], Gaussian], stats: TaskStatistics) -> Gaussian:
    """Gaussians of all tasks, from those of a block."""
    room = Gaussian(jnp.zeros_like(stats.moment), jnp.zeros_like(stats.gram))
    return coordinates.over_blocks(
        lambda all, block: _put(all, posterior(block), block.start), room, stats
    )


def _put(whole: Any, part: Any, start: Array) -> Any:
    """`whole` with the rows of `part` from `start` on."""
    put = partial(lax.dynamic_update_slice_in_dim, start_index=start, axis=0)
    return jax.tree.map(put, whole, part)
