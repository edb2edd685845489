"""Figures about fitted hierarchies."""

import numpy as np
import pytest

from jaxbandit.studies.figures import Reporter, Settings, fit_consistency, movielens_ratings
from tests.datasets.movielens_100k import movielens_100k_directory


@pytest.fixture
def reporter():
    return Reporter(lambda line: None, lambda description: lambda done, total: None)


def test_errors_fall_as_tasks_grow(reporter, monkeypatch):
    monkeypatch.setattr(fit_consistency, "TASKS", (40, 640))
    result = fit_consistency.figure(Settings(runs=10), reporter)
    assert list(result.table["parameter"].unique(maintain_order=True)) == [
        "hyper_mean",
        "task_cov",
        "noise_std",
    ]
    few, many = (result.table.filter(tasks=tasks) for tasks in (40, 640))
    for measure in ("error_rms", "standard_error_rms"):
        # Sixteen times the tasks, a quarter of the error.
        ratio = (many[measure] / few[measure]).to_numpy()
        assert np.all((ratio > 0.15) & (ratio < 0.4)), measure
    assert result.findings[0].startswith("confirmed")


@pytest.mark.slow  # Six fits and a factorisation of 100,000 ratings.
def test_hieropo_predicts_ratings_of_new_users_best(reporter):
    settings = Settings(runs=1, movielens=movielens_100k_directory(), rank=5)
    result = movielens_ratings.held_out_ratings(settings, reporter)
    assert all(line.startswith("confirmed") for line in result.findings[:2])
    ours = result.table.filter(policy="HierOPO")
    assert ours["rmse_mean"].is_sorted(descending=True)
    assert ours["rmse_mean"].max() < 1.1
