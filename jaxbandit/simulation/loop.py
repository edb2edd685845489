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

from jaxbandit.engine import devices
from jaxbandit.engine.entries import ROWS_ABOVE, add_at, run_axis, take
from jaxbandit.engine.expand_dots import written_out
from jaxbandit.engine.keep import storing
from jaxbandit.engine.reductions import weighted_sum
from jaxbandit.engine.round_kernels import one_kernel
from jaxbandit.policies.base import Policy, Problem
from jaxbandit.simulation.rollout import Game, play_round

# Runs of a tile that a CPU plays together, one block after another: what a block keeps should fit a
# core's innermost cache.
_BLOCK = 64


class World(NamedTuple):
    """What the policies of a tile share; a runs axis, where there is one, is the last."""

    horizon: Any
    environment: Any
    """Params of the environment."""
    loss: Any
    """[arms], what is lost on average by pulling an arm rather than the best one."""
    count: Any
    total: Any
    reference: Any
    """[], as in `Problem`."""
    excess: Any
    keys: Any

    def problem(self) -> Problem:
        """What a run's policies are told."""
        return Problem(self.count, self.total, self.horizon, self.reference, self.excess)


class Seen(NamedTuple):
    """A tile at its checkpoints."""

    pulls: Int[Array, "runs arms"]
    """At the last checkpoint."""
    regret: Float[Array, "runs checkpoints"]
    logging_regret: Float[Array, "runs checkpoints"]
    reward: Float[Array, "runs checkpoints"]
    """Less the reference in each round."""
    info: dict[str, Float[Array, "runs checkpoints"]]


class Losses(NamedTuple):
    """What is lost in a round, on average; a runs axis, where there is one, is the last."""

    arm: Any
    """[arms], by pulling it rather than the best arm."""
    logging: Any
    """By pulling arms as often as the offline data."""


class _Sum(NamedTuple):
    """A sum over rounds, compensated, so that in float32 it keeps its digits."""

    value: Float[Array, ""]
    lost: Float[Array, ""]
    """What rounding took from it."""

    def plus(self, amount: Array) -> _Sum:
        """With one more term."""
        addend = amount.astype(self.value.dtype) - self.lost
        value = self.value + addend
        return _Sum(value, (value - self.value) - addend)


class _Tally(NamedTuple):
    """What is kept of a run whatever the policy."""

    pulls: Int[Array, " arms"]
    reward: _Sum
    """Less the reference."""
    regret: _Sum | None
    """None where it is made of the pulls, which few arms are quickly summed for."""


def world_axes(*, drawn: bool, redraw: bool, drawn_reference: bool) -> World:
    """The runs axis of each part of a world, as `jax.vmap` takes them."""
    environment = -1 if drawn else None
    return World(
        horizon=None,
        environment=environment,
        loss=environment,
        count=None,
        total=-1 if redraw else None,
        reference=-1 if drawn_reference else None,
        excess=-1 if redraw or drawn_reference else None,
        keys=-1,
    )


def play_tile(
    policy: Policy,
    reward: Any,
    world: World,
    axes: World,
    ends: Int[Array, " checkpoints"],
) -> Seen:
    """Play all rounds up to the last of `ends` or the horizon, and report at each of them.

    Args:
        policy: what plays.
        reward: the environment's reward function.
        world: what policies share.
        axes: where the runs lie in it.
        ends: checkpoints, rounds played.
    """
    # A CPU is asked for a single kernel.
    on_cpu = devices.platform() == "cpu"

    def init(params: Any, world: World) -> tuple[Any, _Tally]:
        zero = jnp.zeros_like(world.horizon)
        pulls, nothing = jnp.zeros(world.count.shape, jnp.int32), _Sum(zero, zero)
        tally = _Tally(pulls, nothing, nothing if len(pulls) > ROWS_ABOVE else None)
        return policy.init(params, world.problem()), tally

    one_world = jax.eval_shape(lambda world: World(*map(_first_run, world, axes)), world)
    carry_axes = jax.tree.map(
        lambda leaf: run_axis(leaf.shape), jax.eval_shape(init, policy.params, one_world)
    )
    carry = jax.vmap(init, in_axes=(None, axes), out_axes=carry_axes)(policy.params, world)

    def play_one(params: Any, world: World, losses: Losses, carry: Any, number: Array) -> Any:
        state, tally = carry
        policy_of_run = policy._replace(params=params)
        game = Game(policy_of_run, reward, world.environment, world.problem(), world.keys)
        state, arm, gained = play_round(game, state, number)
        gained = gained - world.reference
        regret = tally.regret and tally.regret.plus(take(losses.arm, arm))
        pulls = add_at(tally.pulls, arm, jnp.int32(1))
        return state, _Tally(pulls, tally.reward.plus(gained), regret)

    play_all = jax.vmap(
        play_one, in_axes=(None, axes, axes.loss, carry_axes, None), out_axes=carry_axes
    )
    play_all = storing(play_all)
    play_all = written_out(play_all) if on_cpu else play_all

    def losses(world: World) -> Losses:
        samples = jnp.maximum(jnp.sum(world.count), 1)
        return Losses(world.loss, weighted_sum(world.count, world.loss) / samples)

    def report(params: Any, losses: Losses, carry: Any, rounds: Array) -> dict[str, Any]:
        state, tally = carry
        # From exact counts, where that costs little: nothing then accumulates over rounds.
        regret = tally.regret.value if tally.regret else weighted_sum(tally.pulls, losses.arm)
        return {
            "regret": regret,
            "logging_regret": regret - rounds * losses.logging,
            "reward": tally.reward.value,
            "info": policy.info(params, state),
        }

    loss = jax.vmap(losses, in_axes=(axes,), out_axes=axes.loss)(world)
    report_all = jax.vmap(report, in_axes=(None, axes.loss, carry_axes, None))

    def play_on(
        params: Any, world: World, loss: Losses, carry: Any, ends: Array, seen: Any, first: Any
    ) -> tuple[Array, dict[str, Any]]:
        """The pulls of some runs; what is seen of them is written from run `first` on."""

        def to_checkpoint(index: Array, played: Any) -> Any:
            carry, seen = played
            start, end = jnp.where(index > 0, ends[index - 1], 0), ends[index]
            carry = lax.fori_loop(
                start + 1,
                end + 1,
                lambda number, carry: play_all(params, world, loss, carry, number),
                carry,
            )
            now = report_all(params, loss, carry, end.astype(world.loss.dtype))
            return carry, jax.tree.map(
                lambda all, row: lax.dynamic_update_slice(all, row[None], (index, first)), seen, now
            )

        (_, tally), seen = lax.fori_loop(0, len(ends), to_checkpoint, (carry, seen))
        return tally.pulls, seen

    runs = jax.tree.leaves(world.keys)[0].shape[-1]
    block = _BLOCK if on_cpu and runs % _BLOCK == 0 else runs

    def play_blocks(
        params: Any, world: World, loss: Losses, carry: Any, ends: Array
    ) -> tuple[Array, dict[str, Any]]:
        def play_block(number: Array, out: tuple[Array, dict[str, Any]]) -> Any:
            first = number * block
            mine = partial(_some_runs, first, block)
            pulls, seen = play_on(
                params,
                World(*map(mine, world, axes)),
                mine(loss, axes.loss),
                jax.tree.map(mine, carry, carry_axes),
                ends,
                out[1],
                first,
            )
            axis = carry_axes[1].pulls
            return lax.dynamic_update_slice_in_dim(out[0], pulls, first, axis), seen

        shapes = jax.eval_shape(report_all, params, loss, carry, world.horizon)
        seen = jax.tree.map(lambda x: jnp.zeros((len(ends), *x.shape), x.dtype), shapes)
        if block == runs:
            return play_on(params, world, loss, carry, ends, seen, 0)
        return lax.fori_loop(0, runs // block, play_block, (jnp.zeros_like(carry[1].pulls), seen))

    ends = jnp.minimum(ends, world.horizon.astype(ends.dtype))
    operands = (policy.params, world, loss, carry, ends)
    pulls, seen = one_kernel(play_blocks, *operands) if on_cpu else play_blocks(*operands)
    pulls = jnp.moveaxis(pulls, carry_axes[1].pulls, 0)
    return Seen(pulls=pulls, **jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), seen))


# An axis stands for all leaves of a part of the world.


def _first_run(part: Any, axis: int | None) -> Any:
    """One run of arrays that have them last, unless `axis` is None."""
    return part if axis is None else jax.tree.map(lambda x: x[..., 0], part)


def _some_runs(first: Array, many: int, part: Any, axis: int | None) -> Any:
    """`many` runs of arrays that have them along `axis`."""
    if axis is None:
        return part
    return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, first, many, axis), part)
