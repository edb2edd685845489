r"""Confidence intervals: how wide they have to be, how probable they are, and what they cost.

Intervals of task s are $\hat r_s \pm \alpha \sqrt{\phi' \hat\Sigma_s \phi}$ with the posterior
covariance $\hat\Sigma_s$; $E_s$ is the event that they hold for every feature vector $\phi$.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.special import gammaincc, gammaln
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxbandit import checks
from jaxbandit.bounds.coverage import check_optimal_gram, optimal_action
from jaxbandit.checks import InputError
from jaxbandit.inference.model import Gaussian
from jaxbandit.linalg import products
from jaxbandit.precision.settings import promotion


@promotion()
def paper_alpha(features: int, delta: ArrayLike) -> Array:
    r"""The paper's width, $\alpha = \sqrt{5 d \log(1/\delta)}$.

    The proof bounds the chi-square tail by $2\sqrt{d \log(1/\delta)} + 2 \log(1/\delta) + d$ and
    that by $5 d \log(1/\delta)$, the last of which is true only where $\log(1/\delta) \ge 1$.

    Args:
        features: d.
        delta: failure probability, at most 1/e.

    Raises:
        InputError: features below one, delta outside (0, 1/e].

    Source:
        Hong et al. 2023, lemma 3.

    >>> import jaxbandit as jb
    >>> print(f"{jb.bounds.paper_alpha(4, 0.05):.2f} {jb.bounds.exact_alpha(4, 0.05):.2f}")
    7.74 3.08
    """
    d = checks.check_count("features", features)
    checks.check_probability("delta", delta)
    delta = jnp.asarray(delta, float)
    if checks.is_concrete(delta) and np.any(np.asarray(delta) > np.exp(-1) * (1 + 1e-6)):
        raise InputError(
            f"delta must be at most 1/e = 0.3679 for the paper's alpha, was {delta}: its proof "
            "takes log(1/delta) to be at least 1, and beyond the intervals can be too narrow; "
            "exact_alpha takes any delta"
        )
    return jnp.sqrt(-5 * d * jnp.log(delta))


@promotion()
def exact_alpha(features: int, delta: ArrayLike) -> Array:
    r"""The smallest width that proves the same: $\alpha^2$ the $1 - \delta$ quantile of $\chi^2_d$.

    *Proof.* Given the data, $\theta_s - \hat\theta_s \sim N(0, \hat\Sigma_s)$, and by
    Cauchy-Schwarz the largest $|\phi'(\theta_s - \hat\theta_s)| / \sqrt{\phi' \hat\Sigma_s \phi}$
    over all $\phi$ is the root of $(\theta_s - \hat\theta_s)' \hat\Sigma_s^{-1} (\theta_s -
    \hat\theta_s)$, which is $\chi^2_d$. So $E_s$ has probability $P(\chi^2_d \le \alpha^2)$ or
    more. The paper bounds that quantile from above (Laurent and Massart 2000, lemma 1); nothing
    else in its proofs depends on alpha. It holds for every $\delta$ in (0, 1). At $\delta = 0.05$
    it is half of the paper's width for d = 1, and a third for d = 10.

    Args:
        features: d.
        delta: failure probability.

    Raises:
        InputError: features below one, delta outside (0, 1).
    """
    d = checks.check_count("features", features)
    checks.check_probability("delta", delta)
    return jnp.sqrt(_quantile(d, jnp.asarray(delta, float)))


@promotion()
def interval_probability(features: int, alpha: ArrayLike, tasks: int = 1) -> Array:
    r"""Probability that the intervals of width alpha hold, in all of `tasks` tasks at once.

    At least $1 - m P(\chi^2_d > \alpha^2)$; with equality for one task if there are features in
    every direction.

    Args:
        features: d.
        alpha: width of the confidence intervals, at least 0, any shape.
        tasks: m, how many tasks the bounds are to hold for together.

    Raises:
        InputError: features or tasks below one, a negative alpha.
    """
    d, m = checks.check_count("features", features), checks.check_count("tasks", tasks)
    alpha = check_widths(alpha)
    return jnp.maximum(1 - m * gammaincc(d / 2, alpha**2 / 2), 0)


@promotion()
def data_dependent_bound(
    gaussian: Gaussian,
    task_parameter: Float[ArrayLike, " features"],
    feature: Float[ArrayLike, "*contexts actions features"],
    alpha: ArrayLike,
) -> Float[Array, ""]:
    r"""$2 E[c(X, \pi_*(X))]$, for one task.

    Args:
        gaussian: the posterior that the policy acts on, mean [features], cov [features, features].
        task_parameter: [features], the true parameter.
        feature: [*contexts, actions, features]; contexts weigh the same.
        alpha: [], width of the confidence intervals.

    Returns:
        [], in reward units.

    Raises:
        InputError: shapes disagree, a number is not finite, cov is no covariance, a negative alpha.

    Source:
        Hong et al. 2023, eq. 10.
    """
    alpha = check_alpha(alpha)
    action, feature = optimal_action(task_parameter, feature), jnp.asarray(feature, float)
    d = feature.shape[-1]
    checks.check_shape("gaussian.cov", gaussian.cov, (d, d), "[features, features]")
    checks.check_covariance("gaussian.cov", gaussian.cov, singular=True)
    taken = jnp.take_along_axis(feature, action[..., None, None], axis=-2)[..., 0, :]
    variance = products.quadratic_form(jnp.asarray(gaussian.cov, float), taken)
    return 2 * alpha * jnp.mean(products.positive_root(variance))


@promotion()
def trace_bound(
    cov: Float[ArrayLike, "features features"],
    optimal_gram: Float[ArrayLike, "features features"],
    alpha: ArrayLike,
) -> Float[Array, ""]:
    r"""$2 \alpha \sqrt{\mathrm{tr}(G_* \hat\Sigma)}$, for one task.

    Above `data_dependent_bound` by Jensen's inequality, and free of contexts.

    Args:
        cov: [features, features], the posterior covariance.
        optimal_gram: [features, features], from `jaxbandit.bounds.optimal_gram`.
        alpha: [], width of the confidence intervals.

    Returns:
        [], in reward units.

    Raises:
        InputError: shapes disagree, cov is no covariance, features of norm above one, a negative
            alpha.

    Source:
        Hong et al. 2023, appendix A.1.
    """
    checks.check_square("cov", cov)
    checks.check_covariance("cov", cov, singular=True)
    cov = jnp.asarray(cov, float)
    optimal = check_optimal_gram(optimal_gram, cov.shape)
    return 2 * check_alpha(alpha) * products.positive_root(jnp.sum(optimal * cov))


def check_alpha(alpha: ArrayLike) -> Array:
    """One width as a floating number, at least 0."""
    checks.check_shape("alpha", alpha, (), "[]")
    return check_widths(alpha)


def check_widths(alpha: ArrayLike) -> Array:
    """Widths as floating numbers, at least 0."""
    checks.check_not_negative("alpha", alpha)
    return jnp.asarray(alpha, float)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
@partial(jax.jit, static_argnums=0)
def _quantile(d: int, delta: Array) -> Array:
    """The 1 - delta quantile of chi^2_d, by halving what the paper's bound leaves."""
    log_inverse = -jnp.log(delta)
    high = d + 2 * jnp.sqrt(d * log_inverse) + 2 * log_inverse

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        covered = gammaincc(d / 2, middle / 2) <= delta
        return jnp.where(covered, low, middle), jnp.where(covered, middle, high)

    steps = jnp.finfo(delta.dtype).nmant + 2
    return lax.fori_loop(0, steps, halve, (jnp.zeros_like(high), high))[1]


@_quantile.defjvp
def _quantile_jvp(d: int, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # Halving has no derivative; that of an inverse is one over the density.
    quantile = _quantile(d, *primals)
    half = d / 2
    log_density = (half - 1) * jnp.log(quantile / 2) - quantile / 2 - gammaln(half) - np.log(2)
    return quantile, -tangents[0] * jnp.exp(-log_density)
