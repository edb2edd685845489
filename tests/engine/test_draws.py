"""Random numbers: known answers, agreement with `jax.random`, and their distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxbandit.checks import InputError
from jaxbandit.engine import draws, keys
from jaxbandit.engine.keys import Purpose

# Random123's kat_vectors: threefry2x32, 20 rounds; key, counter, answer.
KNOWN_ANSWERS = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("key", "counter", "answer"), KNOWN_ANSWERS)
def test_threefry_known_answers(key, counter, answer):
    first, second = jnp.asarray(counter, jnp.uint32)
    words = jax.jit(draws.threefry)(jnp.asarray(key, jnp.uint32), first, second)
    assert tuple(int(word) for word in words) == answer


def test_run_key_is_fold_in():
    root = jax.random.key(7)
    for run in (0, 1, 12345, 2**32 - 1):
        ours = jax.random.key_data(keys.run_key(root, np.uint32(run)))
        np.testing.assert_array_equal(ours, jax.random.key_data(jax.random.fold_in(root, run)))


def test_keys_of_runs_purposes_and_blocks_differ():
    root = jax.random.key(0)
    seen = {tuple(jax.random.key_data(keys.run_key(root, run)).tolist()) for run in range(50)}
    for purpose in Purpose:
        for block in range(50):
            key = keys.purpose_key(root, purpose, block)
            seen.add(tuple(jax.random.key_data(key).tolist()))
    assert len(seen) == 50 + 50 * len(Purpose)


def test_keys_of_several_purposes_are_those_of_each():
    root = jax.random.key(5)
    purposes = Purpose.LOG_NOISE, Purpose.INSTANCE
    together = keys.purpose_keys(root, purposes, 3)
    for key, purpose in zip(together, purposes, strict=True):
        alone = keys.purpose_key(root, purpose, 3)
        np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(alone))


@pytest.mark.parametrize("size", [0, 1, 7, 8])
def test_bits_are_both_words_of_the_hash(size):
    key = jax.random.key(3)
    half = -(-size // 2)
    words = draws.threefry(
        jax.random.key_data(key), jnp.zeros(half, jnp.uint32), jnp.arange(half, dtype=jnp.uint32)
    )
    np.testing.assert_array_equal(draws.bits(key, (size,)), np.concatenate(words)[:size])


def test_shape_only_arranges():
    key = jax.random.key(3)
    np.testing.assert_array_equal(
        draws.uniform(key, (3, 4)), draws.uniform(key, (12,)).reshape(3, 4)
    )


@pytest.mark.parametrize("shape", [(3, 5), (40, 3), ()])
def test_mapped_draws_are_those_of_each(shape):
    keys = jax.random.split(jax.random.key(0), 6)
    mapped = jax.vmap(lambda key: draws.bits(key, shape))(keys)
    twice = jax.vmap(jax.vmap(lambda key: draws.bits(key, shape)))(keys.reshape(2, 3))
    assert mapped.shape == (6, *shape)
    for one, two, key in zip(mapped, twice.reshape(6, *shape), keys, strict=True):
        np.testing.assert_array_equal(one, draws.bits(key, shape))
        np.testing.assert_array_equal(two, one)


def test_uniform_is_uniform():
    n = 1 << 18
    sample = np.asarray(draws.uniform(jax.random.key(1), (n,)))
    assert sample.dtype == np.float32
    assert sample.min() >= 0
    assert sample.max() < 1
    # The word's leading 24 bits: no number is above its word, and none loses more.
    words = np.asarray(draws.bits(jax.random.key(1), (n,)), float) / 2**32
    assert np.all((sample <= words) & (sample > words * (1 - 2**-23)))
    assert abs(sample.mean(dtype=float) - 0.5) < 4 * np.sqrt(1 / 12 / n)
    assert abs(sample.var(dtype=float) - 1 / 12) < 4 * np.sqrt(1 / 180 / n)
    assert stats.chisquare(np.histogram(sample, 256, (0, 1))[0]).pvalue > 1e-3
    # Neighbours, and the two words of one hash, are uncorrelated.
    for lag in (1, n // 2):
        rho = np.corrcoef(sample[:-lag], sample[lag:])[0, 1]
        assert abs(rho) < 4 / np.sqrt(n - lag)


def test_normal_is_normal():
    n = 1 << 18
    sample = np.asarray(draws.normal(jax.random.key(2), (n,)), float)
    assert np.all(np.isfinite(sample))
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(sample**power) - moment) < 4 * np.sqrt(variance / n)
    uniform = stats.norm.cdf(sample)
    assert stats.chisquare(np.histogram(uniform, 256, (0, 1))[0]).pvalue > 1e-3


def test_normal_inverts_the_distribution_function():
    """Word w gives the middle of its step, of 2^-32; the tails keep their digits."""
    few = np.arange(1000, dtype=np.uint32)
    ends = [few, few + 2**31, 2**31 - 1 - few, 2**32 - 1 - few]
    words = np.concatenate([draws.bits(jax.random.key(2), (100_000,)), *ends]).astype(np.uint32)
    # From the nearer end, where the middle of a step has all its digits.
    signed = words.view(np.int32).astype(float)
    tail = 1 - np.abs(2 * signed + 1) / 2**32
    expected = np.sign(2 * signed + 1) * stats.norm.isf(tail / 2)
    drawn = np.asarray(jax.jit(draws.to_normal)(words), float)
    np.testing.assert_allclose(drawn, expected, rtol=1e-6, atol=2e-7)
    assert drawn.max() > 6.3
    np.testing.assert_array_equal(drawn[words == 0], -drawn[words == 2**32 - 1])


@pytest.mark.parametrize("p", [1e-9, 1e-8, 1e-7, 1e-5, 2**-8, 0.01, 0.3, 0.7, 1 - 2**-24])
def test_a_uniform_number_is_below_p_as_often_as_p(p):
    """Words below the first that is not: their share is p, to a word."""
    p = np.float32(p)
    first = int(np.ceil(float(p) * 2**32))
    around = np.array([w for w in range(first - 300, first + 300) if 0 <= w < 2**32], np.uint32)
    below = np.asarray(draws.to_uniform(around)) < p
    np.testing.assert_array_equal(below, around < first)
    assert abs(first / 2**32 - float(p)) < 2**-32


def test_draws_do_not_depend_on_precision():
    key = jax.random.key(5)
    for draw in (draws.uniform, draws.normal):
        with jax.enable_x64(False):
            single = np.asarray(draw(key, (1001,)))
        with jax.enable_x64(True):
            double = np.asarray(draw(key, (1001,)))
        assert double.dtype == np.float32
        np.testing.assert_array_equal(single, double)


def test_root_key_takes_typed_and_raw_keys():
    typed = jax.random.key(9)
    for key in (typed, jax.random.PRNGKey(9), np.asarray(jax.random.PRNGKey(9))):
        np.testing.assert_array_equal(
            jax.random.key_data(keys.root_key(key)), jax.random.key_data(typed)
        )


def test_root_key_refuses_what_is_not_one_threefry_key():
    for key in (0, None, jax.random.split(jax.random.key(0)), np.zeros(2)):
        with pytest.raises(InputError, match=r"key must be one PRNG key.*jax\.random\.key\(seed\)"):
            keys.root_key(key)
    with pytest.raises(InputError, match="threefry"):
        keys.root_key(jax.random.key(0, impl="rbg"))
