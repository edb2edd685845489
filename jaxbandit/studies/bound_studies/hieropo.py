r"""Bounds on the suboptimality of HierOPO, FlatOPO and OracleOPO against simulated suboptimality.

All is of one fixed task, the first: the theorems are about one task, with failure probability
delta. Bounds depend on the log, through counts and $\gamma$, and so differ from run to run. All of
them are proportional to the width alpha, and are computed for a width of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jax import Array

from jaxbandit import bounds
from jaxbandit.checks import InputError, check_count
from jaxbandit.engine import devices, tiles
from jaxbandit.engine.keys import Purpose, purpose_key, run_key
from jaxbandit.engine.tile_output import TileOutput
from jaxbandit.environments.linear_tasks import (
    OffPolicyDesign,
    check_design,
    draw_log,
    synthetic_design,
)
from jaxbandit.inference.model import Gaussian
from jaxbandit.inference.statistics import listed_statistics, listed_width
from jaxbandit.linalg import products
from jaxbandit.policies.offline import ALGORITHMS, pessimistic_action, suboptimality
from jaxbandit.simulation.learning_curves import TILE_WIDTH, runs_at_once
from jaxbandit.studies.bound_studies import measures, plots
from jaxbandit.studies.bound_studies.options import Hieropo
from jaxbandit.studies.figures import FigureResult, Reporter
from jaxbandit.studies.report import statements

WIDTHS = ("paper", "exact")


def study(options: Hieropo, reporter: Reporter) -> FigureResult:
    """Every bound at every number of tasks and records, delta and width."""
    _check(options)
    most = max(options.tasks)
    alphas = {
        (delta, width): float(_alpha(width, options.features, delta))
        for delta in options.delta
        for width in WIDTHS
    }
    rows: list[dict[str, Any]] = []
    slack: list[dict[str, Any]] = []
    for tasks in options.tasks:
        design = check_design(
            synthetic_design(
                features=options.features,
                actions=options.actions,
                tasks=tasks,
                max_tasks=most,
                hyper_std=options.hyper_std,
                task_std=options.task_std,
                noise_std=options.noise_std,
                contexts=options.contexts,
            )
        )
        out = tiles.run_tiles(
            _program,
            options.records,
            jax.random.key(options.seed),
            (design, jnp.asarray(list(alphas.values()))),
            runs=options.runs,
            width=devices.by_platform(TILE_WIDTH),
            written_out=True,
            progress=reporter.progress(f"{tasks} tasks"),
        )
        kept = jax.tree.map(lambda x, bad=out.non_finite: np.delete(x, bad, axis=0), out.kept)
        for at, records in enumerate(options.records):
            cell = {"tasks": tasks, "records": records}
            here = jax.tree.map(lambda x, at=at: x[:, at].astype(float), kept)
            for which, ((delta, width), alpha) in enumerate(alphas.items()):
                fixed = cell | {"delta": delta, "width": width, "alpha": alpha}
                lost = {name: value[:, which] for name, value in here["lost"].items()}
                rows += _rows(fixed, lost, here["unit"], alpha, delta)
                if width == "paper":
                    widths = (alpha, alphas[delta, "exact"])
                    slack.append(
                        cell
                        | {"delta": delta}
                        | steps(options.features, delta, widths, lost["HierOPO"], here["unit"])
                    )
    table = pl.DataFrame(rows, infer_schema_length=None)
    facts = {"slack": slack, "task": "the first"}
    picture = plots.suboptimality(table, options.delta[0])
    return FigureResult(table, picture, _findings(table), facts, document(slack))


def _check(options: Hieropo) -> None:
    for name in ("tasks", "records"):
        values = getattr(options, name)
        if not values:
            raise InputError(f"{name} must have at least one value, was empty")
        for value in values:
            check_count(name, value)
    if not options.delta:
        raise InputError("delta must have at least one value, was empty")
    if not 1 <= options.features <= 4:
        raise InputError(
            f"features must lie between 1 and 4, was {options.features}: with more, feature "
            "vectors on [-1/2, 1/2]^d have norms above 1 (Assumption 1 of the bounds)"
        )


def _alpha(width: str, features: int, delta: float) -> Array:
    return (bounds.paper_alpha if width == "paper" else bounds.exact_alpha)(features, delta)


# A tile of runs.


def _program(static: Any, root: Array, runs: Array, params: Any) -> TileOutput:
    design, alphas = params
    width = listed_width(design.max_tasks, len(design.model.hyper_mean))
    size = runs_at_once(len(runs), max(static) * design.max_tasks * width)
    one = partial(_run, design=design, alphas=alphas, records=static)
    kept = jax.lax.map(lambda run: one(run_key(root, run)), runs, batch_size=size)
    return TileOutput(averaged=(), kept=kept)


def _run(key: Array, design: OffPolicyDesign, alphas: Array, records: tuple[int, ...]) -> Any:
    """All numbers of one run, with a leading axis over `records`."""
    instance = design.draw_instance(purpose_key(key, Purpose.INSTANCE), design)
    log = draw_log(key, design, instance, max(records) * design.max_tasks)
    contexts = design.draw_features(
        purpose_key(key, Purpose.CONTEXTS), design, (design.contexts, design.actions)
    )
    theta = instance.task_parameter
    optimal = jax.vmap(lambda one: bounds.optimal_gram(one, contexts))(theta)

    def at(length: Array) -> Any:
        listed = jnp.arange(len(log.reward)) < length * design.tasks
        stats = listed_statistics(log, listed, design.max_tasks)
        first = {
            name: jax.tree.map(
                lambda x: x[0], algorithm(design.model, stats, instance.hyper_parameter)
            )
            for name, algorithm in ALGORITHMS.items()
        }

        def lost(gaussian: Gaussian, alpha: Array) -> Array:
            action = pessimistic_action(gaussian, contexts, alpha)
            return suboptimality(theta[0], contexts, action)

        return {
            "lost": {
                name: jax.vmap(lambda alpha, g=gaussian: lost(g, alpha))(alphas)
                for name, gaussian in first.items()
            },
            "unit": _unit_bounds(design, stats, first["HierOPO"], theta[0], optimal, contexts),
        }

    return jax.lax.map(at, jnp.asarray(records))


def _unit_bounds(
    design: OffPolicyDesign,
    stats: Any,
    posterior: Gaussian,
    theta: Array,
    optimal: Array,
    contexts: Array,
) -> dict[str, Array]:
    """Bounds of the first task for a width of one."""
    model, count = design.model, stats.count
    each = bounds.task_gamma(stats, optimal)
    # Of tasks that are simulated; one of them without records makes it no smaller.
    smallest = bounds.smallest_gamma(each, count)
    common = bounds.hieropo_bound(model, count, smallest, optimal, 1.0)
    own = bounds.hieropo_bound(model, count, each, optimal, 1.0)
    away = products.inner(contexts, theta - posterior.mean)
    deviation = jnp.sqrt(jnp.maximum(products.quadratic_form(posterior.cov, contexts), 0))
    return {
        "task": common.task[0],
        "hyper": common.hyper,
        "own task": own.task[0],
        "own hyper": own.hyper,
        "one root": bounds.hieropo_one_root_bound(model, count, smallest, optimal, 1.0)[0],
        "own one root": bounds.hieropo_one_root_bound(model, count, each, optimal, 1.0)[0],
        "trace": bounds.trace_bound(posterior.cov, optimal[0], 1.0),
        "contexts": bounds.data_dependent_bound(posterior, theta, contexts, 1.0),
        "flat": bounds.flatopo_bound(model, count[0], each[0], 1.0),
        "oracle": bounds.single_task_bound(model.task_cov, model.noise_std, count[0], each[0], 1.0),
        # The least width for which the intervals of this run hold.
        "needed": jnp.max(jnp.abs(away) / jnp.where(deviation > 0, deviation, jnp.inf)),
    }


# Tables.


def _rows(
    fixed: dict[str, Any],
    lost: dict[str, np.ndarray],
    unit: dict[str, np.ndarray],
    alpha: float,
    delta: float,
) -> Iterator[dict[str, Any]]:
    listed = [
        ("HierOPO", "theorem 2", "task", "hyper"),
        ("HierOPO", "theorem 2, gamma of each task", "own task", "own hyper"),
        ("HierOPO", "one root", "own one root", None),
        ("HierOPO", "2 E[c]", "contexts", None),
        ("FlatOPO", "flat", "flat", None),
        ("OracleOPO", "theorem 1", "oracle", None),
    ]
    for policy, name, task, hyper in listed:
        terms = [alpha * unit[part] for part in (task, hyper) if part is not None]
        yield fixed | {
            "policy": policy,
            "bound_name": name,
            "task_term": float(np.median(terms[0])) if hyper else None,
            "hyper_term": float(np.median(terms[1])) if hyper else None,
            **measures.against(np.sum(terms, axis=0), lost[policy], delta),
        }


def steps(
    features: int,
    delta: float,
    widths: tuple[float, float],
    lost: np.ndarray,
    unit: dict[str, np.ndarray],
) -> dict[str, float]:
    r"""Theorem 2 over the quantile of suboptimality, as a product of the proof's steps.

    Of steps that differ from run to run, the median; so the product is only nearly the whole. A
    width is `paper_alpha`, that of the tail bound
    $\sqrt{d + 2 \sqrt{d \log(1/\delta)} + 2 \log(1/\delta)}$ before it is rounded up to
    $\sqrt{5 d \log(1/\delta)}$, `exact_alpha`, and the $1 - \delta$ quantile over runs of the width
    that the intervals needed.
    """
    (paper, exact), log = widths, -np.log(delta)
    tail = float(np.sqrt(features + 2 * np.sqrt(features * log) + 2 * log))
    needed = measures.quantile(unit["needed"], 1 - delta).estimate
    reached = measures.quantile(lost, 1 - delta).estimate
    two, own_two = unit["task"] + unit["hyper"], unit["own task"] + unit["own hyper"]

    def typical(above: np.ndarray, below: np.ndarray) -> float:
        return float(np.median(above / below))

    return {
        "one gamma for all tasks": typical(two, own_two),
        "two roots": typical(own_two, unit["own one root"]),
        "eigenvalues": typical(unit["own one root"], unit["trace"]),
        "Jensen": typical(unit["trace"], unit["contexts"]),
        "rounding to 5 d log": paper / tail,
        "chi-square tail": tail / exact,
        "Cauchy-Schwarz": exact / needed,
        "the policy": needed * float(np.median(unit["contexts"])) / reached,
        "product": paper * float(np.median(two)) / reached,
    }


def document(slack: list[dict[str, Any]]) -> str:
    """The factors as a table."""
    rows = [[f"{value:.3g}" for value in one.values()] for one in slack]
    return (
        "Where the slack of theorem 2 comes from: factors between the median bound and the "
        "1 - delta quantile of HierOPO's suboptimality.\n\n"
    ) + statements.markdown(list(slack[0]), rows)


def _findings(table: pl.DataFrame) -> list[str]:
    lines = [statements.coverage(table)]
    for (policy, name), part in table.group_by("policy", "bound_name", maintain_order=True):
        by_width = [
            f"{width} alpha {one['ratio'].min():.3g} to {one['ratio'].max():.3g}"
            for (width,), one in part.drop_nulls("ratio").group_by("width", maintain_order=True)
        ]
        lines.append(f"seen: {policy}, {name}: bound over quantile: {'; '.join(by_width)}")
    theorem = table.filter(
        (pl.col("bound_name") == "theorem 2, gamma of each task") & (pl.col("width") == "paper")
    )
    for column, against, fixed in (
        ("hyper_term", "tasks", "records"),
        ("task_term", "records", "tasks"),
    ):
        falls = all(
            np.all(np.diff(one.sort(against)[column].to_numpy()) <= 0)
            for _, one in theorem.group_by(fixed, "delta")
        )
        lines.append(
            statements.verdict(f"the {column.replace('_', ' ')} falls with {against}", falls)
        )
    return lines + list(_against_flat(table))


def _against_flat(table: pl.DataFrame) -> Iterator[str]:
    """Whether the bounds, like the policies, tell HierOPO from FlatOPO."""
    keys = ["tasks", "records", "delta", "width"]
    flat = table.filter(pl.col("bound_name") == "flat").select(*keys, flat="bound")
    for name in ("theorem 2", "one root"):
        both = table.filter(pl.col("bound_name") == name).join(flat, on=keys)
        below = int((both["bound"] < both["flat"]).sum())
        yield statements.verdict(
            f"the bound of HierOPO ({name}) is below that of FlatOPO (in {below} of {len(both)} "
            "cells)",
            below == len(both),
        )
