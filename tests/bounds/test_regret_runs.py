"""Upper bounds on regret on every run of the confidence event, and where naive ones fail."""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from tests.bounds import regret_oracle as oracle
from tests.bounds import regret_play
from tests.bounds.regret_cases import package
from tests.bounds.regret_oracle import Known
from tests.simulation import cases
from tests.simulation import oracle as loops

B = jb.bounds


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


def assert_runs(seed, runs, arms, anytime, longest):
    """Every bound on every run; returns how many runs had the event, of how many."""
    rng = np.random.default_rng([seed, arms, anytime])
    instances = regret_play.draw(rng, runs, arms, longest)
    bounds = evaluate(instances, anytime)
    held, closest = 0, {}
    for policy, of_policy in bounds.items():
        outcome = regret_play.play(rng, instances, policy, anytime)
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
    held, closest = assert_runs(0, 300, arms, anytime, longest=400)
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
        held += assert_runs(seed, 1000, arms, anytime, longest=20_000)[0]
    assert held > 8400


@pytest.mark.parametrize("anytime", [False, True], ids=["known", "unknown"])
def test_the_event_is_as_probable_as_said(anytime):
    rng = np.random.default_rng(7)
    runs = regret_play.draw(rng, 4000, 5, longest=50)
    runs = runs._replace(edge=np.full_like(runs.edge, np.nan))
    outcome = regret_play.play(rng, runs, "ucb", anytime)
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
    regret = regret_play.play(np.random.default_rng(0), runs, "ucb", False).regret[0]
    assert regret > oracle.ucb_minimax(known, shift=0)  # n + m in place of n + m - 1
    bound = B.ucb_minimax_regret(known.count, 1, package(known))
    assert regret <= bound <= regret * (1 + 1e-4)


def edge_runs(known, gap):
    """One run of which the second arm is better by `gap`, and both ride the event's edge."""
    return regret_play.Runs(
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
    runs = regret_play.Runs(
        mean=np.stack([0 * gap, gap], axis=1),
        count=np.stack([rng.integers(0, 5, 200), rng.integers(1, 6, 200)], axis=1),
        horizon=rng.integers(50, 500, 200),
        alpha=np.ones(200),
        delta=2.0 ** -rng.integers(2, 10, 200),
        edge=np.tile([1.0, -1.0], (200, 1)),
    )
    outcome = regret_play.play(rng, runs, "ucb", anytime=True)
    assert outcome.event.all()
    naive, ours = (evaluate(runs, anytime)["ucb"]["regret"] for anytime in (False, True))
    assert (outcome.regret > naive * (1 + 1e-6)).mean() > 0.1
    assert (outcome.regret <= ours).all()


@pytest.mark.parametrize("anytime", [False, True], ids=["known", "unknown"])
def test_the_reference_implementation_keeps_to_its_bound_against_logging(anytime):
    # Its own budget and radii; rewards without noise, so that the event surely holds.
    rng = np.random.default_rng(8)
    count = np.array([30, 4, 0, 200, 1])
    constants = loops.Constants("reference", 0.125, anytime)
    confidence = jb.confidence("reference", delta=0.125, anytime=anytime)
    for alpha in (0.05, 0.5, 5.0):
        mean = rng.uniform(0, 1, 5)
        horizon = int(rng.integers(30, 200))
        played = loops.play(
            lambda t, arm, mean=mean: mean[arm],
            count,
            (count * mean)[None],
            horizon,
            "oto",
            constants,
            alpha=alpha,
        )
        regret = horizon * (count @ mean / count.sum()) - mean[played.arm[0]].sum()
        bound = B.oto_logging_regret(count, horizon, alpha, confidence)
        assert regret <= bound
        radius = constants.squared_radius(5, 0.125, 1.0) ** 0.5
        mean_radius = radius * np.sqrt(count).sum() / count.sum()
        proxy = oracle.last_proxy(Known(count, horizon, delta=0.125, anytime=anytime), lag=2)
        b = constants.budget_per_round(0.125, count)
        expected = min(2 * mean_radius * horizon + alpha * b * proxy, horizon)
        np.testing.assert_allclose(bound, expected, rtol=1e-5)


def test_a_grid_of_bounds_takes_a_moment():
    # 100 instances, 20 horizons, 10 alphas; a tenth of a second on one core.
    rng = np.random.default_rng(0)
    count, mean = rng.integers(0, 300, (100, 20)), rng.uniform(0, 1, (100, 20))
    grid = (np.logspace(0, 6, 20).round(), np.logspace(-2, 0.7, 10), np.array(0.001))

    def one(count, mean, horizon, alpha, delta):
        return bounds_of.__wrapped__(
            False, *(x[None] for x in (count, mean, horizon, alpha, delta))
        )

    over_alpha = jax.vmap(one, (None, None, None, 0, None))
    over_horizon = jax.vmap(over_alpha, (None, None, 0, None, None))
    program = jax.jit(jax.vmap(over_horizon, (0, 0, None, None, None)))
    arguments = [jnp.asarray(x, float) for x in (count, mean, *grid)]
    jax.block_until_ready(program(*arguments))
    start = time.perf_counter()
    out = jax.block_until_ready(program(*arguments))
    assert time.perf_counter() - start < 2
    assert out["oto"]["regret"].shape == (100, 20, 10, 1)
    assert all(np.isfinite(bound).all() for bound in jax.tree.leaves(out))
