"""Importing, documentation and export of the public names."""

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import jaxbandit as jb
from jaxbandit.offpolicy import simulate
from jaxbandit.offpolicy.policy import ALGORITHMS

HEAVY = [
    "polars",
    "matplotlib",
    "sklearn",
    "tyro",
    "rich",
    "pooch",
    "optax",
    "equinox",
    "scipy.sparse",
    "xarray",
    "zarr",
    "distributed",
    "platformdirs",
    "tomli_w",
]


def test_import_is_light(root_directory, environment):
    def loaded(imports):
        code = f"import sys\n{imports}\nprint(*[m for m in {HEAVY} if m in sys.modules])"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=root_directory,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return set(done.stdout.split())

    alone = loaded("import jax, jax.numpy, jax.scipy, numpy")
    assert loaded("import jaxbandit") <= alone


PUBLIC = [name for name in vars(jb) if not name.startswith("_")]


def test_public_names_are_documented():
    for name in PUBLIC:
        value = getattr(jb, name)
        if inspect.ismodule(value):
            continue
        own = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
        assert (own or "").strip(), name
        # A NamedTuple without words of its own says no more than its fields.
        assert not own.startswith(f"{name}("), name


MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(jb.__path__, "jaxbandit.")
    if not module.ispkg and module.name != "jaxbandit.__main__"
)


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_some_doctests_are_found():
    finder = doctest.DocTestFinder()
    module = importlib.import_module("jaxbandit.offpolicy.posterior")
    assert any(test.examples for test in finder.find(module))


def test_the_readme_runs(root_directory):
    text = (root_directory / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4
    code = re.sub(r"\bruns=[\d_]+", "runs=8", "".join(blocks))  # They only have to run.
    assert code.count("runs=8") == 3
    names = {"__name__": "readme"}
    exec(compile(code, "README.md", "exec"), names)
    assert names["out"]["oto"].regret.mean.shape == (4, 200)
    assert names["action"].shape == (10, 100)


# Export: a program for every kind of device, made on this one.


def exports():
    """(name, function of arrays, arrays), for features on both sides of `UNROLL_LIMIT`."""
    for d in (3, 14):
        model = jb.HierarchicalGaussian(jnp.zeros(d), jnp.eye(d), jnp.eye(d), jnp.ones(()))
        stats, mu = jb.empty_statistics(4, d), jnp.zeros(d)
        log = jb.BanditLog(jnp.zeros(6, jnp.int32), jnp.ones((6, d)), jnp.ones(6))
        record = jax.tree.map(lambda x: x[0], log)
        information = jb.HyperInformation(jnp.eye(d), mu)
        theta, feature = jb.Gaussian(mu, jnp.eye(d)), jnp.ones((5, 3, d))
        action = jnp.zeros(5, jnp.int32)
        for function in (
            jb.hyper_posterior,
            jb.hyper_information,
            jb.task_posteriors,
            jb.flat_posteriors,
            jb.new_task_posterior,
            jb.log_marginal_likelihood,
            jb.scan_hyper_information,
            jax.grad(jb.log_marginal_likelihood),
        ):
            yield f"{function.__name__}-{d}", function, (model, stats)
        for function in (jb.oracle_posteriors, jb.hieropo, jb.flatopo, jb.oracleopo):
            yield f"{function.__name__}-{d}", function, (model, stats, mu)
        yield f"hyper_posterior_from-{d}", jb.hyper_posterior_from, (model, information)
        yield f"lower_confidence_bound-{d}", jb.lower_confidence_bound, (theta, feature, 0.1)
        yield f"pessimistic_action-{d}", jb.pessimistic_action, (theta, feature, 0.1)
        yield f"suboptimality-{d}", jb.suboptimality, (mu, feature, action)
        yield f"scan_statistics-{d}", jb.scan_statistics, (stats, log)
        yield f"add_record-{d}", jb.add_record, (stats, record)
        yield f"task_statistics-{d}", lambda log: jb.task_statistics(log, 4), (log,)
        design = jb.synthetic_design(features=d, tasks=4, contexts=6)
        yield f"draw_from_model-{d}", lambda k, c=design: jb.draw_from_model(k, c), (KEY,)
        yield f"draw_log-{d}", lambda k, c=design: draw_log(k, c), (KEY,)


KEY = jax.random.key(0)


def draw_log(key, design):
    return jb.draw_log(key, design, jb.draw_from_model(key, design), 10)


def test_everything_exports_for_every_device():
    for name, function, arrays in exports():
        exported = jax.export.export(jax.jit(function), platforms=("cpu", "cuda", "tpu"))(*arrays)
        assert exported.platforms == ("cpu", "cuda", "tpu"), name


def test_a_tile_of_runs_exports_for_every_device():
    design = simulate.check_design(jb.synthetic_design(features=2, tasks=4, contexts=6))
    static = ((5, 10), tuple(ALGORITHMS.items()))

    def tile(key, runs):
        return tuple(jax.tree.leaves(simulate._program(static, key, runs, design)))

    runs = jnp.arange(4, dtype=jnp.uint32)
    exported = jax.export.export(jax.jit(tile), platforms=("cpu", "cuda", "tpu"))(KEY, runs)
    assert exported.platforms == ("cpu", "cuda", "tpu")
