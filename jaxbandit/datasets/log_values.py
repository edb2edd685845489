"""Names and numbers in logs: what is the same, what is missing, whatever the file's format."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

_SAME_NAME = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false", "-0": "0"}
_TRUTH = {"true": "1", "false": "0"}


def names(column: pl.Series) -> pl.Series:
    """The names that a column of text, whole numbers, truth values or floats holds.

    Spaces around a name are no part of it; 7, 7.0 and "7" are one name, 007 is another; so are
    True, TRUE and true. What is empty, null or not a number is null.
    """
    if column.dtype.is_float():
        whole = (column == column.round()).fill_null(value=False)
        texts = column.fill_nan(None).cast(pl.String)
        column = column.cast(pl.Int64, strict=False).cast(pl.String).zip_with(whole, texts)
    text = column.cast(pl.String).str.strip_chars()
    return text.str.replace(r"^(-?[0-9]+)\.0+$", "$1").replace(_SAME_NAME).replace("", None)


def same_names(texts: Sequence[str]) -> list[str]:
    """The names that a column of such texts would hold, of those that are not empty."""
    return (
        names(pl.Series(texts, dtype=pl.String)).unique(maintain_order=True).drop_nulls().to_list()
    )


def numbers(column: pl.Series) -> pl.Series:
    """Float64; null where a text is no number.

    Spaces around a number do not count; true and false, in capitals or not, are 1 and 0.
    """
    values = column.cast(pl.Float64, strict=False)
    if column.dtype == pl.String and values.null_count() > column.null_count():
        text = column.str.strip_chars()
        lower = text.str.to_lowercase().replace(_TRUTH)
        values = values.zip_with(values.is_not_null(), lower.cast(pl.Float64, strict=False))
    return values


class Missing:
    """What counts as missing besides what is empty, null or not a number."""

    def __init__(self, tokens: Sequence[str]) -> None:
        """Take texts, as names or numbers; capitals do not matter."""
        self._names = pl.Series([name.lower() for name in same_names(tokens)], dtype=pl.String)
        texts = pl.Series(tokens, dtype=pl.String).str.strip_chars()
        self._numbers = texts.cast(pl.Float64, strict=False).drop_nulls().drop_nans()

    def name(self, column: pl.Series) -> pl.Series:
        """[records], whether names are missing."""
        return column.is_null() | self._among(column)

    def number(self, column: pl.Series, values: pl.Series) -> pl.Series:
        """[records], whether numbers are missing, given as the file has them and as Float64."""
        missing = column.is_null() | values.is_nan().fill_null(value=False)
        if len(self._numbers):
            missing |= values.is_in(self._numbers.to_list()).fill_null(value=False)
        if column.dtype == pl.String and values.null_count() > column.null_count():
            text = column.str.strip_chars()
            missing |= values.is_null() & ((text == "") | self._among(text)).fill_null(value=True)
        return missing

    def _among(self, texts: pl.Series) -> pl.Series:
        return texts.str.to_lowercase().is_in(self._names.to_list()).fill_null(value=False)
