"""The package, and the examples in its docstrings, in a process that checks shapes, which
tests/test_shapes.py starts."""

import doctest
import importlib
import pkgutil

import jax
import jax.numpy as jnp
import jaxtyping
import pytest

import jaxbandit as jb
from jaxbandit.linalg import spd
from jaxbandit.policies.base import Problem


def test_a_wrong_shape_is_caught_in_the_package():
    spd.cholesky(jnp.eye(3))
    with pytest.raises(jaxtyping.TypeCheckError, match="matrix"):
        spd.cholesky(jnp.ones((3, 2)))
    with pytest.raises(jaxtyping.TypeCheckError, match="arm"):
        jax.jit(jb.take)(jnp.ones(3), jnp.zeros(2, jnp.int32))
    with pytest.raises(jaxtyping.TypeCheckError, match="problem"):
        jb.ucb().init(jb.confidence(), Problem(jnp.ones(3), jnp.ones(2), jnp.float32(9)))


def test_what_users_hand_over_gets_as_far_as_outside_of_tests():
    assert jb.effective_sample_size([0, 0]) == 2
    with pytest.raises(jb.InputError, match="action must have shape"):
        jb.suboptimality(jnp.ones(2), jnp.ones((3, 4, 2)), jnp.zeros(2, int))


# Examples in docstrings.

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(jb.__path__, "jaxbandit.")
    if not module.ispkg and module.name != "jaxbandit.__main__"
)


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_some_doctests_are_found():
    finder = doctest.DocTestFinder()
    module = importlib.import_module("jaxbandit.inference.posterior")
    assert any(test.examples for test in finder.find(module))
