r"""The marginal likelihood of a log and what its maximisation needs, from one pass over tasks.

In the task coordinates of `task_coordinates` let $x_s = P_s b_s$ and $W_s = A_s P_s$. With
$\nu = T^{-1} h$, $T = \sum_s W_s$, $h = \sum_s x_s$ the generalised least squares estimate of the
hyper-parameter, S its posterior covariance (0 where it is known, $T^{-1}$ where its prior is flat)
and $e_s = x_s - W_s \nu$, the derivatives of the log-likelihood are

- along $\Sigma_0 + F X F'$: $\tfrac12 \sum_s (e_s e_s' - W_s + W_s S W_s)$, with the expected
  information $\tfrac12 \sum_s \mathrm{tr}(W_s X W_s Y)$;
- along $\log \sigma^2$: $\tfrac12 (R - n)$, R the expected sum of squared residuals in units of
  $\sigma^2$, with the information $\tfrac12 \sum_s (n_s - 2\,\mathrm{tr} W_s + \mathrm{tr} W_s^2)$.

All of it is sums over tasks of products of the entries of $x_s$ and $W_s$: one matrix product.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxbandit.inference import whitened as coordinates
from jaxbandit.inference.fit.covariance_structure import CovarianceStructure
from jaxbandit.inference.model import HierarchicalGaussian, TaskStatistics
from jaxbandit.inference.whitened import Block
from jaxbandit.linalg import packed, products
from jaxbandit.linalg.products import einsum
from jaxbandit.precision.settings import promotion


class Likelihood(NamedTuple):
    """At one value of the parameters, the hyper-mean at its maximum given the others."""

    hyper_mean: np.ndarray
    """[features], the maximum."""
    hyper_mean_cov: np.ndarray
    """[features, features], covariance with which the log determines it."""
    task_cov: np.ndarray
    noise_std: float
    log_likelihood: float
    magnitude: float
    """Sum of the sizes of its terms, which sets how many digits it has."""
    cov_gradient: np.ndarray
    """[features, features], by the entries of task_cov."""
    log_noise_gradient: float
    """By log noise_std^2."""
    cov_information: np.ndarray
    """[features^2, features^2], expected, of vec(task_cov)."""
    cross_information: np.ndarray
    """[features, features], of task_cov with log noise_std^2."""
    log_noise_information: float
    tasks: int
    records: int


class _Sums(NamedTuple):
    """Sums over tasks."""

    of_pairs: Array
    """[features + entries, features + entries], of the rows x and W (packed) with each other."""
    x: Array
    """[features], h."""
    w: Array
    """[entries], T packed."""
    b: Array
    """[features]."""
    fitted: Array
    """Of x' b."""
    square: Array
    """Of the squared residuals at the given mean, in units of the noise variance."""
    log_det: Array
    """Of log |I + A|."""


def evaluate(
    mean: np.ndarray,
    task_cov: np.ndarray,
    noise_std: float,
    stats: TaskStatistics,
    hyper_cov: np.ndarray | None,
) -> Likelihood:
    """The likelihood at these parameters.

    Args:
        mean: [features], near the hyper-mean, for precision; the result does not depend on it.
        task_cov: [features, features].
        noise_std: [].
        stats: of tasks with records.
        hyper_cov: [features, features], or None for a flat prior: the restricted likelihood.
    """
    model = HierarchicalGaussian(
        jnp.asarray(mean), jnp.zeros_like(task_cov), jnp.asarray(task_cov), jnp.asarray(noise_std)
    )
    factor, sums = jax.tree.map(np.asarray, _sums(model, stats))
    d, (tasks, records) = len(mean), (len(stats.count), int(np.sum(stats.count)))
    entry = packed.entry_index(d)
    total_w, h = sums.w[entry], sums.x
    xx, xw, ww = _unpacked(sums.of_pairs, entry)
    fixed_cov = np.linalg.inv(total_w)
    fixed_cov = 0.5 * (fixed_cov + fixed_cov.T)
    nu = fixed_cov @ h

    # Log-likelihood with the hyper-parameter at its estimate, then integrated out.
    terms = records * np.log(2 * np.pi * noise_std**2), sums.square, -sums.fitted, sums.log_det
    value = -0.5 * (sum(terms) - h @ nu)
    if hyper_cov is None:
        spread = fixed_cov
        log_det = np.linalg.slogdet(total_w)[1] - 2 * np.linalg.slogdet(factor)[1]
        value += 0.5 * (d * np.log(2 * np.pi) - log_det)
    else:
        inverse = np.linalg.inv(factor)
        prior = inverse @ hyper_cov @ inverse.T
        inside = np.eye(d) + prior @ total_w
        spread = np.linalg.solve(inside, prior)
        spread = 0.5 * (spread + spread.T)
        value -= 0.5 * np.linalg.slogdet(inside)[1]

    # Sums of e e' and of W S W.
    cross = np.einsum("ijk,k->ij", xw, nu)
    ee = xx - cross - cross.T + np.einsum("iajb,a,b->ij", ww, nu, nu)
    wsw = np.einsum("iakj,ak->ij", ww, spread)
    w_square = np.einsum("iaaj->ij", ww)
    by_x = 0.5 * (ee - total_w + wsw)
    # eta = e + nu is a task's posterior mean, and A eta = b - e; W b = b - x.
    e_b = sums.fitted - nu @ (sums.b - h)
    squares = sums.square - (e_b + nu @ sums.b) - np.trace(ee)
    squares += np.trace(total_w) + np.sum(total_w * spread) - np.trace(wsw)

    back = np.linalg.inv(factor)
    d2 = d * d
    # tr(W X W Y) = sum W_ij X_jk W_kl Y_li, with X and Y in the features' coordinates.
    moved = np.einsum("ijkl->jkli", ww).reshape(d2, d2)
    around = np.kron(back, back)
    return Likelihood(
        hyper_mean=mean + factor @ nu,
        hyper_mean_cov=factor @ fixed_cov @ factor.T,
        task_cov=task_cov,
        noise_std=noise_std,
        log_likelihood=float(value),
        magnitude=float(sum(np.abs(terms))),
        cov_gradient=back.T @ by_x @ back,
        log_noise_gradient=float(0.5 * (squares - records)),
        cov_information=0.5 * around.T @ moved @ around,
        cross_information=0.5 * back.T @ (total_w - w_square) @ back,
        log_noise_information=float(0.5 * (records - 2 * np.trace(total_w) + np.trace(w_square))),
        tasks=tasks,
        records=records,
    )


def em_update(at: Likelihood) -> tuple[np.ndarray, float]:
    r"""task_cov and noise_std that maximise the expected complete-data likelihood.

    By Fisher's identity the gradient holds the expectations: $\Sigma_0 + \tfrac{2}{m} \Sigma_0
    \nabla \Sigma_0$ and $\sigma^2 (1 + \tfrac{2}{n} \nabla)$.

    Source:
        Laird and Ware 1982, section 4.
    """
    step = (2 / at.tasks) * at.task_cov @ at.cov_gradient @ at.task_cov
    share = 1 + 2 * at.log_noise_gradient / at.records
    return at.task_cov + 0.5 * (step + step.T), at.noise_std * float(np.sqrt(share))


def newton(
    at: Likelihood, structure: CovarianceStructure, parameter: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradient [free], minus the expected Hessian [free, free], sizes of its diagonal [free].

    The expectation is over the log; the curvature of the parameters themselves is exact, so that a
    maximum at the floor, where the information vanishes, is approached as fast as any other.
    """
    cov, log_noise = structure.derivatives(parameter)
    gradient = np.tensordot(cov, at.cov_gradient, 2) + log_noise * at.log_noise_gradient
    information = expected_information(at, cov, log_noise)
    curvature = structure.curvature(parameter, at.cov_gradient, at.log_noise_gradient)
    sizes = np.diagonal(information) + np.abs(np.diagonal(curvature))
    return gradient, information - curvature, sizes


def expected_information(at: Likelihood, cov: np.ndarray, log_noise: np.ndarray) -> np.ndarray:
    """[free, free], along directions of task_cov [free, features, features] and log noise."""
    flat = cov.reshape(len(cov), -1)
    cross = np.outer(flat @ at.cross_information.ravel(), log_noise)
    noise = at.log_noise_information * np.outer(log_noise, log_noise)
    return flat @ at.cov_information @ flat.T + cross + cross.T + noise


def _unpacked(of_pairs: np.ndarray, entry: np.ndarray) -> tuple[np.ndarray, ...]:
    """Sums of x x' [d, d], of x_i W_jk and of W_ij W_kl."""
    d = len(entry)
    xw, ww = of_pairs[:d, d:], of_pairs[d:, d:]
    return of_pairs[:d, :d], xw[:, entry], ww[entry][:, :, entry]


@promotion()
@jax.jit
def _sums(model: HierarchicalGaussian, stats: TaskStatistics) -> tuple[Array, _Sums]:
    factor = coordinates.basis(model).factor
    d = factor.shape[0]
    entries = d * (d + 1) // 2
    identity = packed.pack(jnp.eye(d, dtype=factor.dtype))[:, None]

    def add(carry: _Sums, block: Block) -> _Sums:
        tasks = coordinates.condition(factor, model, block.stats)
        fresh = block.fresh.astype(factor.dtype)
        # W = A P = I - P
        rows = jnp.concatenate([tasks.solution, identity - tasks.inverse]) * fresh
        total = jnp.sum(rows, axis=1)
        own = _Sums(
            of_pairs=products.matmul(rows, rows.T),
            x=total[:d],
            w=total[d:],
            b=products.matmul(tasks.vector, fresh),
            fitted=einsum("is,is,s->", tasks.solution, tasks.vector, fresh),
            square=jnp.sum(tasks.square * fresh),
            log_det=jnp.sum(tasks.log_det * fresh),
        )
        return jax.tree.map(jnp.add, carry, own)

    zero = jnp.zeros((), factor.dtype)
    vector, size = jnp.zeros(d, factor.dtype), d + entries
    nothing = _Sums(
        jnp.zeros((size, size), factor.dtype),
        vector,
        jnp.zeros(entries, factor.dtype),
        vector,
        zero,
        zero,
        zero,
    )
    return factor, coordinates.over_blocks(add, nothing, stats)
