"""Small symmetric positive matrices, many at a time.

Bandit posteriors factor thousands of matrices of order 2 to 50. LAPACK spends most of its time
there on bookkeeping. Here a factorisation is a short loop over pivots, and each step one vector
operation over all entries of all matrices: several times faster at every order up to 50, and quick
to compile whatever the order.

Two habits keep that code fast:

- Symmetric matrices are *packed*, [entries, *batch]: the lower triangle row by row, the batch last.
- Moving between packed and ordinary form costs as much as factoring, so it is done by a product
  with a fixed matrix that applies a congruence `F' A F` on the way (`congruence_packed`,
  `congruence_unpacked`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_batching import custom_vmap
from jaxtyping import Float

# Largest order whose products are written out, or made by one fixed matrix over all entries.
UNROLL_LIMIT = 12

# Accelerators contract float32 in fewer bits unless told otherwise.
matmul = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
einsum = partial(jnp.einsum, precision=lax.Precision.HIGHEST)


# Ordinary matrices, any leading batch axes.


@jax.custom_jvp
def cholesky(matrix: Float[Array, "*batch d d"]) -> Float[Array, "*batch d d"]:
    """Lower triangular L with `L L' = matrix`, for symmetric positive definite matrices.

    Only the lower triangle is read. A matrix that is not positive definite gives NaN.
    """
    return _cholesky(matrix)[0]


@jax.custom_jvp
def spd_inverse(
    matrix: Float[Array, "*batch d d"],
) -> tuple[Float[Array, "*batch d d"], Float[Array, "*batch"]]:
    """Inverse, exactly symmetric, and log-determinant of symmetric positive definite matrices.

    Only the lower triangle is read. A matrix that is not positive definite gives NaN.
    """
    inverse, log_det = _spd_inverse(matrix)
    return inverse, log_det


def spd_solve(
    matrix: Float[Array, "*batch d d"], vector: Float[Array, "*batch d"]
) -> Float[Array, "*batch d"]:
    """Solution x of `matrix x = vector`, for symmetric positive definite matrices.

    Only the lower triangle is read. A matrix that is not positive definite gives NaN.
    """
    return _spd_solve(matrix, vector)


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


def quadratic_form(
    matrix: Float[Array, "... d d"], vector: Float[Array, "... d"]
) -> Float[Array, "..."]:
    """`x' A x` for symmetric A; leading axes broadcast."""
    order = matrix.shape[-1]
    if order > UNROLL_LIMIT:
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
    if order > UNROLL_LIMIT:
        return einsum("...i,...i->...", first, second)
    total = first[..., 0] * second[..., 0]
    for i in range(1, order):
        total = total + first[..., i] * second[..., i]
    return total


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


# Packed matrices, the batch last.


def pack(matrix: Float[Array, "*batch d d"]) -> Float[Array, "entries *batch"]:
    """The lower triangle, row by row, entries first."""
    rows, columns = np.tril_indices(matrix.shape[-1])
    return jnp.moveaxis(matrix[..., rows, columns], -1, 0)


def unpack(packed: Float[Array, "entries *batch"]) -> Float[Array, "d d *batch"]:
    """The symmetric matrix of packed entries, the batch still last."""
    order = packed_order(packed)
    return packed[packed_entry(order)]


def packed_entry(order: int) -> np.ndarray:
    """[order, order], where each entry of the matrix lies in its packed form."""
    row, column = np.indices((order, order))
    high, low = np.maximum(row, column), np.minimum(row, column)
    return high * (high + 1) // 2 + low


def packed_order(packed: Array) -> int:
    """Order of the matrices in a packed array."""
    return int(np.sqrt(2 * packed.shape[0]))


def congruence_packed(
    factor: Float[Array, "d k"], matrix: Float[Array, "batch d d"]
) -> Float[Array, "entries batch"]:
    """`F' A F` for one F and many symmetric A, packed."""
    d, k = factor.shape
    if d > UNROLL_LIMIT:
        return pack(matmul(factor.T, matmul(matrix, factor)))
    rows, columns = np.tril_indices(k)
    coefficients = factor[:, rows].T[:, :, None] * factor[:, columns].T[:, None, :]
    return einsum("ec,bc->eb", coefficients.reshape(-1, d * d), matrix.reshape(-1, d * d))


def congruence_unpacked(
    factor: Float[Array, "d k"], packed: Float[Array, "entries batch"]
) -> Float[Array, "batch d d"]:
    """`F A F'` for one F and many packed symmetric A, as ordinary matrices."""
    d, k = factor.shape
    if d > UNROLL_LIMIT:
        matrix = jnp.moveaxis(unpack(packed), -1, 0)
        return symmetrize(matmul(matmul(factor, matrix), factor.T))
    rows, columns = np.tril_indices(k)
    one_side = factor[:, rows].T[:, :, None] * factor[:, columns].T[:, None, :]
    both_sides = one_side + jnp.swapaxes(one_side, 1, 2)
    coefficients = jnp.where((rows == columns)[:, None, None], one_side, both_sides)
    return einsum("eb,ec->bc", packed, coefficients.reshape(-1, d * d)).reshape(-1, d, d)


@jax.custom_jvp
def packed_inverse(
    packed: Float[Array, "entries *batch"],
) -> tuple[Float[Array, "entries *batch"], Float[Array, "*batch"]]:
    """Inverse and log-determinant of packed symmetric positive definite matrices.

    The sweep operator on every pivot in turn, which leaves minus the inverse. On positive matrices
    it needs no pivoting, and loses no more digits than a Cholesky factor.

    Source:
        Goodnight 1979, "A tutorial on the SWEEP operator".
    """
    order = packed_order(packed)
    rows, columns = np.tril_indices(order)
    entry = jnp.asarray(packed_entry(order))

    def sweep(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        matrix, log_det = carry
        row = matrix[entry[k]]
        pivot = jnp.where(row[k] > 0, row[k], jnp.nan)
        scaled = row / pivot
        in_row, in_column = (_over(at == k, packed) for at in (rows, columns))
        swept = matrix - row[rows] * scaled[columns]
        swept = jnp.where(in_row, scaled[columns], jnp.where(in_column, scaled[rows], swept))
        return jnp.where(in_row & in_column, -1 / pivot, swept), log_det + jnp.log(pivot)

    minus, log_det = lax.fori_loop(0, order, sweep, (packed, jnp.zeros_like(packed[0])))
    return -minus, log_det


def packed_multiply(
    packed: Float[Array, "entries *batch"], vector: Float[Array, "d *batch"]
) -> Float[Array, "d *batch"]:
    """`A x` for packed symmetric A."""
    first, *others = packed_entry(vector.shape[0])
    product = packed[first] * vector[0]
    for j, column in enumerate(others, start=1):
        product = product + packed[column] * vector[j]
    return product


def packed_outer(vectors: Float[Array, "k d *batch"]) -> Float[Array, "entries *batch"]:
    """`sum_k v_k v_k'`, packed."""
    rows, columns = np.tril_indices(vectors.shape[1])
    product = vectors[0][rows] * vectors[0][columns]
    for vector in vectors[1:]:
        product = product + vector[rows] * vector[columns]
    return product


# Derivatives, so that reverse mode never walks through a written-out recursion.


@cholesky.defjvp
def _cholesky_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # dL = L phi(L^-1 dA L^-T), phi: lower triangle with half the diagonal (Murray 2016, eq. 8).
    factor, change = cholesky(*primals), symmetrize(tangents[0])
    solve = partial(lax.linalg.triangular_solve, factor, lower=True)
    inside = solve(solve(change, left_side=True), left_side=False, transpose_a=True)
    half = jnp.tril(inside) - 0.5 * inside * jnp.eye(factor.shape[-1], dtype=factor.dtype)
    return factor, matmul(factor, half)


@spd_inverse.defjvp
def _spd_inverse_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    # d(A^-1) = -A^-1 dA A^-1 and d(log det A) = tr(A^-1 dA).
    (inverse, log_det), change = spd_inverse(*primals), symmetrize(tangents[0])
    return (inverse, log_det), (
        -matmul(matmul(inverse, change), inverse),
        jnp.sum(inverse * change, axis=(-2, -1)),
    )


@packed_inverse.defjvp
def _packed_inverse_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    (packed,), (change,) = primals, tangents
    inverse, log_det = packed_inverse(packed)
    whole, rows_columns = unpack(inverse), np.tril_indices(packed_order(packed))
    through = einsum("ij...,jk...->ik...", whole, unpack(change))
    return (inverse, log_det), (
        -einsum("ij...,jk...->ik...", through, whole)[rows_columns],
        einsum("ii...->...", through),
    )


@jax.custom_jvp
def _spd_solve(matrix: Array, vector: Array) -> Array:
    return _solve(matrix, vector)[0]


@_spd_solve.defjvp
def _spd_solve_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    # dx = A^-1 (db - dA x)
    (matrix, vector), (change, vector_change) = primals, tangents
    solution = _spd_solve(matrix, vector)
    rest = vector_change - einsum("...ij,...j->...i", symmetrize(change), solution)
    return solution, einsum("...ij,...j->...i", spd_inverse(matrix)[0], rest)


# The recursions behind the doors above.


Function = Callable[..., tuple[Array, ...]]


def _batched(*ranks: int) -> Callable[[Function], Function]:
    """Give a function of arrays [..., batch] any leading batch axes instead, under `vmap` too.

    Args:
        ranks: rank of each argument without its batch axes, which all arguments share.
    """

    def decorate(function: Function) -> Function:
        @custom_vmap
        def call(*arrays: Array) -> tuple[Array, ...]:
            batch = arrays[0].shape[: arrays[0].ndim - ranks[0]]
            flat = [
                jnp.moveaxis(array.reshape((-1, *array.shape[array.ndim - rank :])), 0, -1)
                for array, rank in zip(arrays, ranks, strict=True)
            ]
            return tuple(
                jnp.moveaxis(out, -1, 0).reshape((*batch, *out.shape[:-1]))
                for out in function(*flat)
            )

        @call.def_vmap
        def _(
            axis_size: int, in_batched: list[bool], *arrays: Array
        ) -> tuple[tuple[Array, ...], tuple[bool, ...]]:
            # The axis that vmap adds in front is one more batch axis.
            out = call(
                *(
                    array if batched else jnp.broadcast_to(array, (axis_size, *array.shape))
                    for array, batched in zip(arrays, in_batched, strict=True)
                )
            )
            return out, tuple(True for _ in out)

        return call

    return decorate


@_batched(2)
def _cholesky(matrix: Array) -> tuple[Array, ...]:
    order = matrix.shape[0]
    factor = unpack(_factor(_lower(matrix), order))
    return (jnp.where(_over(np.tri(order, dtype=bool), matrix), factor, 0),)


@_batched(2)
def _spd_inverse(matrix: Array) -> tuple[Array, ...]:
    inverse, log_det = packed_inverse(_lower(matrix))
    return unpack(inverse), log_det


@_batched(2, 1)
def _solve(matrix: Array, vector: Array) -> tuple[Array, ...]:
    order = vector.shape[0]
    # With b' as a last row, the factor's last row is y = L^-1 b; then x = L^-T y, from the end.
    rows = jnp.concatenate([_lower(matrix), vector, jnp.zeros_like(vector[:1])])
    factor = _factor(rows, order)
    entry, index = jnp.asarray(packed_entry(order)), np.arange(order)

    def substitute(step: Array, rest: Array) -> Array:
        k = order - 1 - step
        row = factor[entry[k]]
        solved = rest[k] / row[k]
        before, at = (_over(mask, vector) for mask in (index < k, index == k))
        return jnp.where(before, rest - row * solved, jnp.where(at, solved, rest))

    return (lax.fori_loop(0, order, substitute, factor[-1 - order : -1]),)


def _factor(packed: Array, pivots: int) -> Array:
    """The first columns of the Cholesky factor, packed."""
    order = packed_order(packed)
    rows, columns = np.tril_indices(order)
    entry = jnp.asarray(packed_entry(order))

    def eliminate(k: Array, matrix: Array) -> Array:
        row = matrix[entry[k]]
        column = row / jnp.sqrt(row[k])
        after, at = (_over(mask, packed) for mask in (columns > k, columns == k))
        rest = matrix - column[rows] * column[columns]
        return jnp.where(after, rest, jnp.where(at, column[rows], matrix))

    return lax.fori_loop(0, pivots, eliminate, packed)


def _lower(matrix: Array) -> Array:
    rows, columns = np.tril_indices(matrix.shape[0])
    return matrix[rows, columns]


def _over(mask: Array | np.ndarray, like: Array) -> Array:
    """A mask of the leading axes of `like`, with axes for its batch."""
    return jnp.asarray(mask).reshape(mask.shape + (1,) * (like.ndim - mask.ndim))
