"""Numbers as floating ones, before anything is computed with them.

Products and sums in whole numbers, or in floating numbers of 16 bits, would overflow.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxbandit.settings import promotion


@promotion()
def working_type(*values: Any) -> jnp.dtype:
    """The floating type, of at least 32 bits, in which arrays are computed with.

    Whole numbers and truth values count as the default floating type.
    """
    types = (jnp.asarray(value).dtype for value in values)
    return jnp.promote_types(jnp.result_type(float, *types), jnp.float32)


def floating(*values: Any) -> tuple[Array, ...]:
    """Arrays of their `working_type`."""
    dtype = working_type(*values)
    return tuple(jnp.asarray(value, dtype) for value in values)
