"""Figures of click models: their rows against simulation by hand, and what they say."""

import re

import numpy as np
import polars as pl
import pytest
from scipy import stats

from jaxbandit.ctr import deployment, reward_tables
from jaxbandit.ctr.reward_tables import NAMES, RewardTable
from jaxbandit.datasets.avazu_like import avazu_like
from jaxbandit.studies.figures import Reporter, Settings, click_models, ctr, ctr_table
from jaxbandit.studies.figures.click_models import source_of
from tests.messages import assert_refused

# Reported at as many rounds, so that programs are shared.
HORIZONS = (400, 600)
RUNS = 6
# Model 8 is the best, Model 2 the best but for it and Model 1; Model 3 has the lowest loss.
RATES = np.array([0.5, 0.45, 0.1, 0.2, 0.3, 0.25, 0.35, 0.9])
REPORTER = Reporter(lambda line: None, lambda name: lambda done, total: None)
POLICIES = {("UCB", None), ("LCB", None), *(("OtO", alpha) for alpha in (0.0, 0.2, 1.0, 5.0))}


@pytest.fixture(scope="module")
def table():
    draw = np.random.default_rng(0)
    losses = {name: 0.5 - 0.1 * (name == "model_3") for name in NAMES}
    rewards = (draw.random((500, 8)) < RATES).astype(np.uint8)
    return RewardTable(rewards, 60, 33, losses, "synthetic data")


@pytest.fixture(scope="module")
def settings(table, tmp_path_factory):
    directory = tmp_path_factory.mktemp("table")
    for name, text in reward_tables.files(table, "rewards").items():
        (directory / name).write_text(text)
    patch = pytest.MonkeyPatch()
    patch.setattr(ctr, "HORIZONS", HORIZONS)
    yield Settings(runs=RUNS, reward_table=directory / "rewards.csv")
    patch.undo()


@pytest.fixture(scope="module")
def figures(settings):
    functions = {5: ctr.figure5, 6: ctr.figure6, 9: ctr.figure9, 10: ctr.figure10}
    return {number: figure(settings, REPORTER) for number, figure in functions.items()}


@pytest.mark.parametrize(("number", "setting"), [(5, 1), (6, 2)])
def test_totals(figures, number, setting):
    table = figures[number].table
    columns = ["setting", "horizon", "policy", "alpha", "run", "total_reward", "source"]
    assert table.columns == columns
    assert table["setting"].unique().to_list() == [setting]
    assert table["source"].unique().to_list() == ["synthetic data"]
    fixed = {("best in hindsight", None), ("best on Test Set 2", None)}
    assert set(table.select("policy", "alpha").unique().rows()) == POLICIES | fixed
    assert set(table["horizon"]) == set(HORIZONS)
    assert len(table) == len(HORIZONS) * len(POLICIES | fixed) * RUNS
    rewards = table["total_reward"].to_numpy()
    assert np.array_equal(rewards, np.round(rewards))
    assert (rewards <= table["horizon"].to_numpy()).all()


@pytest.mark.parametrize(("number", "totals"), [(9, 5), (10, 6)])
def test_curves_end_at_the_mean_of_the_totals(figures, number, totals):
    curves, total = figures[number].table, figures[totals].table
    key = ["horizon", "policy", "alpha"]
    last = curves.filter(pl.col("round") == pl.col("horizon")).select(*key, "reward_mean", "runs")
    mean = total.group_by(key).agg(pl.col("total_reward").mean())
    both = last.join(mean, on=key, nulls_equal=True)
    assert len(both) == len(last) == len(mean)
    np.testing.assert_allclose(both["reward_mean"], both["total_reward"], rtol=1e-6)
    assert set(both["runs"]) == {RUNS}


def test_benchmarks_play_the_arm_they_name(figures, table):
    """A fixed arm's mean reward is its column's."""
    mean = dict(zip(NAMES, table.rewards.mean(axis=0), strict=True))
    for number, best in ((5, "model_8"), (6, "model_1")):
        facts = figures[number].facts
        assert (facts["best in hindsight"], facts["best on Test Set 2"]) == (best, "model_3")
        totals = figures[number].table.filter(pl.col("horizon") == HORIZONS[1])
        for policy in ("best in hindsight", "best on Test Set 2"):
            each = (
                totals.filter(pl.col("policy") == policy)["total_reward"].to_numpy() / HORIZONS[1]
            )
            p = mean[facts[policy]]
            assert abs(each.mean() - p) < 4 * np.sqrt(p * (1 - p) / (RUNS * HORIZONS[1]))


def test_all_offline_data_is_on_model_1(figures):
    """LCB, and OtO without a budget, play nothing else: no other arm has data."""
    totals = figures[6].table.filter(pl.col("horizon") == HORIZONS[1])

    def rewards(policy, alpha=None):
        alpha = pl.col("alpha").eq_missing(pl.lit(alpha))
        return totals.filter((pl.col("policy") == policy) & alpha)["total_reward"].to_list()

    assert rewards("LCB") == rewards("OtO", 0.0) == rewards("best in hindsight")
    assert rewards("LCB") != rewards("UCB")


def test_findings_follow_the_numbers(figures):
    said = "\n".join(figures[5].findings)
    assert "seen (synthetic data): click rates model_1 0.4740, model_2" in said
    better = "better than the running Model 1, beyond two standard errors"
    best = rf"{better} \(the best is model_8, \+0\.\d+ ± 0\.0\d+\)"
    assert_found(f"\nconfirmed: setting 1: a new model is {best}", said)
    totals = figures[5].table.filter(pl.col("horizon") == HORIZONS[1])
    ucb, lcb = (
        totals.filter(pl.col("policy") == policy)["total_reward"].to_numpy()
        for policy in ("UCB", "LCB")
    )
    interval = stats.ttest_1samp(ucb - lcb, 0).confidence_interval()
    holds = "confirmed" if interval.low > 0 else "NOT confirmed"
    assert f"\n{holds}: setting 1, T = 600: UCB beats LCB (by {(ucb - lcb).mean():.1f}" in said
    assert f"\nconfirmed: setting 2: no new model is {better}" in "\n".join(figures[6].findings)


def assert_found(pattern, text):
    assert re.search(pattern, text), text


def test_the_reward_table_is_kept(figures, table):
    kept = figures[5].files
    assert set(kept) == {"click-reward-table.csv", "click-reward-table.json"}
    assert kept == reward_tables.files(
        table._replace(rewards=table.rewards * 1.0), "click-reward-table"
    )


def test_a_table_alone_draws_its_offline_data_and_has_no_test_set(settings, table, tmp_path):
    pl.DataFrame(table.rewards, schema=list(NAMES), orient="row").write_csv(tmp_path / "t.csv")
    alone = Settings(runs=RUNS, reward_table=tmp_path / "t.csv")
    figure = ctr.figure6(alone, REPORTER)
    assert "best on Test Set 2" not in set(figure.table["policy"])
    assert set(figure.table["source"]) == {"rewards of t.csv"}
    assert figure.facts["offline_samples"] == 33_000


def test_sources_that_cannot_be(tmp_path):
    file = tmp_path / "file"
    message = "give one of --avazu FILE .* --reward-table FILE .* and --synthetic"
    assert_refused(lambda: source_of(Settings()), message)
    several = Settings(avazu=file, synthetic=True)
    assert_refused(lambda: source_of(several), "give only one of --avazu and --synthetic")
    assert_refused(
        lambda: source_of(Settings(reward_table=file), trains=True), "oto-table3 trains models"
    )


def test_a_log_that_is_too_small_is_refused(tmp_path):
    avazu_like(4_999).table.write_csv(tmp_path / "train.csv")
    settings = Settings(avazu=tmp_path / "train.csv")
    message = "the click log must have at least 5,000 rows .* has 4,999; 3,360,000 are the paper's"
    assert_refused(lambda: ctr.figure5(settings, REPORTER), message)


# Table 3.


@pytest.fixture(scope="module")
def table3(tmp_path_factory):
    """Of logistic regressions in place of all models, from a file of few rows."""
    path = tmp_path_factory.mktemp("avazu") / "train.csv"
    avazu_like(6_000, seed=8).table.write_csv(path)
    patch = pytest.MonkeyPatch()
    for name in ("PAPER_MODELS", "BASELINES"):
        specs = getattr(deployment, name)
        cheap = tuple(spec._replace(architecture="logistic", hidden=None) for spec in specs)
        patch.setattr(deployment, name, cheap)
    said = []
    reporter = Reporter(said.append, lambda name: lambda done, total: None)
    yield ctr_table.table3(Settings(avazu=path), reporter), said
    patch.undo()


def test_table3(table3):
    figure, said = table3
    table = figure.table
    assert table.columns[:6] == [
        "model",
        "architecture",
        "hidden_units",
        "trained_on",
        "test_set",
        "cross_entropy",
    ]
    eight = table.filter(pl.col("model").is_in(NAMES) & (pl.col("test_set") != "validation"))
    assert len(eight) == 16
    assert set(table["source"]) == {"Avazu data of train.csv"}
    assert figure.markdown.count("\n| ") == 1 + 2
    assert "Avazu data of train.csv" in figure.markdown
    for row in eight.iter_rows(named=True):
        assert f"{row['cross_entropy']:.4f}" in figure.markdown
    assert "6,000 rows in the file, 6,000 used" in said
    assert any("1,500 rows train Models 1 and 8; Model 1 logs 300" in line for line in said)
    assert set(click_models._kept)  # Kept for the other figures of the call.
