"""Validation at the boundary: the messages a user can cause.

Values are checked where they are concrete; inside `jax.jit` and its like, where they are not, only
shapes are.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

LARGEST = 2**31 - 2
"""Rounds, runs and records are numbered in 32 bits, with a sign, and one past the last is too."""


SEEDS = 2**32 - 1
"""The largest seed that JAX, NumPy and scikit-learn all take."""


class InputError(ValueError):
    """Input that cannot be used; the message names it and says what to do."""


def is_concrete(*values: Any) -> bool:
    """Whether every array in `values` has values to look at, rather than being traced."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def has_values(value: Any) -> bool:
    """Whether an array is neither traced nor a shape alone."""
    return is_concrete(value) and not isinstance(value, jax.ShapeDtypeStruct)


def check_count(name: str, value: Any, minimum: int = 1, most: int = LARGEST) -> int:
    """A whole number of at least `minimum` and at most `most`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < minimum:
        raise InputError(f"{name} must be a whole number of at least {minimum}, was {value!r}")
    if value > most:
        raise InputError(f"{name} must be at most {most}, was {value}")
    return int(value)


def check_seed(name: str, value: Any) -> int:
    """A seed that is within range."""
    return check_count(name, value, minimum=0, most=SEEDS)


def check_whole(name: str, value: Any, minimum: int) -> None:
    """Whole numbers of at least `minimum`, of whatever type but bool."""
    if not is_concrete(value):
        return
    array = numbers(name, value)
    if array.dtype == bool or not np.all(
        (array >= minimum) & (array == np.floor(array)) & np.isfinite(array)
    ):
        raise InputError(
            f"{name} must be a whole number of at least {minimum}, was {_shown(value)}"
        )


def check_kind(name: str, value: Any, kind: type, wanted: str, remedy: str = "") -> None:
    """An instance of a class, which the message calls `wanted`."""
    if not isinstance(value, kind):
        raise InputError(f"{name} must be {wanted}, was {type(value).__name__}{remedy}")


def check_function(name: str, value: Any, arguments: str) -> None:
    """Something to be called with `arguments`."""
    if not callable(value):
        raise InputError(f"{name} must be a function of {arguments}, was {_shown(repr(value))}")


def check_hashable(name: str, value: Any) -> None:
    """A function that a program can be compiled for."""
    try:
        hash(value)
    except TypeError:
        raise InputError(
            f"{name} must be hashable, since programs are compiled for functions, was "
            f"{type(value).__name__}; give a function, or a class with __hash__ such as a "
            "dataclass(frozen=True)"
        ) from None


def check_named(name: str, value: Any, what: str) -> None:
    """A mapping that has something in it."""
    if not isinstance(value, Mapping):
        raise InputError(
            f'{name} must be a dictionary, {{"its name": {what}}}, was {type(value).__name__}'
        )
    if not value:
        raise InputError(f"{name} must name at least one {what}, was empty")


def check_shape(name: str, value: Any, shape: tuple[int | None, ...], axes: str) -> None:
    """Shape of an array; None stands for any length, `axes` for how the message names them."""
    actual = shape_of(name, value)
    if len(actual) != len(shape) or any(
        want not in (None, have) for want, have in zip(shape, actual, strict=True)
    ):
        lengths = ", ".join("any" if n is None else str(n) for n in shape)
        comma = "," if len(shape) == 1 else ""
        raise InputError(f"{name} must have shape {axes} = ({lengths}{comma}), was {actual}")


def check_square(name: str, value: Any) -> int:
    """A matrix over features; gives their number."""
    length = shape_of(name, value)[-1:] or (None,)
    check_shape(name, value, 2 * length, "[features, features]")
    return shape_of(name, value)[0]


def shape_of(name: str, value: Any) -> tuple[int, ...]:
    """Shape of an array, or of lists of equal length."""
    # Arrays are not fetched from their device for that.
    known = hasattr(value, "shape") or not is_concrete(value)
    return np.shape(value) if known else numbers(name, value).shape


def check_broadcast(values: Mapping[str, Any]) -> None:
    """Arrays of shapes that broadcast together."""
    shapes = {name: shape_of(name, value) for name, value in values.items()}
    try:
        jnp.broadcast_shapes(*shapes.values())
    except ValueError:
        names, were = " and ".join(shapes), " and ".join(map(str, shapes.values()))
        raise InputError(f"{names} must have shapes that broadcast, were {were}") from None


def check_indices(name: str, value: Any, end: int, place: str, remedy: str) -> None:
    """Integers in [0, end); a message says at which `place` one is not, and the `remedy`."""
    if not is_concrete(value):
        return
    array = numbers(name, value)
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{name} must be integers, was {array.dtype}; {remedy}")
    if array.size and (array.min() < 0 or array.max() >= end):
        where = tuple(int(i) for i in np.argwhere((array < 0) | (array >= end))[0])
        at = f" at {place} {', '.join(map(str, where))}" if where else ""
        raise InputError(f"{name} must lie in [0, {end}), was {array[where]}{at}; {remedy}")


def numbers(name: str, value: Any) -> np.ndarray:
    """The numbers, none of them complex or masked, of an array, or of lists of equal length."""
    if np.ma.is_masked(value):
        raise InputError(f"{name} has masked entries; drop them first")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # Lists of other lengths; keys.
        array = None
    if array is None or not (jnp.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise InputError(
            f"{name} must be a number, or an array of numbers, was {_shown(repr(value))}"
        )
    if jnp.issubdtype(array.dtype, np.complexfloating):
        raise InputError(f"{name} must be real, was {array.dtype}; take the real part first")
    return array


def _shown(value: Any) -> str:
    """As much of it as fits in a line."""
    return textwrap.shorten(str(value), 70, placeholder="...")


def check_finite(name: str, value: Any) -> None:
    """No NaN or infinity."""
    if not is_concrete(value):
        return
    array = numbers(name, value)
    if not np.all(np.isfinite(array)):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(
            f"{name} must be finite, was {array[where]} at index {where}; "
            "drop or repair such entries first"
        )


def check_positive(name: str, value: Any) -> None:
    """Finite and above zero."""
    if is_concrete(value):
        array = numbers(name, value)
        if not np.all((array > 0) & np.isfinite(array)):
            raise InputError(f"{name} must be positive, was {_shown(value)}")


def check_not_negative(name: str, value: Any) -> None:
    """Finite and at least zero."""
    if is_concrete(value):
        array = numbers(name, value)
        if not np.all((array >= 0) & np.isfinite(array)):
            raise InputError(f"{name} must not be negative, was {_shown(value)}")


def check_probability(name: str, value: Any) -> None:
    """Strictly between 0 and 1."""
    if is_concrete(value):
        array = numbers(name, value)
        if not np.all((array > 0) & (array < 1)):
            raise InputError(f"{name} must lie strictly between 0 and 1, was {_shown(value)}")


def check_covariance(name: str, value: Any, *, singular: bool) -> None:
    """Symmetric and positive definite, or semi-definite where `singular` is allowed."""
    if not is_concrete(value):
        return
    check_finite(name, value)
    cov = np.asarray(value, np.float64)
    tolerance = len(cov) * max(float(jnp.finfo(jnp.result_type(value, float)).eps), 1e-12)
    scale = np.sqrt(np.abs(np.diagonal(cov)))
    if np.any(
        np.abs(cov - cov.T) > 4 * tolerance * np.outer(scale, scale) + 4 * tolerance * np.abs(cov)
    ):
        raise InputError(
            f"{name} must be symmetric; pass (cov + cov.T) / 2 if the rest is rounding"
        )
    # Scaled to unit diagonal, so that the verdict does not depend on the units of the features.
    safe = np.where(scale > 0, scale, 1)
    eigenvalues = np.linalg.eigvalsh(cov / np.outer(safe, safe))
    if eigenvalues[0] < -4 * tolerance or np.any(np.diagonal(cov) < 0):
        raise InputError(
            f"{name} must be positive semi-definite, has an eigenvalue of "
            f"{np.linalg.eigvalsh(cov)[0]:.3g}"
        )
    if not singular and (eigenvalues[0] <= tolerance or np.any(scale == 0)):
        raise InputError(
            f"{name} must be positive definite, its smallest eigenvalue is "
            f"{np.linalg.eigvalsh(cov)[0]:.3g}; where tasks do not differ in some direction, "
            "give that direction a small variance"
        )
