"""Intervals of means cover as often as they say, with few values too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxbandit as jb
from jaxbandit.engine.moments import errors_each_side, merge, over_runs, tile_moments

SAMPLES = 2000
TRUTH = 1.0


def of_moments(values):
    found = over_runs(values.T)
    return found.mean - found.margin, found.mean + found.margin


def of_tiles(values):
    """Of runs that are summarised on a device and merged, as those of simulations are."""
    tiles = [
        tile_moments(jnp.asarray(part), jnp.ones(len(part), bool))
        for part in (values.T[:2], values.T[2:])
    ]
    found = merge(*tiles)
    return found.mean - found.margin, found.mean + found.margin


def of_table(values):
    """Of a mean and a standard error, as figures have them."""
    count = values.shape[1]
    reach = errors_each_side(count) * values.std(axis=1, ddof=1) / np.sqrt(count)
    return values.mean(axis=1) - reach, values.mean(axis=1) + reach


def of_policy(estimator):
    """Of a policy that plays as the log's did, and of its gain, where predictions say something."""

    def interval(values):
        same = np.full_like(values, 0.5)
        table = {"reward": values, "propensity": same, "target": same}
        if estimator is jb.doubly_robust_value:
            noise = np.random.default_rng(1).standard_normal(values.shape)
            table |= {"predicted": noise, "predicted_target": noise}
        found = jax.vmap(lambda table: estimator(**table))(table)
        return found.low, found.high

    return interval


def of_gain(values):
    zero = np.zeros_like(values)
    found = jax.vmap(jb.doubly_robust_value)(zero, zero + 0.5, zero + 0.5, zero, values)
    return found.gain_low, found.gain_high


INTERVALS = {
    "moments": of_moments,
    "tiles": of_tiles,
    "table": of_table,
    "ips_value": of_policy(jb.ips_value),
    "snips_value": of_policy(jb.snips_value),
    "doubly_robust_value": of_policy(jb.doubly_robust_value),
    "gain": of_gain,
}


@pytest.mark.parametrize("count", [3, 5, 10])
@pytest.mark.parametrize("name", INTERVALS)
def test_intervals_of_few_values_cover_the_mean(name, count):
    values = TRUTH + np.random.default_rng(count).standard_normal((SAMPLES, count))
    low, high = (np.asarray(end) for end in INTERVALS[name](values))
    covered = int(np.sum((low <= TRUTH) & (high >= TRUTH)))
    # Normal quantiles cover .81, .88 and .92.
    fewest, most = stats.binom.ppf([1e-4, 1 - 1e-4], SAMPLES, 0.95)
    assert fewest <= covered <= most


def test_a_single_value_has_no_interval():
    found = over_runs(np.ones((1, 2)))
    assert np.all(np.isnan(found.margin))
