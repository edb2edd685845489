"""Computing blocks: the engine's tiles, gathered into arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from jaxbandit.engine import programs, tiles
from jaxbandit.engine.moments import Moments
from jaxbandit.engine.tile_output import Joined, Layout
from jaxbandit.studies.report import provenance
from jaxbandit.studies.sweeps import cells
from jaxbandit.studies.sweeps.blocks import Arrays
from jaxbandit.studies.sweeps.cells import Cell
from jaxbandit.studies.sweeps.layout import Block
from jaxbandit.studies.sweeps.spec import Study
from jaxbandit.studies.sweeps.store import pairs

Advance = Callable[[int], None]
"""Called with the number of runs that a tile has brought."""

_Place = tuple[int, int]
"""Of a tile in a block's arrays."""


def identity(study: Study, width: int) -> dict[str, Any]:
    """What the bits of a study's result depend on, besides the study."""
    known = provenance.environment()
    names = ("jaxbandit", "stream", "jax", "jaxlib", "precision")
    return {name: known[name] for name in names} | {
        "platform": known["devices"][0].partition(":")[0],
        "tile width": width,
    }


def compute(
    study: Study,
    built: Mapping[int, Cell],
    blocks: Iterable[Block],
    *,
    threads: int | None = None,
    advance: Advance | None = None,
) -> Iterator[tuple[Block, Arrays, Any]]:
    """Blocks in the order given, each with its arrays and its provenance.

    The tiles of all of them go through the engine as one stream, so that no thread waits at the end
    of a block.
    """
    blocks = list(blocks)
    work = (
        (built[cell].job, tile)
        for block in blocks
        for cell in block.cells
        for tile in range(block.first, block.last)
    )
    known = provenance.record()
    played = tiles.play_tiles(cells.root_key(study), work, threads=threads)
    for block in blocks:
        started = _now()
        gathered = _Gathered(study, block)
        for cell in block.cells:
            for tile in range(block.first, block.last):
                used = gathered.add(built[cell].job, cell, tile, *next(played))
                if advance is not None:
                    advance(used)
        yield (
            block,
            gathered.arrays(),
            known | {"seed": study.seed, "start": started, "end": _now()},
        )


def gather_tile(
    study: Study, block: Block, job: programs.Job, layout: Layout, tile: Joined
) -> Arrays:
    """Arrays of a block of one tile of one cell."""
    gathered = _Gathered(study, block)
    gathered.add(job, block.cells[0], block.first, layout, tile)
    return gathered.arrays()


class _Gathered:
    """The arrays of a block, from its tiles.

    Tiles of one layout are parted together, in the end: to part each would take Python as long as
    a core takes to play some.
    """

    def __init__(self, study: Study, block: Block) -> None:
        self.study, self.block = study, block
        self.rows = {cell: row for row, cell in enumerate(block.cells)}
        self.shape = len(block.cells), block.last - block.first
        self.count = np.zeros(self.shape, np.int64)
        self.bad: list[tuple[int, int]] = []
        self.joined: dict[Layout, list[tuple[_Place, Moments]]] = {}
        self.raised: dict[int, np.ndarray | None] = {}
        self.gathered: Arrays = {}

    def add(self, job: programs.Job, cell: int, tile: int, layout: Layout, joined: Joined) -> int:
        """One tile; gives the runs it has brought."""
        first = tile * job.width
        used = min(job.width, job.runs - first)
        finite = joined.finite[:used]
        row = self.rows[cell]
        place = row, tile - self.block.first
        if row not in self.raised:
            self.raised[row] = cells.raised_rewards(job)
        self.count[place] = np.count_nonzero(finite)
        self.bad += [(cell, first + int(run)) for run in np.flatnonzero(~finite)]
        self.joined.setdefault(layout, []).append((place, joined.moments))
        if self.study.outputs.finals and joined.kept:
            kept = layout.kept(joined.kept)
            for who, name in enumerate(self.study.names):
                for key, value in kept[name].items():
                    if key == "reward":
                        # In float64 in all blocks, as far from zero a sum of rewards needs.
                        raised = self.raised[row]
                        value = value + (np.float64(0) if raised is None else raised[-1])
                    self._write(f"final_{key}", value, place, who, len(self.study.names))
        return used

    def arrays(self) -> Arrays:
        """All of them: `count` [cells, tiles], `<quantity>.mean` and `.deviation` [cells, tiles,
        policies or pairs, checkpoints or arms]; NaN where a cell has no such quantity."""
        for layout, tiles_of in self.joined.items():
            self._part(layout, *zip(*tiles_of, strict=True))
        return {
            "cells": np.array(self.block.cells, np.int64),
            "tiles": np.array([self.block.first, self.block.last], np.int64),
            "count": self.count,
            "non_finite": np.array(self.bad, np.int64).reshape(-1, 2),
            **self.gathered,
        }

    def _part(self, layout: Layout, places: Sequence[_Place], each: Sequence[Moments]) -> None:
        """The quantities of tiles, to their places."""
        names, couples = self.study.names, pairs(self.study.names)
        rows, columns = np.array(places).T
        whole = Moments(*(np.stack(values) for values in zip(*each, strict=True)))
        seen, differences = layout.averaged(whole)
        for who, name in enumerate(names):
            for key, value in _quantities(seen[name]):
                if key == "reward" and any(self.raised[row] is not None for row in rows):
                    value = self._raise(value, rows)
                self._put(key, value, (rows, columns), who, len(names))
        for which, pair in enumerate(couples):
            value = _difference(differences, pair)
            self._put("difference", value, (rows, columns), which, len(couples))

    def _raise(self, reward: Moments, rows: np.ndarray) -> Moments:
        """Rewards of tiles, [places, checkpoints], whole again, in float64."""
        raised = [self.raised[row] for row in rows]
        nothing = np.zeros(reward.mean.shape[-1])
        amount = np.stack([nothing if one is None else one for one in raised])
        return reward._replace(mean=reward.mean + amount)

    def _put(self, name: str, value: Moments, place: Any, who: int, of: int) -> None:
        self._write(f"{name}.mean", value.mean, place, who, of)
        self._write(f"{name}.deviation", value.deviation, place, who, of)

    def _write(self, name: str, value: np.ndarray, place: Any, who: int, of: int) -> None:
        """`value` is [n] at one place, [places, n] at several."""
        known = self.gathered.get(name)
        length = value.shape[-1]
        if known is None or known.shape[-1] < length:
            # A quantity not seen before, or a cell with more arms than those before it.
            wider = np.full((*self.shape, of, length), np.nan, value.dtype)
            if known is not None:
                wider[..., : known.shape[-1]] = known
            self.gathered[name] = known = wider
        known[(*place, who, slice(length))] = value


def _quantities(seen: Any) -> Iterator[tuple[str, Moments]]:
    """Moments of a policy, or algorithm, by the names that results have."""
    if isinstance(seen, Moments):
        yield "suboptimality", seen
        return
    for key, value in seen.items():
        if key == "info":
            for name, diagnostic in value.items():
                yield f"info_{name}", diagnostic
        else:
            yield key, value


def _difference(differences: Mapping[tuple[str, str], Moments], pair: tuple[str, str]) -> Moments:
    if pair in differences:
        return differences[pair]
    other = differences[pair[1], pair[0]]
    return other._replace(mean=-other.mean)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
