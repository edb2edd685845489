"""Click models: one row's features to the logit of a click.

Formulas of the papers; sizes, initial values and penalties of DeepCTR-Torch 0.3.0, whose defaults
Sentenac et al. 2025 used. `penalty` is what training adds to the summed loss of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxbandit.checks import InputError, check_count
from jaxbandit.ctr.features import Features
from jaxbandit.ctr.layers import (
    HIGHEST,
    CrossNetwork,
    Embedding,
    Perceptron,
    SelfAttention,
    pairs,
    sum_of_squares,
    uniform,
)

PENALTY = 1e-5
RANK = 4
CROSS_LAYERS = 2
HEADS = 4


class Shape(NamedTuple):
    """Sizes that follow from the features."""

    codes: int
    fields: int
    dense: int


class ClickModel(Protocol):
    """What training needs of a model."""

    def __call__(self, features: Features) -> Array:
        """The logit of one row."""
        ...

    def penalty(self) -> Array:
        """What training adds to a batch's summed loss."""
        ...


class Logistic(eqx.Module):
    r"""Logistic regression on one-hot categories: $w_0 + \sum_i w_i$."""

    embedding: Embedding
    bias: Array

    def __init__(self, draw: np.random.Generator, shape: Shape):
        self.embedding = Embedding(draw, shape.codes, shape.dense, 0)
        self.bias = jnp.zeros(())

    def __call__(self, features: Features) -> Array:
        return self.bias + self.embedding.linear(features)

    def penalty(self) -> Array:
        return PENALTY * self.embedding.penalty()


class FM(eqx.Module):
    r"""Factorisation machine: $w_0 + \sum_i w_i + \sum_{i<j} \langle v_i, v_j \rangle$.

    Source:
        Rendle 2010, eq. 1.
    """

    embedding: Embedding
    bias: Array

    def __init__(self, draw: np.random.Generator, shape: Shape):
        self.embedding = Embedding(draw, shape.codes, shape.dense, RANK)
        self.bias = jnp.zeros(())

    def __call__(self, features: Features) -> Array:
        vectors = self.embedding.vectors(features)
        return self.bias + self.embedding.linear(features) + pairs(vectors)

    def penalty(self) -> Array:
        return PENALTY * self.embedding.penalty()


class DeepFM(eqx.Module):
    r"""A factorisation machine plus a network on the same embeddings: $y_{FM} + y_{DNN}$.

    Source:
        Guo et al. 2017, eqs. 1-4.
    """

    embedding: Embedding
    network: Perceptron
    readout: Float[Array, " hidden"]
    bias: Array

    def __init__(self, draw: np.random.Generator, shape: Shape, hidden: Sequence[int] = (256, 128)):
        self.embedding = Embedding(draw, shape.codes, shape.dense, RANK)
        self.network = Perceptron(draw, shape.fields * RANK + shape.dense, hidden)
        self.readout = uniform(draw, (hidden[-1],), hidden[-1])
        self.bias = jnp.zeros(())

    def __call__(self, features: Features) -> Array:
        vectors = self.embedding.vectors(features)
        deep = self.network(jnp.concatenate([vectors.ravel(), features.dense]))
        fm = self.embedding.linear(features) + pairs(vectors)
        return self.bias + fm + jnp.dot(self.readout, deep, precision=HIGHEST)

    def penalty(self) -> Array:
        return PENALTY * self.embedding.penalty()


class DCN(eqx.Module):
    r"""A cross network beside a deep one, $\langle w, [x_L, h] \rangle$; plus the linear term.

    The linear term is DeepCTR's, not the paper's.

    Source:
        Wang et al. 2017, eqs. 3-6.
    """

    embedding: Embedding
    cross: CrossNetwork
    network: Perceptron
    readout: Float[Array, " stacked"]
    bias: Array

    def __init__(self, draw: np.random.Generator, shape: Shape, hidden: Sequence[int] = (128, 128)):
        inputs = shape.fields * RANK + shape.dense
        self.embedding = Embedding(draw, shape.codes, shape.dense, RANK)
        self.cross = CrossNetwork(draw, inputs, CROSS_LAYERS)
        self.network = Perceptron(draw, inputs, hidden)
        self.readout = uniform(draw, (inputs + hidden[-1],), inputs + hidden[-1])
        self.bias = jnp.zeros(())

    def __call__(self, features: Features) -> Array:
        vectors = self.embedding.vectors(features)
        x = jnp.concatenate([vectors.ravel(), features.dense])
        stacked = jnp.concatenate([self.cross(x), self.network(x)])
        read = jnp.dot(self.readout, stacked, precision=HIGHEST)
        return self.bias + self.embedding.linear(features) + read

    def penalty(self) -> Array:
        own = sum_of_squares(self.cross.weights, self.readout)
        return PENALTY * (self.embedding.penalty() + own)


class DIFM(eqx.Module):
    r"""A factorisation machine whose weights a row reweights by its own factors m(x).

    $w_0 + \sum_i m_i w_i + \sum_{i<j} \langle m_i v_i, m_j v_j \rangle$, m = m_vec + m_bit: one
    from self-attention between the embeddings, one from a network on them. The dense features enter
    linearly only, as in DeepCTR.

    Source:
        Lu et al. 2020, eqs. 2-13.
    """

    embedding: Embedding
    attention: SelfAttention
    network: Perceptron
    from_vectors: Float[Array, "fields inputs"]
    from_bits: Float[Array, "fields hidden"]
    bias: Array

    def __init__(self, draw: np.random.Generator, shape: Shape, hidden: Sequence[int] = (256, 128)):
        inputs = shape.fields * RANK
        self.embedding = Embedding(draw, shape.codes, shape.dense, RANK)
        self.attention = SelfAttention(draw, RANK, HEADS)
        self.network = Perceptron(draw, inputs, hidden)
        self.from_vectors = uniform(draw, (shape.fields, inputs), inputs)
        self.from_bits = uniform(draw, (shape.fields, hidden[-1]), hidden[-1])
        self.bias = jnp.zeros(())

    def __call__(self, features: Features) -> Array:
        vectors = self.embedding.vectors(features)
        attended = self.attention(vectors).ravel()
        by_vector = jnp.matmul(self.from_vectors, attended, precision=HIGHEST)
        deep = self.network(vectors.ravel())
        by_bit = jnp.matmul(self.from_bits, deep, precision=HIGHEST)
        factor = by_vector + by_bit
        linear = self.embedding.linear(features, factor)
        return self.bias + linear + pairs(factor[:, None] * vectors)

    def penalty(self) -> Array:
        return PENALTY * self.embedding.penalty()


MODELS: dict[str, Callable[..., ClickModel]] = {
    "logistic": Logistic,
    "FM": FM,
    "DeepFM": DeepFM,
    "DCN": DCN,
    "DIFM": DIFM,
}


def build(
    name: str, shape: Shape, hidden: Sequence[int] | None = None, *, seed: int | Sequence[int] = 0
) -> ClickModel:
    """A model with its initial parameters.

    Args:
        name: one of `MODELS`.
        shape: of the features.
        hidden: units of the network's layers, for the models that have one; default: DeepCTR's.
        seed: of the initial parameters.

    Raises:
        InputError: an unknown name, or hidden units for a model without a network.
    """
    if name not in MODELS:
        raise InputError(f"name must be one of {', '.join(MODELS)}, was {name!r}")
    draw = np.random.default_rng(seed)
    if hidden is None:
        return MODELS[name](draw, shape)
    if name in ("logistic", "FM"):
        raise InputError(f"hidden must not be given for {name}, which has no network")
    if len(hidden) == 0:
        raise InputError("hidden must have at least one layer, was empty")
    for size in hidden:
        check_count("hidden", size)
    return MODELS[name](draw, shape, hidden)
