"""Small symmetric positive matrices, many at a time.

Bandit posteriors factor thousands of matrices of order 2 to 12. LAPACK spends most of its time
there on bookkeeping, so up to `UNROLL_LIMIT` the recursions are written out over matrix entries,
each entry one array over the whole batch, and the compiler makes straight vector code of them.
Above the limit the library is called.

Three habits keep that code fast:

- Symmetric matrices are *packed*, [entries, *batch]: the lower triangle row by row, the batch last.
- Moving between packed and ordinary form costs more than factoring, so it is done by a product
  with a fixed matrix that applies a congruence `F' A F` on the way (`congruence_packed`,
  `congruence_unpacked`).
- Each entry of a recursion ends in a division: the compiler keeps the result of a division, where
  it would recompute a product in every later entry.
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

# benchmarks/linalg.py: the written-out form beats LAPACK well beyond this order, but its compile
# time grows with the cube of the order.
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
    if matrix.shape[-1] > UNROLL_LIMIT:
        return jnp.linalg.cholesky(matrix, symmetrize_input=False)
    return _cholesky(matrix)[0]


@jax.custom_jvp
def spd_inverse(
    matrix: Float[Array, "*batch d d"],
) -> tuple[Float[Array, "*batch d d"], Float[Array, "*batch"]]:
    """Inverse, exactly symmetric, and log-determinant of symmetric positive definite matrices.

    Only the lower triangle is read. A matrix that is not positive definite gives NaN.
    """
    if matrix.shape[-1] > UNROLL_LIMIT:
        return _library_inverse(matrix)
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
    rest, columns = matrix, []
    for k in range(order):
        kept = rest[k, k] > noise * matrix[k, k]
        # The inner `where` keeps derivatives finite where the column is dropped.
        root = jnp.sqrt(jnp.where(kept, rest[k, k], 1))
        column = jnp.where(kept & (np.arange(order) >= k), rest[:, k] / root, 0)
        rest = rest - column[:, None] * column
        columns.append(column)
    return jnp.stack(columns, axis=1)


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
    rows, columns = np.indices((order, order))
    high, low = np.maximum(rows, columns), np.minimum(rows, columns)
    return packed[high * (high + 1) // 2 + low]


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


def packed_inverse(
    packed: Float[Array, "entries *batch"],
) -> tuple[Float[Array, "entries *batch"], Float[Array, "*batch"]]:
    """Inverse and log-determinant of packed symmetric positive definite matrices."""
    order = packed_order(packed)
    if order > UNROLL_LIMIT:
        inverse, log_det = _library_inverse(jnp.moveaxis(unpack(packed), (0, 1), (-2, -1)))
        return pack(inverse), log_det
    factor = _factor(packed)
    root = _triangular_inverse(factor)
    inverse = []
    for i in range(order):
        for j in range(i + 1):
            entry = root[i][i] * root[i][j]
            for k in range(i + 1, order):
                entry = entry + root[k][i] * root[k][j]
            inverse.append(entry)
    log_det = jnp.log(factor[0][0])
    for i in range(1, order):
        log_det = log_det + jnp.log(factor[i][i])
    return jnp.stack(inverse), 2 * log_det


def packed_multiply(
    packed: Float[Array, "entries *batch"], vector: Float[Array, "d *batch"]
) -> Float[Array, "d *batch"]:
    """`A x` for packed symmetric A."""
    if vector.shape[0] > UNROLL_LIMIT:
        return einsum("ij...,j...->i...", unpack(packed), vector)
    rows = []
    for i in range(vector.shape[0]):
        row = packed[i * (i + 1) // 2] * vector[0]
        for j in range(1, vector.shape[0]):
            high, low = max(i, j), min(i, j)
            row = row + packed[high * (high + 1) // 2 + low] * vector[j]
        rows.append(row)
    return jnp.stack(rows)


def packed_outer(vectors: Float[Array, "k d *batch"]) -> Float[Array, "entries *batch"]:
    """`sum_k v_k v_k'`, packed."""
    count, order = vectors.shape[:2]
    if order > UNROLL_LIMIT:
        rows, columns = np.tril_indices(order)
        return einsum("ki...,kj...->ij...", vectors, vectors)[rows, columns]
    entries = []
    for i in range(order):
        for j in range(i + 1):
            entry = vectors[0, i] * vectors[0, j]
            for k in range(1, count):
                entry = entry + vectors[k, i] * vectors[k, j]
            entries.append(entry)
    return jnp.stack(entries)


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


@jax.custom_jvp
def _spd_solve(matrix: Array, vector: Array) -> Array:
    if matrix.shape[-1] > UNROLL_LIMIT:
        factor = jnp.linalg.cholesky(matrix, symmetrize_input=False)
        return jax.scipy.linalg.cho_solve((factor, True), vector[..., None])[..., 0]
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


def _library_inverse(matrix: Array) -> tuple[Array, Array]:
    factor = jnp.linalg.cholesky(matrix, symmetrize_input=False)
    identity = jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=matrix.dtype), matrix.shape)
    root = lax.linalg.triangular_solve(factor, identity, left_side=True, lower=True)
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)
    return outer_gram(jnp.swapaxes(root, -1, -2)), log_det


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
    return (jnp.stack([jnp.stack(row) for row in _factor(_lower(matrix))]),)


@_batched(2)
def _spd_inverse(matrix: Array) -> tuple[Array, ...]:
    inverse, log_det = packed_inverse(_lower(matrix))
    return unpack(inverse), log_det


@_batched(2, 1)
def _solve(matrix: Array, vector: Array) -> tuple[Array, ...]:
    factor = _factor(_lower(matrix))
    order = len(factor)
    solution = [vector[i] for i in range(order)]
    for i in range(order):
        rest = solution[i]
        for k in range(i):
            rest = rest - factor[i][k] * solution[k]
        solution[i] = rest / factor[i][i]
    for i in reversed(range(order)):
        rest = solution[i]
        for k in range(i + 1, order):
            rest = rest - factor[k][i] * solution[k]
        solution[i] = rest / factor[i][i]
    return (jnp.stack(solution),)


def _lower(matrix: Array) -> Array:
    rows, columns = np.tril_indices(matrix.shape[0])
    return matrix[rows, columns]


def _factor(packed: Array) -> list[list[Array]]:
    order = packed_order(packed)
    factor = [[jnp.zeros_like(packed[0])] * order for _ in range(order)]
    for j in range(order):
        for i in range(j, order):
            rest = packed[i * (i + 1) // 2 + j]
            for k in range(j):
                rest = rest - factor[i][k] * factor[j][k]
            factor[i][j] = jnp.sqrt(rest) if i == j else rest / factor[j][j]
    return factor


def _triangular_inverse(factor: list[list[Array]]) -> list[list[Array]]:
    order = len(factor)
    inverse = [[jnp.zeros_like(factor[0][0])] * order for _ in range(order)]
    for j in range(order):
        inverse[j][j] = 1 / factor[j][j]
        for i in range(j + 1, order):
            rest = -factor[i][j] * inverse[j][j]
            for k in range(j + 1, i):
                rest = rest - factor[i][k] * inverse[k][j]
            inverse[i][j] = rest / factor[i][i]
    return inverse
