"""A store survives what happens to disks and processes; the result is the same to the bit."""

import json
import os
import resource
import shutil
import subprocess

import jax
import numpy as np
import pytest
import xarray as xr

import jaxbandit as jb
from jaxbandit.studies.sweeps import result, run
from jaxbandit.studies.sweeps.exports import open_result
from jaxbandit.studies.sweeps.result import RESULT
from jaxbandit.studies.sweeps.store import open_store
from tests.messages import assert_refused
from tests.studies.sweeps.stores import STUDY, assert_same_store, blocks, contents, parsed, planned

BLOCKS = 24


@pytest.fixture
def copy(complete, tmp_path):
    """A copy of it without the merged result."""
    path = tmp_path / "copy"
    shutil.copytree(complete, path)
    shutil.rmtree(path / RESULT)
    return path


def test_a_cell_is_a_simulation(complete):
    """To the bit: means, deviations, pairs, pulls and each run's last numbers."""
    result = open_result(complete).sel(alpha=1.0, delta=0.1, instance="hard")
    bounds = jb.confidence(delta=0.1)
    out = jb.simulate(
        jax.random.key(3),
        {"ucb": jb.ucb(bounds), "oto": jb.oto(1.0, bounds)},
        jb.bernoulli_arms([0.5, 0.5, 0.52]),
        horizon=12,
        runs=2100,
        offline_count=[9, 0, 0],
        checkpoints=[3, 6, 9, 12],
    )
    np.testing.assert_array_equal(result["round"], out["oto"].round)
    assert result["runs"] == 2100
    for name in ("ucb", "oto"):
        ours, theirs = result.sel(policy=name), out[name]
        quantities = ("regret", "logging_regret", "reward", "pulls")
        named = {quantity: getattr(theirs, quantity) for quantity in quantities}
        named |= {f"info_{key}": value for key, value in theirs.info.items()}
        for quantity, moments in named.items():
            for part in ("mean", "std", "sem"):
                np.testing.assert_array_equal(ours[f"{quantity}_{part}"], getattr(moments, part))
        np.testing.assert_array_equal(ours["final_regret"], theirs.final_regret)
        np.testing.assert_array_equal(ours["final_reward"], theirs.final_reward)
    assert np.all(np.isnan(result.sel(policy="ucb")["info_budget_mean"]))
    pair = result.sel(pair="ucb - oto")
    np.testing.assert_array_equal(pair["difference_mean"], out.paired("ucb", "oto").mean)
    np.testing.assert_array_equal(pair["difference_sem"], out.paired("ucb", "oto").sem)


def test_moments_are_those_of_the_runs(complete):
    result = open_result(complete)
    finals = result["final_regret"].astype(float)
    last = result.isel(checkpoint=-1)
    np.testing.assert_allclose(last["regret_mean"], finals.mean("run"), rtol=1e-5)
    np.testing.assert_allclose(last["regret_std"], finals.std("run", ddof=1), rtol=1e-5)
    np.testing.assert_array_equal(result["pulls_mean"].sum("arm").round(4), 12)
    # Cells share random numbers, and differ.
    assert len(np.unique(last["regret_mean"].sel(policy="oto"))) == 8


def test_result_has_names_and_units(complete):
    result = xr.open_zarr(complete / RESULT, consolidated=False)
    assert result["regret_mean"].dims == ("alpha", "delta", "instance", "policy", "checkpoint")
    assert result["regret_mean"].attrs["units"] == "reward"
    assert result["pulls_mean"].attrs["units"] == "rounds"
    assert list(result["instance"].to_numpy()) == ["easy", "hard"]
    assert set(result.coords) >= {"round", "environment.mean", "offline.count"}
    assert result.attrs["seed"] == 3
    assert parsed(result.attrs["study"])[0] == parsed(STUDY)[0]


@pytest.mark.parametrize("rows", [1, 2])
def test_a_result_is_the_same_however_much_is_written_at_once(tmp_path, monkeypatch, rows):
    """Three cells of one axis, so that the last slab may be short."""
    text = STUDY[: STUDY.index("[[sweep]]")]
    text += '[[sweep]]\n"policies.oto.alpha" = [0.01, 1.0, 2.0]\n'
    plan, store = planned(text), tmp_path / "store"
    run.run_study(plan, store)
    with open_result(store) as whole:
        whole.load()
    largest = max(value[0].nbytes for value in whole.data_vars.values())
    shutil.rmtree(store / RESULT)
    monkeypatch.setattr(result, "_SLAB_BYTES", rows * largest)
    run.run_study(plan, store)
    with open_result(store) as found:
        xr.testing.assert_identical(found.load(), whole)
    assert open_result(store)["regret_mean"].encoding["chunks"][0] == rows


def test_nothing_is_computed_twice(plan, complete):
    before = contents(complete)
    outcome = run.run_study(plan, complete)
    assert (outcome.computed, outcome.result) == (0, complete / RESULT)
    assert contents(complete) == before


def test_only_missing_blocks_are_computed(plan, complete, copy):
    for path in blocks(copy)[::7]:
        path.unlink()
    assert run.run_study(plan, copy, threads=1).computed == len(blocks(complete)[::7])
    assert_same_store(copy, complete)


@pytest.mark.parametrize("place", [0, 70, 0.5, -70, -30, -1])
def test_a_flipped_byte_is_found(plan, complete, copy, place):
    path = blocks(copy)[3]
    data = bytearray(path.read_bytes())
    data[int(place * len(data)) if isinstance(place, float) else place] ^= 4
    path.write_bytes(data)
    outcome = run.run_study(plan, copy)
    assert (outcome.computed, outcome.repaired) == (1, 1)
    assert_same_store(copy, complete)


def part(path, process):
    """The name under which a process of this host makes a file or folder."""
    return path.with_name(f".{path.name}.aa.{os.uname().nodename}.{process}.part")


@pytest.fixture
def gone():
    """The number of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_power_cut(plan, complete, copy, gone):
    """The newest files are short, empty, or there under their temporary names."""
    first, second, third, fourth = blocks(copy)[-4:]
    first.write_bytes(first.read_bytes()[:-1])
    second.write_bytes(second.read_bytes()[:1000])
    third.write_bytes(b"")
    fourth.rename(part(fourth, gone))
    outcome = run.run_study(plan, copy)
    assert (outcome.computed, outcome.repaired) == (4, 3)
    assert_same_store(copy, complete)


def test_killed_while_it_merged(plan, complete, copy, gone):
    """What others that still live are about to finish is left alone."""
    result = copy / RESULT
    dead, alive = part(result, gone), part(result, os.getppid())
    for folder in (dead, alive):
        shutil.copytree(complete / RESULT / "regret_mean", folder / "regret_mean")
    assert run.run_study(plan, copy).computed == 0
    assert not dead.exists()
    assert contents(alive)
    shutil.rmtree(alive)
    assert_same_store(copy, complete)


@pytest.mark.parametrize("manifest", [False, True])
def test_killed_while_the_store_was_made(plan, complete, tmp_path, gone, manifest):
    store = tmp_path / "store"
    store.mkdir()
    file = store / "study.json"
    shutil.copy(complete / file.name, file if manifest else part(file, gone))
    run.run_study(
        plan, store, compute_blocks=lambda study, wanted, advance: copied(complete, wanted)
    )
    assert_same_store(store, complete)


def copied(complete, wanted):
    """Blocks that another store has."""
    there = open_store(complete)
    return ((block, *there.read(block)) for block in wanted)


def test_blocks_of_another_cell_are_damage(plan, complete, copy):
    shutil.copy(blocks(copy)[0], blocks(copy)[-1])
    assert run.run_study(plan, copy).repaired == 1
    assert_same_store(copy, complete)


def test_shards_in_any_order_and_twice(plan, complete, tmp_path):
    """Each on another number of threads."""
    store = tmp_path / "store"
    outcomes = [run.run_study(plan, store, shard=(i, 3), threads=i) for i in (3, 1, 1, 2)]
    assert [outcome.result is not None for outcome in outcomes] == [False, False, False, True]
    counts = [outcome.computed for outcome in outcomes]
    assert counts[2] == 0
    assert sum(counts) == BLOCKS
    assert max(counts) - min(counts[0], counts[1], counts[3]) <= 2
    assert_same_store(store, complete)


def test_blocks_written_by_two_at_once(plan, complete, tmp_path):
    """Both compute all, as two that start together do."""
    store = tmp_path / "store"

    def late(study, wanted, advance):
        found = list(run.compute(study, plan.cells, wanted))
        run.run_study(plan, store)
        yield from found

    assert run.run_study(plan, store, compute_blocks=late).computed == BLOCKS
    assert_same_store(store, complete)


@pytest.mark.parametrize("order", [1, -1])
def test_chunks_are_merged_as_soon_as_they_can_be(plan, complete, tmp_path, monkeypatch, order):
    """In their order, each once; all at the end where the first is the last to come."""
    store, merge = tmp_path / "store", result.merge_chunk
    seen = []

    def watched(where, chunk, *rest):
        seen.append((chunk, len(blocks(store))))
        return merge(where, chunk, *rest)

    def ordered(study, wanted, advance):
        yield from run.compute(study, plan.cells, wanted[::order], advance=advance)

    monkeypatch.setattr(result, "merge_chunk", watched)
    run.run_study(plan, store, compute_blocks=ordered)
    assert_same_store(store, complete)
    chunks, stored = zip(*seen, strict=True)
    count = len(plan.layout.chunks)
    assert chunks == tuple(range(count))
    each = BLOCKS // count
    assert stored == tuple(each * (i + 1) if order == 1 else BLOCKS for i in range(count))


def test_another_study_is_refused(complete):
    other = planned(STUDY.replace("seed = 3", "seed = 4").replace("0.01, 1.0", "0.01, 2"))
    message = r"holds another study or version: seed is 3 there, 4 here; sweep\[0\]"
    assert_refused(lambda: run.run_study(other, complete), message)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("identity", "jaxlib"), "0.1", 'jaxlib is "0.1" there, .* here'),
        (("identity", "jaxbandit"), "99.0", 'jaxbandit is "99.0" there, .* here'),
        (("identity", "precision"), "other", 'precision is "other" there, "float.*" here'),
        (("identity", "stream"), 0, "stream is 0 there, 2 here"),
        (("format",), 99, "has format 99, this jaxbandit reads format 2"),
        (("program",), "other", "is of another program: 'other'"),
        (("layout",), None, "study.json is damaged"),
    ],
)
def test_other_versions_are_refused(plan, copy, path, value, message):
    file = copy / "study.json"
    manifest = table = json.loads(file.read_text())
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    file.write_text(json.dumps(manifest))
    assert_refused(lambda: run.run_study(plan, copy), message)


def test_a_folder_of_something_else_is_refused(plan, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    assert_refused(lambda: run.run_study(plan, tmp_path), "not the store of a study and not empty")
    assert_refused(lambda: run.run_study(plan, tmp_path / "thesis.tex"), "must be a folder")
    assert_refused(lambda: open_store(tmp_path), "has no study.json")
    (tmp_path / "study.json").write_text("{")
    assert_refused(lambda: open_store(tmp_path), "not that of a study, or is damaged")


def test_a_disk_that_is_full(plan, complete, copy):
    """No file may grow beyond the limit, as on a disk without room."""
    kept = blocks(copy)[5:]
    for path in blocks(copy)[:5]:
        path.unlink()
    before = {path: path.read_bytes() for path in kept}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="All blocks stored before are safe; the same command"):
            run.run_study(plan, copy)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in kept} == before
    assert blocks(copy) == kept
    run.run_study(plan, copy)
    assert_same_store(copy, complete)


@pytest.fixture
def small_disk(tmp_path):
    """A file system with little room."""
    path = tmp_path / "disk"
    path.mkdir()

    def mount(options, source="tmpfs"):
        command = ["mount", "-t", "tmpfs", "-o", options, source, str(path)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if not mount("size=256k"):
        # The test above fills a disk by a limit on the size of files, which needs no right; a disk
        # that turns read-only has no such stand-in, as permissions do not bind a superuser.
        pytest.skip("only the superuser of a whole machine may mount; most containers' may not")
    yield path, mount
    subprocess.run(["umount", str(path)], check=True)


def test_a_small_disk(plan, complete, small_disk):
    path, mount = small_disk
    store = path / "store"
    with pytest.raises(OSError, match="No space left on device: cannot write to"):
        run.run_study(plan, store)
    stored = blocks(store)
    assert 0 < len(stored) < BLOCKS
    assert mount("remount,size=64m")
    assert run.run_study(plan, store).computed == BLOCKS - len(stored)
    assert_same_store(store, complete)
    blocks(store)[0].unlink()
    assert mount("remount,ro")
    with pytest.raises(OSError, match="Read-only file system"):
        run.run_study(plan, store)
