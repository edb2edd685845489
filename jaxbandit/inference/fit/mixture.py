r"""A mixture of hierarchies: tasks in clusters, each with its own hyper-parameter and spread.

Task s belongs to cluster c with probability $\pi_c$, and then $\theta_s \sim N(\mu_c, \Sigma_c)$.
Several clusters are several draws of the hyper-parameter, which one log otherwise holds but one of:
mean and covariance of the centres $\mu_c$ are estimates of $\mu_q$ and $\Sigma_q$.

The likelihood has many maxima. Several searches look for the highest independently: each starts
from centres spread over the tasks (k-means++), climbs by EM, and then moves a random cluster to a
random task time and again, keeping what a short climb finds better. Where too few of the searches
end at the same height, a higher maximum may have been missed, and the fit says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.inference import whitened as coordinates
from jaxbandit.inference.fit.empirical_bayes import fit_hierarchy
from jaxbandit.inference.model import HierarchicalGaussian, TaskStatistics, check_statistics
from jaxbandit.inference.posterior import task_posteriors
from jaxbandit.linalg import packed, products
from jaxbandit.linalg.products import einsum

_SWAPS = 5
"""Clusters moved in a search, for each cluster."""
_SHORT_CLIMB = 60
"""Steps of EM at most after which a moved cluster is kept or put back."""
_ROUGH, _FAIR = 0.1, 1e-2
"""Nats that a climb may still gain after a move, and at the end of a search."""
_AGREEMENT = 0.5
"""Nats within which two searches found the same height."""


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
    """Whether no more than the tolerance was left to gain, and enough searches agreed.

    At least a third of the starts, and two of them, ended within half a nat of the best. With one
    cluster there is one maximum, and no agreement is asked for.
    """
    gain_left: float = np.nan
    """What further steps would gain, in nats, extrapolated from the last two."""
    agreeing: int = 1
    """Starts that ended within half a nat of the best, which counts."""
    every_start: tuple[float, ...] = ()
    """Log-likelihood that each start led to, in nats, within some hundredths."""
    on_floor: tuple[bool, ...] = ()
    """For each cluster whether the floor keeps its task_cov from falling further."""
    noise_on_floor: bool = False
    """Whether the floor keeps noise_std from falling further."""

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
        hyper_cov = products.matmul(off.T, off) / max(len(centres) - 1, 1)
        return HierarchicalGaussian(
            jnp.mean(centres, axis=0), hyper_cov, self.task_cov[cluster], self.noise_std
        )


class _State(NamedTuple):
    weight: Array
    mean: Array
    cov: Array
    noise_std: Array


class _Floor(NamedTuple):
    """What the M-step may not fall below."""

    root: Array
    """[features, features], R: no cluster's covariance is less than R R'."""
    noise_std: Array


class _Climb(NamedTuple):
    """Where steps of EM led."""

    state: _State
    value: Array
    """Log-likelihood."""
    gain: Array
    """Of the last step."""
    gain_left: Array
    following: _State
    """What the next step would lead to."""
    steps: Array


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
        floor: least standard deviation within a cluster in any direction, as a share of that of all
            tasks, and least noise_std, as a share of that of a single hierarchy; below 1.
        restarts: independent searches; the best is followed to the end. With fewer than two no
            mixture counts as converged.
        seed: of those.
        tolerance: nats that further steps may still gain at convergence.
        max_iterations: steps of EM at most, at the end of each search and after it.

    Returns:
        The mixture, which tells whether it converged, what each start led to, and which clusters
        lie on the floor. One that did not converge is not refused: more restarts may help, or
        fewer clusters.

    Raises:
        InputError: as `fit_hierarchy`; more clusters than tasks with records.

    Source:
        Dempster, Laird and Rubin 1977; Arthur and Vassilvitskii 2007 (k-means++); Zhao,
        Hautamaki, Karkkainen and Franti 2012 (moved clusters). The pipeline: Hong et al. 2023,
        section 7.2.

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
    with jax.enable_x64(True):
        d = np.shape(stats.moment)[1]
        data = check_statistics(stats, d, jnp.dtype("float64"))
        logged = np.flatnonzero(np.asarray(data.count) > 0)
        if clusters > len(logged):
            raise InputError(
                f"clusters must be at most the {len(logged)} tasks with records, was {clusters}"
            )
        whole = HierarchicalGaussian(*(jnp.asarray(leaf, jnp.float64) for leaf in single))
        estimate = np.asarray(task_posteriors(whole, data).mean)[logged]
        floors = _Floor(floor * jnp.linalg.cholesky(whole.task_cov), floor * whole.noise_std)

        def climb(state: _State, tolerance: float, most: int) -> _Climb:
            return _climb(state, data, floors, tolerance, min(most, max_iterations))

        ends = [
            climb(_search(climb, whole, estimate, clusters, rng), _FAIR, max_iterations)
            for rng in np.random.default_rng(seed).spawn(restarts)
        ]
        heights = np.array([float(end.value) for end in ends])
        best = int(np.argmax(heights))
        end = climb(ends[best].state, tolerance, max_iterations)
        heights[best] = value = float(end.value)
        agreeing = int(np.sum(heights >= value - _AGREEMENT))
        needed = 1 if clusters == 1 else max(2, -(-restarts // 3))
        state = end.state
        _, assignment, _ = _em_step(state, data, floors.root)
        low = _least_eigenvalues(state.cov, floors.root) < 1 + 1e-6
        noise_on_floor = float(state.noise_std) < (1 + 1e-6) * float(floors.noise_std)
        order = np.argsort(-np.asarray(state.weight), kind="stable")
        found = jax.tree.map(np.asarray, (state, assignment))
        gain_left = float(end.gain_left)
    state, assignment = jax.tree.map(lambda array: jnp.asarray(array, float), found)
    return HierarchyMixture(
        weight=state.weight[order],
        hyper_mean=state.mean[order],
        task_cov=state.cov[order],
        noise_std=state.noise_std,
        assignment=assignment[:, order],
        log_likelihood=value,
        converged=gain_left <= tolerance and agreeing >= needed,
        gain_left=gain_left,
        agreeing=agreeing,
        every_start=tuple(heights.tolist()),
        on_floor=tuple(low[order].tolist()),
        noise_on_floor=noise_on_floor,
    )


def _search(
    climb: Callable[[_State, float, int], _Climb],
    whole: HierarchicalGaussian,
    estimate: np.ndarray,
    clusters: int,
    rng: np.random.Generator,
) -> _State:
    """The best state that one search finds: a start, then clusters moved to random tasks.

    Args:
        climb: steps of EM from a state, with the nats that they may leave and their number at most.
        whole: the hierarchy of all tasks.
        estimate: [tasks, features], of the parameters of tasks with records.
        clusters: how many.
        rng: of this search.
    """
    scaled = np.linalg.solve(np.linalg.cholesky(np.asarray(whole.task_cov)), estimate.T).T
    state = _State(
        weight=jnp.full(clusters, 1 / clusters),
        mean=jnp.asarray(estimate[_spread_tasks(scaled, clusters, rng)]),
        cov=jnp.broadcast_to(whole.task_cov, (clusters, *whole.task_cov.shape)),
        noise_std=whole.noise_std,
    )
    best = climb(state, _ROUGH, _SHORT_CLIMB)
    for _ in range(_SWAPS * clusters if clusters > 1 else 0):
        centre = estimate[rng.integers(len(estimate))]
        there = climb(_moved(best.state, int(rng.integers(clusters)), centre), _ROUGH, _SHORT_CLIMB)
        if float(there.value) > float(best.value):
            best = there
    return best.state


def _spread_tasks(scaled: np.ndarray, clusters: int, rng: np.random.Generator) -> list[int]:
    """Tasks far from each other: each drawn by its squared distance to those before it."""
    tasks = [int(rng.integers(len(scaled)))]
    distance = np.full(len(scaled), np.inf)
    while len(tasks) < clusters:
        distance = np.minimum(distance, np.sum((scaled - scaled[tasks[-1]]) ** 2, axis=1))
        total = np.sum(distance)
        chance = distance / total if total > 0 else None
        tasks.append(int(rng.choice(len(scaled), p=chance)))
    return tasks


def _moved(state: _State, cluster: int, centre: np.ndarray) -> _State:
    """The state with a cluster at another centre, of average weight and covariance."""
    weight = state.weight.at[cluster].set(1 / len(state.weight))
    return _State(
        weight / jnp.sum(weight),
        state.mean.at[cluster].set(centre),
        state.cov.at[cluster].set(einsum("k,kij->ij", state.weight, state.cov)),
        state.noise_std,
    )


@jax.jit
def _climb(
    state: _State, stats: TaskStatistics, floors: _Floor, tolerance: ArrayLike, most: ArrayLike
) -> _Climb:
    """Steps of EM until they would gain no more than the tolerance in all, or `most` of them.

    The gains of EM fall off geometrically: g r / (1 - r) is left after a gain g that is r times the
    gain before it.

    Source:
        McLachlan and Krishnan 2008, section 4.9 (Aitken).
    """
    records, square = jnp.sum(stats.count), jnp.sum(stats.square)

    def step(at: _Climb) -> _Climb:
        # Gains below this are rounding of the likelihood's terms, and so is their ratio.
        rounding = 1e-14 * (records + square / at.following.noise_std**2)
        following, _, value = _em_step(at.following, stats, *floors)
        gain = value - at.value
        ratio = jnp.where(at.gain > rounding, gain / at.gain, 1)
        ratio = jnp.clip(jnp.where(jnp.isfinite(at.gain), ratio, 1), 0, 0.9999)
        # EM never loses: what looks like a loss counts as not settled.
        left = jnp.maximum(1, ratio / (1 - ratio)) * jnp.abs(gain)
        left = jnp.where(jnp.abs(gain) <= rounding, 0, left)
        return _Climb(at.following, value, gain, left, following, at.steps + 1)

    def unfinished(at: _Climb) -> Array:
        return (at.gain_left > tolerance) & (at.steps < most)

    endless = jnp.asarray(jnp.inf)
    start = _Climb(state, -endless, endless, endless, state, jnp.zeros((), int))
    return lax.while_loop(unfinished, step, start)


@jax.jit
def _em_step(
    state: _State, stats: TaskStatistics, least: Array, least_noise: ArrayLike = 0.0
) -> tuple[_State, Array, Array]:
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
    cov = products.matmul(products.matmul(factor, spread), jnp.swapaxes(factor, 1, 2))
    variance = state.noise_std**2 * jnp.sum(taught * squares) / jnp.sum(stats.count)
    new = _State(
        size / jnp.sum(size),
        state.mean + einsum("kij,kj->ki", factor, mean),
        _floored(products.symmetrize(cov), least),
        jnp.sqrt(jnp.maximum(variance, least_noise**2)),
    )
    return new, share.T, jnp.sum(of_task)


def _floored(cov: Array, least: Array) -> Array:
    """Covariances whose eigenvalues in the coordinates of R = `least` are at least one."""
    inverse = jnp.linalg.inv(least)
    values, vectors = jnp.linalg.eigh(products.congruence(inverse, cov))
    root = products.matmul(least, vectors)
    return products.symmetrize(
        products.matmul(root * jnp.maximum(values, 1)[:, None], jnp.swapaxes(root, 1, 2))
    )


def _least_eigenvalues(cov: Array, least: Array) -> np.ndarray:
    """[clusters], in the coordinates of R = `least`: 1 where a covariance lies on the floor."""
    inside = products.congruence(jnp.linalg.inv(least), cov)
    return np.linalg.eigvalsh(np.asarray(inside))[:, 0]
