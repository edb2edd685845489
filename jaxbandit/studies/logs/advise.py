"""Which policy to go on with after a log of your own, for which horizon."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from jaxbandit.checks import InputError, check_count, check_seed
from jaxbandit.datasets.log_file import LogFile
from jaxbandit.datasets.log_values import same_names
from jaxbandit.datasets.missing import MISSING
from jaxbandit.inference.arm_posterior import ArmRecords, arm_posterior, best_shares
from jaxbandit.inference.arms import OfflineArms
from jaxbandit.studies.figures import FigureResult, contest, contest_plots
from jaxbandit.studies.figures.reproduce import reporting, write_result
from jaxbandit.studies.report.files import check_folder

_INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class Question:
    """What a user asks."""

    log: Path
    arm: str
    """Column of arms' names."""
    reward: str
    """Column of rewards."""
    horizon: tuple[int, ...]
    """Rounds still to play."""
    arms: tuple[str, ...]
    """Further arms, of which the log may know nothing."""
    low: float
    """Least reward possible."""
    high: float
    alpha: tuple[float, ...]
    """Of OtO."""
    runs: int
    seed: int
    drop_missing: bool
    missing: tuple[str, ...] = MISSING
    """Texts that stand for missing values."""


def advise(question: Question, out: Path, console: Console) -> None:
    """Answer, and write `OUT/advise.csv`, `.png`, `.json` and `advise-arms.csv`.

    Raises:
        InputError: options or a log that cannot be used.
        OSError: the log cannot be read, or `out` written.
    """
    started = time.monotonic()
    horizons = _check(question)
    check_folder("--out", out)
    names, records, dropped = read_arms(question)
    out.mkdir(parents=True, exist_ok=True)
    unit = question.high - question.low
    posterior = arm_posterior(records)
    means = posterior.draw(contest.DRAWS, np.random.default_rng(question.seed)).mean
    arms = summary(names, records, question.low + unit * means, question.low, unit)
    if dropped:
        console.print(f"{dropped:,} records left out: a value is missing")
    console.print(_shown(arms))
    offline = OfflineArms(records.count, records.total)
    with reporting(console) as reporter:
        played = contest.play(
            posterior,
            offline,
            horizons,
            question.alpha,
            runs=question.runs,
            seed=question.seed,
            progress=reporter.progress("games"),
        )
    results = contest.table(played, unit)
    lines = contest.answers(results) + contest.of_ties(played)
    lines.append(_of_best(arms))
    if np.sum(records.count > 0) == 1:
        lines.append(
            "only one arm has records: how much arms differ is not known, and what is said of the "
            "others is no more than what is assumed of all arms"
        )
    figure = FigureResult(
        results,
        contest_plots.over_horizons(results, f"{question.log.name}: policies from this log"),
        lines,
        {"records": int(records.count.sum()), "dropped": dropped, "binary": records.binary},
        files={"advise-arms.csv": arms.write_csv()},
    )
    endings = write_result("advise", figure, question, out, time.monotonic() - started)
    for line in lines:
        console.print(line, markup=False)
    console.print(f"wrote {out / 'advise'}{endings}", markup=False)


def read_arms(question: Question) -> tuple[list[str], ArmRecords, int]:
    """Names and sums of arms, rewards moved to [0, 1]; and how many records were left out.

    Raises:
        InputError: a column is missing, a reward is out of range, there are fewer than two arms, or
            all are without records.
    """
    file = LogFile(question.log, missing=question.missing)
    file.require("--arm", [question.arm])
    file.require("--reward", [question.reward])
    if question.arm == question.reward:
        raise InputError(f"--arm and --reward must be two columns, both were {question.arm!r}")
    low, unit = question.low, question.high - question.low
    parts, dropped = [], 0
    reward = pl.col(question.reward)
    for batch in file.batches(
        [question.reward], [question.arm], drop_missing=question.drop_missing
    ):
        dropped += batch.dropped
        outside = batch.frame.select(bad=(reward < low) | (reward > question.high))["bad"]
        if outside.any():
            where = outside.arg_max() or 0
            raise InputError(
                f"{file.place(batch.line[where])}: column {question.reward!r} must lie in "
                f"[{low:g}, {question.high:g}], was {batch.frame[question.reward][where]:g}; say "
                "what rewards are possible with --low and --high"
            )
        scaled = (reward - low) / unit
        parts.append(
            batch.frame.group_by(pl.col(question.arm).alias("arm")).agg(
                count=pl.len().cast(pl.Float64), total=scaled.sum(), square=(scaled**2).sum()
            )
        )
    sums = pl.concat(parts).group_by("arm").sum().sort("arm")
    for name in question.arms:
        if file.is_missing(name):
            raise InputError(f"--arms must be names, was {name!r}, which --missing counts as none")
    others = [name for name in same_names(question.arms) if name not in set(sums["arm"])]
    names = [*sums["arm"].to_list(), *others]
    if len(names) < 2:
        raise InputError(
            f"{question.log}: column {question.arm!r} must name at least 2 arms, names "
            f"{len(names)}; name arms without records with --arms"
        )
    if not sums["count"].sum():
        raise InputError(f"{question.log}: no record is left; there is nothing to learn from")
    none = np.zeros(len(others))
    records = ArmRecords(
        *(np.concatenate([sums[name].to_numpy(), none]) for name in ("count", "total", "square"))
    )
    if not records.binary and not np.any(records.count > 1):
        raise InputError(f"{question.log}: some arm must have 2 records, to tell noise from means")
    if not records.binary and np.isclose(
        records.square.sum() * records.count.sum(), records.total.sum() ** 2, rtol=1e-12, atol=0
    ):
        raise InputError(
            f"{question.log}: column {question.reward!r} is always the same, as far as numbers in "
            f"[{low:g}, {question.high:g}] tell; give --low and --high closer to the rewards"
        )
    return names, records, dropped


def summary(
    names: Sequence[str],
    records: ArmRecords,
    means: np.ndarray,
    low: float,
    unit: float,
) -> pl.DataFrame:
    """What the log says of each arm: records, mean reward, and the posterior of its mean.

    `best_share`, the probability of being best, is null where there are fewer records than
    `enough`.
    """
    count = records.count
    interval = np.quantile(means, _INTERVAL, axis=0)
    best = best_shares(means) if count.sum() >= enough(len(names)) else [None] * len(names)
    observed = low + unit * records.total / np.where(count > 0, count, np.nan)
    return pl.DataFrame(
        {
            "arm": list(names),
            "records": count.astype(int),
            "reward_mean": pl.Series(observed).fill_nan(None),
            "posterior_mean": means.mean(axis=0),
            "posterior_low": interval[0],
            "posterior_high": interval[1],
            "best_share": pl.Series(best, dtype=pl.Float64),
        }
    )


def enough(arms: int) -> int:
    """Records from which on it is said which arm is best: with fewer, that is more prior than log.

    Args:
        arms: number of arms.
    """
    return max(10, 2 * arms)


def _check(question: Question) -> list[int]:
    check_seed("--seed", question.seed)
    for number in question.horizon:
        check_count("--horizon", number)
    if not question.horizon:
        raise InputError("--horizon must name at least one number of rounds, was empty")
    check_count("--runs", question.runs, minimum=2)
    if not (np.isfinite([question.low, question.high]).all() and question.low < question.high):
        raise InputError(
            f"--low must be below --high, both finite, were {question.low:g} and {question.high:g}"
        )
    if not question.alpha or not np.all(np.isfinite(question.alpha)) or min(question.alpha) < 0:
        said = ", ".join(map(str, question.alpha)) or "empty"
        raise InputError(f"--alpha must be numbers of at least 0, was {said}")
    return sorted(set(question.horizon))


def _of_best(arms: pl.DataFrame) -> str:
    records, least = arms["records"].sum(), enough(len(arms))
    if records < least:
        return (
            f"{records} records are too few to say which of {len(arms)} arms is best, and what is "
            f"said of policies rests on what is assumed of arms; log at least {least}"
        )
    best = arms.row(arms["best_share"].arg_max() or 0, named=True)
    return f"the best arm is {best['arm']} with probability {best['best_share']:.0%}"


def _shown(arms: pl.DataFrame, most: int = 20) -> Table:
    title = f"{len(arms)} arms" + (f", the {most} likeliest to be best" if len(arms) > most else "")
    table = Table("arm", title=title)
    for head in ("records", "mean reward", "posterior mean", "95 % interval", "is best"):
        table.add_column(head, justify="right")
    for row in arms.sort("best_share", descending=True).head(most).iter_rows(named=True):
        observed = row["reward_mean"]
        table.add_row(
            row["arm"],
            f"{row['records']:,}",
            "none" if observed is None else f"{observed:.4g}",
            f"{row['posterior_mean']:.4g}",
            f"{row['posterior_low']:.4g} to {row['posterior_high']:.4g}",
            "not said" if row["best_share"] is None else f"{row['best_share']:.0%}",
        )
    return table
