"""What programs are compiled for and run by: platforms, cores, and memory as devices take it."""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_LOWERED_FOR: ContextVar[str | None] = ContextVar("lowered for", default=None)


def platform() -> str:
    """The platform that programs are being traced for."""
    return _LOWERED_FOR.get() or jax.local_devices()[0].platform


@contextmanager
def lowering_for(platform: str) -> Generator[None]:
    """Have programs that are traced within suit a platform, whatever devices there are."""
    token = _LOWERED_FOR.set(platform)
    try:
        yield
    finally:
        _LOWERED_FOR.reset(token)


def by_platform(numbers: Mapping[str, int]) -> int:
    """The number for the devices there are; `"accelerator"` is any but those named."""
    return numbers.get(jax.local_devices()[0].platform, numbers["accelerator"])


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array to be filled that a CPU device then takes as it is, where it would copy another."""
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def compiler_options(platform: str, written_out: bool = False) -> dict[str, Any]:
    """XLA's options for programs of which several run at once; of those that this version knows."""
    if platform != "cpu":
        return {}
    options: dict[str, Any] = {
        # x86 compilers shy from full-width vectors, for the sake of chips that slow down on meeting
        # them; current ones do not, and the straight arithmetic here gains a third.
        "xla_cpu_prefer_vector_width": 512,
        # No products by YNNPACK: they cannot be part of a larger kernel, are slow to start, and the
        # threads of several programs get in each other's way there.
        "xla_cpu_experimental_ynn_fusion_type": "",
    }
    if written_out:
        # The older of XLA's two ways to emit kernels: half the compile time, a little faster code.
        # Short kernels in a loop it makes eight times slower.
        options["xla_cpu_use_fusion_emitters"] = False
    return {name: value for name, value in options.items() if _is_known(name, value)}


@cache
def _is_known(option: str, value: Any) -> bool:
    try:
        jax.jit(jnp.negative, compiler_options={option: value}).lower(np.float32(0)).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
