"""A sample against a bound: quantiles and shares, each with an exact confidence interval."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from jaxbandit.checks import InputError

LEVEL = 0.95
"""Of all confidence intervals here."""


class Interval(NamedTuple):
    """An estimate with a confidence interval."""

    estimate: float
    low: float
    high: float


def quantile(values: np.ndarray, probability: float, level: float = LEVEL) -> Interval:
    r"""A quantile, between two order statistics, whatever the distribution.

    The number of values at most the true quantile is Binomial(n, p) where the distribution is
    continuous, so that $X_{(l)} \le q \le X_{(u)}$ with probability `level` or more for
    $P(B < l) \le (1 - level) / 2$ and $P(B \ge u) \le (1 - level) / 2$; atoms only help. Too few
    values for an end leave it infinite.

    >>> import numpy as np
    >>> quantile(np.arange(1, 101), 0.5)
    Interval(estimate=50.5, low=40.0, high=61.0)
    """
    ordered = np.sort(np.asarray(values, float))
    n, tail = len(ordered), (1 - level) / 2
    below, above = stats.binom.ppf([tail, 1 - tail], n, probability).astype(int)
    low = ordered[below - 1] if below >= 1 else -math.inf
    high = ordered[above] if above < n else math.inf
    return Interval(float(np.quantile(ordered, probability)), float(low), float(high))


def share(hits: int, trials: int, level: float = LEVEL) -> Interval:
    """A probability from hits in trials, with the interval of Clopper and Pearson (1934).

    >>> share(0, 10).low, round(share(0, 10).high, 4)
    (0.0, 0.3085)
    """
    tail = (1 - level) / 2
    low = stats.beta.ppf(tail, hits, trials - hits + 1) if hits > 0 else 0.0
    high = stats.beta.ppf(1 - tail, hits + 1, trials - hits) if hits < trials else 1.0
    return Interval(hits / trials, float(low), float(high))


def against(bound: np.ndarray | float, values: np.ndarray, delta: float) -> dict[str, Any]:
    """Columns of a table: a bound, which may differ from run to run, and what was simulated.

    Args:
        bound: [runs] or [].
        values: [runs].
        delta: the bound's failure probability.

    Raises:
        InputError: no runs.
    """
    values = np.asarray(values, float)
    n = len(values)
    if n == 0:
        raise InputError("runs must be some, were none")
    every = np.broadcast_to(np.asarray(bound, float), values.shape)
    typical, reached = float(np.median(every)), quantile(values, 1 - delta)
    covered = share(int(np.sum(values <= every)), n)
    return {
        "bound": typical,
        "mean": float(np.mean(values)),
        "sem": float(np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else math.nan,
        "quantile": reached.estimate,
        "quantile_low": reached.low,
        "quantile_high": reached.high,
        # Against regret that is negative, or zero but for rounding, a ratio says nothing.
        "ratio": typical / reached.estimate if reached.estimate > 1e-6 * typical else None,
        "coverage": covered.estimate,
        "coverage_low": covered.low,
        "coverage_high": covered.high,
        "runs": n,
    }
