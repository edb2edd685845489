r"""The posterior of all tasks and of what they share, record by record.

Given the hyper-parameter $\mu$, task s is Gaussian with covariance $S_s$ and mean
$b_s + S_s \Sigma_0^{-1} \mu$. A record $(\phi, y)$ of it is then one observation of $\mu$,
$y - \phi' b_s = h' \mu + \epsilon$ with $h = \Sigma_0^{-1} S_s \phi$ and
$\epsilon \sim N(0, v)$, $v = \sigma^2 + \phi' S_s \phi$: every update has rank one, nothing is
inverted, and the hyper-posterior is exact.

Vectors and matrices have their components first; an axis of runs may follow.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxbandit.engine.keep import keep
from jaxbandit.inference.model import HierarchicalGaussian, TaskStatistics
from jaxbandit.inference.posterior import hyper_posterior
from jaxbandit.linalg import products, spd
from jaxbandit.linalg.axis_first import combine, inner, product


class Shared(NamedTuple):
    """What a policy believes that all tasks share."""

    hyper_mean: Float[Array, "features *runs"]
    hyper_cov: Float[Array, "features features *runs"]
    task_precision: Float[Array, "features features *runs"]
    r"""$\Sigma_0^{-1}$."""
    spread: Float[Array, "features features *runs"]
    r"""$\Sigma_0^{-1} \bar\Sigma \Sigma_0^{-1}$: between $S_s$ twice it is what not knowing the
    hyper-parameter adds to a task's covariance; 0 where it is known."""
    noise_variance: Float[Array, "*runs"]


class Own(NamedTuple):
    """What it believes of one task."""

    offset: Float[Array, "features *runs"]
    """$b_s$, the task's mean if the hyper-parameter were zero."""
    cov: Float[Array, "features features *runs"]
    """$S_s$, the task's covariance given the hyper-parameter."""


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


def believe(
    model: HierarchicalGaussian, stats: TaskStatistics
) -> tuple[Shared, Float[Array, "tasks features"], Float[Array, "tasks features features"]]:
    """The belief after a log, of one run; each task's own has an offset and a covariance.

    Args:
        model: hyper_cov of any rank; zero where the hyper-parameter is known.
        stats: of the log; `jaxbandit.empty_statistics` without one.
    """
    precision, _ = spd.inverse(jnp.asarray(model.task_cov))
    variance = jnp.asarray(model.noise_std) ** 2
    cov, _ = spd.inverse(precision + stats.gram / variance)
    offset = products.einsum("tij,tj->ti", cov, stats.moment / variance)
    hyper = hyper_posterior(model, stats)
    spread = products.congruence(precision, hyper.cov)
    return Shared(*hyper, precision, spread, variance), offset, cov


def task_posterior(
    shared: Shared, own: Own
) -> tuple[Float[Array, "features *runs"], Float[Array, "features features *runs"]]:
    r"""Mean $b_s + S_s \Sigma_0^{-1} \bar\mu$ and covariance of a task,
    $S_s + S_s \Sigma_0^{-1} \bar\Sigma \Sigma_0^{-1} S_s$."""
    mean, cov = task_posterior_given_hyper(shared, own)
    half = keep(product(own.cov, shared.spread))
    return keep((mean, cov + product(half, own.cov)))


def task_posterior_given_hyper(
    shared: Shared, own: Own
) -> tuple[Float[Array, "features *runs"], Float[Array, "features features *runs"]]:
    r"""The same where the hyper-parameter is known to be `hyper_mean`: the covariance is $S_s$."""
    # What is used more than once is kept, or it would be computed as often.
    pull = keep(combine(shared.task_precision, shared.hyper_mean))
    return own.offset + combine(own.cov, pull), own.cov


def learn(
    shared: Shared, own: Own, feature: Float[Array, "features *runs"], reward: Array
) -> tuple[Shared, Own]:
    """The belief after one more record of the task."""
    spread = combine(own.cov, feature)
    precision = 1 / (shared.noise_variance + inner(feature, spread))
    left = reward - inner(feature, own.offset)
    # y - phi' b = h' mu + N(0, v)
    slope = combine(shared.task_precision, spread)
    gain = combine(shared.hyper_cov, slope)
    shrunk = 1 / (1 / precision + inner(slope, gain))
    missed = left - inner(slope, shared.hyper_mean)
    spread, gain, precision, shrunk = keep((spread, gain, precision, shrunk))
    left, missed = keep((left * precision, missed * shrunk))
    seen = keep(combine(shared.task_precision, gain))
    shared = shared._replace(
        hyper_mean=shared.hyper_mean + gain * missed,
        hyper_cov=shared.hyper_cov - gain[:, None] * gain * shrunk,
        spread=shared.spread - seen[:, None] * seen * shrunk,
    )
    own = Own(own.offset + spread * left, own.cov - spread[:, None] * spread * precision)
    return shared, own
