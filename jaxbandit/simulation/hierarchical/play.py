"""One policy on a tile of runs, some rounds at a time, arranged for speed.

Runs are last in memory, so that a round is vector code over them. What is believed of tasks alone
has runs first, and each task's numbers together: a round reads and writes one task of each run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from jaxbandit.checks import check_shape
from jaxbandit.engine import devices
from jaxbandit.engine.expand_dots import written_out
from jaxbandit.engine.keep import keep, storing
from jaxbandit.engine.reductions import first_argmax
from jaxbandit.engine.round_kernels import one_kernel
from jaxbandit.inference.model import Gaussian
from jaxbandit.inference.recursive import (
    Own,
    Shared,
    learn,
    task_posterior,
    task_posterior_given_hyper,
)
from jaxbandit.simulation.hierarchical.policy import HierarchicalPolicy

# Rows moved in a step of a loop, whose counter waits in memory.
_IN_A_STEP = 8


class Situation(NamedTuple):
    """What a round presents, the same for all policies; axes of rounds and runs may be added."""

    task: Int[Array, ""]
    feature: Float[Array, "actions features"]
    value: Float[Array, " actions"]
    """Mean rewards."""
    noise: Float[Array, ""]
    """Of the reward."""
    normal: Float[Array, " features"]
    """Standard normal numbers, for a policy that draws."""


class Belief(NamedTuple):
    """What a policy believes, in all runs of a tile."""

    shared: Shared
    """Runs last."""
    tasks: Float[Array, "runs tasks numbers"]
    """A task's own offset and covariance."""


def tile_belief(
    shared: Shared,
    offset: Float[Array, "runs tasks features"],
    cov: Float[Array, "runs tasks features features"],
) -> Belief:
    """From what is shared, runs last, and what is believed of each task alone."""
    rows = cov.reshape(*offset.shape[:2], -1)
    return Belief(shared, jnp.concatenate([offset, rows], axis=-1))


def play_rounds(
    policy: HierarchicalPolicy,
    belief: Belief,
    situations: Any,
    first: Int[Array, ""],
) -> tuple[Belief, Float[Array, "rounds runs"]]:
    """The belief after some rounds, and what was lost in each beside the best actions.

    Args:
        policy: what plays.
        belief: before.
        situations: a `Situation` [rounds, ..., runs].
        first: number of the first round, from 1.
    """

    def play(
        params: Any, belief: Belief, situations: Any, first: Array, in_kernel: bool
    ) -> tuple[Belief, Array]:
        mine = policy._replace(params=params)
        # An accelerator would wait for the host at each branch.
        unknown = jnp.any(belief.shared.spread != 0) if in_kernel else None
        play_stored = storing(partial(play_round, mine, in_kernel))

        def step(index: Array, played: tuple[Belief, Array]) -> tuple[Belief, Array]:
            at = partial(lax.dynamic_index_in_dim, index=index, keepdims=False)
            now = jax.tree.map(at, situations)
            belief, lost = play_stored(unknown, played[0], now, first + index)
            return belief, lax.dynamic_update_slice_in_dim(played[1], lost[None], index, 0)

        nothing = jnp.zeros_like(situations.noise)
        return lax.fori_loop(0, len(situations.task), step, (belief, nothing))

    operands = policy.params, belief, situations, first
    otherwise = partial(play, in_kernel=False)
    if devices.platform() != "cpu":
        return otherwise(*operands)
    return one_kernel(partial(play, in_kernel=True), *operands, otherwise=otherwise)


def play_round(
    policy: HierarchicalPolicy,
    in_kernel: bool,
    unknown: Array | None,
    belief: Belief,
    situation: Any,
    number: Int[Array, ""],
) -> tuple[Belief, Float[Array, " runs"]]:
    """The belief after round `number`, and what was lost in it, from its `Situation`, runs last.

    `unknown` says whether some run does not know the hyper-parameter; None where nobody looked.
    """
    del number  # For what is kept, which is what is used more than once.
    read, write = (_read, _write) if in_kernel else (_gather, _scatter)
    own = _unpacked(keep(read(belief.tasks, situation.task)), situation.feature.shape[1])
    if unknown is None:
        mean, cov = task_posterior(belief.shared, own)
    else:
        mean, cov = lax.cond(
            unknown, task_posterior, task_posterior_given_hyper, belief.shared, own
        )

    def index_of_run(params: Any, mean: Array, cov: Array, feature: Array, normal: Array) -> Array:
        index = policy.index(params, Gaussian(mean, cov), feature, normal)
        name = getattr(policy.index, "__name__", repr(policy.index))
        check_shape(f"what index {name!r} gives", index, feature.shape[:1], "[actions]")
        return index

    rule = jax.vmap(index_of_run, in_axes=(None, -1, -1, -1, -1), out_axes=-1)
    rule = written_out(rule) if in_kernel else rule
    index = keep(rule(policy.params, mean, cov, situation.feature, situation.normal))
    action = keep(jax.vmap(first_argmax, in_axes=-1)(index))
    feature, value = keep(tuple(_of(action, x) for x in (situation.feature, situation.value)))
    shared, own = learn(belief.shared, own, feature, value + situation.noise)
    lost = jnp.max(situation.value, axis=0) - value
    # A policy whose index is not a number shows as a run whose regret is none.
    lost = jnp.where(jnp.any(jnp.isnan(index), axis=0), jnp.nan, lost)
    tasks = write(belief.tasks, situation.task, keep(_packed(own)))
    return Belief(shared, tasks), lost


def _of(action: Int[Array, " runs"], value: Float[Array, "actions *rest runs"]) -> Array:
    """What belongs to the action of each run."""
    chosen = value[0]
    for number in range(1, len(value)):
        chosen = jnp.where(action == number, value[number], chosen)
    return chosen


def _packed(own: Own) -> Float[Array, "numbers runs"]:
    return jnp.concatenate([own.offset, own.cov.reshape(-1, own.cov.shape[-1])])


def _unpacked(numbers: Float[Array, "numbers runs"], features: int) -> Own:
    return Own(numbers[:features], numbers[features:].reshape(features, features, -1))


# The numbers of one task of each run. A CPU's gather and scatter are slow, and no part of a kernel.

Tasks = Float[Array, "runs tasks numbers"]


def _gather(tasks: Tasks, task: Int[Array, " runs"]) -> Float[Array, "numbers runs"]:
    return tasks[jnp.arange(len(task)), task].T


def _scatter(
    tasks: Tasks, task: Int[Array, " runs"], numbers: Float[Array, "numbers runs"]
) -> Tasks:
    return tasks.at[jnp.arange(len(task)), task].set(numbers.T, unique_indices=True)


def _read(tasks: Tasks, task: Int[Array, " runs"]) -> Float[Array, "numbers runs"]:
    """`_gather`, run by run."""
    runs, _, size = tasks.shape

    def move(run: Array, rows: Array) -> Array:
        row = lax.dynamic_slice(tasks, (run, *_place(task, run)), (1, 1, size))
        return lax.dynamic_update_slice_in_dim(rows, row[0], run, 0)

    return _for_runs(runs, move, jnp.zeros((runs, size), tasks.dtype)).T


def _write(tasks: Tasks, task: Int[Array, " runs"], numbers: Float[Array, "numbers runs"]) -> Tasks:
    """`_scatter`, run by run."""
    rows = numbers.T

    def move(run: Array, tasks: Array) -> Array:
        row = lax.dynamic_slice_in_dim(rows, run, 1)
        return lax.dynamic_update_slice(tasks, row[None], (run, *_place(task, run)))

    return _for_runs(len(task), move, tasks)


def _place(task: Int[Array, " runs"], run: Array) -> tuple[Array, Array]:
    return lax.dynamic_index_in_dim(task, run, keepdims=False).astype(run.dtype), jnp.zeros_like(
        run
    )


def _for_runs(runs: int, move: Callable[[Array, Array], Array], rows: Array) -> Array:
    many = math.gcd(runs, _IN_A_STEP)

    def step(number: Array, rows: Array) -> Array:
        for k in range(many):
            rows = move(number * many + k, rows)
        return rows

    # Unsigned, so that nothing looks for places below zero.
    return lax.fori_loop(jnp.uint32(0), jnp.uint32(runs // many), step, rows)
