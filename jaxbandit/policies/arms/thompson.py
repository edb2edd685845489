r"""Thompson sampling: play the arm that is best in a draw from the posterior of the means.

The prior counts as samples from before the data. With $n_i$ samples of total $s_i$ in all, of the
prior, offline and online, the posterior of arm i is

for Bernoulli rewards $\text{Beta}(s_i, n_i - s_i)$,
for normal rewards $N(s_i / n_i, \sigma^2 / n_i)$.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.engine import draws
from jaxbandit.engine.entries import put, take
from jaxbandit.engine.keep import keep
from jaxbandit.engine.reductions import first_argmax
from jaxbandit.engine.runs_last import runs_last
from jaxbandit.policies.base import Policy, Problem, Round, as_floating, no_info, per_arm
from jaxbandit.precision import settings


class BernoulliParams(NamedTuple):
    """Arrays of the Bernoulli policy."""

    successes: Array
    failures: Array


class GaussianParams(NamedTuple):
    """Arrays of the Gaussian policy."""

    noise_std: Array
    prior_mean: Array
    prior_std: Array


class BernoulliSamples(NamedTuple):
    """Samples so far: of the prior, offline and online."""

    successes: Array
    """[arms]."""
    failures: Array
    """[arms]."""


class GaussianSamples(NamedTuple):
    """Samples so far: of the prior, offline and online."""

    count: Array
    """[arms]."""
    total: Array
    """[arms], sum of rewards less the reference."""


@settings.usual()
def thompson_bernoulli(successes: ArrayLike = 1.0, failures: ArrayLike = 1.0) -> Policy:
    """Thompson sampling for rewards in [0, 1], from a beta prior.

    A reward between 0 and 1 counts as that much of a success.

    Args:
        successes: [] or [arms], first parameter of the prior, positive; 1 and 1 are uniform.
        failures: [] or [arms], its second parameter.

    Raises:
        InputError: successes or failures not positive or of another number of arms; rewards that
            are not known to lie in [0, 1]; offline totals below 0 or above the counts.

    Source:
        Thompson 1933; Chapelle and Li 2011, "An empirical evaluation of Thompson sampling".
    """
    checks.check_positive("successes", successes)
    checks.check_positive("failures", failures)
    params = BernoulliParams(jnp.asarray(successes, float), jnp.asarray(failures, float))
    return Policy(
        params, _bernoulli_init, _bernoulli_select, _bernoulli_update, no_info, _check_successes
    )


@settings.usual()
def thompson_gaussian(
    noise_std: ArrayLike = 0.5, *, prior_mean: ArrayLike = 0.5, prior_std: ArrayLike = 0.5
) -> Policy:
    r"""Thompson sampling for normal rewards of known noise, from a normal prior.

    The defaults suit means in [0, 1]. The prior is $\sigma^2 / \sigma_0^2$ samples of its mean.

    Args:
        noise_std: [], sigma, positive.
        prior_mean: [] or [arms].
        prior_std: [] or [arms], sigma_0, positive.

    Raises:
        InputError: a standard deviation that is not positive, a mean that is not finite, or another
            number of arms; a prior that rules out all means of the environment.

    Source:
        Agrawal and Goyal 2013, "Further optimal regret bounds for Thompson sampling".
    """
    checks.check_positive("noise_std", noise_std)
    checks.check_finite("prior_mean", prior_mean)
    checks.check_positive("prior_std", prior_std)
    params = GaussianParams(*(jnp.asarray(x, float) for x in (noise_std, prior_mean, prior_std)))
    return Policy(params, _gaussian_init, _gaussian_select, _gaussian_update, no_info, _check_prior)


def _check_successes(params: BernoulliParams, problem: Problem) -> None:
    known = problem.limits
    bounded = known is None or (known.low >= 0 and known.high <= 1)
    if known is not None and known.mean is not None and not bounded:
        raise InputError(
            "thompson_bernoulli is for rewards in [0, 1], but the environment has its low and high "
            f"at {known.low:g} and {known.high:g}; give an environment of your own low=0, high=1 "
            "if they hold, or use thompson_gaussian"
        )
    if not checks.is_concrete(problem.count, problem.total):
        return
    # On the host: inside `jax.jit` what is computed from known values is not known.
    count, total = np.asarray(problem.count), np.asarray(problem.total)
    if not np.all((total >= 0) & (total <= count)):
        raise InputError(
            "thompson_bernoulli is for rewards in [0, 1], but offline.total is not between 0 "
            "and offline.count; rescale the rewards, or use thompson_gaussian"
        )


def _check_prior(params: GaussianParams, problem: Problem) -> None:
    known = problem.limits
    if known is None or np.ndim(known.mean) != 1 or not checks.is_concrete(*params):
        return
    center, std = (np.asarray(x, float) for x in (params.prior_mean, params.prior_std))
    if not np.any(np.abs(known.mean - center) <= _IMPOSSIBLE * std):
        raise InputError(
            f"prior_mean and prior_std must allow for the means of the environment, all of which "
            f"lie over {_IMPOSSIBLE} prior_std from prior_mean, the first at {known.mean[0]:g}; "
            "give the prior's mean and width in the units of the rewards"
        )


_IMPOSSIBLE = 20
"""Standard deviations of the prior at which a mean contradicts it."""


def _bernoulli_init(params: BernoulliParams, problem: Problem) -> BernoulliSamples:
    problem = as_floating(problem)
    count, total = problem.count, problem.total
    return BernoulliSamples(
        per_arm("successes", params.successes, problem) + total,
        per_arm("failures", params.failures, problem) + (count - total),
    )


def _bernoulli_select(params: BernoulliParams, state: BernoulliSamples, round: Round) -> Array:
    least = jnp.minimum(jnp.min(params.successes), jnp.min(params.failures))
    key = jax.random.key_data(round.key)
    drawn = _draw_bernoulli(key[0], key[1], state.successes, state.failures, least)
    # Rewards outside [0, 1] lead to no distribution: an arm that does not exist reports it.
    return jnp.where(jnp.any(jnp.isnan(drawn)), -1, first_argmax(drawn))


@runs_last
def _draw_bernoulli(
    key: Array, key_end: Array, successes: Array, failures: Array, least: Array
) -> Array:
    return keep(draws.beta_log_odds((key, key_end), successes, failures, least))


def _bernoulli_update(
    params: BernoulliParams, state: BernoulliSamples, round: Round, arm: Array, reward: Array
) -> BernoulliSamples:
    successes = take(state.successes, arm) + reward
    failures = take(state.failures, arm) + (1 - reward)
    return BernoulliSamples(
        put(state.successes, arm, successes), put(state.failures, arm, failures)
    )


def _gaussian_init(params: GaussianParams, problem: Problem) -> GaussianSamples:
    problem = as_floating(problem)
    mean = per_arm("prior_mean", params.prior_mean, problem)
    std = per_arm("prior_std", params.prior_std, problem)
    count = (params.noise_std / std) ** 2
    return GaussianSamples(
        problem.count + count, problem.excess + count * (mean - problem.reference)
    )


def _gaussian_select(params: GaussianParams, state: GaussianSamples, round: Round) -> Array:
    key, std = jax.random.key_data(round.key), params.noise_std
    return first_argmax(_draw_gaussian(key[0], key[1], state.count, state.total, std))


@runs_last
def _draw_gaussian(key: Array, key_end: Array, count: Array, total: Array, std: Array) -> Array:
    noise = draws.to_normal(draws.words((key, key_end), count.shape[0], count.ndim))
    return keep(total / count + std / jnp.sqrt(count) * noise)


def _gaussian_update(
    params: GaussianParams, state: GaussianSamples, round: Round, arm: Array, reward: Array
) -> GaussianSamples:
    count = take(state.count, arm) + 1
    total = take(state.total, arm) + (reward - round.reference)
    return GaussianSamples(put(state.count, arm, count), put(state.total, arm, total))
