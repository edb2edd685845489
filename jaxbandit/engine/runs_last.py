"""Code of one run, fast when it is mapped over runs.

Runs are then last in memory, so that each operation is one on whole vectors of runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap


def runs_last(function: Callable[..., Array]) -> Callable[..., Array]:
    """A function of arrays [arms, ...] and numbers to [arms], computed with runs last when mapped.

    It is then called with arrays [arms, ..., runs] or [arms, ..., 1] and numbers [runs] or [], and
    has to broadcast them.
    """
    mapped = custom_vmap(function)

    @mapped.def_vmap
    def _(size: int, batched: Any, *operands: Array) -> tuple[Array, bool]:
        def column(x: Array, many: bool) -> Array:
            return jnp.moveaxis(x, 0, -1) if many else x[..., None] if x.ndim else x

        columns = [column(x, many) for x, many in zip(operands, batched, strict=True)]
        return jnp.moveaxis(function(*columns), -1, 0), True

    return mapped
