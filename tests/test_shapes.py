"""Shapes in annotations are checked by `tests.shapes`, in a process of their own."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import NamedTuple

import jax.numpy as jnp
import jaxtyping
import pytest
from jax import Array
from jaxtyping import Float

from tests import shapes
from tests.shapes import checked

PARTS = [
    "shapes_in_package.py",
    "policies/test_offline.py",
    "policies/test_own_policies.py",
]


def test_shapes_are_as_annotated(root_directory, environment):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider"]
        + [str(root_directory / "tests" / part) for part in PARTS],
        cwd=root_directory,
        env=environment | {shapes.SWITCH: "1", "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


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
