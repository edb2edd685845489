"""A study's folder: `study.json`, `blocks/`, and `result.zarr` once all blocks are there.

Blocks are files written once, so processes need no lock: two that compute the same block write the
same numbers. What is stored decides what is computed next; nothing else is remembered. Each block
carries the digest of `study.json`, so that a block of another study is not taken for one of this.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxbandit.checks import InputError
from jaxbandit.engine import moments
from jaxbandit.engine.moments import Moments
from jaxbandit.studies.sweeps import layout as layouts
from jaxbandit.studies.sweeps import reading, spec
from jaxbandit.studies.sweeps.blocks import (
    ANEW,
    Arrays,
    DamagedBlockError,
    read_block,
    write_block,
    write_whole,
)
from jaxbandit.studies.sweeps.layout import Block, Layout
from jaxbandit.studies.sweeps.spec import Study
from jaxbandit.studies.sweeps.toml import Source

_PROGRAM = "jaxbandit study"
# Successive stages at which an error must be small enough: where rare runs make the error, samples
# that hold few of them seem precise, and a stage later mostly no more.
_HOLDS = 2
# 2: blocks carry their study's digest, and a cell stops where its error is small enough at two
# successive stages.
FORMAT = 2
_CONTENT = ("program", "format", "identity", "study", "layout")


class Reach(NamedTuple):
    """How far a chunk has come."""

    stored: list[Block]
    """In order; every number in them belongs to the result."""
    pending: list[Block]
    """Blocks that are known to be needed and are not there; none where the chunk is complete."""
    tiles: dict[int, int]
    """Cell -> tiles that its result has."""
    precise: set[int]
    """Cells whose error was small enough at two successive stages, where they stopped."""


@dataclass
class Store:
    """The folder of a study."""

    path: Path
    study: Study
    layout: Layout
    identity: Mapping[str, Any]
    """Of what the bits of the result depend on besides the study."""
    digest: str
    """SHA-256 of what `study.json` says; all that belongs to the study carries it."""
    damaged: set[str] = field(default_factory=set)
    """Blocks found damaged, or of another study, by name."""
    _known: dict[Block, Arrays] = field(default_factory=dict)
    """Verified blocks, with the few numbers of them that decide what comes next."""

    def file(self, block: Block) -> Path:
        """Where a block is, or goes."""
        return self.path / "blocks" / block.name

    def write(self, block: Block, arrays: Arrays, provenance: Any) -> None:
        """Store a block.

        Raises:
            OSError: it cannot be written; what is stored is as it was.
        """
        write_block(self.file(block), arrays, {**provenance, "study": self.digest})
        self._known[block] = self._judged(arrays)

    def read(self, block: Block) -> tuple[Arrays, Any]:
        """A block that is there, and its provenance.

        Raises:
            DamagedBlockError: its bytes are not those that were written, or it is another block.
            OSError: it cannot be read.
        """
        arrays, provenance = read_block(self.file(block))
        if not isinstance(provenance, dict) or provenance.get("study") != self.digest:
            raise DamagedBlockError(f"{self.file(block)} is of another study; {ANEW}")
        if tuple(arrays["cells"]) != block.cells or tuple(arrays["tiles"]) != block[1:3]:
            raise DamagedBlockError(f"{self.file(block)} has other cells or tiles; {ANEW}")
        return arrays, provenance

    def reach(self, chunk: int) -> Reach:
        """What there is of a chunk, and what it needs next."""
        place = self.layout.chunks[chunk]
        cells = range(place.start, place.stop)
        reach = Reach([], [], {}, set())
        judged = {cell: _Judged() for cell in cells}
        running = list(cells)
        for stage, tiles in enumerate(self.layout.stages):
            blocks = list(self.layout.blocks(chunk, stage, running))
            reach.pending.extend(block for block in blocks if not self._has(block))
            reach.stored.extend(block for block in blocks if self._has(block))
            if reach.pending:
                return reach
            reach.tiles.update(dict.fromkeys(running, tiles))
            if self.study.precision is None:
                continue
            for block in blocks:
                for place, cell in enumerate(block.cells):
                    judged[cell].add(self._known[block], place)
            for cell in running:
                judged[cell].end_stage(self.study.precision.standard_error)
            enough = {cell for cell in running if judged[cell].held == _HOLDS}
            reach.precise.update(enough)
            running = [cell for cell in running if cell not in enough]
            if not running:
                break
        return reach

    def pending(self) -> Iterator[Block]:
        """Blocks that are known to be needed and are not there."""
        for chunk in range(len(self.layout.chunks)):
            yield from self.reach(chunk).pending

    def _has(self, block: Block) -> bool:
        if block in self._known:
            return True
        try:
            self._known[block] = self._judged(self.read(block)[0])
        except FileNotFoundError:
            return False
        except DamagedBlockError:
            self.damaged.add(block.name)
            return False
        return True

    def non_finite(self, blocks: Iterable[Block]) -> np.ndarray:
        """Cells and runs left out because a number in them was not finite, [runs, 2]."""
        found = [self._known[block]["non_finite"] for block in blocks]
        return np.concatenate([np.zeros((0, 2), np.int64), *found])

    def _judged(self, arrays: Arrays) -> Arrays:
        """Bad runs, and the means that a precision is judged by, [cells, tiles, means]."""
        precision, names = self.study.precision, self.study.names
        if precision is None:
            return {"non_finite": arrays["non_finite"]}
        if precision.minus is None:
            quantity = "regret" if "regret.mean" in arrays else "suboptimality"
            asked = names if precision.policy is None else [precision.policy]
            means = [names.index(name) for name in asked]
        else:
            quantity, asked = "difference", {precision.policy, precision.minus}
            means = [i for i, pair in enumerate(pairs(names)) if set(pair) == asked]
        return {
            "non_finite": arrays["non_finite"],
            "count": arrays["count"],
            "mean": arrays[f"{quantity}.mean"][:, :, means, -1],
            "deviation": arrays[f"{quantity}.deviation"][:, :, means, -1],
        }


class _Judged:
    """A cell's moments so far, of each mean that has to be precise."""

    def __init__(self) -> None:
        self.moments = Moments(np.float64(0), np.float64(0), np.float64(0))
        self.held = 0
        """Successive stages, the latest included, at whose end the error was small enough."""

    def add(self, arrays: Arrays, place: int) -> None:
        """The next block, of which the cell is the one at `place`."""
        for fields in zip(*(arrays[name][place] for name in Moments._fields), strict=True):
            with np.errstate(over="ignore", invalid="ignore"):
                self.moments = moments.merge(self.moments, Moments(*fields))

    def end_stage(self, most: float) -> None:
        """Compare the largest standard error, NaN for fewer than two runs, with the most asked."""
        small = float(np.max(self.moments.sem)) <= most
        self.held = self.held + 1 if small else 0


def pairs(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Pairs of policies, each once, in order."""
    return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]


def create(path: Path, study: Study, layout: Layout, identity: Mapping[str, Any]) -> Store:
    """The store of a study: made, or found with the same study in it.

    Raises:
        InputError: there is something else; the message says what differs.
        OSError: it cannot be made.
    """
    file, blocks = path / "study.json", path / "blocks"
    for folder in (path, blocks):
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} must be a folder for the results, was a file")
    if not file.exists():
        if path.is_dir() and any(not item.name.startswith(".") for item in path.iterdir()):
            lost = f", or, if {file} was lost: {_RESTORE}" if blocks.is_dir() else ""
            raise InputError(
                f"{path} is not the store of a study and not empty; give a folder of its own{lost}"
            )
        path.mkdir(parents=True, exist_ok=True)
        text = json.dumps(
            {
                "program": _PROGRAM,
                "format": FORMAT,
                "identity": dict(identity),
                "study": spec.to_table(study),
                "layout": layout.to_table(),
            },
            indent=1,
        )
        # Of processes that start together one makes it.
        write_whole(file, text.encode(), replace=False)
    store = open_store(path)
    ours = {"study": spec.to_table(study), "identity": dict(identity)}
    theirs = {"study": spec.to_table(store.study), "identity": store.identity}
    differences = list(_differences(ours, theirs))
    if differences:
        raise InputError(
            f"{path} holds another study or version: {'; '.join(differences[:4])}"
            f"{' and more' if len(differences) > 4 else ''}; give another folder, or what it has"
        )
    # The same study of the same version is cut in the same way.
    if store.layout != layout:
        raise _damaged(file, next(_differences(_plain(layout), _plain(store.layout), "layout")))
    # Last: what makes a folder a store is its study.json, of which a kill leaves all or nothing.
    blocks.mkdir(exist_ok=True)
    return store


def open_store(path: Path) -> Store:
    """A store that is there.

    Raises:
        InputError: it is none, or one of a later version.
        OSError: it cannot be read.
    """
    file = path / "study.json"
    if not file.is_file():
        raise InputError(f"{path} is not the store of a study: it has no study.json")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        program, version = manifest["program"], manifest["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{file} is not that of a study, or is damaged; {_RESTORE}") from None
    if program != _PROGRAM:
        raise InputError(f"{path} is of another program: {program!r:.60}")
    if version != FORMAT:
        raise InputError(
            f"{path} has format {version!r:.60}, this jaxbandit reads format {FORMAT}; "
            "use the version that wrote it, or sweep into another folder"
        )
    try:
        tables = [manifest[name] for name in ("study", "layout", "identity")]
        if not all(isinstance(table, dict) for table in tables):
            raise InputError("study, layout and identity must be tables")
        study = reading.from_table(tables[0], Source("study"))
        layout = layouts.from_table(tables[1], cells=study.cells, runs=study.runs)
        content = json.dumps({name: manifest[name] for name in _CONTENT}, sort_keys=True)
    except KeyError as error:
        raise _damaged(file, f"it has no {error}") from None
    except RecursionError:
        raise _damaged(file, "its values are nested too deep") from None
    except InputError as error:
        raise _damaged(file, str(error)) from None
    return Store(path, study, layout, tables[2], hashlib.sha256(content.encode()).hexdigest())


_RESTORE = (
    "the same sweep into an empty folder writes the same study.json: "
    "copy it from there, and all blocks are kept"
)


def _damaged(file: Path, why: str) -> InputError:
    return InputError(f"{file} is damaged: {why}; {_RESTORE}")


def _plain(layout: Layout) -> Any:
    """Lists for tuples, as JSON has them."""
    return json.loads(json.dumps(layout.to_table()))


def _differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """What differs, in words."""
    if ours == theirs:
        return
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in dict.fromkeys([*ours, *theirs]):
            where = f"{path}.{key}" if path else key
            yield from _differences(ours.get(key), theirs.get(key), where)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, items in enumerate(zip(ours, theirs, strict=True)):
            yield from _differences(*items, f"{path}[{index}]")
    else:
        name = path.removeprefix("study.").removeprefix("identity.")
        yield f"{name} is {_short(theirs)} there, {_short(ours)} here"


def _short(value: Any) -> str:
    text = "absent" if value is None else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:50]} ... ({len(text):,} characters)"
