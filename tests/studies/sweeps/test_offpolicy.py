"""A study of the off-policy journey through the command line, from its file to its tables."""

from itertools import combinations

import jax
import numpy as np
import polars as pl
import xarray as xr

import jaxbandit as jb
from jaxbandit.studies.sweeps import store as stores
from jaxbandit.studies.sweeps.result import RESULT
from tests.studies.sweeps.stores import blocks

# Three tiles a cell, the last one not full; each a block of its own.
STUDY = """
journey = "offpolicy"
runs = 40
seed = 5
records = [10, 30]

[design]
contexts = 20
features = 2
actions = 3

[[sweep]]
"design.task_std" = [0.2, 1.0]

[[sweep]]
"design.tasks" = [2, 4]
"""
BLOCKS = 12


def interrupt_after(monkeypatch, number):
    """Ctrl-C while the next block after that many is written."""
    write, written = stores.write_block, []

    def write_block(path, *content):
        if len(written) == number:
            raise KeyboardInterrupt
        written.append(path)
        write(path, *content)

    monkeypatch.setattr(stores, "write_block", write_block)


def test_from_its_file_to_its_tables(command, monkeypatch, tmp_path):
    file, store = tmp_path / "study.toml", tmp_path / "store"
    file.write_text(STUDY)

    with monkeypatch.context() as context:
        interrupt_after(context, 5)
        status, _, err = command("sweep", file, "--out", store)
    assert status == 1
    assert err == (
        f"jaxbandit: interrupted; what is in {store} is complete, and the same command goes on "
        "from there\n"
    )
    assert command("status", store)[1] == (
        "cells: 1 of 4 complete\nblocks: 5 stored, 7 known to be missing\nruns: 72\n"
        "result: not yet; it is made once all blocks are there\n"
    )
    assert command("export", store, tmp_path / "early.csv")[::2] == (
        1,
        f"jaxbandit: {store} is not complete: 7 blocks or more are missing; run the sweep on\n",
    )

    status, out, _ = command("sweep", file, "--out", store, "--shard", "2/2")
    assert (status, len(blocks(store))) == (0, 9)
    assert f"the rest of {store} is for other shards" in out
    assert command("sweep", file, "--out", store, "--shard", "1/2", "--quiet") == (0, "", "")
    assert len(blocks(store)) == BLOCKS
    assert f"4 of 4 complete\nblocks: {BLOCKS} stored, 0" in command("status", store)[1]

    assert command("plot", store)[0] == 0
    assert (store / "result.png").read_bytes().startswith(b"\x89PNG")
    for ending in ("csv", "parquet", "nc"):
        assert command("export", store, tmp_path / f"result.{ending}") == (0, "", "")
    csv = pl.read_csv(tmp_path / "result.csv")
    assert csv.columns == [
        *("task_std", "tasks", "policy", "records", "runs"),
        *("suboptimality_mean", "suboptimality_sem", "suboptimality_std"),
    ]
    assert len(csv) == 4 * 6 * 2
    assert csv.equals(pl.read_parquet(tmp_path / "result.parquet"))
    with xr.open_dataset(tmp_path / "result.nc", engine="scipy") as netcdf:
        netcdf.load()
    xr.testing.assert_equal(netcdf, xr.open_zarr(store / RESULT, consolidated=False).load())
    for task_std in (0.2, 1.0):
        for tasks in (2, 4):
            assert_is_the_simulation(csv, netcdf, task_std, tasks)


def assert_is_the_simulation(csv, netcdf, task_std, tasks):
    """A cell's numbers are those of `simulate_offpolicy`, to the bit."""
    design = jb.synthetic_design(
        contexts=20, features=2, actions=3, task_std=task_std, tasks=tasks, max_tasks=4
    )
    direct = jb.simulate_offpolicy(jax.random.key(5), design, runs=40, records=(10, 30))
    expected = dict(direct.suboptimality)
    for first, second in combinations(direct.suboptimality, 2):
        expected[f"{first} - {second}"] = direct.paired(first, second)
    rows = csv.filter(task_std=task_std, tasks=tasks)
    cell = netcdf.sel(task_std=task_std, tasks=tasks)
    assert rows["policy"].unique(maintain_order=True).to_list() == list(expected)
    assert set(rows["runs"]) == {40}
    np.testing.assert_array_equal(cell["records"], direct.records)
    for name, moments in expected.items():
        one = rows.filter(policy=name)
        assert one["records"].to_list() == [10, 30]
        for part in ("mean", "std", "sem"):
            values = getattr(moments, part)
            np.testing.assert_array_equal(one[f"suboptimality_{part}"], values)
            who = {"pair": name} if " - " in name else {"policy": name}
            what = "difference" if " - " in name else "suboptimality"
            np.testing.assert_array_equal(cell.sel(who)[f"{what}_{part}"], values)
