"""Online learning of many tasks: against a plain loop, and what the model promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.hierarchical.policy import usual_policies
from jaxbandit.hierarchical.simulate import draw_situation, draw_start
from jaxbandit.keys import run_key
from jaxbandit.offpolicy.design import check_design
from tests.messages import assert_refused
from tests.online.cases import QUICK

KEY = jax.random.key(5)
DESIGN = jb.synthetic_design(features=2, actions=3, tasks=4, task_std=0.2, noise_std=0.5)
THOMPSON = {name: policy for name, policy in usual_policies().items() if name.endswith("TS")}


@pytest.fixture(scope="module")
def without_log():
    return jb.simulate_hierarchical(KEY, DESIGN, rounds=120, runs=512, policies=THOMPSON)


@pytest.fixture(scope="module")
def with_log():
    return jb.simulate_hierarchical(
        KEY, DESIGN, rounds=120, runs=512, records=80, policies=THOMPSON
    )


def loop(prior_mean, prior_cov, task_cov, stats, situations, theta, width):
    """UCB in NumPy and float64: each round conditions all tasks and the hyper-parameter at once."""
    m, d = theta.shape
    inverse = np.linalg.inv(task_cov)
    gram, moment = np.array(stats.gram, float), np.array(stats.moment, float)
    regret = 0.0
    for task, feature, noise in situations:
        precision = np.zeros(((m + 1) * d, (m + 1) * d))
        vector = np.zeros((m + 1) * d)
        precision[:d, :d] = np.linalg.inv(prior_cov) + m * inverse
        vector[:d] = np.linalg.solve(prior_cov, prior_mean)
        for s in range(m):
            rows = slice((s + 1) * d, (s + 2) * d)
            precision[rows, rows] = inverse + gram[s] / 0.25
            precision[rows, :d] = precision[:d, rows] = -inverse
            vector[rows] = moment[s] / 0.25
        joint = np.linalg.inv(precision)
        rows = slice((task + 1) * d, (task + 2) * d)
        mean, cov = (joint @ vector)[rows], joint[rows, rows]
        index = feature @ mean + width * np.sqrt(np.einsum("ai,ij,aj->a", feature, cov, feature))
        action = int(np.argmax(index))
        value = feature @ theta[task]
        gram[task] += np.outer(feature[action], feature[action])
        moment[task] += feature[action] * (value[action] + noise)
        regret += value.max() - value[action]
    return regret


def situations_of(key, rounds, order):
    draw = jax.vmap(lambda t: draw_situation(key, check_design(DESIGN), t, rounds, order))
    return jax.jit(draw, compiler_options=QUICK)(jnp.arange(1, rounds + 1, dtype=jnp.uint32))


def test_ucb_decides_as_a_dense_loop():
    rounds, runs, width = 60, 4, 1.5
    expected = []
    for run in range(runs):
        key = run_key(KEY, run)
        instance, stats = draw_start(key, check_design(DESIGN), 10)
        drawn = situations_of(key, rounds, "random")
        situations = zip(*(np.asarray(x) for x in drawn[:3]), strict=True)
        theta = np.asarray(instance.task_parameter, float)
        expected.append(
            loop(np.zeros(2), 0.25 * np.eye(2), 0.04 * np.eye(2), stats, situations, theta, width)
        )
    policies = {"ucb": jb.hierarchical_ucb(width)}
    out = jb.simulate_hierarchical(
        KEY, DESIGN, rounds=rounds, runs=runs, records=10, policies=policies
    )
    # The same regret in sum and in spread: the same decisions.
    np.testing.assert_allclose(out.regret["ucb"].mean[-1], np.mean(expected), rtol=1e-4)
    np.testing.assert_allclose(out.regret["ucb"].std[-1], np.std(expected, ddof=1), rtol=1e-3)


def test_order_of_tasks():
    task = situations_of(KEY, 60, "sequential").task
    np.testing.assert_array_equal(task, np.repeat(np.arange(4), 15))
    count = np.bincount(situations_of(KEY, 2000, "random").task, minlength=4)
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
    assert without_log.round[-1] == 120
    regret = without_log.regret["HierTS"]
    assert np.all(np.diff(regret.mean) >= 0)
    assert np.all(regret.count == 512)
    fewer = jb.simulate_hierarchical(
        KEY, DESIGN, rounds=120, runs=512, policies=THOMPSON, threads=1
    )
    np.testing.assert_array_equal(fewer.regret["HierTS"].mean, regret.mean)


BAD = {
    "rounds": ({"rounds": 0}, r"rounds must be a whole number of at least 1, was 0"),
    "records": ({"records": -1}, r"records must be a whole number of at least 0, was -1"),
    "order": ({"order": "mixed"}, r"order must be .random. or .sequential., was 'mixed'"),
    "no policies": ({"policies": {}}, r"policies must name at least one policy"),
    "checkpoints": (
        {"checkpoints": [3, 11]},
        r"checkpoints must increase from at least 1 to at most the horizon 10",
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
