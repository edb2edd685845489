"""The engine's program for a tile of runs of a simulation: worlds, policies and cells."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxbandit.engine.keys import Purpose, purpose_key, run_key
from jaxbandit.engine.tile_output import TileOutput
from jaxbandit.environments.base import offline_excess
from jaxbandit.policies.base import Policy
from jaxbandit.precision.reference import reference
from jaxbandit.simulation import loop
from jaxbandit.simulation.checks import describe
from jaxbandit.simulation.grid import cell
from jaxbandit.simulation.rollout import game_keys


class InCells(NamedTuple):
    """Which parts of the world have a leading axis, cells."""

    environment: bool
    offline: bool
    horizon: bool
    reference: bool
    excess: bool


class Static(NamedTuple):
    """What a program is compiled for, beside shapes."""

    functions: tuple[tuple[str, Policy, bool], ...]
    """Name, policy without its params, and whether those have cells."""
    environment: Any
    """The reward function, or the function that draws the environment."""
    drawn: bool
    logged: bool
    """Whether there is offline data."""
    cells: int
    in_cells: InCells
    curves: bool


class World(NamedTuple):
    """What policies play in, as the user gave it; any part may have a leading axis, cells."""

    environment: Any
    """(params, loss of each arm), or None where drawn."""
    count: Array
    total: Array | None
    """None where drawn anew in each run."""
    excess: Array | None
    """None where drawn anew in each run."""
    reference: Array | None
    """[], as in `Problem`; None where it is drawn with the environment."""
    horizon: Array


class Inputs(NamedTuple):
    """Its arrays."""

    params: tuple[Any, ...]
    world: World
    ends: Array
    """[checkpoints]."""


def one_cell(static: Static, inputs: Inputs, index: int) -> tuple[Static, Inputs]:
    """One cell of a grid as a simulation of its own: what is compiled for one serves all."""
    params = tuple(
        cell(params, index) if in_cells else params
        for (_, _, in_cells), params in zip(static.functions, inputs.params, strict=True)
    )
    functions = tuple((name, policy, False) for name, policy, _ in static.functions)
    alone = InCells(*(False for _ in InCells._fields))
    return static._replace(functions=functions, cells=1, in_cells=alone), Inputs(
        params, _cell_of_world(static, inputs.world, index), inputs.ends
    )


def play_runs(static: Static, root: Array, runs: Array, inputs: Inputs) -> TileOutput:
    """Play a tile."""
    keys = jax.vmap(lambda run: run_key(root, run))(runs)
    reward = static.environment
    if static.drawn:
        reward = describe(static.environment, root).reward
    axes = loop.world_axes(
        drawn=static.drawn,
        redraw=inputs.world.total is None,
        drawn_reference=inputs.world.reference is None,
    )
    whole = any(static.in_cells)
    shared = None if whole else _world(static, inputs.world, keys, axes, reward)

    def play_cell(index: Array, grids: bool) -> dict[str, loop.Seen]:
        world = shared
        if world is None:
            world = _world(static, _cell_of_world(static, inputs.world, index), keys, axes, reward)
        seen = {}
        for (name, policy, in_cells), params in zip(static.functions, inputs.params, strict=True):
            if grids == (whole or in_cells):
                policy = policy._replace(params=cell(params, index) if in_cells else params)
                at = loop.play_tile(policy, reward, world, axes, inputs.ends)
                if inputs.world.reference is None:
                    # One of each run, which the host does not know.
                    rounds = jnp.minimum(inputs.ends, world.horizon)
                    at = at._replace(reward=at.reward + world.reference[:, None] * rounds)
                seen[name] = at
        return seen

    played = play_cell(jnp.int32(0), grids=False)
    if whole or any(in_cells for _, _, in_cells in static.functions):
        # One cell after another, so that each runs as it would alone, to its own horizon.
        by_cell = lax.map(lambda index: play_cell(index, grids=True), jnp.arange(static.cells))
        played |= jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), by_cell)
    averaged, kept = {}, {}
    for name, _, _ in static.functions:
        seen = played[name]
        averaged[name] = seen._asdict() | {"pulls": seen.pulls.astype(seen.regret.dtype)}
        if not static.logged:
            del averaged[name]["logging_regret"]
        kept[name] = {"regret": seen.regret[..., -1], "reward": seen.reward[..., -1]}
        if static.curves:
            kept[name]["curves"] = seen.regret
    names = list(averaged)
    differences = {
        (a, b): _less(averaged[a]["regret"], averaged[b]["regret"])
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    }
    return TileOutput((averaged, differences), kept)


def _less(first: Array, second: Array) -> Array:
    """The difference of [runs, checkpoints] and [runs, cells, checkpoints], either way round."""
    rank = max(first.ndim, second.ndim)
    first, second = (x if x.ndim == rank else x[:, None] for x in (first, second))
    return first - second


def _cell_of_world(static: Static, world: World, index: Array | int) -> World:
    in_cells = static.in_cells
    return World(
        environment=cell(world.environment, index) if in_cells.environment else world.environment,
        count=world.count[index] if in_cells.offline else world.count,
        total=cell(world.total, index) if in_cells.offline else world.total,
        excess=cell(world.excess, index) if in_cells.excess else world.excess,
        reference=cell(world.reference, index) if in_cells.reference else world.reference,
        horizon=world.horizon[index] if in_cells.horizon else world.horizon,
    )


def _world(static: Static, inputs: World, keys: Array, axes: loop.World, reward: Any) -> loop.World:
    near = inputs.reference
    if static.drawn:

        def draw(key: Array) -> tuple[Any, Array, Array]:
            drawn = static.environment(purpose_key(key, Purpose.INSTANCE))
            mean = jnp.asarray(drawn.mean, float)
            own = jnp.asarray(reference(mean, drawn.low, drawn.high), mean.dtype)
            return drawn.params, jnp.max(mean) - mean, own

        params, loss, own = jax.vmap(draw, out_axes=-1)(keys)
        near = own if near is None else near
    else:
        params, loss = inputs.environment
    world = loop.World(
        horizon=inputs.horizon,
        environment=params,
        loss=loss,
        count=inputs.count,
        total=inputs.total,
        reference=near,
        excess=inputs.excess,
        keys=jax.vmap(game_keys, out_axes=-1)(keys),
    )
    if inputs.total is None:
        excess = _draw_offline(keys, world, axes, reward)
        return world._replace(excess=excess, total=excess + world.count[:, None] * near)
    if inputs.reference is None:
        # Totals of every run, less the reference of each.
        excess = inputs.total[:, None] - world.count[:, None] * near
        return world._replace(excess=excess)
    return world


def _draw_offline(keys: Array, world: loop.World, axes: loop.World, reward: Any) -> Array:
    def excess(key: Array, params: Any, near: Array) -> Array:
        data = jax.random.key_data(purpose_key(key, Purpose.OFFLINE_REWARDS))
        return offline_excess(reward, params, near, data, world.count)

    return jax.vmap(excess, in_axes=(0, axes.environment, axes.reference), out_axes=-1)(
        keys, world.environment, world.reference
    )


def reference_rewards(inputs: Inputs) -> np.ndarray | None:
    """What a policy's rewards at checkpoints are to be raised by, [checkpoints] or
    [cells, checkpoints], in float64; None where that is nothing.

    In float32 on a device, a large sum of references would hide how rewards vary.
    """
    world = inputs.world
    if world.reference is None or not np.any(np.asarray(world.reference)):
        return None
    near = np.expand_dims(np.asarray(world.reference, np.float64), -1)
    rounds = np.minimum(inputs.ends, np.expand_dims(np.asarray(world.horizon), -1))
    return near * rounds
