"""What a study says of its numbers: sentences and Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl


def verdict(statement: str, holds: bool) -> str:
    """A statement, and whether the numbers confirm it."""
    return f"{'confirmed' if holds else 'NOT confirmed'}: {statement}"


def coverage(table: pl.DataFrame) -> str:
    """Whether bounds hold as often as they say; columns coverage, coverage_high and delta."""
    short = table.filter(pl.col("coverage_high") < 1 - pl.col("delta"))
    return verdict(
        "every bound holds in a share 1 - delta of runs or more "
        f"(lowest share {table['coverage'].to_numpy().min():.4f})",
        short.is_empty(),
    )


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], labels: int = 0) -> str:
    """A table; all columns but the first `labels` are numbers, to the right."""
    ruler = "|" + "---|" * labels + "---:|" * (len(head) - labels)
    first, *others = (f"| {' | '.join(line)} |" for line in (head, *rows))
    return "\n".join([first, ruler, *others, ""])
