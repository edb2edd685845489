"""Bounds on the regret of UCB, LCB and OtO against simulated regret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import polars as pl

from jaxbandit import bounds
from jaxbandit.checks import InputError, check_count, check_not_negative, check_probability
from jaxbandit.online.arms import Confidence, confidence
from jaxbandit.online.environments import bernoulli_arms
from jaxbandit.online.policies.base import Policy
from jaxbandit.online.policies.lcb import lcb
from jaxbandit.online.policies.oto import oto
from jaxbandit.online.policies.ucb import ucb
from jaxbandit.online.setting import check_some
from jaxbandit.online.simulate import simulate
from jaxbandit.studies import findings
from jaxbandit.studies.bounds import measures, plots
from jaxbandit.studies.bounds.options import Oto
from jaxbandit.studies.figures import FigureResult, Reporter

Variant = tuple[str, float | None, float]
"""Policy, alpha, delta."""


def study(options: Oto, reporter: Reporter) -> FigureResult:
    """Every bound at every horizon, alpha and delta, with the regret of the runs."""
    _check(options)
    rows: list[dict[str, Any]] = []
    slack: list[dict[str, Any]] = []
    for horizon in options.horizons:
        known = {delta: constants(delta, horizon) for delta in options.delta}
        made = dict(_policies(options, known))
        out = simulate(
            jax.random.key(options.seed),
            {str(variant): policy for variant, policy in made.items()},
            bernoulli_arms(np.array(options.means)),
            horizon=horizon,
            runs=options.runs,
            offline_count=np.array(options.counts),
            checkpoints=np.array([horizon]),
            progress=reporter.progress(f"horizon {horizon:,}"),
        )
        for variant in made:
            regret = out[str(variant)].final_regret
            regret = np.delete(regret, out.non_finite)
            rows += _rows(options, variant, horizon, known[variant[2]], regret)
            slack += _slack(options, variant, horizon, known[variant[2]], regret)
    table = pl.DataFrame(rows, infer_schema_length=None)
    document = _document(slack)
    return FigureResult(
        table, plots.regret(table, options.delta[0]), _findings(table), {"slack": slack}, document
    )


def _check(options: Oto) -> None:
    for name in ("means", "horizons", "alphas", "delta"):
        if not getattr(options, name):
            raise InputError(f"{name} must have at least one value, was empty")
    if len(options.means) != len(options.counts):
        raise InputError(
            f"means and counts must be of the same arms, were {len(options.means)} and "
            f"{len(options.counts)}"
        )
    check_some(np.array(options.counts))
    for name in ("counts", "alphas"):
        check_not_negative(name, np.array(getattr(options, name)))
    for horizon in options.horizons:
        check_count("horizons", horizon)
    for delta in options.delta:
        check_probability("delta", delta)


def constants(delta: float, horizon: int) -> Confidence:
    """Such that all bounds hold with probability `1 - delta`: the union over rounds included."""
    return confidence("paper", delta=delta / (2 * horizon))


def _policies(options: Oto, known: dict[float, Confidence]) -> Iterator[tuple[Variant, Policy]]:
    for delta, constant in known.items():
        yield ("UCB", None, delta), ucb(constant)
        yield ("LCB", None, delta), lcb(constant)
        for alpha in options.alphas:
            yield ("OtO", alpha, delta), oto(alpha, constant)


def _bounds(options: Oto, variant: Variant, horizon: int, known: Confidence) -> Iterator[Any]:
    """(regret against what, over which instances, bound)."""
    policy, alpha, _ = variant
    mean, count = np.array(options.means), np.array(options.counts)
    if policy == "UCB":
        yield "best", "this", bounds.ucb_regret(count, mean, horizon, known)
        yield "best", "any", bounds.ucb_minimax_regret(count, horizon, known)
        yield "logging", "any", bounds.ucb_logging_regret(count, horizon, known)
    elif policy == "LCB":
        yield "best", "any", bounds.lcb_minimax_regret(count, horizon, known)
        yield "logging", "any", bounds.lcb_logging_regret(count, horizon, known)
    else:
        assert alpha is not None
        yield "best", "this", bounds.oto_regret(count, mean, horizon, alpha, known)
        yield "best", "any", bounds.oto_minimax_regret(count, horizon, alpha, known)
        yield "logging", "any", bounds.oto_logging_regret(count, horizon, alpha, known)


def _rows(
    options: Oto, variant: Variant, horizon: int, known: Confidence, regret: np.ndarray
) -> Iterator[dict[str, Any]]:
    policy, alpha, delta = variant
    mean, count = np.array(options.means), np.array(options.counts)
    logging_gap = np.max(mean) - np.sum(count * mean) / np.sum(count)
    for against, instances, bound in _bounds(options, variant, horizon, known):
        values = regret - horizon * logging_gap * (against == "logging")
        yield {
            "policy": policy,
            "alpha": alpha,
            "horizon": horizon,
            "delta": delta,
            "against": against,
            "instances": instances,
            **measures.against(float(bound), values, delta),
        }


def _slack(
    options: Oto, variant: Variant, horizon: int, known: Confidence, regret: np.ndarray
) -> Iterator[dict[str, Any]]:
    """UCB's bounds, step by step down to the mean of the runs."""
    policy, _, delta = variant
    if policy != "UCB":
        return
    mean, count = np.array(options.means), np.array(options.counts)
    # With half the radius: an arm is pulled while its own bound alone reaches the best mean.
    half = known._replace(scale=known.scale / 4)
    minimax = float(bounds.ucb_minimax_regret(count, horizon, known))
    instance = float(bounds.ucb_regret(count, mean, horizon, known))
    centred = float(bounds.ucb_regret(count, mean, horizon, half))
    reached = measures.quantile(regret, 1 - delta).estimate
    yield {
        "horizon": horizon,
        "delta": delta,
        "any instance / this one": _over(minimax, instance),
        "estimates at the edge / at their means": _over(instance, centred),
        "the rest / quantile": _over(centred, reached),
        "quantile / mean": _over(reached, float(np.mean(regret))),
    }


def _over(first: float, second: float) -> float | None:
    return first / second if second > 0 else None


def _document(slack: list[dict[str, Any]]) -> str:
    """The factors as a table."""
    rows = [
        [str(one["horizon"])]
        + ["" if value is None else f"{value:.3g}" for value in list(one.values())[1:]]
        for one in slack
    ]
    return (
        "Where the slack of UCB's bounds against the best arm comes from: factors, from the "
        "minimax bound down to the mean of the runs.\n\n"
    ) + findings.markdown(list(slack[0]), rows)


def _findings(table: pl.DataFrame) -> list[str]:
    lines = [findings.coverage(table)]
    for (against, instances), part in table.group_by("against", "instances", maintain_order=True):
        ratio = part.drop_nulls("ratio")["ratio"]
        if len(ratio):
            lines.append(
                f"seen: against {against}, for {instances} instance: the bound is "
                f"{ratio.min():.3g} to {ratio.max():.3g} times the quantile"
            )
    return lines
