"""What the commands about studies print, write and refuse."""

import jax
import numpy as np
import polars as pl
import pytest
import xarray as xr

import jaxbandit as jb
from jaxbandit.commands import sweeps
from jaxbandit.studies.sweeps import operations, run
from jaxbandit.studies.sweeps.result import RESULT
from tests.messages import assert_refused
from tests.studies.sweeps.stores import STUDY, blocks, planned


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def test_status(complete, capsys):
    sweeps.status(complete)
    assert capsys.readouterr().out == (
        "cells: 8 of 8 complete\nblocks: 24 stored, 0 known to be missing\nruns: 16,800\n"
        f"result: {complete / RESULT}\n"
    )


def test_status_of_damage(complete, tmp_path, capsys):
    store = tmp_path / "store"
    run.run_study(planned(), store, shard=(1, 2))
    blocks(store)[1].write_bytes(b"")
    sweeps.status(store)
    out = capsys.readouterr().out
    assert f"damaged: {blocks(store)[1].name}; the same sweep computes them anew" in out
    assert "result: not yet" in out
    assert_refused(lambda: sweeps.export(store, tmp_path / "a.csv"), "is not complete: .* blocks")
    assert_refused(lambda: sweeps.plot(store), "is not complete: .* blocks")


def test_exports(complete, tmp_path):
    for ending in ("csv", "parquet", "nc"):
        sweeps.export(complete, tmp_path / f"result.{ending}")
    stored = xr.open_zarr(complete / RESULT, consolidated=False)
    for table in (
        pl.read_csv(tmp_path / "result.csv"),
        pl.read_parquet(tmp_path / "result.parquet"),
    ):
        assert len(table) == 8 * 3 * 4
        assert table.columns[:9] == [
            *("alpha", "delta", "instance", "policy", "round", "runs"),
            *("regret_mean", "regret_sem", "regret_std"),
        ]
        row = table.filter(alpha=1.0, delta=0.01, instance="hard", round=9)
        cell = stored.sel(alpha=1.0, delta=0.01, instance="hard").isel(checkpoint=2)
        for policy in ("ucb", "oto"):
            (mean,) = row.filter(policy=policy)["regret_mean"]
            assert mean == cell["regret_mean"].sel(policy=policy)
        (difference,) = row.filter(policy="ucb - oto")["regret_sem"]
        assert difference == cell["difference_sem"].sel(pair="ucb - oto")
    with xr.open_dataset(tmp_path / "result.nc", engine="scipy") as netcdf:
        xr.testing.assert_equal(netcdf["regret_mean"].load(), stored["regret_mean"].load())
    assert_refused(
        lambda: sweeps.export(complete, tmp_path / "a.xls"), "must end in .csv, .parquet, .nc"
    )


def test_plot(complete, tmp_path):
    sweeps.plot(complete, tmp_path / "here.png")
    assert (tmp_path / "here.png").read_bytes().startswith(b"\x89PNG")
    assert_refused(
        lambda: sweeps.plot(complete, tmp_path / "here.xyz"), "--out must end in .png, was .*xyz"
    )
    for write, name in ((sweeps.plot, "here.png"), (sweeps.export, "here.csv")):
        path = tmp_path / "no" / name
        assert_refused(
            lambda write=write, path=path: write(complete, path),
            f"{name}: there is no folder .*no; make it",
        )


def test_dry_run(file, capsys):
    operations.sweep(file, None, dry_run=True)
    out = capsys.readouterr().out
    for words in (
        "cells: 8 = 2 x 2 x 2",
        "alpha: policies.oto.alpha = 0.01, 1.0",
        "instance: 2 lists for environment.mean; 2 lists for offline.count",
        "runs: 2,100 a cell, 16,800 in all",
        "programs to compile: 1",
        "time: about ",
        "memory: about ",
        "in 1 block, and the merged result",
    ):
        assert words in out


NOT_FINITE = """
journey = "online"
runs = 30
horizon = 20
[environment]
kind = "gaussian"
mean = [0.5, 0.6]
[policies.ucb]
[[sweep]]
environment.std = [1.0, 1.4e38]
"""


def test_runs_that_are_not_finite(file, command, tmp_path):
    """Named by cell and run, left out and counted, each time the study is asked for."""
    file.write_text(NOT_FINITE)
    store = tmp_path / "store"
    arms = jb.gaussian_arms([0.5, 0.6], 1.4e38)
    said = pytest.warns(UserWarning, match="of 30 runs are left out.* in 'ucb';")
    with said, np.errstate(over="ignore", invalid="ignore"):  # Means of the other runs' rewards.
        direct = jb.simulate(jax.random.key(0), {"ucb": jb.ucb()}, arms, horizon=20, runs=30)
    bad = direct.non_finite
    assert 5 < len(bad) < 30
    named = ", ".join(f"cell 1 run {number}" for number in bad[:5]) + f" and {len(bad) - 5} more"
    said = (
        f"jaxbandit: {len(bad)} of 60 runs gave numbers that are not finite and were left out: "
        f"{named}; look at the parameters of these cells\n"
    )
    for _ in range(2):
        assert command("sweep", file, "--out", store, "--quiet") == (1, "", said)
    assert f"not finite: {named}\n" in command("status", store)[1]
    result = xr.open_zarr(store / RESULT, consolidated=False).load()
    assert list(result["runs"]) == [30, 30 - len(bad)]
    assert set(result["non_finite_cell"].to_numpy()) == {1}
    np.testing.assert_array_equal(result["non_finite_run"], bad)
    mean = direct["ucb"].regret.mean
    assert np.all(np.isfinite(mean))
    np.testing.assert_array_equal(result["regret_mean"].isel(std=1).sel(policy="ucb"), mean)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard": "4/3"}, "shard must be I/N with I from 1 to N, as 2/3, was '4/3'"),
        ({"shard": "2"}, "shard must be I/N"),
        ({"out": None}, "--out must name the folder for the results"),
        ({"threads": 0}, "threads must be a whole number of at least 1, was 0"),
    ],
)
def test_bad_options(file, tmp_path, options, message):
    assert_refused(
        lambda: operations.sweep(file, **({"out": tmp_path / "store"} | options)), message
    )


def test_absurd_sizes_need_a_yes(file, tmp_path):
    file.write_text(STUDY.replace("runs = 2100", "runs = 100_000_000").replace("= 12", "= 1000000"))
    assert_refused(
        lambda: operations.sweep(file, tmp_path / "store"),
        "the study has 8 cells, 8e.08 runs, 1.6e.15 rounds .* pass --yes if this is meant",
    )
