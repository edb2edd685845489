"""Avazu's log of mobile advertisements: read from Kaggle's file, or from any with its columns.

The data may not be redistributed, so none of it is in this package.
"""

from __future__ import annotations

import gzip
import os
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import polars as pl

from jaxbandit.checks import InputError, check_count
from jaxbandit.datasets.archives import unpacking
from jaxbandit.datasets.click_log import COLUMNS, ClickLog, click_log

BLOCK_BYTES = 1 << 26
BLOCK_ROWS = 500_000

Progress = Callable[[int, int], None]
"""Called with (bytes or rows read, all of them)."""


class Sample(NamedTuple):
    """Rows drawn from a file."""

    log: ClickLog
    """In random order."""
    rows_in_file: int


def load_avazu(
    path: str | os.PathLike[str],
    *,
    rows: int,
    seed: int = 0,
    progress: Progress | None = None,
    block: int = BLOCK_BYTES,
) -> Sample:
    """Read a uniform sample of an advertisement log, in random order, in one pass.

    Each row draws a uniform number and the `rows` smallest stay, so that a file of any size takes
    the memory of what is kept and of one block.

    Args:
        path: Kaggle's `train.gz`, or a comma-separated file or a Parquet file with the columns of
            `COLUMNS`, in any order, among others; gzipped, or alone in a zip archive, if you like.
        rows: how many to keep; all, if there are fewer.
        seed: of the draw.
        progress: called as blocks are read.
        block: bytes of text in a block.

    Raises:
        InputError: no such file, an archive that is damaged, columns that are missing, a row with
            too few or too many fields, an empty field, a click other than 0 and 1, or an hour that
            is not YYMMDDHH. The message names the file and, from 1, the line.

    Source:
        Wang and Cukierski 2014, https://www.kaggle.com/c/avazu-ctr-prediction
    """
    check_count("rows", rows)
    source = Path(path)
    try:
        with source.open("rb") as file:
            magic = file.read(4)
        blocks = _parquet(source) if magic == b"PAR1" else _text(source, magic, block)
        table, number = _sample(blocks, rows, np.random.default_rng(seed), progress)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    if number == 0:
        raise InputError(f"{path}: has no rows")
    return Sample(click_log(table), number)


class _Block(NamedTuple):
    """Checked rows, as text, and how far into the file they bring us."""

    table: pl.DataFrame
    done: int
    total: int


def _sample(
    blocks: Iterator[_Block], rows: int, generator: np.random.Generator, progress: Progress | None
) -> tuple[pl.DataFrame, int]:
    """The rows with the smallest uniform numbers, in their order; and how many rows there were."""
    parts: list[pl.DataFrame] = []
    bar, held, number = 1.0, 0, 0
    for block in blocks:
        drawn = generator.random(len(block.table))
        number += len(drawn)
        part = block.table.with_columns(pl.Series("_uniform", drawn)).filter(
            pl.col("_uniform") < bar
        )
        parts.append(part)
        held += len(part)
        if held > 2 * rows:
            parts = [pl.concat(parts).bottom_k(rows, by="_uniform")]
            held, bar = rows, float(parts[0]["_uniform"].to_numpy().max())
        if progress is not None:
            progress(block.done, block.total)
    table = pl.concat(parts).sort("_uniform").head(rows) if parts else pl.DataFrame()
    return table, number


# Comma-separated text.


def _text(source: Path, magic: bytes, size: int) -> Iterator[_Block]:
    total = source.stat().st_size
    with source.open("rb") as packed, unpacking(source), _unpacked(source, packed, magic) as file:
        header = file.readline().decode("utf-8-sig", "replace").rstrip("\r\n").split(",")
        names = [name.strip().strip('"') for name in header]
        _check_columns(str(source), names)
        line, rest = 2, b""
        while chunk := file.read(size):
            # A block ends where a line does.
            whole, newline, rest = (rest + chunk).rpartition(b"\n")
            if newline:
                table = _parse(source, names, whole + newline, line)
                line += len(table)
                yield _Block(table, packed.tell(), total)
        if rest:
            yield _Block(_parse(source, names, rest, line), total, total)


@contextmanager
def _unpacked(source: Path, packed: IO[bytes], magic: bytes) -> Generator[Any]:
    if magic[:2] == b"\x1f\x8b":
        with gzip.open(packed) as file:
            yield file
    elif magic[:2] == b"PK":
        with zipfile.ZipFile(packed) as archive:
            members = [name for name in archive.namelist() if not name.startswith("__MACOSX")]
            if len(members) != 1:
                raise InputError(
                    f"{source}: must hold one file, holds {len(members)}; unpack it and give one"
                )
            with archive.open(members[0]) as file:
                yield file
    else:
        yield packed


def _parse(source: Path, names: list[str], text: bytes, line: int) -> pl.DataFrame:
    lines = text.count(b"\n") + (not text.endswith(b"\n"))
    table = pl.DataFrame()
    # Polars drops fields that are too many, so they are counted.
    if text.count(b",") == lines * (len(names) - 1):
        table = pl.read_csv(
            text,
            has_header=False,
            new_columns=names,
            infer_schema_length=0,
            quote_char=None,
            encoding="utf8-lossy",
        ).select(COLUMNS)
    if len(table) < lines or _faults(table).any():
        # Only now, with a fault known to be there, are lines worth reading one by one.
        for number, row in enumerate(text.decode("utf-8", "replace").split("\n")[:lines], line):
            _check_row(f"{source}, line {number}", names, row.rstrip("\r").split(","))
    return table


def _check_columns(name: str, columns: list[str]) -> None:
    missing = [column for column in COLUMNS if column not in columns]
    if not missing:
        return
    if len(missing) == len(COLUMNS) and len(columns) == 1:
        for separator in ("\t", ";", "|"):
            if "click" in columns[0].split(separator):
                raise InputError(
                    f"{name}: fields must be separated by commas, were by {separator!r}; "
                    "convert it first"
                )
    raise InputError(
        f"{name}: has no column {', '.join(missing)}; the columns of Kaggle's Avazu data are "
        f"needed, found {', '.join(columns)[:200]}"
    )


def _faults(table: pl.DataFrame) -> np.ndarray:
    """[rows], whether a row of text cannot be used."""
    hour = pl.col("hour")
    date = hour.str.head(6).str.to_date("%y%m%d", strict=False)
    clock = hour.str.slice(6).cast(pl.Int8, strict=False)
    fault = pl.any_horizontal(
        *(pl.col(name).is_null() | (pl.col(name) == "") for name in COLUMNS),
        ~pl.col("click").is_in(["0", "1"]),
        hour.str.len_bytes() != 8,
        date.is_null(),
        ~clock.is_between(0, 23).fill_null(False),
    )
    return table.select(fault.alias("fault"))["fault"].to_numpy()


def _check_row(where: str, names: list[str], fields: list[str]) -> None:
    """Objects to a row that `_faults` objects to, or that has other than one field a column."""
    if len(fields) != len(names):
        raise InputError(
            f"{where}: must have {len(names)} fields, has {len(fields)}; the file may be cut short"
        )
    row = dict(zip(names, fields, strict=True))
    for name in COLUMNS:
        if row[name] == "":
            raise InputError(f"{where}: {name} is empty; give missing values a name of their own")
    if row["click"] not in ("0", "1"):
        raise InputError(f"{where}: click must be 0 or 1, was {row['click']!r}")
    if _faults(pl.DataFrame({name: [row[name]] for name in COLUMNS})).any():
        raise InputError(f"{where}: hour must be written YYMMDDHH, was {row['hour']!r}")


# Parquet.


def _parquet(source: Path) -> Iterator[_Block]:
    try:
        lazy = pl.scan_parquet(source)
        columns = lazy.collect_schema().names()
        _check_columns(str(source), columns)
        total = int(lazy.select(pl.len()).collect().item())
        texts = lazy.select(_as_text(name) for name in COLUMNS)
        for start in range(0, total, BLOCK_ROWS):
            table = texts.slice(start, BLOCK_ROWS).collect()
            if (fault := _faults(table)).any():
                first = int(np.argmax(fault))
                row = [value or "" for value in table.row(first)]
                _check_row(f"{source}, row {start + first + 1}", list(COLUMNS), row)
            yield _Block(table, start + len(table), total)
    except pl.exceptions.PolarsError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{source}: cannot be read as Parquet ({reason})") from None


def _as_text(name: str) -> pl.Expr:
    number = pl.col(name)
    return (number.cast(pl.Int8) if name == "click" else number).cast(pl.String)
