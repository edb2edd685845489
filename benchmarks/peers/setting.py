"""The game all peers play: Bernoulli arms, half with offline data, the paper's constants."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ALPHA = {"OtO": 0.2, "OtO, unknown horizon": 0.6}
DELTA_ANYTIME = 0.005


class Setting(NamedTuple):
    """What a peer is given; numbers are as the algorithms of Sentenac et al. 2025 need them."""

    mean: np.ndarray
    """[arms]."""
    count: np.ndarray
    """[arms], offline samples."""
    total: np.ndarray
    """[arms], sum of their rewards."""
    radius: np.ndarray
    """[horizon + 1], of one sample in round t; entry 0 is not used."""
    alpha_budget: float
    """alpha b: what a round played as LCB adds to OtO's budget."""
    horizon: int
    runs: int


def make_setting(policy: str, arms: int, horizon: int, runs: int) -> Setting:
    """Instance 1 of Sentenac et al. 2025 (K = 20), and its like with other numbers of arms.

    The first half of the arms has mean 0.5 and 200 samples, the rest mean 0.25 and none.
    """
    sampled = np.arange(arms) < max(1, arms // 2)
    mean = np.where(sampled, 0.5, 0.25).astype(np.float32)
    count = np.where(sampled, 200, 0).astype(np.float32)
    moving = policy == "OtO, unknown horizon"
    log_term = np.full(horizon + 1, np.log(arms / (DELTA_ANYTIME if moving else horizon**-2.0)))
    budget = np.sqrt(count).sum() / count.sum() * np.sqrt(0.5 * log_term[0])
    if moving:
        log_term += 2 * np.log(np.maximum(np.arange(horizon + 1), 1))
    return Setting(
        mean=mean,
        count=count,
        total=count * mean,
        radius=np.sqrt(0.5 * log_term).astype(np.float32),
        alpha_budget=float(ALPHA.get(policy, 0) * budget),
        horizon=horizon,
        runs=runs,
    )
