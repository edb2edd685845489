"""Figures 1 and 2 of Sentenac et al. 2025: bounds of UCB, LCB and OtO.

Numbers with all their constants, where the paper plots and tabulates rates. Upper bounds hold with
probability `PROBABILITY`; lower ones are on expected regret.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from jaxbandit import bounds
from jaxbandit.inference.arms import Confidence, confidence
from jaxbandit.studies.figures import FigureResult, Reporter, Settings, bound_plots
from jaxbandit.studies.report.statements import verdict

ARMS = 20
SAMPLES = 200_000
PROBABILITY = 0.95
ALPHAS = tuple(float(a) for a in np.geomspace(0.01, 100, 41))
# T / m of the panels; beside them, one round.
RATIOS = (0.001, 0.1, 1, 10, 100)
HORIZONS = (1, *(int(ratio * SAMPLES) for ratio in RATIOS))

# Two bounds that are equal but for the rounding up.
_SAME = 1 + 1e-4

DATA = {
    "all arms alike": np.full(ARMS, SAMPLES / ARMS),
    "half on one arm": np.array([SAMPLES / 2] + [SAMPLES / 2 / (ARMS - 1)] * (ARMS - 1)),
    "two arms only": np.array([SAMPLES / 2] * 2 + [0.0] * (ARMS - 2)),
}


def constants(horizon: int) -> Confidence:
    """Of the paper's formulas, such that all bounds hold with `PROBABILITY`."""
    return confidence("paper", delta=(1 - PROBABILITY) / (2 * horizon))


def figure(settings: Settings, reporter: Reporter, *, data: str) -> FigureResult:
    """Each policy's pair (bound on R_log, bound on R), a panel a horizon."""
    del settings, reporter
    table = pl.DataFrame(
        [row for horizon in HORIZONS for row in upper_bounds(DATA[data], horizon)],
        infer_schema_length=None,
    )
    crossing = overtaking(DATA[data])
    findings = figure_findings(table, data, crossing)
    about = facts() | {"count": DATA[data].tolist(), "ucb_overtakes_lcb_at": crossing}
    title = f"{ARMS} arms, {SAMPLES:,} samples, {data}; per round, with probability {PROBABILITY}"
    return FigureResult(table, bound_plots.trade_off(table, SAMPLES, title), findings, about)


figure1 = partial(figure, data="all arms alike")
figure2 = partial(figure, data="two arms only")


def upper_bounds(count: np.ndarray, horizon: int) -> Iterator[dict[str, object]]:
    """A row a policy: its bounds on R_log and R, whatever the means; OtO's at every alpha."""
    known = constants(horizon)
    ucb = float(bounds.ucb_minimax_regret(count, horizon, known))
    lcb = float(bounds.lcb_minimax_regret(count, horizon, known))
    logging = {
        "UCB": (None, float(bounds.ucb_logging_regret(count, horizon, known)), ucb),
        "LCB": (None, float(bounds.lcb_logging_regret(count, horizon, known)), lcb),
    }
    alphas = jnp.asarray(ALPHAS)
    regret, logging_regret = (
        np.asarray(jax.vmap(lambda a, bound=bound: bound(count, horizon, a, known))(alphas), float)
        for bound in (bounds.oto_minimax_regret, bounds.oto_logging_regret)
    )
    # Regret against the logging policy is never above that against the best arm.
    pairs = zip(ALPHAS, np.minimum(logging_regret, regret), regret, strict=True)
    oto = [("OtO", *values) for values in pairs]
    for policy, alpha, against_logging, against_best in [
        *((name, *values) for name, values in logging.items()),
        *oto,
    ]:
        yield {
            "horizon": horizon,
            "policy": policy,
            "alpha": alpha,
            "logging_regret_bound": float(against_logging),
            "regret_bound": float(against_best),
        }


def overtaking(count: np.ndarray) -> int | None:
    """The least horizon from which UCB's bounds are nowhere above LCB's; None if beyond 10^5 m."""

    def below(horizon: int) -> bool:
        known = constants(horizon)
        return bool(
            bounds.ucb_minimax_regret(count, horizon, known)
            <= bounds.lcb_minimax_regret(count, horizon, known) * _SAME
            and bounds.ucb_logging_regret(count, horizon, known)
            <= bounds.lcb_logging_regret(count, horizon, known) * _SAME
        )

    grid = np.unique(np.geomspace(1, 1e5 * SAMPLES, 241).astype(int))
    above = np.flatnonzero([not below(int(horizon)) for horizon in grid])
    if len(above) == 0:
        return 1
    if above[-1] == len(grid) - 1:
        return None
    low, high = int(grid[above[-1]]), int(grid[above[-1] + 1])
    while high > 1.001 * low + 1:
        middle = (low + high) // 2
        low, high = (low, middle) if below(middle) else (middle, high)
    return high


def figure_findings(table: pl.DataFrame, data: str, crossing: int | None) -> list[str]:
    """The paper's section 5 on its figures, judged by the bounds."""
    lines = []
    ratios = {
        horizon: _ratios(table.filter(pl.col("horizon") == horizon))
        for horizon in table["horizon"].unique().sort()
    }
    long = {t: r for t, r in ratios.items() if t >= SAMPLES}
    since = (
        "at no T up to 100,000 m"
        if crossing is None
        else f"from T = {crossing / SAMPLES:.3g} m on"
        if crossing > 1
        else "at every T"
    )
    statement = f"for T >= m UCB dominates LCB (its bounds are no larger {since})"
    lines.append(verdict(statement, all(_dominates(r) for r in long.values())))
    if data == "all arms alike":
        worst = max(max(r) for r in ratios.values())
        lines.append(
            verdict(
                "uniform data: UCB dominates LCB at every T (its bounds are at most "
                f"{worst:.3f} times LCB's)",
                all(_dominates(r) for r in ratios.values()),
            )
        )
        price = _price(table, alpha=1.0)
        lines.append(
            verdict(
                "uniform data: OtO behaves like UCB (at alpha = 1 its bound against the best arm "
                f"is at most twice UCB's from T = {_from_when(price):,} on, and up to "
                f"{max(price.values()):.3g} times before)",
                max(price.values()) <= 2,
            )
        )
    else:
        for horizon, (logging, best) in ratios.items():
            if horizon >= SAMPLES:
                continue
            where = f"skewed data, T = {horizon:,}"
            lines.append(
                verdict(
                    f"{where}: LCB has the smaller bound against logging (by a factor of "
                    f"{logging:.3g})",
                    logging > _SAME,
                )
            )
            relation = (
                "the two are equal, UCB's is no larger"
                if 1 / _SAME <= best <= _SAME
                else f"UCB's is {best:.3g} times LCB's"
            )
            lines.append(
                verdict(
                    f"{where}: LCB has the smaller bound against the best arm too ({relation})",
                    best > _SAME,
                )
            )
    return lines + list(_oto_findings(table))


def _oto_findings(table: pl.DataFrame) -> Iterator[str]:
    oto = table.filter(pl.col("policy") == "OtO").sort("horizon", "alpha")
    by_horizon = oto.partition_by("horizon", maintain_order=True)
    steps = [
        (
            np.diff(part["logging_regret_bound"].to_numpy()) / part["regret_bound"][0],
            np.diff(part["regret_bound"].to_numpy()) / part["regret_bound"][0],
        )
        for part in by_horizon
    ]
    # Beyond where the bound against logging is the one against the best arm, both fall with alpha.
    split = [
        part["logging_regret_bound"].to_numpy()[1:] < part["regret_bound"].to_numpy()[1:] / _SAME
        for part in by_horizon
    ]
    moved = all(
        np.all(up[where] >= -1e-4) and np.all(down <= 1e-4)
        for (up, down), where in zip(steps, split, strict=True)
    )
    yield verdict(
        "alpha moves OtO: as it grows, the bound against logging rises and that against the best "
        "arm falls, at every T",
        bool(moved),
    )
    for part in by_horizon:
        horizon = part["horizon"][0]
        here = table.filter(pl.col("horizon") == horizon)
        (ucb_log, ucb), (lcb_log, lcb) = (_pair(here, name) for name in ("UCB", "LCB"))
        if ucb_log <= lcb_log * _SAME:
            continue  # no trade-off
        logging, best = (part[name].to_numpy() for name in ("logging_regret_bound", "regret_bound"))
        between = (logging <= ucb_log * _SAME) & (best <= lcb * _SAME)
        inside = part["alpha"].to_numpy()[between]
        middle = np.argmin(np.maximum(logging / lcb_log, best / ucb))
        worse = max(logging[middle] / lcb_log, best[middle] / ucb)
        yield verdict(
            f"T = {horizon:,}: OtO lies between, no worse than UCB against logging and than LCB "
            "against the best arm, for "
            + (
                f"alpha from {inside.min():.2g} to {inside.max():.2g}"
                if len(inside)
                else "no alpha"
            )
            + f"; at alpha = {part['alpha'][int(middle)]:.2g} both its bounds are within a factor "
            f"of {worse:.3g} of the better policy's",
            bool(len(inside)),
        )


def _price(table: pl.DataFrame, alpha: float) -> dict[int, float]:
    """By horizon, OtO's bound against the best arm over UCB's."""
    oto = table.filter((pl.col("policy") == "OtO") & ((pl.col("alpha") / alpha - 1).abs() < 1e-6))
    return {
        row["horizon"]: row["regret_bound"]
        / _pair(table.filter(pl.col("horizon") == row["horizon"]), "UCB")[1]
        for row in oto.iter_rows(named=True)
    }


def _from_when(price: dict[int, float]) -> int:
    late = [t for t in sorted(price) if all(price[u] <= 2 for u in price if u >= t)]
    return late[0] if late else max(price)


def _pair(part: pl.DataFrame, policy: str) -> tuple[float, float]:
    one = part.filter(pl.col("policy") == policy)
    return one["logging_regret_bound"][0], one["regret_bound"][0]


def _ratios(part: pl.DataFrame) -> tuple[float, float]:
    """UCB's bounds over LCB's, against logging and against the best arm."""
    ucb, lcb = _pair(part, "UCB"), _pair(part, "LCB")
    return ucb[0] / lcb[0], ucb[1] / lcb[1]


def _dominates(ratios: tuple[float, float]) -> bool:
    return max(ratios) <= _SAME


def facts() -> dict[str, object]:
    """For the record."""
    return {
        "arms": ARMS,
        "samples": SAMPLES,
        "probability": PROBABILITY,
        "confidence": "paper, with delta = 0.05 / (2 T)",
    }
