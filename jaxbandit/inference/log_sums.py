"""Sums over a log from outside, in blocks of sorted records.

Each chunk of the log is sorted by task and cut into blocks of records of one task. Blocks are
summed side by side, in the lanes of vectors, by a loop that is a single kernel of the CPU.
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
from jaxtyping import Int

from jaxbandit.engine import devices
from jaxbandit.engine.round_kernels import called_as_kernel
from jaxbandit.inference.model import BanditLog, TaskStatistics
from jaxbandit.linalg import packed

# Fewest records in a chunk of a long log: enough to fill blocks, so few that memory stays flat.
_CHUNK = 1 << 18
# Blocks of records summed side by side: whole vectors, and few enough to stay in a core's cache.
_LANES = 64


def streamed(log: BanditLog, tasks: int) -> TaskStatistics | None:
    """Sums over each task's records, of arrays that have values; None where there is no CPU to use.

    Args:
        log: task [records], feature [records, features], reward [records].
        tasks: number of tasks.
    """
    device, dtype = _cpu(), np.dtype(jnp.result_type(float))
    if device is None:
        return None
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
            features, rewards = (
                devices.aligned((length * d,), dtype),
                devices.aligned((length,), dtype),
            )
        features[: feature[part].size].reshape(-1, d)[:] = feature[part]
        rewards[: len(reward[part])] = reward[part]
        # Precision and device that are chosen for a while are so in the thread that chose alone.
        with jax.enable_x64(dtype == np.float64), jax.default_device(device):
            sums = np.asarray(_block_sums(blocks, features, rewards, tasks))
        buffers.put((features, rewards))
        return sums, count

    total, counts = np.zeros((tasks, (d + 1) * (d + 2) // 2), dtype), np.zeros(tasks, np.int32)
    # Merged in order whatever the number of threads, so the bits do not depend on it.
    with ThreadPoolExecutor(devices.usable_cores()) as pool:
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


def _cpu() -> Any:
    """The CPU as a device; None where JAX was told to use an accelerator alone."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None
