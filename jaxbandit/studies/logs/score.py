"""Scores of candidate actions under a model: `jaxbandit score`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from rich.console import Console

from jaxbandit import checks
from jaxbandit.checks import InputError
from jaxbandit.datasets.log_file import Batch, LogFile
from jaxbandit.datasets.missing import MISSING
from jaxbandit.inference.evaluation import predict
from jaxbandit.inference.model import BanditLog, Gaussian
from jaxbandit.inference.posterior import new_task_posterior, task_posteriors
from jaxbandit.studies.logs.model_file import LogModel, load_model
from jaxbandit.studies.logs.records import features, number_tasks
from jaxbandit.studies.report.files import check_ending, check_place, whole

_WRITTEN = ("record", "mean", "std", "lower", "known", "chosen")


def score_candidates(
    model: Path,
    candidates: Path,
    out: Path,
    *,
    context: str | None,
    alpha: float,
    drop_missing: bool,
    missing: Sequence[str] = MISSING,
    console: Console,
) -> None:
    """Score candidate actions, one a record, and mark the best of each task and context.

    Writes, in the candidates' order: record (from 1), task, the context and one-hot columns if
    there are, `mean` and `std` of the mean reward, `lower` (mean - alpha std), `known` (whether the
    model has the task; others get the hyper-posterior's prediction) and `chosen`: the highest
    lower bound among the candidates of one task and context, ties to the first.

    Args:
        model: the model's file.
        candidates: CSV or Parquet file with the log's task and feature columns.
        out: `.csv` or `.parquet` to write.
        context: column that tells contexts apart; None: each task has one.
        alpha: width of the confidence interval, in posterior standard deviations.
        drop_missing: leave out records with missing values.
        missing: texts that stand for missing values.
        console: where to report.

    Raises:
        InputError: options, a file or its records cannot be used.
        OSError: a file cannot be read or written.
    """
    checks.check_not_negative("alpha", alpha)
    check_place(out, model, candidates)
    check_ending(out, ".csv", ".parquet")
    started = time.monotonic()
    learned, file = load_model(model), LogFile(candidates, missing=missing)
    columns = learned.columns
    names = [columns.task] + [name for name in (columns.one_hot, context) if name]
    file.require("the model's task", [columns.task])
    file.require("the model's features", columns.features)
    file.require("the model's one-hot", [columns.one_hot] if columns.one_hot else [])
    file.require("context", [context] if context else [])
    taken = [name for name in names if name in _WRITTEN]
    if taken:
        raise InputError(f"column {taken[0]!r} is one that scores are written to; rename it first")
    dropped = 0
    parts = []
    with jax.enable_x64(True):
        posteriors = _posteriors(learned)
        if not all(np.all(np.isfinite(part)) for part in posteriors):
            raise InputError(
                f"{model}: its numbers are too large to score with; scale rewards and features "
                "down and fit it again"
            )
        index = {name: number for number, name in enumerate(learned.task_names)}
        for batch in file.batches(columns.features, names, drop_missing=drop_missing):
            dropped += batch.dropped
            feature = features(file, columns, batch)
            task = number_tasks(batch.frame[columns.task], index, grow=False)
            parts.append(_scored(posteriors, task, feature, batch, names, alpha))
    table = pl.concat(parts)
    group = [columns.task] + ([context] if context else [])
    best = pl.int_range(pl.len()).over(group) == pl.col("lower").arg_max().over(group)
    table = table.with_columns(best.alias("chosen"))
    with whole(out) as path:
        table.write_csv(path) if out.suffix == ".csv" else table.write_parquet(path)
    lost = f", {dropped:,} with missing values dropped" if dropped else ""
    unknown = table.filter(~pl.col("known"))[columns.task].n_unique()
    new = f", {unknown:,} tasks new to the model" if unknown else ""
    console.print(
        f"  scored {len(table):,} candidates{lost}{new}; {time.monotonic() - started:.1f} s; "
        f"wrote {out}",
        markup=False,
        soft_wrap=True,
    )


def _posteriors(learned: LogModel) -> Gaussian:
    """Of every task, then of one without records."""
    known = task_posteriors(learned.model, learned.stats)
    new = new_task_posterior(learned.model, learned.stats)
    return jax.tree.map(lambda every, one: jnp.concatenate([every, one[None]]), known, new)


def _scored(
    posteriors: Gaussian,
    task: np.ndarray,
    feature: np.ndarray,
    batch: Batch,
    names: list[str],
    alpha: float,
) -> pl.DataFrame:
    place = np.where(task < 0, len(posteriors.mean) - 1, task)  # A new task's posterior is last.
    mean, std = map(np.asarray, predict(posteriors, BanditLog(place, feature, None), 0.0))
    return (
        batch.frame.select(names)
        .with_columns(
            pl.Series("mean", mean),
            pl.Series("std", std),
            pl.Series("lower", mean - alpha * std),
            pl.Series("known", task >= 0),
        )
        .insert_column(0, batch.record)
    )
