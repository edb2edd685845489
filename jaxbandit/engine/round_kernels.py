"""A loop of many short steps as one kernel of a CPU.

XLA runs a program as a sequence of kernels, each of which costs a fraction of a microsecond to
start: as much as a round's arithmetic for a hundred runs. It can compile a called function into a
single kernel instead, and does so of its own for loops over very little data. Here it is asked to
for loops that a user waits for: a whole simulation, the sums over a log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, core, lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params

# XLA's emitter of single kernels knows no library calls, sorts or scatters, and aborts the process
# on some of what it does not know. These are tried by tests.
_ELEMENTWISE = """
abs add and atan2 bitcast_convert_type cbrt ceil clamp convert_element_type cos cosh
div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le log log1p logistic lt
max min mul ne neg nextafter not or population_count pow rem round rsqrt select_n shift_left
shift_right_arithmetic shift_right_logical sign sin sinh sqrt square sub tan tanh xor
"""
_SHAPES = """
broadcast_in_dim concatenate dynamic_slice dynamic_update_slice gather iota pad reshape
rev slice squeeze stack transpose
"""
_REDUCTIONS = "argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum"
_CONTROL = "cond custom_jvp_call custom_vmap_call jit platform_index scan while"
_RANDOM = "random_bits random_fold_in random_split random_unwrap random_wrap"
KNOWN_PRIMITIVES = frozenset(
    " ".join((_ELEMENTWISE, _SHAPES, _REDUCTIONS, _CONTROL, _RANDOM)).split()
)


def one_kernel(
    function: Callable[..., Any], *operands: Any, otherwise: Callable[..., Any] | None = None
) -> Any:
    """`function(*operands)`, as a single kernel where all that it does can be in one.

    Args:
        function: of pytrees of arrays to a pytree of arrays; not to be differentiated.
        operands: its arguments, the last an array of numbers that are at least zero.
        otherwise: what to compute where it cannot; default: the function as it is.
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*operands)
    leaves = jax.tree.leaves((closed.consts, operands))
    if not (_is_known(closed.jaxpr) and all(_is_plain(leaf) for leaf in leaves)):
        return (otherwise or function)(*operands)
    sign = operands[-1].reshape(-1)[0]

    @jax.jit
    def kernel(leaves: list[Array]) -> tuple[list[Array], Array]:
        used = sum((leaf.reshape(-1)[0].astype(float) for leaf in leaves), jnp.zeros(()))
        count = len(closed.consts)
        return core.eval_jaxpr(closed.jaxpr, leaves[:count], *leaves[count:]), used

    # An operand that is a constant or that goes unused makes XLA abort the process. A zero and a
    # branch that is not taken, which XLA cannot know, make each a variable, and used.
    zero = sign < 0
    leaves = [
        leaf ^ zero if leaf.dtype == bool else leaf + zero.astype(leaf.dtype) for leaf in leaves
    ]
    out, used = called_as_kernel(kernel, leaves)
    first = lax.cond(
        sign >= 0, lambda x, _: x, lambda x, used: x + used.astype(x.dtype), out[0], used
    )
    return jax.tree.unflatten(jax.tree.structure(shapes), [first, *out[1:]])


def called_as_kernel(function: Callable[..., Any], *operands: Any) -> Any:
    """`function(*operands)` as a single kernel, without a look at whether it can be one.

    Args:
        function: made by `jax.jit`, of known primitives alone.
        operands: its arguments; none a constant of the program, and all in use.
    """
    return set_xla_metadata(function(*operands), xla_cpu_small_call="true", inlineable="false")


def _is_known(jaxpr: Jaxpr) -> bool:
    return all(
        equation.primitive.name in KNOWN_PRIMITIVES and all(map(_is_known, parts_on_cpu(equation)))
        for equation in jaxpr.eqns
    )


def parts_on_cpu(equation: JaxprEqn) -> Iterable[Jaxpr]:
    """What a primitive has a CPU run."""
    platforms = equation.params.get("branches_platforms")
    if platforms is None:
        return jaxprs_in_params(equation.params)
    # A choice made by platform, the default last.
    chosen = [place for place, names in enumerate(platforms) if names and "cpu" in names] or [-1]
    return [equation.params["branches"][chosen[0]].jaxpr]


def _is_plain(leaf: Any) -> bool:
    return leaf.size > 0 and (leaf.dtype == bool or jnp.issubdtype(leaf.dtype, jnp.number))
