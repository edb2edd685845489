"""What a study of bounds varies: from flags, or from a TOML file with the same names."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from jaxbandit.checks import InputError

Family = Literal[
    "bernoulli",
    "confusable-pair",
    "lcb-unexplored",
    "lcb-misled",
    "ucb-equalised",
    "ucb-first-round",
]


@dataclass(frozen=True)
class Hieropo:
    """Suboptimality of HierOPO, FlatOPO and OracleOPO on the synthetic multi-task problem."""

    tasks: tuple[int, ...] = (5, 20, 50)
    """Numbers of tasks, m."""
    records: tuple[int, ...] = (10, 30, 100)
    """Records of a task on average: the log has n = records m."""
    delta: tuple[float, ...] = (0.05, 0.2)
    """Failure probabilities, at most 1/e."""
    features: int = 4
    """d, at most 4: then features on [-1/2, 1/2]^d have norm 1 at most."""
    actions: int = 5
    hyper_std: float = 0.5
    task_std: float = 0.5
    noise_std: float = 0.5
    contexts: int = 100
    """Contexts of a run, on which all expectations are taken."""
    runs: int = 1000
    seed: int = 0
    out: Path = Path("results")
    """Directory to write to."""
    file: Path | None = None
    """TOML file with any of these options; flags win over it."""
    quiet: bool = False
    """Print nothing but errors."""


@dataclass(frozen=True)
class Oto:
    """Regret of UCB, LCB and OtO on arms with offline data."""

    family: Family = "bernoulli"
    """Arms: Bernoulli ones with the means given, or those on which a lower bound is proved, with
    rewards of standard deviation 1/2."""
    means: tuple[float, ...] = (0.5,) * 10 + (0.25, 0.75) + (0.25,) * 8
    """Means of Bernoulli arms; default: instance 2 of the paper's figure 3."""
    counts: tuple[int, ...] = (200,) * 10 + (0,) * 10
    """Offline samples of the arms."""
    multiples: tuple[int, ...] = (1,)
    """Multiples of the counts."""
    horizons: tuple[int, ...] = (200, 2000, 20000)
    anytime: bool = False
    """Whether policies do not know the horizon: delta / t^2, and OtO's doubling proxy."""
    alphas: tuple[float, ...] = (0.2, 1.0, 5.0)
    """Sizes of OtO's budget."""
    delta: tuple[float, ...] = (0.05,)
    """Failure probabilities of a bound over all arms and rounds."""
    runs: int = 1000
    seed: int = 0
    out: Path = Path("results")
    """Directory to write to."""
    file: Path | None = None
    """TOML file with any of these options; flags win over it."""
    quiet: bool = False
    """Print nothing but errors."""


Options = TypeVar("Options", bound=Hieropo | Oto)


def load(path: Path, default: Options) -> Options:
    """`default` with what a TOML file says.

    Raises:
        InputError: not TOML, a key that is no option, a value of another kind.
        OSError: the file cannot be read.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from None
    known = [field.name for field in fields(default) if field.name != "file"]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0)[0]
            raise InputError(f"{path} has no option {key!r}; did you mean {near!r}?")
    examples = type(default)()
    return replace(
        default, **{k: _value(path, k, value, getattr(examples, k)) for k, value in values.items()}
    )


def _value(path: Path, key: str, value: Any, example: Any) -> Any:
    """`value` as what `example` is."""
    if isinstance(example, tuple):
        items = value if isinstance(value, list) else [value]
        return tuple(_value(path, key, item, example[0]) for item in items)
    kind = type(example)
    if isinstance(example, Path) and isinstance(value, str):
        return Path(value)
    if isinstance(example, float) and type(value) in (int, float):
        return float(value)
    if type(value) is kind:
        return value
    names = {bool: "true or false", int: "whole numbers", float: "numbers", str: "text"}
    raise InputError(f"{path}: {key} must be {names.get(kind, 'a path')}, was {value!r}")
