"""What a study is: a STUDY.toml as frozen dataclasses, and back.

A study plays either journey in every cell of a grid. Each `[[sweep]]` table is an axis of the grid;
axes are multiplied, keys within one axis are walked together. docs/sweeps.md has the whole format.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import tomli_w

Table = dict[str, Any]


@dataclass(frozen=True)
class Component:
    """Something made by a function of `components`, with the options given for it."""

    kind: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Online:
    """Policies that play K arms after offline data."""

    horizon: int
    environment: Component
    policies: Mapping[str, Component]
    offline: Component | None
    confidence: Component


@dataclass(frozen=True)
class OffPolicy:
    """Algorithms that learn many tasks from a log."""

    records: tuple[int, ...]
    design: Component
    algorithms: tuple[str, ...]


@dataclass(frozen=True)
class Axis:
    """One dimension of the grid."""

    name: str
    values: Mapping[str, tuple[Any, ...]]
    """Dotted key -> its value at each point."""
    labels: tuple[str, ...] | None = None

    @property
    def points(self) -> int:
        """Length of the axis."""
        return len(next(iter(self.values.values())))


@dataclass(frozen=True)
class Outputs:
    """What is kept of a run."""

    checkpoints: int | tuple[int, ...] = 100
    """Rounds at which to report, or how many, evenly spaced up to each cell's horizon."""
    finals: bool = False
    """Whether to keep each run's last regret and reward."""


@dataclass(frozen=True)
class Precision:
    """When a cell has runs enough: judged by regret, or suboptimality, at the last checkpoint."""

    standard_error: float
    policy: str | None = None
    """Whose mean; None for each policy's."""
    minus: str | None = None
    """The policy to subtract, run by run."""


@dataclass(frozen=True)
class Study:
    """What to simulate, how often, and what to keep."""

    problem: Online | OffPolicy
    runs: int
    """Runs of a cell; the most, where a precision is asked for."""
    seed: int = 0
    sweep: tuple[Axis, ...] = ()
    outputs: Outputs = field(default_factory=Outputs)
    precision: Precision | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(axis.points for axis in self.sweep)

    @property
    def cells(self) -> int:
        """Points of the grid; the last axis varies fastest."""
        return math.prod(self.shape)

    @property
    def names(self) -> tuple[str, ...]:
        """Policies, or algorithms."""
        if isinstance(self.problem, Online):
            return tuple(self.problem.policies)
        return self.problem.algorithms

    @property
    def longest(self) -> int:
        """The longest horizon of a cell, or the largest log."""
        if isinstance(self.problem, OffPolicy):
            return self.problem.records[-1]
        swept = [axis.values["horizon"] for axis in self.sweep if "horizon" in axis.values]
        return max(swept[0]) if swept else self.problem.horizon

    def cell(self, index: int) -> dict[str, Any]:
        """Values of the swept keys in a cell."""
        values = {}
        for axis in reversed(self.sweep):
            index, point = divmod(index, axis.points)
            values |= {key: column[point] for key, column in axis.values.items()}
        return values


def dumps(study: Study) -> str:
    """The study as TOML, ranges written out."""
    return tomli_w.dumps(to_table(study))


def to_table(study: Study) -> Table:
    """The study as tables of plain values, as TOML has them."""
    problem = study.problem
    table: Table = {"journey": "offpolicy", "runs": study.runs, "seed": study.seed}
    if isinstance(problem, Online):
        table |= {"journey": "online", "horizon": problem.horizon}
        table["environment"] = {"kind": problem.environment.kind, **problem.environment.options}
        if problem.offline is not None:
            table["offline"] = dict(problem.offline.options)
        table["confidence"] = dict(problem.confidence.options)
        table["policies"] = {
            name: {"kind": policy.kind, **policy.options}
            for name, policy in problem.policies.items()
        }
        rounds = study.outputs.checkpoints
        table["outputs"] = {
            "checkpoints": list(rounds) if isinstance(rounds, tuple) else rounds,
            "finals": study.outputs.finals,
        }
    else:
        table |= {"records": list(problem.records), "algorithms": list(problem.algorithms)}
        table["design"] = {"kind": problem.design.kind, **problem.design.options}
    if study.precision is not None:
        given = {f.name: getattr(study.precision, f.name) for f in fields(Precision)}
        table["precision"] = {name: value for name, value in given.items() if value is not None}
    table["sweep"] = [
        {"name": axis.name}
        | ({"labels": list(axis.labels)} if axis.labels else {})
        | {key: list(column) for key, column in axis.values.items()}
        for axis in study.sweep
    ]
    return table
