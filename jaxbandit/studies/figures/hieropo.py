"""Figure 2 of Hong et al. 2023, "Multi-Task Off-Policy Learning from Bandit Feedback"."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import ModuleType
from typing import Any

import jax
import numpy as np
import polars as pl

from jaxbandit.environments.linear_tasks import synthetic_design
from jaxbandit.simulation.learning_curves import OffPolicyResult, simulate_offpolicy
from jaxbandit.studies.figures import FigureResult, Reporter, Settings
from jaxbandit.studies.report.statements import verdict

# The paper's: 30.
RUNS = 1000

RECORDS = (100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
PANELS = {0.5: "left", 1.0: "middle"}  # by hyper_std
TASKS = (5, 10, 20, 30, 40, 50)
# The right panel's hyper-prior, which the paper does not name: sharing helps most with this one.
RIGHT_STD = 1.0

ALGORITHMS = ("HierOPO", "FlatOPO", "OracleOPO")


def figure2(settings: Settings, reporter: Reporter) -> FigureResult:
    """Synthetic multi-task bandit: suboptimality against records (two panels) and against tasks."""
    runs = RUNS if settings.runs is None else settings.runs
    key = jax.random.key(settings.seed)

    def panel(hyper_std: float) -> OffPolicyResult:
        return simulate_offpolicy(
            key,
            synthetic_design(hyper_std=hyper_std),
            runs=runs,
            records=RECORDS,
            progress=reporter.progress(f"{PANELS[hyper_std]} panel"),
        )

    def right(tasks: int) -> OffPolicyResult:
        return simulate_offpolicy(
            key,
            synthetic_design(hyper_std=RIGHT_STD, tasks=tasks, max_tasks=max(TASKS)),
            runs=runs,
            records=(500,),
            progress=reporter.progress(f"right panel, {tasks} tasks"),
        )

    def left_and_middle() -> tuple[dict[float, OffPolicyResult], ModuleType]:
        curves = {std: panel(std) for std in PANELS}
        # Loading takes half a second, in which the other program is still being compiled.
        return curves, import_module("jaxbandit.studies.report.style")

    # Two programs, each of which takes seconds to compile: at the same time.
    with ThreadPoolExecutor() as pool:
        panels = pool.submit(left_and_middle)
        results = {f"right {tasks}": right(tasks) for tasks in TASKS}
        curves, plots = panels.result()

    rows: list[dict[str, Any]] = []
    for hyper_std, result in curves.items():
        results[PANELS[hyper_std]] = result
        fixed = {"panel": PANELS[hyper_std], "hyper_std": hyper_std, "tasks": 10}
        rows += suboptimality_rows(result, **fixed)
    for tasks in TASKS:
        fixed = {"panel": "right", "hyper_std": RIGHT_STD, "tasks": tasks}
        rows += suboptimality_rows(results[f"right {tasks}"], **fixed)
    columns = ["panel", "hyper_std", "tasks", "records", "policy"]
    table = pl.DataFrame(rows).select([*columns, *MEASURES])
    return FigureResult(table, plots.hieropo_figure2(table), _findings(results), {"runs": runs})


MEASURES = ["suboptimality_mean", "suboptimality_sem", "runs"]


def suboptimality_rows(result: OffPolicyResult, **fixed: Any) -> Iterator[dict[str, Any]]:
    """Rows of a table: for each policy and number of records, `MEASURES` beside fixed columns."""
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


def _findings(results: dict[str, OffPolicyResult]) -> list[str]:
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
    few, many = (results[f"right {m}"] for m in (TASKS[0], TASKS[-1]))
    wide, narrow = (r.paired("FlatOPO", "HierOPO").mean[0] for r in (many, few))
    findings.append(
        verdict(
            f"with 500 records the gap to FlatOPO is wider at {TASKS[-1]} tasks "
            f"({wide:.4f}) than at {TASKS[0]} ({narrow:.4f})",
            bool(wide > narrow),
        )
    )
    return findings


def _curve_findings(result: OffPolicyResult) -> list[str]:
    """The paper's statements about a learning curve, judged on paired differences."""
    flat = result.paired("FlatOPO", "HierOPO")
    oracle = result.paired("HierOPO", "OracleOPO")
    better = flat.mean > flat.margin
    where = ", ".join(str(n) for n in result.records[~better])
    return [
        verdict(
            "HierOPO is below FlatOPO, beyond the 95 % interval, at every number of records"
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
