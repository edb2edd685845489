"""A stand-in for Avazu's data: the same columns, and clicks from a model that is known.

Nothing here is measured on Avazu; what is learnt from it is about the stand-in alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float64

from jaxbandit.checks import check_count

DAYS = 10
FIRST_DAY = 141021  # YYMMDD, as in Kaggle's training data
ANONYMOUS_DEVICE = "a99f214a"
NO_SITE, NO_APP = "85f751fd", "ecad2386"
RANK = 4


class AvazuLike(NamedTuple):
    """Synthetic displays."""

    table: pl.DataFrame
    """Kaggle's columns: `id`, `click`, `hour` and the categories, all text but `click`."""
    probability: Float64[np.ndarray, "rows"]
    """Of each click."""


def avazu_like(rows: int, seed: int = 0) -> AvazuLike:
    r"""Draw displays of advertisements, and clicks from a planted model.

    A display is a campaign's creative on a site or in an app, seen on a device at some hour. Values
    of a field are Zipf-distributed; domain and category follow from site or app, campaign and
    advertiser from the creative. The click's logit is

    $-2.4 + \sum_f w_{f, x_f} + \langle u_{place}, v_{campaign} \rangle
    + \langle s_{model}, t_{advertiser} \rangle + 0.4 \sin(2 \pi h / 24) + \delta(day)$,

    with normal effects w of place, category, creative, campaign and device model, and
    interactions that no sum over fields can express. Campaigns come and go within the ten days and
    the level $\delta$ drifts, so hours differ in what is shown and in how it is liked.

    Args:
        rows: displays.
        seed: of the planted model and of the draws.

    Raises:
        InputError: rows below one.

    >>> from jaxbandit.datasets.avazu_like import avazu_like
    >>> standin = avazu_like(1000)
    >>> len(standin.table), bool(0.1 < standin.table["click"].mean() < 0.3)
    (1000, True)
    """
    check_count("rows", rows)
    generator = np.random.default_rng(seed)
    day, hour = _times(generator, rows)

    # What is shown: creatives of campaigns of advertisers, each campaign live for some days.
    creatives, campaigns, advertisers = 2000, 400, 60
    campaign_of = generator.integers(campaigns, size=creatives)
    advertiser_of = generator.integers(advertisers, size=campaigns)
    start = generator.integers(-4, DAYS, size=campaigns)
    length = generator.integers(3, 12, size=campaigns)
    creative = np.empty(rows, int)
    weight = _zipf(creatives, 1.1)
    for today in range(DAYS):
        live = (start <= today) & (today < start + length)
        share = weight * np.where(live[campaign_of], 1, 0.01)
        here = day == today
        creative[here] = _draw(generator, share, here.sum())
    campaign = campaign_of[creative]
    advertiser = advertiser_of[campaign]

    # Where, and on what.
    places = 3000
    in_app = np.arange(places) % 5 < 2
    domain_of, category_of = (
        generator.integers(1800, size=places),
        _draw(generator, _zipf(20, 1.2), places),
    )
    place = _draw(generator, _zipf(places, 1.2), rows)
    app = in_app[place]
    model = _draw(generator, _zipf(3000, 1.05), rows)
    banner = np.where(app, 0, generator.integers(2, size=places)[place])
    address = _draw(generator, _zipf(400_000, 0.7), rows)
    device = _draw(generator, _zipf(100_000, 0.6), rows)

    def normal(size: int, scale: float) -> np.ndarray:
        return scale * generator.standard_normal(size)

    def interaction(first: np.ndarray, second: np.ndarray, scale: float) -> np.ndarray:
        factors = (
            generator.standard_normal((index.max() + 1, RANK))[index] for index in (first, second)
        )
        left, right = factors
        return scale / np.sqrt(RANK) * np.einsum("rk,rk->r", left, right)

    logit = (
        -2.4
        + normal(places, 0.8)[place]
        + normal(20, 0.3)[category_of[place]]
        + normal(creatives, 0.6)[creative]
        + normal(campaigns, 0.8)[campaign]
        + normal(3000, 0.2)[model]
        + 0.4 * banner
        + interaction(place, campaign, 0.8)
        + interaction(model, advertiser, 0.3)
        + 0.4 * np.sin(2 * np.pi * hour / 24)
        + np.cumsum(normal(DAYS, 0.1))[day]
    )
    probability = 1 / (1 + np.exp(-logit))
    click = generator.random(rows) < probability

    hex_name = _Names(generator)
    size_of = _draw(generator, np.array([0.85, 0.07, 0.05, 0.03]), creatives)
    columns = {
        "id": pl.Series(np.arange(rows)).cast(pl.String),
        "click": pl.Series(click.astype(np.int8)),
        "hour": pl.Series((FIRST_DAY + day) * 100 + hour).cast(pl.String),
        "C1": _pick(["1005", "1002", "1010"], np.where(app, 0, place % 3)),
        "banner_pos": _pick(["0", "1"], banner),
        "site_id": hex_name.where(~app, places, place, NO_SITE),
        "site_domain": hex_name.where(~app, 1800, domain_of[place], "c4e18dd6"),
        "site_category": hex_name.where(~app, 20, category_of[place], "50e219e0"),
        "app_id": hex_name.where(app, places, place, NO_APP),
        "app_domain": hex_name.where(app, 1800, domain_of[place], "7801e8d9"),
        "app_category": hex_name.where(app, 20, category_of[place], "07d7df22"),
        "device_id": hex_name.where(
            generator.random(rows) < 0.18, 100_000, device, ANONYMOUS_DEVICE
        ),
        "device_ip": hex_name.all(400_000, address),
        "device_model": hex_name.all(3000, model),
        "device_type": _pick(["1", "0", "4"], model % 3),
        "device_conn_type": _pick(["0", "2", "3"], np.where(app, address % 3, 0)),
        "C14": _numbers(14_000, creatives, creative),
        "C15": _pick(["320", "300", "216", "728"], size_of[creative]),
        "C16": _pick(["50", "250", "36", "90"], size_of[creative]),
        "C17": _numbers(1700, campaigns, campaign),
        "C18": _pick(["0", "1", "2", "3"], advertiser % 4),
        "C19": _numbers(33, 60, campaign % 60),
        "C20": _numbers(100_000, 170, creative % 170),
        "C21": _numbers(20, advertisers, advertiser),
    }
    return AvazuLike(pl.DataFrame(columns), probability)


class _Names:
    """Names such as Avazu's hashed values: eight hexadecimal digits."""

    def __init__(self, generator: np.random.Generator):
        self.generator = generator

    def all(self, number: int, index: np.ndarray) -> pl.Series:
        names = [f"{value:08x}" for value in self.generator.integers(1 << 32, size=number)]
        return _pick(names, index)

    def where(self, known: np.ndarray, number: int, index: np.ndarray, other: str) -> pl.Series:
        """The other name where not known."""
        names = [f"{value:08x}" for value in self.generator.integers(1 << 32, size=number)]
        return _pick([*names, other], np.where(known, index, number))


def _pick(names: list[str], index: np.ndarray) -> pl.Series:
    return pl.Series(names).gather(index)


def _numbers(first: int, number: int, index: np.ndarray) -> pl.Series:
    return _pick([str(first + value) for value in range(number)], index)


def _zipf(number: int, exponent: float) -> np.ndarray:
    return 1 / np.arange(2, number + 2) ** exponent


def _draw(generator: np.random.Generator, weight: np.ndarray, size: int) -> np.ndarray:
    """Indices with probabilities in proportion to the weights."""
    edge = np.cumsum(weight)
    return np.searchsorted(edge, generator.random(size) * edge[-1], side="right")


def _times(generator: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Days from 0 and hours, fewer at night."""
    day = generator.integers(DAYS, size=rows)
    weight = 1.2 + np.sin(2 * np.pi * (np.arange(24) - 6) / 24)
    return day, _draw(generator, weight, rows)
