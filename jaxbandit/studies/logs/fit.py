"""From a file of records to a model: `jaxbandit fit` and `jaxbandit update`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jaxbandit.checks import InputError, check_seed
from jaxbandit.datasets.log_file import LogFile
from jaxbandit.datasets.missing import MISSING
from jaxbandit.inference.evaluation import HeldOutScore, predict, score_held_out
from jaxbandit.inference.fit.covariance_structure import Structure
from jaxbandit.inference.fit.empirical_bayes import (
    FittedHierarchy,
    dependent_feature,
    fit_hierarchy,
)
from jaxbandit.inference.model import BanditLog, Gaussian, HierarchicalGaussian, TaskStatistics
from jaxbandit.inference.posterior import new_task_posterior, task_posteriors
from jaxbandit.inference.statistics import task_statistics
from jaxbandit.studies.logs.model_file import LogColumns, LogModel, load_model, save_model
from jaxbandit.studies.logs.records import Gathered, gather, padded
from jaxbandit.studies.report.files import check_ending, check_place

LEVELS = (0.5, 0.9)
"""Of the predictive intervals whose coverage is reported."""


def fit_log(
    log: Path,
    columns: LogColumns,
    out: Path,
    *,
    covariance: Structure,
    hyper: Literal["diffuse", "fixed"],
    held_out: float,
    restarts: int,
    seed: int,
    drop_missing: bool,
    missing: Sequence[str] = MISSING,
    console: Console,
) -> None:
    """Fit a hierarchy to a log and write the model.

    Args:
        log: CSV or Parquet file.
        columns: what its columns are.
        out: the model's file.
        covariance: structure of the task covariance.
        hyper: what the hyper-prior is, `fit_hierarchy`.
        held_out: share of the records that a first fit does without, to be judged on them.
        restarts: further starts of the fit.
        seed: of the choice of held-out records, and of restarts.
        drop_missing: leave out records with missing values.
        missing: texts that stand for missing values.
        console: where to report.

    Raises:
        InputError: options, the file or its records cannot be used.
        OSError: a file cannot be read or written.
    """
    if not 0 <= held_out < 1:
        raise InputError(f"held_out must lie in [0, 1), was {held_out}")
    check_seed("--seed", seed)
    check_place(out, log)
    check_ending(out, ".npz")
    started = time.monotonic()
    of_text = "encode it as numbers, or name a column of actions in --one-hot"
    file = LogFile(log, of_text, missing)
    columns = _check_columns(file, columns)
    with jax.enable_x64(True):
        gathered = gather(file, columns, [], drop_missing, held_out, seed)
        _check_log(log, columns, gathered.stats)
        _report_read(console, gathered, time.monotonic() - started)

        def fit(stats: TaskStatistics) -> FittedHierarchy:
            return fit_hierarchy(
                stats, covariance=covariance, hyper_cov=hyper, restarts=restarts, seed=seed
            )

        stats, scores = gathered.stats, {}
        if len(gathered.held_out.reward):
            scores = judge(fit(stats), stats, gathered.held_out)
            _report_scores(console, scores, len(gathered.held_out.reward))
            kept_out = task_statistics(gathered.held_out, len(gathered.task_names))
            stats = jax.tree.map(jnp.add, stats, kept_out)
        fitted = fit(stats)
    _check_converged(log, columns, stats, fitted)
    _report_fit(console, columns, fitted)
    facts = _facts(fitted) | {"dropped": gathered.dropped, "held_out": _plain(scores)}
    model = HierarchicalGaussian(*fitted)
    save_model(LogModel(columns, gathered.task_names, stats, model, facts), out)
    console.print(
        f"  {time.monotonic() - started:.1f} s; wrote {out}", markup=False, soft_wrap=True
    )


def update_model(
    model: Path,
    log: Path,
    out: Path,
    *,
    drop_missing: bool,
    missing: Sequence[str] = MISSING,
    console: Console,
) -> None:
    """Add a log's records to a model; the hierarchy stays, posteriors are those of all records.

    Raises:
        InputError: the model, the file or its records cannot be used.
        OSError: a file cannot be read or written.
    """
    check_place(out, log)
    check_ending(out, ".npz")
    learned = load_model(model)
    file = LogFile(log, missing=missing)
    _require(file, learned.columns)
    with jax.enable_x64(True):
        new = gather(file, learned.columns, learned.task_names, drop_missing)
        stats = jax.tree.map(jnp.add, new.stats, padded(learned.stats, len(new.task_names)))
    _report_read(console, new, None)
    save_model(learned._replace(task_names=new.task_names, stats=stats), out)
    added = len(new.task_names) - len(learned.task_names)
    console.print(f"  {added} new tasks; wrote {out}", markup=False, soft_wrap=True)


def judge(
    model: HierarchicalGaussian, stats: TaskStatistics, held_out: BanditLog
) -> dict[str, HeldOutScore]:
    """Scores on held-out records: of each task's posterior, and of one prediction for all tasks."""
    pooled = new_task_posterior(model, stats)
    everyone = held_out._replace(task=np.zeros(len(held_out.task), np.int32))
    candidates = {
        "each task's posterior": (task_posteriors(model, stats), held_out),
        "one for all tasks": (Gaussian(pooled.mean[None], pooled.cov[None]), everyone),
    }
    return {
        name: score_held_out(predict(posterior, log, model.noise_std), log.reward, LEVELS)
        for name, (posterior, log) in candidates.items()
    }


# What a log must have.


def _check_columns(file: LogFile, columns: LogColumns) -> LogColumns:
    """The columns, with the one-hot column's values looked up."""
    used = [columns.task, columns.reward, *columns.features]
    used += [columns.one_hot] if columns.one_hot else []
    twice = sorted({name for name in used if used.count(name) > 1})
    if twice:
        raise InputError(
            f"column {twice[0]!r} is named twice; task, features, reward and one-hot must be "
            "different columns"
        )
    if not columns.features and columns.one_hot is None:
        raise InputError("features: name at least one column, or a column for one-hot")
    _require(file, columns)
    if columns.one_hot is None:
        return columns
    values = tuple(file.values(columns.one_hot))
    return LogColumns(columns.task, columns.features, columns.reward, columns.one_hot, values)


def _require(file: LogFile, columns: LogColumns) -> None:
    file.require("task", [columns.task])
    file.require("features", columns.features)
    file.require("reward", [columns.reward])
    file.require("one-hot", [columns.one_hot] if columns.one_hot else [])


def _check_log(log: Path, columns: LogColumns, stats: TaskStatistics) -> None:
    dependent = dependent_feature(np.sum(np.asarray(stats.gram), axis=0), 1e-9)
    if dependent is not None:
        raise InputError(
            f"{log}: feature {columns.feature_names[dependent]!r} is always zero or a linear "
            "combination of those before it (a constant and all values of a one-hot column are); "
            "leave it out of --features, or, if it only lies far from zero, subtract its mean"
        )


def _check_converged(
    log: Path, columns: LogColumns, stats: TaskStatistics, fitted: FittedHierarchy
) -> None:
    """Refuse a fit that stopped because a column is told from others by too few digits."""
    if fitted.report is None or fitted.report.converged:
        return
    far = dependent_feature(np.sum(np.asarray(stats.gram), axis=0), 1e-5)
    if far is not None:
        raise InputError(
            f"{log}: the fit did not converge: feature {columns.feature_names[far]!r} lies so far "
            "from zero beside how it varies that it is nearly a combination of those before it; "
            "subtract its mean first"
        )


# What is reported.


def _report_read(console: Console, gathered: Gathered, seconds: float | None) -> None:
    records = int(np.sum(gathered.stats.count)) + len(gathered.held_out.reward)
    lost = f", {gathered.dropped:,} with missing values dropped" if gathered.dropped else ""
    took = "" if seconds is None else f"; {seconds:.1f} s"
    console.print(
        f"  read {records:,} records of {len(gathered.task_names):,} tasks{lost}{took}",
        markup=False,
        soft_wrap=True,
    )


def _report_scores(console: Console, scores: dict[str, HeldOutScore], records: int) -> None:
    console.print(f"  on {records:,} held-out records:")
    for name, score in scores.items():
        covered = ", ".join(
            f"{100 * float(share):.1f} % in {100 * level:.0f} % intervals"
            for level, share in zip(LEVELS, score.coverage, strict=True)
        )
        console.print(
            f"    {name}: RMSE {float(score.rmse):.4g}, log density "
            f"{float(score.log_density):.4f} a record, {covered}",
            markup=False,
            soft_wrap=True,
        )


def _report_fit(console: Console, columns: LogColumns, fitted: FittedHierarchy) -> None:
    report = fitted.report
    if report is None:
        return
    error = report.standard_error
    spread = np.sqrt(np.diagonal(np.asarray(fitted.task_cov)))
    width = max(map(len, columns.feature_names))
    console.print(f"  {'feature':<{width}}  mean of tasks  (+-)      spread of tasks")
    for k, name in enumerate(columns.feature_names):
        console.print(
            f"  {name:<{width}}  {float(fitted.hyper_mean[k]):<13.4g}  "
            f"{error.hyper_mean[k]:<8.2g}  {spread[k]:.4g}",
            markup=False,
            soft_wrap=True,
        )
    state = "converged" if report.converged else "NOT converged"
    floors = f"; on the floor: {', '.join(report.on_floor)}" if report.on_floor else ""
    console.print(
        f"  noise {float(fitted.noise_std):.4g} +- {float(error.noise_std):.2g}; log-likelihood "
        f"{report.log_likelihood:.2f}; {state} after {report.iterations} passes{floors}",
        markup=False,
        soft_wrap=True,
    )


def _facts(fitted: FittedHierarchy) -> dict[str, Any]:
    report = fitted.report
    if report is None:
        return {}
    plain = report._asdict() | {"standard_error": _plain(report.standard_error._asdict())}
    return {"fit": plain}


def _plain(tree: Any) -> Any:
    """Dictionaries and lists of Python's numbers."""
    if hasattr(tree, "_asdict"):
        tree = tree._asdict()
    if isinstance(tree, dict):
        return {name: _plain(value) for name, value in tree.items()}
    return np.asarray(tree).tolist()
