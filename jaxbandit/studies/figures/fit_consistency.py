"""Whether a fitted hierarchy closes in on the one that the log was drawn from, as tasks grow."""

from __future__ import annotations

import jax
import numpy as np
import polars as pl

from jaxbandit.inference.fit.empirical_bayes import FittedHierarchy, fit_hierarchy
from jaxbandit.inference.model import BanditLog
from jaxbandit.inference.statistics import task_statistics
from jaxbandit.studies.figures import FigureResult, Reporter, Settings
from jaxbandit.studies.report import style
from jaxbandit.studies.report.statements import verdict

RUNS = 100
TASKS = (30, 100, 300, 1000, 3000)
RECORDS = 6
"""For each task."""
MEAN = np.array([1.0, -0.5])
TASK_COV = np.array([[0.5, 0.2], [0.2, 0.3]])
NOISE_STD = 0.4


def figure(settings: Settings, reporter: Reporter) -> FigureResult:
    """Errors of the estimates, and the standard errors that the fit reports, against tasks."""
    runs = RUNS if settings.runs is None else settings.runs
    rows = []
    for tasks in TASKS:
        progress = reporter.progress(f"{tasks} tasks")
        fits = []
        for run in range(runs):
            fits.append(_fit(tasks, np.random.default_rng([settings.seed, tasks, run])))
            progress(run + 1, runs)
        for name, truth in (
            ("hyper_mean", MEAN),
            ("task_cov", TASK_COV),
            ("noise_std", NOISE_STD),
        ):
            off = [np.asarray(getattr(fit, name)) - truth for fit in fits]
            said = [getattr(fit.report.standard_error, name) for fit in fits if fit.report]
            rows.append(
                {
                    "tasks": tasks,
                    "parameter": name,
                    "error_rms": float(np.sqrt(np.mean(np.square(off)))),
                    "standard_error_rms": float(np.sqrt(np.mean(np.square(said)))),
                    "converged": sum(bool(fit.report and fit.report.converged) for fit in fits),
                    "runs": runs,
                }
            )
    table = pl.DataFrame(rows)
    ratio = (table["error_rms"] / table["standard_error_rms"]).to_numpy()
    findings = [
        verdict("every fit converged", bool((table["converged"] == table["runs"]).all())),
        verdict(
            "errors are as large as the standard errors say, within a third, at every number of "
            f"tasks (ratios {np.min(ratio):.2f} to {np.max(ratio):.2f})",
            bool(np.all(np.abs(np.log(ratio)) < np.log(4 / 3))),
        ),
    ]
    return FigureResult(
        table, style.fit_consistency(table), findings, {"runs": runs, "records": RECORDS}
    )


def _fit(tasks: int, rng: np.random.Generator) -> FittedHierarchy:
    theta = MEAN + rng.multivariate_normal(np.zeros(2), TASK_COV, tasks)
    task = np.repeat(np.arange(tasks, dtype=np.int32), RECORDS)
    feature = rng.normal(size=(len(task), 2))
    reward = np.sum(feature * theta[task], axis=1) + NOISE_STD * rng.normal(size=len(task))
    with jax.enable_x64(True):
        return fit_hierarchy(task_statistics(BanditLog(task, feature, reward), tasks))
