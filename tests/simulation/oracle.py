"""Round loops of UCB, LCB and OtO in float64, from the definitions alone.

In each round every bound, every argmax and the whole sum of the budget are computed afresh from
counts and totals; only what is defined as a running maximum (the lower bounds) is carried along.
Arrays are [runs, arms]; runs are independent. Imports nothing of the package.
"""

from typing import NamedTuple

import numpy as np


class Constants(NamedTuple):
    """What the bounds and the budget are made of."""

    preset: str = "paper"
    delta: float | None = None
    """None for one over the square of the horizon."""
    anytime: bool = False
    """Unknown horizon: delta / t^2, and a proxy for the horizon that doubles."""
    sigma: float = 0.5
    floor: float = 0.0

    def squared_radius(self, arms, delta, samples):
        """Of a confidence bound; infinite without samples."""
        log = np.log(arms / delta)
        square = 2 * self.sigma**2 * log if self.preset == "paper" else log
        with np.errstate(divide="ignore"):
            return square / np.asarray(samples, float)

    def budget_per_round(self, delta, count):
        """b: the sum over arms of (m_i / m) r_i(m_i)."""
        arms, m = len(count), sum(count)
        if self.preset == "paper":
            terms = [
                m_i / m * np.sqrt(self.squared_radius(arms, delta, m_i)) for m_i in count if m_i > 0
            ]
        else:
            terms = [np.sqrt(m_i) / m * np.sqrt(np.log(1 / delta) / 2) for m_i in count]
        return sum(terms)


class Played(NamedTuple):
    """What a policy did, [runs, rounds]."""

    arm: np.ndarray
    reward: np.ndarray
    budget: np.ndarray
    """B(t); zero but for OtO."""
    lcb_rounds: np.ndarray
    """L(t), with round t; zero but for OtO."""


def bernoulli(uniform, mean):
    """Rewards of round t (from 1): 1 where the run's uniform number is below the arm's mean."""
    return lambda t, arm: (uniform[:, t - 1] < np.asarray(mean)[arm]).astype(float)


def play(reward, count, total, horizon, policy, constants, *, alpha=0.0, budget="separate"):
    """All rounds of a policy.

    Args:
        reward: (t, arms played [runs]) -> rewards [runs].
        count: [arms], offline samples.
        total: [runs, arms], sums of their rewards.
        horizon: T.
        policy: "ucb", "lcb" or "oto".
        constants: of the bounds.
        alpha: of OtO.
        budget: of OtO: "separate", "unified" or "unified-moving".
    """
    count, total = np.asarray(count), np.array(total, float)
    runs, arms = total.shape
    delta_one = 1 / horizon**2 if constants.delta is None else constants.delta
    samples, every = np.tile(count, (runs, 1)), np.arange(runs)
    out = Played(*(np.zeros((runs, horizon), kind) for kind in (int, float, float, int)))

    b = constants.budget_per_round(delta_one, count) if policy == "oto" else 0.0
    offline_low = None
    low = np.full((runs, arms), constants.floor)
    played_as_ucb = np.zeros((runs, arms), int)
    played = np.zeros((runs, arms), int)
    lcb_rounds = np.zeros(runs, int)
    proxy = horizon if not constants.anytime else 2

    for t in range(1, horizon + 1):
        if constants.anytime:
            # The paper doubles at the start of a round beyond the proxy; the authors' simulator at
            # the end of a round whose index from zero is beyond it.
            beyond = t > proxy if constants.preset == "paper" else t - 2 > proxy
            proxy = 2 * proxy if beyond else proxy
        delta = delta_one / t**2 if constants.anytime else delta_one
        radius = np.sqrt(constants.squared_radius(arms, delta, samples))
        mean = np.where(samples > 0, total / np.maximum(samples, 1), 0.0)
        upper = np.where(samples > 0, mean + radius, np.inf)
        previous, low = low, np.maximum(low, np.where(samples > 0, mean - radius, -np.inf))
        if t == 1:
            offline_low = previous = low
        u, best = upper.argmax(axis=1), low.argmax(axis=1)

        if policy == "oto":
            start = offline_low.max(axis=1)
            gamma = start - alpha * b
            in_sum = previous if constants.preset == "reference" else low
            weight = played_as_ucb if budget == "separate" else played
            reference = gamma
            if budget == "unified-moving":
                reference = in_sum[every, offline_low.argmax(axis=1)] - alpha * b
            rounds = (lcb_rounds if budget == "separate" else 0) + proxy - t
            amount = (
                (weight * (in_sum - reference[:, None])).sum(axis=1)
                + (low[every, u] - gamma)
                + rounds * alpha * b
            )
            optimist = amount > 0
            out.budget[:, t - 1] = amount
        else:
            optimist = np.full(runs, policy == "ucb")
        arm = np.where(optimist, u, best)
        gained = reward(t, arm)
        out.arm[:, t - 1], out.reward[:, t - 1] = arm, gained

        samples[every, arm] += 1
        total[every, arm] += gained
        played[every, arm] += 1
        played_as_ucb[every, arm] += optimist
        lcb_rounds = lcb_rounds + ~optimist
        out.lcb_rounds[:, t - 1] = lcb_rounds if policy == "oto" else 0
    return out
