"""One run of one policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int, UInt32

from jaxbandit import checks
from jaxbandit.checks import InputError, check_count, is_concrete
from jaxbandit.engine import draws
from jaxbandit.engine.keep import keep, storing
from jaxbandit.engine.kept import Compiled, Kept, kind_of
from jaxbandit.engine.keys import Purpose, purpose_key, root_key
from jaxbandit.environments.base import Environment
from jaxbandit.inference.arms import OfflineArms
from jaxbandit.policies.base import Limits, Policy, Problem, Round, check_functions
from jaxbandit.precision import settings
from jaxbandit.precision.floating import in_precision
from jaxbandit.precision.reference import namespace, reference


class Trajectory(NamedTuple):
    """One run, round by round."""

    arm: Int[Array, " rounds"]
    """Chosen in each round."""
    reward: Float[Array, " rounds"]
    """That it gave."""
    info: dict[str, Array]
    """The policy's diagnostics after each round, [rounds]."""
    state: Any
    """The policy's last state."""


@settings.usual(debugging=True)
def rollout(
    key: Array,
    policy: Policy,
    environment: Environment,
    offline: OfflineArms | None = None,
    *,
    horizon: int,
) -> Trajectory:
    """Play one run: one `lax.scan`, to be jitted, mapped or exported as you like.

    Mapped after it was jitted, `jax.vmap(jax.jit(...))`, it is traced for the map outside of this
    call, where `jax_numpy_rank_promotion="raise"` stops it: leave that at "allow" there.

    Called as it is, it compiles for the policy's and the environment's functions, shapes and the
    horizon, once for the last 32 of them.

    With the key of run r, `jax.random.fold_in(key, r)`, it is run r of `simulate`, where that was
    given the same `offline` for all runs, or none: with `offline_count` each run draws its own.

    Args:
        key: PRNG key of the run.
        policy: what plays.
        environment: where rewards come from.
        offline: samples from before; None for none.
        horizon: rounds.

    Raises:
        InputError: a horizon below one, offline data that does not fit the environment, more
            samples than are counted exactly, a grid of policies or of environments.
    """
    elsewhere = "; grids, and functions that draw environments, are for jaxbandit.simulate"
    checks.check_kind("policy", policy, Policy, "one Policy", elsewhere)
    checks.check_kind("environment", environment, Environment, "one Environment", elsewhere)
    check_functions("policy", policy)
    checks.check_hashable("environment: reward", environment.reward)
    horizon = check_count("horizon", horizon)
    policy, environment = in_precision((policy, environment))
    key = root_key(key)
    samples = offline_arrays(offline, environment)
    count = samples.count
    check_exact(count, np.asarray(horizon))
    problem = Problem(count, samples.total, jnp.asarray(horizon, count.dtype))
    problem = problem._replace(reference=samples.reference, excess=samples.excess)
    policy.check(policy.params, problem._replace(limits=limits(environment, offline)))
    arms = jax.tree.map(jnp.asarray, environment.params)
    leaves, structure = jax.tree.flatten((key, policy.params, arms, problem))
    made_of = _MadeOf(policy._replace(params=None), environment.reward, structure, horizon)
    if not is_concrete(leaves):
        return _play(made_of, *leaves)
    kind = kind_of(made_of, tuple(map(jax.typeof, leaves)))
    play = _PROGRAMS.get(kind)
    if play is None:
        play = Compiled(_play)
        _PROGRAMS.put(kind, play)
    return play(made_of, *leaves)


_PROGRAMS: Kept[Compiled] = Kept(32)


class _MadeOf(NamedTuple):
    """What a rollout is compiled for, beside shapes."""

    functions: Policy
    """Without params."""
    reward: Callable[[Any, Array, Array], Array]
    structure: Any
    """Of the operands, with params of the policy and of the environment."""
    horizon: int


def _play(made_of: _MadeOf, *leaves: Array) -> Trajectory:
    """A run, from its operands' leaves."""
    key, params, arms, problem = jax.tree.unflatten(made_of.structure, leaves)
    policy = made_of.functions._replace(params=params)
    game = Game(policy, made_of.reward, arms, problem, game_keys(key))

    def step(state: Any, number: Array) -> tuple[Any, tuple[Array, Array, dict[str, Array]]]:
        state, arm, reward = play_round(game, state, number)
        return state, (arm, reward, policy.info(params, state))

    rounds = jnp.arange(1, made_of.horizon + 1, dtype=jnp.int32)
    state, (arm, reward, info) = lax.scan(storing(step), policy.init(params, problem), rounds)
    return Trajectory(arm, reward, info, state)


class GameKeys(NamedTuple):
    """Key words of a run's two sources of randomness in its rounds."""

    reward: UInt32[Array, "2"]
    policy: UInt32[Array, "2"]


class Game(NamedTuple):
    """What is the same in all rounds of a run."""

    policy: Policy
    reward: Callable[[Any, Array, Array], Array]
    """Of the environment."""
    environment: Any
    """Params of the environment."""
    problem: Problem
    keys: GameKeys


def game_keys(key: Array) -> GameKeys:
    """From the key of a run."""
    return GameKeys(
        jax.random.key_data(purpose_key(key, Purpose.REWARDS)),
        jax.random.key_data(purpose_key(key, Purpose.POLICY)),
    )


def play_round(game: Game, state: Any, number: Array) -> tuple[Any, Array, Array]:
    """Play round `number`, from 1: state, arm and reward."""
    policy, problem = game.policy, game.problem
    counter = number.astype(jnp.uint32)
    zero = jnp.zeros_like(counter)
    own = jnp.stack(draws.threefry(game.keys.policy, zero, counter))
    key = jax.random.wrap_key_data(own, impl="threefry2x32")
    round = Round(number, problem.horizon, key, problem.reference)
    word, _ = draws.threefry(game.keys.reward, zero, counter)
    chosen, word = keep((policy.select(policy.params, state, round), word))
    arm = jnp.clip(chosen, 0, problem.count.shape[0] - 1)
    reward = game.reward(game.environment, arm, word)
    # An arm that does not exist shows as a run with a reward that is not a number.
    reward = jnp.where(chosen == arm, reward, jnp.nan)
    return policy.update(policy.params, state, round, arm, reward), arm, reward


class Samples(NamedTuple):
    """Offline data as arrays, [arms] or [cells, arms]."""

    count: Array
    total: Array
    reference: Any
    """[] or [cells]: that of the means or, where each run has its own, of the data, as in
    `Problem`; None where there is neither before a run begins."""
    excess: Array
    """Total less count times reference, formed in float64 where there are values."""


def offline_arrays(offline: OfflineArms | None, environment: Environment) -> Samples:
    """Offline data as arrays; zeros for None.

    Raises:
        InputError: not `OfflineArms`, wrong shapes, negative counts, or totals that no such rewards
            can have.
    """
    arms, dtype = np.shape(environment.mean)[-1], jnp.result_type(float)
    near = _near(environment, offline)
    if offline is None:
        nothing = jnp.zeros(arms, dtype)
        return Samples(
            nothing, nothing, near if near is None else jnp.asarray(near, dtype), nothing
        )
    checks.check_kind("offline", offline, OfflineArms, "jaxbandit.OfflineArms(count, total)")
    for name, value in zip(("offline.count", "offline.total"), offline, strict=True):
        _check_arms(name, value, arms)
        checks.check_finite(name, value)
    if np.shape(offline.count) != np.shape(offline.total):
        raise InputError(
            f"offline.count {np.shape(offline.count)} and offline.total {np.shape(offline.total)} "
            "must have the same shape"
        )
    checks.check_not_negative("offline.count", offline.count)
    if checks.is_concrete(offline.count, offline.total):
        _check_totals(np.asarray(offline.count), np.asarray(offline.total), environment)
    xp = namespace(near, offline.count, offline.total)
    count, total = (xp.asarray(value, float) for value in offline)
    excess = total - count * xp.asarray(near, float)[..., None]
    return Samples(*(jnp.asarray(value, dtype) for value in (count, total, near, excess)))


def _near(environment: Environment, offline: OfflineArms | None) -> Any:
    """The `reference` of the means, [] or [cells]; of the data where each run has its own means."""
    mean = environment.mean
    if checks.has_values(mean):
        return reference(mean, environment.low, environment.high)
    if offline is not None and checks.is_concrete(*offline):
        return _reference_of_data(*map(np.asarray, offline))
    if isinstance(mean, jax.ShapeDtypeStruct):
        return None
    return reference(mean, environment.low, environment.high)


def _reference_of_data(count: np.ndarray, total: np.ndarray) -> np.ndarray:
    """The `reference` of the samples' means, [] or [cells]; 0 where there are none."""
    pooled = (
        np.sum(total, axis=-1, keepdims=True) / np.maximum(np.sum(count, axis=-1), 1)[..., None]
    )
    mean = np.where(count > 0, total / np.where(count > 0, count, 1), pooled)
    return reference(mean, -np.inf, np.inf)


def limits(environment: Environment, offline: OfflineArms | None = None) -> Limits:
    """What an environment tells of its rewards or, where it is traced, offline data."""
    low, high = environment.low, environment.high
    if checks.has_values(environment.mean):
        return Limits(low, high, np.asarray(environment.mean))
    if offline is None or not checks.is_concrete(*offline):
        return Limits(low, high, None)
    count, total = (np.asarray(value, float) for value in offline)
    return Limits(low, high, None, (count, total))


def check_offline_count(count: ArrayLike, environment: Environment, dtype: Any) -> Array:
    """Counts of rewards to be drawn, as an array.

    Raises:
        InputError: wrong shapes, counts that are negative or not whole.
    """
    _check_arms("offline_count", count, environment.mean.shape[-1])
    checks.check_whole("offline_count", count, minimum=0)
    return jnp.asarray(count, dtype)


def check_exact(count: Array, horizon: np.ndarray) -> None:
    """Refuse more samples of an arm than floating numbers count one by one.

    Args:
        count: offline samples, [arms] or [cells, arms].
        horizon: rounds, [] or [cells].

    Raises:
        InputError: counts that would stop growing.
    """
    most = 2 ** (jnp.finfo(count.dtype).nmant + 1)
    offline = np.max(np.asarray(count, float), axis=-1) if checks.is_concrete(count) else 0
    samples = np.max(offline + horizon)
    if samples > most:
        raise InputError(
            f"horizon plus an arm's offline samples must be at most {most}, to which {count.dtype} "
            f"counts one by one, was {samples:.0f}; set JAX_ENABLE_X64=1, or give fewer"
        )


def _check_arms(name: str, value: Any, arms: int) -> None:
    if np.ndim(value) == 2:
        checks.check_shape(name, value, (None, arms), "[cells, arms]")
    else:
        checks.check_shape(name, value, (arms,), "[arms]")


def _check_totals(count: np.ndarray, total: np.ndarray, environment: Environment) -> None:
    if np.any((count == 0) & (total != 0)):
        raise InputError("offline.total must be 0 where offline.count is 0")
    # A grid of environments has limits of its own for each cell.
    low, high = (np.expand_dims(x, -1) for x in (environment.low, environment.high))
    mean = total / np.where(count > 0, count, 1)
    # Sums of rewards round; a thousandth of a percent is beyond that.
    off = (count > 0) & ((mean < low - 1e-5 * abs(low)) | (mean > high + 1e-5 * abs(high)))
    if np.any(off):
        at = tuple(np.argwhere(off)[0])
        low, high = (np.broadcast_to(x, off.shape)[at] for x in (low, high))
        raise InputError(
            f"offline.total of arm {at[-1]} must come from rewards in [{low:g}, {high:g}], was "
            f"{total[at]:g} for {count[at]:g} samples; give sums of rewards of this environment"
        )
