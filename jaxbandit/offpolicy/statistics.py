"""From a log to per-task sums: as a recursion over records, and in blocks of sorted records."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxbandit import checks, tiles
from jaxbandit.checks import InputError, check_count
from jaxbandit.linalg import einsum
from jaxbandit.offpolicy.model import BanditLog, TaskStatistics

# Records sorted at a time: enough to fill blocks, little enough that memory stays flat.
_CHUNK = 1 << 19


def empty_statistics(tasks: int, features: int, dtype: jnp.dtype | None = None) -> TaskStatistics:
    """Statistics of tasks without records; the start of `scan_statistics`."""
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
    """
    task, feature, reward = (jnp.asarray(field) for field in record)
    return TaskStatistics(
        gram=stats.gram.at[task].add(feature[:, None] * feature),
        moment=stats.moment.at[task].add(feature * reward),
        square=stats.square.at[task].add(reward**2),
        count=stats.count.at[task].add(1),
    )


def scan_statistics(stats: TaskStatistics, log: BanditLog) -> TaskStatistics:
    """`add_record` over a log, in order: a `lax.scan` that can be continued and mapped."""
    return _scan(stats, BanditLog(*(jnp.asarray(field) for field in log)))


def task_statistics(log: BanditLog, tasks: int) -> TaskStatistics:
    """Sums over each task's records.

    Pure when traced. On concrete arrays it streams the log in chunks, sorts each by task and sums
    by matrix products, which is several times faster than scattering record by record.

    Args:
        log: task [records] integers in [0, tasks); feature [records, features]; reward [records].
        tasks: number of tasks; tasks without records are fine.

    Raises:
        InputError: the log is empty, shapes disagree, a task is out of range or not an integer, or
            a feature or reward is not finite.

    Source:
        Hong et al. 2023, eq. 6, without the division by the noise variance.

    >>> import jaxbandit as jb
    >>> feature = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    >>> log = jb.BanditLog(task=[0, 1, 1], feature=feature, reward=[1.0, 2.0, 3.0])
    >>> jb.task_statistics(log, tasks=2).moment.tolist()
    [[1.0, 0.0], [3.0, 5.0]]
    """
    tasks = check_count("tasks", tasks)
    checks.check_shape("log.feature", log.feature, (None, None), "[records, features]")
    n, d = np.shape(log.feature)
    if n == 0 or d == 0:
        raise InputError(f"log.feature must have records and features, has shape {(n, d)}")
    checks.check_shape("log.task", log.task, (n,), "[records]")
    checks.check_shape("log.reward", log.reward, (n,), "[records]")
    if not checks.is_concrete(log):
        return _scatter(log, tasks)
    _check_tasks(np.asarray(log.task), tasks)
    dtype = np.dtype(jnp.result_type(float))
    stats = _stream(log, tasks, dtype)
    if not np.isfinite(np.sum(np.asarray(stats.gram)) + np.sum(np.asarray(stats.square))):
        # Sums show at no cost that a record is bad; only then is it looked for.
        checks.check_finite("log.feature", log.feature)
        checks.check_finite("log.reward", log.reward)
        raise InputError(f"sums of the log overflow {dtype}; rescale features or rewards")
    return stats


def _check_tasks(task: np.ndarray, tasks: int) -> None:
    if not np.issubdtype(task.dtype, np.integer):
        raise InputError(
            f"log.task must be integers, was {task.dtype}; number the tasks 0, 1, ... first"
        )
    if task.min() < 0 or task.max() >= tasks:
        record = int(np.argmax((task < 0) | (task >= tasks)))
        raise InputError(
            f"log.task must lie in [0, {tasks}), was {task[record]} at record {record}; "
            "tasks= is the number of tasks"
        )


def _scatter(log: BanditLog, tasks: int) -> TaskStatistics:
    task = jnp.asarray(log.task)
    feature, reward = jnp.asarray(log.feature), jnp.asarray(log.reward)
    total = partial(jax.ops.segment_sum, segment_ids=task, num_segments=tasks)
    return TaskStatistics(
        gram=total(feature[:, :, None] * feature[:, None, :]),
        moment=total(feature * reward[:, None]),
        square=total(reward**2),
        count=total(jnp.ones_like(task, jnp.int32)),
    )


def _stream(log: BanditLog, tasks: int, dtype: np.dtype) -> TaskStatistics:
    task, feature, reward = (np.asarray(field) for field in log)
    n, d = feature.shape
    # Sums over a chunk cost one pass over all tasks, so many tasks want longer chunks.
    length = min(n, max(_CHUNK, 32 * tasks))
    rows = int(np.clip(2 ** np.round(np.log2(length / tasks / 2)), 4, 256))

    def chunk_sums(start: int) -> np.ndarray:
        part = slice(start, start + length)
        # A precision that is chosen for a while is so in the thread that chose it alone.
        with jax.enable_x64(dtype == np.float64):
            return _chunk_sums(task[part], feature[part], reward[part], tasks, rows, length, dtype)

    total = np.zeros((tasks, (d + 1) ** 2), dtype)
    # Merged in order whatever the number of threads, so the bits do not depend on it.
    with ThreadPoolExecutor(tiles.usable_cores()) as pool:
        for sums in pool.map(chunk_sums, range(0, n, length)):
            total += sums
    total = total.reshape(tasks, d + 1, d + 1)
    return TaskStatistics(
        gram=jnp.asarray(total[:, :d, :d]),
        moment=jnp.asarray(total[:, :d, d]),
        square=jnp.asarray(total[:, d, d]),
        count=jnp.asarray(np.bincount(task, minlength=tasks), jnp.int32),
    )


def _chunk_sums(
    task: np.ndarray,
    feature: np.ndarray,
    reward: np.ndarray,
    tasks: int,
    rows: int,
    length: int,
    dtype: np.dtype,
) -> np.ndarray:
    """Sums of (phi, y)(phi, y)' over each task's records, [tasks, (features + 1)^2].

    Records are sorted by task and each task's padded with zeros to whole blocks of `rows`; one
    batched product gives every block's sums, and a sparse product adds a task's blocks.
    """
    from scipy.sparse import coo_array, csr_array

    n, d = feature.shape
    # Compressed-row form is a counting sort: its column indices are the records in task order.
    ones = np.ones(n, np.int8)
    order = coo_array((ones, (task, np.arange(n, dtype=np.int32))), shape=(tasks, n)).tocsr()
    count = np.diff(order.indptr)
    blocks = -(-count // rows)
    last_block = np.cumsum(blocks)
    # The bound depends on sizes alone, so that every chunk runs one compiled program.
    bound = -(-length // rows) + min(tasks, length)
    source = np.full(bound * rows, n, np.int32)
    shift = rows * (last_block - blocks) - order.indptr[:-1]
    source[np.arange(n) + np.repeat(shift, count)] = order.indices
    records = np.zeros((n + 1, d + 1), dtype)  # the last row is the padding
    records[:n, :d] = feature
    records[:n, d] = reward
    padded = records.take(source, axis=0, mode="clip").reshape(bound, rows, d + 1)
    sums = np.asarray(_block_sums(padded)).reshape(bound, (d + 1) ** 2)
    used = int(last_block[-1])
    by_task = csr_array(
        (np.ones(used, dtype), np.arange(used), np.concatenate([[0], last_block])),
        shape=(tasks, bound),
    )
    return by_task @ sums


@jax.jit
def _block_sums(block: Array) -> Array:
    return einsum("bri,brj->bij", block, block)


@jax.jit
def _scan(stats: TaskStatistics, log: BanditLog) -> TaskStatistics:
    return lax.scan(lambda carry, record: (add_record(carry, record), None), stats, log)[0]
