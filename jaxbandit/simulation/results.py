"""What `simulate` gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxbandit.checks import InputError
from jaxbandit.engine.moments import Moments, in_words


class PolicyResult(NamedTuple):
    """What one policy did; every `Moments` is over runs.

    Where the policy or what it plays in is a grid, all but `round` have a leading axis, cells.
    """

    round: np.ndarray
    """[checkpoints], rounds played."""
    regret: Moments
    """[checkpoints], against the best arm."""
    logging_regret: Moments | None
    """[checkpoints], against playing arms as often as the offline data has them; None without."""
    reward: Moments
    """[checkpoints], sum of rewards so far."""
    info: dict[str, Moments]
    """[checkpoints], the policy's diagnostics."""
    pulls: Moments
    """[arms], in all rounds."""
    final_regret: np.ndarray
    """[runs]."""
    final_reward: np.ndarray
    """[runs]."""
    regret_curves: np.ndarray | None
    """[runs, checkpoints], where they were asked for."""


@dataclass(frozen=True)
class SimulationResult:
    """Results by policy name: `result["oto"].regret.mean`."""

    policies: dict[str, PolicyResult]
    """By name."""
    differences: dict[tuple[str, str], Moments]
    """Regret of the first less the second on the same runs, [checkpoints], with a leading axis
    cells where either has one."""
    runs: int
    """Asked for."""
    non_finite: np.ndarray
    """Indices of runs left out, for all policies, because a number in them was not finite."""

    def __repr__(self) -> str:
        rounds = next(iter(self.policies.values())).round[-1]
        title = f"SimulationResult: {self.runs} runs, regret after {rounds} rounds"
        curves = {name: policy.regret for name, policy in self.policies.items()}
        return in_words(title, len(self.non_finite), curves)

    def __getitem__(self, name: str) -> PolicyResult:
        if name not in self.policies:
            raise InputError(f"no policy {name!r} was simulated, only {', '.join(self.policies)}")
        return self.policies[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.policies)

    def paired(self, first: str, second: str) -> Moments:
        """Moments over runs of the regret of `first` less that of `second`, per checkpoint.

        Raises:
            InputError: no such policy was simulated.
        """
        regret = self[first].regret
        self[second]
        if first == second:
            return Moments(regret.count, np.zeros_like(regret.mean), np.zeros_like(regret.mean))
        if (first, second) in self.differences:
            return self.differences[first, second]
        other = self.differences[second, first]
        return other._replace(mean=-other.mean)
