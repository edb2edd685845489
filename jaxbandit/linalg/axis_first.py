"""Products of small matrices and vectors with their components first, and any axes after those.

Written out, so that each term is an operation on whole vectors of runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxbandit.linalg.products import UNROLL_LIMIT


def inner(first: Float[Array, "d ..."], second: Float[Array, "d ..."]) -> Float[Array, "..."]:
    """`x' y`; what comes after the components broadcasts."""
    return _sum(first[k] * second[k] for k in range(len(first)))


def combine(
    matrix: Float[Array, "d n *runs"], vector: Float[Array, "d *runs"]
) -> Float[Array, "n *runs"]:
    """`A' x`."""
    return _sum(matrix[k] * vector[k] for k in range(len(vector)))


def product(
    first: Float[Array, "n d *runs"], second: Float[Array, "d k *runs"]
) -> Float[Array, "n k *runs"]:
    """`A B`."""
    return _sum(first[:, k, None] * second[k] for k in range(len(second)))


def quadratic_form(
    matrix: Float[Array, "d d ..."], vector: Float[Array, "d ..."]
) -> Float[Array, "..."]:
    """`x' A x` for symmetric A; what comes after the components broadcasts."""
    order = len(vector)
    if order > UNROLL_LIMIT:
        # Of an expression as long as the sum would be, the compiler makes no vector code.
        def add(i: Array, total: Array) -> Array:
            row, at = (lax.dynamic_index_in_dim(x, i, keepdims=False) for x in (matrix, vector))
            return total + inner(row, vector) * at

        return lax.fori_loop(0, order, add, jnp.zeros_like(inner(vector, vector)))
    doubled = 2 * matrix

    def row(i: int) -> Array:
        before = [doubled[i, j] * vector[j] for j in range(i)]
        return _sum([matrix[i, i] * vector[i], *before])

    return _sum(row(i) * vector[i] for i in range(order))


def _sum(terms: Iterable[Array]) -> Array:
    return reduce(jnp.add, terms)
