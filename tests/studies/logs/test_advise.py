"""Advice from a log of arms: what is read, played, answered, written and refused."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from rich.console import Console

import jaxbandit as jb
from jaxbandit.inference.arm_posterior import ArmRecords, arm_posterior
from jaxbandit.studies.figures import contest
from jaxbandit.studies.logs.advise import Question, advise, read_arms, summary
from tests.messages import assert_refused

HORIZONS = (20, 400)
ALPHAS = (0.0, 100.0)
COUNT, TOTAL = np.array([300, 200, 30]), np.array([60, 120, 15])


def asked(log, **changes):
    given = Question(
        Path(log), "ad", "click", HORIZONS, (), 0.0, 1.0, ALPHAS, 100, 0, drop_missing=False
    )
    return replace(given, **changes)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    clicks = np.concatenate([np.arange(n) < s for n, s in zip(COUNT, TOTAL, strict=True)])
    table = pl.DataFrame({"ad": np.repeat(["a", "b", "c"], COUNT), "click": clicks.astype(int)})
    path = tmp_path_factory.mktemp("log") / "clicks.csv"
    table.sample(fraction=1, shuffle=True, seed=0).write_csv(path)
    return path


@pytest.fixture(scope="module")
def played(log):
    _, records, _ = read_arms(asked(log))
    offline = jb.OfflineArms(records.count, records.total)
    return contest.play(arm_posterior(records), offline, HORIZONS, ALPHAS, runs=100, seed=0)


@pytest.fixture(scope="module")
def answered(log, played, tmp_path_factory):
    """The command's files and text; the games are played once for all tests."""
    out, said = tmp_path_factory.mktemp("advice") / "made", StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest, "play", lambda *_, **__: played)
        advise(asked(log), out, Console(file=said, width=1000))
    return out, said.getvalue()


def test_sums_of_both_formats(log, tmp_path):
    parquet = tmp_path / "clicks.parquet"
    pl.read_csv(log).write_parquet(parquet)
    for path in (log, parquet):
        names, records, dropped = read_arms(asked(path, arms=("new", "a")))
        assert (names, dropped, records.binary) == (["a", "b", "c", "new"], 0, True)
        np.testing.assert_array_equal(records.count, [*COUNT, 0])
        np.testing.assert_array_equal(records.total, [*TOTAL, 0])


def test_rewards_are_moved_to_the_unit_interval_and_back(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("ad,click\nx,-2\nx,4\ny,1\ny,\ny,2.5\n")
    question = asked(path, low=-2.0, high=4.0, drop_missing=True)
    names, records, dropped = read_arms(question)
    assert (dropped, records.binary) == (1, False)
    np.testing.assert_allclose(records.total, [1, 1.25])
    np.testing.assert_allclose(records.square, [1, 0.25 + 0.75**2])
    means = np.array([[1.0, 2.0], [1.5, 0.5]])
    arms = summary(names, records, means, -2.0, 6.0)
    assert arms["reward_mean"].to_list() == pytest.approx([1, 1.75])
    assert arms["best_share"].to_list() == [None, None]  # 4 records say little.
    many = ArmRecords(*(6 * sums for sums in records))
    assert summary(names, many, means, -2.0, 6.0)["best_share"].to_list() == [0.5, 0.5]
    assert arms["posterior_mean"].to_list() == [1.25, 1.25]


def test_games_are_those_of_policies_by_themselves(played):
    """OtO's extremes are LCB, where it is, and UCB; a shorter horizon is a game of its own."""
    np.testing.assert_array_equal(played.regret["OtO", 100.0], played.regret["UCB", None])
    short, long = played.regret["UCB", None]
    assert np.all(short <= 20)
    assert long.mean() > short.mean()
    # All are judged on one draw of the means: LCB sticks to arm b, so loses a gap a round.
    loss_a_round = played.regret["LCB", None] / np.array(HORIZONS)[:, None]
    assert np.mean(np.isclose(loss_a_round[0], loss_a_round[1], atol=1e-4)) > 0.9
    assert np.unique(loss_a_round[0]).size > 5  # arm c is the best in some draws, by as much


def test_regret_of_the_log(played, log):
    """The mean over draws of T (mu_* - sum of shares times mu)."""
    _, records, _ = read_arms(asked(log))
    means = arm_posterior(records).draw(contest.DRAWS, np.random.default_rng(0)).mean
    each = means.max(axis=1) - means @ (COUNT / COUNT.sum())
    error = each.std() / np.sqrt(100)
    np.testing.assert_allclose(played.logged / HORIZONS, each.mean(), atol=4 * error)


def test_table_against_numpy():
    regret: dict[contest.Name, np.ndarray] = {
        ("LCB", None): np.array([[1.0, 4, 2, 2]]),
        ("OtO", 0.2): np.array([[1.0, 2, 2, 1]]),
        ("UCB", None): np.array([[3.0, 0, 2, 1]]),
    }
    table = contest.table(contest.Contest((7,), regret, np.array([5.0])), unit=10.0)
    assert table["regret_mean"].to_list() == [22.5, 15, 15]
    assert table["least_share"].to_list() == pytest.approx(
        [(0.5 + 1 / 3) / 4, (0.5 + 1 / 3 + 0.5) / 4, (1 + 1 / 3 + 0.5) / 4]
    )
    assert table["excess_mean"].to_list() == [7.5, 0, 0]
    expected = 10 * np.std([0, 2, 0, 1], ddof=1) / 2
    assert table["excess_sem"][0] == pytest.approx(expected)
    assert table["logged_regret_mean"].to_list() == [50] * 3


def rows(horizon, *policies):
    columns = ("policy", "alpha", "regret_mean", "excess_mean", "excess_sem", "least_share")
    return [
        dict(zip(columns, policy, strict=True))
        | {"alike": contest.title(dict(zip(columns, policy, strict=True)))}
        | {"horizon": horizon, "regret_sem": 0.1, "logged_regret_mean": 9.0, "runs": 500}
        for policy in policies
    ]


def test_answers_say_what_is_not_told_apart():
    results = pl.DataFrame(
        rows(10, ("LCB", None, 1.0, 0.0, 0.0, 0.7), ("OtO", 0.2, 1.5, 0.5, 0.3, 0.2))
        + rows(1000, ("LCB", None, 8.0, 6.0, 0.3, 0.1), ("OtO", 0.2, 2.0, 0.0, 0.0, 0.9))
    )
    short, long, unknown = contest.answers(results)
    assert "T = 10: play LCB" in short
    assert "in 70% of draws; not told apart from OtO (alpha 0.2)" in short
    assert "T = 1,000: play OtO (alpha 0.2)" in long
    assert "6 ± 0.3 less than LCB" in long
    assert "play OtO (alpha 0.2): it has at most 1.5 times the least regret" in unknown
    (line,) = contest.answers(results.filter(horizon=10, policy="LCB"))
    assert line.startswith("T = 10: play LCB: regret 1 ")
    assert (
        "the least regret of all policies at every horizon"
        in contest.answers(results.filter(policy="OtO"))[-1]
    )


def test_few_draws_tell_less_apart():
    """Ends of Student's interval, not of the normal one: 4.3 standard errors at three draws."""
    results = pl.DataFrame(
        rows(10, ("LCB", None, 1.0, 0.0, 0.0, 0.7), ("OtO", 0.2, 2.0, 1.0, 0.3, 0.2))
    ).with_columns(logged_regret_mean=pl.lit(1.3))
    (line,) = contest.answers(results)
    assert "play LCB: regret 1" in line
    assert "1 ± 0.3 less than OtO" in line
    (line,) = contest.answers(results.with_columns(runs=pl.lit(3)))
    assert "or keep playing arms as logged, which is not told apart" in line
    assert "not told apart from OtO" in line


def test_policies_that_play_alike_are_one():
    """Two that play alike neither share their chance of being best nor are told apart."""
    regret: dict[contest.Name, np.ndarray] = {
        ("LCB", None): np.array([[1.0, 4, 2, 2]]),
        ("OtO", 0.2): np.array([[2.0, 2, 2, 1]]),
        ("OtO", 5.0): np.array([[3.0, 0, 3, 1]]),
        ("UCB", None): np.array([[3.0, 0, 3, 1]]),
    }
    table = contest.table(contest.Contest((7,), regret, np.array([9.0])))
    ucb = "OtO (alpha 5) = UCB"
    assert table["alike"].to_list() == ["LCB", "OtO (alpha 0.2)", ucb, ucb]
    expected = [(1 + 0.5) / 4, (0.5 + 0.5) / 4, (1 + 0.5) / 4, (1 + 0.5) / 4]
    assert table["least_share"].to_list() == pytest.approx(expected)
    same = contest.table(
        contest.Contest((7,), {name: regret["UCB", None] for name in regret}, np.array([9.0]))
    )
    assert same["least_share"].to_list() == [1.0] * 4
    for results in (table, table.reverse()):
        (line,) = contest.answers(results)
        assert line.count("UCB") == line.count("OtO (alpha 5)") == line.count(ucb) == 1
    (line,) = contest.answers(same)
    assert line.startswith("T = 7: play LCB = OtO (alpha 0.2) = OtO (alpha 5) = UCB: regret")
    assert "in 100% of draws" in line
    assert "told apart" not in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ad,click\na,1\nb,0\nb,1\n", "3 records are too few to say which of 2 arms is best"),
        ("ad,click\n" + "a,1\na,0\n" * 9, "only one arm has records"),
    ],
)
def test_what_a_log_cannot_tell_is_said(content, message, tmp_path, played, monkeypatch):
    monkeypatch.setattr(contest, "play", lambda *_, **__: played)
    path, said = tmp_path / "log.csv", StringIO()
    path.write_text(content)
    advise(asked(path, arms=("b",)), tmp_path, Console(file=said, width=1000))
    assert message in said.getvalue()
    shares = pl.read_csv(tmp_path / "advise-arms.csv")["best_share"]
    few = "too few" in message
    assert shares.null_count() == (2 if few else 0)
    assert ("the best arm is" in said.getvalue()) != few


@pytest.mark.parametrize(
    ("logged", "advice"),
    [
        (0.7, "keep playing arms as logged, which loses less than even LCB: regret 1"),
        (0.9, "play LCB or keep playing arms as logged, which is not told apart from it"),
        (1.1, "play LCB or keep playing arms as logged, which is not told apart from it"),
        (1.3, "play LCB: regret 1"),
    ],
)
def test_answers_say_where_the_log_does_as_well(logged, advice):
    results = pl.DataFrame(rows(10, ("LCB", None, 1.0, 0.0, 0.0, 1.0)))
    (line,) = contest.answers(results.with_columns(logged_regret_mean=pl.lit(logged)))
    assert line.startswith(f"T = 10: {advice}")


def test_lcb_is_left_out_where_its_bounds_are_all_at_the_floor():
    few = jb.OfflineArms(np.array([50, 50]), np.array([1, 2]))
    many = jb.OfflineArms(np.array([50, 5000]), np.array([1, 2500]))
    assert contest._tied(few, 10)
    assert not contest._tied(many, 10)
    regret: dict[contest.Name, np.ndarray] = {
        ("LCB", None): np.zeros((2, 3)),
        ("UCB", None): np.ones((2, 3)),
    }
    tied = contest.Contest((10, 100), regret, np.ones(2), tied=(100,))
    table = contest.table(tied)
    assert table.select("horizon", "policy").rows() == [(10, "LCB"), (10, "UCB"), (100, "UCB")]
    assert "play UCB" in contest.answers(table)[-1]
    (line,) = contest.of_ties(tied)
    assert "LCB is left out" in line
    assert "(T = 100)" in line
    assert contest.of_ties(tied._replace(tied=())) == []


def test_files_and_text(answered, played):
    out, said = answered
    table = pl.read_csv(out / "advise.csv")
    assert table.select("horizon", "policy", "alpha").rows() == [
        (horizon, *policy) for horizon in HORIZONS for policy in played.regret
    ]
    # UCB and OtO of 100 play alike: one, in two rows.
    assert table.filter(policy="UCB")["alike"].to_list() == ["OtO (alpha 100) = UCB"] * 2
    apart = table.unique(["horizon", "alike"])
    by_horizon = apart.group_by("horizon").agg(pl.col("least_share").sum())
    np.testing.assert_allclose(by_horizon["least_share"].to_numpy(), 1)
    arms = pl.read_csv(out / "advise-arms.csv")
    assert arms.select("arm", "records").rows() == [("a", 300), ("b", 200), ("c", 30)]
    assert (out / "advise.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((out / "advise.json").read_text())
    assert record["settings"]["horizon"] == list(HORIZONS)
    for line in record["findings"]:
        assert line in said
    assert "the best arm is b with probability " in said


GOOD = "ad,click\na,1\nb,0\n"
REFUSED = {
    "range": (
        GOOD + "b,3\n",
        {},
        r"log.csv, line 4: column 'click' must lie in \[0, 1\], was 3.*-",
    ),
    "text": (GOOD + "b,yes\n", {}, "line 4: .* must be a number, was 'yes'; encode it as numbers$"),
    "missing": (GOOD + "b,\n", {}, "line 4: column 'click' is missing.*--drop-missing"),
    "column": (GOOD, {"arm": "item"}, "--arm: .* has no column 'item'; it has ad, click"),
    "same": (GOOD, {"arm": "click"}, "--arm and --reward must be two columns"),
    "alone": ("ad,click\na,1\n", {}, "must name at least 2 arms, names 1; .*--arms"),
    "noise": ("ad,click\na,.1\nb,.3\n", {}, "some arm must have 2 records"),
    "constant": (
        "ad,click\na,.1\nb,.1\nb,.1\n",
        {},
        "always the same.*give --low and --high closer",
    ),
    "horizon": (GOOD, {"horizon": (0,)}, "--horizon must be a whole number of at least 1, was 0"),
    "none": (GOOD, {"horizon": ()}, "--horizon must name at least one"),
    "runs": (GOOD, {"runs": 1}, "--runs must be a whole number of at least 2, was 1"),
    "order": (GOOD, {"low": 2.0}, "--low must be below --high, both finite, were 2 and 1"),
    "alpha": (GOOD, {"alpha": (-1.0,)}, "--alpha must be numbers of at least 0, was -1.0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input(name, tmp_path):
    content, changes, message = REFUSED[name]
    path = tmp_path / "log.csv"
    path.write_text(content)
    console = Console(quiet=True)
    assert_refused(lambda: advise(asked(path, **changes), tmp_path / "out", console), message)
    assert not (tmp_path / "out").exists()


def test_command_line(jaxbandit, tmp_path):
    done = jaxbandit(
        "advise", tmp_path / "no.csv", "--arm", "ad", "--reward", "click", "--horizon", 9
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no.csv" in done.stderr


def test_environment_is_drawn_from_the_posterior():
    means = np.array([[0.25, 0.5], [0.75, 1.0]])
    drawn = {
        tuple(
            np.asarray(contest._draw(jnp.asarray(means), None, jax.random.key(seed)).mean).tolist()
        )
        for seed in range(16)
    }
    assert drawn == {(0.25, 0.5), (0.75, 1.0)}


def test_arms_in_options_are_the_same_as_in_the_log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("ad,click\n1,1\n2,0\n1,0\n2,1\n")
    names, records, _ = read_arms(asked(path, arms=("1.0", " 2", "3")))
    assert (names, records.count.tolist()) == (["1", "2", "3"], [2, 2, 0])
    path = tmp_path / "log.parquet"
    pl.DataFrame({"ad": [1.0, 2.0, 1.0, 2.0], "click": [True, False, False, True]}).write_parquet(
        path
    )
    assert read_arms(asked(path, arms=("1",)))[0] == ["1", "2"]
    assert_refused(lambda: read_arms(asked(path, arms=("NA",))), "--arms must be names, was 'NA'")
