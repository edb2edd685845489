"""Instances, and one way to play them with the package and with the oracle."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxbandit as jb
from jaxbandit.engine import draws
from jaxbandit.engine.keys import Purpose, purpose_key
from tests.simulation import oracle

KEY = jax.random.key(20)
BUDGETS = ("separate", "unified", "unified-moving")
PRESETS = ("paper", "reference")


class Instance(NamedTuple):
    """Bernoulli arms and offline data: count [arms], total [runs, arms]."""

    mean: np.ndarray
    count: np.ndarray
    total: np.ndarray


def synthetic(which, runs, seed=0):
    """Instances 1 and 2 of the paper: 20 arms, ten of them with 200 samples each."""
    mean = np.repeat([0.5, 0.25], 10)
    if which == 2:
        mean[11] = 0.75
    return with_data(mean, np.repeat([200, 0], 10), runs, seed)


def with_data(mean, count, runs, seed=0):
    rng = np.random.default_rng(seed)
    # A mean that float32 has, so that both precisions see the same arms.
    mean = np.asarray(mean, np.float32).astype(float)
    return Instance(mean, np.asarray(count), rng.binomial(count, mean, (runs, len(mean))))


def random_instance(arms, runs, seed):
    """Few samples on most arms, none on some, and so ties all over."""
    rng = np.random.default_rng(seed)
    count = rng.choice([0, 0, 1, 2, 2, 9, 30], arms)
    count[rng.integers(arms)] = 9
    return with_data(rng.choice([0.0, 0.25, 0.5, 0.5, 1.0], arms), count, runs, seed)


def run_keys(runs, key=KEY):
    return jax.vmap(lambda run: jax.random.fold_in(key, run))(jnp.arange(runs))


def words(runs, horizon, key=KEY):
    """The random words of the rounds, [runs, rounds]."""

    def of_run(run_key):
        data = jax.random.key_data(purpose_key(run_key, Purpose.REWARDS))
        number = jnp.arange(1, horizon + 1, dtype=jnp.uint32)
        return draws.threefry(data, jnp.zeros_like(number), number)[0]

    return jax.vmap(of_run)(run_keys(runs, key))


def uniforms(runs, horizon, key=KEY):
    return np.asarray(draws.to_uniform(words(runs, horizon, key)), float)


# Compiling takes longer than playing: the machine code may be slow, what it computes is the same.
QUICK = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None


@partial(jax.jit, static_argnames=("functions", "reward", "horizon"), compiler_options=QUICK)
def _rollouts(functions, params, reward, arms, keys, count, total, *, horizon):
    def one(key, total):
        policy, environment = functions._replace(params=params), jb.Environment(*arms, reward)
        return jb.rollout(key, policy, environment, jb.OfflineArms(count, total), horizon=horizon)

    return jax.vmap(one)(keys, total)


def rollouts(policy, environment, count, total, horizon, key=KEY):
    """Trajectories of many runs, leaves [runs, rounds]; total [runs, arms]."""
    dtype = jnp.result_type(float)
    out = _rollouts(
        policy._replace(params=None),
        policy.params,
        environment.reward,
        (environment.params, environment.mean),
        run_keys(len(total), key),
        jnp.asarray(count, dtype),
        jnp.asarray(total, dtype),
        horizon=horizon,
    )
    return jax.tree.map(np.asarray, out)


def registered():
    """Each kind of policy, by name, twice: with two sets of numbers."""
    late = [jb.confidence("reference", delta=delta, anytime=True) for delta in (0.05, 0.01)]
    other = jb.confidence(sigma=0.4, delta=0.01, floor=-0.25, ceiling=2.0)
    fixed = [jb.confidence(delta=0.05), other]

    def twice(make, *pairs):
        return tuple(make(*numbers) for numbers in zip(*pairs, strict=True))

    return {
        "ucb": twice(jb.ucb, fixed),
        "ucb, horizon unknown": twice(jb.ucb, late),
        "lcb": twice(jb.lcb, fixed),
        "oto separate": twice(jb.oto, (0.5, 0.2), fixed),
        "oto unified-moving": tuple(jb.oto(a, budget="unified-moving") for a in (0.5, 0.02)),
        "oto, horizon unknown": tuple(jb.oto(0.6, c, budget="unified") for c in late),
        "conservative_ucb": twice(jb.conservative_ucb, (0.3, 0.1), fixed),
        "conservative_ucb, horizon unknown": twice(jb.conservative_ucb, (0.3, 0.1), late),
        "epsilon_greedy": twice(jb.epsilon_greedy, (0.1, 5.0), (0.0, 1.0)),
        "explore_then_commit": twice(jb.explore_then_commit, (3, 5)),
        "fixed_arm": twice(jb.fixed_arm, (2, 4)),
        "min_ucb": twice(jb.min_ucb, (0.1, np.inf), fixed),
        "min_ucb, horizon unknown": twice(jb.min_ucb, (0.1, 0.3), late),
        "moss": twice(jb.moss, (0.5, 0.25)),
        "thompson_bernoulli": twice(jb.thompson_bernoulli, (1.0, 0.5), (1.0, 2.0)),
        "thompson_gaussian": twice(jb.thompson_gaussian, (0.5, 0.25)),
    }


class Setting(NamedTuple):
    """Constants of the bounds, for the package and for the oracle."""

    preset: str = "paper"
    delta: float | None = None
    anytime: bool = False

    def package(self):
        return jb.confidence(self.preset, delta=self.delta, anytime=self.anytime)

    def oracle(self):
        return oracle.Constants(self.preset, self.delta, self.anytime)


def settings():
    """Both presets, horizon known and unknown, as in the paper's experiments."""
    return [
        setting
        for preset in PRESETS
        for setting in (Setting(preset), Setting(preset, 0.005, anytime=True))
    ]


def both(instance, horizon, setting, policy="oto", **options):
    """The same runs by the package and by the oracle: Trajectory, Played."""
    makers = {"ucb": jb.ucb, "lcb": jb.lcb, "oto": jb.oto}
    ours = rollouts(
        makers[policy](confidence=setting.package(), **options),
        jb.bernoulli_arms(instance.mean),
        instance.count,
        instance.total,
        horizon,
    )
    reward = oracle.bernoulli(uniforms(len(instance.total), horizon), instance.mean)
    theirs = oracle.play(
        reward, instance.count, instance.total, horizon, policy, setting.oracle(), **options
    )
    return ours, theirs
