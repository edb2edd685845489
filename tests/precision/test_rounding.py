"""Bounds stay on their side of what is exact: horizons, counts, ranges with too many digits."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.bounds.arguments import gaps, last_proxy, make_setting
from jaxbandit.precision import rounding

B = jb.bounds
HORIZONS = [1, 3, 7, 997, 12_345, 2**24 - 1, 2**24 + 1, 2**24 + 3, 2**25 + 1, 2**31 - 2]
RANGES = [(0.0, 1.0), (0.0, 0.1), (0.0, 0.3), (0.1, 0.3), (0.0, 0.7), (-0.1, 0.3), (0.0, 10.0)]
COUNT = np.array([1.0, 2.0])
CAPPED = {
    "ucb_minimax_regret": B.ucb_minimax_regret,
    "ucb_logging_regret": B.ucb_logging_regret,
    "lcb_minimax_regret": B.lcb_minimax_regret,
    "lcb_logging_regret": B.lcb_logging_regret,
    "oto_minimax_regret": lambda *known: B.oto_minimax_regret(*known[:2], 0.5, *known[2:]),
    "oto_logging_regret": lambda *known: B.oto_logging_regret(*known[:2], 0.5, *known[2:]),
}


def digits():
    return jnp.finfo(jnp.result_type(float)).eps


def assert_next_above(value, exact, steps=4):
    assert exact <= Fraction(float(value)) <= exact * (1 + steps * Fraction(float(digits())))


@pytest.mark.parametrize("name", CAPPED)
def test_caps_are_not_below_the_horizon_times_the_range(name):
    """Radii are so wide that nothing but the cap is left of the bounds."""
    bound = CAPPED[name]
    many = jax.jit(jax.vmap(lambda horizon, known: bound(COUNT, horizon, known), (0, None)))
    for low, high in RANGES:
        known = jb.confidence(sigma=1e9, floor=low, ceiling=high)
        traced = many(jnp.asarray(HORIZONS, jnp.int32), known)
        for horizon, value in zip(HORIZONS, traced, strict=True):
            assert_next_above(value, horizon * (Fraction(high) - Fraction(low)))
        horizon = HORIZONS[6]
        assert bound(COUNT, horizon, known) == traced[6]
        if (low, high) == (0, 1) and horizon < 1 / digits():
            assert traced[6] == horizon


@pytest.mark.parametrize("mean", [[0.1, 0.4], [0.4001, 0.4]])
def test_caps_of_an_instance_are_not_below_the_horizon_times_its_gap(mean):
    known = jb.confidence(sigma=1e9)
    for horizon in HORIZONS:
        exact = horizon * abs(Fraction(mean[0]) - Fraction(mean[1]))
        for value in (
            B.ucb_regret(COUNT, mean, horizon, known),
            B.oto_regret(COUNT, mean, horizon, 0.5, known),
        ):
            assert_next_above(value, exact, steps=30)


@pytest.mark.parametrize("bounds", RANGES)
def test_lower_bounds_are_not_above_the_range(bounds):
    """Without samples on some arm UCB's first round costs the range."""
    known = jb.confidence(floor=bounds[0], ceiling=bounds[1])
    value = Fraction(float(B.ucb_first_round_logging_regret_lower([0.0, 1.0], known)))
    exact = Fraction(bounds[1]) - Fraction(bounds[0])
    assert exact * (1 - 40 * Fraction(float(digits()))) <= value <= exact


@pytest.mark.parametrize("value", [0.1, 0.3, 0.7, 1000.1, -0.1, 2.0**-30 + 1, 1.0])
def test_a_range_is_not_narrowed(value):
    known = jb.confidence(floor=value, ceiling=value + 1)
    assert Fraction(float(known.floor)) <= Fraction(value)
    assert Fraction(float(known.ceiling)) >= Fraction(value + 1)


@pytest.mark.parametrize("compiled", [False, True])
def test_differences_and_products_are_next_to_what_is_exact(compiled):
    rng = np.random.default_rng(0)
    first, second = jnp.asarray(rng.normal(size=(2, 200)) * 10.0 ** rng.integers(-3, 4, 200), float)
    whole, factor = jnp.floor(1e4 * jnp.abs(first)) + 1, jnp.abs(second)
    for ours, exactly, pair in (
        (rounding.difference_at_least, Fraction.__sub__, (first, second)),
        (rounding.product_at_least, Fraction.__mul__, (whole, factor)),
    ):
        found = (jax.jit(ours) if compiled else ours)(*pair)
        for value, a, b in zip(found, *pair, strict=True):
            exact = exactly(Fraction(float(a)), Fraction(float(b)))
            assert (
                exact
                <= Fraction(float(value))
                <= exact + 2 * abs(exact) * Fraction(float(digits()))
            )


def test_a_probability_is_not_above_what_holds():
    for horizon, delta in ((2**24 + 1, 1e-9), (1000, 1e-12), (7, 0.01)):
        known = jb.confidence(delta=delta)
        exact = 1 - 2 * horizon * Fraction(delta)
        assert Fraction(float(B.event_probability(horizon, known))) <= exact


@pytest.mark.parametrize(
    ("horizon", "proxy"), [(2**24 - 1, 2**24), (2**24, 2**24), (2**24 + 1, 2**25)]
)
def test_the_proxy_of_an_unknown_horizon_reaches_it(horizon, proxy):
    known = jb.confidence(delta=0.01, anytime=True)
    for given in (horizon, jnp.int32(horizon)):
        assert last_proxy(make_setting(COUNT, given, known)) == proxy


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("value", [5, 2**24 + 1, 2**24 + 3, 2**25 + 3, 2**31 - 2, -(2**24) - 1])
def test_whole_numbers_are_rounded_to_the_side_asked_for(value, traced):
    def both(value):
        return rounding.at_most(value), rounding.at_least(value)

    low, high = jax.jit(both)(jnp.int32(value)) if traced else both(value)
    assert Fraction(float(low)) <= value <= Fraction(float(high))
    near = jnp.asarray(value, float)
    assert near in (low, high)
    if Fraction(float(near)) == value:
        assert low == high
    else:
        assert jnp.nextafter(low, jnp.inf) == high


def test_counts_of_upper_bounds_are_rounded_down_and_of_lower_ones_up():
    count, exact = [2**24 + 1, 2**24 + 3], np.array([2**24 + 1, 2**24 + 3])
    for for_lower, side in ((False, np.less_equal), (True, np.greater_equal)):
        known = make_setting(count, 10, for_lower=for_lower)
        assert np.all(side(np.asarray(known.count, np.float64), exact))
    # Of off-policy bounds too: more records than there are would promise too much.
    cov = np.eye(2)
    for n in (2**24 + 1, 2**24 + 3, 2**26 + 7):
        value = Fraction(float(B.single_task_bound(cov, 1.0, n, 1.0, 1.0)))
        assert value**2 >= Fraction(8, 1 + n)


def test_close_means_keep_their_difference():
    known = make_setting(COUNT, 10)
    np.testing.assert_allclose(gaps(known, [0.5, 0.5001]), [0.5001 - 0.5, 0], rtol=1e-6)
