"""Quantiles and shares against what SciPy and enumeration give."""

import numpy as np
import pytest
from scipy import stats

from jaxbandit.checks import InputError
from jaxbandit.studies.bound_studies.measures import against, quantile, share


@pytest.mark.parametrize("probability", [0.05, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("n", [1, 7, 60, 1000])
def test_order_statistics_cover_the_quantile_with_their_probability(probability, n):
    # Values 1 to n: an end of the interval is the number of its order statistic.
    _, low, high = quantile(np.arange(1, n + 1), probability)
    below = stats.binom(n, probability)
    too_high = below.cdf(low - 1) if np.isfinite(low) else 0  # fewer than `low` values below
    too_low = below.sf(high - 1) if np.isfinite(high) else 0  # `high` or more
    assert max(too_high, too_low) <= 0.025
    # One order statistic closer on either side would be too close.
    assert below.cdf(low if np.isfinite(low) else 0) > 0.025
    assert below.sf(high - 2 if np.isfinite(high) else n - 1) > 0.025


def test_the_interval_covers_in_samples():
    rng = np.random.default_rng(0)
    truth = stats.expon.ppf(0.9)
    found = [quantile(rng.exponential(size=200), 0.9) for _ in range(2000)]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert covered > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 2000)
    estimates = np.array([one.estimate for one in found])
    assert abs(estimates.mean() - truth) < 0.03


@pytest.mark.parametrize(("hits", "trials"), [(0, 9), (9, 9), (3, 10), (999, 1000)])
def test_share_is_clopper_and_pearson(hits, trials):
    estimate, low, high = share(hits, trials)
    exact = stats.binomtest(hits, trials).proportion_ci(0.95, "exact")
    np.testing.assert_allclose((estimate, low, high), (hits / trials, exact.low, exact.high))


def test_columns():
    values = np.array([3.0, 1.0, 2.0, 10.0])
    row = against(np.array([3.0, 5.0, 1.0, 3.0]), values, 0.25)
    assert row["bound"] == 3
    assert row["mean"] == 4
    np.testing.assert_allclose(row["sem"], stats.sem(values))
    np.testing.assert_allclose(row["quantile"], np.quantile(values, 0.75))
    np.testing.assert_allclose(row["ratio"], 3 / np.quantile(values, 0.75))
    assert row["coverage"] == 0.5  # run by run, not against the median; equality covers
    assert row["runs"] == 4


def test_a_quantile_that_is_not_positive_has_no_ratio():
    assert against(5.0, np.array([-1.0, 0.0]), 0.5)["ratio"] is None
    assert against(5.0, np.array([1e-9]), 0.5)["ratio"] is None
    assert against(5.0, np.array([1e-3]), 0.5)["ratio"] == pytest.approx(5e3)


def test_no_runs():
    with pytest.raises(InputError, match="runs must be some"):
        against(1.0, np.array([]), 0.1)
