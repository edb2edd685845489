"""Bounds on suboptimality on every run of the event, and where naive ones fail."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from tests.bounds import suboptimality_oracle as oracle
from tests.bounds.suboptimality_cases import model_of, random_contexts, random_problem, statistics
from tests.bounds.suboptimality_oracle import Problem
from tests.simulation.cases import QUICK

B = jb.bounds
V = np.ones(2) / np.sqrt(2)


@pytest.fixture(scope="module")
def near(x64):
    return 1e-9 if x64 else 3e-4


@partial(jax.jit, compiler_options=QUICK)
def chain(model, stats, theta, covs, contexts, alpha):
    """Every bound of every task, [tasks], from the tightest to the loosest."""
    optimal = jax.vmap(lambda t: B.optimal_gram(t, contexts))(theta)
    gammas = B.task_gamma(stats, optimal)
    gamma = B.smallest_gamma(gammas, stats.count)
    estimate = jnp.zeros_like(theta)
    dependent = jax.vmap(
        lambda mean, cov, t: B.data_dependent_bound(jb.Gaussian(mean, cov), t, contexts, alpha)
    )(estimate, covs, theta)
    trace = jax.vmap(lambda cov, g: B.trace_bound(cov, g, alpha))(covs, optimal)
    return [
        dependent,
        trace,
        B.hieropo_one_root_bound(model, stats.count, gammas, optimal, alpha),
        B.hieropo_one_root_bound(model, stats.count, gamma, optimal, alpha),
        B.hieropo_bound(model, stats.count, gamma, optimal, alpha).total,
    ]


def assert_runs(seed, d, m, problems, runs, slack):
    """Truths on the very edge of what the intervals allow; returns how many were checked."""
    rng = np.random.default_rng([seed, d, m])
    held, closest = 0, 0.0
    for _ in range(problems):
        contexts = random_contexts(rng, d)
        problem = random_problem(rng, d, m, contexts)
        covs = oracle.posterior_covs(problem)
        alpha = float(rng.choice([0.1, 1.0, 4.0]))
        roots = np.linalg.cholesky(covs)
        estimate = rng.normal(size=(m, d)) * rng.choice([0.0, 1.0])
        for _ in range(runs):
            direction = rng.normal(size=(m, d))
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
            theta = estimate + alpha * np.einsum("sij,sj->si", roots, direction)
            bounds = chain(
                model_of(problem),
                statistics(problem.gram, problem.count),
                *(jnp.asarray(x, float) for x in (theta, covs, contexts, alpha)),
            )
            lost = np.zeros(m)
            for s in range(m):
                lost[s], event = oracle.suboptimality(
                    theta[s], estimate[s], covs[s], contexts, alpha
                )
                assert event
            previous = lost
            for link, bound in enumerate(bounds):
                bound = np.asarray(bound, float)
                assert np.all(previous <= bound * (1 + slack) + 1e-9), link
                previous = bound
            held += m
            closest = max(closest, np.max(lost / np.asarray(bounds[0], float)))
    return held, closest


@pytest.mark.parametrize(("d", "m"), [(1, 1), (1, 20), (2, 5), (5, 30), (10, 100)])
def test_every_bound_holds_on_every_run_of_the_event(d, m, near):
    held, closest = assert_runs(0, d, m, problems=6, runs=4, slack=near)
    assert held == 24 * m
    assert closest > (0.2 if m > 1 else 0)


@pytest.mark.slow
@pytest.mark.parametrize("d", range(1, 11))
@pytest.mark.parametrize("m", [1, 7, 100])
def test_every_bound_holds_on_a_hundred_thousand_runs(d, m, near):
    held, _ = assert_runs(1, d, m, problems=25 if m == 100 else 40, runs=4, slack=near)
    assert held >= 160


def test_the_one_root_bound_is_attained():
    # One feature, all of norm one: nothing is lost between the run and the bound.
    count = np.array([3, 0, 40, 7])
    problem = Problem(np.eye(1) * 2, np.eye(1) * 0.3, 0.5, count[:, None, None] * 1.0, count)
    covs = oracle.posterior_covs(problem)
    contexts = np.array([[[-1.0], [1.0]]])
    optimal, alpha = np.ones((4, 1, 1)), 2.0
    model = model_of(problem)
    one_root = B.hieropo_one_root_bound(model, count, 1.0, optimal, alpha)
    two_roots = B.hieropo_bound(model, count, 1.0, optimal, alpha).total
    for s in range(4):
        theta = alpha * np.sqrt(covs[s, 0])
        lost, event = oracle.suboptimality(theta, np.zeros(1), covs[s], contexts, alpha)
        assert event
        np.testing.assert_allclose(one_root[s], lost, rtol=1e-4)
    assert np.all(one_root < 0.95 * two_roots)


# Where the naive versions fail.


def flip(axis, d=2):
    """One context: a feature and its opposite, the opposite first."""
    feature = np.eye(d)[axis]
    return np.array([[-feature, feature]])


def test_gamma_restricted_to_the_range_is_no_bound():
    # All records along v; the optimal policy needs e_1, of which half is never seen.
    count, alpha = 100_000, 1.5
    problem = Problem(np.eye(2) * 1e-6, np.eye(2), 0.5, count * np.outer(V, V)[None], [count])
    cov = oracle.posterior_covs(problem)[0]
    theta = alpha * cov[0] / np.sqrt(cov[0, 0])  # the edge, in the direction of e_1
    lost, event = oracle.suboptimality(theta, np.zeros(2), cov, flip(0), alpha)
    assert event
    optimal = B.optimal_gram(theta, flip(0))
    np.testing.assert_allclose(optimal, np.diag([1.0, 0.0]), atol=1e-7)
    # The generalised eigenvalue within the range of G_*: e_1' v v' e_1.
    naive = V[0] ** 2
    assert lost > 10 * B.single_task_bound(np.eye(2), 0.5, count, naive, alpha)
    ours = B.task_gamma(statistics(problem.gram, [count]), optimal[None])[0]
    assert ours == 0
    assert lost <= B.single_task_bound(np.eye(2), 0.5, count, ours, alpha)


def test_the_gamma_of_each_task_is_not_enough_for_sparse_features():
    # Task 0 has no records and needs e_1; all others know e_2 alone, and need it alone.
    m, alpha = 30, 1.0
    count = np.array([0] + [500] * (m - 1))
    gram = count[:, None, None] * np.diag([0.0, 1.0])
    problem = Problem(25 * np.eye(2), 0.1 * np.eye(2), 0.5, gram, count)
    cov = oracle.posterior_covs(problem)[0]
    theta = alpha * cov[0] / np.sqrt(cov[0, 0])
    lost, event = oracle.suboptimality(theta, np.zeros(2), cov, flip(0), alpha)
    assert event
    optimal = np.stack([np.diag([1.0, 0.0])] + [np.diag([0.0, 1.0])] * (m - 1))
    stats, model = statistics(gram, count), model_of(problem)
    naive = B.smallest_gamma(B.task_gamma(stats, optimal), count)
    np.testing.assert_allclose(naive, 1, rtol=1e-4)
    ours = B.smallest_gamma(B.pairwise_gamma(stats, optimal), count)
    assert ours == 0
    assert lost > 3 * B.hieropo_sparse_bound(model, count, naive, alpha).total[0]
    assert lost > 3 * B.hieropo_sparse_one_root_bound(model, count, naive, alpha)[0]
    assert lost <= B.hieropo_sparse_one_root_bound(model, count, ours, alpha)[0]
    assert lost <= B.hieropo_sparse_bound(model, count, ours, alpha).total[0]


@pytest.mark.parametrize("d", [1, 6])
def test_sparse_bounds_hold_on_every_run(d, near):
    rng = np.random.default_rng(d)
    m, alpha = 12, 2.0
    axes = np.eye(d)
    for _ in range(8):
        contexts = axes[rng.integers(0, d, (6, 3))] * rng.uniform(-1, 1, (6, 3, 1))
        count = rng.integers(d, 200, m) * (rng.uniform(size=m) < 0.9)
        share = rng.dirichlet(np.ones(d), m)
        gram = np.stack([np.diag(n * p) for n, p in zip(count, share, strict=True)])
        scales = np.exp(rng.uniform(-2, 2, (2, d)))
        problem = Problem(np.diag(scales[0]), np.diag(scales[1]), 0.5, gram, count)
        covs = oracle.posterior_covs(problem)
        direction = rng.normal(size=(m, d))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        theta = alpha * np.einsum("sij,sj->si", np.linalg.cholesky(covs), direction)
        optimal = jnp.stack([B.optimal_gram(t, contexts) for t in theta])
        gammas = B.pairwise_gamma(statistics(gram, count), optimal)
        model, gamma = model_of(problem), B.smallest_gamma(gammas, count)
        previous = [
            oracle.suboptimality(t, np.zeros(d), cov, contexts, alpha)[0]
            for t, cov in zip(theta, covs, strict=True)
        ]
        for bound in (
            B.hieropo_sparse_one_root_bound(model, count, jnp.min(gammas, axis=1), alpha),
            B.hieropo_sparse_one_root_bound(model, count, gamma, alpha),
            B.hieropo_sparse_bound(model, count, gamma, alpha).total,
        ):
            assert np.all(np.asarray(previous) <= np.asarray(bound) * (1 + near))
            previous = bound
