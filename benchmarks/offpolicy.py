"""Off-policy speed against NumPy and LAPACK: `python -m benchmarks.offpolicy`."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import jaxbandit as jb
from benchmarks.peers import numpy_hieropo
from benchmarks.timing import fastest, machine, report
from jaxbandit.linalg import packed, spd


def simulation() -> None:
    """Whole runs: instance, log of 500 records, posteriors, 1000 contexts, 10 tasks, d = 4."""
    design = jb.synthetic_design(hyper_std=1.0)
    runs, numpy_runs = 2048, 32

    def simulate(threads: int) -> object:
        return jb.simulate_offpolicy(
            jax.random.key(0),
            design,
            runs=runs,
            records=(500,),
            algorithms={"HierOPO": jb.hieropo},
            threads=threads,
        )

    def loop() -> list[float]:
        rng = np.random.default_rng(0)
        return [numpy_hieropo.run(rng) for _ in range(numpy_runs)]

    started = time.perf_counter()
    ours = simulate(1)
    print(f"compile and first call: {time.perf_counter() - started:.1f} s")
    means = float(ours.suboptimality["HierOPO"].mean[0]), float(np.mean(loop()))
    print("mean suboptimality: jaxbandit {:.4f}, NumPy {:.4f}".format(*means))
    seconds = fastest(
        {"jaxbandit, 1 thread": lambda: simulate(1), "jaxbandit, all cores": lambda: simulate(None)}
    )
    seconds = {name: value / runs for name, value in seconds.items()}
    seconds["NumPy, one run at a time"] = fastest({"": loop})[""] / numpy_runs
    report("HierOPO runs", seconds, "run", 1, "jaxbandit, 1 thread")


def small_matrices() -> None:
    """Cholesky factor and solve, and inverse, of many small matrices."""
    rng = np.random.default_rng(0)
    for d in (4, 10):
        _small_matrices(rng, d, 8192)


def _small_matrices(rng: np.random.Generator, d: int, count: int) -> None:
    half = rng.standard_normal((count, 2 * d, d)).astype(np.float32)
    matrix = half.transpose(0, 2, 1) @ half + np.eye(d, dtype=np.float32)
    vector = matrix[:, 0]
    a, b = jnp.asarray(matrix), jnp.asarray(vector)

    @jax.jit
    def lapack(a: jax.Array, b: jax.Array) -> jax.Array:
        return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(a, lower=True), b[..., None])

    ours = jax.jit(spd.solve)
    blocks = jax.vmap(packed.pack)(a.reshape(-1, min(count, packed.block_size(d)), d, d))
    in_blocks = jax.jit(lambda blocks: jax.lax.map(packed.inverse, blocks))
    inverse = jax.jit(jnp.linalg.inv)
    solve = {
        "jaxbandit": lambda: ours(a, b),
        "LAPACK through jax": lambda: lapack(a, b),
        "NumPy": lambda: np.linalg.solve(matrix, vector[..., None]),
    }
    invert = {
        "jaxbandit": lambda: in_blocks(blocks),
        "LAPACK through jax": lambda: inverse(a),
        "NumPy": lambda: np.linalg.inv(matrix),
    }
    calls = 20
    for title, contenders in (
        (f"solve, d = {d}", solve),
        (f"inverse, d = {d} (jaxbandit: packed and in blocks, as the posteriors use it)", invert),
    ):
        seconds = fastest(_in_a_row(contenders, calls))
        report(title, seconds, "matrix", count * calls, "jaxbandit")


def _in_a_row(
    contenders: dict[str, Callable[[], object]], calls: int
) -> dict[str, Callable[[], None]]:
    """Several calls of each: warm, where one alone finds the caches as another left them."""

    def repeated(call: Callable[[], object]) -> None:
        for _ in range(calls):  # none kept: the next writes where the last one did
            jax.block_until_ready(call())

    return {name: partial(repeated, call) for name, call in contenders.items()}


def statistics() -> None:
    """Sums over the records of each task, d = 10."""
    rng = np.random.default_rng(0)
    n, d = 10_000_000, 10
    feature = rng.random((n, d), np.float32) - np.float32(0.5)
    reward = rng.standard_normal(n, np.float32)
    for tasks in (100, 100_000):
        _statistics(rng, feature, reward, tasks)


def _statistics(
    rng: np.random.Generator, feature: np.ndarray, reward: np.ndarray, tasks: int
) -> None:
    n = len(feature)
    log = jb.BanditLog(rng.integers(0, tasks, n).astype(np.int32), feature, reward)
    on_device = jb.BanditLog(*map(jnp.asarray, log))

    @jax.jit
    def segment_sum(log: jb.BanditLog) -> tuple[jax.Array, jax.Array]:
        outer = log.feature[:, :, None] * log.feature[:, None, :]
        scaled = log.feature * log.reward[:, None]
        return (
            jax.ops.segment_sum(outer, log.task, tasks),
            jax.ops.segment_sum(scaled, log.task, tasks),
        )

    report(
        f"statistics of 10 million records, {tasks:,} tasks",
        fastest(
            {
                "jaxbandit": lambda: jb.task_statistics(log, tasks),
                "jax segment_sum": lambda: segment_sum(on_device),
            },
            repeats=5,
        ),
        "record",
        n,
        "jaxbandit",
    )


def posteriors() -> None:
    """Task posteriors of 100,000 tasks, d = 10."""
    rng = np.random.default_rng(0)
    tasks, d = 100_000, 10
    phi = rng.standard_normal((tasks, 5, d)).astype(np.float32)
    stats = jb.TaskStatistics(
        jnp.asarray(phi.transpose(0, 2, 1) @ phi),
        jnp.asarray(phi[:, 0]),
        jnp.ones(tasks),
        jnp.full(tasks, 5),
    )
    model = jb.HierarchicalGaussian(jnp.zeros(d), jnp.eye(d), jnp.eye(d), 0.5)

    def dense() -> np.ndarray:
        gram, moment = np.asarray(stats.gram) / 0.25, np.asarray(stats.moment) / 0.25
        eye = np.eye(d, dtype=np.float32)
        given = np.linalg.inv(eye + gram)
        hyper_cov = np.linalg.inv(eye + np.einsum("sij,sjk->ik", gram, given))
        hyper_mean = hyper_cov @ np.einsum("sjk,sk->j", given, moment)
        mean = np.einsum("sij,sj->si", given, hyper_mean + moment)
        return mean, given + given @ hyper_cov @ given

    contenders = {"jaxbandit": lambda: jb.task_posteriors(model, stats), "NumPy": dense}
    calls = 5
    seconds = fastest(_in_a_row(contenders, calls))
    report("posteriors of 100,000 tasks, d = 10", seconds, "task", tasks * calls, "jaxbandit")


if __name__ == "__main__":
    machine()
    simulation()
    small_matrices()
    posteriors()
    statistics()
