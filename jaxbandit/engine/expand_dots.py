"""Matrix products of a program, term by term.

A kernel of a whole loop (`kernel`) cannot hold a library call, and what a policy multiplies is
small: written out, `features @ mean` is no reason to leave the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Jaxpr, Literal

# Most terms of a sum that are written out; longer sums are reductions.
_TERMS = 32


def written_out(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its products of arrays as sums of products of numbers.

    Those inside of a loop or a branch stay as they are.
    """

    def call(*operands: Any) -> Any:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*operands)
        out = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(operands))
        return jax.tree.unflatten(jax.tree.structure(shapes), out)

    return call


def _has_products(jaxpr: Jaxpr) -> bool:
    return any(
        equation.primitive is lax.dot_general_p
        or (equation.primitive.name == "jit" and _has_products(equation.params["jaxpr"].jaxpr))
        for equation in jaxpr.eqns
    )


def _evaluate(jaxpr: Jaxpr, consts: Iterable[Any], operands: Iterable[Any]) -> list[Any]:
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *operands], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        primitive, given = equation.primitive, [read(atom) for atom in equation.invars]
        if primitive is lax.dot_general_p:
            first, second = given
            out = [_product(first, second, **equation.params)]
        elif primitive.name == "jit" and _has_products(equation.params["jaxpr"].jaxpr):
            inner = equation.params["jaxpr"]
            out = _evaluate(inner.jaxpr, inner.consts, given)
        else:
            params = primitive.get_bind_params(equation.params)
            out = primitive.bind(*given, **params)
            out = out if primitive.multiple_results else [out]
        values |= zip(equation.outvars, out, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _product(
    first: Array, second: Array, *, dimension_numbers: Any, preferred_element_type: Any, **_: Any
) -> Array:
    """`lax.dot_general`."""
    (summed, others), batch = dimension_numbers
    one, free = _arranged(first, summed, batch[0])
    two, others = _arranged(second, others, batch[1])
    one = one.reshape(len(one), *free, *(1,) * len(others), *one.shape[1 + len(free) :])
    two = two.reshape(len(two), *(1,) * len(free), *two.shape[1:])
    if 1 <= len(one) <= _TERMS:
        total = reduce(jnp.add, (x * y for x, y in zip(one, two, strict=True)))
    else:
        total = jnp.sum(one * two, axis=0)
    axes = range(total.ndim)
    last = len(free) + len(others)
    return total.transpose(*axes[last:], *axes[:last]).astype(preferred_element_type)


def _arranged(
    x: Array, summed: Sequence[int], batch: Sequence[int]
) -> tuple[Array, tuple[int, ...]]:
    """What is summed over as one axis in front, the batch last, where runs are; free sizes."""
    free = [axis for axis in range(x.ndim) if axis not in (*summed, *batch)]
    sizes = tuple(x.shape[axis] for axis in free)
    x = x.transpose(*summed, *free, *batch)
    return x.reshape(math.prod(x.shape[: len(summed)]), *x.shape[len(summed) :]), sizes
