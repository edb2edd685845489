"""The preparatory phase: who trains on what, what is logged, and the reward table."""

import numpy as np
import pytest

from jaxbandit.ctr import deployment
from jaxbandit.ctr.deployment import (
    BASELINES,
    CHOICES,
    NEEDED_ROWS,
    PAPER_MODELS,
    deploy,
    split_rows,
    worth,
)
from jaxbandit.ctr.features import encode
from jaxbandit.ctr.training import predict
from jaxbandit.datasets.avazu_like import avazu_like
from jaxbandit.datasets.click_log import ClickLog, click_log, rows
from tests.messages import assert_refused

ROWS = 6_000
SPLIT = (1_500, 300, 150)  # rows; groups; groups


def test_the_papers_sizes():
    assert NEEDED_ROWS == 3_360_000
    assert split_rows(NEEDED_ROWS) == split_rows(40_000_000) == (30_000, 33_000, 300_000)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (5_000, (1_250, 250, 125)),
        (ROWS, SPLIT),
        (20_000, (5_000, 1_000, 500)),
        (660_000, (30_000, 33_000, 30_000)),
    ],
)
def test_a_smaller_log_is_split_in_quarters(number, expected):
    split = split_rows(number)
    assert split == expected
    assert split.training + CHOICES * (split.logged + split.table) <= number


def test_a_log_that_is_too_small():
    assert_refused(lambda: split_rows(4_999), "must have at least 5,000 rows .* has 4,999")


def test_worth_is_two_standard_errors_of_a_difference():
    assert "if they differ by more than about 0.0566 (" in worth(split_rows(20_000), 0.2764)


def test_the_papers_models():
    assert [spec.name for spec in PAPER_MODELS] == [f"model_{n}" for n in range(1, 9)]
    assert [spec.dataset for spec in PAPER_MODELS] == [1, 2, 2, 2, 2, 2, 2, 1]
    assert [spec.batch for spec in PAPER_MODELS] == [128, 64, 64, 64, 64, 64, 64, 128]
    assert (PAPER_MODELS[0].architecture, PAPER_MODELS[7].architecture) == ("DCN", "DeepFM")
    trained = {(spec.architecture, spec.hidden) for spec in PAPER_MODELS[1:7]}
    assert trained == {
        ("DIFM", None),
        ("DIFM", (256, 128, 64)),
        ("DeepFM", None),
        ("DeepFM", (128, 128, 64)),
        ("DCN", None),
        ("DCN", (256, 128, 64)),
    }


@pytest.fixture(scope="module")
def log():
    made = avazu_like(ROWS, seed=8)
    return click_log(made.table, made.probability)


@pytest.fixture(scope="module")
def simple():
    """Logistic regressions in place of all models, which compile in no time."""
    patch = pytest.MonkeyPatch()
    for name in ("PAPER_MODELS", "BASELINES"):
        specs = getattr(deployment, name)
        cheap = tuple(spec._replace(architecture="logistic", hidden=None) for spec in specs)
        patch.setattr(deployment, name, cheap)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def deployed(log, simple):
    seen = []
    return deploy(log, seed=4, progress=lambda done, total: seen.append((done, total))), seen


def parts(log):
    """Dataset 1's, the groups Model 1 chooses from, the groups of the table."""
    training, logged, table = SPLIT
    ends = np.cumsum([training, CHOICES * logged, CHOICES * table])
    return [
        rows(log, slice(end - size, end))
        for end, size in zip(ends, np.diff([0, *ends]), strict=True)
    ]


def chosen_by(model, log):
    """Loop over groups: the first row of the highest probability."""
    probability = model.probability(log)
    return [
        max(range(start, start + CHOICES), key=lambda row: (probability[row], -row))
        for start in range(0, len(log.click), CHOICES)
    ]


def test_progress_counts_models(deployed):
    total = len(PAPER_MODELS) + len(BASELINES)
    assert deployed[1] == [(done, total) for done in range(1, total + 1)]


def test_rewards_are_the_clicks_of_what_each_model_chooses(deployed, log):
    done, _ = deployed
    _, _, table = parts(log)
    assert done.rewards.shape == (SPLIT[2], len(PAPER_MODELS))
    for column, model in enumerate(done.trained[: len(PAPER_MODELS)]):
        np.testing.assert_array_equal(done.rewards[:, column], table.click[chosen_by(model, table)])


def test_dataset_2_is_what_model_1_chooses(deployed, log):
    done, _ = deployed
    _, choices, _ = parts(log)
    chosen = chosen_by(done.trained[0], choices)
    assert done.logged_clicks == choices.click[chosen].sum()
    test = chosen[-(SPLIT[1] // 11) :]
    planted = done.references["planted model"]["test set 2"]
    given = np.where(choices.click[test], choices.probability[test], 1 - choices.probability[test])
    assert planted.mean == pytest.approx(-np.log(given).mean())
    assert planted.rows == len(test) == 27


def test_losses_are_on_rows_held_out(deployed, log):
    done, _ = deployed
    first, _, _ = parts(log)
    held = rows(first, slice(SPLIT[0] - SPLIT[0] // 10, None))
    for model in done.trained:
        p = predict(model.model, encode(model.encoder, held))
        expected = -np.log(np.where(held.click, p, 1 - p)).mean()
        assert model.losses["test set 1"].mean == pytest.approx(expected, rel=1e-5)
        assert set(model.losses) == {"test set 1", "test set 2", "validation"}


def test_clicks_of_test_and_table_rows_train_nothing(deployed, log, simple):
    """With those clicks turned round, every model and every choice stays the same."""
    done, _ = deployed
    chosen = chosen_by(done.trained[0], parts(log)[1])
    turned = np.zeros(ROWS, bool)
    turned[SPLIT[0] - SPLIT[0] // 10 : SPLIT[0]] = True  # Test Set 1
    turned[SPLIT[0] + np.array(chosen[-(SPLIT[1] // 11) :])] = True  # Test Set 2
    turned[SPLIT[0] + CHOICES * SPLIT[1] :] = True
    other = deploy(ClickLog(np.where(turned, 1 - log.click, log.click), *log[1:]), seed=4)
    for before, after in zip(done.trained, other.trained, strict=True):
        np.testing.assert_array_equal(before.probability(log), after.probability(log))
    np.testing.assert_array_equal(other.rewards, 1 - done.rewards)


def test_clicks_that_are_all_alike_cannot_train(log, simple):
    assert_refused(
        lambda: deploy(log._replace(click=0 * log.click)), "must have zeros and ones to train on"
    )
