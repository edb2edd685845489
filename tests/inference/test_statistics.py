"""Sums over records, three ways, against a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.inference import log_sums, statistics
from tests import oracle
from tests.inference.cases import make_case, normwise


@pytest.fixture(scope="module")
def case():
    return make_case("plain", 2)


def assert_sums(stats: jb.TaskStatistics, log: jb.BanditLog, tasks: int, rtol: float) -> None:
    *sums, count = oracle.task_sums(log, tasks)
    for one, two in zip(stats[:3], sums, strict=True):
        assert normwise(one[None], two[None]) < rtol
    np.testing.assert_array_equal(stats.count, count)
    assert jnp.issubdtype(stats.count.dtype, jnp.integer)


@pytest.fixture(scope="module")
def tight(x64) -> float:
    return 1e-13 if x64 else 1e-6


def test_batched_sums(case, tight):
    assert_sums(jb.task_statistics(case.log, case.tasks), case.log, case.tasks, tight)


def test_traced_sums(case, tight):
    stats = jax.jit(jb.task_statistics, static_argnums=1)(case.log, case.tasks)
    assert_sums(stats, case.log, case.tasks, tight)


@pytest.mark.parametrize("tasks", [7, 40])  # as a product, and record by record
def test_listed_sums(tasks, tight):
    rng = np.random.default_rng(0)
    log = jb.BanditLog(rng.integers(0, tasks, 300), rng.normal(size=(300, 3)), rng.normal(size=300))
    listed = rng.random(300) < 0.6
    summed = jax.jit(statistics.listed_statistics, static_argnums=2)
    stats = summed(jb.BanditLog(*map(jnp.asarray, log)), jnp.asarray(listed), tasks)
    assert_sums(stats, jb.BanditLog(*(field[listed] for field in log)), tasks, tight)


@pytest.fixture
def long_log(monkeypatch) -> tuple[jb.BanditLog, int]:
    """44 chunks; blocks of four records, many a group, some not full; two tasks without records."""
    monkeypatch.setattr(log_sums, "_CHUNK", 64)
    rng = np.random.default_rng(0)
    task = rng.choice([0, 1, 3, 4, 6], 5001, p=[0.5, 0.2, 0.1, 0.1, 0.1])
    return jb.BanditLog(task, rng.normal(size=(5001, 3)), rng.normal(size=5001)), 7


def test_chunks_add_up(long_log, tight):
    assert_sums(jb.task_statistics(*long_log), *long_log, tight)


def test_arrays_of_any_layout(long_log):
    log, tasks = long_log
    wide = np.asfortranarray(np.repeat(log.feature, 2, axis=1))[:, ::2].astype(np.float32)
    strided = jb.BanditLog(log.task.astype(np.uint8), wide, log.reward)
    assert_sums(jb.task_statistics(strided, tasks), log, tasks, 1e-6)


def test_threads_do_not_change_bits(long_log, monkeypatch):
    two = jb.task_statistics(*long_log)
    monkeypatch.setattr("jaxbandit.engine.devices.usable_cores", lambda: 1)
    for a, b in zip(two, jb.task_statistics(*long_log), strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_a_cpu_device(long_log, tight, monkeypatch):
    monkeypatch.setattr(log_sums, "_cpu", lambda: None)
    assert_sums(jb.task_statistics(*long_log), *long_log, tight)


@pytest.mark.parametrize(
    ("records", "features", "tasks"), [(1, 1, 1), (1, 1, 2), (2, 3, 1), (65, 1, 2), (64, 2, 200)]
)
def test_sizes_at_which_little_is_left(records, features, tasks, tight):
    rng = np.random.default_rng(0)
    feature = rng.normal(size=(records, features))
    log = jb.BanditLog(rng.integers(0, tasks, records), feature, rng.normal(size=records))
    assert_sums(jb.task_statistics(log, tasks), log, tasks, tight)


def test_lost_digits_are_warned_of(x64, recwarn):
    """As many as move a mean by a tenth of a posterior standard deviation."""
    rng = np.random.default_rng(0)
    n, tasks = 20_000, 10
    task, ones = rng.integers(tasks, size=n), np.ones(n)
    category = np.eye(3)[rng.integers(3, size=n)]

    def sums(*columns):
        log = jb.BanditLog(task, np.column_stack(columns), rng.normal(size=n))
        return jb.task_statistics(log, tasks)

    for fine in (
        (ones, rng.normal(size=n)),
        (ones, 20 + rng.normal(size=n)),
        (2020 + 5 * rng.normal(size=n),),
        (ones, category),
        (ones, 0 * ones, 1e-6 * rng.normal(size=n)),
    ):
        sums(*fine)
    assert len(recwarn) == 0
    sums(rng.normal(size=n), ones, 2020 + 5 * rng.normal(size=n))
    assert len(recwarn) == (0 if x64 else 1)
    if not x64:
        message = str(recwarn[0].message)
        assert "columns 1 and 2 of log.feature" in message
        assert "subtract" in message
        assert recwarn[0].filename == __file__


def test_recursion_can_be_continued_and_mapped(case, tight):
    empty = jb.empty_statistics(case.tasks, 2)
    assert_sums(jb.scan_statistics(empty, case.log), case.log, case.tasks, tight)
    parts = [jb.BanditLog(*(field[s] for field in case.log)) for s in (np.s_[:70], np.s_[70:])]
    continued = jb.scan_statistics(jb.scan_statistics(empty, parts[0]), parts[1])
    assert_sums(continued, case.log, case.tasks, tight)
    two = jb.BanditLog(*(jnp.stack([field[:60], field[60:120]]) for field in case.log))
    mapped = jax.jit(jax.vmap(jb.scan_statistics, in_axes=(None, 0)))(empty, two)
    for index in range(2):
        log = jb.BanditLog(*(np.asarray(field[index]) for field in two))
        stats = jax.tree.map(lambda x, i=index: x[i], mapped)
        assert_sums(stats, log, case.tasks, tight)


def test_one_record(case, tight):
    record = jb.BanditLog(*(field[5] for field in case.log))
    stats = jax.jit(jb.add_record)(jb.empty_statistics(case.tasks, 2), record)
    one = jb.BanditLog(*(field[5:6] for field in case.log))
    assert_sums(stats, one, case.tasks, tight)
