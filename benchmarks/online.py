"""Online speed against tuned numba, pymab and a NumPy loop: `python -m benchmarks.online`.

About ten minutes on two cores; `--quick` one or two; `--all` an hour, with a million runs and their
memory. Prints Markdown: million rounds a second, compilation apart, and whether the mean regrets
agree. jaxbandit also reports 200 checkpoints and moments; the peers give pulls alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxbandit as jb
from benchmarks.peers import numpy_bandits
from benchmarks.peers.setting import ALPHA, DELTA_ANYTIME, Setting, make_setting
from benchmarks.timing import Timing, machine, measure

try:
    from benchmarks.peers import numba_bandits
except ModuleNotFoundError:
    numba_bandits = None
try:
    from benchmarks.peers import pymab_bandits
except ModuleNotFoundError:
    pymab_bandits = None

ARMS, HORIZONS, RUNS = (2, 5, 20, 100, 1000), (200, 2000, 300_000), (200, 10_000, 100_000)
LIMIT = {"quick": 1.0, "default": 3.0, "all": 60.0}
"""Cells that would take numba longer on one thread, in seconds, are left out."""
NUMPY_ROUNDS = 20_000
"""The loop plays about so many in a cell: its rate does not depend on the number of runs."""

FIXED = jb.confidence("paper")
ANYTIME = jb.confidence("paper", delta=DELTA_ANYTIME, anytime=True)
POLICIES = {
    "UCB": jb.ucb(FIXED),
    "OtO": jb.oto(ALPHA["OtO"], FIXED),
    "OtO, unknown horizon": jb.oto(ALPHA["OtO, unknown horizon"], ANYTIME),
}

# Policies that users would write.


class State(NamedTuple):
    """Of the policies below."""

    count: jax.Array
    total: jax.Array
    index: jax.Array


def index(params: Any, count: jax.Array, total: jax.Array) -> jax.Array:
    """As in the README."""
    return total / jnp.maximum(count, 1) + params["bonus"] / (1 + count)


def init(params: Any, problem: jb.Problem) -> State:
    """As in the README."""
    count, total = problem.count, problem.total
    return State(count, total, index(params, count, total))


def select(params: Any, state: State, round: jb.Round) -> jax.Array:
    """As in the README."""
    return jb.first_argmax(state.index)


def update(params: Any, state: State, round: jb.Round, arm: jax.Array, reward: jax.Array) -> State:
    """As in the README."""
    count, total = jb.take(state.count, arm) + 1, jb.take(state.total, arm) + reward
    new = State(count, total, index(params, count, total))
    return State(*(jb.put(old, arm, entry) for old, entry in zip(state, new, strict=True)))


def select_ucb1(params: Any, state: State, round: jb.Round) -> jax.Array:
    """UCB as pymab has it: every arm once, then mean + sqrt(width log(t) / n)."""
    radius = jnp.sqrt(params["width"] * jnp.log(round.number.astype(jnp.float32)) / state.count)
    mean = state.total / state.count
    return jb.first_argmax(jnp.where(state.count > 0, mean + radius, jnp.inf))


# The benchmark.


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.online", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="size", action="store_const", const="quick")
    size.add_argument("--all", dest="size", action="store_const", const="all")
    size = parser.parse_args().size or "default"

    started = time.perf_counter()
    machine("numba", "pymab")
    scores = grid(size)
    scores += against_pymab(runs=20 if size == "quick" else 100)
    user_written(runs=10_000)
    if size != "quick":
        seven_policies(horizon=300_000)
    if size == "all":
        million_runs()
    worst = max(map(abs, scores), default=0)
    print(
        f"\nMean regrets differ from the peers' by at most {worst:.1f} standard errors in "
        f"{len(scores)} comparisons ({'as chance would' if worst < 4.5 else 'TOO MUCH'}). "
        f"{time.perf_counter() - started:.0f} s in all."
    )


def grid(size: str) -> list[float]:
    """Cells of arms, horizon and runs; differences of mean regret in standard errors."""
    cells = [(k, t, n) for k in ARMS for t in HORIZONS for n in RUNS]
    if size == "quick":
        cells = [(k, t, n) for k, t, n in cells if k in (20, 1000) and t == 2000]
    chosen = [cell for cell in cells if _numba_seconds(*cell) <= LIMIT[size]]
    print(
        "\nHalf of the arms have 200 offline samples. Million rounds a second; ratios to peers.\n"
    )
    columns = "K, T, runs, policy, compile, 1 thread, all, gain, numba 1, numba all, ratio 1, "
    columns += "ratio all, NumPy, ratio, z numba, z NumPy"
    _print_row(columns.split(", "), header=True)
    scores, compiled, cores = [], {}, [0.0]
    for arms, horizon, runs in chosen:
        for name in POLICIES:
            setting = make_setting(name, arms, horizon, runs)
            ours, numba, loop = _time_cell(name, setting)
            regret = ours[0].result
            assert np.array_equal(regret, ours[1].result), "threads changed results"
            z_numba = _score(regret, numba[0].result if numba else None)
            z_loop = _score(regret, loop.result if loop else None)
            scores += [z for z in (z_numba, z_loop) if z is not None]
            cores += [ours[0].cores] if ours[0].best > 0.1 else []
            for timing in numba[:1]:
                compiled.setdefault(name, timing.first - timing.best)

            one, many = (horizon * runs / timing.best / 1e6 for timing in ours)
            theirs = [horizon * runs / timing.best / 1e6 for timing in numba] or [None, None]
            slow = loop and horizon * len(loop.result) / loop.best / 1e6
            row = [arms, horizon, runs, name, f"{max(0, ours[0].first - ours[0].best):.1f} s"]
            row += [_short(one), _short(many), _ratio(many, one)]
            row += [*map(_short, theirs), _ratio(one, theirs[0]), _ratio(many, theirs[1])]
            row += [_short(slow), _ratio(one, slow)]
            _print_row([*row, _signed(z_numba), _signed(z_loop)])
    if max(cores) > 0:
        print(f"\njaxbandit's calls with one thread used at most {max(cores):.2f} cores.")
    for name, seconds in compiled.items():
        print(f"numba compiles {name} in {seconds:.1f} s, for all cells.")
    left = [cell for cell in cells if cell not in chosen]
    if left:
        print("Left out, too long, as (K, T, runs): " + ", ".join(map(str, left)) + ".")
    return scores


def _time_cell(name: str, setting: Setting) -> tuple[list[Timing], list[Timing], Timing | None]:
    """jaxbandit on one thread and on all, numba likewise, the NumPy loop; results are regrets."""
    contenders: dict[str, Callable[[], Any]] = {
        "1": _ours(POLICIES[name], setting, 1),
        "all": _ours(POLICIES[name], setting, None),
    }
    if numba_bandits is not None:
        play = partial(numba_bandits.play, name, setting)
        contenders |= {
            "numba 1": lambda: play(1) @ _gaps(setting),
            "numba all": lambda: play(None) @ _gaps(setting),
        }
    timings = list(measure(contenders, seconds=2).values())
    loop = None
    if setting.horizon <= NUMPY_ROUNDS:
        few = setting._replace(runs=min(setting.runs, NUMPY_ROUNDS // setting.horizon))
        started = time.perf_counter()
        regret = numpy_bandits.play(name, few) @ _gaps(few)
        took = time.perf_counter() - started
        loop = Timing(took, took, 1, regret)
    return timings[:2], timings[2:], loop


def against_pymab(runs: int) -> list[float]:
    """UCB as pymab has it, without offline data."""
    print("\n## pymab, Rust backend: UCB1 without offline data, K = 20, T = 2000\n")
    if pymab_bandits is None:
        print('pymab is MISSING: pip install ".[bench]"')
        return []
    setting = make_setting("UCB", 20, 2000, runs)
    policy = jb.Policy(
        {"bonus": jnp.float32(0), "width": jnp.float32(1)}, init, select_ucb1, update
    )
    empty = setting._replace(count=0 * setting.count, total=0 * setting.total)
    # pymab with few runs, because it keeps every round of each; jaxbandit with a usual number.
    many = empty._replace(runs=10_000)
    ours = measure({"1": _ours(policy, many, 1), "all": _ours(policy, many, None)}, seconds=2)
    mean, horizon = setting.mean, setting.horizon
    peer = measure({"": lambda: pymab_bandits.final_regret(mean, 1.0, horizon, runs)}, seconds=2)
    score = _score(ours["1"].result, peer[""].result)
    one, all_cores = (horizon * many.runs / timing.best / 1e6 for timing in ours.values())
    theirs = horizon * runs / peer[""].best / 1e6
    columns = ["jaxbandit 1 thread", "all", f"pymab, {runs} runs", "its cores", "ratio 1", "z"]
    _print_row(columns, header=True)
    rates = [_short(one), _short(all_cores), _short(theirs), f"{peer[''].cores:.1f}"]
    _print_row([*rates, _ratio(one, theirs), _signed(score)])
    return [score]


def user_written(runs: int) -> None:
    """The README's policy against the library's UCB."""
    print("\n## The README's user-written policy, K = 20, T = 2000, one thread\n")
    setting = make_setting("UCB", 20, 2000, runs)
    mine = jb.Policy({"bonus": jnp.array(1.0)}, init, select, update)
    calls = {"built-in UCB": _ours(POLICIES["UCB"], setting, 1), "README": _ours(mine, setting, 1)}
    timings = measure(calls, seconds=4)
    rate = {name: 2000 * runs / timing.best / 1e6 for name, timing in timings.items()}
    _print_row([*rate, "ratio"], header=True)
    built_in, readme = rate.values()
    _print_row([_short(built_in), _short(readme), _ratio(readme, built_in)])


def seven_policies(horizon: int) -> None:
    """One call: 200 runs, seven policies, seven arms."""
    setting = make_setting("UCB", 7, horizon, 200)
    policies = POLICIES | {
        "LCB": jb.lcb(FIXED),
        "OtO, alpha 1": jb.oto(1.0, FIXED),
        "MOSS": jb.moss(),
        "epsilon-greedy": jb.epsilon_greedy(),
    }
    print(f"\n## 200 runs x T = {horizon} x {len(policies)} policies, K = 7\n")
    call = partial(_simulate, policies, setting, None)
    first, again = (_wall(call) for _ in range(2))
    print(f"{first:.1f} s with compilation, {again:.1f} s without.")


def million_runs() -> None:
    """Peak memory of OtO over a million runs, in a process of its own."""
    print("\n## 1,000,000 runs of OtO, K = 20, T = 2000\n", flush=True)
    code = "from benchmarks import online; online.report_memory(1_000_000)"
    subprocess.run([sys.executable, "-c", code], check=True)


def report_memory(runs: int) -> None:
    """Run so many, with progress, and print the peak memory of this process."""

    shown = 0

    def progress(done: int, total: int) -> None:
        nonlocal shown
        if done * 10 // total > shown:
            shown = done * 10 // total
            print(f"  {done:,} runs of {total:,}", file=sys.stderr, flush=True)

    setting = make_setting("OtO", 20, 2000, runs)
    took = _wall(lambda: _simulate({"OtO": POLICIES["OtO"]}, setting, None, progress))
    status = Path("/proc/self/status")
    peak = "not known on this system"
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        peak = f"{int(lines['VmHWM'].split()[0]) / 1e6:.2f} GB"
    print(f"{took:.1f} s with compilation, peak memory {peak}.")


def _simulate(
    policies: dict[str, jb.Policy], setting: Setting, threads: int | None, progress: Any = None
) -> jb.SimulationResult:
    return jb.simulate(
        jax.random.key(0),
        policies,
        jb.bernoulli_arms(setting.mean),
        horizon=setting.horizon,
        runs=setting.runs,
        offline=jb.OfflineArms(setting.count, setting.total),
        threads=threads,
        progress=progress,
    )


def _ours(policy: jb.Policy, setting: Setting, threads: int | None) -> Callable[[], np.ndarray]:
    return lambda: _simulate({"one": policy}, setting, threads)["one"].final_regret


def _gaps(setting: Setting) -> np.ndarray:
    return setting.mean.max() - setting.mean


def _numba_seconds(arms: int, horizon: int, runs: int) -> float:
    """Roughly, on one thread, to choose cells."""
    return horizon * runs * (35 + 0.6 * arms) * 1e-9


def _wall(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _score(ours: np.ndarray, theirs: np.ndarray | None) -> float | None:
    """Difference of means over its standard error, were both of one distribution."""
    if theirs is None:
        return None
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    # The slow loop plays few runs, whose own variance misses rare large regrets.
    pooled = np.sum((ours - ours.mean()) ** 2) + np.sum((theirs - theirs.mean()) ** 2)
    pooled /= len(ours) + len(theirs) - 2
    variance = pooled * (1 / len(ours) + 1 / len(theirs))
    difference = ours.mean() - theirs.mean()
    return float(difference / np.sqrt(variance)) if variance > 0 else float(abs(difference) > 1e-3)


def _short(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.3g}"


def _signed(score: float | None) -> str:
    """`=` where all runs of both have the same regret."""
    return "-" if score is None else "=" if score == 0 else f"{score:+.1f}"


def _ratio(ours: float, theirs: float | None) -> str:
    return "-" if theirs is None else f"{ours / theirs:.2f}"


def _print_row(cells: Iterable[Any], header: bool = False) -> None:
    cells = [str(cell) for cell in cells]
    print("| " + " | ".join(cells) + " |", flush=True)
    if header:
        print("|" + "---|" * len(cells))


if __name__ == "__main__":
    main()
