"""The command line: `jaxbandit reproduce`, `bounds`, `sweep` and others.

Exit status 0 on success, 1 on a failure with a one-line reason, 2 on bad usage.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from jaxbandit.checks import InputError
from jaxbandit.studies.bounds.options import Hieropo, Oto, load

FigureName = Literal[
    "hieropo-fig2",
    "hieropo-fig3",
    "fit-consistency",
    "movielens-ratings",
    "oto-fig1",
    "oto-fig2",
    "oto-tables",
    "oto-fig3",
    "oto-fig4",
    "oto-fig5",
    "oto-fig6",
    "oto-fig7",
    "oto-fig8",
    "oto-fig9",
    "oto-fig10",
    "oto-table3",
    "open-bandit",
]


def main() -> None:
    """Entry point of `jaxbandit`: runs a command and exits with its status."""
    try:
        from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes
        from tyro.extras import subcommand_cli_from_dict

        from jaxbandit.studies import compilation_cache
    except ModuleNotFoundError:
        sys.exit(
            'jaxbandit: the command line needs more packages: pip install "jaxbandit[studies]"'
        )
    compilation_cache.use()
    commands = (
        reproduce,
        bounds,
        sweep,
        status,
        plot,
        export,
        fit,
        update,
        score,
        advise,
        info,
    )
    try:
        subcommand_cli_from_dict(
            {command.__name__: command for command in commands},
            prog="jaxbandit",
            description="Bandits that start from data: simulate, compare, reproduce.",
            config=(OmitArgPrefixes, OmitSubcommandPrefixes),
        )
    except (InputError, OSError) as error:
        print(f"jaxbandit: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("jaxbandit: interrupted; figures already written are complete", file=sys.stderr)
        sys.exit(1)


def reproduce(
    figures: tuple[FigureName, ...] = (),
    /,
    runs: int | None = None,
    seed: int = 0,
    out: Path = Path("results"),
    confidence: Literal["reference", "paper"] = "reference",
    movielens: Path | None = None,
    rank: int = 10,
    clusters: int = 7,
    tasks: int = 100,
    avazu: Path | None = None,
    reward_table: Path | None = None,
    synthetic: bool = False,
    open_bandit: Path | None = None,
    quiet: bool = False,
) -> None:
    """Reproduce the papers' figures: a CSV, a PNG and a JSON record for each.

    Args:
        figures: figures to reproduce; none: all that need no data from outside.
        runs: Monte-Carlo runs a point; default: the figure's own number.
        seed: seed of everything random.
        out: directory to write to.
        confidence: constants of the confidence bounds (oto-fig3 and later): those of the published
            plots, or the paper's formulas.
        movielens: directory or zip file with MovieLens data (hieropo-fig3, movielens-ratings);
            default: download ML-1M.
        rank: rank of the completed rating matrix (hieropo-fig3, movielens-ratings).
        clusters: clusters of users (hieropo-fig3).
        tasks: users in a run (hieropo-fig3).
        avazu: Kaggle's Avazu data, train.gz or any CSV or Parquet file with its columns (oto-fig5,
            oto-fig6, oto-fig9, oto-fig10, oto-table3); or
        reward_table: rewards of click models that an earlier run kept, for the bandit phase alone;
            or
        synthetic: a stand-in for Avazu's data.
        open_bandit: directory with the Open Bandit Dataset (open-bandit).
        quiet: print nothing but errors.
    """
    from jaxbandit.studies.figures import Settings
    from jaxbandit.studies.reproduce import reproduce_figures

    settings = Settings(
        runs,
        seed,
        confidence,
        movielens,
        rank,
        clusters,
        tasks,
        avazu,
        reward_table,
        synthetic,
        open_bandit,
    )
    reproduce_figures(figures, settings, out, quiet=quiet)


def bounds(study: Hieropo | Oto) -> None:
    """Hold the papers' bounds against simulation: a CSV, a PNG, a JSON record and a table of slack.

    Args:
        study: which paper's.
    """
    from jaxbandit.studies.bounds.run import run_study

    if study.file is not None:
        import tyro

        # Read again, now with the file's values where no flag is given.
        name = type(study).__name__.lower()
        defaults = load(study.file, type(study)())
        study = tyro.cli(
            type(study), default=defaults, args=sys.argv[3:], prog=f"jaxbandit bounds {name}"
        )
    run_study(study)


def sweep(
    study: Path,
    /,
    out: Path | None = None,
    dry_run: bool = False,
    shard: str | None = None,
    cluster: str | None = None,
    threads: int | None = None,
    yes: bool = False,
    quiet: bool = False,
) -> None:
    """Run a study of many cells into a store; the same command again goes on where it stopped.

    Args:
        study: STUDY.toml, as docs/sweeps.md describes it.
        out: folder of the store.
        dry_run: only say what it would take.
        shard: I/N, compute the I-th of N parts, each started with the same file and folder.
        cluster: address of a Dask scheduler whose workers compute.
        threads: tiles computed at once on a CPU; default: all cores.
        yes: run a study of absurd size too.
        quiet: print nothing but errors.
    """
    from jaxbandit.studies import sweep

    sweep.sweep(
        study,
        out,
        dry_run=dry_run,
        shard=shard,
        cluster=cluster,
        threads=threads,
        yes=yes,
        quiet=quiet,
    )


def status(store: Path, /) -> None:
    """Print how far a study has come.

    Args:
        store: its folder.
    """
    from jaxbandit.studies import sweep

    sweep.status(store)


def plot(store: Path, /, out: Path | None = None) -> None:
    """Draw a study's result.

    Args:
        store: its folder.
        out: the picture; default: result.png in the folder.
    """
    from jaxbandit.studies import study_plots

    print(f"wrote {study_plots.plot(store, out)}")


def export(store: Path, file: Path, /) -> None:
    """Write a study's result as a table or as NetCDF.

    Args:
        store: its folder.
        file: ends in .csv, .parquet or .nc.
    """
    from jaxbandit.studies import exports

    exports.export(store, file)


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
    quiet: bool = False,
) -> None:
    """Learn a hierarchy of tasks from your own log, and write it as a model.

    Args:
        log: .csv or .parquet file, one record a row.
        task: column of the tasks' names, text or whole numbers.
        reward: column of rewards.
        out: file to write the model to.
        features: columns of numbers, of the action taken in its context.
        one_hot: column of names (actions, say), each of which becomes a feature.
        covariance: structure of the covariance between tasks.
        hyper: what is known beforehand of the mean of tasks: nothing, or (fixed) its estimate.
        held_out: share of records to judge a first fit on, before the fit to all.
        restarts: further random starts.
        seed: seed of everything random.
        drop_missing: leave out records with missing values, and count them.
        quiet: print nothing but errors.
    """
    from rich.console import Console

    from jaxbandit.studies.fit_log import fit_log
    from jaxbandit.studies.log_model import LogColumns

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
        console=Console(quiet=quiet, highlight=False),
    )


def update(
    model: Path, log: Path, /, out: Path, drop_missing: bool = False, quiet: bool = False
) -> None:
    """Add new records to a model: posteriors become those of all records together.

    Args:
        model: the model.
        log: file with the columns of the log that the model was fitted to.
        out: file to write the updated model to; may be the model itself.
        drop_missing: leave out records with missing values, and count them.
        quiet: print nothing but errors.
    """
    from rich.console import Console

    from jaxbandit.studies.fit_log import update_model

    console = Console(quiet=quiet, highlight=False)
    update_model(model, log, out, drop_missing=drop_missing, console=console)


def score(
    model: Path,
    candidates: Path,
    /,
    out: Path = Path("scores.csv"),
    context: str | None = None,
    alpha: float = 0.1,
    drop_missing: bool = False,
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
        quiet: print nothing but errors.
    """
    from rich.console import Console

    from jaxbandit.studies.score_log import score_candidates

    score_candidates(
        model,
        candidates,
        out,
        context=context,
        alpha=alpha,
        drop_missing=drop_missing,
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
        quiet: print nothing but errors.
    """
    from rich.console import Console

    from jaxbandit.studies.advise import Question
    from jaxbandit.studies.advise import advise as answer

    question = Question(log, arm, reward, horizon, arms, low, high, alpha, runs, seed, drop_missing)
    answer(question, out, Console(quiet=quiet, highlight=False))


def info() -> None:
    """Print versions, devices and where compiled programs are kept."""
    from jaxbandit.studies import compilation_cache
    from jaxbandit.studies.provenance import environment

    print(f"compiled programs: {compilation_cache.folder()}")
    for name, value in environment().items():
        print(f"{name}: {value}")
