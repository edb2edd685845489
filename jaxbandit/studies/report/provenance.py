"""Where a result came from: versions, device, command, time."""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import jax

import jaxbandit
from jaxbandit.engine import devices
from jaxbandit.engine.keys import STREAM_VERSION


def environment() -> dict[str, Any]:
    """Versions and devices that a result's bits may depend on."""
    local = jax.local_devices()
    return {
        "jaxbandit": jaxbandit.__version__,
        "stream": STREAM_VERSION,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("jax", "jaxlib", "numpy")},
        "platform": platform.platform(),
        "devices": [f"{device.platform}: {device.device_kind}" for device in local],
        "cores": devices.usable_cores(),
        "precision": "float64" if jax.config.read("jax_enable_x64") else "float32",
    }


def record() -> dict[str, Any]:
    """The environment with the command and the time."""
    return environment() | {
        "command": sys.argv,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
