"""Computing figures and writing them: CSV, PNG and a JSON record each, tables as Markdown too."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jaxbandit.checks import InputError, check_count, check_seed
from jaxbandit.engine import tiles
from jaxbandit.studies.figures import REGISTRY, FigureResult, Reporter, Settings
from jaxbandit.studies.report import provenance
from jaxbandit.studies.report.files import check_folder, whole


def reproduce_figures(
    names: Sequence[str], settings: Settings, out: Path, *, quiet: bool = False
) -> None:
    """Compute figures and write `OUT/<figure>.csv`, `.png` and `.json` for each.

    Args:
        names: figures; none for all that need no data from outside.
        settings: what the user chose.
        out: directory, made if missing.
        quiet: print nothing.

    Raises:
        InputError: an unknown figure, settings or data that cannot be used.
        OSError: `out` cannot be written.
    """
    for name in names:
        if name not in REGISTRY:
            raise InputError(f"no figure {name!r}; there are {', '.join(REGISTRY)}")
    if settings.runs is not None:
        check_count("runs", settings.runs)
    check_seed("--seed", settings.seed)
    check_folder("--out", out)
    names = names or [name for name, entry in REGISTRY.items() if not entry.needs_data]
    _check_options(names, settings)
    for name in names:
        REGISTRY[name].check(settings)
    out.mkdir(parents=True, exist_ok=True)
    console = Console(quiet=quiet, highlight=False)
    for name in names:
        started = time.monotonic()
        console.print(f"[bold]{name}[/bold]")
        with reporting(console) as reporter:
            figure = REGISTRY[name].compute(settings, reporter)
        seconds = time.monotonic() - started
        endings = write_result(name, figure, settings, out, seconds)
        for line in figure.findings:
            console.print(f"  {line}", markup=False)
        console.print(f"  {seconds:.1f} s; wrote {out / name}{endings}", markup=False)


def _check_options(names: Sequence[str], settings: Settings) -> None:
    """Refuse an option that none of the figures follows."""
    followed = {"seed"}.union(*(REGISTRY[name].options for name in names))
    for option in fields(Settings):
        if option.name not in followed and getattr(settings, option.name) != option.default:
            figures = [name for name, entry in REGISTRY.items() if option.name in entry.options]
            raise InputError(
                f"--{option.name.replace('_', '-')} is for {', '.join(figures)}, none of which is "
                "asked for; leave it out, or name one"
            )


@contextmanager
def reporting(console: Console) -> Generator[Reporter]:
    """Progress bars and lines of text on a console."""
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("time left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:

        def progress(description: str) -> tiles.Progress:
            bar = bars.add_task(description, total=None)
            return lambda done, total: bars.update(bar, completed=done, total=total)

        def notify(line: str) -> None:
            console.print(f"  {line}", markup=False)

        yield Reporter(notify, progress)


def write_result(name: str, figure: FigureResult, settings: Any, out: Path, seconds: float) -> str:
    """Write a result's files, each of which appears whole or not at all; gives their endings.

    Raises:
        OSError: `out` cannot be written.
    """
    csv, png, record = (out / f"{name}.{ending}" for ending in ("csv", "png", "json"))
    with whole(csv) as path:
        figure.table.write_csv(path)
    if figure.markdown is not None:
        with whole(out / f"{name}.md") as path:
            path.write_text(figure.markdown)
    for other, text in figure.files.items():
        with whole(out / other) as path:
            path.write_text(text)
    with whole(png) as path:
        figure.picture.savefig(path, dpi=160, format="png")
    entry = {
        "figure": name,
        # What is left to the figure is among its facts.
        "settings": {name: value for name, value in asdict(settings).items() if value is not None},
        "findings": figure.findings,
        "facts": figure.facts,
        "seconds": round(seconds, 2),
        **provenance.record(),
    }
    with whole(record) as path:
        path.write_text(json.dumps(entry, indent=2, default=str) + "\n")
    beside = "".join(f", {out / other}" for other in figure.files)
    return ".csv, .png, .json" + (", .md" if figure.markdown is not None else "") + beside
