"""Pictures of bounds."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxbandit.studies.report.style import COLOUR

_MARKER = {"UCB": "s", "LCB": "^"}
_MARKED_ALPHAS = (0.01, 0.1, 1, 10, 100)


def trade_off(table: pl.DataFrame, samples: int, title: str) -> Figure:
    """Bound on R_log across, bound on R up, per round; OtO a curve in alpha."""
    horizons = list(table["horizon"].unique().sort())
    rows = -(-len(horizons) // 3)
    figure = Figure(figsize=(11, 3.5 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, 3, squeeze=False, sharex=True, sharey=True).ravel()
    for axis in axes[len(horizons) :]:
        axis.set_visible(False)
    for axis, horizon in zip(axes, horizons, strict=False):
        part = table.filter(pl.col("horizon") == horizon)
        oto = part.filter(pl.col("policy") == "OtO").sort("alpha")
        x, y = (oto[name].to_numpy() / horizon for name in _PAIR)
        axis.plot(x, y, color=COLOUR["OtO"], zorder=2)
        seen: list[tuple[float, float]] = []
        for alpha in _MARKED_ALPHAS:
            near = int((oto["alpha"] - alpha).abs().arg_min() or 0)
            axis.plot(x[near], y[near], "o", color=COLOUR["OtO"], markersize=4, zorder=3)
            # A label where there is room for one.
            if all(max(x[near] / a, a / x[near], y[near] / b, b / y[near]) > 1.6 for a, b in seen):
                seen.append((x[near], y[near]))
                # Beside the curve: below where it rises to the right, else above.
                ends = [max(near - 1, 0), min(near + 1, len(x) - 1)]
                rises = np.ptp(x[ends]) > 0 and np.prod(np.diff([x[ends], y[ends]])) > 0
                axis.annotate(
                    f"{alpha:g}",
                    (x[near], y[near]),
                    xytext=(5, -9) if rises else (4, 4),
                    textcoords="offset points",
                    fontsize=7,
                    color=COLOUR["OtO"],
                )
        for policy, marker in _MARKER.items():
            one = part.filter(pl.col("policy") == policy)
            point = [one[name][0] / horizon for name in _PAIR]
            axis.plot(*point, marker, color=COLOUR[policy], markersize=8, alpha=0.85, zorder=4)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.margins(0.12)
        ratio = f" = {horizon / samples:g} m" if horizon > 1 else ""
        axis.set_title(f"T{ratio.replace(' 1 m', ' m')} = {horizon:,}", fontsize=10)
        axis.grid(alpha=0.25)
    for axis in axes[: len(horizons)][-3:]:
        axis.set_xlabel(r"bound on $R_{log}/T$")
    for axis in axes[::3]:
        axis.set_ylabel(r"bound on $R/T$")
    handles = [
        Line2D([], [], color=COLOUR[p], marker=m, linestyle="", markersize=8, label=p)
        for p, m in _MARKER.items()
    ]
    handles.append(
        Line2D([], [], color=COLOUR["OtO"], marker="o", markersize=4, label="OtO, alpha at points")
    )
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    figure.supxlabel(title, fontsize=8, color="0.4")
    return figure


def intervals(table: pl.DataFrame, samples: int, title: str) -> Figure:
    """From lower to upper bound, a row a policy and horizon; both tables side by side."""
    figure = Figure(figsize=(11, 6.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True, sharex=True)
    names = {1: "table 1: against the best arm", 2: "table 2: against the logging policy"}
    keys = [
        (data, horizon)
        for data in table["data"].unique(maintain_order=True)
        for horizon in table["horizon"].unique().sort()
    ]
    least = table.filter(pl.col("lower") > 0)
    edge = (least["lower"] / least["horizon"]).to_numpy().min() / 2
    for axis, (number, name) in zip(axes, names.items(), strict=True):
        for at, (data, horizon) in enumerate(keys):
            for shift, policy in ((-0.17, "UCB"), (0.17, "LCB")):
                one = table.row(
                    by_predicate=(pl.col("table") == number)
                    & (pl.col("data") == data)
                    & (pl.col("horizon") == horizon)
                    & (pl.col("policy") == policy),
                    named=True,
                )
                low, high = (one[side] / horizon for side in ("lower", "upper"))
                colour, row = COLOUR[policy], at + shift
                axis.plot([max(low, edge), high], [row, row], color=colour, lw=3, alpha=0.35)
                axis.plot(high, row, "|", color=colour, markersize=10, mew=2)
                start = "|" if low > 0 else "<"
                axis.plot(max(low, edge), row, start, color=colour, markersize=8, mew=2)
            if at % 3 == 0 and at > 0:
                axis.axhline(at - 0.5, color="0.8", lw=0.8)
        axis.set_xscale("log")
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("regret per round, from lower to upper bound")
        axis.grid(alpha=0.25, axis="x")

    def label(data: str, horizon: int) -> str:
        time = "1" if horizon == 1 else "m" if horizon == samples else f"{horizon // samples} m"
        return f"{data}, T = {time}"

    axes[0].set_yticks(range(len(keys)), [label(*key) for key in keys], fontsize=8)
    axes[0].invert_yaxis()
    handles = [Line2D([], [], color=COLOUR[p], lw=3, label=p) for p in ("UCB", "LCB")]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    note = "; an arrow: no lower bound but 0"
    figure.supxlabel(title + note, fontsize=8, color="0.4")
    return figure


_PAIR = ("logging_regret_bound", "regret_bound")
