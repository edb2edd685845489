"""Every bound through the one door: named, documented, jitted, mapped, exported, its type kept."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from tests.simulation.cases import QUICK

B = jb.bounds
COUNT, MEAN = jnp.asarray([3.0, 0.0, 90.0]), jnp.asarray([0.25, 0.75, 0.5])
MODEL = jb.HierarchicalGaussian(jnp.zeros(2), jnp.eye(2), 0.5 * jnp.eye(2), jnp.asarray(0.5))
GRAM = jnp.stack([jnp.diag(jnp.asarray(x)) for x in ([4.0, 1.0], [2.0, 7.0], [0.0, 0.0])])
STATS = jb.TaskStatistics(GRAM, jnp.ones((3, 2)), jnp.ones(3), jnp.asarray([6, 9, 0]))
OPTIMAL = jnp.stack([jnp.diag(jnp.asarray(x)) for x in ([0.5, 0.25], [0.5, 0.5], [0.25, 0.5])])
CONTEXTS = jnp.asarray([[[0.6, 0.0], [0.0, 0.5]], [[0.0, 0.1], [0.9, 0.0]]])
THETA = jnp.asarray([1.0, 2.0])
TASKS = (MODEL, STATS.count, 0.5)

CALLS = {
    "ucb_regret": (COUNT, MEAN, 100.0),
    "ucb_minimax_regret": (COUNT, 100.0),
    "ucb_logging_regret": (COUNT, 100.0),
    "lcb_minimax_regret": (COUNT, 100.0),
    "lcb_logging_regret": (COUNT, 100.0),
    "oto_regret": (COUNT, MEAN, 100.0, 0.5),
    "oto_minimax_regret": (COUNT, 100.0, 0.5),
    "oto_logging_regret": (COUNT, 100.0, 0.5),
    "event_probability": (100.0,),
    "minimax_regret_lower": (COUNT, 100.0),
    "lcb_minimax_regret_lower": (COUNT, 100.0),
    "lcb_logging_regret_lower": (COUNT, 100.0),
    "ucb_logging_regret_lower": (COUNT, 100.0),
    "ucb_first_round_logging_regret_lower": (COUNT,),
    "exact_alpha": (2, 0.1),
    "paper_alpha": (2, 0.1),
    "interval_probability": (2, 1.5),
    "optimal_action": (THETA, CONTEXTS),
    "optimal_gram": (THETA, CONTEXTS),
    "task_gamma": (STATS, OPTIMAL),
    "pairwise_gamma": (STATS, OPTIMAL),
    "smallest_gamma": (jnp.ones(3), STATS.count),
    "scale_features": (2.0, MODEL, STATS),
    "data_dependent_bound": (jb.Gaussian(THETA, jnp.eye(2)), THETA, CONTEXTS, 1.5),
    "trace_bound": (jnp.eye(2), OPTIMAL[0], 1.5),
    "single_task_bound": (jnp.eye(2), 0.5, STATS.count, 0.5, 1.5),
    "flatopo_bound": (*TASKS, 1.5),
    "hieropo_bound": (*TASKS, OPTIMAL, 1.5),
    "hieropo_one_root_bound": (*TASKS, OPTIMAL, 1.5),
    "hieropo_sparse_bound": (*TASKS, 1.5),
    "hieropo_sparse_one_root_bound": (*TASKS, 1.5),
}
COUNTED = {"exact_alpha", "paper_alpha", "interval_probability"}
"""Functions whose first argument is the number of features: part of the program, not an array."""


def test_every_function_is_called_here():
    functions = {name for name in B.__all__ if inspect.isfunction(getattr(B, name))}
    assert functions == set(CALLS)
    assert set(B.__all__) - functions == {"SuboptimalityBound"}


@pytest.mark.parametrize("name", B.__all__)
def test_documented(name):
    words = inspect.getdoc(getattr(B, name))
    assert words
    if name in CALLS:
        assert "Raises:" in words or "Raises" in words.split("Source")[0]
        assert "Args" in words


def program(name):
    """The function of its arrays alone, and the arrays."""
    function, arguments = getattr(B, name), CALLS[name]
    if name in COUNTED:
        function, arguments = partial(function, arguments[0]), arguments[1:]
    # Numbers as arrays, so that everything is traced.
    arrays = jax.tree.map(lambda x: jnp.asarray(x, float) if isinstance(x, float) else x, arguments)
    return function, arrays


@pytest.mark.parametrize("name", CALLS)
def test_jit_and_vmap_are_the_plain_call(name):
    function, arrays = program(name)
    plain = jax.tree.leaves(function(*arrays))
    twice = jax.tree.map(lambda x: jnp.stack([x, x]), arrays)
    mapped = jax.jit(jax.vmap(function), compiler_options=QUICK)(*twice)
    for one, two in zip(plain, jax.tree.leaves(mapped), strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_allclose(two, jnp.stack([one, one]), rtol=1e-5)
        assert np.isfinite(one).all()
        if jnp.issubdtype(one.dtype, jnp.floating):
            assert one.dtype == jnp.result_type(float)


@pytest.mark.parametrize("name", CALLS)
def test_another_call_compiles_nothing(name, made):
    function, arguments = getattr(B, name), CALLS[name]
    function(*arguments)
    made.clear()
    function(*arguments)
    assert "compile" not in made


@pytest.mark.parametrize("name", CALLS)
def test_exports_for_every_device(name):
    function, arrays = program(name)
    platforms = ("cpu", "cuda", "tpu")
    exported = jax.export.export(jax.jit(function), platforms=platforms)(*arrays)
    assert exported.platforms == platforms


def test_hard_instances_have_the_bound_they_are_for():
    count, hard = [3, 9, 90], jb.hard_instances
    for instance, bound in (
        (hard.lcb_unexplored(count, 30), B.lcb_minimax_regret_lower(count, 30)),
        (hard.lcb_misled(count, 30), B.lcb_logging_regret_lower(count, 30)),
        (hard.ucb_equalised(count, 30), B.ucb_logging_regret_lower(count, 30)),
        (hard.ucb_first_round(count), B.ucb_first_round_logging_regret_lower(count)),
        (hard.confusable_pair(count, 30)[1], B.minimax_regret_lower(count, 30)),
    ):
        assert isinstance(instance, jb.HardInstance)
        assert instance.regret == bound
        assert np.all(np.asarray(instance.environment.mean) >= 0)
        assert np.all(np.asarray(instance.environment.mean) <= 1)
