"""Timing side by side: every contender in turn, several rounds, the fastest of each."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxbandit import tiles


def fastest(contenders: Mapping[str, Callable[[], Any]], repeats: int = 5) -> dict[str, float]:
    """Seconds of the fastest of `repeats` calls of each, interleaved, after one call to warm up."""
    for call in contenders.values():
        jax.block_until_ready(call())
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(repeats):
        for name, call in contenders.items():
            started = time.perf_counter()
            jax.block_until_ready(call())
            best[name] = min(best[name], time.perf_counter() - started)
    return best


def report(title: str, seconds: Mapping[str, float], unit: str, count: float, ours: str) -> None:
    """Print a table: time per unit, and how many times faster `ours` is."""
    print(f"\n{title}")
    for name, value in seconds.items():
        ratio = "" if name == ours else f"   jaxbandit is {value / seconds[ours]:.1f} times faster"
        print(f"  {name:<34}{value / count * 1e6:12.3f} us per {unit}{ratio}")


def machine() -> None:
    """Print what this was measured on."""
    devices = ", ".join(sorted({d.device_kind for d in jax.local_devices()}))
    print(
        f"{platform.machine()}, {tiles.usable_cores()} cores, jax {jax.__version__}, "
        f"{jax.default_backend()}: {devices}"
    )
