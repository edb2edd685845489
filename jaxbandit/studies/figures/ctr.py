"""Figures 5, 6, 9 and 10 of Sentenac et al. 2025: choosing among click models in production."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from jaxbandit.ctr.reward_tables import NAMES, RewardTable
from jaxbandit.engine import devices
from jaxbandit.engine.moments import Moments, over_runs
from jaxbandit.environments.arms import reward_table
from jaxbandit.inference.arms import OfflineArms, confidence
from jaxbandit.policies.arms.fixed_arm import fixed_arm
from jaxbandit.policies.arms.lcb import lcb
from jaxbandit.policies.arms.oto import oto
from jaxbandit.policies.arms.ucb import ucb
from jaxbandit.policies.base import Policy
from jaxbandit.simulation.results import PolicyResult
from jaxbandit.simulation.simulate import simulate
from jaxbandit.studies.figures import FigureResult, Reporter, Settings, click_plots
from jaxbandit.studies.figures.click_models import files, once, rewards, source_of
from jaxbandit.studies.report.statements import verdict

RUNS = 200
HORIZONS = (3_000, 300_000)
ALPHAS = (0.0, 0.2, 1.0, 5.0)
SETTINGS = {
    1: tuple(name for name in NAMES if name != "model_7"),
    2: tuple(name for name in NAMES if name != "model_8"),
}
"""Arms: one of the new models is better than the running Model 1, or none is."""
HINDSIGHT, ON_TEST = "best in hindsight", "best on Test Set 2"


def check(settings: Settings) -> None:
    """Refuse settings without data."""
    source_of(settings)


class Played(NamedTuple):
    """One setting."""

    table: RewardTable
    results: dict[tuple[int, str, float | None], PolicyResult]
    """By horizon, policy and alpha."""


def totals(setting: int, settings: Settings, reporter: Reporter) -> FigureResult:
    """Box plots of total reward in one setting."""
    return _figure(setting, settings, reporter, _total_rows, click_plots.totals)


def curves(setting: int, settings: Settings, reporter: Reporter) -> FigureResult:
    """Average reward of a round so far, in one setting."""
    return _figure(setting, settings, reporter, _curve_rows, click_plots.curves)


figure5 = partial(totals, 1)
figure6 = partial(totals, 2)
figure9 = partial(curves, 1)
figure10 = partial(curves, 2)


def _figure(
    setting: int,
    settings: Settings,
    reporter: Reporter,
    rows: Callable[[PolicyResult], Iterator[dict[str, Any]]],
    picture: Callable[[pl.DataFrame, str], Figure],
) -> FigureResult:
    played = _play(setting, settings, reporter)
    source = played.table.source
    table = pl.DataFrame(
        [
            {"setting": setting, "horizon": horizon, "policy": policy, "alpha": alpha, **row}
            for (horizon, policy, alpha), result in played.results.items()
            for row in rows(result)
        ],
        schema_overrides={"alpha": pl.Float64},
        infer_schema_length=None,
    ).with_columns(source=pl.lit(source))
    return FigureResult(
        table,
        picture(table, source),
        _findings(setting, played),
        _facts(played, setting),
        files=files(played.table),
    )


def _total_rows(result: PolicyResult) -> Iterator[dict[str, Any]]:
    for run, reward in enumerate(result.final_reward):
        yield {"run": run, "total_reward": float(reward)}


def _curve_rows(result: PolicyResult) -> Iterator[dict[str, Any]]:
    reward = result.reward
    for index, number in enumerate(result.round):
        yield {
            "round": int(number),
            "reward_mean": float(reward.mean[index]),
            "reward_std": float(reward.std[index]),
            "reward_sem": float(reward.sem[index]),
            "runs": int(reward.count),
        }


def _play(setting: int, settings: Settings, reporter: Reporter) -> Played:
    source = source_of(settings)
    table = rewards(source, reporter)
    key = (source, setting, settings.runs, settings.confidence)
    return once(key, lambda: Played(table, _results(setting, table, settings, reporter)))


def _results(
    setting: int, table: RewardTable, settings: Settings, reporter: Reporter
) -> dict[tuple[int, str, float | None], PolicyResult]:
    """All policies at both horizons, on common random numbers, as many at a time as cores."""
    runs = RUNS if settings.runs is None else settings.runs
    arms = SETTINGS[setting]
    environment = reward_table(table.rewards[:, [NAMES.index(name) for name in arms]])
    # All offline data is of Model 1, the first arm.
    only_first = np.arange(len(arms)) == 0
    offline = OfflineArms(table.logged * only_first, table.clicks * only_first)

    def play(job: tuple[int, tuple[str, float | None, Policy]]) -> PolicyResult:
        horizon, (name, _, policy) = job
        out = simulate(
            jax.random.key(settings.seed),
            {name: policy},
            environment,
            horizon=horizon,
            runs=runs,
            offline=offline,
            threads=1,
        )
        return out[name]

    # The longest first, and neighbours of different kinds, which compile at the same time.
    jobs = [
        (horizon, policy)
        for horizon in sorted(HORIZONS, reverse=True)
        for policy in _policies(table, arms, settings)
    ]
    progress = reporter.progress(f"setting {setting}, policies")
    done: dict[tuple[int, str, float | None], PolicyResult] = {}
    with ThreadPoolExecutor(devices.usable_cores()) as threads:
        for number, (job, result) in enumerate(zip(jobs, threads.map(play, jobs), strict=True), 1):
            horizon, (name, alpha, _) = job
            done[horizon, name, alpha] = result
            progress(number, len(jobs))
    return {key: done[key] for key in sorted(done, key=lambda key: key[0])}


def _policies(
    table: RewardTable, arms: tuple[str, ...], settings: Settings
) -> list[tuple[str, float | None, Policy]]:
    bounds = confidence(settings.confidence)
    own: list[tuple[str, float | None, Policy]] = [
        ("UCB", None, ucb(bounds)),
        ("OtO", ALPHAS[0], oto(ALPHAS[0], bounds)),
        ("LCB", None, lcb(bounds)),
        *(("OtO", alpha, oto(alpha, bounds)) for alpha in ALPHAS[1:]),
    ]
    best = best_arms(table, arms)
    return own + [(name, None, fixed_arm(arms.index(arm))) for name, arm in best.items()]


def best_arms(table: RewardTable, arms: tuple[str, ...]) -> dict[str, str]:
    """The arm with the highest mean reward, and that with the lowest loss on Test Set 2."""
    mean = table.rewards.mean(axis=0)
    best = {HINDSIGHT: max(arms, key=lambda name: mean[NAMES.index(name)])}
    losses = table.test_losses
    if losses is not None:
        best[ON_TEST] = min(arms, key=lambda name: losses[name])
    return best


def _findings(setting: int, played: Played) -> list[str]:
    """The paper's section 6.2, judged on paired differences of total reward."""
    arms = SETTINGS[setting]
    mean = played.table.rewards.mean(axis=0)
    rates = ", ".join(f"{name} {mean[NAMES.index(name)]:.4f}" for name in arms)
    lines = [f"seen ({played.table.source}): click rates {rates}"]
    best = max(arms[1:], key=lambda name: mean[NAMES.index(name)])
    gain = over_runs(played.table.rewards[:, NAMES.index(best)] - 1.0 * played.table.rewards[:, 0])
    said = "a new model is" if setting == 1 else "no new model is"
    lines.append(
        verdict(
            f"setting {setting}: {said} better than the running Model 1, beyond two standard "
            f"errors (the best is {best}, {gain.mean:+.4f} ± {gain.sem:.4f})",
            bool(gain.mean > 2 * gain.sem) == (setting == 1),
        )
    )
    short, long = min(HORIZONS), max(HORIZONS)
    for horizon, better in ((short, "LCB"), (long, "UCB" if setting == 1 else "LCB")):
        worse = "UCB" if better == "LCB" else "LCB"
        lines.append(_beats(played, horizon, (better, None), (worse, None), setting))
        for alpha in ALPHAS[1:]:
            lines.append(_near(played, horizon, alpha, setting))
    if played.table.test_losses is not None:
        for horizon in HORIZONS:
            lines.append(_beats(played, horizon, ("OtO", 0.2), (ON_TEST, None), setting))
    return lines


Name = tuple[str, float | None]


def _difference(played: Played, horizon: int, first: Name, second: Name) -> Moments:
    """Of total reward, first less second, run by run."""
    results = played.results
    return over_runs(results[horizon, *first].final_reward - results[horizon, *second].final_reward)


def _beats(played: Played, horizon: int, better: Name, worse: Name, setting: int) -> str:
    more = _difference(played, horizon, better, worse)
    return verdict(
        f"setting {setting}, T = {horizon:,}: {_title(better)} beats {_title(worse)} "
        f"(by {more.mean:.1f} ± {more.sem:.1f} clicks, paired)",
        bool(more.mean > more.margin),
    )


def _near(played: Played, horizon: int, alpha: float, setting: int) -> str:
    """Whether OtO is nearer to the better of UCB and LCB than to the worse."""
    gap = float(_difference(played, horizon, ("UCB", None), ("LCB", None)).mean)
    better, worse = ("UCB", "LCB") if gap > 0 else ("LCB", "UCB")
    lost = _difference(played, horizon, (better, None), ("OtO", alpha))
    return verdict(
        f"setting {setting}, T = {horizon:,}: {_title(('OtO', alpha))} is nearer to {better}, the "
        f"better, than to {worse} (loses {lost.mean:.1f} ± {lost.sem:.1f} of {abs(gap):.1f} "
        "clicks)",
        bool(lost.mean < abs(gap) / 2),
    )


def _title(name: Name) -> str:
    policy, alpha = name
    return policy if alpha is None else f"{policy} (alpha {alpha:g})"


def _facts(played: Played, setting: int) -> dict[str, Any]:
    table = played.table
    return {
        "runs": int(next(iter(played.results.values())).reward.count),
        "source": table.source,
        "arms": SETTINGS[setting],
        "mean_reward": dict(zip(NAMES, map(float, table.rewards.mean(axis=0)), strict=True)),
        "table_rows": len(table.rewards),
        "offline_samples": table.logged,
        "offline_clicks": table.clicks,
        **best_arms(table, SETTINGS[setting]),
    }
