"""Mixtures of hierarchies, against dense densities and planted clusters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats as scipy_stats

import jaxbandit as jb
from jaxbandit.offpolicy import hierarchy_mixture
from tests.messages import assert_refused

CENTRES = np.array([[2.0, 0.0], [-2.0, 1.0], [0.0, -2.5]])
COV = 0.1 * np.array([[[2, 1], [1, 1]], [[1, 0], [0, 3]], [[1, -0.5], [-0.5, 1]]])
WEIGHT = np.array([0.5, 0.3, 0.2])
NOISE_STD = 0.5


def draw(tasks=150, records=6, seed=0):
    """Records, cluster of each task, and the sums."""
    rng = np.random.default_rng(seed)
    cluster = rng.choice(3, tasks, p=WEIGHT)
    theta = np.array([rng.multivariate_normal(CENTRES[c], COV[c]) for c in cluster])
    feature = rng.normal(size=(tasks, records, 2))
    reward = np.einsum("sni,si->sn", feature, theta) + NOISE_STD * rng.normal(size=(tasks, records))
    stats = jb.TaskStatistics(
        np.einsum("sni,snj->sij", feature, feature),
        np.einsum("sni,sn->si", feature, reward),
        np.sum(reward**2, axis=1),
        np.full(tasks, records),
    )
    return feature, reward, cluster, stats


def log_densities(feature, reward, mean, cov, noise_std):
    """[tasks, clusters]"""
    noise = noise_std**2 * np.eye(len(reward[0]))
    return np.array(
        [
            [
                scipy_stats.multivariate_normal(x @ m, x @ c @ x.T + noise).logpdf(y)
                for m, c in zip(mean, cov, strict=True)
            ]
            for x, y in zip(feature, reward, strict=True)
        ]
    )


@pytest.mark.slow  # many fits
def test_planted_clusters_are_found():
    feature, reward, cluster, stats = draw()
    mixture = jb.fit_hierarchy_mixture(stats, clusters=3)
    assert mixture.converged
    np.testing.assert_allclose(mixture.hyper_mean, CENTRES, atol=0.2)
    np.testing.assert_allclose(mixture.weight, np.bincount(cluster) / len(cluster), atol=0.03)
    np.testing.assert_allclose(mixture.task_cov, COV, atol=0.12)
    np.testing.assert_allclose(mixture.noise_std, NOISE_STD, rtol=0.1)
    assert np.mean(np.argmax(mixture.assignment, axis=1) == cluster) > 0.97
    # Likelihood and assignment are those of the dense densities at what was found.
    parts = (np.float64(part) for part in mixture[1:4])
    joint = np.log(np.float64(mixture.weight)) + log_densities(feature, reward, *parts)
    total = np.logaddexp.reduce(joint, axis=1)
    assert np.sum(total) == pytest.approx(mixture.log_likelihood, abs=1e-2)
    np.testing.assert_allclose(mixture.assignment, np.exp(joint - total[:, None]), atol=1e-3)
    # No other parameters nearby are better.
    for scale in (0.97, 1.03):
        moved = np.float64(mixture.task_cov) * scale
        there = log_densities(feature, reward, mixture.hyper_mean, moved, mixture.noise_std)
        there = np.logaddexp.reduce(np.log(np.float64(mixture.weight)) + there, axis=1)
        assert np.sum(there) < np.sum(total)


def test_every_step_gains():
    *_, stats = draw(seed=1)
    with jax.enable_x64(True):
        state = hierarchy_mixture._State(
            jnp.full(3, 1 / 3), jnp.asarray(0.3 * CENTRES), jnp.asarray(10 * COV), jnp.asarray(1.0)
        )
        values = []
        for _ in range(15):
            state, _, value = hierarchy_mixture._em_step(
                state, jax.tree.map(jnp.asarray, stats), 1e-3 * jnp.eye(2)
            )
            values.append(float(value))
    assert np.all(np.diff(values) > 0)


def test_one_cluster_is_a_hierarchy():
    *_, stats = draw()
    mixture = jb.fit_hierarchy_mixture(stats, clusters=1, floor=1e-6, restarts=1)
    fit = jb.fit_hierarchy(stats, hyper_cov="fixed")
    assert fit.report.log_likelihood == pytest.approx(mixture.log_likelihood, abs=1e-4)
    np.testing.assert_allclose(mixture.hyper_mean[0], fit.hyper_mean, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(mixture.task_cov[0], fit.task_cov, rtol=1e-3, atol=1e-3)


def test_the_centres_are_the_hyper_prior():
    *_, stats = draw()
    mixture = jb.fit_hierarchy_mixture(stats, clusters=3)
    model = mixture.hierarchy(1)
    centres = np.float64(mixture.hyper_mean)
    np.testing.assert_allclose(model.hyper_mean, centres.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.hyper_cov, np.cov(centres, rowvar=False), rtol=1e-5)
    np.testing.assert_array_equal(model.task_cov, mixture.task_cov[1])
    jb.task_posteriors(model, stats)


def test_refused():
    *_, stats = draw()
    few = jax.tree.map(lambda x: x[:4], stats)
    bad = stats._replace(moment=np.full_like(stats.moment, np.nan))
    two = jnp.zeros((2, 3))
    mixture = jb.HierarchyMixture(two[:, 0], two, two, jnp.ones(()), two, 0.0, converged=True)
    for call, message in (
        (lambda: jb.fit_hierarchy_mixture(few, clusters=5), "at most the 4 tasks with records"),
        (lambda: jb.fit_hierarchy_mixture(stats, clusters=0), "clusters must be a whole number"),
        (lambda: jb.fit_hierarchy_mixture(stats, 2, floor=0.0), "floor must lie strictly"),
        (lambda: jb.fit_hierarchy_mixture(stats, 2, floor=2.0), "floor must lie.*was 2.0"),
        (lambda: jb.fit_hierarchy_mixture(stats, 2, seed=-1), "seed must be a whole number"),
        (lambda: jb.fit_hierarchy_mixture(bad, 2), "stats.moment must be finite"),
        (lambda: mixture.hierarchy(9), "cluster must be at most 1, was 9"),
        (lambda: mixture.hierarchy(-1), "cluster must be a whole number of at least 0"),
    ):
        assert_refused(call, message)
