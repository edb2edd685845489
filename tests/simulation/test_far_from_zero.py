"""Rewards moved by a constant: nothing else changes, or the move is refused."""

import jax
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.checks import InputError
from jaxbandit.environments import base
from jaxbandit.precision.reference import reference

KEY = jax.random.key(11)
SHIFTS = [1e2, 1e4, 1e6]
# Multiples of a sixteenth: what is moved is then the same game in float32, too.
MEAN = np.array([1.25, 0.25, 0.5, 0.25])
TABLE = np.random.default_rng(3).integers(-32, 48, (997, 4)) / 16


def policies(shift):
    bounds = {"floor": shift - 4.0, "ceiling": shift + 4.0}
    fixed = jb.confidence(sigma=1, **bounds)
    moving = jb.confidence(sigma=1, delta=0.05, anytime=True, **bounds)
    return {
        "ucb": jb.ucb(fixed),
        "ucb, horizon unknown": jb.ucb(moving),
        "lcb": jb.lcb(fixed),
        "oto": jb.oto(0.05, fixed),
        "oto, unified": jb.oto(0.05, fixed, budget="unified"),
        "oto, unified-moving": jb.oto(0.05, fixed, budget="unified-moving"),
        "oto, horizon unknown": jb.oto(0.05, moving),
        "conservative": jb.conservative_ucb(0.01, fixed),
        "min_ucb": jb.min_ucb(0.125, fixed),
        "moss": jb.moss(1.0),
        "epsilon_greedy": jb.epsilon_greedy(0.1),
        "explore_then_commit": jb.explore_then_commit(8),
        "thompson_gaussian": jb.thompson_gaussian(1.0, prior_mean=shift, prior_std=2.0),
    }


def moved(kind, shift):
    if kind == "gaussian":
        return jb.gaussian_arms(MEAN + shift, 1.0)
    if kind == "table":
        return jb.reward_table(TABLE + shift)
    return jb.Environment(MEAN + shift, MEAN + shift + 7.5 / 16, own_reward)


def own_reward(params, arm, word):
    """Of a user's own environment, of which no bounds are known."""
    return jb.take(params, arm) + (word >> 28).astype(params.dtype) / 16


def play(kind, offline, shifts, policies_of=policies, horizon=1500, runs=256):
    """The game moved by each shift, as cells of one grid."""
    count = np.array([30, 20, 0, 10])
    given = {"offline_count": count}
    if offline == "given":
        excess = np.array([40.0, 3.5, 0.0, 4.25])
        totals = np.array([excess + shift * count for shift in shifts])
        given = {"offline": jb.OfflineArms(np.tile(count, (len(shifts), 1)), totals)}
    by_shift = [policies_of(shift) for shift in shifts]
    return jb.simulate(
        KEY,
        {name: jb.grid([each[name] for each in by_shift]) for name in by_shift[0]},
        jb.grid([moved(kind, shift) for shift in shifts]),
        horizon=horizon,
        runs=runs,
        checkpoints=[10, 500, horizon],
        **given,
    )


def assert_paired(moved, unmoved, rounding, name):
    """Runs of one game and of another, on the same noise, have one expectation."""
    apart = moved - unmoved
    error = 4 * apart.std(ddof=1) / np.sqrt(len(apart)) + rounding
    assert abs(apart.mean()) <= error, (name, apart.mean(), error)


@pytest.mark.parametrize(
    ("kind", "offline"),
    [
        ("gaussian", "drawn"),
        ("table", "given"),
        pytest.param("own", "drawn", marks=pytest.mark.slow),  # Many programs to compile.
    ],
)
def test_a_shift_changes_nothing(kind, offline):
    """Where sums round otherwise, near ties fall otherwise: the same game up to that, run by run.

    Summing raw rewards brings 10 times the regret at a shift of 1e4, and more beyond.
    """
    out = play(kind, offline, [0.0, *SHIFTS])
    for name in out:
        regret, reward = out[name].final_regret, out[name].final_reward
        for cell, shift in enumerate(SHIFTS, start=1):
            assert_paired(regret[cell], regret[0], 1e-3, name)
            gained = reward[cell] - shift * 1500
            assert_paired(gained, reward[0], 0.05 if kind == "gaussian" else 1e-2, name)
            if shift == 1e2:
                assert np.mean(np.abs(regret[cell] - regret[0]) < 1e-3) > 0.7, name
            spread = out[name].reward.std[cell]
            np.testing.assert_allclose(spread, out[name].reward.std[0], rtol=0.1, err_msg=name)


@pytest.mark.parametrize("count", [0, 1, 10**6])
def test_offline_totals_keep_their_digits(count):
    """The mean of a million samples is off by its own error, not by that of a sum of 1e10."""
    arms = jb.gaussian_arms([10001.3, 10000.3], 1.0)
    data = jax.random.key_data(KEY)
    totals = jax.jit(lambda n: base.offline_totals(arms, data, n))(np.full(2, float(count)))
    mean = np.asarray(totals, float) / max(count, 1)
    expected = [10001.3, 10000.3] if count else [0, 0]
    np.testing.assert_allclose(mean, expected, atol=5 / max(count, 1) ** 0.5 + 2e-3 * (count > 0))


@pytest.mark.parametrize("shift", [0.0, *SHIFTS])
def test_regret_comes_of_exact_gaps(shift):
    """Of means in float64, of which float32 would leave a sixteenth at 1e6."""
    mean = np.array([0.53, 0.5, 0.1]) + shift
    out = jb.simulate(
        KEY,
        {"a": jb.fixed_arm(1), "b": jb.fixed_arm(2)},
        jb.gaussian_arms(mean, 1.0),
        horizon=1000,
        runs=2,
        offline_count=[1, 1, 2],
    )
    np.testing.assert_allclose(out["a"].regret.mean[-1], 30, rtol=1e-6)
    np.testing.assert_allclose(out["b"].regret.mean[-1], 430, rtol=1e-6)
    logged = 430 - 1000 * (0.03 + 2 * 0.43) / 4
    np.testing.assert_allclose(out["b"].logging_regret.mean[-1], logged, rtol=1e-5)


@pytest.mark.parametrize(
    "mean",
    [
        [0.5, 0.4],
        [0.0, 0.0],
        [1.0, -1.0],
        [1e4 + 0.3, 1e4],
        [-1e4, -1e4 + 0.7],
        [1e6, 1e6],
        [3e-7, 2e-7],
    ],
)
@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (None, None)])
def test_a_reference_is_near_and_float32_has_it(mean, bounds):
    mean = np.array(mean)
    low, high = (mean.min() - 0.5, mean.max() + 0.5) if bounds[0] is None else bounds
    near = reference(mean, low, high)
    assert near == np.float32(near)
    assert near == 0 or abs(mean.min() - near) < max(2.0 * (high - low), np.ptp(mean)) * 2 + 1
    assert abs(mean.min() - near) <= abs(mean.min())
    # In float64 nothing is lost by subtracting it.
    np.testing.assert_array_equal((mean - near) + near, mean)


@pytest.mark.float32
@pytest.mark.parametrize(
    "make",
    [
        lambda: jb.gaussian_arms([1e6 + 0.1, 1e6 + 0.2], 0.0),
        lambda: jb.gaussian_arms([1e6 + 0.1, 1e6 + 0.2], [1.0, 0.01]),
        lambda: jb.gaussian_arms([3e7, 3e7 + 1], 0.5),
        lambda: jb.reward_table(1e6 + np.array([[0.1, 0.2], [0.3, 0.1]])),
    ],
)
def test_rewards_that_float32_cannot_tell_apart_are_refused(make):
    with pytest.raises(InputError, match=r"(mean|table) must not lie so far from zero.*subtract"):
        make()


def test_rewards_far_from_zero_that_float32_has_are_taken():
    assert jb.reward_table(1e6 + np.array([[0, 1], [1, 0]])).low == 1e6
    assert jb.gaussian_arms([1e6 + 0.1, 1e6 + 0.2], 1.0).mean[0] == 1e6 + 0.1


def draw_far(key):
    return jb.gaussian_arms(1e4 + jax.random.normal(key, (3,)), 1.0)


def draw_near(key):
    return jb.gaussian_arms(jax.random.normal(key, (3,)), 1.0)


@pytest.mark.parametrize(
    "offline", [pytest.param("none", marks=pytest.mark.slow), "drawn", "given"]
)
def test_a_shift_of_drawn_environments_changes_nothing(offline):
    """Their means are float32, and round: by 5e-4 at 1e4."""
    finals = []
    for draw, shift in ((draw_near, 0.0), (draw_far, 1e4)):
        count = np.array([20, 10, 5])
        given = {
            "none": {},
            "drawn": {"offline_count": count},
            "given": {"offline": jb.OfflineArms(count, count * (shift + np.array([0.5, 0.2, 0])))},
        }[offline]
        out = jb.simulate(
            KEY,
            {"ucb": jb.ucb(jb.confidence(sigma=1, delta=1e-3)), "greedy": jb.epsilon_greedy(0)},
            draw,
            horizon=1000,
            runs=256,
            **given,
        )
        finals.append(
            {name: (out[name].final_regret, out[name].final_reward - 1000 * shift) for name in out}
        )
    for name, (regret, reward) in finals[1].items():
        assert_paired(regret, finals[0][name][0], 1.0, name)
        assert_paired(reward, finals[0][name][1], 2.0, name)


@pytest.mark.parametrize(
    "probability", [0.0, 1e-8, 3e-8, 1e-7, 1e-5, 1 / 3, 0.9, 1 - 1e-7, 1 - 1e-8, 1.0]
)
def test_bernoulli_rewards_are_as_rare_as_they_should_be(probability):
    """Words below the first without a reward: their share is the probability, to half a word."""
    arms = jb.bernoulli_arms([probability, 0.5])
    first = round(probability * 2**32)
    around = [w for w in range(first - 3, first + 3) if 0 <= w < 2**32] + [0, 2**31, 2**32 - 1]
    words = np.array(around, np.uint32)
    reward = jax.vmap(arms.reward, in_axes=(None, None, 0))(arms.params, jax.numpy.int32(0), words)
    np.testing.assert_array_equal(reward, words < first)
    assert arms.mean[0] == probability


@pytest.mark.parametrize("probability", [1e-9, 1e-11, 1e-300, 1 - 1e-9, 1 - 1e-16])
def test_rewards_too_rare_for_a_word_are_refused(probability):
    with pytest.raises(InputError, match="mean of arm 1 must be 0, 1, or at least some 1e-8 from"):
        jb.bernoulli_arms([0.5, probability])


def test_traced_probabilities_are_played_alike():
    mean = np.array([0.0, 1e-7, 0.3, 1 - 2**-24, 1.0], np.float32)
    traced = jax.jit(lambda mean: jb.bernoulli_arms(mean).params)(mean)
    np.testing.assert_array_equal(traced, jb.bernoulli_arms(mean).params)
