"""The commands about studies as processes: killed, resumed, and on other devices."""

import random
import signal
import subprocess
import sys
import time

import polars as pl
import pytest
import xarray as xr

from jaxbandit.studies.result import RESULT
from tests.studies.sweeps import STUDY, blocks, contents


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    (path / "study.toml").write_text(STUDY)
    return path


@pytest.fixture(scope="module")
def start(root_directory, environment, folder):
    """Start a command about the study; compiled programs are kept between processes."""

    def call(*arguments, **more):
        return subprocess.Popen(
            [sys.executable, "-m", "tests.studies.small_blocks", *map(str, arguments)],
            cwd=root_directory,
            env=environment | {"PYTHONWARNINGS": "default"} | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return call


@pytest.fixture(scope="module")
def finish(start):
    """Run it to its end: status, output and errors."""

    def call(*arguments, **more):
        process = start(*arguments, **more)
        out, err = process.communicate(timeout=300)
        assert "Traceback" not in out + err
        return process.returncode, out, err

    return call


@pytest.fixture(scope="module")
def complete(finish, folder):
    """The store of an uninterrupted sweep."""
    store = folder / "complete"
    status, out, err = finish("sweep", folder / "study.toml", "--out", store)
    assert (status, err) == (0, "")
    assert out.startswith("computed 24 blocks in ")
    return store


def killed_and_resumed(start, finish, folder, complete, times, seed):
    """Kill a sweep again and again, at a random moment while it writes, then let it end."""
    store, moment = folder / f"killed-{seed}", random.Random(seed)
    for _ in range(times):
        process = start("sweep", folder / "study.toml", "--out", store)
        stored = len(blocks(store))
        while process.poll() is None and len(blocks(store)) == stored:
            time.sleep(0.001)
        time.sleep(moment.uniform(0, 0.03))
        process.kill()
        process.communicate()
        if process.returncode == 0:
            break
    survived = len(blocks(store))
    status, out, _ = finish("sweep", folder / "study.toml", "--out", store)
    assert status == 0
    assert contents(store / RESULT) == contents(complete / RESULT)
    assert not list(store.rglob(".*"))
    return survived


def test_killed_and_resumed(start, finish, folder, complete):
    assert 0 < killed_and_resumed(start, finish, folder, complete, times=2, seed=0) < 24


@pytest.mark.slow  # Fifty processes of some seconds each.
def test_killed_fifty_times(start, finish, folder, complete):
    for seed in range(1, 26):
        killed_and_resumed(start, finish, folder, complete, times=2, seed=seed)


def test_interrupted(start, finish, folder, complete):
    store = folder / "interrupted"
    process = start("sweep", folder / "study.toml", "--out", store)
    while process.poll() is None and not blocks(store):
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == (
        f"jaxbandit: interrupted; what is in {store} is complete, and the same command goes on "
        "from there\n"
    )
    status, out, _ = finish("status", store)
    assert status == 0
    assert "result: not yet" in out
    assert finish("plot", store)[0] == 1
    assert finish("sweep", folder / "study.toml", "--out", store, "--quiet") == (0, "", "")
    assert contents(store / RESULT) == contents(complete / RESULT)


def test_two_devices_and_one_thread(finish, folder, complete):
    store = folder / "devices"
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    assert finish("sweep", folder / "study.toml", "--out", store, "--threads", 1, **flags)[0] == 0
    assert contents(store / RESULT) == contents(complete / RESULT)


def test_status_plot_and_exports(finish, complete, folder):
    status, out, _ = finish("status", complete)
    assert status == 0
    assert "cells: 8 of 8 complete\nblocks: 24 stored, 0 known to be missing\n" in out
    assert finish("plot", complete)[0] == 0
    assert (complete / "result.png").read_bytes().startswith(b"\x89PNG")
    for ending in ("csv", "parquet", "nc"):
        assert finish("export", complete, folder / f"result.{ending}")[0] == 0
    tables = [pl.read_csv(folder / "result.csv"), pl.read_parquet(folder / "result.parquet")]
    stored = xr.open_zarr(complete / RESULT, consolidated=False)
    for table in tables:
        assert len(table) == 8 * 3 * 4
        row = table.filter(
            (pl.col("alpha") == 1.0)
            & (pl.col("delta") == 0.01)
            & (pl.col("instance") == "hard")
            & (pl.col("round") == 9)
        )
        cell = stored.sel(alpha=1.0, delta=0.01, instance="hard").isel(checkpoint=2)
        for policy in ("ucb", "oto"):
            (mean,) = row.filter(policy=policy)["regret_mean"]
            assert mean == cell["regret_mean"].sel(policy=policy)
        (difference,) = row.filter(policy="ucb - oto")["regret_sem"]
        assert difference == cell["difference_sem"].sel(pair="ucb - oto")
    with xr.open_dataset(folder / "result.nc", engine="scipy") as netcdf:
        xr.testing.assert_equal(netcdf["regret_mean"].load(), stored["regret_mean"].load())


def test_dry_run(finish, folder):
    status, out, err = finish("sweep", folder / "study.toml", "--dry-run")
    assert (status, err) == (0, "")
    for words in (
        "cells: 8 = 2 x 2 x 2",
        "alpha: policies.oto.alpha = 0.01, 1.0",
        "instance: 2 lists for environment.mean; 2 lists for offline.count",
        "runs: 2,100 a cell, 16,800 in all",
        "programs to compile: 1",
        "time: about ",
        "memory: about ",
        "24 blocks",
    ):
        assert words in out
    assert not (folder / "store").exists()


def test_a_second_process_does_not_compile(finish, folder, complete):
    """Programs are found in the cache: none is added by another start."""
    cache = folder / "cache"
    arguments = ("sweep", folder / "study.toml", "--dry-run")
    assert finish(*arguments, XDG_CACHE_HOME=str(cache))[0] == 0
    first = contents(cache)
    assert first
    assert finish(*arguments, XDG_CACHE_HOME=str(cache))[0] == 0
    assert {name for name in contents(cache) if name.endswith("-cache")} == {
        name for name in first if name.endswith("-cache")
    }
    for path in cache.rglob("*-cache"):
        path.write_bytes(b"nonsense")
    assert finish(*arguments, XDG_CACHE_HOME=str(cache))[::2] == (0, "")


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


def test_runs_that_are_not_finite(finish, folder, tmp_path):
    (tmp_path / "study.toml").write_text(NOT_FINITE)
    store = tmp_path / "store"
    status, _, err = finish("sweep", tmp_path / "study.toml", "--out", store)
    assert status == 1
    assert err.startswith("jaxbandit: ")
    assert " of 60 runs gave numbers that are not finite and were left out: cell 1 run " in err
    assert "not finite: cell 1 run " in finish("status", store)[1]
    result = xr.open_zarr(store / RESULT, consolidated=False).load()
    bad = result.sizes["left_out"]
    assert list(result["runs"]) == [30, 30 - bad]
    assert set(result["non_finite_cell"].to_numpy()) == {1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--out", "x", "--shard", "4/3"),
            "shard must be I/N with I from 1 to N, as 2/3, was '4/3'",
        ),
        ((), "--out must name the folder for the results"),
        (("--out", "x", "--threads", 0), "threads must be a whole number of at least 1, was 0"),
        (
            ("--out", "x", "--cluster", "tcp://127.0.0.1:9"),
            "no Dask scheduler answers at tcp://127",
        ),
    ],
)
def test_bad_options(finish, folder, monkeypatch, arguments, message):
    status, _, err = finish("sweep", folder / "study.toml", *arguments)
    assert status == 1
    assert err.startswith(f"jaxbandit: {message}")
    assert err.count("\n") == 1
