"""Values that are computed once and stored.

On a CPU the compiler recomputes a value inside every loop over arms that uses it, once for each
arm. A conditional that it cannot see through stops that, but needs a number that the compiler does
not know, and elsewhere it would cost a wait. So code marks such values where they arise (`keep`),
and whoever compiles a round for a CPU, and has its number, puts the conditional in the mark's place
(`storing`). Wherever else the code is used, a mark is the identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Primitive, jaxprs_in_params
from jax.interpreters import ad, batching, mlir

keep_p = Primitive("keep")
keep_p.multiple_results = True
keep_p.def_impl(lambda *values: list(values))
keep_p.def_abstract_eval(lambda *values: list(values))
mlir.register_lowering(keep_p, lambda _, *values: values)
batching.primitive_batchers[keep_p] = lambda values, axes: (keep_p.bind(*values), list(axes))


def _jvp(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], Sequence[Any]]:
    return keep_p.bind(*primals), tangents


ad.primitive_jvps[keep_p] = _jvp


def keep(value: Any) -> Any:
    """`value`, a pytree of arrays, marked to be computed once and stored, all of it together."""
    leaves, structure = jax.tree.flatten(value)
    return jax.tree.unflatten(structure, keep_p.bind(*map(jnp.asarray, leaves)))


def stored(number: Array, value: Any) -> Any:
    """`value`, stored on whatever device; `number` is any traced integer that is at least zero."""
    return lax.cond(number >= 0, lambda x: x, lambda x: jax.tree.map(jnp.zeros_like, x), value)


def storing(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its marked values stored, where it is compiled for a CPU.

    Its last argument is an integer of at least zero, which the compiler does not know and which is
    the same for all runs, such as the number of a round. Marks are found within what is jitted, and
    in the bodies of loops and branches.
    """

    def call(*operands: Any) -> Any:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*operands)
        leaves, number = jax.tree.leaves(operands), jnp.asarray(operands[-1])
        out = _evaluate(closed.jaxpr, closed.consts, leaves, number)
        return jax.tree.unflatten(jax.tree.structure(shapes), out)

    return call


def _is_marked(jaxpr: Jaxpr) -> bool:
    return any(
        equation.primitive is keep_p or any(map(_is_marked, jaxprs_in_params(equation.params)))
        for equation in jaxpr.eqns
    )


def _evaluate(
    jaxpr: Jaxpr, consts: Iterable[Any], operands: Iterable[Any], number: Array
) -> list[Any]:
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *operands], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        out = _apply(equation, [read(atom) for atom in equation.invars], number)
        values |= zip(equation.outvars, out, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _apply(equation: JaxprEqn, given: list[Any], number: Array) -> list[Any]:
    """What an equation gives, its marks resolved."""
    primitive, params = equation.primitive, equation.params
    if primitive is keep_p:
        return lax.platform_dependent(number, given, cpu=stored, default=lambda _, value: value)
    if any(map(_is_marked, jaxprs_in_params(params))):
        if primitive.name in _RESOLVED:
            return _RESOLVED[primitive.name](params, given, number)
        if primitive.name in _CALLS:
            inner = params[_CALLS[primitive.name]]
            return _evaluate(inner.jaxpr, inner.consts, given, number)
    out = primitive.bind(*given, **primitive.get_bind_params(params))
    return out if primitive.multiple_results else [out]


_CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "remat2": "jaxpr"}
"""Primitives that compute what one of their parameters says."""


def _scan(params: dict[str, Any], given: list[Any], number: Array) -> list[Any]:
    body, consts, carried = params["jaxpr"], params["num_consts"], params["num_carry"]
    shared, carry, rows = _split(given, consts, carried)

    def step(carry: list[Any], row: list[Any]) -> tuple[list[Any], list[Any]]:
        out = _evaluate(body.jaxpr, body.consts, [*shared, *carry, *row], number)
        return out[:carried], out[carried:]

    options = {name: params[name] for name in ("length", "reverse", "unroll")}
    last, results = lax.scan(step, carry, rows, **options)
    return [*last, *results]


def _while(params: dict[str, Any], given: list[Any], number: Array) -> list[Any]:
    of_condition, of_body, carry = _split(given, params["cond_nconsts"], params["body_nconsts"])
    # Not `lax.while_loop`, which knows no conditions of many runs, as `jax.vmap` makes them.
    return lax.while_p.bind(
        *(number, *of_condition, number, *of_body, *carry),
        cond_jaxpr=_resolved(params["cond_jaxpr"], number),
        body_jaxpr=_resolved(params["body_jaxpr"], number),
        cond_nconsts=1 + len(of_condition),
        body_nconsts=1 + len(of_body),
    )


def _resolved(closed: ClosedJaxpr, number: Array) -> ClosedJaxpr:
    """A part of a loop with its marks resolved, which takes the number before its operands."""

    def resolved(number: Array, *operands: Any) -> list[Any]:
        return _evaluate(closed.jaxpr, closed.consts, operands, number)

    shapes = [
        jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type) for x in closed.in_avals
    ]
    return jax.make_jaxpr(resolved)(number, *shapes)


def _branches(params: dict[str, Any], given: list[Any], number: Array) -> list[Any]:
    def resolved(branch: ClosedJaxpr) -> Callable[..., list[Any]]:
        return lambda *operands: _evaluate(branch.jaxpr, branch.consts, operands, number)

    return lax.switch(given[0], [resolved(branch) for branch in params["branches"]], *given[1:])


def _split(values: list[Any], *counts: int) -> list[list[Any]]:
    """The first values, the next, and so on; those that are left."""
    parts, start = [], 0
    for count in counts:
        parts.append(values[start : start + count])
        start += count
    return [*parts, values[start:]]


_RESOLVED = {"scan": _scan, "while": _while, "cond": _branches}
