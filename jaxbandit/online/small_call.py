"""One machine function for a loop over rounds.

On CPUs XLA runs a program as a list of small kernels, and starting one costs as much as a round of
a hundred runs. Loops it judges small it compiles into a single function instead; `small_call` asks
for that. The request is not documented, so it is made only on a version where it was tested, only
for programs made of operations that were tested, and only where all inputs are arguments of the
compiled program; elsewhere the loop runs as ordinary kernels, with the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import ClosedJaxpr, Jaxpr

_TESTED_VERSIONS = ((0, 10),)

_TESTED_OPERATIONS = frozenset(
    """
    abs add and bitcast_convert_type broadcast_in_dim ceil clamp concatenate cond convert_element_type
    copy custom_jvp_call custom_vmap_call div dynamic_slice dynamic_update_slice eq erf_inv exp floor
    gather ge gt integer_pow iota jit le log lt max min mul ne neg not or pjit pow reshape rsqrt scan
    select_n shift_left shift_right_arithmetic shift_right_logical sign slice sqrt square squeeze
    stop_gradient sub transpose while xor
    random_unwrap random_wrap
    """.split()
)


def small_call(function: Callable[..., Any], *example: Any) -> Callable[..., Any]:
    """`function`, to be called inside a compiled program on arguments like `example`."""
    inner = jax.jit(function)
    if not (_tested() and operations(jax.make_jaxpr(function)(*example)) <= _TESTED_OPERATIONS):
        return inner

    def call(*arguments: Any) -> Any:
        out = inner(*arguments)
        return set_xla_metadata(out, xla_cpu_small_call="true", inlineable="false")

    return call


def _tested() -> bool:
    return jax.default_backend() == "cpu" and jax.__version_info__[:2] in _TESTED_VERSIONS


def operations(program: ClosedJaxpr) -> set[str]:
    """Names of all operations in a traced program, those of inner programs included."""
    return _operations(program.jaxpr)


def _operations(program: Jaxpr) -> set[str]:
    names: set[str] = set()
    for equation in program.eqns:
        names.add(equation.primitive.name)
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: isinstance(x, ClosedJaxpr | Jaxpr)
        ):
            if isinstance(value, ClosedJaxpr):
                names |= _operations(value.jaxpr)
            elif isinstance(value, Jaxpr):
                names |= _operations(value)
    return names
