"""From a click log to what a model takes: numbered categories and dense features.

All that is learnt here is learnt from training rows. No feature of a row depends on its own click,
on those of its day, or on those of rows that do not train.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int32

from jaxbandit.datasets.click_log import DEVICE, ClickLog

UNKNOWN = 0
SHRINKAGE = 10.0


class Features(NamedTuple):
    """What a model takes; as written, of one row, in a batch with a leading axis."""

    code: Any
    """[fields], int; which embedding a field's value has, of one table for all fields."""
    dense: Any
    """[dense], in [0, 1]."""


class Encoder(NamedTuple):
    """What was learnt from training rows; made by `fit_encoder`."""

    code: tuple[Int32[np.ndarray, " categories"], ...]
    """For each field, by category."""
    vocabulary: int
    """Number of codes."""
    history: History
    low: Float64[np.ndarray, " dense"]
    high: Float64[np.ndarray, " dense"]
    """Smallest and largest dense feature of the training rows."""


class History(NamedTuple):
    """Displays and clicks of each device on each day, in training rows."""

    device: Int32[np.ndarray, " categories"]
    """Row of the tables below; the last, all zero, for a device without training rows."""
    displays: Float64[np.ndarray, "devices days"]
    clicks: Float64[np.ndarray, "devices days"]


def fit_encoder(training: ClickLog, categories: np.ndarray, *, least: int = 2) -> Encoder:
    """Learn codes and the devices' history from training rows.

    Values seen fewer than `least` times share their field's unknown code with those never seen, so
    that it is trained.

    Args:
        training: training rows.
        categories: [fields], number of values that each field has in the whole log.
        least: training rows that a value needs for a code of its own.
    """
    tables, first = [], 0
    for column, size in enumerate(categories):
        count = np.bincount(training.category[:, column], minlength=size)
        known = count >= least
        code = np.where(known, np.cumsum(known), UNKNOWN) + first
        tables.append(code.astype(np.int32))
        first += 1 + int(known.sum())
    history = _history(training, int(categories[DEVICE]))
    dense = device_features(history, training)
    return Encoder(tuple(tables), first, history, dense.min(axis=0), dense.max(axis=0))


def encode(encoder: Encoder, log: ClickLog) -> Features:
    """Codes, and dense features scaled to [0, 1] by the training rows' range."""
    code = [table[log.category[:, column]] for column, table in enumerate(encoder.code)]
    dense = device_features(encoder.history, log)
    width = encoder.high - encoder.low
    scaled = (dense - encoder.low) / np.where(width > 0, width, 1)
    return Features(np.stack(code, axis=1), np.clip(scaled, 0, 1).astype(np.float32))


def device_features(history: History, log: ClickLog) -> Float64[np.ndarray, "rows dense"]:
    """What is known of a row's device from training rows of earlier days.

    Columns: log(1 + displays); click rate; click rate on the day before. Rates are clicks over
    displays plus ten: shrunk towards zero, not towards the overall rate, which holds the row's own
    click.
    """
    device = history.device[log.category[:, DEVICE]]
    last = history.displays.shape[1]
    today = np.minimum(log.day, last)

    def earlier(table: np.ndarray, days: int) -> np.ndarray:
        before = np.concatenate([np.zeros((len(table), 1)), np.cumsum(table, axis=1)], axis=1)
        return (
            before[device, today] - before[device, np.minimum(np.maximum(log.day - days, 0), last)]
        )

    every = max(int(log.day.max(initial=0)), 1)
    displays, clicks = earlier(history.displays, every), earlier(history.clicks, every)
    yesterday = earlier(history.clicks, 1) / (earlier(history.displays, 1) + SHRINKAGE)
    return np.stack([np.log1p(displays), clicks / (displays + SHRINKAGE), yesterday], axis=1)


def _history(training: ClickLog, devices: int) -> History:
    seen, row = np.unique(training.category[:, DEVICE], return_inverse=True)
    device = np.full(devices, len(seen), np.int32)
    device[seen] = np.arange(len(seen))
    shape = len(seen) + 1, int(training.day.max()) + 1
    displays, clicks = np.zeros(shape), np.zeros(shape)
    np.add.at(displays, (row, training.day), 1)
    np.add.at(clicks, (row, training.day), training.click)
    return History(device, displays, clicks)
