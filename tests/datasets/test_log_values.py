"""One rule for CSV and Parquet: which names and numbers are the same, and which are missing."""

import numpy as np
import polars as pl
import pytest

from jaxbandit.datasets.log_file import LogFile
from tests.messages import assert_refused


def read(path, numbers=("x",), names=("a",), drop_missing=False, **options):
    batches = LogFile(path, **options).batches(numbers, names, drop_missing=drop_missing)
    return pl.concat(batch.frame for batch in batches)


def as_csv(tmp_path, lines):
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["a,x", *lines]) + "\n", "utf-8")
    return path


def as_parquet(tmp_path, **columns):
    path = tmp_path / "log.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return path


SAME_NAMES = {
    "integers": ([1, 2], ["1", "2"]),
    "floats": ([1.0, -0.0], ["1", "0"]),
    "fractions": ([0.1, 2.5], ["0.1", "2.5"]),
    "float32": (pl.Series([0.5, 3.0], dtype=pl.Float32), ["0.5", "3"]),
    "text": (["1", "1.0"], ["1", "1"]),
    "spaces": ([" 1", "b "], ["1", "b"]),
    "zeros": (["007", "7"], ["007", "7"]),
    "truth": ([True, False], ["true", "false"]),
    "truth in capitals": (["True", "FALSE"], ["true", "false"]),
    "large": ([2**53, 2**53 + 1], ["9007199254740992", "9007199254740993"]),
    "unsigned": (pl.Series([2**64 - 1, 1], dtype=pl.UInt64), ["18446744073709551615", "1"]),
    "categories": (pl.Series(["u", "v"], dtype=pl.Categorical), ["u", "v"]),
}


@pytest.mark.parametrize("kind", SAME_NAMES)
def test_names_are_the_same_in_both_formats(kind, tmp_path):
    column, expected = SAME_NAMES[kind]
    parquet = as_parquet(tmp_path, a=column, x=[0, 1])
    csv = as_csv(tmp_path, [f"{name},{k}" for k, name in enumerate(column)])
    for path in (parquet, csv):
        assert read(path)["a"].to_list() == expected
        assert LogFile(path).values("a") == sorted(set(expected))


@pytest.mark.parametrize(("kind", "least"), [(pl.Float32, 2**24), (pl.Float64, 2**53)])
def test_names_that_floats_would_merge_are_refused(kind, least, tmp_path):
    path = as_parquet(tmp_path, a=pl.Series([1, least], dtype=kind), x=[0, 1])
    assert_refused(lambda: read(path), "record 2: column 'a' must be text or whole numbers, was")
    path = as_parquet(tmp_path, a=pl.Series([float(least - 1), np.inf], dtype=kind), x=[0, 1])
    assert_refused(lambda: read(path), "record 2: .*was inf")


def test_numbers_are_the_same_in_both_formats(tmp_path):
    csv = as_csv(tmp_path, ["a,True", "a, 0 ", "a,FALSE", "a,+1e0", "a,.5"])
    assert read(csv)["x"].to_list() == [1.0, 0.0, 0.0, 1.0, 0.5]
    kinds = {
        "truth": pl.Series([True, False]),
        "nullable": pl.Series([1, 0], dtype=pl.Int8),
        "decimal": pl.Series(["1.0", "0.0"]).cast(pl.Decimal(9, 2)),
    }
    for column in kinds.values():
        assert read(as_parquet(tmp_path, a=["a", "b"], x=column))["x"].to_list() == [1.0, 0.0]
    for column in ([[1.0], [0.0]], ["1", "0"], pl.Series([0, 1]).cast(pl.Date)):
        path = as_parquet(tmp_path, a=["a", "b"], x=column)
        assert_refused(lambda path=path: read(path), "column 'x' must hold numbers, holds")


@pytest.mark.parametrize("value", ["1_0", "１２", "0x10", "1 2", "1e", "yes"])
def test_what_is_no_number_is_refused_with_its_line(value, tmp_path):
    path = as_csv(tmp_path, ["a,1", f"b,{value}"])
    for drop_missing in (False, True):
        assert_refused(
            lambda drop=drop_missing: read(path, drop_missing=drop),
            f"log.csv, line 3: column 'x' must be a number, was '{value}'",
        )


def test_a_number_beyond_the_largest_is_refused_as_written(tmp_path):
    message = "line 2: column 'x' must be finite, was 1e400"
    assert_refused(lambda: read(as_csv(tmp_path, ["a,1e400"])), message)


@pytest.mark.parametrize("token", ["", '""', "  ", "NA", "na", "N/A", "nan", "NULL", "None"])
@pytest.mark.parametrize("column", ["a", "x"])
def test_missing_values_are_refused_or_dropped(token, column, tmp_path):
    faulty = f"{token},1" if column == "a" else f"b,{token}"
    paths = [as_csv(tmp_path, ["a,1", faulty, "b,0"])]
    text = "" if token == '""' else token
    if column == "a":
        paths.append(as_parquet(tmp_path, a=["a", text, "b"], x=[1, 1, 0]))
    for path in paths:
        assert_refused(
            lambda path=path: read(path), rf"(line 3|record 2): column '{column}' is mis"
        )
        assert read(path, drop_missing=True)["a"].to_list() == ["a", "b"]


def test_the_user_says_what_is_missing(tmp_path):
    lines = ["NA,1", "?,2", "b,-999", "c,-999.0", "d,nan", ",1"]
    csv = as_csv(tmp_path, lines)
    frame = read(csv, drop_missing=True, missing=("?", "-999"))
    assert frame.rows() == [(1.0, "NA")]  # What is no number, or empty, is missing anyway.
    assert LogFile(csv, missing=["?"]).values("a") == ["NA", "b", "c", "d"]
    parquet = as_parquet(tmp_path, a=[1.0, 2.0, None, float("nan")], x=[-999, 3, 1, 1])
    assert read(parquet, drop_missing=True, missing=["-999"]).rows() == [(3.0, "2")]
    frame = read(parquet, drop_missing=True, missing=["2"])
    assert frame.rows() == [(-999.0, "1")]
