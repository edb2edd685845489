r"""The coordinates in which posteriors are computed.

In *task coordinates* the task covariance is the identity and the hyper-prior mean is zero: with
$\Sigma_0 = F F'$ write $\theta_s = \mu_q + F \eta_s$ and $\mu_* = \mu_q + F \nu$. Then
$\nu \sim N(0, H H')$ with $H H' = F^{-1} \Sigma_q F^{-\top}$, $\eta_s \sim N(\nu, I)$, and task s
contributes the precision $A_s = F' G_s F$ and the information $b_s = F' (B_s - G_s \mu_q)$. With
$P_s = (I + A_s)^{-1}$:

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
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, export, lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from jaxbandit.inference.model import HierarchicalGaussian, TaskStatistics
from jaxbandit.linalg import packed, products, spd
from jaxbandit.linalg.products import einsum


class HyperInformation(NamedTuple):
    """What tasks say about the hyper-parameter, in task coordinates; adds up over tasks."""

    precision: Float[Array, "features features"]
    """T, the sum of `A_s P_s`."""
    vector: Float[Array, " features"]
    """h, the sum of `P_s b_s`."""


class Basis(NamedTuple):
    """The coordinates."""

    factor: Float[Array, "features features"]
    """F, task_cov = F F'; triangular but for the order of its rows."""
    hyper: Float[Array, "features features"]
    """H, hyper_cov = F H H' F'."""
    hyper_cov: Float[Array, "features features"]
    """Q = H H'. Derivatives follow it: where Q is singular, H has none."""


class Conditioned(NamedTuple):
    """Tasks in their coordinates, packed, tasks last."""

    precision: Float[Array, "entries tasks"]
    """A."""
    inverse: Float[Array, "entries tasks"]
    """P = (I + A)^-1."""
    log_det: Float[Array, " tasks"]
    """log |I + A|."""
    vector: Float[Array, "features tasks"]
    """b."""
    solution: Float[Array, "features tasks"]
    """P b."""
    square: Float[Array, " tasks"]
    """Squared residuals at the prior mean, in units of the noise variance."""


class Block(NamedTuple):
    """Consecutive tasks."""

    index: Int[Array, ""]
    start: Int[Array, ""]
    fresh: Bool[Array, " tasks"]
    """False for tasks that an earlier block had too."""
    stats: TaskStatistics


def basis(model: HierarchicalGaussian) -> Basis:
    """The task coordinates of a model."""
    order, rank = _variance_order(model.task_cov)
    factor = _cholesky(model.task_cov, order)
    hyper_cov = model.hyper_cov[order[:, None], order]
    divide = partial(spd.lower_solve, factor)
    hyper = divide(products.psd_factor(lax.stop_gradient(hyper_cov)))
    return Basis(factor[rank], hyper, products.symmetrize(divide(divide(hyper_cov).T)))


def graded_factor(cov: Array) -> Array:
    """F with `F F' = cov`: the Cholesky factor of the features by descending variance.

    Large variances first, the columns of the factor fall off with the variances, and so do the rows
    of A; in another order all columns are as long as the longest, and the digits of features with a
    small variance drown in those with a large one.
    """
    order, rank = _variance_order(cov)
    return _cholesky(cov, order)[rank]


def _variance_order(cov: Array) -> tuple[Array, Array]:
    """Features by descending variance, and each feature's place among them."""
    # Counted rather than sorted: one comparison of all pairs compiles to far less than a sort.
    variance, index = jnp.diagonal(cov), np.arange(len(cov))
    before = variance[:, None] > variance
    before |= (variance[:, None] == variance) & (index[:, None] < index)
    rank = jnp.sum(before, axis=0)
    return jnp.sum((rank == index[:, None]) * index, axis=1), rank


def _cholesky(cov: Array, order: Array) -> Array:
    return spd.cholesky(products.symmetrize(cov)[order[:, None], order])


def information(
    factor: Array, model: HierarchicalGaussian, gram: Array, moment: Array
) -> tuple[Array, Array]:
    """A and b of one task, with the task covariance F F' of `factor`."""
    variance = model.noise_std**2
    centred = moment - products.matmul(gram, model.hyper_mean)
    precision = products.congruence(factor.T, gram) / variance
    return precision, products.matmul(factor.T, centred) / variance


def condition(factor: Array, model: HierarchicalGaussian, stats: TaskStatistics) -> Conditioned:
    """Many tasks, with the task covariance F F' of `factor`."""
    variance, mean = model.noise_std**2, model.hyper_mean
    d = factor.shape[0]
    # [F mu]' G [F mu] has all that is needed of G.
    entries = packed.pack_congruence(jnp.column_stack([factor, mean]), stats.gram)
    gram, shift, at_mean = entries[: -d - 1], entries[-d - 1 : -1], entries[-1]
    precision = gram / variance
    identity = packed.pack(jnp.eye(d, dtype=factor.dtype))
    inverse, log_det = packed.inverse(precision + identity[:, None])
    moment = einsum("ji,sj->is", factor, stats.moment) - shift
    # P b cancels in a direction without data; a step of refinement wins back what P has lost there.
    # Each line ends in a division: the compiler keeps the result of one, where it would compute a
    # product anew for every row of the next.
    solution = packed.multiply(inverse, moment) / variance
    rest = (moment - variance * solution - packed.multiply(gram, solution)) / variance
    return Conditioned(
        precision=precision,
        inverse=inverse,
        log_det=log_det,
        vector=moment / variance,
        solution=solution + packed.multiply(inverse, rest),
        square=(stats.square - 2 * products.matmul(stats.moment, mean) + at_mean) / variance,
    )


def no_information(model: HierarchicalGaussian) -> HyperInformation:
    """Before any task."""
    return HyperInformation(jnp.zeros_like(model.task_cov), jnp.zeros_like(model.hyper_mean))


def add_information(
    carry: HyperInformation, tasks: Conditioned, fresh: Bool[Array, " tasks"]
) -> HyperInformation:
    """Information of the fresh tasks added."""
    d = len(tasks.vector)
    weight = fresh.astype(tasks.solution.dtype)
    if d <= products.UNROLL_LIMIT:
        precision = packed.unpack(
            products.matmul(packed.product(tasks.inverse, tasks.precision), weight)
        )
    else:
        known = tasks.precision * weight
        precision = einsum("ijs,jks->ik", packed.unpack(tasks.inverse), packed.unpack(known))
    return HyperInformation(
        carry.precision + products.symmetrize(precision),
        carry.vector + products.matmul(tasks.solution, weight),
    )


class Hyper(NamedTuple):
    """The hyper-posterior N(mean, cov) in task coordinates."""

    mean: Float[Array, " features"]
    cov: Float[Array, "features features"]
    """S."""
    root: Float[Array, "features features"]
    """K, S = K K', without derivatives: they follow S."""
    log_det: Float[Array, ""]
    """log |I + Q T|."""
    fitted: Float[Array, ""]
    """h' S h."""


def hyper(basis: Basis, information: HyperInformation) -> Hyper:
    """The hyper-posterior."""
    return _hyper(lax.stop_gradient(basis.hyper), basis.hyper_cov, *information)


@jax.custom_jvp
def _hyper(root: Array, hyper_cov: Array, precision: Array, vector: Array) -> Hyper:
    del hyper_cov
    inside = jnp.eye(len(root), dtype=root.dtype) + products.congruence(root.T, precision)
    # K = H L^-T with L L' = I + H' T H
    lower = spd.cholesky(inside)
    root = spd.lower_solve(lower, root.T).T
    weight = products.matmul(root.T, vector)
    return Hyper(
        mean=products.matmul(root, weight),
        cov=products.outer_gram(root),
        root=root,
        log_det=2 * jnp.sum(jnp.log(jnp.diagonal(lower))),
        fitted=products.inner(weight, weight),
    )


@_hyper.defjvp
def _hyper_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Hyper, Hyper]:
    # S = (Q^-1 + T)^-1, of which Q (I + T Q)^-1 is smooth in Q of any rank: with V = I - S T,
    # dS = V dQ V' - S dT S and d log|I + Q T| = tr(T V dQ) + tr(S dT).
    prior_root, prior, precision, vector = primals
    _, *changes = tangents
    prior_change, precision_change, vector_change = changes
    out = _hyper(prior_root, prior, precision, vector)
    cov, matmul = out.cov, products.matmul
    identity = jnp.eye(len(vector), dtype=vector.dtype)
    left = identity - matmul(cov, precision)
    # V is (I + Q T)^-1, and small where the tasks say much: Newton's steps give it the digits that
    # the subtraction has lost.
    for _ in range(2):
        left = left + matmul(left, identity - left - matmul(prior, matmul(precision, left)))
    change = products.congruence(left, prior_change) - products.congruence(cov, precision_change)
    moved = matmul(change, vector)
    return out, Hyper(
        mean=moved + matmul(cov, vector_change),
        cov=change,
        root=jnp.zeros_like(out.root),
        log_det=jnp.sum(matmul(precision, left).T * prior_change) + jnp.sum(cov * precision_change),
        fitted=products.inner(vector, moved) + 2 * products.inner(out.mean, vector_change),
    )


def over_blocks(
    visit: Callable[[Any, Block], Any], carry: Any, stats: TaskStatistics, skip: ArrayLike = 0
) -> Any:
    """Fold `visit(carry, block)` over all tasks.

    Args:
        visit: gives the next carry.
        carry: the first.
        stats: of all tasks.
        skip: [], tasks in front that are not fresh.

    Returns:
        The last carry.
    """
    (m,) = stats.count.shape
    count, size = block_shape(stats)
    if count == 1:
        zero = jnp.int32(0)
        return visit(carry, Block(zero, zero, jnp.arange(m) >= skip, stats))

    # The last block overlaps the one before it.
    first = np.arange(0, m, size, dtype=np.int32)
    starts = np.minimum(first, m - size)

    def step(carry: Any, block: tuple[Array, Array, Array]) -> tuple[Any, None]:
        index, start, first = block
        part = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, size), stats)
        return visit(carry, Block(index, start, start + jnp.arange(size) >= first, part)), None

    index = jnp.arange(count, dtype=np.int32)
    return lax.scan(step, carry, (index, jnp.asarray(starts), jnp.maximum(first, skip)))[0]


_BLOCKS = 20
"""Blocks in a piece of tasks that a thread takes: enough for a call to be worth it."""


def piece_size(stats: TaskStatistics) -> int:
    """Tasks that a thread takes at once."""
    return _BLOCKS * packed.block_size(stats.moment.shape[-1])


def block_shape(stats: TaskStatistics) -> tuple[int, int]:
    """Number of blocks, and tasks in each."""
    m, d = stats.moment.shape
    # A program that is exported for any number of tasks has them all in one.
    size = m if export.is_symbolic_dim(stats.count.shape[0]) else min(m, packed.block_size(d))
    return -(-m // size), size
