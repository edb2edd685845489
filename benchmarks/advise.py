"""How far what `jaxbandit advise` says of arms can be trusted, in worlds whose truth is known.

    python -m benchmarks.advise [WORLDS]

In each world three arms' means are drawn as the model has it, then a log in which arms take turns.
The spread of arms (the standard deviation of means over that of a reward; kappa^-1/2 where rewards
are 0 or 1) is drawn from the model's prior, or fixed: narrow, .05, or wide, 3 (.7). Printed: the
probability with which the arm said to be best is, as said and as found, and the share of 95 %
intervals that hold the mean.
"""

from __future__ import annotations

import sys
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import expit

from jaxbandit.inference.arm_posterior import ArmRecords, arm_posterior, best_shares

ARMS = 3
DRAWS = 1000

Rewards = Literal["clicks", "normal"]
Spread = Literal["drawn", "narrow", "wide"]


class Calibration(NamedTuple):
    """What was said and found, world by world."""

    said: np.ndarray
    """[worlds], probability of the arm that is said to be best."""
    right: np.ndarray
    """[worlds], whether it is."""
    held: np.ndarray
    """[worlds], share of the arms' intervals that hold the mean."""


def calibrate(
    rewards: Rewards, spread: Spread, records: int, worlds: int, seed: int
) -> Calibration:
    """Draw worlds and logs of so many records, and ask for the posterior."""
    rng = np.random.default_rng(seed)
    count = np.bincount(np.arange(records) % ARMS, minlength=ARMS).astype(float)
    found = []
    for _ in range(worlds):
        mean, log = _world(rewards, spread, count, rng)
        drawn = arm_posterior(log).draw(DRAWS, rng).mean
        share = best_shares(drawn)
        best = int(share.argmax())
        low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
        found.append(
            (share[best], mean[best] == mean.max(), np.mean((low <= mean) & (mean <= high)))
        )
    return Calibration(*np.array(found).T)


def _world(
    rewards: Rewards, spread: Spread, count: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, ArmRecords]:
    if rewards == "clicks":
        u = {"drawn": 10 ** rng.uniform(-2, 0), "narrow": 0.05, "wide": 0.7}[spread]
        m = expit(rng.uniform(-2, 2))
        mean = rng.beta(m / u**2, (1 - m) / u**2, ARMS)
        clicks = rng.binomial(count.astype(int), mean).astype(float)
        return mean, ArmRecords(count, clicks, clicks)
    ratio = {"drawn": 10 ** rng.uniform(-2, 2), "narrow": 0.05, "wide": 3.0}[spread]
    noise = 0.05 / max(1, ratio)
    mean = 0.5 + ratio * noise * rng.standard_normal(ARMS)
    each = [rng.normal(mu, noise, int(n)) for mu, n in zip(mean, count, strict=True)]
    sums = (np.array([x.sum() for x in each]), np.array([(x**2).sum() for x in each]))
    return mean, ArmRecords(count, *sums)


def main(worlds: int) -> None:
    """Print a table."""
    print("rewards  spread  records  said  right  error  intervals")
    for rewards in ("clicks", "normal"):
        for spread in ("drawn", "narrow", "wide"):
            for records in (6, 20, 100):
                said, right, held = calibrate(rewards, spread, records, worlds, seed=0)
                error = right.std() / np.sqrt(worlds)
                print(
                    f"{rewards:7}  {spread:6}  {records:7}  {said.mean():.3f}  "
                    f"{right.mean():.3f}  {error:.3f}  {held.mean():.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
