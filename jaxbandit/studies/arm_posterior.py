r"""What a log tells of its arms' means: the posterior, with the spread of arms learnt too.

Arms' means come from a common distribution, of which the log tells as well. With n_i records of
total s_i for arm i,

rewards 0 or 1: $\mu_i \sim \text{Beta}(\kappa m, \kappa (1 - m))$, so
$\mu_i \mid s_i \sim \text{Beta}(\kappa m + s_i, \kappa (1 - m) + n_i - s_i)$;
otherwise: $\mu_i \sim N(m, \tau^2)$ and rewards $N(\mu_i, \sigma^2)$, $\sigma$ from within arms.

(m, kappa) and (m, tau) lie on a grid, each point of which weighs as much as its likelihood, means
integrated out, times its prior: uniform in the log-odds of m, or in m, and in the spread
$\kappa^{-1/2} \le 1$, or tau. A uniform prior of the means instead would take one click in a
hundred records for a rate of two in a hundred.

Source:
    Gelman et al. 2013, "Bayesian Data Analysis", sections 5.3 and 5.4.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import betaln, expit, logit

_POINTS = 61
"""Of the grid, on a side."""
_NARROWEST = 1e-3
"""Least spread of arms, of the largest."""


class ArmRecords(NamedTuple):
    """A log's sums per arm, of rewards in [0, 1]."""

    count: Float[np.ndarray, " arms"]
    total: Float[np.ndarray, " arms"]
    square: Float[np.ndarray, " arms"]
    """Sum of squared rewards."""

    @property
    def binary(self) -> bool:
        """Whether rewards, in [0, 1], are all 0 or 1: nothing else is its own square."""
        return bool(np.all(self.square == self.total))


class ArmPosterior(NamedTuple):
    """A mixture over the points of the grid."""

    weight: Float[np.ndarray, " points"]
    first: Float[np.ndarray, "points arms"]
    """Successes, or means."""
    second: Float[np.ndarray, "points arms"]
    """Failures, or standard deviations."""
    prior: tuple[float, float]
    """Of a mean, at the likeliest point: successes and failures, or mean and standard deviation."""
    noise_std: float | None
    """Of a reward; None where rewards are 0 or 1."""


def arm_posterior(records: ArmRecords) -> ArmPosterior:
    """The posterior of the means.

    Args:
        records: of at least one record, and of some arm two where rewards are not 0 or 1.
    """
    return _beta(records) if records.binary else _normal(records)


def draw_means(
    posterior: ArmPosterior, draws: int, rng: np.random.Generator
) -> Float[np.ndarray, "draws arms"]:
    """Means drawn from the posterior; a normal one's beyond [0, 1] are moved to its ends."""
    point = rng.choice(len(posterior.weight), draws, p=posterior.weight)
    first, second = posterior.first[point], posterior.second[point]
    if posterior.noise_std is None:
        return rng.beta(first, second)
    return np.clip(rng.normal(first, second), 0, 1)


def _beta(records: ArmRecords) -> ArmPosterior:
    count, total = records.count, records.total
    smooth = (total + 0.5) / (count + 1)
    pooled = (total.sum() + 0.5) / (count.sum() + 1)
    centre, error = logit(pooled), 1 / np.sqrt(count.sum() * pooled * (1 - pooled) + 1)
    offset, offset_step = _around(error, 2 + np.ptp(logit(smooth)))
    spread, spread_step = _spreads(1.0)
    m, u = (x.ravel() for x in np.meshgrid(expit(centre + offset), spread, indexing="ij"))
    successes, failures = m / u**2, (1 - m) / u**2
    first, second = successes[:, None] + total, failures[:, None] + (count - total)
    fit = np.sum(betaln(first, second) - betaln(successes, failures)[:, None], axis=1)
    weight = _weights(fit, offset_step, spread_step)
    best = int(np.argmax(weight))
    return ArmPosterior(weight, first, second, (successes[best], failures[best]), None)


def _normal(records: ArmRecords) -> ArmPosterior:
    count, total = records.count, records.total
    seen = count > 0
    mean = np.where(seen, total / np.where(seen, count, 1), 0)
    within = np.sum(records.square - count * mean**2) / max(count.sum() - seen.sum(), 1)
    noise = float(np.sqrt(max(within, 1e-12)))
    pooled, width = total.sum() / count.sum(), np.ptp(mean[seen])
    offset, offset_step = _around(noise / np.sqrt(count.sum()), width + 2 * noise)
    spread, spread_step = _spreads(2 * (noise + width))
    m, tau = (x.ravel() for x in np.meshgrid(pooled + offset, spread, indexing="ij"))
    # An arm's mean reward is N(m, tau^2 + sigma^2 / n_i).
    var = tau[:, None] ** 2 + noise**2 / count[seen]
    fit = -0.5 * np.sum(np.log(var) + (mean[seen] - m[:, None]) ** 2 / var, axis=1)
    weight = _weights(fit, offset_step, spread_step)
    precision = 1 / tau[:, None] ** 2 + count / noise**2
    first = (m[:, None] / tau[:, None] ** 2 + total / noise**2) / precision
    best = int(np.argmax(weight))
    return ArmPosterior(weight, first, precision**-0.5, (m[best], tau[best]), noise)


def _around(fine: float, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Offsets from zero, `fine` apart near it, out to `reach`; and the length each stands for."""
    offset = fine * np.sinh(np.linspace(-1, 1, _POINTS) * np.arcsinh(reach / fine))
    return offset, _lengths(offset)


def _spreads(largest: float) -> tuple[np.ndarray, np.ndarray]:
    """Spreads in geometric progression up to the largest, and the length each stands for."""
    spread = largest * np.geomspace(_NARROWEST, 1, _POINTS)
    return spread, _lengths(spread)


def _lengths(at: np.ndarray) -> np.ndarray:
    """Weights of the trapezoidal rule."""
    return np.convolve(np.diff(at), [0.5, 0.5])


def _weights(fit: np.ndarray, *steps: np.ndarray) -> np.ndarray:
    """Of each point, from log-likelihoods and lengths of the grid's cells; they sum to one."""
    weight = np.exp(fit - fit.max()) * np.outer(*steps).ravel()
    return weight / weight.sum()
