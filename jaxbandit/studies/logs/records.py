"""The records of a log, read into sums over tasks: what `fit`, `update` and `score` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from jaxbandit.checks import InputError
from jaxbandit.datasets.log_file import BATCH, Batch, LogFile
from jaxbandit.inference.model import BanditLog, TaskStatistics
from jaxbandit.inference.statistics import empty_statistics, task_statistics
from jaxbandit.studies.logs.model_file import LogColumns


class Gathered(NamedTuple):
    """A log, read."""

    task_names: list[str]
    stats: TaskStatistics
    held_out: BanditLog
    """Records left out of the statistics."""
    dropped: int


def gather(
    file: LogFile,
    columns: LogColumns,
    known_tasks: Sequence[str],
    drop_missing: bool,
    held_out: float = 0.0,
    seed: int = 0,
) -> Gathered:
    """Sums of a log over tasks, and a random share of its records kept out of them.

    Args:
        file: the log.
        columns: what its columns are.
        known_tasks: names that have a number already; new ones follow in order of appearance.
        drop_missing: leave out records with missing values.
        held_out: share of the records to keep out.
        seed: of their choice.
    """
    index = {name: number for number, name in enumerate(known_tasks)}
    rng = np.random.default_rng(seed)
    d = len(columns.feature_names)
    total = empty_statistics(len(index), d)
    waiting: list[BanditLog] = []
    kept_out: list[BanditLog] = []
    dropped = 0

    def summed(total: TaskStatistics) -> TaskStatistics:
        log = _joined(waiting, d)
        waiting.clear()
        total = padded(total, len(index))
        if not len(log.task):
            return total
        return jax.tree.map(jnp.add, total, task_statistics(log, len(index)))

    numbers, names = [*columns.features, columns.reward], [columns.task]
    names += [columns.one_hot] if columns.one_hot else []
    for batch in file.batches(numbers, names, drop_missing=drop_missing):
        dropped += batch.dropped
        if not len(batch.frame):
            continue
        task = number_tasks(batch.frame[columns.task], index, grow=True)
        reward = batch.frame[columns.reward].to_numpy()
        log = BanditLog(task, features(file, columns, batch), reward)
        if held_out:
            out = rng.random(len(task)) < held_out
            kept_out.append(BanditLog(*(part[out] for part in log)))
            log = BanditLog(*(part[~out] for part in log))
        waiting.append(log)
        # Every sum costs a pass over all tasks, so many tasks want many records at once.
        if sum(len(log.task) for log in waiting) >= max(BATCH, 16 * len(index)):
            total = summed(total)
    total = summed(total)
    if not np.any(total.count):
        raise InputError(f"{file.path}: no records are left ({dropped} dropped)")
    return Gathered(list(index), total, _joined(kept_out, d), dropped)


def _joined(logs: list[BanditLog], features: int) -> BanditLog:
    nothing = BanditLog(np.zeros(0, np.int32), np.zeros((0, features)), np.zeros(0))
    return BanditLog(*(np.concatenate(parts) for parts in zip(nothing, *logs, strict=True)))


def number_tasks(names: pl.Series, index: dict[str, int], *, grow: bool) -> np.ndarray:
    """Numbers of tasks; a name that has none gets the next, or -1 where `grow` is false."""
    distinct = names.unique(maintain_order=True)
    numbers = [
        index.setdefault(name, len(index)) if grow else index.get(name, -1)
        for name in distinct.to_list()
    ]
    return names.replace_strict(distinct, numbers, return_dtype=pl.Int32).to_numpy()


def features(file: LogFile, columns: LogColumns, batch: Batch) -> np.ndarray:
    """[records, features], those of the one-hot column last."""
    matrix = batch.frame.select(columns.features).to_numpy()
    if columns.one_hot is None:
        return matrix
    values = columns.one_hot_values
    numbers = {value: number for number, value in enumerate(values)}
    index = number_tasks(batch.frame[columns.one_hot], numbers, grow=False)
    if np.any(index < 0):
        where = int(np.argmax(index < 0))
        raise InputError(
            f"{file.place(batch.line[where])}: column {columns.one_hot!r} holds "
            f"{batch.frame[columns.one_hot][where]!r}, which the model does not know; it knows "
            f"{', '.join(values[:10])}"
        )
    return np.column_stack([matrix, np.eye(len(values))[index]])


def padded(stats: TaskStatistics, tasks: int) -> TaskStatistics:
    """With so many tasks, those that are new without records."""
    more = tasks - len(stats.count)
    if not more:
        return stats
    zeros = empty_statistics(more, stats.moment.shape[1])
    return jax.tree.map(lambda *pair: jnp.concatenate(pair), stats, zeros)
