"""Beliefs updated record by record against posteriors of all records at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.inference.recursive import (
    Own,
    believe,
    flat_model,
    learn,
    oracle_model,
    task_posterior,
)
from jaxbandit.linalg.products import psd_factor
from jaxbandit.simulation.hierarchical.policy import hierarchical_thompson, hierarchical_ucb
from tests import oracle
from tests.simulation.cases import QUICK

D, TASKS, RECORDS = 3, 4, 40
MU = jnp.asarray([0.5, -1.0, 0.25])


def model_of(rank):
    """A hyper-covariance of the given rank; a task covariance that is not diagonal."""
    rng = np.random.default_rng(rank)
    root, task = rng.normal(size=(D, rank)), rng.normal(size=(D, D))
    return jb.HierarchicalGaussian(
        np.array([1.0, 0.0, -0.5]), root @ root.T, task @ task.T + 0.1 * np.eye(D), np.asarray(0.5)
    )


def log_of():
    rng = np.random.default_rng(0)
    task = rng.integers(0, TASKS - 1, RECORDS)  # the last task has no records
    return task, rng.normal(size=(RECORDS, D)), rng.normal(size=RECORDS)


def statistics(task, feature, reward):
    if len(task) == 0:
        return jb.empty_statistics(TASKS, D, jnp.result_type(float))
    return jb.TaskStatistics(*oracle.task_sums((task, feature, reward), TASKS))


def assert_near(actual, expected, rtol):
    for one, other in zip(actual, expected, strict=True):
        scale = np.max(np.abs(other))
        np.testing.assert_allclose(one, other, rtol=0, atol=10 * rtol * max(scale, 1))


def learn_of_task(shared, own, task, feature, reward):
    shared, new = learn(shared, jax.tree.map(lambda x: x[task], own), feature, reward)
    return shared, jax.tree.map(lambda x, y: x.at[task].set(y), own, new)


@pytest.mark.parametrize(("rank", "start"), [(3, 0), (1, 15)])
def test_every_round_is_the_posterior_of_all_records(rank, start, rtol):
    model, (task, feature, reward) = model_of(rank), log_of()
    told = {
        "hierarchical": (model, jb.task_posteriors),
        "flat": (flat_model(model), jb.flat_posteriors),
        "oracle": (oracle_model(model, MU), None),
    }
    step = jax.jit(learn_of_task, compiler_options=QUICK)
    every = jax.jit(jax.vmap(task_posterior, in_axes=(None, 0)), compiler_options=QUICK)
    for name, (prior, posteriors) in told.items():
        shared, *own = believe(prior, statistics(task[:start], feature[:start], reward[:start]))
        own = Own(*own)
        for n in range(start, RECORDS + 1):
            if n % 8 == 0 or n == start:
                stats = statistics(task[:n], feature[:n], reward[:n])
                expected = (
                    jb.oracle_posteriors(model, stats, MU)
                    if posteriors is None
                    else posteriors(model, stats)
                )
                assert_near(every(shared, own), expected, rtol)
                if name == "hierarchical":
                    assert_near(shared[:2], jb.hyper_posterior(model, stats), rtol)
            if n < RECORDS:
                values = jnp.asarray(feature[n], float), jnp.asarray(reward[n], float)
                shared, own = step(shared, own, jnp.int32(task[n]), *values)


def test_thompson_sampling_draws_from_the_posterior():
    gaussian = jb.Gaussian(
        jnp.asarray([1.0, -2.0]), jnp.asarray([[1.0, 0.6], [0.6, 0.5]]) * jnp.asarray(0.3)
    )
    policy, draws = hierarchical_thompson(), 20_000
    normal = jax.random.normal(jax.random.key(0), (draws, 2))
    # With unit vectors for features the indices are the parameter drawn.
    drawn = np.asarray(
        jax.vmap(lambda n: policy.index(policy.params, gaussian, jnp.eye(2), n))(normal), float
    )
    error = np.sqrt(np.diagonal(gaussian.cov) / draws)
    assert np.all(np.abs(drawn.mean(axis=0) - gaussian.mean) < 4 * error)
    np.testing.assert_allclose(np.cov(drawn.T), gaussian.cov, atol=4 * 0.3 * np.sqrt(2 / draws))


@pytest.mark.parametrize("order", [1, 6, 7, 14, 20])
def test_indices_are_the_formulas_at_every_order(order, rtol):
    """Of one run, and of many, in whose code matrices are treated part by part."""
    rng = np.random.default_rng(order)
    root = rng.normal(size=(3, order, order)) / np.sqrt(order)
    root[1, :, 1:] = 0  # of rank one
    cov = root @ np.swapaxes(root, 1, 2) + np.array([0.1, 0, 0])[:, None, None] * np.eye(order)
    mean, normal = rng.normal(size=(2, 3, order))
    feature = rng.normal(size=(3, 4, order))
    spread = np.sqrt(np.einsum("rai,rij,raj->ra", feature, cov, feature))
    upper = np.einsum("rai,ri->ra", feature, mean) + 1.5 * spread
    factor = np.stack([psd_factor(jnp.asarray(one)) for one in cov])
    drawn = np.einsum("rai,ri->ra", feature, mean + np.einsum("rij,rj->ri", factor, normal))
    for policy, expected in ((hierarchical_ucb(1.5), upper), (hierarchical_thompson(), drawn)):

        def index(mean, cov, feature, normal, policy=policy):
            return policy.index(policy.params, jb.Gaussian(mean, cov), feature, normal)

        runs = [jnp.asarray(x) for x in (mean, cov, feature, normal)]
        every = jax.jit(jax.vmap(index))(*runs)
        np.testing.assert_allclose(every, expected, rtol=0, atol=30 * rtol)
        np.testing.assert_allclose(index(*(x[0] for x in runs)), expected[0], atol=30 * rtol)
