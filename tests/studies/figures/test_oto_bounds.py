"""Figures and tables of bounds: their numbers, and findings that follow the numbers."""

import numpy as np
import polars as pl
import pytest

import jaxbandit as jb
from jaxbandit.studies.figures import Settings, oto_tables
from jaxbandit.studies.figures import oto_bounds as ours


@pytest.fixture(scope="module")
def result():
    return {data: ours.figure(Settings(), None, data=data) for data in ("all arms alike", SKEWED)}


@pytest.fixture(scope="module")
def tables():
    return oto_tables.tables(Settings(), None)


SKEWED = "two arms only"


def scaled(table, policy, column, factor):
    value = pl.when(pl.col("policy") == policy).then(pl.col(column) * factor)
    return table.with_columns(value.otherwise(pl.col(column)).alias(column))


def verdict(lines, words):
    (line,) = [line for line in lines if words in line]
    return not line.startswith("NOT")


def test_rows(result):
    table = result[SKEWED].table
    assert table.columns == [
        "horizon",
        "policy",
        "alpha",
        "logging_regret_bound",
        "regret_bound",
    ]
    assert len(table) == len(ours.HORIZONS) * (2 + len(ours.ALPHAS))
    known = jb.confidence("paper", delta=0.05 / (2 * 20_000))
    np.testing.assert_allclose(jb.bounds.event_probability(20_000, known), 0.95, rtol=1e-5)
    here = table.filter(pl.col("horizon") == 20_000)
    count = [100_000, 100_000] + [0] * 18
    for policy, logging, best in (
        ("UCB", jb.bounds.ucb_logging_regret, jb.bounds.ucb_minimax_regret),
        ("LCB", jb.bounds.lcb_logging_regret, jb.bounds.lcb_minimax_regret),
    ):
        row = here.row(by_predicate=pl.col("policy") == policy, named=True)
        np.testing.assert_allclose(row["logging_regret_bound"], logging(count, 20_000, known))
        np.testing.assert_allclose(row["regret_bound"], best(count, 20_000, known))
    oto = here.filter(pl.col("policy") == "OtO")
    for row in oto.iter_rows(named=True):
        logging = jb.bounds.oto_logging_regret(count, 20_000, row["alpha"], known)
        best = float(jb.bounds.oto_minimax_regret(count, 20_000, row["alpha"], known))
        np.testing.assert_allclose(row["regret_bound"], best, rtol=1e-5)
        smaller = min(best, float(logging))
        np.testing.assert_allclose(row["logging_regret_bound"], smaller, rtol=1e-5)


def test_findings_follow_the_numbers(result):
    same, skewed = result["all arms alike"], result[SKEWED]
    assert verdict(same.findings, "uniform data: UCB dominates")
    for column in ("logging_regret_bound", "regret_bound"):
        worse = ours.figure_findings(scaled(same.table, "UCB", column, 3), "all arms alike", 1)
        assert not verdict(worse, "uniform data: UCB dominates")
        assert not verdict(worse, "for T >= m")
    assert not verdict(skewed.findings, "for T >= m")
    better = scaled(skewed.table, "UCB", "logging_regret_bound", 0.01)
    assert verdict(ours.figure_findings(better, SKEWED, None), "for T >= m")
    words = "T = 20,000: LCB has the smaller bound against"
    assert verdict(skewed.findings, f"{words} logging")
    assert not verdict(ours.figure_findings(better, SKEWED, None), f"{words} logging")
    assert not verdict(skewed.findings, f"{words} the best arm")
    lower = scaled(skewed.table, "LCB", "regret_bound", 0.01)
    assert verdict(ours.figure_findings(lower, SKEWED, None), f"{words} the best arm")


def test_findings_about_oto_follow_the_numbers(result):
    table = result[SKEWED].table
    assert verdict(result[SKEWED].findings, "alpha moves OtO")
    fixed = table.with_columns(pl.col("alpha") * -1)
    assert not verdict(ours.figure_findings(fixed, SKEWED, None), "alpha moves OtO")
    assert verdict(result[SKEWED].findings, "T = 200,000: OtO lies between")
    worse = scaled(table, "OtO", "logging_regret_bound", 10)
    assert not verdict(ours.figure_findings(worse, SKEWED, None), "T = 200,000: OtO lies between")


def test_overtaking():
    count = ours.DATA[SKEWED]
    at = ours.overtaking(count)
    assert ours.SAMPLES < at < 100 * ours.SAMPLES

    def pair(horizon):
        known = ours.constants(horizon)
        return [
            float(bound(count, horizon, known))
            for bound in (jb.bounds.ucb_logging_regret, jb.bounds.lcb_logging_regret)
        ]

    assert np.less_equal(*pair(at))
    assert np.greater(*pair(int(at / 1.01)))
    assert ours.overtaking(ours.DATA["all arms alike"]) == 1


def test_tables(tables):
    assert (tables.table["lower"] <= tables.table["upper"]).all()
    proved = [line for line in tables.findings if line.startswith("proved")]
    assert any("T = 1, against the logging policy: UCB on its worst" in line for line in proved)
    # Nothing is proved where lower bounds say nothing.
    silent = oto_tables.table_findings(tables.table.with_columns(lower=0.0))
    assert not any(line.startswith("proved") for line in silent)
    wrong = oto_tables.table_findings(tables.table.with_columns(upper=pl.col("lower") / 2))
    assert wrong[0].startswith("NOT")


def test_markdown_is_per_round(tables):
    row = tables.table.filter(
        (pl.col("table") == 2) & (pl.col("data") == SKEWED) & (pl.col("policy") == "UCB")
    ).sort("horizon")
    cells = [
        f"{one[side] / one['horizon']:.3g}"
        for one in row.iter_rows(named=True)
        for side in ("lower", "upper")
    ]
    second = tables.markdown.split("## Table 2")[1]
    assert f"| {SKEWED} | UCB | {' | '.join(cells)} |" in second
