"""Running a study of bounds: its files, its table, its findings."""

from __future__ import annotations

import time

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jaxbandit.checks import check_count, check_seed
from jaxbandit.studies.bound_studies import hieropo, oto
from jaxbandit.studies.bound_studies.options import Hieropo, Oto
from jaxbandit.studies.figures.reproduce import reporting, write_result
from jaxbandit.studies.report.files import check_folder

# Of the CSV's columns, those that the terminal has room for.
_SHOWN = {
    "oto": [
        "policy",
        "alpha",
        "horizon",
        "samples",
        "delta",
        "instance",
        "against",
        "instances",
        "lower_bound",
    ],
    "hieropo": ["policy", "bound_name", "tasks", "records", "delta", "width"],
}
_FILE_WIDTH = 140
_NUMBERS = ["bound", "mean", "quantile", "quantile_low", "quantile_high", "ratio"]
_COVERAGE = ["coverage", "coverage_low", "coverage_high"]


def run_study(options: Hieropo | Oto) -> None:
    """Write `OUT/bounds-<study>.csv`, `.png`, `.json` and `.md`, and print the table.

    Raises:
        InputError: options that cannot be used.
        OSError: the directory cannot be written.
    """
    # One run has no interval to hold against a bound.
    check_count("runs", options.runs, minimum=2)
    check_seed("--seed", options.seed)
    check_folder("--out", options.out)
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console(quiet=options.quiet, highlight=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    started = time.monotonic()
    with reporting(console) as reporter:
        if isinstance(options, Hieropo):
            name, result = "hieropo", hieropo.study(options, reporter)
        else:
            name, result = "oto", oto.study(options, reporter)
    seconds = time.monotonic() - started
    endings = write_result(f"bounds-{name}", result, options, options.out, seconds)
    console.print(_printed(result.table, _SHOWN[name]))
    for line in result.findings:
        console.print(f"  {line}", markup=False)
    place = options.out / f"bounds-{name}"
    console.print(f"  {seconds:.1f} s; wrote {place}{endings}", markup=False)


def _printed(table: pl.DataFrame, keys: list[str]) -> Table:
    """What is the same in all rows stands in the title."""
    fixed = [key for key in keys if table[key].n_unique() == 1]
    keys = [key for key in keys if key not in fixed]
    title = ", ".join(
        f"{key.replace('_', ' ')} {_text(table[key][0])}"
        for key in fixed
        if table[key][0] is not None
    )
    shown = Table(box=None, header_style="bold", pad_edge=False, title=title, title_justify="left")
    for key in keys:
        shown.add_column(key.replace("_", " "))
    for head in ("bound", "mean", "quantile", "95 %", "ratio", "coverage", "95 %"):
        shown.add_column(head, justify="right")
    for row in table.iter_rows(named=True):
        bound, mean, reached, low, high, ratio = (_text(row[name]) for name in _NUMBERS)
        share, least, most = (f"{row[name]:.4f}" for name in _COVERAGE)
        shown.add_row(
            *(escape(_text(row[key])) for key in keys),
            *(bound, mean, reached, f"{low} to {high}", ratio, share, f"{least} to {most}"),
        )
    return shown


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"
