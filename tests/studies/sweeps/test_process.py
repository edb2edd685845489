"""The commands about studies as processes: killed, resumed, and on other devices."""

import random
import shutil
import signal
import time

import pytest

from jaxbandit.commands import sweeps
from jaxbandit.studies.sweeps import run
from tests.studies.sweeps.stores import assert_same_store, blocks, contents, written


@pytest.fixture(scope="module")
def finish(start):
    """Run it to its end: status, output and errors."""

    def call(*arguments, **more):
        process = start(*arguments, **more)
        out, err = process.communicate(timeout=300)
        assert "Traceback" not in out + err
        return process.returncode, out, err

    return call


def killed(start, folder, store, total, moment):
    """Start a sweep and kill it at a random moment of its writing; whether it had not ended."""
    before = written(store)
    # As likely among the first blocks as among the files of the result, which are many.
    wanted = max(1, total - len(before)) ** moment.random()
    process = start("sweep", folder / "study.toml", "--out", store)
    while process.poll() is None and len(written(store) - before) < wanted:
        time.sleep(0.001)
    time.sleep(moment.uniform(0, 0.01))
    process.kill()
    process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


def assert_survives_kills(start, plan, folder, complete, *, kills, seed):
    """Kill the sweep into one store that often, let it end, and compare; gives the blocks that were
    stored at each kill."""
    store, moment, stored = folder / f"killed-{seed}", random.Random(seed), []
    while len(stored) < kills:
        if killed(start, folder, store, len(written(complete)), moment):
            stored.append(len(blocks(store)))
        else:
            assert_same_store(store, complete)
            shutil.rmtree(store)
    run.run_study(plan, store)
    assert_same_store(store, complete)
    return stored


def test_killed_and_resumed(start, plan, folder, complete):
    stored = assert_survives_kills(start, plan, folder, complete, kills=2, seed=0)
    assert max(stored) > 0


@pytest.mark.slow  # Fifty processes of some seconds each.
def test_killed_fifty_times(start, plan, folder, complete):
    stored: list[int] = []
    for seed in range(1, 26):
        stored += assert_survives_kills(start, plan, folder, complete, kills=2, seed=seed)
    assert len(stored) == 50
    assert len(set(stored)) > 5  # Not always at the same place.


def test_interrupted(start, plan, folder, complete, capsys):
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
    sweeps.status(store)
    assert "result: not yet" in capsys.readouterr().out
    run.run_study(plan, store)
    assert_same_store(store, complete)


@pytest.mark.slow  # Four processes.
def test_shards_started_twice_at_once(start, folder, complete):
    store = folder / "twice"
    processes = [
        start("sweep", folder / "study.toml", "--out", store, "--shard", part, "--quiet")
        for part in ("1/2", "2/2", "1/2", "2/2")
    ]
    for process in processes:
        assert process.communicate(timeout=300) == ("", "")
        assert process.returncode == 0
    assert_same_store(store, complete)


@pytest.mark.slow  # Another number of devices is another program to compile.
def test_two_devices_and_one_thread(finish, folder, complete):
    store = folder / "devices"
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    assert finish("sweep", folder / "study.toml", "--out", store, "--threads", 1, **flags)[0] == 0
    assert_same_store(store, complete)


@pytest.mark.slow  # Three processes, of which one compiles.
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
    programs = sorted(cache.rglob("*-cache"))
    for number, path in enumerate(programs):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes((b"nonsense", b"", data, data[: len(data) // 2], data[:-1])[number % 5])
    damaged = {path: path.read_bytes() for path in programs}
    assert finish(*arguments, XDG_CACHE_HOME=str(cache))[::2] == (0, "")
    assert all(path.read_bytes() != data for path, data in damaged.items())
