"""Where figures of click models get their models and rewards from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxbandit.checks import InputError
from jaxbandit.ctr import reward_tables
from jaxbandit.ctr.deployment import (
    LOGGED_ROWS,
    NEEDED_ROWS,
    TRAINING_ROWS,
    Deployment,
    deploy,
    worth,
)
from jaxbandit.ctr.reward_tables import RewardTable
from jaxbandit.datasets.avazu import load_avazu
from jaxbandit.datasets.avazu_like import avazu_like
from jaxbandit.datasets.click_log import ClickLog, click_log
from jaxbandit.studies.figures import Reporter, Settings
from jaxbandit.studies.report.files import check_file

SYNTHETIC_ROWS = 660_000
"""Of the stand-in: the paper's Datasets 1 and 2, and a tenth of its table."""


class Source(NamedTuple):
    """What the reward table is made from."""

    avazu: Path | None
    reward_table: Path | None
    synthetic: bool
    seed: int


def source_of(settings: Settings, *, trains: bool = False) -> Source:
    """The one source that the user named.

    Raises:
        InputError: none or several, a file that is not there, or a reward table where models have
            to be trained.
    """
    source = Source(settings.avazu, settings.reward_table, settings.synthetic, settings.seed)
    options = ("--avazu", "--reward-table", "--synthetic")
    given = [option for option, value in zip(options, source, strict=False) if value]
    if not given:
        raise InputError(
            "click models need data: give one of --avazu FILE (Kaggle's train.gz), --reward-table "
            "FILE (written by an earlier run) and --synthetic (a stand-in)"
        )
    if len(given) > 1:
        raise InputError(
            f"click models take their data from one place: give only one of {' and '.join(given)}"
        )
    if trains and source.reward_table:
        raise InputError(
            "oto-table3 trains models, for which --reward-table does not do; give --avazu FILE or "
            "--synthetic"
        )
    for option, path in zip(options, source[:2], strict=False):
        if path is not None:
            check_file(option, path)
    return source


def deployed(source: Source, reporter: Reporter) -> Deployment:
    """The models of a source, trained once for all figures of a call."""

    def compute() -> Deployment:
        log = _log(source, reporter)
        done = deploy(log, seed=source.seed, progress=reporter.progress("training models"))
        split = done.split
        reporter.notify(
            f"{split.training:,} rows train Models 1 and 8; Model 1 logs {split.logged:,} to train "
            f"the others (the paper: {TRAINING_ROWS:,} and {LOGGED_ROWS:,})"
        )
        reporter.notify(worth(split, float(done.rewards.mean())))
        return done

    return once(source, compute)


def _log(source: Source, reporter: Reporter) -> ClickLog:
    if source.avazu is None:
        reporter.notify(f"drawing {SYNTHETIC_ROWS:,} synthetic rows")
        standin = avazu_like(SYNTHETIC_ROWS, source.seed)
        return click_log(standin.table, standin.probability)
    progress = reporter.progress(f"reading {source.avazu.name}")
    sample = load_avazu(source.avazu, rows=NEEDED_ROWS, seed=source.seed, progress=progress)
    reporter.notify(f"{sample.rows_in_file:,} rows in the file, {len(sample.log.click):,} used")
    return sample.log


def rewards(source: Source, reporter: Reporter) -> RewardTable:
    """The reward table of a source: read, or that of models trained for it."""
    if source.reward_table is not None:
        return reward_tables.load_reward_table(source.reward_table)
    return reward_tables.from_deployment(deployed(source, reporter), label(source))


def label(source: Source) -> str:
    """What pictures and tables say of where the numbers come from."""
    return "synthetic data" if source.avazu is None else f"Avazu data of {source.avazu.name}"


def files(table: RewardTable) -> dict[str, str]:
    """The reward table, to lie beside each figure that was made with it."""
    return reward_tables.files(table, "click-reward-table")


_kept: dict[Any, Any] = {}


def once(key: Any, compute: Callable[[], Any]) -> Any:
    """What is computed for a key; figures of one call share it."""
    if key not in _kept:
        _kept[key] = compute()
    return _kept[key]
