"""Lower confidence bounds, actions and suboptimality against loops over records."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from tests import oracle

D, CONTEXTS, ACTIONS = 3, 40, 5


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(D, D))
    mean, cov = rng.normal(size=D), mixing @ mixing.T
    return mean, cov, rng.normal(size=(CONTEXTS, ACTIONS, D)), rng.normal(size=D)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 3.0])
def test_lower_confidence_bound(problem, alpha, x64):
    mean, cov, feature, _ = problem
    bound = jb.lower_confidence_bound(jb.Gaussian(mean, cov), feature, alpha)
    expected = [
        [oracle.lower_confidence_bound(mean, cov, x, alpha) for x in choices] for choices in feature
    ]
    np.testing.assert_allclose(bound, expected, rtol=1e-11 if x64 else 2e-4, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 3.0])
def test_action_and_suboptimality(problem, alpha):
    mean, cov, feature, theta = problem
    action = jb.pessimistic_action(jb.Gaussian(mean, cov), feature, alpha)
    expected = [oracle.pessimistic_action(mean, cov, choices, alpha) for choices in feature]
    np.testing.assert_array_equal(action, expected)
    lost = jb.suboptimality(theta, feature, action)
    assert float(lost) == pytest.approx(
        oracle.mean_suboptimality([theta], [mean], [cov], feature, alpha), rel=1e-5
    )


def test_ties_go_to_the_lowest_index():
    same = jb.Gaussian(np.zeros(2), np.eye(2))
    assert int(jb.pessimistic_action(same, np.ones((4, 2)), 1.0)) == 0


def test_over_tasks_by_vmap(problem):
    mean, cov, feature, _ = problem
    means, covs = jnp.stack([mean, -mean]), jnp.stack([cov, 2 * cov])
    bounds = jax.vmap(jb.lower_confidence_bound, in_axes=(0, None, None))(
        jb.Gaussian(means, covs), feature, 0.5
    )
    for task in range(2):
        one = jb.lower_confidence_bound(jb.Gaussian(means[task], covs[task]), feature, 0.5)
        np.testing.assert_allclose(bounds[task], one, rtol=1e-5, atol=1e-6)


def test_variance_that_rounds_below_zero_is_zero():
    rounding = 4 * jnp.finfo(float).eps
    known = jb.Gaussian(np.ones(2), np.array([[1.0, -1.0], [-1.0, 1.0 - rounding]]))
    bound = jb.lower_confidence_bound(known, np.ones(2), 1.0)
    assert float(bound) == 2.0


def test_slopes_where_nothing_is_unknown():
    """The width has no slope at its minimum, and NaN is not taken for a variance of zero."""
    gaussian = jb.Gaussian(np.array([1.0, 2.0]), np.eye(2))
    slope = jax.grad(lambda feature: jb.lower_confidence_bound(gaussian, feature, 3.0))
    np.testing.assert_array_equal(slope(jnp.zeros(2)), [1.0, 2.0])
    np.testing.assert_allclose(slope(jnp.array([0.0, 2.0])), [1.0, -1.0])
    unknown = gaussian._replace(cov=np.full((2, 2), np.nan))
    assert np.isnan(jax.jit(jb.lower_confidence_bound)(unknown, np.ones(2), 1.0))


def test_each_algorithm_acts_on_its_posterior():
    model = jb.HierarchicalGaussian(np.ones(2), np.eye(2), 0.5 * np.eye(2), 0.3)
    stats = jb.task_statistics(jb.BanditLog([0, 1], np.eye(2), [1.0, 2.0]), 3)
    mu = np.array([0.3, -0.2])
    for algorithm, expected in (
        (jb.hieropo, jb.task_posteriors(model, stats)),
        (jb.flatopo, jb.flat_posteriors(model, stats)),
        (jb.oracleopo, jb.oracle_posteriors(model, stats, mu)),
    ):
        for one, two in zip(algorithm(model, stats, mu), expected, strict=True):
            np.testing.assert_array_equal(one, two)
