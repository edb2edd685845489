"""Problems to hold bounds against: models, logs and contexts, as NumPy and as the package's."""

import jax.numpy as jnp
import numpy as np

import jaxbandit as jb
from tests.bounds.suboptimality_oracle import Problem


def statistics(gram, count):
    gram = np.asarray(gram, float)
    return jb.TaskStatistics(
        jnp.asarray(gram, float),
        jnp.zeros(gram.shape[:2]),
        jnp.zeros(len(gram)),
        jnp.asarray(count, jnp.int32),
    )


def model_of(problem):
    d = len(problem.task_cov)
    return jb.HierarchicalGaussian(
        jnp.zeros(d),
        *(jnp.asarray(x, float) for x in (problem.hyper_cov, problem.task_cov, problem.noise_std)),
    )


def random_contexts(rng, d, contexts=8, actions=4):
    """Features of norm 1 at most, many of exactly 1."""
    feature = rng.normal(size=(contexts, actions, d))
    feature /= np.linalg.norm(feature, axis=-1, keepdims=True)
    feature *= np.minimum(1, rng.uniform(0.3, 1.5, (contexts, actions, 1)))
    return feature * (1 - 1e-7)


def random_problem(rng, d, m, contexts, longest=400):
    """Logs of very different lengths, some empty, some in few directions."""

    def covariance(scale):
        mixing = np.eye(d) + 0.4 * rng.normal(size=(d, d)) / np.sqrt(d)
        return scale * mixing @ mixing.T

    count = np.floor(np.exp(rng.uniform(0, np.log(longest), m))).astype(int)
    count *= rng.uniform(size=m) < 0.9
    gram = np.zeros((m, d, d))
    pool = contexts.reshape(-1, d)
    for s, n in enumerate(count):
        choices = pool if rng.uniform() < 0.8 else pool[: max(1, d // 2)]
        feature = choices[rng.integers(0, len(choices), n)]
        gram[s] = feature.T @ feature
    scales = np.exp(rng.uniform(-2, 2, 2))
    return Problem(covariance(scales[0]), covariance(scales[1]), 0.5, gram, count)
