"""Many runs of many policies, on common random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxbandit.checks import InputError, check_hashable, check_named
from jaxbandit.engine import devices, tiles
from jaxbandit.engine.keys import Purpose, purpose_key, root_key, run_key
from jaxbandit.environments.base import Environment
from jaxbandit.inference.arms import OfflineArms
from jaxbandit.policies.base import Limits, Policy, Problem, no_check
from jaxbandit.precision import settings
from jaxbandit.precision.floating import in_precision
from jaxbandit.simulation import program
from jaxbandit.simulation.checks import (
    check_checkpoints,
    check_horizon,
    check_params,
    check_policy,
    describe,
)
from jaxbandit.simulation.grid import Grid, cell
from jaxbandit.simulation.results import PolicyResult, SimulationResult
from jaxbandit.simulation.rollout import check_exact, check_offline_count, limits, offline_arrays

# Drawn environments that are looked at before any is played.
_LOOKED_AT = 64

EnvironmentDraw = Callable[[Array], Environment]
"""key -> environment, drawn anew in each run; a module-level function."""

# Runs in a tile. On CPUs, wider ones are fewer to merge, and to store in studies, but a few hundred
# runs should be tiles for all cores.
TILE_WIDTH = {"cpu": 128, "accelerator": 16384}


def simulate(
    key: Array,
    policies: Mapping[str, Policy | Grid],
    environment: Environment | EnvironmentDraw | Grid,
    *,
    horizon: int | ArrayLike,
    runs: int,
    offline: OfflineArms | None = None,
    offline_count: ArrayLike | None = None,
    checkpoints: ArrayLike | None = None,
    curves: bool = False,
    threads: int | None = None,
    progress: tiles.Progress | None = None,
) -> SimulationResult:
    """Play many runs of many policies, on common random numbers.

    In a run, all policies share the environment, the offline data and each round's random word.
    Results have the same bits whatever the number of threads and devices, and whatever other
    policies are in the call; the first runs of a larger `runs` are the runs of a smaller one.
    Memory grows with arms and checkpoints, not with runs times rounds.

    A `grid` of policies or environments, a horizon [cells] and offline data [cells, arms] are
    played cell by cell in one program, on the same random numbers in each cell; their results have
    a leading axis, cells. Where several have cells, they go together, first with first. A program
    is compiled for functions and shapes: other numbers, horizons included, run in the same one.

    Args:
        key: PRNG key.
        policies: name -> policy, or a grid of policies.
        environment: arms, a grid of them, or a function key -> arms, drawn anew in each run.
        horizon: rounds, [] or [cells]; beyond its horizon a cell keeps what it had there.
        runs: Monte-Carlo runs.
        offline: the same offline data in every run, [arms] or [cells, arms]; or
        offline_count: samples whose rewards are drawn anew in each run, [arms] or [cells, arms].
        checkpoints: rounds at which to report, increasing; default about 200, to the horizon.
        curves: whether to keep each run's regret at the checkpoints.
        threads: on a CPU, tiles computed at once; default: one more than there are cores.
        progress: called with (runs done, runs).

    Raises:
        InputError: bad counts, more samples than are counted exactly, checkpoints beyond the
            horizon, no policies, offline data that does not fit, grids of different lengths; a
            policy whose state changes shape.

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
    static, inputs = prepare(
        key,
        policies,
        environment,
        horizon=horizon,
        offline=offline,
        offline_count=offline_count,
        checkpoints=checkpoints,
        curves=curves,
    )
    ends, in_cells = np.asarray(inputs.ends), static.in_cells
    raised = program.reference_rewards(inputs)
    out = tiles.run_tiles(
        program.play_runs,
        static,
        key,
        inputs,
        runs=runs,
        width=devices.by_platform(TILE_WIDTH),
        threads=threads,
        progress=progress,
    )
    averaged, differences = out.averaged
    results = {}
    for name, policy in policies.items():
        with_cells = any(in_cells) or isinstance(policy, Grid)
        # Runs come first from the engine; cells do in results.
        kept = {
            key: np.moveaxis(value, 1, 0) if with_cells else value
            for key, value in out.kept[name].items()
        }
        reward = averaged[name]["reward"]
        if raised is not None:
            reward = reward._replace(mean=reward.mean + raised)
            kept["reward"] = kept["reward"] + np.expand_dims(raised[..., -1], -1)
        results[name] = PolicyResult(
            round=ends,
            regret=averaged[name]["regret"],
            logging_regret=averaged[name].get("logging_regret"),
            reward=reward,
            info=averaged[name]["info"],
            pulls=averaged[name]["pulls"],
            final_regret=kept["regret"],
            final_reward=kept["reward"],
            regret_curves=kept.get("curves"),
        )
    return SimulationResult(results, differences, int(runs), out.non_finite)


@settings.usual()
def prepare(
    key: Array,
    policies: Mapping[str, Policy | Grid],
    environment: Environment | EnvironmentDraw | Grid,
    *,
    horizon: int | ArrayLike,
    offline: OfflineArms | None = None,
    offline_count: ArrayLike | None = None,
    checkpoints: ArrayLike | None = None,
    curves: bool = False,
) -> tuple[program.Static, program.Inputs]:
    """What `program.play_runs` takes, from checked arguments of `simulate`."""
    given = policies, environment, horizon, offline, offline_count, checkpoints, curves
    tiles.check_values(key, *given)
    rounds = check_horizon(horizon)
    check_named("policies", policies, "policy")
    policies = {name: in_precision(policy) for name, policy in policies.items()}
    environment = in_precision(environment)
    ends = check_checkpoints(checkpoints, int(np.max(rounds)))
    if offline is not None and offline_count is not None:
        raise InputError("give offline or offline_count, not both")
    one = environment.item if isinstance(environment, Grid) else environment
    fixed = one if isinstance(one, Environment) else None
    if not (fixed or callable(one)):
        raise InputError("environment must be an Environment, or a function key -> Environment")
    function = one if fixed is None else fixed.reward
    check_hashable("environment" if fixed is None else "environment: reward", function)
    described = fixed or describe(one, root_key(key))
    dtype = jnp.result_type(float)
    samples = offline_arrays(offline, described)
    if offline_count is not None:
        count = check_offline_count(offline_count, described, dtype)
        samples = samples._replace(count=count, total=None, excess=None)
    count = samples.count
    if samples.reference is None:
        samples = samples._replace(excess=None)
    world = program.World(
        environment=None if fixed is None else (_on_device(fixed.params), _losses(fixed)),
        horizon=jnp.asarray(rounds, dtype),
        **samples._asdict(),
    )
    in_cells = program.InCells(
        environment=isinstance(environment, Grid),
        offline=count.ndim == 2,
        horizon=rounds.ndim == 1,
        reference=world.reference is not None and world.reference.ndim == 1,
        excess=world.excess is not None and world.excess.ndim == 2,
    )
    cells = _check_cells(policies, environment, count, rounds)
    check_exact(count, rounds)
    told = (
        limits(fixed)
        if fixed
        else _limits_of_draws(cast(EnvironmentDraw, one), described, root_key(key))
    )
    functions = []
    made: dict[bytes, Problem] = {}
    for name, policy in policies.items():
        item = policy.item if isinstance(policy, Grid) else policy
        problems = _problems(world, in_cells, cells, told, made)
        check_policy(name, _policy(policy, 0), next(problems))
        if item.check is not no_check:
            params = jax.tree.map(np.asarray, item.params)
            for index, problem in enumerate(problems, start=1):
                own = cell(params, index) if isinstance(policy, Grid) else params
                check_params(name, item._replace(params=own), problem)
        functions.append((name, item._replace(params=None), isinstance(policy, Grid)))
    static = program.Static(
        functions=tuple(functions),
        environment=function,
        drawn=fixed is None,
        logged=bool(np.all(np.sum(np.asarray(count), axis=-1) > 0)),
        cells=cells,
        in_cells=in_cells,
        curves=curves,
    )
    params = tuple(
        policy.item.params if isinstance(policy, Grid) else policy.params
        for policy in policies.values()
    )
    return static, program.Inputs(params, world, jnp.asarray(ends))


def _limits_of_draws(draw: EnvironmentDraw, described: Environment, root: Array) -> Limits:
    """What is known of environments that each run draws: the means of the first runs."""

    def mean(run: Array) -> Array:
        return jnp.asarray(draw(purpose_key(run_key(root, run), Purpose.INSTANCE)).mean)

    means = jax.vmap(mean)(jnp.arange(_LOOKED_AT, dtype=jnp.uint32))
    tiles.check_values(means)
    return Limits(described.low, described.high, np.asarray(means))


def _on_device(params: Any) -> Any:
    """A pytree's arrays, in the working precision."""
    return jax.tree.map(jnp.asarray, params)


def _losses(environment: Environment) -> Array:
    """What pulling each arm loses against the best, [arms] or [cells, arms]; from float64."""
    mean = np.asarray(environment.mean, np.float64)
    return jnp.asarray(np.max(mean, axis=-1, keepdims=True) - mean, float)


# Cells.


def _check_cells(
    policies: Mapping[str, Policy | Grid], environment: Any, count: Array, rounds: np.ndarray
) -> int:
    """Number of cells; 1 where nothing has any."""
    lengths = {
        f"policy {name!r}": policy.cells
        for name, policy in policies.items()
        if isinstance(policy, Grid)
    }
    if isinstance(environment, Grid):
        lengths["environment"] = environment.cells
    if count.ndim == 2:
        lengths["the offline data"] = count.shape[0]
    if rounds.ndim == 1:
        lengths["horizon"] = len(rounds)
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"all that has cells must have as many, but the numbers are: {said}")
    return next(iter(lengths.values()), 1)


def _policy(policy: Policy | Grid, index: int) -> Policy:
    """The policy of a cell."""
    if not isinstance(policy, Grid):
        return policy
    return policy.item._replace(params=cell(policy.item.params, index))


def _problems(
    world: program.World,
    in_cells: program.InCells,
    cells: int,
    limits: Limits,
    made: dict[bytes, Problem],
) -> Iterator[Problem]:
    """The problem of each cell, as parameters are checked with; those that are made already are
    taken from there."""
    # A slice of an array on a device costs a hundred of one on the host, and to put one there
    # more than to check a policy's parameters.
    total = 0 * world.count if world.total is None else world.total
    mean = np.zeros(0) if limits.mean is None else limits.mean
    known = [np.asarray(x) for x in (world.count, total, world.horizon, mean, *limits[:2])]
    in_cell = [in_cells.offline, in_cells.offline, in_cells.horizon, *[in_cells.environment] * 3]
    for index in range(cells):
        own = [x[index] if there else x for x, there in zip(known, in_cell, strict=True)]
        key = b"".join(x.tobytes() for x in own)
        if key not in made:
            *arrays, mean, low, high = own
            means = None if limits.mean is None else mean
            of_cell = Limits(float(low), float(high), means)
            made[key] = Problem(*map(jnp.asarray, arrays), limits=of_cell)
        yield made[key]
