"""Figure 3 of Hong et al. 2023, "Multi-Task Off-Policy Learning from Bandit Feedback"."""

from __future__ import annotations

import jax
import numpy as np
import polars as pl

from jaxbandit.checks import InputError
from jaxbandit.datasets.factorization import factorize
from jaxbandit.datasets.movie_tasks import movie_design
from jaxbandit.datasets.movielens import fetch_movielens, load_movielens
from jaxbandit.simulation.learning_curves import OffPolicyResult, simulate_offpolicy
from jaxbandit.studies.figures import FigureResult, Reporter, Settings
from jaxbandit.studies.figures.hieropo import MEASURES, suboptimality_rows
from jaxbandit.studies.report import style
from jaxbandit.studies.report.statements import verdict

# The paper's: 10.
RUNS = 100

RECORDS = (100, 200, 500, 1000, 2000, 5000)


def check(settings: Settings) -> None:
    """Refuse settings whose data is not there; without any, it is downloaded."""
    if settings.movielens is not None and not settings.movielens.exists():
        raise InputError(
            f"--movielens: {settings.movielens} is not there; name MovieLens's directory or zip "
            "file, or leave the option out to download ML-1M"
        )


def figure3(settings: Settings, reporter: Reporter) -> FigureResult:
    """Multi-user recommendation on MovieLens: suboptimality against records."""
    runs = RUNS if settings.runs is None else settings.runs
    path = settings.movielens or fetch_movielens(notify=reporter.notify)
    ratings = load_movielens(path)
    reporter.notify(
        f"{len(ratings.rating):,} ratings of {len(ratings.movie_ids):,} movies by "
        f"{len(ratings.user_ids):,} users; completing the matrix at rank {settings.rank}"
    )
    factors = factorize(ratings, rank=settings.rank, seed=settings.seed)
    reporter.notify(
        f"held-out error {float(factors.held_out_rmse):.3f}, "
        f"noise of a rating {float(factors.noise_std):.3f} (paper, on ML-1M: 0.759)"
    )
    design = movie_design(
        factors, clusters=settings.clusters, tasks=settings.tasks, seed=settings.seed
    )
    result = simulate_offpolicy(
        jax.random.key(settings.seed),
        design,
        runs=runs,
        records=RECORDS,
        progress=reporter.progress("learning curves"),
    )
    table = pl.DataFrame(suboptimality_rows(result)).select("records", "policy", *MEASURES)
    facts = {
        "runs": runs,
        "ratings": len(ratings.rating),
        "users": len(ratings.user_ids),
        "movies": len(ratings.movie_ids),
        "held_out_rmse": float(factors.held_out_rmse),
        "noise_std": float(factors.noise_std),
        "cluster_users": len(design.arrays.user),
        "tasks": settings.tasks,
    }
    findings = _findings(result, settings.tasks)
    return FigureResult(table, style.hieropo_figure3(table), findings, facts)


def _findings(result: OffPolicyResult, tasks: int) -> list[str]:
    """The paper's statements, from five records a task on, and what happens before."""
    flat, oracle = result.paired("FlatOPO", "HierOPO"), result.paired("HierOPO", "OracleOPO")
    some = result.records >= 5 * tasks
    findings = [
        verdict(
            "HierOPO is below FlatOPO, beyond the 95 % interval, from five records a task on",
            bool(np.all((flat.mean > flat.margin)[some])),
        ),
        verdict(
            "HierOPO is closer to OracleOPO than to FlatOPO from five records a task on",
            bool(np.all((np.abs(oracle.mean) < np.abs(flat.mean))[some])),
        ),
    ]
    for index in np.flatnonzero(~some):
        findings.append(
            f"seen: with {result.records[index] / tasks:g} records a task HierOPO is "
            f"{abs(flat.mean[index]):.4f} ± {flat.sem[index]:.4f} "
            f"{'below' if flat.mean[index] > 0 else 'above'} FlatOPO; the hyper-prior, fitted to "
            "cluster centres, is only roughly right for this cluster"
        )
    return findings
