"""Reading logs: what is in the file, or where it is wrong."""

import numpy as np
import polars as pl
import pytest

from jaxbandit.datasets import log_file
from jaxbandit.datasets.log_file import LogFile
from tests.messages import assert_refused

TABLE = pl.DataFrame(
    {"user": [7, 7, 12, 9], "x": [0.5, 1.0, -2.0, 0.0], "n": [1, 2, 3, 4], "r": [1.0, 0, 1, 0]}
)


@pytest.fixture(params=["csv", "parquet"])
def path(request, tmp_path):
    return write(TABLE, tmp_path / f"log.{request.param}")


def write(table, path):
    table.write_csv(path) if path.suffix == ".csv" else table.write_parquet(path)
    return path


def read(path, numbers=("x", "n", "r"), names=("user",), drop_missing=False):
    return list(LogFile(path).batches(numbers, names, drop_missing=drop_missing))


def test_both_formats_give_the_same(path):
    (batch,) = read(path)
    assert batch.frame["user"].to_list() == ["7", "7", "12", "9"]
    np.testing.assert_array_equal(
        batch.frame.select("x", "n", "r").to_numpy(), TABLE.select("x", "n", "r").to_numpy()
    )
    assert batch.record.to_list() == [1, 2, 3, 4]
    assert LogFile(path).values("user") == ["12", "7", "9"]


def test_batches_follow_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(log_file, "BATCH", 1000)
    many = pl.DataFrame({"user": np.arange(5000), "x": np.arange(5000.0)})
    for ending in ("csv", "parquet"):
        batches = read(write(many, tmp_path / f"many.{ending}"), ["x"])
        records = np.concatenate([batch.record.to_numpy() for batch in batches])
        values = np.concatenate([batch.frame["x"].to_numpy() for batch in batches])
        np.testing.assert_array_equal(records, np.arange(1, 5001))
        np.testing.assert_array_equal(values, np.arange(5000))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_missing_values_are_refused_or_dropped(ending, tmp_path):
    table = TABLE.with_columns(
        x=pl.Series([0.5, None, float("nan"), 1.0]), user=pl.Series(["a", "b", "c", None])
    )
    path = write(table, tmp_path / f"log.{ending}")
    place = "line 3" if ending == "csv" else "record 2"
    assert_refused(lambda: read(path), rf"log.{ending}, {place}: column 'x' is missing.*--drop-m")
    (batch,) = read(path, drop_missing=True)
    assert (batch.dropped, batch.record.to_list()) == (3, [1])


def text(tmp_path, content, name="log.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_text(content, encoding)
    return path


GOOD = "user,x,n,r\na,1,1,1\n"
BAD_CSV = {
    "text": (GOOD + "b,1,oops,1\n", "line 3: column 'n' must be a number, was 'oops'; encode it"),
    "long": (GOOD + "b,1,1,1,1\n", "line 3: 5 values, but the header has 4 columns"),
    "short": (GOOD + "b,1\n", "line 3: 2 values, but the header has 4 columns"),
    "infinite": (GOOD + "b,inf,1,1\n", "line 3: column 'x' must be finite, was inf"),
    "twice": ("user,x,x,r\na,1,1,1\n", "two columns are called 'x'; rename"),
    "empty": ("", "the file is empty"),
    "header in Latin-1": ("us\xe9r,x,n,r\n", "the header is not UTF-8; encode the file as UTF-8"),
    "Latin-1": (GOOD + "b,1,1,1\n\xe9,1,1,1\n", "line 4: not UTF-8; encode the file as UTF-8"),
    "header only": ("user,x,n,r\n", "no records below the header"),
}


@pytest.mark.parametrize("name", BAD_CSV)
def test_faulty_csv(name, tmp_path):
    content, message = BAD_CSV[name]
    encoding = "latin-1" if "Latin-1" in name else "utf-8"
    assert_refused(lambda: read(text(tmp_path, content, encoding=encoding)), message)


def test_files_that_are_not_what_they_are_called(tmp_path):
    as_csv = write(TABLE, tmp_path / "log.parquet").rename(tmp_path / "log.csv")
    assert_refused(lambda: LogFile(as_csv), "called .csv but is Parquet; rename")
    as_parquet = text(tmp_path, GOOD, "log.parquet")
    assert_refused(lambda: LogFile(as_parquet), "called .parquet but is not Parquet")
    assert_refused(lambda: LogFile(text(tmp_path, GOOD, "log.txt")), "must be a .csv or a .parquet")
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(as_csv.read_bytes()[:200])
    assert_refused(lambda: LogFile(cut), "not a table")
    assert_refused(lambda: LogFile(text(tmp_path, GOOD, "log.csv.gz")), "; unpack it")
    assert_refused(lambda: LogFile(tmp_path / "nowhere.csv"), "nowhere.csv: there is no such file")


def test_whole_numbers_are_one_name_however_they_are_written(tmp_path):
    content = "user,x\n7,0\n7.0,0\n-7.00,0\n7.5,0\n1.0.0,0\nv1.0,0\n"
    frame = pl.read_csv(content.encode(), schema={"user": pl.String, "x": pl.Float64})
    for path in (text(tmp_path, content), write(frame, tmp_path / "log.parquet")):
        (batch,) = read(path, ["x"])
        assert batch.frame["user"].to_list() == ["7", "7", "-7", "7.5", "1.0.0", "v1.0"]
        assert LogFile(path).values("user") == ["-7", "1.0.0", "7", "7.5", "v1.0"]


def test_columns_of_the_wrong_kind(tmp_path):
    path = write(TABLE.with_columns(x=pl.Series(list("abcd"))), tmp_path / "log.parquet")
    assert_refused(lambda: read(path), "column 'x' must hold numbers, holds String; encode it")
    file = LogFile(path, "use the abacus")
    assert_refused(
        lambda: list(file.batches(["x"], [], drop_missing=False)), "String; use the abacus$"
    )
    path = write(TABLE.with_columns(x=pl.concat_list("x")), path)
    assert_refused(lambda: read(path, ["n"], ["x"]), "column 'x' must hold names.*holds List")
    assert_refused(
        lambda: LogFile(path).require("reward", ["y"]), "reward: .* no column 'y'; it has user, x"
    )
