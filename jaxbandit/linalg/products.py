"""Products of many small matrices and vectors, in full precision."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

# Largest order whose packed products are written out, or made by one fixed matrix over all entries.
UNROLL_LIMIT = 12
# Largest order whose forms are written out: several times faster than products, in a kernel that
# takes seconds to compile at this order.
_FORM_LIMIT = 24

# Accelerators contract float32 in fewer bits unless told otherwise.
matmul = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
einsum = partial(jnp.einsum, precision=lax.Precision.HIGHEST)


def quadratic_form(
    matrix: Float[Array, "... d d"], vector: Float[Array, "... d"]
) -> Float[Array, "..."]:
    """`x' A x` for symmetric A; leading axes broadcast."""
    order = matrix.shape[-1]
    if order > _FORM_LIMIT:
        return inner(einsum("...ij,...j->...i", matrix, vector), vector)
    total = jnp.zeros((), matrix.dtype)
    for i in range(order):
        row = matrix[..., i, i] * vector[..., i]
        for j in range(i):
            row = row + 2 * matrix[..., i, j] * vector[..., j]
        total = total + row * vector[..., i]
    return total


def inner(first: Float[Array, "... d"], second: Float[Array, "... d"]) -> Float[Array, "..."]:
    """`x' y`; leading axes broadcast."""
    order = first.shape[-1]
    if order > _FORM_LIMIT:
        return jnp.sum(first * second, axis=-1)
    total = first[..., 0] * second[..., 0]
    for i in range(1, order):
        total = total + first[..., i] * second[..., i]
    return total


def positive_root(square: Float[Array, "..."]) -> Float[Array, "..."]:
    """Square root; 0, with a slope of 0, where a square is 0 or rounding took it below."""
    # The inner `where` keeps the slope finite there; NaN stays NaN.
    none = square <= 0
    return jnp.where(none, 0, jnp.sqrt(jnp.where(none, 1, square)))


def symmetrize(matrix: Float[Array, "*batch d d"]) -> Float[Array, "*batch d d"]:
    """The symmetric part of a matrix."""
    return 0.5 * (matrix + jnp.swapaxes(matrix, -1, -2))


def outer_gram(matrix: Float[Array, "*batch d k"]) -> Float[Array, "*batch d d"]:
    """`A A'`, exactly symmetric."""
    return symmetrize(matmul(matrix, jnp.swapaxes(matrix, -1, -2)))


def congruence(
    factor: Float[Array, "d k"], matrix: Float[Array, "*batch k k"]
) -> Float[Array, "*batch d d"]:
    """`F A F'` for one F and any number of symmetric A, exactly symmetric."""
    return symmetrize(matmul(matmul(factor, matrix), factor.T))


@jax.jit
def psd_factor(matrix: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Lower triangular F with `F F' = matrix`, for a positive semi-definite matrix of any rank.

    A Cholesky recursion in which a pivot that is only rounding noise beside its own diagonal entry
    gives a zero column. The threshold is relative to that entry, so variables of very different
    scale each keep their rank, and nothing is added to the diagonal.
    """
    order = matrix.shape[-1]
    noise = 4 * order * jnp.finfo(matrix.dtype).eps
    row = np.arange(order)

    def step(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        rest, factor = carry
        kept = rest[k, k] > noise * matrix[k, k]
        # The inner `where` keeps derivatives finite where the column is dropped.
        root = jnp.sqrt(jnp.where(kept, rest[k, k], 1))
        column = jnp.where(kept & (row >= k), rest[:, k] / root, 0)
        return rest - column[:, None] * column, factor.at[:, k].set(column)

    return lax.fori_loop(0, order, step, (matrix, jnp.zeros_like(matrix)))[1]
