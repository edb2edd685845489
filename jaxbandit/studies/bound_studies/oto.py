"""Bounds on the regret of UCB, LCB and OtO against simulated regret."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl

from jaxbandit import bounds
from jaxbandit.bounds.arguments import check_some
from jaxbandit.checks import InputError, check_count, check_not_negative, check_probability
from jaxbandit.environments.base import Environment
from jaxbandit.inference.arms import Confidence, confidence
from jaxbandit.policies.arms.lcb import lcb
from jaxbandit.policies.arms.oto import oto
from jaxbandit.policies.arms.ucb import ucb
from jaxbandit.policies.base import Policy
from jaxbandit.simulation.results import SimulationResult
from jaxbandit.simulation.simulate import simulate
from jaxbandit.studies.bound_studies import measures, plots
from jaxbandit.studies.bound_studies.families import Played, play_family
from jaxbandit.studies.bound_studies.options import Oto
from jaxbandit.studies.figures import FigureResult, Reporter
from jaxbandit.studies.report import statements


class Cell(NamedTuple):
    """What bounds are told, but for the arms' means and alpha."""

    horizon: int
    counts: np.ndarray
    delta: float
    known: Confidence


class Variant(NamedTuple):
    """A policy."""

    policy: str
    alpha: float | None


def study(options: Oto, reporter: Reporter) -> FigureResult:
    """Every bound at every horizon, multiple of the counts, delta and alpha, and runs' regret."""
    _check(options)
    rows: list[dict[str, Any]] = []
    slack: list[dict[str, Any]] = []
    for horizon, multiple, delta in product(options.horizons, options.multiples, options.delta):
        counts = multiple * np.array(options.counts)
        cell = Cell(horizon, counts, delta, constants(delta, horizon, options.anytime))
        for variant, played in _play(options, cell, reporter):
            place = {
                "policy": variant.policy,
                "alpha": variant.alpha,
                "horizon": horizon,
                "samples": int(np.sum(counts)),
                "delta": delta,
                "instance": played.instance,
            }
            rows += (place | row for row in _rows(cell, variant, played))
            if variant.policy == "UCB":
                slack.append(_slack(cell, played))
    table = pl.DataFrame(rows, infer_schema_length=None)
    return FigureResult(
        table, plots.regret(table), _findings(table), {"slack": slack}, _document(slack)
    )


def _check(options: Oto) -> None:
    for name in ("means", "horizons", "multiples", "alphas", "delta"):
        if not getattr(options, name):
            raise InputError(f"{name} must have at least one value, was empty")
    if options.family == "bernoulli" and len(options.means) != len(options.counts):
        raise InputError(
            f"means and counts must be of the same arms, were {len(options.means)} and "
            f"{len(options.counts)}"
        )
    if options.family != "bernoulli" and options.means != Oto.means:
        raise InputError(
            f"--means are of Bernoulli arms, and family {options.family} makes its own; leave out "
            "--means, or --family"
        )
    check_some(np.array(options.counts))
    for name in ("counts", "alphas"):
        check_not_negative(name, np.array(getattr(options, name)))
    for horizon in options.horizons:
        check_count("horizons", horizon)
    for multiple in options.multiples:
        check_count("multiples", multiple)
    for delta in options.delta:
        check_probability("delta", delta)


def constants(delta: float, horizon: int, anytime: bool) -> Confidence:
    """Such that all bounds hold with probability `1 - delta`: the union over rounds included."""
    share = 3 / np.pi**2 if anytime else 1 / (2 * horizon)
    return confidence("paper", delta=delta * share, anytime=anytime)


def _play(options: Oto, cell: Cell, reporter: Reporter) -> Iterator[tuple[Variant, Played]]:
    variants = [
        Variant("UCB", None),
        Variant("LCB", None),
        *(Variant("OtO", alpha) for alpha in options.alphas),
    ]
    policies = {str(variant): _policy(variant, cell.known) for variant in variants}

    def play(arms: Environment) -> SimulationResult:
        return simulate(
            jax.random.key(options.seed),
            policies,
            arms,
            horizon=cell.horizon,
            runs=options.runs,
            offline_count=cell.counts,
            checkpoints=np.array([cell.horizon]),
            progress=reporter.progress(f"horizon {cell.horizon:,}"),
        )

    of_name = {str(variant): variant for variant in variants}
    for played in play_family(options, cell.counts, cell.horizon, cell.known, play):
        yield of_name[played.policy], played


def _policy(variant: Variant, known: Confidence) -> Policy:
    if variant.alpha is not None:
        return oto(variant.alpha, known)
    return {"UCB": ucb, "LCB": lcb}[variant.policy](known)


def _bounds(cell: Cell, variant: Variant, mean: np.ndarray) -> Iterator[Any]:
    """(regret against what, over which instances, bound)."""
    count, horizon, known = cell.counts, cell.horizon, cell.known
    alpha = variant.alpha
    if variant.policy == "UCB":
        yield "best", "this", bounds.ucb_regret(count, mean, horizon, known)
        yield "best", "any", bounds.ucb_minimax_regret(count, horizon, known)
        yield "logging", "any", bounds.ucb_logging_regret(count, horizon, known)
    elif variant.policy == "LCB":
        yield "best", "any", bounds.lcb_minimax_regret(count, horizon, known)
        yield "logging", "any", bounds.lcb_logging_regret(count, horizon, known)
    else:
        assert alpha is not None
        yield "best", "this", bounds.oto_regret(count, mean, horizon, alpha, known)
        yield "best", "any", bounds.oto_minimax_regret(count, horizon, alpha, known)
        yield "logging", "any", bounds.oto_logging_regret(count, horizon, alpha, known)


def _rows(cell: Cell, variant: Variant, played: Played) -> Iterator[dict[str, Any]]:
    mean, count = played.mean, cell.counts
    logging_gap = np.max(mean) - np.sum(count * mean) / np.sum(count)
    lower = played.lower
    for against, instances, bound in _bounds(cell, variant, mean):
        values = played.regret - cell.horizon * logging_gap * (against == "logging")
        is_bounded = (
            lower is not None
            and lower.against == against
            and lower.policy in (None, variant.policy)
        )
        yield {
            "against": against,
            "instances": instances,
            **measures.against(float(bound), values, cell.delta),
            "lower_bound": lower.value if lower is not None and is_bounded else None,
        }


def _slack(cell: Cell, played: Played) -> dict[str, Any]:
    """UCB's bounds, step by step down to the mean of the runs."""
    mean, count, horizon, known = played.mean, cell.counts, cell.horizon, cell.known
    # With half the radius: an arm is pulled while its own bound alone reaches the best mean.
    half = known._replace(scale=known.scale / 4)
    minimax = float(bounds.ucb_minimax_regret(count, horizon, known))
    instance = float(bounds.ucb_regret(count, mean, horizon, known))
    centred = float(bounds.ucb_regret(count, mean, horizon, half))
    reached = measures.quantile(played.regret, 1 - cell.delta).estimate
    return {
        "horizon": horizon,
        "samples": int(np.sum(count)),
        "delta": cell.delta,
        "instance": played.instance,
        "any instance / this one": _over(minimax, instance),
        "estimates at the edge / at their means": _over(instance, centred),
        "the rest / quantile": _over(centred, reached),
        "quantile / mean": _over(reached, float(np.mean(played.regret))),
    }


def _over(first: float, second: float) -> float | None:
    return first / second if second > 0 else None


def _document(slack: list[dict[str, Any]]) -> str:
    """The factors as a table."""
    rows = [
        [
            "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
            for value in one.values()
        ]
        for one in slack
    ]
    return (
        "Where the slack of UCB's bounds against the best arm comes from: factors, from the "
        "minimax bound down to the mean of the runs.\n\n"
    ) + statements.markdown(list(slack[0]), rows)


def _findings(table: pl.DataFrame) -> list[str]:
    lines = [statements.coverage(table)]
    for (against, instances), part in table.group_by("against", "instances", maintain_order=True):
        ratio = part.drop_nulls("ratio")["ratio"]
        if len(ratio):
            lines.append(
                f"seen: against {against}, for {instances} instance: the bound is "
                f"{ratio.min():.3g} to {ratio.max():.3g} times the quantile"
            )
    bounded = table.filter(pl.col("lower_bound") > 0)
    return [*lines, _lower_bounds(bounded)] if len(bounded) else lines


def _lower_bounds(bounded: pl.DataFrame) -> str:
    """Whether regret is as large as lower bounds say; of a pair, on the worse for the policy."""
    keys = ["policy", "alpha", "horizon", "samples", "delta", "against"]
    worse = bounded.group_by(keys).agg(pl.all().sort_by("mean").last())
    # Noise of the mean, and the rounding of rewards without noise.
    most = worse["mean"] + 3 * worse["sem"].fill_nan(0) + 1e-4 * worse["mean"].abs()
    ratio = worse["mean"] / worse["lower_bound"]
    return statements.verdict(
        "mean regret is at least its lower bound, within 3 standard errors "
        f"({ratio.min():.3g} to {ratio.max():.3g} times the bound)",
        bool((most >= worse["lower_bound"]).all()),
    )
