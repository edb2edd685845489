"""Eigenvalues and eigenvectors of many small symmetric matrices.

LAPACK's routine, which `jnp.linalg.eigh` calls on CPUs, shares a batch out among the threads that
the program itself runs on, and waits for them: two such calls at once leave none, and the process
hangs. The loops here call nothing.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxbandit.linalg import products

# Convergence is quadratic; well before this many sweeps it has ended or never will (NaN).
_MOST_SWEEPS = 40


@jax.custom_jvp
@jax.jit
def symmetric_eigen(
    matrix: Float[Array, "*batch d d"],
) -> tuple[Float[Array, "*batch d"], Float[Array, "*batch d d"]]:
    """Eigenvalues, ascending, and eigenvectors, as columns, of symmetric matrices.

    Jacobi's rotations, d/2 at a time on pairs of rows that do not overlap; the pairs change like
    the tables of a tournament, so that in a sweep each row meets each other once.

    Source:
        Brent and Luk 1985, "The solution of singular-value and symmetric eigenvalue problems on
        multiprocessor arrays".
    """
    values, ranking, vectors = _jacobi(matrix, 0)
    ordered = jnp.take_along_axis(vectors, ranking[..., None, :], axis=-1)
    return values, ordered[..., : matrix.shape[-1], :]


@jax.custom_jvp
@jax.jit
def symmetric_eigenvalues(matrix: Float[Array, "*batch d d"]) -> Float[Array, "*batch d"]:
    """Eigenvalues of symmetric matrices, ascending."""
    return _jacobi(matrix, matrix.shape[-1] - 1)[0]


# Derivatives, so that none walks through a loop that ends when it has converged.


@symmetric_eigen.defjvp
def _symmetric_eigen_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    values, vectors = symmetric_eigen(*primals)
    change = _among(vectors, tangents[0])
    gap = values[..., None, :] - values[..., :, None]
    turn = jnp.where(gap == 0, 0, change / jnp.where(gap == 0, 1, gap))
    moved = jnp.diagonal(change, axis1=-2, axis2=-1)
    return (values, vectors), (moved, products.matmul(vectors, turn))


@symmetric_eigenvalues.defjvp
def _symmetric_eigenvalues_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    values, vectors = symmetric_eigen(*primals)
    return values, jnp.diagonal(_among(vectors, tangents[0]), axis1=-2, axis2=-1)


def _among(vectors: Array, change: Array) -> Array:
    """V' dA V."""
    half = products.matmul(jnp.swapaxes(vectors, -1, -2), products.symmetrize(change))
    return products.matmul(half, vectors)


def _jacobi(matrix: Array, first_row: int) -> tuple[Array, Array, Array]:
    """Eigenvalues, the columns they belong to, and rows of the eigenvectors from `first_row` on."""
    order = matrix.shape[-1]
    even = order + order % 2
    padded = jnp.pad(matrix, [(0, 0)] * (matrix.ndim - 2) + [(0, even - order)] * 2)
    identity = jnp.eye(even, dtype=matrix.dtype)
    rows = jnp.broadcast_to(identity[first_row:], (*matrix.shape[:-2], even - first_row, even))

    def play(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        values, rows = carry
        cosine, sine = (x[..., None, :] for x in _rotations(values))
        half = jnp.swapaxes(_turn(values, cosine, sine), -1, -2)
        return _turn(half, cosine, sine), _turn(rows, cosine, sine)

    def sweep(carry: tuple[Any, Array, Array]) -> tuple[Any, Array, Array]:
        return carry[0] + 1, *lax.fori_loop(0, even - 1, play, carry[1:])

    def unfinished(carry: tuple[Any, Array, Array]) -> Array:
        count, values, _ = carry
        square = values**2
        beside = jnp.sum(square * (1 - identity), axis=(-2, -1))
        noise = (order * jnp.finfo(values.dtype).eps) ** 2 * jnp.sum(square, axis=(-2, -1))
        return jnp.any(beside > noise) & (count < _MOST_SWEEPS)

    _, values, rows = lax.while_loop(unfinished, sweep, (jnp.int32(0), padded, rows))
    found = jnp.diagonal(values, axis1=-2, axis2=-1)
    if even > order:  # the row added has an eigenvector of its own
        found = jnp.where(jnp.abs(rows[..., -1, :]) > 0.5, jnp.inf, found)
    unknown = jnp.any(jnp.isnan(matrix), axis=(-2, -1))
    found = jnp.where(unknown[..., None], jnp.nan, found)
    ranking = jnp.argsort(found, axis=-1)[..., :order]
    return jnp.take_along_axis(found, ranking, axis=-1), ranking, rows


def _rotations(values: Array) -> tuple[Array, Array]:
    """Cosines and sines that make the entries (0, 1), (2, 3), ... zero, [d / 2]."""
    diagonal = jnp.diagonal(values, axis1=-2, axis2=-1)
    beside = jnp.diagonal(values[..., 0::2, 1::2], axis1=-2, axis2=-1)
    # tan(2 angle) = 2 a_pq / (a_qq - a_pp); the smaller of both roots, for stability.
    present = beside != 0
    ratio = (diagonal[..., 1::2] - diagonal[..., 0::2]) / (2 * jnp.where(present, beside, 1))
    sign = jnp.where(ratio < 0, -1, 1)
    tangent = jnp.where(present, sign / (jnp.abs(ratio) + jnp.sqrt(1 + ratio**2)), 0)
    cosine = 1 / jnp.sqrt(1 + tangent**2)
    return cosine, cosine * tangent


def _turn(columns: Array, cosine: Array, sine: Array) -> Array:
    """Each pair of columns rotated, and columns moved to the pairs of the next round."""
    one, other = columns[..., 0::2], columns[..., 1::2]
    one, other = cosine * one - sine * other, sine * one + cosine * other
    if one.shape[-1] > 1:  # the first keeps its seat, the others move on around the table
        one, other = (
            jnp.concatenate([one[..., :1], other[..., :1], one[..., 1:-1]], axis=-1),
            jnp.concatenate([other[..., 1:], one[..., -1:]], axis=-1),
        )
    return jnp.stack([one, other], axis=-1).reshape(columns.shape)
