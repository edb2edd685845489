"""The engine's program for a tile of runs of many tasks online."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from jaxbandit.engine import draws
from jaxbandit.engine.keys import Purpose, purpose_key, run_key
from jaxbandit.engine.tile_output import TileOutput
from jaxbandit.environments.linear_tasks import (
    Instance,
    OffPolicyDesign,
    draw_choices,
    draw_log,
    draw_truth,
)
from jaxbandit.inference.model import TaskStatistics
from jaxbandit.inference.recursive import Shared, believe
from jaxbandit.inference.statistics import empty_statistics, listed_statistics
from jaxbandit.linalg import products
from jaxbandit.simulation.hierarchical.play import Belief, Situation, play_rounds, tile_belief
from jaxbandit.simulation.hierarchical.policy import HierarchicalPolicy, Prior

# Numbers that are drawn for a tile at a time, about.
_DRAWN = 1 << 18

Order = Literal["random", "sequential"]
Functions = tuple[tuple[str, HierarchicalPolicy], ...]
"""Names, and policies without their params."""


def program(static: Any, root: Array, runs: Array, params: Any) -> TileOutput:
    """Regret at checkpoints, and its differences, of all policies."""
    functions, rounds, records, order = static
    design, policy_params, ends = params
    keys = jax.vmap(partial(run_key, root))(runs)
    instance, stats = jax.vmap(lambda key: draw_start(key, design, records))(keys)
    teams = _teams(functions, policy_params)
    size = rounds_at_once(len(runs), rounds, design)

    def belief(prior: Prior) -> Belief:
        def one(hyper_parameter: Array, stats: TaskStatistics) -> tuple[Shared, Array, Array]:
            return believe(prior(design.model, hyper_parameter), stats)

        runs_last_of_shared = jax.vmap(one, out_axes=(-1, 0, 0))
        return tile_belief(*runs_last_of_shared(instance.hyper_parameter, stats))

    def draw(number: Array) -> Any:
        def one(key: Array, task_parameter: Array) -> Situation:
            return draw_situation(key, design, task_parameter, number, rounds, order)

        return jax.vmap(one, out_axes=-1)(keys, instance.task_parameter)

    def play(members: list[Any], first: Array) -> tuple[list[Any], list[Array]]:
        situations = jax.vmap(draw)(first + jnp.arange(size, dtype=jnp.uint32))
        number = first.astype(jnp.int32)

        def one(policy: HierarchicalPolicy, member: tuple[Any, Belief]) -> tuple[Any, Array]:
            own, belief = member
            policy = policy._replace(params=own)
            belief, lost = play_rounds(policy, belief, situations, number)
            return (own, belief), lost

        played = [
            lax.map(partial(one, functions[team[0]][1]), member)
            for team, member in zip(teams, members, strict=True)
        ]
        return [one[0] for one in played], [one[1] for one in played]

    beliefs = {prior: belief(prior) for prior in _priors(functions)}
    members = [
        _stacked([(policy_params[i], beliefs[functions[i][1].prior]) for i in team])
        for team in teams
    ]
    firsts = jnp.arange(1, rounds + 1, size, dtype=jnp.uint32)
    _, lost = lax.scan(play, members, firsts)
    # [parts, policies, rounds, runs], of each team
    regret = {
        functions[i][0]: _curve(of_team[:, place], ends)
        for team, of_team in zip(teams, lost, strict=True)
        for place, i in enumerate(team)
    }
    names = [name for name, _ in functions]
    differences = {
        (a, b): regret[a] - regret[b] for i, a in enumerate(names) for b in names[i + 1 :]
    }
    return TileOutput(averaged=(regret, differences))


def _teams(functions: Functions, params: Sequence[Any]) -> list[list[int]]:
    """Places of policies that differ in numbers alone: one program, which is compiled once."""
    teams: dict[Any, list[int]] = {}
    for place, ((_, policy), own) in enumerate(zip(functions, params, strict=True)):
        leaves, structure = jax.tree.flatten(own)
        shapes = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
        teams.setdefault((policy.index, structure, shapes), []).append(place)
    return list(teams.values())


def _priors(functions: Functions) -> list[Prior]:
    return list(dict.fromkeys(policy.prior for _, policy in functions))


def _stacked(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _curve(
    lost: Float[Array, "parts rounds runs"], ends: Int[Array, " checkpoints"]
) -> Float[Array, "runs checkpoints"]:
    return jnp.cumsum(lost.reshape(-1, lost.shape[-1]), axis=0)[ends - 1].T


def rounds_at_once(runs: int, rounds: int, design: OffPolicyDesign) -> int:
    """How many rounds to draw before they are played, in equal parts."""
    features = design.model.hyper_mean.shape[0]
    drawn = design.actions * (features + 1) + features + 2
    # What is believed of tasks is copied each time, and should be a small part of the work.
    believed = design.max_tasks * features * (features + 1)
    parts = -(-rounds // max(_DRAWN // (runs * drawn), 4 * believed // drawn, 8))
    return -(-rounds // parts)


def draw_start(
    key: Array, design: OffPolicyDesign, records: int
) -> tuple[Instance, TaskStatistics]:
    """A run's truth, and statistics of its log."""
    instance = draw_truth(purpose_key(key, Purpose.INSTANCE), design)
    d = instance.hyper_parameter.shape[0]
    if records == 0:
        return instance, empty_statistics(design.max_tasks, d, instance.hyper_parameter.dtype)
    log = draw_log(key, design, instance, records)
    return instance, listed_statistics(log, jnp.ones(records, bool), design.max_tasks)


def draw_situation(
    key: Array,
    design: OffPolicyDesign,
    task_parameter: Float[Array, "tasks features"],
    number: Array,
    rounds: int,
    order: Order,
) -> Situation:
    """Round `number`, from 1, of one run."""
    dtype = jnp.result_type(design.model.hyper_mean)
    d = design.model.hyper_mean.shape[0]
    scalars = draws.bits(purpose_key(key, Purpose.ROUND, number), (2,))
    if order == "random":
        task = (draws.to_uniform(scalars[0]) * design.tasks).astype(jnp.int32)
    else:
        task = ((number - 1) * design.tasks // rounds).astype(jnp.int32)
    features = draw_choices(
        purpose_key(key, Purpose.ROUND_FEATURES, number), design, (design.actions,)
    )
    normal = draws.normal(purpose_key(key, Purpose.POLICY, number), (d,))
    noise = draws.to_normal(scalars[1]).astype(dtype) * design.model.noise_std
    value = products.inner(features, task_parameter[task])
    return Situation(task, features, value, noise, normal.astype(dtype))
