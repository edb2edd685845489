r"""The hierarchy's parameters from a log: maximum marginal likelihood.

The likelihood of $(\mu_q, \Sigma_0, \sigma)$ is exact and needs the sums of `TaskStatistics` alone.
A few steps of EM lead from a rough start into the basin of the maximum; Newton steps with the
expected information finish, in some ten passes over the tasks. All is done in float64, whatever the
precision in use: near its maximum a log-likelihood differs in digits that float32 does not have.

One log holds one draw $\mu_*$ of the hyper-parameter. $\Sigma_q$, the spread of such draws, is
therefore not identified: the likelihood only ever falls as it grows. It is not fitted; it is taken
as infinite (`"diffuse"`), as zero (`"fixed"`) or as given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.inference.digits import warn_of_likelihood
from jaxbandit.inference.fit import likelihood
from jaxbandit.inference.fit.covariance_structure import (
    STRUCTURES,
    CovarianceStructure,
    Scales,
    Structure,
)
from jaxbandit.inference.fit.likelihood import Likelihood
from jaxbandit.inference.model import HierarchicalGaussian, TaskStatistics, check_statistics

# A diffuse hyper-prior's covariance, in units of the covariance that the log leaves: its weight.
_DIFFUSE = 1e6
_EM_STEPS = 5
_MOST_DAMPING = 1e12


class StandardErrors(NamedTuple):
    """Standard deviations of the estimates over logs of the same size, asymptotically.

    From the expected information; not valid for what lies on a floor.
    """

    hyper_mean: np.ndarray
    """[features]."""
    task_cov: np.ndarray
    """[features, features], entry by entry; 0 where the covariance's shape leaves no freedom."""
    noise_std: np.ndarray
    """[]; 0 where it was given."""


class FitReport(NamedTuple):
    """How a fit went."""

    log_likelihood: float
    """Maximised, in nats: with `"diffuse"` restricted, the hyper-mean integrated out."""
    converged: bool
    """Whether no further step would gain more than the tolerance."""
    gain_left: float
    """What the next step would gain, in nats."""
    iterations: int
    """Passes over the tasks, of the start that was kept."""
    on_floor: tuple[str, ...]
    """Which of task_cov and noise_std a floor kept from falling further."""
    standard_error: StandardErrors
    """Of the estimates."""
    every_start: tuple[float, ...]
    """Log-likelihood that each start led to, the first one's first."""


class FittedHierarchy(HierarchicalGaussian):
    """A model that was fitted to a log, with a report of how that went."""

    report: FitReport | None = None
    """None on copies, such as `_replace` and `jax.tree.map` make."""


def fit_hierarchy(
    stats: TaskStatistics,
    *,
    hyper_cov: Literal["diffuse", "fixed"] | ArrayLike = "diffuse",
    covariance: Structure = "full",
    noise_std: float | None = None,
    floor: float = 1e-3,
    restarts: int = 0,
    seed: int = 0,
    tolerance: float = 1e-8,
    max_iterations: int = 200,
) -> FittedHierarchy:
    r"""Parameters of the hierarchy by maximum marginal likelihood (empirical Bayes).

    Maximises $\log p(y \mid \mu_q, \Sigma_q, \Sigma_0, \sigma)$ over $\mu_q$, $\Sigma_0$ and
    $\sigma$. $\Sigma_q$ is not identified by one log, so it is a choice: with `"diffuse"` the
    hyper-mean is integrated out (restricted maximum likelihood; estimates of $\Sigma_0$ unbiased by
    the estimation of $\mu_*$) and the model's hyper_cov is a million times the covariance with
    which the log determines $\mu_*$, so that posteriors know how uncertain it is; with `"fixed"`
    hyper_cov is 0 and $\mu_*$ counts as known; a matrix is used as it is.

    Args:
        stats: raw sums per task, of at least two tasks with records; best summed in float64.
        hyper_cov: `"diffuse"`, `"fixed"` or [features, features], positive semi-definite.
        covariance: shape of task_cov: `"full"`, `"diagonal"`, or `"isotropic"` (one variance).
        noise_std: known standard deviation of rewards; None to fit it.
        floor: least standard deviations, as a share: of the rewards' residuals for noise_std, of
            the parameter that would explain them alone for each feature in task_cov. Below 1.
        restarts: further random starts; the best maximum is kept.
        seed: of those.
        tolerance: nats that the next step may still gain at convergence.
        max_iterations: passes over the tasks at most, for each start.

    Returns:
        A `HierarchicalGaussian` whose `report` tells log-likelihood, convergence and standard
        errors. One that did not converge says so there, and is not refused.

    Raises:
        InputError: an argument is out of range; fewer than two tasks have records; features are
            collinear or constantly zero; rewards are an exact function of the features; or the log
            cannot tell the parameters apart.

    Warns:
        UserWarning: rewards lie so far from zero that float32 sums lose whole nats.

    Source:
        Laird and Ware 1982 (EM); Jennrich and Schluchter 1986 (scoring); Harville 1977 (restricted
        likelihood). The model: Hong et al. 2023, section 3.2.

    >>> import jax, jaxbandit as jb
    >>> design = jb.synthetic_design(features=2, tasks=200, hyper_std=1.0)
    >>> instance = jb.draw_from_model(jax.random.key(0), design)
    >>> log = jb.draw_log(jax.random.key(1), design, instance, records=20_000)
    >>> fit = jb.fit_hierarchy(jb.task_statistics(log, tasks=200))  # drawn with a noise of 0.5
    >>> fit.report.converged, round(float(fit.noise_std), 2)
    (True, 0.5)
    """
    if not checks.is_concrete(stats):
        raise InputError("stats must have values, was traced; call fit_hierarchy outside jax.jit")
    checks.check_count("restarts", restarts, 0)
    checks.check_count("max_iterations", max_iterations)
    checks.check_positive("tolerance", tolerance)
    checks.check_shape("floor", floor, (), "[]")
    checks.check_probability("floor", floor)
    checks.check_seed("seed", seed)
    if covariance not in STRUCTURES:
        raise InputError(f"covariance must be one of {', '.join(STRUCTURES)}, was {covariance!r}")
    if noise_std is not None:
        checks.check_shape("noise_std", noise_std, (), "[]")
        checks.check_positive("noise_std", noise_std)
        noise_std = float(noise_std)
    # What sums in this precision cannot tell from zero.
    eps = float(jnp.finfo(jnp.result_type(stats.gram, float)).eps)
    digits = 100 * eps
    with jax.enable_x64(True):
        data = _with_records(stats)
        prior = _check_hyper_cov(hyper_cov, data.moment.shape[1])
        pooled_mean, scales = _pool(data, digits)
        structure = CovarianceStructure.of(covariance, scales, floor, noise_std)

        def evaluate(mean: np.ndarray, parameter: np.ndarray) -> Likelihood:
            return likelihood.evaluate(mean, *structure.covariances(parameter), data, prior)

        start = structure.start()
        _check_identified(evaluate(pooled_mean, start), structure, digits)
        rng = np.random.default_rng(seed)
        ends = [
            _maximise(evaluate, structure, pooled_mean, first, tolerance, max_iterations)
            for first in (start, *(structure.scatter(start, rng) for _ in range(restarts)))
        ]
    best = max(ends, key=lambda end: end.at.log_likelihood)
    if prior is None:
        prior = _DIFFUSE * best.at.hyper_mean_cov
    warn_of_likelihood(stats.square, best.at.noise_std, eps, "the likelihood of this fit")
    parts = best.at.hyper_mean, prior, best.at.task_cov, best.at.noise_std
    fitted = FittedHierarchy(*(jnp.asarray(part, float) for part in parts))
    fitted.report = FitReport(
        log_likelihood=best.at.log_likelihood,
        converged=best.gain_left <= tolerance,
        gain_left=best.gain_left,
        iterations=best.iterations,
        on_floor=structure.on_floor(best.parameter),
        standard_error=_standard_errors(best.at, structure),
        every_start=tuple(end.at.log_likelihood for end in ends),
    )
    return fitted


# The maximisation.


class _End(NamedTuple):
    """Where a start led."""

    parameter: np.ndarray
    at: Likelihood
    gain_left: float
    iterations: int


def _maximise(
    evaluate: Callable[[np.ndarray, np.ndarray], Likelihood],
    structure: CovarianceStructure,
    mean: np.ndarray,
    parameter: np.ndarray,
    tolerance: float,
    max_iterations: int,
) -> _End:
    """EM, then Newton steps, damped (Levenberg-Marquardt) where they would not gain."""
    at, iterations, damping = evaluate(mean, parameter), 1, 0.0
    while iterations <= min(_EM_STEPS, max_iterations - 1):
        parameter = structure.parameter(*likelihood.em_update(at))
        at, iterations = evaluate(at.hyper_mean, parameter), iterations + 1
    while True:
        model = likelihood.newton(at, structure, parameter)
        step, gain = _step(*model, damping=0)
        if gain <= tolerance or iterations >= max_iterations or damping > _MOST_DAMPING:
            return _End(parameter, at, gain, iterations)
        if damping > 0:
            step, _ = _step(*model, damping=damping)
        there, iterations = evaluate(at.hyper_mean, parameter + step), iterations + 1
        # A sum over so many rewards has so many digits; below them nothing is a loss.
        if there.log_likelihood >= at.log_likelihood - 1e-14 * at.magnitude:
            parameter, at, damping = parameter + step, there, 0.1 * damping
        else:
            damping = max(10 * damping, 1e-3)


def _step(
    gradient: np.ndarray, curvature: np.ndarray, sizes: np.ndarray, damping: float
) -> tuple[np.ndarray, float]:
    """The step to the maximum of a quadratic model, and what it would gain.

    Directions in which the model is convex are gone uphill, as far as if it were concave.
    """
    root = np.sqrt(np.maximum(sizes, 1e-12 * np.max(sizes)))
    values, vectors = np.linalg.eigh(curvature / np.outer(root, root))
    along = vectors.T @ (gradient / root)
    down = np.maximum(np.abs(values), 1e-9) + damping
    return (vectors @ (along / down)) / root, float(0.5 * np.sum(along**2 / down))


def _standard_errors(at: Likelihood, structure: CovarianceStructure) -> StandardErrors:
    information = _free_information(at, structure)
    cov = np.linalg.inv(information)
    free = structure.free_cov
    k = len(free)
    variance = np.einsum("aij,ab,bij->ij", free, cov[:k, :k], free)
    # d sigma = sigma / 2 d log sigma^2
    of_noise = 0.5 * at.noise_std * np.sqrt(cov[-1, -1]) if structure.noise_is_free else 0.0
    of_mean = np.sqrt(np.diagonal(at.hyper_mean_cov))
    with np.errstate(invalid="ignore"):  # NaN where a fit that did not converge has none.
        of_cov = np.sqrt(variance)
    return StandardErrors(of_mean, of_cov, np.asarray(of_noise))


def _free_information(at: Likelihood, structure: CovarianceStructure) -> np.ndarray:
    """Expected information of the free entries of task_cov, then of log noise_std^2 if free."""
    free, log_noise = structure.free_cov, np.zeros(len(structure.free_cov))
    if structure.noise_is_free:
        free = np.concatenate([free, np.zeros_like(free[:1])])
        log_noise = np.append(log_noise, 1.0)
    return likelihood.expected_information(at, free, log_noise)


# What a log must have.


def _with_records(stats: TaskStatistics) -> TaskStatistics:
    """The tasks that have records, in float64."""
    checks.check_shape("stats.gram", stats.gram, (None, None, None), "[tasks, features, features]")
    stats = check_statistics(stats, np.shape(stats.gram)[-1], jnp.dtype("float64"))
    for name in ("gram", "moment", "square"):
        checks.check_finite(f"stats.{name}", getattr(stats, name))
    seen = np.asarray(stats.count) > 0
    if np.sum(seen) < 2:
        raise InputError(
            f"stats must have records of at least two tasks, have {np.sum(seen)}: how tasks differ "
            "cannot be learned from one; join the logs of more tasks, or give the model yourself"
        )
    return stats if np.all(seen) else jax.tree.map(lambda leaf: leaf[seen], stats)


def _check_hyper_cov(hyper_cov: str | ArrayLike, d: int) -> np.ndarray | None:
    """The hyper-prior's covariance, None where it is infinite."""
    if isinstance(hyper_cov, str):
        if hyper_cov not in ("diffuse", "fixed"):
            raise InputError(f"hyper_cov must be 'diffuse', 'fixed' or a matrix, was {hyper_cov!r}")
        return None if hyper_cov == "diffuse" else np.zeros((d, d))
    checks.check_shape("hyper_cov", hyper_cov, (d, d), "[features, features]")
    checks.check_covariance("hyper_cov", hyper_cov, singular=True)
    return np.asarray(hyper_cov, np.float64)


def _pool(data: TaskStatistics, digits: float) -> tuple[np.ndarray, Scales]:
    """Regression that knows no tasks: its coefficients, and the scales of the log."""
    gram, moment, square, count = (np.sum(np.asarray(part), axis=0) for part in data)
    dependent = dependent_feature(gram, digits)
    if dependent is not None:
        raise InputError(
            f"stats: feature {dependent} is always zero or a linear combination of those before "
            "it; leave it out"
        )
    mean = np.linalg.solve(gram, moment)
    variance = (square - mean @ moment) / count
    if not variance > digits * square / count:
        # Double precision loses as little only where nothing is there.
        far = (
            "; or they lie so far from zero that float32 sums keep nothing else: subtract their "
            "mean, or set JAX_ENABLE_X64=1"
            if digits > 1e-10
            else ""
        )
        raise InputError(
            "stats: the rewards are constant, or an exact linear function of the features: there "
            f"is nothing to tell tasks or noise by; check the reward column{far}"
        )
    return mean, Scales(np.sqrt(variance * count / np.diagonal(gram)), float(np.sqrt(variance)))


def dependent_feature(gram: np.ndarray, digits: float) -> int | None:
    """The first feature that is zero or a linear combination of those before it; None if none is.

    Args:
        gram: [features, features], sum of `phi phi'` over a log.
        digits: share of a feature's sum of squares that counts as none.
    """
    rest = np.array(gram, np.float64)
    own = np.diagonal(rest).copy()
    for k in range(len(rest)):
        if not rest[k, k] > digits * own[k]:
            return k
        rest -= np.outer(rest[:, k], rest[k]) / rest[k, k]
    return None


def _check_identified(at: Likelihood, structure: CovarianceStructure, digits: float) -> None:
    information = _free_information(at, structure)
    if _full_rank(information, digits):
        return
    k = len(structure.free_cov)
    if structure.noise_is_free and _full_rank(information[:k, :k], digits):
        raise InputError(
            "stats: the log cannot tell noise_std from task_cov (with one record a task, say, or "
            "features that never vary within a task); give noise_std, or log more records a task"
        )
    raise InputError(
        "stats: the log does not determine every entry of task_cov (two features are perhaps never "
        "seen in the same task); use covariance='diagonal' or 'isotropic'"
    )


def _full_rank(information: np.ndarray, digits: float) -> bool:
    size = np.sqrt(np.diagonal(information))
    if not np.all(size > 0):
        return False
    return bool(np.linalg.eigvalsh(information / np.outer(size, size))[0] > digits)
