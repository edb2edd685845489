"""How a study's work is cut into blocks: the same cut wherever it is made.

Cells are taken in chunks of neighbours, tiles in stages: one stage, or, where cells stop when they
are precise, some that end after 4,096 runs, 6,144, 8,192, 12,288 and so on. A block is a chunk's
cells that still run, in a range of a stage's tiles; it is computed by one process and stored as one
file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from jaxbandit.checks import LARGEST, InputError

# Rounds, or what takes as long, of a block: about two seconds of one core.
_WORK = 2**27
_BYTES = 2**26
FEWEST_RUNS = 4096
"""Runs after which a precision is first judged: without the rare failures, runs seem precise. What
happens in one run of 500 is absent from a third of samples of 512 runs, from 3 of 10,000 of these.
"""


class Chunk(NamedTuple):
    """Cells [start, stop), computed together."""

    start: int
    stop: int
    step: int
    """Tiles of a block, at most."""


class Block(NamedTuple):
    """Tiles [first, last) of some cells of a chunk."""

    chunk: int
    first: int
    last: int
    cells: tuple[int, ...]

    @property
    def name(self) -> str:
        """Its file."""
        return f"{self.chunk:06d}-{self.first:08d}.npz"


class Layout(NamedTuple):
    """The cut of a study."""

    runs: int
    width: int
    """Runs in a tile."""
    stages: tuple[int, ...]
    """Tiles up to the end of each stage."""
    chunks: tuple[Chunk, ...]

    def blocks(self, chunk: int, stage: int, cells: Sequence[int]) -> Iterator[Block]:
        """Blocks of a stage, for the cells that still run in it."""
        first = self.stages[stage - 1] if stage else 0
        last, step = self.stages[stage], self.chunks[chunk].step
        for start in range(first, last, step):
            yield Block(chunk, start, min(start + step, last), tuple(cells))

    def runs_at(self, tiles: int) -> int:
        """Runs in the first tiles."""
        return min(tiles * self.width, self.runs)

    def runs_of(self, block: Block) -> int:
        """Runs of a block, over all its cells."""
        runs = self.runs_at(block.last) - self.runs_at(block.first)
        return runs * len(block.cells)

    def owner(self, block: Block, shards: int) -> int:
        """The shard, from 0, that computes a block."""
        if len(self.stages) > 1:
            # A stage needs what came before it, of the same cells.
            return block.chunk % shards
        return (block.chunk + block.first // self.chunks[block.chunk].step) % shards

    def to_table(self) -> dict[str, Any]:
        """Plain values."""
        return self._asdict()


def from_table(table: Mapping[str, Any], *, cells: int, runs: int) -> Layout:
    """The layout that `to_table` wrote.

    Args:
        table: what it wrote.
        cells: of the study.
        runs: of a cell, at most.

    Raises:
        InputError: it is not that, or not the cut of so many cells and runs.
    """
    try:
        chunks = tuple(Chunk(*chunk) for chunk in table["chunks"])
        layout = Layout(table["runs"], table["width"], tuple(table["stages"]), chunks)
    except (KeyError, TypeError):
        raise InputError("layout must have runs, width, stages and chunks") from None
    numbers = [layout.width, *layout.stages, *(number for chunk in chunks for number in chunk)]
    if not all(type(number) is int and 0 <= number <= LARGEST for number in numbers):
        raise InputError("layout must consist of whole numbers")
    stages, stops = (0, *layout.stages), (0, *(chunk.stop for chunk in chunks))
    if not (
        layout.runs == runs
        and layout.width > 0
        and all(a < b for a, b in pairwise(stages))
        and stages[-1] == -(-runs // layout.width)
        and tuple(chunk.start for chunk in chunks) == stops[:-1]
        and all(chunk.start < chunk.stop and chunk.step > 0 for chunk in chunks)
        and stops[-1] == cells
    ):
        raise InputError(f"layout must cut {cells:,} cells of {runs:,} runs, each once, in order")
    return layout


def cut(work: Sequence[float], size: int, *, runs: int, width: int, precise: bool) -> Layout:
    """The layout of a study.

    Args:
        work: of a run of each cell, in rounds.
        size: bytes that a tile of a cell takes in a block.
        runs: of a cell, at most.
        width: runs in a tile.
        precise: whether cells stop when they are precise.
    """
    stages = _stages(runs, width) if precise else [-(-runs // width)]
    chunks: list[Chunk] = []
    start, total = 0, 0.0
    most = max(1, _BYTES // (size * stages[0]))
    for index, each in enumerate(work):
        full = total + each * width * stages[0] > _WORK or index - start >= most
        if full and index > start:
            chunks.append(_chunk(start, index, total / stages[0], size))
            start, total = index, 0.0
        total += each * width * stages[0]
    chunks.append(_chunk(start, len(work), total / stages[0], size))
    return Layout(runs, width, tuple(stages), tuple(chunks))


def _stages(runs: int, width: int) -> list[int]:
    """Tiles up to the end of each stage, whole ones, the last stage's at the most runs."""
    doublings = range(max(1, math.ceil(math.log2(runs / FEWEST_RUNS))))
    ends = [FEWEST_RUNS * 2**i * halves // 2 for i in doublings for halves in (2, 3)]
    return sorted({-(-min(end, runs) // width) for end in [*ends, runs]})


def _chunk(start: int, stop: int, work: float, size: int) -> Chunk:
    step = min(_WORK // max(work, 1), _BYTES // (size * (stop - start)))
    return Chunk(start, stop, max(1, int(step)))
