"""Click models against their formulas written out, and their gradients against differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit.ctr.features import Features
from jaxbandit.ctr.layers import SelfAttention
from jaxbandit.ctr.models import MODELS, Shape, build
from jaxbandit.ctr.training import batch_loss
from tests.ctr import oracle
from tests.messages import assert_refused

SHAPE = Shape(codes=11, fields=5, dense=2)
HIDDEN = (6, 3)
ROWS = 4
# All rows, but for the last, which fills the batch.
VALID = np.array([True, True, True, False])


def model_of(name):
    """A model whose parameters are all large enough to matter."""
    hidden = None if name in ("logistic", "FM") else HIDDEN
    model = build(name, SHAPE, hidden)
    generator = np.random.default_rng(5)
    return jax.tree.map(
        lambda x: jnp.asarray(generator.normal(scale=0.6, size=x.shape), x.dtype), model
    )


def named(model):
    """A model's parameters by name, as float64."""
    leaves, _ = jax.tree.flatten_with_path(model)
    return {jax.tree_util.keystr(path, simple=True, separator="."): x for path, x in leaves}


def rows():
    generator = np.random.default_rng(2)
    code = generator.integers(SHAPE.codes, size=(ROWS, SHAPE.fields)).astype(np.int32)
    dense = generator.random((ROWS, SHAPE.dense)).astype(np.float32)
    return Features(code, dense), np.array([1, 0, 1, 1])


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    """Name, parameters as float64, and the value and gradient of a batch's loss."""
    model = model_of(request.param)
    features, click = rows()
    parameters, structure = eqx.partition(model, eqx.is_inexact_array)

    def both(parameters):
        logit = jax.vmap(eqx.combine(parameters, structure))(features)
        value = jax.value_and_grad(batch_loss)(
            parameters, structure, features, jnp.asarray(click, float), VALID
        )
        return logit, value

    logit, (value, gradient) = jax.jit(both)(parameters)
    exact = {name: np.asarray(x, np.float64) for name, x in named(parameters).items()}
    return request.param, exact, np.asarray(logit), float(value), named(gradient)


def test_logits_are_the_papers(case):
    name, exact, logit, _, _ = case
    features, _ = rows()
    for row in range(ROWS):
        expected = oracle.LOGITS[name](exact, features.code[row], features.dense[row])
        np.testing.assert_allclose(logit[row], expected, rtol=2e-5, atol=2e-5)


def test_attention_in_heads_of_several_dimensions():
    draw = np.random.default_rng(0)
    attention = SelfAttention(draw, rank=4, heads=2)
    attention = jax.tree.map(lambda x: 20 * x, attention)
    vectors = draw.normal(size=(5, 4))
    exact = {f"attention.{name}": np.asarray(x, np.float64) for name, x in named(attention).items()}
    expected = oracle.attention(exact, vectors, heads=2)
    np.testing.assert_allclose(
        attention(jnp.asarray(vectors, float)), expected, rtol=1e-4, atol=1e-5
    )


def loss_of(name, exact):
    features, click = rows()
    return oracle.loss(name, exact, features.code[VALID], features.dense[VALID], click[VALID])


def test_loss_is_the_sum_over_valid_rows_and_the_penalty(case):
    name, exact, _, value, _ = case
    np.testing.assert_allclose(value, loss_of(name, exact), rtol=2e-5)


def test_the_penalty_is_deepctrs(case):
    name, exact, _, _, _ = case
    model = model_of(name)
    np.testing.assert_allclose(model.penalty(), oracle.penalty(name, exact), rtol=1e-5)


def test_gradients_match_differences(case):
    """Central differences of the formulas written out, in random coordinates of each array."""
    name, exact, _, _, gradient = case
    generator = np.random.default_rng(7)
    step = 1e-6
    assert set(gradient) == set(exact)
    for key, value in exact.items():
        for _ in range(min(3, value.size)):
            at = tuple(generator.integers(size) for size in value.shape)
            ends = []
            for sign in (1, -1):
                moved = exact | {key: value.copy()}
                moved[key][at] += sign * step
                ends.append(loss_of(name, moved))
            expected = (ends[0] - ends[1]) / (2 * step)
            found = np.asarray(gradient[key])[at]
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4, err_msg=key)


def test_sizes_are_deepctrs():
    shape = Shape(codes=1000, fields=22, dense=3)
    inputs = 22 * 4
    network = {
        "DeepFM": ([256, 128], inputs + 3),
        "DCN": ([128, 128], inputs + 3),
        "DIFM": ([256, 128], inputs),
    }
    for name, (hidden, first) in network.items():
        model = named(build(name, shape))
        assert model["embedding.vector"].shape == (1000, 4)
        sizes = [model[f"network.weights.{layer}"].shape for layer in range(2)]
        assert sizes == [(hidden[0], first), (hidden[1], hidden[0])]
        assert "network.weights.2" not in model
        assert float(jnp.std(model["embedding.vector"])) == pytest.approx(1e-4, rel=0.05)
    assert named(build("DCN", shape))["cross.weights"].shape == (2, inputs + 3)


def test_models_of_other_keys_differ():
    first, second = (build("FM", SHAPE, seed=seed) for seed in (0, 1))
    assert not np.allclose(named(first)["embedding.vector"], named(second)["embedding.vector"])


def test_what_build_refuses():
    assert_refused(lambda: build("xDeepFM", SHAPE), "name must be one of logistic, FM, Deep")
    assert_refused(lambda: build("FM", SHAPE, (3,)), "hidden must not be given for FM")
    assert_refused(lambda: build("DCN", SHAPE, ()), "hidden must have at least one layer")
    assert_refused(lambda: build("DCN", SHAPE, (8, 0)), "hidden must be a whole number")
