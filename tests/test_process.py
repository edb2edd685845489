"""A long-lived process: what it keeps, forks, settings of JAX, calls within transformations.

Each fails when what it names is undone: functions are static arguments of `jax.jit` (weak
references live), `Kept.put` evicts nothing (the bound), `check_process`, `settings.usual`,
`check_values` or `in_precision` does nothing.
"""

import gc
import os
import resource
import subprocess
import sys
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.checks import InputError
from jaxbandit.engine.kept import Kept, kind_of
from tests.forked import IN_A_FORK, LOG, MODEL

KEY = jax.random.key(0)
ARMS = jb.bernoulli_arms([0.5, 0.6, 0.7])
DESIGN = jb.synthetic_design(features=2, actions=2, tasks=2, contexts=5)
OFFLINE = jb.OfflineArms(np.array([2, 2, 1]), np.array([1, 2, 1]))


def simulate(key=KEY, policy=None, arms=ARMS, **options):
    options = {"horizon": 5, "runs": 3, "checkpoints": [5]} | options
    return jb.simulate(key, {"mine": policy or jb.ucb()}, arms, **options)["mine"].regret.mean


def rollout(key=KEY, policy=None, arms=ARMS):
    return jb.rollout(key, policy or jb.ucb(), arms, OFFLINE, horizon=5).arm


def offpolicy(key=KEY, algorithm=jb.hieropo, design=DESIGN, records=(5,)):
    algorithms = {"mine": algorithm}
    out = jb.simulate_offpolicy(key, design, runs=3, records=records, algorithms=algorithms)
    return out.suboptimality["mine"].mean


def hierarchical(key=KEY, policy=None, design=DESIGN, rounds=5):
    policies = {"mine": policy or jb.hierarchical_ucb()}
    out = jb.simulate_hierarchical(
        key, design, rounds=rounds, runs=3, policies=policies, checkpoints=[5]
    )
    return out.regret["mine"].mean


# What is kept.


def fresh(function):
    """The same function as a new object, such as a lambda of a call."""
    return lambda *arguments: function(*arguments)


def own_policy(**changes):
    usual = jb.ucb()
    functions = {name: fresh(getattr(usual, name)) for name in ("init", "select", "update")}
    policy = usual._replace(**functions)
    return policy, policy.update


def by_policy(play):
    policy, function = own_policy()
    play(policy=policy)
    return function


def by_reward():
    function = fresh(ARMS.reward)
    simulate(arms=ARMS._replace(reward=function))
    return function


def by_reward_of_a_rollout():
    function = fresh(ARMS.reward)
    rollout(arms=ARMS._replace(reward=function))
    return function


def by_drawn_environment():
    function = fresh(lambda key: jb.bernoulli_arms(jax.random.uniform(key, (3,))))
    simulate(arms=function)
    return function


def by_grid():
    policy, function = own_policy()
    simulate(policy=jb.grid([policy, policy]))
    return function


def by_method():
    class Mine:
        def update(self, *arguments):
            return jb.ucb().update(*arguments)

    mine = Mine()
    simulate(policy=jb.ucb()._replace(update=mine.update))
    return mine


def by_algorithm():
    function = fresh(jb.hieropo)
    offpolicy(algorithm=function)
    return function


def by_design(play):
    from dataclasses import replace

    function = fresh(DESIGN.draw_instance)
    play(design=replace(DESIGN, draw_instance=function))
    return function


def by_index():
    policy = jb.hierarchical_ucb()
    function = fresh(policy.index)
    hierarchical(policy=policy._replace(index=function))
    return function


KINDS = {
    "policy": lambda: by_policy(simulate),
    "policy of a rollout": lambda: by_policy(rollout),
    "grid": by_grid,
    "method": by_method,
    "reward": by_reward,
    "reward of a rollout": by_reward_of_a_rollout,
    "drawn environment": by_drawn_environment,
    "algorithm": by_algorithm,
    "design": lambda: by_design(offpolicy),
    "design online": lambda: by_design(hierarchical),
    "index": by_index,
}


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_kept_of_functions_that_are_gone(name):
    function = weakref.ref(KINDS[name]())
    gc.collect()
    assert function() is None


def resident():
    """Memory of this process, MB."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


@pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="only Linux tells resident memory so"
)
def test_memory_does_not_grow_with_calls():
    """In short what `scripts/soak.py` asks for minutes; a program that stays takes some 3 MB."""

    def calls(number):
        for count in range(number):
            rollout(jax.random.key(count))
            simulate(jax.random.key(count))
            if count % 16 == 0:
                by_policy(rollout)

    calls(17)
    before = resident()
    calls(64)
    assert resident() - before < 60


@pytest.mark.parametrize("play", [simulate, rollout, offpolicy, hierarchical])
def test_a_call_that_is_repeated_compiles_nothing(play, made):
    play()
    made.clear()
    play(jax.random.key(1))
    assert "compile" not in made


def test_the_last_are_kept():
    kept = Kept(2)
    for number in (1, 2, 1, 3):
        kept.put(kind_of(number), number)
    assert [kept.get(kind_of(number)) for number in (1, 2, 3)] == [1, None, 3]
    assert kept.get(kind_of(1.0)) is None  # Equal, and of another type.


# Transformations.

TRANSFORMED = {
    "jit, key": lambda: jax.jit(simulate)(KEY),
    "jit, closure": lambda: jax.jit(lambda: simulate())(),
    "jit, offline": lambda: jax.jit(lambda n: simulate(offline=jb.OfflineArms(n, jnp.zeros(3))))(
        jnp.ones(3)
    ),
    "vmap, alpha": lambda: jax.vmap(lambda a: simulate(policy=jb.oto(a)))(jnp.ones(2)),
    "vmap, horizon": lambda: jax.vmap(lambda n: simulate(horizon=n))(jnp.arange(5, 7)),
    "vmap, means": lambda: jax.vmap(lambda m: simulate(arms=jb.gaussian_arms(m, 1.0)))(
        jnp.ones((2, 3))
    ),
    "vmap, drawn": lambda: jax.vmap(lambda m: simulate(arms=lambda key: jb.gaussian_arms(m, 1.0)))(
        jnp.ones((2, 3))
    ),
    "grad": lambda: jax.grad(lambda a: simulate(policy=jb.oto(a))[-1])(0.1),
    "pmap": lambda: jax.pmap(simulate)(jax.random.split(KEY, 1)),
    "jit, off-policy": lambda: jax.jit(offpolicy)(KEY),
    "vmap, records": lambda: jax.vmap(lambda n: offpolicy(records=(n,)))(jnp.arange(5, 7)),
    "jit, hierarchical": lambda: jax.jit(hierarchical)(KEY),
    "vmap, rounds": lambda: jax.vmap(lambda n: hierarchical(rounds=n))(jnp.arange(5, 7)),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_a_simulation_within_a_transformation_is_refused(name):
    with pytest.raises(
        InputError, match=r"^a simulation must have values, was traced; call it out"
    ):
        TRANSFORMED[name]()


# x64, switched between making and playing.

MADE = {
    "ucb": (lambda: jb.ucb(jb.confidence(sigma=0.5, delta=0.1)), lambda p: by_both(policy=p)),
    "lcb": (jb.lcb, lambda p: by_both(policy=p)),
    "oto": (lambda: jb.oto(alpha=0.2), lambda p: by_both(policy=p)),
    # A quarter has the same digits in both: a budget that is just met must be so in either.
    "conservative": (lambda: jb.conservative_ucb(alpha=0.25), lambda p: by_both(policy=p)),
    "moss": (jb.moss, lambda p: by_both(policy=p)),
    "epsilon": (lambda: jb.epsilon_greedy(0.1), lambda p: by_both(policy=p)),
    "thompson_bernoulli": (jb.thompson_bernoulli, lambda p: by_both(policy=p)),
    "thompson_gaussian": (jb.thompson_gaussian, lambda p: by_both(policy=p)),
    "bernoulli_arms": (lambda: jb.bernoulli_arms([0.5, 0.6, 0.7]), lambda e: by_both(arms=e)),
    "gaussian_arms": (lambda: jb.gaussian_arms([0.5, 0.6, 0.7], 1.0), lambda e: by_both(arms=e)),
    "reward_table": (lambda: jb.reward_table(np.eye(3)), lambda e: by_both(arms=e)),
    "grid": (
        lambda: jb.grid([jb.oto(alpha=0.1), jb.oto(alpha=0.2)]),
        lambda g: [simulate(policy=g, offline=OFFLINE)],
    ),
    "design": (
        lambda: jb.synthetic_design(features=2, actions=2, tasks=2, contexts=5),
        lambda d: [offpolicy(design=d), hierarchical(design=d)],
    ),
    "hierarchical": (jb.hierarchical_ucb, lambda p: [hierarchical(policy=p)]),
    "model": (
        lambda: (jax.tree.map(jnp.asarray, MODEL), jb.task_statistics(LOG, 2)),
        lambda given: [jb.task_posteriors(*given).mean, jb.log_marginal_likelihood(*given)],
    ),
}


def by_both(**changes):
    return [simulate(offline=OFFLINE, **changes), rollout(**changes)]


@pytest.mark.parametrize("wide", [True, False], ids=["made wide", "played wide"])
@pytest.mark.parametrize("name", MADE)
def test_what_is_made_in_another_precision_plays(name, wide):
    make, play = MADE[name]
    with jax.enable_x64(wide):
        made = make()
    with jax.enable_x64(not wide):
        for found, wanted in zip(play(made), play(make()), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5)


# Settings.

SETTINGS = {
    "jax_numpy_rank_promotion": "raise",
    "jax_numpy_dtype_promotion": "strict",
    "jax_transfer_guard": "disallow",
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_check_tracer_leaks": True,
    "jax_disable_jit": True,
}


def made_and_played():
    arms = jb.gaussian_arms([0.1, 0.2], 0.5)
    grid = jb.grid([jb.oto(alpha=0.1), jb.oto(alpha=0.2)])
    return (
        rollout(),
        simulate(policy=jb.thompson_gaussian(), arms=arms),
        simulate(policy=grid, offline=OFFLINE),
        offpolicy(),
        hierarchical(),
    )


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_find_mistakes_change_nothing(name):
    usual, before = made_and_played(), getattr(jax.config, name)
    jax.config.update(name, SETTINGS[name])
    try:
        found = made_and_played()
    finally:
        jax.config.update(name, before)
    for one, other in zip(usual, found, strict=True):
        np.testing.assert_array_equal(one, other)


class Unhashable:
    """Equal by what it holds."""

    __hash__ = None

    def __call__(self, *arguments):
        raise AssertionError


@pytest.mark.parametrize("play", [simulate, rollout])
def test_a_function_that_cannot_be_hashed_is_refused(play):
    with pytest.raises(InputError, match=r"select must be hashable.* was Unhashable; give"):
        play(policy=jb.ucb()._replace(select=Unhashable()))


# Forks.


@pytest.mark.parametrize(
    ("use", "says"),
    [("used", "InputError this process was forked after JAX"), ("unused", "computed")],
)
def test_what_was_forked_after_use_is_refused(use, says, root_directory, environment):
    done = subprocess.run(
        [sys.executable, "-m", "tests.forked", use],
        env=environment,
        cwd=root_directory,
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(IN_A_FORK), done.stderr
    for name, line in zip(IN_A_FORK, lines, strict=True):
        assert line.startswith(f"{name} {says}")
