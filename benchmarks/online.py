"""Online speed against tuned numba and a NumPy loop: `python -m benchmarks.online [--quick]`.

Rounds a second of one policy at a time, Bernoulli arms, half of them with 200 offline samples each,
the same offline data in every run; compilation apart.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxbandit as jb
from benchmarks.timing import fastest, machine

try:
    from benchmarks.peers import numba_bandits
except ModuleNotFoundError:
    numba_bandits = None


class User(NamedTuple):
    """State of a policy as a user would write it."""

    count: jax.Array
    mean: jax.Array
    bonus: jax.Array


def user_policy(width: float) -> jb.Policy:
    """UCB written with the public helpers alone."""

    def init(params: Any, problem: jb.Problem) -> User:
        seen = problem.count > 0
        count = jnp.maximum(problem.count, 1)
        mean = jnp.where(seen, problem.total / count, 0)
        return User(problem.count, mean, jnp.where(seen, jnp.sqrt(params / count), jnp.inf))

    def select(params: Any, state: User, round: jb.Round) -> jax.Array:
        return jb.first_argmax(state.mean + state.bonus)

    def update(params: Any, state: User, round: jb.Round, arm: Any, reward: Any) -> User:
        count, mean = jb.take(state.count, arm) + 1, jb.take(state.mean, arm)
        mean = mean + (reward - mean) / count
        bonus = jnp.sqrt(params / count)
        return User(
            jb.put(state.count, arm, count),
            jb.put(state.mean, arm, mean),
            jb.put(state.bonus, arm, bonus),
        )

    return jb.Policy(jnp.float32(width), init, select, update)


def main() -> None:
    """Print a table for each number of arms."""
    machine()
    if numba_bandits is None:
        print('numba is missing, so is its column: pip install ".[bench]"')
    quick = "--quick" in sys.argv
    for arms in (20,) if quick else (2, 5, 20, 100, 1000):
        compare(arms, horizon=2000, runs=2048 if arms <= 20 else 1024)


def compare(arms: int, horizon: int, runs: int) -> None:
    """One table: each policy on one thread and on all cores, numba beside it."""
    mean = np.full(arms, 0.25, np.float32)
    half = max(1, arms // 2)
    mean[:half] = 0.5
    count = np.where(np.arange(arms) < half, 200, 0)
    fixed = jb.confidence("paper")
    anytime = jb.confidence("paper", delta=0.005, anytime=True)
    policies = {
        "UCB": jb.ucb(fixed),
        "LCB": jb.lcb(fixed),
        "OtO": jb.oto(0.2, fixed),
        "OtO, unknown horizon": jb.oto(0.6, anytime),
        "user-written UCB": user_policy(0.5 * np.log(arms * horizon**2)),
    }
    offline = jb.OfflineArms(count, count * mean)
    env = jb.bernoulli_arms(mean)

    def ours(policy: jb.Policy, threads: int | None) -> Callable[[], Any]:
        return lambda: jb.simulate(
            jax.random.key(0),
            {"one": policy},
            env,
            horizon=horizon,
            runs=runs,
            offline=offline,
            threads=threads,
        )

    print(f"\nK = {arms}, T = {horizon}, {runs} runs: million rounds a second")
    print(f"{'':24}{'compile':>9}{'1 thread':>10}{'all':>9}{'numba 1':>10}{'all':>9}{'ratio':>8}")
    for name, policy in policies.items():
        started = time.perf_counter()
        jb.simulate(
            jax.random.key(0), {"one": policy}, env, horizon=horizon, runs=1, offline=offline
        )
        compiled = time.perf_counter() - started
        contenders = {"1": ours(policy, 1), "all": ours(policy, None)}
        contenders |= _numba(name, arms, horizon, runs, mean, count)
        seconds = fastest(contenders, repeats=5)
        rate = {key: runs * horizon / value / 1e6 for key, value in seconds.items()}
        row = f"{name:24}{compiled:8.1f}s{rate['1']:10.1f}{rate['all']:9.1f}"
        if "numba 1" in rate:
            row += (
                f"{rate['numba 1']:10.1f}{rate['numba all']:9.1f}{rate['1'] / rate['numba 1']:8.2f}"
            )
        print(row, flush=True)


def _numba(
    name: str, arms: int, horizon: int, runs: int, mean: np.ndarray, count: np.ndarray
) -> dict[str, Callable[[], Any]]:
    if numba_bandits is None or name not in ("UCB", "OtO", "OtO, unknown horizon"):
        return {}
    moving = name == "OtO, unknown horizon"
    delta = 0.005 if moving else horizon**-2
    rounds = np.maximum(np.arange(horizon + 1), 1)
    log_term = np.log(arms / delta) + (2 * np.log(rounds) if moving else 0 * rounds)
    radius = np.sqrt(0.5 * log_term).astype(np.float32)
    budget = np.sqrt(count).sum() / count.sum() * np.sqrt(0.5 * np.log(arms / delta))
    alpha_budget = np.float32((0.6 if moving else 0.2) * budget)
    total = np.tile((count * mean).astype(np.float32), (runs, 1))
    pulls = np.zeros((runs, arms), np.int32)
    stem = {"UCB": "ucb", "OtO": "oto", "OtO, unknown horizon": "oto_unknown"}[name]
    samples = count.astype(np.float32)

    def call(function: Any) -> Callable[[], Any]:
        return lambda: function(
            1, mean, samples, total, radius, alpha_budget, np.float32(0), horizon, pulls
        )

    return {
        "numba 1": call(getattr(numba_bandits, stem)),
        "numba all": call(getattr(numba_bandits, f"{stem}_parallel")),
    }


if __name__ == "__main__":
    main()
