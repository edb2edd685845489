"""UCB, LCB and OtO on many instances at once, with rewards as bad as the confidence event allows.

NumPy, float64, nothing of the package: the policies from their definitions, all bounds computed
afresh in each round. Arrays are [runs, arms]; a run has its own means, counts, horizon, delta and
alpha.
"""

from typing import NamedTuple

import numpy as np

SIGMA = 0.5


class Runs(NamedTuple):
    """Instances; means lie in [0, 1]."""

    mean: np.ndarray
    count: np.ndarray
    horizon: np.ndarray
    alpha: np.ndarray
    delta: np.ndarray
    edge: np.ndarray
    """[runs, arms]: NaN for Bernoulli rewards, else each reward puts the arm's pooled mean at its
    true one plus `edge` radii: within the confidence event if in [-1, 1]."""


class Outcome(NamedTuple):
    regret: np.ndarray
    logging_regret: np.ndarray
    event: np.ndarray
    """Whether all means lay within their bounds in all rounds."""


def draw(rng, runs, arms, longest=2000):
    """Random instances, one in three with Bernoulli rewards."""
    shape = (runs, arms)
    # Few or many samples, on few or all arms; at least one.
    largest = np.exp(rng.uniform(0, np.log(3000), (runs, 1)))
    count = np.floor(rng.uniform(0, 1, shape) ** 3 * (largest + 1))
    count *= rng.uniform(size=shape) < rng.choice([0.2, 0.7, 1.0], (runs, 1))
    first = rng.integers(0, arms, runs)
    count[np.arange(runs), first] = np.maximum(count[np.arange(runs), first], 1)
    # Means that float32 has exactly; in some instances all nearly equal.
    spread = 2.0 ** -rng.integers(0, 7, (runs, 1))
    mean = np.round(rng.uniform(0, 1, shape) * spread * 2**20) / 2**20
    horizon = np.floor(np.exp(rng.uniform(0, np.log(longest), runs))).astype(int)
    away = np.where(mean == mean.max(axis=1, keepdims=True), -1.0, 1.0)
    kind = rng.integers(0, 3, (runs, 1))
    edge = np.where(kind == 0, away, away * rng.uniform(-0.2, 1, shape))
    edge = np.where(kind == 2, np.nan, edge)
    alpha = np.exp(rng.uniform(np.log(0.01), np.log(5), runs))
    delta = 2.0 ** -rng.integers(2, 16, runs)
    return Runs(mean, count, horizon, alpha, delta, edge)


def play(rng, runs, policy, anytime):
    """All rounds of "ucb", "lcb" or "oto"; OtO as in the paper's algorithm 1."""
    order = np.argsort(-runs.horizon, kind="stable")
    every = len(order)
    mean, count, horizon, alpha, delta, edge = (field[order] for field in runs)
    log = np.log(mean.shape[1] / delta)
    best = mean.max(axis=1)
    samples = count.astype(float)
    offline_c = SIGMA * np.sqrt(2 * log)
    bernoulli = np.isnan(edge)
    total = samples * mean + np.where(bernoulli, 0, edge) * offline_c[:, None] * np.sqrt(samples)
    drawn = rng.binomial(count.astype(int), np.minimum(mean, 1))
    total = np.where(bernoulli, drawn, total)
    share = count / count.sum(axis=1, keepdims=True)
    b = (offline_c[:, None] * np.sqrt(count)).sum(axis=1) / count.sum(axis=1)
    logging_mean = (share * mean).sum(axis=1)

    low, gamma = np.zeros_like(mean), np.zeros(every)
    played_as_ucb, lcb_rounds = np.zeros_like(mean), np.zeros(every)
    proxy = np.full(every, 2) if anytime else horizon.copy()
    out = Outcome(np.zeros(every), np.zeros(every), np.ones(every, bool))
    for t in range(1, horizon.max() + 1):
        n = int(np.searchsorted(-horizon, -t, side="right"))  # runs still playing come first
        row = np.arange(n)
        c = SIGMA * np.sqrt(2 * (log[:n] + (2 * np.log(t) if anytime else 0)))[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            radius = c / np.sqrt(samples[:n])
            pooled = total[:n] / samples[:n]
        seen = samples[:n] > 0
        upper = np.where(seen, pooled + radius, np.inf)
        low[:n] = np.maximum(low[:n], np.where(seen, pooled - radius, 0))
        within = (low[:n] <= mean[:n] + 1e-12) & (mean[:n] <= upper + 1e-12)
        out.event[:n] &= within.all(axis=1)
        u, safe = upper.argmax(axis=1), low[:n].argmax(axis=1)
        if t == 1:
            gamma = low.max(axis=1) - alpha * b
        if policy == "oto":
            proxy[:n] = np.where(t > proxy[:n], 2 * proxy[:n], proxy[:n])
            budget = (
                (played_as_ucb[:n] * (low[:n] - gamma[:n, None])).sum(axis=1)
                + (low[row, u] - gamma[:n])
                + (lcb_rounds[:n] + proxy[:n] - t) * alpha[:n] * b[:n]
            )
            optimist = budget > 0
        else:
            optimist = np.full(n, policy == "ucb")
        arm = np.where(optimist, u, safe)
        played_as_ucb[row, arm] += optimist
        lcb_rounds[:n] += ~optimist
        following = SIGMA * np.sqrt(2 * (log[:n] + (2 * np.log(t + 1) if anytime else 0)))
        now = samples[row, arm] + 1
        pushed = now * mean[row, arm] + edge[row, arm] * following * np.sqrt(now)
        lucky = total[row, arm] + (rng.uniform(size=n) < mean[row, arm])
        total[row, arm] = np.where(bernoulli[row, arm], lucky, pushed)
        samples[row, arm] = now
        out.regret[:n] += best[:n] - mean[row, arm]
        out.logging_regret[:n] += logging_mean[:n] - mean[row, arm]
    back = np.argsort(order)
    return Outcome(*(field[back] for field in out))
