"""JAX's promotion of ranks and types, as this package relies on it.

Users may forbid it (`jax_numpy_rank_promotion`, `jax_numpy_dtype_promotion`) to find mistakes of
their own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def promotion() -> Generator[None]:
    """A block, for its thread, in which ranks and types promote whatever the user's settings."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def with_promotion(function: Callable[P, T]) -> Callable[P, T]:
    """The function, computed under `promotion`."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with promotion():
            return function(*args, **kwargs)

    return call


@with_promotion
def working_type(*values: Any) -> jnp.dtype:
    """The floating type of at least 32 bits in which arrays are computed with.

    Whole numbers and truth values become the default floating type; products and sums in small
    types would overflow.
    """
    types = (jnp.asarray(value).dtype for value in values)
    return jnp.promote_types(jnp.result_type(float, *types), jnp.float32)


def floating(*values: Any) -> tuple[Array, ...]:
    """Arrays of their `working_type`."""
    dtype = working_type(*values)
    return tuple(jnp.asarray(value, dtype) for value in values)
