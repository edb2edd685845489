"""Small symmetric matrices, packed: [entries, *batch], the lower triangle row by row, batch last.

Bandit posteriors factor thousands of matrices of order 2 to 50. LAPACK spends most of its time
there on bookkeeping. Here a factorisation is a short loop over pivots, and each step one vector
operation over all entries of all matrices: several times faster at every order up to 50, and quick
to compile whatever the order.

Moving between packed and ordinary form costs as much as factoring, so it is done by a product with
a fixed matrix that applies a congruence `F' A F` on the way.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from jaxbandit.linalg.products import UNROLL_LIMIT, einsum, matmul, symmetrize

# Numbers in a block of packed matrices on a CPU: it stays in a core's cache.
_BLOCK_ENTRIES = 1 << 15


def pack(matrix: Float[Array, "*batch d d"]) -> Float[Array, "entries *batch"]:
    """The lower triangle, row by row, entries first."""
    rows, columns = np.tril_indices(matrix.shape[-1])
    return jnp.moveaxis(matrix[..., rows, columns], -1, 0)


def unpack(packed: Float[Array, "entries *batch"]) -> Float[Array, "d d *batch"]:
    """The symmetric matrix of packed entries, the batch still last."""
    order = order_of(packed)
    return packed[entry_index(order)]


def entry_index(order: int) -> np.ndarray:
    """[order, order], where each entry of the matrix lies in its packed form."""
    row, column = np.indices((order, order))
    high, low = np.maximum(row, column), np.minimum(row, column)
    return high * (high + 1) // 2 + low


def order_of(packed: Array) -> int:
    """Order of the matrices in a packed array."""
    return int(np.sqrt(2 * packed.shape[0]))


def block_size(order: int) -> int:
    """How many matrices to handle at a time, a power of two."""
    if jax.default_backend() != "cpu":
        return 1 << 16
    entries = order * (order + 1) // 2
    return int(np.clip(1 << max(_BLOCK_ENTRIES // entries, 1).bit_length() - 1, 128, 2048))


def pack_congruence(
    factor: Float[Array, "d k"], matrix: Float[Array, "batch d d"]
) -> Float[Array, "entries batch"]:
    """`F' A F` for one F and many symmetric A, packed."""
    d = factor.shape[0]
    if d > UNROLL_LIMIT:
        return pack(matmul(factor.T, matmul(matrix, factor)))
    rows, columns = np.tril_indices(d)
    return einsum("ec,bc->eb", _congruence(factor.T), matrix[:, rows, columns])


def unpack_congruence(
    factor: Float[Array, "d k"], packed: Float[Array, "entries batch"]
) -> Float[Array, "batch d d"]:
    """`F A F'` for one F and many packed symmetric A, as ordinary matrices."""
    d = factor.shape[0]
    if d > UNROLL_LIMIT:
        half = matmul(jnp.moveaxis(unpack(packed), -1, 0), factor.T)
        return symmetrize(matmul(jnp.swapaxes(half, -1, -2), factor.T))
    lower = einsum("ec,cb->be", _congruence(factor), packed)
    return lower[:, entry_index(d)]


@jax.custom_jvp
def unpack_spread(
    factor: Float[Array, "d k"],
    packed: Float[Array, "entries batch"],
    spread: Float[Array, "k k"],
    root: Float[Array, "k r"],
) -> Float[Array, "batch d d"]:
    """`F (A + A S A) F'` for one F and S and many packed symmetric A, as ordinary matrices.

    S = K K' is computed with as its root K; derivatives follow S, of any rank.
    """
    del spread
    if factor.shape[0] <= UNROLL_LIMIT:
        both = packed + outer(einsum("kr,kib->rib", root, unpack(packed)))
        return unpack_congruence(factor, both)
    # A is on the left of every product but the last, so that each is a single large one.
    half = jnp.swapaxes(matmul(jnp.moveaxis(unpack(packed), -1, 0), factor.T), -1, -2)
    through = matmul(half, root)
    whole = matmul(half, factor.T) + matmul(through, jnp.swapaxes(through, -1, -2))
    return symmetrize(whole)


@unpack_spread.defjvp
def _unpack_spread_jvp(
    primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Array, Array]:
    def plain(factor: Array, packed: Array, spread: Array) -> Array:
        matrix = jnp.moveaxis(unpack(packed), -1, 0)
        whole = matrix + matmul(matmul(matrix, spread), matrix)
        return symmetrize(matmul(matmul(factor, whole), factor.T))

    return unpack_spread(*primals), jax.jvp(plain, primals[:3], tangents[:3])[1]


def _congruence(factor: Float[Array, "d k"]) -> Float[Array, "entries others"]:
    """The matrix that takes packed A to packed `F A F'`."""
    d, k = factor.shape
    row, column = np.tril_indices(d)
    i, j = np.tril_indices(k)
    one_side = factor[row][:, i] * factor[column][:, j]
    other_side = factor[row][:, j] * factor[column][:, i]
    return jnp.where(i == j, one_side, one_side + other_side)


@jax.custom_jvp
def inverse(
    packed: Float[Array, "entries *batch"],
) -> tuple[Float[Array, "entries *batch"], Float[Array, "*batch"]]:
    """Inverse and log-determinant of packed symmetric positive definite matrices.

    The sweep operator on every pivot in turn, which leaves minus the inverse. On positive matrices
    it needs no pivoting, and loses no more digits than a Cholesky factor.

    Source:
        Goodnight 1979, "A tutorial on the SWEEP operator".
    """
    order = order_of(packed)
    rows, columns = np.tril_indices(order)
    entry = jnp.asarray(entry_index(order))

    def sweep(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        matrix, log_det = carry
        row = matrix[entry[k]]
        pivot = jnp.where(row[k] > 0, row[k], jnp.nan)
        scaled = row / pivot
        in_row, in_column = (over(at == k, packed) for at in (rows, columns))
        swept = matrix - row[rows] * scaled[columns]
        swept = jnp.where(in_row, scaled[columns], jnp.where(in_column, scaled[rows], swept))
        return jnp.where(in_row & in_column, -1 / pivot, swept), log_det + jnp.log(pivot)

    minus, log_det = lax.fori_loop(0, order, sweep, (packed, jnp.zeros_like(packed[0])))
    return -minus, log_det


@inverse.defjvp
def _inverse_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    # d(A^-1) = -A^-1 dA A^-1 and d(log det A) = tr(A^-1 dA).
    (packed,), (change,) = primals, tangents
    result, log_det = inverse(packed)
    whole, lower = unpack(result), np.tril_indices(order_of(packed))
    through = einsum("ij...,jk...->ik...", whole, unpack(change))
    return (result, log_det), (
        -einsum("ij...,jk...->ik...", through, whole)[lower],
        einsum("ii...->...", through),
    )


def multiply(
    packed: Float[Array, "entries *batch"], vector: Float[Array, "d *batch"]
) -> Float[Array, "d *batch"]:
    """`A x` for packed symmetric A."""
    columns = unpack(packed)
    product = columns[0] * vector[0]
    for column, coordinate in zip(columns[1:], vector[1:], strict=True):
        product = product + column * coordinate
    return product


def product(
    first: Float[Array, "entries *batch"], second: Float[Array, "entries *batch"]
) -> Float[Array, "entries *batch"]:
    """`A B` for packed symmetric A and B that commute, so that it is symmetric too."""
    order = order_of(first)
    rows, columns = np.tril_indices(order)
    entry = entry_index(order)
    total = first[entry[rows, 0]] * second[entry[0, columns]]
    for j in range(1, order):
        total = total + first[entry[rows, j]] * second[entry[j, columns]]
    return total


def outer(vectors: Float[Array, "k d *batch"]) -> Float[Array, "entries *batch"]:
    """`sum_k v_k v_k'`, packed."""
    rows, columns = np.tril_indices(vectors.shape[1])
    product = vectors[0][rows] * vectors[0][columns]
    for vector in vectors[1:]:
        product = product + vector[rows] * vector[columns]
    return product


def factor_columns(packed: Array, pivots: int) -> Array:
    """The first columns of the Cholesky factor, packed."""
    order = order_of(packed)
    rows, columns = np.tril_indices(order)
    entry = jnp.asarray(entry_index(order))

    def eliminate(k: Array, matrix: Array) -> Array:
        row = matrix[entry[k]]
        column = row / jnp.sqrt(row[k])
        after, at = (over(mask, packed) for mask in (columns > k, columns == k))
        rest = matrix - column[rows] * column[columns]
        return jnp.where(after, rest, jnp.where(at, column[rows], matrix))

    return lax.fori_loop(0, pivots, eliminate, packed)


def over(mask: Array | np.ndarray, like: Array) -> Array:
    """A mask of the leading axes of `like`, with axes for its batch."""
    return jnp.asarray(mask).reshape(mask.shape + (1,) * (like.ndim - mask.ndim))
