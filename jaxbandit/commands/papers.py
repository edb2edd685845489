"""`jaxbandit reproduce` and `bounds`: what the papers show and prove."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jaxbandit.studies.bound_studies.options import Hieropo, Oto, load
from jaxbandit.studies.figures import REGISTRY
from jaxbandit.studies.report.files import check_file

if TYPE_CHECKING:
    FigureName = str
else:
    # The names that there are, known when the command line is made.
    FigureName = Literal[tuple(REGISTRY)]


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
    from jaxbandit.studies.figures.reproduce import reproduce_figures

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
    from jaxbandit.studies.bound_studies.run import run_study

    if study.file is not None:
        import tyro

        check_file("--file", study.file)
        # Read again, now with the file's values where no flag is given.
        name = type(study).__name__.lower()
        defaults = load(study.file, type(study)())
        study = tyro.cli(
            type(study), default=defaults, args=sys.argv[3:], prog=f"jaxbandit bounds {name}"
        )
    run_study(study)
