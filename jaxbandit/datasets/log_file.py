"""Logs in files: CSV and Parquet, streamed in batches of checked columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from jaxbandit.checks import InputError
from jaxbandit.datasets import log_values
from jaxbandit.datasets.csv_file import CsvFile
from jaxbandit.datasets.missing import MISSING

BATCH = 1 << 19
"""Records in memory at a time."""

_PARQUET_MAGIC = b"PAR1"
_PACKED_MAGIC = (b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"PK\x03\x04")
_PACKED_ENDINGS = (".gz", ".zip", ".bz2", ".xz", ".zst")


class Batch(NamedTuple):
    """Consecutive records."""

    frame: pl.DataFrame
    """Columns asked for: numbers as Float64, all finite; names as String. None missing."""
    record: pl.Series
    """Place of each in the file, from 1."""
    line: pl.Series
    """Line of a CSV file that each begins on, from 1; of Parquet the record."""
    dropped: int
    """Records left out because a value was missing."""


class LogFile:
    """A CSV or Parquet file with a header, as its ending says: `.csv`, `.parquet`."""

    def __init__(
        self,
        path: Path,
        of_text: str = "encode it as numbers",
        missing: Sequence[str] = MISSING,
    ) -> None:
        """Look at the header.

        Args:
            path: of the file.
            of_text: what to do about text where numbers are needed, for messages.
            missing: texts that stand for missing values, in capitals or not.

        Raises:
            InputError: the file is not there, is not what its ending says, or has two columns of
                one name.
        """
        self.path, self.of_text, self._missing = path, of_text, log_values.Missing(missing)
        _check_kind(path)
        self._csv = CsvFile(path) if path.suffix.lower() == ".csv" else None
        if self._csv is not None:
            names = self._csv.names
            self._types: dict[str, pl.DataType] = dict.fromkeys(names, pl.String())
        else:
            try:
                self._types = dict(pl.scan_parquet(path).collect_schema())
            except pl.exceptions.PolarsError as error:
                raise InputError(f"{path}: not a table ({_line(error)}); write it again") from None
            names = list(self._types)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"{path}: two columns are called {twice[0]!r}; rename one of them")

    def require(self, option: str, names: Sequence[str]) -> None:
        """Raise an `InputError` if one of the columns that an option names is not there."""
        for name in names:
            if name not in self._types:
                columns = ", ".join(self._types)
                apart = any(sign in columns for sign in ";\t|") and len(self._types) == 1
                remedy = "; values must be separated by commas" if apart else ""
                raise InputError(
                    f"{option}: {self.path} has no column {name!r}; it has {columns}{remedy}"
                )

    def values(self, name: str) -> list[str]:
        """Distinct values of a column of names, ascending, without those that are missing."""
        found: set[str] = set()
        for frame, _ in self._frames([], [name]):
            names = log_values.names(frame[name].unique())
            found.update(names.filter(~self._missing.name(names)).to_list())
        return sorted(found)

    def batches(
        self, numbers: Sequence[str], names: Sequence[str], *, drop_missing: bool
    ) -> Iterator[Batch]:
        """Read columns, batch by batch, whatever the format by the rules of `log_values`.

        Args:
            numbers: columns of numbers or truth values.
            names: columns of names: text, whole numbers, truth values or floats.
            drop_missing: leave out records in which a value is missing, instead of refusing the
                file.

        Raises:
            InputError: a column is of the wrong kind; a value is missing, infinite or not a number;
                the file has no records or cannot be read to its end.
        """
        offset = 0
        for frame, line in self._frames(numbers, names):
            if len(frame):
                records = pl.Series(
                    "record", np.arange(offset + 1, offset + 1 + len(frame)), pl.Int64
                )
                offset += len(frame)
                yield self._checked(frame, records, line, numbers, names, drop_missing)
        if offset == 0:
            raise InputError(f"{self.path}: there are no records below the header")

    def is_missing(self, name: str) -> bool:
        """Whether a text counts as a missing name."""
        return bool(self._missing.name(log_values.names(pl.Series([name]))).item())

    def place(self, line: int) -> str:
        """Where a record is, for a message, given its `Batch.line`."""
        return f"{self.path}, {'record' if self._csv is None else 'line'} {line}"

    def _frames(
        self, numbers: Sequence[str], names: Sequence[str]
    ) -> Iterator[tuple[pl.DataFrame, pl.Series]]:
        """Columns as the file has them, and the line of each record."""
        columns = list(dict.fromkeys([*numbers, *names]))
        if self._csv is not None:
            for block in self._csv.blocks(columns):
                yield block.text, pl.Series("line", block.line, pl.Int64)
            return
        self._check_types(numbers, names)
        scan = pl.scan_parquet(self.path)
        read = 0
        try:
            total = scan.select(pl.len()).collect().item()
            stream = scan.select(columns).collect_batches(chunk_size=BATCH, maintain_order=True)
            for frame in stream:
                line = np.arange(read + 1, read + 1 + len(frame))
                read += len(frame)
                yield frame, pl.Series("line", line, pl.Int64)
        except pl.exceptions.PolarsError as error:
            raise InputError(f"{self.path}: cannot be read ({_line(error)})") from None
        if read != total:
            raise InputError(
                f"{self.path}: {read} of {total} records could be read; write the file again"
            )

    def _check_types(self, numbers: Sequence[str], names: Sequence[str]) -> None:
        """That a Parquet file's columns can hold numbers, and names."""
        for name in numbers:
            kind = self._types[name]
            if not (kind.is_numeric() or kind == pl.Boolean):
                raise InputError(
                    f"{self.path}: column {name!r} must hold numbers, holds {kind}; {self.of_text}"
                )
        of_names = pl.String | pl.Categorical | pl.Enum | pl.Boolean
        for name in names:
            kind = self._types[name]
            if not (kind.is_integer() or kind.is_float() or isinstance(kind, of_names)):
                raise InputError(
                    f"{self.path}: column {name!r} must hold names, text or whole numbers, holds "
                    f"{kind}; write it as text"
                )

    def _checked(
        self,
        frame: pl.DataFrame,
        records: pl.Series,
        line: pl.Series,
        numbers: Sequence[str],
        names: Sequence[str],
        drop_missing: bool,
    ) -> Batch:
        read: dict[str, pl.Series] = {}
        bad = pl.repeat(False, len(frame), dtype=pl.Boolean, eager=True)
        for name in numbers:
            column = frame[name]
            values = log_values.numbers(column)
            missing = self._missing.number(column, values)
            self._check_missing(column, missing, line, drop_missing)
            not_number = values.is_null() & ~missing
            infinite = values.is_infinite().fill_null(value=False) & ~missing
            self._refuse(
                not_number, column, line, lambda was: f"a number, was {was!r}; {self.of_text}"
            )
            self._refuse(infinite, column, line, lambda was: f"finite, was {was}; repair the file")
            read[name], bad = values, bad | missing
        for name in names:
            column = frame[name]
            self._check_floats(column, line)
            values = log_values.names(column)
            missing = self._missing.name(values)
            self._check_missing(column, missing, line, drop_missing)
            read[name], bad = values, bad | missing
        table = pl.DataFrame(read)
        if not bad.any():
            return Batch(table, records, line, 0)
        kept = ~bad
        return Batch(table.filter(kept), records.filter(kept), line.filter(kept), int(bad.sum()))

    def _check_missing(
        self, column: pl.Series, missing: pl.Series, line: pl.Series, drop_missing: bool
    ) -> None:
        if missing.any() and not drop_missing:
            where = missing.arg_max() or 0
            value = column[where]
            was = "" if value is None or value == "" else f", was {value!r}"
            raise InputError(
                f"{self.place(line[where])}: column {column.name!r} is missing{was}; repair the "
                "file, or leave such records out with --drop-missing (--missing says which texts "
                "count as missing)"
            )

    def _check_floats(self, column: pl.Series, line: pl.Series) -> None:
        """That floats which are names are exact."""
        if column.dtype.is_float():
            largest = 2.0**24 if column.dtype == pl.Float32 else 2.0**53
            vague = ((column.abs() >= largest) & column.is_not_nan()).fill_null(value=False)
            self._refuse(
                vague,
                column,
                line,
                lambda was: f"text or whole numbers, was {was}: floats so large run together",
            )

    def _refuse(
        self, bad: pl.Series, column: pl.Series, line: pl.Series, must: Callable[[object], str]
    ) -> None:
        if bad.any():
            where = bad.arg_max() or 0
            raise InputError(
                f"{self.place(line[where])}: column {column.name!r} must be {must(column[where])}"
            )


def _check_kind(path: Path) -> None:
    """That there is such a file, of the kind that its ending says."""
    ending = path.suffix.lower()
    if ending not in (".csv", ".parquet"):
        remedy = "unpack it" if ending in _PACKED_ENDINGS else "convert it to one"
        raise InputError(f"{path}: the file must be a .csv or a .parquet; {remedy}")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; check the path")
    with open(path, "rb") as file:
        magic = file.read(6)
    if magic.startswith(_PACKED_MAGIC):
        raise InputError(f"{path}: the file is called {ending} but is packed; unpack it")
    if magic.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path}: the header is not UTF-8 but UTF-16; encode the file as UTF-8")
    if magic.startswith(_PARQUET_MAGIC) != (ending == ".parquet"):
        actual = "is Parquet" if ending == ".csv" else "is not Parquet"
        raise InputError(f"{path}: the file is called {ending} but {actual}; rename or convert it")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
