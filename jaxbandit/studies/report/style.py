"""Pictures of tables."""

from __future__ import annotations

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxbandit.engine.moments import errors_each_side

# Colour-blind safe (Okabe and Ito), fixed per policy so that figures compare.
COLOUR = {
    "HierOPO": "#D55E00",
    "FlatOPO": "#0072B2",
    "OracleOPO": "#009E73",
    "UCB": "#0072B2",
    "LCB": "#009E73",
    "OtO": "#D55E00",
}
_MARKER = {"HierOPO": "o", "FlatOPO": "s", "OracleOPO": "^"}
_RATINGS_MARKER = {
    "HierOPO": "o",
    "FlatOPO": "s",
    "FlatOPO, told of past users": "D",
    "least squares": "x",
}
_OTO_POLICIES = ("UCB", "LCB", "OtO")
# Lengths of ink and of paper.
_DASHES = ((5, 1.5), (2.5, 1), (7, 1.5, 1.5, 1.5), (1, 1), (4, 3), (9, 2))
_WIDEST, _NARROWEST = 4.0, 1.4


def line(place: int, curves: int) -> dict[str, Any]:
    """Look of one of several curves in one panel, by its place in their order.

    Policies often play alike, so curves coincide: the first is wide, pale and whole, those over it
    ever narrower and broken, and each is seen.
    """
    if place == 0:
        return {"lw": _WIDEST if curves > 1 else _NARROWEST, "alpha": 0.5 if curves > 1 else 1.0}
    return {
        "lw": _WIDEST + (_NARROWEST - _WIDEST) * place / (curves - 1),
        "linestyle": (0, _DASHES[(place - 1) % len(_DASHES)]),
        "dash_capstyle": "butt",
    }


def hieropo_figure2(table: pl.DataFrame) -> Figure:
    """Three panels: records at two hyper-priors, then tasks."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, panel in zip(axes, ("left", "middle", "right"), strict=True):
        part = table.filter(pl.col("panel") == panel)
        x = "tasks" if panel == "right" else "records"
        _curves(axis, part, x)
        fixed = f"n = {part['records'][0]}" if panel == "right" else f"m = {part['tasks'][0]}"
        axis.set_title(rf"$\sigma_q$ = {part['hyper_std'][0]}, {fixed}")
        axis.set_xlabel("tasks m" if panel == "right" else "records n")
    axes[0].set_ylabel("suboptimality")
    axes[0].legend(frameon=False)
    _caption(figure, table)
    return figure


def hieropo_figure3(table: pl.DataFrame) -> Figure:
    """One panel, records on a logarithmic axis."""
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axis = figure.subplots()
    _curves(axis, table, "records")
    axis.set_xscale("log")
    axis.set_xlabel("records n")
    axis.set_ylabel("suboptimality (stars)")
    axis.legend(frameon=False)
    _caption(figure, table)
    return figure


def movielens_ratings(table: pl.DataFrame) -> Figure:
    """Errors of predicted ratings: all, and once more those near the best."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axis, near in zip(figure.subplots(1, 2), (False, True), strict=True):
        for policy, marker in _RATINGS_MARKER.items():
            part = table.filter(pl.col("policy") == policy)
            if near and policy in ("FlatOPO", "least squares"):
                continue
            names = ("logged", "rmse_mean", "rmse_sem", "runs")
            at, mean, sem, runs = (part[name].to_numpy() for name in names)
            color = COLOUR.get(policy, "0.4" if policy == "least squares" else "#56B4E9")
            reach = errors_each_side(runs) * sem
            axis.errorbar(at, mean, reach, color=color, marker=marker, capsize=2, label=policy)
        axis.set_xlabel("ratings logged a user")
        axis.grid(alpha=0.25)
        axis.legend(frameon=False)
        if not near:
            axis.set_yscale("log")
            axis.set_ylabel("RMSE of held-out ratings (stars)")
    _caption(figure, table, "95 % intervals of the mean over random splits of the users")
    return figure


def fit_consistency(table: pl.DataFrame) -> Figure:
    """Errors of fitted parameters, with the standard errors that fits report as lines."""
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axis = figure.subplots()
    for (name,), part in table.group_by("parameter", maintain_order=True):
        at, error, said = (part[c].to_numpy() for c in ("tasks", "error_rms", "standard_error_rms"))
        (points,) = axis.plot(at, error, "o", label=name)
        axis.plot(at, said, color=points.get_color())
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("tasks")
    axis.set_ylabel("error (root mean square)")
    axis.grid(alpha=0.25)
    axis.legend(frameon=False)
    _caption(figure, table, "none; lines: standard errors that the fits report")
    return figure


def oto_synthetic(table: pl.DataFrame) -> Figure:
    """Regret against rounds: instances side by side, horizons below each other."""
    horizons = table["horizon"].unique().sort()
    figure = Figure(figsize=(9.5, 3.6 * len(horizons)), layout="constrained")
    axes = figure.subplots(len(horizons), 2, squeeze=False)
    for row, horizon in zip(axes, horizons, strict=True):
        for axis, instance in zip(row, (1, 2), strict=True):
            part = table.filter((pl.col("instance") == instance) & (pl.col("horizon") == horizon))
            for place, policy in enumerate(_OTO_POLICIES):
                one = part.filter(pl.col("policy") == policy)
                names = ("round", "regret_mean", "regret_std", "regret_sem")
                at, mean, std, sem = (one[name].to_numpy() for name in names)
                drawn = line(place, len(_OTO_POLICIES))
                axis.plot(at, mean, color=COLOUR[policy], label=policy, **drawn)
                axis.fill_between(
                    at, mean - 2 * std, mean + 2 * std, color=COLOUR[policy], alpha=0.12, lw=0
                )
                axis.fill_between(at, mean - sem, mean + sem, color=COLOUR[policy], alpha=0.5, lw=0)
            axis.set_title(f"instance {instance}, T = {horizon}")
            axis.set_xlabel("round")
            axis.grid(alpha=0.25)
        row[0].set_ylabel("regret")
    axes[0, 0].legend(frameon=False, handlelength=3)
    _caption(figure, table, "mean ± 2 standard deviations, dark: ± standard error")
    return figure


def _curves(axis: Axes, table: pl.DataFrame, x: str) -> None:
    for policy, marker in _MARKER.items():
        part = table.filter(pl.col("policy") == policy).sort(x)
        at, mean, sem = (part[c].to_numpy() for c in (x, "suboptimality_mean", "suboptimality_sem"))
        axis.plot(at, mean, color=COLOUR[policy], marker=marker, markersize=4, label=policy)
        axis.fill_between(at, mean - sem, mean + sem, color=COLOUR[policy], alpha=0.2, linewidth=0)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.25)


def _caption(figure: Figure, table: pl.DataFrame, bands: str = "mean ± standard error") -> None:
    figure.supxlabel(f"{table['runs'].max():,} runs; bands: {bands}", fontsize=8, color="0.4")
