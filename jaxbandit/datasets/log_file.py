"""Logs in files: CSV and Parquet, streamed in batches of checked columns."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import polars as pl

from jaxbandit.checks import InputError

BATCH = 1 << 19
"""Records in memory at a time."""

_PARQUET_MAGIC = b"PAR1"

Read = TypeVar("Read")


class Batch(NamedTuple):
    """Consecutive records."""

    frame: pl.DataFrame
    """Columns asked for: numbers as Float64, all finite; names as String. None missing."""
    record: pl.Series
    """Place of each in the file, from 1."""
    dropped: int
    """Records left out because a value was missing."""


class LogFile:
    """A CSV or Parquet file with a header, as its ending says: `.csv`, `.parquet`."""

    def __init__(self, path: Path, of_text: str = "encode it as numbers") -> None:
        """Look at the header.

        Args:
            path: of the file.
            of_text: what to do about text where numbers are needed, for messages.

        Raises:
            InputError: the file is not there, is not what its ending says, or has two columns of
                one name.
        """
        self.path, self.of_text = path, of_text
        self.is_csv = _is_csv(path)
        try:
            if self.is_csv:
                with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
                    names = next(csv.reader(file), [])
                self._types = dict.fromkeys(names, pl.String())
            else:
                self._types = dict(pl.scan_parquet(path).collect_schema())
                names = list(self._types)
        except (pl.exceptions.PolarsError, csv.Error) as error:
            raise InputError(f"{path}: not a table ({_line(error)}); write it again") from None
        if not _is_unicode(names):
            raise InputError(f"{path}: the header is not UTF-8; encode the file as UTF-8")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"{path}: two columns are called {twice[0]!r}; rename one of them")
        if not names:
            raise InputError(f"{path}: the file is empty; it must have a header and records")

    def require(self, option: str, names: Sequence[str]) -> None:
        """Raise an `InputError` if one of the columns that an option names is not there."""
        for name in names:
            if name not in self._types:
                raise InputError(
                    f"{option}: {self.path} has no column {name!r}; it has {', '.join(self._types)}"
                )

    def values(self, name: str) -> list[str]:
        """Distinct values of a column of names, ascending."""
        found = self._scan([], [name]).select(pl.col(name).drop_nulls().unique().sort())
        return self._read(lambda: found.collect(engine="streaming"), [])[name].to_list()

    def batches(
        self, numbers: Sequence[str], names: Sequence[str], *, drop_missing: bool
    ) -> Iterator[Batch]:
        """Read columns, batch by batch.

        Args:
            numbers: columns of numbers.
            names: columns of names: text or whole numbers, which count as the text they print as;
                7.0, as which programs write a 7 beside missing values, is 7.
            drop_missing: leave out records in which a value is missing (empty, null or NaN),
                instead of refusing the file.

        Raises:
            InputError: a column is of the wrong kind; a value is missing or infinite; the file has
                no records or cannot be read to its end.
        """
        scan = self._scan(numbers, names)
        stream = scan.collect_batches(chunk_size=BATCH, maintain_order=True)
        offset = 0
        while (frame := self._read(lambda: next(stream, None), numbers)) is not None:
            records = pl.Series("record", range(offset + 1, offset + 1 + len(frame)), pl.Int64)
            offset += len(frame)
            if len(frame):
                yield self._checked(frame, records, numbers, drop_missing)
        if offset == 0:
            raise InputError(f"{self.path}: there are no records below the header")

    def _scan(self, numbers: Sequence[str], names: Sequence[str]) -> pl.LazyFrame:
        if self.is_csv:
            kinds = dict.fromkeys(self._types, pl.String()) | dict.fromkeys(numbers, pl.Float64())
            return pl.scan_csv(self.path, schema=kinds).select(*numbers, *map(_name, names))
        for name in numbers:
            kind = self._types[name]
            if not (kind.is_numeric() or kind == pl.Boolean):
                raise InputError(
                    f"{self.path}: column {name!r} must hold numbers, holds {kind}; {self.of_text}"
                )
        of_names = pl.String | pl.Categorical | pl.Enum | pl.Boolean
        for name in names:
            kind = self._types[name]
            if not (kind.is_integer() or isinstance(kind, of_names)):
                raise InputError(
                    f"{self.path}: column {name!r} must hold names, text or whole numbers, holds "
                    f"{kind}"
                )
        columns = [pl.col(name).cast(pl.Float64) for name in numbers]
        return pl.scan_parquet(self.path).select(*columns, *map(_name, names))

    def _checked(
        self, frame: pl.DataFrame, records: pl.Series, numbers: Sequence[str], drop_missing: bool
    ) -> Batch:
        missing = pl.any_horizontal(
            pl.all().is_null(), *(pl.col(name).is_nan() for name in numbers)
        )
        bad = frame.select(missing.fill_null(True).alias("bad"))["bad"]
        dropped = int(bad.sum())
        if dropped and not drop_missing:
            where = bad.arg_max() or 0
            row = frame.row(where, named=True)
            column = next(name for name, value in row.items() if value is None or value != value)
            raise InputError(
                f"{self.place(records[where])}: column {column!r} is missing; repair the file, or "
                "leave such records out with --drop-missing"
            )
        if dropped:
            frame, records = frame.filter(~bad), records.filter(~bad)
        for name in numbers:
            infinite = frame[name].is_infinite()
            if infinite.any():
                where = infinite.arg_max() or 0
                raise InputError(
                    f"{self.place(records[where])}: column {name!r} must be finite, was "
                    f"{frame[name][where]}; repair the file"
                )
        return Batch(frame, records, dropped)

    def _read(self, read: Callable[[], Read], numbers: Sequence[str]) -> Read:
        """What polars reads, or a message that says where it could not."""
        try:
            return read()
        except pl.exceptions.PolarsError as error:
            fault = self._fault(numbers) if self.is_csv else None
            raise InputError(fault or f"{self.path}: cannot be read ({_line(error)})") from None

    def _fault(self, numbers: Sequence[str]) -> str | None:
        """The first faulty line: only once a CSV is known to have one, is it read line by line."""
        names = list(self._types)
        with open(self.path, newline="", encoding="utf-8-sig", errors="replace") as file:
            lines = csv.reader(file)
            next(lines)
            for row in lines:
                place = f"{self.path}, line {lines.line_num}"
                if not _is_unicode(row):
                    return f"{place}: not UTF-8; encode the file as UTF-8"
                if len(row) > len(names):
                    return f"{place}: {len(row)} values, but the header has {len(names)} columns"
                for name, value in zip(names, row, strict=False):
                    if name in numbers and value and not _is_number(value):
                        return (
                            f"{place}: column {name!r} must be a number, was {value!r}; "
                            f"{self.of_text}"
                        )
        return None

    def place(self, record: int) -> str:
        """Where a record is, for a message."""
        return f"{self.path}, line {record + 1}" if self.is_csv else f"{self.path}, record {record}"


def _is_csv(path: Path) -> bool:
    ending = path.suffix.lower()
    if ending not in (".csv", ".parquet"):
        remedy = "unpack it" if ending in (".gz", ".zip") else "convert it to one"
        raise InputError(f"{path}: the file must be a .csv or a .parquet; {remedy}")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; check the path")
    with open(path, "rb") as file:
        magic = file.read(4)
    if (magic == _PARQUET_MAGIC) != (ending == ".parquet"):
        actual = "is Parquet" if magic == _PARQUET_MAGIC else "is not Parquet"
        raise InputError(f"{path}: the file is called {ending} but {actual}; rename or convert it")
    return ending == ".csv"


def _name(column: str) -> pl.Expr:
    """A column of names; whole numbers written as floats name what the whole numbers do."""
    return pl.col(column).cast(pl.String).str.replace(r"^(-?\d+)\.0+$", "$1")


def _is_unicode(values: list[str]) -> bool:
    """Whether text that was read with `errors="replace"` had nothing to replace."""
    return not any("\N{REPLACEMENT CHARACTER}" in value for value in values)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
