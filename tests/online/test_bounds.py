"""Upper bounds on regret: against brute force, against every run, and where naive ones fail."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.online.allocation import largest_excess
from jaxbandit.online.setting import last_proxy, make_setting
from tests.online import bounds_oracle as oracle
from tests.online import bounds_play, cases
from tests.online.bounds_oracle import Known

B = jb.bounds


def package(known):
    return jb.confidence(
        sigma=known.sigma, delta=known.delta, anytime=known.anytime, ceiling=known.limit
    )


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


def close_and_above(actual, expected, rtol):
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
        close_and_above(
            B.ucb_regret(count, mean, horizon, confidence), oracle.ucb(known, mean), tight
        )
        close_and_above(
            B.oto_regret(count, mean, horizon, alpha, confidence),
            oracle.oto(known, mean, alpha),
            tight,
        )


def test_counts_and_horizon_bounds_are_the_formulas(tight):
    for known, _ in SMALL:
        arguments = known.count, known.horizon, package(known)
        close_and_above(B.lcb_minimax_regret(*arguments), oracle.lcb(known), tight)
        close_and_above(B.lcb_logging_regret(*arguments), oracle.lcb_logging(known), tight)
        close_and_above(
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
            close_and_above(bound, oracle.oto_minimax(known, alpha), max(tight, 1e-8))
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


# Against runs: on every run in which the confidence event holds, every bound holds.


@partial(jax.jit, static_argnums=0, compiler_options=cases.QUICK)
def bounds_of(anytime, count, mean, horizon, alpha, delta):
    """Every bound of every run."""

    def one(count, mean, horizon, alpha, delta):
        confidence = jb.confidence(delta=delta, anytime=anytime)
        return {
            "ucb": {
                "regret": B.ucb_regret(count, mean, horizon, confidence),
                "minimax": B.ucb_minimax_regret(count, horizon, confidence),
                "logging": B.ucb_logging_regret(count, horizon, confidence),
            },
            "lcb": {
                "minimax": B.lcb_minimax_regret(count, horizon, confidence),
                "logging": B.lcb_logging_regret(count, horizon, confidence),
            },
            "oto": {
                "regret": B.oto_regret(count, mean, horizon, alpha, confidence),
                "minimax": B.oto_minimax_regret(count, horizon, alpha, confidence),
                "logging": B.oto_logging_regret(count, horizon, alpha, confidence),
            },
        }

    return jax.vmap(one)(count, mean, horizon, alpha, delta)


def evaluate(runs, anytime):
    fields = (runs.count, runs.mean, runs.horizon, runs.alpha, runs.delta)
    out = bounds_of(anytime, *(jnp.asarray(x, float) for x in fields))
    return jax.tree.map(lambda x: np.asarray(x, float), out)


def check_runs(seed, runs, arms, anytime, longest):
    """Every bound on every run; returns how many runs had the event, of how many."""
    rng = np.random.default_rng([seed, arms, anytime])
    instances = bounds_play.draw(rng, runs, arms, longest)
    bounds = evaluate(instances, anytime)
    held, closest = 0, {}
    for policy, of_policy in bounds.items():
        outcome = bounds_play.play(rng, instances, policy, anytime)
        event = outcome.event
        assert event[~np.isnan(instances.edge).any(axis=1)].all()
        for name, bound in of_policy.items():
            regret = outcome.logging_regret if name == "logging" else outcome.regret
            above = regret[event] - bound[event]
            assert (above <= 1e-9 * instances.horizon[event]).all(), (policy, name, above.max())
            closest[policy, name] = np.max(regret[event] / np.maximum(bound[event], 1e-9))
        held += event.sum()
    return held, closest


@pytest.mark.parametrize("anytime", [False, True], ids=["known", "unknown"])
@pytest.mark.parametrize("arms", [2, 6, 50])
def test_every_bound_holds_on_every_run_of_the_event(arms, anytime):
    held, closest = check_runs(0, 300, arms, anytime, longest=400)
    assert held > 850
    # Not for being loose: some runs come near.
    assert closest["ucb", "regret"] > 0.7
    assert closest["lcb", "minimax"] > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("anytime", [False, True], ids=["known", "unknown"])
@pytest.mark.parametrize("arms", [2, 3, 4, 8, 20, 50])
def test_every_bound_holds_on_a_hundred_thousand_runs(arms, anytime):
    held = 0
    for seed in range(1, 4):
        held += check_runs(seed, 1000, arms, anytime, longest=20_000)[0]
    assert held > 8400


@pytest.mark.parametrize("anytime", [False, True], ids=["known", "unknown"])
def test_the_event_is_as_probable_as_said(anytime):
    rng = np.random.default_rng(7)
    runs = bounds_play.draw(rng, 4000, 5, longest=50)
    runs = runs._replace(edge=np.full_like(runs.edge, np.nan))
    outcome = bounds_play.play(rng, runs, "ucb", anytime)
    said = np.asarray(
        jax.vmap(lambda t, d: B.event_probability(t, jb.confidence(delta=d, anytime=anytime)))(
            runs.horizon, runs.delta
        )
    )
    assert 0 <= said.min() < 0.2
    assert outcome.event.mean() >= said.mean()


# Where the naive versions fail.


def test_with_one_sample_more_water_filling_is_no_bound():
    # One round, two arms of four samples, both at the edge of their intervals: the worse is played.
    known = Known(np.array([4.0, 4.0]), 1, delta=0.125, limit=10.0)
    runs = edge_runs(known, gap=2 * known.c() / 2 * (1 - 1e-6))
    regret = bounds_play.play(np.random.default_rng(0), runs, "ucb", False).regret[0]
    assert regret > oracle.ucb_minimax(known, shift=0)  # n + m in place of n + m - 1
    bound = B.ucb_minimax_regret(known.count, 1, package(known))
    assert regret <= bound <= regret * (1 + 1e-4)


def edge_runs(known, gap):
    """One run of which the second arm is better by `gap`, and both ride the event's edge."""
    return bounds_play.Runs(
        mean=np.array([[0.0, gap]]),
        count=known.count[None],
        horizon=np.array([known.horizon]),
        alpha=np.array([1.0]),
        delta=np.array([known.delta]),
        edge=np.array([[1.0, -1.0]]),
    )


def test_with_the_first_rounds_delta_an_unknown_horizon_breaks_the_bounds_of_ucb():
    # Radii grow with the round, and the worse arm rides the edge of its interval all the way.
    rng = np.random.default_rng(3)
    gap = np.round(rng.uniform(0.1, 1, 200) * 1024) / 1024
    runs = bounds_play.Runs(
        mean=np.stack([0 * gap, gap], axis=1),
        count=np.stack([rng.integers(0, 5, 200), rng.integers(1, 6, 200)], axis=1),
        horizon=rng.integers(50, 500, 200),
        alpha=np.ones(200),
        delta=2.0 ** -rng.integers(2, 10, 200),
        edge=np.tile([1.0, -1.0], (200, 1)),
    )
    outcome = bounds_play.play(rng, runs, "ucb", anytime=True)
    assert outcome.event.all()
    naive, ours = (evaluate(runs, anytime)["ucb"]["regret"] for anytime in (False, True))
    assert (outcome.regret > naive * (1 + 1e-6)).mean() > 0.1
    assert (outcome.regret <= ours).all()


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
    assert best[0] == 1e6  # nothing is known at alpha = 0
    assert best[-1] < best[1] < 1e6
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
        exact = (gap * np.clip(np.where(gap > 0, limit, 0), 0, horizon)).sum()
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
        r"mean must have shape \[arms\] = \(2\), was \(1,\)",
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
    call, message = BAD[case]
    with pytest.raises(jb.InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
