"""Every message a user can cause: one line, the name of what is wrong, and what to do."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import jaxbandit as jb
from tests.messages import assert_refused

LOG = {"task": np.array([0, 1]), "feature": np.eye(2), "reward": np.ones(2)}
MODEL = jb.HierarchicalGaussian(np.zeros(2), np.eye(2), np.eye(2), 1.0)
STATS = jb.empty_statistics(3, 2)
GAUSSIAN = jb.Gaussian(np.zeros(2), np.eye(2))
SKEW = np.array([[1.0, 0.5], [0.0, 1.0]])
INDEFINITE = np.array([[1.0, 2.0], [2.0, 1.0]])


def statistics(tasks=2, **changes):
    return lambda: jb.task_statistics(jb.BanditLog(**(LOG | changes)), tasks)


def posterior(function=jb.hyper_posterior, stats=STATS, **changes):
    return lambda: function(MODEL._replace(**changes), stats)


def record(**changes):
    one = {"task": 1, "feature": np.ones(2), "reward": 1.0}
    return lambda: jb.add_record(STATS, jb.BanditLog(**(one | changes)))


def scan(**changes):
    return lambda: jb.scan_statistics(STATS, jb.BanditLog(**(LOG | changes)))


def bound(feature=None, alpha=0.1, **changes):
    feature = np.eye(2) if feature is None else feature
    return lambda: jb.lower_confidence_bound(GAUSSIAN._replace(**changes), feature, alpha)


def taken(feature=None, action=(0, 0, 0)):
    feature = np.ones((3, 4, 2)) if feature is None else feature
    return lambda: jb.suboptimality(np.ones(2), feature, action)


def simulation(key=None, runs=2, records=(5,), algorithms=None, **changes):
    key = jax.random.key(0) if key is None else key
    options = {} if algorithms is None else {"algorithms": algorithms}

    def call():
        design = replace(jb.synthetic_design(features=2, tasks=3, contexts=5), **changes)
        jb.simulate_offpolicy(key, design, runs=runs, records=records, **options)

    return call


BAD = {
    "task out of range": (
        statistics(task=np.array([0, 2])),
        r"log\.task.*\[0, 2\).*2 at record 1.*tasks=",
    ),
    "task negative": (statistics(task=np.array([-1, 0])), r"log\.task.*-1 at record 0"),
    "task not integer": (
        statistics(task=np.array([0.0, 1.0])),
        r"log\.task must be integers.*number the",
    ),
    "feature NaN": (
        statistics(feature=np.array([[1, 0], [0, np.nan]])),
        r"log\.feature must be finite.*\(1, 1\).*drop",
    ),
    "feature infinite": (
        statistics(feature=np.array([[np.inf, 0], [0, 1]])),
        r"log\.feature must be finite.*inf",
    ),
    "reward NaN": (
        statistics(reward=np.array([np.nan, 0])),
        r"log\.reward must be finite.*\(0,\).*drop",
    ),
    "reward infinite": (
        statistics(reward=np.array([0, -np.inf])),
        r"log\.reward must be finite.*\(1,\)",
    ),
    "log empty": (
        statistics(task=np.zeros(0, int), feature=np.zeros((0, 2)), reward=np.zeros(0)),
        r"log\.feature must have records",
    ),
    "no features": (
        statistics(feature=np.zeros((2, 0))),
        r"log\.feature must have records and features",
    ),
    "feature rank": (
        statistics(feature=np.ones(2)),
        r"log\.feature must have shape \[records, features\]",
    ),
    "task rank": (
        statistics(task=np.zeros((2, 1), int)),
        r"log\.task must have shape \[records\] = \(2,\)",
    ),
    "reward length": (
        statistics(reward=np.ones(3)),
        r"log\.reward must have shape.*\(2,\), was \(3,\)",
    ),
    "feature masked": (
        statistics(feature=np.ma.masked_equal(np.eye(2), 0)),
        r"log\.feature has masked entries; drop them first",
    ),
    "reward masked": (
        statistics(reward=np.ma.array([1.0, 2.0], mask=[False, True])),
        r"log\.reward has masked entries; drop them first",
    ),
    "feature complex": (
        statistics(feature=1j * np.eye(2)),
        r"log\.feature must be real, was complex128; take the real part",
    ),
    "reward complex": (statistics(reward=np.ones(2, np.complex64)), r"log\.reward must be real"),
    "record's task out of range": (
        record(task=3),
        r"record\.task must lie in \[0, 3\), was 3; .*stats says how many",
    ),
    "record's task negative": (record(task=-1), r"record\.task must lie in.*was -1;"),
    "record's task not integer": (record(task=0.5), r"record\.task must be integers"),
    "record's feature of other d": (
        record(feature=np.ones(3)),
        r"record\.feature must have shape \[features\] = \(2,\), was \(3,\)",
    ),
    "record's reward NaN": (record(reward=np.nan), r"record\.reward must be finite"),
    "several records": (
        record(task=[0, 1], feature=np.eye(2), reward=[1, 2]),
        r"record\.task must have shape \[\] = \(\), was \(2,\)",
    ),
    "scanned task out of range": (
        scan(task=[0, 3]),
        r"log\.task must lie in \[0, 3\), was 3 at record 1; .*stats says how many",
    ),
    "scanned task negative": (scan(task=[-1, 0]), r"log\.task.*-1 at record 0"),
    "scanned feature rank": (
        scan(feature=np.ones(2)),
        r"log\.feature must have shape \[records, features\]",
    ),
    "scanned reward masked": (
        scan(reward=np.ma.masked_equal([1, 2], 2)),
        r"log\.reward has masked",
    ),
    "tasks zero": (statistics(tasks=0), r"tasks must be a whole number of at least 1, was 0"),
    "tasks not whole": (statistics(tasks=2.5), r"tasks must be a whole number"),
    "overflow": (
        statistics(feature=np.eye(2) * 1e30),
        r"overflow float32; rescale",
    ),
    "hyper_mean rank": (
        posterior(hyper_mean=np.zeros((2, 1))),
        r"hyper_mean must have shape \[features\]",
    ),
    "hyper_mean empty": (
        posterior(hyper_mean=np.zeros(0)),
        r"hyper_mean must have at least one feature",
    ),
    "hyper_mean NaN": (posterior(hyper_mean=np.array([0, np.nan])), r"hyper_mean must be finite"),
    "hyper_cov of other d": (
        posterior(hyper_cov=np.eye(3)),
        r"hyper_cov must have shape.*\(2, 2\).*\(3, 3\)",
    ),
    "task_cov of other d": (posterior(task_cov=np.eye(3)), r"task_cov must have shape"),
    "hyper_cov asymmetric": (posterior(hyper_cov=SKEW), r"hyper_cov must be symmetric; pass"),
    "task_cov asymmetric": (posterior(task_cov=SKEW), r"task_cov must be symmetric; pass"),
    "hyper_cov indefinite": (
        posterior(hyper_cov=INDEFINITE),
        r"hyper_cov must be positive semi-definite.*-1",
    ),
    "task_cov indefinite": (
        posterior(task_cov=INDEFINITE),
        r"task_cov must be positive semi-definite.*-1",
    ),
    "task_cov singular": (
        posterior(task_cov=np.ones((2, 2))),
        r"task_cov must be positive definite.*small variance",
    ),
    "task_cov infinite": (posterior(task_cov=np.full((2, 2), np.inf)), r"task_cov must be finite"),
    "noise zero": (posterior(noise_std=0.0), r"noise_std must be positive, was 0"),
    "noise negative": (posterior(noise_std=-1.0), r"noise_std must be positive, was -1"),
    "noise NaN": (posterior(noise_std=np.nan), r"noise_std must be positive, was nan"),
    "noise rank": (posterior(noise_std=np.ones(1)), r"noise_std must have shape"),
    "statistics of other d": (
        posterior(stats=jb.empty_statistics(3, 4)),
        r"stats\.gram must have shape.*2, 2.*4, 4",
    ),
    "statistics of no task": (
        posterior(stats=jb.empty_statistics(0, 2)),
        r"stats must have at least one task",
    ),
    "moment of other m": (
        posterior(stats=STATS._replace(moment=np.zeros((2, 2)))),
        r"stats\.moment must have shape",
    ),
    "alpha negative": (bound(alpha=-0.1), r"alpha must not be negative, was -0.1"),
    "alpha NaN": (bound(alpha=np.nan), r"alpha must not be negative, was nan"),
    "feature of other d": (
        bound(feature=np.ones(3)),
        r"feature must have shape \[\.\.\., 2\], was \(3,\)",
    ),
    "many means": (bound(mean=np.zeros((4, 2))), r"gaussian\.mean must have shape.*jax\.vmap"),
    "cov of other d": (bound(cov=np.eye(3)), r"gaussian\.cov must have shape"),
    "alpha of other shape": (
        bound(feature=np.ones((3, 2)), alpha=np.ones(2)),
        r"alpha and the bounds must have shapes that broadcast, were \(2,\) and \(3,\)",
    ),
    "candidate NaN": (
        bound(feature=np.array([[1, 0], [0, np.nan]])),
        r"feature must be finite, was nan at index \(1, 1\); drop",
    ),
    "candidate masked": (bound(feature=np.ma.masked_equal(np.eye(2), 0)), r"feature has masked"),
    "gaussian.mean NaN": (bound(mean=np.array([0, np.nan])), r"gaussian\.mean must be finite"),
    "gaussian.cov NaN": (bound(cov=np.full((2, 2), np.nan)), r"gaussian\.cov must be finite"),
    "gaussian.cov negative": (
        bound(cov=-np.eye(2)),
        r"gaussian\.cov must be positive semi-definite",
    ),
    "one action": (
        lambda: jb.pessimistic_action(GAUSSIAN, np.ones(2), 0.1),
        r"feature must have shape \[\.\.\., actions, features\], was \(2,\)",
    ),
    "no actions": (
        lambda: jb.pessimistic_action(GAUSSIAN, np.ones((3, 0, 2)), 0.1),
        r"feature must have shape \[\.\.\., actions, features\], was \(3, 0, 2\)",
    ),
    "hyper_parameter of other d": (
        lambda: jb.oracle_posteriors(MODEL, STATS, np.zeros(3)),
        r"hyper_parameter must have shape",
    ),
    "hyper_parameter NaN": (
        lambda: jb.oracle_posteriors(MODEL, STATS, np.array([np.nan, 0])),
        r"hyper_parameter must be finite",
    ),
    "action of other shape": (taken(action=np.zeros(2, int)), r"action must have shape"),
    "action out of range": (
        taken(action=[0, 4, 0]),
        r"action must lie in \[0, 4\), was 4 at context 1; it is the index",
    ),
    "action negative": (taken(action=[0, 0, -1]), r"action must lie in.*was -1 at context 2"),
    "action not integer": (taken(action=np.zeros(3)), r"action must be integers, was float64"),
    "choices NaN": (taken(feature=np.full((3, 4, 2), np.nan)), r"feature must be finite"),
    "choices of one context's one action": (
        taken(feature=np.ones(2), action=0),
        r"feature must have shape \[\.\.\., actions, features\]",
    ),
    "seed for a key": (
        simulation(key=0),
        r"key must be one PRNG key, was 0; make one with jax\.random\.key",
    ),
    "several keys": (
        simulation(key=jax.random.split(jax.random.key(0))),
        r"key must be one PRNG key",
    ),
    "runs zero": (simulation(runs=0), r"runs must be a whole number of at least 1, was 0"),
    "records not increasing": (simulation(records=(5, 5)), r"records must be increasing"),
    "records zero": (simulation(records=(0, 5)), r"records must be a whole number of at least 1"),
    "records empty": (simulation(records=()), r"records must be increasing"),
    "simulated tasks zero": (
        simulation(tasks=0),
        r"tasks must lie between 1 and max_tasks = 3, was 0",
    ),
    "simulated tasks many": (
        simulation(tasks=4),
        r"tasks must lie between 1 and max_tasks = 3, was 4",
    ),
    "simulated alpha": (simulation(alpha=-1.0), r"alpha must not be negative"),
    "contexts zero": (simulation(contexts=0), r"contexts must be a whole number of at least 1"),
    "actions zero": (simulation(actions=0), r"actions must be a whole number of at least 1"),
    "weights of other m": (simulation(task_weights=np.ones(2)), r"task_weights must have shape"),
    "weights negative": (
        simulation(task_weights=np.array([1, -1, 1.0])),
        r"task_weights must not be negative",
    ),
    "weights zero": (
        simulation(task_weights=np.zeros(3)),
        r"task_weights must have a positive sum",
    ),
    "no algorithms": (simulation(algorithms={}), r"algorithms must name at least one"),
    "algorithms in a list": (
        simulation(algorithms=[jb.hieropo]),
        r"algorithms must be a dictionary, \{.its name.: algorithm\}, was list",
    ),
    "algorithm no function": (
        simulation(algorithms={"mine": 3}),
        r"algorithm 'mine' must be a function of \(model, stats, hyper-parameter\), was 3",
    ),
    "algorithm of other type": (
        simulation(algorithms={"HierOPO": jb.hieropo, "mine": lambda m, s, h: tuple(STATS[:2])}),
        r"what algorithm 'mine' gives must be a Gaussian, was tuple",
    ),
    "algorithm of other mean": (
        simulation(algorithms={"mine": lambda m, s, h: GAUSSIAN}),
        r"what algorithm 'mine' gives, mean, must have shape .*\(3, 2\), was \(2,\)",
    ),
    "algorithm of other cov": (
        simulation(algorithms={"mine": lambda m, s, h: jb.Gaussian(s.moment, s.moment)}),
        r"what algorithm 'mine' gives, cov, must have shape .*\(3, 2, 2\), was \(3, 2\)",
    ),
    "instance of other type": (
        simulation(draw_instance=lambda key, design: (np.ones(2), np.ones((3, 2)))),
        r"what draw_instance gives must be an Instance, was tuple",
    ),
    "instance of other m": (
        simulation(draw_instance=lambda key, design: jb.Instance(np.ones(2), np.ones((4, 2)))),
        r"draw_instance gives, task_parameter, must have shape .*\(3, 2\), was \(4, 2\)",
    ),
    "instance of other d": (
        simulation(draw_instance=lambda key, design: jb.Instance(np.ones(3), np.ones((3, 2)))),
        r"draw_instance gives, hyper_parameter, must have shape .*\(2,\), was \(3,\)",
    ),
    "draws of other shape": (
        simulation(draw_features=lambda key, design, shape: np.ones(shape)),
        r"what draw_features gives must have shape .* = \(128, 2\), was \(128,\)",
    ),
    "logging policy of other shape": (
        simulation(logging_policy=lambda key, design, feature: np.zeros(2, int)),
        r"logging_policy must give one integer action, gave int\d+\[2\]",
    ),
    "logging policy of other type": (
        simulation(logging_policy=lambda key, design, feature: 1.5),
        r"logging_policy must give one integer action, gave float\d+\[\]",
    ),
    "simulation inside jit": (
        lambda: jax.jit(lambda key: simulation(key)())(jax.random.key(0)),
        r"a simulation must have values, was traced; call it outside jax\.jit",
    ),
    "design traced": (
        lambda: jax.jit(lambda alpha: simulation(alpha=alpha)())(0.1),
        r"a simulation must have values, was traced",
    ),
    "design features zero": (
        lambda: jb.synthetic_design(features=0),
        r"features must be a whole number",
    ),
    "design noise zero": (lambda: jb.synthetic_design(noise_std=0), r"noise_std must be positive"),
}


@pytest.mark.parametrize("case", BAD)
def test_message(case):
    assert_refused(*BAD[case])


def test_shapes_are_checked_when_values_are_not_known():
    with pytest.raises(jb.InputError, match="hyper_cov must have shape"):
        jax.jit(jb.hyper_posterior)(MODEL._replace(hyper_cov=np.eye(3)), STATS)
    # A bad number is not an exception inside compiled code.
    out = jax.jit(jb.hyper_posterior)(MODEL._replace(hyper_mean=np.array([np.nan, 0])), STATS)
    assert np.isnan(out.mean[0])
