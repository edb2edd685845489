"""Digits that float32 sums lose where numbers lie far from zero, and the warnings of it.

A sum of squares is rounded to a share of itself, while what a fit needs of it is the spread alone.
Warnings are given where values are concrete; inside `jax.jit` and its like there are none.
"""

from __future__ import annotations

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.precision.floating import working_type

# The rounding that is warned of: in standard deviations of what is rounded, and in nats of a
# likelihood. Means of tasks move by some five times as many posterior standard deviations.
_STDS = 0.02
_NATS = 1.0
# Records that are looked at, of many.
_RECORDS = 10_000
REMEDY = "subtract their mean, or set JAX_ENABLE_X64=1"


def warn_of_log(feature: Any, reward: Any, tasks: int) -> None:
    """Warn of a log whose per-task sums, in the default floating type, lack digits.

    Args:
        feature: [records, features].
        reward: [records].
        tasks: number of tasks.

    Warns:
        UserWarning: features nearly depend on each other, or what features do not explain of the
            rewards is small beside the rewards.
    """
    eps = float(jnp.finfo(jnp.result_type(float)).eps)
    feature, reward = np.asarray(feature), np.asarray(reward)
    every = slice(None, None, max(len(feature) // _RECORDS, 1))
    some = feature[every].astype(np.float64)
    length = np.linalg.norm(some, axis=0)
    unit = some / np.where(length > 0, length, 1)
    shares, directions = np.linalg.eigh(unit.T @ unit)
    # What depends on others exactly (a constant beside one column a category) is no loss.
    is_direction = shares > 1e-10
    if not np.any(is_direction):  # All features are zero.
        return
    least = int(np.argmax(is_direction))
    # The rounding of a task's sums beside what they say of that direction.
    if eps / shares[least] * np.sqrt(len(feature) / tasks) > _STDS:
        one, other = sorted(np.argsort(np.abs(directions[:, least]))[-2:].tolist())
        warnings.warn(
            f"columns {one} and {other} of log.feature differ by little but their units: float32 "
            "sums keep too few digits of the difference; beside a constant column subtract the "
            "other's mean, or set JAX_ENABLE_X64=1",
            stacklevel=3,
        )
    rewards = reward[every].astype(np.float64)
    free = len(rewards) - len(length)
    if free <= 0:
        return
    unexplained = rewards - unit @ np.linalg.lstsq(unit, rewards)[0]
    variance = float(unexplained @ unexplained) / free
    # Rewards that are an exact function of the features have no spread to lose.
    if variance <= 1e-20 * float(rewards @ rewards):
        return
    root_records = np.sqrt(len(reward) / tasks)
    if eps * np.sqrt(np.mean(rewards**2) / variance) * root_records > _STDS:
        warnings.warn(
            "log.reward lies so far from zero beside what features leave unexplained of it "
            f"({np.sqrt(variance):.2g}) that float32 sums keep too few digits of what tells tasks "
            f"apart: {REMEDY}",
            stacklevel=3,
        )


def lost_nats(square: Any, noise_std: Any, eps: float) -> float:
    """What a log-likelihood of all tasks is off by, from the rounding of sums of squares.

    Args:
        square: [tasks], sums of squared rewards.
        noise_std: [], standard deviation of a reward.
        eps: of the type in which they were summed.
    """
    return eps * float(np.linalg.norm(np.asarray(square, np.float64))) / float(noise_std) ** 2


def warn_of_likelihood(
    square: Any, noise_std: Any, eps: float, what: str, stacklevel: int = 3
) -> None:
    """Warn of sums of squares whose rounding a likelihood shows; arguments as in `lost_nats`.

    Warns:
        UserWarning: `what`, a likelihood or what rests on it, is rounded by `_NATS` or more.
    """
    if not checks.is_concrete(square, noise_std):
        return
    lost = lost_nats(square, noise_std, eps)
    if lost > _NATS:
        warnings.warn(
            f"{what} is off by about {lost:.2g} nats: rewards lie so far from zero beside the "
            f"noise that float32 sums of their squares keep too few digits; {REMEDY}",
            stacklevel=stacklevel,
        )


def warn_of_posteriors(model: Any, stats: Any) -> None:
    """Warn of rewards, or a prior mean, whose rounding moves means of tasks.

    Args:
        model: a HierarchicalGaussian, of the arrays' floating type.
        stats: TaskStatistics of the same.

    Warns:
        UserWarning: rewards beside noise_std, or hyper_mean beside task_cov, lie far from zero.
    """
    if not checks.is_concrete(model, stats):
        return
    warn_of_rewards(stats, model.noise_std, stacklevel=5)
    far = far_coordinate(model)
    if far is not None:
        warnings.warn(
            f"hyper_mean[{far}] lies so far from zero beside the spread of tasks that float32 "
            "keeps too few digits of what tells tasks apart: subtract it from what the feature "
            "explains of the rewards, or set JAX_ENABLE_X64=1",
            stacklevel=4,
        )


def warn_of_rewards(stats: Any, noise_std: Any, stacklevel: int) -> None:
    """Warn of rewards whose rounding in the sums of a task is not small beside that of noise.

    Warns:
        UserWarning: they lie far from zero beside `noise_std`.
    """
    if not checks.is_concrete(stats, noise_std):
        return
    eps = float(jnp.finfo(working_type(stats.moment)).eps)
    count, square = (np.asarray(x, np.float64) for x in (stats.count, stats.square))
    records, tasks, total = np.sum(count), np.count_nonzero(count), max(np.sum(square), 0)
    if tasks and eps * np.sqrt(total / tasks) > _STDS * float(noise_std):
        warnings.warn(
            f"rewards of about {np.sqrt(total / records):.3g} lie so far from zero beside "
            f"noise_std = {float(noise_std):.2g} that float32 sums keep too few digits of what "
            f"tells tasks apart: {REMEDY}",
            stacklevel=stacklevel,
        )


def warn_of_predictions(mean: Any, std: Any) -> None:
    """Warn of predicted rewards, [records], that are rounded beside their standard deviations.

    Warns:
        UserWarning: they lie far from zero.
    """
    if not checks.is_concrete(mean, std):
        return
    size, spread = (np.sqrt(np.mean(np.square(np.asarray(x, np.float64)))) for x in (mean, std))
    if float(jnp.finfo(mean.dtype).eps) * size > _STDS * spread:
        warnings.warn(
            "predicted rewards lie so far from zero beside their standard deviations that float32 "
            f"keeps too few digits of their errors: {REMEDY}",
            stacklevel=3,
        )


def far_coordinate(model: Any) -> int | None:
    """The feature whose hyper_mean is rounded beside the spread of tasks; None if none is."""
    if not checks.is_concrete(model):
        return None
    mean = np.abs(np.asarray(model.hyper_mean, np.float64))
    spread = np.sqrt(np.diagonal(np.asarray(model.task_cov, np.float64)))
    rounding = float(jnp.finfo(jnp.result_type(model.hyper_mean, float)).eps) * mean
    return int(np.argmax(rounding / spread)) if np.any(rounding > _STDS * spread) else None


def check_hyper_mean(model: Any) -> None:
    """Refuse to draw tasks whose parameters are rounded beside their spread.

    Raises:
        InputError: an entry of hyper_mean lies far from zero.
    """
    far = far_coordinate(model)
    if far is not None:
        raise InputError(
            f"hyper_mean must not lie so far from zero beside the spread of tasks, was "
            f"{float(model.hyper_mean[far]):.6g} at feature {far}: float32 keeps too few digits of "
            "what tells tasks and actions apart; lower it (what all actions' rewards share changes "
            "no suboptimality), or set JAX_ENABLE_X64=1"
        )
