"""A study's result as a table (CSV, Parquet) or as NetCDF."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path

import numpy as np
import polars as pl
import xarray as xr

from jaxbandit.checks import InputError
from jaxbandit.studies.report.files import whole
from jaxbandit.studies.sweeps import seal
from jaxbandit.studies.sweeps.result import RESULT
from jaxbandit.studies.sweeps.store import open_store

_ORDER = {name: place for place, name in enumerate(("regret", "suboptimality", "runs"))}
_PARTS = ("_mean", "_std", "_sem")


def open_result(path: Path) -> xr.Dataset:
    """The merged result of a store.

    Raises:
        InputError: no store is there, it is not complete, or the result is damaged.
    """
    store = open_store(path)
    result = path / RESULT
    if not result.exists():
        missing = sum(1 for _ in store.pending())
        raise InputError(
            f"{path} is not complete: {missing:,} blocks or more are missing; run the sweep on"
        )
    if not seal.is_whole(result, store.digest):
        raise InputError(
            f"{result} is damaged, or of another study: its files are not those that were written; "
            "the same sweep makes it again from the blocks"
        )
    found = xr.open_zarr(result, consolidated=False, chunks=None)
    del found.attrs[seal.ATTRIBUTE]  # Of these files, not of what is made of them.
    # Strings of a fixed width, which all kinds of files know.
    texts = {
        name: (variable.dims, np.array([str(text) for text in variable.to_numpy()]))
        for name, variable in found.coords.items()
        if variable.dtype.kind in "OT"
    }
    # Folders have no order of their own.
    order = sorted(found.data_vars, key=lambda name: (_ORDER.get(_stem(name), len(_ORDER)), name))
    return found.assign_coords(texts)[order]


def export(store: Path, file: Path) -> None:
    """Write the result of a store to one file.

    Raises:
        InputError: no complete store is there, the file's ending is not known, or its folder is
            not there.
        OSError: the file cannot be written.
    """
    writers: dict[str, Callable[[xr.Dataset, Path], None]] = {
        ".csv": lambda result, path: table(result).write_csv(path),
        ".parquet": lambda result, path: table(result).write_parquet(path),
        ".nc": _netcdf,
    }
    if file.suffix not in writers:
        raise InputError(f"{file} must end in {', '.join(writers)}")
    result = open_result(store)
    with whole(file) as part:
        writers[file.suffix](result, part)


def table(result: xr.Dataset) -> pl.DataFrame:
    """One row for each cell, policy or pair of policies, and checkpoint.

    The rows of a pair have the difference of its regrets, or suboptimalities, run by run.
    """
    axes = [str(name) for name in result["runs"].dims]
    curves = [
        str(name)
        for name, variable in result.data_vars.items()
        if variable.dims == (*axes, "policy", "checkpoint")
    ]
    parts = [_rows(result[[*curves, "runs"]], axes, "policy")]
    if "pair" in result.dims:
        main = "regret" if "regret_mean" in result else "suboptimality"
        names = {f"difference_{part}": f"{main}_{part}" for part in ("mean", "std", "sem")}
        parts.append(_rows(result[[*names, "runs"]].rename(names), axes, "pair"))
    return pl.concat(parts, how="diagonal").fill_nan(None)


def _rows(result: xr.Dataset, axes: list[str], who: str) -> pl.DataFrame:
    dims = [*axes, who, "checkpoint"]
    count = "round" if "round" in result.coords else "records"
    one = next(v for v in result.data_vars.values() if set(v.dims) == set(dims))

    def column(name: str) -> np.ndarray:
        # A column has the value of its own dimensions, again for each of the others.
        return result[name].broadcast_like(one).transpose(*dims).to_numpy().ravel()

    columns = {axis: column(axis) for axis in axes}
    columns |= {"policy": column(who), count: column(count), "runs": column("runs")}
    columns |= {str(name): column(str(name)) for name in result.data_vars if name != "runs"}
    return pl.DataFrame(
        {key: v.tolist() if v.dtype.kind == "U" else v for key, v in columns.items()}
    )


def _stem(name: Hashable) -> str:
    text = str(name)
    return next((text.removesuffix(part) for part in _PARTS if text.endswith(part)), text)


def _netcdf(result: xr.Dataset, path: Path) -> None:
    # Of a kind that needs no library of its own, and has no booleans.
    flags = {name: v.astype("i1") for name, v in result.data_vars.items() if v.dtype == bool}
    result.assign(flags).to_netcdf(path, engine="scipy", format="NETCDF3_64BIT")
