"""Every message a user of the online rooms can cause: one line, what is wrong, and what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from tests.messages import assert_refused

KEY = jax.random.key(0)
ARMS = jb.bernoulli_arms([0.25, 0.5, 0.75])
DATA = jb.OfflineArms([4, 0, 9], [1, 0, 5])


def rollout(offline=DATA, horizon=3, policy=None, key=KEY):
    return lambda: jb.rollout(key, policy or jb.ucb(), ARMS, offline, horizon=horizon)


def simulation(policy=None, environment=ARMS, then=None, **changes):
    options = dict(horizon=4, runs=2, offline=DATA) | changes

    def call():
        out = jb.simulate(
            KEY, {"mine": jb.lcb() if policy is None else policy}, environment, **options
        )
        return out if then is None else then(out)

    return call


def policy(init=None, select=None, update=None):
    """A policy that plays arm 0, with a part of it replaced."""
    return jb.Policy(
        (),
        init or (lambda params, problem: jnp.zeros(3)),
        select or (lambda params, state, round: jnp.int32(0)),
        update or (lambda params, state, round, arm, reward: state),
    )


BAD = {
    "horizon zero": (simulation(horizon=0), r"horizon must be a whole number of at least 1, was 0"),
    "horizon zero, one run": (rollout(horizon=0), r"horizon must be a whole number of at least 1"),
    "horizon not whole": (rollout(horizon=2.5), r"horizon must be a whole number.*2\.5"),
    "runs zero": (simulation(runs=0), r"runs must be a whole number of at least 1, was 0"),
    "threads zero": (simulation(threads=0), r"threads must be a whole number of at least 1"),
    "seed for a key": (rollout(key=0), r"key must be one PRNG key, was 0; make one with"),
    "OtO without data": (
        simulation(jb.oto(), offline=None),
        r"policy 'mine': OtO's budget.*offline data.*there is none; give offline.*or use ucb",
    ),
    "OtO with counts of zero": (
        simulation(jb.oto(), offline=None, offline_count=[0, 0, 0]),
        r"policy 'mine': OtO's budget.*there is none",
    ),
    "both kinds of data": (
        simulation(offline_count=[1, 1, 1]),
        r"give offline or offline_count, not both",
    ),
    "count negative": (
        rollout(jb.OfflineArms([4, -1, 9], [1, 0, 5])),
        r"offline\.count must not be negative",
    ),
    "count NaN": (
        rollout(jb.OfflineArms([4, np.nan, 9], [1, 0, 5])),
        r"offline\.count must be finite, was nan at index \(1,\)",
    ),
    "total NaN": (
        rollout(jb.OfflineArms([4, 0, 9], [1, 0, np.nan])),
        r"offline\.total must be finite, was nan at index \(2,\)",
    ),
    "total without samples": (
        rollout(jb.OfflineArms([4, 0, 9], [1, 2, 5])),
        r"offline\.total must be 0 where offline\.count is 0",
    ),
    "total above the largest rewards": (
        rollout(jb.OfflineArms([4, 0, 9], [1, 0, 10])),
        r"offline\.total of arm 2 must come from rewards in \[0, 1\], was 10 for 9 samples; give",
    ),
    "total below the smallest rewards, many runs": (
        simulation(offline=jb.OfflineArms([4, 0, 9], [-1, 0, 5])),
        r"offline\.total of arm 0 must come from rewards in \[0, 1\], was -1 for 4",
    ),
    "total beyond those of a table": (
        simulation(
            environment=jb.reward_table([[1.0, -2.0], [3.0, 0.5]]),
            offline=jb.OfflineArms([2, 2], [6, -4.5]),
        ),
        r"offline\.total of arm 1 must come from rewards in \[-2, 3\], was -4\.5 for 2",
    ),
    "total beyond those of drawn arms": (
        simulation(
            environment=lambda key: jb.bernoulli_arms(jax.random.uniform(key, (3,))),
            offline=jb.OfflineArms([4, 0, 9], [5, 0, 5]),
        ),
        r"offline\.total of arm 0 must come from rewards in \[0, 1\]",
    ),
    "data of other arms": (
        rollout(jb.OfflineArms([4, 9], [1, 5])),
        r"offline\.count must have shape \[arms\] = \(3,\), was \(2,\)",
    ),
    "total of other arms": (
        rollout(jb.OfflineArms([4, 0, 9], [1, 5])),
        r"offline\.total must have shape \[arms\]",
    ),
    "offline_count negative": (
        simulation(offline=None, offline_count=[1, -1, 1]),
        r"offline_count must be a whole number of at least 0, was \[1",
    ),
    "offline_count NaN": (
        simulation(offline=None, offline_count=[1, np.nan, 1]),
        r"offline_count must be a whole number of at least 0, was \[1",
    ),
    "offline_count of other arms": (
        simulation(offline=None, offline_count=[1]),
        r"offline_count must have shape \[arms\] = \(3,\)",
    ),
    "mean above one": (
        lambda: jb.bernoulli_arms([0.5, 1.5]),
        r"mean must lie in \[0, 1\] for Bernoulli arms, was",
    ),
    "mean below zero": (lambda: jb.bernoulli_arms([-0.1]), r"mean must lie in \[0, 1\]"),
    "mean NaN": (lambda: jb.bernoulli_arms([0.5, np.nan]), r"mean must be finite.*index \(1,\)"),
    "mean empty": (lambda: jb.bernoulli_arms([]), r"mean must have at least one arm, was empty"),
    "mean a matrix": (lambda: jb.bernoulli_arms([[0.5]]), r"mean must have shape \[arms\]"),
    "normal mean infinite": (lambda: jb.gaussian_arms([np.inf], 1), r"mean must be finite"),
    "std negative": (
        lambda: jb.gaussian_arms([0.0, 1.0], [1.0, -0.5]),
        r"std must not be negative, was \[1\.0, -0\.5\]",
    ),
    "std NaN": (lambda: jb.gaussian_arms([0.0], np.nan), r"std must not be negative, was nan"),
    "table empty": (
        lambda: jb.reward_table(np.zeros((0, 3))),
        r"table must have rows and arms, has shape \(0, 3\)",
    ),
    "table without arms": (
        lambda: jb.reward_table(np.zeros((3, 0))),
        r"table must have rows and arms",
    ),
    "table a vector": (lambda: jb.reward_table([1.0]), r"table must have shape \[rows, arms\]"),
    "table NaN": (lambda: jb.reward_table([[1.0, np.nan]]), r"table must be finite.*\(0, 1\)"),
    "preset": (lambda: jb.confidence("papers"), r'preset must be "paper" or "reference"'),
    "delta zero": (lambda: jb.confidence(delta=0.0), r"delta must lie strictly between 0 and 1"),
    "delta one": (lambda: jb.confidence(delta=1.0), r"delta must lie strictly between 0 and 1"),
    "delta NaN": (lambda: jb.confidence(delta=np.nan), r"delta must lie strictly between 0 and 1"),
    "delta missing": (
        lambda: jb.confidence(anytime=True),
        r"delta must be given where the horizon is unknown",
    ),
    "sigma zero": (lambda: jb.confidence(sigma=0.0), r"sigma must be positive"),
    "floor above": (
        lambda: jb.confidence(floor=2.0),
        r"floor must be below ceiling, was 2.0 and 1",
    ),
    "floor NaN": (lambda: jb.confidence(floor=np.nan), r"floor must be finite"),
    "ceiling infinite": (lambda: jb.confidence(ceiling=np.inf), r"ceiling must be finite"),
    "alpha negative": (lambda: jb.oto(-0.1), r"alpha must not be negative, was -0.1"),
    "alpha NaN": (lambda: jb.oto(np.nan), r"alpha must not be negative, was nan"),
    "budget": (lambda: jb.oto(budget="both"), r"budget must be one of separate, unified.*'both'"),
    "alpha negative, conservative": (
        lambda: jb.conservative_ucb(-0.1),
        r"alpha must not be negative, was -0.1",
    ),
    "alpha NaN, conservative": (
        lambda: jb.conservative_ucb(np.nan),
        r"alpha must not be negative, was nan",
    ),
    "conservative without data": (
        simulation(jb.conservative_ucb(), offline=None),
        r"policy 'mine': conservative UCB's baseline comes from offline data.*or use ucb",
    ),
    "conservative without data, one run": (
        rollout(None, policy=jb.conservative_ucb()),
        r"^conservative UCB's baseline comes from offline data, and there is none",
    ),
    "epsilon above one": (
        lambda: jb.epsilon_greedy(1.5),
        r"epsilon must lie in \[0, 1\] unless it decays \(decay=1\), was 1\.5",
    ),
    "epsilon negative": (
        lambda: jb.epsilon_greedy(-0.5, decay=1),
        r"epsilon must not be negative, was -0\.5",
    ),
    "epsilon NaN": (lambda: jb.epsilon_greedy(np.nan), r"epsilon must not be negative, was nan"),
    "decay negative": (lambda: jb.epsilon_greedy(decay=-1), r"decay must not be negative, was -1"),
    "rounds per arm zero": (
        lambda: jb.explore_then_commit(0),
        r"rounds_per_arm must be a whole number of at least 1, was 0",
    ),
    "rounds per arm not whole": (
        lambda: jb.explore_then_commit(2.5),
        r"rounds_per_arm must be a whole number of at least 1, was 2\.5",
    ),
    "arm negative": (
        lambda: jb.fixed_arm(-1),
        r"arm must be a whole number of at least 0, was -1",
    ),
    "arm true": (lambda: jb.fixed_arm(True), r"arm must be a whole number of at least 0, was True"),
    "arm beyond": (
        simulation(jb.fixed_arm(3)),
        r"policy 'mine': arm must be below 3, the number of arms, was 3",
    ),
    "arm beyond, one run": (
        rollout(policy=jb.fixed_arm(3)),
        r"^arm must be below 3, the number of arms, was 3",
    ),
    "sigma zero, MOSS": (lambda: jb.moss(0.0), r"sigma must be positive, was 0\.0"),
    "bias negative": (
        lambda: jb.min_ucb([0.1, -0.1]),
        r"bias_bound must be at least 0, or infinite, was \[0\.1, -0\.1\]",
    ),
    "bias NaN": (
        lambda: jb.min_ucb(np.nan),
        r"bias_bound must be at least 0, or infinite, was nan",
    ),
    "bias of other arms": (
        simulation(jb.min_ucb([0.1, 0.1])),
        r"policy 'mine': bias_bound must have shape \[arms\] = \(3,\), was \(2,\)",
    ),
    "successes zero": (
        lambda: jb.thompson_bernoulli(0.0),
        r"successes must be positive, was 0\.0",
    ),
    "failures of other arms": (
        simulation(jb.thompson_bernoulli(1.0, [1.0, 2.0])),
        r"policy 'mine': failures must have shape \[arms\] = \(3,\), was \(2,\)",
    ),
    "totals that are not successes": (
        simulation(
            jb.thompson_bernoulli(),
            jb.gaussian_arms([0.0, 1.0, 2.0], 1.0),
            offline=jb.OfflineArms([4, 0, 9], [5, 0, 5]),
        ),
        r"policy 'mine': thompson_bernoulli is for rewards in \[0, 1\].*or use thompson_gaussian",
    ),
    "noise zero": (lambda: jb.thompson_gaussian(0.0), r"noise_std must be positive, was 0\.0"),
    "prior mean NaN": (
        lambda: jb.thompson_gaussian(prior_mean=np.nan),
        r"prior_mean must be finite, was nan",
    ),
    "prior std negative": (
        lambda: jb.thompson_gaussian(prior_std=-1.0),
        r"prior_std must be positive, was -1\.0",
    ),
    "prior of other arms": (
        rollout(policy=jb.thompson_gaussian(prior_mean=[0.5])),
        r"^prior_mean must have shape \[arms\] = \(3,\), was \(1,\)",
    ),
    "checkpoints beyond": (
        simulation(checkpoints=[2, 5]),
        r"checkpoints must increase from at least 1 to at most the horizon 4, was \[2, 5\]",
    ),
    "checkpoint zero": (
        simulation(checkpoints=[0, 2]),
        r"checkpoints must increase from at least 1",
    ),
    "checkpoints equal": (simulation(checkpoints=[2, 2]), r"checkpoints must increase"),
    "checkpoints fall": (simulation(checkpoints=[3, 2]), r"checkpoints must increase"),
    "checkpoints not whole": (simulation(checkpoints=[1.5]), r"checkpoints must be whole numbers"),
    "checkpoints empty": (simulation(checkpoints=[]), r"checkpoints must be whole numbers"),
    "no policies": (
        lambda: jb.simulate(KEY, {}, ARMS, horizon=2, runs=2),
        r"policies must name at least one policy",
    ),
    "not a policy": (simulation(policy="ucb"), r"policy 'mine' must be a Policy, was str"),
    "policy not called": (
        simulation(policy=jb.ucb),
        r"policy 'mine' must be a Policy, was function",
    ),
    "not an environment": (
        simulation(environment=lambda key: jax.random.uniform(key, (3,))),
        r"environment must be an Environment, or a function key -> Environment",
    ),
    "state changes shape": (
        simulation(policy(update=lambda params, state, *rest: state[:2])),
        r"policy 'mine': update must give a state of the same.*\[3\].*\[2\]",
    ),
    "state changes type": (
        simulation(policy(update=lambda params, state, *rest: state.astype(jnp.int32))),
        r"policy 'mine': update must give a state of the same.*types",
    ),
    "state changes structure": (
        simulation(policy(update=lambda params, state, *rest: (state, state))),
        r"policy 'mine': update must give a state of the same structure",
    ),
    "arm not an integer": (
        simulation(policy(select=lambda params, state, round: jnp.float32(0))),
        r"policy 'mine': select must give one integer arm, gave float32\[\]",
    ),
    "several arms": (
        simulation(policy(select=lambda params, state, round: jnp.zeros(2, jnp.int32))),
        r"policy 'mine': select must give one integer arm, gave int32\[2\]",
    ),
    "unknown name": (
        simulation(then=lambda out: out["oto"]),
        r"no policy 'oto' was simulated, only mine",
    ),
    "unknown name in a pair": (
        simulation(then=lambda out: out.paired("mine", "oto")),
        r"no policy 'oto' was simulated, only mine",
    ),
    "arm that does not exist": (
        simulation(policy(select=lambda params, state, round: jnp.int32(3))),
        r"all 2 runs gave numbers.*chooses arms that do not exist",
    ),
    "arm below zero": (
        simulation(policy(select=lambda params, state, round: jnp.int32(-1))),
        r"all 2 runs gave numbers.*chooses arms that do not exist",
    ),
    "rewards not finite": (
        simulation(
            environment=jb.Environment((), jnp.full(3, 0.5), lambda *x: jnp.nan * jnp.zeros(()))
        ),
        r"all 2 runs gave numbers that are not finite in 'mine'; look at the parameters",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_message(case):
    assert_refused(*BAD[case])


def test_shapes_are_checked_when_values_are_not_known():
    with pytest.raises(jb.InputError, match=r"offline\.total must have shape"):
        jax.jit(lambda total: rollout(jb.OfflineArms(np.ones(3), total))().arm)(jnp.ones(2))


def test_totals_that_rewards_can_have_are_taken():
    table = jb.reward_table(np.full((3, 2), 0.1))
    np.testing.assert_allclose((table.low, table.high), 0.1, rtol=1e-7)
    for rounding in (1 - 3e-6, 1 + 3e-6):
        data = jb.OfflineArms([1001, 0], [1001 * 0.1 * rounding, 0])
        assert simulation(environment=table, offline=data)().runs == 2
    normal = jb.gaussian_arms([0.0, 1.0], 1.0)
    assert simulation(environment=normal, offline=jb.OfflineArms([1, 1], [-50, 50]))().runs == 2


def test_a_result_names_its_policies():
    out = simulation()()
    assert list(out) == ["mine"]
    assert repr(out).startswith("SimulationResult: 2 runs, regret after 4 rounds\n  mine  ")
