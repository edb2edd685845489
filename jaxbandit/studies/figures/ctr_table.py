"""Table 3 of Sentenac et al. 2025: how well click models predict, on two test sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from jaxbandit.ctr import reward_tables
from jaxbandit.ctr.deployment import Deployment
from jaxbandit.ctr.reward_tables import NAMES
from jaxbandit.ctr.training import Loss
from jaxbandit.studies.figures import FigureResult, Reporter, Settings, click_plots
from jaxbandit.studies.figures.click_models import deployed, files, label, source_of
from jaxbandit.studies.report import statements
from jaxbandit.studies.report.statements import verdict


def check(settings: Settings) -> None:
    """Refuse settings without data to train models on."""
    source_of(settings, trains=True)


def table3(settings: Settings, reporter: Reporter) -> FigureResult:
    """Cross-entropy of the eight models and of baselines on both test sets."""
    source = source_of(settings, trains=True)
    where = label(source)
    done = deployed(source, reporter)
    table = pl.DataFrame(_rows(done)).with_columns(source=pl.lit(where))
    return FigureResult(
        table,
        click_plots.table3(table, where),
        _findings(done),
        {"source": where, **done.split._asdict()},
        _markdown(done, where),
        files(reward_tables.from_deployment(done, where)),
    )


def _rows(done: Deployment) -> Iterator[dict[str, Any]]:
    for one in done.trained:
        hidden = "default" if one.spec.hidden is None else " ".join(map(str, one.spec.hidden))
        about = {"model": one.spec.name, "architecture": one.spec.architecture}
        about |= {"hidden_units": hidden, "trained_on": f"Dataset {one.spec.dataset}"}
        for test, loss in one.losses.items():
            yield about | {"test_set": test, **_of_loss(loss)}
    for name, losses in done.references.items():
        about = {"model": name, "architecture": "", "hidden_units": "", "trained_on": ""}
        for test, loss in losses.items():
            yield about | {"test_set": test, **_of_loss(loss)}


def _of_loss(loss: Loss) -> dict[str, Any]:
    return {"cross_entropy": loss.mean, "cross_entropy_sem": loss.sem, "rows": loss.rows}


def _markdown(done: Deployment, where: str) -> str:
    every = {one.spec.name: one.losses for one in done.trained} | done.references
    head = ["", *(name.replace("model_", "Model ") for name in every)]
    lines = [
        [test.capitalize(), *(f"{losses[test].mean:.4f}" for losses in every.values())]
        for test in ("test set 2", "test set 1")
    ]
    text = statements.markdown(head, lines, labels=1)
    return f"Cross-entropy (nats), {where}. Standard errors are in the CSV file.\n\n{text}"


def _findings(done: Deployment) -> list[str]:
    """The paper's section 6.2, on the two test sets."""
    loss = {
        test: {one.spec.name: one.losses[test].mean for one in done.trained[: len(NAMES)]}
        for test in ("test set 1", "test set 2")
    }
    second, first = loss["test set 2"], loss["test set 1"]
    new = [name for name in NAMES if name not in ("model_1", "model_8")]
    return [
        verdict(
            "Models 2-7, trained on the log, all beat Model 1 on Test Set 2, of the log",
            all(second[name] < second["model_1"] for name in new),
        ),
        verdict(
            "Model 1 beats all of Models 2-7 on Test Set 1, of what production sees",
            all(first["model_1"] < first[name] for name in new),
        ),
        verdict("Model 8 beats Model 1 on Test Set 1", first["model_8"] < first["model_1"]),
        verdict("Model 8 beats Model 1 on Test Set 2", second["model_8"] < second["model_1"]),
        verdict(
            "Models 2-7 all beat Model 8 on Test Set 2",
            all(second[name] < second["model_8"] for name in new),
        ),
    ]
