"""Export: a program for every kind of device, made on this one, of every public function; and that
a function called again compiles nothing.

Bounds are exported in `bounds/test_public.py`, policies and the simulator of arms in
`policies/test_own_policies.py`.
"""

import inspect
import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.engine import devices
from jaxbandit.inference.fit import likelihood, mixture
from jaxbandit.policies.offline import ALGORITHMS
from jaxbandit.simulation import learning_curves
from jaxbandit.simulation.hierarchical import program as hierarchical_program
from jaxbandit.simulation.hierarchical.policy import usual_policies
from tests.simulation.cases import registered

PLATFORMS = ("cpu", "cuda", "tpu")
KEY = jax.random.key(0)


def assert_exports(name, function, arrays):
    exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arrays)
    assert exported.platforms == PLATFORMS, name


def test_what_is_exported_can_be_stored():
    model, stats = model_and_statistics(2)
    stored = jax.export.export(jax.jit(jb.task_posteriors))(model, stats).serialize()
    read = jax.export.deserialize(stored).call(model, stats)
    assert isinstance(read, jb.Gaussian)
    for one, two in zip(read, jb.task_posteriors(model, stats), strict=True):
        np.testing.assert_allclose(one, two)


@pytest.mark.parametrize("tasks", [1, 700])
def test_one_export_serves_any_number_of_tasks(tasks):
    (any_number,) = jax.export.symbolic_shape("tasks")
    model, stats = model_and_statistics(2)
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((any_number, *x.shape[1:]), x.dtype), stats
    )

    def everything(model, stats):
        return jb.task_posteriors(model, stats), jax.grad(jb.log_marginal_likelihood)(model, stats)

    exported = jax.export.export(jax.jit(everything))(model, shapes)
    one = jb.Gaussian(jnp.zeros(2), jnp.eye(2))
    bounds = jax.jit(lambda x: jb.lower_confidence_bound(one, x, 1))
    jax.export.export(bounds)(jax.ShapeDtypeStruct((any_number, 2), float))
    given = jb.empty_statistics(tasks, 2)._replace(
        gram=jnp.broadcast_to(jnp.array([[2.0, 1.0], [1.0, 3.0]]), (tasks, 2, 2)),
        moment=jnp.arange(2.0 * tasks).reshape(tasks, 2) / tasks,
    )
    found, expected = exported.call(model, given), everything(model, given)
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


def model_and_statistics(d):
    model = jb.HierarchicalGaussian(jnp.zeros(d), jnp.eye(d), jnp.eye(d), jnp.ones(()))
    return model, jb.empty_statistics(4, d)


def posteriors_and_logs(d):
    """name -> (function of arrays, arrays), for d features."""
    model, stats = model_and_statistics(d)
    mu, one = jnp.zeros(d), jnp.ones(())
    log = jb.BanditLog(jnp.zeros(6, jnp.int32), jnp.ones((6, d)), jnp.ones(6))
    record = jax.tree.map(lambda x: x[0], log)
    theta, feature = jb.Gaussian(mu, jnp.eye(d)), jnp.ones((5, 3, d))
    posteriors = jb.Gaussian(jnp.zeros((4, d)), jnp.ones((4, d, d)))
    design = jb.synthetic_design(features=d, tasks=4, contexts=6)
    by_task = {
        function.__name__: (function, (model, stats))
        for function in (
            jb.hyper_posterior,
            jb.hyper_information,
            jb.task_posteriors,
            jb.flat_posteriors,
            jb.new_task_posterior,
            jb.log_marginal_likelihood,
            jb.scan_hyper_information,
        )
    }
    given = {
        function.__name__: (function, (model, stats, mu))
        for function in (jb.oracle_posteriors, jb.hieropo, jb.flatopo, jb.oracleopo)
    }
    information = jb.HyperInformation(jnp.eye(d), mu)
    return (
        by_task
        | given
        | {
            "hyper_posterior_from": (jb.hyper_posterior_from, (model, information)),
            "lower_confidence_bound": (jb.lower_confidence_bound, (theta, feature, 0.1)),
            "pessimistic_action": (jb.pessimistic_action, (theta, feature, 0.1)),
            "suboptimality": (jb.suboptimality, (mu, feature, jnp.zeros(5, jnp.int32))),
            "empty_statistics": (lambda: jb.empty_statistics(4, d), ()),
            "scan_statistics": (jb.scan_statistics, (stats, log)),
            "add_record": (jb.add_record, (stats, record)),
            "task_statistics": (lambda log: jb.task_statistics(log, 4), (log,)),
            "predict": (jb.predict, (posteriors, log, one)),
            "draw_from_model": (lambda k: jb.draw_from_model(k, design), (KEY,)),
            "draw_uniform_features": (lambda k: jb.draw_uniform_features(k, design, (3,)), (KEY,)),
            "draw_log": (
                lambda k: jb.draw_log(k, design, jb.draw_from_model(k, design), 10),
                (KEY,),
            ),
        }
    )


def other_functions():
    """name -> (function of arrays, arrays), where features play no part."""
    model, stats = model_and_statistics(2)
    particles, column, word = jnp.ones((5, 2)), jnp.ones(6), jnp.uint32(0)
    records = jb.TaskRecords(jnp.ones((4, 3, 2)), jnp.ones((4, 3)), jnp.ones((4, 3), bool))
    arm, log_weights = jnp.int32(1), jnp.zeros(5)

    def by_particles(tasks, data):
        weights = jb.particle_log_weights(particles, tasks.log_evidence, data)
        return jb.marginal_posteriors(particles, tasks.conditional, data, weights)

    def reward(environment, word):
        return environment.reward(environment.params, arm, word)

    return {
        "linear_gaussian": (
            lambda cov, data: by_particles(jb.linear_gaussian(cov, 0.5), data),
            (model.task_cov, stats),
        ),
        "bernoulli_laplace": (
            lambda cov, data: by_particles(jb.bernoulli_laplace(cov), data),
            (model.task_cov, records),
        ),
        "particle_log_weights": (
            lambda data: jb.particle_log_weights(
                particles, jb.bernoulli_laplace(jnp.eye(2)).log_evidence, data
            ),
            (records,),
        ),
        "marginal_posteriors": (
            lambda data: jb.marginal_posteriors(
                particles, jb.bernoulli_laplace(jnp.eye(2)).conditional, data, log_weights
            ),
            (records,),
        ),
        "effective_sample_size": (jb.effective_sample_size, (log_weights,)),
        "score_held_out": (jb.score_held_out, (jb.Prediction(column, column), column)),
        "ips_value": (jb.ips_value, (column, column, column)),
        "snips_value": (jb.snips_value, (column, column, column)),
        "doubly_robust_value": (jb.doubly_robust_value, 5 * (column,)),
        "bernoulli_arms": (lambda mean, w: reward(jb.bernoulli_arms(mean), w), (column, word)),
        "gaussian_arms": (lambda mean, w: reward(jb.gaussian_arms(mean, 1.0), w), (column, word)),
        "reward_table": (lambda table, w: reward(jb.reward_table(table), w), (particles, word)),
        "first_argmax": (jb.first_argmax, (column,)),
        "take": (jb.take, (column, arm)),
        "put": (jb.put, (column, arm, jnp.ones(()))),
        "add_at": (jb.add_at, (column, arm, jnp.ones(()))),
    }


# Loops on the host, by the compiled function that each of their passes calls.
PASSES = {
    "fit_hierarchy": likelihood._sums,
    "fit_hierarchy_mixture": mixture._em_step,
}
# In a tile of runs, here or in `policies/test_own_policies.py`.
IN_TILES = {
    "simulate_offpolicy",
    "simulate_hierarchical",
    "hierarchical_prior",
    "flat_prior",
    "hierarchical_thompson",
    "hierarchical_ucb",
    "simulate",
    "rollout",
} | {re.match(r"\w+", name)[0] for name in registered()}
# They only put together what others are given.
ON_THE_HOST = {"confidence", "grid", "synthetic_design"}


def test_every_public_function_is_here():
    public = {name: getattr(jb, name) for name in jb.__all__}
    functions = {x for x, value in public.items() if callable(value) and not inspect.isclass(value)}
    exported = {*posteriors_and_logs(2), *other_functions(), *PASSES, *IN_TILES}
    assert not exported & ON_THE_HOST
    assert functions == exported | ON_THE_HOST


@pytest.mark.parametrize("features", [3, 14])  # on both sides of `linalg.UNROLL_LIMIT`
def test_posteriors_and_logs_export(features):
    for name, call in posteriors_and_logs(features).items():
        assert_exports(name, *call)
    gradient = jax.grad(jb.log_marginal_likelihood)
    assert_exports("gradient", gradient, model_and_statistics(features))


def test_other_functions_export():
    for name, call in other_functions().items():
        assert_exports(name, *call)


def test_another_call_compiles_nothing(made):
    first, again = set(), set()
    for name, (function, arrays) in (posteriors_and_logs(3) | other_functions()).items():
        for compiling in (first, again):
            made.clear()
            function(*arrays)
            if "compile" in made:
                compiling.add(name)
    assert first
    assert again == set()


@pytest.mark.parametrize("features", [3, 14])
def test_passes_of_the_fits_export(features):
    with jax.enable_x64(True):  # as the fits do
        model, stats = jax.tree.map(
            lambda x: x.astype(float) if x.dtype == jnp.float32 else x,
            model_and_statistics(features),
        )
        state = mixture._State(
            jnp.full(2, 0.5),
            jnp.zeros((2, features)),
            jnp.stack([model.task_cov, model.task_cov]),
            model.noise_std,
        )
        assert state.cov.dtype == jnp.float64
        assert_exports("fit_hierarchy", PASSES["fit_hierarchy"], (model, stats))
        assert_exports(
            "fit_hierarchy_mixture",
            PASSES["fit_hierarchy_mixture"],
            (state, stats, model.task_cov),
        )


def assert_tile_exports(program, static, params):
    def tile(key, runs, params):
        return tuple(jax.tree.leaves(program(static, key, runs, params)))

    assert_exports(program.__module__, tile, (KEY, jnp.arange(4, dtype=jnp.uint32), params))


def test_tiles_export():
    design = learning_curves.check_design(jb.synthetic_design(features=2, tasks=4, contexts=6))
    assert_tile_exports(learning_curves._program, ((5, 10), tuple(ALGORITHMS.items())), design)
    policies = usual_policies()
    functions = tuple((name, policy._replace(params=None)) for name, policy in policies.items())
    numbers = tuple(policy.params for policy in policies.values())
    for platform in ("cuda", "cpu"):
        with devices.lowering_for(platform):
            assert_tile_exports(
                hierarchical_program.program,
                (functions, 6, 5, "random"),
                (design, numbers, jnp.asarray([3, 6])),
            )
