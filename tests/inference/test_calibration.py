"""Simulation-based calibration: under the prior, truth and posterior are exchangeable.

Source:
    Talts et al. 2018, "Validating Bayesian inference algorithms with simulation-based calibration".
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxbandit as jb

DRAWS, TASKS, RECORDS, D = 10_000, 3, 12, 2
MODEL = jb.HierarchicalGaussian(
    np.array([0.5, -1.0]),
    np.array([[1.0, 0.4], [0.4, 0.5]]),
    np.array([[0.6, -0.2], [-0.2, 0.3]]),
    0.7,
)


def one_draw(key):
    """Distribution function of each posterior at the truth, coordinate by coordinate."""
    k_mu, k_theta, k_x, k_noise, k_task = jax.random.split(key, 5)
    mu = MODEL.hyper_mean + jnp.linalg.cholesky(MODEL.hyper_cov) @ jax.random.normal(k_mu, (D,))
    normal = jax.random.normal(k_theta, (TASKS, D))
    theta = mu + normal @ jnp.linalg.cholesky(MODEL.task_cov).T
    task = jax.random.randint(k_task, (RECORDS,), 0, TASKS - 1)  # the last has no records
    feature = jax.random.uniform(k_x, (RECORDS, D), minval=-1.0)
    reward = jnp.sum(feature * theta[task], axis=1)
    reward += MODEL.noise_std * jax.random.normal(k_noise, (RECORDS,))
    sums = jb.task_statistics(jb.BanditLog(task, feature, reward), TASKS)
    model = jb.HierarchicalGaussian(*(jnp.asarray(field) for field in MODEL))

    def rank(gaussian, truth):
        std = jnp.sqrt(jnp.diagonal(gaussian.cov, axis1=-2, axis2=-1))
        return jax.scipy.stats.norm.cdf((truth - gaussian.mean) / std)

    return {
        "hyper": rank(jb.hyper_posterior(model, sums), mu),
        "task": rank(jb.task_posteriors(model, sums), theta),
        "oracle": rank(jb.oracle_posteriors(model, sums, mu), theta),
        "flat": rank(jb.flat_posteriors(model, sums), theta),
        "new": rank(jb.new_task_posterior(model, sums), theta[-1]),
    }


@pytest.fixture(scope="module")
def ranks():
    keys = jax.random.split(jax.random.key(20), DRAWS)
    out = jax.jit(jax.vmap(one_draw))(keys)
    return {name: np.asarray(value).reshape(DRAWS, -1) for name, value in out.items()}


NAMES = ("hyper", "task", "oracle", "flat", "new")


@pytest.mark.parametrize("name", NAMES)
def test_ranks_are_uniform(ranks, name):
    for coordinate in ranks[name].T:
        counts = np.histogram(coordinate, 50, (0, 1))[0]
        assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_intervals_cover(ranks, name, level):
    inside = np.abs(ranks[name] - 0.5) < level / 2
    error = np.sqrt(level * (1 - level) / DRAWS)
    assert np.all(np.abs(inside.mean(axis=0) - level) < 4 * error)
