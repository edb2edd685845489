"""What was learned from a log, and its file.

The file is a NumPy archive (`.npz`), readable by anything that reads those, without pickle:

| array | shape | what |
|---|---|---|
| `header` | [] text | JSON: `format`, `schema`, `jaxbandit` (version), `columns`, `facts` |
| `task_name` | [tasks] text | the tasks' names |
| `gram` | [tasks, d (d + 1) / 2] | sums of `phi phi'`, lower triangle row by row |
| `moment` | [tasks, d] | sums of `phi y` |
| `square` | [tasks] | sums of `y^2` |
| `count` | [tasks] integer | records |
| `hyper_mean`, `hyper_cov`, `task_cov`, `noise_std` | [d], [d, d], [d, d], [] | the hierarchy |
| `checksum` | [] text | SHA-256 of all the others |

Numbers are float64. Posteriors are not stored: they follow from the sums, which add up, so a model
that is updated and one fitted to all records at once have the same.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxbandit
from jaxbandit.checks import InputError
from jaxbandit.offpolicy.model import HierarchicalGaussian, TaskStatistics
from jaxbandit.studies.files import whole

_FORMAT = "jaxbandit-model"
_SCHEMA = 1


@dataclass(frozen=True)
class LogColumns:
    """Columns of a log, by what they are."""

    task: str
    features: tuple[str, ...]
    """Columns of numbers."""
    reward: str
    one_hot: str | None = None
    """Column of names, each of which is a feature of its own, after the others."""
    one_hot_values: tuple[str, ...] = field(default=())

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One for each entry of a feature vector."""
        return (*self.features, *(f"{self.one_hot}={value}" for value in self.one_hot_values))


class LogModel(NamedTuple):
    """A hierarchy with the sums of the log that it was learned from, all in float64."""

    columns: LogColumns
    task_names: list[str]
    stats: TaskStatistics
    model: HierarchicalGaussian
    facts: dict[str, Any]
    """How it was fitted, and what it was then found to be worth."""


def save_model(learned: LogModel, path: Path) -> None:
    """Write a model's file, which appears whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    d = np.shape(learned.stats.moment)[1]
    row, column = np.tril_indices(d)
    header = {
        "format": _FORMAT,
        "schema": _SCHEMA,
        "jaxbandit": jaxbandit.__version__,
        "columns": asdict(learned.columns),
        "facts": learned.facts,
    }
    arrays: dict[str, Any] = {
        "header": np.array(json.dumps(header)),
        "task_name": np.array(learned.task_names, dtype=np.str_),
        "gram": np.asarray(learned.stats.gram, np.float64)[:, row, column],
        "moment": np.asarray(learned.stats.moment, np.float64),
        "square": np.asarray(learned.stats.square, np.float64),
        "count": np.asarray(learned.stats.count, np.int64),
        **{name: np.asarray(getattr(learned.model, name), np.float64) for name in _PARAMETERS},
    }
    arrays["checksum"] = np.array(_checksum(arrays))
    with whole(path) as part, open(part, "wb") as file:
        np.savez(file, **arrays)


def load_model(path: Path) -> LogModel:
    """Read a model's file.

    Raises:
        InputError: it is not a model's file, was damaged, or is of a newer format.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        if file.read(2) != b"PK":  # An archive begins so.
            raise InputError(f"{path}: not a model of jaxbandit; make one with jaxbandit fit")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(str(arrays["header"]))
        if header["format"] != _FORMAT:
            raise ValueError("another format")
        schema = int(header["schema"])
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise InputError(
            f"{path}: not a model of jaxbandit, or a damaged one ({_line(error)}); fit it again "
            "with jaxbandit fit"
        ) from None
    if schema > _SCHEMA:
        raise InputError(
            f"{path}: the model has format {schema}, written by jaxbandit {header['jaxbandit']}; "
            f"this one, {jaxbandit.__version__}, reads up to {_SCHEMA}: install a newer jaxbandit"
        )
    if str(arrays.pop("checksum", "")) != _checksum(arrays):
        raise InputError(
            f"{path}: the model is damaged (its checksum differs); fit it again with jaxbandit fit"
        )
    moment = arrays["moment"]
    d = moment.shape[1]
    row, column = np.tril_indices(d)
    gram = np.empty((len(moment), d, d))
    gram[:, row, column] = gram[:, column, row] = arrays["gram"]
    with jax.enable_x64(True):
        stats = TaskStatistics(
            gram=jnp.asarray(gram),
            moment=jnp.asarray(moment),
            square=jnp.asarray(arrays["square"]),
            count=jnp.asarray(arrays["count"], jnp.int32),
        )
    columns = header["columns"]
    for name in ("features", "one_hot_values"):
        columns[name] = tuple(columns[name])
    return LogModel(
        columns=LogColumns(**columns),
        task_names=arrays["task_name"].tolist(),
        stats=stats,
        model=HierarchicalGaussian(*(arrays[name] for name in _PARAMETERS)),
        facts=header["facts"],
    )


_PARAMETERS = HierarchicalGaussian._fields


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
