"""Many runs of policies that learn many tasks online, on common random numbers.

One run: key -> hyper-parameter and tasks -> log -> belief -> [task and context -> action -> reward
-> belief] scanned over rounds -> regret. All policies see the same instances, logs, tasks, contexts
and noise, and Thompson samplers the same normal numbers, so their differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxbandit import draws, linalg, tiles
from jaxbandit.checks import InputError, check_count
from jaxbandit.hierarchical.belief import Own, Shared, believe
from jaxbandit.hierarchical.play import Belief, Situation, play_rounds, tile_belief
from jaxbandit.hierarchical.policy import HierarchicalPolicy, Prior, usual_policies
from jaxbandit.keys import Purpose, purpose_key, root_key, run_key
from jaxbandit.moments import Moments, in_words
from jaxbandit.offpolicy.design import Instance, OffPolicyDesign, check_design, draw_log
from jaxbandit.offpolicy.model import TaskStatistics
from jaxbandit.offpolicy.statistics import empty_statistics, listed_statistics
from jaxbandit.online.validation import check_checkpoints
from jaxbandit.summaries import TileOutput

TILE_WIDTH = {"cpu": 64, "accelerator": 4096}
# Numbers that are drawn for a tile at a time, about.
_DRAWN = 1 << 18
Order = Literal["random", "sequential"]


class HierarchicalResult(NamedTuple):
    """Regret; every `Moments` is over runs, [checkpoints]."""

    round: np.ndarray
    """[checkpoints], rounds played, of all tasks together."""
    regret: dict[str, Moments]
    """Per policy: what the best actions would have given more, summed over rounds."""
    differences: dict[tuple[str, str], Moments]
    """Per pair of policies, regret of the first less the second on the same runs."""
    runs: int
    """Asked for."""
    non_finite: np.ndarray
    """Indices of runs that were left out."""

    def __repr__(self) -> str:
        title = f"HierarchicalResult: {self.runs} runs, regret after {self.round[-1]} rounds"
        return in_words(title, len(self.non_finite), self.regret)


def simulate_hierarchical(
    key: Array,
    design: OffPolicyDesign,
    *,
    rounds: int,
    runs: int,
    records: int = 0,
    order: Order = "random",
    policies: Mapping[str, HierarchicalPolicy] | None = None,
    checkpoints: ArrayLike | None = None,
    threads: int | None = None,
    progress: tiles.Progress | None = None,
) -> HierarchicalResult:
    """Play many runs; in a round one task has to act in a context of its own.

    Results have the same bits whatever `threads` and devices; the first runs of a larger `runs` are
    the runs of a smaller one.

    Args:
        key: PRNG key.
        design: model, tasks, contexts, and how the log was made.
        rounds: of all tasks together.
        runs: Monte-Carlo runs.
        records: of the log that policies start from, of all tasks together.
        order: "random", a task drawn for each round, or "sequential", one task after the other.
        policies: name -> policy; default: Thompson sampling and UCB, hierarchical, flat and oracle.
        checkpoints: rounds at which to report, increasing; default about 200, to the end.
        threads: on a CPU, tiles computed at once; default: one more than there are cores.
        progress: called with (runs done, runs).

    Raises:
        InputError: counts below one, an unknown order, no policies, checkpoints that do not
            increase from 1 to `rounds`, a design that is not valid.

    Source:
        Hong et al. 2022, "Hierarchical Bayesian bandits", section 3.

    >>> import jax
    >>> import jaxbandit as jb
    >>> out = jb.simulate_hierarchical(
    ...     jax.random.key(0), jb.synthetic_design(task_std=0.1), rounds=100, runs=64
    ... )
    >>> bool(out.regret["HierTS"].mean[-1] < out.regret["FlatTS"].mean[-1])
    True
    """
    rounds = check_count("rounds", rounds)
    records = check_count("records", records, minimum=0)
    if order not in ("random", "sequential"):
        raise InputError(f'order must be "random" or "sequential", was {order!r}')
    policies = usual_policies() if policies is None else policies
    if not policies:
        raise InputError("policies must name at least one policy, was empty")
    ends = check_checkpoints(checkpoints, rounds)
    design = check_design(design)
    functions = tuple((name, p._replace(params=None)) for name, p in policies.items())
    out = tiles.run_tiles(
        _program,
        (functions, rounds, records, order, jax.local_devices()[0].platform == "cpu"),
        root_key(key),
        (design, tuple(p.params for p in policies.values()), jnp.asarray(ends)),
        runs=runs,
        width=tiles.by_platform(TILE_WIDTH),
        threads=threads,
        progress=progress,
    )
    regret, differences = out.averaged
    by_name = {name: regret[name] for name in policies}
    return HierarchicalResult(ends, by_name, differences, int(runs), out.non_finite)


# One run.


def draw_start(
    key: Array, design: OffPolicyDesign, records: int
) -> tuple[Instance, TaskStatistics]:
    """A run's truth, and statistics of its log."""
    instance = design.draw_instance(purpose_key(key, Purpose.INSTANCE), design)
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
    features = design.draw_features(
        purpose_key(key, Purpose.ROUND_FEATURES, number), design, (design.actions,)
    )
    normal = draws.normal(purpose_key(key, Purpose.POLICY, number), (d,))
    noise = draws.to_normal(scalars[1]).astype(dtype) * design.model.noise_std
    value = linalg.inner(features, task_parameter[task])
    return Situation(task, features, value, noise, normal.astype(dtype))


def _program(static: Any, root: Array, runs: Array, params: Any) -> TileOutput:
    functions, rounds, records, order, as_kernel = static
    design, policy_params, ends = params
    keys = jax.vmap(partial(run_key, root))(runs)
    instance, stats = jax.vmap(lambda key: draw_start(key, design, records))(keys)
    size = _rounds_at_once(len(runs), rounds, design)

    def belief(prior: Prior) -> Belief:
        def one(hyper_parameter: Array, stats: TaskStatistics) -> tuple[Shared, Own]:
            return believe(prior(design.model, hyper_parameter), stats)

        return tile_belief(*jax.vmap(one)(instance.hyper_parameter, stats))

    def draw(number: Array) -> Situation:
        one = partial(draw_situation, design=design, number=number, rounds=rounds, order=order)
        return jax.vmap(lambda key, theta: one(key, task_parameter=theta), out_axes=-1)(
            keys, instance.task_parameter
        )

    def play(beliefs: list[Belief], first: Array) -> tuple[list[Belief], list[Array]]:
        situations = jax.vmap(draw)(first + jnp.arange(size, dtype=jnp.uint32))

        def team(team: list[int], params: Any, belief: Belief) -> tuple[Belief, Array]:
            rule = functions[team[0]][1]
            return lax.map(
                lambda one: play_rounds(
                    rule._replace(params=one[0]),
                    one[1],
                    situations,
                    first.astype(jnp.int32),
                    as_kernel=as_kernel,
                ),
                (params, belief),
            )

        played = list(map(team, teams, team_params, beliefs))
        return [one[0] for one in played], [one[1] for one in played]

    # Policies of one rule are one program, compiled once, with their numbers stacked.
    teams = _teams(functions, policy_params)
    stacked = partial(jax.tree.map, lambda *leaves: jnp.stack(leaves))
    team_params = [stacked(*(policy_params[i] for i in team)) for team in teams]
    by_prior = {policy.prior: belief(policy.prior) for _, policy in functions}
    beliefs = [stacked(*(by_prior[functions[i][1].prior] for i in team)) for team in teams]
    firsts = jnp.arange(1, rounds + 1, size, dtype=jnp.uint32)
    _, lost = lax.scan(play, beliefs, firsts)

    curves: dict[int, Array] = {}
    for team, one in zip(teams, lost, strict=True):
        # [blocks, policies, rounds, runs]
        every = jnp.swapaxes(one, 0, 1).reshape(len(team), -1, len(runs))
        curves |= zip(team, jnp.cumsum(every, axis=1)[:, ends - 1].swapaxes(1, 2), strict=True)
    names = [name for name, _ in functions]
    regret = {name: curves[i] for i, name in enumerate(names)}
    differences = {
        (a, b): regret[a] - regret[b] for i, a in enumerate(names) for b in names[i + 1 :]
    }
    return TileOutput(averaged=(regret, differences))


def _teams(functions: Any, params: tuple[Any, ...]) -> list[list[int]]:
    """Places of policies that differ in numbers alone."""
    teams: dict[Any, list[int]] = {}
    for place, ((_, policy), own) in enumerate(zip(functions, params, strict=True)):
        leaves, structure = jax.tree.flatten(own)
        shapes = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
        teams.setdefault((policy.index, structure, shapes), []).append(place)
    return list(teams.values())


def _rounds_at_once(runs: int, rounds: int, design: OffPolicyDesign) -> int:
    """How many rounds to draw before they are played: as many as a core's cache holds."""
    features = design.model.hyper_mean.shape[0]
    numbers = design.actions * (features + 1) + features + 2
    blocks = -(-rounds // max(_DRAWN // (runs * numbers), 8))
    return -(-rounds // blocks)
