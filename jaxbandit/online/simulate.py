"""Many runs of many policies, on common random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxbandit import checks, tiles
from jaxbandit.checks import InputError, check_count
from jaxbandit.keys import Purpose, purpose_key, root_key, run_key
from jaxbandit.moments import Moments
from jaxbandit.online import play
from jaxbandit.online.arms import OfflineArms
from jaxbandit.online.environments import Environment, offline_totals
from jaxbandit.online.policies.base import Policy, Problem, Round
from jaxbandit.online.rollout import game_keys, offline_arrays

EnvironmentDraw = Callable[[Array], Environment]
"""key -> environment, drawn anew in each run; a module-level function."""

# Runs in a tile. On CPUs, as many as fit a core's cache and are too few for XLA to split a kernel
# between its own threads, which costs more than it gains.
TILE_WIDTH = {"cpu": 512}
_ACCELERATOR_TILE_WIDTH = 16384


class PolicyResult(NamedTuple):
    """What one policy did; every `Moments` is over runs."""

    round: np.ndarray
    """[checkpoints], rounds played."""
    regret: Moments
    """[checkpoints], against the best arm."""
    logging_regret: Moments | None
    """[checkpoints], against playing arms as often as the offline data has them; None without."""
    reward: Moments
    """[checkpoints], sum of rewards so far."""
    info: dict[str, Moments]
    """[checkpoints], the policy's diagnostics."""
    pulls: Moments
    """[arms], in all rounds."""
    final_regret: np.ndarray
    """[runs]."""
    final_reward: np.ndarray
    """[runs]."""


@dataclass(frozen=True)
class SimulationResult:
    """Results by policy name: `result["oto"].regret.mean`."""

    policies: dict[str, PolicyResult]
    differences: dict[tuple[str, str], Moments]
    """Regret of the first less the second on the same runs, [checkpoints]."""
    runs: int
    non_finite: np.ndarray
    """Indices of runs left out because a number in them was not finite."""

    def __getitem__(self, name: str) -> PolicyResult:
        if name not in self.policies:
            raise InputError(f"no policy {name!r} was simulated, only {', '.join(self.policies)}")
        return self.policies[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.policies)

    def paired(self, first: str, second: str) -> Moments:
        """Moments over runs of the regret of `first` less that of `second`, per checkpoint.

        Raises:
            InputError: no such policy was simulated.
        """
        regret = self[first].regret
        self[second]
        if first == second:
            return Moments(regret.count, np.zeros_like(regret.mean), np.zeros_like(regret.mean))
        if (first, second) in self.differences:
            return self.differences[first, second]
        other = self.differences[second, first]
        return other._replace(mean=-other.mean)


def simulate(
    key: Array,
    policies: Mapping[str, Policy],
    environment: Environment | EnvironmentDraw,
    *,
    horizon: int,
    runs: int,
    offline: OfflineArms | None = None,
    offline_count: ArrayLike | None = None,
    checkpoints: ArrayLike | None = None,
    threads: int | None = None,
    progress: tiles.Progress | None = None,
) -> SimulationResult:
    """Play many runs of many policies, on common random numbers.

    In a run, all policies share the environment, the offline data and each round's random word.
    Results have the same bits whatever the number of threads and devices, and whatever other
    policies are in the call; the first runs of a larger `runs` are the runs of a smaller one.
    Memory grows with arms and checkpoints, not with runs times rounds.

    Args:
        key: PRNG key.
        policies: name -> policy.
        environment: arms, or a function key -> arms, drawn anew in each run.
        horizon: rounds.
        runs: Monte-Carlo runs.
        offline: the same offline data in every run; or
        offline_count: [arms], samples whose rewards are drawn anew in each run.
        checkpoints: rounds at which to report, increasing; default about 200, to the horizon.
        threads: on a CPU, tiles computed at once; default: the cores this process may use.
        progress: called with (runs done, runs).

    Raises:
        InputError: bad counts, checkpoints beyond the horizon, no policies, offline data that does
            not fit; a policy whose state changes shape.

    >>> import jax
    >>> import jaxbandit as jb
    >>> out = jb.simulate(
    ...     jax.random.key(0),
    ...     {"ucb": jb.ucb(), "lcb": jb.lcb()},
    ...     jb.bernoulli_arms([0.5, 0.6, 0.7]),
    ...     horizon=500,
    ...     runs=256,
    ...     offline_count=[50, 50, 0],
    ... )
    >>> bool(out.paired("ucb", "lcb").mean[-1] < 0)  # the best arm has no data: LCB never tries it
    True
    """
    horizon = check_count("horizon", horizon)
    if not policies:
        raise InputError("policies must name at least one policy, was empty")
    ends = _check_checkpoints(checkpoints, horizon)
    if offline is not None and offline_count is not None:
        raise InputError("give offline or offline_count, not both")
    fixed = environment if isinstance(environment, Environment) else None
    if not (fixed or callable(environment)):
        raise InputError("environment must be an Environment, or a function key -> Environment")
    described = fixed or _describe(environment, root_key(key))
    arms, dtype = described.mean.shape[0], jnp.result_type(float)
    if offline_count is not None:
        checks.check_shape("offline_count", offline_count, (arms,), "[arms]")
        checks.check_not_negative("offline_count", offline_count)
        count, total = jnp.asarray(offline_count, dtype), None
    else:
        count, total = offline_arrays(offline, described, dtype)
    logged = bool(np.sum(np.asarray(count)) > 0)
    known = jnp.zeros_like(count) if total is None else total
    problem = Problem(count, known, jnp.asarray(horizon, dtype))
    for name, policy in policies.items():
        _check_policy(name, policy, problem)
    static = _Static(
        functions=tuple((name, policy._replace(params=None)) for name, policy in policies.items()),
        environment=environment if fixed is None else fixed.reward,
        drawn=fixed is None,
        ends=ends,
        horizon=horizon,
        logged=logged,
    )
    inputs = _Inputs(
        tuple(policy.params for policy in policies.values()),
        None if fixed is None else (fixed.params, fixed.mean),
        count,
        total,
    )
    platform = jax.local_devices()[0].platform
    out = tiles.run_tiles(
        _program,
        static,
        key,
        inputs,
        runs=runs,
        width=TILE_WIDTH.get(platform, _ACCELERATOR_TILE_WIDTH),
        threads=threads,
        progress=progress,
    )
    averaged, differences = out.averaged
    results = {
        name: PolicyResult(
            round=np.asarray(ends),
            regret=averaged[name]["regret"],
            logging_regret=averaged[name].get("logging_regret"),
            reward=averaged[name]["reward"],
            info=averaged[name]["info"],
            pulls=averaged[name]["pulls"],
            final_regret=out.kept[name]["regret"],
            final_reward=out.kept[name]["reward"],
        )
        for name in policies
    }
    return SimulationResult(results, differences, int(runs), out.non_finite)


# A tile of runs.


class _Static(NamedTuple):
    functions: tuple[tuple[str, Policy], ...]
    """Policies without their params."""
    environment: Any
    """The reward function, or the function that draws the environment."""
    drawn: bool
    ends: tuple[int, ...]
    horizon: int
    logged: bool
    """Whether there is offline data."""


class _Inputs(NamedTuple):
    params: tuple[Any, ...]
    environment: Any
    """(params, mean), or None where drawn."""
    count: Array
    total: Array | None
    """None where drawn anew in each run."""


def _program(static: _Static, root: Array, runs: Array, inputs: _Inputs) -> tiles.TileOutput:
    keys = jax.vmap(lambda run: run_key(root, run))(runs)
    reward = static.environment
    if static.drawn:
        reward = _describe(static.environment, root).reward

        def draw(key: Array) -> tuple[Any, Array]:
            return static.environment(purpose_key(key, Purpose.INSTANCE))[:2]

        params, mean = jax.vmap(draw, out_axes=-1)(keys)
    else:
        params, mean = inputs.environment
    world = play.World(
        horizon=jnp.asarray(static.horizon, inputs.count.dtype),
        environment=params,
        mean=mean,
        count=inputs.count,
        total=inputs.total,
        keys=jax.vmap(game_keys, out_axes=-1)(keys),
    )
    axes = play.world_axes(drawn=static.drawn, redraw=inputs.total is None)
    if inputs.total is None:
        world = world._replace(total=_draw_offline(keys, world, axes, reward))

    averaged, kept = {}, {}
    for (name, policy), policy_params in zip(static.functions, inputs.params, strict=True):
        policy = policy._replace(params=policy_params)
        seen = play.play_tile(policy, reward, world, axes, static.ends)
        averaged[name] = seen._asdict() | {"pulls": seen.pulls.astype(seen.regret.dtype)}
        if not static.logged:
            del averaged[name]["logging_regret"]
        kept[name] = {"regret": seen.regret[:, -1], "reward": seen.reward[:, -1]}
    names = list(averaged)
    differences = {
        (a, b): averaged[a]["regret"] - averaged[b]["regret"]
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    }
    return tiles.TileOutput((averaged, differences), kept)


def _describe(draw: Any, key: Array) -> Environment:
    """A drawn environment, with shapes in place of its arrays."""
    drawn = None

    def parts(key: Array) -> tuple[Any, Array]:
        nonlocal drawn
        drawn = draw(key)
        if not isinstance(drawn, Environment):
            raise InputError(
                "environment must be an Environment, or a function key -> Environment; "
                f"the function gave {type(drawn).__name__}"
            )
        return drawn.params, drawn.mean

    params, mean = jax.eval_shape(parts, key)
    return cast(Environment, drawn)._replace(params=params, mean=mean)


def _draw_offline(keys: Array, world: play.World, axes: play.World, reward: Any) -> Array:
    def totals(key: Array, params: Any, mean: Array) -> Array:
        data = jax.random.key_data(purpose_key(key, Purpose.OFFLINE_REWARDS))
        return offline_totals(Environment(params, mean, reward), data, world.count)

    return jax.vmap(totals, in_axes=(0, axes.environment, axes.mean), out_axes=-1)(
        keys, world.environment, world.mean
    )


def _check_checkpoints(checkpoints: ArrayLike | None, horizon: int) -> tuple[int, ...]:
    if checkpoints is None:
        evenly = np.linspace(0, horizon, min(horizon, 200) + 1)[1:]
        return tuple(int(t) for t in np.unique(np.round(evenly)))
    rounds = np.atleast_1d(np.asarray(checkpoints))
    if not np.issubdtype(rounds.dtype, np.integer) or rounds.ndim != 1 or len(rounds) == 0:
        raise InputError(f"checkpoints must be whole numbers of rounds, was {checkpoints!r}")
    if rounds[0] < 1 or rounds[-1] > horizon or np.any(np.diff(rounds) <= 0):
        raise InputError(
            f"checkpoints must increase from at least 1 to at most the horizon {horizon}, "
            f"was {checkpoints!r}"
        )
    return tuple(int(t) for t in rounds)


def _check_policy(name: str, policy: Policy, problem: Problem) -> None:
    """Parameters and shapes of one round, before anything is compiled."""
    if not isinstance(policy, Policy):
        raise InputError(f"policy {name!r} must be a Policy, was {type(policy).__name__}")
    params = policy.params
    try:
        # A closure, so that init sees values and may refuse them.
        state = jax.eval_shape(lambda: policy.init(params, problem))
    except InputError as error:
        raise InputError(f"policy {name!r}: {error}") from None
    key = jax.eval_shape(lambda: jax.random.key(0))
    number = jax.ShapeDtypeStruct((), jnp.int32)
    round: Any = Round(cast(Any, number), problem.horizon, key)
    arm = jax.eval_shape(policy.select, params, state, round)
    if arm.shape != () or not jnp.issubdtype(arm.dtype, jnp.integer):
        raise InputError(
            f"policy {name!r}: select must give one integer arm, gave {arm.dtype}{list(arm.shape)}"
        )
    reward = jax.ShapeDtypeStruct((), problem.count.dtype)
    after = jax.eval_shape(policy.update, params, state, round, arm, reward)

    def describe(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", tree)

    if describe(after) != describe(state):
        raise InputError(
            f"policy {name!r}: update must give a state of the same structure, shapes and types as "
            f"init; init gives {describe(state)}, update gives {describe(after)}"
        )
