"""Small symmetric matrices against NumPy, on both sides of `UNROLL_LIMIT`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit import linalg

# Every batch shape is a program of its own, and long to compile where written out.
BATCHES = {
    **dict.fromkeys((1, 2, 3), ((), (5,), (2, 3))),
    **dict.fromkeys((4, 6, linalg.UNROLL_LIMIT), ((2, 3),)),
    **dict.fromkeys((linalg.UNROLL_LIMIT + 1, 14), ((), (5,), (2, 3))),
}


@pytest.fixture(scope="module")
def tol(x64) -> dict[str, float]:
    return {"rtol": 1e-11, "atol": 1e-12} if x64 else {"rtol": 2e-4, "atol": 1e-5}


def spd(order, batch=(), seed=0):
    mixing = np.random.default_rng([seed, order]).normal(size=(*batch, order, 2 * order + 1))
    return mixing @ np.swapaxes(mixing, -1, -2) / order


@pytest.mark.parametrize("order", BATCHES)
def test_factor_inverse_and_solve(order, tol):
    for batch in BATCHES[order]:
        matrix, vector = spd(order, batch), np.random.default_rng(1).normal(size=(*batch, order))
        # Only the lower triangle may be read.
        lower = jnp.asarray(np.tril(matrix) + np.triu(np.full_like(matrix, np.nan), 1))
        inverse, log_det = jax.jit(linalg.spd_inverse)(lower)
        np.testing.assert_allclose(
            jax.jit(linalg.cholesky)(lower), np.linalg.cholesky(matrix), **tol
        )
        np.testing.assert_allclose(inverse, np.linalg.inv(matrix), **tol)
        np.testing.assert_array_equal(inverse, np.swapaxes(inverse, -1, -2))
        np.testing.assert_allclose(log_det, np.linalg.slogdet(matrix)[1], **tol)
        solution = jax.jit(linalg.spd_solve)(lower, jnp.asarray(vector))
        np.testing.assert_allclose(
            solution, np.linalg.solve(matrix, vector[..., None])[..., 0], **tol
        )


@pytest.mark.parametrize("order", [3, 14])
def test_under_vmap_twice(order, tol):
    matrix, vector = spd(order, (2, 3)), np.random.default_rng(1).normal(size=(3, order))
    expected = np.linalg.solve(matrix, np.broadcast_to(vector, (2, 3, order))[..., None])[..., 0]
    # The vector is mapped once only, the matrix twice.
    solve = jax.vmap(jax.vmap(linalg.spd_solve), in_axes=(0, None))
    np.testing.assert_allclose(solve(jnp.asarray(matrix), jnp.asarray(vector)), expected, **tol)
    last = jnp.moveaxis(jnp.asarray(matrix), 0, -1)
    factor = jax.vmap(jax.vmap(linalg.cholesky), in_axes=-1)(last)
    np.testing.assert_allclose(factor, np.linalg.cholesky(matrix), **tol)
    inverse, log_det = jax.vmap(jax.vmap(linalg.spd_inverse))(jnp.asarray(matrix))
    np.testing.assert_allclose(inverse, np.linalg.inv(matrix), **tol)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(matrix)[1], **tol)


@pytest.mark.parametrize("order", [1, 4, 13])
def test_gradients(order, tol):
    """Against the formulas for the log-determinant, an inverse form and a solution."""
    matrix = spd(order)
    a, b = np.random.default_rng(2).normal(size=(2, order))
    inverse = np.linalg.inv(matrix)
    loose = {"rtol": 20 * tol["rtol"], "atol": 50 * tol["atol"]}

    log_det = jax.grad(lambda m: linalg.spd_inverse(m)[1])(jnp.asarray(matrix))
    np.testing.assert_allclose(log_det, inverse, **loose)
    by_factor = jax.grad(lambda m: 2 * jnp.sum(jnp.log(jnp.diagonal(linalg.cholesky(m)))))
    np.testing.assert_allclose(by_factor(jnp.asarray(matrix)), inverse, **loose)
    form = -np.outer(inverse @ a, inverse @ b)
    of_matrix, of_vector = jax.grad(lambda m, v: a @ linalg.spd_solve(m, v), argnums=(0, 1))(
        jnp.asarray(matrix), jnp.asarray(b)
    )
    np.testing.assert_allclose(of_matrix, (form + form.T) / 2, **loose)
    np.testing.assert_allclose(of_vector, inverse @ a, **loose)
    of_inverse = jax.grad(lambda m: a @ linalg.spd_inverse(m)[0] @ b)(jnp.asarray(matrix))
    np.testing.assert_allclose(of_inverse, (form + form.T) / 2, **loose)


@pytest.mark.parametrize("order", [2, 14])
def test_indefinite_gives_nan(order):
    matrix = np.eye(order)
    matrix[-1, -1] = -1.0
    matrix = jnp.asarray(np.stack([matrix, np.eye(order)]))
    for result in (
        linalg.cholesky(matrix),
        linalg.spd_inverse(matrix)[0],
        linalg.spd_solve(matrix, jnp.ones((2, order))),
    ):
        assert np.any(np.isnan(result[0]))
        assert np.all(np.isfinite(result[1]))  # a bad matrix does not spoil its neighbours


@pytest.mark.parametrize("rank", [0, 1, 3, 5])
@pytest.mark.parametrize("spread", [1.0, 1e3])
def test_psd_factor_of_any_rank(rank, spread, x64):
    mixing = np.random.default_rng(rank).normal(size=(5, rank))
    matrix = mixing @ mixing.T
    scale = np.geomspace(1, spread, 5)
    scaled = matrix * np.outer(scale, scale)
    factor = np.asarray(jax.jit(linalg.psd_factor)(jnp.asarray(scaled)), float)
    np.testing.assert_array_equal(factor, np.tril(factor))
    # Entry by entry, in units of the two variables: small variables keep their digits. A column is
    # dropped where 4 x 5 roundings of its diagonal entry are left.
    error = (factor @ factor.T) / np.outer(scale, scale) - matrix
    eps = np.finfo(np.float64 if x64 else np.float32).eps
    assert np.max(np.abs(error)) <= 2 * 4 * 5 * eps * np.max(np.diagonal(matrix))
    if rank < 2:  # beyond that, float32 input may itself be of higher rank
        assert np.sum(np.any(factor != 0, axis=0)) == rank


def test_psd_factor_has_finite_derivatives_where_rank_is_lost():
    matrix = jnp.ones((3, 3))
    slope = jax.grad(lambda m: jnp.sum(linalg.psd_factor(m)))(matrix)
    assert np.all(np.isfinite(slope))


@pytest.mark.parametrize("order", [1, 3, 14])
def test_packed_forms(order, tol):
    rng = np.random.default_rng(0)
    matrix, factor = spd(order, (6,)), rng.normal(size=(order, order))
    vectors = rng.normal(size=(4, order, 6))
    packed = linalg.pack(jnp.asarray(matrix))
    np.testing.assert_allclose(linalg.unpack(packed), np.moveaxis(matrix, 0, -1), rtol=1e-6)
    assert linalg.packed_order(packed) == order

    def ordinary(entries):
        return np.moveaxis(np.asarray(linalg.unpack(entries)), -1, 0)

    inside = linalg.congruence_packed(jnp.asarray(factor), jnp.asarray(matrix))
    np.testing.assert_allclose(ordinary(inside), factor.T @ matrix @ factor, **tol)
    outside = linalg.congruence_unpacked(jnp.asarray(factor), packed)
    np.testing.assert_allclose(outside, factor @ matrix @ factor.T, **tol)
    np.testing.assert_array_equal(outside, np.swapaxes(outside, 1, 2))
    np.testing.assert_allclose(
        linalg.congruence(jnp.asarray(factor), jnp.asarray(matrix)), outside, **tol
    )
    inverse, log_det = linalg.packed_inverse(packed)
    np.testing.assert_allclose(ordinary(inverse), np.linalg.inv(matrix), **tol)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(matrix)[1], **tol)
    np.testing.assert_allclose(
        linalg.packed_multiply(packed, jnp.asarray(vectors[0])),
        np.einsum("bij,jb->ib", matrix, vectors[0]),
        **tol,
    )
    np.testing.assert_allclose(
        ordinary(linalg.packed_outer(jnp.asarray(vectors))),
        np.einsum("kib,kjb->bij", vectors, vectors),
        **tol,
    )


@pytest.mark.parametrize("order", [1, 3, 14])
def test_forms_broadcast(order, tol):
    rng = np.random.default_rng(0)
    matrix, vector = spd(order, (2, 1)), rng.normal(size=(3, order))
    other = rng.normal(size=(2, 1, order))
    np.testing.assert_allclose(
        linalg.quadratic_form(jnp.asarray(matrix), jnp.asarray(vector)),
        np.einsum("bxij,ci,cj->bc", matrix, vector, vector),
        **tol,
    )
    np.testing.assert_allclose(
        linalg.inner(jnp.asarray(other), jnp.asarray(vector)), np.sum(other * vector, -1), **tol
    )
    np.testing.assert_allclose(linalg.outer_gram(jnp.asarray(vector)), vector @ vector.T, **tol)
