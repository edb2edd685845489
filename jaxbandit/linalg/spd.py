"""Factor, inverse and solution of many small symmetric positive definite matrices.

The loops of `packed`, behind doors for ordinary matrices with any leading batch axes, `vmap`'s
included. Only lower triangles are read; a matrix that is not positive definite gives NaN.

A batch never goes to LAPACK, of which `jnp.linalg` and `lax.linalg` make use on CPUs: it shares the
batch out among the threads that the program itself runs on, and waits for them. As many such calls
at once as there are threads wait for ever.
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

from jaxbandit.linalg import packed
from jaxbandit.linalg.packed import over
from jaxbandit.linalg.products import einsum, matmul, symmetrize


@jax.custom_jvp
def cholesky(matrix: Float[Array, "*batch d d"]) -> Float[Array, "*batch d d"]:
    """Lower triangular L with `L L' = matrix`, for symmetric positive definite matrices.

    Only the lower triangle is read. A matrix that is not positive definite gives NaN.
    """
    return _cholesky(matrix)[0]


@jax.custom_jvp
def inverse(
    matrix: Float[Array, "*batch d d"],
) -> tuple[Float[Array, "*batch d d"], Float[Array, "*batch"]]:
    """Inverse, exactly symmetric, and log-determinant of symmetric positive definite matrices.

    Only the lower triangle is read. A matrix that is not positive definite gives NaN.
    """
    result, log_det = _inverse(matrix)
    return result, log_det


def solve(
    matrix: Float[Array, "*batch d d"], vector: Float[Array, "*batch d"]
) -> Float[Array, "*batch d"]:
    """Solution x of `matrix x = vector`, for symmetric positive definite matrices.

    Only the lower triangle is read. A matrix that is not positive definite gives NaN.
    """
    return _differentiable_solve(matrix, vector)


@jax.custom_jvp
def lower_solve(
    lower: Float[Array, "*batch d d"], right: Float[Array, "*batch d r"]
) -> Float[Array, "*batch d r"]:
    """X with `L X = B`, for lower triangular L; only the lower triangle is read."""
    return _lower_solve(lower, right)[0]


# Derivatives, so that none walks through the loops.


@cholesky.defjvp
def _cholesky_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # dL = L phi(L^-1 dA L^-T), phi: lower triangle with half the diagonal (Murray 2016, eq. 8).
    factor, change = cholesky(*primals), symmetrize(tangents[0])
    below = _inverse_of_lower(factor)
    inside = matmul(matmul(below, change), jnp.swapaxes(below, -1, -2))
    half = jnp.tril(inside) - 0.5 * inside * jnp.eye(factor.shape[-1], dtype=factor.dtype)
    return factor, matmul(factor, half)


@lower_solve.defjvp
def _lower_solve_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    # dX = L^-1 (dB - dL X)
    (lower, right), (change, right_change) = primals, tangents
    solution = lower_solve(lower, right)
    rest = right_change - matmul(jnp.tril(change), solution)
    return solution, matmul(_inverse_of_lower(lower), rest)


def _inverse_of_lower(lower: Array) -> Array:
    # Tangents meet products alone, which have a transpose; the loops' doors have none.
    identity = jnp.eye(lower.shape[-1], dtype=lower.dtype)
    return lower_solve(lower, jnp.broadcast_to(identity, lower.shape))


@inverse.defjvp
def _inverse_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    # d(A^-1) = -A^-1 dA A^-1 and d(log det A) = tr(A^-1 dA).
    (result, log_det), change = inverse(*primals), symmetrize(tangents[0])
    return (result, log_det), (
        -matmul(matmul(result, change), result),
        jnp.sum(result * change, axis=(-2, -1)),
    )


@jax.custom_jvp
def _differentiable_solve(matrix: Array, vector: Array) -> Array:
    return _solve(matrix, vector)[0]


@_differentiable_solve.defjvp
def _solve_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    # dx = A^-1 (db - dA x)
    (matrix, vector), (change, vector_change) = primals, tangents
    solution = _differentiable_solve(matrix, vector)
    rest = vector_change - einsum("...ij,...j->...i", symmetrize(change), solution)
    return solution, einsum("...ij,...j->...i", inverse(matrix)[0], rest)


# The loops, with the batch last.


Function = Callable[..., tuple[Array, ...]]


def _batched(
    *ranks: int, door: Function, single: Callable[..., Array] | None = None
) -> Callable[[Function], Function]:
    """Give a function of arrays [..., batch] any leading batch axes instead, under `vmap` too.

    Args:
        ranks: rank of each argument without its batch axes, which all arguments share.
        door: the same function with its derivatives.
        single: what to call where there are no batch axes: a call to a library compiles to less.
    """

    def decorate(function: Function) -> Function:
        def plain(*arrays: Array) -> tuple[Array, ...]:
            batch = arrays[0].shape[: arrays[0].ndim - ranks[0]]
            if single is not None and not batch:
                return (single(*arrays),)
            flat = [
                array.reshape((-1, *array.shape[array.ndim - rank :]))
                for array, rank in zip(arrays, ranks, strict=True)
            ]
            return tuple(
                out.reshape((*batch, *out.shape[1:])) for out in _in_blocks(batch_first, *flat)
            )

        def batch_first(*arrays: Array) -> tuple[Array, ...]:
            out = function(*(jnp.moveaxis(array, 0, -1) for array in arrays))
            return tuple(jnp.moveaxis(array, -1, 0) for array in out)

        call = custom_vmap(plain)

        @call.def_vmap
        def _(
            axis_size: int, in_batched: list[bool], *arrays: Array
        ) -> tuple[tuple[Array, ...], tuple[bool, ...]]:
            # Asked so where tangents alone are batched; `call` would be asked the same for ever.
            if not any(in_batched):
                out = door(*arrays)
                return out, tuple(False for _ in out)
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


def _in_blocks(function: Function, *arrays: Array) -> tuple[Array, ...]:
    """`function(*arrays)`, of rows that it treats alike, a block at a time."""
    rows, size = len(arrays[0]), packed.block_size(arrays[0].shape[-1])
    if rows < 2 * size:
        return function(*arrays)
    # The last block overlaps the one before it.
    starts = np.minimum(np.arange(0, rows, size, dtype=np.int32), rows - size)

    def step(whole: tuple[Array, ...], start: Array) -> tuple[tuple[Array, ...], None]:
        part = function(*(lax.dynamic_slice_in_dim(x, start, size) for x in arrays))
        update = partial(lax.dynamic_update_slice_in_dim, start_index=start, axis=0)
        return tuple(update(x, y) for x, y in zip(whole, part, strict=True)), None

    shapes = jax.eval_shape(function, *(x[:size] for x in arrays))
    empty = tuple(jnp.zeros((rows, *x.shape[1:]), x.dtype) for x in shapes)
    return lax.scan(step, empty, jnp.asarray(starts))[0]


@_batched(
    2,
    door=lambda matrix: (cholesky(matrix),),
    single=partial(lax.linalg.cholesky, symmetrize_input=False),
)
def _cholesky(matrix: Array) -> tuple[Array, ...]:
    order = matrix.shape[0]
    factor = packed.unpack(packed.factor_columns(_lower(matrix), order))
    return (jnp.where(over(np.tri(order, dtype=bool), matrix), factor, 0),)


@_batched(2, door=lambda matrix: inverse(matrix))
def _inverse(matrix: Array) -> tuple[Array, ...]:
    entries, log_det = packed.inverse(_lower(matrix))
    return packed.unpack(entries), log_det


@_batched(2, 1, door=lambda matrix, vector: (solve(matrix, vector),))
def _solve(matrix: Array, vector: Array) -> tuple[Array, ...]:
    order = vector.shape[0]
    # With b' as a last row, the factor's last row is y = L^-1 b; then x = L^-T y, from the end.
    rows = jnp.concatenate([_lower(matrix), vector, jnp.zeros_like(vector[:1])])
    factor = packed.factor_columns(rows, order)
    entry, index = jnp.asarray(packed.entry_index(order)), np.arange(order)

    def substitute(step: Array, rest: Array) -> Array:
        k = order - 1 - step
        row = factor[entry[k]]
        solved = rest[k] / row[k]
        before, at = (over(mask, vector) for mask in (index < k, index == k))
        return jnp.where(before, rest - row * solved, jnp.where(at, solved, rest))

    return (lax.fori_loop(0, order, substitute, factor[-1 - order : -1]),)


@_batched(
    2,
    2,
    door=lambda lower, right: (lower_solve(lower, right),),
    single=partial(lax.linalg.triangular_solve, left_side=True, lower=True),
)
def _lower_solve(lower: Array, right: Array) -> tuple[Array, ...]:
    index = np.arange(len(lower))

    def eliminate(k: Array, rest: Array) -> Array:
        column = lower[:, k]
        row = rest[k] / column[k]
        after, at = (over(mask, rest) for mask in (index > k, index == k))
        return jnp.where(after, rest - column[:, None] * row, jnp.where(at, row, rest))

    return (lax.fori_loop(0, len(lower), eliminate, right),)


def _lower(matrix: Array) -> Array:
    rows, columns = np.tril_indices(matrix.shape[0])
    return matrix[rows, columns]
