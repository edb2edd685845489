r"""What a log tells of its arms' means: the posterior, with the spread of arms learnt too.

Arms' means come from a common distribution, of which the log tells as well. With n_i records of
total s_i for arm i,

rewards 0 or 1: $\mu_i \sim \text{Beta}(\kappa m, \kappa (1 - m))$, so
$\mu_i \mid s_i \sim \text{Beta}(\kappa m + s_i, \kappa (1 - m) + n_i - s_i)$;
otherwise: rewards $N(\mu_i, \sigma^2)$ and $\mu_i \sim N(m, \rho^2 \sigma^2)$.

(m, kappa) lie on a grid, each point of which weighs as much as its likelihood, means integrated
out, times its prior: uniform in the log-odds of m, and in the logarithm of the spread
$\kappa^{-1/2}$ from .01 (arms are as good as the same) to 1. A uniform prior of the means instead
would take one click in a hundred records for a rate of two in a hundred.

rho lies on a grid too, uniform in its logarithm from .01 to 100 (noise hardly matters); m and
$\log \sigma$ are uniform. Given rho, all else is integrated exactly: with
$w_i = 1 / (\rho^2 + 1 / n_i)$ and N records, $\hat m$ the mean of the arms' mean rewards that is
weighted by w, W the sum of the weights, and S the sum of squares within arms plus
$\sum_i w_i (\bar y_i - \hat m)^2$,

$\sigma^2 \sim S / \chi^2_{N - 1}$, $m \mid \sigma \sim N(\hat m, \sigma^2 / W)$,
$\mu_i \mid m, \sigma \sim N(v_i (m / \rho^2 + s_i), \sigma^2 v_i)$ with
$1 / v_i = 1 / \rho^2 + n_i$, and the likelihood of rho is
$\prod_i w_i^{1/2} \, W^{-1/2} \, S^{-(N - 1) / 2}$.

Source:
    Gelman et al. 2013, "Bayesian Data Analysis", sections 3.2, 5.3 and 5.4.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import betaln, expit, logit

_POINTS = 61
"""Of the grid, on a side."""
_SPREADS = np.geomspace(0.01, 1, _POINTS)
"""Of arms whose rewards are 0 or 1."""
_RATIOS = np.geomspace(0.01, 100, _POINTS)
"""Of the spread of arms to the noise."""
_LARGEST_STD = 0.5
"""Of rewards in [0, 1]."""


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


class ArmDraws(NamedTuple):
    """Draws from a posterior."""

    mean: Float[np.ndarray, "draws arms"]
    noise_std: Float[np.ndarray, " draws"] | None
    """Of a reward, drawn along with the means; None where rewards are 0 or 1."""


class BetaArms(NamedTuple):
    """A mixture over the points of the grid, where rewards are 0 or 1."""

    weight: Float[np.ndarray, " points"]
    successes: Float[np.ndarray, "points arms"]
    failures: Float[np.ndarray, "points arms"]
    prior: tuple[float, float]
    """Successes and failures, at the median spread and the likeliest m."""

    def draw(self, draws: int, rng: np.random.Generator) -> ArmDraws:
        """Means from the posterior."""
        point = rng.choice(len(self.weight), draws, p=self.weight)
        return ArmDraws(rng.beta(self.successes[point], self.failures[point]), None)


class NormalArms(NamedTuple):
    """A mixture over ratios of the spread of arms to the noise; given one, all is known exactly.

    Given the noise's standard deviation sigma, the means are `centre` plus sigma times
    (`common` z + `single` z_i), z and z_i standard normal; sigma^2 is `square` over a chi-squared
    number.
    """

    weight: Float[np.ndarray, " points"]
    centre: Float[np.ndarray, "points arms"]
    common: Float[np.ndarray, "points arms"]
    single: Float[np.ndarray, "points arms"]
    square: Float[np.ndarray, " points"]
    freedom: float
    """Degrees of freedom: records less one."""
    prior: tuple[float, float]
    """Of a mean, at the median ratio: mean and standard deviation."""
    noise_std: float
    """Of a reward, at the median ratio."""

    def draw(self, draws: int, rng: np.random.Generator) -> ArmDraws:
        """Means and noise from the posterior; those that no rewards in [0, 1] have are clipped."""
        point = rng.choice(len(self.weight), draws, p=self.weight)
        std = np.sqrt(self.square[point] / rng.chisquare(self.freedom, draws))
        shared = self.common[point] * rng.standard_normal((draws, 1))
        alone = self.single[point] * rng.standard_normal(self.centre[point].shape)
        mean = self.centre[point] + std[:, None] * (shared + alone)
        return ArmDraws(np.clip(mean, 0, 1), np.minimum(std, _LARGEST_STD))


ArmPosterior = BetaArms | NormalArms


def arm_posterior(records: ArmRecords) -> ArmPosterior:
    """The posterior of the means.

    Args:
        records: of at least one record; where rewards are not 0 or 1, of some arm two, and not all
            rewards the same.
    """
    return _beta(records) if records.binary else _normal(records)


def best_shares(mean: Float[np.ndarray, "draws arms"]) -> Float[np.ndarray, " arms"]:
    """The share of draws in which an arm has the largest mean, ties divided."""
    best = mean == mean.max(axis=1, keepdims=True)
    return np.mean(best / best.sum(axis=1, keepdims=True), axis=0)


def _beta(records: ArmRecords) -> BetaArms:
    count, total = records.count, records.total
    smooth = (total + 0.5) / (count + 1)
    pooled = (total.sum() + 0.5) / (count.sum() + 1)
    centre, error = logit(pooled), 1 / np.sqrt(count.sum() * pooled * (1 - pooled) + 1)
    offset, offset_step = _around(error, 2 + np.ptp(logit(smooth)))
    m, u = (x.ravel() for x in np.meshgrid(expit(centre + offset), _SPREADS, indexing="ij"))
    successes, failures = m / u**2, (1 - m) / u**2
    hits, misses = successes[:, None] + total, failures[:, None] + (count - total)
    fit = np.sum(betaln(hits, misses) - betaln(successes, failures)[:, None], axis=1)
    weight = _weights(fit, np.repeat(offset_step, _POINTS))
    grid = weight.reshape(_POINTS, _POINTS)
    middle = _median(grid.sum(axis=0))
    point = int(grid[:, middle].argmax()) * _POINTS + middle
    return BetaArms(weight, hits, misses, (successes[point], failures[point]))


def _normal(records: ArmRecords) -> NormalArms:
    count, total = records.count, records.total
    some = count > 0
    mean = total[some] / count[some]
    within = max(float(np.sum(records.square) - np.sum(total[some] * mean)), 0.0)
    ratio = _RATIOS[:, None]
    w = 1 / (ratio**2 + 1 / count[some])
    everything = w.sum(axis=1)
    m = w @ mean / everything
    square = within + np.sum(w * (mean - m[:, None]) ** 2, axis=1)
    freedom = count.sum() - 1
    fit = 0.5 * (np.sum(np.log(w), axis=1) - np.log(everything) - freedom * np.log(square))
    weight = _weights(fit, np.ones(_POINTS))
    var = 1 / (1 / ratio**2 + count)
    middle = _median(weight)
    noise = float(np.sqrt(square[middle] / freedom))
    return NormalArms(
        weight,
        centre=var * (m[:, None] / ratio**2 + total),
        common=var / ratio**2 / np.sqrt(everything)[:, None],
        single=np.sqrt(var),
        square=square,
        freedom=freedom,
        prior=(float(m[middle]), float(_RATIOS[middle]) * noise),
        noise_std=noise,
    )


def _around(fine: float, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Offsets from zero, `fine` apart near it, out to `reach`; and the length each stands for."""
    offset = fine * np.sinh(np.linspace(-1, 1, _POINTS) * np.arcsinh(reach / fine))
    return offset, np.convolve(np.diff(offset), [0.5, 0.5])


def _weights(fit: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Of each point, from its log-likelihood and the length it stands for; they sum to one."""
    weight = np.exp(fit - fit.max()) * length
    return weight / weight.sum()


def _median(weight: np.ndarray) -> int:
    """The point at which half the weight is reached."""
    return int(np.searchsorted(np.cumsum(weight), 0.5))
