"""Factor, inverse and solution against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit.linalg import packed, spd
from tests.linalg.matrices import random_spd

BATCHES = ((), (5,), (2, 3))


@pytest.mark.parametrize("order", [1, 2, 3, 4, 6, 12, 14])
def test_factor_inverse_and_solve(order, tol):
    for batch in BATCHES:
        matrix, vector = (
            random_spd(order, batch),
            np.random.default_rng(1).normal(size=(*batch, order)),
        )
        # Only the lower triangle may be read.
        lower = jnp.asarray(np.tril(matrix) + np.triu(np.full_like(matrix, np.nan), 1))
        inverse, log_det = jax.jit(spd.inverse)(lower)
        np.testing.assert_allclose(jax.jit(spd.cholesky)(lower), np.linalg.cholesky(matrix), **tol)
        np.testing.assert_allclose(inverse, np.linalg.inv(matrix), **tol)
        np.testing.assert_array_equal(inverse, np.swapaxes(inverse, -1, -2))
        np.testing.assert_allclose(log_det, np.linalg.slogdet(matrix)[1], **tol)
        solution = jax.jit(spd.solve)(lower, jnp.asarray(vector))
        np.testing.assert_allclose(
            solution, np.linalg.solve(matrix, vector[..., None])[..., 0], **tol
        )


def test_more_than_blocks(tol, monkeypatch):
    monkeypatch.setattr(packed, "block_size", lambda order: 4)
    matrix, vector = random_spd(5, (3, 6)), np.random.default_rng(1).normal(size=(3, 6, 5))
    inverse, log_det = spd.inverse(jnp.asarray(matrix))  # 18: the last block overlaps
    np.testing.assert_allclose(inverse, np.linalg.inv(matrix), **tol)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(matrix)[1], **tol)
    solution = jax.vmap(spd.solve)(jnp.asarray(matrix), jnp.asarray(vector))
    expected = np.linalg.solve(matrix, vector[..., None])[..., 0]
    np.testing.assert_allclose(solution, expected, **tol)


@pytest.mark.parametrize("order", [3, 14])
def test_under_vmap_twice(order, tol):
    matrix, vector = random_spd(order, (2, 3)), np.random.default_rng(1).normal(size=(3, order))
    expected = np.linalg.solve(matrix, np.broadcast_to(vector, (2, 3, order))[..., None])[..., 0]
    # The vector is mapped once only, the matrix twice.
    solve = jax.vmap(jax.vmap(spd.solve), in_axes=(0, None))
    np.testing.assert_allclose(solve(jnp.asarray(matrix), jnp.asarray(vector)), expected, **tol)
    last = jnp.moveaxis(jnp.asarray(matrix), 0, -1)
    factor = jax.vmap(jax.vmap(spd.cholesky), in_axes=-1)(last)
    np.testing.assert_allclose(factor, np.linalg.cholesky(matrix), **tol)
    inverse, log_det = jax.vmap(jax.vmap(spd.inverse))(jnp.asarray(matrix))
    np.testing.assert_allclose(inverse, np.linalg.inv(matrix), **tol)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(matrix)[1], **tol)


@pytest.mark.parametrize("order", [1, 4, 13])
def test_gradients(order, tol):
    """Against the formulas for the log-determinant, an inverse form and a solution."""
    matrix = random_spd(order)
    a, b = np.random.default_rng(2).normal(size=(2, order))
    inverse = np.linalg.inv(matrix)
    loose = {"rtol": 20 * tol["rtol"], "atol": 50 * tol["atol"]}

    log_det = jax.grad(lambda m: spd.inverse(m)[1])(jnp.asarray(matrix))
    np.testing.assert_allclose(log_det, inverse, **loose)
    by_factor = jax.grad(lambda m: 2 * jnp.sum(jnp.log(jnp.diagonal(spd.cholesky(m)))))
    np.testing.assert_allclose(by_factor(jnp.asarray(matrix)), inverse, **loose)
    form = -np.outer(inverse @ a, inverse @ b)
    of_matrix, of_vector = jax.grad(lambda m, v: a @ spd.solve(m, v), argnums=(0, 1))(
        jnp.asarray(matrix), jnp.asarray(b)
    )
    np.testing.assert_allclose(of_matrix, (form + form.T) / 2, **loose)
    np.testing.assert_allclose(of_vector, inverse @ a, **loose)
    of_inverse = jax.grad(lambda m: a @ spd.inverse(m)[0] @ b)(jnp.asarray(matrix))
    np.testing.assert_allclose(of_inverse, (form + form.T) / 2, **loose)


@pytest.mark.parametrize("order", [1, 4, 13])
def test_lower_solve(order, tol):
    for batch in BATCHES:
        lower = np.linalg.cholesky(random_spd(order, batch))
        right = np.random.default_rng(1).normal(size=(*batch, order, 3))
        expected = np.linalg.solve(lower, right)
        # Only the lower triangle may be read.
        given = jnp.asarray(lower + np.triu(np.full_like(lower, np.nan), 1))
        np.testing.assert_allclose(spd.lower_solve(given, jnp.asarray(right)), expected, **tol)
        weight = np.random.default_rng(2).normal(size=expected.shape)
        slopes = jax.grad(lambda a, b, w=weight: jnp.sum(w * spd.lower_solve(a, b)), (0, 1))(
            jnp.asarray(lower), jnp.asarray(right)
        )
        # X = L^-1 B: with Y = L^-T W the slopes are -Y X' below the diagonal, and Y.
        back = np.linalg.solve(np.swapaxes(lower, -1, -2), weight)
        below = np.tril(-back @ np.swapaxes(expected, -1, -2))
        loose = {"rtol": 20 * tol["rtol"], "atol": 50 * tol["atol"]}
        np.testing.assert_allclose(slopes[0], below, **loose)
        np.testing.assert_allclose(slopes[1], back, **loose)


def test_batches_do_not_call_lapack():
    matrix, vector = jnp.asarray(random_spd(14, (300,))), jnp.ones((300, 14))
    for function, arguments in (
        (spd.cholesky, (matrix,)),
        (spd.inverse, (matrix,)),
        (spd.solve, (matrix, vector)),
        (spd.lower_solve, (matrix, matrix)),
    ):
        slopes = jax.grad(lambda *x, f=function: sum(jnp.sum(y) for y in jax.tree.leaves(f(*x))))
        for call in (jax.vmap(function), jax.vmap(jax.jit(function)), slopes):
            assert "lapack" not in jax.jit(call).lower(*arguments).as_text()


def test_hessian_in_a_scan():
    """Tangents alone are batched there, which must not be taken for one more batch of matrices."""
    matrix = jnp.asarray(random_spd(3))

    def looped(m):
        return jax.lax.scan(lambda c, _: (c + spd.inverse(c * m)[0].sum(), None), 1.0, None, 2)[0]

    def straight(m):
        first = 1.0 + spd.inverse(m)[0].sum()
        return first + spd.inverse(first * m)[0].sum()

    np.testing.assert_allclose(
        jax.hessian(looped)(matrix), jax.hessian(straight)(matrix), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("order", [2, 14])
def test_indefinite_gives_nan(order):
    matrix = np.eye(order)
    matrix[-1, -1] = -1.0
    matrix = jnp.asarray(np.stack([matrix, np.eye(order)]))
    for result in (
        spd.cholesky(matrix),
        spd.inverse(matrix)[0],
        spd.solve(matrix, jnp.ones((2, order))),
    ):
        assert np.any(np.isnan(result[0]))
        assert np.all(np.isfinite(result[1]))  # a bad matrix does not spoil its neighbours
