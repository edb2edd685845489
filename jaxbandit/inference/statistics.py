"""From a log to per-task sums: as a recursion over records, and in blocks of sorted records.

Blocks are summed by a loop that is a single kernel of the CPU; the log is sent to it in chunks.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Int

from jaxbandit import checks
from jaxbandit.checks import InputError, check_count
from jaxbandit.engine import tiles
from jaxbandit.engine.round_kernels import called_as_kernel
from jaxbandit.inference.digits import warn_of_log
from jaxbandit.inference.model import BanditLog, TaskStatistics, check_log, check_tasks
from jaxbandit.linalg import packed, products
from jaxbandit.precision import settings
from jaxbandit.precision.floating import counts, floating
from jaxbandit.precision.settings import promotion

# Fewest records in a chunk of a long log: enough to fill blocks, so few that memory stays flat.
_CHUNK = 1 << 18
# Blocks of records summed side by side: whole vectors, and few enough to stay in a core's cache.
_LANES = 64
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
    dtype = np.dtype(jnp.result_type(float))
    device = _cpu()
    stats = _scatter(log, tasks) if device is None else _stream(log, tasks, dtype, device)
    if not np.isfinite(np.sum(np.asarray(stats.gram)) + np.sum(np.asarray(stats.square))):
        # Sums show at no cost that a record is bad; only then is it looked for.
        checks.check_finite("log.feature", log.feature)
        checks.check_finite("log.reward", log.reward)
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
    return tasks <= tiles.by_platform(_PRODUCT_TASKS)


def _cpu() -> Any:
    """The CPU as a device; None where JAX was told to use an accelerator alone."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


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


def _stream(log: BanditLog, tasks: int, dtype: np.dtype, device: Any) -> TaskStatistics:
    task, feature, reward = (np.asarray(field) for field in log)
    n, d = feature.shape
    # A chunk costs one pass over all tasks, so many tasks want long ones; an even number of them
    # keeps two cores busy.
    chunks = 2 * (n // (2 * max(_CHUNK, 16 * tasks))) or 1
    length = max(-(-n // chunks), _LANES)
    if chunks == 1:
        length = 1 << (length - 1).bit_length()  # Logs of about one size share a program.
    length = min(length, (2**31 - 1) // d)  # Places of numbers must fit 32 bits.
    rows = int(np.clip(2 ** np.round(np.log2(length / tasks / 2)), 4, 256))
    buffers: SimpleQueue[tuple[np.ndarray, np.ndarray]] = SimpleQueue()

    def chunk_sums(start: int) -> tuple[np.ndarray, np.ndarray]:
        part = slice(start, start + length)
        blocks, count = _blocks(task[part], tasks, rows, length)
        try:
            features, rewards = buffers.get_nowait()
        except Empty:
            features, rewards = tiles.aligned((length * d,), dtype), tiles.aligned((length,), dtype)
        features[: feature[part].size].reshape(-1, d)[:] = feature[part]
        rewards[: len(reward[part])] = reward[part]
        # Precision and device that are chosen for a while are so in the thread that chose alone.
        with jax.enable_x64(dtype == np.float64), jax.default_device(device):
            sums = np.asarray(_block_sums(blocks, features, rewards, tasks))
        buffers.put((features, rewards))
        return sums, count

    total, counts = np.zeros((tasks, (d + 1) * (d + 2) // 2), dtype), np.zeros(tasks, np.int32)
    # Merged in order whatever the number of threads, so the bits do not depend on it.
    with ThreadPoolExecutor(tiles.usable_cores()) as pool:
        for sums, count in pool.map(chunk_sums, range(0, n, length)):
            total += sums
            counts += count
    return TaskStatistics(*_unpacked(total), count=jnp.asarray(counts))


@jax.jit
def _unpacked(total: Array) -> tuple[Array, Array, Array]:
    """Sums of phi phi', y phi and y^2 from those of (phi, y)(phi, y)', packed, tasks first."""
    d = packed.order_of(total.T) - 1
    return total[:, packed.entry_index(d)], total[:, -d - 1 : -1], total[:, -1]


class _Blocks(NamedTuple):
    """Records in blocks of one task each; blocks in groups of `_LANES`, summed side by side."""

    groups: np.ndarray
    """[], groups that hold a block; what is beyond them is not looked at."""
    longest: np.ndarray
    """[groups], most records in a block of each."""
    task: np.ndarray
    """[blocks]."""
    start: np.ndarray
    """[blocks], where its records begin in `record`."""
    count: np.ndarray
    """[blocks], how many they are."""
    record: np.ndarray
    """[length], all records, by task."""


def _blocks(
    task: np.ndarray, tasks: int, rows: int, length: int
) -> tuple[_Blocks, Int[np.ndarray, " tasks"]]:
    """Blocks of up to `rows` records, of shapes that depend on sizes alone; records per task."""
    from scipy.sparse import coo_array

    # Compressed-row form is a counting sort: its column indices are the records in task order.
    index = np.arange(len(task), dtype=np.int32)
    by_task = coo_array((np.ones(len(task), np.int8), (task, index)), (tasks, len(task))).tocsr()
    count = np.diff(by_task.indptr)
    blocks = -(-count // rows)
    owner = np.repeat(np.arange(tasks), blocks)
    used = len(owner)
    earlier = rows * (np.arange(used) - (np.cumsum(blocks) - blocks)[owner])
    room = -(-(length // rows + min(tasks, length)) // _LANES)
    of_task, start, size = np.zeros((3, room * _LANES), np.int32)
    of_task[:used] = owner
    start[:used] = by_task.indptr[owner] + earlier
    size[:used] = np.minimum(count[owner] - earlier, rows)
    record = np.empty(length, np.int32)
    record[: len(task)] = by_task.indices
    longest = size.reshape(room, _LANES).max(1)
    groups = np.array(-(-used // _LANES), np.int32)
    return _Blocks(groups, longest, of_task, start, size, record), count


@partial(jax.jit, static_argnames="tasks")
def _block_sums(blocks: _Blocks, feature: Array, reward: Array, tasks: int) -> Array:
    # Of a single task nobody would ask which, and a kernel must use all that it is given.
    kernel = jax.jit(partial(_sum_blocks, max(tasks, 2)))
    return called_as_kernel(kernel, blocks, feature, reward)[:tasks]


def _sum_blocks(tasks: int, blocks: _Blocks, feature: Array, reward: Array) -> Array:
    d = feature.shape[0] // reward.shape[0]
    row, column = np.tril_indices(d + 1)

    def add_group(group: Array, total: Array) -> Array:
        task, start, count = (
            lax.dynamic_slice_in_dim(each, group * _LANES, _LANES)
            for each in (blocks.task, blocks.start, blocks.count)
        )

        def add_records(j: Array, sums: Array) -> Array:
            listed = j < count
            record = blocks.record[jnp.where(listed, start + j, 0)]
            columns = [feature[record * d + i] for i in range(d)] + [reward[record]]
            both = jnp.where(listed, jnp.stack(columns), 0)
            return sums + both[row] * both[column]

        sums = jnp.zeros((len(row), _LANES), feature.dtype)
        sums = lax.fori_loop(0, blocks.longest[group], add_records, sums)

        def add_block(lane: Array, total: Array) -> Array:
            before = lax.dynamic_slice_in_dim(total, task[lane], 1)
            more = lax.dynamic_slice_in_dim(sums, lane, 1, axis=1).T
            return lax.dynamic_update_slice_in_dim(total, before + more, task[lane], 0)

        return lax.fori_loop(0, _LANES, add_block, total)

    return lax.fori_loop(0, blocks.groups, add_group, jnp.zeros((tasks, len(row)), feature.dtype))


@promotion()
@jax.jit
def _scan(stats: TaskStatistics, log: BanditLog) -> TaskStatistics:
    return lax.scan(lambda carry, record: (_add(carry, record), None), stats, log)[0]
