"""From a log to per-task sums: record by record, of a simulated log, and of one from outside."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool

from jaxbandit import checks
from jaxbandit.checks import InputError, check_count
from jaxbandit.engine import devices
from jaxbandit.inference import log_sums
from jaxbandit.inference.digits import warn_of_log
from jaxbandit.inference.model import BanditLog, TaskStatistics, check_log, check_tasks
from jaxbandit.linalg import packed, products
from jaxbandit.precision import settings
from jaxbandit.precision.floating import counts, floating
from jaxbandit.precision.settings import promotion

# Most tasks of which a simulated log is summed by one product with the tasks' membership, whose
# cost grows with them; a scatter, record by record, costs a CPU the same for any number of tasks.
# Accelerators scatter in no fixed order: their sums would not have the same bits each time.
_PRODUCT_TASKS = {"cpu": 32, "accelerator": 1 << 31}


def empty_statistics(tasks: int, features: int, dtype: jnp.dtype | None = None) -> TaskStatistics:
    """Statistics of tasks without records; the start of `scan_statistics`."""
    settings.check_process()
    dtype = jnp.result_type(float) if dtype is None else dtype
    return TaskStatistics(
        gram=jnp.zeros((tasks, features, features), dtype),
        moment=jnp.zeros((tasks, features), dtype),
        square=jnp.zeros(tasks, dtype),
        count=jnp.zeros(tasks, jnp.int32),
    )


def add_record(stats: TaskStatistics, record: BanditLog) -> TaskStatistics:
    """Statistics with one more record; `record` has a scalar task and reward, [features] features.

    Cost does not depend on the number of tasks or records: the body of an online update.

    Raises:
        InputError: shapes disagree, the task is out of range or not an integer, or a feature or the
            reward is not finite.
    """
    m, d = np.shape(stats.moment)
    checks.check_shape("record.task", record.task, (), "[]")
    checks.check_shape("record.feature", record.feature, (d,), "[features]")
    checks.check_shape("record.reward", record.reward, (), "[]")
    check_tasks("record.task", record.task, m, "stats")
    checks.check_finite("record.feature", record.feature)
    checks.check_finite("record.reward", record.reward)
    return _add(_floating(stats), record)


@promotion()
def _add(stats: TaskStatistics, record: BanditLog) -> TaskStatistics:
    dtype, task = stats.moment.dtype, jnp.asarray(record.task)
    feature, reward = jnp.asarray(record.feature, dtype), jnp.asarray(record.reward, dtype)
    return TaskStatistics(
        gram=stats.gram.at[task].add(feature[:, None] * feature),
        moment=stats.moment.at[task].add(feature * reward),
        square=stats.square.at[task].add(reward**2),
        count=stats.count.at[task].add(1),
    )


def scan_statistics(stats: TaskStatistics, log: BanditLog) -> TaskStatistics:
    """`add_record` over a log, in order: a `lax.scan` that can be continued and mapped.

    Raises:
        InputError: as `add_record`.

    Warns:
        UserWarning: as `task_statistics`.
    """
    m, d = np.shape(stats.moment)
    check_log(log, m, d, "stats")
    checks.check_finite("log.feature", log.feature)
    checks.check_finite("log.reward", log.reward)
    sums = _scan(_floating(stats), BanditLog(*(jnp.asarray(field) for field in log)))
    if checks.is_concrete(sums) and 0 not in np.shape(log.feature):
        warn_of_log(log.feature, log.reward, m)
    return sums


def _floating(stats: TaskStatistics) -> TaskStatistics:
    """The statistics as arrays, sums in one floating type that does not overflow soon."""
    return TaskStatistics(*floating(*stats[:3]), count=counts(stats.count))


def task_statistics(log: BanditLog, tasks: int) -> TaskStatistics:
    """Sums over each task's records.

    Pure when traced. Concrete arrays are streamed in chunks through the CPU: each is sorted by task
    and summed in blocks side by side, several times faster than scattering record by record.

    Args:
        log: task [records] integers in [0, tasks); feature [records, features]; reward [records].
        tasks: number of tasks; tasks without records are fine.

    Raises:
        InputError: the log is empty, shapes disagree, a task is out of range or not an integer, or
            a feature or reward is masked, complex or not finite.

    Warns:
        UserWarning: features nearly depend on each other, as a constant and a year do, or rewards
            lie far from zero, and sums in this precision lose digits that posteriors need.

    Source:
        Hong et al. 2023, eq. 6, without the division by the noise variance.

    >>> import jaxbandit as jb
    >>> feature = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    >>> log = jb.BanditLog(task=[0, 1, 1], feature=feature, reward=[1.0, 2.0, 3.0])
    >>> jb.task_statistics(log, tasks=2).moment.tolist()
    [[1.0, 0.0], [3.0, 5.0]]
    """
    settings.check_process()
    tasks = check_count("tasks", tasks)
    check_log(log, tasks, None, "tasks=")
    if 0 in np.shape(log.feature):
        raise InputError(
            f"log.feature must have records and features, has shape {np.shape(log.feature)}"
        )
    if not checks.is_concrete(log):
        return _scatter(log, tasks)
    for name in ("feature", "reward"):
        checks.numbers(f"log.{name}", getattr(log, name))
    streamed = log_sums.streamed(log, tasks)
    stats = _scatter(log, tasks) if streamed is None else streamed
    if not np.isfinite(np.sum(np.asarray(stats.gram)) + np.sum(np.asarray(stats.square))):
        # Sums show at no cost that a record is bad; only then is it looked for.
        checks.check_finite("log.feature", log.feature)
        checks.check_finite("log.reward", log.reward)
        dtype = stats.gram.dtype
        raise InputError(f"sums of the log overflow {dtype}; rescale features or rewards")
    warn_of_log(log.feature, log.reward, tasks)
    return stats


def listed_statistics(
    log: BanditLog, listed: Bool[Array, " records"], tasks: int
) -> TaskStatistics:
    """Statistics of the listed records of a simulated log: the same bits each time."""
    if not _is_product(tasks):
        # A scatter leaves out what is beyond its end.
        return _scatter(log._replace(task=jnp.where(listed, log.task, tasks)), tasks)
    d = log.feature.shape[1]
    columns = jnp.vstack([log.feature.T, log.reward, jnp.ones_like(log.reward)])
    # Products of two columns, packed, and last the one that counts.
    row, column = (np.append(index, d + 1) for index in np.tril_indices(d + 1))
    member = (log.task[:, None] == jnp.arange(tasks)) & listed[:, None]
    sums = products.matmul(columns[row] * columns[column], member.astype(columns.dtype))
    return TaskStatistics(
        gram=jnp.moveaxis(sums[packed.entry_index(d)], -1, 0),
        moment=sums[-d - 2 : -2].T,
        square=sums[-2],
        count=sums[-1].astype(jnp.int32),
    )


def listed_width(tasks: int, features: int) -> int:
    """Numbers that `listed_statistics` holds of a record, at most."""
    return tasks if _is_product(tasks) else (features + 1) ** 2


def _is_product(tasks: int) -> bool:
    return tasks <= devices.by_platform(_PRODUCT_TASKS)


@promotion()
def _scatter(log: BanditLog, tasks: int) -> TaskStatistics:
    task = jnp.asarray(log.task)
    feature, reward = jnp.asarray(log.feature, float), jnp.asarray(log.reward, float)
    total = partial(jax.ops.segment_sum, segment_ids=task, num_segments=tasks)
    return TaskStatistics(
        gram=total(feature[:, :, None] * feature[:, None, :]),
        moment=total(feature * reward[:, None]),
        square=total(reward**2),
        count=total(jnp.ones(task.shape, jnp.int32)),
    )


@promotion()
@jax.jit
def _scan(stats: TaskStatistics, log: BanditLog) -> TaskStatistics:
    return lax.scan(lambda carry, record: (_add(carry, record), None), stats, log)[0]
