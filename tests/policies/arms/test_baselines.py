"""Every decision of the baseline policies against their oracle, and their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import jaxbandit as jb
from jaxbandit.engine import draws
from jaxbandit.engine.keys import Purpose, purpose_key
from tests.policies.arms import baselines
from tests.simulation import cases, oracle
from tests.simulation.cases import Setting, random_instance, settings, synthetic

RUNS, HORIZON = 20, 400

# In float32, indices that nearly tie round to either side: then decisions differ.
in_float64 = pytest.mark.float64


def round_keys(runs, horizon):
    """Words of the keys that policies are given, ([runs, rounds], [runs, rounds])."""

    def of_run(key):
        data = jax.random.key_data(purpose_key(key, Purpose.POLICY))
        number = jnp.arange(1, horizon + 1, dtype=jnp.uint32)
        return draws.threefry(data, jnp.zeros_like(number), number)

    return jax.vmap(of_run)(cases.run_keys(runs))


def policy_words(runs, horizon, size):
    """The words of `jaxbandit.engine.draws.bits` from those keys, [runs, rounds, size]."""

    def bits(one, other):
        return draws.bits(jax.random.wrap_key_data(jnp.stack([one, other])), (size,))

    return jax.jit(jax.vmap(jax.vmap(bits)))(*round_keys(runs, horizon))


def uniforms(runs, horizon):
    return np.asarray(draws.to_uniform(policy_words(runs, horizon, 1)[..., 0]), float)


def dice(runs, horizon, arms):
    """Coin and arm of epsilon-greedy."""
    words = policy_words(runs, horizon, 2)
    # The high word of a 64-bit product.
    die = (np.asarray(words[..., 1], np.uint64) * np.uint64(arms)) >> np.uint64(32)
    return np.asarray(draws.to_uniform(words[..., 0]), float), die.astype(int)


def beta_draw(runs, horizon):
    """(t, a, b) -> the package's log-odds of Beta(a, b) in round t, [runs, arms]."""
    one, other = round_keys(runs, horizon)

    @jax.jit
    def draw(t, a, b):
        each = jax.vmap(lambda *x: draws.beta_log_odds(x[:2], *x[2:], jnp.float32(0.5)))
        return each(one[:, t - 1], other[:, t - 1], a, b)

    return lambda t, a, b: np.asarray(draw(t, a, b))


def instances():
    """The paper's, and two with few samples and ties all over."""
    return [synthetic(2, RUNS), random_instance(5, RUNS, 1), random_instance(40, RUNS, 2)]


def assert_decides_as(policy, choose, instance, horizon=HORIZON):
    """Arms and rewards of every round are the oracle's; gives the package's trajectory."""
    environment = jb.bernoulli_arms(instance.mean)
    ours = cases.rollouts(policy, environment, instance.count, instance.total, horizon)
    reward = oracle.bernoulli(cases.uniforms(len(instance.total), horizon), instance.mean)
    arm, gained = baselines.play(choose, reward, instance.count, instance.total, horizon)
    np.testing.assert_array_equal(ours.arm, arm)
    np.testing.assert_array_equal(ours.reward, gained)
    return ours


def plays(policy, instance, horizon=HORIZON):
    environment = jb.bernoulli_arms(instance.mean)
    return cases.rollouts(policy, environment, instance.count, instance.total, horizon).arm


def without_data(instance):
    return instance._replace(count=0 * instance.count, total=0 * instance.total)


@in_float64
@pytest.mark.parametrize(("epsilon", "decay"), [(0.0, 0.0), (0.25, 0.0), (20.0, 1.0), (0.9, 0.5)])
def test_epsilon_greedy_decides_as_the_oracle(epsilon, decay):
    for instance in instances():
        coin, die = dice(RUNS, HORIZON, len(instance.mean))
        choose = baselines.epsilon_greedy(epsilon, decay, coin, die)
        assert_decides_as(jb.epsilon_greedy(epsilon, decay), choose, instance)


@in_float64
@pytest.mark.parametrize("rounds_per_arm", [1, 7, 1000])
def test_explore_then_commit_decides_as_the_oracle(rounds_per_arm):
    for instance in instances():
        choose = baselines.explore_then_commit(rounds_per_arm)
        assert_decides_as(jb.explore_then_commit(rounds_per_arm), choose, instance)


@in_float64
@pytest.mark.parametrize("sigma", [0.5, 0.2])
def test_moss_decides_as_the_oracle(sigma):
    for instance in instances():
        assert_decides_as(jb.moss(sigma), baselines.moss(sigma, HORIZON), instance)


@in_float64
@pytest.mark.parametrize("setting", settings(), ids=str)
@pytest.mark.parametrize("bias", [0.0, 0.1371, np.inf, "each"])
def test_min_ucb_decides_as_the_oracle(bias, setting):
    for instance in instances():
        bound = bias
        if bias == "each":
            bound = np.resize([0.2718, 0.0, np.inf, 0.0314], len(instance.mean))
        choose = baselines.min_ucb(bound, setting.oracle(), HORIZON)
        assert_decides_as(jb.min_ucb(bound, setting.package()), choose, instance)


@in_float64
@pytest.mark.parametrize("setting", settings(), ids=str)
@pytest.mark.parametrize("alpha", [0.05, 0.5])
def test_conservative_ucb_decides_as_the_oracle(alpha, setting):
    mixed = 0
    for instance in instances()[:2]:
        choose = baselines.conservative_ucb(
            alpha, setting.oracle(), HORIZON, uniforms(RUNS, HORIZON)
        )
        ours = assert_decides_as(jb.conservative_ucb(alpha, setting.package()), choose, instance)
        rounds = ours.info["baseline_rounds"]
        np.testing.assert_array_equal(rounds, np.stack(choose.baseline_rounds, axis=1))
        mixed += np.sum((rounds[:, -1] > 0) & (rounds[:, -1] < HORIZON))
    assert mixed > 0


@in_float64
def test_thompson_gaussian_decides_as_the_oracle():
    for instance in instances()[:2]:
        arms = len(instance.mean)
        normal = np.asarray(draws.to_normal(policy_words(RUNS, HORIZON, arms)), float)
        for noise_std, mean, std in ((0.5, 0.5, 0.5), (0.1, np.linspace(0, 1, arms), 2.0)):
            policy = jb.thompson_gaussian(noise_std, prior_mean=mean, prior_std=std)
            choose = baselines.thompson_gaussian(noise_std, mean, std, normal)
            assert_decides_as(policy, choose, instance)


@in_float64
def test_thompson_bernoulli_decides_as_the_oracle_given_its_draws():
    draw = beta_draw(RUNS, HORIZON)
    for instance in instances()[:2]:
        for successes, failures in ((1.0, 1.0), (0.5, 0.5), (3.0, 1.0)):
            policy = jb.thompson_bernoulli(successes, failures)
            choose = baselines.thompson_bernoulli(successes, failures, draw)
            assert_decides_as(policy, choose, instance)


# The draws of Thompson sampling.

SHAPES = [(1, 1), (1, 4), (30, 2), (0.5, 0.5), (0.05, 1.5), (3.5, 0.2), (500, 300), (1e6, 2e6)]


def drawn_log_odds(n, precision=float):
    """Of each pair of parameters, [n, pairs]."""
    one, other = np.array(SHAPES, precision).T
    data = jax.random.key_data(cases.run_keys(n))

    @jax.jit
    @jax.vmap
    def draw(key):
        return draws.beta_log_odds(key, jnp.asarray(one), jnp.asarray(other), jnp.float32(0.05))

    return np.asarray(draw(data), float)


def test_log_odds_of_a_beta_variable():
    sample = drawn_log_odds(20_000)
    assert np.all(np.isfinite(sample))
    for (one, other), column in zip(SHAPES, sample.T, strict=True):
        # p itself where it is small, 1 - p where that is: both ends keep their digits.
        for a, b, logit in ((one, other, column), (other, one, -column)):
            half = logit < 0
            chance = stats.beta.cdf(special.expit(logit[half]), a, b) / stats.beta.cdf(0.5, a, b)
            if np.sum(half) > 1000:
                assert stats.kstest(chance, "uniform").pvalue > 1e-3, (a, b)
        share = stats.beta.cdf(0.5, one, other)
        below = np.mean(column < 0)
        assert abs(below - share) <= 4 * np.sqrt(share * (1 - share) / len(column)) + 1e-12
    correlation = np.corrcoef(sample.T)[np.triu_indices(len(SHAPES), 1)]
    assert np.all(np.abs(correlation) < 4 / np.sqrt(len(sample)))


def test_log_odds_are_the_same_whatever_the_others_in_the_call():
    """A draw depends on its key and place, not on how long others take to be accepted."""
    many = drawn_log_odds(3000)
    for runs in (1, 100):
        np.testing.assert_allclose(drawn_log_odds(runs), many[:runs], rtol=1e-5, atol=1e-5)


def test_acceptance_keeps_its_digits():
    """In float32, from where the terms cancel to where the series would not do."""
    y = np.concatenate([np.geomspace(1e-4, 5, 500), -np.geomspace(1e-4, 0.99, 500)])
    y = y.astype(np.float32)
    exact = np.asarray(y, np.longdouble)
    exact = exact - exact**2 / 2 + exact**3 / 3 - np.log1p(exact)
    np.testing.assert_allclose(draws._cubic_excess(jnp.asarray(y)), exact, rtol=5e-3, atol=0)


def test_log_odds_draw_no_powers_where_no_shape_is_below_one():
    shape = jnp.asarray([1.0, 2.0, 9.0])
    data = jax.random.key_data(cases.KEY)
    pair = [
        draws.beta_log_odds(data, shape, shape[::-1], jnp.float32(least)) for least in (0.5, 1.0)
    ]
    np.testing.assert_array_equal(*pair)


def test_log_odds_of_no_distribution_are_not_numbers():
    shape, data = jnp.asarray([-3.0, jnp.nan, 0.25, 0.5, 2.0]), jax.random.key_data(cases.KEY)
    for pair in ((shape, jnp.ones(5)), (jnp.ones(5), shape)):
        drawn = draws.beta_log_odds(data, *pair, jnp.float32(0.5))
        np.testing.assert_array_equal(np.isnan(drawn), [True, True, True, False, False])


def test_rewards_that_no_bernoulli_arm_has_are_reported():
    with pytest.raises(jb.InputError, match="all 3 runs gave numbers that are not finite"):
        jb.simulate(
            cases.KEY,
            {"thompson": jb.thompson_bernoulli()},
            jb.gaussian_arms([1.0, 0.5], 1.0)._replace(low=0.0, high=1.0),
            horizon=40,
            runs=3,
        )


def test_thompson_gaussian_draws_from_the_posterior():
    """One round, two arms: the share of plays of either is the normal probability."""
    instance = cases.Instance(
        np.array([0.5, 0.5]), np.array([4, 9]), np.tile([2.0, 5.5], (4000, 1))
    )
    first = plays(jb.thompson_gaussian(0.6, prior_mean=0.2, prior_std=0.3), instance, 1)[:, 0]
    precision = 1 / 0.3**2 + instance.count / 0.6**2
    mean = (0.2 / 0.3**2 + instance.total[0] / 0.6**2) / precision
    share = stats.norm.cdf((mean[1] - mean[0]) / np.sqrt(np.sum(1 / precision)))
    assert abs(np.mean(first) - share) < 4 * np.sqrt(share * (1 - share) / len(first))


def test_thompson_bernoulli_draws_from_the_posterior():
    instance = cases.Instance(
        np.array([0.5, 0.5]), np.array([4, 0]), np.tile([3.0, 0.0], (4000, 1))
    )
    first = plays(jb.thompson_bernoulli(), instance, 1)[:, 0]
    # P(uniform > Beta(4, 2)) is one less its mean.
    share = 1 - 4 / 6
    assert abs(np.mean(first) - share) < 4 * np.sqrt(share * (1 - share) / len(first))


# Limits.


def test_epsilon_zero_is_greedy_and_one_is_uniform():
    instance = synthetic(1, RUNS)
    greedy, uniform = (plays(jb.epsilon_greedy(e), instance) for e in (0.0, 1.0))
    # Untried arms in turn, then an arm of the best mean of each run.
    np.testing.assert_array_equal(greedy[:, :10], np.tile(np.arange(10, 20), (RUNS, 1)))
    assert np.mean(np.diff(greedy[:, 10:], axis=1) != 0) < 0.2
    share = np.bincount(uniform.ravel(), minlength=20) / uniform.size
    assert np.all(np.abs(share - 0.05) < 4 * np.sqrt(0.05 * 0.95 / uniform.size))


def test_a_decaying_epsilon_explores_as_often_as_it_says():
    instance = cases.with_data([0.0, 1.0], [1, 1], 500)._replace(total=np.tile([0, 1], (500, 1)))
    arm = plays(jb.epsilon_greedy(8.0, decay=1.0), instance, 200)
    chance = np.minimum(1, 8 / np.arange(1, 201)) / 2
    sem = np.sqrt(np.sum(chance * (1 - chance)) / 500)
    assert abs(np.mean(np.sum(arm == 0, axis=1)) - np.sum(chance)) < 4 * sem


def test_min_ucb_of_an_infinite_bias_is_ucb_without_the_data():
    for instance in instances():
        np.testing.assert_array_equal(
            plays(jb.min_ucb(np.inf), instance), plays(jb.ucb(), without_data(instance))
        )


def test_min_ucb_without_data_is_ucb_whatever_the_bias():
    for instance in map(without_data, instances()):
        np.testing.assert_array_equal(plays(jb.min_ucb(0.5), instance), plays(jb.ucb(), instance))


def test_min_ucb_of_no_bias_is_not_ucb_where_the_online_bound_is_lower():
    # Offline rewards far better than the online ones: the online bound soon corrects them.
    mean = np.array([0.0, 0.25])
    instance = cases.Instance(mean, np.array([400, 100]), np.tile([400, 25], (RUNS, 1)))
    last = plays(jb.min_ucb(0.0), instance)[:, -50:]
    assert np.all(plays(jb.ucb(), instance)[:, -50:] == 0)
    assert np.mean(last) > 0.9


def test_conservative_ucb_of_large_alpha_is_ucb():
    for instance in instances()[:2]:
        for setting in (Setting(), Setting("paper", 0.005, anytime=True)):
            environment = jb.bernoulli_arms(instance.mean)
            data = (environment, instance.count, instance.total, HORIZON)
            ours = cases.rollouts(jb.conservative_ucb(1.0, setting.package()), *data)
            ucb = cases.rollouts(jb.ucb(setting.package()), *data)
            np.testing.assert_array_equal(ours.arm, ucb.arm)
            assert np.all(ours.info["baseline_rounds"] == 0)


def test_conservative_ucb_of_alpha_zero_begins_with_the_logging_policy():
    instance = cases.with_data([0.5, 0.5, 0.5, 0.5], [10, 0, 60, 30], 2000)
    first = plays(jb.conservative_ucb(0.0), instance, 3).ravel()
    share = np.bincount(first, minlength=4) / len(first)
    expected = instance.count / instance.count.sum()
    assert share[1] == 0
    assert np.all(np.abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / len(first)))


def test_conservative_ucb_keeps_its_share_of_the_logging_policys_value():
    """In every round of every run, on the event that the bounds hold."""
    for alpha in (0.05, 0.2):
        instance = synthetic(2, 200)
        arm = plays(jb.conservative_ucb(alpha), instance, 1000)
        value = instance.count @ instance.mean / instance.count.sum()
        earned = np.cumsum(instance.mean[arm] - (1 - alpha) * value, axis=1)
        # Rounds of the baseline are worth its value on average only: five standard deviations.
        slack = 5 * np.sqrt(np.arange(1, 1001) * (instance.mean[:10].var() + 1e-6))
        assert np.all(earned > -slack)


def test_values_are_measured_from_the_floor():
    """Rewards and floor lower by one: nothing else changes."""
    mean = np.array([0.5, 0.25, 0.75])
    count, total = np.array([40, 40, 0]), np.tile([20.0, 10.0, 0.0], (RUNS, 1))
    arms = []
    for shift in (0.0, 1.0):
        table = jb.Environment(
            jnp.asarray(mean - shift), jnp.asarray(mean - shift), lambda p, arm, word: p[arm]
        )
        bounds = jb.confidence(floor=-shift, ceiling=1 - shift)
        policy = jb.conservative_ucb(0.3, bounds)
        arms.append(cases.rollouts(policy, table, count, total - shift * count, HORIZON).arm)
    np.testing.assert_array_equal(*arms)
    assert len(np.unique(arms[0])) == 3


def test_a_fixed_arm_is_played_throughout():
    instance = synthetic(1, 3)
    assert np.all(plays(jb.fixed_arm(7), instance) == 7)


def test_moss_without_bonus_is_greedy():
    """Where every arm has had its share of the rounds."""
    instance = cases.with_data([0.5, 0.25, 0.75], [40, 40, 40], RUNS)
    horizon = 100
    np.testing.assert_array_equal(
        plays(jb.moss(), instance, horizon), plays(jb.epsilon_greedy(0.0), instance, horizon)
    )
