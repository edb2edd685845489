"""The default picture of a study: curves for a few cells, ends against an axis for many."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxbandit.studies.report.files import check_ending, whole
from jaxbandit.studies.report.style import COLOUR, line
from jaxbandit.studies.sweeps.exports import open_result

# As many panels as can be read.
_PANELS = 16
_SIDE = 4
_TICKS = 6
# Okabe and Ito, for policies without a colour of their own.
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_NAMED = {name.lower(): colour for name, colour in COLOUR.items()}


def plot(store: Path, out: Path | None = None) -> Path:
    """Draw the result of a store as a PNG; gives its path.

    Raises:
        InputError: no complete store is there, or `out` is no place for a PNG.
        OSError: the picture cannot be written.
    """
    path = store / "result.png" if out is None else out
    check_ending(path, ".png")
    picture = draw(open_result(store))
    with whole(path) as part:
        picture.savefig(part, dpi=160, format="png")
    return path


def draw(result: xr.Dataset) -> Figure:
    """Regret, or suboptimality, of each policy: against rounds, a panel for each cell, or, of many
    cells, at the end against the longest axis that has numbers."""
    axes = [str(name) for name in result["runs"].dims]
    sizes = [result.sizes[axis] for axis in axes]
    if len(axes) <= 2 and np.prod(sizes, dtype=int) <= _PANELS:
        return _panels(result, "checkpoint", axes)
    numeric = [axis for axis in axes if result[axis].dtype.kind in "fi"] or axes
    across = max(numeric, key=lambda axis: result.sizes[axis])
    last = result.isel(checkpoint=-1)
    others = sorted((axis for axis in axes if axis != across), key=lambda a: -result.sizes[a])
    # Axes there is no room for are shown at their middle.
    fixed = {axis: result.sizes[axis] // 2 for axis in others[2:]}
    return _panels(last.isel(fixed), across, [axis for axis in axes if axis in others[:2]], fixed)


def _panels(
    result: xr.Dataset, across: str, axes: list[str], fixed: dict[str, int] | None = None
) -> Figure:
    sizes = {axis: result.sizes[axis] for axis in axes}
    most = _SIDE if len(axes) == 2 and math.prod(sizes.values()) > _PANELS else _PANELS
    points = {axis: _thinned(size, most) for axis, size in sizes.items()}
    if len(axes) == 2 and len(points[axes[1]]) > _SIDE:
        # The longer one goes down.
        points = dict(reversed(points.items()))
    cells = [dict(zip(points, place, strict=True)) for place in product(*points.values())]
    # One axis alone goes on in the next row.
    width = len(list(points.values())[1]) if len(axes) == 2 else min(len(cells), _SIDE)
    height = -(-len(cells) // width)
    figure = Figure(figsize=(max(3.2 * width, 5.5), 2.7 * height + 0.6), layout="constrained")
    grid = figure.subplots(height, width, squeeze=False)
    for axis in grid.flat[len(cells) :]:
        axis.set_visible(False)
    for axis, cell in zip(grid.flat, cells, strict=False):
        part = result.isel(cell)
        _curves(axis, part, across)
        axis.set_title(", ".join(_named(part, name) for name in cell), fontsize=9)
    grid.flat[0].legend(frameon=False, fontsize=8, handlelength=4)
    for axis in grid[:, 0]:
        axis.set_ylabel("regret" if "regret_mean" in result else "suboptimality", fontsize=9)
    runs = f"{int(result['runs'].min()):,}"
    if result["runs"].min() != result["runs"].max():
        runs += f" to {int(result['runs'].max()):,}"
    caption = f"{runs} runs; bands: mean ± standard error"
    if across != "checkpoint":
        caption = f"at the last checkpoint; {caption}"
    for axis, shown in points.items():
        if len(shown) < sizes[axis]:
            caption += f"; {len(shown)} of {sizes[axis]} values of {axis}"
    if fixed:
        caption += "; " + ", ".join(_named(result, name) for name in fixed)
    figure.supxlabel(caption, fontsize=8, color="0.4")
    return figure


def _curves(axis: Axes, part: xr.Dataset, across: str) -> None:
    main = "regret" if "regret_mean" in part else "suboptimality"
    at = part[across]
    if across == "checkpoint":
        at = part["round"] if "round" in part.coords else part["records"]
    x = at.to_numpy()
    policies = part["policy"].to_numpy()
    for place, policy in enumerate(policies):
        one = part.sel(policy=policy)
        mean, sem = (one[f"{main}_{name}"].to_numpy() for name in ("mean", "sem"))
        colour = _NAMED.get(str(policy).lower(), _PALETTE[place % len(_PALETTE)])
        few: dict[str, Any] = {"marker": "o", "markersize": 3} if len(x) <= 20 else {}
        axis.plot(x, mean, color=colour, label=policy, **line(place, len(policies)), **few)
        if x.dtype.kind in "fi":
            axis.fill_between(x, mean - sem, mean + sem, color=colour, alpha=0.25, linewidth=0)
    if _geometric(x):
        axis.set_xscale("log")
        if len(x) <= _TICKS:
            axis.set_xticks(x, [f"{value:g}" for value in x])
            axis.minorticks_off()
    name = at.name if across == "checkpoint" else at.attrs.get("long_name", across)
    axis.set_xlabel(str(name), fontsize=9)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.25)


def _named(part: xr.Dataset, axis: str) -> str:
    value = part[axis].item()
    return f"{axis} = {value:g}" if isinstance(value, float) else f"{axis} = {value}"


def _thinned(points: int, most: int) -> list[int]:
    """All points of an axis, or as many as there is room for, evenly spread with both ends."""
    return np.unique(np.linspace(0, points - 1, min(points, most)).round().astype(int)).tolist()


def _geometric(x: np.ndarray) -> bool:
    """Whether values grow by factors rather than by steps."""
    if len(x) < 3 or x.dtype.kind not in "fi" or x[0] <= 0:
        return False
    steps, factors = np.diff(x), x[1:] / x[:-1]
    return bool(
        np.all(steps > 0) and np.ptp(factors) / factors.mean() < np.ptp(steps) / steps.mean()
    )
