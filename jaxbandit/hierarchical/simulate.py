"""Many runs of policies that learn many tasks online, on common random numbers.

One run: key -> hyper-parameter and tasks -> log -> belief -> [task and context -> action -> reward
-> belief] scanned over rounds -> regret. All policies see the same instances, logs, tasks, contexts
and noise, and Thompson samplers the same normal numbers, so their differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from jaxbandit import draws, linalg, tiles
from jaxbandit.checks import InputError, check_count
from jaxbandit.hierarchical.belief import Belief, believe, learn, task_belief
from jaxbandit.hierarchical.policy import HierarchicalPolicy, usual_policies
from jaxbandit.keys import Purpose, purpose_key, root_key, run_key
from jaxbandit.moments import Moments
from jaxbandit.offpolicy.design import Instance, OffPolicyDesign, check_design, draw_log
from jaxbandit.offpolicy.model import TaskStatistics
from jaxbandit.offpolicy.statistics import empty_statistics, listed_statistics
from jaxbandit.online.validation import check_checkpoints
from jaxbandit.summaries import TileOutput

TILE_WIDTH = {"cpu": 64, "accelerator": 4096}
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


class Situation(NamedTuple):
    """What a round presents, the same for all policies."""

    task: Int[Array, ""]
    feature: Float[Array, "actions features"]
    noise: Float[Array, ""]
    normal: Float[Array, " features"]
    """For a policy that draws."""


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
        (functions, rounds, records, order),
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
    key: Array, design: OffPolicyDesign, number: Array, rounds: int, order: Order
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
    return Situation(task, features, noise, normal.astype(dtype))


def play(
    policy: HierarchicalPolicy, belief: Belief, situation: Situation, parameter: Array
) -> tuple[Belief, Int[Array, ""], Float[Array, ""]]:
    """One round of one policy: its belief afterwards, the action, and the regret.

    Args:
        policy: the policy.
        belief: before the round.
        situation: of the round.
        parameter: [tasks, features], the truth.
    """
    feature, task = situation.feature, situation.task
    index = policy.index(policy.params, task_belief(belief, task), feature, situation.normal)
    action = jnp.argmax(index).astype(jnp.int32)
    value = linalg.inner(feature, parameter[task])
    reward = value[action] + situation.noise
    return learn(belief, task, feature[action], reward), action, jnp.max(value) - value[action]


def _program(static: Any, root: Array, runs: Array, params: Any) -> TileOutput:
    functions, rounds, records, order = static
    design, policy_params, ends = params
    policies = [
        (name, policy._replace(params=own))
        for (name, policy), own in zip(functions, policy_params, strict=True)
    ]

    def run(index: Array) -> dict[str, Array]:
        key = run_key(root, index)
        instance, stats = draw_start(key, design, records)
        beliefs = [
            believe(policy.prior(design.model, instance.hyper_parameter), stats)
            for _, policy in policies
        ]

        def step(beliefs: list[Belief], number: Array) -> tuple[list[Belief], Array]:
            situation = draw_situation(key, design, number, rounds, order)
            played = [
                play(policy, belief, situation, instance.task_parameter)
                for (_, policy), belief in zip(policies, beliefs, strict=True)
            ]
            return [one[0] for one in played], jnp.stack([one[2] for one in played])

        _, lost = lax.scan(step, beliefs, jnp.arange(1, rounds + 1, dtype=jnp.uint32))
        regret = jnp.cumsum(lost, axis=0)[ends - 1]
        return {name: regret[:, i] for i, (name, _) in enumerate(policies)}

    regret = jax.vmap(run)(runs)
    names = [name for name, _ in policies]
    differences = {
        (a, b): regret[a] - regret[b] for i, a in enumerate(names) for b in names[i + 1 :]
    }
    return TileOutput(averaged=(regret, differences))
