"""Validation at the boundary: the messages a user can cause.

Values are checked where they are concrete; inside `jax.jit` and its like, where they are not, only
shapes are.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.core import Tracer


class InputError(ValueError):
    """Input that cannot be used; the message names it and says what to do."""


def is_concrete(*values: Any) -> bool:
    """Whether every array in `values` has values to look at, rather than being traced."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def check_count(name: str, value: Any, minimum: int = 1) -> int:
    """A whole number of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < minimum:
        raise InputError(f"{name} must be a whole number of at least {minimum}, was {value!r}")
    return int(value)


def check_whole(name: str, value: Any, minimum: int) -> None:
    """Integers of at least `minimum`."""
    if not is_concrete(value):
        return
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.integer) or np.any(array < minimum):
        raise InputError(f"{name} must be a whole number of at least {minimum}, was {value}")


def check_shape(name: str, value: Any, shape: tuple[int | None, ...], axes: str) -> None:
    """Shape of an array; None stands for any length, `axes` for how the message names them."""
    actual = np.shape(value)
    if len(actual) != len(shape) or any(
        want not in (None, have) for want, have in zip(shape, actual, strict=True)
    ):
        lengths = ", ".join("any" if n is None else str(n) for n in shape)
        raise InputError(f"{name} must have shape {axes} = ({lengths}), was {actual}")


def check_finite(name: str, value: Any) -> None:
    """No NaN or infinity."""
    if is_concrete(value) and not np.all(np.isfinite(value)):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
        raise InputError(
            f"{name} must be finite, was {np.asarray(value)[where]} at index {where}; "
            "drop or repair such entries first"
        )


def check_positive(name: str, value: Any) -> None:
    """Finite and above zero."""
    if is_concrete(value) and not (np.all(np.isfinite(value)) and np.all(np.asarray(value) > 0)):
        raise InputError(f"{name} must be positive, was {value}")


def check_not_negative(name: str, value: Any) -> None:
    """Finite and at least zero."""
    if is_concrete(value) and not (np.all(np.isfinite(value)) and np.all(np.asarray(value) >= 0)):
        raise InputError(f"{name} must not be negative, was {value}")


def check_probability(name: str, value: Any) -> None:
    """Strictly between 0 and 1."""
    if is_concrete(value) and not np.all((np.asarray(value) > 0) & (np.asarray(value) < 1)):
        raise InputError(f"{name} must lie strictly between 0 and 1, was {value}")


def check_covariance(name: str, value: Any, *, singular: bool) -> None:
    """Symmetric and positive definite, or semi-definite where `singular` is allowed."""
    if not is_concrete(value):
        return
    check_finite(name, value)
    cov = np.asarray(value, np.float64)
    tolerance = len(cov) * max(np.finfo(np.asarray(value).dtype).eps, 1e-12)
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
