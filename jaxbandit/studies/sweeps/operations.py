"""The commands about studies: `jaxbandit sweep`, `status`, `plot` and `export`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from jaxbandit.checks import InputError
from jaxbandit.engine import devices
from jaxbandit.simulation import learning_curves as offpolicy
from jaxbandit.simulation import simulate as online
from jaxbandit.studies.sweeps import estimate, reading, run, spec
from jaxbandit.studies.sweeps.result import RESULT
from jaxbandit.studies.sweeps.run import Outcome, Plan
from jaxbandit.studies.sweeps.seal import is_whole
from jaxbandit.studies.sweeps.store import open_store

# More than this is asked about: rounds (a day of a hundred cores), bytes, cells.
_ABSURD_WORK = 4e14
_ABSURD_BYTES = 1e11
_ABSURD_CELLS = 200_000
_LOG_SECONDS = 60


def sweep(
    file: Path,
    out: Path | None,
    *,
    dry_run: bool = False,
    shard: str | None = None,
    cluster: str | None = None,
    threads: int | None = None,
    yes: bool = False,
    quiet: bool = False,
) -> None:
    """Run a study into a store, or say what that would take.

    Raises:
        InputError: a file, shard or store that cannot be used; runs that were not finite.
        OSError: the store cannot be written.
    """
    console = Console(quiet=quiet, highlight=False, soft_wrap=True)
    part = _shard(shard)
    study, source = reading.load(file)
    _check_size(study, yes)
    planned = run.plan(study, source)
    if dry_run:
        for line in estimate.lines(planned, threads):
            console.print(line, markup=False)
        return
    if out is None:
        raise InputError("--out must name the folder for the results")
    started = time.monotonic()
    try:
        with _progress(console) as advance:
            compute = None
            if cluster is not None:
                from jaxbandit.studies.sweeps.cluster import on_cluster

                compute = on_cluster(cluster, planned)
            outcome = run.run_study(
                planned,
                out,
                shard=part,
                threads=threads,
                compute_blocks=compute,
                advance=advance,
            )
    except KeyboardInterrupt:
        raise InputError(
            f"interrupted; what is in {out} is complete, and the same command goes on from there"
        ) from None
    _report(console, planned, out, outcome, time.monotonic() - started)


def status(path: Path) -> None:
    """Print how far a store has come.

    Raises:
        InputError: no store is there.
        OSError: it cannot be read.
    """
    store = open_store(path)
    reaches = [store.reach(chunk) for chunk in range(len(store.layout.chunks))]
    stored = [block for reach in reaches for block in reach.stored]
    pending = [block for reach in reaches for block in reach.pending]
    complete = sum(len(reach.tiles) for reach in reaches if not reach.pending)
    runs = sum(store.layout.runs_of(block) for block in stored)
    print(f"cells: {complete:,} of {store.study.cells:,} complete")
    print(f"blocks: {len(stored):,} stored, {len(pending):,} known to be missing")
    print(f"runs: {runs:,}")
    if store.damaged:
        print(f"damaged: {', '.join(sorted(store.damaged))}; the same sweep computes them anew")
    if store.study.precision is not None:
        precise = sum(len(reach.precise) for reach in reaches)
        print(f"precise: {precise:,} cells reached the standard error asked for")
    bad = store.non_finite(stored)
    if len(bad):
        print(f"not finite: {_runs(bad)}")
    result = path / RESULT
    made = result if result.exists() else "not yet; it is made once all blocks are there"
    if result.exists() and not is_whole(result, store.digest):
        made = "damaged, or of another study; the same sweep makes it again from the blocks"
    print(f"result: {made}")


def _report(console: Console, planned: Plan, out: Path, outcome: Outcome, seconds: float) -> None:
    said = f"computed {outcome.computed:,} blocks in {seconds:.1f} s"
    if not outcome.computed:
        said = "nothing to compute: all blocks of this part are stored"
    if outcome.repaired:
        said += f", {outcome.repaired:,} of them anew because they were damaged"
    where = outcome.result or f"the rest of {out} is for other shards"
    if outcome.remade:
        where = f"{where}, made again because it was damaged or of another study"
    console.print(f"{said}; {where}", markup=False)
    bad, runs = outcome.non_finite, planned.study.cells * planned.study.runs
    if len(bad):
        raise InputError(
            f"{len(bad):,} of {runs:,} runs gave numbers that are not finite and were left out: "
            f"{_runs(bad)}; look at the parameters of these cells"
        )


def _runs(bad: np.ndarray) -> str:
    few = ", ".join(f"cell {cell} run {number}" for cell, number in bad[:5].tolist())
    return few + (f" and {len(bad) - 5:,} more" if len(bad) > 5 else "")


def _shard(shard: str | None) -> tuple[int, int]:
    if shard is None:
        return 1, 1
    part, _, parts = shard.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise InputError(f"shard must be I/N with I from 1 to N, as 2/3, was {shard!r}")
    return int(part), int(parts)


def _check_size(study: spec.Study, yes: bool) -> None:
    """Refuse what nobody can mean, before anything is made for every cell."""
    runs = study.cells * study.runs
    rounds = float(runs) * study.longest * len(study.names)
    journey = online if isinstance(study.problem, spec.Online) else offpolicy
    blocks = study.cells * -(-study.runs // devices.by_platform(journey.TILE_WIDTH))
    size = 8.0 * blocks * 5 * len(study.names) * 100
    if yes or (rounds <= _ABSURD_WORK and size <= _ABSURD_BYTES and study.cells <= _ABSURD_CELLS):
        return
    what = "rounds" if isinstance(study.problem, spec.Online) else "records"
    raise InputError(
        f"the study has {study.cells:,} cells, {runs:.3g} runs, {rounds:.3g} {what} and a store of "
        f"about {size / 1e9:.3g} GB; pass --yes if this is meant"
    )


@contextmanager
def _progress(console: Console) -> Generator[Callable[[int, int], None]]:
    """Runs done, their rate and the time left: a bar, or in a log a line a minute."""
    columns = (TextColumn("  runs"), BarColumn(), TextColumn("{task.fields[said]}"))
    on_terminal = console.is_terminal and not console.quiet
    began = said_at = time.monotonic()
    before: int | None = None
    with Progress(*columns, console=console, transient=True, disable=not on_terminal) as bars:
        bar = bars.add_task("runs", total=None, said="")

        def advance(done: int, total: int) -> None:
            nonlocal before, said_at
            if before is None:
                before = done
            now = time.monotonic()
            # The rate is of what is computed now, not of what was there.
            rate = (done - before) / max(now - began, 1e-9)
            said = f"{done:,} of {total:,}"
            if rate > 0:
                left = timedelta(seconds=round((total - done) / rate))
                said += f", {rate:,.0f} a second, {left} left"
            bars.update(bar, completed=done, total=total, said=said)
            if not on_terminal and now - said_at > _LOG_SECONDS:
                said_at = now
                console.print(f"  runs {said}", markup=False)

        yield advance
