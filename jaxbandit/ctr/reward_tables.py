"""Reward tables of click models: computed by `deploy`, kept as files, read again."""

from __future__ import annotations

import io
import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from jaxbandit.checks import InputError
from jaxbandit.ctr.deployment import LOGGED_ROWS, PAPER_MODELS, Deployment

NAMES = tuple(spec.name for spec in PAPER_MODELS)


class RewardTable(NamedTuple):
    """All that the bandit phase needs."""

    rewards: np.ndarray
    """[rows, models], in [0, 1]; models as in `NAMES`."""
    logged: int
    """Offline samples, all of Model 1."""
    clicks: int
    """How many of them are 1."""
    test_losses: dict[str, float] | None
    """Cross-entropy on Test Set 2 by model, where it is known."""
    source: str
    """Where the table comes from, for titles: "synthetic" where it does not come from real data."""


def from_deployment(deployment: Deployment, source: str) -> RewardTable:
    """The reward table of models just trained."""
    losses = {one.spec.name: one.losses["test set 2"].mean for one in deployment.trained}
    return RewardTable(
        deployment.rewards,
        deployment.split.logged,
        deployment.logged_clicks,
        {name: losses[name] for name in NAMES},
        source,
    )


def files(table: RewardTable, name: str) -> dict[str, str]:
    """What to keep of a table, by file name: the rewards, and beside them what else is known."""
    text = io.StringIO()
    pl.DataFrame(table.rewards, schema=list(NAMES), orient="row").write_csv(text)
    beside = {
        "source": table.source,
        "logged": table.logged,
        "clicks": table.clicks,
        "test_losses": table.test_losses,
    }
    return {f"{name}.csv": text.getvalue(), f"{name}.json": json.dumps(beside, indent=2) + "\n"}


def load_reward_table(path: str | os.PathLike[str]) -> RewardTable:
    """Read a reward table: a CSV with one column per model, and a JSON file of that name beside it.

    Without the JSON file the offline data is the paper's number of samples of Model 1 with the mean
    of its column, and which model is best on Test Set 2 is not known.

    Args:
        path: of the CSV, with the columns of `NAMES`.

    Raises:
        InputError: a file that cannot be read, columns that are missing, no rows, rewards that are
            not numbers in [0, 1].
    """
    source = Path(path)
    try:
        table = pl.read_csv(source, infer_schema_length=0)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except pl.exceptions.PolarsError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: is not a table of rewards ({reason})") from None
    missing = [name for name in NAMES if name not in table.columns]
    if missing:
        raise InputError(
            f"{path}: has no column {', '.join(missing)}; a reward table has one column per model, "
            f"{NAMES[0]} to {NAMES[-1]}, found {', '.join(table.columns)[:200]}"
        )
    if table.is_empty():
        raise InputError(f"{path}: has no rows")
    numbers = table.select(pl.col(NAMES).cast(pl.Float64, strict=False)).to_numpy()
    bad = ~((numbers >= 0) & (numbers <= 1))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        was = table[NAMES[column]][int(row)]
        raise InputError(
            f"{path}, line {row + 2}: {NAMES[column]} must be a reward in [0, 1], was {was!r}"
        )
    return _with_facts(numbers, source)


def _with_facts(rewards: np.ndarray, path: Path) -> RewardTable:
    beside = path.with_suffix(".json")
    if not beside.is_file():
        clicks = round(LOGGED_ROWS * float(rewards[:, 0].mean()))
        return RewardTable(rewards, LOGGED_ROWS, clicks, None, f"rewards of {path.name}")
    try:
        facts = json.loads(beside.read_text())
        known = RewardTable(
            rewards, facts["logged"], facts["clicks"], facts["test_losses"], facts["source"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{beside}: does not describe a reward table ({error!r}); remove it, or write it again"
        ) from None
    if fault := _fault(known):
        raise InputError(f"{beside}: {fault}; remove it, or write the table again")
    return known


def _fault(known: Any) -> str | None:
    """What is wrong with a reward table, of whose facts anything may have been written."""

    def is_count(value: Any, least: int) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    if not is_count(known.logged, 1):
        return f"logged must be a whole number of at least 1, was {known.logged!r}"
    if not (is_count(known.clicks, 0) and known.clicks <= known.logged):
        return f"clicks must be a whole number from 0 to {known.logged}, was {known.clicks!r}"
    losses = known.test_losses
    if losses is not None and not (
        isinstance(losses, dict)
        and set(losses) >= set(NAMES)
        and all(isinstance(x, float) and math.isfinite(x) for x in losses.values())
    ):
        return f"test_losses must give a finite number for each model, was {losses!r}"
    if not isinstance(known.source, str):
        return f"source must be text, was {known.source!r}"
    return None
