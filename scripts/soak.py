"""A long-lived process: mixed calls for some minutes, during which its memory must not grow.

python scripts/soak.py [minutes, 10 by default]

Prints resident memory each half minute, and ends with status 1 if it ever grew by more than 100 MB
beyond what it was when the programs that are kept had reached their number.
"""

from __future__ import annotations

import gc
import sys
import time
from dataclasses import replace

import jax
import numpy as np

import jaxbandit as jb

KEPT = 32
"""Programs that are kept of rollouts, and of simulations."""
WARM_UP = 3
"""Rounds of calls before memory must stand still: JAX itself keeps what it compiles for shapes."""
MOST_GROWTH = 100
"""MB."""

ARMS = jb.bernoulli_arms([0.5, 0.6, 0.7])
DESIGN = jb.synthetic_design(features=2, actions=2, tasks=3, contexts=5)
MODEL = jb.HierarchicalGaussian(np.zeros(2), np.eye(2), np.eye(2), 0.5)


def fill() -> None:
    """Reach the number of programs that are kept."""
    for number in range(KEPT):
        jb.rollout(jax.random.key(0), jb.ucb(), ARMS, horizon=20 + number)
        jb.simulate(jax.random.key(0), {"ucb": jb.ucb()}, ARMS, horizon=20 + number, runs=10)


def calls(number: int) -> list[object]:
    """One call of each kind; functions of its own, that nothing may keep alive."""
    key = jax.random.key(number)
    return [*play_arms(key, number), *play_tasks(key), *learn(number)]


def play_arms(key: jax.Array, number: int) -> list[object]:
    """Rollouts and simulations: new horizons, lambdas and closures as policies, drawn arms."""
    ucb, oto = jb.ucb(), jb.oto(alpha=0.1 + number % 7 / 10)

    def select(*arguments):
        return (oto.select(*arguments) + number) % 3

    def draw(key):
        return jb.gaussian_arms(jax.random.normal(key, (2,)), 1.0)

    mine = ucb._replace(update=lambda *arguments: ucb.update(*arguments))
    closure = oto._replace(select=select)
    jb.rollout(key, ucb, ARMS, horizon=60 + number)
    jb.rollout(key, mine, ARMS, horizon=20)
    jb.simulate(key, {"mine": mine}, ARMS, horizon=20, runs=10)
    jb.simulate(key, {"ucb": ucb}, ARMS, horizon=60 + number % 140, runs=10)
    jb.simulate(key, {"mine": closure}, ARMS, horizon=20, runs=10, offline_count=[1, 1, 1])
    jb.simulate(key, {"ucb": ucb}, draw, horizon=9, runs=9)
    return [mine.update, select, draw]


def play_tasks(key: jax.Array) -> list[object]:
    """Off-policy and hierarchical simulations: new algorithms, index functions, designs."""
    usual = jb.hierarchical_ucb()

    def index(*arguments):
        return -usual.index(*arguments)

    def draw(*arguments):
        return DESIGN.draw_instance(*arguments)

    def algorithm(*arguments):
        return jb.hieropo(*arguments)

    design = replace(DESIGN, draw_instance=draw)
    jb.simulate_offpolicy(key, DESIGN, runs=4, records=(5,), algorithms={"mine": algorithm})
    jb.simulate_offpolicy(key, design, runs=4, records=(5,), algorithms={"usual": jb.flatopo})
    policies = {"mine": usual._replace(index=index)}
    jb.simulate_hierarchical(key, DESIGN, rounds=5, runs=4, policies=policies)
    return [index, draw, algorithm]


def learn(number: int) -> list[object]:
    """Posteriors and a fit, of logs of few shapes: JAX itself keeps what it compiles for each."""
    features = np.random.default_rng(number).normal(size=(60, 2))
    log = jb.BanditLog(np.arange(60) % 6, features, features @ [1, number % 3] + features[::-1, 0])
    stats = jb.task_statistics(log, 6)
    jb.fit_hierarchy(stats)
    jb.task_posteriors(MODEL, stats)
    return []


def resident() -> float:
    """Memory of this process, MB."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def main() -> None:
    """Entry point."""
    start = time.monotonic()
    end = start + 60 * float(sys.argv[1] if len(sys.argv) > 1 else 10)
    number, report, warm, most = 0, start, 0.0, 0.0
    fill()
    while time.monotonic() < end:
        calls(number)
        number += 1
        if number == WARM_UP:
            warm = most = resident()
        if time.monotonic() >= report:
            report += 30
            say(start, number)
            most = max(most, resident())
    say(start, number)
    if number < WARM_UP:
        sys.exit(f"too short: memory counts from round {WARM_UP} of calls on")
    grown = max(most, resident()) - warm
    print(f"{grown:+.0f} MB since round {WARM_UP}")
    if grown > MOST_GROWTH:
        sys.exit(f"memory grew by more than {MOST_GROWTH} MB")


def say(start: float, number: int) -> None:
    """Print how it stands."""
    seconds = time.monotonic() - start
    print(f"{seconds:5.0f} s, {number:4} rounds of calls: {resident():.0f} MB", flush=True)


if __name__ == "__main__":
    main()
