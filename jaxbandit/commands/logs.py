"""`jaxbandit fit`, `update`, `score` and `advise`: your own logs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from jaxbandit.datasets.missing import MISSING


def fit(
    log: Path,
    /,
    task: str,
    reward: str,
    out: Path,
    features: tuple[str, ...] = (),
    one_hot: str | None = None,
    covariance: Literal["full", "diagonal", "isotropic"] = "full",
    hyper: Literal["diffuse", "fixed"] = "diffuse",
    held_out: float = 0.0,
    restarts: int = 0,
    seed: int = 0,
    drop_missing: bool = False,
    missing: tuple[str, ...] = MISSING,
    quiet: bool = False,
) -> None:
    """Learn a hierarchy of tasks from your own log, and write it as a model.

    Args:
        log: .csv or .parquet file, one record a row.
        task: column of the tasks' names, text or numbers.
        reward: column of rewards.
        out: file to write the model to, a .npz.
        features: columns of numbers, of the action taken in its context.
        one_hot: column of names (actions, say), each of which becomes a feature.
        covariance: structure of the covariance between tasks.
        hyper: what is known beforehand of the mean of tasks: nothing, or (fixed) its estimate.
        held_out: share of records to judge a first fit on, before the fit to all.
        restarts: further random starts.
        seed: seed of everything random.
        drop_missing: leave out records with missing values, and count them.
        missing: texts that count as missing, in capitals or not, besides what is empty.
        quiet: print nothing but errors.
    """
    from rich.console import Console

    from jaxbandit.studies.logs.fit import fit_log
    from jaxbandit.studies.logs.model_file import LogColumns

    fit_log(
        log,
        LogColumns(task, features, reward, one_hot),
        out,
        covariance=covariance,
        hyper=hyper,
        held_out=held_out,
        restarts=restarts,
        seed=seed,
        drop_missing=drop_missing,
        missing=missing,
        console=Console(quiet=quiet, highlight=False),
    )


def update(
    model: Path,
    log: Path,
    /,
    out: Path,
    drop_missing: bool = False,
    missing: tuple[str, ...] = MISSING,
    quiet: bool = False,
) -> None:
    """Add new records to a model: posteriors become those of all records together.

    Args:
        model: the model.
        log: file with the columns of the log that the model was fitted to.
        out: file to write the updated model to, a .npz; may be the model itself.
        drop_missing: leave out records with missing values, and count them.
        missing: texts that count as missing, in capitals or not, besides what is empty.
        quiet: print nothing but errors.
    """
    from rich.console import Console

    from jaxbandit.studies.logs.fit import update_model

    console = Console(quiet=quiet, highlight=False)
    update_model(model, log, out, drop_missing=drop_missing, missing=missing, console=console)


def score(
    model: Path,
    candidates: Path,
    /,
    out: Path = Path("scores.csv"),
    context: str | None = None,
    alpha: float = 0.1,
    drop_missing: bool = False,
    missing: tuple[str, ...] = MISSING,
    quiet: bool = False,
) -> None:
    """Score candidate actions with a model, and choose one for each task and context.

    Args:
        model: the model.
        candidates: file with the log's task and feature columns, one candidate a row.
        out: .csv or .parquet file to write.
        context: column that tells a task's contexts apart; none: each task has one.
        alpha: width of the confidence interval, in posterior standard deviations.
        drop_missing: leave out candidates with missing values, and count them.
        missing: texts that count as missing, in capitals or not, besides what is empty.
        quiet: print nothing but errors.
    """
    from rich.console import Console

    from jaxbandit.studies.logs.score import score_candidates

    score_candidates(
        model,
        candidates,
        out,
        context=context,
        alpha=alpha,
        drop_missing=drop_missing,
        missing=missing,
        console=Console(quiet=quiet, highlight=False),
    )


def advise(
    log: Path,
    /,
    arm: str,
    reward: str,
    horizon: tuple[int, ...],
    arms: tuple[str, ...] = (),
    low: float = 0.0,
    high: float = 1.0,
    alpha: tuple[float, ...] = (0.05, 0.2, 1.0, 5.0),
    runs: int = 500,
    seed: int = 0,
    out: Path = Path("results"),
    drop_missing: bool = False,
    missing: tuple[str, ...] = MISSING,
    quiet: bool = False,
) -> None:
    """Say which policy to go on with after your own log, for which horizon, and how sure that is.

    Args:
        log: .csv or .parquet file, one record a row.
        arm: column of arms' names, text or whole numbers.
        reward: column of rewards.
        horizon: rounds still to play; several are compared.
        arms: further arms that may be played, with records or without.
        low: least reward possible.
        high: largest reward possible.
        alpha: exploration budgets of OtO.
        runs: draws of the arms' means.
        seed: seed of everything random.
        out: directory to write to.
        drop_missing: leave out records with missing values, and count them.
        missing: texts that count as missing, in capitals or not, besides what is empty.
        quiet: print nothing but errors.
    """
    from rich.console import Console

    from jaxbandit.studies.logs.advise import Question
    from jaxbandit.studies.logs.advise import advise as answer

    question = Question(
        log, arm, reward, horizon, arms, low, high, alpha, runs, seed, drop_missing, missing
    )
    answer(question, out, Console(quiet=quiet, highlight=False))
