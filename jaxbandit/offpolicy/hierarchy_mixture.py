r"""A mixture of hierarchies: tasks in clusters, each with its own hyper-parameter and spread.

Task s belongs to cluster c with probability $\pi_c$, and then $\theta_s \sim N(\mu_c, \Sigma_c)$.
Several clusters are several draws of the hyper-parameter, which one log otherwise holds but one of:
mean and covariance of the centres $\mu_c$ are estimates of $\mu_q$ and $\Sigma_q$.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxbandit import checks, linalg, packed
from jaxbandit.checks import InputError
from jaxbandit.linalg import einsum
from jaxbandit.offpolicy import task_coordinates as coordinates
from jaxbandit.offpolicy.empirical_bayes import fit_hierarchy
from jaxbandit.offpolicy.model import HierarchicalGaussian, TaskStatistics, check_statistics
from jaxbandit.offpolicy.posterior import task_posteriors

_SHORT_RUN = 30
"""Steps of EM after which the most promising start is chosen."""


class HierarchyMixture(NamedTuple):
    """A fitted mixture of hierarchies."""

    weight: Array
    """[clusters], descending."""
    hyper_mean: Array
    """[clusters, features], the clusters' centres."""
    task_cov: Array
    """[clusters, features, features]."""
    noise_std: Array
    """[], shared."""
    assignment: Array
    """[tasks, clusters], probability that a task belongs to a cluster."""
    log_likelihood: float
    """In nats."""
    converged: bool
    """Whether the last step gained no more than the tolerance."""

    def hierarchy(self, cluster: int = 0) -> HierarchicalGaussian:
        """The model of one cluster's tasks; the hyper-prior is that of the clusters' centres.

        Its hyper_cov is singular where there are fewer clusters than features, as it may be.

        Raises:
            InputError: there is no such cluster.

        Source:
            Hong et al. 2023, section 7.2.
        """
        centres = self.hyper_mean
        checks.check_count("cluster", cluster, minimum=0, most=len(centres) - 1)
        off = centres - jnp.mean(centres, axis=0)
        hyper_cov = linalg.matmul(off.T, off) / max(len(centres) - 1, 1)
        return HierarchicalGaussian(
            jnp.mean(centres, axis=0), hyper_cov, self.task_cov[cluster], self.noise_std
        )


class _State(NamedTuple):
    weight: Array
    mean: Array
    cov: Array
    noise_std: Array


def fit_hierarchy_mixture(
    stats: TaskStatistics,
    clusters: int,
    *,
    floor: float = 0.05,
    restarts: int = 8,
    seed: int = 0,
    tolerance: float = 1e-6,
    max_iterations: int = 2000,
) -> HierarchyMixture:
    r"""Fit a mixture of hierarchies to a log, by EM on its exact marginal likelihood.

    Task parameters are integrated out: the likelihood of a cluster is that of the task's rewards,
    not of a point estimate of its parameter, so tasks with few records, or none, are weighed
    rightly.

    Args:
        stats: raw sums per task.
        clusters: number of clusters, at most the tasks with records.
        floor: least standard deviation within a cluster, as a share of that of all tasks, below 1.
        restarts: random starts; the best after a short run is followed to the end.
        seed: of those.
        tolerance: nats that a step may still gain at convergence.
        max_iterations: steps at most.

    Raises:
        InputError: as `fit_hierarchy`; more clusters than tasks with records.

    Source:
        Dempster, Laird and Rubin 1977. The pipeline: Hong et al. 2023, section 7.2.

    >>> import jax.numpy as jnp, jaxbandit as jb
    >>> mean = jnp.repeat(jnp.array([-2.0, 2.0]), 20) + 0.1 * jnp.tile(jnp.arange(5.0) - 2, 8)
    >>> stats = jb.TaskStatistics(jnp.full((40, 1, 1), 9.0), 9 * mean[:, None],
    ...                           9 * mean**2 + 8.0, jnp.full(40, 9))
    >>> mixture = jb.fit_hierarchy_mixture(stats, clusters=2)
    >>> sorted(round(float(x), 1) for x in mixture.hyper_mean[:, 0])
    [-2.0, 2.0]
    """
    clusters = checks.check_count("clusters", clusters)
    restarts = checks.check_count("restarts", restarts)
    checks.check_count("max_iterations", max_iterations)
    checks.check_shape("floor", floor, (), "[]")
    checks.check_probability("floor", floor)
    checks.check_seed("seed", seed)
    checks.check_positive("tolerance", tolerance)
    single = fit_hierarchy(stats, hyper_cov="fixed")
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        d = np.shape(stats.moment)[1]
        data = check_statistics(stats, d, jnp.dtype("float64"))
        seen = np.flatnonzero(np.asarray(data.count) > 0)
        if clusters > len(seen):
            raise InputError(
                f"clusters must be at most the {len(seen)} tasks with records, was {clusters}"
            )
        one = HierarchicalGaussian(*(jnp.asarray(part, jnp.float64) for part in single))
        parameter = task_posteriors(one, data).mean
        least = floor * jnp.linalg.cholesky(one.task_cov)

        def run(state: _State, steps: int) -> tuple[_State, float, bool]:
            value = -np.inf
            for _ in range(steps):
                new, _, reached = _em_step(state, data, least)
                if float(reached) - value <= tolerance:
                    return state, float(reached), True
                state, value = new, float(reached)
            return state, value, False

        starts = []
        for _ in range(restarts):
            centre = parameter[rng.choice(seen, clusters, replace=False)]
            cov = jnp.broadcast_to(one.task_cov, (clusters, d, d))
            weight = jnp.full(clusters, 1 / clusters)
            starts.append(run(_State(weight, centre, cov, one.noise_std), _SHORT_RUN))
        state, _, _ = max(starts, key=lambda start: start[1])
        state, value, converged = run(state, max_iterations)
        _, assignment, _ = _em_step(state, data, least)
        order = np.argsort(-np.asarray(state.weight), kind="stable")
        found = jax.tree.map(np.asarray, (state, assignment))
    state, assignment = jax.tree.map(lambda array: jnp.asarray(array, float), found)
    return HierarchyMixture(
        weight=state.weight[order],
        hyper_mean=state.mean[order],
        task_cov=state.cov[order],
        noise_std=state.noise_std,
        assignment=assignment[:, order],
        log_likelihood=value,
        converged=converged,
    )


@jax.jit
def _em_step(state: _State, stats: TaskStatistics, least: Array) -> tuple[_State, Array, Array]:
    """One step, and the assignment and log-likelihood before it; R R' is the least covariance."""

    def condition(cluster: tuple[Array, Array]) -> tuple[Array, ...]:
        mean, cov = cluster
        model = HierarchicalGaussian(mean, jnp.zeros_like(cov), cov, state.noise_std)
        factor = coordinates.basis(model).factor
        tasks = coordinates.condition(factor, model, stats)
        x, b = tasks.solution, tasks.vector
        misfit = tasks.square - jnp.sum(x * b, axis=0)
        scale = stats.count * jnp.log(2 * jnp.pi * state.noise_std**2)
        # Expected squared residuals, in units of the noise variance: A x = b - x.
        trace = jnp.sum(tasks.inverse[np.diagonal(packed.entry_index(len(x)))], axis=0)
        squares = misfit - jnp.sum(x * x, axis=0) + len(x) - trace
        return factor, x, tasks.inverse, squares, -0.5 * (scale + misfit + tasks.log_det)

    factor, x, inverse, squares, log_density = lax.map(condition, (state.mean, state.cov))
    joint = jnp.log(state.weight)[:, None] + log_density
    of_task = jax.scipy.special.logsumexp(joint, axis=0)
    share = jnp.exp(joint - of_task)  # [clusters, tasks]
    # Tasks without records belong to no cluster more than another: they teach nothing.
    taught = share * (stats.count > 0)
    size = jnp.maximum(jnp.sum(taught, axis=1), 1e-9)
    mean = einsum("kds,ks->kd", x, taught) / size[:, None]
    spread = einsum("kis,kjs,ks->kij", x, x, taught)
    spread = spread + jax.vmap(packed.unpack)(einsum("kes,ks->ke", inverse, taught))
    spread = spread / size[:, None, None] - mean[:, :, None] * mean[:, None, :]
    cov = linalg.matmul(linalg.matmul(factor, spread), jnp.swapaxes(factor, 1, 2))
    variance = state.noise_std**2 * jnp.sum(taught * squares) / jnp.sum(stats.count)
    new = _State(
        size / jnp.sum(size),
        state.mean + einsum("kij,kj->ki", factor, mean),
        _floored(linalg.symmetrize(cov), least),
        jnp.sqrt(variance),
    )
    return new, share.T, jnp.sum(of_task)


def _floored(cov: Array, least: Array) -> Array:
    """Covariances whose eigenvalues in the coordinates of R = `least` are at least one."""
    inverse = jnp.linalg.inv(least)
    values, vectors = jnp.linalg.eigh(linalg.congruence(inverse, cov))
    root = linalg.matmul(least, vectors)
    return linalg.symmetrize(
        linalg.matmul(root * jnp.maximum(values, 1)[:, None], jnp.swapaxes(root, 1, 2))
    )
