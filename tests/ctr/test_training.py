"""Training: Adam written out, determinism, and what an epoch learns."""

import jax
import numpy as np
import pytest

from jaxbandit.ctr.features import Features
from jaxbandit.ctr.models import Shape, build
from jaxbandit.ctr.training import CHUNK, cross_entropy, predict, train
from tests.ctr import oracle
from tests.ctr.standin import standin
from tests.ctr.test_models import named
from tests.messages import assert_refused

SMALL = Shape(codes=6, fields=3, dense=2)


def small_rows(number=10):
    generator = np.random.default_rng(1)
    features = Features(
        generator.integers(6, size=(number, 3)).astype(np.int32),
        generator.random((number, 2)).astype(np.float32),
    )
    return features, np.arange(number) % 3 == 0


def test_training_is_adam_on_batches_with_a_smaller_last_one():
    """Logistic regression in NumPy: 10 rows in batches of 4, two epochs."""
    features, click = small_rows()
    model = build("logistic", SMALL, seed=2)
    trained = named(train(model, features, click, batch=4, epochs=2, seed=9))
    draw = np.random.default_rng(9)
    batches = []
    for _ in range(2):
        order = draw.permutation(10)
        batches += [order[:4], order[4:8], order[8:]]

    one_hot = np.zeros((10, 6))
    for row in range(10):
        for code in features.code[row]:
            one_hot[row, code] += 1
    design = np.hstack([one_hot, features.dense, np.ones((10, 1))])

    def gradient(x, batch):
        error = 1 / (1 + np.exp(-design[batch] @ x)) - click[batch]
        penalty = 2e-5 * x
        penalty[-1] = 0  # of the bias
        return design[batch].T @ error + penalty

    start = named(model)
    order = ["embedding.weight", "embedding.dense_weight", "bias"]
    flat = np.concatenate([np.ravel(start[name]) for name in order]).astype(np.float64)
    expected = oracle.adam(gradient, flat, batches)
    found = np.concatenate([np.ravel(trained[name]) for name in order])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_training_is_deterministic_by_seed():
    features, click = small_rows()
    model = build("FM", SMALL)
    first, again, other = (
        named(train(model, features, click, batch=4, seed=seed)) for seed in (0, 0, 1)
    )
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)


def test_predictions_do_not_depend_on_chunks():
    features, _ = small_rows(CHUNK + 7)
    model = build("FM", SMALL)
    every = predict(model, features)
    few = predict(model, jax.tree.map(lambda x: x[CHUNK - 3 : CHUNK + 4], features))
    np.testing.assert_array_equal(every[CHUNK - 3 : CHUNK + 4], few)
    assert predict(model, jax.tree.map(lambda x: x[:0], features)).shape == (0,)


def test_cross_entropy():
    loss = cross_entropy(np.array([1, 0, 0]), np.array([0.5, 0.2, 1.0]))
    each = -np.log([0.5, 0.8, 1e-7])
    assert loss.mean == pytest.approx(each.mean())
    assert loss.sem == pytest.approx(each.std(ddof=1) / np.sqrt(3))
    assert loss.rows == 3


def test_what_training_refuses():
    features, click = small_rows()
    model = build("logistic", SMALL)
    for same in (click * 0, click * 0 + 1, click[:0]):
        assert_refused(lambda same=same: train(model, features, same), "must have zeros and ones")
    assert_refused(lambda: train(model, features, click, batch=0), "batch must be a whole number")
    bad = features._replace(dense=features.dense * np.nan)
    assert_refused(lambda: train(model, bad, click), "features must be finite")


def test_a_short_epoch_on_the_standin():
    """It beats the constant rate and falls short of the planted model."""
    shape, features, learnt, others, held = standin(6_000, 6_000)
    trained = train(build("FM", shape), features, learnt.click, batch=16)
    constant = cross_entropy(held.click, np.full(len(held.click), learnt.click.mean())).mean
    planted = cross_entropy(held.click, held.probability).mean
    found = cross_entropy(held.click, predict(trained, others)).mean
    assert planted < found < constant - 0.1 * (constant - planted)
