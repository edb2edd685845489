"""The command line: `jaxbandit reproduce`, `bounds`, `sweep` and its like, `info`.

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
    "oto-fig1",
    "oto-fig2",
    "oto-tables",
    "oto-fig3",
    "oto-fig4",
    "oto-fig7",
    "oto-fig8",
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
    commands = (reproduce, bounds, sweep, status, plot, export, info)
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
        movielens: directory or zip file with MovieLens data (hieropo-fig3); default: download
            ML-1M.
        rank: rank of the completed rating matrix (hieropo-fig3).
        clusters: clusters of users (hieropo-fig3).
        tasks: users in a run (hieropo-fig3).
        quiet: print nothing but errors.
    """
    from jaxbandit.studies.figures import Settings
    from jaxbandit.studies.reproduce import reproduce_figures

    settings = Settings(runs, seed, confidence, movielens, rank, clusters, tasks)
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


def info() -> None:
    """Print versions, devices and where compiled programs are kept."""
    from jaxbandit.studies import compilation_cache
    from jaxbandit.studies.provenance import environment

    print(f"compiled programs: {compilation_cache.folder()}")
    for name, value in environment().items():
        print(f"{name}: {value}")
