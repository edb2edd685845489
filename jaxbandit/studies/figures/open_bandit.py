"""Which policy follows a log of the Open Bandit Dataset best: an experiment with real clicks.

Offline data is the log of Thompson sampling ("bts"): records and clicks of each item. The items'
click rates are not known, so each run draws them from their posterior given the other log, that of
uniformly random recommendations.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import polars as pl

from jaxbandit.checks import InputError
from jaxbandit.datasets.open_bandit import (
    Campaign,
    ClickRates,
    Recommendations,
    direct_rates,
    item_counts,
    load_open_bandit,
    uniform_value,
    weighted_rates,
)
from jaxbandit.inference.arm_posterior import ArmPosterior, ArmRecords, arm_posterior
from jaxbandit.inference.arms import OfflineArms
from jaxbandit.studies.figures import FigureResult, Reporter, Settings, contest, contest_plots
from jaxbandit.studies.report.statements import verdict

RUNS = 200
HORIZONS = (1_000, 5_000, 20_000)
ALPHAS = (0.05, 0.2, 1.0, 5.0)
CAMPAIGNS: tuple[Campaign, ...] = get_args(Campaign)


class Logs(NamedTuple):
    """Both logs of a campaign."""

    random: Recommendations
    bts: Recommendations
    items: int


def check(settings: Settings) -> Path:
    """The data's directory; refuses settings without one."""
    if settings.open_bandit is None:
        raise InputError("open-bandit needs the data: give --open-bandit DIR")
    if not settings.open_bandit.is_dir():
        raise InputError(f"--open-bandit: there is no folder {settings.open_bandit}")
    return settings.open_bandit


def figure(
    settings: Settings,
    reporter: Reporter,
    *,
    campaigns: tuple[Campaign, ...] = CAMPAIGNS,
    horizons: tuple[int, ...] = HORIZONS,
    alphas: tuple[float, ...] = ALPHAS,
) -> FigureResult:
    """Regret of policies that start from the log of "bts", by campaign and horizon."""
    runs = RUNS if settings.runs is None else settings.runs
    if runs < 2:
        raise InputError(f"runs must be a whole number of at least 2, was {runs}")
    tables, items, findings = [], [], []
    facts: dict[str, Any] = {"runs": runs}
    # All files are checked before anything is played.
    for campaign, logs in [(name, load(check(settings), name)) for name in campaigns]:
        posterior = arm_posterior(ArmRecords(*_counts(logs.random, logs.items)))
        offline = OfflineArms(*item_counts(logs.bts, logs.items))
        played = contest.play(
            posterior,
            offline,
            horizons,
            alphas,
            runs=runs,
            seed=settings.seed,
            progress=reporter.progress(f"campaign {campaign}, games"),
        )
        results = contest.table(played)
        tables.append(results.with_columns(campaign=pl.lit(campaign)))
        rates = direct_rates(logs.random, logs.items), weighted_rates(logs.bts, logs.items)
        items.append(_items(campaign, logs, rates))
        said = [*_estimates(logs, rates), *_spread(posterior, settings.seed)]
        said += contest.answers(results) + contest.of_ties(played)
        findings += [f"campaign {campaign}: {line}" for line in said]
        facts[campaign] = {"items": logs.items, "records": len(logs.bts.item)}
    table = pl.concat(tables).select("campaign", pl.exclude("campaign"))
    heading = "Open Bandit Dataset: policies that start from the log of Thompson sampling"
    return FigureResult(
        table,
        contest_plots.over_horizons(table, heading, "campaign"),
        findings,
        facts,
        files={"open-bandit-items.csv": pl.concat(items).write_csv()},
    )


def load(directory: Path, campaign: Campaign) -> Logs:
    """Both logs; items are those of either."""
    read = partial(load_open_bandit, directory, campaign=campaign)
    random, bts = read("random"), read("bts")
    return Logs(random, bts, int(max(random.item.max(), bts.item.max())) + 1)


def _counts(log: Recommendations, items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Records, clicks, and squared clicks."""
    count, clicks = item_counts(log, items)
    return count, clicks, clicks


def _items(campaign: str, logs: Logs, rates: tuple[ClickRates, ClickRates]) -> pl.DataFrame:
    """What either log says of each item."""
    columns: dict[str, Any] = {"campaign": [campaign] * logs.items, "item": range(logs.items)}
    for name, log, rate in zip(("random", "bts"), (logs.random, logs.bts), rates, strict=True):
        count, clicks = (x.astype(int) for x in item_counts(log, logs.items))
        columns |= {f"{name}_records": count, f"{name}_clicks": clicks}
        columns |= {f"{name}_{key}": value for key, value in rate._asdict().items()}
    return pl.DataFrame(columns)


def _estimates(logs: Logs, rates: tuple[ClickRates, ClickRates]) -> Iterator[str]:
    direct, weighted = rates
    apart = int(np.sum((direct.low > weighted.high) | (weighted.low > direct.high)))
    yield verdict(
        'click rates of items from "bts", by inverse propensity, agree with those from "random" '
        f"(95 % intervals meet for {logs.items - apart} of {logs.items} items)",
        apart <= 0.05 * logs.items,
    )
    (seen, error), (value, wide) = (
        uniform_value(log, logs.items) for log in (logs.random, logs.bts)
    )
    yield verdict(
        f"so does the click rate of random recommendations ({value:.4f} ± {wide:.4f} from "
        f'"bts", {seen:.4f} ± {error:.4f} seen)',
        abs(value - seen) <= 2 * float(np.hypot(error, wide)),
    )


def _spread(posterior: ArmPosterior, seed: int) -> Iterator[str]:
    """How much is known of which item is best."""
    means = posterior.draw(contest.DRAWS, np.random.default_rng(seed)).mean
    share = np.bincount(means.argmax(axis=1)) / len(means)
    gain = means.max(axis=1) / means.mean(axis=1)
    low, middle, high = np.quantile(gain, (0.05, 0.5, 0.95))
    yield (
        f"seen: the best item has {middle:.2f} times the mean click rate (90 % interval {low:.2f} "
        f"to {high:.2f}); which it is, is known with probability {share.max():.0%} at most"
    )
