"""Many tasks online, against a numba loop: `python -m benchmarks.hierarchical`.

Six policies, hierarchical, flat and oracle Thompson sampling and UCB, without a log; a run's draws
are shared by all of them on both sides. jaxbandit also reports 200 checkpoints and paired moments.
"""

from __future__ import annotations

import jax
import numba
import numpy as np

import jaxbandit as jb
from benchmarks.peers import numba_hierarchical
from benchmarks.timing import machine, measure

ACTIONS, HYPER_STD, TASK_STD, NOISE_STD = 5, 0.5, 0.2, 0.5
CELLS = ((2, 10, 500), (4, 10, 500), (4, 100, 2000), (4, 1000, 2000), (10, 10, 500), (20, 10, 500))
"""Features, tasks, rounds."""


def compare(features: int, tasks: int, rounds: int) -> None:
    """One line of the table."""
    runs = int(np.clip(4e7 / (rounds * features**3), 256, 4096)) // 256 * 256
    design = jb.synthetic_design(
        features=features,
        tasks=tasks,
        actions=ACTIONS,
        hyper_std=HYPER_STD,
        task_std=TASK_STD,
        noise_std=NOISE_STD,
    )
    peer = numba_hierarchical.simulator(features)

    def ours(threads: int | None) -> jb.HierarchicalResult:
        return jb.simulate_hierarchical(
            jax.random.key(0), design, rounds=rounds, runs=runs, threads=threads
        )

    def theirs(threads: int) -> np.ndarray:
        numba.set_num_threads(threads)
        return peer(1, runs, rounds, tasks, ACTIONS, HYPER_STD, TASK_STD, NOISE_STD, 1.0)

    cores = numba.config.NUMBA_NUM_THREADS
    timings = measure(
        {
            "jaxbandit, 1 thread": lambda: ours(1),
            "jaxbandit, all cores": lambda: ours(None),
            "numba, 1 thread": lambda: theirs(1),
            "numba, all cores": lambda: theirs(cores),
        },
        seconds=8,
    )
    one, all_cores, peer_one, peer_all = (
        timing.best / (rounds * runs) * 1e9 for timing in timings.values()
    )
    print(
        f"| {features} | {tasks} | {rounds} | {one:.0f} | {peer_one:.0f} | {peer_one / one:.1f} | "
        f"{all_cores:.0f} | {peer_all:.0f} | {peer_all / all_cores:.1f} | "
        f"{timings['jaxbandit, 1 thread'].first:.1f} | {timings['numba, 1 thread'].first:.1f} | "
        f"{_disagreement(ours(None), theirs(cores)):.1f} |",
        flush=True,
    )


def _disagreement(ours: jb.HierarchicalResult, theirs: np.ndarray) -> float:
    """Largest difference of a policy's mean regret, in standard errors."""
    worst = 0.0
    for policy, regret in zip(numba_hierarchical.POLICIES, theirs.T, strict=True):
        mine = ours.regret[policy]
        error = np.hypot(mine.sem[-1], regret.std() / np.sqrt(len(regret)))
        worst = max(worst, abs(float(mine.mean[-1] - regret.mean())) / float(error))
    return worst


if __name__ == "__main__":
    machine("numba")
    print("\nns per round and run, of six policies\n")
    print(
        "| features | tasks | rounds | 1 thread | numba | ratio | all cores | numba | ratio | "
        "first call, s | numba | means differ by, standard errors |"
    )
    print("|" + "---:|" * 12)
    for cell in CELLS:
        compare(*cell)
