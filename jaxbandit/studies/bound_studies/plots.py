"""Pictures of bounds against simulation: bound, quantile and mean on logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colour-blind safe (Okabe and Ito), by kind of curve: the quantity is the same in every panel.
BOUND, TERMS, TIGHTER, QUANTILE, MEAN = "#D55E00", "#E69F00", "#CC79A7", "#0072B2", "#009E73"
LOWER = "#000000"
# As many horizons as have room for their numbers.
_TICKS = 5


def regret(table: pl.DataFrame) -> Figure:
    """A column a policy, a row a regret, against the horizon, for the first delta and samples."""
    delta, samples = table["delta"][0], table["samples"][0]
    table = table.filter(pl.col("delta") == delta, pl.col("samples") == samples)
    # Of a pair of instances, the worse for the policy.
    keys = ["policy", "alpha", "horizon", "against", "instances"]
    table = table.sort("mean").unique(keys, keep="last", maintain_order=True)
    alphas = table["alpha"].drop_nulls().unique().sort().to_list()
    horizons = table["horizon"].unique().sort().to_list()
    columns = [("UCB", None), ("LCB", None), *(("OtO", alpha) for alpha in alphas)]
    figure = Figure(figsize=(3.1 * len(columns), 6.4), layout="constrained")
    axes = figure.subplots(2, len(columns), squeeze=False, sharex=True, sharey="row")
    for row, against in zip(axes, ("best", "logging"), strict=True):
        for axis, (policy, alpha) in zip(row, columns, strict=True):
            same = pl.col("alpha").is_null() if alpha is None else pl.col("alpha") == alpha
            part = table.filter(
                (pl.col("policy") == policy) & same & (pl.col("against") == against)
            )
            any_instance = part.filter(pl.col("instances") == "any").sort("horizon")
            _line(axis, any_instance, "horizon", "bound", BOUND, "o-", "bound, any instance")
            this = part.filter(pl.col("instances") == "this").sort("horizon")
            if len(this):
                _line(axis, this, "horizon", "bound", TIGHTER, "s--", "bound, this instance")
            _simulated(axis, any_instance, "horizon", delta)
            lower = any_instance.drop_nulls("lower_bound")
            if len(lower):
                _line(axis, lower, "horizon", "lower_bound", LOWER, "x-", "lower bound")
            _logarithmic(axis, horizons if len(horizons) <= _TICKS else None)
            name = policy if alpha is None else f"{policy}, alpha = {alpha:g}"
            axis.set_title(name, fontsize=10)
        row[0].set_ylabel(f"regret, {against} {'arm' if against == 'best' else 'policy'}")
    for axis in axes[-1]:
        axis.set_xlabel("horizon T")
    _legend(figure, axes)
    note = "; not drawn: regret of 0 or less" if table["mean"].to_numpy().min() <= 0 else ""
    _caption(figure, table, delta, f"; {samples:,} offline samples{note}")
    return figure


def suboptimality(table: pl.DataFrame, delta: float) -> Figure:
    """A column a policy; against records in the first row, against tasks in the second."""
    table = table.filter((pl.col("delta") == delta) & (pl.col("width") == "paper"))
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(2, 3, sharex="row", sharey=True)
    middle = {name: _middle(table[name]) for name in ("tasks", "records")}
    for row, (x, other) in zip(axes, (("records", "tasks"), ("tasks", "records")), strict=True):
        for axis, policy in zip(row, ("HierOPO", "FlatOPO", "OracleOPO"), strict=True):
            part = table.filter((pl.col("policy") == policy) & (pl.col(other) == middle[other]))
            part = part.sort(x)
            if policy == "HierOPO":
                own = part.filter(pl.col("bound_name") == "theorem 2, gamma of each task")
                theorem = part.filter(pl.col("bound_name") == "theorem 2")
                _line(axis, theorem, x, "bound", BOUND, "o-", "bound of the theorem")
                _line(axis, own, x, "bound", BOUND, "o:", "gamma of each task")
                _line(axis, own, x, "task_term", TERMS, "--", "its task term")
                _line(axis, own, x, "hyper_term", TERMS, ":", "its hyper term")
                for name, style in (("one root", "s--"), ("2 E[c]", "s:")):
                    one = part.filter(pl.col("bound_name") == name)
                    _line(axis, one, x, "bound", TIGHTER, style, name)
                part = theorem
            else:
                _line(axis, part, x, "bound", BOUND, "o-", "bound of the theorem")
            _simulated(axis, part, x, delta)
            _logarithmic(axis, table[x].unique().to_list())
            fixed = "m" if other == "tasks" else "n/m"
            axis.set_title(f"{policy}, {fixed} = {middle[other]}", fontsize=10)
            axis.set_xlabel("records a task, n/m" if x == "records" else "tasks m")
        row[0].set_ylabel("suboptimality")
    _legend(figure, axes)
    _caption(figure, table, delta, "; policies and bounds with the paper's alpha")
    return figure


def _simulated(axis: Axes, part: pl.DataFrame, x: str, delta: float) -> None:
    # What is zero but for rounding would stretch the axis.
    part = part.with_columns(
        pl.when(pl.col(name) > 1e-6 * pl.col("bound")).then(pl.col(name)).otherwise(0)
        for name in ("mean", "quantile", "quantile_low", "quantile_high")
    )
    _line(axis, part, x, "quantile", QUANTILE, "^-", f"{1 - delta:.0%} quantile")
    low, high = (part[f"quantile_{end}"].to_numpy() for end in ("low", "high"))
    axis.fill_between(
        part[x].to_numpy(), np.maximum(low, 1e-12), np.maximum(high, 1e-12),
        where=(low > 0) & np.isfinite(high), color=QUANTILE, alpha=0.2, lw=0,
    )  # fmt: skip
    _line(axis, part, x, "mean", MEAN, "v-", "mean")


def _line(
    axis: Axes, part: pl.DataFrame, x: str, y: str, colour: str, style: str, label: str
) -> None:
    at, value = part[x].to_numpy(), part[y].to_numpy().astype(float)
    value = np.where(value > 0, value, np.nan)
    axis.plot(at, value, style, color=colour, markersize=4, lw=1.4, label=label)


def _logarithmic(axis: Axes, ticks: Sequence[Any] | None = None) -> None:
    axis.set_xscale("log")
    axis.set_yscale("log")
    if ticks is not None:
        axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axis.set_xticks([], minor=True)
    axis.grid(alpha=0.25)


def _middle(values: pl.Series) -> Any:
    ordered = values.unique().sort()
    return ordered[len(ordered) // 2]


def _legend(figure: Figure, axes: Any) -> None:
    named = {}
    for axis in np.ravel(axes):
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    figure.legend(
        named.values(), named.keys(), loc="outside upper center", ncols=min(len(named), 5),
        frameon=False, fontsize=9,
    )  # fmt: skip


def _caption(figure: Figure, table: pl.DataFrame, delta: float, note: str) -> None:
    text = f"{table['runs'].max():,} runs; delta = {delta:g}; band: 95 % interval of the quantile"
    figure.supxlabel(text + note, fontsize=8, color="0.4")
