"""Reward tables as files."""

import json

import numpy as np
import pytest

from jaxbandit.ctr.reward_tables import NAMES, RewardTable, files, load_reward_table
from tests.messages import assert_refused

TABLE = RewardTable(
    (np.arange(40).reshape(5, 8) % 3 == 0).astype(np.uint8),
    120,
    31,
    {name: 0.5 + 0.01 * index for index, name in enumerate(NAMES)},
    "synthetic data",
)


@pytest.fixture
def path(tmp_path):
    for name, text in files(TABLE, "rewards").items():
        (tmp_path / name).write_text(text)
    return tmp_path / "rewards.csv"


def test_what_is_written_is_read(path):
    read = load_reward_table(path)
    np.testing.assert_array_equal(read.rewards, TABLE.rewards)
    assert read[1:] == TABLE[1:]
    assert path.read_text().splitlines()[0] == ",".join(NAMES)


def test_columns_in_any_order_and_others_among_them(path):
    lines = [line.split(",") for line in path.read_text().splitlines()]
    turned = [["note", *line[::-1]] for line in lines]
    path.write_text("\n".join(",".join(line) for line in turned))
    np.testing.assert_array_equal(load_reward_table(path).rewards, TABLE.rewards)


def test_a_table_alone_has_the_papers_offline_data_and_no_test_set(path):
    path.with_suffix(".json").unlink()
    read = load_reward_table(path)
    clicks = round(33_000 * TABLE.rewards[:, 0].mean())
    assert read[1:] == (33_000, clicks, None, "rewards of rewards.csv")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "model_3",
            "model_three",
            "has no column model_3; a reward table has one column",
        ),
        ("\n1,", "\n1.5,", "line 2: model_1 must be a reward in .0, 1., was '1.5'"),
        ("\n1,", "\n-1,", "line 2: model_1 must be a reward in .0, 1., was '-1'"),
        ("\n1,", "\nyes,", "line 2: model_1 must be a reward in .0, 1., was 'yes'"),
        ("\n1,", "\n,", "line 2: model_1 must be a reward in .0, 1., was None"),
        ("\n1,", "\nnan,", "line 2: model_1 must be a reward in .0, 1., was 'nan'"),
    ],
)
def test_a_fault_of_the_table_is_named(path, old, new, message):
    path.write_text(path.read_text().replace(old, new, 1))
    assert_refused(lambda: load_reward_table(path), f"rewards.csv.*{message}")


def test_a_table_without_rows_or_that_is_none(path, tmp_path):
    path.write_text(",".join(NAMES) + "\n")
    assert_refused(lambda: load_reward_table(path), "has no rows")
    path.write_text("")
    assert_refused(lambda: load_reward_table(path), "is not a table of rewards")
    assert_refused(lambda: load_reward_table(tmp_path / "no.csv"), "no.csv: cannot be read")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"logged": 0}, "logged must be a whole number of at least 1, was 0"),
        ({"clicks": 121}, "clicks must be a whole number from 0 to 120, was 121"),
        ({"clicks": 1.5}, "clicks must be a whole number"),
        ({"test_losses": {"model_1": 0.1}}, "test_losses must give a finite number for each model"),
        ({"source": 3}, "source must be text"),
        (None, "does not describe a reward table"),
    ],
)
def test_a_fault_of_what_lies_beside_is_named(path, facts, message):
    beside = path.with_suffix(".json")
    known = json.loads(beside.read_text())
    beside.write_text("[1]" if facts is None else json.dumps(known | facts))
    assert_refused(lambda: load_reward_table(path), f"rewards.json: {message}")
