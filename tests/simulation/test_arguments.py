"""Arguments of the wrong kind or size, and of other kinds that are taken all the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from tests.messages import assert_refused
from tests.simulation.test_messages import ARMS, KEY, rollout, simulation

POSTERIOR = jb.thompson_bernoulli()

BAD = {
    "horizon beyond 32 bits": (
        simulation(horizon=2**31),
        r"horizon must be at most 2147483646, was 2147483648",
    ),
    "horizons beyond 32 bits": (simulation(horizon=[3, 2**31]), r"horizon must be at most"),
    "horizon beyond 32 bits, one run": (rollout(horizon=2**40), r"horizon must be at most"),
    "runs beyond 32 bits": (simulation(runs=2**40), r"runs must be at most 2147483646, was 10995"),
    "offline_count not whole": (
        simulation(offline=None, offline_count=[1.5, 2.9, 0]),
        r"offline_count must be a whole number of at least 0, was \[1\.5, 2\.9, 0\]",
    ),
    "offline_count of words": (
        simulation(offline=None, offline_count=["a", "b", "c"]),
        r"offline_count must be a number, or an array of numbers, was \['a', 'b', 'c'\]",
    ),
    "offline a tuple": (
        simulation(offline=([4, 0, 9], [1, 0, 5])),
        r"offline must be jaxbandit\.OfflineArms\(count, total\), was tuple",
    ),
    "offline a dictionary": (rollout({"count": [4, 0, 9]}), r"offline must be .*, was dict"),
    "policies in a list": (
        lambda: jb.simulate(KEY, [jb.ucb()], ARMS, horizon=2, runs=2),
        r'policies must be a dictionary, \{"its name": policy\}, was list',
    ),
    "one policy for policies": (
        lambda: jb.simulate(KEY, jb.ucb(), ARMS, horizon=2, runs=2),
        r"policies must be a dictionary.*was Policy",
    ),
    "progress true": (
        simulation(progress=True),
        r"progress must be a function of \(done, runs\), was True",
    ),
    "grid of policies, one run": (
        rollout(policy=jb.grid([jb.ucb()])),
        r"policy must be one Policy, was Grid; grids.* are for jaxbandit\.simulate",
    ),
    "grid of environments, one run": (
        lambda: jb.rollout(KEY, jb.ucb(), jb.grid([ARMS]), horizon=2),
        r"environment must be one Environment, was Grid; grids.* are for jaxbandit\.simulate",
    ),
    "delta for a confidence": (
        lambda: jb.ucb(0.05),
        r"confidence must be made by jaxbandit\.confidence, as in .*, was float",
    ),
    "preset for a confidence": (lambda: jb.lcb("reference"), r"confidence must be .*, was str"),
    "confidence of a bound": (
        lambda: jb.bounds.ucb_minimax_regret([1, 2], 9, 0.05),
        r"confidence must be made by jaxbandit\.confidence, as in .*, was float",
    ),
    "confidence for alpha": (
        lambda: jb.oto(jb.confidence()),
        r"alpha must be a number, or an array of numbers, was Confidence\(",
    ),
    "means of words": (
        lambda: jb.bernoulli_arms(["a", "b"]),
        r"mean must be a number, or an array of numbers, was \['a', 'b'\]",
    ),
    "many counts": (
        simulation(offline=None, offline_count=np.full((9, 3), -1.5)),
        r"offline_count must be a whole number .*, was \[\[-1\.5 -1\.5 -1\.5\] \[-1\.5.*\.\.\.$",
    ),
    "means in unequal rows": (
        lambda: jb.bernoulli_arms([[1], [1, 0]]),
        r"mean must be a number, or an array of numbers, was \[\[1\], \[1, 0\]\]",
    ),
    "delta a word": (lambda: jb.confidence(delta="x"), r"delta must be a number.*, was 'x'"),
    "std of other arms": (
        lambda: jb.gaussian_arms([0.5, 0.6], [1, 1, 1]),
        r"std must have shape \[arms\] = \(2,\), was \(3,\)",
    ),
    "sigma that is not used": (
        lambda: jb.confidence("reference", sigma=1.0),
        r'sigma has no part in the radius of preset "reference", was 1\.0; leave it out',
    ),
}

BEYOND_FLOAT32 = {
    "horizon": (
        simulation(horizon=2**24, offline=jb.OfflineArms([0, 1, 0], [0, 1, 0])),
        r"horizon plus an arm's offline samples must be at most 16777216, to which float32 "
        r"counts one by one, was 16777217; set JAX_ENABLE_X64=1, or give fewer",
    ),
    "one run": (rollout(jb.OfflineArms([0, 0, 2**24], [0, 0, 5])), r"horizon plus.*16777219"),
    "drawn anew": (
        simulation(offline=None, offline_count=[2**24, 0, 0]),
        r"horizon plus.*was 16777220",
    ),
    "of cells": (
        simulation(offline=jb.OfflineArms(*np.zeros((2, 2, 3))), horizon=[5, 2**24 + 1]),
        r"horizon plus.*was 16777217",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_message(case):
    assert_refused(*BAD[case])


@pytest.mark.float32
@pytest.mark.parametrize("case", BEYOND_FLOAT32)
def test_counts_that_float32_does_not_hold(case):
    assert_refused(*BEYOND_FLOAT32[case])


@pytest.mark.float64
def test_counts_that_only_float64_holds():
    run = rollout(jb.OfflineArms([2**24, 0, 0], [0, 0, 0]), policy=jb.fixed_arm(0))()
    assert run.arm.shape == (3,)
    state = rollout(jb.OfflineArms([2**24, 2**24, 2**24], [0, 0, 0]))().state
    assert state.count.sum() == 3 * 2**24 + 3


def test_whole_numbers_of_any_type_are_taken():
    as_int, as_float = (
        simulation(policy, offline=None, offline_count=count)()["mine"]
        for policy, count in (
            (jb.explore_then_commit(1), [4, 0, 9]),
            (jb.explore_then_commit(1.0), np.array([4.0, 0.0, 9.0])),
        )
    )
    np.testing.assert_array_equal(as_int.final_reward, as_float.final_reward)


def test_known_values_are_checked_inside_jit():
    known = jnp.array([4.0, 2.0, 9.0]), jnp.array([1.0, 0.0, 5.0])
    play = jax.jit(lambda key: rollout(jb.OfflineArms(*known), policy=POSTERIOR, key=key)().arm)
    assert play(KEY).shape == (3,)
    normal, offline = jb.gaussian_arms([0.0, 1.0, 2.0], 1.0), jb.OfflineArms(known[0], -known[1])
    play = jax.jit(lambda key: jb.rollout(key, POSTERIOR, normal, offline, horizon=3).arm)
    with pytest.raises(jb.InputError, match="is for rewards in"):
        play(KEY)
    mean, count = jnp.array([0.25, 0.5, 0.75]), known[0]
    assert jax.jit(lambda: jb.bounds.ucb_regret(count, mean, 9))() > 0


def test_runs_that_are_left_out_are_said_and_whose_they_are():
    """Normal rewards that are said to lie in [0, 1] leave it, and then a beta posterior."""
    policies = {"beta": jb.thompson_bernoulli(), "normal": jb.thompson_gaussian()}
    arms = jb.gaussian_arms([0.5, 0.6], 0.5)._replace(low=0.0, high=1.0)
    said = r"of 64 runs are left out, for all that was simulated: they .* in 'beta'; look at"
    with pytest.warns(UserWarning, match=said) as caught:
        out = jb.simulate(KEY, policies, arms, horizon=15, runs=64)
    bad = len(out.non_finite)
    assert 0 < bad < 64
    assert [str(one.message).split()[0] for one in caught] == [str(bad)]
    assert caught[0].filename == __file__
    assert out["normal"].regret.mean.shape == (15,)
    assert np.all(np.isfinite(out["normal"].final_reward))
