"""What pictures show: all cells there is room for, curves that coincide, horizons played."""

import numpy as np
import polars as pl
import pytest
import xarray as xr

from jaxbandit.studies.bound_studies import plots as bound_study_plots
from jaxbandit.studies.figures import bound_plots
from jaxbandit.studies.report.style import line
from jaxbandit.studies.sweeps import picture


def result(**axes):
    """A result in which both policies do the same."""
    shape = tuple(axes.values())
    dims = (*axes, "policy", "checkpoint")
    values = np.broadcast_to(np.arange(3.0), (*shape, 2, 3))
    return xr.Dataset(
        {
            "regret_mean": (dims, values),
            "regret_sem": (dims, 0 * values),
            "runs": (tuple(axes), np.full(shape, 7)),
        },
        {name: np.arange(size) for name, size in axes.items()}
        | {"policy": ["ucb", "mine"], "round": ("checkpoint", [1, 2, 3])},
    )


def shown(figure):
    return [axis for axis in figure.axes if axis.get_visible()]


@pytest.mark.parametrize("axes", [{"a": 5, "b": 2}, {"a": 2, "b": 5}, {"a": 16}, {"a": 8, "b": 2}])
def test_every_cell_has_a_panel(axes):
    found = {axis.get_title() for axis in shown(picture.draw(result(**axes)))}
    cells = np.stack(np.meshgrid(*map(np.arange, axes.values())), axis=-1).reshape(-1, len(axes))
    assert {tuple(sorted(title.split(", "))) for title in found} == {
        tuple(f"{name} = {value}" for name, value in zip(axes, cell, strict=True)) for cell in cells
    }


def test_what_has_no_room_is_said():
    figure = picture.draw(result(a=12, b=9, c=3))
    assert len(shown(figure)) == 4 * 3
    assert "4 of 9 values of b" in figure.get_supxlabel()
    assert "values of c" not in figure.get_supxlabel()


def test_every_row_says_what_is_drawn():
    figure = picture.draw(result(a=5, b=2))
    assert [axis.get_ylabel() for axis in shown(figure)] == ["regret", ""] * 5


def test_curves_that_coincide_are_told_apart():
    (axis,) = shown(picture.draw(result()))
    under, over = axis.get_lines()
    np.testing.assert_array_equal(under.get_ydata(), over.get_ydata())
    assert under.get_linewidth() > over.get_linewidth()
    assert under.get_linestyle() == "-"
    assert over.get_linestyle() != "-"
    styles = [line(place, 8) for place in range(8)]
    widths = [style["lw"] for style in styles]
    assert widths == sorted(set(widths), reverse=True)
    assert all("linestyle" in style for style in styles[1:])
    assert line(0, 1)["alpha"] == 1


def test_labels_of_alpha_stand_beside_the_curve():
    """Above where it falls, below where it rises."""
    alphas = [0.01, 0.1, 1.0, 10.0, 100.0]
    bounds = {"falling": ([1, 2, 4, 8, 16], [16, 8, 4, 2, 1])}
    bounds["rising"] = ([16, 8, 4, 2, 1], [16, 8, 4, 2, 1])
    for name, (x, y) in bounds.items():
        rows = [("OtO", *row) for row in zip(alphas, x, y, strict=True)]
        rows += [("UCB", None, 1, 1), ("LCB", None, 2, 2)]
        columns = ("policy", "alpha", "logging_regret_bound", "regret_bound")
        table = pl.DataFrame(rows, columns, orient="row").with_columns(horizon=pl.lit(1))
        (axis,) = shown(bound_plots.trade_off(table, 10, "t"))
        assert len(axis.texts) == 5
        assert all((text.xyann[1] > 0) == (name == "falling") for text in axis.texts)


def test_ticks_are_the_horizons():
    row = {"policy": "UCB", "alpha": None, "samples": 9, "delta": 0.1, "instance": 1, "runs": 3}
    row |= {"against": "best", "instances": "any", "bound": 9.0, "lower_bound": None}
    row |= {"mean": 1.0, "quantile": 2.0, "quantile_low": 1.0, "quantile_high": 3.0}
    table = pl.DataFrame(
        [row | {"horizon": horizon} for horizon in (30, 700)],
        schema_overrides={"alpha": pl.Float64, "lower_bound": pl.Float64},
    )
    last = bound_study_plots.regret(table).axes[-1]
    assert [label.get_text() for label in last.get_xticklabels()] == ["30", "700"]
