"""The Open Bandit Dataset: recommendations that two policies made, and whether they were clicked.

Its directory holds `{random,bts}/{all,men,women}/<campaign>.csv`, one recommended item a record. A
record's propensity is the probability with which the policy put the item at the record's position.

Source:
    Saito et al. 2021, "Open Bandit Dataset and Pipeline".
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import polars as pl
from jaxtyping import Float64, Int8, Int32
from scipy.special import betaincinv

from jaxbandit.checks import InputError
from jaxbandit.datasets.log_file import Batch, LogFile

LoggingPolicy = Literal["random", "bts"]
Campaign = Literal["all", "men", "women"]
COLUMNS = ("item_id", "position", "click", "propensity_score")


class Recommendations(NamedTuple):
    """One policy's log in one campaign, one record a recommended item.

    Fields:
        item: from 0.
        position: on the page, from 1.
        click: 1 where the item was clicked.
        propensity: probability of the item at its position under the logging policy.
    """

    item: Int32[np.ndarray, " records"]
    position: Int32[np.ndarray, " records"]
    click: Int8[np.ndarray, " records"]
    propensity: Float64[np.ndarray, " records"]


class ClickRates(NamedTuple):
    """Estimated click rate of each item, averaged over positions, with its interval."""

    rate: Float64[np.ndarray, " items"]
    """Not a number where there are no records."""
    low: Float64[np.ndarray, " items"]
    high: Float64[np.ndarray, " items"]


def load_open_bandit(directory: Path, policy: LoggingPolicy, campaign: Campaign) -> Recommendations:
    """Read one policy's log in one campaign; columns of features are left unread.

    Args:
        directory: holds the folders `random` and `bts`.
        policy: that logged: uniformly random, or Thompson sampling ("bts").
        campaign: all items, or those for men or women.

    Raises:
        InputError: a column is missing, or a value is not what it must be.
        OSError: no such file.
    """
    if policy not in get_args(LoggingPolicy) or campaign not in get_args(Campaign):
        raise InputError(
            f"policy must be one of {', '.join(get_args(LoggingPolicy))} and campaign one of "
            f"{', '.join(get_args(Campaign))}, were {policy!r} and {campaign!r}"
        )
    path = Path(directory) / policy / campaign / f"{campaign}.csv"
    if not path.is_file():
        raise InputError(
            f"{path} is not there; the Open Bandit Dataset's directory holds "
            "{random,bts}/{all,men,women}/<campaign>.csv"
        )
    file = LogFile(path)
    file.require("Open Bandit Dataset", COLUMNS)
    item, position, click, propensity = (pl.col(name) for name in COLUMNS)
    columns = item.cast(pl.Int32), position.cast(pl.Int32), click.cast(pl.Int8), propensity
    parts = []
    for batch in file.batches(COLUMNS, [], drop_missing=False):
        _check(file, batch)
        parts.append(batch.frame.select(columns))
    return Recommendations(*(column.to_numpy() for column in pl.concat(parts).get_columns()))


def item_counts(
    log: Recommendations, items: int
) -> tuple[Float64[np.ndarray, " items"], Float64[np.ndarray, " items"]]:
    """Records and clicks of each item."""
    return (
        np.bincount(log.item, minlength=items).astype(float),
        np.bincount(log.item, log.click, minlength=items),
    )


def direct_rates(log: Recommendations, items: int, level: float = 0.95) -> ClickRates:
    """Clicks over records of each item: what the uniformly random log gives without bias.

    Args:
        log: of the policy "random".
        items: number of items.
        level: of the exact binomial intervals.
    """
    return _binomial(*item_counts(log, items), level)


def weighted_rates(log: Recommendations, items: int, level: float = 0.95) -> ClickRates:
    r"""Click rates at uniformly random positions, from any log, by inverse propensity weighting.

    Weighted by $w = 1/p$, clicks over records (self-normalised):
    $\hat\mu_a = \sum_{i: a_i = a} w_i r_i / \sum_{i: a_i = a} w_i$. Clicks are so few that a normal
    interval would be empty for most items; this is the exact binomial one, of the effective sample
    size $(\sum w)^2 / \sum w^2$.

    Args:
        log: with propensities.
        items: number of items.
        level: of the intervals.

    Source:
        Kish 1965, "Survey Sampling", section 8.2; Clopper and Pearson 1934.
    """
    weight = 1 / log.propensity
    total, square, clicked = (
        np.bincount(log.item, each, minlength=items)
        for each in (weight, weight**2, weight * log.click)
    )
    some = total > 0
    effective = np.divide(total**2, square, out=np.zeros(items), where=some)
    rate = np.divide(clicked, total, out=np.zeros(items), where=some)
    return _binomial(effective, effective * rate, level)


def uniform_value(log: Recommendations, items: int) -> tuple[float, float]:
    r"""Click rate of recommending uniformly at random, and its standard error.

    The mean over records of $r_i / (K p_i)$: for the log of "random" its click rate.
    """
    each = log.click / (items * log.propensity)
    return float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))


def _binomial(count: np.ndarray, clicks: np.ndarray, level: float) -> ClickRates:
    """Clopper and Pearson's interval, of counts that need not be whole."""
    tail = (1 - level) / 2
    misses = count - clicks
    safe_clicks, safe_misses = np.maximum(clicks, 1e-9), np.maximum(misses, 1e-9)
    low = np.where(clicks > 0, betaincinv(safe_clicks, misses + 1, tail), 0.0)
    high = np.where(misses > 0, betaincinv(clicks + 1, safe_misses, 1 - tail), 1.0)
    rate = np.divide(clicks, count, out=np.full(len(count), np.nan), where=count > 0)
    return ClickRates(rate, low, high)


def _check(file: LogFile, batch: Batch) -> None:
    item, position, click, propensity = (pl.col(name) for name in COLUMNS)
    whole = {
        "item_id": ((item >= 0) & (item == item.floor()), "a whole number of at least 0"),
        "position": ((position >= 1) & (position == position.floor()), "a whole number from 1"),
        "click": (click.is_in([0.0, 1.0]), "0 or 1"),
        "propensity_score": ((propensity > 0) & (propensity <= 1), "in (0, 1]: it divides"),
    }
    for name, (holds, must) in whole.items():
        good = batch.frame.select(holds.alias("good"))["good"]
        if not good.all():
            where = good.arg_min() or 0
            raise InputError(
                f"{file.place(batch.line[where])}: column {name!r} must be {must}, was "
                f"{batch.frame[name][where]:g}; repair the file"
            )
