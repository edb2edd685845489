"""Blocks computed by Dask workers, some of which die."""

import subprocess
import sys
import time

import pytest

from jaxbandit.studies import run, sweep
from jaxbandit.studies.cluster import on_cluster
from jaxbandit.studies.result import RESULT
from tests.messages import assert_refused
from tests.studies.sweeps import STUDY, blocks, contents, planned


@pytest.fixture
def cluster(root_directory, environment, tmp_path):
    """A scheduler with three workers, each a process: address, scheduler, workers."""
    processes = []

    def start(module, *arguments):
        command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments, "--no-dashboard"]
        log = (tmp_path / f"{len(processes)}.log").open("w")
        processes.append(
            subprocess.Popen(
                command,
                cwd=root_directory,
                env=environment | {"PYTHONWARNINGS": "default"},
                stdout=log,
                stderr=log,
            )
        )

    file = tmp_path / "scheduler.json"
    start("dask_scheduler", "--port", "0", "--scheduler-file", str(file))
    for _ in range(3):
        start("dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny")
    while not file.exists():
        time.sleep(0.05)
    import json

    yield json.loads(file.read_text())["address"], processes[0], processes[1:]
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.slow  # Four processes to start, and blocks that are computed again.
def test_workers_that_die(cluster, complete, tmp_path):
    address, scheduler, workers = cluster
    plan = planned()
    compute = on_cluster(address, plan)
    store = tmp_path / "store"

    def kill_two(study, wanted, advance):
        for number, done in enumerate(compute(study, wanted, advance)):
            if number in (0, 3):
                workers.pop().kill()
            yield done

    assert run.run_study(plan, store, compute_blocks=kill_two).computed == 24
    assert contents(store / RESULT) == contents(complete / RESULT)

    for path in blocks(store):
        path.unlink()

    def kill_scheduler(study, wanted, advance):
        for done in compute(study, wanted, advance):
            yield done
            scheduler.kill()

    assert_refused(
        lambda: run.run_study(plan, store, compute_blocks=kill_scheduler),
        "the Dask scheduler at tcp://.* is lost; the same command goes on from what is stored",
    )
    assert blocks(store)
    run.run_study(plan, store)
    assert contents(store / "blocks").keys() == contents(complete / "blocks").keys()


def test_no_scheduler(tmp_path):
    (tmp_path / "study.toml").write_text(STUDY)
    arguments = {"out": tmp_path / "store", "cluster": "nonsense"}
    assert_refused(
        lambda: sweep.sweep(tmp_path / "study.toml", **arguments),
        "no Dask scheduler answers at nonsense",
    )
