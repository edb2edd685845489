"""Simulations against a loop over rollouts, and the promise that bits depend on the run alone."""

import hashlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.engine import draws, round_kernels, tiles
from jaxbandit.engine.keys import Purpose, purpose_key, run_key
from jaxbandit.environments import arms, base
from jaxbandit.simulation import checks, simulate
from jaxbandit.simulation import loop as online_play
from tests.simulation.cases import QUICK, rollouts

KEY = jax.random.key(8)
ENVIRONMENT = jb.bernoulli_arms([0.5, 0.625, 0.25, 0.75, 0.375])
MEAN = np.asarray(ENVIRONMENT.mean, float)
COUNT = np.array([30, 20, 10, 0, 5])
HORIZON, CHECKPOINTS = 120, (1, 7, 60, 120)
POLICIES = {
    "ucb": jb.ucb(),
    "lcb": jb.lcb(),
    "oto": jb.oto(0.5),
    "late": jb.oto(0.6, jb.confidence("reference", delta=0.05, anytime=True), budget="unified"),
}
LOOPED = 70  # More than are played together.


def play(runs, policies=POLICIES, **options):
    return jb.simulate(
        KEY,
        policies,
        ENVIRONMENT,
        runs=runs,
        **dict(horizon=HORIZON, offline_count=COUNT, checkpoints=CHECKPOINTS) | options,
    )


def leaves(out):
    """Everything in a result, as arrays."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves([out.policies, out.differences])]


def assert_same(one, other):
    for a, b in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def out():
    return play(LOOPED)


def drawn_totals(environment=ENVIRONMENT, runs=LOOPED):
    def one(run):
        key = purpose_key(run_key(KEY, run), Purpose.OFFLINE_REWARDS)
        count = jnp.asarray(COUNT, float)
        return base.offline_totals(environment, jax.random.key_data(key), count)

    return jax.jit(jax.vmap(one), compiler_options=QUICK)(jnp.arange(runs, dtype=jnp.uint32))


@pytest.fixture(scope="module")
def looped():
    """Trajectories of the first runs, from `rollout`, by policy."""

    def trajectories(policy):
        def one(run, total):
            key, offline = jax.random.fold_in(KEY, run), jb.OfflineArms(COUNT, total)
            return jb.rollout(key, policy, ENVIRONMENT, offline, horizon=HORIZON)

        runs = jnp.arange(LOOPED)
        return jax.tree.map(
            np.asarray, jax.jit(jax.vmap(one), compiler_options=QUICK)(runs, drawn_totals())
        )

    return {name: trajectories(policy) for name, policy in POLICIES.items()}


def curves(trajectory):
    """What `simulate` reports, recomputed run by run in float64."""
    at = np.array(CHECKPOINTS) - 1
    gap, logging = MEAN.max() - MEAN, COUNT @ MEAN / COUNT.sum()
    return {
        "regret": np.cumsum(gap[trajectory.arm], axis=1)[:, at],
        "logging_regret": np.cumsum((logging - MEAN)[trajectory.arm], axis=1)[:, at],
        "reward": np.cumsum(trajectory.reward, axis=1, dtype=float)[:, at],
        "pulls": np.stack([np.bincount(arm, minlength=5) for arm in trajectory.arm]),
    } | {name: x[:, at] for name, x in trajectory.info.items()}


def assert_close_moments(moments, value):
    value = np.asarray(value, float)
    assert np.all(moments.count == len(value))
    np.testing.assert_allclose(moments.mean, value.mean(axis=0), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(moments.std, value.std(axis=0, ddof=1), rtol=1e-4, atol=1e-4)
    sem = value.std(axis=0, ddof=1) / np.sqrt(len(value))
    np.testing.assert_allclose(moments.sem, sem, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", POLICIES)
def test_results_are_those_of_rollouts(name, out, looped):
    expected, found = curves(looped[name]), out[name]
    for field in ("regret", "logging_regret", "reward", "pulls"):
        assert_close_moments(getattr(found, field), expected[field])
    assert set(found.info) == set(looped[name].info)
    for field, moments in found.info.items():
        assert_close_moments(moments, expected[field])
    # Run by run, in order.
    np.testing.assert_allclose(found.final_regret, expected["regret"][:, -1], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.final_reward, expected["reward"][:, -1])
    np.testing.assert_array_equal(found.round, CHECKPOINTS)


def test_many_arms_are_those_of_rollouts():
    """Their runs lie first in memory, and their regret is summed as it comes."""
    runs, horizon, at = 3, 40, (1, 25, 40)
    mean = np.linspace(0.125, 0.875, 150)
    environment, offline = jb.bernoulli_arms(mean), jb.OfflineArms(np.full(150, 8), np.full(150, 4))
    policies = {"ucb": jb.ucb(), "oto": jb.oto(0.5)}
    out = jb.simulate(
        KEY,
        policies,
        environment,
        horizon=horizon,
        runs=runs,
        offline=offline,
        checkpoints=at,
        curves=True,
    )
    totals = np.tile(offline.total, (runs, 1))
    for name, policy in policies.items():
        arm = rollouts(policy, environment, offline.count, totals, horizon, KEY).arm
        regret = np.cumsum(mean.max() - mean[arm], axis=1)[:, np.array(at) - 1]
        np.testing.assert_allclose(out[name].regret_curves, regret, rtol=1e-6)
        assert len(np.unique(arm)) > 20


def by_products(choose):
    """UCB-like, with means that `choose` makes of counts and totals."""

    def select(params, state, round):
        count, total = state
        mean = choose(total / jnp.maximum(count, 1))
        return jb.first_argmax(jnp.where(count > 0, mean + 1 / jnp.sqrt(count), jnp.inf))

    def update(params, state, round, arm, reward):
        return jb.add_at(state[0], arm, 1), jb.add_at(state[1], arm, reward)

    return jb.Policy(
        (),
        lambda params, problem: (problem.count, problem.total),
        select,
        update,
        lambda params, state: {},
        lambda params, problem: None,
    )


def test_a_policy_that_multiplies_matrices_stays_in_the_kernel(monkeypatch):
    reversal = np.eye(len(MEAN))[::-1]
    known = []

    def one_kernel(function, *operands):
        known.append(round_kernels._is_known(jax.make_jaxpr(function)(*operands).jaxpr))
        return round_kernels.one_kernel(function, *operands)

    monkeypatch.setattr(online_play, "one_kernel", one_kernel)
    policies = {
        "product": by_products(lambda mean: reversal @ mean),
        "order": by_products(lambda mean: mean[::-1]),
    }
    out = play(40, policies)
    np.testing.assert_array_equal(
        out.policies["product"].pulls.mean, out.policies["order"].pulls.mean
    )
    assert known == ([True] * 2 if jax.default_backend() == "cpu" else [])


def test_paired_differences_are_those_of_rollouts(out, looped):
    regret = {name: curves(trajectory)["regret"] for name, trajectory in looped.items()}
    for first in POLICIES:
        for second in POLICIES:
            assert_close_moments(out.paired(first, second), regret[first] - regret[second])


def test_offline_rewards_are_drawn_anew_in_each_run():
    totals = np.asarray(drawn_totals())
    assert len(np.unique(totals, axis=0)) > LOOPED // 2
    for run in (0, LOOPED - 1):
        key = jax.random.key_data(purpose_key(run_key(KEY, run), Purpose.OFFLINE_REWARDS))
        for arm, n in enumerate(COUNT):
            words, _ = draws.threefry(
                key, jnp.full(n, arm, jnp.uint32), jnp.arange(n, dtype=jnp.uint32)
            )
            assert totals[run, arm] == np.sum(np.asarray(draws.to_uniform(words)) < MEAN[arm])


def test_fixed_offline_data_are_the_same_in_every_run():
    offline = jb.OfflineArms(COUNT, np.array([20.0, 11.0, 2.0, 0.0, 1.0]))
    policy = jb.oto(0.5)
    found = play(LOOPED, {"oto": policy}, offline=offline, offline_count=None)["oto"]

    def one(run):
        key = jax.random.fold_in(KEY, run)
        return jb.rollout(key, policy, ENVIRONMENT, offline, horizon=HORIZON)

    trajectory = jax.tree.map(
        np.asarray, jax.jit(jax.vmap(one), compiler_options=QUICK)(jnp.arange(LOOPED))
    )
    expected = curves(trajectory)
    assert_close_moments(found.regret, expected["regret"])
    np.testing.assert_array_equal(found.final_reward, expected["reward"][:, -1])


# The same bits.


def test_first_runs_are_the_same_bits(out):
    many = play(1500)
    one = play(1)
    for name in POLICIES:
        for field in ("final_regret", "final_reward"):
            runs = getattr(many[name], field)
            assert len(runs) == 1500
            assert len(np.unique(runs)) > 1
            np.testing.assert_array_equal(getattr(out[name], field), runs[:LOOPED])
            np.testing.assert_array_equal(getattr(one[name], field), runs[:1])
        assert np.all(one[name].regret.mean[-1] == many[name].final_regret[0])
        assert np.all(np.isnan(one[name].regret.sem))


def test_threads_change_no_bit():
    assert_same(play(2100, threads=1), play(2100, threads=2))


def test_other_policies_in_the_call_change_no_bit(out):
    alone = play(LOOPED, {"mine": POLICIES["oto"]})["mine"]
    jax.tree.map(np.testing.assert_array_equal, alone, out["oto"])


def test_checkpoints_change_no_number_at_common_rounds(out):
    policies = {name: POLICIES[name] for name in ("oto", "ucb")}
    other = play(LOOPED, policies, checkpoints=[2, 7, 59, 60, 61, 120])
    for name in policies:
        for field in ("regret", "logging_regret", "reward"):
            one, two = getattr(out[name], field), getattr(other[name], field)
            for x, y in ((one.mean, two.mean), (one.deviation, two.deviation)):
                np.testing.assert_array_equal(x[1:], y[[1, 3, 5]])
        np.testing.assert_array_equal(out[name].pulls.mean, other[name].pulls.mean)
    a, b = out.paired("oto", "ucb"), other.paired("oto", "ucb")
    np.testing.assert_array_equal(a.mean[1:], b.mean[[1, 3, 5]])


def test_default_checkpoints_lead_to_the_horizon():
    for horizon in (1, 2, 199, 200, 201, 2000, 300_000):
        ends = checks.check_checkpoints(None, horizon)
        assert ends[-1] == horizon
        assert min(horizon, 190) <= len(ends) <= 200
        assert all(a < b for a, b in zip((0, *ends), ends, strict=False))


def digest():
    out = play(2100, {"oto": POLICIES["oto"]})
    return hashlib.sha256(b"".join(leaf.tobytes() for leaf in leaves(out))).hexdigest()


_DIGEST = """
import jax
from tests.simulation.test_simulate import digest
print(len(jax.local_devices()), digest())
"""


def test_two_devices_change_no_bit(root_directory, environment):
    done = subprocess.run(
        [sys.executable, "-c", _DIGEST],
        env=environment | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
        cwd=root_directory,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["2", digest()]


def test_other_numbers_do_not_compile_again():
    tiles._PREPARED._values.clear()
    play(3, {"oto": jb.oto(alpha=0.1)})
    assert len(tiles._PREPARED) == 1
    other = jb.confidence("reference", floor=-1.0, ceiling=3.0)
    play(3, {"oto": jb.oto(alpha=0.2)})
    play(4, {"oto": jb.oto(0.3, other)}, offline_count=COUNT + 1)
    assert len(tiles._PREPARED) == 1
    play(3, {"oto": jb.oto(alpha=0.2, budget="unified")})
    assert len(tiles._PREPARED) == 2


# Environments drawn anew in each run.


def draw_arms(key):
    return jb.bernoulli_arms(jax.random.uniform(key, (5,)))


def test_an_environment_is_drawn_in_each_run():
    found = jb.simulate(
        KEY,
        {"ucb": jb.ucb()},
        draw_arms,
        horizon=HORIZON,
        runs=LOOPED,
        offline_count=COUNT,
        checkpoints=CHECKPOINTS,
    )["ucb"]
    regrets, means = [], []
    for run in range(4):
        key = run_key(KEY, run)
        environment = draw_arms(purpose_key(key, Purpose.INSTANCE))
        data = jax.random.key_data(purpose_key(key, Purpose.OFFLINE_REWARDS))
        total = base.offline_totals(environment, data, jnp.asarray(COUNT, float))
        arm = _arms_played(key, environment.mean, total)
        mean = np.asarray(environment.mean, float)
        regrets.append(np.sum(mean.max() - mean[np.asarray(arm)]))
        means.append(mean)
    np.testing.assert_allclose(found.final_regret[:4], regrets, rtol=1e-4)
    assert len(np.unique(means, axis=0)) == 4
    assert len(np.unique(found.final_regret)) > LOOPED // 2


@jax.jit
def _arms_played(key, mean, total):
    offline = jb.OfflineArms(jnp.asarray(COUNT, mean.dtype), total)
    environment = jb.bernoulli_arms(mean)
    return jb.rollout(key, jb.ucb(), environment, offline, horizon=HORIZON).arm


# Small and large games.


def test_one_arm_has_no_regret():
    policies = {"ucb": jb.ucb(), "lcb": jb.lcb(), "oto": jb.oto()}
    out = jb.simulate(KEY, policies, jb.bernoulli_arms([0.5]), horizon=9, runs=5, offline_count=[3])
    for name in policies:
        assert np.all(out[name].regret.mean == 0)
        assert np.all(out[name].logging_regret.mean == 0)
        assert out[name].pulls.mean == 9
        np.testing.assert_array_equal(out[name].round, np.arange(1, 10))


def test_without_offline_data_ucb_tries_every_arm_in_turn():
    policy = jb.ucb()
    environment = jb.bernoulli_arms([0.5, 0.25, 1.0])
    trajectory = jb.rollout(KEY, policy, environment, horizon=4)
    np.testing.assert_array_equal(trajectory.arm[:3], [0, 1, 2])
    out = jb.simulate(KEY, {"ucb": policy}, environment, horizon=3, runs=4)
    np.testing.assert_array_equal(out["ucb"].pulls.mean, 1)
    assert out["ucb"].logging_regret is None


def test_a_long_game_loses_no_count_and_no_reward(monkeypatch):
    """300,000 rounds in float32."""
    monkeypatch.setitem(simulate.TILE_WIDTH, "cpu", 4)
    horizon, mean = 300_000, np.array([0.5, 0.49, 0.45, 0.25, 0.5])
    data = jb.OfflineArms([9.0, 9, 9, 9, 0], [5.0, 5, 5, 2, 0])
    for environment in (jb.bernoulli_arms(mean), jb.gaussian_arms(mean, 0.3)):
        sure = environment.reward is arms._bernoulli
        rollout = jax.jit(
            lambda key, e=environment: jb.rollout(key, jb.ucb(), e, data, horizon=horizon)
        )
        trajectory = jax.tree.map(np.asarray, rollout(run_key(KEY, 0)))
        pulls = np.bincount(trajectory.arm, minlength=5)
        np.testing.assert_array_equal(trajectory.state.count, data.count + pulls)
        out = jb.simulate(
            KEY, {"ucb": jb.ucb()}, environment, horizon=horizon, runs=1, offline=data
        )["ucb"]
        assert np.sum(out.pulls.mean) == horizon
        if sure:
            np.testing.assert_array_equal(out.pulls.mean, pulls)
            per_arm = np.bincount(trajectory.arm, trajectory.reward, 5)
            np.testing.assert_array_equal(trajectory.state.total, data.total + per_arm)
            assert out.final_reward[0] == trajectory.reward.sum(dtype=float)
            gap = environment.mean.max() - np.asarray(environment.mean, float)
            np.testing.assert_allclose(out.final_regret[0], pulls @ gap, rtol=1e-6)
        else:
            # Decisions may part by rounding; the sum may not. About 0.5 a round to 0.3 of noise.
            expected = out.pulls.mean @ np.asarray(environment.mean, float)
            assert abs(out.final_reward[0] - expected) < 4 * 0.3 * np.sqrt(horizon)


def constant_arms(value):
    return jb.reward_table(np.full((1, 2), value))


def test_long_sums_of_rewards_are_compensated(monkeypatch):
    monkeypatch.setitem(simulate.TILE_WIDTH, "cpu", 4)
    horizon = 100_000
    environment = constant_arms(0.1)
    out = jb.simulate(KEY, {"lcb": jb.lcb()}, environment, horizon=horizon, runs=2)["lcb"]
    one = float(environment.mean[0])
    np.testing.assert_allclose(out.final_reward, one * horizon, rtol=2e-7)
