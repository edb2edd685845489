"""Factor, inverse and solution against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit import packed, spd
from tests.matrices import random_spd

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
