"""Computing blocks: the engine's tiles, gathered into arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import jax
import numpy as np

from jaxbandit import tiles
from jaxbandit.moments import Moments
from jaxbandit.studies import cells, provenance
from jaxbandit.studies.blocks import Arrays
from jaxbandit.studies.cells import Cell
from jaxbandit.studies.layout import Block
from jaxbandit.studies.spec import Study
from jaxbandit.studies.store import pairs

Advance = Callable[[int], None]
"""Called with the number of runs that a tile has brought."""


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
                used = gathered.add(built[cell].job, cell, tile, next(played))
                if advance is not None:
                    advance(used)
        yield (
            block,
            gathered.arrays(),
            known | {"seed": study.seed, "start": started, "end": _now()},
        )


def gather_tile(study: Study, block: Block, job: tiles.Job, summary: tiles.TileSummary) -> Arrays:
    """Arrays of a block of one tile of one cell."""
    gathered = _Gathered(study, block)
    gathered.add(job, block.cells[0], block.first, summary)
    return gathered.arrays()


class _Gathered:
    """The tiles of a block, in order."""

    def __init__(self, study: Study, block: Block) -> None:
        self.study, self.block = study, block
        self.counts: list[int] = []
        self.bad: list[tuple[int, int]] = []
        self.averaged: dict[int, list[Any]] = {}
        self.finals: list[dict[str, np.ndarray]] = []

    def add(self, job: tiles.Job, cell: int, tile: int, summary: tiles.TileSummary) -> int:
        """One tile; gives the runs it has brought."""
        first = tile * job.width
        used = min(job.width, job.runs - first)
        finite = summary.finite[:used]
        self.counts.append(int(np.sum(finite)))
        self.bad += [(cell, first + int(run)) for run in np.flatnonzero(~finite)]
        self.averaged.setdefault(cell, []).append(summary.averaged)
        if self.study.outputs.finals:
            self.finals.append(_finals(self.study.names, summary.kept))
        return used

    def arrays(self) -> Arrays:
        """All of them: `count` [cells, tiles], `<quantity>.mean` and `.deviation` [cells, tiles,
        policies or pairs, checkpoints or arms]; NaN where a cell has no such quantity."""
        shape = (len(self.block.cells), self.block.last - self.block.first)
        arrays: Arrays = {
            "cells": np.array(self.block.cells, np.int64),
            "tiles": np.array([self.block.first, self.block.last], np.int64),
            "count": np.array(self.counts, np.int64).reshape(shape),
            "non_finite": np.array(self.bad, np.int64).reshape(-1, 2),
        }
        # Stacked for all tiles of a cell at once: what is done tile by tile keeps others waiting.
        cells = [
            _quantities(self.study.names, jax.tree.map(lambda *x: np.stack(x), *each))
            for each in self.averaged.values()
        ]
        for name in dict.fromkeys(name for each in cells for name in each):
            for part in ("mean", "deviation"):
                values = [getattr(each[name], part) if name in each else None for each in cells]
                arrays[f"{name}.{part}"] = _stacked(values)
        for name in self.finals[0] if self.finals else ():
            values = [each[name] for each in self.finals]
            arrays[name] = np.stack(values).reshape(*shape, *values[0].shape)
        return arrays


def _quantities(names: tuple[str, ...], averaged: Any) -> dict[str, Moments]:
    """Moments of tiles, [tiles, policies or pairs, ...], by the names that results have."""
    seen, differences = averaged
    found: dict[str, list[Moments | None]] = {}
    for place, name in enumerate(names):
        own = seen[name]
        if isinstance(own, Moments):
            own = {"suboptimality": own}
        else:
            info = {f"info_{key}": value for key, value in own["info"].items()}
            own = {key: value for key, value in own.items() if key != "info"} | info
        for key, value in own.items():
            found.setdefault(key, [None] * len(names))[place] = value
    if len(names) > 1:
        found["difference"] = [_difference(differences, pair) for pair in pairs(names)]
    return {
        key: Moments(
            None,
            _stacked([m and m.mean for m in values], axis=1),
            _stacked([m and m.deviation for m in values], axis=1),
        )
        for key, values in found.items()
    }


def _difference(differences: Mapping[tuple[str, str], Moments], pair: tuple[str, str]) -> Moments:
    if pair in differences:
        return differences[pair]
    other = differences[pair[1], pair[0]]
    return other._replace(mean=-other.mean)


def _finals(names: tuple[str, ...], kept: Any) -> dict[str, np.ndarray]:
    """Each run's last numbers, [policies, width]."""
    return {
        f"final_{key}": np.stack([kept[name][key] for name in names])
        for key in (kept[names[0]] if kept else ())
    }


def _stacked(values: list[np.ndarray | None], axis: int = 0) -> np.ndarray:
    """Arrays of one rank as one, NaN where one is missing or shorter."""
    given = [value for value in values if value is not None]
    if len(given) == len(values) and len({value.shape for value in given}) == 1:
        return np.stack(given, axis)
    shape = tuple(max(lengths) for lengths in zip(*(x.shape for x in given), strict=True))
    stacked = np.full((len(values), *shape), np.nan, given[0].dtype)
    for row, value in zip(stacked, values, strict=True):
        if value is not None:
            row[tuple(slice(length) for length in value.shape)] = value
    return np.moveaxis(stacked, 0, axis)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
