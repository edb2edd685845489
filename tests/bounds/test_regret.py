"""Upper bounds on regret: against brute force, their shape, and messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.bounds.arguments import last_proxy, make_setting
from jaxbandit.bounds.worst_pulls import largest_excess
from tests.bounds import regret_oracle as oracle
from tests.bounds.regret_cases import package
from tests.bounds.regret_oracle import Known
from tests.messages import assert_refused

B = jb.bounds


def small_instances():
    """Few arms and rounds, for oracles that try every number of pulls; counts whole or not."""
    rng = np.random.default_rng(0)
    for case in range(40):
        arms = int(rng.choice([2, 4]))
        count = rng.choice([0, 0.5, 1, 2, 7, 30, 400], arms)
        count[rng.integers(arms)] += 3
        known = Known(
            count,
            horizon=int(rng.integers(1, 30)),
            sigma=float(rng.choice([0.03, 0.25, 0.5])),
            delta=[None, 0.125, 2.0**-10][case % 3] if case % 2 else 2.0**-7,
            anytime=case % 4 == 1 and case % 3 != 0,
            limit=float(rng.choice([1, 4])),
        )
        yield known, np.round(rng.uniform(0, known.limit, arms) * 1024) / 1024


SMALL = list(small_instances())


def assert_close_and_above(actual, expected, rtol):
    """Equal but for rounding, and that upwards."""
    assert actual >= expected * (1 - 1e-12)
    assert actual <= expected * (1 + rtol) + 1e-12


@pytest.fixture(scope="module")
def tight():
    """Relative rounding of a bound."""
    return 200 * float(jnp.finfo(jnp.result_type(float)).eps)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 4.0])
def test_instance_bounds_are_the_formulas(alpha, tight):
    for known, mean in SMALL:
        count, horizon, confidence = known.count, known.horizon, package(known)
        assert_close_and_above(
            B.ucb_regret(count, mean, horizon, confidence), oracle.ucb(known, mean), tight
        )
        assert_close_and_above(
            B.oto_regret(count, mean, horizon, alpha, confidence),
            oracle.oto(known, mean, alpha),
            tight,
        )


def test_counts_and_horizon_bounds_are_the_formulas(tight):
    for known, _ in SMALL:
        arguments = known.count, known.horizon, package(known)
        assert_close_and_above(B.lcb_minimax_regret(*arguments), oracle.lcb(known), tight)
        assert_close_and_above(B.lcb_logging_regret(*arguments), oracle.lcb_logging(known), tight)
        assert_close_and_above(
            B.oto_logging_regret(known.count, known.horizon, 0.5, package(known)),
            oracle.oto_logging(known, 0.5),
            tight,
        )


def is_concave(known):
    return known.count.min() >= 1 or 4 * known.c() ** 2 >= 3 * known.limit**2


def test_water_filling_is_the_best_allocation_of_whole_pulls(tight):
    concave, others = 0, []
    for known, _ in SMALL:
        bound = float(B.ucb_minimax_regret(known.count, known.horizon, package(known)))
        best = oracle.ucb_minimax(known)
        assert bound >= best * (1 - 1e-12)
        if is_concave(known):
            assert bound <= best * (1 + max(tight, 1e-8))
            concave += 1
        else:
            others.append(bound / best)
    assert concave >= 20
    assert len(others) >= 5
    assert max(others) <= 1.15  # concave envelopes lose little


def test_bounds_for_an_instance_are_never_above_those_for_any():
    smaller = 0
    for known, mean in SMALL:
        count, horizon, confidence = known.count, known.horizon, package(known)
        this = B.ucb_regret(count, mean, horizon, confidence)
        assert this <= B.ucb_minimax_regret(count, horizon, confidence) * (1 + 1e-6)
        gap = mean.max() - mean
        papers = min(gap @ oracle.pulls(known, gap), horizon * known.limit)
        smaller += bool(this < 0.99 * papers)
        for alpha in (0.0, 0.25, 4.0):
            this = B.oto_regret(count, mean, horizon, alpha, confidence)
            assert this <= B.oto_minimax_regret(count, horizon, alpha, confidence) * (1 + 1e-6)
    assert smaller >= 5  # than the paper's, whose pulls may be more than the horizon


def test_water_filling_at_length():
    # Greedy on unit increments, exact where gains are concave, at sizes out of reach of the other.
    known = Known(np.array([1.0, 3, 40, 40, 900, 5000, 2, 17]), 20_000, delta=2.0**-9)
    m, c = known.count, known.c()
    gain = [
        n * np.minimum(1, oracle.twice_radius(c, 1) / np.sqrt(np.maximum(k + n - 1, 1e-9)))
        for k in m
        for n in [np.arange(known.horizon + 1)]
    ]
    steps = np.sort(np.concatenate([np.diff(g) for g in gain]))[::-1]
    best = steps[: known.horizon].sum()
    bound = float(B.ucb_minimax_regret(m, known.horizon, package(known)))
    assert 1 - 1e-9 <= bound / best <= 1 + 1e-5


def test_minimax_oto_is_its_instance_bound_at_the_worst_gaps(tight):
    checked = 0
    for known, _ in SMALL:
        if known.horizon > 15 or not is_concave(known):
            continue
        for alpha in (0.25, 4.0):
            bound = B.oto_minimax_regret(known.count, known.horizon, alpha, package(known))
            assert_close_and_above(bound, oracle.oto_minimax(known, alpha), max(tight, 1e-8))
        checked += 1
    assert checked >= 8


@pytest.mark.parametrize("count", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("gap", [0.0, 0.01, 0.3, 1.0])
def test_excess_needs_no_search(count, gap, tight):
    for c in (0.05, 0.4, 2.0):
        for most in (0, 1, 2, 3, 50, 400):
            known = Known(np.array([count]), 1)
            expected = oracle.psi(known, 0, gap, most, c)
            actual = largest_excess(*(jnp.asarray([x], float) for x in (count, gap, c, 1, most)))
            np.testing.assert_allclose(actual, expected, rtol=tight)


# Shape of the bounds.


GRID = {
    "ucb": lambda count, t, delta, alpha: B.ucb_minimax_regret(
        count, t, jb.confidence(delta=delta)
    ),
    "lcb": lambda count, t, delta, alpha: B.lcb_minimax_regret(
        count, t, jb.confidence(delta=delta)
    ),
    "oto": lambda count, t, delta, alpha: B.oto_minimax_regret(
        count, t, alpha, jb.confidence(delta=delta)
    ),
}
COUNT = jnp.asarray([3.0, 40.0, 0.0, 1000.0])


@pytest.mark.parametrize("policy", GRID)
def test_monotone_in_horizon_delta_and_samples(policy):
    bound = jax.jit(GRID[policy])
    by_horizon = np.array([bound(COUNT, t, 0.01, 1.0) for t in (1, 2, 3, 10, 100, 1e4, 1e6)])
    assert (np.diff(by_horizon) > 0).all()
    by_delta = np.array([bound(COUNT + 50, 5e5, d, 1.0) for d in (1e-12, 1e-6, 1e-3, 0.1, 0.9)])
    assert (np.diff(by_delta) <= 0).all()
    assert by_delta[-1] < 0.8 * by_delta[0]
    if policy == "oto":  # more samples make the budget's unit smaller, and so its price higher
        return
    for arm in range(4):
        more = [bound(COUNT.at[arm].add(n), 1e3, 0.01, 1.0) for n in (0.0, 1.0, 10.0, 1e3)]
        assert (np.diff(more) <= 0).all()


def test_alpha_trades_one_regret_for_the_other():
    count = COUNT + 20
    mean = [0.5, 0.25, 0.75, 0.625]
    alphas = [0.0, 0.01, 0.1, 1.0, 10.0, 1e6]
    best = np.array([B.oto_regret(count, mean, 1e6, a) for a in alphas])
    logged = np.array([B.oto_logging_regret(count, 1e6, a) for a in alphas])
    assert (np.diff(best) <= 0).all()
    assert (np.diff(logged) >= 0).all()
    np.testing.assert_allclose(best[0], 5e5, rtol=1e-5)  # nothing is known at alpha = 0
    assert best[-1] < best[1] < best[0]
    # Large alpha: UCB, and at most one pessimistic round.
    assert best[-1] - B.ucb_regret(count, mean, 1e6) <= 1.01
    assert logged[0] == pytest.approx(float(B.lcb_logging_regret(count, 1e6)), rel=1e-5)


def test_continuous_as_gaps_and_counts_vanish():
    confidence = jb.confidence(delta=0.01)

    def bounds(count, mean):
        count, mean = jnp.asarray(count, float), jnp.asarray(mean, float)
        return np.array(
            [
                B.ucb_regret(count, mean, 5000, confidence),
                B.oto_regret(count, mean, 5000, 1.0, confidence),
                B.ucb_minimax_regret(count, 5000, confidence),
                B.lcb_minimax_regret(count, 5000, confidence),
                B.oto_minimax_regret(count, 5000, 1.0, confidence),
                B.oto_logging_regret(count, 5000, 1.0, confidence),
            ]
        )

    at = bounds([30, 0, 10], [0.25, 0.5, 0.5])
    for tiny in (1e-6, 1e-30):
        np.testing.assert_allclose(bounds([30, 0, 10], [0.25, 0.5 - tiny, 0.5]), at, rtol=1e-3)
        np.testing.assert_allclose(bounds([30, tiny, 10], [0.25, 0.5, 0.5]), at, rtol=2e-3)
    assert np.isfinite(at).all()
    assert B.ucb_regret([0, 0], [0.5, 0.5], 100, confidence) == 0


def test_nothing_is_lost_at_a_million_rounds():
    # Whole pulls near the limits of float32: never below the bound in float64.
    rng = np.random.default_rng(0)
    for horizon in (999_999, 1_000_000):
        count = rng.integers(0, 1000, 30).astype(float)
        mean = np.round(rng.uniform(0.4, 0.5, 30) * 2**20) / 2**20
        known = Known(count, horizon, delta=2.0**-10)
        gap = mean.max() - mean
        with np.errstate(divide="ignore"):
            limit = np.floor(4 * known.c() ** 2 / gap**2 - count) + 1
        worst_first = np.argsort(-gap)
        gap, limit = gap[worst_first], np.clip(np.where(gap > 0, limit, 0)[worst_first], 0, horizon)
        exact = (gap * np.diff(np.minimum(np.cumsum(limit), horizon), prepend=0)).sum()
        bound = float(B.ucb_regret(count, mean, horizon, package(known)))
        assert exact <= bound <= exact * (1 + 2e-5)


def test_a_pull_at_the_very_edge_is_counted():
    # 4 c^2 / D^2 is a whole number here, up to rounding, which must not take a pull away.
    for whole in range(1, 30):
        delta = 2.0**-whole
        sigma = np.sqrt(whole / (8 * np.log(2 / delta)))
        bound = B.ucb_regret([3, 5], [0.0, 0.5], 1000, jb.confidence(sigma=sigma, delta=delta))
        np.testing.assert_allclose(bound, 0.5 * (max(4 * whole - 3, -1) + 1), rtol=1e-5)


@pytest.mark.parametrize("lag", [0, 2])
def test_the_proxy_of_an_unknown_horizon(lag):
    preset = "reference" if lag else "paper"
    confidence = jb.confidence(preset, delta=0.1, anytime=True)
    horizons = [*range(1, 70), 1023, 1024, 1025, 1026, 1027, 999_999]
    ours = [last_proxy(make_setting([1.0, 2.0], t, confidence)) for t in horizons]
    theirs = [
        oracle.last_proxy(Known(np.ones(2), t, delta=0.1, anytime=True), lag) for t in horizons
    ]
    np.testing.assert_array_equal(ours, theirs)


# Errors.


BAD = {
    "horizon below one": (lambda: B.ucb_regret([1, 2], [0, 1], 0), r"horizon must be at least 1"),
    "no samples": (lambda: B.lcb_logging_regret([0, 0], 5), r"count must not be all zero.*logging"),
    "no samples for OtO": (lambda: B.oto_regret([0, 0], [0, 1], 5, 1.0), r"count.*all zero"),
    "negative count": (lambda: B.ucb_minimax_regret([1, -2], 5), r"count must not be negative"),
    "count of many instances": (
        lambda: B.lcb_minimax_regret(np.ones((3, 2)), 5),
        r"count must have shape \[arms\]",
    ),
    "no arms": (lambda: B.lcb_minimax_regret([], 5), r"count must have at least one arm"),
    "another number of means": (
        lambda: B.ucb_regret([1, 2], [0.5], 5),
        r"mean must have shape \[arms\] = \(2,\), was \(1,\)",
    ),
    "mean outside the range": (
        lambda: B.ucb_regret([1, 2], [0.5, 2.0], 5),
        r"mean must lie in the range.*2\..*ceiling=",
    ),
    "alpha negative": (
        lambda: B.oto_logging_regret([1, 2], 5, -1.0),
        r"alpha must not be negative",
    ),
    "delta": (
        lambda: B.ucb_minimax_regret([1, 2], 5, jb.confidence(delta=1.5)),
        r"delta must lie strictly between 0 and 1, was 1\.5",
    ),
    "OtO of the reference": (
        lambda: B.oto_regret([1, 2], [0, 1], 5, 1.0, jb.confidence("reference")),
        r'preset "paper".*only oto_logging_regret',
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_messages(case):
    assert_refused(*BAD[case])
