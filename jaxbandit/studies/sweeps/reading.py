"""Reading a STUDY.toml: every setting is checked, and every error names its line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from jaxbandit.checks import LARGEST, SEEDS, InputError, check_count
from jaxbandit.studies.sweeps import components, names, ranges
from jaxbandit.studies.sweeps.spec import (
    Axis,
    Component,
    OffPolicy,
    Online,
    Outputs,
    Precision,
    Study,
    Table,
)
from jaxbandit.studies.sweeps.toml import Source, did_you_mean, read


def load(path: Path) -> tuple[Study, Source]:
    """A study from a STUDY.toml, and where its settings stand.

    Raises:
        InputError: anything that is not as docs/sweeps.md has it; the message names the line.
        OSError: the file cannot be read.
    """
    table, source = read(path)
    try:
        return from_table(table, source), source
    except RecursionError:
        raise InputError(f"{path}: its values are nested too deep") from None


def from_table(table: Table, source: Source) -> Study:
    """A study from tables of plain values.

    Raises:
        InputError: as `load`.
    """
    journey = table.get("journey")
    if journey not in ("online", "offpolicy"):
        source.refuse("journey", f'journey must be "online" or "offpolicy", was {journey!r}')
    own = (
        ("horizon", "environment", "offline", "confidence", "policies")
        if journey == "online"
        else ("records", "algorithms", "design")
    )
    known = ("journey", "runs", "seed", "sweep", "outputs", "precision", *own)
    _known_keys(table, known, "", source)
    axes = _axes(table, source)
    swept = {key for axis in axes for key in axis.values}
    problem = (_online if journey == "online" else _offpolicy)(table, swept, source)
    _check_swept(problem, axes, source)
    study = Study(
        problem=problem,
        runs=_count(table, "runs", source),
        seed=_whole("seed", table.get("seed", 0), "seed", source, 0, SEEDS),
        sweep=axes,
        outputs=_outputs(table, journey, source),
    )
    if study.cells > ranges.MOST:
        source.refuse("sweep", f"a grid may have {ranges.MOST:,} cells, has {study.cells:,}")
    longest = "horizon" if journey == "online" else "records"
    _whole(longest, study.longest, longest, source)
    rounds = study.outputs.checkpoints
    if isinstance(rounds, tuple) and rounds[-1] > study.longest:
        source.refuse(
            "outputs.checkpoints",
            f"checkpoints must lie within the horizon {study.longest}, was {rounds[-1]}",
        )
    return _with_precision(study, table, source)


# The parts of a table.


def _online(table: Table, swept: set[str], source: Source) -> Online:
    policies = _table(table, "policies", source)
    if not policies:
        source.refuse("policies", "policies must name at least one policy, as [policies.ucb]")
    for name in policies:
        # A pair of policies is called by both names with a minus between them.
        why = "must not have ' - ' in it" if " - " in name else names.fault(name)
        if why:
            source.refuse(f"policies.{name}", f"a policy's name {why}, was {name!r}")
    offline = None
    if "offline" in table or "offline.count" in swept:
        offline = _component(table, "offline", components.OFFLINES, swept, source)
    horizon = 1 if "horizon" in swept and "horizon" not in table else None
    return Online(
        horizon=_count(table, "horizon", source, default=horizon),
        environment=_component(table, "environment", components.ENVIRONMENTS, swept, source),
        policies={
            name: _component(table, f"policies.{name}", components.POLICIES, swept, source)
            for name in policies
        },
        offline=offline,
        confidence=_component(table, "confidence", components.CONFIDENCES, swept, source),
    )


def _offpolicy(table: Table, swept: set[str], source: Source) -> OffPolicy:
    algorithms = table.get("algorithms", list(components.ALGORITHM_NAMES))
    if not isinstance(algorithms, list) or not algorithms:
        source.refuse("algorithms", f"algorithms must be a list of names, was {algorithms!r}")
    for name in algorithms:
        if name not in components.ALGORITHM_NAMES:
            near = did_you_mean(str(name), components.ALGORITHM_NAMES)
            source.refuse("algorithms", f"no algorithm {name!r}{near}")
    if len(set(algorithms)) < len(algorithms):
        source.refuse("algorithms", f"algorithms must differ, was {algorithms!r}")
    return OffPolicy(
        records=_increasing(table, "records", "records", source),
        design=_component(table, "design", components.DESIGNS, swept, source),
        algorithms=tuple(algorithms),
    )


def _component(
    table: Table,
    path: str,
    kinds: Mapping[str, components.Make],
    swept: set[str],
    source: Source,
) -> Component:
    section, options = table, {}
    for part in path.split("."):
        section = options = _table(section, part, source, path)
    name = path.rpartition(".")[2]
    # A policy's name says what it is, unless it says so itself; of some things there is one kind.
    kind = options.get("kind", name if name in kinds else next(iter(kinds)))
    if len(kinds) > 1 and "kind" not in options and name not in kinds:
        near = did_you_mean(name, kinds) if path.startswith("policies.") else ""
        source.refuse(
            path, f"{path} must say which kind it is, one of {', '.join(kinds)}{near or ''}"
        )
    if not isinstance(kind, str) or kind not in kinds:
        near = did_you_mean(str(kind), kinds)
        source.refuse(f"{path}.kind", f"{path} has no kind {kind!r}{near}")
    make = kinds[kind]
    known = components.options(make)
    _known_keys(options, ("kind", *known), path, source)
    given = {key: value for key, value in options.items() if key != "kind"}
    for key, value in given.items():
        _check_option(make, key, value, f"{path}.{key}", f"{path}.{key}", source)
    for key, default in known.items():
        if default is components.REQUIRED and not (key in given or f"{path}.{key}" in swept):
            source.refuse(path, f"{path}.{key} must be given")
    return Component(kind, given)


def _check_option(
    make: components.Make, key: str, value: Any, name: str, path: str, source: Source
) -> None:
    fault = components.fault(make, key, value)
    if fault:
        source.refuse(path, f"{name} {fault}, was {value!r}")


def _axes(table: Table, source: Source) -> tuple[Axis, ...]:
    tables = table.get("sweep", [])
    if not isinstance(tables, list) or not all(isinstance(entry, dict) for entry in tables):
        source.refuse("sweep", "sweep must be tables, each an axis, headed [[sweep]]")
    axes: list[Axis] = []
    for index, entry in enumerate(tables):
        where = f"sweep[{index}]"
        columns = {}
        for key, value in ranges.flatten(entry):
            if key in ("name", "labels"):
                continue
            try:
                columns[key] = ranges.values(key, value)
            except InputError as error:
                source.refuse(f"{where}.{key}", str(error))
        if not columns:
            source.refuse(where, "an axis of a sweep must have a key with its values")
        lengths = {key: len(column) for key, column in columns.items()}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            source.refuse(where, f"keys of one axis must have as many values: {said}")
        again = [key for axis in axes for key in axis.values if key in columns]
        if again:
            source.refuse(f"{where}.{again[0]}", f"{again[0]} is swept by two axes")
        axes.append(_named(entry, columns, axes, where, source))
    # The result has a swept key by its whole name, unless its values are those of the axis.
    variables: set[str] = set()
    for axis in axes:
        key, column = next(iter(axis.values.items()))
        numbers = axis.labels is None and not isinstance(column[0], list)
        variables |= set(axis.values) - ({key} if numbers else set())
    for index, axis in enumerate(axes):
        if axis.name in variables:
            _refuse_taken(axis.name, f"sweep[{index}]", source)
    return tuple(axes)


def _refuse_taken(name: str, where: str, source: Source) -> NoReturn:
    source.refuse(f"{where}.name", f"the name {name!r} is taken; give the axis another name")


def _named(
    entry: Table,
    columns: dict[str, tuple[Any, ...]],
    axes: Iterable[Axis],
    where: str,
    source: Source,
) -> Axis:
    taken = {axis.name.lower() for axis in axes}
    first = next(iter(columns))
    short = first.rpartition(".")[2]
    name = entry.get("name", first if short.lower() in taken else short)
    if why := names.fault(name):
        source.refuse(f"{where}.name", f"name {why}, was {name!r}")
    if name.lower() in taken or names.is_taken(name):
        _refuse_taken(name, where, source)
    labels = entry.get("labels")
    points = len(columns[first])
    if labels is not None and not (
        isinstance(labels, list)
        and len(labels) == points
        and all(isinstance(label, str) and "\0" not in label for label in labels)
        and len(set(labels)) == points
    ):
        source.refuse(
            f"{where}.labels",
            f"labels must be {points} different strings without a zero character, was {labels!r}",
        )
    return Axis(name, columns, None if labels is None else tuple(labels))


def _check_swept(problem: Online | OffPolicy, axes: Iterable[Axis], source: Source) -> None:
    makers: dict[str, tuple[components.Make, str]] = {}

    def add(path: str, component: Component, kinds: Mapping[str, components.Make]) -> None:
        make = kinds[component.kind]
        makers.update({f"{path}.{name}": (make, name) for name in components.options(make)})

    if isinstance(problem, Online):
        add("environment", problem.environment, components.ENVIRONMENTS)
        add("offline", problem.offline or Component("offline", {}), components.OFFLINES)
        add("confidence", problem.confidence, components.CONFIDENCES)
        for name, policy in problem.policies.items():
            add(f"policies.{name}", policy, components.POLICIES)
        known = ["horizon", *makers]
    else:
        add("design", problem.design, components.DESIGNS)
        known = list(makers)
    for index, axis in enumerate(axes):
        for key, column in axis.values.items():
            path = f"sweep[{index}].{key}"
            if key not in known:
                source.refuse(path, f"{key!r} cannot be swept{did_you_mean(key, known)}")
            for value in column:
                if key == "horizon":
                    _whole("horizon", value, path, source)
                else:
                    _check_option(*makers[key], value, key, path, source)


def _outputs(table: Table, journey: str, source: Source) -> Outputs:
    given = _table(table, "outputs", source)
    _known_keys(given, ("checkpoints", "finals"), "outputs", source)
    finals = given.get("finals", False)
    if not isinstance(finals, bool):
        source.refuse("outputs.finals", f"finals must be true or false, was {finals!r}")
    if journey == "offpolicy":
        if finals:
            source.refuse("outputs.finals", "only the online journey keeps each run's last numbers")
        if "checkpoints" in given:
            source.refuse("outputs.checkpoints", "the checkpoints of this journey are its records")
    if "checkpoints" not in given:
        return Outputs(finals=finals)
    if isinstance(given["checkpoints"], list):
        return Outputs(_increasing(given, "checkpoints", "outputs.checkpoints", source), finals)
    return Outputs(
        _whole("checkpoints", given["checkpoints"], "outputs.checkpoints", source), finals
    )


def _with_precision(study: Study, table: Table, source: Source) -> Study:
    if "precision" not in table:
        return study
    given = _table(table, "precision", source)
    _known_keys(given, [f.name for f in fields(Precision)], "precision", source)
    target = given.get("standard_error")
    if not isinstance(target, int | float) or isinstance(target, bool) or not 0 < target < math.inf:
        source.refuse(
            "precision.standard_error", f"standard_error must be a positive number, was {target!r}"
        )
    for key in ("policy", "minus"):
        name = given.get(key)
        if name is not None and name not in study.names:
            near = did_you_mean(str(name), study.names)
            source.refuse(f"precision.{key}", f"no policy {name!r} in this study{near}")
    if "minus" in given and given.get("policy") in (None, given["minus"]):
        source.refuse("precision.minus", "minus needs a policy, and another one, to subtract from")
    precision = Precision(float(target), given.get("policy"), given.get("minus"))
    return replace(study, precision=precision)


# Single values.


def _known_keys(given: Table, known: Iterable[str], path: str, source: Source) -> None:
    known = list(known)
    for key in given:
        if key not in known:
            place = f"{path}.{key}" if path else key
            source.refuse(place, f"no option {place!r}{did_you_mean(key, known)}")


def _table(table: Table, key: str, source: Source, path: str | None = None) -> Table:
    value = table.get(key, {})
    if not isinstance(value, dict):
        name = path or key
        source.refuse(name, f"{name} must be a table, headed [{name}], was {value!r}")
    return value


def _whole(
    name: str, value: Any, path: str, source: Source, minimum: int = 1, most: int = LARGEST
) -> int:
    try:
        return check_count(name, value, minimum, most)
    except InputError as error:
        source.refuse(path, str(error))


def _count(table: Table, key: str, source: Source, *, default: int | None = None) -> int:
    if key not in table and default is None:
        source.refuse("", f"{key} must be given, a whole number of at least 1")
    return _whole(key, table.get(key, default), key, source)


def _increasing(table: Table, key: str, path: str, source: Source) -> tuple[int, ...]:
    value = table.get(key)
    if isinstance(value, list) and value:
        numbers = tuple(_whole(key, number, path, source) for number in value)
        if all(a < b for a, b in pairwise(numbers)):
            return numbers
    source.refuse(path, f"{key} must be a list of increasing whole numbers, was {value!r}")
