"""What a study would take: its grid, and a measured guess at time, memory and disk."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator

import jax
import numpy as np

from jaxbandit.engine import devices, programs, tiles
from jaxbandit.engine.tile_output import Joined, Layout
from jaxbandit.studies.sweeps import cells
from jaxbandit.studies.sweeps.compute import gather_tile
from jaxbandit.studies.sweeps.layout import FEWEST_RUNS, Block
from jaxbandit.studies.sweeps.run import Plan
from jaxbandit.studies.sweeps.spec import Axis, Study

# Rounds that a probe plays: a fraction of a second.
_PROBE = 1e7


def lines(plan: Plan, threads: int | None = None) -> Iterator[str]:
    """The estimate, line by line.

    Every program is compiled and plays part of one tile; the rest is multiplication.

    Args:
        plan: what would be run.
        threads: as for the run.
    """
    study, layout = plan.study, plan.layout
    yield from grid(study)
    most = " at most" if study.precision is not None else ""
    yield f"runs: {study.runs:,} a cell{most}, {study.runs * study.cells:,} in all"
    if study.precision is not None and len(layout.stages) == 1:
        yield f"precision: never judged, which takes more than {FEWEST_RUNS:,} runs"
    workers, platform = threads or devices.usable_cores(), jax.local_devices()[0].platform
    if platform != "cpu":
        workers = len(jax.local_devices())
    compiling = seconds = held = stored = 0.0
    kinds: dict[object, list[int]] = {}
    for index, cell in plan.cells.items():
        kinds.setdefault(programs.compile_kind(cell.job), []).append(index)
    for members in kinds.values():
        cell = plan.cells[members[0]]
        probe = cells.shortened(cell, _PROBE)
        first, _ = _timed(study, probe.job)
        once, tile = _timed(study, probe.job)
        compiling += max(0.0, first - once)
        work = sum(plan.cells[index].work for index in members)
        seconds += work / probe.work * once * cell.job.tiles
        block = Block(0, 0, 1, (members[0],))
        size = sum(a.nbytes for a in gather_tile(study, block, cell.job, *tile).values())
        stored += size * cell.job.tiles * len(members)
        bytes_of_tile = sum(leaf.nbytes for leaf in jax.tree.leaves(tile[1]))
        held = max(held, bytes_of_tile * programs.most_tiles(platform))
    # What this process holds now, calls that wait, and a block being gathered and written.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    memory = peak + (1 + tiles.WAITING_CALLS) * workers * held + 3 * _largest(plan, stored)
    blocks = sum(
        len(list(layout.blocks(chunk, stage, [0])))
        for chunk in range(len(layout.chunks))
        for stage in range(len(layout.stages))
    )
    yield f"programs to compile: {len(kinds)} ({compiling:.1f} s)"
    yield f"time: about {_duration(compiling + seconds / workers)} on {workers} threads{most}"
    yield f"memory: about {memory / 1e6:,.0f} MB"
    plural = "" if blocks == 1 else "s"
    yield f"store: about {_size(stored)} in {blocks:,} block{plural}{most}, and the merged result"


def grid(study: Study) -> Iterator[str]:
    """The axes and the number of cells."""
    shape = " x ".join(f"{length:,}" for length in study.shape)
    yield f"cells: {study.cells:,}" + (f" = {shape}" if len(study.shape) > 1 else "")
    for axis in study.sweep:
        yield f"  {axis.name}: {_points(axis)}"


def _points(axis: Axis) -> str:
    said = []
    for key, column in axis.values.items():
        if any(isinstance(value, list) for value in column):
            said.append(f"{len(column):,} lists for {key}")
        else:
            shown = [str(value) for value in column]
            if len(shown) > 6:
                shown = [*shown[:3], "...", shown[-1]]
            said.append(f"{key} = {', '.join(shown)}")
    return "; ".join(said)


def _timed(study: Study, job: programs.Job) -> tuple[float, tuple[Layout, Joined]]:
    started = time.perf_counter()
    (tile,) = tiles.play_tiles(cells.root_key(study), [(job, 0)], threads=1)
    return time.perf_counter() - started, tile


def _largest(plan: Plan, stored: float) -> float:
    """Bytes of the largest block."""
    tile = stored / (plan.study.cells * -(-plan.study.runs // plan.layout.width))
    sizes = [(c.stop - c.start) * min(c.step, plan.layout.stages[-1]) for c in plan.layout.chunks]
    return float(np.max(sizes)) * tile


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 0.1):,.1f} MB"
