"""From blocks to `result.zarr`, which xarray reads: one writer, in a fixed order.

Dimensions are the axes of the sweep, then policy and checkpoint. The last that is written is the
result's digest; a result that is not as it was written is made again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from zarr.abc.buffer import Buffer
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import LocalStore

from jaxbandit.studies.sweeps import spec
from jaxbandit.studies.sweeps.blocks import Arrays, part_of, remove
from jaxbandit.studies.sweeps.cells import Cell
from jaxbandit.studies.sweeps.layout import Block
from jaxbandit.studies.sweeps.merge import merge_chunk
from jaxbandit.studies.sweeps.names import MEANING
from jaxbandit.studies.sweeps.seal import is_whole, seal
from jaxbandit.studies.sweeps.spec import Online
from jaxbandit.studies.sweeps.store import Store, pairs

RESULT = "result.zarr"
_UNITS = {
    "pulls": "rounds",
    "info_lcb_rounds": "rounds",
    "info_baseline_rounds": "rounds",
    "info_ucb_share": "1",
}

_SLAB_BYTES = 16 * 2**20
"""Of a variable that are written at once, at most, unless one row of the first axis has more."""


class ResultWriter:
    """Makes `result.zarr`, chunk by chunk in their order, each as soon as all of it is there.

    A context, on leaving which what is not finished is removed. A slab of the first axis is written
    at a time, so memory does not grow with the grid.
    """

    def __init__(self, store: Store, cells: Mapping[int, Cell]) -> None:
        """`cells`: all cells of the study."""
        self.store, self.cells, self.study = store, cells, store.study
        self.path = store.path / RESULT
        self.part, self.replaced = part_of(self.path), part_of(self.path)
        self.whole = is_whole(self.path, store.digest)
        self.damaged = self.path.exists() and not self.whole
        self.arms = max(cell.arms for cell in cells.values())
        self.merged = 0
        self.left_out: list[np.ndarray] = []
        self.slab: Arrays = {}
        shape = self.study.shape
        self.coordinates: list[str] = []
        self.rows = 1
        self.row_cells = self.study.cells // (shape[0] if shape else 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        remove(self.part)
        remove(self.replaced)

    def follow(self, block: Block) -> None:
        """A block has been stored: merge the chunks that are complete by now.

        Raises:
            OSError: it cannot be written.
        """
        if block.chunk == self.merged and not self.whole:
            self._merge()

    def finish(self) -> Path:
        """The path of the result, from all blocks; nothing is done if it is there and whole.

        Raises:
            OSError: it cannot be written.
        """
        if self.whole:
            return self.path
        self._merge()
        left_out = np.concatenate(self.left_out)
        if len(left_out):
            text = "left out because a number in it was not finite"
            self._array("non_finite_cell", left_out[:, 0], ("left_out",), f"cell of a run {text}")
            self._array("non_finite_run", left_out[:, 1], ("left_out",), f"index of a run {text}")
        seal(self.group, self.part, self.store.digest)
        _sync(self.part)
        if not is_whole(self.path, self.store.digest):
            with suppress(FileNotFoundError):
                os.rename(self.path, self.replaced)
        try:
            os.rename(self.part, self.path)
        except OSError:
            # Another process was first; it has written the same.
            if not is_whole(self.path, self.store.digest):
                raise
        return self.path

    def _merge(self) -> None:
        """The next chunks, up to one that is not complete."""
        chunks = self.store.layout.chunks
        for chunk in range(self.merged, len(chunks)):
            reach = self.store.reach(chunk)
            if reach.pending:
                return
            if chunk == 0:
                self.group = zarr.create_group(
                    _Folder(self.part), attributes=_attributes(self.store)
                )
                self._coordinates()
            self.left_out.append(self.store.non_finite(reach.stored))
            results = merge_chunk(self.store, chunk, reach, self.arms)
            for place, cell in enumerate(range(chunks[chunk].start, chunks[chunk].stop)):
                self._put(cell, {name: value[place] for name, value in results.items()})
            self.merged += 1

    def _put(self, cell: int, values: Arrays) -> None:
        """A cell's results; the last of a slab writes it."""
        if cell == 0:
            # Each write costs milliseconds, whatever its size.
            largest = max(value.nbytes for value in values.values()) * self.row_cells
            self.rows = max(1, min(_SLAB_BYTES // largest, self.study.cells // self.row_cells))
        slab, place = divmod(cell, self.rows * self.row_cells)
        first = slab * self.rows
        length = min(self.rows * self.row_cells, self.study.cells - first * self.row_cells)
        for name, value in values.items():
            if name not in self.slab:
                blank = np.nan if np.issubdtype(value.dtype, np.floating) else 0
                self.slab[name] = np.full((length, *value.shape), blank, value.dtype)
            self.slab[name][place] = value
        if place + 1 < length:
            return
        sweep = self.study.shape
        for name, array in self.slab.items():
            variable = self._variable(name, array.shape[1:], array.dtype)
            if sweep:
                rows = array.reshape((-1, *sweep[1:], *array.shape[1:]))
                variable[first : first + len(rows)] = rows
            else:
                variable[...] = array[0]
        self.slab = {}

    def _dims(self, name: str, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Of a variable within a cell."""
        if not shape:
            return ()
        who = "pair" if name.startswith("difference") else "policy"
        if name.startswith("pulls"):
            return who, "arm"
        return who, "run" if name.startswith("final") else "checkpoint"

    def _variable(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        if name in self.group:
            return self.group[name]
        sweep = self.study.shape
        quantity, _, part = name.rpartition("_")
        meaning = {
            "runs": "runs with finite numbers",
            "precise": "whether the cell stopped at the precision asked for, not at its most runs",
        }.get(name, f"{MEANING.get(quantity, quantity or name)}: {part}")
        return self.group.create_array(
            name,
            shape=(*sweep, *shape),
            chunks=(self.rows, *sweep[1:], *shape) if sweep else (shape or "auto"),
            dtype=dtype,
            fill_value=np.nan if np.issubdtype(dtype, np.floating) else None,
            compressors=[ZstdCodec(level=3), Crc32cCodec()],
            dimension_names=(*(axis.name for axis in self.study.sweep), *self._dims(name, shape)),
            attributes={
                "long_name": meaning,
                "units": "runs" if name == "runs" else _UNITS.get(quantity, "reward"),
            },
        )

    def _coordinates(self) -> None:
        study = self.study
        for axis in study.sweep:
            self._axis(axis)
        names = np.array(study.names, dtype=object)
        self._array("policy", names, ("policy",), "policy, or algorithm")
        couples = [" - ".join(pair) for pair in pairs(study.names)]
        if couples:
            self._array("pair", np.array(couples, dtype=object), ("pair",), "first less second")
        ends = np.stack([self.cells[cell].checkpoints for cell in range(study.cells)])
        dims: tuple[str, ...] = ("checkpoint",)
        if np.all(ends == ends[0]):
            ends = ends[0]
        else:
            dims = (*(axis.name for axis in study.sweep), "checkpoint")
            ends = ends.reshape(*study.shape, -1)
        online = isinstance(study.problem, Online)
        name, meaning = ("round", "rounds played") if online else ("records", "records logged")
        self._array(name, ends.astype(np.int64), dims, meaning, "rounds" if online else "records")
        # Those that are not their dimension's own; xarray reads this.
        self.group.attrs["coordinates"] = " ".join(self.coordinates)

    def _axis(self, axis: spec.Axis) -> None:
        first, *_ = columns = list(axis.values.items())
        label, values = axis.name, first[1]
        if axis.labels is not None:
            self._array(label, np.array(axis.labels, dtype=object), (label,), first[0])
        elif isinstance(values[0], list):
            self._array(label, np.arange(len(values)), (label,), f"which {first[0]}")
        else:
            self._array(label, _column(values), (label,), first[0])
            columns = columns[1:]
        for key, column in columns:
            lengths = {len(value) if isinstance(value, list) else 0 for value in column}
            if lengths == {0}:
                self._array(key, _column(column), (label,), key)
            elif lengths == {self.arms} and not isinstance(column[0][0], list):
                self._array(key, np.array(column, float), (label, "arm"), key)

    def _array(
        self, name: str, values: np.ndarray, dims: tuple[str, ...], meaning: str, units: str = "1"
    ) -> None:
        text = values.dtype == object
        attributes: dict[str, Any] = {"long_name": meaning}
        if not text:
            attributes["units"] = units
        array = self.group.create_array(
            name,
            shape=values.shape,
            dtype=str if text else values.dtype,
            compressors=[ZstdCodec(level=3), Crc32cCodec()],
            dimension_names=dims,
            attributes=attributes,
        )
        array[...] = values
        if dims != (name,):
            self.coordinates.append(name)


class _Folder(LocalStore):
    """A folder that this process alone writes, on file systems without hard links too."""

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write what is not there yet; the base makes a link, lest another process does so too."""
        if not await self.exists(key):
            await self.set(key, value)


def _column(values: tuple[Any, ...]) -> np.ndarray:
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return np.array(values, np.int64 if abs(max(values, key=abs)) < 2**63 else np.float64)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return np.array(values, np.float64)
    return np.array([str(value) for value in values], dtype=object)


def _attributes(store: Store) -> dict[str, Any]:
    """Of the result as a whole; nothing that depends on who computed it, or when."""
    return {
        "title": "jaxbandit study",
        "study": spec.dumps(store.study),
        "seed": store.study.seed,
        **store.identity,
    }


def _sync(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
