"""Shapes in annotations are checked, by `tests.shapes`, in every function of the package."""

from __future__ import annotations

import inspect
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxtyping
import pytest
from jax import Array
from jaxtyping import Float

import jaxbandit as jb
from jaxbandit import linalg
from jaxbandit.online.policies.base import Problem
from tests.shapes import checked


def test_a_wrong_shape_is_caught_in_the_package():
    linalg.cholesky(jnp.eye(3))
    with pytest.raises(jaxtyping.TypeCheckError, match="matrix"):
        linalg.cholesky(jnp.ones((3, 2)))
    with pytest.raises(jaxtyping.TypeCheckError, match="arm"):
        jax.jit(jb.take)(jnp.ones(3), jnp.zeros(2, jnp.int32))
    with pytest.raises(jaxtyping.TypeCheckError, match="problem"):
        jb.ucb().init(jb.confidence(), Problem(jnp.ones(3), jnp.ones(2), jnp.float32(9)))


def test_it_is_not_caught_where_tests_ask_for_what_users_see(shapes_unchecked):
    with pytest.raises(jb.InputError, match="action must have shape"):
        jb.suboptimality(jnp.ones(2), jnp.ones((3, 4, 2)), jnp.zeros(2, int))


class Pair(NamedTuple):
    first: Float[Array, " n"]
    second: Float[Array, " n"] | None


@jaxtyping.jaxtyped(typechecker=checked)
def double(pair: Pair, times: int) -> tuple[Pair, Float[Array, " n"]]:
    return pair, jnp.ones(times)


def test_named_tuples_are_looked_into():
    double(Pair(jnp.ones(3), None), 3)
    double(Pair(jnp.ones(3), jnp.ones(3)), 3)
    for wrong in (
        lambda: double(Pair(jnp.ones(3), jnp.ones(2)), 3),
        lambda: double(Pair(jnp.ones(3), None), 2),
        lambda: double(Pair(jnp.ones(3, int), None), 3),
    ):
        with pytest.raises(jaxtyping.TypeCheckError):
            wrong()


def test_other_types_are_not_checked():
    @jaxtyping.jaxtyped(typechecker=checked)
    def first(name: str, value: Float[Array, " n"] | int) -> list[int]:
        return (name, value)

    assert first(2, 3) == (2, 3)
    assert inspect.signature(first).parameters["name"].annotation == "str"
