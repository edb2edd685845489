"""Models and logs that are hard in one way each."""

from typing import NamedTuple

import jax
import numpy as np

import jaxbandit as jb

TASKS = {1: 50, 2: 50, 4: 50, 10: 20, 20: 8}
"""Number of tasks for each number of features: one each, so that cases share compiled programs."""

KINDS = (
    "plain",
    "hyper_rank_one",
    "hyper_zero",
    "hyper_wide",
    "tasks_wide",
    "coordinates_apart",
    "long",
    "long_hyper_wide",
    "long_coordinates_apart",
)


class Case(NamedTuple):
    model: jb.HierarchicalGaussian
    log: jb.BanditLog
    tasks: int


def make_case(kind: str, d: int, seed: int = 0) -> Case:
    """A model and a log drawn from it, in numbers that the precision in use holds exactly.

    Task 0 has no record, task 1 one, task 2 10,000 in the "long" kinds and the others a few each.
    Covariances are random and correlated; "wide" and "apart" are variances 10^4 apart.
    """
    rng = np.random.default_rng([seed, d, KINDS.index(kind)])
    m = TASKS[d]
    hyper_cov, task_cov = _covariance(rng, d), 0.5 * _covariance(rng, d)
    scale = np.ones(d)
    if kind == "hyper_rank_one":
        hyper_cov = np.outer(hyper_cov[0], hyper_cov[0])
    elif kind == "hyper_zero":
        hyper_cov = np.zeros((d, d))
    elif kind.endswith("hyper_wide"):
        hyper_cov = 1e4 * hyper_cov
    elif kind == "tasks_wide":
        task_cov = 1e4 * task_cov
    elif kind.endswith("coordinates_apart"):
        scale = 100.0 ** np.linspace(0, 1, d)
        hyper_cov, task_cov = (cov * np.outer(scale, scale) for cov in (hyper_cov, task_cov))
    count = np.concatenate([[0, 1], rng.integers(1, 3 * d + 4, m - 2)])
    count[2] = 10_000 if kind.startswith("long") else count[2]
    hyper_mean = scale * rng.normal(size=d)
    theta = hyper_mean + rng.normal(size=d) @ _root(hyper_cov).T
    theta = theta + rng.normal(size=(m, d)) @ _root(task_cov).T
    task = rng.permutation(np.repeat(np.arange(m), count))
    feature = rng.uniform(-0.5, 0.5, (len(task), d))
    noise_std = 0.5
    reward = np.sum(feature * theta[task], axis=1) + noise_std * rng.normal(size=len(task))
    dtype = np.dtype(jax.numpy.result_type(float))
    model = jb.HierarchicalGaussian(
        *(np.asarray(x, dtype) for x in (hyper_mean, hyper_cov, task_cov, noise_std))
    )
    log = jb.BanditLog(task.astype(np.int32), feature.astype(dtype), reward.astype(dtype))
    return Case(model, log, m)


def _covariance(rng: np.random.Generator, d: int) -> np.ndarray:
    mixing = np.eye(d) + 0.3 * rng.normal(size=(d, d)) / np.sqrt(d)
    return mixing @ mixing.T


def _root(cov: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(cov)
    return vectors * np.sqrt(np.maximum(values, 0))


def normwise(actual, expected) -> float:
    """Largest over the leading axis of `|actual - expected| / |expected|`, norms over the rest."""
    actual, expected = np.asarray(actual, float), np.asarray(expected, float)
    axes = tuple(range(1, expected.ndim))
    error = np.sqrt(np.sum((actual - expected) ** 2, axis=axes))
    return float(np.max(error / np.sqrt(np.sum(expected**2, axis=axes))))
