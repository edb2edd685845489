"""Shapes in annotations, checked while tests run: a type checker for jaxtyping's import hook.

Hints with shapes are checked, in signatures and in the fields of the named tuples there. Those of
`ArrayLike` are not: users may give lists and integers, functions look at them for themselves, and
their messages are tested. Types without shapes are left to pyright.
"""

from __future__ import annotations

import inspect
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import jax
import numpy as np
from beartype import beartype
from beartype.door import is_bearable
from beartype.vale import Is
from jaxtyping import AbstractArray

SWITCH = "JAXBANDIT_TEST_SHAPES"
"""Environment variable that turns it on in a process of tests."""


def checked(function: Any) -> Any:
    """The function, which refuses what does not have the shapes of its annotations."""
    hints = {name: _with_fields(hint) for name, hint in function.__annotations__.items()}
    function.__annotations__ = {name: hint for name, hint in hints.items() if hint is not None}
    return beartype(function)


def _with_fields(hint: Any) -> Any:
    """A hint that looks into named tuples too; None where there is no shape in it."""
    if inspect.isclass(hint) and issubclass(hint, AbstractArray):
        return hint
    if fields := _fields(hint):

        def fits(value: Any) -> bool:
            return _fit(value, fields)

        return Annotated[hint, Is[fits]]
    if get_origin(hint) in (Union, UnionType) and set(map(_array, get_args(hint))) >= _ARRAY_LIKE:
        return None
    parts = {part: _with_fields(part) for part in get_args(hint) if not isinstance(part, list)}
    if get_origin(hint) in (tuple, dict, Union, UnionType) and any(parts.values()):
        args = tuple(parts[part] or part for part in get_args(hint))
        # `X | Y` has an origin that takes no brackets.
        origin = Union if get_origin(hint) is UnionType else get_origin(hint)
        return origin[args]
    return None


_ARRAY_LIKE = {jax.Array, np.ndarray}


def _array(hint: Any) -> Any:
    return getattr(hint, "array_type", None)


def _fit(value: Any, fields: dict[str, Any]) -> bool:
    parts = ((getattr(value, name), hint) for name, hint in fields.items())
    # `jax.eval_shape` puts shapes where arrays will be.
    return all(isinstance(x, jax.ShapeDtypeStruct) or is_bearable(x, hint) for x, hint in parts)


@cache
def _fields(hint: Any) -> dict[str, Any]:
    """Fields of a named tuple that have shapes."""
    if not (inspect.isclass(hint) and issubclass(hint, tuple) and hasattr(hint, "_fields")):
        return {}
    try:
        hints = get_type_hints(hint)
    except NameError:  # A type that is imported for pyright alone; such tuples hold no shapes.
        return {}
    parts = {name: _with_fields(part) for name, part in hints.items()}
    return {name: part for name, part in parts.items() if part is not None}
