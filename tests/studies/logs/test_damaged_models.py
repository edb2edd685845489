"""Model files that are damaged or crafted: one line, or the model that was written."""

import io
import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxbandit.checks import LARGEST, InputError
from jaxbandit.studies.logs import model_file
from jaxbandit.studies.logs.model_file import load_model, save_model
from jaxbandit.studies.report.files import whole
from tests.messages import assert_refused

SAVED = Path(__file__).with_name("model-1.npz")
DATA = SAVED.read_bytes()
FEW = 500
"""Bytes changed, and lengths tried; all of them in slow runs."""

with np.load(SAVED) as archive:
    GOOD = {name: archive[name] for name in archive.files if name != "checksum"}
HEADER = json.loads(str(GOOD["header"]))
TASKS, D = GOOD["moment"].shape


def seal(path, arrays):
    """Written as a model is, checksum and all."""
    kept = {name: array for name, array in arrays.items() if array is not None}
    try:
        checksum = model_file._checksum(kept)
    except ValueError:  # Of Python's objects.
        checksum = ""
    np.savez(path, **kept, checksum=np.array(checksum))


def with_header(**changes):
    return {"header": np.array(json.dumps(HEADER | changes))}


def with_columns(**changes):
    return with_header(columns=HEADER["columns"] | changes)


def entry(name, index, value):
    array = GOOD[name].copy()
    array[index] = value
    return {name: array}


def raw_header(old, new):
    text = json.dumps(HEADER)
    assert old in text
    return {"header": np.array(text.replace(old, new))}


NUMBERS = [name for name in GOOD if name not in ("header", "task_name")]
CRAFTED = {
    **{f"no {name}": {name: None} for name in GOOD},
    **{f"{name} complex": {name: GOOD[name].astype(complex)} for name in NUMBERS},
    **{f"{name} bool": {name: GOOD[name].astype(bool)} for name in NUMBERS},
    **{f"{name} text": {name: GOOD[name].astype(str)} for name in NUMBERS},
    **{f"{name} objects": {name: GOOD[name].astype(object)} for name in GOOD},
    **{f"{name} float32": {name: GOOD[name].astype(np.float32)} for name in NUMBERS},
    **{f"{name} of one axis more": {name: GOOD[name][None]} for name in NUMBERS},
    **{f"{name} empty": {name: GOOD[name][:0]} for name in GOOD if GOOD[name].ndim},
    **{f"{name} shorter": {name: GOOD[name][:-1]} for name in GOOD if GOOD[name].ndim},
    **{
        f"{name} {value}": {name: np.full_like(GOOD[name], value)}
        for name in NUMBERS
        if name != "count"
        for value in (np.nan, np.inf, -np.inf)
    },
    "an array more": {"extra": np.zeros(3)},
    "no tasks": {
        name: GOOD[name][:0] for name in ("task_name", "gram", "moment", "square", "count")
    },
    "counts negative": {"count": -GOOD["count"]},
    "counts beyond 32 bits": {"count": GOOD["count"] + 2**40},
    "counts beyond 32 bits together": {"count": np.full_like(GOOD["count"], LARGEST)},
    "count 0 with sums": entry("count", 0, 0),
    "count 1 with sums of more": {"count": np.ones_like(GOOD["count"])},
    "gram negative": {"gram": -GOOD["gram"]},
    "gram not semi-definite": entry("gram", (0, 1), 1e3),
    "gram zero with moment": {"gram": GOOD["gram"] * 0},
    "square negative": {"square": -GOOD["square"]},
    "square less than moment asks for": {"square": GOOD["square"] * 1e-3},
    "moment too large": {"moment": GOOD["moment"] * 1e3},
    "moments of other tasks": {"moment": GOOD["moment"][::-1]},
    "task_cov not symmetric": entry("task_cov", (0, 1), 0.05),
    "task_cov negative": {"task_cov": -GOOD["task_cov"]},
    "task_cov zero": {"task_cov": GOOD["task_cov"] * 0},
    "hyper_cov negative": {"hyper_cov": -GOOD["hyper_cov"] - np.eye(D)},
    "noise_std negative": {"noise_std": -GOOD["noise_std"]},
    "noise_std zero": {"noise_std": GOOD["noise_std"] * 0},
    "names twice": {"task_name": np.full_like(GOOD["task_name"], "u")},
    "names numbers": {"task_name": np.arange(TASKS)},
    "names bytes": {"task_name": GOOD["task_name"].astype("S")},
    "names surrogates": entry("task_name", 0, "\ud800"),
    "names one": {"task_name": np.array("u1")},
    "header number": {"header": np.array(1.0)},
    "header no JSON": {"header": np.array("{")},
    "header list": {"header": np.array("[]")},
    "header deep": {"header": np.array("[" * 100_000)},
    "header cut": {"header": np.array(json.dumps(HEADER)[:-9])},
    "format": with_header(format="other"),
    **{
        f"schema {value!r}": with_header(schema=value)
        for value in (True, 0, -1, 1.0, "1", None, [1], 1e300)
    },
    "schema huge": raw_header('"schema": 1', '"schema": 1' + "0" * 5000),
    "schema infinite": raw_header('"schema": 1', '"schema": 1e400'),
    "schema 2 without version": {
        "header": np.array(json.dumps({"format": HEADER["format"], "schema": 2}))
    },
    "schema 2 by a list": with_header(schema=2, jaxbandit=["a\nb"] * 99),
    "columns null": with_header(columns=None),
    "columns list": with_header(columns=[]),
    "columns none": with_header(columns={}),
    "columns more": with_columns(other="x"),
    "facts list": with_header(facts=[]),
    "features number": with_columns(features=3),
    "features text": with_columns(features="ab"),
    "features of numbers": with_columns(features=[1, 2]),
    "features twice": with_columns(features=["f1", "f1"]),
    "features fewer": with_columns(features=["f1"]),
    "features none": with_columns(features=[], one_hot=None, one_hot_values=[]),
    "task number": with_columns(task=1),
    "task is reward": with_columns(task="r"),
    "reward null": with_columns(reward=None),
    "one_hot list": with_columns(one_hot=["action"]),
    "one_hot without values": with_columns(features=["f1", "f2", "a", "b"], one_hot_values=[]),
    "values without one_hot": with_columns(one_hot=None),
    "values twice": with_columns(one_hot_values=["hide", "hide"]),
    "values numbers": with_columns(one_hot_values=[1, 2]),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_what_no_model_holds_is_refused(name, tmp_path):
    seal(tmp_path / "m.npz", GOOD | CRAFTED[name])
    assert_refused(lambda: load_model(tmp_path / "m.npz"), "m.npz: .*jaxbandit")


def test_a_sealed_model_is_taken(tmp_path):
    seal(tmp_path / "m.npz", GOOD)
    assert_same(load_model(tmp_path / "m.npz"))
    zero = {name: GOOD[name].copy() for name in ("gram", "moment", "square", "count")}
    for sums in zero.values():
        sums[0] = 0
    seal(tmp_path / "m.npz", GOOD | zero)
    assert load_model(tmp_path / "m.npz").stats.count[0] == 0


def assert_same(model):
    good = load_model(SAVED)
    assert (model.columns, model.task_names, model.facts) == (
        good.columns,
        good.task_names,
        good.facts,
    )
    for ours, theirs in zip((*model.stats, *model.model), (*good.stats, *good.model), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def loaded_or_refused(path, data):
    path.write_bytes(data)
    try:
        model = load_model(path)
    except InputError as error:
        said = str(error)
    else:
        assert_same(model)
        said = ""
    assert "\n" not in said


SIZES = [pytest.param(FEW, id="some"), pytest.param(len(DATA), marks=pytest.mark.slow, id="all")]


@pytest.mark.parametrize("number", SIZES)
def test_any_byte_flipped(number, tmp_path):
    bits = np.random.default_rng(0).integers(0, 8, len(DATA))
    for where in np.linspace(0, len(DATA) - 1, number).astype(int):
        for mask in (0xFF, 1 << int(bits[where])):
            data = bytearray(DATA)
            data[where] ^= mask
            loaded_or_refused(tmp_path / "m.npz", bytes(data))


@pytest.mark.parametrize("number", SIZES)
def test_any_length(number, tmp_path):
    for length in np.linspace(0, len(DATA) - 1, number).astype(int):
        loaded_or_refused(tmp_path / "m.npz", DATA[:length])


def test_entries_of_another_model(tmp_path):
    with np.load(SAVED) as archive:
        good = dict(archive)
    for name in good:
        other = good | {name: good[name][::-1]} if good[name].ndim else None
        if other is not None and not np.array_equal(other[name], good[name]):
            np.savez(tmp_path / "m.npz", **other)
            assert_refused(lambda: load_model(tmp_path / "m.npz"), "its checksum differs")


def npy(shape, descr="<f8", data=b""):
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (63 - (10 + len(head)) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + data


def packed(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members:
            file.writestr(name + ".npy", data)


def contents():
    for name, array in GOOD.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        yield name, buffer.getvalue()


@pytest.mark.parametrize(
    ("members", "method", "message"),
    [
        (contents, zipfile.ZIP_DEFLATED, "compressed"),
        (contents, zipfile.ZIP_LZMA, "compressed"),
        (contents, zipfile.ZIP_BZIP2, "compressed"),
        (lambda: [("gram", npy("(10**9,)", data=bytes(10**7)))], zipfile.ZIP_DEFLATED, "compr"),
        (lambda: [("moment", npy("(99999999999,)"))], 0, "cannot reshape"),
        (lambda: [("moment", npy("(9" * 200 + "," + ")" * 200))], 0, "not a model"),
        (lambda: [("moment", npy("(2,)", "|O", bytes(16)))], 0, "is of object"),
        (lambda: [("moment", b"\x93NUMPY\3\0")], 0, "another version"),
        (lambda: [("moment", b"")], 0, "not a model"),
        (lambda: [], 0, "not a model"),
    ],
)
def test_archives_that_take_more_than_they_have(members, method, message, tmp_path):
    packed(tmp_path / "m.npz", members(), method)
    assert_refused(lambda: load_model(tmp_path / "m.npz"), message)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name(tmp_path):
    packed(tmp_path / "m.npz", [*contents(), *contents()])
    assert_refused(lambda: load_model(tmp_path / "m.npz"), "two arrays have one name")


def test_sizes_declared_beyond_the_file(tmp_path):
    data, where = bytearray(DATA), 0
    while (where := data.find(b"PK\1\2", where)) >= 0:
        data[where + 20 : where + 28] = struct.pack("<II", 2**31, 2**31)
        where += 4
    (tmp_path / "m.npz").write_bytes(bytes(data))
    assert_refused(lambda: load_model(tmp_path / "m.npz"), "more bytes than it has")


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "absent"):
        assert_refused(lambda path=path: load_model(path), "model: there is no file")


def test_a_model_that_could_not_be_read_is_not_written(tmp_path):
    good = load_model(SAVED)
    wrapped = good._replace(stats=good.stats._replace(count=good.stats.count - 2**30))
    for model, message in (
        (wrapped, "at most 2,147,483,646 records"),
        (good._replace(task_names=["a\0", *good.task_names[1:]]), "must not end in a NUL"),
    ):
        path = tmp_path / "m.npz"
        path.write_bytes(b"old")
        assert_refused(lambda model=model: save_model(model, tmp_path / "m.npz"), message)
        assert path.read_bytes() == b"old"


def test_an_interrupted_save_leaves_the_old_model(tmp_path, monkeypatch):
    def half(file, **_):
        file.write(DATA[:1000])
        raise KeyboardInterrupt

    path = tmp_path / "m.npz"
    path.write_bytes(DATA)
    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(KeyboardInterrupt):
        save_model(load_model(path), path)
    assert path.read_bytes() == DATA
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_share_what_is_unfinished(tmp_path):
    path = tmp_path / "m.npz"
    with whole(path) as ours:
        ours.write_bytes(b"ours")
        with whole(path) as theirs:
            theirs.write_bytes(b"theirs")
        assert path.read_bytes() == b"theirs"
    assert path.read_bytes() == b"ours"


def test_commands_say_it_in_a_line(tmp_path):
    """In one process, as starting it takes seconds."""
    bad, log = tmp_path / "bad.npz", tmp_path / "log.csv"
    seal(bad, GOOD | {"gram": -GOOD["gram"]})
    log.write_text("user,f1,f2,action,r\nu1,1,2,hide,3\n")
    (tmp_path / "cut.npz").write_bytes(DATA[:3000])
    calls = [
        [command, str(model), *rest]
        for model in (bad, tmp_path / "cut.npz", tmp_path)
        for command, rest in (
            ("update", [str(log), "--out", str(tmp_path / "new.npz")]),
            ("score", [str(log), "--out", str(tmp_path / "new.csv")]),
            ("fit", ["--task", "user", "--reward", "r", "--out", str(tmp_path / "new.npz")]),
            ("export", [str(tmp_path / "new.nc")]),
        )
    ]
    code = """if True:
        import json, sys
        from jaxbandit.cli import main
        for call in json.loads(sys.argv[1]):
            sys.argv = ["jaxbandit", *call]
            try:
                main()
                status = 0
            except SystemExit as end:
                status = end.code
            print(status, file=sys.stderr)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(calls)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert "Traceback" not in done.stderr
    said = done.stderr.splitlines()
    assert said[1::2] == ["1"] * len(calls), done.stderr
    assert all(line.startswith("jaxbandit: ") for line in said[::2])
    assert not list(tmp_path.glob("new*"))
