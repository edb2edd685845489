"""Bounds and the budget's unit against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.inference import arms
from tests.simulation import oracle

COUNT = np.array([0.0, 1.0, 4.0, 200.0, 3.0])
TOTAL = np.array([0.0, 1.0, 1.0, 120.0, 0.0])
HORIZON, ROUND = 500, 7
CASES = [
    (preset, delta, anytime, sigma, floor)
    for preset in ("paper", "reference")
    for delta, anytime in ((None, False), (0.05, False), (0.05, True))
    for sigma, floor in ((0.5, 0.0), (1.5, -0.25))
]


@pytest.mark.parametrize(("preset", "delta", "anytime", "sigma", "floor"), CASES)
def test_bounds_are_the_formulas(preset, delta, anytime, sigma, floor, rtol):
    own = {"sigma": sigma} if preset == "paper" else {}  # "reference" has none.
    made = jb.confidence(preset, **own, delta=delta, floor=floor, anytime=anytime)
    width = arms.squared_width(made, 5, ROUND, jnp.asarray(float(HORIZON)))
    low = arms.lower_bounds(made, jnp.asarray(COUNT), jnp.asarray(TOTAL), width)
    high = arms.upper_bounds(jnp.asarray(COUNT), jnp.asarray(TOTAL), width)
    unit = arms.budget_per_round(made, jnp.asarray(COUNT), jnp.asarray(float(HORIZON)))

    first = 1 / HORIZON**2 if delta is None else delta
    shrunk = first / ROUND**2 if anytime else first
    factor = sigma * np.sqrt(2) if preset == "paper" else 1.0
    b = 0.0
    for i, (n, total) in enumerate(zip(COUNT, TOTAL, strict=True)):
        if n == 0:
            assert high[i] == np.inf
            np.testing.assert_allclose(low[i], floor)
            continue
        radius = factor * np.sqrt(np.log(5 / shrunk) / n)
        np.testing.assert_allclose(high[i], total / n + radius, rtol=rtol)
        np.testing.assert_allclose(low[i], max(floor, total / n - radius), rtol=rtol, atol=1e-6)
        if preset == "paper":
            b += n / COUNT.sum() * factor * np.sqrt(np.log(5 / first) / n)
        else:
            b += np.sqrt(n) / COUNT.sum() * np.sqrt(np.log(1 / first) / 2)
    np.testing.assert_allclose(unit, b, rtol=rtol)
    # And the oracle's.
    constants = oracle.Constants(preset, delta, anytime, sigma, floor)
    np.testing.assert_allclose(unit, constants.budget_per_round(first, COUNT), rtol=rtol)


def test_the_mean_of_an_arm_without_samples_is_zero_and_of_bad_data_not_a_number():
    np.testing.assert_array_equal(
        arms.mean_reward(jnp.asarray([0.0, 2.0, 2.0]), jnp.asarray([0.0, 1.0, jnp.nan])),
        [0.0, 0.5, np.nan],
    )


def test_equal_samples_tie_whether_runs_share_their_counts_or_not():
    """Counts shared by all runs, as before the first round, or of each run, as after a pull."""
    count = jnp.arange(1.0, 60.0)
    total = jnp.floor(jax.random.uniform(jax.random.key(1), (64, 59)) * (count + 1))
    each = jnp.broadcast_to(count, total.shape)
    made = jb.confidence(delta=0.01)

    def bounds(count, total):
        width = arms.squared_width(made, 59, 1, 100.0)
        low = arms.lower_bounds(made, count, total, width)
        return low, arms.upper_bounds(count, total, width)

    shared = jax.jit(jax.vmap(bounds, (None, 0)))(count, total)
    own = jax.jit(jax.vmap(bounds))(each, total)
    for one, other in zip(shared, own, strict=True):
        np.testing.assert_array_equal(one, other)
