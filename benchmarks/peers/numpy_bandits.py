"""The plain NumPy loop: one run at a time, the bounds of all arms in every round."""

from __future__ import annotations

import numpy as np

from benchmarks.peers.setting import Setting


def play(policy: str, setting: Setting) -> np.ndarray:
    """Pulls, [runs, arms]."""
    rng = np.random.default_rng(0)
    return np.array([_run(policy, setting, rng) for _ in range(setting.runs)])


def _run(policy: str, setting: Setting, rng: np.random.Generator) -> np.ndarray:
    optimistic, known = policy == "UCB", policy != "OtO, unknown horizon"
    alpha_budget, radius = setting.alpha_budget, setting.radius.astype(float)
    count, total = setting.count.astype(float), setting.total.astype(float)
    divisor = np.maximum(count, 1)
    mean, spread = total / divisor, np.where(count > 0, 1 / np.sqrt(divisor), np.inf)
    low = np.maximum(0, mean - radius[1] * spread)
    gamma = low.max() - alpha_budget
    plays, lcb_rounds = np.zeros(len(mean)), 0
    horizon = setting.horizon if known else 2
    for t in range(1, setting.horizon + 1):
        arm = np.argmax(mean + radius[t] * spread)
        if not optimistic:
            if t > horizon:
                horizon *= 2
            earned = plays @ (low - gamma) + (lcb_rounds + horizon - t) * alpha_budget
            if earned + low[arm] - gamma > 0:
                plays[arm] += 1
            else:
                arm = np.argmax(low)
                lcb_rounds += 1
        count[arm] += 1
        total[arm] += rng.random() < setting.mean[arm]
        mean[arm], spread[arm] = total[arm] / count[arm], 1 / np.sqrt(count[arm])
        radius_next = radius[t if known else min(t + 1, setting.horizon)]
        low[arm] = max(low[arm], mean[arm] - radius_next * spread[arm])
    return count - setting.count
