"""Figures of Hong et al. 2023, "Multi-Task Off-Policy Learning from Bandit Feedback"."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import polars as pl

from jaxbandit.datasets.factorization import factorize
from jaxbandit.datasets.movie_tasks import movie_design
from jaxbandit.datasets.movielens import fetch_movielens, load_movielens
from jaxbandit.offpolicy.design import synthetic_design
from jaxbandit.offpolicy.simulate import OffPolicyResult, simulate_offpolicy
from jaxbandit.studies import plots
from jaxbandit.studies.figures import FigureResult, Reporter, Settings
from jaxbandit.studies.findings import verdict

# The paper's: 30 and 10.
FIGURE2_RUNS = 1000
FIGURE3_RUNS = 100

FIGURE2_RECORDS = (100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
FIGURE2_PANELS = {0.5: "left", 1.0: "middle"}  # by hyper_std
FIGURE2_TASKS = (5, 10, 20, 30, 40, 50)
# The right panel's hyper-prior, which the paper does not name: sharing helps most with this one.
FIGURE2_RIGHT_STD = 1.0
FIGURE3_RECORDS = (100, 200, 500, 1000, 2000, 5000)

ALGORITHMS = ("HierOPO", "FlatOPO", "OracleOPO")


def figure2(settings: Settings, reporter: Reporter) -> FigureResult:
    """Synthetic multi-task bandit: suboptimality against records (two panels) and against tasks."""
    runs = FIGURE2_RUNS if settings.runs is None else settings.runs
    key = jax.random.key(settings.seed)

    def panel(hyper_std: float) -> OffPolicyResult:
        return simulate_offpolicy(
            key,
            synthetic_design(hyper_std=hyper_std),
            runs=runs,
            records=FIGURE2_RECORDS,
            progress=reporter.progress(f"{FIGURE2_PANELS[hyper_std]} panel"),
        )

    def right(tasks: int) -> OffPolicyResult:
        return simulate_offpolicy(
            key,
            synthetic_design(
                hyper_std=FIGURE2_RIGHT_STD, tasks=tasks, max_tasks=max(FIGURE2_TASKS)
            ),
            runs=runs,
            records=(500,),
            progress=reporter.progress(f"right panel, {tasks} tasks"),
        )

    # Two programs, each of which takes seconds to compile: at the same time.
    with ThreadPoolExecutor() as pool:
        panels = pool.submit(lambda: {std: panel(std) for std in FIGURE2_PANELS})
        results = {f"right {tasks}": right(tasks) for tasks in FIGURE2_TASKS}
        curves = panels.result()

    rows: list[dict[str, Any]] = []
    for hyper_std, result in curves.items():
        results[FIGURE2_PANELS[hyper_std]] = result
        rows += _rows(result, panel=FIGURE2_PANELS[hyper_std], hyper_std=hyper_std, tasks=10)
    for tasks in FIGURE2_TASKS:
        fixed = {"panel": "right", "hyper_std": FIGURE2_RIGHT_STD, "tasks": tasks}
        rows += _rows(results[f"right {tasks}"], **fixed)
    columns = ["panel", "hyper_std", "tasks", "records", "policy"]
    table = pl.DataFrame(rows).select([*columns, *_MEASURES])
    return FigureResult(table, plots.hieropo_figure2(table), _figure2_findings(results), {})


def figure3(settings: Settings, reporter: Reporter) -> FigureResult:
    """Multi-user recommendation on MovieLens: suboptimality against records."""
    runs = FIGURE3_RUNS if settings.runs is None else settings.runs
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
        records=FIGURE3_RECORDS,
        progress=reporter.progress("learning curves"),
    )
    table = pl.DataFrame(_rows(result)).select("records", "policy", *_MEASURES)
    facts = {
        "ratings": len(ratings.rating),
        "users": len(ratings.user_ids),
        "movies": len(ratings.movie_ids),
        "held_out_rmse": float(factors.held_out_rmse),
        "noise_std": float(factors.noise_std),
        "cluster_users": len(design.arrays.user),
        "tasks": settings.tasks,
    }
    findings = _figure3_findings(result, settings.tasks)
    return FigureResult(table, plots.hieropo_figure3(table), findings, facts)


_MEASURES = ["suboptimality_mean", "suboptimality_sem", "runs"]


def _rows(result: OffPolicyResult, **fixed: Any) -> Iterator[dict[str, Any]]:
    for policy in ALGORITHMS:
        moments = result.suboptimality[policy]
        for index, records in enumerate(result.records):
            yield fixed | {
                "records": int(records),
                "policy": policy,
                "suboptimality_mean": float(moments.mean[index]),
                "suboptimality_sem": float(moments.sem[index]),
                "runs": int(moments.count),
            }


def _figure2_findings(results: dict[str, OffPolicyResult]) -> list[str]:
    findings = []
    for panel in ("left", "middle"):
        findings += [f"{panel} panel: {line}" for line in _curve_findings(results[panel])]
    gaps = {panel: results[panel].paired("FlatOPO", "HierOPO").mean for panel in ("left", "middle")}
    findings.append(
        verdict(
            "the gap to FlatOPO is wider for hyper_std 1 than for 0.5 at every number of records",
            bool(np.all(gaps["middle"] > gaps["left"])),
        )
    )
    few, many = (results[f"right {m}"] for m in (FIGURE2_TASKS[0], FIGURE2_TASKS[-1]))
    wide, narrow = (r.paired("FlatOPO", "HierOPO").mean[0] for r in (many, few))
    findings.append(
        verdict(
            f"with 500 records the gap to FlatOPO is wider at {FIGURE2_TASKS[-1]} tasks "
            f"({wide:.4f}) than at {FIGURE2_TASKS[0]} ({narrow:.4f})",
            bool(wide > narrow),
        )
    )
    return findings


def _curve_findings(result: OffPolicyResult) -> list[str]:
    """The paper's statements about a learning curve, judged on paired differences."""
    flat = result.paired("FlatOPO", "HierOPO")
    oracle = result.paired("HierOPO", "OracleOPO")
    better = flat.mean > 2 * flat.sem
    where = ", ".join(str(n) for n in result.records[~better])
    return [
        verdict(
            "HierOPO is below FlatOPO by more than two standard errors at every number of records"
            + ("" if better.all() else f" (not at {where})"),
            bool(better.all()),
        ),
        verdict(
            "HierOPO is closer to OracleOPO than to FlatOPO at every number of records",
            bool(np.all(np.abs(oracle.mean) < np.abs(flat.mean))),
        ),
        verdict(
            f"the gap to FlatOPO is widest at few records ({flat.mean[0]:.4f} at "
            f"{result.records[0]}, {flat.mean[-1]:.4f} at {result.records[-1]})",
            bool(np.argmax(flat.mean) < len(flat.mean) / 2),
        ),
    ]


def _figure3_findings(result: OffPolicyResult, tasks: int) -> list[str]:
    """The paper's statements, from five records a task on, and what happens before."""
    flat, oracle = result.paired("FlatOPO", "HierOPO"), result.paired("HierOPO", "OracleOPO")
    some = result.records >= 5 * tasks
    findings = [
        verdict(
            "HierOPO is below FlatOPO by more than two standard errors from five records a task on",
            bool(np.all((flat.mean > 2 * flat.sem)[some])),
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
