"""The Open Bandit Dataset: its real sample, estimates of click rates, and what is refused."""

import csv
from typing import Any

import numpy as np
import pytest
from scipy import stats

from jaxbandit.datasets.open_bandit import (
    Recommendations,
    direct_rates,
    item_counts,
    load_open_bandit,
    uniform_value,
    weighted_rates,
)
from tests.datasets.open_bandit_sample import open_bandit_directory
from tests.messages import assert_refused

ITEMS = {"all": 80, "men": 34, "women": 46}


@pytest.fixture(scope="session")
def directory():
    return open_bandit_directory()


@pytest.fixture(scope="module", params=ITEMS)
def logs(directory, request):
    campaign = request.param
    both = (load_open_bandit(directory, policy, campaign) for policy in ("random", "bts"))
    return campaign, ITEMS[campaign], *both


def test_records_are_those_of_the_file(directory):
    log = load_open_bandit(directory, "bts", "men")
    with open(directory / "bts" / "men" / "men.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10_000
    names = ("item_id", "position", "click", "propensity_score")
    for name, column in zip(names, log, strict=True):
        np.testing.assert_array_equal(column, [float(row[name]) for row in rows])
    assert log.click.sum() == 69


def test_the_random_log_is_uniform(logs):
    _, items, random, _ = logs
    np.testing.assert_allclose(random.propensity, 1 / items, atol=1e-6)
    count, clicks = item_counts(random, items)
    assert (count.sum(), clicks.sum()) == (10_000, random.click.sum())
    assert stats.chisquare(count).pvalue > 0.001


def test_estimates_from_both_logs_agree(logs):
    _, items, random, bts = logs
    direct, weighted = direct_rates(random, items), weighted_rates(bts, items)
    apart = (direct.low > weighted.high) | (weighted.low > direct.high)
    assert apart.mean() <= 0.05
    (seen, error), (value, wide) = uniform_value(random, items), uniform_value(bts, items)
    assert seen == pytest.approx(random.click.mean())
    assert abs(value - seen) < 2 * np.hypot(error, wide)


def test_intervals_are_clopper_and_pearson_s():
    item = np.repeat([0, 1, 2], [50, 20, 5])
    click = np.zeros(75, int)
    click[[0, 1, 2]] = 1
    click[70:] = 1
    log = Recommendations(item, np.ones(75, int), click, np.full(75, 0.25))
    for rates in (direct_rates(log, 4, 0.9), weighted_rates(log, 4, 0.9)):
        for index, (clicks, count) in enumerate([(3, 50), (0, 20), (5, 5)]):
            interval = stats.binomtest(clicks, count).proportion_ci(0.9, "exact")
            np.testing.assert_allclose(rates.rate[index], clicks / count, rtol=1e-6)
            np.testing.assert_allclose(rates.low[index], interval.low, rtol=1e-6)
            np.testing.assert_allclose(rates.high[index], interval.high, rtol=1e-6)
        assert np.isnan(rates.rate[3])
        assert (rates.low[3], rates.high[3]) == (0, 1)


def test_weights_undo_a_policy_that_prefers_positions_with_clicks():
    """Item 0 is shown mostly where it is clicked; at random it is clicked less."""
    rng = np.random.default_rng(2)
    held, values, error = 0, [], []
    truth = (0.3 + 0.05) / 2
    for _ in range(200):
        position = rng.integers(1, 3, 1000)
        propensity = np.where(position == 1, 0.8, 0.2)
        shown = rng.random(1000) < propensity
        click = rng.random(1000) < np.where(position == 1, 0.3, 0.05)
        log = Recommendations(
            np.where(shown, 0, 1), position, click, np.where(shown, propensity, 1 - propensity)
        )
        rates = weighted_rates(log, 2)
        values.append(rates.rate[0])
        held += rates.low[0] <= truth <= rates.high[0]
        value, sem = uniform_value(log, 2)
        error.append((value - truth) / sem)
    assert np.mean(values) == pytest.approx(truth, abs=4 * np.std(values) / np.sqrt(200))
    assert held >= 180
    assert abs(np.mean(error)) < 0.35
    assert np.std(error) == pytest.approx(1, abs=0.25)


GOOD = "item_id,position,click,propensity_score\n3,1,0,0.5\n"
REFUSED = {
    "zero": ("1,1,0,0\n", r"men.csv, line 3: column 'propensity_score' must be in \(0, 1\].*was 0"),
    "beyond": ("1,1,0,1.5\n", r"'propensity_score' must be in \(0, 1\]: it divides, was 1.5"),
    "click": ("1,1,2,0.5\n", "line 3: column 'click' must be 0 or 1, was 2"),
    "item": ("-1,1,0,0.5\n", "'item_id' must be a whole number of at least 0, was -1"),
    "position": ("1,0.5,0,0.5\n", "'position' must be a whole number from 1, was 0.5"),
    "text": ("x,1,0,0.5\n", "column 'item_id' must be a number, was 'x'"),
    "missing": ("1,1,,0.5\n", "column 'click' is missing"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_faulty_records(name, tmp_path):
    record, message = REFUSED[name]
    path = tmp_path / "bts" / "men" / "men.csv"
    path.parent.mkdir(parents=True)
    path.write_text(GOOD + record)
    assert_refused(lambda: load_open_bandit(tmp_path, "bts", "men"), message)


def test_what_is_not_the_data_set(tmp_path):
    assert_refused(lambda: load_open_bandit(tmp_path, "random", "all"), "all.csv is not there")
    unknown: Any = "lcb"
    assert_refused(lambda: load_open_bandit(tmp_path, unknown, "all"), "policy must be one of")
    path = tmp_path / "random" / "all" / "all.csv"
    path.parent.mkdir(parents=True)
    path.write_text("item_id,position,click\n1,1,0\n")
    assert_refused(
        lambda: load_open_bandit(tmp_path, "random", "all"), "no column 'propensity_score'"
    )
