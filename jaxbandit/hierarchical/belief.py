r"""The posterior of all tasks and of what they share, record by record.

Given the hyper-parameter $\mu$, task s is Gaussian with covariance $S_s$ and mean
$b_s + S_s \Sigma_0^{-1} \mu$. A record $(\phi, y)$ of it is then one observation of $\mu$,
$y - \phi' b_s = h' \mu + \epsilon$ with $h = \Sigma_0^{-1} S_s \phi$ and
$\epsilon \sim N(0, v)$, $v = \sigma^2 + \phi' S_s \phi$: every update has rank one, nothing is
inverted, and the hyper-posterior is exact.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jaxbandit import linalg, spd
from jaxbandit.offpolicy.model import Gaussian, HierarchicalGaussian, TaskStatistics
from jaxbandit.offpolicy.posterior import hyper_posterior


class Belief(NamedTuple):
    """What is believed of all tasks."""

    hyper: Gaussian
    """Of the hyper-parameter: mean [features], cov [features, features]."""
    offset: Float[Array, "tasks features"]
    """$b_s$, a task's mean if the hyper-parameter were zero."""
    cov: Float[Array, "tasks features features"]
    """$S_s$, a task's covariance given the hyper-parameter."""
    task_precision: Float[Array, "features features"]
    r"""$\Sigma_0^{-1}$."""
    noise_variance: Float[Array, ""]


def flat_model(model: HierarchicalGaussian) -> HierarchicalGaussian:
    """Tasks that share nothing: each has the marginal prior, and the hyper-parameter is known."""
    cov = jnp.asarray(model.hyper_cov), jnp.asarray(model.task_cov)
    return model._replace(hyper_cov=jnp.zeros_like(cov[0]), task_cov=cov[0] + cov[1])


def oracle_model(
    model: HierarchicalGaussian, hyper_parameter: Float[Array, " features"]
) -> HierarchicalGaussian:
    """The hyper-parameter is known."""
    none = jnp.zeros_like(jnp.asarray(model.hyper_cov))
    return model._replace(hyper_mean=hyper_parameter, hyper_cov=none)


def believe(model: HierarchicalGaussian, stats: TaskStatistics) -> Belief:
    """The belief after a log.

    Args:
        model: hyper_cov of any rank; zero where the hyper-parameter is known.
        stats: of the log; `jaxbandit.empty_statistics` without one.
    """
    precision, _ = spd.inverse(jnp.asarray(model.task_cov))
    variance = jnp.asarray(model.noise_std) ** 2
    cov, _ = spd.inverse(precision + stats.gram / variance)
    offset = linalg.einsum("tij,tj->ti", cov, stats.moment / variance)
    return Belief(hyper_posterior(model, stats), offset, cov, precision, variance)


def task_belief(belief: Belief, task: Int[Array, ""]) -> Gaussian:
    """The posterior of one task."""
    offset, cov = belief.offset[task], belief.cov[task]
    share = linalg.matmul(cov, belief.task_precision)
    return Gaussian(
        offset + linalg.matmul(share, belief.hyper.mean),
        cov + linalg.congruence(share, belief.hyper.cov),
    )


def learn(
    belief: Belief, task: Int[Array, ""], feature: Float[Array, " features"], reward: Array
) -> Belief:
    """The belief after one more record."""
    offset, cov = belief.offset[task], belief.cov[task]
    spread = linalg.matmul(cov, feature)
    variance = belief.noise_variance + linalg.inner(feature, spread)
    left = reward - linalg.inner(feature, offset)
    # y - phi' b = h' mu + N(0, v)
    slope = linalg.matmul(belief.task_precision, spread)
    gain = linalg.matmul(belief.hyper.cov, slope)
    total = variance + linalg.inner(slope, gain)
    hyper = Gaussian(
        belief.hyper.mean + gain * ((left - linalg.inner(slope, belief.hyper.mean)) / total),
        belief.hyper.cov - gain[:, None] * gain / total,
    )
    return belief._replace(
        hyper=hyper,
        offset=belief.offset.at[task].add(spread * (left / variance)),
        cov=belief.cov.at[task].add(-spread[:, None] * spread / variance),
    )
