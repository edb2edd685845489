"""pymab's Rust backend: UCB1 on Bernoulli arms.

It takes no offline data, breaks ties at random, and keeps every round of every run.
"""

from __future__ import annotations

import numpy as np
from pymab import BanditEnvironment, BernoulliReward, Experiment, ExperimentConfig
from pymab.policies.ucb import UCBPolicy


def final_regret(mean: np.ndarray, width: float, horizon: int, runs: int) -> np.ndarray:
    """[runs], of the index mean + sqrt(width log(t) / n)."""
    experiment = Experiment(
        environment=BanditEnvironment(mean.astype(float), BernoulliReward()),
        policies={"ucb": UCBPolicy(n_arms=len(mean), c=width)},
        config=ExperimentConfig(horizon=horizon, n_replicates=runs, seed=0, backend="rust"),
    )
    actions = experiment.run().actions[:, :, 0]
    return (mean.max() - mean)[actions].sum(axis=1)
