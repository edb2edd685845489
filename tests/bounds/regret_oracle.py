"""The regret bounds by brute force: NumPy, float64, loops over whole pulls, no closed form.

Imports nothing of the package. `c` is the radius times the root of the samples.
"""

import math
from typing import NamedTuple

import numpy as np


class Known(NamedTuple):
    """What a bound may use of one instance."""

    count: np.ndarray
    horizon: int
    sigma: float = 0.5
    delta: float | None = None
    """None for one over the square of the horizon."""
    anytime: bool = False
    limit: float = 1.0
    """Range of the means."""

    def c(self, first=False):
        """Of the last round, or of the first."""
        delta = 1 / self.horizon**2 if self.delta is None else self.delta
        if self.anytime and not first:
            delta = delta / self.horizon**2
        return self.sigma * math.sqrt(2 * math.log(len(self.count) / delta))

    def b(self):
        share = self.count / self.count.sum()
        return sum(
            p * self.c(first=True) / math.sqrt(m)
            for p, m in zip(share, self.count, strict=True)
            if m
        )


def twice_radius(c, samples):
    return math.inf if samples <= 0 else 2 * c / math.sqrt(samples)


def pulls(known, gap):
    """N_i, by counting: pull k + 1 is possible while the gap is at most 2 c / sqrt(m + k)."""
    return np.array([pulls_of(known, m, d) for m, d in zip(known.count, gap, strict=True)])


def pulls_of(known, m, d):
    k = 0
    while k < known.horizon and d <= twice_radius(known.c(), m + k):
        k += 1
    return k


def ucb(known, mean):
    gap = mean.max() - mean
    most = pulls(known, gap)
    return best_allocation(known, lambda i, n: gap[i] * min(n, most[i]))


def ucb_minimax(known, shift=-1):
    def gain(i, n):
        return n * min(known.limit, twice_radius(known.c(), known.count[i] + n + shift))

    return best_allocation(known, gain)


def best_allocation(known, gain):
    """Dynamic programming over arms: the best total for each number of pulls given out."""
    t = known.horizon
    best = np.zeros(t + 1)
    for i in range(len(known.count)):
        gains = [0.0] + [gain(i, n) for n in range(1, t + 1)]
        best = np.array([max(best[s - n] + gains[n] for n in range(s + 1)) for s in range(t + 1)])
    return best[t]


def psi(known, i, d, most, c):
    values = [
        v * min(known.limit, d + twice_radius(c, known.count[i] + v - 1)) ** 2 / 4
        for v in range(1, most + 1)
    ]
    return max(values, default=0.0)


def oto(known, mean, alpha):
    gap = mean.max() - mean
    limits = pulls(known, gap)
    excess = sum(psi(known, i, gap[i], limits[i], known.c()) for i in range(len(gap)))
    d_0 = gap @ known.count / known.count.sum()
    explored = ucb(known, mean) + min(known.limit, d_0 + 2 * known.b())
    cap = known.horizon * gap.max()
    return min(explored + excess / (alpha * known.b()), cap) if alpha else cap


def oto_minimax(known, alpha, gaps=400):
    """As stated: psi at its largest over a fine grid of gaps, each with its own number of pulls."""
    excess = 0.0
    for i, m in enumerate(known.count):
        # The worst gaps are those at which one more pull stops being possible.
        edges = [min(known.limit, twice_radius(known.c(), m + v)) for v in range(known.horizon)]
        grid = np.unique([0.0, *edges, *np.linspace(0, known.limit, gaps)])
        excess += max(psi(known, i, d, pulls_of(known, m, d), known.c()) for d in grid)
    total = ucb_minimax(known) + known.limit + excess / (alpha * known.b())
    return min(total, known.horizon * known.limit)


def last_proxy(known, lag=0):
    if not known.anytime:
        return known.horizon
    proxy = 2
    for t in range(1, known.horizon + 1):
        if t - lag > proxy:
            proxy *= 2
    return proxy


def oto_logging(known, alpha):
    bound = (2 * known.horizon + alpha * last_proxy(known)) * known.b()
    return min(bound, known.horizon * known.limit)


def lcb(known):
    widest = twice_radius(known.c(first=True), known.count.min())
    return known.horizon * min(known.limit, widest)


def lcb_logging(known):
    return known.horizon * min(known.limit, 2 * known.b())


def any_policy_lower(known):
    """Theorem 5.1: J of the least sampled arms, any number of them but the last."""
    ordered = np.sort(known.count)
    best = 0.0
    for size in range(1, len(ordered)):
        spread = known.sigma * math.sqrt(size / (known.horizon + ordered[:size].sum()))
        best = max(best, spread if spread <= known.limit else 0.0)
    return math.exp(-0.5) / 16 * known.horizon * best
