"""Products, and factors of any rank, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit.linalg import products
from tests.linalg.matrices import random_spd


@pytest.mark.parametrize("rank", [0, 1, 3, 5])
@pytest.mark.parametrize("spread", [1.0, 1e3])
def test_psd_factor_of_any_rank(rank, spread, x64):
    mixing = np.random.default_rng(rank).normal(size=(5, rank))
    matrix = mixing @ mixing.T
    scale = np.geomspace(1, spread, 5)
    scaled = matrix * np.outer(scale, scale)
    factor = np.asarray(jax.jit(products.psd_factor)(jnp.asarray(scaled)), float)
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
    slope = jax.grad(lambda m: jnp.sum(products.psd_factor(m)))(matrix)
    assert np.all(np.isfinite(slope))


@pytest.mark.parametrize("order", [1, 3, 14])
def test_forms_broadcast(order, tol):
    rng = np.random.default_rng(0)
    matrix, vector = random_spd(order, (2, 1)), rng.normal(size=(3, order))
    other = rng.normal(size=(2, 1, order))
    np.testing.assert_allclose(
        products.quadratic_form(jnp.asarray(matrix), jnp.asarray(vector)),
        np.einsum("bxij,ci,cj->bc", matrix, vector, vector),
        **tol,
    )
    np.testing.assert_allclose(
        products.inner(jnp.asarray(other), jnp.asarray(vector)), np.sum(other * vector, -1), **tol
    )
    np.testing.assert_allclose(products.outer_gram(jnp.asarray(vector)), vector @ vector.T, **tol)
