"""Running a study: cells times blocks of tiles, into a store."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxbandit.checks import check_count
from jaxbandit.studies.sweeps import cells as cells_
from jaxbandit.studies.sweeps import layout, store
from jaxbandit.studies.sweeps.blocks import Arrays, remove_parts
from jaxbandit.studies.sweeps.cells import Cell
from jaxbandit.studies.sweeps.compute import Advance, compute, identity
from jaxbandit.studies.sweeps.layout import Block
from jaxbandit.studies.sweeps.result import ResultWriter
from jaxbandit.studies.sweeps.spec import Study
from jaxbandit.studies.sweeps.store import Store
from jaxbandit.studies.sweeps.toml import Source

Compute = Callable[[Study, list[Block], Advance], Iterator[tuple[Block, Arrays, Any]]]
"""What computes blocks, in any order."""


class Outcome(NamedTuple):
    """What a call of `run_study` left."""

    computed: int
    """Blocks computed now."""
    repaired: int
    """Of those, blocks that had been damaged, or were of another study."""
    result: Path | None
    """The merged result; None while blocks of other shards are missing."""
    remade: bool
    """Whether a result was there that was damaged, or of another study, and is made again."""
    non_finite: np.ndarray
    """Cells and runs left out, [runs, 2]; of all cells, once the result is there."""


@dataclass(frozen=True)
class Plan:
    """A study, checked, with its cells and their cut."""

    study: Study
    cells: Mapping[int, Cell]
    layout: layout.Layout


def plan(study: Study, source: Source) -> Plan:
    """Check a study and cut it into blocks; nothing is compiled.

    Raises:
        InputError: values that cannot be used, with their line.
    """
    cells = cells_.build(study, source, range(study.cells))
    job = cells[0].job
    cut = layout.cut(
        [cells[index].work for index in range(study.cells)],
        _tile_bytes(study, cells),
        runs=study.runs,
        width=job.width,
        precise=study.precision is not None,
    )
    return Plan(study, cells, cut)


def run_study(
    plan: Plan,
    out: Path,
    *,
    shard: tuple[int, int] = (1, 1),
    threads: int | None = None,
    compute_blocks: Compute | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Compute what the store does not have yet, and merge it once all is there.

    Args:
        plan: what to run.
        out: folder of the store; made if missing.
        shard: (i, n): compute the i-th of n parts, from 1; the last to finish merges.
        threads: tiles in flight on a CPU; default: one more than there are cores.
        compute_blocks: what computes blocks; default: this process.
        advance: called with (runs there are, runs of all cells at most).

    Raises:
        InputError: the folder holds something else.
        OSError: it cannot be written; blocks already stored are kept.
    """
    if threads is not None:
        check_count("threads", threads)
    made = store.create(out, plan.study, plan.layout, identity(plan.study, plan.layout.width))
    remove_parts(made.path)
    remove_parts(made.path / "blocks")
    chunks = range(len(made.layout.chunks))
    part, parts = shard

    def mine() -> list[Block]:
        return [b for b in made.pending() if made.layout.owner(b, parts) == part - 1]

    told = _Progress(made, advance)
    computed = repaired = 0
    with ResultWriter(made, plan.cells) as writer:
        while blocks := mine():
            if compute_blocks is None:
                done = compute(plan.study, plan.cells, blocks, threads=threads, advance=told.more)
            else:
                done = compute_blocks(plan.study, blocks, told.more)
            for block, arrays, provenance in done:
                with _saying_how_to_go_on(made):
                    made.write(block, arrays, provenance)
                    if parts == 1:
                        writer.follow(block)
                computed += 1
                repaired += block.name in made.damaged
        reaches = [made.reach(chunk) for chunk in chunks]
        bad = np.concatenate([made.non_finite(reach.stored) for reach in reaches])
        if any(reach.pending for reach in reaches):
            return Outcome(computed, repaired, None, False, bad)
        with _saying_how_to_go_on(made):
            result = writer.finish()
    return Outcome(computed, repaired, result, writer.damaged, bad)


@contextmanager
def _saying_how_to_go_on(made: Store) -> Generator[None]:
    """A disk's error with what it means for the study."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror}: cannot write to {made.path}. All blocks stored before are safe; "
            "the same command goes on from there once there is room",
        ) from None


class _Progress:
    """Runs done, of all cells; a cell that stops early has done all of its."""

    def __init__(self, made: Store, told: Callable[[int, int], None] | None) -> None:
        self.told = told
        self.total = made.study.cells * made.study.runs
        reaches = [made.reach(chunk) for chunk in range(len(made.layout.chunks))]
        self.done = sum(made.layout.runs_of(block) for r in reaches for block in r.stored)
        self.more(0)

    def more(self, runs: int) -> None:
        """Some more runs."""
        self.done += runs
        if self.told is not None:
            self.told(self.done, self.total)


def _tile_bytes(study: Study, cells: Mapping[int, Cell]) -> int:
    """Bytes that a tile of a cell takes in a block, about."""
    names, first = len(study.names), cells[0]
    arms = max(cell.arms for cell in cells.values())
    # Regret, logging regret, reward and two diagnostics; means and deviations; pairs.
    numbers = (5 * names + names * (names - 1) // 2) * len(first.checkpoints) + names * arms
    return 8 * numbers + study.outputs.finals * 8 * names * first.job.width
