"""Products written out are what the library computes, and no products any more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxbandit.engine.expand_dots import written_out

X, M, V = (np.random.default_rng(0).normal(size=shape) for shape in ((5, 4), (4, 4), (4,)))

FUNCTIONS = {
    "vectors": lambda x, m, v: v @ v,
    "matrix and vector": lambda x, m, v: jnp.sin(x @ v),
    "matrices": lambda x, m, v: x @ m @ x.T + 1,
    "einsum": lambda x, m, v: jnp.einsum("ai,ij,aj->a", x, m, x),
    "batches in other places": lambda x, m, v: lax.dot_general(
        jnp.stack([x, 2 * x], 1), jnp.stack([m, m, v * m]), (((2,), (1,)), ((), ()))
    ),
    "two axes": lambda x, m, v: jnp.tensordot(x[None] * m[:, :1, None], x * v, 2),
    "many terms": lambda x, m, v: jnp.tile(v, 20) @ jnp.tile(m, (20, 1)),
    "no terms": lambda x, m, v: x[:, :0] @ m[:0] + v,
    "inside of a compiled part": lambda x, m, v: jax.jit(lambda y: (y @ v, y))(x),
    "a derivative of its own": lambda x, m, v: jax.nn.relu(x @ m),
    "types": lambda x, m, v: jnp.matmul(
        jnp.ones((2, 3), jnp.int8), jnp.ones(3, jnp.int8), preferred_element_type=jnp.int32
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("runs", [None, 0, -1])
def test_values(name, runs, rtol):
    function, operands = FUNCTIONS[name], [jnp.asarray(x, float) for x in (X, M, V)]
    if runs is not None:
        many = [jnp.stack([x, -x, 2 * x], axis=runs) for x in operands]
        function, operands = jax.vmap(function, in_axes=runs, out_axes=runs), many
    expected, out = function(*operands), written_out(function)(*operands)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), out, expected)
    assert jax.tree.map(lambda x: x.dtype, out) == jax.tree.map(lambda x: x.dtype, expected)
    assert "dot_general" in str(jax.make_jaxpr(function)(*operands))
    assert "dot_general" not in str(jax.make_jaxpr(written_out(function))(*operands))


def test_what_has_no_products_stays():
    def function(x):
        return {"a": jnp.cumsum(x), "b": lax.fori_loop(0, 3, lambda _, y: y + 1, x)}

    x = jnp.arange(4.0)
    assert str(jax.make_jaxpr(written_out(function))(x)) == str(jax.make_jaxpr(function)(x))
