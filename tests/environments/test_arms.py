"""Rewards have the distributions they claim; rows of a table are drawn exactly uniformly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxbandit as jb
from jaxbandit.engine import draws
from jaxbandit.environments import base
from tests.simulation import cases

N = 1 << 16
WORDS = draws.bits(jax.random.key(5), (N,))
MEAN = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
STD = np.array([0.5, 1.0, 0.1, 2.0, 1e-3])
TABLE = np.random.default_rng(3).normal(size=(37, 5))


def rewards(environment, words=WORDS):
    """[words, arms], in float64."""
    arm = jnp.arange(environment.mean.shape[0], dtype=jnp.int32)
    one = jax.vmap(environment.reward, (None, 0, None))
    return np.asarray(
        jax.jit(jax.vmap(one, (None, None, 0)))(environment.params, arm, words), float
    )


@pytest.mark.parametrize(
    ("environment", "mean", "std"),
    [
        (jb.bernoulli_arms(MEAN), MEAN, np.sqrt(MEAN * (1 - MEAN))),
        (jb.gaussian_arms(MEAN, STD), MEAN, STD),
        (jb.gaussian_arms(MEAN, 0.3), MEAN, 0.3 * np.ones(5)),
        (jb.reward_table(TABLE), TABLE.mean(axis=0), TABLE.std(axis=0)),
    ],
    ids=["bernoulli", "gaussian", "gaussian of one std", "table"],
)
def test_means_and_variances(environment, mean, std):
    np.testing.assert_allclose(environment.mean, mean, atol=1e-6)
    sample = rewards(environment)
    assert np.all(np.abs(sample.mean(axis=0) - mean) <= 4 * std / np.sqrt(N) + 1e-7)
    fourth = ((sample - mean) ** 4).mean(axis=0)
    sem = np.sqrt(np.maximum(fourth - std**4, 0) / N)
    assert np.all(np.abs(((sample - mean) ** 2).mean(axis=0) - std**2) <= 4 * sem + 1e-6)


def test_bernoulli_rewards_are_zero_or_one_and_sure_where_the_mean_is():
    sample = rewards(jb.bernoulli_arms(MEAN))
    assert set(np.unique(sample)) == {0.0, 1.0}
    assert not sample[:, 0].any()
    assert sample[:, -1].all()
    # 2^-24 is the finest step of a uniform number: the extreme words decide alike.
    extreme = jnp.asarray([0, 2**32 - 1], jnp.uint32)
    np.testing.assert_array_equal(rewards(jb.bernoulli_arms([0.0, 1.0]), extreme), [[0, 1]] * 2)


def test_one_word_serves_all_arms():
    sample = rewards(jb.bernoulli_arms(MEAN))
    assert np.all(
        np.diff(sample, axis=1) >= 0
    )  # where an arm of lower mean wins, so do higher ones


def test_rows_of_a_table_come_whole():
    found = rewards(jb.reward_table(TABLE))[:2000]
    distance = np.abs(found[:, None] - TABLE.astype(np.float32)).max(axis=2)
    assert np.all(distance.min(axis=1) < 1e-6)


@pytest.mark.parametrize("rows", [1, 2, 3, 10, 37, 1000])
def test_rows_of_a_table_are_uniform(rows):
    table = np.arange(rows, dtype=float)[:, None]
    seen = np.bincount(rewards(jb.reward_table(table))[:, 0].astype(int), minlength=rows)
    assert len(seen) == rows
    if rows > 1:
        assert stats.chisquare(seen).pvalue > 1e-3


@pytest.mark.parametrize(
    "rows", [1, 2, 3, 7, 1000, 65535, 65536, 65537, 10**6, 2**24 + 1, 2**30 + 7, 2**31 - 1]
)
def test_rows_are_drawn_exactly(rows):
    edges = np.array([0, 1, 0xFFFF, 0x10000, 0x1FFFF, 2**31 - 1, 2**31, 2**32 - 1], np.uint32)
    # Words at which the row changes, and their neighbours, where anything inexact would show.
    step = np.array([-(-k * 2**32 // rows) for k in (1, rows // 2, rows - 1)], np.uint64)
    around = np.concatenate([step - 1, step, step + 1]) if rows > 1 else step[:0]
    words = np.concatenate([edges, around.astype(np.uint32), np.asarray(WORDS[:2000])])
    found = jax.jit(draws.to_index, static_argnums=1)(jnp.asarray(words), rows)
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, [int(word) * rows >> 32 for word in words])


def test_offline_totals_are_binomial():
    count, runs = jnp.asarray([0.0, 1.0, 7.0, 50.0, 200.0]), 2000
    environment = jb.bernoulli_arms(MEAN[[2, 2, 1, 3, 2]])
    keys = jax.random.key_data(cases.run_keys(runs))
    totals = np.asarray(
        jax.jit(jax.vmap(lambda k: base.offline_totals(environment, k, count)))(keys), float
    )
    n, p = np.asarray(count, float), np.asarray(environment.mean, float)
    variance = n * p * (1 - p)
    np.testing.assert_array_equal(totals, np.round(totals))
    assert np.all(totals >= 0)
    assert np.all(totals <= n)
    assert np.all(np.abs(totals.mean(axis=0) - n * p) <= 4 * np.sqrt(variance / runs))
    # The variance of a sample variance, from the fourth moment of a binomial.
    fourth = variance * (1 + 3 * (n - 2) * p * (1 - p))
    sem = np.sqrt(np.maximum(fourth - variance**2, 0) / runs)
    found = ((totals - n * p) ** 2).mean(axis=0)
    assert np.all(np.abs(found - variance) <= 4 * sem + 1e-6)
    # Arms are independent of each other, and runs are not copies.
    correlation = np.corrcoef(totals[:, 1:].T)[np.triu_indices(4, 1)]
    assert np.all(np.abs(correlation) < 4 / np.sqrt(runs))
    assert len(np.unique(totals[:, 4])) > 20
