r"""Bounds on the suboptimality of pessimistic policies.

Let $E_s$ be the event that $|\phi' \theta_s - \hat r_s| \le c_s$ for every feature vector of task
s, with $c_s = \alpha \sqrt{\phi' \hat\Sigma_s \phi}$ and $\hat\Sigma_s$ the posterior covariance.
On it suboptimality is bounded, by each of these and ever more loosely:

1. $2 E[c_s(X, \pi_*(X))]$ (`jaxbandit.bounds.intervals.data_dependent_bound`),
2. $2 \alpha \sqrt{\mathrm{tr}(G_{s,*} \hat\Sigma_s)}$, by Jensen (`trace_bound`, there too),
3. the one-root bound (`hieropo_one_root_bound`), which needs counts and $\gamma$ only,
4. Theorem 2 (`hieropo_bound`).

$\alpha$ is the width that the policy was run with. $E_s$ has the probability
`interval_probability(features, alpha)`; for $1 - \delta$ take `exact_alpha`, or the paper's
`paper_alpha`, which is larger. Bounds hold for all m tasks at once with probability $1 - m \delta$.

$G_{s,*} = E[\phi(X, \pi_*(X)) \phi(X, \pi_*(X))']$, $n_s$ is the number of records observed, and
$\gamma$ says how well they cover the optimal policy (`jaxbandit.bounds.coverage`). Feature
vectors have norm 1 at most (Assumption 1). $\lambda_1$ is a largest, $\lambda_d$ a smallest
eigenvalue; $\lambda_d(\Sigma^{-1})$ is computed as $1/\lambda_1(\Sigma)$, so that covariances may
be singular. Bounds that counts enter are rounded up.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from jaxbandit import checks
from jaxbandit.bounds.coverage import check_optimal_gram, smallest_eigenvalue
from jaxbandit.bounds.intervals import check_alpha, check_widths
from jaxbandit.checks import InputError
from jaxbandit.inference.model import HierarchicalGaussian, check_model
from jaxbandit.linalg import products
from jaxbandit.linalg.eigen import symmetric_eigenvalues
from jaxbandit.precision import rounding, settings
from jaxbandit.precision.settings import promotion


class SuboptimalityBound(NamedTuple):
    """A bound in two terms."""

    task: Float[Array, " tasks"]
    """From not knowing a task's parameter given the hyper-parameter."""
    hyper: Float[Array, ""]
    """From not knowing the hyper-parameter."""

    @property
    def total(self) -> Float[Array, " tasks"]:
        """Their sum, the bound."""
        return self.task + self.hyper


@promotion()
def single_task_bound(
    prior_cov: Float[ArrayLike, "features features"],
    noise_std: ArrayLike,
    count: ArrayLike,
    gamma: ArrayLike,
    alpha: ArrayLike,
) -> Array:
    r"""One task alone: $\alpha \sqrt{4d / (\lambda_d(\Sigma_0^{-1}) + \gamma \sigma^{-2} n)}$.

    With the task covariance for prior it is the bound of OracleOPO, and `hieropo_bound`'s first
    term. At $\gamma = 0$ only the prior is left.

    Args:
        prior_cov: [features, features], of any rank.
        noise_std: standard deviation of a reward.
        count: records of the task, any shape.
        gamma: from `jaxbandit.bounds.task_gamma`, a shape that broadcasts.
        alpha: width of the confidence intervals, likewise.

    Returns:
        The common shape, in reward units.

    Raises:
        InputError: shapes disagree, prior_cov no covariance, noise_std not positive, count, gamma
            or alpha negative.

    Source:
        Hong et al. 2023, theorem 1.
    """
    settings.check_process()
    d = checks.check_square("prior_cov", prior_cov)
    checks.check_covariance("prior_cov", prior_cov, singular=True)
    checks.check_shape("noise_std", noise_std, (), "[]")
    checks.check_positive("noise_std", noise_std)
    checks.check_broadcast({"count": count, "gamma": gamma, "alpha": alpha})
    samples = _effective_samples(count, gamma, jnp.asarray(noise_std, float))
    prior = _largest_eigenvalue(jnp.asarray(prior_cov, float))
    return _root(d, 1 / prior + samples, check_widths(alpha))


@promotion()
def flatopo_bound(
    model: HierarchicalGaussian, count: ArrayLike, gamma: ArrayLike, alpha: ArrayLike
) -> Array:
    r"""FlatOPO: $\alpha \sqrt{4d / (\lambda_d((\Sigma_q+\Sigma_0)^{-1}) + \gamma\sigma^{-2} n_s)}$.

    Args:
        model: the model.
        count: records of each task, any shape.
        gamma: as in `single_task_bound`.
        alpha: likewise.

    Returns:
        The common shape, in reward units.

    Raises:
        InputError: as `single_task_bound`; the model is not valid.

    Source:
        Hong et al. 2023, section 5.1.
    """
    model = check_model(model)
    prior_cov = model.hyper_cov + model.task_cov
    return single_task_bound(prior_cov, model.noise_std, count, gamma, alpha)


@promotion()
def hieropo_bound(
    model: HierarchicalGaussian,
    count: Float[ArrayLike, " tasks"],
    gamma: ArrayLike,
    optimal_gram: Float[ArrayLike, "tasks features features"],
    alpha: ArrayLike,
) -> SuboptimalityBound:
    r"""HierOPO, the sum of a task term and a hyper term:

    $\alpha \sqrt{\frac{4d}{\lambda_d(\Sigma_0^{-1}) + \gamma \sigma^{-2} n_s}} +
    \alpha \sqrt{\frac{4d}{\lambda_d(\Sigma_q^{-1}) + \sum_z 1 / (\lambda_1(\Sigma_0) +
    \gamma^{-1} \sigma^2 \lambda_1(G_{z,*}^{-1}) n_z^{-1})}}$.

    A task adds nothing to the sum if it has no records, $\gamma = 0$ or a singular $G_{z,*}$. (The
    last display of the paper's proof has lost an inverse; this is its statement.)

    Args:
        model: the model; hyper_cov of any rank.
        count: [tasks], records of each task.
        gamma: [] from `smallest_gamma`, or [tasks] from `task_gamma`, which is tighter.
        optimal_gram: [tasks, features, features], of each task.
        alpha: [], width of the confidence intervals.

    Returns:
        SuboptimalityBound with task [tasks] and hyper [], in reward units.

    Raises:
        InputError: shapes disagree, the model is not valid, count, gamma or alpha negative,
            features of norm above one.

    Source:
        Hong et al. 2023, theorem 2.
    """
    model, samples = _tasks(model, count, gamma, optimal_gram)
    return _two_terms(model, samples, check_alpha(alpha))


@promotion()
def hieropo_sparse_bound(
    model: HierarchicalGaussian,
    count: Float[ArrayLike, " tasks"],
    gamma: ArrayLike,
    alpha: ArrayLike,
) -> SuboptimalityBound:
    r"""HierOPO where features are sparse: `hieropo_bound` without the factor of $G_{z,*}$.

    Assumption 4: a feature vector has at most one entry that is not zero, and both covariances are
    diagonal, as for arms of a bandit. The proof compares the records of task z with $G_{s,*}$ of
    *another* task, so gamma must be the smallest of `pairwise_gamma`; with that of `task_gamma` the
    bound is false.

    Args:
        model: the model, with diagonal covariances.
        count: [tasks], records of each task.
        gamma: [] from `smallest_gamma` of `pairwise_gamma`, or its least over the second axis,
            [tasks], which is tighter.
        alpha: [], width of the confidence intervals.

    Returns, Raises:
        As `hieropo_bound`; the covariances must be diagonal.

    Source:
        Hong et al. 2023, theorem 2, second claim.
    """
    model, samples = _sparse_tasks(model, count, gamma)
    return _two_terms(model, samples, check_alpha(alpha))


@promotion()
def hieropo_one_root_bound(
    model: HierarchicalGaussian,
    count: Float[ArrayLike, " tasks"],
    gamma: ArrayLike,
    optimal_gram: Float[ArrayLike, "tasks features features"],
    alpha: ArrayLike,
) -> Float[Array, " tasks"]:
    r"""HierOPO in one root, never above `hieropo_bound`:

    $\alpha \sqrt{4d / (1/(\lambda_1(\Sigma_0) + \mu_s) + \gamma \sigma^{-2} n_s)}$, $1/\mu_s$ the
    hyper term's denominator without the term $z = s$.

    *Proof.* What the other tasks say leaves the hyper-parameter with some covariance
    $\bar\Sigma_{-s}$, and task s is a single task with the prior $\Sigma_0 + \bar\Sigma_{-s}$:
    $\hat\Sigma_s = ((\Sigma_0 + \bar\Sigma_{-s})^{-1} + G_s)^{-1}$. Theorem 1 applies, with
    $\lambda_1(\Sigma_0 + \bar\Sigma_{-s}) \le \lambda_1(\Sigma_0) + \mu_s$. It is below the sum of
    two roots: with $x = \gamma \sigma^{-2} n_s$, $\lambda = \lambda_1(\Sigma_0)$,
    $S = 1/(1/\lambda + x)$ and $1/\mu_1 = 1/\mu_s + 1/(\lambda + 1/x)$ it is
    $1/(1/(\lambda + \mu_s) + x) = S + (S/\lambda)^2 \mu_1 \le S + \mu_1$, and the paper's $\mu$ is
    $\mu_1$ or more as $\lambda_1(G_{s,*}^{-1}) \ge 1$.

    Args, Raises:
        As `hieropo_bound`.

    Returns:
        [tasks], in reward units.
    """
    model, samples = _tasks(model, count, gamma, optimal_gram)
    return _one_root(model, samples, check_alpha(alpha))


@promotion()
def hieropo_sparse_one_root_bound(
    model: HierarchicalGaussian,
    count: Float[ArrayLike, " tasks"],
    gamma: ArrayLike,
    alpha: ArrayLike,
) -> Float[Array, " tasks"]:
    r"""`hieropo_one_root_bound` where features are sparse, never above `hieropo_sparse_bound`.

    *Proof.* All matrices are diagonal. In coordinate j, with g, q, v of $G_{s,*}$, $\Sigma_q$,
    $\Sigma_0$ and $g \le 1$, the trace $\mathrm{tr}(G_{s,*} \hat\Sigma_s)$ has
    $g / (1/(v + \bar\Sigma_{-s,jj}) + G_{s,jj}) \le 1 / (1/(g v + g \bar\Sigma_{-s,jj}) +
    \gamma \sigma^{-2} n_s)$, where $g v \le \lambda_1(\Sigma_0)$ and $g \bar\Sigma_{-s,jj} \le
    1/(1/(gq) + \sum_{z \ne s} 1/(g v + g / G_{z,jj})) \le \mu_s$ as $G_{z,jj} \ge \gamma
    \sigma^{-2} n_z g$.

    Args, Raises:
        As `hieropo_sparse_bound`.

    Returns:
        [tasks], in reward units.
    """
    model, samples = _sparse_tasks(model, count, gamma)
    return _one_root(model, samples, check_alpha(alpha))


# Parts.


class _Samples(NamedTuple):
    """What the records say, in units of precision."""

    own: Float[Array, " tasks"]
    """gamma n_s / sigma^2, about the task's parameter."""
    about_hyper: Float[Array, " tasks"]
    """The task's term in the hyper term's denominator."""


def _tasks(
    model: HierarchicalGaussian, count: ArrayLike, gamma: ArrayLike, optimal_gram: ArrayLike
) -> tuple[HierarchicalGaussian, _Samples]:
    model = check_model(model)
    own = _own_samples(model, count, gamma)
    d = model.hyper_mean.shape[0]
    optimal = check_optimal_gram(optimal_gram, (own.shape[0], d, d))
    # sigma^2 lmax(G_*^-1) / (gamma n) = 1 / (own lmin(G_*))
    weakest = smallest_eigenvalue(optimal)
    return model, _samples(model, own, jnp.where(weakest > 0, own * weakest, 0))


def _sparse_tasks(
    model: HierarchicalGaussian, count: ArrayLike, gamma: ArrayLike
) -> tuple[HierarchicalGaussian, _Samples]:
    model = check_model(model)
    for name in ("hyper_cov", "task_cov"):
        cov = getattr(model, name)
        if checks.is_concrete(cov) and np.any(np.asarray(cov) * (1 - np.eye(len(cov))) != 0):
            raise InputError(
                f"{name} must be diagonal for this bound (Assumption 4); hieropo_bound takes any"
            )
    own = _own_samples(model, count, gamma)
    return model, _samples(model, own, own)


def _samples(model: HierarchicalGaussian, own: Array, along: Array) -> _Samples:
    return _Samples(own, 1 / (_largest_eigenvalue(model.task_cov) + 1 / along))


def _own_samples(model: HierarchicalGaussian, count: ArrayLike, gamma: ArrayLike) -> Array:
    checks.check_shape("count", count, (None,), "[tasks]")
    m = np.shape(count)[0]
    if np.ndim(gamma) > 0:
        checks.check_shape("gamma", gamma, (m,), "[] or [tasks]")
    return _effective_samples(count, gamma, model.noise_std)


def _effective_samples(count: ArrayLike, gamma: ArrayLike, noise_std: Array) -> Array:
    """`gamma n / sigma^2`; 0 without records, whatever gamma."""
    checks.check_not_negative("count", count)
    if checks.is_concrete(gamma) and not np.all(np.asarray(gamma) >= 0):
        raise InputError(f"gamma must not be negative, was {gamma}; gamma = 0 claims nothing")
    # Too few records loosen a bound, too many would break it.
    count = rounding.at_most(count, noise_std.dtype)
    gamma = jnp.asarray(gamma, noise_std.dtype)
    return jnp.where((count > 0) & (gamma > 0), gamma * count / noise_std**2, 0)


@jax.jit
def _two_terms(model: HierarchicalGaussian, samples: _Samples, alpha: Array) -> SuboptimalityBound:
    d = model.hyper_mean.shape[0]
    task = 1 / _largest_eigenvalue(model.task_cov) + samples.own
    hyper = 1 / _largest_eigenvalue(model.hyper_cov) + jnp.sum(samples.about_hyper)
    return SuboptimalityBound(_root(d, task, alpha), _root(d, hyper, alpha))


@jax.jit
def _one_root(model: HierarchicalGaussian, samples: _Samples, alpha: Array) -> Array:
    m = samples.own.shape[0]
    # Sums of all but one, without a subtraction.
    others = products.matmul(1 - jnp.eye(m, dtype=samples.own.dtype), samples.about_hyper)
    unknown = 1 / (1 / _largest_eigenvalue(model.hyper_cov) + others)
    prior = _largest_eigenvalue(model.task_cov) + unknown
    return _root(model.hyper_mean.shape[0], 1 / prior + samples.own, alpha)


def _root(features: int, precision: Array, alpha: Array) -> Array:
    return rounding.up(alpha * jnp.sqrt(4 * features / precision), features)


def _largest_eigenvalue(cov: Array) -> Array:
    return jnp.maximum(symmetric_eigenvalues(cov)[-1], 0)
