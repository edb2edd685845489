"""Displays of advertisements and whether they were clicked, as arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float64, Int8, Int32

FIELDS = (
    "C1",
    "banner_pos",
    "site_id",
    "site_domain",
    "site_category",
    "app_id",
    "app_domain",
    "app_category",
    "device_id",
    "device_ip",
    "device_model",
    "device_type",
    "device_conn_type",
    *(f"C{number}" for number in range(14, 22)),
)
"""Columns of Avazu's table that hold categories without an order."""
COLUMNS = ("click", "hour", *FIELDS)
"""Columns that are read; `hour` is YYMMDDHH."""
LOG_FIELDS = (*FIELDS, "hour")
"""Fields of a `ClickLog`: the categories, then the hour of the day."""
DEVICE = LOG_FIELDS.index("device_id")


class ClickLog(NamedTuple):
    """Displays, one a row.

    Fields:
        click: 1 where the advertisement was clicked, 0 where not.
        category: which of a field's values a row has, from 0; fields as in `LOG_FIELDS`.
        day: from 0, the first day of the log.
        probability: of the click, where the log is synthetic and it is known.
    """

    click: Int8[np.ndarray, "rows"]
    category: Int32[np.ndarray, "rows fields"]
    day: Int32[np.ndarray, "rows"]
    probability: Float64[np.ndarray, "rows"] | None = None


def click_log(table: pl.DataFrame, probability: np.ndarray | None = None) -> ClickLog:
    """A log from a table of checked values: `click` 0 or 1, `hour` YYMMDDHH, `FIELDS`."""
    hour = table["hour"].cast(pl.Int64).to_numpy()
    columns = [*(_number(table[name]) for name in FIELDS), (hour % 100).astype(np.int32)]
    dates, date = np.unique(hour // 100, return_inverse=True)
    day = pl.Series(dates).cast(pl.String).str.to_date("%y%m%d").to_numpy().astype(int)
    return ClickLog(
        table["click"].cast(pl.Int8).to_numpy(),
        np.stack(columns, axis=1),
        (day - day[0])[date].astype(np.int32),
        probability,
    )


def rows(log: ClickLog, index: np.ndarray | slice) -> ClickLog:
    """Some of a log's rows."""
    known = None if log.probability is None else log.probability[index]
    return ClickLog(log.click[index], log.category[index], log.day[index], known)


def _number(column: pl.Series) -> np.ndarray:
    """Each value's number, from 0 in order of first appearance."""
    name = column.name
    known = column.unique(maintain_order=True).to_frame().with_row_index("number")
    each = column.to_frame().join(known, on=name, how="left", maintain_order="left")
    return each["number"].to_numpy().astype(np.int32)
