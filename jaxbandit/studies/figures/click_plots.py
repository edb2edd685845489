"""Pictures of choosing among click models."""

from __future__ import annotations

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxbandit.engine.moments import errors_each_side
from jaxbandit.studies.report.style import COLOUR, line

_BENCHMARK = "0.45"


def totals(table: pl.DataFrame, source: str) -> Figure:
    """Box plots of total reward, a panel a horizon."""
    horizons = table["horizon"].unique().sort()
    figure = Figure(figsize=(11.5, 4.4), layout="constrained")
    axes = figure.subplots(1, len(horizons), squeeze=False)[0]
    for axis, horizon in zip(axes, horizons, strict=True):
        part = table.filter(pl.col("horizon") == horizon)
        policies = _policies(part)
        boxes = axis.boxplot(
            [_of(part, name, alpha)["total_reward"].to_numpy() for name, alpha in policies],
            patch_artist=True,
            widths=0.6,
            medianprops={"color": "black"},
            flierprops={"markersize": 2.5, "alpha": 0.5},
        )
        for box, (name, _) in zip(boxes["boxes"], policies, strict=True):
            box.set(facecolor=COLOUR.get(name, _BENCHMARK), alpha=0.55)
        titles = [_title(name, alpha) for name, alpha in policies]
        axis.set_xticks(range(1, len(policies) + 1), titles, rotation=40, ha="right")
        axis.set_title(f"T = {horizon:,}")
        axis.grid(alpha=0.25, axis="y")
    axes[0].set_ylabel("total reward (clicks)")
    _head(figure, table, source)
    runs = table["run"].n_unique()
    figure.supxlabel(f"{runs:,} runs; boxes: quartiles; scales differ", fontsize=8, color="0.4")
    return figure


def curves(table: pl.DataFrame, source: str) -> Figure:
    """Average reward of a round so far, a panel a horizon."""
    horizons = table["horizon"].unique().sort()
    figure = Figure(figsize=(11.5, 4.4), layout="constrained")
    axes = figure.subplots(1, len(horizons), squeeze=False)[0]
    for axis, horizon in zip(axes, horizons, strict=True):
        part = table.filter(pl.col("horizon") == horizon)
        policies = _policies(part)
        for place, (name, alpha) in enumerate(policies):
            drawn = line(place, len(policies)) | {"color": COLOUR.get(name, _BENCHMARK)}
            _curve(axis, _of(part, name, alpha), _title(name, alpha), drawn)
        axis.set_xscale("log")
        axis.set_xlabel("round")
        axis.set_title(f"T = {horizon:,}")
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("average reward of a round so far")
    handles, titles = axes[0].get_legend_handles_labels()
    place = "outside right center"
    figure.legend(handles, titles, loc=place, frameon=False, fontsize=8, handlelength=4)
    _head(figure, table, source)
    figure.supxlabel(
        f"{table['runs'].max():,} runs; bands: mean ± standard error", fontsize=8, color="0.4"
    )
    return figure


def table3(table: pl.DataFrame, source: str) -> Figure:
    """Cross-entropy of each model on both test sets."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, test in zip(axes, ("test set 2", "test set 1"), strict=True):
        part = table.filter(pl.col("test_set") == test)
        trained, other = (
            part.filter(pl.col("trained_on") != ""),
            part.filter(pl.col("trained_on") == ""),
        )
        on_first = (trained["trained_on"] == "Dataset 1").to_list()
        axis.errorbar(
            range(len(trained)),
            trained["cross_entropy"].to_numpy(),
            errors_each_side(trained["rows"].to_numpy()) * trained["cross_entropy_sem"].to_numpy(),
            fmt="none",
            ecolor="0.3",
        )
        axis.scatter(
            range(len(trained)),
            trained["cross_entropy"].to_numpy(),
            c=[COLOUR["UCB"] if first else COLOUR["OtO"] for first in on_first],
            zorder=3,
        )
        for row in other.iter_rows(named=True):
            axis.axhline(row["cross_entropy"], color="0.6", lw=0.8, ls="--")
            place = len(trained) - 0.5, row["cross_entropy"]
            axis.text(*place, row["model"], fontsize=7, ha="right", va="bottom")
        names = [name.replace("model_", "") for name in trained["model"]]
        axis.set_xticks(range(len(trained)), names, rotation=40)
        axis.set_xlabel("model")
        axis.set_title(test.capitalize())
        axis.grid(alpha=0.25, axis="y")
    axes[0].set_ylabel("cross-entropy (nats)")
    figure.suptitle(source)
    note = "bars: 95 % intervals; blue: trained on Dataset 1, orange: on Dataset 2, the log"
    figure.supxlabel(note, fontsize=8, color="0.4")
    return figure


def _curve(axis: Axes, part: pl.DataFrame, title: str, drawn: dict[str, Any]) -> None:
    at, mean, sem = (part[name].to_numpy() for name in ("round", "reward_mean", "reward_sem"))
    axis.plot(at, mean / at, label=title, **drawn)
    low, high = (mean - sem) / at, (mean + sem) / at
    axis.fill_between(at, low, high, color=drawn["color"], alpha=0.15, lw=0)


def _policies(table: pl.DataFrame) -> list[tuple[str, float | None]]:
    """Policies with their alpha: LCB, OtO from small alpha to large, UCB, then benchmarks."""
    names = table.select("policy", "alpha").unique().rows()
    order = {"LCB": 0, "OtO": 1, "UCB": 2}
    return sorted(names, key=lambda each: (order.get(each[0], 3), each[1] or 0.0, each[0]))


def _of(table: pl.DataFrame, name: str, alpha: float | None) -> pl.DataFrame:
    return table.filter((pl.col("policy") == name) & pl.col("alpha").eq_missing(pl.lit(alpha)))


def _title(name: str, alpha: float | None) -> str:
    return name if alpha is None else rf"OtO $\alpha$ = {alpha:g}"


def _head(figure: Figure, table: pl.DataFrame, source: str) -> None:
    figure.suptitle(f"Setting {table['setting'][0]}: {source}")
