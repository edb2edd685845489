"""A long-lived process: mixed calls for some minutes, after which its memory must not have grown.

python scripts/soak.py [minutes]
"""

from __future__ import annotations

import gc
import sys
import time

import jax
import numpy as np

import jaxbandit as jb

ARMS = jb.bernoulli_arms([0.5, 0.6, 0.7])


def resident() -> float:
    """Memory of this process, MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def calls(number: int) -> None:
    """One call of each kind, with functions of its own."""
    key, usual = jax.random.key(number), jb.ucb()
    jb.rollout(key, usual, ARMS, horizon=20 + number % 500)
    policy = usual._replace(update=lambda *arguments: usual.update(*arguments))
    jb.rollout(key, policy, ARMS, horizon=20)
    jb.simulate(key, {"mine": policy}, ARMS, horizon=20, runs=10)
    jb.simulate(key, {"ucb": usual}, ARMS, horizon=20 + number % 150, runs=10)
    jb.simulate(
        key, {"ucb": usual}, lambda key: jb.gaussian_arms([0.1, 0.2], 1.0), horizon=9, runs=9
    )
    design = jb.synthetic_design(features=2, actions=2, tasks=3, contexts=5)
    algorithms = {"mine": lambda *arguments: jb.hieropo(*arguments)}
    jb.simulate_offpolicy(key, design, runs=4, records=(5,), algorithms=algorithms)
    model = jb.HierarchicalGaussian(np.zeros(2), np.eye(2), np.eye(2), 0.5)
    features = np.random.default_rng(number).normal(size=(30, 2))
    log = jb.BanditLog(np.arange(30) % 3, features, features[:, 0])
    jb.task_posteriors(model, jb.task_statistics(log, 3))


def main() -> None:
    """Entry point."""
    seconds = 60 * float(sys.argv[1] if len(sys.argv) > 1 else 10)
    for number in range(40):  # Fills what is kept.
        calls(number)
    gc.collect()
    before, start, number = resident(), time.monotonic(), 40
    while time.monotonic() < start + seconds:
        calls(number)
        number += 1
    gc.collect()
    grown = resident() - before
    print(f"{number} rounds of calls, {before:.0f} MB and {grown:+.0f} MB")
    if grown > 100:
        sys.exit("memory grew by more than 100 MB")


if __name__ == "__main__":
    main()
