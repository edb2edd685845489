"""Parts that click models share, for one row; initialised as DeepCTR-Torch does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxbandit.ctr.features import Features

INIT_STD = 1e-4
HIGHEST = jax.lax.Precision.HIGHEST


class Embedding(eqx.Module):
    """A weight and a vector for each code, and a weight for each dense feature."""

    weight: Float[Array, " codes"]
    vector: Float[Array, "codes rank"]
    dense_weight: Float[Array, " dense"]

    def __init__(self, draw: np.random.Generator, codes: int, dense: int, rank: int):
        self.weight = normal(draw, (codes,), INIT_STD)
        self.vector = normal(draw, (codes, rank), INIT_STD)
        self.dense_weight = normal(draw, (dense,), INIT_STD)

    def linear(self, features: Features, factor: Array | float = 1.0) -> Array:
        r"""$\sum_i m_i w_i + \langle w_{dense}, x_{dense} \rangle$; m is 1 unless given."""
        dense = jnp.dot(self.dense_weight, features.dense, precision=HIGHEST)
        return jnp.sum(factor * self.weight[features.code]) + dense

    def vectors(self, features: Features) -> Float[Array, "fields rank"]:
        """The row's embedding vectors."""
        return self.vector[features.code]

    def penalty(self) -> Array:
        """Sum of squares."""
        return sum_of_squares(self.weight, self.vector, self.dense_weight)


class Perceptron(eqx.Module):
    """Fully connected layers with ReLU after each."""

    weights: list[Float[Array, "_out _in"]]
    biases: list[Float[Array, " _out"]]

    def __init__(self, draw: np.random.Generator, inputs: int, hidden: Sequence[int]):
        sizes = [inputs, *hidden]
        self.weights = [
            normal(draw, shape, INIT_STD) for shape in ((b, a) for a, b in pairwise(sizes))
        ]
        self.biases = [uniform(draw, (size,), last) for last, size in pairwise(sizes)]

    def __call__(self, x: Array) -> Array:
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = jax.nn.relu(jnp.matmul(weight, x, precision=HIGHEST) + bias)
        return x


class CrossNetwork(eqx.Module):
    r"""$x_{l+1} = x_0 \langle x_l, w_l \rangle + b_l + x_l$.

    Source:
        Wang et al. 2017, eq. 3.
    """

    weights: Float[Array, "layers inputs"]
    biases: Float[Array, "layers inputs"]

    def __init__(self, draw: np.random.Generator, inputs: int, layers: int):
        self.weights = normal(draw, (layers, inputs), (2 / (inputs + 1)) ** 0.5)
        self.biases = jnp.zeros((layers, inputs))

    def __call__(self, x: Array) -> Array:
        first = x
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = first * jnp.dot(x, weight, precision=HIGHEST) + bias + x
        return x


class SelfAttention(eqx.Module):
    r"""Fields attend to fields, in several heads, with a residual connection.

    Head h of field i: $\sum_j a_{ij} V_j$, a the softmax over j of $Q_i \cdot K_j / \sqrt{d}$;
    heads side by side, plus $e_i W_{res}$, through ReLU.

    Source:
        Lu et al. 2020, section 3.2, after Song et al. 2019 (AutoInt), eqs. 5-8.
    """

    query: Float[Array, "rank rank"]
    key: Float[Array, "rank rank"]
    value: Float[Array, "rank rank"]
    residual: Float[Array, "rank rank"]
    heads: int = eqx.field(static=True)

    def __init__(self, draw: np.random.Generator, rank: int, heads: int):
        self.query = normal(draw, (rank, rank), 0.05)
        self.key = normal(draw, (rank, rank), 0.05)
        self.value = normal(draw, (rank, rank), 0.05)
        self.residual = normal(draw, (rank, rank), 0.05)
        self.heads = heads

    def __call__(self, vectors: Float[Array, "fields rank"]) -> Float[Array, "fields rank"]:
        fields, rank = vectors.shape
        size = rank // self.heads

        def heads(weight: Array) -> Float[Array, "fields heads size"]:
            projected = jnp.matmul(vectors, weight, precision=HIGHEST)
            return projected.reshape(fields, self.heads, size)

        query, key, value = heads(self.query), heads(self.key), heads(self.value)
        score = jnp.einsum("ihd,jhd->hij", query, key, precision=HIGHEST) / size**0.5
        mixed = jnp.einsum("hij,jhd->ihd", jax.nn.softmax(score), value, precision=HIGHEST)
        residual = jnp.matmul(vectors, self.residual, precision=HIGHEST)
        return jax.nn.relu(mixed.reshape(fields, rank) + residual)


def pairs(vectors: Float[Array, "fields rank"]) -> Array:
    r"""$\sum_{i<j} \langle v_i, v_j \rangle
    = \frac12 \sum_k ((\sum_i v_{ik})^2 - \sum_i v_{ik}^2)$.

    Source:
        Rendle 2010, lemma 3.1.
    """
    return 0.5 * jnp.sum(jnp.sum(vectors, axis=0) ** 2 - jnp.sum(vectors**2, axis=0))


# Drawn on the host: a model has many arrays of different shapes, each a program of its own.


def normal(draw: np.random.Generator, shape: tuple[int, ...], std: float) -> Array:
    """Initial values around zero."""
    return jnp.asarray(draw.normal(scale=std, size=shape), float)


def uniform(draw: np.random.Generator, shape: tuple[int, ...], inputs: int) -> Array:
    """Within plus or minus one over the root of the inputs: PyTorch's default for linear layers."""
    return jnp.asarray(draw.uniform(-(inputs**-0.5), inputs**-0.5, shape), float)


def sum_of_squares(*arrays: Array) -> Array:
    """Of all entries."""
    return sum((jnp.sum(array**2) for array in arrays), start=jnp.zeros(()))
