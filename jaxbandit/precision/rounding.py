"""Rounding away from the truth: bounds that are computed in few digits, and stay bounds.

What is exact stays as it is; what is not becomes the next floating number on the safe side.
"""

from __future__ import annotations

import operator

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from jaxbandit import checks


def up(value: Array, terms: int = 0) -> Array:
    """A little more than `value`, to outweigh the rounding of a short computation or a sum."""
    return value * (1 + (16 + terms) * jnp.finfo(value.dtype).eps)


def down(value: Array, terms: int = 0) -> Array:
    """A little less than `value`."""
    return value * (1 - (16 + terms) * jnp.finfo(value.dtype).eps)


def at_least(value: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    """The smallest floating number that is not below `value`, which may be whole or have more
    digits; of the type in use, or of `dtype`."""
    return _beyond(value, dtype, np.inf)


def at_most(value: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    """The largest floating number that is not above `value`."""
    return _beyond(value, dtype, -np.inf)


def product_at_least(whole: Array, factor: Array) -> Array:
    """A floating number next to the product, not below it; the product where that is plainly exact.

    That is with a power of two, and where both are whole and the product has few digits.

    Args:
        whole: a whole number.
        factor: above 0.
    """
    product = whole * factor
    few = (factor == jnp.floor(factor)) & (product <= 2 / jnp.finfo(product.dtype).eps)
    exact = (jnp.frexp(factor)[0] == 0.5) | few
    return jnp.where(exact, product, jnp.nextafter(product, jnp.inf))


def difference_at_least(value: Array, less: Array) -> Array:
    """The smallest floating number that is not below the difference.

    Source:
        Knuth, "The art of computer programming", volume 2, 4.2.2, theorem B: the rounding error of
        a sum.
    """
    nearest = value - less
    taken = nearest - value
    error = (value - (nearest - taken)) - (less + taken)
    return jnp.where(error > 0, jnp.nextafter(nearest, jnp.inf), nearest)


def _beyond(value: ArrayLike, dtype: DTypeLike | None, end: float) -> Array:
    dtype = np.dtype(jnp.result_type(float) if dtype is None else dtype)
    short = operator.lt if end > 0 else operator.gt
    if checks.is_concrete(value):
        # On the host, where float64 holds all that is asked about.
        exact = np.asarray(value, np.float64)
        near = exact.astype(dtype)
        return jnp.asarray(np.where(short(near, exact), np.nextafter(near, dtype.type(end)), near))
    exact = jnp.asarray(value)
    near = exact.astype(dtype)
    # A whole number of up to 31 bits comes back as it was rounded.
    return jnp.where(short(near.astype(exact.dtype), exact), jnp.nextafter(near, end), near)
