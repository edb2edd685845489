"""Lower bounds: the formulas, and regret measured on the instances that prove them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from tests.bounds import regret_oracle as oracle
from tests.bounds import regret_play
from tests.bounds.regret_oracle import Known
from tests.messages import assert_refused
from tests.simulation import cases

B, hard = jb.bounds, jb.hard_instances
KEY = jax.random.key(11)
CONFIDENCE = jb.confidence(delta=0.05)
COUNT = np.array([20.0, 4.0, 50.0, 30.0])
HORIZON = 40


def policies(confidence=CONFIDENCE):
    return {
        "ucb": jb.ucb(confidence),
        "lcb": jb.lcb(confidence),
        "oto": jb.oto(0.2, confidence),
    }


def play(instance, names=("ucb", "lcb", "oto"), runs=4096, confidence=CONFIDENCE):
    return jb.simulate(
        KEY,
        {name: policies(confidence)[name] for name in names},
        instance.environment,
        horizon=instance.horizon,
        runs=runs,
        offline_count=instance.offline_count,
        checkpoints=[instance.horizon],
    )


def reaches(moments, bound, errors=3):
    """Mean regret is at least the bound, by the given number of standard errors or nearly so."""
    assert bound > 0
    assert moments.mean[-1] + errors * moments.sem[-1] >= bound
    return float(moments.mean[-1] / bound)


# Any policy.


def test_lower_bound_on_any_policy_is_the_formula():
    rng = np.random.default_rng(0)
    for _ in range(30):
        count = np.floor(np.exp(rng.uniform(0, 8, rng.choice([2, 6])))) - 1
        known = Known(count, int(rng.integers(1, 3000)), sigma=float(rng.choice([0.5, 5.0])))
        bound = B.minimax_regret_lower(count, known.horizon, sigma=known.sigma)
        np.testing.assert_allclose(bound, oracle.any_policy_lower(known), rtol=1e-5)
    assert B.minimax_regret_lower([7.0], 100) == 0  # one arm is always the best


def test_lower_bound_on_any_policy_is_below_every_upper_bound():
    rng = np.random.default_rng(1)
    for _ in range(20):
        count = np.floor(np.exp(rng.uniform(0, 6, 6)))
        horizon = float(np.floor(np.exp(rng.uniform(0, 13))))
        lower = B.minimax_regret_lower(count, horizon)
        assert lower < B.ucb_minimax_regret(count, horizon)
        assert lower < B.lcb_minimax_regret(count, horizon)
        assert lower < B.oto_minimax_regret(count, horizon, 1.0)


def larger_regret(policies, count, make):
    """Of each policy the larger of its two regrets; `make(pulls)` is a pair of environments."""
    options = {"horizon": HORIZON, "runs": 512, "offline_count": count, "checkpoints": [HORIZON]}
    first = jb.simulate(KEY, policies, make(None)[0], **options)
    seconds, larger = {}, {}
    for name in policies:
        # The second instance is the policy's own: its best arm is the one it explored least.
        second = make(first[name].pulls.mean)[1]
        arm = int(np.argmax(second.mean))
        if arm not in seconds:
            seconds[arm] = jb.simulate(KEY, policies, second, **options)
        larger[name] = max(out[name].regret.mean[-1] for out in (first, seconds[arm]))
    return larger


PAIRS = {"skewed": [200, 0, 0, 3], "even": [30, 30, 30, 30]}


def assert_pair(policies, count):
    def make(pulls):
        pair = hard.confusable_pair(count, HORIZON, pulls=pulls)
        return [one.environment for one in pair]

    bound = B.minimax_regret_lower(count, HORIZON)
    assert bound > 0.1
    larger = larger_regret(policies, count, make)
    for name, regret in larger.items():
        assert regret >= bound, name


@pytest.mark.parametrize("count", PAIRS)
def test_no_policy_has_less_regret_on_both_of_a_pair(count):
    assert_pair(policies() | {"thompson": jb.thompson_gaussian(0.5)}, PAIRS[count])


@pytest.mark.slow  # a program of all policies takes a minute to compile
def test_no_policy_of_the_library_has_less_regret_on_both_of_a_pair():
    every = {name: first for name, (first, _) in cases.registered().items()}
    del every["thompson_bernoulli"]  # not for normal rewards
    for count in PAIRS.values():
        assert_pair(every, count)


def test_thompson_sampling_with_a_beta_prior_has_no_less_regret_on_a_pair_of_its_rewards():
    count, total = [200, 0, 0, 3], HORIZON + 3
    gap = 0.5 * np.sqrt(3 / total) / 2

    def make(pulls):
        normal = hard.confusable_pair(count, HORIZON, pulls=pulls)
        return [jb.bernoulli_arms(0.4 + one.environment.mean) for one in normal]

    first = make(None)[0].mean
    np.testing.assert_allclose(first, [0.4 + gap, 0.4, 0.4, 0.4], rtol=1e-5)
    # The proof of theorem 5.1 with the divergence of these rewards for that of normal ones.
    low, high = 0.4, 0.4 + 2 * gap
    divergence = low * np.log(low / high) + (1 - low) * np.log((1 - low) / (1 - high))
    bound = HORIZON * gap / 8 * np.exp(-total / 3 * divergence)
    assert bound > 0.1
    larger = larger_regret({"beta": jb.thompson_bernoulli()}, count, make)
    assert larger["beta"] >= bound


def test_a_pair_differs_in_one_arm_by_what_the_proof_needs():
    count, horizon, sigma = np.array([4.0, 1.0, 30.0, 2.0]), 50, 0.25
    first, second = hard.confusable_pair(count, horizon, sigma=sigma)
    a, b = np.asarray(first.environment.mean, float), np.asarray(second.environment.mean, float)
    np.testing.assert_array_equal(np.flatnonzero(a != b), [1])
    assert a.argmax() == 2
    assert b.argmax() == 1
    # The best arm of the second has the fewest samples, those of the policy included.
    other = hard.confusable_pair(count, horizon, sigma=sigma, pulls=[0.0, 5, 0, 1.5])[1]
    np.testing.assert_allclose(other.environment.mean, b[[0, 3, 2, 1]])
    size = 3
    spread = sigma * np.sqrt(size / (horizon + 7))
    np.testing.assert_allclose([a.max() - a.min(), b.max() - a.max()], spread / 2, rtol=1e-5)
    # exp(-KL) with the fewest samples that an arm of J can have: e^-1/2, the constant.
    divergence = (horizon + 7) / size * (b[1] - a[1]) ** 2 / (2 * sigma**2)
    np.testing.assert_allclose(divergence, 0.5, rtol=1e-5)


# LCB and UCB.


@pytest.mark.parametrize("count", [COUNT, [5, 5, 5, 5], [0, 7, 200, 9], [300, 0, 0, 0]])
def test_lcb_never_explores_the_best_arm(count):
    instance = hard.lcb_unexplored(count, HORIZON, CONFIDENCE)
    ratio = reaches(play(instance)["lcb"].regret, instance.regret)
    assert ratio < 3
    bound = B.lcb_minimax_regret(count, HORIZON, CONFIDENCE)
    assert instance.regret <= bound
    assert np.argmax(instance.environment.mean) == np.argmin(count)


def test_lcb_never_explores_in_proportion_to_the_horizon():
    bounds = [B.lcb_minimax_regret_lower(COUNT, t, CONFIDENCE) for t in (1, 10, 1000)]
    np.testing.assert_allclose(np.array(bounds) / bounds[0], [1, 10, 1000], rtol=1e-5)


@pytest.mark.parametrize("count", [COUNT, [5, 5, 5, 5], [0, 7, 200, 9], [300, 0, 0, 0]])
def test_ucb_begins_with_the_worst_arm(count):
    instance = hard.ucb_first_round(count, CONFIDENCE)
    logged = play(instance)["ucb"].logging_regret
    ratio = reaches(logged, instance.regret)
    assert ratio < 3
    assert instance.horizon == 1
    assert instance.regret <= B.ucb_logging_regret(count, 1, CONFIDENCE)


@pytest.mark.parametrize("count", [COUNT, [5, 5, 5, 5], [2, 300, 2, 9]])
def test_lcb_is_misled_for_ever(count):
    instance = hard.lcb_misled(count, HORIZON, CONFIDENCE)
    ratio = reaches(play(instance)["lcb"].logging_regret, instance.regret)
    assert ratio < 3
    assert instance.regret <= B.lcb_logging_regret(count, HORIZON, CONFIDENCE)


def test_lcb_with_all_samples_on_one_arm_is_the_logging_policy():
    assert B.lcb_logging_regret_lower([0, 9, 0, 0], 50, CONFIDENCE) == 0


@pytest.mark.parametrize(
    ("count", "horizon"),
    [([90.0, 4, 13, 5], HORIZON), ([200.0, 1, 1, 1], 400), ([5.0, 0, 3, 8], HORIZON)],
)
def test_ucb_evens_out_its_bounds(count, horizon):
    # Two plays of the same instance, by the package and by an independent loop.
    confidence = jb.confidence(delta=0.125)
    instance = hard.ucb_equalised(count, horizon, confidence)
    out = play(instance, ("ucb",), runs=1, confidence=confidence)["ucb"]
    arms = len(count)
    np.testing.assert_array_equal(out.pulls.mean, np.full(arms, horizon // arms))
    np.testing.assert_allclose(out.logging_regret.mean[-1], instance.regret, rtol=1e-4)

    c = Known(np.array(count), horizon, delta=0.125).c()
    mean = 1 - c / np.sqrt(np.array(count) + horizon / arms)
    share = np.array(count) / np.sum(count)
    value = horizon * np.sum((1 / arms - share) * c / np.sqrt(np.array(count) + horizon / arms))
    np.testing.assert_allclose(instance.regret, value, rtol=1e-5)
    runs = regret_play.Runs(
        mean=mean[None],
        count=np.array(count)[None],
        horizon=np.array([horizon]),
        alpha=np.ones(1),
        delta=np.array([0.125]),
        edge=np.zeros((1, arms)),
    )
    outcome = regret_play.play(np.random.default_rng(0), runs, "ucb", False)
    np.testing.assert_allclose(outcome.logging_regret, value, rtol=1e-9)


@pytest.mark.parametrize("horizon", [1, 2, 3, 50, 61, 299, 1000])
def test_lower_bound_on_ucb_holds_for_every_horizon(horizon):
    # K need not divide T: the rounds beyond the last multiple may all go to the best arm.
    count, delta = np.array([90.0, 4, 13]), 2.0**-3
    bound = float(B.ucb_logging_regret_lower(count, horizon, jb.confidence(delta=delta)))
    c = Known(count, horizon, delta=delta).c()
    share = horizon // 3
    if c / np.sqrt(4 + share) > 1:
        assert bound == 0
        return
    runs = regret_play.Runs(
        mean=1 - c / np.sqrt(count + share)[None],
        count=count[None],
        horizon=np.array([horizon]),
        alpha=np.ones(1),
        delta=np.array([delta]),
        edge=np.zeros((1, 3)),
    )
    outcome = regret_play.play(np.random.default_rng(0), runs, "ucb", False)
    # A bound of 0 claims nothing of this instance; all arms alike have it.
    assert bound == 0 or bound <= outcome.logging_regret[0] + 1e-9
    assert bound > 0 or horizon < 6


def test_constant_arms_give_their_mean():
    environment = jb.gaussian_arms([0.25, -3.0], [0.0, 0.5])
    words = jnp.arange(5, dtype=jnp.uint32) * jnp.uint32(0x20000000)
    rewards = [environment.reward(environment.params, jnp.int32(0), word) for word in words]
    assert {float(reward) for reward in rewards} == {0.25}


BAD = {
    "one arm": (lambda: hard.lcb_misled([3], 5), r"count must have at least two arms"),
    "no samples": (lambda: hard.ucb_first_round([0, 0]), r"count must not be all zero"),
    "horizon": (lambda: hard.lcb_unexplored([1, 2], 0), r"horizon must be a whole number"),
    "sigma": (lambda: hard.lcb_unexplored([1, 2], 5, sigma=0.0), r"sigma must be positive"),
    "sigma too large": (
        lambda: hard.confusable_pair([1, 2], 5, sigma=50.0),
        r"sigma must be small enough.*50\.0.*longer horizon",
    ),
    "pulls of other arms": (
        lambda: hard.confusable_pair([1, 2], 50, pulls=[1.0]),
        r"pulls must have shape \[arms\] = \(2,\), was \(1,\)",
    ),
    "negative pulls": (
        lambda: hard.confusable_pair([1, 2], 50, pulls=[1.0, -1.0]),
        r"pulls must not be negative",
    ),
    "unknown horizon": (
        lambda: hard.ucb_equalised([1, 2], 50, jb.confidence(delta=0.1, anytime=True)),
        r"fixed delta",
    ),
    "range": (
        lambda: hard.ucb_equalised([0, 2], 2, CONFIDENCE),
        r"confidence must have a range of at least 1\.3.*has 1",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_messages(case):
    assert_refused(*BAD[case])
