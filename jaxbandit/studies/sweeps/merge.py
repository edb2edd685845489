"""A chunk's blocks as results: tiles merged in their order, in float64, as the engine itself does.

So the result is the same to the bit whoever computed the blocks.
"""

from __future__ import annotations

import numpy as np

from jaxbandit.engine import moments
from jaxbandit.engine.moments import Moments
from jaxbandit.studies.sweeps.blocks import Arrays
from jaxbandit.studies.sweeps.store import Reach, Store


def merge_chunk(store: Store, chunk: int, reach: Reach, arms: int) -> Arrays:
    """Results of a chunk's cells by the names of their variables, each [cells, ...].

    Args:
        store: where the blocks are.
        chunk: which.
        reach: what there is of it: all.
        arms: the most arms of a cell.

    Raises:
        DamagedBlockError: a block has changed since it was last read.
    """
    place = store.layout.chunks[chunk]
    count = place.stop - place.start
    merged: dict[str, Moments] = {}
    finals: Arrays = {}
    runs = np.zeros(count, np.int64)
    for block in reach.stored:
        arrays, _ = store.read(block)
        rows = np.array(block.cells) - place.start
        runs[rows] += arrays["count"].sum(axis=1)
        # Runs that are finite may have squares that are not.
        with np.errstate(over="ignore", invalid="ignore"):
            _merge_block(merged, arrays, rows, count, arms)
        for name in (name for name in arrays if name.startswith("final_")):
            first, last = (store.layout.runs_at(tile) for tile in (block.first, block.last))
            # [cells, tiles, policies, width] -> [cells, policies, runs].
            values = np.moveaxis(arrays[name], 1, 2)
            values = values.reshape(*values.shape[:2], -1)[..., : last - first]
            if name not in finals:
                whole = (count, values.shape[1], store.study.runs)
                finals[name] = np.full(whole, np.nan, values.dtype)
            finals[name][rows, :, first:last] = values
    results: Arrays = {}
    for name, value in merged.items():
        results[f"{name}_mean"] = np.where(value.count > 0, value.mean, np.nan)
        results[f"{name}_std"], results[f"{name}_sem"] = value.std, value.sem
    results |= finals | {"runs": runs}
    if store.study.precision is not None:
        cells = range(place.start, place.stop)
        results["precise"] = np.array([cell in reach.precise for cell in cells])
    return results


def _merge_block(
    merged: dict[str, Moments], arrays: Arrays, rows: np.ndarray, cells: int, arms: int
) -> None:
    for name in _quantities(arrays):
        shape = arrays[f"{name}.mean"].shape[2:]
        if name == "pulls":
            shape = (*shape[:-1], arms)
        if name not in merged:
            merged[name] = _nothing(cells, shape)
        _add(merged[name], rows, arrays, name)


def _quantities(arrays: Arrays) -> list[str]:
    return [name.removesuffix(".mean") for name in arrays if name.endswith(".mean")]


def _nothing(count: int, shape: tuple[int, ...]) -> Moments:
    none = np.zeros((count, *(1 for _ in shape)))
    return Moments(none, np.zeros((count, *shape)), np.zeros((count, *shape)))


def _add(merged: Moments, rows: np.ndarray, arrays: Arrays, name: str) -> None:
    """Merge a block's tiles, one after another, into the rows of its cells."""
    means, deviations = (_wide(arrays[f"{name}.{x}"], merged) for x in ("mean", "deviation"))
    counts = arrays["count"].reshape(*arrays["count"].shape, *(1 for _ in means.shape[2:]))
    for tile in range(counts.shape[1]):
        fields = (values[:, tile] for values in (counts, means, deviations))
        known = Moments(*(field[rows] for field in merged))
        for field, value in zip(merged, moments.merge(known, Moments(*fields)), strict=True):
            field[rows] = value


def _wide(values: np.ndarray, merged: Moments) -> np.ndarray:
    """NaN for arms that no cell of a block has, but others do."""
    missing = merged.mean.shape[-1] - values.shape[-1]
    if not missing:
        return values
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)], constant_values=np.nan)
