"""The settings of JAX under which jaxbandit computes, and the processes in which it can.

Settings that help users to find mistakes of their own stop what is meant here: a rank that is
promoted, a bound that is infinite, a run that is not a number and is reported as such.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

import jax

from jaxbandit.checks import InputError

try:
    # JAX has no public name for it.
    from jax._src.xla_bridge import backends_are_initialized
except ImportError:

    def backends_are_initialized() -> bool:
        """Suppose that JAX was used: a fork that could not compute would wait for ever."""
        return True


_has_used_jax = False
_is_broken_fork = False


@contextmanager
def promotion() -> Generator[None]:
    """Let ranks and types promote, whatever the user has set; a context, or a decorator.

    Raises:
        InputError: this process was forked from one that had used JAX.
    """
    check_process()
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@contextmanager
def usual(*, debugging: bool = False) -> Generator[None]:
    """Compute as ever, whatever the user has set; a context, or a decorator of a function.

    Args:
        debugging: whether what stops at a number that is not finite, or runs operation by
            operation, stays as the user has it.

    Raises:
        InputError: this process was forked from one that had used JAX.
    """
    with ExitStack() as stack:
        stack.enter_context(promotion())
        stack.enter_context(jax.transfer_guard("allow"))
        stack.enter_context(jax.debug_infs(False))
        if not debugging:
            stack.enter_context(jax.debug_nans(False))
            stack.enter_context(jax.disable_jit(False))
        yield


def check_process() -> None:
    """Refuse a process in which JAX would wait for ever.

    Raises:
        InputError: this process was forked from one that had used JAX.
    """
    if _is_broken_fork:
        raise InputError(
            "this process was forked after JAX was used, whose threads are not in it; start "
            'processes by "spawn" or "forkserver" (multiprocessing.get_context("spawn")), or fork '
            "before JAX is used"
        )


def _before_fork() -> None:
    # Asked in the parent: in the child, the lock that it takes may be held for ever.
    global _has_used_jax
    _has_used_jax = backends_are_initialized()


def _in_child() -> None:
    global _is_broken_fork
    _is_broken_fork = _is_broken_fork or _has_used_jax


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_in_child)
