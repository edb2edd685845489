"""Reading advertisement logs: every form reads the same, samples are uniform, faults are named."""

import gzip
import zipfile

import numpy as np
import polars as pl
import pytest

import jaxbandit as jb
from jaxbandit.datasets.avazu import load_avazu
from jaxbandit.datasets.avazu_like import avazu_like
from jaxbandit.datasets.click_log import FIELDS, LOG_FIELDS, click_log
from tests.messages import assert_refused

ROWS = 300


@pytest.fixture(scope="module")
def table():
    return avazu_like(ROWS, seed=3).table


@pytest.fixture(scope="module")
def text(table):
    return table.write_csv()


def assert_same_log(log, expected, index):
    """`log` has the rows `index` of the table `expected`, whatever its numbering of categories."""
    np.testing.assert_array_equal(log.click, expected["click"].to_numpy()[index])
    hour = expected["hour"].cast(pl.Int64).to_numpy()[index]
    np.testing.assert_array_equal(log.category[:, -1], hour % 100)
    day = hour // 100
    np.testing.assert_array_equal(log.day, day - day.min())
    for column, name in enumerate(FIELDS):
        pairs = set(zip(expected[name].to_numpy()[index], log.category[:, column], strict=True))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def order_of(seed):
    """Rows by their uniform numbers."""
    return np.argsort(np.random.default_rng(seed).random(ROWS))


def write(path, kind, table, text):
    if kind == "csv":
        path.write_text(text)
    elif kind == "crlf":
        path.write_bytes(("\ufeff" + text.removesuffix("\n")).replace("\n", "\r\n").encode())
    elif kind == "gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("train.csv", text)
            archive.writestr("__MACOSX/train.csv", "")
    elif kind == "parquet":
        # Numbers as numbers, other columns among them, another order.
        numbers = pl.col("hour", "C1", "C14", "banner_pos").cast(pl.Int64)
        table.with_columns(numbers, pl.lit(0.5).alias("bid")).select(
            sorted([*table.columns, "bid"])
        ).write_parquet(path)


@pytest.mark.parametrize("kind", ["csv", "crlf", "gz", "zip", "parquet"])
def test_every_form_reads_the_same(tmp_path, table, text, kind):
    write(tmp_path / "log", kind, table, text)
    sample = load_avazu(tmp_path / "log", rows=10_000, seed=5)
    assert sample.rows_in_file == ROWS
    assert_same_log(sample.log, table, order_of(5))


@pytest.mark.parametrize("block", [200, 5000, 1 << 20])
@pytest.mark.parametrize("rows", [1, 40, 299])
def test_the_sample_is_the_rows_with_the_smallest_numbers(tmp_path, table, text, block, rows):
    (tmp_path / "log.csv").write_text(text)
    seen = []
    sample = load_avazu(
        tmp_path / "log.csv",
        rows=rows,
        seed=1,
        block=block,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert sample.rows_in_file == ROWS
    assert_same_log(sample.log, table, order_of(1)[:rows])
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (len(text), len(text))


def test_a_column_of_category_numbers_by_appearance(table):
    log = click_log(table)
    assert log.category.shape == (ROWS, len(LOG_FIELDS))
    np.testing.assert_array_equal(log.category[0, :-1], 0)
    assert log.category.min() == 0


def edited(text, line, **values):
    """The text with fields of a line (from 1) replaced."""
    lines = text.split("\n")
    names, fields = lines[0].split(","), lines[line - 1].split(",")
    for name, value in values.items():
        fields[names.index(name)] = value
    return "\n".join([*lines[: line - 1], ",".join(fields), *lines[line:]])


FAULTS = {
    "label": (lambda t: edited(t, 7, click="2"), "line 7: click must be 0 or 1, was '2'"),
    "word": (lambda t: edited(t, 7, click="no"), "line 7: click must be 0 or 1, was 'no'"),
    "quoted": (lambda t: edited(t, 7, click='"0"'), "line 7: click must be 0 or 1"),
    "empty": (lambda t: edited(t, 9, site_id=""), "line 9: site_id is empty; give missing values"),
    "hour": (lambda t: edited(t, 3, hour="14102124"), "line 3: hour must be written YYMMDDHH, was"),
    "month": (lambda t: edited(t, 3, hour="14132101"), "line 3: hour must be written YYMMDDHH"),
    "epoch": (lambda t: edited(t, 301, hour="1413849600"), "line 301: hour must be written YYMM"),
    "long": (lambda t: edited(t, 12, C21="1,2"), "line 12: must have 24 fields, has 25"),
    "short": (
        lambda t: t[:-9] + "\n",
        "line 301: must have 24 fields, has 23; the file may be cut",
    ),
    "cut": (lambda t: t[:20_000], r"line \d+: must have 24 fields, has \d+; the file may be cut"),
    "semicolons": (lambda t: t.replace(",", ";"), "must be separated by commas, were by ';'"),
    "tabs": (lambda t: t.replace(",", "\t"), "must be separated by commas, were by"),
    "column": (
        lambda t: t.replace("device_ip", "ip", 1),
        "has no column device_ip; the col",
    ),
    "no header": (lambda t: t.split("\n", 1)[1], "has no column click, hour, C1"),
    "header only": (lambda t: t.split("\n", 1)[0] + "\n", "has no rows"),
    "nothing": (lambda t: "", "has no column click, hour"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("block", [4000, 1 << 20])
def test_a_fault_is_named_with_its_line(tmp_path, text, fault, block):
    edit, message = FAULTS[fault]
    (tmp_path / "log.csv").write_text(edit(text))
    assert_refused(
        lambda: load_avazu(tmp_path / "log.csv", rows=50, block=block), f"log.csv.*{message}"
    )


def test_a_truncated_or_damaged_archive(tmp_path, text):
    packed = gzip.compress(text.encode())
    for content in (packed[:-500], packed[:30], packed[:40] + b"x" * 40 + packed[80:]):
        (tmp_path / "train.gz").write_bytes(content)
        assert_refused(
            lambda: load_avazu(tmp_path / "train.gz", rows=50),
            "train.gz: the archive is truncated or damaged",
        )
    (tmp_path / "train.zip").write_bytes(b"PK\x03\x04 and no more")
    assert_refused(
        lambda: load_avazu(tmp_path / "train.zip", rows=50),
        "train.zip: the archive is truncated or damaged",
    )


def test_a_zip_of_several_files(tmp_path, text):
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr("train.csv", text)
        archive.writestr("test.csv", text)
    assert_refused(
        lambda: load_avazu(tmp_path / "train.zip", rows=5), "must hold one file, holds 2"
    )


def test_faults_of_parquet(tmp_path, table):
    path = tmp_path / "log.parquet"
    table.with_columns(click=pl.when(pl.col("C1") == "1002").then(3).otherwise(0)).write_parquet(
        path
    )
    assert_refused(lambda: load_avazu(path, rows=5), r"row \d+: click must be 0 or 1, was '3'")
    table.drop("C20", "C21").write_parquet(path)
    assert_refused(lambda: load_avazu(path, rows=5), "has no column C20, C21")
    path.write_bytes(path.read_bytes()[:300])
    assert_refused(lambda: load_avazu(path, rows=5), "cannot be read as Parquet")


def test_a_file_that_is_not_there(tmp_path):
    assert_refused(lambda: load_avazu(tmp_path / "no.gz", rows=5), "no.gz: cannot be read")
    assert_refused(lambda: load_avazu(tmp_path, rows=5), "cannot be read")


# The stand-in.


def test_clicks_are_drawn_from_the_planted_probabilities():
    standin = avazu_like(40_000, seed=1)
    click = standin.table["click"].to_numpy()
    order = np.argsort(standin.probability)
    for part in np.array_split(order, 10):
        p = standin.probability[part]
        error = np.sqrt(np.sum(p * (1 - p))) / len(p)
        assert abs(click[part].mean() - p.mean()) < 4 * error


def test_the_standin_is_skewed_and_changes_with_the_days():
    table = avazu_like(40_000, seed=1).table
    assert table["device_id"].value_counts()["count"].max() > 0.7 * len(table)
    share = table["C14"].value_counts(sort=True)["count"].to_numpy() / len(table)
    assert share[:20].sum() > 0.2
    first, last = (
        set(
            table.filter(pl.col("hour").str.starts_with(day))["C17"].value_counts(sort=True)["C17"][
                :30
            ]
        )
        for day in ("141021", "141030")
    )
    assert len(first & last) < 20
    assert table["hour"].n_unique() == 240


def test_the_standin_is_that_of_its_seed():
    assert avazu_like(500, seed=2).table.equals(avazu_like(500, seed=2).table)
    assert not avazu_like(500, seed=2).table.equals(avazu_like(500, seed=3).table)
    with pytest.raises(jb.InputError, match="rows must be a whole number of at least 1, was 0"):
        avazu_like(0)
