"""Arms that bounds on regret are held against: Bernoulli ones, and those of the lower bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from jaxbandit.bounds import hard_instances
from jaxbandit.bounds.hard_instances import HardInstance
from jaxbandit.checks import InputError
from jaxbandit.environments.arms import bernoulli_arms
from jaxbandit.environments.base import Environment
from jaxbandit.inference.arms import Confidence
from jaxbandit.simulation.results import SimulationResult
from jaxbandit.studies.bound_studies.options import Oto

Play = Callable[[Environment], SimulationResult]


class LowerBound(NamedTuple):
    """On the expected regret of a policy, on the arms played."""

    policy: str | None
    """Whose; None for any."""
    against: str
    """What: "best" arm or "logging" policy."""
    value: float


class Played(NamedTuple):
    """A policy's runs on some arms."""

    instance: int
    """1, or 2 for the second of a pair."""
    mean: np.ndarray
    """[arms]."""
    policy: str
    """Its name."""
    regret: np.ndarray
    """[runs], against the best arm, of finite runs."""
    lower: LowerBound | None


class _Hard(NamedTuple):
    make: Callable[[np.ndarray, int, Confidence], HardInstance]
    policy: str
    against: str


def _first_round(counts: np.ndarray, horizon: int, known: Confidence) -> HardInstance:
    if horizon != 1:
        raise InputError("horizons must be 1 for it, the bound is on the first round")
    return hard_instances.ucb_first_round(counts, known)


def _equalised(counts: np.ndarray, horizon: int, known: Confidence) -> HardInstance:
    # Checked here in the words of the options; an arm that is never pulled has a width of infinity.
    if np.any(counts == 0) and horizon < len(counts):
        raise InputError(
            f"--horizons must be at least {len(counts)} where --counts has a 0, so that every arm "
            "is pulled"
        )
    return hard_instances.ucb_equalised(counts, horizon, known)


_HARD = {
    "lcb-unexplored": _Hard(hard_instances.lcb_unexplored, "LCB", "best"),
    "lcb-misled": _Hard(hard_instances.lcb_misled, "LCB", "logging"),
    "ucb-equalised": _Hard(_equalised, "UCB", "logging"),
    "ucb-first-round": _Hard(_first_round, "UCB", "logging"),
}
_NAMES = ("bernoulli", "confusable-pair", *_HARD)


def play_family(
    options: Oto, counts: np.ndarray, horizon: int, known: Confidence, play: Play
) -> Iterator[Played]:
    """Every policy on every instance of a family; `play` gives the runs of all policies on arms.

    Raises:
        InputError: no such family, or counts and a horizon that it has no instance for.
    """
    if options.family not in _NAMES:
        raise InputError(f"family must be one of {', '.join(_NAMES)}, was {options.family!r}")
    if options.family == "bernoulli":
        arms = bernoulli_arms(np.array(options.means))
        yield from _played(play(arms), arms, None)
        return
    try:
        if options.family == "confusable-pair":
            yield from _pair(counts, horizon, known, play)
        else:
            make, policy, against = _HARD[options.family]
            hard = make(counts, horizon, known)
            lower = LowerBound(policy, against, float(hard.regret))
            yield from _played(play(hard.environment), hard.environment, lower)
    except InputError as error:
        raise InputError(f"family {options.family}, horizon {horizon}: {error}") from None


def _pair(counts: np.ndarray, horizon: int, known: Confidence, play: Play) -> Iterator[Played]:
    """Each policy has a second instance of its own; policies that share one are played at once."""
    first, _ = hard_instances.confusable_pair(counts, horizon, known)
    lower = LowerBound(None, "best", float(first.regret))
    out = play(first.environment)
    yield from _played(out, first.environment, lower)
    seconds: dict[int, list[Played]] = {}
    for at, name in enumerate(out):
        pulls = out[name].pulls.mean
        arms = hard_instances.confusable_pair(counts, horizon, known, pulls=pulls)[1].environment
        best = int(np.argmax(arms.mean))
        if best not in seconds:
            seconds[best] = list(_played(play(arms), arms, lower))
        yield seconds[best][at]._replace(instance=2)


def _played(out: SimulationResult, arms: Environment, lower: LowerBound | None) -> Iterator[Played]:
    for name in out:
        regret = np.delete(out[name].final_regret, out.non_finite)
        yield Played(1, np.asarray(arms.mean, float), name, regret, lower)
