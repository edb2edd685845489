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
import io
import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxbandit
from jaxbandit.checks import LARGEST, InputError, check_count, check_finite, check_shape
from jaxbandit.inference.model import (
    HierarchicalGaussian,
    TaskStatistics,
    check_model,
    check_statistics,
)
from jaxbandit.studies.report.files import check_file, whole

_FORMAT = "jaxbandit-model"
_SCHEMA = 1
_SUMS = TaskStatistics._fields
_PARAMETERS = HierarchicalGaussian._fields
_ROUNDING = 1e-6
"""Beyond that of sums of a billion records."""


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
        InputError: there are more records, or other names, than a file can hold.
        OSError: it cannot be written.
    """
    count, names = np.asarray(learned.stats.count, np.int64), np.array(learned.task_names, np.str_)
    if np.any(count < 0) or count.sum() > LARGEST:  # Counts of 32 bits wrap.
        raise InputError(f"{path}: a model must have at most {LARGEST:,} records, would have more")
    if names.tolist() != learned.task_names:  # NumPy drops such ends.
        raise InputError(f"{path}: a task's name must not end in a NUL character; rename it")
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
        "task_name": names,
        "gram": np.asarray(learned.stats.gram, np.float64)[:, row, column],
        "moment": np.asarray(learned.stats.moment, np.float64),
        "square": np.asarray(learned.stats.square, np.float64),
        "count": count,
        **{name: np.asarray(getattr(learned.model, name), np.float64) for name in _PARAMETERS},
    }
    arrays["checksum"] = np.array(_checksum(arrays))
    with whole(path) as part, open(part, "wb") as file:
        np.savez(file, **arrays)


def load_model(path: Path) -> LogModel:
    """Read a model's file.

    Raises:
        InputError: it is not a model's file, was damaged, holds what no model can, or is of a newer
            format.
        OSError: it cannot be opened.
    """
    check_file("model", path)
    with open(path, "rb") as file:
        if file.read(2) != b"PK":  # An archive begins so.
            raise InputError(f"{path}: not a model of jaxbandit; make one with jaxbandit fit")
        try:
            arrays = _unpacked(file, path.stat().st_size)
            header = json.loads(str(arrays["header"]))
            if header["format"] != _FORMAT:
                raise ValueError("another format")
            schema = check_count("schema", header["schema"])
        # Damaged bytes raise whatever they meet in zipfile, NumPy and json.
        except Exception as error:
            raise InputError(
                f"{path}: not a model of jaxbandit, or a damaged one ({_line(error)}); fit it "
                "again with jaxbandit fit"
            ) from None
    if schema > _SCHEMA:
        raise InputError(
            f"{path}: the model has format {schema}, written by jaxbandit "
            f"{_line(header.get('jaxbandit', 'of a later version'))}; this one, "
            f"{jaxbandit.__version__}, reads up to {_SCHEMA}: install a newer jaxbandit"
        )
    if str(arrays.pop("checksum", "")) != _checksum(arrays):
        raise InputError(
            f"{path}: the model is damaged (its checksum differs); fit it again with jaxbandit fit"
        )
    try:
        return _learned(header, arrays)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: holds what no model of jaxbandit can ({_line(error)}); fit it again with "
            "jaxbandit fit"
        ) from None


def _unpacked(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    """The arrays of an archive of `size` bytes, none of which takes more memory than it has bytes.

    Raises:
        ValueError: members are compressed or of one name, or no arrays of numbers or text.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("it is compressed, which models are not")
        if sum(member.file_size for member in members) > size:
            raise ValueError("it declares more bytes than it has")
        names = [member.filename.removesuffix(".npy") for member in members]
        if len(set(names)) < len(names):
            raise ValueError("two arrays have one name")
        return {
            name: _array(archive.read(member)) for name, member in zip(names, members, strict=True)
        }


def _array(data: bytes) -> np.ndarray:
    """An array from the bytes of a `.npy` file; NumPy's reader would allocate what is declared."""
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array is of another version")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.kind not in "fiU":
        raise ValueError(f"an array is of {dtype}")
    array = np.frombuffer(data, dtype, offset=file.tell())
    return array.reshape(shape, order="F" if fortran else "C")


def _learned(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> LogModel:
    """The model, once everything in its file is what it must be.

    Raises:
        ValueError, KeyError, TypeError: it is not.
    """
    columns = _columns(header["columns"])
    facts = header["facts"]
    if not isinstance(facts, dict):
        raise ValueError("facts must be a dictionary")
    lone = {"header", "task_name"}
    if set(arrays) != lone | {*_SUMS, *_PARAMETERS}:
        raise ValueError(f"has the arrays {', '.join(sorted(arrays))}")
    task_names = arrays["task_name"].tolist()
    if arrays["task_name"].ndim != 1 or not task_names:
        raise ValueError("task_name must be a list of at least one name")
    _check_names("tasks", task_names)
    for name, array in arrays.items():
        if name not in lone and array.dtype != (np.int64 if name == "count" else np.float64):
            raise ValueError(f"{name} is of {array.dtype}")
    d, tasks = len(columns.feature_names), len(task_names)
    row, column = np.tril_indices(d)
    packed = arrays["gram"]
    check_shape("gram", packed, (tasks, len(row)), "[tasks, features (features + 1) / 2]")
    gram = np.empty((tasks, d, d))
    gram[:, row, column] = gram[:, column, row] = packed
    sums: dict[str, Any] = {name: arrays[name] for name in _SUMS} | {"gram": gram}
    with jax.enable_x64(True):
        stats = check_statistics(TaskStatistics(**sums), d, jnp.dtype(float))
        _check_sums(*map(np.asarray, stats))
        model = HierarchicalGaussian(*(arrays[name] for name in _PARAMETERS))
        check_shape("hyper_mean", model.hyper_mean, (d,), "[features]")
        check_model(model)
        stats = stats._replace(count=stats.count.astype(jnp.int32))
    return LogModel(columns, task_names, stats, model, facts)


def _columns(given: dict[str, Any]) -> LogColumns:
    """Columns as the header has them.

    Raises:
        ValueError, KeyError, TypeError: they are not what columns are.
    """
    if not all(isinstance(given[name], list) for name in ("features", "one_hot_values")):
        raise ValueError("columns: features and one_hot_values must be lists")
    lists: dict[str, Any] = {
        name: tuple(names) for name, names in given.items() if isinstance(names, list)
    }
    columns = LogColumns(**{**given, **lists})
    hot = [] if columns.one_hot is None else [columns.one_hot]
    _check_names("columns", [columns.task, columns.reward, *columns.features, *hot])
    _check_names("one-hot values", list(columns.one_hot_values))
    if bool(hot) != bool(columns.one_hot_values):
        raise ValueError("columns: one_hot and one_hot_values come together")
    if not columns.feature_names:
        raise ValueError("columns: no features")
    return columns


def _check_names(what: str, names: list[Any]) -> None:
    """Texts that can be written to a file, all different."""
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"{what} must have texts for names, has {name!r}")
        name.encode()
    if len(set(names)) < len(names):
        raise ValueError(f"two {what} have one name")


def _check_sums(
    gram: np.ndarray, moment: np.ndarray, square: np.ndarray, count: np.ndarray
) -> None:
    """Sums that some records have.

    The sums of `z z'` over n records, z = (phi, y), are positive semi-definite of rank at most n.
    Scaled to a unit diagonal, so that units do not matter, their eigenvalues are then at least 0,
    and the square of their sum is at most n times the sum of their squares.

    Raises:
        ValueError: no records have them.
    """
    for name, value in (("gram", gram), ("moment", moment), ("square", square)):
        check_finite(name, value)
    if count.min() < 0 or count.sum() > LARGEST:
        raise ValueError(f"count must lie between 0 and {LARGEST}, all tasks together")
    d = moment.shape[1]
    sums = np.empty((len(count), d + 1, d + 1))
    sums[:, :d, :d] = gram
    sums[:, :d, d] = sums[:, d, :d] = moment
    sums[:, d, d] = square
    diagonal = np.diagonal(sums, axis1=1, axis2=2)
    if diagonal.min() < 0:
        raise ValueError("a sum of squares is negative")
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1))
    sums /= scale[:, :, None]
    sums /= scale[:, None, :]
    trace, squares = np.trace(sums, axis1=1, axis2=2), np.sum(sums**2, axis=(1, 2))
    if np.any(trace**2 > (1 + _ROUNDING) * count * squares):
        raise ValueError("gram, moment and square are those of more records than count")
    try:
        np.linalg.cholesky(sums + _ROUNDING * np.eye(d + 1))
    except np.linalg.LinAlgError:
        raise ValueError(
            "gram, moment and square of a task are not positive semi-definite together"
        ) from None


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _line(said: object) -> str:
    return " ".join(str(said).split())[:200]
