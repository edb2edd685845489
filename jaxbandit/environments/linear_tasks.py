"""What an off-policy simulation draws: instances, features, logs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int, UInt32

from jaxbandit import checks
from jaxbandit.checks import InputError, check_count
from jaxbandit.engine import draws
from jaxbandit.engine.keys import Purpose, purpose_key, purpose_keys
from jaxbandit.inference.digits import check_hyper_mean
from jaxbandit.inference.model import BanditLog, HierarchicalGaussian, check_model
from jaxbandit.linalg import products
from jaxbandit.precision import settings
from jaxbandit.precision.floating import floating, in_precision
from jaxbandit.precision.settings import promotion

# Records drawn from one key.
_RECORDS = 128


class Instance(NamedTuple):
    """One draw of the truth."""

    hyper_parameter: Float[Array, " features"]
    """What tasks share, $\\mu_*$."""
    task_parameter: Float[Array, "tasks features"]
    """$\\theta_s$ of each task."""


LoggingPolicy = Callable[[Array, "OffPolicyDesign", Array], Array]
"""(key, design, features [actions, features]) -> action."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["model", "tasks", "alpha", "task_weights", "arrays"],
    meta_fields=[
        "draw_instance",
        "draw_features",
        "logging_policy",
        "max_tasks",
        "actions",
        "contexts",
    ],
)
@dataclass(frozen=True)
class OffPolicyDesign:
    """What is simulated. `synthetic_design` makes the usual one.

    Functions and whole numbers are part of what is compiled; arrays are not, so changing them costs
    nothing. `tasks` is an array too: fewer tasks than `max_tasks` run in the same program.
    """

    model: HierarchicalGaussian
    """What the algorithms believe; its noise_std is also that of the rewards."""
    draw_instance: Callable[[Array, OffPolicyDesign], Instance]
    """(key, design) -> the truth for one run, max_tasks tasks."""
    draw_features: Callable[[Array, OffPolicyDesign, tuple[int, ...]], Array]
    """(key, design, shape) -> features [*shape, features], independent over `shape`."""
    max_tasks: int
    """Tasks that are compiled for."""
    actions: int
    """Actions in a context."""
    contexts: int = 1000
    """Contexts that a run's suboptimality is averaged over; shared by its tasks."""
    tasks: Any = None
    """Number of tasks, at most max_tasks; None for all."""
    alpha: Any = 0.1
    """Width of the confidence interval."""
    task_weights: Any = None
    """[max_tasks], how often each task is logged; None for uniform."""
    logging_policy: LoggingPolicy | None = None
    """(key, design, features [actions, features]) -> action; None for uniform."""
    arrays: Any = field(default=())
    """Whatever arrays the functions need."""


@settings.usual()
def synthetic_design(
    *,
    features: int = 4,
    actions: int = 5,
    tasks: int = 10,
    max_tasks: int | None = None,
    hyper_std: ArrayLike = 0.5,
    task_std: ArrayLike = 0.5,
    noise_std: ArrayLike = 0.5,
    alpha: ArrayLike = 0.1,
    contexts: int = 1000,
) -> OffPolicyDesign:
    """The synthetic problem of Hong et al. 2023, section 7.1.

    Features of each action in each context are uniform on [-0.5, 0.5]; parameters follow the model
    with `hyper_cov = hyper_std^2 I`, `task_cov = task_std^2 I`; tasks and actions are logged
    uniformly at random.

    Args:
        features: number of features.
        actions: actions in a context.
        tasks: number of tasks.
        max_tasks: the largest `tasks` the same compiled program is to simulate; default `tasks`.
        hyper_std: standard deviation of each coordinate of the hyper-parameter.
        task_std: standard deviation of a task parameter around it.
        noise_std: standard deviation of a reward.
        alpha: width of the confidence interval.
        contexts: contexts that suboptimality is averaged over.

    Raises:
        InputError: a count below one, a standard deviation that is not positive, a negative alpha.
    """
    features = check_count("features", features)
    for name, value in (("hyper_std", hyper_std), ("task_std", task_std), ("noise_std", noise_std)):
        checks.check_positive(name, value)
    # On the host where the numbers are: each operation of a device is a program to compile.
    xp = np if checks.is_concrete(hyper_std, task_std, noise_std) else jnp
    hyper_std, task_std = xp.asarray(hyper_std, float), xp.asarray(task_std, float)
    identity, dtype = np.eye(features), jnp.result_type(float)
    model = HierarchicalGaussian(
        jnp.asarray(np.zeros(features), dtype),
        jnp.asarray(hyper_std**2 * identity, dtype),
        jnp.asarray(task_std**2 * identity, dtype),
        jnp.asarray(noise_std, dtype),
    )
    return OffPolicyDesign(
        model=model,
        draw_instance=draw_from_model,
        draw_features=draw_uniform_features,
        max_tasks=check_count("max_tasks", tasks if max_tasks is None else max_tasks),
        actions=actions,
        contexts=contexts,
        tasks=tasks,
        alpha=alpha,
    )


@promotion()
def draw_from_model(key: Array, design: OffPolicyDesign) -> Instance:
    """Hyper-parameter and tasks drawn from the model itself."""
    model = HierarchicalGaussian(*floating(*design.model))
    d = model.hyper_mean.shape[0]
    normal = draws.normal(key, (design.max_tasks + 1, d)).astype(model.hyper_mean.dtype)
    # Both factors at once and on all numbers: short to compile, and as quick to run.
    factors = jax.vmap(products.psd_factor)(jnp.stack([model.hyper_cov, model.task_cov]))
    from_hyper, from_task = products.einsum("kij,nj->kni", factors, normal)
    hyper = model.hyper_mean + from_hyper[0]
    task = hyper + from_task[1:]
    return Instance(hyper, task)


@promotion()
def draw_uniform_features(key: Array, design: OffPolicyDesign, shape: tuple[int, ...]) -> Array:
    """Features uniform on [-0.5, 0.5]."""
    (hyper_mean,) = floating(design.model.hyper_mean)
    # Drawn coordinate by coordinate, which lets the compiler keep each contiguous over `shape`.
    uniform = draws.uniform(key, (hyper_mean.shape[0], *shape))
    return jnp.moveaxis(uniform - 0.5, 0, -1).astype(hyper_mean.dtype)


def draw_truth(key: Array, design: OffPolicyDesign) -> Instance:
    """What the design's `draw_instance` gives, of the right shapes.

    Raises:
        InputError: it is no `Instance`, or its shapes are others.
    """
    instance = design.draw_instance(key, design)
    name, d = "what draw_instance gives", design.model.hyper_mean.shape[0]
    checks.check_kind(name, instance, Instance, "an Instance")
    checks.check_shape(f"{name}, hyper_parameter,", instance.hyper_parameter, (d,), "[features]")
    checks.check_shape(
        f"{name}, task_parameter,",
        instance.task_parameter,
        (design.max_tasks, d),
        "[max_tasks, features]",
    )
    return Instance(*floating(*instance))


def draw_choices(key: Array, design: OffPolicyDesign, shape: tuple[int, ...]) -> Array:
    """What the design's `draw_features` gives, of the right shape.

    Raises:
        InputError: its shape is another.
    """
    feature = design.draw_features(key, design, shape)
    wanted = (*shape, design.model.hyper_mean.shape[0])
    checks.check_shape("what draw_features gives", feature, wanted, "[*shape, features]")
    return floating(feature)[0]


@promotion()
def draw_log(key: Array, design: OffPolicyDesign, instance: Instance, records: int) -> BanditLog:
    """A log drawn by the design's logging policy.

    Args:
        key: key of the run.
        design: what is simulated.
        instance: the truth.
        records: number of records; the first n are the same whatever the number.

    Raises:
        InputError: records below one, a design that is not valid, a function of it that gives
            another shape or type than it should.
    """
    design, instance = check_design(design), Instance(*floating(*instance))
    blocks = -(-check_count("records", records) // _RECORDS)
    log = jax.vmap(lambda block: _log_block(key, design, instance, block))(jnp.arange(blocks))
    return jax.tree.map(lambda x: x.reshape((-1, *x.shape[2:]))[:records], log)


def fields_of(design: Any) -> dict[str, Any]:
    """The fields of a design, by their names.

    Raises:
        InputError: it is none, or a function of it cannot be hashed.
    """
    checks.check_kind("design", design, OffPolicyDesign, "an OffPolicyDesign")
    for name in ("draw_instance", "draw_features", "logging_policy"):
        checks.check_hashable(f"design: {name}", getattr(design, name))
    return vars(design)


@settings.usual()
def check_design(design: OffPolicyDesign) -> OffPolicyDesign:
    """The design with arrays of one floating type.

    Raises:
        InputError: a model, alpha, weights or counts that are not valid.
    """
    for name in ("max_tasks", "actions", "contexts"):
        check_count(name, getattr(design, name))
    design = in_precision(design)
    model = check_model(design.model)
    check_hyper_mean(model)
    checks.check_not_negative("alpha", design.alpha)
    tasks = design.max_tasks if design.tasks is None else design.tasks
    if checks.is_concrete(tasks) and not 1 <= np.asarray(tasks) <= design.max_tasks:
        raise InputError(
            f"tasks must lie between 1 and max_tasks = {design.max_tasks}, was {tasks}"
        )
    weights = design.task_weights
    if weights is not None:
        checks.check_shape("task_weights", weights, (design.max_tasks,), "[max_tasks]")
        checks.check_not_negative("task_weights", weights)
        if checks.is_concrete(weights) and not np.sum(np.asarray(weights)[: int(tasks)]) > 0:
            raise InputError("task_weights must have a positive sum over the tasks simulated")
        weights = jnp.asarray(weights, jnp.float32)
    return replace(
        design,
        model=model,
        tasks=jnp.asarray(tasks, jnp.int32),
        alpha=jnp.asarray(design.alpha, model.hyper_mean.dtype),
        task_weights=weights,
    )


def _log_block(key: Array, design: OffPolicyDesign, instance: Instance, block: Array) -> BanditLog:
    model = design.model
    purposes = Purpose.LOG_FEATURES, Purpose.LOG_TASK, Purpose.LOG_NOISE
    feature_key, *others = purpose_keys(key, purposes, block)
    task_word, noise_word = jax.vmap(lambda key: draws.bits(key, (_RECORDS,)))(jnp.stack(others))
    task = _task_of(task_word, design)
    if design.logging_policy is None:
        # The features of an action taken uniformly at random are those of any action.
        feature = draw_choices(feature_key, design, (_RECORDS,))
    else:
        choices = draw_choices(feature_key, design, (_RECORDS, design.actions))
        action_keys = jax.random.split(purpose_key(key, Purpose.LOG_ACTION, block), _RECORDS)
        action = jax.vmap(partial(_logged_action, design, design.logging_policy))(
            action_keys, choices
        )
        feature = jnp.take_along_axis(choices, action[:, None, None], axis=1)[:, 0]
    noise = draws.to_normal(noise_word)
    mean = products.inner(feature, instance.task_parameter[task])
    return BanditLog(task, feature, mean + model.noise_std * noise.astype(mean.dtype))


def _logged_action(
    design: OffPolicyDesign, choose: LoggingPolicy, key: Array, feature: Array
) -> Array:
    action = choose(key, design, feature)
    shape, dtype = np.shape(action), jnp.result_type(action)
    if shape != () or not jnp.issubdtype(dtype, jnp.integer):
        raise InputError(f"logging_policy must give one integer action, gave {dtype}{list(shape)}")
    return action


def _task_of(word: UInt32[Array, " records"], design: OffPolicyDesign) -> Int[Array, " records"]:
    uniform = draws.to_uniform(word)
    if design.task_weights is None:
        task = jnp.floor(uniform * design.tasks).astype(jnp.int32)
        return jnp.minimum(task, design.tasks - 1)
    listed = jnp.arange(design.max_tasks) < design.tasks
    cumulative = jnp.cumsum(jnp.where(listed, design.task_weights, 0))
    return jnp.searchsorted(cumulative, uniform * cumulative[-1], side="right").astype(jnp.int32)
