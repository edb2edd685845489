"""UCB, LCB, OtO and Thompson from one log, over horizons, where arms' means are uncertain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax import Array
from jaxtyping import Float

from jaxbandit.engine import devices, tiles
from jaxbandit.engine.moments import errors_each_side
from jaxbandit.environments.arms import bernoulli_arms, gaussian_arms
from jaxbandit.environments.base import Environment
from jaxbandit.inference.arm_posterior import ArmPosterior, BetaArms
from jaxbandit.inference.arms import OfflineArms, confidence, lower_bounds, squared_width
from jaxbandit.policies.arms.lcb import lcb
from jaxbandit.policies.arms.oto import oto
from jaxbandit.policies.arms.thompson import thompson_bernoulli, thompson_gaussian
from jaxbandit.policies.arms.ucb import ucb
from jaxbandit.simulation.grid import grid
from jaxbandit.simulation.results import SimulationResult
from jaxbandit.simulation.simulate import simulate

DRAWS = 4096
"""Draws of the means; a run takes one of them."""

Name = tuple[str, float | None]
"""A policy, and OtO's alpha."""


class Contest(NamedTuple):
    """What policies lose, run by run, each in an environment of its own."""

    horizons: tuple[int, ...]
    regret: dict[Name, Float[np.ndarray, "horizons runs"]]
    """Against the best arm; runs are paired."""
    logged: Float[np.ndarray, " horizons"]
    """Mean regret of playing arms as often as the log has them."""
    tied: tuple[int, ...] = ()
    """Horizons for which LCB's bounds are all at the floor."""

    def paired(self, first: Name, second: Name, index: int) -> tuple[float, float]:
        """Regret of the first less that of the second at a horizon: mean and standard error."""
        each = self.regret[first][index] - self.regret[second][index]
        return float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))


def play(
    posterior: ArmPosterior,
    offline: OfflineArms,
    horizons: Sequence[int],
    alphas: Sequence[float],
    *,
    runs: int,
    seed: int,
    progress: tiles.Progress | None = None,
) -> Contest:
    """Play all policies on common random numbers; in each run means are drawn anew.

    UCB, LCB and OtO have delta = 1/T^2, so that each horizon is a game of its own, a cell; Thompson
    sampling knows no horizon and is played once. It starts from one prior, the posterior's `prior`.

    Args:
        posterior: of the means.
        offline: of the log.
        horizons: rounds, increasing.
        alphas: of OtO.
        runs: draws of the environment.
        seed: of everything random.
        progress: called with (games done, games).
    """
    drawn = posterior.draw(DRAWS, np.random.default_rng(seed))
    noise = None if drawn.noise_std is None else jnp.asarray(drawn.noise_std, float)
    environment = partial(_draw, jnp.asarray(drawn.mean, float), noise)
    longest = max(horizons)
    game = partial(
        simulate,
        jax.random.key(seed),
        environment=environment,
        runs=runs,
        offline=offline,
        threads=1,
    )
    each = [(alpha, horizon) for alpha in alphas for horizon in horizons]
    if isinstance(posterior, BetaArms):
        thompson = thompson_bernoulli(*posterior.prior)
    else:
        mean, std = posterior.prior
        thompson = thompson_gaussian(posterior.noise_std, prior_mean=mean, prior_std=std)
    at_end = np.asarray([longest])
    games: list[Callable[[], SimulationResult]] = [
        lambda: game(
            {"OtO": grid([oto(alpha) for alpha, _ in each])},
            horizon=np.asarray([horizon for _, horizon in each]),
            checkpoints=at_end,
        ),
        lambda: game(
            {"Thompson": thompson}, horizon=longest, checkpoints=np.asarray(horizons), curves=True
        ),
        lambda: game(
            {"UCB": ucb(), "LCB": lcb()}, horizon=np.asarray(horizons), checkpoints=at_end
        ),
    ]
    done: list[SimulationResult] = []
    with ThreadPoolExecutor(devices.usable_cores()) as threads:
        for result in threads.map(lambda play_one: play_one(), games):
            done.append(result)
            if progress is not None:
                progress(len(done), len(games))
    of_oto, of_thompson, others = done
    split = np.reshape(of_oto["OtO"].final_regret, (len(alphas), len(horizons), runs))
    curves = of_thompson["Thompson"].regret_curves
    assert curves is not None
    regret: dict[Name, np.ndarray] = {("LCB", None): others["LCB"].final_regret}
    regret |= {("OtO", alpha): part for alpha, part in zip(alphas, split, strict=True)}
    regret |= {("UCB", None): others["UCB"].final_regret, ("Thompson", None): curves.T}
    played = others["LCB"]
    assert played.logging_regret is not None
    logged = (played.regret.mean - played.logging_regret.mean)[:, -1]
    return Contest(
        tuple(horizons),
        {name: np.asarray(each, float) for name, each in regret.items()},
        np.asarray(logged),
        tuple(horizon for horizon in horizons if _tied(offline, horizon)),
    )


def _draw(means: Array, noise_std: Array | None, key: Array) -> Environment:
    index = jax.random.randint(key, (), 0, len(means))
    if noise_std is None:
        return bernoulli_arms(means[index])
    return gaussian_arms(means[index], noise_std[index])


def table(contest: Contest, unit: float = 1.0) -> pl.DataFrame:
    """One row a horizon and policy; LCB only where it has something to choose by.

    Policies whose plays differ in no run count as one, which `alike` names. `least_share` is the
    share of runs in which the policy has the least regret, ties divided; `excess` its regret less
    that of the policy with the least mean, with its paired error.

    Args:
        contest: what was played.
        unit: of rewards, in those of the contest.
    """
    rows = []
    for index, horizon in enumerate(contest.horizons):
        names = [name for name in contest.regret if name[0] != "LCB" or horizon not in contest.tied]
        at = np.stack([contest.regret[name][index] for name in names])
        plays, which = np.unique(at, axis=0, return_inverse=True)
        which = which.ravel()
        least = plays == plays.min(axis=0)
        share = (least / least.sum(axis=0)).mean(axis=1)[which]
        best = names[int(at.mean(axis=1).argmin())]
        titles = [title({"policy": policy, "alpha": alpha}) for policy, alpha in names]
        alike = [
            " = ".join(name for name, play in zip(titles, which, strict=True) if play == index)
            for index in which
        ]
        for (policy, alpha), regret, won, group in zip(names, at, share, alike, strict=True):
            excess, error = contest.paired((policy, alpha), best, index)
            rows.append(
                {
                    "horizon": horizon,
                    "policy": policy,
                    "alpha": alpha,
                    "regret_mean": unit * regret.mean(),
                    "regret_sem": unit * regret.std(ddof=1) / np.sqrt(len(regret)),
                    "regret_90": unit * np.quantile(regret, 0.9),
                    "logged_regret_mean": unit * contest.logged[index],
                    "alike": group,
                    "least_share": won,
                    "excess_mean": unit * excess,
                    "excess_sem": unit * error,
                    "runs": len(regret),
                }
            )
    return pl.DataFrame(rows, schema_overrides={"alpha": pl.Float64}, infer_schema_length=None)


def answers(results: pl.DataFrame) -> list[str]:
    """Which policy for which horizon, how sure that is, and which one if the horizon is open."""
    lines = []
    for part in results.partition_by("horizon", maintain_order=True):
        apart = part.unique("alike", keep="first", maintain_order=True)
        ranked = list(apart.sort("regret_mean", maintain_order=True).iter_rows(named=True))
        best = ranked[0]
        width = errors_each_side(best["runs"])
        alike = [row for row in ranked[1:] if row["excess_mean"] <= width * row["excess_sem"]]
        clear = next((row for row in ranked[1:] if row not in alike), None)
        line = (
            f"T = {best['horizon']:,}: {_advice(best)}: regret {best['regret_mean']:.4g} ± "
            f"{best['regret_sem']:.2g} (arms played as logged: {best['logged_regret_mean']:.4g}), "
            f"the least of all policies in {best['least_share']:.0%} of draws"
        )
        if alike:
            line += f"; not told apart from {', '.join(row['alike'] for row in alike)}"
        if clear is not None:
            line += (
                f"; {clear['excess_mean']:.3g} ± {clear['excess_sem']:.2g} less than "
                f"{clear['alike']}"
            )
        lines.append(line)
    if len(lines) > 1:
        ratio = pl.col("regret_mean") / pl.col("regret_mean").min().over("horizon")
        worst = (
            results.with_columns(ratio=ratio.fill_nan(1.0))
            .group_by("policy", "alpha", maintain_order=True)
            .agg(pl.col("ratio").max(), played=pl.len())
            .filter(pl.col("played") == pl.col("played").max())
            .sort("ratio")
        )
        least = worst["ratio"][0]
        names = " or ".join(map(title, worst.filter(ratio=least).iter_rows(named=True)))
        most = f"at most {least:.3g} times the least regret of all policies"
        if least <= 1:
            most = "the least regret of all policies"
        lines.append(f"horizon unknown: play {names}: it has {most} at every horizon above")
    return lines


def _advice(best: dict[str, Any]) -> str:
    """What to play, where `best` is the best policy: the log's shares of arms may do as well."""
    beyond = best["regret_mean"] - best["logged_regret_mean"]
    error = errors_each_side(best["runs"]) * best["regret_sem"]
    if beyond > error:
        return f"keep playing arms as logged, which loses less than even {best['alike']}"
    if beyond >= -error:
        return (
            f"play {best['alike']} or keep playing arms as logged, which is not told apart from it"
        )
    return f"play {best['alike']}"


def of_ties(contest: Contest) -> list[str]:
    """Says for which horizons LCB has nothing to choose by."""
    if not contest.tied:
        return []
    return [
        "LCB is left out where this log puts every arm's lower bound at the least reward possible: "
        "it would play whichever arm comes first; OtO, whose budget then never runs out, is UCB "
        f"(T = {', '.join(f'{t:,}' for t in contest.tied)})"
    ]


def _tied(offline: OfflineArms, horizon: int) -> bool:
    """Whether LCB starts with every lower bound at the floor."""
    bounds = confidence()
    width = squared_width(bounds, len(offline.count), 1, horizon)
    return not np.any(lower_bounds(bounds, offline.count, offline.total, width) > bounds.floor)


def title(row: dict[str, object]) -> str:
    """A policy with its alpha."""
    alpha = row["alpha"]
    return str(row["policy"]) if alpha is None else f"OtO (alpha {alpha:g})"
