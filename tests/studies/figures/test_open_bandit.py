"""The experiment on the Open Bandit Dataset's real sample."""

import numpy as np
import polars as pl
import pytest

from jaxbandit.studies.figures import Reporter, Settings, open_bandit
from jaxbandit.studies.figures.reproduce import write_result
from tests.datasets.open_bandit_sample import open_bandit_directory
from tests.messages import assert_refused

REPORTER = Reporter(lambda line: None, lambda description: lambda done, total: None)


@pytest.fixture(scope="module")
def figure():
    settings = Settings(runs=64, open_bandit=open_bandit_directory())
    small = {"horizons": (50, 200), "alphas": (0.2,)}
    return open_bandit.figure(settings, REPORTER, campaigns=("men",), **small)


def test_table(figure):
    assert figure.table.select("campaign", "horizon", "policy").rows() == [
        ("men", horizon, policy) for horizon in (50, 200) for policy in ("OtO", "UCB", "Thompson")
    ]
    per_round = (figure.table["regret_mean"] / figure.table["horizon"]).to_numpy()
    assert np.all((per_round > 0) & (per_round < 0.1))  # click rates are about 0.5 %
    # With lower bounds at zero OtO's budget never runs out.
    of_oto, of_ucb = (
        figure.table.filter(pl.col("policy") == name)["regret_mean"].to_list()
        for name in ("OtO", "UCB")
    )
    assert of_oto == of_ucb
    assert figure.facts == {"runs": 64, "men": {"items": 34, "records": 10_000}}


def test_findings_say_how_sure_they_are(figure):
    text = "\n".join(figure.findings)
    assert "NOT" not in text
    assert "(95 % intervals meet for 34 of 34 items)" in text
    assert "LCB is left out" in text  # 290 records an item against 0.5 % of clicks
    assert "of draws" in text
    assert "90 % interval" in text


def test_files(figure, tmp_path):
    write_result("open-bandit", figure, Settings(), tmp_path, 0.0)
    items = pl.read_csv(tmp_path / "open-bandit-items.csv")
    assert len(items) == 34
    assert items["random_clicks"].sum() == 46
    assert items["bts_clicks"].sum() == 69
    assert (items["bts_low"] <= items["bts_rate"]).all()


def test_needs_data():
    assert_refused(
        lambda: open_bandit.figure(Settings(), REPORTER), "open-bandit needs.*--open-bandit DIR"
    )
    settings = Settings(runs=1, open_bandit=open_bandit_directory())
    assert_refused(lambda: open_bandit.figure(settings, REPORTER), "runs must be .* at least 2")
