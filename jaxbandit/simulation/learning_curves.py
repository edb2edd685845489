"""Monte-Carlo learning curves of off-policy algorithms.

One run: key -> hyper-parameter and tasks -> log -> statistics at every checkpoint, in one pass ->
each algorithm's posteriors -> pessimistic actions -> suboptimality. All algorithms see the same
instances, logs and contexts, so their differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxbandit.checks import (
    InputError,
    check_count,
    check_function,
    check_hashable,
    check_kind,
    check_named,
    check_shape,
)
from jaxbandit.engine import devices, programs, tiles
from jaxbandit.engine.keys import Purpose, purpose_keys, run_key
from jaxbandit.engine.moments import Moments, in_words
from jaxbandit.engine.tile_output import TileOutput
from jaxbandit.environments.linear_tasks import (
    Instance,
    OffPolicyDesign,
    check_design,
    draw_choices,
    draw_log,
    draw_truth,
    fields_of,
)
from jaxbandit.inference.model import BanditLog, Gaussian, TaskStatistics
from jaxbandit.inference.statistics import empty_statistics, listed_statistics, listed_width
from jaxbandit.linalg import products
from jaxbandit.policies.offline import ALGORITHMS, Algorithm
from jaxbandit.precision import settings

# Runs in a tile. Part of what fixes a result's bits; on CPUs a tile this wide stays in cache.
TILE_WIDTH = {"cpu": 16, "accelerator": 1024}

# Memory for what grows with tasks and records, of runs of a tile that are computed side by side. On
# CPUs it stays near a core's cache, and below what an allocator gives back after each call.
_RUN_BYTES = {"cpu": 1 << 22, "accelerator": 1 << 30}


class OffPolicyResult(NamedTuple):
    """Learning curves; every `Moments` is over runs, with a leading `records` axis."""

    records: np.ndarray
    """[checkpoints], records logged."""
    suboptimality: dict[str, Moments]
    """Per algorithm, averaged over tasks and contexts, in reward units."""
    differences: dict[tuple[str, str], Moments]
    """Per pair of algorithms, suboptimality of the first less the second on the same runs."""
    runs: int
    """Asked for."""
    non_finite: np.ndarray
    """Indices of runs that were left out."""

    def __repr__(self) -> str:
        title = f"OffPolicyResult: {self.runs} runs, suboptimality after {self.records[-1]} records"
        return in_words(title, len(self.non_finite), self.suboptimality)

    def paired(self, first: str, second: str) -> Moments:
        """Moments over runs of the suboptimality of `first` less that of `second`.

        Raises:
            InputError: no such algorithm was simulated.
        """
        for name in (first, second):
            if name not in self.suboptimality:
                known = ", ".join(self.suboptimality)
                raise InputError(f"no algorithm {name!r} was simulated, only {known}")
        if first == second:
            zero = np.zeros_like(self.suboptimality[first].mean)
            return Moments(self.suboptimality[first].count, zero, zero)
        if (first, second) in self.differences:
            return self.differences[first, second]
        other = self.differences[second, first]
        return other._replace(mean=-other.mean)


def simulate_offpolicy(
    key: Array,
    design: OffPolicyDesign,
    *,
    runs: int,
    records: tuple[int, ...],
    algorithms: Mapping[str, Algorithm] = ALGORITHMS,
    threads: int | None = None,
    progress: tiles.Progress | None = None,
) -> OffPolicyResult:
    """Suboptimality against the number of logged records, for several algorithms on the same runs.

    Results have the same bits whatever `threads` and devices; the first runs of a larger `runs` are
    the runs of a smaller one.

    Args:
        key: PRNG key.
        design: what to simulate.
        runs: Monte-Carlo runs.
        records: sizes of the log at which to evaluate, increasing.
        algorithms: name -> function (model, stats, hyper-parameter) -> Gaussian over tasks.
        threads: on a CPU, tiles computed at once; default: one more than there are cores.
        progress: called with (runs done, runs).

    Raises:
        InputError: records not increasing from at least 1, no algorithms, a design whose model,
            alpha or counts are not valid, runs or threads below one, an algorithm or a function of
            the design that gives another shape or type than it should, a call inside `jax.jit`.

    Source:
        Hong et al. 2023, section 7.

    >>> import jax
    >>> import jaxbandit as jb
    >>> out = jb.simulate_offpolicy(
    ...     jax.random.key(0), jb.synthetic_design(), runs=64, records=(100, 500)
    ... )
    >>> out.suboptimality["HierOPO"].mean.shape
    (2,)
    >>> bool(out.paired("FlatOPO", "HierOPO").mean[0] > 0)
    True
    """
    tiles.check_values(key)
    job = prepare(design, runs=runs, records=records, algorithms=algorithms)
    out = tiles.run_tiles(
        job.program,
        job.static,
        key,
        job.params,
        runs=job.runs,
        width=job.width,
        threads=threads,
        progress=progress,
        written_out=job.written_out,
    )
    curves, differences = out.averaged
    suboptimality = {name: curves[name] for name in algorithms}  # in the caller's order
    return OffPolicyResult(
        np.atleast_1d(records), suboptimality, differences, int(runs), out.non_finite
    )


@settings.usual()
def prepare(
    design: OffPolicyDesign,
    *,
    runs: int,
    records: tuple[int, ...],
    algorithms: Mapping[str, Algorithm] = ALGORITHMS,
) -> programs.Job:
    """What the engine plays, from checked arguments of `simulate_offpolicy`."""
    tiles.check_values(fields_of(design), runs, records, algorithms)
    records = _check_records(records)
    check_named("algorithms", algorithms, "algorithm")
    for name, algorithm in algorithms.items():
        check_function(f"algorithm {name!r}", algorithm, "(model, stats, hyper-parameter)")
        check_hashable(f"algorithm {name!r}", algorithm)
    return programs.Job(
        _program,
        (records, tuple(algorithms.items())),
        check_design(design),
        runs=check_count("runs", runs),
        width=devices.by_platform(TILE_WIDTH),
        written_out=True,
    )


# A tile of runs: all drawn first, then one pass over their logs.


class _Run(NamedTuple):
    """What is drawn in a run."""

    instance: Instance
    log: BanditLog
    contexts: Float[Array, "features actions contexts"]


def _program(static: Any, root: Array, runs: Array, design: OffPolicyDesign) -> TileOutput:
    records, algorithms = static
    size = runs_at_once(len(runs), _numbers(design, _longest(records), len(algorithms)))
    groups = runs.reshape(-1, size)
    curves = lax.map(lambda group: _curves(static, root, group, design), groups)
    # [groups, checkpoints, runs] -> [runs, checkpoints]
    curves = {
        name: jnp.moveaxis(curve, 1, -1).reshape(len(runs), -1) for name, curve in curves.items()
    }
    names = list(curves)
    differences = {
        (a, b): curves[a] - curves[b] for i, a in enumerate(names) for b in names[i + 1 :]
    }
    return TileOutput(averaged=(curves, differences))


def _longest(records: tuple[int, ...]) -> int:
    """Most records between two checkpoints."""
    return max(np.diff((0, *records)).tolist())


def _numbers(design: OffPolicyDesign, longest: int, algorithms: int) -> int:
    """What a run holds between two checkpoints, and at one."""
    width = listed_width(design.max_tasks, len(design.model.hyper_mean))
    return longest * width + design.max_tasks * algorithms * design.contexts


def runs_at_once(width: int, numbers: int) -> int:
    """Runs of a tile to compute side by side, if each holds so many numbers: all, or a part."""
    most = max(devices.by_platform(_RUN_BYTES) // (4 * numbers), 1)
    return max(size for size in range(1, width + 1) if width % size == 0 and size <= most)


def _curves(
    static: Any, root: Array, runs: Array, design: OffPolicyDesign
) -> dict[str, Float[Array, "checkpoints runs"]]:
    """Learning curves of some runs, drawn and played side by side."""
    records, algorithms = static
    ends = np.asarray(records)
    starts = np.concatenate([[0], ends[:-1]])
    longest = _longest(records)
    drawn = jax.vmap(lambda run: _draw(run_key(root, run), design, records[-1], longest))(runs)

    # A loop rather than straight code: what the loop takes in is computed once, where straight code
    # would draw the log anew for every checkpoint that uses it.
    def step(stats: TaskStatistics, segment: tuple[Array, Array]) -> tuple[TaskStatistics, Any]:
        start, end = segment
        part = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, longest, 1), drawn.log)
        listed = start + jnp.arange(longest) < end
        sums = jax.vmap(lambda log: listed_statistics(log, listed, design.max_tasks))(part)
        stats = jax.tree.map(jnp.add, stats, sums)
        return stats, jax.vmap(lambda s, run: _evaluate(s, run, design, algorithms))(stats, drawn)

    empty = empty_statistics(design.max_tasks, drawn.contexts.shape[1], drawn.contexts.dtype)
    empty = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(runs), *x.shape)), empty)
    return lax.scan(step, empty, (jnp.asarray(starts), jnp.asarray(ends)))[1]


def _draw(key: Array, design: OffPolicyDesign, records: int, spare: int) -> _Run:
    """One run; its log is followed by `spare` empty records."""
    instance_key, context_key = purpose_keys(key, (Purpose.INSTANCE, Purpose.CONTEXTS))
    instance = draw_truth(instance_key, design)
    log = draw_log(key, design, instance, records)
    contexts = draw_choices(context_key, design, (design.actions, design.contexts))
    return _Run(
        instance,
        jax.tree.map(lambda x: jnp.pad(x, [(0, spare)] + [(0, 0)] * (x.ndim - 1)), log),
        # Features first and contexts last in memory, where the loop over checkpoints holds them.
        jnp.moveaxis(contexts, -1, 0),
    )


def _evaluate(
    stats: TaskStatistics,
    run: _Run,
    design: OffPolicyDesign,
    algorithms: tuple[tuple[str, Algorithm], ...],
) -> dict[str, Float[Array, ""]]:
    """Suboptimality of each algorithm, averaged over tasks and contexts."""
    posteriors = [
        _checked(name, algorithm(design.model, stats, run.instance.hyper_parameter), design)
        for name, algorithm in algorithms
    ]
    # One program for all algorithms' actions, which is most of the work.
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *posteriors)
    parameter = run.instance.task_parameter
    losses = jax.vmap(lambda g: _pessimistic_loss(g, parameter, run.contexts, design.alpha))(
        stacked
    )
    listed = jnp.arange(design.max_tasks) < design.tasks
    # Whatever an algorithm says of tasks that do not exist counts for nothing.
    lost = jnp.sum(jnp.where(listed, losses, 0) / design.tasks, axis=-1)
    return {name: lost[i] for i, (name, _) in enumerate(algorithms)}


def _checked(name: str, posterior: Any, design: OffPolicyDesign) -> Gaussian:
    """What an algorithm gave, if of the right type and shapes."""
    what = f"what algorithm {name!r} gives"
    check_kind(what, posterior, Gaussian, "a Gaussian")
    m, d = design.max_tasks, design.model.hyper_mean.shape[0]
    check_shape(f"{what}, mean,", posterior.mean, (m, d), "[tasks, features]")
    check_shape(f"{what}, cov,", posterior.cov, (m, d, d), "[tasks, features, features]")
    return posterior


def _pessimistic_loss(
    gaussian: Gaussian,
    parameter: Float[Array, "tasks features"],
    contexts: Float[Array, "features actions contexts"],
    alpha: ArrayLike,
) -> Float[Array, " tasks"]:
    """Mean over contexts of the best action's reward less the pessimistic one's, for each task."""

    @jax.jit  # Traced once, for all actions.
    @partial(jax.vmap, in_axes=(0, 0, None))
    def of_tasks(gaussian: Gaussian, parameter: Array, action: Array) -> tuple[Array, Array]:
        feature = action.T
        variance = products.quadratic_form(gaussian.cov, feature)
        width = alpha * jnp.sqrt(jnp.maximum(variance, 0))
        return products.inner(feature, parameter), products.inner(feature, gaussian.mean) - width

    judge = partial(of_tasks, gaussian, parameter)

    # One comparison an action: the compiler keeps all of it in registers, and ties go to the first.
    # Rewards are computed here each time; to read them from memory would take longer.
    taken, highest = judge(contexts[:, 0])
    best = taken
    for action in range(1, contexts.shape[1]):
        reward, bound = judge(contexts[:, action])
        taken = jnp.where(bound > highest, reward, taken)
        highest = jnp.maximum(bound, highest)
        best = jnp.maximum(reward, best)
    # The difference is 0, or NaN where a posterior gave no number to compare.
    lost = best - taken + (highest - highest)
    # A product, not a sum: a sum over the last axis would be fused with what computes `lost`, and
    # summed one number at a time.
    return products.matmul(lost, jnp.full(lost.shape[-1], 1 / lost.shape[-1], lost.dtype))


def _check_records(records: tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(records, int | np.integer):
        records = (int(records),)
    counts = tuple(check_count("records", n) for n in records)
    if not counts or any(b <= a for a, b in pairwise(counts)):
        raise InputError(f"records must be increasing numbers of records, was {records!r}")
    return counts
