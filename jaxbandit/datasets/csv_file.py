"""CSV files, read in blocks of whole lines: every line becomes a record, or an error that names it.

Lines end in LF or CR LF; values are separated by commas; a value that begins with a quote ends with
one, and may then hold commas, line ends and doubled quotes; quotes elsewhere stand for themselves.
Blank lines are no records.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import polars as pl

from jaxbandit.checks import InputError

BLOCK = 1 << 24
"""Bytes in memory at a time."""
LONGEST = 1 << 24
"""Characters of a value that needs its quotes, at most."""

_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
_INNER_COMMA = b"\1"
_QUOTE, _COMMA, _NEWLINE, _SPACE = b'",\n '


class CsvBlock(NamedTuple):
    """Consecutive records."""

    text: pl.DataFrame
    """Columns asked for, as String; empty values are null."""
    line: np.ndarray
    """Line of the file that each record begins on, from 1."""


class CsvFile:
    """A CSV file with a header."""

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            InputError: the file is empty, or its header is not CSV in UTF-8.
        """
        self.path = path
        with open(path, "rb") as file:
            lines = self._lines(io.BytesIO(file.readline()), file, 1)
            rows, _, self._header_lines = self._rows(lines, 1, 1)
            self._header_bytes = file.tell()
        if not self._header_bytes:
            raise InputError(f"{path}: the file is empty; it must have a header and records")
        if not rows:
            raise InputError(f"{path}, line 1: must be the header, is blank; remove blank lines")
        self.names = [name.strip() for name in rows[0]]
        """Of the columns, without spaces around them."""

    def blocks(self, columns: Sequence[str]) -> Iterator[CsvBlock]:
        """Read columns to the file's end.

        Raises:
            InputError: a line is not CSV in UTF-8, or has more or fewer values than the header.
        """
        places = {name: self.names.index(name) for name in columns}
        with open(self.path, "rb") as file:
            file.seek(self._header_bytes)
            line = self._header_lines + 1
            while block := file.read(BLOCK) + file.readline():
                self._decoded(block, line)
                read = _plain(block, len(self.names), places)
                if read is not None:
                    lines = block.count(b"\n") + (not block.endswith(b"\n"))
                    yield CsvBlock(read, np.arange(line, line + len(read)))
                else:
                    rows, begin, lines = self._rows(
                        self._lines(io.BytesIO(block), file, line),
                        line,
                        block.count(b"\n") + (not block.endswith(b"\n")),
                    )
                    self._check_lengths(rows, begin)
                    values = {name: [row[k] or None for row in rows] for name, k in places.items()}
                    schema = dict.fromkeys(places, pl.String())
                    yield CsvBlock(pl.DataFrame(values, schema), np.array(begin, int))
                line += lines

    def _rows(
        self, lines: Iterator[str], line: int, least: int
    ) -> tuple[list[list[str]], list[int], int]:
        """Rows that are not blank, the line each begins on, and how many lines they take.

        Reads `least` lines, and on to the end of the record that the last of them belongs to.
        """
        rows: list[list[str]] = []
        begin: list[int] = []
        reader = csv.reader(lines, strict=True, skipinitialspace=True)
        taken = 0
        limit = csv.field_size_limit(LONGEST)
        try:
            while taken < least and (row := next(reader, None)) is not None:
                if row:
                    rows.append(row)
                    begin.append(line + taken)
                taken = reader.line_num
        except csv.Error as error:
            raise InputError(
                f"{self.path}, line {line + taken}: not CSV ({_reason(error)}); repair the file"
            ) from None
        finally:
            csv.field_size_limit(limit)
        return rows, begin, taken

    def _lines(self, block: IO[bytes], file: IO[bytes], line: int) -> Iterator[str]:
        """A block's lines, then as many of those that follow as are asked for."""
        for number, text in enumerate(chain(block, iter(file.readline, b"")), line):
            yield self._decoded(text, number).removeprefix(_BOM if number == 1 else "")

    def _decoded(self, text: bytes, line: int) -> str:
        try:
            decoded = text.decode()
            fault = text.find(b"\0")
        except UnicodeDecodeError as error:
            decoded, fault = "", error.start
        if fault >= 0:
            place = line + text.count(b"\n", 0, fault)
            where = ": the header is" if place == 1 else f", line {place}:"
            raise InputError(f"{self.path}{where} not UTF-8; encode the file as UTF-8")
        return decoded

    def _check_lengths(self, rows: list[list[str]], begin: list[int]) -> None:
        for row, line in zip(rows, begin, strict=True):
            if len(row) != len(self.names):
                raise InputError(
                    f"{self.path}, line {line}: {len(row)} values, but the header has "
                    f"{len(self.names)} columns; repair the file"
                )


def _plain(block: bytes, width: int, places: dict[str, int]) -> pl.DataFrame | None:
    """Columns of a block that can be cut at commas and line ends alone; None of any other.

    Polars' own handling of quotes is not used: it loses records where columns are chosen.
    """
    text = block.rstrip(b"\r\n") + b"\n"
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    if b'"' in text:
        text = _unquoted(text)
    if text is None or b"\r" in text or not _is_regular(text, width - 1):
        return None
    table = pl.read_csv(
        text,
        has_header=False,
        schema={str(k): pl.String() for k in range(width)},
        columns=sorted(places.values()),
        quote_char=None,
    )
    if len(table) != text.count(b"\n"):
        return None
    table = table.select(pl.col(str(k)).alias(name) for name, k in places.items())
    if _INNER_COMMA in text and _INNER_COMMA not in block:
        table = table.with_columns(pl.all().str.replace_all(_INNER_COMMA.decode(), ","))
    return table


def _unquoted(text: bytes) -> bytes | None:
    """Lines without the quotes around values, commas within those as `_INNER_COMMA`.

    As it is where no quote begins a value. None where quotes hold quotes or line ends, or where
    that is not plain to see.
    """
    codes = np.frombuffer(b"\n" + text, np.uint8)
    is_quote = codes == _QUOTE
    quotes = np.flatnonzero(is_quote)
    before, after = codes[quotes - 1], codes[quotes + 1]
    if not np.isin(before, [_COMMA, _NEWLINE, _SPACE]).any():
        return text
    ends = [_COMMA, _NEWLINE]
    if len(quotes) % 2 or not (np.isin(before[::2], ends) & np.isin(after[1::2], ends)).all():
        return None
    inside = (np.cumsum(is_quote, dtype=np.uint8) & 1).astype(bool)
    if np.any(codes[inside] == _NEWLINE) or _INNER_COMMA in text:
        return None
    codes = np.where(inside & (codes == _COMMA), ord(_INNER_COMMA), codes)
    return codes[~is_quote][1:].astype(np.uint8).tobytes()


def _is_regular(text: bytes, commas: int) -> bool:
    """Whether every line has so many commas, and none is blank."""
    codes = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(codes == _NEWLINE)
    if not commas:
        return b"," not in text and bool(np.all(np.diff(ends, prepend=-1) > 1))
    found = np.flatnonzero(codes == _COMMA)
    if len(found) != len(ends) * commas:
        return False
    grid = found.reshape(len(ends), commas)
    return bool(np.all(grid[:, -1] < ends) and np.all(grid[1:, 0] > ends[:-1]))


def _reason(error: csv.Error) -> str:
    said = str(error)
    if "new-line" in said:
        return "a line must end in LF or CR LF, not in CR alone"
    if "field larger" in said:
        return f"a value in quotes has more than {LONGEST:,} characters; is a quote never closed?"
    if "end of data" in said:
        return "a quote is opened and never closed"
    return "a value that begins with a quote goes on after the quote that closes it"
