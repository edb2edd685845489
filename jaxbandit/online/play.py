"""One policy on one tile of runs, arranged for speed.

Policies are functions of one run. Here they are mapped over the runs of a tile with the runs last
in memory, and looped over rounds; `small_call` makes one machine function of the loop.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Int

from jaxbandit.online import small_call
from jaxbandit.online.environments import Environment
from jaxbandit.online.indexing import put, run_axis, take
from jaxbandit.online.policies.base import Policy, Problem
from jaxbandit.online.rollout import Game, GameKeys, play_round

# Checkpoints whose pulls are held at once.
_GROUP = 16


class World(NamedTuple):
    """What the policies of a tile share; a runs axis, where there is one, is the last."""

    horizon: Any
    environment: Any
    """Params of the environment."""
    mean: Any
    count: Any
    total: Any
    keys: Any


class Seen(NamedTuple):
    """A tile at its checkpoints."""

    pulls: Int[Array, "runs checkpoints arms"]
    reward: Float[Array, "runs checkpoints"]
    info: dict[str, Float[Array, "runs checkpoints"]]


class _Tally(NamedTuple):
    """What is kept of a run whatever the policy."""

    pulls: Int[Array, " arms"]
    reward: Float[Array, ""]
    lost: Float[Array, ""]
    """What rounding took from `reward`."""


def world_axes(world: World, *, drawn: bool, redraw: bool) -> World:
    """The runs axis of each part of a world, as `jax.vmap` takes them."""
    environment = -1 if drawn else None
    return World(
        horizon=None,
        environment=environment,
        mean=environment,
        count=None,
        total=-1 if redraw else None,
        keys=GameKeys(-1, -1),
    )


def play_tile(
    policy: Policy, reward: Any, world: World, axes: World, ends: tuple[int, ...]
) -> Seen:
    """Play all rounds up to the last of `ends`, and report at each of them.

    Args:
        policy: what plays.
        reward: the environment's reward function.
        world: what policies share.
        axes: where the runs lie in it.
        ends: checkpoints, rounds played.
    """
    width = world.keys.reward.shape[-1]

    def init(params: Any, world: World) -> tuple[Any, _Tally]:
        zero = jnp.zeros_like(world.horizon)
        tally = _Tally(jnp.zeros(world.count.shape, jnp.int32), zero, zero)
        problem = Problem(world.count, world.total, world.horizon)
        return policy.init(params, problem), tally

    def one_run(leaf: Any, axis: int | None) -> Any:
        return leaf if axis is None else leaf[..., 0]

    one_world = jax.eval_shape(lambda w: _map_axes(one_run, w, axes), world)
    carry_axes = jax.tree.map(
        lambda leaf: run_axis(leaf.shape), jax.eval_shape(init, policy.params, one_world)
    )
    carry = jax.vmap(init, in_axes=(None, axes), out_axes=carry_axes)(policy.params, world)

    def play_one(params: Any, world: World, carry: Any, number: Array) -> Any:
        state, tally = carry
        game = Game(
            policy._replace(params=params),
            Environment(world.environment, world.mean, reward),
            Problem(world.count, world.total, world.horizon),
            world.keys,
        )
        state, arm, gained = play_round(game, state, number)
        # Compensated, so that a long sum in float32 keeps its digits.
        addend = gained.astype(tally.reward.dtype) - tally.lost
        reward_sum = tally.reward + addend
        lost = (reward_sum - tally.reward) - addend
        pulls = put(tally.pulls, arm, take(tally.pulls, arm) + 1)
        return state, _Tally(pulls, reward_sum, lost)

    play_all = jax.vmap(play_one, in_axes=(None, axes, carry_axes, None), out_axes=carry_axes)
    info = jax.vmap(policy.info, in_axes=(None, carry_axes[0]), out_axes=-1)

    def rounds(params: Any, world: World, carry: Any, segments: tuple[Array, Array]) -> Any:
        def to_checkpoint(carry: Any, segment: tuple[Array, Array]) -> Any:
            start, end = segment
            carry = lax.fori_loop(
                start + 1, end + 1, lambda t, c: play_all(params, world, c, t), carry
            )
            state, tally = carry
            return carry, (tally.pulls, tally.reward, info(params, state))

        return lax.scan(to_checkpoint, carry, segments)

    padded = np.pad(np.asarray(ends, np.int32), (0, -len(ends) % _GROUP), mode="edge")
    starts = np.concatenate([[0], padded[:-1]]).astype(np.int32)
    groups = (starts.reshape(-1, _GROUP), padded.reshape(-1, _GROUP))
    call = small_call.small_call(rounds, policy.params, world, carry, (groups[0][0], groups[1][0]))
    _, (pulls, gained, reported) = lax.scan(
        lambda carry, segments: call(policy.params, world, carry, segments), carry, groups
    )

    def runs_first(leaf: Array, axis: int) -> Array:
        flat = leaf.reshape((-1, *leaf.shape[2:]))[: len(ends)]
        return jnp.moveaxis(flat, axis if axis < 0 else axis + 1, 0)

    return Seen(
        runs_first(pulls, carry_axes[1].pulls),
        runs_first(gained, -1),
        {name: runs_first(value, -1) for name, value in reported.items()},
    )


def _map_axes(function: Any, world: World, axes: World) -> World:
    """`function(leaf, axis)` over a world, an axis standing for all leaves of its part."""
    parts = []
    for part, axis in zip(world, axes, strict=True):
        axis = None if axis is None else (-1 if not isinstance(axis, int) else axis)
        parts.append(jax.tree.map(lambda leaf, axis=axis: function(leaf, axis), part))
    return World(*parts)
