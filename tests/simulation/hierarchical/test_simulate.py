"""Online learning of many tasks: against a plain loop, and what the model promises."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.engine.keys import run_key
from jaxbandit.environments.linear_tasks import check_design
from jaxbandit.simulation.hierarchical.policy import usual_policies
from jaxbandit.simulation.hierarchical.program import draw_situation, draw_start, rounds_at_once
from tests import oracle
from tests.messages import assert_refused
from tests.simulation.cases import QUICK

KEY = jax.random.key(5)
DESIGN = jb.synthetic_design(features=2, actions=3, tasks=4, task_std=0.2, noise_std=0.5)
WIDTH = 1.5
POLICIES = usual_policies(WIDTH)
THOMPSON = {name: policy for name, policy in POLICIES.items() if name.endswith("TS")}
ROUNDS, RECORDS = 120, 80


def simulate_from_log(design, runs):
    """All policies, compiled once for all tests, and reported after every round."""
    return jb.simulate_hierarchical(
        KEY, design, rounds=ROUNDS, runs=runs, records=RECORDS, policies=POLICIES
    )


@pytest.fixture(scope="module")
def without_log():
    return jb.simulate_hierarchical(KEY, DESIGN, rounds=ROUNDS, runs=512, policies=THOMPSON)


@pytest.fixture(scope="module")
def with_log():
    return simulate_from_log(DESIGN, 512)


def situations_of(key, design, rounds, order="random", theta=None):
    theta = jnp.zeros((design.max_tasks, 2)) if theta is None else jnp.asarray(theta, float)
    draw = jax.vmap(lambda t: draw_situation(key, check_design(design), theta, t, rounds, order))
    return jax.jit(draw, compiler_options=QUICK)(jnp.arange(1, rounds + 1, dtype=jnp.uint32))


# Every action, against a plain loop on the same draws.

RULES = {
    "TS": lambda x, mean, cov, normal: x @ (mean + np.linalg.cholesky(cov) @ normal),
    "UCB": lambda x, mean, cov, _: x @ mean + WIDTH * np.sqrt(np.sum(x @ cov * x, axis=1)),
}


def beliefs(model, hyper_parameter):
    """Models that the policies believe in: hyper-mean, hyper-cov, task-cov, noise."""
    mean, hyper_cov, task_cov, noise_std = (np.asarray(part, float) for part in model)
    return {
        "Hier": (mean, hyper_cov, task_cov, noise_std),
        "Flat": (mean, 0 * hyper_cov, hyper_cov + task_cov, noise_std),
        "Oracle": (hyper_parameter, 0 * hyper_cov, task_cov, noise_std),
    }


def actions_of(rule, belief, stats, situations, theta):
    """[rounds], in NumPy and float64: each round conditions all tasks at once on all records."""
    gram, moment = np.array(stats.gram, float), np.array(stats.moment, float)
    actions = []
    for task, feature, _, noise, normal in zip(*situations, strict=True):
        mean, cov = oracle.condition_on_sums(*belief, gram, moment)
        action = int(np.argmax(rule(feature, mean[task], cov[task], normal)))
        taken = feature[action]
        gram[task] += np.outer(taken, taken)
        moment[task] += taken * (taken @ theta[task] + noise)
        actions.append(action)
    return np.array(actions)


def test_every_action_is_that_of_a_plain_loop():
    runs = 3
    model = jb.HierarchicalGaussian(
        np.array([0.4, -0.2]),
        np.array([[0.4, -0.15], [-0.15, 0.2]]),
        np.array([[0.1, 0.06], [0.06, 0.08]]),
        np.array(0.5),
    )
    design = dataclasses.replace(DESIGN, model=model)
    # What all of the first runs lost up to each round, for more and more runs.
    totals = {name: [np.zeros(ROUNDS)] for name in POLICIES}
    for count in range(1, runs + 1):
        regret = simulate_from_log(design, count).regret
        for name, total in totals.items():
            total.append(count * regret[name].mean)
    start = jax.jit(
        lambda key: draw_start(key, check_design(design), RECORDS), compiler_options=QUICK
    )
    for run in range(runs):
        key = run_key(KEY, run)
        instance, stats = start(key)
        theta = np.asarray(instance.task_parameter, float)
        situations = [np.asarray(x, float) for x in situations_of(key, design, ROUNDS)]
        situations[0] = situations[0].astype(int)
        value = np.sum(situations[1] * theta[situations[0]][:, None], axis=2)
        for believer, belief in beliefs(model, instance.hyper_parameter).items():
            for named, rule in RULES.items():
                upto = totals[believer + named]
                lost = np.diff(upto[run + 1] - upto[run], prepend=0)
                # The action whose value is what was lost short of the best.
                off = np.abs(value.max(axis=1, keepdims=True) - value - lost[:, None])
                assert off.min(axis=1).max() < 1e-4
                np.testing.assert_array_equal(
                    off.argmin(axis=1), actions_of(rule, belief, stats, situations, theta)
                )


# Policies of a user, which are the known ones in other words.


def ucb_by_products(width, gaussian, feature, normal):
    variance = jnp.einsum("ai,ij,aj->a", feature, gaussian.cov, feature)
    return feature @ gaussian.mean + width * jnp.sqrt(variance)


def thompson_by_the_library(params, gaussian, feature, normal):
    return feature @ (gaussian.mean + jnp.linalg.cholesky(gaussian.cov) @ normal)


@pytest.mark.parametrize(
    ("params", "index", "named"),
    [
        (jnp.asarray(WIDTH, float), ucb_by_products, "HierUCB"),
        ((), thompson_by_the_library, "HierTS"),
    ],
)
def test_a_policy_of_your_own(params, index, named):
    own = jb.HierarchicalPolicy(params, jb.hierarchical_prior, index)
    out = jb.simulate_hierarchical(
        KEY, DESIGN, rounds=50, runs=64, policies={"own": own, named: POLICIES[named]}
    )
    # Sums round otherwise, and now and then a choice is a near-tie.
    difference = out.differences["own", named]
    assert abs(difference.mean[-1]) < 0.01 * out.regret[named].mean[-1]


def test_an_index_that_is_no_number():
    def late(params, gaussian, feature, normal):
        return jnp.where(normal[0] > 2.5, jnp.nan, feature[:, 0]) * jnp.asarray([1.0, 0.5, 0.25])

    own = {"own": jb.HierarchicalPolicy((), jb.hierarchical_prior, late)}
    with pytest.warns(UserWarning, match="of 100 runs are left out"):
        out = jb.simulate_hierarchical(KEY, DESIGN, rounds=60, runs=100, policies=own)
    draw = jax.vmap(lambda run: situations_of(run_key(KEY, run), DESIGN, 60).normal[:, 0])
    bad = np.flatnonzero(np.any(draw(jnp.arange(100)) > 2.5, axis=1))
    said = (
        f"HierarchicalResult: 100 runs, regret after 60 rounds ({len(bad)} runs left out)\n  own  "
    )
    assert repr(out).startswith(said)
    assert 10 < len(bad) < 90
    np.testing.assert_array_equal(out.non_finite, bad)


def test_rounds_that_are_drawn_in_several_blocks():
    design = dataclasses.replace(DESIGN, actions=60)
    one, several = (
        jb.simulate_hierarchical(
            KEY, design, rounds=rounds, runs=64, policies=THOMPSON, checkpoints=[10, 18]
        )
        for rounds in (18, 75)
    )
    assert [rounds_at_once(64, rounds, check_design(design)) for rounds in (18, 75)] == [18, 19]
    for name in THOMPSON:
        np.testing.assert_allclose(several.regret[name].mean, one.regret[name].mean, rtol=1e-4)


def test_order_of_tasks():
    task = situations_of(KEY, DESIGN, 60, "sequential").task
    np.testing.assert_array_equal(task, np.repeat(np.arange(4), 15))
    count = np.bincount(situations_of(KEY, DESIGN, 2000).task, minlength=4)
    assert len(count) == 4
    assert np.all(np.abs(count - 500) < 4 * np.sqrt(2000 * 0.25 * 0.75))


def test_hierarchical_is_between_flat_and_oracle(without_log):
    for better, worse in (("OracleTS", "HierTS"), ("HierTS", "FlatTS")):
        difference = without_log.differences.get((worse, better))
        sign = 1
        if difference is None:
            difference, sign = without_log.differences[better, worse], -1
        assert sign * difference.mean[-1] > 5 * difference.sem[-1]
    regret = {name: moments.mean[-1] for name, moments in without_log.regret.items()}
    # Nearer to the oracle than to those who share nothing.
    assert regret["HierTS"] - regret["OracleTS"] < regret["FlatTS"] - regret["HierTS"]


def test_a_log_helps(without_log, with_log):
    for name in ("HierTS", "FlatTS"):
        before, after = without_log.regret[name], with_log.regret[name]
        error = np.hypot(before.sem[-1], after.sem[-1])
        assert before.mean[-1] - after.mean[-1] > 5 * error


def test_checkpoints_and_runs(without_log):
    assert without_log.round[0] == 1
    assert without_log.round[-1] == ROUNDS
    regret = without_log.regret["HierTS"]
    assert np.all(np.diff(regret.mean) >= 0)
    assert np.all(regret.count == 512)
    fewer = jb.simulate_hierarchical(
        KEY, DESIGN, rounds=ROUNDS, runs=512, policies=THOMPSON, threads=1
    )
    np.testing.assert_array_equal(fewer.regret["HierTS"].mean, regret.mean)


def one_number(width, gaussian, feature, normal):
    """An index of one's own: of one action, where all are asked for."""
    return gaussian.mean[0]


BAD = {
    "rounds": ({"rounds": 0}, r"rounds must be a whole number of at least 1, was 0"),
    "records": ({"records": -1}, r"records must be a whole number of at least 0, was -1"),
    "order": ({"order": "mixed"}, r"order must be .random. or .sequential., was 'mixed'"),
    "too many rounds": (
        {"rounds": 2**30, "order": "sequential", "checkpoints": [1]},
        r"rounds times tasks must be at most 2147483647 in sequential order, was \d+ times 4",
    ),
    "no policies": ({"policies": {}}, r"policies must name at least one policy"),
    "checkpoints": (
        {"checkpoints": [3, 11]},
        r"checkpoints must increase from at least 1 to at most the horizon 10",
    ),
    "policies in a list": (
        {"policies": [POLICIES["HierTS"]]},
        r"policies must be a dictionary, .*, was list",
    ),
    "policy of other type": (
        {"policies": {"lcb": jb.lcb()}},
        r"policy 'lcb' must be a HierarchicalPolicy, was Policy",
    ),
    "index of other shape": (
        {"policies": {"mine": POLICIES["HierUCB"]._replace(index=one_number)}},
        r"what index 'one_number' gives must have shape \[actions\] = \(3,\), was \(\)",
    ),
    "instance": (
        {"design": dataclasses.replace(DESIGN, draw_instance=lambda key, design: None)},
        r"what draw_instance gives must be an Instance, was NoneType",
    ),
    "features": (
        {"design": dataclasses.replace(DESIGN, draw_features=lambda key, _, shape: np.ones(shape))},
        r"what draw_features gives must have shape .* = \(3, 2\), was \(3,\)",
    ),
    "key": ({"key": 3}, r"key must be one PRNG key, was 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_messages(case):
    changes, message = BAD[case]
    options = {"key": KEY, "design": DESIGN, "rounds": 10, "runs": 2} | changes
    assert_refused(lambda: jb.simulate_hierarchical(**options), message)


def test_a_width_that_is_negative():
    assert_refused(lambda: jb.hierarchical_ucb(-1.0), "width must not be negative")
