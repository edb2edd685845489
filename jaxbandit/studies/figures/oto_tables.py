"""Tables 1 and 2 of Sentenac et al. 2025: lower and upper bounds of UCB and LCB."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np
import polars as pl

from jaxbandit import bounds
from jaxbandit.inference.arms import Confidence
from jaxbandit.studies.figures import FigureResult, Reporter, Settings, bound_plots
from jaxbandit.studies.figures.oto_bounds import ARMS, DATA, PROBABILITY, SAMPLES, constants, facts
from jaxbandit.studies.report import statements
from jaxbandit.studies.report.statements import verdict

TABLE_HORIZONS = (1, SAMPLES, 100 * SAMPLES)


def tables(settings: Settings, reporter: Reporter) -> FigureResult:
    """Lower and upper bounds of UCB and LCB: against the best arm, against the logging policy."""
    del settings, reporter
    table = pl.DataFrame(
        [
            row
            for data, count in DATA.items()
            for horizon in TABLE_HORIZONS
            for row in table_rows(data, count, horizon)
        ]
    )
    title = f"{ARMS} arms, {SAMPLES:,} samples"
    picture = bound_plots.intervals(table, SAMPLES, title)
    return FigureResult(table, picture, table_findings(table), facts(), markdown(table))


def table_rows(data: str, count: np.ndarray, horizon: int) -> Iterator[dict[str, object]]:
    """Lower and upper bounds of both policies, in both tables."""
    known = constants(horizon)
    cells = {
        (1, "UCB"): (bounds.minimax_regret_lower, bounds.ucb_minimax_regret),
        (1, "LCB"): (bounds.lcb_minimax_regret_lower, bounds.lcb_minimax_regret),
        (2, "UCB"): (_ucb_logging_lower, bounds.ucb_logging_regret),
        (2, "LCB"): (bounds.lcb_logging_regret_lower, bounds.lcb_logging_regret),
    }
    for (number, policy), (lower, upper) in cells.items():
        yield {
            "table": number,
            "data": data,
            "horizon": horizon,
            "policy": policy,
            "lower": float(lower(count, horizon, known)),
            "upper": float(upper(count, horizon, known)),
        }


def _ucb_logging_lower(count: np.ndarray, horizon: int, known: Confidence) -> jax.Array:
    if horizon == 1:
        return bounds.ucb_first_round_logging_regret_lower(count, known)
    return bounds.ucb_logging_regret_lower(count, horizon, known)


def table_findings(table: pl.DataFrame) -> list[str]:
    """What the lower bound of one policy and the upper bound of the other prove."""
    lines = [
        verdict(
            "every lower bound is below its upper bound",
            bool((table["lower"] <= table["upper"]).all()),
        )
    ]
    for number, against in ((1, "the best arm"), (2, "the logging policy")):
        for data in DATA:
            for horizon in TABLE_HORIZONS:
                part = table.filter(
                    (pl.col("table") == number)
                    & (pl.col("data") == data)
                    & (pl.col("horizon") == horizon)
                )
                for better, worse in (("UCB", "LCB"), ("LCB", "UCB")):
                    upper = part.filter(pl.col("policy") == better)["upper"][0]
                    lower = part.filter(pl.col("policy") == worse)["lower"][0]
                    # Runs off the event, at full cost.
                    most = upper + (1 - PROBABILITY) * horizon
                    if lower > most:
                        lines.append(
                            f"proved: {data}, T = {horizon:,}, against {against}: {worse} on its "
                            f"worst instance does worse than {better} on any "
                            f"({lower / horizon:.3g} a round or more, {most / horizon:.3g} or less)"
                        )
    return lines


def markdown(table: pl.DataFrame) -> str:
    """Tables 1 and 2, per round."""
    parts = [
        f"{ARMS} arms with means in [0, 1], {SAMPLES:,} offline samples, noise 1/2; regret **per "
        "round**. UB: holds on every instance with probability "
        f"{PROBABILITY}. LB: expected regret on the worst instance is at least this (of any policy "
        "in the row of UCB in table 1).\n"
    ]
    names = {1: "Table 1: regret against the best arm", 2: "Table 2: against the logging policy"}
    heads = [
        f"{'T = 1' if t == 1 else 'T = m' if t == SAMPLES else f'T = {t // SAMPLES} m'}, {side}"
        for t in TABLE_HORIZONS
        for side in ("LB", "UB")
    ]
    for number, name in names.items():
        rows = []
        for data in DATA:
            for policy in ("UCB", "LCB"):
                part = table.filter(
                    (pl.col("table") == number)
                    & (pl.col("data") == data)
                    & (pl.col("policy") == policy)
                ).sort("horizon")
                cells = [
                    f"{value / one['horizon']:.3g}"
                    for one in part.iter_rows(named=True)
                    for value in (one["lower"], one["upper"])
                ]
                rows.append([data, policy, *cells])
        head = ["offline data", "policy", *heads]
        parts += [f"## {name}\n", statements.markdown(head, rows, labels=2)]
    return "\n".join(parts)
