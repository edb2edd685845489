"""Mergeable moments against NumPy over all runs at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit.engine.devices import compiler_options
from jaxbandit.engine.moments import Moments, in_words, merge, tile_moments

EMPTY = Moments(np.float64(0), np.float64(0), np.float64(0))


@pytest.fixture(scope="module")
def sample():
    return np.random.default_rng(0).normal(1000.0, 2.0, (100, 3))


def summary(values, valid=None):
    valid = np.ones(len(values), bool) if valid is None else valid
    return jax.jit(tile_moments)(jnp.asarray(values), jnp.asarray(valid))


def test_tile_moments_leave_invalid_runs_out(sample, x64):
    valid = np.arange(100) % 3 > 0
    spoiled = np.where(valid[:, None], sample, np.nan)
    out = summary(spoiled, valid)
    kept = sample[valid].astype(jnp.result_type(float)).astype(float)
    assert int(out.count) == valid.sum()
    np.testing.assert_allclose(out.mean, kept.mean(axis=0), rtol=1e-14 if x64 else 1e-6)
    # Far from zero, and still the variance has its digits.
    np.testing.assert_allclose(out.var, kept.var(axis=0, ddof=1), rtol=1e-12 if x64 else 1e-4)


@pytest.mark.parametrize("cuts", [(50,), (1, 2, 99), (10, 10, 60)])
def test_merged_parts_are_the_whole(sample, cuts):
    merged = EMPTY
    for part in np.split(sample, cuts):
        deviation = np.sum((part - part.mean(axis=0)) ** 2, axis=0) if len(part) else np.zeros(3)
        mean = part.mean(axis=0) if len(part) else np.zeros(3)
        merged = merge(merged, Moments(len(part), mean, deviation))
    assert merged.count == 100
    np.testing.assert_allclose(merged.mean, sample.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(merged.var, sample.var(axis=0, ddof=1), rtol=1e-11)
    np.testing.assert_allclose(merged.std, sample.std(axis=0, ddof=1), rtol=1e-11)
    np.testing.assert_allclose(merged.sem, sample.std(axis=0, ddof=1) / 10, rtol=1e-11)


def test_order_matters_to_no_digit_that_counts(sample):
    first, second, third = (summary(part) for part in np.split(sample, (20, 70)))
    one = merge(merge(first, second), third)
    two = merge(third, merge(second, first))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_empty_is_neutral_and_merging_is_in_float64(sample):
    out = summary(sample)
    for merged in (merge(EMPTY, out), merge(out, EMPTY)):
        assert merged.mean.dtype == np.float64
        for a, b in zip(merged, out, strict=True):
            np.testing.assert_array_equal(a, np.asarray(b, np.float64))
    both = merge(EMPTY, EMPTY)
    assert both.count == 0
    assert both.mean == 0


def test_fewer_than_two_runs_have_no_variance():
    one = merge(EMPTY, summary(np.array([[1.0, 2.0]])))
    np.testing.assert_array_equal(one.mean, [1.0, 2.0])
    assert np.all(np.isnan(one.var))
    assert np.all(np.isnan(one.sem))
    none = summary(np.array([[1.0], [2.0]]), np.zeros(2, bool))
    assert int(none.count) == 0
    assert np.all(np.isnan(none.var))


def curve(*means):
    mean = np.array(means, float)
    return Moments(np.float64(4), mean, np.full(mean.shape, 3.0))


def test_a_result_says_in_few_words_how_it_ends():
    said = in_words("Result: 4 runs", 0, {"one": curve(1, 20), "other": curve(3, 4000.25)})
    assert said == "Result: 4 runs\n  one    20 +- 0.5\n  other  4000 +- 0.5"
    cells = in_words("Result", 2, {"one": curve([1, 20], [3, 4])})
    assert cells == "Result (2 runs left out)\n  one  4 to 20 in 2 cells"


@pytest.mark.parametrize("runs", [32, 128])
def test_an_entrys_moments_do_not_depend_on_the_others(runs):
    """A bare product sums its last rows in another order: bits would change with the policies."""
    rows = np.random.default_rng(0).normal(size=(70, runs)).astype(np.float32)
    summarise = jax.jit(
        lambda rows: tile_moments(rows.T, jnp.ones(runs, bool)),
        compiler_options=compiler_options("cpu"),
    )
    whole = summarise(rows)
    for entries in (1, 2, 3, 5, 8, 13, 33, 64, 65):
        part = summarise(rows[:entries])
        np.testing.assert_array_equal(part.mean, whole.mean[:entries])
        np.testing.assert_array_equal(part.deviation, whole.deviation[:entries])
