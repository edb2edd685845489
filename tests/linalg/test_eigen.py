"""Eigenvalues of small symmetric matrices against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit.linalg.eigen import symmetric_eigen, symmetric_eigenvalues

ORDERS = (1, 2, 3, 4, 7, 12)


def matrices(order, number=30):
    """Of all ranks, some with eigenvalues that are equal, and of very different size."""
    rng = np.random.default_rng(order)
    rank = rng.integers(1, order + 1, number)
    spread = 10.0 ** rng.uniform(-3, 0, (number, order))
    spread[np.arange(order) >= rank[:, None]] = 0
    spread[::3] = np.sign(spread[::3])
    basis = np.linalg.qr(rng.normal(size=(number, order, order)))[0]
    sizes = 10.0 ** rng.integers(-4, 5, (number, 1, 1))
    return sizes * np.einsum("nij,nj,nkj->nik", basis, spread, basis)


@pytest.mark.parametrize("order", ORDERS)
def test_against_numpy(order):
    given = matrices(order)
    exact = np.linalg.eigvalsh(given)
    values, vectors = (np.asarray(x, float) for x in jax.jit(symmetric_eigen)(given))
    near = 3 * order * float(jnp.finfo(jnp.result_type(float)).eps)
    largest = exact[:, -1:]
    assert np.all(np.abs(values - exact) <= near * largest)
    again = np.einsum("nij,nj,nkj->nik", vectors, values, vectors)
    assert np.all(np.abs(again - given) <= 2 * near * largest[..., None])
    unit = np.einsum("nij,nik->njk", vectors, vectors)
    np.testing.assert_allclose(unit, np.broadcast_to(np.eye(order), unit.shape), atol=2 * near)


def test_mapped_and_degenerate():
    given = jnp.asarray(matrices(5), float)
    every = jax.jit(symmetric_eigenvalues)(given)
    one = jax.jit(jax.vmap(symmetric_eigenvalues))(given[:1])
    np.testing.assert_allclose(every[:1], one, rtol=1e-6, atol=1e-6 * float(every[0, -1]))
    assert np.isnan(symmetric_eigenvalues(jnp.full((3, 3), jnp.nan))).all()
    assert not symmetric_eigenvalues(jnp.zeros((4, 4))).any()


@pytest.mark.float64
def test_slopes():
    """Forwards and backwards, against differences; eigenvectors as the projections they make."""
    rng = np.random.default_rng(0)
    given, change = (x + x.T for x in rng.normal(size=(2, 5, 5)))

    def along(t):
        values, vectors = symmetric_eigen(jnp.asarray(given) + t * change)
        lowest = jnp.outer(vectors[:, 0], vectors[:, 0]).ravel()
        return jnp.concatenate([values, lowest, symmetric_eigenvalues(given + t * change)])

    expected = (along(1e-6) - along(-1e-6)) / 2e-6
    for slope in (jax.jacfwd(along)(0.0), jax.jacrev(along)(0.0)):
        np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-7)
    # Equal eigenvalues: their sum, and functions of the matrix, still have slopes.
    total = jax.grad(lambda m: symmetric_eigenvalues(m)[2:].sum())(jnp.diag(jnp.arange(5) // 2.0))
    assert np.all(np.isfinite(total))
    assert np.trace(total) == pytest.approx(3)


def test_programs_call_no_library():
    compiled = jax.jit(symmetric_eigen).lower(jnp.zeros((2, 4, 4))).compile().as_text()
    assert "custom-call" not in compiled
