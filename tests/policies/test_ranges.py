"""Policies and environments that contradict each other are refused before the first round."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.checks import InputError

KEY = jax.random.key(12)
COSTS = -(np.random.default_rng(0).random((500, 3)) < [0.9, 0.5, 0.1]).astype(float)
RANGED = {
    "lcb": lambda bounds=None: jb.lcb(bounds),
    "oto": lambda bounds=None: jb.oto(0.01, bounds),
    "conservative_ucb": lambda bounds=None: jb.conservative_ucb(0.2, bounds),
}


def draw_costs(key):
    return jb.gaussian_arms(-0.1 - 0.8 * jax.random.uniform(key, (3,)), 0.1)


def draw_some_below(key):
    # Every fifth run has all means below zero.
    return jb.gaussian_arms(0.4 + 0.6 * jax.random.normal(key) + jnp.array([-0.1, 0.0, 0.1]), 0.1)


BELOW = {
    "a table of costs": jb.reward_table(COSTS),
    "normal": jb.gaussian_arms([0.5, -0.25, 0.25], 0.1),
    "drawn in each run": draw_costs,
    "a grid": jb.grid(
        [jb.gaussian_arms(mean, 0.1) for mean in ([0.2, 0.3, 0.4], [0.2, 0.3, -0.4])]
    ),
    "one's own": jb.Environment(COSTS.mean(0), COSTS.mean(0), lambda p, arm, word: jb.take(p, arm)),
}


@pytest.mark.parametrize("name", RANGED)
@pytest.mark.parametrize("kind", BELOW)
def test_means_below_the_floor_are_refused(kind, name):
    """All lower bounds would be the floor: LCB would play the first arm, OtO be UCB."""
    with pytest.raises(
        InputError, match=rf"'mine': {name} takes means.*\[0, 1\].*floor=\.\.\., ceil"
    ):
        jb.simulate(
            KEY, {"mine": RANGED[name]()}, BELOW[kind], horizon=9, runs=3, offline_count=[9, 9, 9]
        )


@pytest.mark.parametrize("name", RANGED)
def test_means_above_the_ceiling_are_refused(name):
    with pytest.raises(
        InputError, match=rf"{name} takes means.* of arm 2 of the environment is 1\.5"
    ):
        jb.rollout(
            KEY,
            RANGED[name](),
            jb.gaussian_arms([0.2, 0.3, 1.5], 1.0),
            jb.OfflineArms([1, 1, 1], [0.2, 0.3, 1.0]),
            horizon=5,
        )


@pytest.mark.parametrize("name", RANGED)
def test_offline_means_far_outside_are_refused_where_nothing_else_is_known(name):
    policy = RANGED[name]()

    def play(total, mean):
        offline = jb.OfflineArms([50.0, 50, 50], total)
        environment = jb.gaussian_arms(mean, 0.1)
        return jb.rollout(KEY, policy, environment, offline, horizon=5).arm

    mean = jnp.array([0.2, 0.3, 0.4])
    played = jax.jit(lambda mean: play([-2.0, 12, 20], mean))
    assert played(mean).shape == (5,)  # The noise of 50 samples can do that.
    with pytest.raises(InputError, match=r"of arm 1 of the offline data is -0\.5; give"):
        jax.jit(lambda mean: play([20.0, -25, 20], mean))(mean)


def test_costs_are_played_as_rewards_with_the_range_of_their_means():
    """The game moved by one, and the same regret."""
    out = {}
    for shift in (0.0, -1.0):
        bounds = jb.confidence(floor=shift, ceiling=1 + shift)
        out[shift] = jb.simulate(
            KEY,
            {name: make(bounds) for name, make in RANGED.items()},
            jb.reward_table(COSTS + 1 + shift),
            horizon=300,
            runs=128,
            offline_count=[50, 50, 0],
        )
    for name in RANGED:
        np.testing.assert_array_equal(out[0.0][name].pulls.mean, out[-1.0][name].pulls.mean)
        moved = out[0.0][name].reward.mean[-1] - out[-1.0][name].reward.mean[-1]
        np.testing.assert_allclose(moved, 300, rtol=1e-5)


def test_what_does_not_contradict_is_played():
    """Means drawn about the range, samples beyond it, policies that have no range."""
    many = {name: make() for name, make in RANGED.items()}
    options = {"horizon": 9, "runs": 3}
    games = [jb.simulate(KEY, many, draw_some_below, offline_count=[9, 9, 9], **options)]
    data = jb.OfflineArms([2, 2, 2], [-0.1, 1.0, 2.2])
    normal = jb.gaussian_arms([0.1, 0.5, 0.9], 1.0)
    games.append(jb.simulate(KEY, many, normal, offline=data, **options))
    unranged = {"ucb": jb.ucb(), "moss": jb.moss(), "greedy": jb.epsilon_greedy()}
    games.append(jb.simulate(KEY, unranged, BELOW["normal"], offline_count=[1, 1, 1], **options))
    assert all(len(out.non_finite) == 0 for out in games)


UNBOUNDED = {
    "normal": jb.gaussian_arms([0.5, 0.4], 0.1),
    "drawn in each run": lambda key: jb.gaussian_arms(jax.random.uniform(key, (2,)), 0.1),
    "a table": jb.reward_table([[0.0, 1.5], [1.0, 0.0]]),
    "one's own": jb.Environment((), np.array([0.5, 0.4]), lambda params, arm, word: 0.5),
}


@pytest.mark.parametrize("kind", UNBOUNDED)
def test_rewards_beyond_0_and_1_are_refused_for_bernoulli_thompson(kind):
    """Runs would be left out by their rewards, for the other policies too."""
    policies = {"ts": jb.thompson_bernoulli(), "ucb": jb.ucb()}
    with pytest.raises(InputError, match=r"'ts': thompson_bernoulli is for rewards in \[0, 1\]"):
        jb.simulate(KEY, policies, UNBOUNDED[kind], horizon=5, runs=4)


def test_rewards_within_0_and_1_are_taken():
    own = jb.Environment((), np.array([0.5, 0.4]), lambda params, arm, word: jnp.float32(0.5))
    for environment in (jb.reward_table([[0.2, 1.0]]), own._replace(low=0.0, high=1.0)):
        out = jb.simulate(KEY, {"ts": jb.thompson_bernoulli()}, environment, horizon=5, runs=4)
        assert len(out.non_finite) == 0


def test_a_prior_that_rules_out_all_means_is_refused():
    policy = jb.thompson_gaussian(0.1, prior_mean=10.0, prior_std=0.25)
    with pytest.raises(InputError, match=r"prior_mean and prior_std must allow for the means"):
        jb.simulate(KEY, {"ts": policy}, jb.gaussian_arms([99.0, 16.0], 1.0), horizon=5, runs=4)
    jb.simulate(KEY, {"ts": policy}, jb.gaussian_arms([99.0, 14.0], 1.0), horizon=5, runs=4)
