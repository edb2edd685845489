"""One policy on one tile of runs, arranged for speed.

Policies are functions of one run. Here they are mapped over the runs of a tile with the runs last
in memory, and looped over rounds.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from jaxbandit.online.environments import Environment
from jaxbandit.online.indexing import add_at, run_axis
from jaxbandit.online.kernel import one_kernel
from jaxbandit.online.policies.base import Policy, Problem
from jaxbandit.online.reductions import weighted_sum
from jaxbandit.online.rollout import Game, play_round


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

    pulls: Int[Array, "runs arms"]
    """At the last checkpoint."""
    regret: Float[Array, "runs checkpoints"]
    logging_regret: Float[Array, "runs checkpoints"]
    reward: Float[Array, "runs checkpoints"]
    info: dict[str, Float[Array, "runs checkpoints"]]


class Losses(NamedTuple):
    """What is lost in a round, on average; a runs axis, where there is one, is the last."""

    arm: Any
    """[arms], by pulling it rather than the best arm."""
    logging: Any
    """By pulling arms as often as the offline data."""


class _Tally(NamedTuple):
    """What is kept of a run whatever the policy."""

    pulls: Int[Array, " arms"]
    reward: Float[Array, ""]
    lost: Float[Array, ""]
    """What rounding took from `reward`."""


def world_axes(*, drawn: bool, redraw: bool) -> World:
    """The runs axis of each part of a world, as `jax.vmap` takes them."""
    environment = -1 if drawn else None
    return World(
        horizon=None,
        environment=environment,
        mean=environment,
        count=None,
        total=-1 if redraw else None,
        keys=-1,
    )


def play_tile(
    policy: Policy,
    reward: Any,
    world: World,
    axes: World,
    ends: Int[Array, " checkpoints"],
    *,
    as_kernel: bool,
) -> Seen:
    """Play all rounds up to the last of `ends` or the horizon, and report at each of them.

    Args:
        policy: what plays.
        reward: the environment's reward function.
        world: what policies share.
        axes: where the runs lie in it.
        ends: checkpoints, rounds played.
        as_kernel: whether to ask for a single kernel.
    """

    def init(params: Any, world: World) -> tuple[Any, _Tally]:
        zero = jnp.zeros_like(world.horizon)
        tally = _Tally(jnp.zeros(world.count.shape, jnp.int32), zero, zero)
        problem = Problem(world.count, world.total, world.horizon)
        return policy.init(params, problem), tally

    def one_run(leaf: Any, axis: int | None) -> Any:
        return leaf if axis is None else leaf[..., 0]

    def first_run(world: World) -> World:
        # An axis stands for all leaves of its part of the world.
        parts = (
            jax.tree.map(partial(one_run, axis=axis), part)
            for part, axis in zip(world, axes, strict=True)
        )
        return World(*parts)

    one_world = jax.eval_shape(first_run, world)
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
        return state, _Tally(add_at(tally.pulls, arm, jnp.int32(1)), reward_sum, lost)

    play_all = jax.vmap(play_one, in_axes=(None, axes, carry_axes, None), out_axes=carry_axes)

    def losses(world: World) -> Losses:
        best = jnp.max(world.mean)
        logging = weighted_sum(world.count, world.mean) / jnp.maximum(jnp.sum(world.count), 1)
        return Losses(best - world.mean, best - logging)

    def report(params: Any, losses: Losses, carry: Any, rounds: Array) -> dict[str, Any]:
        # From exact counts, so that nothing accumulates over rounds.
        state, tally = carry
        regret = weighted_sum(tally.pulls, losses.arm)
        return {
            "regret": regret,
            "logging_regret": regret - rounds * losses.logging,
            "reward": tally.reward,
            "info": policy.info(params, state),
        }

    loss = jax.vmap(losses, in_axes=(axes,), out_axes=axes.mean)(world)
    report_all = jax.vmap(report, in_axes=(None, axes.mean, carry_axes, None))

    def play_on(
        params: Any, world: World, loss: Losses, carry: Any, ends: Array
    ) -> tuple[Array, dict[str, Any]]:
        def to_checkpoint(carry: Any, segment: tuple[Array, Array]) -> Any:
            start, end = segment
            carry = lax.fori_loop(
                start + 1, end + 1, lambda t, c: play_all(params, world, c, t), carry
            )
            return carry, report_all(params, loss, carry, end.astype(world.mean.dtype))

        starts = jnp.concatenate([jnp.zeros_like(ends[:1]), ends[:-1]])
        (_, tally), seen = lax.scan(to_checkpoint, carry, (starts, ends))
        return tally.pulls, seen

    ends = jnp.minimum(ends, world.horizon.astype(ends.dtype))
    operands = (policy.params, world, loss, carry, ends)
    pulls, seen = one_kernel(play_on, *operands) if as_kernel else play_on(*operands)
    pulls = jnp.moveaxis(pulls, carry_axes[1].pulls, 0)
    return Seen(pulls=pulls, **jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), seen))
