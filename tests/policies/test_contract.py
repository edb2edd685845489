"""What holds for every policy, whatever it decides."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from tests import shapes
from tests.simulation import cases
from tests.simulation.test_simulate import COUNT, KEY, curves, drawn_totals, play

ENVIRONMENT = jb.bernoulli_arms([0.5, 0.625, 0.25, 0.75, 0.375])
TOTAL = np.array([[15, 12, 3, 0, 2], [17, 10, 1, 0, 1], [12, 15, 4, 0, 4]])
HORIZON = 60
POLICIES = cases.registered()
# Their exploration has an order, or is drawn by the arm's place.
PLACED = ("conservative_ucb", "epsilon_greedy", "explore_then_commit", "fixed_arm", "thompson")


def rollouts(policy, horizon=HORIZON):
    return cases.rollouts(policy, ENVIRONMENT, COUNT, TOTAL, horizon, KEY)


def one_run(policy, run, horizon=HORIZON):
    offline = jb.OfflineArms(*(jnp.asarray(x, float) for x in (COUNT, TOTAL[run])))
    key = jax.random.fold_in(KEY, run)
    return jb.rollout(key, policy, ENVIRONMENT, offline, horizon=horizon)


def assert_same_play(one, other):
    np.testing.assert_array_equal(one.arm, other.arm)
    np.testing.assert_array_equal(one.reward, other.reward)
    for name, value in one.info.items():
        np.testing.assert_allclose(value, other.info[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", POLICIES)
def test_mapped_is_looped(name):
    policy = POLICIES[name][0]
    mapped = rollouts(policy)
    run = jax.jit(lambda index, total: _looped(policy, index, total), compiler_options=cases.QUICK)
    for index, total in enumerate(TOTAL):
        looped = run(index, jnp.asarray(total, float))
        assert_same_play(
            jax.tree.map(lambda leaf, i=index: leaf[i], mapped._replace(state=())), looped
        )


def _looped(policy, index, total):
    offline = jb.OfflineArms(jnp.asarray(COUNT, total.dtype), total)
    key = jax.random.fold_in(KEY, index)
    return jb.rollout(key, policy, ENVIRONMENT, offline, horizon=HORIZON)


@pytest.mark.parametrize("name", POLICIES)
def test_compiled_is_eager(name):
    policy, horizon = POLICIES[name][0], 12
    compiled = rollouts(policy, horizon)
    with jax.disable_jit():
        eager = one_run(policy, 1, horizon)
    assert_same_play(jax.tree.map(lambda leaf: leaf[1], compiled._replace(state=())), eager)


@pytest.mark.parametrize("name", POLICIES)
def test_other_numbers_do_not_compile_again(name):
    first, second = POLICIES[name]
    arms = rollouts(first).arm
    before = cases._rollouts._cache_size()
    other = rollouts(second).arm
    assert cases._rollouts._cache_size() == before
    if name != "lcb":
        assert np.any(arms != other), "the numbers change nothing"


@pytest.mark.parametrize("name", POLICIES)
def test_types_are_kept(name):
    policy = POLICIES[name][0]
    count = jnp.asarray(COUNT, float)
    problem = jb.Problem(count, count / 2, jnp.asarray(9.0))
    round = jb.Round(jnp.int32(3), problem.horizon, KEY)
    state = policy.init(policy.params, problem)
    arm = policy.select(policy.params, state, round)
    after = policy.update(policy.params, state, round, arm, jnp.asarray(1.0))
    assert arm.dtype == jnp.int32

    def types(tree):
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)

    assert types(after) == types(state)
    kinds = {
        leaf.dtype for leaf in jax.tree.leaves(state) if jnp.isdtype(leaf.dtype, "real floating")
    }
    assert kinds <= {jnp.result_type(float)}
    for value in policy.info(policy.params, after).values():
        assert value.shape == ()


@pytest.mark.skipif(shapes.SWITCH in os.environ, reason="annotations ask for arrays")
@pytest.mark.parametrize("name", POLICIES)
def test_plain_numbers_are_taken(name):
    """As by who plays round by round: lists, and whole numbers for reals."""
    policy, total = POLICIES[name][0], TOTAL[0]

    def play(count, total, horizon, number, reward):
        problem = jb.Problem(count, total, horizon)
        policy.check(policy.params, problem)
        state = policy.init(policy.params, problem)
        round = jb.Round(number, horizon, KEY)
        arm = policy.select(policy.params, state, round)
        return arm, policy.update(policy.params, state, round, int(arm), reward)

    arrays = [jnp.asarray(x, float) for x in (COUNT, total, HORIZON)]
    expected = play(*arrays, jnp.int32(1), jnp.asarray(1.0))
    found = play(COUNT.tolist(), total.tolist(), HORIZON, 1, 1)
    whole = play(*(jnp.asarray(x, int) for x in (COUNT, total, HORIZON)), jnp.int32(1), 1)
    for mine in (found, whole):
        assert jax.tree.map(jnp.result_type, mine) == jax.tree.map(jnp.result_type, expected)
        jax.tree.map(np.testing.assert_array_equal, mine, expected)


@pytest.mark.parametrize("name", [name for name in POLICIES if not name.startswith(PLACED)])
def test_permuted_arms_are_played_permuted(name):
    """Normal rewards, which make no ties."""
    policy, order = POLICIES[name][0], np.array([3, 0, 4, 1, 2])
    mean, std = np.array([0.5, 0.55, 0.25, 0.75, 0.375]), np.array([0.5, 0.25, 0.3, 0.4, 0.1])
    total = TOTAL + np.where(COUNT > 0, np.linspace(0.01, 0.1, 5), 0)

    def arms(mean, std, count, total):
        return cases.rollouts(policy, jb.gaussian_arms(mean, std), count, total, HORIZON, KEY).arm

    plain = arms(mean, std, COUNT, total)
    permuted = arms(mean[order], std[order], COUNT[order], total[:, order])
    np.testing.assert_array_equal(order[permuted], plain)


def test_simulated_is_rolled_out():
    """Tiles, with the runs last in memory, play what single runs do."""
    runs, policies = 30, {name: pair[0] for name, pair in POLICIES.items()}
    for name in POLICIES:  # those of test_simulate.py, and those like others
        if name.startswith(("ucb", "lcb", "oto")) or "unknown" in name:
            del policies[name]
    found, totals = play(runs, policies), drawn_totals(runs=runs)
    for name, policy in policies.items():
        trajectory = cases.rollouts(policy, ENVIRONMENT, COUNT, totals, 120, KEY)
        expected = curves(trajectory)
        np.testing.assert_allclose(
            found[name].final_regret, expected["regret"][:, -1], rtol=1e-4, atol=1e-4
        )
        np.testing.assert_allclose(
            found[name].pulls.mean, expected["pulls"].mean(axis=0), rtol=1e-5
        )
        for field, moments in found[name].info.items():
            np.testing.assert_allclose(
                moments.mean, expected[field].mean(axis=0), rtol=1e-3, atol=1e-3
            )
