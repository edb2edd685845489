"""The baseline policies in float64, from their definitions alone.

Each is a function (t, History) -> arms played [runs]; what is random in it is given. In each round
everything is computed afresh from counts and totals. Arrays are [runs, arms] unless said otherwise.
Imports nothing of the package.
"""

from typing import NamedTuple

import numpy as np


class History(NamedTuple):
    """All samples before a round."""

    offline_count: np.ndarray
    offline_total: np.ndarray
    count: np.ndarray
    """Online."""
    total: np.ndarray
    """Online."""

    def pooled(self):
        return self.offline_count + self.count, self.offline_total + self.total


def play(choose, reward, count, total, horizon):
    """Arms and rewards of all rounds, [runs, rounds]; `reward` is (t, arms [runs]) -> [runs]."""
    runs, every = len(total), np.arange(len(total))
    history = History(
        np.tile(count, (runs, 1)),
        np.array(total, float),
        np.zeros(np.shape(total), int),
        np.zeros(np.shape(total)),
    )
    arms, rewards = np.zeros((runs, horizon), int), np.zeros((runs, horizon))
    for t in range(1, horizon + 1):
        arm = choose(t, history)
        gained = reward(t, arm)
        history.count[every, arm] += 1
        history.total[every, arm] += gained
        arms[:, t - 1], rewards[:, t - 1] = arm, gained
    return arms, rewards


def mean_of(count, total):
    return np.where(count > 0, total / np.maximum(count, 1), 0.0)


def untried_first(count, index):
    return np.where(count > 0, index, np.inf).argmax(axis=1)


def delta_of(constants, t, horizon):
    first = 1 / horizon**2 if constants.delta is None else constants.delta
    return first / t**2 if constants.anytime else first


def epsilon_greedy(epsilon, decay, coin, die):
    """coin, die: [runs, rounds], uniform on [0, 1), and the arm explored."""

    def choose(t, history):
        count, total = history.pooled()
        best = untried_first(count, mean_of(count, total))
        explore = coin[:, t - 1] < min(1, epsilon / t**decay)
        return np.where(explore, die[:, t - 1], best)

    return choose


def explore_then_commit(rounds_per_arm):
    committed = None

    def choose(t, history):
        nonlocal committed
        runs, arms = history.count.shape
        if t <= rounds_per_arm * arms:
            return np.full(runs, (t - 1) % arms)
        if committed is None:
            committed = mean_of(*history.pooled()).argmax(axis=1)
        return committed

    return choose


def moss(sigma, horizon):
    def choose(t, history):
        count, total = history.pooled()
        n = np.maximum(count, 1)
        bonus = np.sqrt(np.maximum(np.log(horizon / (count.shape[1] * n)), 0) / n)
        return untried_first(count, mean_of(count, total) + 2 * sigma * bonus)

    return choose


def min_ucb(bias, constants, horizon):
    def choose(t, history):
        arms, delta = history.count.shape[1], delta_of(constants, t, horizon)

        def upper(count, total):
            radius = np.sqrt(constants.squared_radius(arms, delta, count))
            return np.where(count > 0, mean_of(count, total) + radius, np.inf)

        count, total = history.pooled()
        offline = history.offline_count
        share = offline / np.maximum(count, 1) * np.where(offline > 0, bias, 0)
        both = np.minimum(upper(history.count, history.total), upper(count, total) + share)
        return both.argmax(axis=1)

    return choose


def conservative_ucb(alpha, constants, horizon, uniform):
    """uniform: [runs, rounds]. Also gives the function's record of baseline rounds, [runs]."""
    low = played_as_ucb = baseline = None

    def choose(t, history):
        nonlocal low, played_as_ucb, baseline
        runs, arms = history.count.shape
        offline, total = history.offline_count, history.offline_total
        if t == 1:
            low = np.full((runs, arms), constants.floor)
            played_as_ucb, baseline = np.zeros((runs, arms), int), np.zeros(runs, int)
        m = offline.sum(axis=1)
        first = constants.squared_radius(arms, delta_of(constants, 1, horizon), m)
        value, radius = total.sum(axis=1) / m, np.sqrt(first)

        count, total = history.pooled()
        radii = np.sqrt(constants.squared_radius(arms, delta_of(constants, t, horizon), count))
        low = np.maximum(low, np.where(count > 0, mean_of(count, total) - radii, -np.inf))
        u = untried_first(count, mean_of(count, total) + radii)
        safe = np.full(runs, True)
        # The condition as printed, for each value that the baseline may have.
        for share in np.linspace(0, 1, 5):
            mu_0 = (1 - share) * np.maximum(value - radius, 0) + share * np.minimum(
                value + radius, 1
            )
            worth = (played_as_ucb * low).sum(axis=1) + low[np.arange(runs), u] + baseline * mu_0
            safe &= worth >= (1 - alpha) * t * mu_0
        below = np.cumsum(offline / m[:, None], axis=1)
        logged = (below > uniform[:, t - 1, None]).argmax(axis=1)
        played_as_ucb[np.arange(runs), u] += safe
        baseline = baseline + ~safe
        choose.baseline_rounds.append(baseline)
        return np.where(safe, u, logged)

    choose.baseline_rounds = []
    return choose


def thompson_bernoulli(successes, failures, draw):
    """draw: (t, a, b) -> numbers that rise with a draw of Beta(a, b)."""

    def choose(t, history):
        count, total = history.pooled()
        return draw(t, successes + total, failures + count - total).argmax(axis=1)

    return choose


def thompson_gaussian(noise_std, prior_mean, prior_std, normal):
    """normal: [runs, rounds, arms], standard normal."""

    def choose(t, history):
        count, total = history.pooled()
        precision = 1 / prior_std**2 + count / noise_std**2
        mean = (prior_mean / prior_std**2 + total / noise_std**2) / precision
        return (mean + normal[:, t - 1] / np.sqrt(precision)).argmax(axis=1)

    return choose
