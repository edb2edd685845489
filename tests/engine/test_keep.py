"""Marked values: the identity anywhere, stored by conditionals in a round that a CPU compiles.

Each test of what is found fails when `keep._RESOLVED` or `keep._CALLS` lacks what it names.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxbandit.engine.keep import keep, storing


def plain(x, number):
    return keep(x * 2) + 1


@jax.jit
def helper(x):
    """As a user's own, which JAX traces once for all its callers."""
    return keep((x * 2, x + 1))


def jitted(x, number):
    double, more = helper(x)
    return double * more


def add(index, x):
    """A body of a module, whose trace JAX remembers."""
    return keep(x * 1.5 + index)


def in_a_loop(x, number):
    return lax.fori_loop(0, number, add, x)


def in_a_loop_of_fixed_length(x, number):
    return lax.fori_loop(0, 3, add, x)


def in_a_while(x, number):
    return lax.while_loop(lambda x: keep(x + 1) < 50, lambda x: keep(x * 2 + 1), x)


def in_a_scan(x, number):
    last, every = lax.scan(lambda x, y: (keep(x + y), x * y), x, jnp.arange(4.0))
    return last + jnp.sum(every)


def in_a_branch(x, number):
    return lax.cond(x > 1, lambda x: keep(x * 3), lambda x: -x, x)


def in_all_of_them(x, number):
    return lax.cond(
        x > 0, jax.jit(lambda x: lax.fori_loop(0, 2, lambda _, x: jitted(x, 0), x)), helper_sum, x
    )


def helper_sum(x):
    return sum(helper(x))


FUNCTIONS = [
    plain,
    jitted,
    in_a_loop,
    in_a_loop_of_fixed_length,
    in_a_while,
    in_a_scan,
    in_a_branch,
    in_all_of_them,
]


def marks(program):
    """Marks, and choices by platform, of a program, loops and branches included: how many."""
    names = []

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            names.append(equation.primitive.name)
            for inner in jax.extend.core.jaxprs_in_params(equation.params):
                walk(inner)

    walk(program.jaxpr)
    return names.count("keep"), names.count("platform_index")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_marks_change_no_number(function):
    x, number = jnp.float32(1.25), jnp.int32(3)
    wanted = function(x, number)
    for _ in range(3):  # A trace after another meets what JAX remembers of the one before.
        for call in (function, storing(function), jax.jit(function), jax.jit(storing(function))):
            chex.assert_trees_all_equal(call(x, number), wanted)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_mark_is_resolved(function):
    operands = jnp.float32(1.25), jnp.int32(3)
    marked, _ = marks(jax.make_jaxpr(function)(*operands))
    assert marked > 0
    for _ in range(3):
        left, resolved = marks(jax.make_jaxpr(storing(function))(*operands))
        assert left == 0
        assert resolved >= marked


@pytest.mark.parametrize("function", FUNCTIONS)
def test_runs_are_mapped_inside_or_outside(function):
    x, number = jnp.array([0.5, 1.25, 3]), jnp.int32(3)
    wanted = jnp.stack([jnp.asarray(function(each, number)) for each in x])
    inside = storing(jax.vmap(function, in_axes=(0, None)))
    outside = jax.vmap(storing(function), in_axes=(0, None))
    for call in (inside, outside):
        np.testing.assert_allclose(jax.jit(call)(x, number), wanted, rtol=1e-6)


def test_a_cpu_gets_a_conditional_and_others_none():
    operands = jnp.float32(1.25), jnp.int32(3)
    text = {
        platform: jax.export.export(jax.jit(storing(plain)), platforms=[platform])(
            *operands
        ).mlir_module()
        for platform in ("cpu", "cuda", "tpu")
    }
    conditions = {name: module.count("stablehlo.compare GE") for name, module in text.items()}
    assert conditions == {"cpu": 1, "cuda": 0, "tpu": 0}


def test_derivatives_pass_through():
    assert jax.grad(lambda x: keep(x**2))(3.0) == 6
    assert jax.grad(lambda x: storing(lambda x, number: keep(x**2))(x, 1))(3.0) == 6
    assert jax.jvp(lambda x: keep(x**3), (2.0,), (1.0,))[1] == 12
