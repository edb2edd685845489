"""Timing side by side: every contender in turn, several rounds, the fastest of each."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxbandit import __version__


class Timing(NamedTuple):
    """Seconds of one contender."""

    first: float
    """The first call, which may compile."""
    best: float
    """The fastest of those after it."""
    cores: float
    """Processor seconds per second in the fastest."""
    result: Any
    """What the first call gave."""


def measure(contenders: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, Timing]:
    """First calls, then all in turn for about so many seconds, twice at least."""
    timings = {}
    for name, call in contenders.items():
        took, _, result = _seconds(call)
        timings[name] = Timing(took, float("inf"), 0, result)
    started = time.perf_counter()
    for repeat in range(30):
        for name, call in contenders.items():
            took, cores, _ = _seconds(call)
            if took < timings[name].best:
                timings[name] = timings[name]._replace(best=took, cores=cores)
        if repeat > 0 and time.perf_counter() - started > seconds:
            break
    return timings


def fastest(contenders: Mapping[str, Callable[[], Any]], repeats: int = 5) -> dict[str, float]:
    """Seconds of the fastest of `repeats` calls of each, interleaved, after one call to warm up."""
    for call in contenders.values():
        jax.block_until_ready(call())
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(repeats):
        for name, call in contenders.items():
            best[name] = min(best[name], _seconds(call)[0])
    return best


def _seconds(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds, cores in use, and what the call gave."""
    started, worked = time.perf_counter(), time.process_time()
    result = jax.block_until_ready(call())
    took, work = time.perf_counter() - started, time.process_time() - worked
    return took, work / took, result


def report(title: str, seconds: Mapping[str, float], unit: str, count: float, ours: str) -> None:
    """Print a table: time per unit, and how many times faster `ours` is."""
    print(f"\n{title}")
    for name, value in seconds.items():
        ratio = "" if name == ours else f"   jaxbandit is {value / seconds[ours]:.1f} times faster"
        print(f"  {name:<34}{value / count * 1e6:12.3f} us per {unit}{ratio}")


def machine(*packages: str) -> None:
    """Print what this was measured on, and versions of these packages, or that one is missing."""
    names = ("jax", "jaxlib", "numpy", *packages)
    devices = ", ".join(sorted({d.device_kind for d in jax.local_devices()}))
    print(
        f"{platform.machine()}{_processor()}, {devices.usable_cores()} cores, "
        f"{jax.default_backend()}: {devices}; Python {platform.python_version()}, "
        + ", ".join([f"jaxbandit {__version__}"] + [_version(name) for name in names])
    )


def _processor() -> str:
    """The processor's name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f" ({names[0]})" if names else ""


def _version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f'{package} MISSING (pip install ".[bench]")'
