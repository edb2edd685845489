"""Values of a swept key: a list, or a range."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxbandit.checks import InputError
from jaxbandit.studies.sweeps.toml import did_you_mean

# More points on an axis, or cells in a grid, than anyone can mean.
MOST = 10_000_000
_KEYS = ("from", "to", "step", "points", "scale")


def flatten(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; `a.b = [1]` and `"a.b" = [1]` are the same."""
    for key, value in table.items():
        if isinstance(value, dict) and not set(value) & set(_KEYS):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def values(key: str, given: Any) -> tuple[Any, ...]:
    """What a swept key takes in turn.

    Args:
        key: for messages.
        given: a list; or a table with `from`, `to` (included) and either `step` or `points`, evenly
            spaced or with `scale = "log"` by equal factors.

    Raises:
        InputError: neither of these, or without values.

    >>> values("alpha", {"from": 0.01, "to": 1, "points": 3, "scale": "log"})
    (0.01, 0.1, 1.0)
    """
    if isinstance(given, list):
        if not given:
            raise InputError(f"{key} must have at least one value, was empty")
        return tuple(given)
    if not isinstance(given, dict):
        raise InputError(
            f"{key} must be a list of values or a range {{ from = ..., to = ..., points = ... }}, "
            f"was {given!r}"
        )
    for name in given:
        if name not in _KEYS:
            raise InputError(f"{key}: a range has no {name!r}{did_you_mean(name, _KEYS)}")
    start, stop = (_number(key, given, name) for name in ("from", "to"))
    scale = given.get("scale", "linear")
    if scale not in ("linear", "log"):
        raise InputError(f'{key}: scale must be "linear" or "log", was {scale!r}')
    if ("step" in given) == ("points" in given):
        raise InputError(f"{key}: a range must have either step or points")
    if "step" in given:
        if scale == "log":
            raise InputError(f'{key}: a range with scale = "log" must have points, not a step')
        step = _number(key, given, "step")
        if step == 0 or (stop - start) / step < 0:
            raise InputError(f"{key}: step must lead from {start} to {stop}, was {step}")
        # A last point that rounding would miss is meant.
        points = math.floor((stop - start) / step * (1 + 1e-12) + 1e-9) + 1
        numbers = start + step * np.arange(_points(key, points))
    else:
        points = _points(key, given["points"])
        if scale == "log" and not (start > 0 and stop > 0):
            raise InputError(f"{key}: a logarithmic range must lie above 0, was {start} to {stop}")
        numbers = (np.geomspace if scale == "log" else np.linspace)(start, stop, points)
    whole = all(isinstance(given[name], int) for name in ("from", "to"))
    return tuple(_plain(number, whole) for number in numbers)


def _points(key: str, points: Any) -> int:
    if not isinstance(points, int) or isinstance(points, bool) or points < 1:
        raise InputError(f"{key}: points must be a whole number of at least 1, was {points!r}")
    if points > MOST:
        raise InputError(f"{key}: a range may have {MOST:,} points at most, has {points:,}")
    return points


def _number(key: str, given: dict[str, Any], name: str) -> float:
    value = given.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise InputError(f"{key}: {name} of a range must be a number, was {value!r}")
    return value


def _plain(number: Any, whole: bool) -> float | int:
    """Without the last bits, which are noise of the division; whole where the range is."""
    value = float(f"{number:.12g}")
    return int(value) if whole and value.is_integer() else value
