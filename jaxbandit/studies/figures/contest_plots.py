"""Pictures of policies over horizons."""

from __future__ import annotations

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxbandit.engine.moments import errors_each_side
from jaxbandit.studies.figures.contest import title
from jaxbandit.studies.report.style import COLOUR, line

_THOMPSON = "#CC79A7"


def over_horizons(results: pl.DataFrame, heading: str, panel: str | None = None) -> Figure:
    """Regret per round against the horizon, over the share of draws with the least regret.

    Args:
        results: as `contest.table` gives it, of each panel.
        heading: over all.
        panel: column that tells panels apart, side by side.
    """
    parts = [results] if panel is None else results.partition_by(panel, maintain_order=True)
    figure = Figure(figsize=(2 + 4.4 * len(parts), 6.4), layout="constrained")
    axes = figure.subplots(2, len(parts), squeeze=False, sharex="col")
    for (upper, lower), part in zip(axes.T, parts, strict=True):
        _panel(upper, lower, part)
        if panel is not None:
            upper.set_title(part[panel][0])
    axes[0, 0].set_ylabel("regret per round")
    axes[1, 0].set_ylabel("share of draws with the least regret")
    handles, titles = axes[0, 0].get_legend_handles_labels()
    place = "outside right center"
    figure.legend(handles, titles, loc=place, frameon=False, fontsize=8, handlelength=4)
    figure.suptitle(heading)
    runs = f"{results['runs'].max():,} draws of the means given the log; bands: 95 % intervals"
    figure.supxlabel(runs, fontsize=8, color="0.4")
    return figure


def _panel(upper: Axes, lower: Axes, part: pl.DataFrame) -> None:
    curves = part.partition_by("policy", "alpha", maintain_order=True)
    for place, one in enumerate(curves):
        name, alpha = one["policy"][0], one["alpha"][0]
        drawn: dict[str, Any] = line(place, len(curves)) | {"marker": "."}
        colour = COLOUR.get(str(name), _THOMPSON)
        at, mean, sem, share, runs = (
            one[column].to_numpy()
            for column in ("horizon", "regret_mean", "regret_sem", "least_share", "runs")
        )
        label = title({"policy": name, "alpha": alpha})
        upper.plot(at, mean / at, color=colour, label=label, **drawn)
        reach = errors_each_side(runs) * sem
        low, high = (mean - reach) / at, (mean + reach) / at
        upper.fill_between(at, low, high, color=colour, alpha=0.12, lw=0)
        lower.plot(at, share, color=colour, **drawn)
    at, logged = (part[name].to_numpy() for name in ("horizon", "logged_regret_mean"))
    upper.plot(at, logged / at, color="0.45", linestyle=":", label="arms as logged")
    for axis in (upper, lower):
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.25)
    lower.set_xlabel("horizon (rounds)")
