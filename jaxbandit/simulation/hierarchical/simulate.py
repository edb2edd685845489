"""Many runs of policies that learn many tasks online, on common random numbers.

One run: key -> hyper-parameter and tasks -> log -> belief -> [task and context -> action -> reward
-> belief] scanned over rounds -> regret. All policies see the same instances, logs, tasks, contexts
and noise, and Thompson samplers the same normal numbers, so their differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxbandit.checks import InputError, check_count, check_hashable, check_kind, check_named
from jaxbandit.engine import devices, tiles
from jaxbandit.engine.keys import root_key
from jaxbandit.engine.moments import Moments, in_words
from jaxbandit.environments.linear_tasks import OffPolicyDesign, check_design, fields_of
from jaxbandit.precision.floating import in_precision
from jaxbandit.simulation.checks import check_checkpoints
from jaxbandit.simulation.hierarchical.policy import HierarchicalPolicy, usual_policies
from jaxbandit.simulation.hierarchical.program import Order, program

TILE_WIDTH = {"cpu": 32, "accelerator": 4096}
_MOST = 2**31 - 1


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
        InputError: counts below one, too many rounds, an unknown order, no policies, checkpoints
            that do not increase from 1 to `rounds`, a design that is not valid, a function of it or
            of a policy that gives another shape or type than it should, a call inside `jax.jit`.

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
    given = rounds, runs, records, policies, checkpoints
    tiles.check_values(key, fields_of(design), *given)
    rounds = check_count("rounds", rounds)
    records = check_count("records", records, minimum=0)
    if order not in ("random", "sequential"):
        raise InputError(f'order must be "random" or "sequential", was {order!r}')
    policies = usual_policies() if policies is None else policies
    check_named("policies", policies, "policy")
    for name, policy in policies.items():
        check_kind(f"policy {name!r}", policy, HierarchicalPolicy, "a HierarchicalPolicy")
        check_hashable(f"policy {name!r}: prior", policy.prior)
        check_hashable(f"policy {name!r}: index", policy.index)
    ends = check_checkpoints(checkpoints, rounds)
    design = check_design(design)
    if order == "sequential" and rounds * design.max_tasks > _MOST:
        raise InputError(
            f"rounds times tasks must be at most {_MOST} in sequential order, was "
            f"{rounds} times {design.max_tasks}"
        )
    functions = tuple((name, p._replace(params=None)) for name, p in policies.items())
    out = tiles.run_tiles(
        program,
        (functions, rounds, records, order),
        root_key(key),
        (design, tuple(in_precision(p.params) for p in policies.values()), jax.device_put(ends)),
        runs=runs,
        width=devices.by_platform(TILE_WIDTH),
        threads=threads,
        progress=progress,
    )
    regret, differences = out.averaged
    by_name = {name: regret[name] for name in policies}
    return HierarchicalResult(ends, by_name, differences, int(runs), out.non_finite)
