r"""The two-level form of HierOPO, for hierarchies without a closed form.

Given the hyper-parameter $\mu$ tasks are independent, so all that is asked of a model is one task's
posterior and evidence given $\mu$, a `TaskModel`. Particles stand for the hyper-posterior: draws
from it, or draws from the hyper-prior weighted by `particle_log_weights`. Such weights concentrate
as tasks and records accumulate: look at `effective_sample_size`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.inference.model import Gaussian
from jaxbandit.inference.task_models import Conditional, LogEvidence, check_data
from jaxbandit.precision.floating import floating, in_precision
from jaxbandit.precision.settings import promotion


@promotion()
def marginal_posteriors(
    particles: Float[ArrayLike, "particles hyper"],
    conditional: Conditional,
    data: Any,
    log_weights: Float[ArrayLike, " particles"] | None = None,
) -> Gaussian:
    r"""Posterior mean and covariance of every task's parameter given every task's data.

    $E[\theta_s | D] = E[E[\theta_s | \mu, D_s] | D]$ and $cov[\theta_s | D] =
    E[cov[\theta_s | \mu, D_s] | D] + cov[E[\theta_s | \mu, D_s] | D]$, outer expectations over the
    particles, which are met one at a time: memory is that of one particle's conditionals.

    Args:
        particles: [particles, hyper], standing for the hyper-posterior.
        conditional: as in `TaskModel`; mapped over tasks.
        data: pytree of arrays with a leading axis tasks.
        log_weights: [particles], up to a constant; -inf for no weight. None: equal weights.

    Returns:
        Gaussian with mean [tasks, features] and cov [tasks, features, features].

    Raises:
        InputError: shapes disagree, there are no particles or tasks, a particle is not finite, a
            log weight is NaN or +inf, or all are -inf, data is not what the task model asks for.

    Source:
        Hong et al. 2023, section 3.1, eqs. 4-5.

    >>> import jax.numpy as jnp
    >>> import jaxbandit as jb
    >>> stats = jb.task_statistics(jb.BanditLog([0], [[1.0]], [3.0]), tasks=2)
    >>> tasks = jb.linear_gaussian(jnp.eye(1), 1.0)
    >>> post = jb.marginal_posteriors([[0.0], [2.0]], tasks.conditional, stats)
    >>> post.mean.tolist(), post.cov.ravel().round(4).tolist()
    ([[2.0], [1.0]], [0.75, 2.0])
    """
    particles, log_weights = _check_particles(particles, log_weights)
    _check_data(conditional, data)
    return _marginal_posteriors(particles, _as_pytree(conditional), in_precision(data), log_weights)


@promotion()
def particle_log_weights(
    particles: Float[ArrayLike, "particles hyper"],
    log_evidence: LogEvidence,
    data: Any,
    log_weights: Float[ArrayLike, " particles"] | None = None,
) -> Float[Array, " particles"]:
    r"""Log weights that turn draws from the hyper-prior into draws from the hyper-posterior.

    $\log w_j = \sum_s \log p(D_s | \mu_j)$ + const, normalised: $\sum_j w_j = 1$.

    Args:
        particles: [particles, hyper].
        log_evidence: as in `TaskModel`; mapped over tasks.
        data: pytree of arrays with a leading axis tasks.
        log_weights: [particles], weights that the particles already have as draws from the
            hyper-prior, from a proposal or earlier data. None: equal weights.

    Raises:
        InputError: as `marginal_posteriors`.
    """
    particles, log_weights = _check_particles(particles, log_weights)
    _check_data(log_evidence, data)
    return _particle_log_weights(
        particles, _as_pytree(log_evidence), in_precision(data), log_weights
    )


@promotion()
def effective_sample_size(log_weights: Float[ArrayLike, " particles"]) -> Float[Array, ""]:
    r"""$1 / \sum_j w_j^2$: how many equally weighted particles these are worth.

    >>> from jaxbandit.inference import two_level
    >>> float(two_level.effective_sample_size([0.0, 0.0, -float("inf")]))
    2.0
    """
    checks.check_shape("log_weights", log_weights, (None,), "[particles]")
    return 1 / jnp.sum(jax.nn.softmax(_check_log_weights(log_weights)) ** 2)


# The same, on checked arguments.


@jax.jit
def _marginal_posteriors(
    particles: Array, conditional: Partial, data: Any, log_weights: Array
) -> Gaussian:
    given = jax.vmap(conditional, in_axes=(None, 0))
    shapes = jax.eval_shape(given, particles[0], data)
    m, d = _check_conditional(shapes)
    weights = jax.nn.softmax(log_weights)
    # Share of each particle among those met so far; NaN stays NaN.
    gains = jnp.where(weights == 0, 0, weights / jnp.cumsum(weights))
    dtype = jnp.result_type(gains, shapes.mean, shapes.cov)

    def add(carry: Gaussian, particle: tuple[Array, Array]) -> tuple[Gaussian, None]:
        hyper_parameter, gain = particle
        one = given(hyper_parameter, data)
        change = one.mean - carry.mean
        # (1 - g) C + g (C_j + (1 - g) x x'): an average of covariances, nothing cancels.
        spread = (1 - gain) * change[:, :, None] * change[:, None, :]
        mixed = Gaussian(
            carry.mean + gain * change,
            (1 - gain) * carry.cov + gain * (one.cov + spread),
        )
        # A particle without weight may be one that has no posterior.
        return jax.tree.map(lambda old, new: jnp.where(gain == 0, old, new), carry, mixed), None

    initial = Gaussian(jnp.zeros((m, d), dtype), jnp.zeros((m, d, d), dtype))
    return lax.scan(add, initial, (particles, gains))[0]


@jax.jit
def _particle_log_weights(
    particles: Array, log_evidence: Partial, data: Any, log_weights: Array
) -> Array:
    def evidence(hyper_parameter: Array) -> Array:
        value = jax.vmap(log_evidence, in_axes=(None, 0))(hyper_parameter, data)
        if value.ndim != 1:
            raise InputError(f"log_evidence must return a scalar, returned {value.shape[1:]}")
        return value

    # Only differences between particles matter: taken task by task, float32 keeps them.
    first = evidence(particles[0])
    first = jnp.where(jnp.isfinite(first), first, 0)
    total = lax.map(lambda particle: jnp.sum(evidence(particle) - first), particles)
    return jax.nn.log_softmax(log_weights + total)


def _as_pytree(function: Callable[..., Any]) -> Partial:
    # A Partial of a Partial would be a new function to the compiler each time.
    return in_precision(function if isinstance(function, Partial) else Partial(function))


# Checks.


def _check_particles(particles: ArrayLike, log_weights: ArrayLike | None) -> tuple[Array, Array]:
    checks.check_shape("particles", particles, (None, None), "[particles, hyper]")
    if 0 in np.shape(particles):
        raise InputError(f"particles must not be empty, has shape {np.shape(particles)}")
    checks.check_finite("particles", particles)
    (particles,) = floating(particles)
    count = len(particles)
    if log_weights is None:
        return particles, jnp.zeros(count, particles.dtype)
    checks.check_shape("log_weights", log_weights, (count,), "[particles]")
    return particles, _check_log_weights(log_weights).astype(particles.dtype)


def _check_log_weights(log_weights: ArrayLike) -> Array:
    values = jnp.asarray(log_weights, float)
    if checks.is_concrete(values):
        wrong = ~(np.asarray(values) < np.inf)
        if np.any(wrong):
            at = int(np.argmax(wrong))
            raise InputError(f"log_weights must be below inf, was {values[at]} at index {at}")
        if np.all(np.isneginf(values)):
            raise InputError("log_weights must leave some particle a weight, all are -inf")
    return values


def _check_data(function: Callable[..., Any], data: Any) -> None:
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(data)}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(data)]
        raise InputError(
            f"data must have arrays with one leading axis tasks, of at least 1; has shapes {shapes}"
        )
    check_data(function, data)


def _check_conditional(shapes: Any) -> tuple[int, int]:
    mean, cov = (np.shape(leaf)[1:] for leaf in shapes)
    if len(mean) != 1 or cov != 2 * mean:
        raise InputError(
            "conditional must return Gaussian(mean [features], cov [features, features]), "
            f"returned shapes {mean} and {cov}"
        )
    return np.shape(shapes.mean)
