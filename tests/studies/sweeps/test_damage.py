"""Every file of a store flipped, cut, removed or exchanged: no number changes in silence."""

import json
import os
import shutil

import numpy as np
import pytest
import xarray as xr

from jaxbandit.checks import InputError
from jaxbandit.commands import sweeps
from jaxbandit.studies.sweeps import run, store
from jaxbandit.studies.sweeps.compute import identity
from jaxbandit.studies.sweeps.exports import open_result
from jaxbandit.studies.sweeps.result import RESULT
from tests.messages import assert_refused
from tests.studies.sweeps.stores import STUDY, assert_same_store, blocks, contents, planned

OTHER = STUDY.replace("seed = 3", "seed = 4").replace("[0.2, 0.5, 0.6]", "[0.2, 0.5, 0.9]")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The store of another study that is cut alike and has files of the same names."""
    path = tmp_path_factory.mktemp("other") / "store"
    run.run_study(planned(OTHER), path)
    return path


@pytest.fixture
def copy(complete, tmp_path):
    """A copy of a complete store, result and all."""
    path = tmp_path / "copy"
    shutil.copytree(complete, path)
    return path


def flip(file, there, other):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut(file, there, other):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file, there, other):
    file.write_bytes(b"")


def lose(file, there, other):
    file.unlink()


def swap(file, there, other):
    """With the next file of its kind in the same store."""
    files = sorted(path for path in there.rglob(f"*{file.suffix}") if path.is_file())
    neighbour = files[(files.index(file) + 1) % len(files)]
    ours, theirs = file.read_bytes(), neighbour.read_bytes()
    neighbour.write_bytes(ours)
    file.write_bytes(theirs)


def take(file, there, other):
    """The same file of another study."""
    shutil.copy(other / file.relative_to(there), file)


HARMS = [flip, cut, empty, lose, swap, take]


def read(path):
    """All numbers of a store's result, as `plot` and `export` get them; None where refused."""
    try:
        with open_result(path) as found:
            return found.load()
    except InputError:
        return None


def outcome(call):
    """What a call raises, if it is one that users are told."""
    try:
        call()
    except InputError as error:
        return str(error)
    return None


def assert_no_silent_change(plan, complete, copy, capsys):
    """Reading, `status`, the sweep and reading again, of a store that something happened to."""
    right = read(complete)
    found = read(copy)
    if found is not None:
        xr.testing.assert_identical(found, right)
    said = outcome(lambda: sweeps.status(copy)) or capsys.readouterr().out
    assert "damage" in said or "study.json" in said or found is not None
    refused = outcome(lambda: run.run_study(plan, copy))
    if refused is None:
        assert_same_store(copy, complete)
    else:
        assert "\n" not in refused
        assert "study.json" in refused or "holds another study" in refused


def files(store):
    return sorted(path.relative_to(store) for path in store.rglob("*") if path.is_file())


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize(
    "name",
    [
        "study.json",
        "blocks",
        f"{RESULT}/zarr.json",
        f"{RESULT}/regret_mean/zarr.json",
        f"{RESULT}/alpha/c",
    ],
)
def test_a_damaged_file(plan, complete, copy, other, capsys, harm, name):
    """One of each kind of file."""
    file = next(copy / path for path in files(copy) if path.as_posix().startswith(name))
    harm(file, copy, other)
    assert_no_silent_change(plan, complete, copy, capsys)


@pytest.mark.slow  # Some hundred files, six times.
@pytest.mark.parametrize("harm", HARMS)
def test_every_file(plan, complete, tmp_path, other, capsys, harm):
    for path in files(complete):
        copy = tmp_path / "copy"
        shutil.copytree(complete, copy)
        harm(copy / path, copy, other)
        assert_no_silent_change(plan, complete, copy, capsys)
        shutil.rmtree(copy)


def test_blocks_of_another_study_are_damage(plan, complete, copy, other, capsys):
    """All of them, so that nothing else tells."""
    shutil.rmtree(copy / RESULT)
    for block in blocks(copy)[:3]:
        shutil.copy(other / "blocks" / block.name, block)
    sweeps.status(copy)
    assert f"damaged: {', '.join(block.name for block in blocks(copy)[:3])};" in (
        capsys.readouterr().out
    )
    assert run.run_study(plan, copy).repaired == 3
    assert_same_store(copy, complete)


def harmed(copy, other, how):
    result = copy / RESULT
    if how == "another study's":
        shutil.rmtree(result)
        shutil.copytree(other / RESULT, result)
    elif how == "without a variable":
        shutil.rmtree(result / "regret_mean")
    elif how == "with a file more":
        (result / "regret_mean" / "c" / "9").write_bytes(b"1")
    elif how == "empty":
        shutil.rmtree(result)
        result.mkdir()
    else:
        shutil.rmtree(result)
        result.write_text("")


@pytest.mark.parametrize(
    "how", ["another study's", "without a variable", "with a file more", "empty", "a file"]
)
def test_a_damaged_result_is_made_again(
    plan, complete, copy, other, command, tmp_path, monkeypatch, how
):
    """From the blocks; all commands say it."""
    harmed(copy, other, how)
    damaged = contents(copy)
    for call in (
        lambda: sweeps.export(copy, tmp_path / "a.csv"),
        lambda: sweeps.plot(copy, tmp_path / "a.png"),
    ):
        assert_refused(call, "result.zarr is damaged, or of another study: .* makes it again")
    status, out, _ = command("status", copy)
    assert (status, contents(copy)) == (0, damaged)
    assert "result: damaged, or of another study; the same sweep makes it again" in out
    (tmp_path / "study.toml").write_text(STUDY)
    status, out, _ = command("sweep", tmp_path / "study.toml", "--out", copy)
    assert status == 0
    assert "nothing to compute" in out
    assert "result.zarr, made again because it was damaged or of another study" in out
    assert_same_store(copy, complete)
    assert not run.run_study(plan, copy).remade


@pytest.mark.parametrize(
    "change",
    [
        lambda layout: layout.update(stages=[15]),
        lambda layout: layout.update(stages=[2, *layout["stages"]]),
        lambda layout: layout.update(stages=[]),
        lambda layout: layout.update(stages="17"),
        lambda layout: layout.update(runs=9000),
        lambda layout: layout.update(width=0),
        lambda layout: layout.update(width=True),
        lambda layout: layout.pop("width"),
        lambda layout: layout.update(chunks=[]),
        lambda layout: layout["chunks"].reverse(),
        lambda layout: layout["chunks"][-1].__setitem__(1, 7),
        lambda layout: layout["chunks"][0].__setitem__(2, 0),
        lambda layout: layout["chunks"][0].__setitem__(2, 5),
        lambda layout: layout["chunks"][0].__setitem__(2, 1e300),
    ],
)
def test_another_layout_is_refused(plan, copy, change):
    file = copy / "study.json"
    manifest = json.loads(file.read_text())
    change(manifest["layout"])
    file.write_text(json.dumps(manifest))
    before = contents(copy)
    assert_refused(lambda: run.run_study(plan, copy), "study.json is damaged: layout.* copy it")
    assert_refused(lambda: sweeps.export(copy, copy / "a.csv"), "damaged")
    assert contents(copy) == before


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"null",
        b"\xff\xfe\x00",
        DEEP.encode(),
        b"1" * 5000,
        b'{"program": "jaxbandit study"}',
        b'{"program": "jaxbandit study", "format": NaN}',
        b'{"program": "jaxbandit study", "format": 2}',
        b'{"program": "jaxbandit study", "format": 2, "study": [], "layout": {}, "identity": {}}',
        b'{"program": "jaxbandit study", "format": 2, "study": {}, "layout": {}, "identity": {}}',
        b'{"program": "jaxbandit study", "format": 2, "study": {}, "layout": {}, "identity": []}',
    ],
)
def test_a_crafted_study_file(plan, copy, command, text):
    (copy / "study.json").write_bytes(text)
    for arguments in (("status", copy), ("plot", copy), ("export", copy, copy / "a.csv")):
        status, _, err = command(*arguments)
        assert status == 1
        assert err.startswith("jaxbandit: ")
        assert err.count("\n") == 1
    assert_refused(lambda: run.run_study(plan, copy), "study.json|format nan")


def test_a_lost_study_file_is_restored_as_is_said(plan, complete, copy, tmp_path):
    """Every block is kept."""
    (copy / "study.json").unlink()
    assert_refused(lambda: run.run_study(plan, copy), "not the store .* into an empty folder")
    width = plan.layout.width
    new = store.create(tmp_path / "new", plan.study, plan.layout, identity(plan.study, width))
    shutil.copy(new.path / "study.json", copy)
    assert run.run_study(plan, copy).computed == 0
    assert_same_store(copy, complete)


def test_a_store_of_the_format_before(plan, copy):
    """Its blocks do not say whose they are."""
    file = copy / "study.json"
    file.write_text(file.read_text().replace('"format": 2', '"format": 1'))
    assert_refused(
        lambda: run.run_study(plan, copy),
        "has format 1, this jaxbandit reads format 2; use the version that wrote it, or sweep into",
    )
    assert_refused(lambda: sweeps.status(copy), "has format 1")


def test_blocks_that_are_no_folder(plan, copy):
    shutil.rmtree(copy / "blocks")
    (copy / "blocks").write_text("")
    assert_refused(lambda: run.run_study(plan, copy), "blocks must be a folder .* was a file")


def test_file_systems_without_hard_links(plan, complete, tmp_path, monkeypatch):
    def link(*_, **__):
        raise PermissionError(1, os.strerror(1))

    monkeypatch.setattr(os, "link", link)
    path = tmp_path / "store"
    run.run_study(plan, path)
    assert_same_store(path, complete)


def test_whole_numbers_beyond_64_bits(tmp_path):
    """Those of 64 bits without a sign are taken; the result has floating point numbers."""
    text = STUDY[: STUDY.index("[[sweep]]")].replace("2100", "5")
    text += f'[[sweep]]\n"policies.oto.alpha" = [1, {2**63}]\n'
    run.run_study(planned(text), tmp_path / "store")
    np.testing.assert_array_equal(open_result(tmp_path / "store")["alpha"], [1.0, 2.0**63])
