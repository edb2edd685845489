"""Policies of the user's own; and programs for every platform."""

import re
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.engine import devices, programs
from jaxbandit.simulation import simulate
from tests.simulation.cases import QUICK, registered
from tests.simulation.test_simulate import COUNT, ENVIRONMENT, HORIZON, KEY, play

PLATFORMS = ("cpu", "cuda", "tpu")
REGISTERED = {name: pair[0] for name, pair in registered().items()}


# A user's UCB, written as one would on paper: all bounds anew in each round.


def my_init(sigma, problem):
    return {"count": problem.count, "total": problem.total}


def my_select(sigma, state, round):
    count = jnp.maximum(state["count"], 1)
    log = jnp.log(count.shape[0]) + 2 * jnp.log(round.horizon)
    upper = state["total"] / count + jnp.sqrt(2 * sigma**2 * log / count)
    return jb.first_argmax(jnp.where(state["count"] > 0, upper, jnp.inf))


def my_update(sigma, state, round, arm, reward):
    return {
        "count": state["count"].at[arm].add(1),
        "total": state["total"].at[arm].set(state["total"][arm] + reward),
    }


def fast_update(sigma, state, round, arm, reward):
    return {
        "count": jb.put(state["count"], arm, jb.take(state["count"], arm) + 1),
        "total": jb.put(state["total"], arm, jb.take(state["total"], arm) + reward),
    }


def my_info(sigma, state):
    return {"samples": jnp.sum(state["count"])}


def test_a_users_ucb_plays_as_ours():
    policies = {
        "ours": jb.ucb(),
        "plain": jb.Policy(0.5, my_init, my_select, my_update, my_info),
        "fast": jb.Policy(0.5, my_init, my_select, fast_update),
    }
    out = play(200, policies)
    for name in ("plain", "fast"):
        for field in ("final_regret", "final_reward"):
            np.testing.assert_array_equal(getattr(out[name], field), getattr(out["ours"], field))
        np.testing.assert_array_equal(out[name].pulls.mean, out["ours"].pulls.mean)
        assert np.all(out.paired(name, "ours").sem == 0)
    np.testing.assert_array_equal(
        out["plain"].info["samples"].mean, COUNT.sum() + out["plain"].round
    )


def random_init(params, problem):
    return jnp.zeros((), jnp.int32)


def random_select(params, state, round):
    return jax.random.randint(round.key, (), 0, 5, jnp.int32)


def random_update(params, state, round, arm, reward):
    return arm


def test_a_policys_own_randomness_is_of_the_round_and_the_run():
    policy = jb.Policy((), random_init, random_select, random_update)

    def one(run):
        key = jax.random.fold_in(KEY, run)
        return jb.rollout(key, policy, ENVIRONMENT, horizon=HORIZON).arm

    arm = np.asarray(jax.jit(jax.vmap(one), compiler_options=QUICK)(jnp.arange(300)))
    frequency = np.bincount(arm.ravel(), minlength=5) / arm.size
    assert np.all(np.abs(frequency - 0.2) < 4 * np.sqrt(0.2 * 0.8 / arm.size))
    assert len(np.unique(arm, axis=0)) == 300
    assert abs(np.mean(arm[:, 1:] == arm[:, :-1]) - 0.2) < 4 * np.sqrt(0.16 / arm.size)
    found = play(300, {"random": policy})["random"]
    pulls = np.stack([np.bincount(row, minlength=5) for row in arm])
    np.testing.assert_allclose(found.pulls.mean, pulls.mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("name", REGISTERED)
def test_a_rollout_is_lowered_for_all_platforms(name):
    offline = jb.OfflineArms(COUNT, COUNT / 2)

    def one(key_data):
        return jb.rollout(key_data, REGISTERED[name], ENVIRONMENT, offline, horizon=HORIZON)[:3]

    key_data = jax.random.key_data(KEY)
    exported = jax.export.export(jax.jit(one), platforms=PLATFORMS)(key_data)
    assert exported.platforms == PLATFORMS


class StoppedError(Exception):
    """Thrown in place of running the tiles."""


def exported_tile(monkeypatch, platforms, simulate_something):
    """A tile's program as `simulate` would run it, exported."""
    taken = {}

    def take(program, static, key, params, **options):
        taken.update(program=program, static=static, params=params)
        raise StoppedError

    with monkeypatch.context() as context:
        context.setattr(simulate.tiles, "run_tiles", take)
        with pytest.raises(StoppedError):
            simulate_something()

    def tile(key_data, first, runs, params):
        root = jax.random.wrap_key_data(key_data)
        return tuple(
            programs.tile(taken["program"], taken["static"], 64, root, first, runs, params)
        )

    arguments = jax.random.key_data(KEY), jnp.uint32(0), jnp.uint32(64), taken["params"]
    return jax.export.export(jax.jit(tile), platforms=platforms)(*arguments)


def test_the_tile_program_is_lowered_for_all_platforms(monkeypatch):
    exported = exported_tile(monkeypatch, PLATFORMS, lambda: play(1, REGISTERED))
    assert exported.platforms == PLATFORMS


@pytest.mark.parametrize(("platform", "arms"), [("cuda", 5), ("cuda", 300), ("tpu", 300)])
def test_an_accelerator_waits_for_nothing_within_a_round(monkeypatch, platform, arms):
    """No branches, and no loops but those over checkpoints and rounds."""
    policy = REGISTERED["oto separate"]

    def play_one():
        environment = jb.bernoulli_arms(np.linspace(0.2, 0.8, arms))
        count = np.full(arms, 3)
        jb.simulate(KEY, {"": policy}, environment, horizon=9, runs=1, offline_count=count)

    with devices.lowering_for(platform):
        exported = exported_tile(monkeypatch, (platform,), play_one)
    text = exported.mlir_module()
    cases = re.findall(r'(%\w+) = "stablehlo\.case"\((%\w+)\)', text)
    # The platform is a constant, which says which of the one branch left is taken.
    known = {result for result, operand in cases if operand.startswith("%c")}
    assert known
    assert {operand for _, operand in cases if not operand.startswith("%c")} <= known
    assert "stablehlo.if" not in text
    assert text.count("stablehlo.while") == 3  # with that which draws the offline rewards


def test_default_constants_follow_a_precision_chosen_after_import():
    # Arrays made when the package is imported would keep float32, and would start the backend.
    program = (
        "import jax, jaxbandit as jb\n"
        "jax.config.update('jax_enable_x64', True)\n"
        "policies = jb.ucb().params, jb.lcb().params, jb.oto().params.confidence\n"
        "assert {p.scale.dtype.name for p in policies} == {'float64'}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
