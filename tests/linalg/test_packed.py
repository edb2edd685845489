"""Packed matrices against NumPy, on both sides of `UNROLL_LIMIT`."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit.linalg import packed, products
from tests.linalg.matrices import random_spd


@pytest.mark.parametrize("order", [1, 3, 14])
def test_packed_forms(order, tol):
    rng = np.random.default_rng(0)
    matrix, factor = random_spd(order, (6,)), rng.normal(size=(order, order))
    vectors = rng.normal(size=(4, order, 6))
    entries = packed.pack(jnp.asarray(matrix))
    np.testing.assert_allclose(packed.unpack(entries), np.moveaxis(matrix, 0, -1), rtol=1e-6)
    assert packed.order_of(entries) == order

    def ordinary(x):
        return np.moveaxis(np.asarray(packed.unpack(x)), -1, 0)

    inside = packed.pack_congruence(jnp.asarray(factor), jnp.asarray(matrix))
    np.testing.assert_allclose(ordinary(inside), factor.T @ matrix @ factor, **tol)
    outside = packed.unpack_congruence(jnp.asarray(factor), entries)
    np.testing.assert_allclose(outside, factor @ matrix @ factor.T, **tol)
    np.testing.assert_array_equal(outside, np.swapaxes(outside, 1, 2))
    np.testing.assert_allclose(
        products.congruence(jnp.asarray(factor), jnp.asarray(matrix)), outside, **tol
    )
    inverse, log_det = packed.inverse(entries)
    np.testing.assert_allclose(ordinary(inverse), np.linalg.inv(matrix), **tol)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(matrix)[1], **tol)
    np.testing.assert_allclose(
        packed.multiply(entries, jnp.asarray(vectors[0])),
        np.einsum("bij,jb->ib", matrix, vectors[0]),
        **tol,
    )
    np.testing.assert_allclose(
        ordinary(packed.outer(jnp.asarray(vectors))),
        np.einsum("kib,kjb->bij", vectors, vectors),
        **tol,
    )
