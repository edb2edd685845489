"""Numbers as floating ones, before anything is computed with them.

Products and sums in whole numbers, or in floating numbers of 16 bits, would overflow.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxbandit.checks import is_concrete
from jaxbandit.precision.settings import promotion


@promotion()
def working_type(*values: Any) -> jnp.dtype:
    """The floating type, of at least 32 bits, in which arrays are computed with.

    Whole numbers and truth values count as the default floating type.
    """
    types = (jnp.asarray(in_precision(value)).dtype for value in values)
    return jnp.promote_types(jnp.result_type(float, *types), jnp.float32)


def floating(*values: Any) -> tuple[Array, ...]:
    """Arrays of their `working_type`."""
    dtype = working_type(*values)
    return tuple(jnp.asarray(value, dtype) for value in values)


@promotion()
def counts(value: Any) -> Array:
    """Numbers of something, in a type of at least 32 bits, whole where they are given as such."""
    count = jnp.asarray(in_precision(value))
    smallest = jnp.float32 if jnp.issubdtype(count.dtype, jnp.inexact) else jnp.int32
    return count.astype(jnp.promote_types(count.dtype, smallest))


def in_precision(tree: Any) -> Any:
    """A pytree in whose arrays no number has more bits than the precision in use.

    What was made under `jax.enable_x64` may be used without: JAX would compute with both types.
    """
    return jax.tree.map(_in_precision, tree)


def _in_precision(leaf: Any) -> Any:
    if not isinstance(leaf, Array) or not is_concrete(leaf):
        return leaf
    usual = jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
    # On the host, where JAX rounds without a word.
    return leaf if leaf.dtype == usual else jnp.asarray(np.asarray(leaf))
