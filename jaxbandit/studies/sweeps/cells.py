"""From a study to what the engine plays: one job a cell.

A cell's job is the one that `simulate`, or `simulate_offpolicy`, would run for its values, so its
numbers are theirs to the bit. Cells that differ in arrays only share a compiled program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxbandit.checks import InputError
from jaxbandit.engine import devices, programs
from jaxbandit.environments.base import Environment
from jaxbandit.inference.arms import OfflineArms
from jaxbandit.policies.base import Policy
from jaxbandit.policies.offline import ALGORITHMS
from jaxbandit.simulation import learning_curves as offpolicy
from jaxbandit.simulation import program
from jaxbandit.simulation import simulate as online
from jaxbandit.simulation.grid import grid
from jaxbandit.studies.sweeps import components
from jaxbandit.studies.sweeps.spec import Component, OffPolicy, Online, Study
from jaxbandit.studies.sweeps.toml import Source


class Cell(NamedTuple):
    """A cell, ready to be played."""

    job: programs.Job
    checkpoints: np.ndarray
    """[checkpoints], rounds or records."""
    work: float
    """Of a run: policies times rounds, or what takes as long."""
    arms: int
    """0 where there are none."""


def shortened(cell: Cell, work: float) -> Cell:
    """A cell that plays less of each run, so that a tile takes `work` at most, in its program."""
    job = cell.job
    share = min(1.0, work / (cell.work * job.width))
    if not isinstance(job.params, program.Inputs) or share == 1:
        return cell
    ends = np.ceil(np.asarray(job.params.ends) * share).astype(np.int32)
    job = job._replace(params=job.params._replace(ends=ends))
    return cell._replace(job=job, work=cell.work * share)


def raised_rewards(job: programs.Job) -> np.ndarray | None:
    """What rewards at a cell's checkpoints are to be raised by, [checkpoints]; None for nothing."""
    if not isinstance(job.params, program.Inputs):
        return None
    return program.reference_rewards(job.params)


def root_key(study: Study) -> Any:
    """The key of all its cells, which so share their random numbers."""
    return jax.random.key(study.seed)


def build(study: Study, source: Source, indices: Iterable[int]) -> dict[int, Cell]:
    """Cells by index, their values checked.

    Raises:
        InputError: values that cannot be used, with their line.
    """
    maker = _Maker(source, _places(study))
    indices = list(indices)
    if isinstance(study.problem, Online):
        return _online(study, study.problem, maker, indices)
    return _offpolicy(study, study.problem, maker, indices)


def _places(study: Study) -> dict[str, str]:
    """Swept keys, and where they stand."""
    return {key: f"sweep[{i}].{key}" for i, axis in enumerate(study.sweep) for key in axis.values}


@dataclass
class _Maker:
    """Makes components once for each set of values."""

    source: Source
    places: Mapping[str, str]
    made: dict[Any, Any] = field(default_factory=dict)

    def component(
        self,
        path: str,
        component: Component,
        kinds: Mapping[str, components.Make],
        values: Mapping[str, Any],
        **more: Any,
    ) -> Any:
        """A component with a cell's values in place of its own; `more` is passed on as it is."""
        own = {
            name: values[f"{path}.{name}"]
            for name in components.options(kinds[component.kind])
            if f"{path}.{name}" in values
        }
        # Lists are the study's own objects.
        given = (
            id(value) if isinstance(value, list) else (type(value), value) for value in own.values()
        )
        key = path, *given, *(id(value) for value in more.values())
        if key not in self.made:
            options = {**component.options, **own}
            arrays = {
                name: np.asarray(value) if isinstance(value, list) else value
                for name, value in options.items()
            }
            self.made[key] = self.checked(
                path, lambda: kinds[component.kind](**arrays, **more), options
            )
        return self.made[key]

    def checked(self, path: str, call: Callable[[], Any], options: Iterable[str] = ()) -> Any:
        """What `call` gives; its errors with the place of the option they begin with."""
        try:
            return call()
        except InputError as error:
            text = str(error)
            option = next((name for name in options if text.startswith(f"{name} ")), None)
            where = path if option is None else f"{path}.{option}"
            self.source.refuse(self.places.get(where, where), f"{path}: {text}")


# Online.


class _Parts(NamedTuple):
    """What a cell is made of."""

    policies: dict[str, Policy]
    environment: Environment
    offline: OfflineArms | None
    horizon: int


def _online(study: Study, problem: Online, maker: _Maker, indices: list[int]) -> dict[int, Cell]:
    groups: dict[Any, list[tuple[int, _Parts]]] = {}
    for index in indices:
        parts = _parts(problem, maker, study.cell(index))
        groups.setdefault(_structure(parts), []).append((index, parts))
    cells = {}
    for members in groups.values():
        cells |= _grid_cells(study, maker, members)
    return dict(sorted(cells.items()))


def _parts(problem: Online, maker: _Maker, values: Mapping[str, Any]) -> _Parts:
    confidence = maker.component("confidence", problem.confidence, components.CONFIDENCES, values)
    policies = {}
    for name, policy in problem.policies.items():
        takes = components.takes_confidence(components.POLICIES[policy.kind])
        more = {"confidence": confidence} if takes else {}
        policies[name] = maker.component(
            f"policies.{name}", policy, components.POLICIES, values, **more
        )
    offline = problem.offline
    if offline is None and "offline.count" in values:
        offline = Component("offline", {})
    return _Parts(
        policies,
        maker.component("environment", problem.environment, components.ENVIRONMENTS, values),
        offline and maker.component("offline", offline, components.OFFLINES, values),
        values.get("horizon", problem.horizon),
    )


def _structure(parts: _Parts) -> Any:
    """What cells of one grid have in common."""

    def shapes(tree: Any) -> Any:
        leaves, structure = jax.tree.flatten(tree)
        return structure, tuple(np.shape(leaf) for leaf in leaves)

    policies = tuple((name, p[1:], shapes(p.params)) for name, p in parts.policies.items())
    environment = parts.environment
    logged = parts.offline is not None and bool(np.any(np.asarray(parts.offline.count) > 0))
    return policies, environment.reward, shapes(environment.params), shapes(parts.offline), logged


def _grid_cells(study: Study, maker: _Maker, members: list[tuple[int, _Parts]]) -> dict[int, Cell]:
    first = members[0][1]
    each = [parts for _, parts in members]
    horizons = np.array([parts.horizon for parts in each])
    offline: dict[str, Any] = {}
    if first.offline is not None:
        count = np.stack([parts.offline.count for parts in each if parts.offline])
        if first.offline.total is None:
            offline["offline_count"] = count
        else:
            total = np.stack([parts.offline.total for parts in each if parts.offline])
            offline["offline"] = OfflineArms(count, total)

    def prepare() -> Any:
        return online.prepare(
            root_key(study),
            {name: grid([parts.policies[name] for parts in each]) for name in first.policies},
            grid([parts.environment for parts in each]),
            horizon=horizons,
            # Each cell's own take their place.
            checkpoints=np.ones(1, int),
            **offline,
        )

    static, inputs = _placed(maker, prepare, first)
    inputs = jax.tree.map(np.asarray, inputs)
    width, arms = devices.by_platform(online.TILE_WIDTH), inputs.world.count.shape[-1]
    cells = {}
    for place, (index, parts) in enumerate(members):
        alone, own = program.one_cell(static, inputs, place)
        ends = _rounds(study, parts.horizon)
        own = own._replace(ends=ends)
        job = programs.Job(program.play_runs, alone, own, study.runs, width)
        cells[index] = Cell(job, ends, float(parts.horizon * len(parts.policies)), arms)
    return cells


def _placed(maker: _Maker, prepare: Callable[[], Any], parts: _Parts) -> Any:
    """What `prepare` gives; its errors with the place of what they are about."""
    try:
        return prepare()
    except InputError as error:
        text = str(error)
        paths = {f"policy {name!r}": f"policies.{name}" for name in parts.policies}
        paths |= {"offline_count": "offline.count", "offline.total": "offline.total"}
        paths |= {"horizon": "horizon", "offline": "offline", "checkpoints": "outputs.checkpoints"}
        path = next((path for start, path in paths.items() if text.startswith(start)), "")
        maker.source.refuse(maker.places.get(path, path), text)


def _rounds(study: Study, horizon: int) -> np.ndarray:
    """Rounds at which a cell reports, as many in every cell."""
    checkpoints = study.outputs.checkpoints
    if isinstance(checkpoints, tuple):
        return np.array(checkpoints, np.int32)
    evenly = np.linspace(0, horizon, min(checkpoints, study.longest) + 1)[1:]
    return np.maximum(np.round(evenly), 1).astype(np.int32)


# Off-policy.


def _offpolicy(
    study: Study, problem: OffPolicy, maker: _Maker, indices: list[int]
) -> dict[int, Cell]:
    algorithms = {name: ALGORITHMS[name] for name in problem.algorithms}
    most = _most_tasks(study, problem)
    records = np.array(problem.records)
    options = components.options(components.DESIGNS[problem.design.kind])
    cells = {}
    for index in indices:
        values = study.cell(index)
        design = maker.component(
            "design", problem.design, components.DESIGNS, values, max_tasks=most
        )
        job = maker.checked(
            "design",
            lambda design=design: offpolicy.prepare(
                design, runs=study.runs, records=problem.records, algorithms=algorithms
            ),
            options,
        )
        # A context's action is chosen in about the time of a round.
        contexts = design.max_tasks * design.contexts * design.actions * len(records)
        work = float(contexts * len(algorithms) + problem.records[-1])
        cells[index] = Cell(job, records, work, 0)
    return cells


def _most_tasks(study: Study, problem: OffPolicy) -> int:
    """Tasks of the largest cell, so that all cells run in one program."""
    given = problem.design.options.get(
        "tasks", components.options(components.DESIGNS["synthetic"])["tasks"]
    )
    swept = [axis.values["design.tasks"] for axis in study.sweep if "design.tasks" in axis.values]
    return max(swept[0]) if swept else given
