"""Blocks computed by Dask workers, some of which die."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from jaxbandit.studies.sweeps import cluster as cluster_blocks
from jaxbandit.studies.sweeps import operations, run
from jaxbandit.studies.sweeps.cluster import on_cluster
from tests.messages import assert_refused
from tests.studies.sweeps.stores import STUDY, assert_same_store, blocks


@pytest.fixture
def cluster(root_directory, environment, tmp_path):
    """A scheduler and three workers: its address, its process, and theirs by number."""
    with ExitStack() as stack:

        def start(module, *arguments):
            log = stack.enter_context((tmp_path / f"{module}.log").open("a"))
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", f"distributed.cli.{module}", *arguments],
                    cwd=root_directory,
                    env=environment | {"PYTHONWARNINGS": "default"},
                    stdout=log,
                    stderr=log,
                )
            )
            stack.callback(process.kill)
            return process

        file = tmp_path / "scheduler.json"
        options = ("--scheduler-file", str(file), "--no-dashboard")
        scheduler = start("dask_scheduler", "--port", "0", *options)
        workers = [start("dask_worker", "--nthreads", "1", "--no-nanny", *options) for _ in "abc"]
        while not file.exists():
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        yield address, scheduler, {worker.pid: worker for worker in workers}


@pytest.mark.slow  # Four processes to start, and blocks that are computed again.
def test_workers_that_die(cluster, plan, complete, tmp_path):
    from distributed import Client

    address, _, workers = cluster
    store = tmp_path / "store"
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(3, timeout=120)
        numbers = client.run(os.getpid)

        def kill_one():
            """In the middle of a block."""
            busy = next(worker for worker, tasks in client.processing().items() if tasks)
            workers.pop(numbers[busy]).kill()

        compute = on_cluster(address, plan)

        def killing(study, wanted, advance):
            for number, done in enumerate(compute(study, wanted, advance)):
                if number in (0, 3):
                    kill_one()
                yield done

        assert run.run_study(plan, store, compute_blocks=killing).computed == 24
        assert len(client.scheduler_info()["workers"]) == 1
    assert_same_store(store, complete)


@pytest.mark.slow  # Six processes.
def test_a_scheduler_that_is_lost(cluster, start, folder, complete):
    address, scheduler, _ = cluster
    store, file = folder / "lost", folder / "study.toml"
    process = start("sweep", file, "--out", store, "--cluster", address)
    while process.poll() is None and not blocks(store):
        time.sleep(0.001)
    scheduler.kill()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err == (
        f"jaxbandit: the Dask scheduler at {address} is lost; the same command goes on from what "
        "is stored\n"
    )
    assert 0 < len(blocks(store)) < 24
    process = start("sweep", file, "--out", store)
    assert process.communicate(timeout=300)[1] == ""
    assert_same_store(store, complete)


@pytest.mark.parametrize(
    "address",
    ["nonsense", "nonsense://x", "", "tcp://", "http://x", "tcp://host:port", "tls://127.0.0.1:3"],
)
def test_no_scheduler(tmp_path, address):
    (tmp_path / "study.toml").write_text(STUDY)
    arguments = {"out": tmp_path / "store", "cluster": address}
    assert_refused(
        lambda: operations.sweep(tmp_path / "study.toml", **arguments),
        f"no Dask scheduler answers at {address}: .* `dask scheduler` prints",
    )


def test_a_scheduler_without_workers(capsys, monkeypatch):
    """It is said, again and again, until it ends."""

    class Client:
        def scheduler_info(self):
            return {"workers": {}}

    monkeypatch.setattr(cluster_blocks, "_PATIENCE", (0.01, 0.01))
    with cluster_blocks._saying_who_is_missing(Client(), "tcp://a:1"):
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 2
    assert set(lines) == {
        "jaxbandit: the scheduler at tcp://a:1 has no workers; blocks wait for one: "
        "dask worker tcp://a:1 --nthreads 1"
    }
